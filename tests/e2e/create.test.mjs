// POST create: what becomes a message, and what is answered.
import assert from 'node:assert/strict';
import { run, startStack, throughBoth } from './lib/harness.mjs';
import { CURSOR, epochOf, expectError, expectJson, seqOf, texts } from './lib/expect.mjs';

const FORM = { 'Content-Type': 'application/x-www-form-urlencoded' };
const TEXT = { 'Content-Type': 'text/plain' };

async function only(stack, channel = 'main') {
  const messages = await stack.all({ channel });
  assert.equal(messages.length, 1, JSON.stringify(messages));
  return messages[0];
}

throughBoth('create answers with the cursor of the message it stored', async (t, server) => {
  const stack = await startStack(t, { server });
  const before = Date.now();
  const answer = await stack.http('create', { method: 'POST', headers: FORM, body: 'msg=hello' });
  const told = expectJson(answer);
  assert.deepEqual(Object.keys(told), ['id']);
  assert.match(told.id, CURSOR);
  const message = await only(stack);
  assert.deepEqual(
    { ...message, time: 0 },
    { id: told.id, channel: 'main', time: 0, data: 'hello' },
  );
  assert.ok(
    message.time >= before - 1000 && message.time <= Date.now() + 1000,
    'time is milliseconds since 1970',
  );
  assert.equal(epochOf(told.id), (await stack.status()).epoch);
});

throughBoth('cursors of one log share its epoch and rise', async (t, server) => {
  const stack = await startStack(t, { server });
  const ids = [];
  for (const channel of ['a', 'b', 'a', 'main']) ids.push(await stack.create('x', { channel }));
  assert.equal(new Set(ids.map(epochOf)).size, 1);
  for (let i = 1; i < ids.length; i++) assert.ok(seqOf(ids[i]) > seqOf(ids[i - 1]));
});

throughBoth(
  'a message may come as form field, query, text, JSON or bytes without a type',
  async (t, server) => {
    const stack = await startStack(t, { server });
    const post = (at, headers, body) => stack.http(at, { method: 'POST', headers, body });
    const forms = [
      ['create', FORM, 'msg=form+field%21', 'form field!'],
      [
        'create',
        { 'Content-Type': 'application/x-www-form-urlencoded; charset=UTF-8' },
        'channel=main&&msg=jquery',
        'jquery',
      ],
      [
        'create',
        { 'Content-Type': 'Application/X-WWW-Form-URLencoded' },
        'msg=any+case',
        'any case',
      ],
      ['create?msg=from%20the+query', {}, undefined, 'from the query'],
      ['create', TEXT, 'msg=not a form', 'msg=not a form'],
      [
        'create',
        { 'Content-Type': 'application/json' },
        '{"a": [1, "zwei"]}',
        '{"a": [1, "zwei"]}',
      ],
      ['create', { 'Content-Type': 'application/octet-stream' }, 'bytes', 'bytes'],
      ['create', {}, 'no type at all', 'no type at all'],
    ];
    for (const [at, headers, body] of forms) expectJson(await post(at, headers, body));
    assert.deepEqual(
      texts(await stack.all()),
      forms.map((f) => f[3]),
    );
  },
);

throughBoth('every text comes out as it went in', async (t, server) => {
  const stack = await startStack(t, {
    server,
    // Unless it is told this, lighttpd itself refuses encoded control characters in a URL.
    webConfig: { lighttpd: 'server.http-parseopts = ("url-ctrls-reject" => "disable")\n' },
  });
  const samples = [
    ' leading and trailing ',
    'two\nlines',
    'cr\rcrlf\r\nend',
    'tab\tbell\x07escape\x1b',
    '"quotes" \\ / \'single\'',
    '<script>alert(1)</script>&amp;',
    'Grüße, 世界, 👩‍🚀 \u2028\u2029\ufeff',
    '\u{10ffff}\ufffd',
    '%41+%',
    'a=b&c=d',
    '\x7f',
    '0',
    'null',
  ];
  for (const sample of samples) {
    await stack.create(sample);
    const form = new URLSearchParams({ msg: sample }).toString();
    expectJson(await stack.http('create', { method: 'POST', headers: FORM, body: form }));
    expectJson(await stack.http(`create?msg=${encodeURIComponent(sample)}`, { method: 'POST' }));
  }
  assert.deepEqual(
    texts(await stack.all()),
    samples.flatMap((s) => [s, s, s]),
  );
});

throughBoth('without a message, create makes one of six characters A-Z0-9', async (t, server) => {
  const stack = await startStack(t, { server });
  for (let i = 0; i < 8; i++) expectJson(await stack.http('create', { method: 'POST' }));
  expectJson(await stack.http('create', { method: 'POST', headers: FORM, body: '' }));
  expectJson(await stack.http('create?channel=main', { method: 'POST', headers: TEXT, body: '' }));
  const made = texts(await stack.all());
  assert.equal(made.length, 10);
  for (const text of made) assert.match(text, /^[A-Z0-9]{6}$/);
  assert.ok(new Set(made).size > 1, 'they differ');
});

throughBoth('an empty message is none: six characters are made then too', async (t, server) => {
  const stack = await startStack(t, { server });
  const boundary = { 'Content-Type': 'multipart/form-data; boundary=b' };
  const part = '--b\r\nContent-Disposition: form-data; name="msg"\r\n\r\n\r\n--b--\r\n';
  for (const [at, headers, body] of [
    ['create', FORM, 'msg='],
    ['create?msg=', {}, undefined],
    ['create?msg', {}, undefined],
    ['create', FORM, 'channel=main&msg'],
    ['create', boundary, part],
    ['create', boundary, '--b--\r\n'],
    ['create?channel=main', { 'Content-Type': 'application/json' }, ''],
  ])
    expectJson(await stack.http(at, { method: 'POST', headers, body }));
  const made = texts(await stack.all());
  assert.equal(made.length, 7);
  for (const text of made) assert.match(text, /^[A-Z0-9]{6}$/);
});

throughBoth('a second message, or a field that create does not know, is refused', async (t, server) => {
  const stack = await startStack(t, { server });
  for (const [at, headers, body, says] of [
    ['create', FORM, 'msg=a&msg=b', /msg is given twice/],
    ['create', FORM, 'msg=&msg=b', /msg is given twice/],
    ['create?msg=a&msg=a', {}, undefined, /msg is given twice/],
    ['create?msg=a', TEXT, 'b', /given twice/],
    ['create?msg=a', { 'Content-Type': 'application/json' }, '{"msg":"b"}', /given twice/],
    ['create', FORM, 'msg=a&chanel=news', /fields msg, channel and once/],
    ['create?chanel=news', TEXT, 'a', /fields msg, channel and once/],
    ['create', FORM, 'msg=a&=b', /fields msg, channel and once/],
    ['create', FORM, 'channel=a&channel=a&msg=a', /one channel/],
  ])
    expectError(await stack.http(at, { method: 'POST', headers, body }), 400, says);
  assert.equal((await stack.status()).creates, 0);
});

throughBoth('curl -F and FormData are read', async (t, server) => {
  const stack = await startStack(t, { server });
  const curl = run(['curl', '-sS', '-F', 'msg=Grüße;type=text/plain', '-F', 'channel=f', `${stack.url}/create`]);
  assert.equal((await curl.exited).code, 0, curl.stderr);
  assert.match(JSON.parse(curl.stdout).id, CURSOR);
  const form = new FormData();
  form.append('channel', 'f');
  form.append('msg', 'two\r\nlines "and quotes"');
  const answer = await fetch(`${stack.url}/create`, { method: 'POST', body: form });
  assert.equal(answer.status, 200, await answer.text());
  assert.deepEqual(texts(await stack.all({ channel: 'f' })), [
    'Grüße',
    'two\r\nlines "and quotes"',
  ]);
  const update = await stack.http('update', {
    method: 'POST',
    headers: { 'Content-Type': 'multipart/form-data; boundary=b' },
    body: '--b\r\nContent-Disposition: form-data; name="channel"\r\n\r\nf\r\n--b--\r\n',
  });
  assert.equal(texts(expectJson(update).messages).length, 2);
});

throughBoth('of multipart, files and what is malformed are refused with a reason', async (t, server) => {
  const stack = await startStack(t, { server });
  const file = new FormData();
  file.append('msg', new Blob(['x']), 'x.txt');
  const answer = await fetch(`${stack.url}/create`, { method: 'POST', body: file });
  assert.equal(answer.status, 415);
  assert.match((await answer.json()).error, /files are not accepted/);
  const headers = { 'Content-Type': 'multipart/form-data; boundary=b' };
  const part = (head, value) => `--b\r\nContent-Disposition: form-data; ${head}\r\n\r\n${value}\r\n`;
  for (const [body, says] of [
    [part('name="msg"', 'x'), /does not end with its boundary/],
    [`${part('name="msg"', 'x')}${part('name="msg"', 'y')}--b--`, /msg is given twice/],
    [`${part('name="other"', 'x')}--b--`, /fields msg, channel and once/],
    [`${part('name="msg"', 'a\0b')}--b--`, /NUL/],
    ['msg=x', /begin with its boundary/],
  ])
    expectError(await stack.http('create', { method: 'POST', headers, body }), 400, says);
  const large = `${part('name="msg"', 'x'.repeat(64 * 1024 + 1))}--b--`;
  expectError(await stack.http('create', { method: 'POST', headers, body: large }), 413);
  assert.equal((await stack.status()).creates, 0);
});

throughBoth('a form without msg is refused and told so', async (t, server) => {
  const stack = await startStack(t, { server });
  expectError(
    await stack.http('create', { method: 'POST', headers: FORM, body: 'hello' }),
    400,
    /msg/,
  );
  expectError(
    await stack.http('create', { method: 'POST', headers: FORM, body: 'message=hello&x=1' }),
    400,
    /msg/,
  );
  assert.equal((await stack.status()).messages, 0);
});

throughBoth(
  'the channel comes from the query or the form, and is main otherwise',
  async (t, server) => {
    const stack = await startStack(t, { server });
    expectJson(
      await stack.http('create?channel=q', { method: 'POST', headers: TEXT, body: 'in the query' }),
    );
    expectJson(
      await stack.http('create', {
        method: 'POST',
        headers: FORM,
        body: 'channel=f&msg=in+the+form',
      }),
    );
    expectJson(await stack.http('create?channel=qm&msg=both', { method: 'POST' }));
    expectJson(await stack.http('create', { method: 'POST', headers: FORM, body: 'msg=default' }));
    assert.equal((await only(stack, 'q')).data, 'in the query');
    assert.equal((await only(stack, 'f')).data, 'in the form');
    assert.equal((await only(stack, 'qm')).data, 'both');
    assert.equal((await only(stack)).data, 'default');
  },
);

throughBoth('a body sent in chunks, without a length, is a message', async (t, server) => {
  const stack = await startStack(t, { server });
  const chunks = ['one ', 'two ', 'three'];
  expectJson(await stack.http('create', { method: 'POST', headers: TEXT, chunks }));
  assert.equal((await only(stack)).data, 'one two three');
});

throughBoth("any path before the last segment is the web server's business", async (t, server) => {
  const stack = await startStack(t, { server });
  expectJson(await stack.http('deep/er/create', { method: 'POST', headers: TEXT, body: 'deep' }));
  assert.equal((await only(stack)).data, 'deep');
});

throughBoth('publishers at once each get the cursor of their own message', async (t, server) => {
  const stack = await startStack(t, { server });
  const sent = await Promise.all(
    Array.from({ length: 100 }, async (_, i) => [await stack.create(`m${i}`), `m${i}`]),
  );
  const stored = new Map((await stack.all()).map((m) => [m.id, m.data]));
  assert.equal(stored.size, 100);
  for (const [id, text] of sent) assert.equal(stored.get(id), text);
});
