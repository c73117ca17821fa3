// POST batch: several messages, all or none.
import assert from 'node:assert/strict';
import { claim, startStack, throughBoth, until } from './lib/harness.mjs';
import { CURSOR, expectAscending, expectElementError, expectError, expectJson, texts } from './lib/expect.mjs';
import { random } from './lib/random.mjs';

const JSON_TYPE = { 'Content-Type': 'application/json' };

const send = (stack, body, headers = JSON_TYPE, at = 'batch') =>
  stack.http(at, { method: 'POST', headers, body });
const batch = (stack, messages) => send(stack, JSON.stringify(messages));

throughBoth('an array is stored in its order, and answered with an id each', async (t, server) => {
  const stack = await startStack(t, { server });
  const told = expectJson(
    await batch(stack, [{ msg: 'one' }, { msg: 'two', channel: 'b' }, { channel: 'main', msg: 'three' }]),
  );
  for (const each of told) {
    assert.deepEqual(Object.keys(each), ['id']);
    assert.match(each.id, CURSOR);
  }
  expectAscending(told);
  const log = await stack.all({ channel: ['main', 'b'] });
  assert.deepEqual(
    log.map(({ id, channel, data }) => [id, channel, data]),
    [
      [told[0].id, 'main', 'one'],
      [told[1].id, 'b', 'two'],
      [told[2].id, 'main', 'three'],
    ],
  );
  assert.equal((await stack.status()).creates, 3);
});

throughBoth('one object is one message, and is answered with an object', async (t, server) => {
  const stack = await startStack(t, { server });
  const told = expectJson(await batch(stack, { msg: 'hello', channel: 'a', once: 'k' }));
  assert.deepEqual(Object.keys(told), ['id']);
  const again = await batch(stack, { msg: 'hello', channel: 'a', once: 'k' });
  assert.deepEqual(expectJson(again), { id: told.id, duplicate: true });
  expectError(await batch(stack, { msg: 'other', channel: 'a', once: 'k' }), 409, /key/);
  const header = { ...JSON_TYPE, 'Idempotency-Key': '"k"' };
  const by_header = await send(stack, '{"msg":"hello","channel":"a"}', header);
  assert.deepEqual(expectJson(by_header), { id: told.id, duplicate: true });
  assert.deepEqual(texts(await stack.all({ channel: 'a' })), ['hello']);
});

throughBoth('every text comes out as it went in', async (t, server) => {
  const stack = await startStack(t, { server });
  const samples = [
    ' ends ',
    'two\nlines\r\n\ttab\b\f',
    '"quotes" \\ / \x01\x1f\x7f',
    'Grüße, 世界, 👩‍🚀 \u2028\ufeff\u{10ffff}\uffff',
    'null',
  ];
  const escaped = (text) =>
    `"${[...Array(text.length).keys()].map((i) => `\\u${text.charCodeAt(i).toString(16).padStart(4, '0')}`).join('')}"`;
  expectJson(await batch(stack, samples.map((msg) => ({ msg }))));
  expectJson(await send(stack, ` [ ${samples.map((msg) => `{ "msg" :\n${escaped(msg)}\t}`)}\r]\n`));
  assert.deepEqual(texts(await stack.all()), [...samples, ...samples]);
});

throughBoth('an error names the element, and nothing is stored', async (t, server) => {
  const stack = await startStack(t, { server, args: ['--max-message', '100'] });
  const fine = '{"msg":"fine"}';
  for (const [bad, says, status = 400] of [
    ['{}', /msg is missing or empty/],
    ['{"msg":""}', /msg is missing or empty/],
    ['{"msg":1}', /are strings/],
    ['{"msg":null}', /are strings/],
    ['{"msg":"a","channel":"a b"}', /channel must be/],
    ['{"msg":"a","channel":""}', /channel must be/],
    [`{"msg":"a","channel":"${'c'.repeat(65)}"}`, /channel must be/],
    ['{"msg":"a","channel":"a\\u0000"}', /channel must be/],
    ['{"msg":"a","once":""}', /1 to 128 bytes/],
    ['{"msg":"a","once":"\\n"}', /control characters/],
    [`{"msg":"a","once":"${'k'.repeat(129)}"}`, /1 to 128 bytes/],
    ['{"msg":"a\\u0000b"}', /NUL/],
    ['{"msg":"\\ud83d"}', /half a character/],
    ['{"msg":"a\nb"}', /control character/],
    ['{"msg":"a","msg":"a"}', /given twice/],
    ['{"message":"a"}', /msg and once only/],
    ['{"msg":"a","x":[[{}]]}', /msg and once only/],
    ['["a"]', /is an object/],
    ['"a"', /is an object/],
    [`{"msg":"${'x'.repeat(101)}"}`, /larger than 100 bytes/, 413],
  ]) {
    expectElementError(await send(stack, `[${bad}]`), status, 0, says);
    expectElementError(await send(stack, `[${fine},${fine},${bad},${fine}]`), status, 2, says);
    if (bad.startsWith('{')) expectError(await send(stack, bad), status, says);
  }
  expectElementError(await send(stack, Buffer.from('[{"msg":"\xff"}]', 'latin1')), 400, 0, /UTF-8/);
  assert.equal((await stack.status()).creates, 0);
});

throughBoth('what is no batch is refused', async (t, server) => {
  const stack = await startStack(t, { server });
  const fine = '[{"msg":"fine"}]';
  for (const body of ['', 'msg=a', '"a"', '1', 'null', '[', '{', '[]', `${fine},`, `${fine}]`, `\ufeff${fine}`])
    expectJson(await send(stack, body), 400);
  for (const type of [undefined, 'text/plain', 'application/x-www-form-urlencoded', 'application/jsonp'])
    expectError(await send(stack, fine, type ? { 'Content-Type': type } : {}), 415, /application\/json/);
  for (const type of ['application/json; charset=utf-8', 'Application/JSON'])
    expectJson(await send(stack, fine, { 'Content-Type': type }));
  for (const at of ['batch?channel=a', 'batch?once=k', 'batch?x'])
    expectError(await send(stack, fine, JSON_TYPE, at), 400, /no parameters/);
  expectError(await send(stack, fine, { ...JSON_TYPE, 'Idempotency-Key': 'k' }), 400, /once/);
  expectError(await stack.http('batch'), 405);
  assert.equal((await stack.status()).creates, 2);
  // to create JSON is a text
  expectJson(await send(stack, fine, JSON_TYPE, 'create'));
  assert.deepEqual(texts(await stack.all()), ['fine', 'fine', fine]);
});

throughBoth('an array has 1000 messages at most, a body 3 times --max-message and 4 KiB', async (t, server) => {
  const stack = await startStack(t, { server });
  const many = (count) => Array.from({ length: count }, (_, i) => ({ msg: `m${i}` }));
  expectError(await batch(stack, many(1001)), 400, /more than 1000/);
  const told = expectJson(await batch(stack, many(1000)));
  assert.equal(told.length, 1000);
  assert.deepEqual(texts(await stack.all()), many(1000).map(({ msg }) => msg));
  const most = 3 * 65536 + 4096;
  const sized = (size) => `[{"msg":"x"}${' '.repeat(size - 14)}]`.padEnd(size);
  expectJson(await send(stack, sized(most)));
  expectError(await send(stack, sized(most + 1)), 413, new RegExp(`larger than ${most} bytes`));
  assert.equal((await stack.status()).creates, 1001);
});

throughBoth('a key that was used makes a duplicate, or refuses all', async (t, server) => {
  const stack = await startStack(t, { server });
  const first = expectJson(await batch(stack, [{ msg: 'a', once: 'k' }, { msg: 'b' }]));
  const again = expectJson(await batch(stack, [{ msg: 'c' }, { msg: 'a', once: 'k' }, { msg: 'd', once: 'l' }]));
  assert.deepEqual(again[1], { id: first[0].id, duplicate: true });
  assert.deepEqual(Object.keys(again[0]), ['id']);
  assert.deepEqual(texts(await stack.all()), ['a', 'b', 'c', 'd']);
  const other = [{ msg: 'e' }, { msg: 'f', once: 'm' }, { msg: 'other', once: 'k' }, { msg: 'g' }];
  expectElementError(await batch(stack, other), 409, 2, /key/);
  assert.deepEqual(texts(await stack.all()), ['a', 'b', 'c', 'd']);
  // nothing of it is stored, so its key is free, too
  assert.deepEqual(Object.keys(expectJson(await batch(stack, { msg: 'h', once: 'm' }))), ['id']);
});

throughBoth('a key may be twice in one array, for the same text', async (t, server) => {
  const stack = await startStack(t, { server });
  const twice = expectJson(await batch(stack, [{ msg: 'a', once: 'k' }, { msg: 'a', once: 'k' }]));
  assert.deepEqual(twice[1], { id: twice[0].id, duplicate: true });
  const other = [{ msg: 'b', once: 'l' }, { msg: 'c', once: 'l' }];
  expectElementError(await batch(stack, other), 409, 1, /key/);
  assert.deepEqual(texts(await stack.all()), ['a']);
});

claim('a channel too many refuses all, and is named', async (t) => {
  const stack = await startStack(t, {
    server: 'nginx',
    args: ['--max-channels-kept', '2'],
    allow: [/^encke: warn: too many channels are kept/],
  });
  const on = (...channels) => batch(stack, channels.map((channel) => ({ msg: 'x', channel })));
  expectElementError(await on('a', 'b', 'a', 'c'), 507, 3, /channels/);
  expectJson(await on('a', 'b', 'a'));
  expectElementError(await on('a', 'c'), 507, 1, /channels/);
  assert.equal((await stack.status()).messages, 3);
});

throughBoth('readers that wait are given all of a batch at once', async (t, server) => {
  const stack = await startStack(t, { server });
  const both = stack.update({ id: 'now', channel: ['a', 'b'] });
  const one = stack.update({ id: 'now', channel: 'b' });
  await stack.holds(2);
  expectJson(
    await batch(stack, ['a', 'b', 'a', 'b'].map((channel, i) => ({ msg: `${channel}${i}`, channel }))),
  );
  assert.deepEqual(texts((await both).messages), ['a0', 'b1', 'a2', 'b3']);
  assert.deepEqual(texts((await one).messages), ['b1', 'b3']);
});

claim('kill -9 under load stores all of a batch or none', async (t) => {
  const { int } = random('batch kills');
  const stack = await startStack(t, { server: 'nginx', args: ['--keep-messages', '0'] });
  stack.daemon.judged = false;
  const acknowledged = [];
  let publishing = true;
  const publishers = Array.from({ length: 4 }, async (_, p) => {
    for (let i = 0; publishing; i++) {
      const messages = Array.from({ length: 2 + int(30) }, (_, n) => ({ msg: `${p}.${i} ${n}` }));
      messages.forEach((message) => (message.msg += ` of ${messages.length}`));
      const answer = await batch(stack, messages).catch(() => null);
      if (answer?.status === 200)
        answer.json().forEach(({ id }, n) => acknowledged.push([id, messages[n].msg]));
    }
  });
  for (let kill = 0; kill < 20; kill++) {
    const enough = acknowledged.length + 1 + int(400);
    await until('more are acknowledged', () => acknowledged.length >= enough, { every: 1 });
    await stack.daemon.kill('SIGKILL');
    await stack.daemon.start();
  }
  publishing = false;
  await Promise.all(publishers);
  const log = await stack.all();
  const stored = new Map(log.map(({ id, data }) => [id, data]));
  for (const [id, text] of acknowledged) assert.equal(stored.get(id), text);
  for (let at = 0; at < log.length;) {
    const [, name, count] = /^(\S+) 0 of (\d+)$/.exec(log[at].data);
    for (let n = 0; n < count; n++) assert.equal(log[at++]?.data, `${name} ${n} of ${count}`);
  }
});
