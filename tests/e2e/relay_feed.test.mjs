// --upstream-channel: what the upstream says is appended to a channel, so that readers on any
// transport hear of it; a poll that goes on by itself, from the upstream's own cursor.
import assert from 'node:assert/strict';
import { atOnce, throughBoth, until } from './lib/harness.mjs';
import { texts } from './lib/expect.mjs';
import { random } from './lib/random.mjs';
import { LIVE, openReader } from './lib/readers.mjs';
import { askRelay, openClients, startRelay, upstreamOf, upstreamSays } from './lib/relay.mjs';
import { answers, NEW, PUNT, startUpstream } from './lib/upstream.mjs';

// They mostly wait: all of them at once.
const claims = [];
const claim = (name, fn) => claims.push([name, fn]);

const feeding = (t, { args = [], ...options } = {}) =>
  startRelay(t, { args: ['--upstream-channel', 'news', ...args], ...options });
const news = async (stack) => texts(await stack.all({ channel: 'news' }));
const said = (n, more = {}) => JSON.stringify({ ret: 'new', id: n, ...more });
const appended = (stack, n) => upstreamSays(stack, { appended: n });

throughBoth('readers on every transport hear what the upstream says', async (t, server) => {
  const { upstream, stack } = await feeding(t, { server });
  const readers = await Promise.all(LIVE.map((way) => openReader(stack, way, { id: 'now', channel: 'news' })));
  for (const reader of readers) await reader.until('its cursor', () => reader.first);
  const held = stack.update({ id: 'now', channel: 'news' });
  const word = stack.http('subscribe?upstream=default&id=99&x=1'); // a relayed one is its own affair
  await stack.holds(2);
  (await upstream.holding(2)).find((asked) => asked.target === '/subscribe').answer({ body: said(1) });
  assert.deepEqual(texts((await held).messages), [said(1)]);
  for (const reader of readers) {
    await reader.has(1);
    assert.deepEqual(reader.texts, [said(1)]);
    reader.cut();
  }
  upstream.held.find((asked) => asked.target !== '/subscribe?id=1').answer({ body: NEW });
  await word;
});

claim('it asks by itself, goes on from the cursor in the answer, and status says how far', async (t) => {
  const { upstream, stack } = await feeding(t);
  for (const [i, id] of [1, 'two', 3, '4&x=5', 'é ü', 9007199254740991, ''].entries()) {
    const asked = await upstream.request(i);
    asked.answer({ body: said(id) });
    await appended(stack, i + 1);
    const { cursor, channel } = await upstreamOf(stack);
    assert.equal(channel, 'news');
    if (id === '') continue;
    assert.equal(cursor, String(id));
    const next = await upstream.request(i + 1);
    assert.deepEqual(next.params, [['id', String(id)]]);
  }
  assert.equal((await news(stack)).length, 7);
  const says = await upstreamOf(stack);
  assert.deepEqual([says.clients, says.asked], [0, 0], 'the feed is no client');
  assert.equal((await stack.status()).holds, 0);
});

// A feed for each answer, which its upstream gives once; gives what became of each: the texts in its
// channel, and the query of the next request.
async function once(t, told, args = []) {
  const upstream = await startUpstream(t);
  const seen = new Map();
  upstream.does = (asked) => {
    const [, i] = asked.path.split('/');
    if (!seen.has(i)) asked.answer(told[i]);
    seen.set(i, [...(seen.get(i) ?? []), asked]);
  };
  const feeds = told.flatMap((_, i) => [
    '--upstream', `u${i}=http://127.0.0.1:${upstream.port}/${i}`, '--upstream-channel', `u${i}=c${i}`,
  ]);
  const url = `unused=${upstream.url}`;
  const allow = [/^encke: warn: upstream u\d+: an answer is no text, or longer/];
  const { stack } = await startRelay(t, { upstream, url, args: [...feeds, ...args], allow });
  await until('each has asked again', () => told.every((_, i) => seen.get(`${i}`)?.length === 2));
  return Promise.all(
    told.map(async (_, i) => [texts(await stack.all({ channel: `c${i}` })), seen.get(`${i}`)[1].query]),
  );
}

claim('what says that nothing changed is not appended', async (t) => {
  const nothing = [
    [{ body: PUNT }, ''],
    [{ body: '{ "id": "7", "ret" : "punt" }' }, 'id=7'],
    [{ body: '{"id":"8","messages":[]}' }, 'id=8'],
    [{ body: '{"messages":[],"more":false}' }, ''],
    [{ body: PUNT, type: 'text/plain' }, ''],
    [{ body: '' }, ''],
    [{ status: 204, reason: 'No Content', type: null }, ''],
    [{ status: 304, reason: 'Not Modified', type: null }, ''],
  ];
  const became = await once(t, nothing.map(([told]) => told));
  assert.deepEqual(became, nothing.map(([, query]) => [[], query]));
});

claim('anything else that it says is appended as it is', async (t) => {
  const bodies = [
    NEW, 'any text', 'any text\r\n', '[]', '["punt"]', 'punt', '{"ret":"PUNT"}', '{"ret":["punt"]}',
    '{"messages":[1]}', '{"messages":{}}', '{"messages":null}', '{"a":{"messages":[]}}',
    '{"ret":"punt"} and more', '{}', ' ', '\ufeff{"ret":"punt"}', '{"ret":"punt"', 'é 💥',
    '['.repeat(5000), '{"id":'.repeat(3000),
  ];
  const became = await once(t, bodies.map((body) => ({ body, status: 202, reason: 'Accepted' })));
  assert.deepEqual(became.map(([told]) => told), bodies.map((body) => [body]));
});

claim('--upstream-cursor names the parameter and the field', async (t) => {
  const { upstream, stack } = await feeding(t, { args: ['--upstream-cursor', 'since:last seen'], to: { path: '/u?id=7&a=b' } });
  (await upstream.request(0)).answer({ body: '{"id":5,"last seen":"c/1","nested":{"last seen":2}}' });
  assert.equal((await upstream.request(1)).target, '/u?id=7&a=b&since=c/1');
  upstream.requests[1].answer({ body: '{"nested":{"last seen":2}}' });
  const third = await upstream.request(2);
  assert.equal(third.target, '/u?id=7&a=b&since=c/1', 'an answer without one leaves it');
  third.answer({ body: '{"last seen":[3]}' });
  assert.equal((await upstream.request(3)).target, '/u?id=7&a=b&since=c/1', 'nor is it a list');
  await appended(stack, 3);
});

claim('a cursor with any bytes in it stays a parameter', async (t) => {
  const { upstream } = await feeding(t);
  const dice = random('cursors of an upstream');
  const odd = ['\r\nX-Evil: 1', '#x', '&id=2', '../../x', '%00', 'a\u0000b', '\u2028', 'x'.repeat(5000)];
  for (let i = 0; i < 14; i++) {
    const id = odd[i] ?? String.fromCodePoint(...Array.from({ length: 8 }, () => 1 + dice.int(0xd7fe)));
    const asked = await upstream.request(i);
    asked.answer({ body: said(id) });
    const next = await upstream.request(i + 1);
    assert.equal(next.path, '/subscribe');
    assert.deepEqual(next.headers.map(([name]) => name).sort(), ['Accept', 'Accept-Encoding', 'Host', 'User-Agent']);
    // one that cannot be sent (a NUL, too long) may be left out
    if (!/\0|x{5000}/.test(id)) assert.deepEqual(next.params, [['id', id]]);
  }
});

claim('what is no text for a channel becomes the word', async (t) => {
  const bodies = [
    Buffer.from('caf\xe9', 'latin1'),
    'a\0b',
    'x'.repeat(2049),
    `{"id":1,"x":"${'x'.repeat(3000)}"}`,
    Buffer.from([0xed, 0xa0, 0x80]), // half a surrogate pair
    Buffer.from([0x7b, 0x22, 0x69, 0x64, 0x22, 0x3a, 0x22, 0xff, 0x22, 0x7d]),
    'y'.repeat(2048),
  ];
  const withCursor = '{"ret":"new","id":"1"}'; // where to go on from
  const became = await once(t, bodies.map((body) => ({ body })), ['--max-message', '2K']);
  assert.deepEqual(became.map(([told]) => told), [[NEW], [NEW], [NEW], [withCursor], [NEW], [NEW], [bodies[6]]]);
});

claim('an upstream that answers at once is not asked without end', async (t) => {
  const still = await startUpstream(t);
  still.does = answers({ body: NEW });
  const punting = await startUpstream(t);
  punting.does = answers({ body: PUNT });
  const moving = await startUpstream(t);
  moving.does = (asked) => asked.answer({ body: said(moving.count) });
  const begun = Date.now();
  const { stack } = await startRelay(t, {
    upstream: still,
    args: ['--upstream-channel', 'still',
      '--upstream', `punting=${punting.url}`, '--upstream-channel', 'punting=punting',
      '--upstream', `moving=${moving.url}`, '--upstream-channel', 'moving=moving'],
  });
  await moving.has(20);
  await still.has(3);
  await punting.has(3);
  const seconds = (Date.now() - begun) / 1000;
  assert.ok(still.count <= 2 + seconds, `${still.count} requests in ${seconds} s`);
  assert.ok(punting.count <= 2 + seconds, `${punting.count} requests in ${seconds} s`);
  assert.ok(moving.count <= 2 + 10 * seconds, `${moving.count} requests in ${seconds} s`);
  await upstreamSays(stack, { appended: (n) => n >= 20 }, 'moving');
  const moved = texts(await stack.all({ channel: 'moving' }));
  assert.deepEqual(moved.slice(0, 20), Array.from({ length: 20 }, (_, i) => said(i + 1)));
});

claim('clients who ask just what the feed asks share its request', async (t) => {
  const { upstream, stack } = await feeding(t);
  const first = await upstream.request(0);
  const early = await openClients(stack, 5, '');
  await upstreamSays(stack, { clients: 5 });
  assert.equal(upstream.count, 1);
  first.answer({ body: said(1) });
  for (const client of early) assert.equal((await client.answer).body, said(1));
  const second = await upstream.request(1);
  const clients = await openClients(stack, 20, '?id=1');
  await upstreamSays(stack, { clients: 20, under_way: 1 });
  for (const client of clients.slice(0, 19)) client.leave();
  await upstreamSays(stack, { clients: 1 });
  clients[19].leave();
  await upstreamSays(stack, { clients: 0, under_way: 1 });
  assert.ok(!second.over, 'the feed still waits');
  const late = await openClients(stack, 3, '?id=1');
  await upstreamSays(stack, { clients: 3 });
  second.answer({ body: said(2) });
  for (const client of late) assert.equal((await client.answer).body, said(2));
  await appended(stack, 2);
  assert.deepEqual(await news(stack), [said(1), said(2)]);
  assert.equal((await upstreamOf(stack)).requests, upstream.count);
});

claim('several upstreams feed several channels, each from its own cursor', async (t) => {
  const names = ['a', 'b', 'c'];
  const upstreams = await Promise.all(names.map(() => startUpstream(t)));
  const { stack } = await startRelay(t, {
    upstream: upstreams[0],
    args: ['--upstream-channel', 'default-news',
      ...names.flatMap((name, i) => ['--upstream', `${name}=${upstreams[i].url}`, '--upstream-channel', `${name}=from-${name}`,
        '--upstream-cursor', `${name}=${name}:${name}`])],
  });
  for (const [i, name] of names.entries())
    upstreams[i].does = (asked) => {
      const at = Number(new URLSearchParams(asked.query).get(name) ?? 0);
      if (at < 5) asked.answer({ body: `{"${name}":${at + 1}}` });
    };
  for (const [i, upstream] of upstreams.entries()) for (const asked of upstream.held) upstreams[i].does(asked);
  for (const name of names) {
    await upstreamSays(stack, { appended: 5, cursor: '5' }, name);
    assert.deepEqual(
      texts(await stack.all({ channel: `from-${name}` })),
      [1, 2, 3, 4, 5].map((n) => `{"${name}":${n}}`),
    );
  }
});

claim('a feed needs no client, and a client needs no feed', async (t) => {
  const { upstream, stack } = await feeding(t);
  await upstream.holding(1);
  upstream.does = (asked) => asked.query === 'own=' && asked.answer({ body: 'own answer' });
  assert.equal((await askRelay(stack, '?own')).body, 'own answer');
  assert.deepEqual(await news(stack), []);
  assert.equal(upstream.held.length, 1);
  await until('it is up', async () => (await upstreamOf(stack)).state === 'up');
});

atOnce('feeding a channel', claims);
