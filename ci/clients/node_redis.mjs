// A tour of node-redis: what its users build on, with nothing configured for more than one shard.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { RESP_TYPES, WatchError, createClient, createClientPool, defineScript } from 'redis';
import { check, eventually, server, sleep, tour } from './tour.mjs';

async function connect(options = {}) {
  const socket = { host: '127.0.0.1', port: server.port, reconnectStrategy: () => 5, ...options.socket };
  const client = createClient({ ...options, socket });
  client.on('error', () => {});
  return client.connect();
}
const redis = await connect();
const old = await connect({ RESP: 2 });
const names = (stem, count) => Array.from({ length: count }, (_, index) => `${stem}:${index}`);
const both = [redis, old];

check('strings', async () => {
  for (const client of both) {
    await client.flushAll();
    assert.equal(await client.set('s:1', 'a', { expiration: { type: 'EX', value: 60 }, condition: 'NX' }), 'OK');
    assert.equal(await client.set('s:1', 'b', { condition: 'NX' }), null);
    assert.equal(await client.append('s:1', 'bc'), 3);
    assert.equal(await client.getRange('s:1', 1, -1), 'bc');
    assert.equal(Number(await client.incrByFloat('s:n', 1.5)), 1.5);
    await client.mSet({ 's:2': '2', 's:3': '3' });
    assert.deepEqual(await client.mGet(['s:2', 's:none', 's:3']), ['2', null, '3']);
    assert.equal(await client.mSetNX({ 's:3': 'x', 's:4': 'x' }), 0);
    assert.equal(await client.getEx('s:1', { type: 'PERSIST' }), 'abc');
    assert.equal(await client.ttl('s:1'), -1);
    assert.deepEqual(await client.lcs('s:2', 's:3'), '');
    await assert.rejects(client.incr('s:1'), /not an integer/);
  }
  const bytes = redis.withTypeMapping({ [RESP_TYPES.BLOB_STRING]: Buffer });
  await redis.set('s:b', Buffer.from([0, 255, 13, 10]));
  assert.deepEqual(await bytes.get('s:b'), Buffer.from([0, 255, 13, 10]));
});

check('hashes, lists and sets', async () => {
  for (const client of both) {
    await client.flushAll();
    assert.equal(await client.hSet('h', { a: '1', b: 'two' }), 2);
    assert.deepEqual({ ...(await client.hGetAll('h')) }, { a: '1', b: 'two' });
    assert.deepEqual(await client.hmGet('h', ['b', 'none']), ['two', null]);
    assert.deepEqual(await client.hExpire('h', 'a', 100), [1]);
    assert.deepEqual(await client.hPersist('h', ['a', 'none']), [1, -2]);
    assert.equal(await client.rPush('l', ['1', '2', '3']), 3);
    assert.equal(await client.lMove('l', 'l:other', 'LEFT', 'RIGHT'), '1');
    assert.deepEqual(await client.lPopCount('l', 5), ['2', '3']);
    assert.deepEqual({ ...(await client.lmPop(['l', 'l:other'], 'LEFT')) }, { 0: 'l:other', 1: ['1'] });
    await client.sAdd('t:1', ['a', 'b', 'c']);
    await client.sAdd('t:2', ['b', 'c', 'd']);
    assert.deepEqual((await client.sInter(['t:1', 't:2'])).sort(), ['b', 'c']);
    assert.equal(await client.sDiffStore('t:3', ['t:1', 't:2']), 1);
    assert.deepEqual((await client.smIsMember('t:1', ['a', 'z'])).map(Number), [1, 0]);
  }
});

check('sorted sets, places and cardinalities', async () => {
  for (const client of both) {
    await client.flushAll();
    assert.equal(await client.zAdd('z', [{ score: 1, value: 'a' }, { score: 2.5, value: 'b' }, { score: -Infinity, value: 'c' }]), 3);
    assert.deepEqual((await client.zRangeWithScores('z', 0, -1)).map(({ value, score }) => [value, score]),
      [['c', -Infinity], ['a', 1], ['b', 2.5]]);
    await client.zAdd('z:2', { score: 10, value: 'a' });
    assert.equal(await client.zUnionStore('z:3', [{ key: 'z', weight: 1 }, { key: 'z:2', weight: 2 }]), 3);
    assert.equal(await client.zScore('z:3', 'a'), 21);
    assert.equal(await client.zIncrBy('z', 1, 'a'), 2);
    assert.deepEqual(await client.zRange('z', '(1', '3', { BY: 'SCORE' }), ['a', 'b']);
    await client.geoAdd('g', [{ longitude: 13.361389, latitude: 38.115556, member: 'Palermo' }, { longitude: 15.087269, latitude: 37.502669, member: 'Catania' }]);
    assert.ok(Math.abs(Number(await client.geoDist('g', 'Palermo', 'Catania', 'km')) - 166.27) < 0.1);
    await client.pfAdd('p:1', ['a', 'b']);
    await client.pfAdd('p:2', ['b', 'c']);
    assert.equal(await client.pfCount(['p:1', 'p:2']), 3);
  }
});

check('streams and their groups', async () => {
  for (const client of both) {
    await client.flushAll();
    const first = await client.xAdd('x', '*', { n: '1' });
    await client.xAdd('x', '*', { n: '2' });
    assert.equal(await client.xGroupCreate('x', 'workers', '0'), 'OK');
    const [{ name, messages }] = await client.xReadGroup('workers', 'me', { key: 'x', id: '>' }, { COUNT: 10 });
    assert.deepEqual([name, messages.length, messages[0].id, { ...messages[0].message }], ['x', 2, first, { n: '1' }]);
    assert.equal(await client.xAck('x', 'workers', first), 1);
    assert.equal((await client.xPending('x', 'workers')).pending, 1);
    assert.equal((await client.xAutoClaim('x', 'workers', 'other', 0, '0')).messages.length, 1);
    const [consumer] = await client.xInfoConsumers('x', 'workers');
    assert.equal(consumer.name, 'me');
    assert.equal((await client.xInfoStream('x')).length, 2);
  }
  const waiter = await connect();
  const waiting = waiter.xRead([{ key: 'x', id: '$' }, { key: 'x:late', id: '$' }], { BLOCK: 0 });
  await eventually('it waits', async () => /blocked_clients:[1-9]/.test(await redis.info('clients')));
  await redis.xAdd('x:late', '5-1', { n: '3' });
  assert.equal((await waiting)[0].messages[0].id, '5-1');
  waiter.destroy();
});

check('commands of one moment go as a pipeline', async () => {
  for (const client of both) {
    const keys = names('pipe', 1000);
    await Promise.all(keys.map((key, index) => client.set(key, String(index))));
    assert.deepEqual(await Promise.all(keys.map((key) => client.get(key))), keys.map((_, index) => String(index)));
    const replies = await client.multi().set('pipe:x', '1').incr('pipe:x').get('pipe:x').execAsPipeline();
    assert.deepEqual(replies, ['OK', 2, '2']);
  }
});

check('transactions', async () => {
  for (const client of both) {
    const keys = names('multi', 6);
    const replies = await client.multi().mSet(keys.map((key) => [key, '1'])).incr(keys[3]).mGet(keys).exec();
    assert.deepEqual(replies, ['OK', 2, ['1', '1', '1', '2', '1', '1']]);
    const one = await connect();
    await one.watch(keys);
    await client.set(keys[5], 'changed');
    await assert.rejects(one.multi().set(keys[0], 'lost').exec(), WatchError);
    assert.equal(await client.get(keys[0]), '1');
    one.destroy();
  }
  await redis.del(['multi:counter', 'multi:log']);
  const pool = createClientPool({ socket: { host: '127.0.0.1', port: server.port } }, { minimum: 1, maximum: 4 });
  await pool.connect();
  const add = () => pool.execute(async (client) => {
    for (;;) {
      await client.watch(['multi:counter', 'multi:log']);
      const [value, length] = [Number(await client.get('multi:counter')), await client.lLen('multi:log')];
      try {
        await client.multi().set('multi:counter', String(value + 1)).rPush('multi:log', String(value)).exec();
        // Nothing has changed since the first was read.
        assert.equal(value, length);
        return;
      } catch (error) {
        if (!(error instanceof WatchError)) throw error;
      }
    }
  });
  await Promise.all(Array.from({ length: 60 }, add));
  assert.deepEqual([await redis.get('multi:counter'), await redis.lLen('multi:log')], ['60', 60]);
  pool.destroy();
});

check('messages to channels, patterns and shards', async () => {
  for (const options of [{ RESP: 3 }, { RESP: 2 }]) {
    const listener = await connect(options);
    const heard = [];
    await listener.subscribe(['news', 'sport'], (message, channel) => heard.push(`${channel} ${message}`));
    await listener.pSubscribe('n*', (message, channel) => heard.push(`n* ${channel} ${message}`));
    await listener.sSubscribe('shard{1}', (message, channel) => heard.push(`s ${channel} ${message}`));
    assert.equal(await redis.publish('news', 'a'), 2);
    assert.equal(await redis.publish('sport', 'b'), 1);
    assert.equal(await redis.sPublish('shard{1}', 'c'), 1);
    await eventually('all is heard', () => heard.length === 4);
    assert.deepEqual(heard.sort(), ['n* news a', 'news a', 's shard{1} c', 'sport b']);
    await listener.unsubscribe('news');
    assert.deepEqual(await redis.pubSubChannels(), ['sport']);
    listener.destroy();
    await eventually('it is gone', async () => (await redis.pubSubChannels()).length === 0);
  }
});

check('scripts and functions', async () => {
  const add = defineScript({
    SCRIPT: "local total = 0 for _, key in ipairs(KEYS) do total = total + redis.call('incrby', key, ARGV[1]) end return total",
    NUMBER_OF_KEYS: 3,
    parseCommand(parser, keys, number) {
      keys.forEach((key) => parser.pushKey(key));
      parser.push(String(number));
    },
    transformReply: (reply) => reply,
  });
  for (const RESP of [2, 3]) {
    const client = await connect({ RESP, scripts: { add } });
    await client.flushAll();
    await client.scriptFlush();
    assert.equal(await client.add(['lua:1', 'lua:2', 'lua:3'], 4), 12);
    assert.equal(await client.add(['lua:1', 'lua:2', 'lua:3'], 1), 15);
    assert.deepEqual(await client.multi().add(['lua:1', 'lua:2', 'lua:3'], 1).get('lua:1').exec(), [18, '6']);
    await client.functionLoad(`#!lua name=tour
      redis.register_function{function_name='tour_get', callback=function(keys) return redis.call('get', keys[1]) end, flags={'no-writes'}}`,
    { REPLACE: true });
    assert.equal(await client.fCallRo('tour_get', { keys: ['lua:1'], arguments: [] }), '6');
    assert.equal((await client.functionList()).length, 1);
    await client.functionDelete('tour');
    client.destroy();
  }
});

check('pops that wait', async () => {
  const keys = names('wait', 4);
  const waiters = await Promise.all(keys.map(() => connect()));
  const waiting = keys.map((key, index) => waiters[index].blPop([key, `${key}:other`], 0));
  await eventually('all wait', async () => /blocked_clients:4/.test(await redis.info('clients')));
  await Promise.all(keys.map((key, index) => redis.rPush(index % 2 ? key : `${key}:other`, String(index))));
  assert.deepEqual((await Promise.all(waiting)).map((popped) => popped.element), ['0', '1', '2', '3']);
  const moved = waiters[0].blMove('wait:from', 'wait:to', 'LEFT', 'RIGHT', 0);
  const popped = waiters[1].bzPopMin('wait:z', 0);
  await redis.rPush('wait:from', 'x');
  await redis.zAdd('wait:z', { score: 1, value: 'm' });
  assert.deepEqual([await moved, (await popped).value], ['x', 'm']);
  assert.equal(await waiters[2].blPop('wait:none', 0.05), null);
  waiters.forEach((waiter) => waiter.destroy());
});

check('scans', async () => {
  for (const client of both) {
    await client.flushAll();
    const keys = names('scan', 1000);
    await client.mSet(keys.map((key) => [key, '1']));
    const found = new Set();
    for await (const some of client.scanIterator({ MATCH: 'scan:*', COUNT: 100 })) some.forEach((key) => found.add(key));
    assert.equal(found.size, 1000);
    await client.hSet('scan{h}', keys.map((key) => [key, '1']));
    let fields = 0;
    for await (const some of client.hScanIterator('scan{h}')) fields += some.length;
    assert.equal(fields, 1000);
    await client.flushAll();
    await client.mSet({ 'few:1': '1', 'few:2': '2', 'few:3': '3' });
    const { cursor, keys: few } = await client.scan('0');
    assert.deepEqual([cursor, few.sort()], ['0', ['few:1', 'few:2', 'few:3']]);
  }
});

check('a cache on the client', async () => {
  const client = await connect({ RESP: 3, clientSideCache: { ttl: 0, maxEntries: 100, evictPolicy: 'LRU' } });
  const keys = names('near', 8);
  await redis.mSet(keys.map((key) => [key, 'old']));
  for (const key of keys) assert.equal(await client.get(key), 'old');
  const before = Number(/keyspace_hits:(\d+)/.exec(await redis.info('stats'))[1]);
  for (const key of keys) assert.equal(await client.get(key), 'old');
  assert.equal(Number(/keyspace_hits:(\d+)/.exec(await redis.info('stats'))[1]), before);
  await redis.mSet(keys.map((key) => [key, 'new']));
  for (const key of keys) await eventually('it learns of the change', async () => (await client.get(key)) === 'new');
  client.destroy();
});

check('users', async () => {
  await redis.aclSetUser('tourist', ['on', '>secret', '~mine:*', '+@read', '+set', '+client', '+hello']);
  const tourist = await connect({ username: 'tourist', password: 'secret' });
  assert.equal(await tourist.aclWhoAmI().catch((error) => error.message.slice(0, 6)), 'NOPERM');
  assert.equal(await tourist.set('mine:1', 'x'), 'OK');
  await assert.rejects(tourist.set('others:1', 'x'), /NOPERM/);
  tourist.destroy();
  const wrong = createClient({ username: 'tourist', password: 'wrong', socket: { port: server.port, reconnectStrategy: false } });
  wrong.on('error', () => {});
  await assert.rejects(wrong.connect(), /WRONGPASS/);
  assert.equal(await redis.aclDelUser('tourist'), 1);
});

check('TLS', async () => {
  const client = await connect({ socket: { port: server.tlsPort, tls: true, ca: readFileSync(server.certificate) } });
  const large = 'x'.repeat(1_000_000);
  assert.equal(await client.set('tls', large), 'OK');
  assert.equal(await client.get('tls'), large);
  client.destroy();
});

check('connections that are cut off', async () => {
  for (const RESP of [2, 3]) {
    const [client, listener] = [await connect({ RESP }), await connect({ RESP })];
    const heard = [];
    await listener.subscribe('back', (message) => heard.push(message));
    const id = await client.clientId();
    assert.equal(await redis.clientKill({ filter: 'ID', id }), 1);
    await eventually('it is back', async () => (await client.clientId().catch(() => id)) > id);
    await redis.clientKill({ filter: 'TYPE', type: 'pubsub' });
    await eventually('it has subscribed again', async () => (await redis.publish('back', 'hello')) === 1);
    await eventually('it hears', () => heard.includes('hello'));
    client.destroy();
    listener.destroy();
    await sleep(1);
  }
});

await tour('node-redis');
