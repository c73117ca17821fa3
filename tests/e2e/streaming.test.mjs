// GET or POST streaming: a line of JSON a message, as long as one wants.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { claim, defer, startStack, throughBoth, until, within } from './lib/harness.mjs';
import { openReader, readAll } from './lib/readers.mjs';
import { openResponse } from './lib/response.mjs';

// All bytes of a stream so far, as text.
async function listen(stack, at, options) {
  const response = await openResponse(stack, at, options);
  const heard = { text: '', response };
  response.onBody = (bytes) => {
    heard.text += bytes.toString('utf8');
  };
  return heard;
}

throughBoth('the lines are those objects that update gives', async (t, server) => {
  const stack = await startStack(t, { server });
  const heard = await listen(stack, 'streaming?channel=a&channel=b&id=now');
  await stack.publish('"quoted" <b>\u2028\n\u{1f4a5}', { channel: 'a' });
  await stack.publish(' ', { channel: 'b' });
  await until('both', () => heard.text.split('\n').length === 4);
  const { body } = await stack.http('update?channel=a&channel=b&timeout=0');
  const [cursor, ...lines] = heard.text.trimEnd().split('\n');
  assert.match(cursor, /^\{"id":"[0-9a-f]{12}-0"\}$/);
  assert.ok(body.includes(`"messages":[${lines.join()}]`), `${lines} in ${body}`);
  heard.response.cut();
});

throughBoth('a gap is a line of its own, before what is kept', async (t, server) => {
  const stack = await startStack(t, { server });
  const [id] = await stack.publish('kept');
  const { text } = await listen(stack, 'streaming?id=nonsense&timeout=0').then(async (heard) => {
    await heard.response.ended;
    return heard;
  });
  const [reset, message, ...none] = text.split('\n');
  assert.equal(reset, '{"reset":true}');
  assert.equal(JSON.parse(message).id, id);
  assert.deepEqual(none, ['']);
});

throughBoth('fetch reads it as it comes', async (t, server) => {
  const stack = await startStack(t, { server });
  const aborter = new AbortController();
  const answer = await fetch(`${stack.url}/streaming?id=now`, { signal: aborter.signal });
  assert.equal(answer.status, 200);
  const lines = answer.body.pipeThrough(new TextDecoderStream())[Symbol.asyncIterator]();
  const next = async () => JSON.parse((await lines.next()).value);
  assert.deepEqual(Object.keys(await next()), ['id']);
  for (const text of ['one', 'two']) {
    await stack.publish(text);
    assert.equal((await next()).data, text);
  }
  aborter.abort();
  await stack.streams();
});

throughBoth('curl -N shows each message when it comes', async (t, server) => {
  const stack = await startStack(t, { server });
  const curl = spawn('curl', ['-sN', '--noproxy', '*', `${stack.url}/streaming?id=now&timeout=60`]);
  defer(t, () => curl.kill());
  const ended = new Promise((resolve) => curl.on('close', resolve));
  let out = '';
  curl.stdout.setEncoding('utf8').on('data', (part) => {
    out += part;
  });
  await until('a cursor', () => /^\{"id":"[^"]+"\}\n$/.test(out));
  await stack.publish('for curl');
  await until('the message', () => /"data":"for curl"\}\n$/.test(out));
  await stack.daemon.stop();
  assert.equal(await within(ended, 20_000, 'curl to end'), 0, 'a drain ends it well');
});

// FastCGI lets a web server use a connection again.
claim('on a kept connection other requests follow a stream', async (t) => {
  const stack = await startStack(t);
  const ids = await stack.publish(['a', 'b']);
  const connection = await stack.connect();
  for (let i = 1; i <= 4; i++) {
    const uri = `/comet/${['streaming', 'events', 'iframe', 'streaming'][i - 1]}?timeout=${i % 2}`;
    const answer = await connection.ask({ id: i, keep: true, uri });
    assert.equal(answer.status, 200);
    for (const id of ids) assert.ok(answer.body.includes(id));
    assert.equal(connection.bad, null);
    await stack.streams();
    const update = await connection.ask({ id: 40 + i, keep: true, uri: '/comet/update?timeout=0' });
    assert.equal(update.json().messages.length, 2);
  }
  connection.destroy();
});

claim('request ids of every size get their own records', async (t) => {
  const stack = await startStack(t);
  await stack.publish('x');
  const readers = await Promise.all(
    [1, 2, 255, 256, 4097, 65_535].map((id) =>
      openReader(stack, 'streaming', {}, { direct: true, id }),
    ),
  );
  await Promise.all(readers.map((reader) => reader.has(1)));
  await stack.publish(['y', 'z']);
  for (const reader of readers) {
    await reader.has(3);
    assert.deepEqual(reader.texts, ['x', 'y', 'z']);
    reader.cut();
  }
});

claim('bytes that a web server sends into a stream end it', async (t) => {
  const stack = await startStack(t, { allow: [/^encke: warn: /] });
  for (const bytes of [Buffer.from('nonsense'), Buffer.alloc(8), Buffer.alloc(70_000, 1)]) {
    const reader = await openReader(stack, 'streaming', { id: 'now' }, { direct: true });
    await reader.until('open', () => reader.cursor);
    reader.response.socket.write(bytes);
    assert.equal(await within(reader.ended, 20_000, 'the end'), 'cut');
    await stack.streams();
  }
});

throughBoth('streams end by themselves, each at a time of its own', async (t, server) => {
  const stack = await startStack(t, { server, args: ['--stream', '2s'] });
  const lives = await Promise.all(
    Array.from({ length: 60 }, async () => {
      const started = Date.now();
      const reader = await openReader(stack, 'streaming', { id: 'now' });
      assert.equal(await reader.ended, 'end');
      return Date.now() - started;
    }),
  );
  const shortest = Math.min(...lives);
  assert.ok(shortest >= 1700, `one ended after ${shortest} ms`);
  assert.ok(Math.max(...lives) - shortest >= 50, 'jitter spreads them');
  await stack.streams();
  assert.equal((await readAll(stack, 'streaming', {})).count, 0);
});
