// No signal ends the daemon without a drain, from the first line of its main on.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { claim, plainBinary, run, startStack, tempDir, until, within } from './lib/harness.mjs';

const STOPS = ['SIGTERM', 'SIGINT', 'SIGQUIT', 'SIGPWR', 'SIGXCPU'];
const [FIRST_REAL_TIME, LAST_REAL_TIME] = [34, 64]; // glibc keeps two for itself
const PASSES = [
  ...['SIGHUP', 'SIGUSR1', 'SIGUSR2', 'SIGALRM', 'SIGVTALRM', 'SIGPROF', 'SIGPIPE', 'SIGIO'],
  ...['SIGSTKFLT', 'SIGXFSZ', FIRST_REAL_TIME, LAST_REAL_TIME],
];

const PIPE_BIT = 1n << 12n;
// Whether the process has come past main's first line, which ends with ignoring SIGPIPE. (What starts it, and a library
// that draws a random number before main, block all signals for a moment.)
function inMain(pid) {
  const status = fs.readFileSync(`/proc/${pid}/status`, 'utf8');
  assert.doesNotMatch(status, /^State:\s*Z/m, 'the daemon has ended');
  const ignored = /^SigIgn:\s*(\w+)/m.exec(status)[1];
  const isDaemon = fs.readlinkSync(`/proc/${pid}/exe`) === fs.realpathSync(plainBinary());
  return isDaemon && (BigInt(`0x${ignored}`) & PIPE_BIT) !== 0n;
}

// A daemon that has just begun: it may not have read its options yet.
function begin(dir, n) {
  const at = path.join(dir, String(n));
  const daemon = run([plainBinary(), '--socket', `${at}.sock`, '--db', `${at}.db`]);
  while (!inMain(daemon.pid));
  return daemon;
}

async function expectDrained(daemon, what) {
  const { code, signal } = await within(daemon.exited, 20_000, `the end after ${what}`);
  assert.deepEqual({ code, signal }, { code: 0, signal: null }, `${what}: ${daemon.stderr}`);
  assert.doesNotMatch(daemon.stderr, /^encke: (error|warn)/m, what);
}

const STARTS_UP_MS = 12;

for (const name of STOPS)
  claim(`${name} drains, at whatever moment of the start it comes`, async (t) => {
    const dir = tempDir(t);
    for (let n = 0; n < 20; n++) {
      const daemon = begin(dir, n);
      if (n > 0) await pause(Math.random() * STARTS_UP_MS);
      process.kill(daemon.pid, name);
      await expectDrained(daemon, name);
    }
  });

claim('no other signal ends it, at whatever moment of the start it comes', async (t) => {
  const dir = tempDir(t);
  for (let n = 0; n < 30; n++) {
    const daemon = begin(dir, n);
    for (const signal of PASSES) {
      if (n > 0) await pause(Math.random() * 2);
      process.kill(daemon.pid, signal);
    }
    await until('it serves', () => daemon.stderr.includes('serving'));
    process.kill(daemon.pid, 'SIGTERM');
    await expectDrained(daemon, PASSES.join(', '));
  }
});

claim('SIGHUP says that there is nothing to reload, and a poll that is held hears nothing of it', async (t) => {
  const stack = await startStack(t);
  const held = stack.update({ id: 'now' });
  await stack.holds(1);
  for (const signal of PASSES) process.kill(stack.daemon.pid, signal);
  const said = () => stack.daemon.stderr();
  await until('it has read them all', () => said().includes(`Real-time signal ${LAST_REAL_TIME - FIRST_REAL_TIME}`));
  assert.match(said(), /^encke: info: SIGHUP: there is nothing to reload$/m);
  assert.match(said(), /^encke: info: a signal that means nothing here: User defined signal 1$/m);
  await stack.holds(1);
  await stack.create('still here');
  assert.deepEqual((await held).messages.map((m) => m.data), ['still here']);
});

claim('a second SIGTERM does no harm', async (t) => {
  const stack = await startStack(t);
  const held = Array.from({ length: 50 }, () => stack.subscribe());
  await stack.holds(50);
  stack.daemon.process.kill('SIGTERM');
  stack.daemon.process.kill('SIGTERM');
  stack.daemon.process.kill('SIGINT');
  for (const word of await Promise.all(held)) assert.deepEqual(word, { ret: 'punt' });
  assert.equal((await stack.daemon.exited).code, 0);
});

