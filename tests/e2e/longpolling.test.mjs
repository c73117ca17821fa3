// GET or POST longpolling: the article's name for a long poll, in plain text.
import assert from 'node:assert/strict';
import { claim, startStack, throughBoth, until } from './lib/harness.mjs';
import { CURSOR, expectCommon, expectError, seqOf } from './lib/expect.mjs';
import { random } from './lib/random.mjs';
import { longpoll } from './lib/readers.mjs';
import { TEXTS } from './lib/texts.mjs';

const FORM = { 'Content-Type': 'application/x-www-form-urlencoded' };

throughBoth('without id it waits for what comes, as the article says', async (t, server) => {
  const stack = await startStack(t, { server });
  await stack.publish('before');
  const held = stack.http('longpolling');
  await stack.holds(1);
  const [id] = await stack.publish('42');
  const answer = await held;
  assert.equal(answer.status, 200);
  assert.equal(answer.body, 'Server says: 42\n');
  expectCommon(answer);
  assert.equal(answer.headers['content-type'], 'text/plain; charset=utf-8');
  assert.equal(answer.headers['last-event-id'], id);
  assert.equal(answer.headers['encke-reset'], undefined);
  await stack.holds(0);
});

throughBoth('POST, as the article asks, and with a form', async (t, server) => {
  const stack = await startStack(t, { server });
  const bare = stack.http('longpolling', { method: 'POST' });
  const form = stack.http('longpolling', {
    method: 'POST',
    headers: FORM,
    body: 'channel=a&channel=main&timeout=50',
  });
  await stack.holds(2);
  const [id] = await stack.publish('7');
  for (const answer of [await bare, await form]) {
    assert.equal(answer.body, 'Server says: 7\n');
    assert.equal(answer.headers['last-event-id'], id);
  }
  await stack.publish('8', { channel: 'a' });
  const next = await stack.http('longpolling', {
    method: 'POST',
    headers: FORM,
    body: `id=${id}&channel=a`,
  });
  assert.equal(next.body, 'Server says: 8\n');
});

throughBoth('with id it goes on from there; an empty hold has an empty body', async (t, server) => {
  const stack = await startStack(t, { server });
  const ids = await stack.publish(['a', 'b', 'c']);
  assert.deepEqual((await longpoll(stack, { id: ids[0] })).texts, ['b', 'c']);
  const header = { headers: { 'Last-Event-ID': ids[1] } };
  const cut = await longpoll(stack, {}, header);
  assert.deepEqual([cut.texts, cut.cursor, cut.reset], [['c'], ids[2], false]);
  for (const fields of [{ timeout: 0 }, { id: 'now', timeout: 0 }, { id: ids[2], timeout: 1 }]) {
    const nothing = await longpoll(stack, fields);
    assert.deepEqual([nothing.answer.body, nothing.cursor], ['', ids[2]]);
  }
  await stack.holds(0);
});

throughBoth('a gap is told by a header, with all that is kept', async (t, server) => {
  const stack = await startStack(t, { server });
  const none = await longpoll(stack, { id: 'unknown' });
  assert.deepEqual([none.texts, none.reset], [[], true]);
  const ids = await stack.publish(['a', 'b']);
  const all = await longpoll(stack, { id: 'unknown' });
  assert.deepEqual([all.texts, all.reset, all.cursor], [['a', 'b'], true, ids[1]]);
  assert.equal(all.answer.headers['encke-reset'], 'true');
});

throughBoth('each message is one line, whatever is in it', async (t, server) => {
  const stack = await startStack(t, { server });
  const [start] = await stack.publish('start');
  await stack.publish(TEXTS);
  const got = [];
  for (let id = start; got.length < TEXTS.length;) {
    const poll = await longpoll(stack, { id });
    assert.ok(poll.texts.length > 0);
    got.push(...poll.texts);
    id = poll.cursor;
  }
  got.forEach((text, i) =>
    assert.ok(text === TEXTS[i].replace(/\r\n|\r|\n/g, ' '), JSON.stringify(TEXTS[i].slice(0, 40))),
  );
});

throughBoth('polls in a row miss nothing and double nothing', async (t, server) => {
  const { int } = random(`longpolling ${server}`);
  const stack = await startStack(t, { server });
  const N = 600;
  const pollers = Array.from({ length: 12 }, async (_, p) => {
    const channels = p % 3 ? ['a'] : ['a', 'b'];
    const got = [];
    let id;
    const first = await longpoll(stack, { channel: channels, timeout: 0 });
    ({ cursor: id } = first);
    await ready();
    while (!got.includes('end')) {
      const poll = await longpoll(stack, { id, channel: channels, limit: 1 + int(20) });
      assert.equal(poll.reset, false);
      assert.ok(seqOf(poll.cursor) > seqOf(id));
      got.push(...poll.texts);
      id = poll.cursor;
    }
    return { channels, got };
  });
  let waiting = 0,
    go;
  const all = new Promise((resolve) => {
    go = resolve;
  });
  function ready() {
    if (++waiting === 12) go();
    return all;
  }
  await all;
  const sent = [];
  for (let i = 0; i < N; i++) {
    const channel = int(2) ? 'a' : 'b';
    sent.push([channel, `${i}`]);
    await stack.publish(`${i}`, { channel });
  }
  await stack.publish('end', { channel: 'a' });
  for (const { channels, got } of await Promise.all(pollers)) {
    const mine = sent.filter(([channel]) => channels.includes(channel)).map(([, text]) => text);
    assert.deepEqual(got, [...mine, 'end']);
  }
  await stack.holds(0);
});

throughBoth('asked for wrongly it says why, as JSON', async (t, server) => {
  const stack = await startStack(t, { server });
  for (const [at, says] of [
    ['channel=a%20b', /channel/],
    ['timeout=x', /timeout/],
    ['timeout=121', /timeout/],
    ['limit=0', /limit/],
    ['as=json', /as/],
    ['as=html', /as/],
  ])
    expectError(await stack.http(`longpolling?${at}`), 400, says);
  for (const method of ['PUT', 'DELETE']) {
    const answer = await stack.http('longpolling', { method });
    expectError(answer, 405);
    assert.deepEqual(answer.headers.allow.split(/\s*,\s*/), ['GET', 'HEAD', 'POST']);
  }
  await stack.holds(0);
});

claim('a long poll counts as a hold, and a drain answers it', async (t) => {
  const stack = await startStack(t);
  const held = Array.from({ length: 5 }, () => stack.raw({ uri: '/comet/longpolling?timeout=60' }));
  await stack.holds(5);
  const { streams, readers_by_channel } = await stack.status();
  assert.deepEqual(readers_by_channel, { main: 5 });
  assert.ok(Object.values(streams).every((n) => n === 0));
  assert.equal((await stack.daemon.stop()).code, 0);
  for (const answer of await Promise.all(held)) {
    assert.equal(answer.body, '');
    assert.match(answer.headers['last-event-id'], CURSOR);
  }
  await until('it has ended', () => stack.daemon.process.ended);
});
