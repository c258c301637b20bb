//! A tour of redis-rs: what its users build on, with nothing configured for more than one shard.

use redis::aio::MultiplexedConnection;
use redis::caching::CacheConfig;
use redis::streams::{StreamReadOptions, StreamReadReply};
use redis::{
    AsyncCommands, AsyncConnectionConfig, Client, Commands, Connection, ConnectionInfo, ErrorKind, FromRedisValue,
    IntoConnectionInfo, PushKind, RedisError, RedisResult, Script, SetExpiry, SetOptions, TlsCertificates, Value,
};
use std::collections::{HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::{Duration, Instant};

/// Where the server is.
struct Server {
    port: u16,
    tls_port: u16,
    certificate: String,
}

impl Server {
    fn client(&self, options: &str) -> Client {
        Client::open(format!("redis://127.0.0.1:{}/{options}", self.port)).expect("a URL")
    }

    fn connect(&self) -> Connection {
        self.client("").get_connection().expect("a connection")
    }

    /// By either version of the protocol.
    fn both(&self) -> [Connection; 2] {
        ["?protocol=resp2", "?protocol=resp3"]
            .map(|options| self.client(options).get_connection().expect("a connection"))
    }
}

fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < Duration::from_secs(60), "not within a minute: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// A command by its words.
fn ask<T: FromRedisValue>(connection: &mut Connection, line: &str) -> RedisResult<T> {
    let mut words = line.split(' ');
    let mut command = redis::cmd(words.next().expect("a name"));
    words.for_each(|word| drop(command.arg(word)));
    command.query(connection)
}

fn waiting(connection: &mut Connection) -> usize {
    redis::cmd("INFO")
        .arg("clients")
        .query::<redis::InfoDict>(connection)
        .expect("INFO")
        .get("blocked_clients")
        .expect("a field")
}

fn strings(server: &Server) -> RedisResult<()> {
    for mut c in server.both() {
        ask::<()>(&mut c, "FLUSHALL")?;
        let options =
            SetOptions::default().conditional_set(redis::ExistenceCheck::NX).with_expiration(SetExpiry::EX(60));
        assert!(c.set_options::<_, _, bool>("s:1", "a", options.clone())?);
        assert_eq!(c.set_options::<_, _, Option<String>>("s:1", "b", options)?, None);
        assert_eq!(c.append::<_, _, usize>("s:1", "bc")?, 3);
        assert_eq!(c.incr::<_, _, f64>("s:n", 1.5)?, 1.5);
        c.mset::<_, _, ()>(&[("s:2", 2), ("s:3", 3)])?;
        assert_eq!(c.mget::<_, (i64, Option<i64>, i64)>(&["s:2", "s:none", "s:3"])?, (2, None, 3));
        assert!(!c.mset_nx::<_, _, bool>(&[("s:3", "x"), ("s:4", "x")])?);
        c.set::<_, _, ()>("s:b", b"\x00\xff\r\n")?;
        assert_eq!(c.get::<_, Vec<u8>>("s:b")?, b"\x00\xff\r\n");
        let error: RedisError = c.incr::<_, _, i64>("s:1", 1).expect_err("no number");
        assert!(error.to_string().contains("not an integer"), "{error}");
    }
    Ok(())
}

fn collections(server: &Server) -> RedisResult<()> {
    for mut c in server.both() {
        ask::<()>(&mut c, "FLUSHALL")?;
        c.hset_multiple::<_, _, _, ()>("h", &[("a", "1"), ("b", "two")])?;
        let all: HashMap<String, String> = c.hgetall("h")?;
        assert_eq!(all, HashMap::from([("a", "1"), ("b", "two")].map(|(field, value)| (field.into(), value.into()))));
        assert_eq!(c.hexpire::<_, _, Vec<i64>>("h", 100, redis::ExpireOption::NONE, &["a"])?, [1]);
        assert_eq!(c.rpush::<_, _, usize>("l", &[1, 2, 3])?, 3);
        let moved: i64 = c.lmove("l", "l:other", redis::Direction::Left, redis::Direction::Right)?;
        assert_eq!((moved, c.lrange::<_, Vec<i64>>("l", 0, -1)?), (1, vec![2, 3]));
        c.sadd::<_, _, ()>("t:1", &["a", "b", "c"])?;
        c.sadd::<_, _, ()>("t:2", &["b", "c", "d"])?;
        assert_eq!(c.sinter::<_, HashSet<String>>(&["t:1", "t:2"])?, HashSet::from(["b".into(), "c".into()]));
        c.zadd_multiple::<_, _, _, ()>("z", &[(1.0, "a"), (2.5, "b"), (f64::NEG_INFINITY, "c")])?;
        let ranked: Vec<(String, f64)> = c.zrange_withscores("z", 0, -1)?;
        assert_eq!(ranked, [("c".into(), f64::NEG_INFINITY), ("a".into(), 1.0), ("b".into(), 2.5)]);
        c.zadd::<_, _, _, ()>("z:2", "a", 10)?;
        assert_eq!(c.zunionstore_weights::<_, _, usize>("z:3", &[("z", 1), ("z:2", 2)])?, 3);
        assert_eq!(c.zscore::<_, _, f64>("z:3", "a")?, 21.0);
        c.pfadd::<_, _, ()>("p:1", &["a", "b"])?;
        c.pfadd::<_, _, ()>("p:2", &["b", "c"])?;
        assert_eq!(c.pfcount::<_, usize>(&["p:1", "p:2"])?, 3);
    }
    Ok(())
}

fn streams(server: &Server) -> RedisResult<()> {
    for mut c in server.both() {
        ask::<()>(&mut c, "FLUSHALL")?;
        let first: String = c.xadd("x", "*", &[("n", 1)])?;
        c.xadd::<_, _, _, _, ()>("x", "*", &[("n", 2)])?;
        c.xgroup_create::<_, _, _, ()>("x", "workers", 0)?;
        let options = StreamReadOptions::default().group("workers", "me").count(10);
        let read: StreamReadReply = c.xread_options(&["x"], &[">"], &options)?;
        assert_eq!((read.keys.len(), read.keys[0].ids.len(), read.keys[0].ids[0].id.clone()), (1, 2, first.clone()));
        assert_eq!(c.xack::<_, _, _, usize>("x", "workers", &[first])?, 1);
        assert_eq!(c.xpending::<_, _, redis::streams::StreamPendingReply>("x", "workers")?.count(), 1);
        assert_eq!(c.xinfo_stream::<_, redis::streams::StreamInfoStreamReply>("x")?.length, 2);
    }
    Ok(())
}

fn pipelines_and_transactions(server: &Server) -> RedisResult<()> {
    for mut c in server.both() {
        ask::<()>(&mut c, "FLUSHALL")?;
        let mut pipe = redis::pipe();
        (0..500).for_each(|n| drop(pipe.set(format!("pipe:{n}"), n).ignore().incr(format!("pipe:{n}"), 1)));
        assert_eq!(pipe.query::<Vec<i64>>(&mut c)?, (1..=500).collect::<Vec<i64>>());
        let keys: Vec<String> = (0..6).map(|n| format!("multi:{n}")).collect();
        let pairs: Vec<(&String, i64)> = keys.iter().map(|key| (key, 1)).collect();
        let (number, all): (i64, Vec<i64>) =
            redis::pipe().atomic().mset(&pairs).ignore().incr(&keys[3], 1).mget(&keys).query(&mut c)?;
        assert_eq!((number, all), (2, vec![1, 1, 1, 2, 1, 1]));
    }
    let adders: Vec<_> = (0..4)
        .map(|_| {
            let mut c = server.connect();
            thread::spawn(move || {
                for _ in 0..15 {
                    redis::transaction(&mut c, &["multi:counter", "multi:log"], |c, pipe| {
                        let value: Option<i64> = c.get("multi:counter")?;
                        let value = value.unwrap_or(0);
                        pipe.set("multi:counter", value + 1)
                            .ignore()
                            .rpush("multi:log", value)
                            .query::<Option<(i64,)>>(c)
                    })
                    .expect("it is done in the end");
                }
            })
        })
        .collect();
    adders.into_iter().for_each(|adder| adder.join().expect("it ends"));
    let mut c = server.connect();
    assert_eq!((c.get::<_, i64>("multi:counter")?, c.llen::<_, i64>("multi:log")?), (60, 60));
    Ok(())
}

fn messages(server: &Server) -> RedisResult<()> {
    let (mut listening, mut c) = (server.connect(), server.connect());
    let mut listener = listening.as_pubsub();
    listener.subscribe(&["news", "sport"])?;
    listener.psubscribe("n*")?;
    listener.set_read_timeout(Some(Duration::from_secs(60)))?;
    assert_eq!((c.publish::<_, _, i64>("news", "a")?, c.publish::<_, _, i64>("sport", "b")?), (2, 1));
    let mut heard = Vec::new();
    for _ in 0..3 {
        let message = listener.get_message()?;
        let text: String = message.get_payload()?;
        heard.push(format!("{} {text} {}", message.get_channel_name(), message.from_pattern()));
    }
    heard.sort();
    assert_eq!(heard, ["news a false", "news a true", "sport b false"]);
    Ok(())
}

fn scripts(server: &Server) -> RedisResult<()> {
    let script = Script::new(
        "local total = 0 for _, key in ipairs(KEYS) do total = total + redis.call('incrby', key, ARGV[1]) end return total",
    );
    for mut c in server.both() {
        ask::<()>(&mut c, "FLUSHALL")?;
        ask::<()>(&mut c, "SCRIPT FLUSH")?;
        let mut call = script.prepare_invoke();
        (0..5).for_each(|n| drop(call.key(format!("lua:{n}"))));
        assert_eq!(call.arg(2).invoke::<i64>(&mut c)?, 10);
        assert_eq!(c.get::<_, i64>("lua:4")?, 2);
    }
    Ok(())
}

fn pops_that_wait(server: &Server) -> RedisResult<()> {
    let mut c = server.connect();
    let poppers: Vec<_> = (0..4)
        .map(|n| {
            let mut c = server.connect();
            thread::spawn(move || c.blpop::<_, (String, i64)>(&[format!("wait:{n}"), format!("other:{n}")], 0.0))
        })
        .collect();
    eventually("all wait", || waiting(&mut c) == 4);
    for n in 0..4 {
        c.rpush::<_, _, ()>(format!("{}:{n}", if n % 2 == 0 { "other" } else { "wait" }), n)?;
    }
    for (n, popper) in poppers.into_iter().enumerate() {
        let name = if n % 2 == 0 { "other" } else { "wait" };
        assert_eq!(popper.join().expect("it ends")?, (format!("{name}:{n}"), n as i64));
    }
    assert_eq!(c.blpop::<_, Option<(String, i64)>>("wait:none", 0.05)?, None);
    Ok(())
}

fn scans(server: &Server) -> RedisResult<()> {
    for mut c in server.both() {
        ask::<()>(&mut c, "FLUSHALL")?;
        let pairs: Vec<(String, i64)> = (0..1000).map(|n| (format!("scan:{n}"), n)).collect();
        c.mset::<_, _, ()>(&pairs)?;
        let found: HashSet<String> = c.scan_match::<_, String>("scan:*")?.collect::<RedisResult<_>>()?;
        assert_eq!(found.len(), 1000);
        c.hset_multiple::<_, _, _, ()>("scan{h}", &pairs)?;
        let fields: Vec<(String, i64)> = c.hscan::<_, (String, i64)>("scan{h}")?.collect::<RedisResult<_>>()?;
        assert_eq!(fields.len(), 1000);
        ask::<()>(&mut c, "FLUSHALL")?;
        c.mset::<_, _, ()>(&[("few:1", 1), ("few:2", 2), ("few:3", 3)])?;
        let (cursor, few): (u64, HashSet<String>) = ask(&mut c, "SCAN 0")?;
        assert_eq!((cursor, few.len()), (0, 3));
    }
    Ok(())
}

fn users(server: &Server) -> RedisResult<()> {
    let mut c = server.connect();
    ask::<()>(&mut c, "ACL SETUSER tourist on >secret ~mine:* +@read +set +client")?;
    let open = |word: &str| Client::open(format!("redis://tourist:{word}@127.0.0.1:{}", server.port)).expect("a URL");
    let mut tourist = open("secret").get_connection()?;
    tourist.set::<_, _, ()>("mine:1", "x")?;
    let error = tourist.set::<_, _, ()>("others:1", "x").expect_err("another's");
    assert_eq!(error.code(), Some("NOPERM"), "{error}");
    let error = open("wrong").get_connection().err().expect("a wrong password");
    assert_eq!(error.kind(), ErrorKind::AuthenticationFailed, "{error}");
    assert_eq!(ask::<i64>(&mut c, "ACL DELUSER tourist")?, 1);
    Ok(())
}

fn encrypted(server: &Server) -> RedisResult<()> {
    let certificate = std::fs::read(&server.certificate).expect("the certificate");
    let info: ConnectionInfo = format!("rediss://127.0.0.1:{}", server.tls_port).into_connection_info()?;
    let client = Client::build_with_tls(info, TlsCertificates { client_tls: None, root_cert: Some(certificate) })?;
    let (mut c, large) = (client.get_connection()?, "x".repeat(1_000_000));
    c.set::<_, _, ()>("tls", &large)?;
    assert_eq!(c.get::<_, String>("tls")?, large);
    Ok(())
}

/// Many tasks over one connection, a manager that connects again, and pushes of the newer protocol.
async fn asynchronously(server: &Server) -> RedisResult<()> {
    let client = server.client("?protocol=resp3");
    let (pushes, mut pushed) = tokio::sync::mpsc::unbounded_channel();
    let config = AsyncConnectionConfig::new().set_push_sender(pushes);
    let mut listener: MultiplexedConnection = client.get_multiplexed_async_connection_with_config(&config).await?;
    listener.subscribe("a:news").await?;
    let shared = client.get_multiplexed_async_connection().await?;
    let tasks: Vec<_> = (0..200)
        .map(|n| {
            let mut c = shared.clone();
            tokio::spawn(async move {
                c.set::<_, _, ()>(format!("a:{n}"), n).await?;
                c.get::<_, i64>(format!("a:{n}")).await
            })
        })
        .collect();
    for (n, task) in tasks.into_iter().enumerate() {
        assert_eq!(task.await.expect("it ends")?, n as i64);
    }
    let mut c = shared.clone();
    assert_eq!(c.publish::<_, _, i64>("a:news", "hello").await?, 1);
    loop {
        let push = pushed.recv().await.expect("a push");
        if push.kind == PushKind::Message {
            assert_eq!(push.data.last(), Some(&Value::BulkString(b"hello".to_vec())));
            break;
        }
    }
    let mut manager = client.get_connection_manager().await?;
    let id: i64 = redis::cmd("CLIENT").arg("ID").query_async(&mut manager).await?;
    redis::cmd("CLIENT").arg("KILL").arg("ID").arg(id).query_async::<()>(&mut c).await?;
    while manager.set::<_, _, ()>("back", 1).await.is_err() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

async fn a_cache_on_the_client(server: &Server) -> RedisResult<()> {
    let client = server.client("?protocol=resp3");
    let config = AsyncConnectionConfig::new().set_cache_config(CacheConfig::default());
    let mut cached = client.get_multiplexed_async_connection_with_config(&config).await?;
    let mut writer = client.get_multiplexed_async_connection().await?;
    let keys: Vec<String> = (0..8).map(|n| format!("near:{n}")).collect();
    for key in &keys {
        writer.set::<_, _, ()>(key, "old").await?;
        assert_eq!(cached.get::<_, String>(key).await?, "old");
        assert_eq!(cached.get::<_, String>(key).await?, "old");
    }
    let statistics = cached.get_cache_statistics().expect("a cache");
    assert_eq!((statistics.hit, statistics.miss), (8, 8));
    for key in &keys {
        writer.set::<_, _, ()>(key, "new").await?;
        while cached.get::<_, String>(key).await? != "new" {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    Ok(())
}

fn in_runtime(work: impl Future<Output = RedisResult<()>>) -> RedisResult<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async { tokio::time::timeout(Duration::from_secs(60), work).await.expect("within a minute") })
}

/// A part of the tour.
type Check = fn(&Server) -> RedisResult<()>;

fn main() {
    rustls::crypto::ring::default_provider().install_default().expect("the first");
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [port, tls_port, certificate] = arguments.as_slice() else {
        panic!("usage: redis-rs-tour PORT TLS-PORT CERTIFICATE")
    };
    let number = |text: &str| text.parse().expect("a port");
    let server = Server { port: number(port), tls_port: number(tls_port), certificate: certificate.clone() };
    let checks: [(&str, Check); 12] = [
        ("strings", strings),
        ("hashes, lists, sets and sorted sets", collections),
        ("streams and their groups", streams),
        ("pipelines and transactions", pipelines_and_transactions),
        ("messages", messages),
        ("scripts", scripts),
        ("pops that wait", pops_that_wait),
        ("scans", scans),
        ("users", users),
        ("TLS", encrypted),
        ("asynchronously", |server| in_runtime(asynchronously(server))),
        ("a cache on the client", |server| in_runtime(a_cache_on_the_client(server))),
    ];
    let mut failed = 0;
    for (name, check) in checks {
        match catch_unwind(AssertUnwindSafe(|| check(&server))) {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                failed += 1;
                println!("{name}: {error}");
            }
            Err(_) => {
                failed += 1;
                println!("{name}: see the errors");
            }
        }
    }
    println!("redis-rs: {} passed, {failed} failed", checks.len() - failed);
    std::process::exit(i32::from(failed > 0));
}
