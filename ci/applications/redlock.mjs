// Redlock: contenders that add to a number by reading and writing it, which loses additions unless a lock is held; the
// locks are of one resource and of several, are extended, and run out.
import { Redis } from 'ioredis';
import Redlock, { ExecutionError } from 'redlock';

const port = Number(process.argv[2]);
const CONTENDERS = 8;
const ROUNDS = 40;
const RESOURCES = ['lock:accounts', 'lock:orders', 'lock:stock', 'lock:users'];

const connect = () => new Redis({ host: '127.0.0.1', port });
const sleep = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });
const witness = connect();
const wrong = [];

async function contend(contender) {
  const redis = connect();
  const redlock = new Redlock([redis], { retryCount: 10_000, retryDelay: 3, retryJitter: 4, automaticExtensionThreshold: 500 });
  redlock.on('error', (error) => {
    if (!(error instanceof ExecutionError) && error.name !== 'ResourceLockedError') wrong.push(String(error.stack));
  });
  for (let round = 0; round < ROUNDS; round += 1) {
    // One, or several in any order: what several hold is held from all.
    const resources = (contender + round) % 3 === 0 ? [...RESOURCES].sort(() => Math.random() - 0.5) : [RESOURCES[0]];
    const lock = await redlock.acquire(resources, 10_000);
    const before = Number(await redis.get('number'));
    if (round % 5 === 0) await lock.extend(10_000);
    await redis.set('number', before + 1);
    await lock.release();
  }
  await redlock.using([RESOURCES[1]], 1000, async (signal) => {
    const before = Number(await redis.get('other'));
    await sleep(5);
    if (signal.aborted) throw signal.error;
    await redis.set('other', before + 1);
  });
  await redis.quit();
}

async function runsOut() {
  const redlock = new Redlock([witness], { retryCount: 0 });
  const lock = await redlock.acquire(['lock:short', 'lock:shorter'], 100);
  if (await redlock.acquire(['lock:shorter'], 100).then(() => true, () => false)) wrong.push('a lock was given twice');
  while (await witness.exists('lock:short', 'lock:shorter')) await sleep(10);
  const next = await redlock.acquire(['lock:shorter'], 10_000);
  if (await lock.release().then(() => true, () => false)) wrong.push('a lock that had run out was released');
  await next.release();
}

await Promise.all(Array.from({ length: CONTENDERS }, (_, contender) => contend(contender)));
await runsOut();
const [number, other] = (await witness.mget('number', 'other')).map(Number);
if (number !== CONTENDERS * ROUNDS) wrong.push(`${number} additions of ${CONTENDERS * ROUNDS} are left`);
if (other !== CONTENDERS) wrong.push(`${other} additions of ${CONTENDERS} are left`);
const left = await witness.keys('lock:*');
if (left.length) wrong.push(`left behind: ${left}`);
await witness.quit();
if (wrong.length) {
  console.log([...new Set(wrong)].slice(0, 20).join('\n'));
  process.exit(1);
}
console.log(`${number + other} additions under locks, none lost`);
