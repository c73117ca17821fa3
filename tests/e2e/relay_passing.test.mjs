// What a relayed subscribe gives back is what the upstream said: status, reason, type and body, and
// nothing else of it.
import assert from 'node:assert/strict';
import { claim, throughBoth } from './lib/harness.mjs';
import { random } from './lib/random.mjs';
import { expectCommon, expectError } from './lib/expect.mjs';
import { askRelay, expectNew, startRelay, upstreamOf } from './lib/relay.mjs';
import { answers, NEW, PUNT } from './lib/upstream.mjs';

const ALL_BYTES = Buffer.from(Array.from({ length: 256 }, (_, i) => i));
const LARGE = random('a large body', 'large').bytes(1024 * 1024); // as large as --upstream-answer
const TEXT = 'text/plain; charset=utf-8';

// Name, what the upstream is told to answer, and what of it shall arrive, if not the same.
const ANSWERS = {
  new: { body: NEW },
  punt: { body: PUNT },
  'another JSON': { body: '{"a":[1,2,{"b":null}]}\n', type: 'application/json; charset=utf-8' },
  html: { body: '<script>alert("é")</script>', type: 'text/html; charset=utf-8' },
  'an empty body': { body: '', type: TEXT },
  'every byte there is': { body: ALL_BYTES, type: 'application/octet-stream' },
  'a NUL and no more': { body: '\0', type: TEXT },
  'what looks like a head': { body: 'Status: 500\r\nSet-Cookie: a=b\r\n\r\nx', type: TEXT },
  'a megabyte': { body: LARGE, type: 'image/png' },
  'a long type': { body: 'x', type: `text/x${'p'.repeat(249)}` },
  'a type with parameters': { body: 'x', type: 'multipart/mixed; boundary="a b;c=\\"d"' },
  created: { status: 201, reason: 'Created', body: 'made' },
  accepted: { status: 202, reason: 'Accepted', body: '' },
  partial: { status: 206, reason: 'Partial Content', body: 'par' },
  'bad request': { status: 400, reason: 'Bad Request', body: '{"error":"no"}' },
  unauthorized: { status: 401, reason: 'Unauthorized', body: 'who are you?', type: TEXT },
  forbidden: { status: 403, reason: 'Forbidden', body: '' },
  'not found': { status: 404, reason: 'Not Found', body: 'nothing here', type: TEXT },
  gone: { status: 410, reason: 'Gone', body: 'no more' },
  teapot: { status: 418, reason: "I'm a teapot", body: 'short and stout' },
  'too many': { status: 429, reason: 'Too Many Requests', body: 'slower' },
  'a text of unknown charset': { body: Buffer.from('caf\xe9', 'latin1'), type: 'text/plain' },
  'an odd status': { status: 299, reason: 'Odd', body: 'x' },
};

throughBoth('status, type and body come back as they are', async (t, server) => {
  const { upstream, stack } = await startRelay(t, { server });
  upstream.does = (asked) => asked.answer(ANSWERS[new URLSearchParams(asked.query).get('want')]);
  for (const [want, told] of Object.entries(ANSWERS)) {
    const answer = await stack.http(`subscribe?want=${encodeURIComponent(want)}`);
    const { status = 200, body, type = 'application/json' } = told;
    assert.equal(answer.status, status, want);
    assert.ok(Buffer.from(body).equals(answer.bytes), `${want}: ${answer.body.slice(0, 200)}`);
    assert.equal(answer.headers['content-type'], type, want);
    assert.equal(answer.headers['cache-control'], 'no-store', want);
    assert.equal(answer.headers['x-content-type-options'], 'nosniff', want);
    assert.equal(answer.headers['content-security-policy'], 'sandbox', want);
    if (server === 'nginx') assert.equal(answer.reason, told.reason ?? 'OK', want);
  }
  const { answers: good, errors, requests } = await upstreamOf(stack);
  const n = Object.keys(ANSWERS).length;
  assert.deepEqual([good, requests, Object.values(errors)], [n, n, [0, 0, 0, 0, 0]]);
});

throughBoth('204 and 304 have no body', async (t, server) => {
  const { upstream, stack } = await startRelay(t, { server });
  const told = [
    { status: 204, reason: 'No Content' },
    { status: 304, reason: 'Not Modified', headers: { ETag: '"a"' } },
    { status: 304, reason: 'Not Modified', length: 1234 },
  ];
  for (const one of told) {
    upstream.does = answers({ ...one, type: null });
    const answer = await stack.http('subscribe');
    assert.equal(answer.status, one.status);
    assert.equal(answer.body, '');
    assert.equal(answer.headers['cache-control'], 'no-store');
  }
});

claim('the reason phrase comes back as it is', async (t) => {
  const { upstream, stack } = await startRelay(t);
  for (const reason of ['OK', 'Fine', 'All is well: 100 %', '']) {
    upstream.does = answers({ status: 222, reason, body: 'x' });
    const answer = await askRelay(stack);
    assert.equal(answer.status, 222);
    assert.equal(answer.reason, reason);
  }
});

claim('an answer without a type gets one that no browser interprets', async (t) => {
  const { upstream, stack } = await startRelay(t);
  upstream.does = answers({ body: '<b>x</b>', type: null });
  const answer = await askRelay(stack);
  expectCommon(answer);
  assert.equal(answer.headers['content-type'], 'application/octet-stream');
  assert.equal(answer.body, '<b>x</b>');
});

throughBoth('no other header of the upstream passes', async (t, server) => {
  const { upstream, stack } = await startRelay(t, { server });
  upstream.does = answers({ body: NEW });
  const plain = await stack.http('subscribe');
  const headers = {
    'Set-Cookie': 'session=1',
    'Cache-Control': 'public, max-age=3600',
    ETag: '"x"',
    'Last-Modified': 'Thu, 01 Jan 1970 00:00:00 GMT',
    Location: 'http://elsewhere.test/',
    Status: '500 No',
    'X-Accel-Redirect': '/index.html',
    'X-Accel-Buffering': 'no',
    'X-Sendfile': '/etc/passwd',
    'X-LIGHTTPD-send-file': '/etc/passwd',
    'Access-Control-Allow-Origin': '*',
    'WWW-Authenticate': 'Basic realm="x"',
    'Content-Language': 'de',
    'Retry-After': '7',
    'Strict-Transport-Security': 'max-age=1',
    'Content-Security-Policy': "default-src 'none'",
    'X-Content-Type-Options': 'sniff',
    'X-Own': 'own',
  };
  upstream.does = answers({ body: NEW, headers });
  const answer = await stack.http('subscribe');
  assert.deepEqual({ ...answer.headers, date: 'any' }, { ...plain.headers, date: 'any' });
  assert.deepEqual([answer.status, answer.body], [200, NEW]);
});

claim('however the upstream frames its body, it is the same', async (t) => {
  const { upstream, stack } = await startRelay(t);
  const body = random('frames', 'frames').bytes(300_000);
  const ways = {
    length: answers({ body }),
    chunked: answers({ body, chunked: true }),
    'until the end': answers({ body, length: null, close: true }),
    closed: answers({ body, close: true }),
    identity: answers({ headers: { 'Content-Encoding': 'identity' }, body }),
    'one byte, then the rest': (asked) => {
      asked.write(`HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r`);
      setTimeout(() => asked.write('\n'), 20);
      setTimeout(() => asked.write(body.subarray(0, 1)), 40);
      setTimeout(() => asked.raw(body.subarray(1)), 60);
    },
    'old HTTP': (asked) => {
      asked.write('HTTP/1.0 200 OK\r\n\r\n');
      asked.raw(body).end();
    },
    'hints before': (asked) => {
      asked.write('HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n');
      asked.answer({ body });
    },
    'line feeds alone': (asked) => {
      asked.write(`HTTP/1.1 200 OK\nContent-Length: ${body.length}\n\n`);
      asked.raw(body);
    },
    'a trailer': (asked) => {
      asked.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n');
      asked.write(`${body.length.toString(16)};extension=1\r\n`);
      asked.write(body);
      asked.raw('\r\n0\r\nX-Trailer: 1\r\n\r\n');
    },
  };
  for (const [name, does] of Object.entries(ways)) {
    upstream.does = does;
    const answer = await askRelay(stack, { name });
    assert.equal(answer.status, 200, name);
    assert.ok(body.equals(answer.bytes), `${name}: ${answer.bytes.length} bytes`);
  }
});

claim('the answer is not kept: who asks again is asked for again', async (t) => {
  const { upstream, stack } = await startRelay(t);
  for (let i = 0; i < 20; i++) {
    upstream.does = answers({ body: `${i}`, headers: { 'Cache-Control': 'max-age=9', ETag: '"x"' } });
    assert.equal((await askRelay(stack)).body, `${i}`);
    assert.equal(upstream.count, i + 1);
  }
  assert.equal(upstream.connections, 1, 'all on one connection');
});

claim('a kept connection that the upstream closes costs no client its answer', async (t) => {
  const { upstream, stack } = await startRelay(t);
  const used = new WeakSet();
  const first = (asked) => !used.has(asked.socket) && used.add(asked.socket);
  const ways = {
    // as the next request comes
    'closed under our feet': (asked) => (first(asked) ? asked.answer({ body: 'good' }) : asked.end()),
    'reset under our feet': (asked) => (first(asked) ? asked.answer({ body: 'good' }) : asked.reset()),
    // after the answer, while nobody asks
    'closed after a while': (asked) => {
      asked.answer({ body: 'good' });
      setImmediate(() => asked.socket.end());
    },
    'reset after a while': (asked) => {
      asked.answer({ body: 'good' });
      setImmediate(() => asked.reset());
    },
  };
  for (const [name, does] of Object.entries(ways)) {
    upstream.does = does;
    for (let i = 0; i < 8; i++) {
      const answer = await askRelay(stack, { name });
      assert.equal(answer.body, 'good', name);
    }
  }
});

throughBoth('other methods and other endpoints stay here', async (t, server) => {
  const { upstream, stack } = await startRelay(t, { server });
  const put = await stack.http('subscribe', { method: 'PUT', body: 'x' });
  expectError(put, 405);
  assert.match(put.headers.allow, /GET.*POST/);
  const id = await stack.create('here');
  assert.equal((await stack.update({ timeout: 0 })).messages[0].data, 'here');
  await stack.update({ id, timeout: 0, upstream: 'default' });
  assert.equal(upstream.count, 0);
  upstream.does = answers({ body: NEW });
  expectNew(await stack.http(`subscribe?id=${id}`));
  assert.equal(upstream.requests[0].target, `/subscribe?id=${id}`);
});
