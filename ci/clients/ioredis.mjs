// A tour of ioredis: what its users build on, with nothing configured for more than one shard.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { Redis } from 'ioredis';
import { check, eventually, server, tour } from './tour.mjs';

const open = [];
function connect(options = {}) {
  const client = new Redis({ host: '127.0.0.1', port: server.port, ...options });
  client.on('error', () => {});
  open.push(client);
  return client;
}
const redis = connect();
const names = (stem, count) => Array.from({ length: count }, (_, index) => `${stem}:${index}`);

check('strings', async () => {
  assert.equal(await redis.set('s:1', 'a', 'PX', 60_000, 'NX'), 'OK');
  assert.equal(await redis.set('s:1', 'b', 'NX'), null);
  assert.equal(await redis.set('s:1', 'b', 'GET'), 'a');
  assert.equal(await redis.append('s:1', 'cd'), 3);
  assert.equal(await redis.getrange('s:1', 1, -1), 'cd');
  assert.equal(await redis.incrby('s:n', 5), 5);
  assert.equal(await redis.incrbyfloat('s:n', 0.5), '5.5');
  await redis.mset(new Map([['s:2', '2'], ['s:3', '3']]));
  assert.deepEqual(await redis.mget('s:2', 's:none', 's:3'), ['2', null, '3']);
  const bytes = Buffer.from([0, 255, 13, 10]);
  await redis.set('s:b', bytes);
  assert.deepEqual(await redis.getBuffer('s:b'), bytes);
  assert.equal(await redis.getdel('s:2'), '2');
  await redis.expire('s:3', 1000);
  assert.ok((await redis.ttl('s:3')) > 900 && (await redis.persist('s:3')) === 1);
  await assert.rejects(redis.incr('s:b'), /not an integer/);
});

check('hashes', async () => {
  assert.equal(await redis.hset('h', { a: 1, b: 'two', c: '' }), 3);
  assert.deepEqual(await redis.hgetall('h'), { a: '1', b: 'two', c: '' });
  assert.deepEqual(await redis.hmget('h', 'b', 'none'), ['two', null]);
  assert.equal(await redis.hincrby('h', 'a', 41), 42);
  assert.deepEqual((await redis.hkeys('h')).sort(), ['a', 'b', 'c']);
  assert.equal(await redis.hdel('h', 'a', 'c'), 2);
  assert.equal((await redis.hrandfield('h', -3)).length, 3);
});

check('lists', async () => {
  assert.equal(await redis.rpush('l', 1, 2, 3, 4), 4);
  assert.deepEqual(await redis.lrange('l', 0, -1), ['1', '2', '3', '4']);
  assert.equal(await redis.lmove('l', 'l:other', 'LEFT', 'RIGHT'), '1');
  assert.equal(await redis.linsert('l', 'BEFORE', '3', 'x'), 4);
  assert.deepEqual(await redis.lpop('l', 2), ['2', 'x']);
  assert.equal(await redis.lpos('l', '4'), 1);
  assert.deepEqual(await redis.lmpop(2, 'l:none', 'l', 'RIGHT', 'COUNT', 5), ['l', ['4', '3']]);
});

check('sets', async () => {
  await redis.sadd('t:1', 'a', 'b', 'c');
  await redis.sadd('t:2', 'b', 'c', 'd');
  assert.deepEqual((await redis.sinter('t:1', 't:2')).sort(), ['b', 'c']);
  assert.equal(await redis.sunionstore('t:3', 't:1', 't:2'), 4);
  assert.equal(await redis.sintercard(2, 't:1', 't:2'), 2);
  assert.deepEqual(await redis.smismember('t:3', 'a', 'z'), [1, 0]);
  assert.equal(await redis.smove('t:1', 't:2', 'a'), 1);
  assert.deepEqual(await redis.sdiff('t:1', 't:2'), []);
});

check('sorted sets', async () => {
  assert.equal(await redis.zadd('z', 1, 'a', 2.5, 'b', '-inf', 'c'), 3);
  assert.deepEqual(await redis.zrange('z', 0, -1, 'WITHSCORES'), ['c', '-inf', 'a', '1', 'b', '2.5']);
  assert.deepEqual(await redis.zrangebyscore('z', '(-inf', 2), ['a']);
  assert.equal(await redis.zincrby('z', 3, 'a'), '4');
  await redis.zadd('z:2', 10, 'a');
  assert.deepEqual(await redis.zunion(2, 'z', 'z:2', 'WEIGHTS', 1, 2, 'WITHSCORES'), ['c', '-inf', 'b', '2.5', 'a', '24']);
  assert.deepEqual(await redis.zpopmin('z'), ['c', '-inf']);
  assert.equal(await redis.zrank('z', 'a'), 1);
});

check('bitmaps, cardinalities and places', async () => {
  await redis.setbit('b:1', 7, 1);
  await redis.set('b:2', '\x01');
  assert.equal(await redis.bitop('AND', 'b:3', 'b:1', 'b:2'), 1);
  assert.equal(await redis.bitcount('b:3'), 1);
  await redis.pfadd('p:1', 'a', 'b');
  await redis.pfadd('p:2', 'b', 'c');
  assert.equal(await redis.pfcount('p:1', 'p:2'), 3);
  await redis.geoadd('g', 13.361389, 38.115556, 'Palermo', 15.087269, 37.502669, 'Catania');
  assert.deepEqual(await redis.geosearch('g', 'FROMLONLAT', 15, 37, 'BYRADIUS', 200, 'km', 'ASC'), ['Catania', 'Palermo']);
});

check('streams and their groups', async () => {
  const first = await redis.xadd('x', '*', 'n', 1);
  await redis.xadd('x', '*', 'n', 2);
  assert.equal(await redis.xgroup('CREATE', 'x', 'workers', 0), 'OK');
  const [[stream, entries]] = await redis.xreadgroup('GROUP', 'workers', 'me', 'COUNT', 10, 'STREAMS', 'x', '>');
  assert.deepEqual([stream, entries.length, entries[0]], ['x', 2, [first, ['n', '1']]]);
  assert.equal(await redis.xack('x', 'workers', first), 1);
  assert.equal((await redis.xpending('x', 'workers'))[0], 1);
  const [next, claimed] = await redis.xautoclaim('x', 'workers', 'other', 0, '0');
  assert.deepEqual([next, claimed.length], ['0-0', 1]);
  const waiting = connect().xread('BLOCK', 0, 'STREAMS', 'x', 'x:late', '$', '$');
  await eventually('it waits', async () => /blocked_clients:[1-9]/.test(await redis.info('clients')));
  await redis.xadd('x:late', '5-1', 'n', 3);
  assert.deepEqual(await waiting, [['x:late', [['5-1', ['n', '3']]]]]);
  assert.equal(await redis.xtrim('x', 'MAXLEN', 0), 2);
});

check('pipelines', async () => {
  const pipeline = redis.pipeline();
  names('pipe', 500).forEach((key, index) => pipeline.set(key, index).incr(key).get(key));
  const replies = await pipeline.exec();
  assert.equal(replies.length, 1500);
  replies.forEach(([error, reply], index) => {
    const number = Math.floor(index / 3);
    assert.equal(error, null);
    assert.deepEqual(reply, ['OK', number + 1, String(number + 1)][index % 3]);
  });
  const [[error], [, fine]] = await redis.pipeline().lpush('pipe:1', 'x').get('pipe:1').exec();
  assert.match(error.message, /WRONGTYPE/);
  assert.equal(fine, '2');
});

check('pipelines that nobody asked for', async () => {
  const client = connect({ enableAutoPipelining: true });
  const keys = names('auto', 200);
  await Promise.all(keys.map((key, index) => client.set(key, index)));
  assert.deepEqual(await Promise.all(keys.map((key) => client.get(key))), keys.map((_, index) => String(index)));
});

check('transactions', async () => {
  const keys = names('multi', 6);
  const replies = await redis.multi().mset(...keys.flatMap((key) => [key, 1])).incr(keys[3]).mget(...keys).exec();
  assert.deepEqual(replies, [[null, 'OK'], [null, 2], [null, ['1', '1', '1', '2', '1', '1']]]);
  await assert.rejects(redis.multi().set('multi:x').exec(), /EXECABORT|wrong number/);
  const [one, other] = [connect(), connect()];
  await one.watch(...keys);
  await other.set(keys[5], 'changed');
  assert.equal(await one.multi().set(keys[0], 'lost').exec(), null);
  assert.equal(await redis.get(keys[0]), '1');
  // A counter that is read and written, by several at once.
  const add = async (client) => {
    for (let done = 0; done < 20;) {
      await client.watch('multi:counter', 'multi:log');
      const [value, length] = [Number(await client.get('multi:counter')), await client.llen('multi:log')];
      if (!(await client.multi().set('multi:counter', value + 1).rpush('multi:log', value).exec())) continue;
      // Nothing has changed since the first was read.
      assert.equal(value, length);
      done += 1;
    }
  };
  await Promise.all([connect(), connect(), connect(), connect()].map(add));
  assert.deepEqual([await redis.get('multi:counter'), await redis.llen('multi:log')], ['80', 80]);
});

check('messages to channels, patterns and shards', async () => {
  const listener = connect();
  const heard = [];
  listener.on('message', (channel, message) => heard.push(`${channel} ${message}`));
  listener.on('pmessage', (pattern, channel, message) => heard.push(`${pattern} ${channel} ${message}`));
  listener.on('smessage', (channel, message) => heard.push(`s ${channel} ${message}`));
  assert.equal(await listener.subscribe('news', 'sport'), 2);
  await listener.psubscribe('n*');
  await listener.ssubscribe('shard{1}');
  assert.equal(await redis.publish('news', 'a'), 2);
  assert.equal(await redis.publish('sport', 'b'), 1);
  assert.equal(await redis.spublish('shard{1}', 'c'), 1);
  await eventually('all is heard', () => heard.length === 4);
  assert.deepEqual(heard.sort(), ['n* news a', 'news a', 's shard{1} c', 'sport b']);
  await listener.unsubscribe('news');
  assert.deepEqual(await redis.pubsub('CHANNELS'), ['sport']);
  await listener.quit();
});

check('scripts as commands', async () => {
  const script = `
    local total = 0
    for _, key in ipairs(KEYS) do total = total + redis.call('incrby', key, ARGV[1]) end
    return {total, redis.status_reply('FINE'), false, {ok = 'yes'}}`;
  redis.defineCommand('addToAll', { lua: script });
  const keys = names('lua', 8);
  assert.deepEqual(await redis.addToAll(8, ...keys, 5), [40, 'FINE', null, 'yes']);
  const [[, first], [, second]] = await redis.pipeline().addToAll(2, keys[0], keys[7], 1).addToAll(1, keys[3], 1).exec();
  assert.deepEqual([first[0], second[0]], [12, 6]);
  await redis.script('FLUSH');
  assert.equal((await redis.addToAll(1, keys[0], 1))[0], 7);
  await assert.rejects(redis.eval('return redis.call("incr", KEYS[1], "x")', 1, 'lua:0'), /wrong number|Wrong number/i);
  await redis.function('LOAD', 'REPLACE', `#!lua name=tour
    redis.register_function('tour_set', function(keys, args) return redis.call('set', keys[1], args[1]) end)`);
  assert.equal(await redis.fcall('tour_set', 1, 'lua:f', 'x'), 'OK');
  assert.equal(await redis.function('DELETE', 'tour'), 'OK');
});

check('pops that wait', async () => {
  const keys = names('wait', 4);
  const waiting = keys.map((key) => connect().blpop(key, `${key}:other`, 0));
  await eventually('all wait', async () => /blocked_clients:4/.test(await redis.info('clients')));
  await Promise.all(keys.map((key, index) => redis.rpush(index % 2 ? key : `${key}:other`, index)));
  assert.deepEqual(await Promise.all(waiting), keys.map((key, index) => [index % 2 ? key : `${key}:other`, String(index)]));
  const moved = connect().blmove('wait:from', 'wait:to', 'LEFT', 'RIGHT', 0);
  const popped = connect().bzpopmin('wait:z', 0);
  await redis.rpush('wait:from', 'x');
  await redis.zadd('wait:z', 1, 'm');
  assert.deepEqual([await moved, await popped], ['x', ['wait:z', 'm', '1']]);
  assert.equal(await connect().blpop('wait:none', 0.05), null);
});

check('scans', async () => {
  const keys = names('scan', 1000);
  await redis.mset(...keys.flatMap((key) => [key, 1]));
  const found = new Set();
  for await (const some of redis.scanStream({ match: 'scan:*', count: 100 })) some.forEach((key) => found.add(key));
  assert.equal(found.size, 1000);
  await redis.hset('scan{h}', ...keys.flatMap((key) => [key, 1]));
  let fields = 0;
  for await (const some of redis.hscanStream('scan{h}')) fields += some.length / 2;
  assert.equal(fields, 1000);
  const client = connect({ db: 9 });
  await client.mset('few:1', 1, 'few:2', 2, 'few:3', 3);
  const [cursor, few] = await client.scan(0);
  assert.deepEqual([cursor, few.sort()], ['0', ['few:1', 'few:2', 'few:3']]);
});

check('databases', async () => {
  const other = connect({ db: 5 });
  await other.set('only:here', 1);
  assert.equal(await redis.exists('only:here'), 0);
  assert.equal(await redis.copy('s:3', 'copied', 'DB', 5), 1);
  assert.equal(await other.get('copied'), '3');
  assert.equal(await other.move('copied', 6), 1);
});

check('the newer protocol', async () => {
  const client = connect({ protocol: 3 });
  await client.hset('r3', 'a', 1);
  assert.deepEqual(await client.hgetall('r3'), { a: '1' });
  assert.match(await client.client('INFO'), / resp=3 /);
  await client.zadd('r3:z', 1.5, 'm');
  assert.equal(Number(await client.zscore('r3:z', 'm')), 1.5);
});

check('users', async () => {
  await redis.acl('SETUSER', 'tourist', 'on', '>secret', '~mine:*', '&mine:*', '+@read', '+set', '+client', '+info');
  const tourist = connect({ username: 'tourist', password: 'secret' });
  assert.equal(await tourist.set('mine:1', 'x'), 'OK');
  await assert.rejects(tourist.set('others:1', 'x'), /NOPERM/);
  await assert.rejects(tourist.del('mine:1'), /NOPERM/);
  const wrong = connect({ username: 'tourist', password: 'wrong', retryStrategy: null, lazyConnect: true });
  await assert.rejects(wrong.connect().then(() => wrong.get('mine:1')), /WRONGPASS|closed/);
  assert.equal(await redis.acl('DELUSER', 'tourist'), 1);
});

check('TLS', async () => {
  const client = connect({ port: server.tlsPort, tls: { ca: readFileSync(server.certificate), host: '127.0.0.1' } });
  const large = 'x'.repeat(1_000_000);
  assert.equal(await client.set('tls', large), 'OK');
  assert.equal(await client.get('tls'), large);
  await assert.rejects(connect({ port: server.tlsPort, tls: {}, retryStrategy: null, maxRetriesPerRequest: 0 }).ping());
});

check('connections that are cut off', async () => {
  const client = connect({ retryStrategy: () => 1 });
  const listener = connect({ retryStrategy: () => 1 });
  const heard = [];
  listener.on('message', (_, message) => heard.push(message));
  await listener.subscribe('back');
  const id = await client.client('ID');
  assert.equal(await redis.client('KILL', 'ID', id), 1);
  assert.equal(await client.set('back', 1), 'OK');
  assert.ok((await client.client('ID')) > id);
  await redis.client('KILL', 'TYPE', 'pubsub');
  await eventually('it has subscribed again', async () => (await redis.publish('back', 'hello')) === 1);
  await eventually('it hears', () => heard.includes('hello'));
});

check('events of keys', async () => {
  await redis.config('SET', 'notify-keyspace-events', 'KEA');
  const listener = connect();
  const heard = [];
  listener.on('pmessage', (_, channel, message) => heard.push(`${channel.split(':').slice(1).join(':')} ${message}`));
  await listener.psubscribe('__keyevent@0__:*');
  await redis.set('event:1', 1, 'PX', 20);
  await eventually('its end is told', () => heard.includes('expired event:1'));
  assert.equal(heard[0], 'set event:1');
  await redis.config('SET', 'notify-keyspace-events', '');
});

check('clients that learn of changes', async () => {
  const [reader, told] = [connect({ protocol: 2 }), connect({ protocol: 2 })];
  const heard = new Set();
  told.on('message', (_, keys) => heard.add(String(keys)));
  const id = await told.client('ID');
  await told.subscribe('__redis__:invalidate');
  await reader.client('TRACKING', 'ON', 'REDIRECT', id);
  const keys = names('near', 8);
  await reader.mget(...keys);
  await redis.mset(...keys.flatMap((key) => [key, 1]));
  await eventually('each is told', () => keys.every((key) => heard.has(key)));
});

await redis.flushall();
await tour('ioredis');
