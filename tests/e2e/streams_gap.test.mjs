// A stream that pages through a gap tells of it once, and of the next one again.
import assert from 'node:assert/strict';
import { claim, startStack } from './lib/harness.mjs';
import { LIVE, openReader } from './lib/readers.mjs';

const texts = (n) => Array.from({ length: n }, (_, i) => `${i}`);
const both = { channel: ['a', 'b'] };

// 1,300 messages are several pages, and the cursor stays below the floor of `a` for half of them.
async function gapOnOneChannel(stack) {
  const [first] = await stack.publish(['first'], { channel: 'b' });
  const kept = await stack.publish(texts(600), { channel: 'b' });
  kept.push(...(await stack.publish(texts(800), { channel: 'a' })).slice(100));
  return { first, kept };
}

claim('one gap on one of several channels is told once, however many pages follow', async (t) => {
  const stack = await startStack(t, { args: ['--keep-messages', '700'] });
  const { first, kept } = await gapOnOneChannel(stack);
  for (const transport of LIVE) {
    const reader = await openReader(stack, transport, { ...both, id: first });
    await reader.has(kept.length);
    assert.deepEqual(reader.ids, kept);
    assert.equal(reader.resets, 1, transport);
    assert.equal(reader.log[0], 'reset');
    reader.cut();
  }
});

claim('a gap that comes about while the stream is behind is told, too', async (t) => {
  const stack = await startStack(t, { args: ['--keep-messages', '700'] });
  const { first, kept } = await gapOnOneChannel(stack);
  const reader = await openReader(stack, 'streaming', { ...both, id: first });
  await reader.has(kept.length);
  reader.pause();
  const big = await stack.publish(Array(200).fill('x'.repeat(30_000)), { channel: 'a' });
  await stack.publish(texts(900), { channel: 'b' });
  const [last] = await stack.publish(['last'], { channel: 'a' });
  reader.resume();
  await reader.until('the last', () => reader.ids.includes(last));
  assert.ok(reader.resets >= 2);
  assert.ok(big.every((id) => reader.ids.includes(id)), 'of this channel nothing was let go');
  reader.cut();
});
