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

// A floor that the memory has forgotten counts as 0: so the sum of both floors is 190 before and
// after, while 111 to 190 went.
claim('a gap is told even if another floor falls out of memory meanwhile', async (t) => {
  const args = ['--keep-messages', '3', '--memory', '100K', '--max-message', '1M'];
  const stack = await startStack(t, { args });
  const ids = await stack.publish(texts(93), { channel: 'b' }); // its floor is 90
  await stack.publish(texts(9), { channel: 'a' });
  const [large] = await stack.publish(['x'.repeat(900_000)], { channel: 'a' }); // and a's 100
  const reader = await openReader(stack, 'streaming', { ...both, id: ids[0] });
  reader.pause(); // in the middle of the large one
  const later = await stack.publish(texts(90), { channel: 'a' });
  reader.resume();
  await reader.until('the last', () => reader.ids.includes(later.at(-1)));
  assert.deepEqual(reader.ids.slice(0, 3), ids.slice(-3));
  assert.deepEqual(reader.ids.slice(-4), [large, ...later.slice(-3)]);
  assert.equal(reader.resets, 2);
  assert.equal(reader.log.at(-4), 'reset', 'right before what follows the gap');
  reader.cut();
});
