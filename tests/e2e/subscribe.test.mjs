// GET or POST subscribe: only the word that there is something newer.
import assert from 'node:assert/strict';
import { startStack, throughBoth } from './lib/harness.mjs';
import { epochOf, expectJson, seqOf } from './lib/expect.mjs';

const FORM = { 'Content-Type': 'application/x-www-form-urlencoded' };
const NEW = { ret: 'new' };
const PUNT = { ret: 'punt' };

throughBoth(
  'subscribe says new at once when there is something newer than id',
  async (t, server) => {
    const stack = await startStack(t, { server });
    const id = await stack.create('one');
    await stack.create('two');
    assert.deepEqual(expectJson(await stack.http(`subscribe?id=${id}`)), NEW);
    const body = `id=${id}&channel=main`;
    assert.deepEqual(
      expectJson(await stack.http('subscribe', { method: 'POST', headers: FORM, body })),
      NEW,
    );
  },
);

throughBoth('subscribe without id waits for what comes from now on', async (t, server) => {
  const stack = await startStack(t, { server });
  await stack.create('long ago');
  const held = [
    stack.http('subscribe'),
    stack.http('subscribe', { method: 'POST' }),
    stack.http('subscribe?id=now'),
  ];
  await stack.holds(3);
  await stack.create('now');
  for (const answer of await Promise.all(held)) assert.deepEqual(expectJson(answer), NEW);
});

throughBoth('subscribe says punt at the end of the hold', async (t, server) => {
  const stack = await startStack(t, { server });
  const id = await stack.create('seen');
  for (const at of [
    'subscribe?timeout=0',
    'subscribe?timeout=1',
    `subscribe?timeout=0&id=${id}`,
    `subscribe?timeout=1&id=${id}`,
  ])
    assert.deepEqual(expectJson(await stack.http(at)), PUNT);
  assert.equal((await stack.status()).holds, 0);
});

throughBoth(
  'subscribe with an id that is not known says new, retained messages or not',
  async (t, server) => {
    const stack = await startStack(t, { server });
    assert.deepEqual(await stack.subscribe({ id: 'ffffffffffff-1' }), NEW);
    const id = await stack.create('x');
    for (const unknown of ['ffffffffffff-1', 'rubbish', `${epochOf(id)}-${seqOf(id) + 5n}`]) {
      assert.deepEqual(await stack.subscribe({ id: unknown }), NEW);
      assert.deepEqual(await stack.subscribe({ id: unknown, channel: 'empty' }), NEW);
    }
  },
);

throughBoth('subscribe is woken by its channels and by no other', async (t, server) => {
  const stack = await startStack(t, { server });
  const held = stack.subscribe({ channel: ['a', 'b'] });
  const update = stack.update({ id: 'now', channel: 'a' });
  await stack.holds(2);
  await stack.create('no', { channel: 'c' });
  assert.equal((await stack.status()).holds, 2);
  await stack.create('yes', { channel: 'b' });
  assert.deepEqual(await held, NEW);
  await stack.holds(1);
  await stack.create('both', { channel: 'a' });
  assert.equal((await update).messages.length, 1);
});

throughBoth('subscribe and update held on one channel are both answered', async (t, server) => {
  const stack = await startStack(t, { server });
  const words = Array.from({ length: 40 }, () => stack.subscribe());
  const news = Array.from({ length: 40 }, () => stack.update({ id: 'now' }));
  await stack.holds(80);
  assert.deepEqual((await stack.status()).readers_by_channel, { main: 80 });
  await stack.create('news');
  for (const word of await Promise.all(words)) assert.deepEqual(word, NEW);
  for (const body of await Promise.all(news)) assert.equal(body.messages[0].data, 'news');
  assert.equal((await stack.status()).holds, 0);
});
