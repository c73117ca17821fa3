// Over HTTPS browsers speak HTTP/2 with nginx and lighttpd: streams come as they are published there,
// too, several on one connection. (Here without TLS, which changes nothing of that.)
import assert from 'node:assert/strict';
import http2 from 'node:http2';
import { defer, freePort, query, startStack, throughBoth, until } from './lib/harness.mjs';
import { SseParser } from './lib/sse.mjs';

// A stack whose web server speaks HTTP/2 on `port` to those who begin with it.
async function startHttp2(t, server, options = {}) {
  const port = await freePort();
  const stack = await startStack(t, {
    server,
    ...options,
    webConfig: {
      nginx: (text) =>
        text.replace(/listen 127\.0\.0\.1:\d+[^;]*;/, `$& listen 127.0.0.1:${port} http2;`),
    },
  });
  // lighttpd 1.4.69 sends one byte more than the default window has, so it is said, as browsers do.
  const settings = { initialWindowSize: 2 ** 17 };
  const at = `http://127.0.0.1:${server === 'nginx' ? port : stack.web.port}`;
  const session = http2.connect(at, { settings });
  session.on('error', () => {});
  defer(t, () => session.destroy());
  await new Promise((resolve, reject) => session.once('connect', resolve).once('error', reject));
  session.setLocalWindowSize(2 ** 26); // one that is not read must not use up the others' window
  return { stack, session };
}

// One event stream on the session: what it has dispatched so far.
function events(session, fields, headers = {}) {
  const stream = session.request({ ':path': `/comet/events${query(fields)}`, ...headers });
  const parser = new SseParser();
  const reader = { stream, parser, status: 0, over: false, headers: {} };
  stream.on('response', (all) => {
    reader.status = all[':status'];
    reader.headers = all;
  });
  stream.on('data', (bytes) => parser.push(bytes));
  stream.on('close', () => {
    reader.over = true;
  });
  stream.on('error', () => {});
  reader.texts = () => parser.events.filter((e) => e.type === 'message').map((e) => e.data);
  return reader;
}

throughBoth('streams on one HTTP/2 connection come as they are published', async (t, server) => {
  const { stack, session } = await startHttp2(t, server, { args: ['--heartbeat', '1'] });
  const readers = Array.from({ length: 6 }, (_, i) =>
    events(session, { id: 'now', channel: `c${i % 3}` }),
  );
  for (const reader of readers) await until('a cursor', () => reader.parser.lastEventId);
  assert.ok(readers.every((reader) => reader.status === 200));
  assert.equal(readers[0].headers['content-type'], 'text/event-stream');
  for (let i = 1; i <= 5; i++) {
    for (const channel of ['c0', 'c1', 'c2']) await stack.publish(`${channel} ${i}`, { channel });
    for (const reader of readers) await until('each at once', () => reader.texts().length === i);
  }
  readers.forEach((reader, r) =>
    assert.deepEqual(reader.texts(), [1, 2, 3, 4, 5].map((i) => `c${r % 3} ${i}`)),
  );
  for (const reader of readers) {
    const beats = reader.parser.comments.length;
    await until('a heartbeat', () => reader.parser.comments.length > beats);
  }
  // One that leaves frees its own, the rest goes on.
  readers[0].stream.close(http2.constants.NGHTTP2_CANCEL);
  await stack.streams({ events: 5 });
  await stack.publish('for the rest', { channel: 'c0' });
  await until('it comes', () => readers[3].texts().at(-1) === 'for the rest');
  session.destroy();
  await stack.streams();
});

throughBoth('on an HTTP/2 connection a slow stream holds up no other', async (t, server) => {
  const { stack, session } = await startHttp2(t, server, { args: ['--heartbeat', '3600'] });
  const slow = events(session, { id: 'now', channel: 'big' });
  const quick = events(session, { id: 'now', channel: 'small' });
  for (const reader of [slow, quick]) await until('open', () => reader.parser.lastEventId);
  slow.stream.pause();
  const sent = [];
  while ((await stack.status()).streams_behind === 0) {
    const texts = Array.from({ length: 20 }, () => `${sent.length}`.padEnd(30_000, '.'));
    sent.push(...texts);
    await stack.publish(texts, { channel: 'big' });
    assert.ok(sent.length < 4000, 'somebody keeps it all');
  }
  for (let i = 1; i <= 5; i++) {
    await stack.publish(`${i}`, { channel: 'small' });
    await until('the other hears', () => quick.texts().length === i);
  }
  slow.stream.resume();
  await until('it has all', () => slow.texts().length === sent.length);
  assert.ok(slow.texts().every((text, i) => text === sent[i]));
  assert.equal(slow.parser.events.filter((e) => e.type === 'reset').length, 0);
});

throughBoth('a drain ends HTTP/2 streams well, and they go on from Last-Event-ID', async (t, server) => {
  const { stack, session } = await startHttp2(t, server);
  const first = events(session, { id: 'now' });
  await until('open', () => first.parser.lastEventId);
  await stack.publish('one');
  await until('it comes', () => first.texts().length === 1);
  assert.equal((await stack.daemon.stop()).code, 0);
  await until('its end', () => first.over);
  assert.equal(first.stream.rstCode, http2.constants.NGHTTP2_NO_ERROR);
  await stack.daemon.start();
  await stack.publish('two');
  const next = await until('the web server is back', async () => {
    const reader = events(session, { id: 'now' }, { 'last-event-id': first.parser.lastEventId });
    await until('an answer', () => reader.status);
    return reader.status === 200 && reader;
  });
  await until('what was missed', () => next.texts().length === 1);
  assert.deepEqual(next.texts(), ['two']);
});
