// What the tours of Node's clients share: named checks one after the other, each on keys of its own, and how they are told.
import assert from 'node:assert/strict';

const [port, tlsPort, certificate] = process.argv.slice(2);
export const server = { port: Number(port), tlsPort: Number(tlsPort), certificate };
export const sleep = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });

// Waits until something is so; far beyond what it takes.
export async function eventually(what, isSo) {
  const until = Date.now() + 60_000;
  while (!(await isSo())) {
    assert(Date.now() < until, `not within a minute: ${what}`);
    await sleep(5);
  }
}

const checks = [];
export const check = (name, run) => checks.push({ name, run });

// Runs all; the last line says how many there were.
export async function tour(name) {
  let failed = 0;
  for (const { name, run } of checks) {
    try {
      await run();
    } catch (error) {
      failed += 1;
      console.log(`${name}: ${error.stack}`);
    }
  }
  console.log(`${name}: ${checks.length - failed} passed, ${failed} failed`);
  process.exit(failed ? 1 : 0);
}
