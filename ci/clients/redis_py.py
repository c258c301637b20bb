"""A tour of redis-py: what its users build on, with nothing configured for more than one shard."""
import asyncio
import sys
import threading
import time
import traceback

import redis
import redis.asyncio
from redis.backoff import ConstantBackoff
from redis.cache import CacheConfig
from redis.retry import Retry

PORT, TLS_PORT, CERTIFICATE = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
PATIENCE_S = 60
checks = []


def check(function):
    checks.append(function)
    return function


def connect(**options):
    return redis.Redis(**{"host": "127.0.0.1", "port": PORT, "decode_responses": True, **options})


r = connect()
both = [connect(protocol=2), connect(protocol=3)]


def eventually(what, is_so):
    until = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < until, f"not within a minute: {what}"
        time.sleep(0.005)


def fails(error, words, call, *arguments):
    try:
        call(*arguments)
    except error as raised:
        assert words in str(raised), raised
    else:
        raise AssertionError(f"no {words}")


def equal(actual, expected):
    assert actual == expected, f"{actual!r} instead of {expected!r}"


@check
def strings():
    for client in both:
        client.flushall()
        equal(client.set("s:1", "a", px=60_000, nx=True), True)
        equal(client.set("s:1", "b", nx=True), None)
        equal(client.set("s:1", "b", get=True), "a")
        equal(client.append("s:1", "cd"), 3)
        equal(client.incrbyfloat("s:n", 1.5), 1.5)
        client.mset({"s:2": 2, "s:3": 3})
        equal(client.mget("s:2", "s:none", "s:3"), ["2", None, "3"])
        equal(client.msetnx({"s:3": "x", "s:4": "x"}), False)
        equal(client.getex("s:2", persist=True), "2")
        equal(client.getdel("s:2"), "2")
        fails(redis.ResponseError, "not an integer", client.incr, "s:1")
    raw = connect(decode_responses=False)
    raw.set(b"s:\xff", b"\x00\xff\r\n")
    equal(raw.get(b"s:\xff"), b"\x00\xff\r\n")


@check
def hashes_lists_sets_and_sorted_sets():
    for client in both:
        client.flushall()
        equal(client.hset("h", mapping={"a": 1, "b": "two"}), 2)
        equal(client.hgetall("h"), {"a": "1", "b": "two"})
        equal(client.hexpire("h", 100, "a"), [1])
        equal(client.hincrby("h", "a", 41), 42)
        equal(client.rpush("l", 1, 2, 3), 3)
        equal(client.lmove("l", "l:other", "LEFT", "RIGHT"), "1")
        equal(client.lmpop(2, "l:none", "l", direction="LEFT", count=5), ["l", ["2", "3"]])
        client.sadd("t:1", "a", "b", "c")
        client.sadd("t:2", "b", "c", "d")
        equal(client.sinter("t:1", "t:2"), {"b", "c"})
        equal(client.sunionstore("t:3", "t:1", "t:2"), 4)
        equal(client.zadd("z", {"a": 1, "b": 2.5, "c": float("-inf")}), 3)
        equal([tuple(pair) for pair in client.zrange("z", 0, -1, withscores=True)],
              [("c", float("-inf")), ("a", 1), ("b", 2.5)])
        client.zadd("z:2", {"a": 10})
        equal(client.zunionstore("z:3", {"z": 1, "z:2": 2}), 3)
        equal(client.zscore("z:3", "a"), 21)
        equal(client.geoadd("g", (13.361389, 38.115556, "Palermo", 15.087269, 37.502669, "Catania")), 2)
        equal(client.geosearch("g", longitude=15, latitude=37, radius=200, unit="km", sort="ASC"), ["Catania", "Palermo"])
        client.pfadd("p:1", "a", "b")
        client.pfadd("p:2", "b", "c")
        equal(client.pfcount("p:1", "p:2"), 3)


@check
def streams_and_their_groups():
    for client in both:
        client.flushall()
        first = client.xadd("x", {"n": 1})
        client.xadd("x", {"n": 2})
        equal(client.xgroup_create("x", "workers", 0), True)
        read = client.xreadgroup("workers", "me", {"x": ">"}, count=10)
        entries = read["x"] if isinstance(read, dict) else read[0][1]
        equal(len(entries[0] if isinstance(entries[0], list) else entries), 2)
        equal(client.xack("x", "workers", first), 1)
        equal(client.xpending("x", "workers")["pending"], 1)
        equal(len(client.xautoclaim("x", "workers", "other", 0)[1]), 1)
        equal({consumer["name"] for consumer in client.xinfo_consumers("x", "workers")}, {"me", "other"})
        equal(client.xinfo_stream("x")["length"], 2)
        equal(client.xtrim("x", maxlen=0), 2)


@check
def pipelines_and_transactions():
    for client in both:
        client.flushall()
        pipeline = client.pipeline(transaction=False)
        for number in range(500):
            pipeline.set(f"pipe:{number}", number).incr(f"pipe:{number}")
        equal(pipeline.execute(), [reply for number in range(500) for reply in (True, number + 1)])
        keys = [f"multi:{number}" for number in range(6)]
        equal(client.pipeline().mset(dict.fromkeys(keys, 1)).incr(keys[3]).mget(keys).execute(),
              [True, 2, ["1", "1", "1", "2", "1", "1"]])
        with client.pipeline() as pipe:
            pipe.watch(*keys)
            client.set(keys[5], "changed")
            pipe.multi()
            pipe.set(keys[0], "lost")
            fails(redis.WatchError, "Watched", pipe.execute)
        equal(client.get(keys[0]), "1")

    def add():
        client = connect()
        for _ in range(15):
            def one_more(pipe):
                value = int(pipe.get("multi:counter") or 0)
                pipe.multi()
                pipe.set("multi:counter", value + 1).rpush("multi:log", value)
            client.transaction(one_more, "multi:counter", "multi:log")

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    equal([r.get("multi:counter"), r.llen("multi:log")], ["60", 60])


@check
def messages_to_channels_patterns_and_shards():
    for client in both:
        heard = []
        listener = client.pubsub(ignore_subscribe_messages=True)
        listener.subscribe("news", "sport")
        listener.psubscribe("n*")
        listener.ssubscribe("shard{1}")
        eventually("it is subscribed", lambda: listener.get_message(timeout=0.01) is None and r.pubsub_numpat() == 1
                   and len(r.pubsub_channels()) == 2 and len(r.pubsub_shardchannels()) == 1)
        equal([r.publish("news", "a"), r.publish("sport", "b"), r.spublish("shard{1}", "c")], [2, 1, 1])

        def all_are_heard():
            message = listener.get_message(timeout=0.01) or listener.get_sharded_message(timeout=0.01)
            if message:
                heard.append((message["type"], message["channel"], message["data"]))
            return len(heard) == 4
        eventually("all is heard", all_are_heard)
        equal(sorted(heard), [("message", "news", "a"), ("message", "sport", "b"), ("pmessage", "news", "a"),
                              ("smessage", "shard{1}", "c")])
        listener.close()
        eventually("it is gone", lambda: not r.pubsub_channels())


@check
def scripts_and_functions():
    for client in both:
        client.flushall()
        script = client.register_script(
            "local total = 0 for _, key in ipairs(KEYS) do total = total + redis.call('incrby', key, ARGV[1]) end return total")
        client.script_flush()
        keys = [f"lua:{number}" for number in range(5)]
        equal(script(keys=keys, args=[2]), 10)
        pipeline = client.pipeline()
        script(keys=keys, args=[1], client=pipeline)
        equal(pipeline.get(keys[4]).execute(), [15, "3"])
        client.function_load("#!lua name=tour\nredis.register_function('tour_get', "
                             "function(keys) return redis.call('get', keys[1]) end)", replace=True)
        equal(client.fcall("tour_get", 1, keys[0]), "3")
        client.function_delete("tour")


@check
def pops_that_wait():
    popped = []

    def pop(number):
        popped.append(connect(socket_timeout=None).blpop([f"wait:{number}", f"other:{number}"], timeout=0))
    threads = [threading.Thread(target=pop, args=[number]) for number in range(4)]
    for thread in threads:
        thread.start()
    eventually("all wait", lambda: r.info("clients")["blocked_clients"] == 4)
    for number in range(4):
        r.rpush(f"{'wait' if number % 2 else 'other'}:{number}", number)
    for thread in threads:
        thread.join()
    equal(sorted(tuple(pair) for pair in popped), [("other:0", "0"), ("other:2", "2"), ("wait:1", "1"), ("wait:3", "3")])
    equal(r.blpop("wait:none", timeout=0.05), None)


@check
def locks():
    lock = r.lock("lock", timeout=60)
    assert lock.acquire(blocking=False) and not connect().lock("lock", timeout=60).acquire(blocking=False)
    assert lock.extend(60) and lock.owned()
    lock.release()
    assert not lock.locked()


@check
def scans():
    for client in both:
        client.flushall()
        client.mset({f"scan:{number}": 1 for number in range(1000)})
        equal(len(set(client.scan_iter(match="scan:*", count=100))), 1000)
        client.hset("scan{h}", mapping={number: 1 for number in range(1000)})
        equal(len(dict(client.hscan_iter("scan{h}"))), 1000)
        client.flushall()
        client.mset({"few:1": 1, "few:2": 2, "few:3": 3})
        cursor, few = client.scan()
        equal((cursor, sorted(few)), (0, ["few:1", "few:2", "few:3"]))


@check
def a_cache_on_the_client():
    client = connect(protocol=3, cache_config=CacheConfig(max_size=100))
    keys = [f"near:{number}" for number in range(8)]
    r.mset(dict.fromkeys(keys, "old"))
    equal([client.get(key) for key in keys], ["old"] * 8)
    before = r.info("stats")["keyspace_hits"]
    equal([client.get(key) for key in keys], ["old"] * 8)
    equal(r.info("stats")["keyspace_hits"], before)
    r.mset(dict.fromkeys(keys, "new"))
    for key in keys:
        eventually("it learns of the change", lambda: client.get(key) == "new")


@check
def users():
    r.acl_setuser("tourist", enabled=True, passwords=["+secret"], keys=["mine:*"], categories=["+@read"],
                  commands=["+set", "+hello", "+client", "-cluster"])
    tourist = connect(username="tourist", password="secret")
    equal(tourist.set("mine:1", "x"), True)
    fails(redis.exceptions.NoPermissionError, "permission", tourist.set, "others:1", "x")
    fails(redis.AuthenticationError, "", connect(username="tourist", password="wrong").ping)
    equal(r.acl_deluser("tourist"), 1)


@check
def encrypted():
    client = connect(port=TLS_PORT, ssl=True, ssl_ca_certs=CERTIFICATE)
    large = "x" * 1_000_000
    client.set("tls", large)
    equal(client.get("tls"), large)


@check
def connections_that_are_cut_off():
    client = connect(retry=Retry(ConstantBackoff(0.01), 20))
    number = client.client_id()
    r.client_kill_filter(_id=number)
    equal(client.set("back", 1), True)
    assert client.client_id() > number


@check
def asynchronously():
    async def tour():
        pool = redis.asyncio.BlockingConnectionPool(host="127.0.0.1", port=PORT, decode_responses=True, max_connections=20)
        client = redis.asyncio.Redis(connection_pool=pool)
        await asyncio.gather(*(client.set(f"a:{number}", number) for number in range(200)))
        values = await asyncio.gather(*(client.get(f"a:{number}") for number in range(200)))
        equal(values, [str(number) for number in range(200)])
        waiting = asyncio.create_task(client.blpop(["a:list"], timeout=0))
        await client.rpush("a:list", "x")
        equal(tuple(await waiting), ("a:list", "x"))
        async with client.pipeline(transaction=True) as pipeline:
            equal(await pipeline.set("a:1", "y").get("a:1").execute(), [True, "y"])
        async with client.pubsub(ignore_subscribe_messages=True) as listener:
            await listener.subscribe("a:news")
            await listener.get_message(timeout=0.1)
            equal(await client.publish("a:news", "z"), 1)
            message = None
            while message is None:
                message = await listener.get_message(timeout=1)
            equal(message["data"], "z")
        await client.aclose()
    asyncio.run(asyncio.wait_for(tour(), PATIENCE_S))


def main():
    failed = 0
    for function in checks:
        try:
            function()
        except Exception:
            failed += 1
            print(f"{function.__name__}: {traceback.format_exc()}")
    print(f"redis-py: {len(checks) - failed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


main()
