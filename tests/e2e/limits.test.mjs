// More than the daemon takes: 503 with Retry-After, and by itself back to normal.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { claim, startStack, tempDir, throughBoth, until } from './lib/harness.mjs';
import { expectBusy, expectJson, expectUpdate } from './lib/expect.mjs';
import { faultyDisk } from './lib/fault.mjs';
import { request } from './lib/fcgi.mjs';

const TEXT = { 'Content-Type': 'text/plain' };

throughBoth('too many holds get 503 with Retry-After, and room is room again', async (t, server) => {
  const stack = await startStack(t, { server, args: ['--max-holds', '8'], allow: [/^encke: warn: /] });
  for (let round = 0; round < 3; round++) {
    const gone = new AbortController();
    const held = Array.from({ length: 7 }, (_, i) => (i % 2 ? stack.update({ id: 'now' }) : stack.subscribe()));
    await stack.holds(7);
    const last = stack.update({ id: 'now', channel: 'other', timeout: 60 }, { signal: gone.signal }).catch(() => {});
    await stack.holds(8);
    for (let i = 0; i < 5; i++) {
      expectBusy(await stack.http('update?id=now'));
      expectBusy(await stack.http('subscribe'));
    }
    // What needs no hold is served all the same.
    expectJson(await stack.http('status'));
    expectUpdate(await stack.update({ timeout: 0 }));
    await stack.create('room');
    await Promise.all(held);
    await stack.holds(1);
    const again = stack.update({ id: 'now' });
    await stack.holds(2);
    await stack.create('free', { channel: 'other' });
    await stack.create('free');
    await again;
    await last;
    gone.abort();
    await stack.holds(0);
  }
});

// The CPU time that a process has used, in clock ticks (hundredths of a second).
function ticks(pid) {
  const fields = fs.readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1].split(' ');
  return Number(fields[11]) + Number(fields[12]);
}

const fewFiles = ['/bin/sh', '-c', 'ulimit -n 64; exec "$@"', 'sh'];

throughBoth('without file descriptors left: 503 with Retry-After, and it recovers by itself', async (t, server) => {
  const stack = await startStack(t, { server, wrap: fewFiles, allow: [/^encke: warn: /] });
  for (let round = 0; round < 2; round++) {
    const gone = new AbortController();
    const asked = Array.from({ length: 150 }, () => stack.http('update?id=now', { signal: gone.signal }));
    const outcome = await Promise.all(asked.map((answer) => Promise.race([
      answer.then((a) => a, (e) => e), until('a refusal or a hold', () => false, { within: 4000 }).catch(() => 'held'),
    ])));
    const refused = outcome.filter((o) => o !== 'held');
    const held = outcome.filter((o) => o === 'held').length;
    assert.ok(refused.length > 0, 'some are too many');
    for (const answer of refused) expectBusy(answer);
    assert.ok(held >= 10, `${held} held`);
    const answers = Promise.all(asked.map((a) => a.catch((e) => e)));
    await until('there is room for a create', () => stack.create(`round ${round}`).then(() => true), { every: 50 });
    const woken = (await answers).filter((a) => a.status === 200);
    assert.equal(woken.length, held, 'every hold is answered');
    for (const answer of woken) expectUpdate(answer.json());
    gone.abort();
    await stack.holds(0);
  }
});

claim('a daemon without file descriptors left waits without burning the processor', async (t) => {
  const stack = await startStack(t, { wrap: fewFiles, allow: [/^encke: warn: /] });
  const silent = [];
  for (let i = 0; i < 120; i++) silent.push(await stack.connect());
  const before = ticks(stack.daemon.pid), end = Date.now() + 1500;
  await until('a while has passed', () => Date.now() > end);
  const used = ticks(stack.daemon.pid) - before;
  assert.ok(used < 50, `${used} ticks of 150 used while nothing happened`);
  for (const connection of silent) connection.destroy();
  await until('it recovers', async () => (await stack.status()).connections <= 3);
  await stack.create('after');
});

claim('connections that say nothing do not keep others out for ever', async (t) => {
  const stack = await startStack(t, { wrap: fewFiles, args: ['--request-timeout', '1'], allow: [/^encke: warn: /] });
  const started = request().subarray(0, 20);
  const silent = [];
  for (let i = 0; i < 100; i++) {
    const connection = await stack.connect();
    await connection.write(started).catch(() => {});
    silent.push(connection);
  }
  await until('the others get in', () => stack.create('in').then(() => true), { every: 50 });
  await Promise.all(silent.map((c) => c.closed));
});

throughBoth('more creates than the queue takes get 503 with Retry-After, and the queued ones are stored', async (t, server) => {
  const disk = faultyDisk(tempDir(t));
  const stack = await startStack(t, { ...disk.options, server, args: ['--queue', '256K'], allow: [/^encke: warn: /] });
  await stack.create('warm');
  disk.set('sync=gate');
  const post = (i) => stack.http('create', { method: 'POST', headers: TEXT, body: `${i} `.padEnd(30_000, 'q') });
  const first = post(-1);
  await disk.hit('sync');
  const settled = [];
  const rest = Array.from({ length: 60 }, (_, i) => post(i).then((a) => { settled.push(a); return a; }));
  await until('some are refused', () => settled.length >= 60 - 10);
  for (const answer of settled) expectBusy(answer);
  expectBusy(await post(99));
  disk.set();
  const stored = [await first, ...(await Promise.all(rest))].filter((a) => a.status === 200);
  assert.ok(stored.length >= 5, `${stored.length} stored`);
  for (const answer of stored) expectJson(answer);
  assert.equal((await stack.all()).length, 1 + stored.length);
  await Promise.all(Array.from({ length: 5 }, (_, i) => stack.create(`after ${i}`)));
});

throughBoth('a thousand holds are answered by one create, and counted to zero', async (t, server) => {
  const stack = await startStack(t, { server });
  const held = Array.from({ length: 1000 }, (_, i) => stack.update({ id: 'now', channel: `c${i % 10}` }));
  await stack.holds(1000);
  const { holds_by_channel } = await stack.status();
  assert.deepEqual(holds_by_channel, Object.fromEntries(Array.from({ length: 10 }, (_, i) => [`c${i}`, 100])));
  for (let i = 0; i < 10; i++) await stack.create(`for ${i}`, { channel: `c${i}` });
  (await Promise.all(held)).forEach((body, i) => assert.equal(body.messages[0].data, `for ${i % 10}`));
  await stack.holds(0);
});
