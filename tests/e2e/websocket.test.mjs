// WebSocket: the handshake, the frames and what is said over it, with the `ws` package and with raw
// bytes, through both web servers and on the daemon's own socket.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import net from 'node:net';
import { WebSocket } from 'ws';
import { claim, defer, fetchHttp, startStack, throughBoth, until, within } from './lib/harness.mjs';
import { CURSOR, seqOf } from './lib/expect.mjs';
import { random } from './lib/random.mjs';
import { openReader } from './lib/readers.mjs';
import { TEXTS } from './lib/texts.mjs';
import { acceptOf, closeFrame, frame, handshake, OP, RawWebSocket, shake } from './lib/websocket.mjs';

const LIMIT = 64 * 1024;
const KEY = 'dGhlIHNhbXBsZSBub25jZQ==';
const create = ['--websocket-create', 'yes'];

// Through the web server, or straight on the daemon's socket.
const ways = (stack) => [stack.websocket, ...(stack.web ? [stack.web.port] : [])];

function refusal(answer, status, says) {
  assert.equal(answer.status, status, answer.body);
  assert.match(answer.headers['content-type'], /^application\/json/);
  const told = answer.json();
  assert.deepEqual(Object.keys(told), ['error']);
  assert.match(told.error, says);
  assert.equal(answer.headers['cache-control'], 'no-store');
}

// The close code that the server gives, and that it then closes the connection.
async function closes(ws, code, what) {
  await within(ws.closed, 20_000, `the end after ${what}`);
  assert.equal(ws.fault, null, what);
  assert.equal(ws.closeCode, code, `${what}: ${ws.closeReason}`);
}

// ---- the handshake ----

throughBoth('the handshake is that of RFC 6455', async (t, server) => {
  const stack = await startStack(t, { server });
  for (const to of ways(stack)) {
    const answer = await shake(to, handshake('/comet/websocket?id=now', { key: KEY }));
    assert.equal(answer.status, 101);
    assert.equal(answer.headers['sec-websocket-accept'], 's3pPLMBiTxaQ9kYGzzhZRbK+xOo=');
    assert.equal(answer.headers.upgrade.toLowerCase(), 'websocket');
    assert.match(answer.headers.connection, /upgrade/i);
    assert.equal(answer.headers['sec-websocket-extensions'], undefined, 'none was agreed on');
    assert.equal(answer.headers['sec-websocket-protocol'], undefined);
    answer.socket.destroy();
  }
  await stack.streams();
});

claim('a handshake that lacks or spoils a header is refused with the reason', async (t) => {
  const stack = await startStack(t);
  const refused = async (options, status, says, at = '/comet/websocket') =>
    refusal(await shake(stack.websocket, handshake(at, options)), status, says);
  const without = (name, value) => ({ headers: { [name]: value } });
  await refused(without('Host'), 400, /Host/);
  await refused(without('Upgrade'), 426, /Upgrade/);
  await refused(without('Upgrade', 'h2c'), 426, /Upgrade/);
  await refused(without('Upgrade', 'websocket2'), 426, /Upgrade/);
  await refused(without('Upgrade', ''), 426, /Upgrade/);
  await refused(without('Connection'), 400, /Connection/);
  await refused(without('Connection', 'keep-alive'), 400, /Connection/);
  await refused(without('Connection', 'upgraded'), 400, /Connection/);
  await refused(without('Sec-WebSocket-Version'), 400, /Version/);
  for (const version of ['8', '0', '12', '14', '13, 8', '013', '+13', '13.0', '-13', 'x'])
    await refused(without('Sec-WebSocket-Version', version), 426, /13/);
  await refused(without('Sec-WebSocket-Key'), 400, /Key/);
  for (const key of [
    '',
    'short',
    'dGhlIHNhbXBsZSBub25jZQ',
    'dGhlIHNhbXBsZSBub25jZQ=',
    'dGhlIHNhbXBsZSBub25jZQ===',
    'dGhlIHNhbXBsZSBub25jZTEyMw==',
    'dGhlIHNhbXBsZSBub25j*Q==',
    '========================',
    'a'.repeat(24),
    'a'.repeat(4000),
  ])
    await refused(without('Sec-WebSocket-Key', key), 400, /Key/);
  for (const name of ['Sec-WebSocket-Key', 'Sec-WebSocket-Version', 'Host', 'Origin'])
    await refused(
      { headers: { [name]: name === 'Sec-WebSocket-Version' ? ['13', '13'] : [KEY, KEY] } },
      400,
      /twice/,
    );
  for (const method of ['POST', 'PUT', 'OPTIONS']) {
    const answer = await shake(stack.websocket, handshake('/comet/websocket', { method }));
    assert.equal(answer.status, 405, method);
    assert.equal(answer.headers.allow, 'GET, HEAD');
  }
  await refused({ version: '1.0' }, 400, /1\.1/);
  await refused({ version: '2.0' }, 400, /1\.1/);
  await refused({ version: '0.9' }, 400, /1\.1/);
  await refused({}, 404, /websocket/, '/comet/update');
  await refused({}, 404, /websocket/, '/');
  await refused({}, 404, /websocket/, '/comet/websocket/');
  await refused({}, 400, /#/, '/comet/update#/websocket');
  await refused(without('Content-Length', '5'), 400, /body/);
  await refused(without('Transfer-Encoding', 'chunked'), 400, /body/);
  await refused(without('Cookie', 'x'.repeat(70_000)), 431, /64/);
  await refused(without('X', Array(3600).fill('y'.repeat(20))), 431, /64/);
  const large = without('Cookie', Array(15).fill('x'.repeat(4000)));
  const taken = await shake(stack.websocket, handshake('/comet/websocket', large));
  assert.equal(taken.status, 101, 'as many cookies as over FastCGI');
  taken.socket.destroy();
  const versionless = await shake(
    stack.websocket,
    handshake('/comet/websocket', without('Sec-WebSocket-Version', '7')),
  );
  assert.equal(versionless.headers['sec-websocket-version'], '13');
  assert.equal(versionless.headers.upgrade, 'websocket');
  await stack.streams();
  assert.ok((await stack.status()).connections <= 2);
});

claim('headers are read as HTTP has them: any case, lists, blanks, lines', async (t) => {
  const stack = await startStack(t);
  for (const headers of [
    { Upgrade: 'WebSocket' },
    { Upgrade: 'h2c, websocket' },
    { Connection: 'keep-alive, Upgrade' },
    { Connection: ['keep-alive', 'upgrade'] },
    { Connection: ' \t upgrade \t ' },
    { Upgrade: undefined, upgrade: 'websocket', Connection: undefined, CONNECTION: 'UPGRADE' },
    { 'Content-Length': '0' },
    { 'Sec-WebSocket-Protocol': 'chat', 'Sec-WebSocket-Extensions': 'permessage-deflate' },
    { 'X-Empty': '' },
  ]) {
    const ws = await RawWebSocket.open(stack.websocket, 'websocket', { headers });
    assert.equal(ws.headers['sec-websocket-extensions'], undefined);
    assert.equal(ws.headers['sec-websocket-protocol'], headers['Sec-WebSocket-Protocol']);
    ws.cut();
  }
  const absolute = await shake(stack.websocket, handshake('http://other.test/comet/websocket', {}));
  assert.equal(absolute.status, 101);
  absolute.socket.destroy();
});

claim('bytes that are no handshake are refused or cut', async (t) => {
  const stack = await startStack(t, { args: ['--request-timeout', '1'] });
  const { bytes } = random('no handshakes');
  const whole = handshake('/comet/websocket', {}).toString('latin1');
  const spoiled = [
    'nonsense\r\n\r\n',
    '\r\n'.repeat(20),
    'GET\r\n\r\n',
    'GET /comet/websocket\r\n\r\n',
    whole.replace('Host:', 'Host :'),
    whole.replace('Host: ', 'Host:\0'),
    whole.replace('\r\nUpgrade', '\r\n Upgrade'),
    whole.replace('HTTP/1.1', 'HTTQ/1.1'),
    `\u0016\u0003\u0001${whole}`, // TLS
    'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
    bytes(300).toString('latin1'),
    '\x01\x01\0\x01\0\x08\0\0', // FastCGI
  ];
  for (const text of spoiled) {
    const answer = await shake(stack.websocket, Buffer.from(text, 'latin1')).catch((e) => e);
    if (!(answer instanceof Error)) assert.equal(answer.status, 400, JSON.stringify(text));
  }
  // Each a beginning, and then nothing: cut when --request-timeout is over.
  await Promise.all(
    [0, 1, 4, 30, whole.length - 1].map(
      (n) =>
        new Promise((resolve) => {
          const socket = net.connect(stack.websocket, () => socket.write(whole.slice(0, n)));
          socket.on('error', () => {});
          socket.on('close', resolve);
          socket.resume();
        }),
    ),
  );
  await until('all are let go of', async () => (await stack.status()).connections <= 1);
});

claim('a handshake may come in any pieces, with frames right behind it', async (t) => {
  const stack = await startStack(t, { args: create });
  const { int } = random('pieces');
  for (let round = 0; round < 6; round++) {
    const bytes = Buffer.concat([
      handshake('/comet/websocket?id=now&to=pieces', {}),
      frame(OP.TEXT, `early ${round}`),
      frame(OP.PING, 'p'),
    ]);
    const socket = net.connect(stack.websocket);
    let heard = '';
    socket.on('data', (part) => {
      heard += part.toString('latin1');
    });
    for (let at = 0; at < bytes.length;) {
      const n = round === 0 ? 1 : round === 1 ? bytes.length : 1 + int(60);
      socket.write(bytes.subarray(at, at + n));
      at += n;
      await new Promise(setImmediate);
    }
    await until('the text is stored', () => /"created":"[^"]+"/.test(heard));
    await until('the ping is answered', () => heard.includes('\x8a\x01p'));
    assert.match(heard, /^HTTP\/1\.1 101 /);
    socket.destroy();
  }
  assert.deepEqual(
    (await stack.all({ channel: 'pieces' })).map((m) => m.data),
    Array.from({ length: 6 }, (_, i) => `early ${i}`),
  );
});

throughBoth('through the web server, too, a bad handshake gets its reason', async (t, server) => {
  const stack = await startStack(t, { server });
  const host = `127.0.0.1:${stack.web.port}`;
  const ask = (options, at = '/comet/websocket') =>
    shake(stack.web.port, handshake(at, { host, ...options }));
  refusal(await ask({ headers: { 'Sec-WebSocket-Key': undefined } }), 400, /Key/);
  refusal(await ask({ headers: { 'Sec-WebSocket-Key': 'short' } }), 400, /Key/);
  refusal(await ask({ headers: { 'Sec-WebSocket-Version': '8' } }), 426, /13/);
  refusal(await ask({ headers: { Origin: 'http://evil.test' } }), 403, /origin/i);
  refusal(await ask({}, '/comet/websocket?channel=a%20b'), 400, /channel/);
  refusal(await ask({}, '/comet/websocket?as=html'), 400, /as/);
  refusal(await ask({}, '/comet/websocket?to=a%20b'), 400, /channel/);
  const list = Array.from({ length: 33 }, (_, i) => `channel=c${i}`).join('&');
  refusal(await ask({}, `/comet/websocket?${list}`), 400, /channel/);
  // A browser that is pointed at it: the daemon's answer says what is missing.
  const plain = await stack.http('websocket');
  assert.equal(plain.status, 426, plain.body);
  assert.match(plain.json().error, /WebSocket/);
  await stack.streams();
});

claim('over FastCGI there is no WebSocket, and the answer says where', async (t) => {
  const stack = await startStack(t);
  const answer = await stack.raw({ uri: '/comet/websocket' });
  assert.equal(answer.status, 426);
  assert.match(answer.json().error, /--websocket-socket|proxy/);
});

throughBoth('pages of other sites are kept out, unless they are named', async (t, server) => {
  const stack = await startStack(t, { server });
  const host = `127.0.0.1:${stack.web.port}`;
  const status = async (origin, options = {}, to = stack.web.port) => {
    const answer = await shake(
      to,
      handshake('/comet/websocket', { host, headers: { Origin: origin }, ...options }),
    );
    if (answer.status === 101) answer.socket.destroy();
    return answer.status;
  };
  for (const origin of [undefined, `http://${host}`, `HTTP://${host}`, `https://${host}`])
    assert.equal(await status(origin), 101, origin);
  for (const origin of [
    'null',
    ...(server === 'nginx' ? [''] : []), // lighttpd leaves out what is empty
    'http://evil.test',
    `http://evil.test:${stack.web.port}`,
    'http://127.0.0.1',
    `http://127.0.0.1:${stack.web.port + 1}`,
    `http://${host}.evil.test`,
    `http://evil.test/${host}`,
    `http://${host}@evil.test`,
    `http://evil@${host}`,
    `http://${host}/`,
    `ftp://${host}`,
    `${host}`,
    `//${host}`,
    'http://',
    `http://${host}, http://evil.test`,
    'any',
    '*',
  ])
    assert.equal(await status(origin), 403, origin);
  const direct = (origin, name) => status(origin, { host: name }, stack.websocket);
  assert.equal(await direct('https://site.test', 'site.test'), 101);
  assert.equal(await direct('https://site.test', 'site.test:443'), 101);
  assert.equal(await direct('http://site.test', 'site.test:80'), 101);
  assert.equal(await direct('http://SITE.test', 'site.TEST'), 101);
  assert.equal(await direct('http://[::1]:8080', '[::1]:8080'), 101);
  assert.equal(await direct('http://site.test', 'site.test:8080'), 403);
  assert.equal(await direct('https://site.test', 'site.test:80'), 403);

  const list = await startStack(t, {
    server,
    args: ['--origin', 'https://a.test, http://b.test:81'],
  });
  const listed = async (origin) => {
    const answer = await shake(
      list.web.port,
      handshake('/comet/websocket', { host: 'own.test', headers: { Origin: origin } }),
    );
    if (answer.status === 101) answer.socket.destroy();
    return answer.status;
  };
  for (const origin of ['https://a.test', 'http://b.test:81', 'http://own.test', 'https://A.TEST'])
    assert.equal(await listed(origin), 101, origin);
  for (const origin of ['http://a.test', 'https://b.test:81', 'https://a.test.b', 'null', 'https://a'])
    assert.equal(await listed(origin), 403, origin);
  const any = await startStack(t, { args: ['--origin', 'any'] });
  const anybody = { headers: { Origin: 'null' } };
  (await RawWebSocket.open(any.websocket, 'websocket', anybody)).cut();
});

// ---- frames ----

claim('what a client must not send ends the WebSocket with the code for it', async (t) => {
  const stack = await startStack(t, { args: create });
  const half = (op, text, fin) => frame(op, text, { fin });
  const cases = [
    ['an unmasked text', frame(OP.TEXT, 'x', { mask: null }), 1002],
    ['an unmasked ping', frame(OP.PING, '', { mask: null }), 1002],
    ...[1, 2, 4, 7].map((rsv) => [`RSV ${rsv}`, frame(OP.TEXT, 'x', { rsv }), 1002]),
    ...[3, 4, 5, 6, 7, 11, 12, 13, 14, 15].map((op) => [`opcode ${op}`, frame(op, 'x'), 1002]),
    ['a continuation of nothing', frame(OP.CONT, 'x'), 1002],
    ['a text in a text', [half(OP.TEXT, 'a', false), frame(OP.TEXT, 'b')], 1002],
    ['a continuation after the end', [frame(OP.TEXT, 'a'), frame(OP.CONT, 'b')], 1002],
    ['a fragmented ping', half(OP.PING, 'x', false), 1002],
    ['a fragmented close', frame(OP.CLOSE, Buffer.from([3, 232]), { fin: false }), 1002],
    ['a ping of 126 bytes', frame(OP.PING, 'x'.repeat(126)), 1002],
    ['a close of 126 bytes', closeFrame(1000, 'x'.repeat(124)), 1002],
    ['a length that is not the shortest', frame(OP.TEXT, 'x', { bytes: 8 }), 1002],
    ['a length of 2^63', Buffer.from([0x81, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4]), 1002],
    ['binary', frame(OP.BINARY, 'x'), 1003],
    ['empty binary', frame(OP.BINARY, ''), 1003],
    ['binary in fragments', half(OP.BINARY, 'x', false), 1003],
    ['0xff', frame(OP.TEXT, [0xff]), 1007],
    ['a surrogate', frame(OP.TEXT, [0xed, 0xa0, 0x80]), 1007],
    ['an overlong form', frame(OP.TEXT, [0xc0, 0xaf]), 1007],
    ['half a character', frame(OP.TEXT, [0xe2, 0x82]), 1007],
    ['beyond Unicode', frame(OP.TEXT, [0xf4, 0x90, 0x80, 0x80]), 1007],
    [
      'bad UTF-8 over fragments',
      [half(OP.TEXT, [0xe2], false), frame(OP.CONT, [0x28, 0xa1])],
      1007,
    ],
    ['too large', frame(OP.TEXT, 'x'.repeat(LIMIT + 1)), 1009],
    ['the promise of too much', frame(OP.TEXT, 'x', { length: 2 ** 40 }), 1009],
    ['the promise of a byte too much', frame(OP.TEXT, 'x', { length: LIMIT + 1 }), 1009],
    [
      'too large in fragments',
      [half(OP.TEXT, 'x'.repeat(LIMIT), false), frame(OP.CONT, 'x')],
      1009,
    ],
    ['a close with code 999', closeFrame(999), 1002],
    ['a close with code 1004', closeFrame(1004), 1002],
    ['a close with code 1005', closeFrame(1005), 1002],
    ['a close with code 1006', closeFrame(1006), 1002],
    ['a close with code 1015', closeFrame(1015), 1002],
    ['a close with code 2999', closeFrame(2999), 1002],
    ['a close with code 5000', closeFrame(5000), 1002],
    ['a close of one byte', frame(OP.CLOSE, [3]), 1002],
    ['a close that is not UTF-8', closeFrame(1000, Buffer.from([0xff])), 1007],
    ['a close', closeFrame(1000), 1000],
    ['a close with a reason', closeFrame(1001, 'going'), 1001],
    ['a close without a code', frame(OP.CLOSE), 1000],
    ['a close of an application', closeFrame(3000, 'x'), 3000],
    ['another', closeFrame(4999), 4999],
  ];
  await Promise.all(
    cases.map(async ([what, bytes, code]) => {
      const ws = await RawWebSocket.open(stack.websocket, 'websocket?id=now');
      ws.write(Buffer.concat([bytes].flat()));
      await closes(ws, code, what);
    }),
  );
  await stack.streams();
  assert.equal((await stack.status()).messages, 1, 'the text before the stray continuation');
});

claim('what follows a mistake or a close is not heard', async (t) => {
  const stack = await startStack(t, { args: create });
  for (const [first, code] of [
    [frame(OP.TEXT, 'x', { rsv: 4 }), 1002],
    [closeFrame(1000), 1000],
  ]) {
    const ws = await RawWebSocket.open(stack.websocket, 'websocket');
    const text = frame(OP.TEXT, 'after');
    ws.write(Buffer.concat([first, ...Array(50).fill(text), frame(OP.PING), closeFrame(4000)]));
    await closes(ws, code, 'the first');
    assert.deepEqual(ws.pongs, []);
  }
  assert.equal((await stack.status()).messages, 0);
});

throughBoth('fragments, pings between them, and every length come through', async (t, server) => {
  const stack = await startStack(t, { server, args: create });
  const ws = await RawWebSocket.open(stack.web.port, 'websocket?id=now', {
    host: `127.0.0.1:${stack.web.port}`,
  });
  const euro = Buffer.from('€');
  ws.write(
    Buffer.concat([
      frame(OP.TEXT, euro.subarray(0, 1), { fin: false }),
      frame(OP.PING, 'between'),
      frame(OP.CONT, euro.subarray(1, 2), { fin: false }),
      frame(OP.CONT, '', { fin: false }),
      frame(OP.PONG, 'unasked'),
      frame(OP.CONT, euro.subarray(2)),
    ]),
  );
  await ws.heard('its creation', (text) => text.includes('created'));
  await until('the pong', () => ws.pongs.includes('between'));
  const lengths = [0, 1, 124, 125, 126, 127, 65_535, LIMIT];
  for (const n of lengths) ws.text('x'.repeat(n));
  ws.write(frame(OP.TEXT, 'zero mask', { mask: Buffer.alloc(4) }));
  const all = ['€', ...lengths.map((n) => 'x'.repeat(n)), 'zero mask'];
  await until('all are stored', async () => (await stack.status()).messages === all.length);
  assert.ok((await stack.all()).every((m, i) => m.data === all[i]));
  await until('and told', () => ws.texts.filter((t) => t.includes('"created"')).length === all.length);
  ws.write(closeFrame(1000));
  await closes(ws, 1000, 'a close');
});

claim('a ping is answered with what it said, and of several at once each', async (t) => {
  const stack = await startStack(t);
  const ws = await RawWebSocket.open(stack.websocket, 'websocket');
  for (const said of ['', 'x', 'y'.repeat(125)]) {
    ws.send(OP.PING, said);
    await until('its pong', () => ws.pongs.at(-1) === said);
  }
  ws.write(Buffer.concat(Array.from({ length: 50 }, (_, i) => frame(OP.PING, `${i}`))));
  await until('the last pong', () => ws.pongs.at(-1) === '49');
  assert.deepEqual(ws.pongs.slice(-50), Array.from({ length: 50 }, (_, i) => `${i}`));
  ws.cut();
});

claim('a flood of frames is closed with 1008, whatever the frames are', async (t) => {
  const stack = await startStack(t, { args: [...create, '--websocket-rate', '5'] });
  const { int } = random('flood');
  for (const op of [OP.PING, OP.PONG, OP.TEXT]) {
    const ws = await RawWebSocket.open(stack.websocket, 'websocket?id=now&channel=c&to=flood');
    for (let i = 0; i < 40; i++) ws.send(op, 'x');
    for (let sent = 40; !ws.isClosed && sent < 5000; sent++) {
      ws.send(op, 'x');
      if (int(20) === 0) await new Promise(setImmediate);
    }
    await closes(ws, 1008, `opcode ${op}`);
  }
  const fragments = await RawWebSocket.open(stack.websocket, 'websocket');
  fragments.send(OP.TEXT, '', { fin: false });
  for (let i = 0; i < 100; i++) fragments.send(OP.CONT, '', { fin: false });
  await closes(fragments, 1008, 'empty fragments');
  const { messages } = await stack.status();
  assert.ok(messages >= 45 && messages <= 60, `${messages} of the burst were stored`);
  const calm = await RawWebSocket.open(stack.websocket, 'websocket?id=now');
  for (let i = 0; i < 45; i++) calm.send(OP.PING, `${i}`);
  await until('a burst of ten seconds is fine', () => calm.pongs.at(-1) === '44');
  calm.cut();
});

claim('any portions of bytes mean the same', async (t) => {
  const stack = await startStack(t, { args: [...create, '--websocket-rate', '100000'] });
  const { int, pick, bytes } = random('portions');
  for (let round = 0; round < 8; round++) {
    const channel = `p${round}`;
    const ws = await RawWebSocket.open(stack.websocket, `websocket?id=now&to=${channel}`);
    const sent = [],
      parts = [];
    for (let i = 0; i < 60; i++) {
      const text = `${i} ${'é'.repeat(int(6) ? int(80) : int(9000))}`;
      const content = Buffer.from(text);
      sent.push(text);
      const cuts = Array.from({ length: int(4) }, () => int(content.length)).sort((a, b) => a - b);
      const ends = [...cuts, content.length];
      ends.forEach((end, n) => {
        const piece = content.subarray(n ? ends[n - 1] : 0, end);
        parts.push(frame(n ? OP.CONT : OP.TEXT, piece, { fin: n === ends.length - 1 }));
        if (int(5) === 0) parts.push(frame(pick([OP.PING, OP.PONG]), bytes(int(126))));
      });
    }
    const all = Buffer.concat(parts);
    for (let at = 0; at < all.length;) {
      const n = 1 + int(int(3) ? 20 : 5000);
      if (!ws.socket.write(all.subarray(at, at + n)))
        await new Promise((resolve) => ws.socket.once('drain', resolve));
      at += n;
      if (int(8) === 0) await new Promise(setImmediate);
    }
    await until('all were created', () => ws.texts.filter((x) => /created/.test(x)).length === 60);
    assert.deepEqual((await stack.all({ channel })).map((m) => m.data), sent);
    assert.equal(ws.fault, null);
    ws.cut();
  }
});

claim('random bytes after the handshake harm nobody', async (t) => {
  const stack = await startStack(t, { args: create });
  const { int, bytes } = random('random frames');
  const bystander = await openReader(stack, 'websocket', { id: 'now', channel: 'main' });
  const seeds = [frame(OP.TEXT, 'hello'), frame(OP.PING, 'p'), closeFrame(1000, 'bye')];
  for (let round = 0; round < 150; round++) {
    const ws = await RawWebSocket.open(stack.websocket, 'websocket?channel=fuzz');
    let junk = bytes(1 + int(200));
    if (int(2)) {
      junk = Buffer.from(seeds[int(3)]);
      junk[int(junk.length)] ^= 1 << int(8);
    }
    ws.write(junk);
    if (int(2)) await new Promise(setImmediate);
    if (int(2)) ws.socket.end();
    else ws.cut();
  }
  await stack.publish('still here');
  await bystander.has(1);
  bystander.cut();
  await stack.streams();
});

// ---- what is said ----

throughBoth('a text is a create on the channel, and answered with its id', async (t, server) => {
  const stack = await startStack(t, { server, args: create });
  const reader = await openReader(stack, 'websocket', { id: 'now', channel: 'mine' });
  const other = await openReader(stack, 'streaming', { id: 'now', channel: 'mine' });
  reader.ws.text('to my only channel');
  await reader.until('its creation', () => reader.others.length === 1);
  const { created } = JSON.parse(reader.others[0]);
  assert.deepEqual(reader.others, [`{"created":"${created}"}`]);
  assert.match(created, CURSOR);
  await reader.has(1);
  await other.has(1);
  assert.deepEqual(reader.messages, other.messages);
  assert.deepEqual([reader.ids[0], reader.texts[0]], [created, 'to my only channel']);
  for (const reading of [reader, other]) reading.cut();

  // Without `to` and with several channels there is no telling where to.
  const lost = await openReader(stack, 'websocket', { id: 'now', channel: ['a', 'b'] });
  lost.ws.text('where?');
  await lost.until('an error', () => lost.others.length === 1);
  assert.match(JSON.parse(lost.others[0]).error, /channel|to=/);
  lost.cut();
  const to = await openReader(stack, 'websocket', { id: 'now', channel: ['a', 'b'], to: 'c' });
  to.ws.text('to c');
  await to.until('its creation', () => to.others.length === 1);
  assert.equal(to.count, 0);
  assert.deepEqual((await stack.all({ channel: 'c' })).map((m) => m.data), ['to c']);
  to.cut();
  assert.equal((await stack.all({ channel: ['a', 'b', 'main'] })).length, 0);
});

throughBoth('texts one after the other are stored and answered in their order', async (t, server) => {
  const stack = await startStack(t, { server, args: [...create, '--websocket-rate', '100000'] });
  const reader = await openReader(stack, 'websocket', { id: 'now', channel: 'in', to: 'out' });
  const texts = Array.from({ length: 500 }, (_, i) => `text ${i}`);
  for (const text of texts) reader.ws.text(text);
  await reader.until('all are answered', () => reader.others.length === texts.length);
  const ids = reader.others.map((text) => JSON.parse(text).created);
  const stored = await stack.all({ channel: 'out' });
  assert.deepEqual(stored.map((m) => m.data), texts);
  assert.deepEqual(stored.map((m) => m.id), ids);
  reader.cut();
});

throughBoth('every kind of text is published as it is said', async (t, server) => {
  const stack = await startStack(t, { server, args: create });
  const reader = await openReader(stack, 'websocket', { id: 'now', to: 'texts' });
  for (const text of TEXTS) reader.ws.text(text);
  reader.ws.text('a\0b');
  await reader.until('all are answered', () => reader.others.length === TEXTS.length + 1);
  assert.match(JSON.parse(reader.others.at(-1)).error, /NUL/);
  const stored = await stack.all({ channel: 'texts' });
  assert.equal(stored.length, TEXTS.length);
  stored.forEach((m, i) => assert.ok(m.data === TEXTS[i], JSON.stringify(TEXTS[i].slice(0, 40))));
  reader.cut();
});

throughBoth('unless it is allowed nothing is published, and the reading goes on', async (t, server) => {
  for (const args of [[], ['--websocket-create', 'no']]) {
    const stack = await startStack(t, { server, args });
    const reader = await openReader(stack, 'websocket', { id: 'now', to: 'main' });
    for (let i = 0; i < 3; i++) reader.ws.text('hello');
    await reader.until('errors', () => reader.others.length === 3);
    for (const text of reader.others) assert.match(JSON.parse(text).error, /websocket-create/);
    assert.equal((await stack.status()).messages, 0);
    await stack.publish('news');
    await reader.has(1);
    reader.cut();
  }
});

throughBoth('as=echo says what was said, and stores nothing', async (t, server) => {
  const stack = await startStack(t, { server, args: create });
  const reader = await openReader(stack, 'websocket', { id: 'now', as: 'echo' });
  for (const text of TEXTS) reader.ws.text(text);
  await reader.until('all', () => reader.others.length === TEXTS.length);
  reader.others.forEach((text, i) => assert.ok(text === `You say:${TEXTS[i]}`));
  assert.equal((await stack.status()).messages, 0);
  await stack.publish('news');
  await reader.has(1);
  reader.cut();
});

// ---- the ws package ----

throughBoth('who offers subprotocols gets the first, as browsers insist', async (t, server) => {
  const stack = await startStack(t, { server });
  const ws = new WebSocket(`${stack.websocketUrl}?id=now`, ['chat', 'v2.example'], { origin: stack.origin });
  defer(t, () => ws.terminate());
  await new Promise((resolve, reject) => ws.once('open', resolve).once('error', reject));
  assert.equal(ws.protocol, 'chat');
  const heard = new Promise((resolve) => ws.on('message', (data) => JSON.parse(data).data && resolve(`${data}`)));
  await stack.publish('news');
  assert.equal(JSON.parse(await heard).data, 'news');
});

throughBoth('the ws package reads, publishes and closes', async (t, server) => {
  const stack = await startStack(t, { server, args: [...create, '--heartbeat', '1'] });
  const origin = stack.origin;
  const ws = new WebSocket(`${stack.websocketUrl}?channel=chat`, { origin });
  defer(t, () => ws.terminate());
  const texts = [];
  let pings = 0;
  ws.on('message', (data, binary) => texts.push(binary ? null : data.toString('utf8')));
  ws.on('ping', () => pings++);
  await new Promise((resolve, reject) => ws.once('open', resolve).once('error', reject));
  assert.equal(ws.extensions, '');
  assert.equal(ws.protocol, '');
  await until('a cursor', () => texts.length === 1);
  assert.deepEqual(Object.keys(JSON.parse(texts[0])), ['id']);
  ws.send('from ws: é 💥');
  await until('created, and heard', () => texts.filter((text) => /💥|created/.test(text)).length === 2);
  await until('pings, with cursors', () => pings >= 2 && texts.filter((x) => /^\{"id":"[^,]*$/.test(x)).length >= 3);
  const closed = new Promise((resolve) => ws.once('close', (...what) => resolve(what)));
  ws.close(4321, 'enough');
  const [code] = await within(closed, 20_000, 'the close');
  assert.equal(code, 4321);
  await stack.streams();
  for (const [url, headers] of [
    [stack.websocketUrl, { origin: 'http://evil.test' }],
    [`${stack.websocketUrl}?channel=a+b`, {}],
  ]) {
    const refused = new WebSocket(url, headers);
    const [error] = await new Promise((resolve) => refused.on('error', (...e) => resolve(e)));
    assert.match(error.message, /40[03]/);
  }
});

throughBoth('many ws clients on many channels, some publishing', async (t, server) => {
  const { int } = random(`ws clients ${server}`);
  const stack = await startStack(t, { server, args: create });
  const channels = ['a', 'b', 'c', 'd'];
  const clients = await Promise.all(
    Array.from({ length: 40 }, async (_, i) => {
      const mine = channels.filter((_, c) => (i >> c) & 1);
      const query = mine.map((c) => `channel=${c}`).join('&') || 'channel=a';
      const ws = new WebSocket(`${stack.websocketUrl}?${query}&to=${channels[i % 4]}&id=now`);
      const client = { ws, mine: mine.length ? mine : ['a'], seen: [], acked: 0, open: false };
      ws.on('message', (data) => {
        const told = JSON.parse(data);
        if (told.channel) client.seen.push(told);
        else if (told.created) client.acked++;
        else client.open = true;
      });
      await new Promise((resolve, reject) => ws.once('open', resolve).once('error', reject));
      return client;
    }),
  );
  defer(t, () => clients.forEach(({ ws }) => ws.terminate()));
  await until('all read', () => clients.every((client) => client.open));
  for (let i = 0; i < 400; i++) {
    clients[int(clients.length)].ws.send(`m${i}`);
    if (int(10) === 0) await new Promise(setImmediate);
  }
  await until('all are created', () => clients.reduce((n, c) => n + c.acked, 0) === 400);
  const log = await stack.all({ channel: channels });
  assert.equal(log.length, 400);
  for (const { mine, seen } of clients) {
    const wanted = log.filter((m) => mine.includes(m.channel));
    await until('each has its messages', () => seen.length >= wanted.length);
    assert.deepEqual(seen, wanted);
  }
});

// ---- ends ----

claim('a peer that answers no ping is cut; one that does is not', async (t) => {
  const stack = await startStack(t, { args: ['--heartbeat', '1'] });
  const mute = await RawWebSocket.open(stack.websocket, 'websocket?id=now', { pong: false });
  const well = await RawWebSocket.open(stack.websocket, 'websocket?id=now');
  await within(mute.closed, 20_000, 'the mute one to be cut');
  assert.ok(mute.pings >= 2, `${mute.pings} pings`);
  const pings = well.pings;
  await until('the other lives on', () => well.pings >= pings + 3);
  assert.equal(well.isClosed, false);
  await stack.streams({ websocket: 1 });
  well.cut();
});

throughBoth('a WebSocket does not end by --stream', async (t, server) => {
  const stack = await startStack(t, { server, args: ['--stream', '1s', '--heartbeat', '1'] });
  const reader = await openReader(stack, 'websocket', { id: 'now', timeout: 1 });
  await reader.until('five heartbeats', () => reader.cursors >= 6);
  await stack.publish('later');
  await reader.has(1);
  reader.cut();
  await stack.streams();
});

// The daemon is stopped meanwhile: it finds the text, the close and the end all at once.
throughBoth('what was said right before the client went is stored', async (t, server) => {
  const stack = await startStack(t, { server, args: create });
  const host = `127.0.0.1:${stack.web.port}`;
  const at = 'websocket?id=now&channel=x&to=last';
  const all = [];
  for (const to of ways(stack))
    for (let i = 0; i < 10; i++) all.push(await RawWebSocket.open(to, at, { host }));
  await stack.streams({ websocket: all.length });
  stack.daemon.process.kill('SIGSTOP');
  const gone = all.map((ws, i) => {
    const last = i % 3 ? [closeFrame(1001)] : [];
    const bytes = Buffer.concat([frame(OP.TEXT, `last ${i}`), ...last]);
    return new Promise((resolve) => ws.socket.end(bytes, resolve));
  });
  await Promise.all(gone);
  // The web server has one thread: when it answers this, it has passed all on.
  assert.equal((await fetchHttp(`${stack.origin}/encke.js`)).status, 200);
  stack.daemon.process.kill('SIGCONT');
  await until('all are stored', async () => (await stack.status()).messages === all.length);
  await stack.streams();
});

claim('the socket of WebSockets has the mode of the other, and goes with the daemon', async (t) => {
  const stack = await startStack(t, { args: ['--socket-mode', '0640'] });
  for (const socket of [stack.socket, stack.websocket])
    assert.equal((fs.statSync(socket).mode & 0o777).toString(8), '640');
  assert.equal((await stack.status()).websocket, true);
  assert.equal((await stack.daemon.stop()).code, 0);
  assert.ok(!fs.existsSync(stack.websocket));
});

claim('drained, a WebSocket is closed with 1001, after what it was owed', async (t) => {
  const stack = await startStack(t, { args: create });
  const all = await Promise.all(
    Array.from({ length: 100 }, () => RawWebSocket.open(stack.websocket, 'websocket?id=now')),
  );
  await stack.streams({ websocket: 100 });
  for (let i = 0; i < 20; i++) all[i].text(`said ${i}`);
  await until('some are stored', async () => (await stack.status()).messages > 0);
  stack.daemon.process.kill('SIGTERM');
  for (const ws of all) await closes(ws, 1001, 'the drain');
  const created = all.flatMap((ws) => ws.texts.filter((text) => text.includes('created')));
  assert.equal((await stack.daemon.exited).code, 0);
  await stack.daemon.start();
  const ids = new Set((await stack.all()).map((m) => m.id));
  for (const text of created) assert.ok(ids.has(JSON.parse(text).created), text);
  assert.ok(created.length > 0 && seqOf(JSON.parse(created[0]).created) > 0n);
});

claim('the sample of RFC 6455 is what the test computes', () => {
  assert.equal(acceptOf(KEY), 's3pPLMBiTxaQ9kYGzzhZRbK+xOo=');
});

// ---- talking without listening ----

throughBoth('who talks without reading loses nothing of what it reads later', async (t, server) => {
  const { int } = random(`talkers ${server}`);
  const stack = await startStack(t, {
    server,
    args: [...create, '--websocket-rate', '100000', '--heartbeat', '3600'],
  });
  const talkers = [];
  for (const as of ['json', 'echo'])
    for (const direct of [true, false])
      for (let i = 0; i < 3; i++) {
        const channel = ['news', `own-${talkers.length}`];
        const fields = { id: 'now', channel, as, to: `own-${talkers.length}` };
        const reader = await openReader(stack, 'websocket', fields, { direct });
        await reader.until('its opening', () => reader.cursor);
        reader.pause();
        talkers.push({ reader, as, said: [] });
      }
  const news = [];
  for (let round = 0; round < 60; round++) {
    for (const { reader, said } of talkers) {
      for (let n = int(4); n > 0; n--) {
        said.push(`${said.length}`.padEnd(int(int(3) ? 50 : 20_000), '-'));
        reader.ws.text(said.at(-1));
      }
    }
    const texts = Array.from({ length: int(5) }, () => `news ${news.length} `.padEnd(int(30_000), '.'));
    news.push(...texts);
    await stack.publish(texts, { channel: 'news' });
    if (round % 20 === 10) for (const { reader } of talkers) reader.resume();
    if (round % 20 === 11) for (const { reader } of talkers) reader.pause();
  }
  for (const { reader } of talkers) reader.resume();
  for (const { reader, as, said } of talkers) {
    await reader.until('all answers', () => reader.others.length === said.length);
    const own = as === 'json' ? said : [];
    await reader.has(news.length + own.length);
    const got = (prefix) => reader.messages.filter((m) => m.channel.startsWith(prefix)).map((m) => m.data);
    assert.ok(got('news').every((text, i) => text === news[i]));
    assert.equal(got('news').length, news.length);
    assert.ok(got('own').every((text, i) => text === own[i]));
    assert.equal(reader.resets, 0);
    if (as === 'echo') assert.ok(reader.others.every((text, i) => text === `You say:${said[i]}`));
    else {
      const ids = reader.messages.filter((m) => m.channel !== 'news').map((m) => m.id);
      assert.deepEqual(reader.others.map((text) => JSON.parse(text).created), ids);
    }
    reader.cut();
  }
  await stack.streams();
});
