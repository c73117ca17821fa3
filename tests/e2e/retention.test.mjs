// What is kept, for how long, and how a reader learns what it missed.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { claim, startStack, throughBoth, until } from './lib/harness.mjs';
import { epochOf, expectUpdate, texts } from './lib/expect.mjs';

async function fill(stack, count, { channel, size = 10, from = 0 } = {}) {
  const ids = [];
  for (let i = from; i < from + count; i++)
    ids.push(await stack.create(`${i}.`.padEnd(size, '.'), { channel }));
  return ids;
}

throughBoth(
  'a channel keeps so many messages, and a cursor from before them is told of the gap',
  async (t, server) => {
    const stack = await startStack(t, { server, args: ['--keep-messages', '50'] });
    const [quiet] = await fill(stack, 1, { channel: 'quiet' });
    const ids = await fill(stack, 200);
    await until('only the newest are left', async () => (await stack.status()).messages <= 51);
    const kept = expectUpdate(await stack.update());
    assert.deepEqual(
      kept.messages.map((m) => m.id),
      ids.slice(-50),
      'the newest fifty, and no reset without a cursor',
    );

    for (const id of [quiet, ids[0], ids[100], ids[148]]) {
      const gap = expectUpdate(await stack.update({ id }), { reset: true });
      assert.deepEqual(
        gap.messages.map((m) => m.id),
        ids.slice(-50),
      );
      assert.deepEqual(await stack.subscribe({ id }), { ret: 'new' });
    }
    // Nothing was missed after the newest that is gone, nor in a channel where nothing was deleted.
    for (const id of [ids[149], ids[150], ids[198]])
      assert.deepEqual(
        expectUpdate(await stack.update({ id })).messages.map((m) => m.id),
        ids.slice(ids.indexOf(id) + 1),
      );
    const other = expectUpdate(await stack.update({ id: `${epochOf(quiet)}-0`, channel: 'quiet' }));
    assert.deepEqual(
      other.messages.map((m) => m.id),
      [quiet],
    );
    const both = expectUpdate(await stack.update({ id: quiet, channel: ['quiet', 'main'] }), {
      reset: true,
    });
    assert.equal(both.messages.at(-1).id, ids.at(-1));
  },
);

claim('a gap is told after a restart too', async (t) => {
  const stack = await startStack(t, { args: ['--keep-messages', '20'] });
  const ids = await fill(stack, 100);
  await until('only the newest are left', async () => (await stack.status()).messages <= 20);
  assert.equal((await stack.daemon.stop()).code, 0);
  await stack.daemon.start();
  assert.equal((await stack.status()).messages, 20);
  assert.equal((await stack.update({ id: ids[10] })).reset, true);
  assert.equal((await stack.update({ id: ids[90] })).reset, undefined);
  assert.deepEqual(
    (await stack.update({ id: ids[90] })).messages.map((m) => m.id),
    ids.slice(91),
  );
  assert.deepEqual((await fill(stack, 1)).map(epochOf), [epochOf(ids[0])]);
});

throughBoth('messages older than --keep-age go', async (t, server) => {
  const stack = await startStack(t, { server, args: ['--keep-age', '1s'] });
  const ids = await fill(stack, 30);
  await until(
    'the old ones are gone',
    async () => {
      await stack.create('new', { channel: 'other' });
      return (await stack.all()).length === 0;
    },
    { every: 100 },
  );
  const gap = expectUpdate(await stack.update({ id: ids[3], timeout: 0 }), { reset: true });
  assert.deepEqual(gap.messages, []);
  assert.deepEqual(
    expectUpdate(await stack.update({ id: ids.at(-1), timeout: 0 })).messages,
    [],
    'nothing was missed',
  );
});

claim('messages age while nothing is published', async (t) => {
  const stack = await startStack(t, { args: ['--keep-age', '1s'] });
  await fill(stack, 5);
  await until('the old ones are gone', async () => (await stack.status()).messages === 0, {
    within: 90_000,
    every: 100,
  });
});

throughBoth('the log keeps so many bytes', async (t, server) => {
  const stack = await startStack(t, { server, args: ['--keep-bytes', '100K'] });
  const ids = [];
  for (let i = 0; i < 60; i++)
    ids.push(await stack.create('y'.repeat(5000), { channel: i % 2 ? 'odd' : 'even' }));
  await until('the log is small again', async () => (await stack.status()).bytes <= 100 * 1024);
  const left = await stack.all({ channel: ['odd', 'even'] });
  assert.ok(left.length >= 10 && left.length <= 20, `${left.length} left`);
  assert.deepEqual(
    left.map((m) => m.id),
    ids.slice(-left.length),
    'the newest of all channels',
  );
  assert.equal((await stack.update({ id: ids[5], channel: 'odd' })).reset, true);
  assert.equal((await stack.update({ id: ids[5], channel: 'even' })).reset, true);
});

claim('the file stops growing when as much goes as comes', async (t) => {
  const stack = await startStack(t, { args: ['--keep-messages', '100'] });
  const size = () =>
    ['', '-wal'].reduce(
      (sum, s) => sum + (fs.existsSync(stack.db + s) ? fs.statSync(stack.db + s).size : 0),
      0,
    );
  const more = async () => {
    for (let i = 0; i < 20; i++)
      await Promise.all(Array.from({ length: 50 }, () => stack.create('z'.repeat(2000))));
    await until('only the newest are left', async () => (await stack.status()).messages <= 100);
  };
  await more();
  const first = size();
  for (let i = 0; i < 3; i++) await more();
  assert.ok(size() < first * 3, `${first} bytes, then ${size()} after four times as many messages`);
});

claim('0 means no limit', async (t) => {
  const stack = await startStack(t, {
    args: ['--keep-messages', '0', '--keep-age', '0', '--keep-bytes', '0'],
  });
  const ids = await fill(stack, 150);
  assert.deepEqual(
    (await stack.all()).map((m) => m.id),
    ids,
  );
});

throughBoth(
  'a reader that falls behind retention gets what is left, and then goes on without a gap',
  async (t, server) => {
    const stack = await startStack(t, { server, args: ['--keep-messages', '30'] });
    let { id } = await stack.update({ id: 'now', timeout: 0 });
    await fill(stack, 100);
    await until('only the newest are left', async () => (await stack.status()).messages <= 30);
    const seen = [];
    for (let more = true; more;) {
      const body = expectUpdate(await stack.update({ id, limit: 10 }), {
        reset: seen.length === 0,
      });
      seen.push(...texts(body.messages));
      ({ id, more } = body);
    }
    assert.deepEqual(
      seen,
      Array.from({ length: 30 }, (_, i) => `${70 + i}.`.padEnd(10, '.')),
    );
  },
);

throughBoth(
  'a cursor from another log is told, and a new log has another epoch',
  async (t, server) => {
    const stack = await startStack(t, { server });
    const [first] = await fill(stack, 3);
    assert.equal((await stack.daemon.stop()).code, 0);
    for (const suffix of ['', '-wal', '-shm', '.lock'])
      fs.rmSync(stack.db + suffix, { force: true });
    await stack.daemon.start();
    const empty = expectUpdate(
      await until('the web server is back', () => stack.update({ id: first })),
      { reset: true },
    );
    assert.deepEqual(empty.messages, []);
    const [second] = await fill(stack, 1);
    assert.notEqual(epochOf(first), epochOf(second));
    assert.deepEqual(
      expectUpdate(await stack.update({ id: first }), { reset: true }).messages.map((m) => m.id),
      [second],
    );
  },
);

throughBoth('an older copy of the log that is put back has another epoch, and all are told', async (t, server) => {
  const allow = [/^encke: warn: .* is not as it was left/];
  const stack = await startStack(t, { server, allow });
  const before = await fill(stack, 3);
  await stack.daemon.stop();
  fs.copyFileSync(stack.db, `${stack.db}.copy`);
  await stack.daemon.start();
  const lost = await until('the web server is back', () => fill(stack, 3));
  await stack.daemon.kill('SIGKILL');
  for (const suffix of ['-wal', '-shm']) fs.rmSync(stack.db + suffix, { force: true });
  fs.copyFileSync(`${stack.db}.copy`, stack.db);
  await stack.daemon.start();
  const after = await until('the web server is back', () => fill(stack, 6));
  assert.match(stack.daemon.stderr(), /is not as it was left/);
  assert.notEqual(epochOf(after[0]), epochOf(before[0]));
  for (const id of [before[0], before[2], ...lost]) {
    const { messages } = expectUpdate(await stack.update({ id }), { reset: true });
    assert.equal(messages.length, 9);
  }
  await stack.daemon.stop();
  await stack.daemon.start();
  expectUpdate(await until('the web server is back', () => stack.update({ id: after[0] })));
});

claim('an age limit of a log that was stopped for long is kept at the start', async (t) => {
  const stack = await startStack(t, { args: ['--keep-age', '1s'] });
  const ids = await fill(stack, 3);
  const born = Date.now();
  await stack.daemon.stop();
  await until('they are old', () => Date.now() > born + 1100);
  await stack.daemon.start();
  await until('the old ones are gone', async () => (await stack.status()).messages === 0, {
    within: 90_000,
    every: 100,
  });
  assert.equal((await stack.update({ id: ids[0], timeout: 0 })).reset, true);
});
