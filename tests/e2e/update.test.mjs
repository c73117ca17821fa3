// GET or POST update: what is newer than a cursor, now or when it comes.
import assert from 'node:assert/strict';
import { claim, defer, fetchHttp, startStack, throughBoth, SERVERS, Web } from './lib/harness.mjs';
import { epochOf, expectCommon, expectJson, expectUpdate, seqOf, texts } from './lib/expect.mjs';

const FORM = { 'Content-Type': 'application/x-www-form-urlencoded' };

throughBoth('without id, update gives everything retained', async (t, server) => {
  const stack = await startStack(t, { server });
  const ids = [];
  for (const text of ['one', 'two', 'three']) ids.push(await stack.create(text));
  for (const at of ['update', 'update?id=', 'update?channel=main', 'update?id=&channel=main']) {
    const body = expectUpdate(expectJson(await stack.http(at)));
    assert.deepEqual(texts(body.messages), ['one', 'two', 'three']);
    assert.deepEqual(
      body.messages.map((m) => m.id),
      ids,
    );
    assert.equal(body.id, ids[2]);
    assert.equal(body.more, false);
  }
});

throughBoth('update with a cursor gives only what is newer', async (t, server) => {
  const stack = await startStack(t, { server });
  const first = await stack.create('one');
  await stack.create('two');
  const last = await stack.create('three');
  const body = expectUpdate(await stack.update({ id: first }));
  assert.deepEqual(texts(body.messages), ['two', 'three']);
  assert.equal(body.id, last);
});

throughBoth(
  'update holds until something newer comes and then answers at once',
  async (t, server) => {
    const stack = await startStack(t, { server });
    const id = await stack.create('old');
    const held = stack.update({ id });
    await stack.holds(1);
    assert.deepEqual((await stack.status()).readers_by_channel, { main: 1 });
    const next = await stack.create('new');
    const body = expectUpdate(await held);
    assert.deepEqual(texts(body.messages), ['new']);
    assert.equal(body.id, next);
    assert.equal((await stack.status()).holds, 0);
  },
);

throughBoth('id=now gives only what comes', async (t, server) => {
  const stack = await startStack(t, { server });
  await stack.create('before');
  const head = expectUpdate(await stack.update({ id: 'now', timeout: 0 }));
  assert.deepEqual(head.messages, []);
  assert.equal(head.id, (await stack.status()).head);
  const held = stack.update({ id: 'now' });
  await stack.holds(1);
  await stack.create('after');
  assert.deepEqual(texts(expectUpdate(await held).messages), ['after']);
});

throughBoth('on an empty log, update holds, with and without id', async (t, server) => {
  const stack = await startStack(t, { server });
  const held = [stack.update(), stack.update({ id: 'now' }), stack.update({ id: '' })];
  await stack.holds(3);
  await stack.create('first');
  for (const body of await Promise.all(held))
    assert.deepEqual(texts(expectUpdate(body).messages), ['first']);
});

throughBoth(
  'at the end of its hold, update answers 200, no messages and a cursor',
  async (t, server) => {
    const stack = await startStack(t, { server });
    const id = await stack.create('seen');
    for (const timeout of [0, 1]) {
      const body = expectUpdate(expectJson(await stack.http(`update?id=${id}&timeout=${timeout}`)));
      assert.deepEqual(body, { id, messages: [], more: false });
    }
    assert.equal((await stack.status()).holds, 0);
  },
);

throughBoth(
  'the cursor of an empty answer is the head, past what other channels got',
  async (t, server) => {
    const stack = await startStack(t, { server });
    const held = stack.update({ id: 'now', channel: 'quiet', timeout: 2 });
    await stack.holds(1);
    const head = await stack.create('elsewhere', { channel: 'loud' });
    const body = expectUpdate(await held);
    assert.deepEqual(body, { id: head, messages: [], more: false });
  },
);

throughBoth('limit splits an answer and more says so', async (t, server) => {
  const stack = await startStack(t, { server });
  const ids = [];
  for (let i = 0; i < 7; i++) ids.push(await stack.create(`m${i}`));
  const seen = [];
  let id = '';
  for (const more of [true, true, false]) {
    const body = expectUpdate(await stack.update({ id, limit: 3 }));
    assert.equal(body.more, more);
    assert.equal(body.id, body.messages.at(-1).id);
    seen.push(...body.messages.map((m) => m.id));
    id = body.id;
  }
  assert.deepEqual(seen, ids);
  assert.equal(expectUpdate(await stack.update({ limit: 7 })).more, false, 'nothing is left');
});

throughBoth('with limit and several channels nothing is skipped', async (t, server) => {
  const stack = await startStack(t, { server });
  for (let i = 0; i < 30; i++) await stack.create(`m${i}`, { channel: ['a', 'b', 'c'][i % 3] });
  const seen = [];
  let id = '',
    more = true;
  while (more) {
    const body = expectUpdate(
      await stack.update({ id, channel: ['a', 'c'], limit: 4, timeout: 0 }),
    );
    seen.push(...texts(body.messages));
    ({ id, more } = body);
  }
  assert.deepEqual(
    seen,
    Array.from({ length: 30 }, (_, i) => i)
      .filter((i) => i % 3 !== 1)
      .map((i) => `m${i}`),
  );
  assert.equal(id, (await stack.status()).head);
});

throughBoth('an answer has a thousand messages at most', async (t, server) => {
  const stack = await startStack(t, { server });
  const total = 1010;
  for (let at = 0; at < total; at += 101)
    await Promise.all(Array.from({ length: 101 }, (_, i) => stack.create(`m${at + i}`)));
  const first = expectUpdate(await stack.update());
  assert.equal(first.messages.length, 1000);
  assert.equal(first.more, true);
  const second = expectUpdate(await stack.update({ id: first.id, limit: 1000 }));
  assert.equal(second.messages.length, 10);
  assert.equal(second.more, false);
});

throughBoth('an answer stops at about a mebibyte, and the rest follows', async (t, server) => {
  const stack = await startStack(t, { server });
  const size = 60_000,
    count = 40;
  for (let i = 0; i < count; i++)
    await stack.create(String.fromCharCode(97 + (i % 26)).repeat(size));
  const seen = [];
  let id = '',
    more = true,
    answers = 0;
  while (more) {
    const answer = await stack.http(`update?id=${id}&timeout=0`);
    const body = expectUpdate(expectJson(answer));
    assert.ok(
      body.messages.length * size <= 2 ** 20 + size,
      `${body.messages.length} messages in one answer`,
    );
    assert.ok(body.messages.length > 0);
    seen.push(...texts(body.messages));
    ({ id, more } = body);
    answers++;
  }
  assert.ok(answers >= 3);
  assert.deepEqual(
    seen.map((s) => [s[0], s.length]),
    Array.from({ length: count }, (_, i) => [String.fromCharCode(97 + (i % 26)), size]),
  );
});

throughBoth('an answer arrives whole however much escaping makes of it', async (t, server) => {
  const stack = await startStack(t, { server });
  const sent = ['\u0001', '"', "'", '\\', '<', '&'].map((c) => c.repeat(65_536));
  for (let i = 0; i < 18; i++) await stack.create(sent[i % sent.length]);
  const seen = texts(await stack.all());
  assert.equal(seen.length, 18);
  seen.forEach((text, i) => assert.ok(text === sent[i % sent.length], `message ${i}`));
  // As much as an answer may have at once (1 MiB, as it is written), and the rest when it is asked for.
  const written = { '"': '&quot;', "'": '&#39;', '<': '&lt;', '&': '&amp;' };
  const divs = seen.map((text) => `<div>${(written[text[0]] ?? text[0]).repeat(65_536)}</div>`).join('');
  let all = '', answers = 0;
  for (let id = ''; all.length < divs.length; answers++) {
    const answer = await stack.update({ as: 'html', id });
    all += answer.html;
    ({ id } = answer);
  }
  assert.ok(all === divs);
  assert.ok(answers > 1);
});

throughBoth('one cursor serves any set of channels', async (t, server) => {
  const stack = await startStack(t, { server });
  const a1 = await stack.create('a1', { channel: 'a' });
  await stack.create('b1', { channel: 'b' });
  await stack.create('c1', { channel: 'c' });
  const a2 = await stack.create('a2', { channel: 'a' });
  const both = expectUpdate(await stack.update({ channel: ['a', 'b'] }));
  assert.deepEqual(
    both.messages.map((m) => [m.channel, m.data]),
    [
      ['a', 'a1'],
      ['b', 'b1'],
      ['a', 'a2'],
    ],
  );
  assert.equal(both.id, a2);
  assert.deepEqual(texts((await stack.update({ id: a1, channel: ['c', 'b'] })).messages), [
    'b1',
    'c1',
  ]);
  assert.deepEqual(
    texts((await stack.update({ id: a1, channel: 'c' })).messages),
    ['c1'],
    'a cursor from another channel',
  );
  assert.deepEqual(
    texts((await stack.update({ channel: ['a', 'a'] })).messages),
    ['a1', 'a2'],
    'named twice, given once',
  );
});

throughBoth(
  'a hold on several channels is woken by any of them and by no other',
  async (t, server) => {
    const stack = await startStack(t, { server });
    for (const waking of ['x', 'y', 'z']) {
      const held = stack.update({ id: 'now', channel: ['x', 'y', 'z'] });
      await stack.holds(1);
      await stack.create('not this', { channel: 'other' });
      assert.equal((await stack.status()).holds, 1);
      await stack.create('this', { channel: waking });
      assert.deepEqual(
        (await held).messages.map((m) => [m.channel, m.data]),
        [[waking, 'this']],
      );
    }
  },
);

throughBoth('every hold of a channel gets the same answer', async (t, server) => {
  const stack = await startStack(t, { server });
  const id = await stack.create('before');
  const held = Array.from({ length: 150 }, () => stack.http(`update?id=${id}`));
  await stack.holds(150);
  await stack.create('news');
  const answers = await Promise.all(held);
  for (const answer of answers) {
    assert.deepEqual(texts(expectUpdate(expectJson(answer)).messages), ['news']);
    assert.equal(answer.body, answers[0].body);
  }
  assert.ok((await stack.status()).deliveries >= 150);
});

throughBoth("as=html gives the board's shape, escaped", async (t, server) => {
  const stack = await startStack(t, { server });
  await stack.create('plain');
  const last = await stack.create('<b class="x">\'&amp;\'</b>');
  const answer = await stack.http('update?as=html');
  const escaped = '<div>&lt;b class=&quot;x&quot;&gt;&#39;&amp;amp;&#39;&lt;/b&gt;</div>';
  const body = expectJson(answer);
  assert.deepEqual(Object.keys(body), ['html', 'id']);
  assert.equal(
    body.html.replaceAll('&#x27;', '&#39;').replaceAll('&#039;', '&#39;'),
    `<div>plain</div>${escaped}`,
  );
  assert.equal(body.id, last);
  assert.deepEqual(expectJson(await stack.http(`update?as=html&timeout=0&id=${last}`)), {
    html: '',
    id: last,
  });
  const held = stack.http(`update?as=html&id=${last}`);
  const json = stack.http(`update?as=json&id=${last}`);
  await stack.holds(2);
  const next = await stack.create('held');
  assert.deepEqual(expectJson(await held), { html: '<div>held</div>', id: next });
  assert.deepEqual(texts(expectUpdate(expectJson(await json)).messages), ['held']);
});

throughBoth('as=html with an id that is not known gives all that is held', async (t, server) => {
  const stack = await startStack(t, { server });
  const last = await stack.create('here');
  assert.deepEqual(expectJson(await stack.http('update?as=html&id=0')), {
    html: '<div>here</div>',
    id: last,
  });
});

throughBoth('id comes from the form or the query, then Last-Event-ID', async (t, server) => {
  const stack = await startStack(t, { server });
  const ids = [];
  for (let i = 0; i < 4; i++) ids.push(await stack.create(`m${i}`));
  const ask = async (at, options) =>
    texts(expectUpdate(expectJson(await stack.http(at, options))).messages);
  const last = { 'Last-Event-ID': ids[0] };
  assert.deepEqual(await ask('update', { headers: last }), ['m1', 'm2', 'm3']);
  assert.deepEqual(await ask(`update?id=${ids[1]}`, { headers: last }), ['m2', 'm3']);
  assert.deepEqual(
    await ask('update', { method: 'POST', headers: { ...last, ...FORM }, body: `id=${ids[2]}` }),
    ['m3'],
  );
  assert.deepEqual(
    await ask('update', { method: 'POST', headers: FORM, body: `id=${ids[1]}&limit=1` }),
    ['m2'],
  );
});

throughBoth('POST update takes all its fields from a form', async (t, server) => {
  const stack = await startStack(t, { server });
  const id = await stack.create('a', { channel: 'a' });
  await stack.create('b', { channel: 'b' });
  await stack.create('c', { channel: 'c' });
  const post = async (body) =>
    expectJson(await stack.http('update', { method: 'POST', headers: FORM, body }));
  assert.deepEqual(texts((await post(`channel=b&channel=c&id=${id}`)).messages), ['b', 'c']);
  assert.deepEqual(texts((await post('channel=b&channel=c&limit=1&timeout=0')).messages), ['b']);
  assert.equal((await post('channel=b&as=html')).html, '<div>b</div>');
  assert.deepEqual((await post('channel=none&timeout=0')).messages, []);
});

throughBoth('a cursor that is not of this log gets everything, marked reset', async (t, server) => {
  const stack = await startStack(t, { server });
  const id = await stack.create('kept');
  const other = epochOf(id) === 'ffffffffffff' ? '000000000000' : 'ffffffffffff';
  const foreign = `${other}-${seqOf(id)}`;
  const ahead = `${epochOf(id)}-${seqOf(id) + 1n}`;
  for (const unknown of [foreign, ahead, 'nonsense', '0', `${epochOf(id)}`, '-']) {
    const body = expectUpdate(await stack.update({ id: unknown }), { reset: true });
    assert.deepEqual(texts(body.messages), ['kept']);
    assert.equal(body.id, id);
  }
});

throughBoth(
  'a cursor that is not of this log is answered at once even where nothing is retained',
  async (t, server) => {
    const stack = await startStack(t, { server });
    const body = expectUpdate(await stack.update({ id: 'ffffffffffff-7' }), { reset: true });
    assert.deepEqual(body.messages, []);
    assert.equal(body.id, (await stack.status()).head);
    const head = await stack.create('x');
    const empty = expectUpdate(
      await stack.update({ id: 'ffffffffffff-7', channel: 'nothing-here' }),
      { reset: true },
    );
    assert.deepEqual(empty.messages, []);
    assert.equal(empty.id, head);
  },
);

throughBoth('answers come from the log where memory does not reach back', async (t, server) => {
  const stack = await startStack(t, { server, args: ['--memory', '64K'] });
  const sent = [];
  for (let i = 0; i < 60; i++) {
    sent.push(`${i}:`.padEnd(5000, 'x'));
    await stack.create(sent[i]);
  }
  assert.deepEqual(texts(await stack.all()), sent);
  const first = (await stack.update({ limit: 1 })).id;
  assert.deepEqual(
    texts(await stack.all({ channel: 'main' })).slice(1),
    texts((await stack.update({ id: first })).messages),
  );
});

claim('an update through one web server wakes a hold through the other', async (t) => {
  const stack = await startStack(t, { server: SERVERS[0] });
  const other = await new Web(SERVERS[1], `${stack.dir}/other`, stack.socket).start();
  defer(t, () => other.stop());
  const held = stack.update({ id: 'now' });
  await stack.holds(1);
  const url = `http://127.0.0.1:${other.port}/comet/create?msg=across`;
  expectCommon(await fetchHttp(url, { method: 'POST' }));
  assert.deepEqual(texts((await held).messages), ['across']);
});
