// BullMQ: ten thousand jobs, some delayed, some with priorities, some that fail at first, worked off by several processes.
//
//   this process:  adds jobs ─> queue ─> 3 worker processes, 20 jobs at a time each ─> tell which job has run
//                  counts:  each job has run once, and once more for each time that it was to fail
import { fork } from 'node:child_process';
import { Queue, QueueEvents, Worker } from 'bullmq';

const [port, role] = process.argv.slice(2);
const connection = { host: '127.0.0.1', port: Number(port), maxRetriesPerRequest: null };
const NAME = 'jobs';
const JOBS = 10_000;
const BULK = 500;
const PROCESSES = 3;
const AT_ONCE = 20;

const failsAtFirst = (number) => number % 100 === 7;

function options(number) {
  return {
    attempts: 3,
    backoff: { type: 'fixed', delay: 10 },
    ...(number % 10 === 3 && { delay: 200 + (number % 7) * 50 }),
    ...(number % 10 === 5 && { priority: 1 + (number % 3) }),
  };
}

async function work() {
  // Ends with the process that has started it, however that ends.
  process.on('disconnect', () => process.exit());
  const ran = [];
  const worker = new Worker(
    NAME,
    async (job) => {
      const { number } = job.data;
      ran.push(number);
      if (failsAtFirst(number) && job.attemptsMade === 0) throw new Error('at first');
      return number;
    },
    { connection, concurrency: AT_ONCE },
  );
  worker.on('error', (error) => process.send({ error: String(error.stack) }));
  process.on('message', async () => {
    await worker.close();
    process.send({ ran });
    process.disconnect();
  });
  await worker.waitUntilReady();
  process.send({ ready: true });
}

async function main() {
  const queue = new Queue(NAME, { connection });
  const events = new QueueEvents(NAME, { connection });
  await events.waitUntilReady();
  const completed = new Map();
  let failures = 0;
  const errors = [];
  const done = new Promise((resolve, reject) => {
    events.on('completed', ({ returnvalue }) => {
      const number = Number(returnvalue);
      completed.set(number, (completed.get(number) ?? 0) + 1);
      if (completed.size === JOBS) resolve();
    });
    events.on('failed', () => { failures += 1; reject(new Error('a job has failed for good')); });
    events.on('error', reject);
    queue.on('error', reject);
  });
  const ran = new Map();
  const workers = Array.from({ length: PROCESSES }, () => fork(process.argv[1], [port, 'worker']));
  const told = (kind) => Promise.all(workers.map((worker) => new Promise((resolve) => {
    worker.on('message', (message) => {
      if (message.error) errors.push(message.error);
      if (message[kind]) resolve(message[kind]);
    });
  })));
  await told('ready');
  for (let first = 0; first < JOBS; first += BULK) {
    await queue.addBulk(Array.from({ length: BULK }, (_, index) => {
      const number = first + index;
      return { name: 'job', data: { number }, opts: options(number) };
    }));
  }
  await done;
  const lists = told('ran');
  workers.forEach((worker) => worker.send('stop'));
  for (const list of await lists) {
    for (const number of list) ran.set(number, (ran.get(number) ?? 0) + 1);
  }
  const wrong = [];
  for (let number = 0; number < JOBS; number += 1) {
    const times = failsAtFirst(number) ? 2 : 1;
    if (ran.get(number) !== times) wrong.push(`job ${number} ran ${ran.get(number)} times instead of ${times}`);
    if (completed.get(number) !== 1) wrong.push(`job ${number} was completed ${completed.get(number)} times`);
  }
  const counts = await queue.getJobCounts();
  for (const [state, count] of Object.entries(counts)) {
    if (count !== (state === 'completed' ? JOBS : 0)) wrong.push(`${count} jobs are ${state}`);
  }
  await queue.obliterate({ force: true });
  await events.close();
  await queue.close();
  if (failures) wrong.push(`${failures} failures`);
  if (errors.length || wrong.length) {
    console.log([...new Set(errors), ...wrong].slice(0, 20).join('\n'));
    process.exit(1);
  }
  console.log(`${JOBS} jobs, each of them once`);
}

await (role === 'worker' ? work() : main());
