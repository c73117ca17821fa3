// Old messages are on a disk that does not answer: who reads them waits, and nobody else does.
import assert from 'node:assert/strict';
import { claim, startStack, tempDir, throughBoth, until, within } from './lib/harness.mjs';
import { expectError } from './lib/expect.mjs';
import { faultyDisk } from './lib/fault.mjs';

const OLD = 200;

// A daemon that has OLD messages on its disk, none in its memory, and a disk that answers no reads.
async function startSilent(t, server) {
  const disk = faultyDisk(tempDir(t));
  const stack = await startStack(t, { ...disk.options, server, args: ['--memory', '0'] });
  await stack.publish(Array.from({ length: OLD }, (_, i) => `${i} `.padEnd(8000, 'o')));
  await stack.daemon.stop(); // with a checkpoint
  await stack.daemon.start();
  await until('the web server is back', async () => (await stack.http('status')).status === 200);
  disk.set('read=gate');
  return { disk, stack };
}

const waiting = (stack, count) =>
  until(`${count} wait for the disk`, async () => (await stack.status()).reads_waiting === count);

throughBoth('while the disk is silent creates and live readers go on', async (t, server) => {
  const { disk, stack } = await startSilent(t, server);
  const old = [stack.update({ limit: OLD }), stack.update({ limit: 3 }), stack.update({ limit: 3 })];
  await waiting(stack, old.length);
  for (let i = 0; i < 5; i++) {
    const held = stack.update({ id: 'now' });
    await stack.holds(1);
    await stack.create(`live ${i}`);
    const { messages } = await within(held, 5000, 'the live reader');
    assert.deepEqual(messages.map(({ data }) => data), [`live ${i}`]);
  }
  await waiting(stack, old.length);
  disk.set();
  const [all, few, same] = await Promise.all(old);
  assert.ok(all.messages.length > 0);
  assert.ok(few.messages.length === 3 && few.more);
  assert.deepEqual(same, few);
  await waiting(stack, 0);
});

// (Of lighttpd one does not always learn that a client is gone.)
claim('a client that goes away does not wait for the disk any more', async (t) => {
  const { disk, stack } = await startSilent(t, 'nginx');
  const gone = new AbortController();
  const asked = stack.http('update?limit=3', { signal: gone.signal }).catch(() => null);
  await waiting(stack, 1);
  gone.abort();
  await asked;
  await waiting(stack, 0);
  disk.set();
});

throughBoth('a drain waits for no disk', async (t, server) => {
  const { disk, stack } = await startSilent(t, server);
  const poll = stack.http('update?limit=3');
  await waiting(stack, 1);
  stack.daemon.process.kill('SIGTERM');
  expectError(await within(poll, 5000, 'the poll'), 503, /about to stop/);
  disk.set(); // the read that is under way cannot be stopped
  const { code, signal } = await stack.daemon.exited;
  assert.deepEqual({ code, signal }, { code: 0, signal: null });
});
