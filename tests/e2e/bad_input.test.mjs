// What bad input gets. After each, the daemon goes on as if nothing had been.
import assert from 'node:assert/strict';
import http from 'node:http';
import { claim, startStack, throughBoth } from './lib/harness.mjs';
import { ask } from './lib/fcgi.mjs';
import {
  epochOf,
  expectCommon,
  expectError,
  expectJson,
  expectUpdate,
  seqOf,
  texts,
} from './lib/expect.mjs';
import { random } from './lib/random.mjs';

const FORM = { 'Content-Type': 'application/x-www-form-urlencoded' };
const TEXT = { 'Content-Type': 'text/plain' };
const LIMIT = 64 * 1024;

// Unless it is told this, lighttpd answers a URL that has encoded control characters or is not
// UTF-8 by itself, with 400.
const webConfig = {
  lighttpd:
    'server.http-parseopts = ("url-ctrls-reject" => "disable", ' +
    '"url-invalid-utf8-reject" => "disable")\n',
};

async function storedNothing(stack) {
  const { messages, holds, creates } = await stack.status();
  assert.deepEqual({ messages, holds, creates }, { messages: 0, holds: 0, creates: 0 });
}

throughBoth('a wrong method gets 405 with Allow', async (t, server) => {
  const stack = await startStack(t, { server });
  for (const [at, methods, allowed] of [
    ['create', ['GET', 'PUT', 'DELETE', 'PATCH'], ['POST']],
    ['batch', ['GET', 'PUT', 'DELETE', 'PATCH'], ['POST']],
    ['update', ['PUT', 'DELETE'], ['GET', 'POST']],
    ['subscribe', ['PUT', 'DELETE'], ['GET', 'POST']],
    ['status', ['POST', 'PUT', 'DELETE'], ['GET']],
  ]) {
    for (const method of methods) {
      const answer = await stack.http(at, { method });
      expectError(answer, 405);
      const allow = (answer.headers.allow ?? '').split(/\s*,\s*/);
      for (const name of allowed)
        assert.ok(allow.includes(name), `${method} ${at}: Allow: ${answer.headers.allow}`);
      assert.ok(!allow.includes(method));
    }
  }
  await storedNothing(stack);
});

throughBoth('a message at the limit is stored and one byte more gets 413', async (t, server) => {
  const stack = await startStack(t, { server });
  const post = (headers, body, at = 'create') => stack.http(at, { method: 'POST', headers, body });
  const maximal = 'm'.repeat(LIMIT);
  expectJson(await post(TEXT, maximal));
  expectJson(await post(FORM, `msg=${maximal}`));
  const encoded = '%C3%A9'.repeat(LIMIT / 2); // three times as long in the form as in the log
  expectJson(await post(FORM, `msg=${encoded}`));
  expectJson(await post(FORM, `channel=main&msg=${'%6D'.repeat(LIMIT)}`));
  expectJson(await post(TEXT, 'é'.repeat(LIMIT / 2)));
  const stored = texts(await stack.all());
  assert.deepEqual(
    stored.map((s) => Buffer.byteLength(s)),
    Array(5).fill(LIMIT),
  );
  assert.ok(
    stored[0] === maximal &&
      stored[1] === maximal &&
      stored[2] === 'é'.repeat(LIMIT / 2) &&
      stored[3] === maximal,
  );

  expectError(await post(TEXT, `${maximal}m`), 413, /65536|64/);
  expectError(await post(FORM, `msg=${maximal}m`), 413);
  expectError(await post(FORM, `msg=${encoded}%6D`), 413);
  expectError(await post(TEXT, `é${'é'.repeat(LIMIT / 2)}`), 413);
  expectError(await post(TEXT, 'x'.repeat(3 * LIMIT)), 413);
  expectError(await post(FORM, `msg=${'x'.repeat(4 * LIMIT)}`), 413);
  expectError(await post(TEXT, 'x'.repeat(900 * 1024)), 413);
  assert.equal((await stack.status()).messages, 5);
});

claim('half a form is no form, whatever it is for', async (t) => {
  const stack = await startStack(t);
  const type = FORM['Content-Type'];
  const large = `channel=here&x=${'x'.repeat(4 * LIMIT)}`;
  for (const endpoint of ['create', 'update', 'subscribe', 'longpolling', 'streaming']) {
    const post = (body, params) =>
      ask(stack.socket, { method: 'POST', uri: `/comet/${endpoint}`, type, body, params });
    expectError(await post(large), 413, /form/);
    expectError(await post('channel=here&ti', { CONTENT_LENGTH: 30 }), 400, /Content-Length/);
  }
  await storedNothing(stack);
});

throughBoth('a body of megabytes gets 413 from whoever refuses it first', async (t, server) => {
  const stack = await startStack(t, { server });
  for (const headers of [TEXT, FORM]) {
    const answer = await stack.http('create', {
      method: 'POST',
      headers,
      body: Buffer.alloc(5 * 2 ** 20, 'x'),
    });
    assert.equal(answer.status, 413);
  }
  await storedNothing(stack);
  await stack.create('goes on');
});

throughBoth('the limit of a message is the one configured', async (t, server) => {
  const stack = await startStack(t, { server, args: ['--max-message', '100'] });
  await stack.create('x'.repeat(100));
  expectError(
    await stack.http('create', { method: 'POST', headers: TEXT, body: 'x'.repeat(101) }),
    413,
    /100/,
  );
  expectError(await stack.http(`create?msg=${'x'.repeat(101)}`, { method: 'POST' }), 413);
});

throughBoth('what is not text gets 400 that says so', async (t, server) => {
  const stack = await startStack(t, { server, webConfig });
  const post = (headers, body, at = 'create') => stack.http(at, { method: 'POST', headers, body });
  const bytes = [
    [0xff],
    [0x61, 0x80],
    [0xc3],
    [0xc0, 0xaf],
    [0xed, 0xa0, 0x80],
    [0xf4, 0x90, 0x80, 0x80],
    [0xf8, 0x88, 0x80, 0x80, 0x80],
    [0xe2, 0x82],
    [0xc1, 0xbf],
    [0xe0, 0x80, 0xaf],
    [0xf0, 0x80, 0x80, 0xaf],
  ];
  for (const b of bytes) {
    expectError(await post(TEXT, Buffer.from(b)), 400, /UTF-8/i);
    const percent = b.map((x) => `%${x.toString(16).padStart(2, '0')}`).join('');
    expectError(await post(FORM, `msg=${percent}`), 400, /UTF-8/i);
    expectError(await post({}, undefined, `create?msg=${percent}`), 400, /UTF-8/i);
  }
  expectError(await post(TEXT, 'a\0b'), 400, /NUL/);
  expectError(await post(TEXT, '\0'), 400, /NUL/);
  expectError(await post(FORM, 'msg=a%00b'), 400, /NUL/);
  expectError(await post({}, undefined, 'create?msg=%00'), 400, /NUL/);
  await storedNothing(stack);
});

throughBoth('a bad channel gets 400 that says so', async (t, server) => {
  const stack = await startStack(t, { server, webConfig });
  const names = ['', 'a b', 'ä', 'a/b', 'x'.repeat(65), 'a\0', '\xff', 'a,b', '*', '\n', 'a%'];
  for (const name of names) {
    const channel = encodeURIComponent(name);
    expectError(
      await stack.http(`create?channel=${channel}&msg=x`, { method: 'POST' }),
      400,
      /channel/,
    );
    expectError(
      await stack.http('create', {
        method: 'POST',
        headers: FORM,
        body: `msg=x&channel=${channel}`,
      }),
      400,
      /channel/,
    );
    expectError(await stack.http(`update?channel=${channel}`), 400, /channel/);
    expectError(await stack.http(`update?channel=main&channel=${channel}`), 400, /channel/);
    expectError(await stack.http(`subscribe?channel=${channel}`), 400, /channel/);
  }
  expectError(
    await stack.http('create?channel=a&channel=b&msg=x', { method: 'POST' }),
    400,
    /channel/,
  );
  await storedNothing(stack);
  for (const good of ['x'.repeat(64), 'A-z_0.9', '-', '.', '..', '_'])
    await stack.create('fine', { channel: good });
});

throughBoth('too many channels get 400', async (t, server) => {
  const stack = await startStack(t, { server });
  const list = (n) => Array.from({ length: n }, (_, i) => `channel=c${i}`).join('&');
  assert.deepEqual(
    expectUpdate(expectJson(await stack.http(`update?timeout=0&${list(32)}`))).messages,
    [],
  );
  expectError(await stack.http(`update?timeout=0&${list(33)}`), 400, /channel/);
  expectError(await stack.http(`subscribe?timeout=0&${list(33)}`), 400, /channel/);
  expectError(
    await stack.http('update', { method: 'POST', headers: FORM, body: list(2000) }),
    400,
    /channel|fields/,
  );
  await storedNothing(stack);
});

throughBoth('a bad timeout, limit or form of answer gets 400 that names it', async (t, server) => {
  const stack = await startStack(t, { server, webConfig, args: ['--hold-max', '60'] });
  const numbers = [
    '-1',
    'x',
    '1x',
    ' 1',
    '+1',
    '1.5',
    '1e3',
    '0x10',
    '99999999999999999999',
    '',
    '\0',
    '1\0',
  ];
  for (const bad of [...numbers, '61']) {
    const timeout = encodeURIComponent(bad);
    expectError(await stack.http(`update?timeout=${timeout}`), 400, /timeout/);
    expectError(await stack.http(`subscribe?timeout=${timeout}`), 400, /timeout/);
    expectError(
      await stack.http('update', { method: 'POST', headers: FORM, body: `timeout=${timeout}` }),
      400,
      /timeout/,
    );
  }
  for (const bad of [...numbers, '0', '1001'])
    expectError(
      await stack.http(`update?timeout=0&limit=${encodeURIComponent(bad)}`),
      400,
      /limit/,
    );
  for (const bad of ['xml', 'HTML', 'html%00', 'htm'])
    expectError(await stack.http(`update?timeout=0&as=${bad}`), 400, /\bas\b/);
  await storedNothing(stack);
});

throughBoth('errors have the headers that every answer has', async (t, server) => {
  const stack = await startStack(t, { server });
  for (const [at, method, status] of [
    ['nothing', 'GET', 404],
    ['create', 'PUT', 405],
    ['update?limit=x', 'GET', 400],
    ['create?channel=%20', 'POST', 400],
  ]) {
    const answer = await stack.http(at, { method });
    assert.equal(answer.status, status);
    expectCommon(answer);
  }
});

throughBoth('any bytes as id get a reset, never an error, never a hang', async (t, server) => {
  const stack = await startStack(t, { server, webConfig });
  const id = await stack.create('kept');
  const agent = new http.Agent({ keepAlive: true, maxSockets: 8 });
  t.after(() => agent.destroy());
  const { int, bytes } = random('any bytes as id');
  const epoch = epochOf(id),
    seq = seqOf(id);
  const near = [
    `${epoch}-`,
    `${epoch}--1`,
    `${epoch}- 1`,
    `${epoch}-+1`,
    `${epoch}-1e3`,
    `${epoch}-${'9'.repeat(60)}`,
    `-${seq}`,
    `${epoch}-18446744073709551616`,
    `${epoch}-18446744073709551617`,
    `${epoch}-9223372036854775808`,
    `${epoch}-0x1`,
    `${epoch}-1 `,
    `${epoch}-1\n`,
    ` ${id}`,
    `${id}\0`,
    `${id}x`,
    `${epoch.slice(1)}-${seq}`,
    `0${epoch}-${seq}`,
    `NOW`,
    'now ',
    'now\0',
    `${epoch}${seq}`,
    `${epoch}_${seq}`,
    '\0',
    '%',
    '%%%',
    '%s%n',
    '-',
    '--',
    'null',
    'undefined',
    '"',
    '{"id":1}',
    '💥',
    '\ufeff',
  ].map((s) => Buffer.from(s));
  const ids = [...near, ...Array.from({ length: 250 }, () => bytes(1 + int(int(4) ? 40 : 1500)))];
  const escaped = (b) => Array.from(b, (x) => `%${x.toString(16).padStart(2, '0')}`).join('');
  const loose = (b) =>
    b
      .toString('latin1')
      .replace(/[^!-~]|[#&=+%?]/g, (c) => `%${c.charCodeAt(0).toString(16).padStart(2, '0')}`);

  const judge = async (what, answer, endpoint) => {
    const name = `${endpoint} with ${what.toString('latin1')}`;
    assert.equal(answer.status, 200, `${name}: ${answer.status} ${answer.body}`);
    const body = expectJson(answer);
    if (endpoint === 'subscribe') assert.deepEqual(body, { ret: 'new' }, name);
    else {
      expectUpdate(body, { reset: true });
      assert.deepEqual(texts(body.messages), endpoint === 'update' ? ['kept'] : [], name);
    }
  };
  await Promise.all(
    ids.map(async (b, i) => {
      if (b.equals(Buffer.from('now'))) return;
      const at = i % 2 ? escaped(b) : loose(b);
      await judge(b, await stack.http(`update?id=${at}`, { agent }), 'update');
      await judge(
        b,
        await stack.http(`update?channel=empty&id=${at}`, { agent }),
        'update of nothing',
      );
      await judge(b, await stack.http(`subscribe?id=${at}`, { agent }), 'subscribe');
      await judge(
        b,
        await stack.http('update', {
          agent,
          method: 'POST',
          headers: FORM,
          body: `id=${escaped(b)}`,
        }),
        'update',
      );
      const header = b
        .toString('latin1')
        .replace(/[^ -~]/g, '')
        .trim();
      if (header && header !== 'now' && header !== id)
        await judge(
          Buffer.from(header),
          await stack.http('update', { agent, headers: { 'Last-Event-ID': header } }),
          'update',
        );
    }),
  );
  assert.equal((await stack.status()).holds, 0);
});

// With the configuration as it is in deploy/, whoever has such bytes sends them in the body.
throughBoth('any bytes as id get a reset when they come in a form', async (t, server) => {
  const stack = await startStack(t, { server });
  await stack.create('kept');
  const { bytes } = random('bytes in a form');
  const each = Array.from({ length: 256 }, (_, i) => Buffer.from([i]));
  for (const id of [...each, bytes(5000), bytes(20_000)]) {
    const body = `id=${Array.from(id, (x) => `%${x.toString(16).padStart(2, '0')}`).join('')}`;
    const answer = await stack.http('update', { method: 'POST', headers: FORM, body });
    expectUpdate(expectJson(answer), { reset: true });
  }
});

throughBoth(
  'broken percent-encoding, and fields nobody knows, never break anything',
  async (t, server) => {
    const stack = await startStack(t, { server });
    const { int, bytes } = random('broken encoding');
    const pieces = [
      '%',
      '%4',
      '%zz',
      '%00',
      '&',
      '&&',
      '=',
      '==',
      'msg',
      'msg=',
      'id=',
      'channel=',
      'channel=a',
      'timeout=0',
      '+',
      ';',
      'a'.repeat(300),
    ];
    for (let i = 0; i < 150; i++) {
      let body = Array.from({ length: 1 + int(8) }, () => pieces[int(pieces.length)]).join(
        int(2) ? '&' : '',
      );
      if (int(3) === 0) body += bytes(int(20)).toString('latin1');
      const raw = Buffer.from(body, 'latin1');
      const created = await stack.http('create', { method: 'POST', headers: FORM, body: raw });
      assert.ok(
        [200, 400].includes(created.status),
        `${created.status} for ${JSON.stringify(body)}`,
      );
      expectCommon(created);
      const updated = await stack.http('update', {
        method: 'POST',
        headers: FORM,
        body: Buffer.concat([Buffer.from('timeout=0&'), raw]),
      });
      assert.ok(
        [200, 400].includes(updated.status),
        `${updated.status} for ${JSON.stringify(body)}`,
      );
      expectCommon(updated);
    }
    assert.equal((await stack.status()).holds, 0);
  },
);
