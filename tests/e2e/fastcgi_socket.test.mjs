// The daemon's socket, with bytes that no web server would send: the connection that sent them is
// closed (or answered, where they make sense), and everybody else goes on.
import assert from 'node:assert/strict';
import { claim, startStack, until } from './lib/harness.mjs';
import {
  begin,
  Connection,
  KEEP_CONN,
  pair,
  paramsOf,
  record,
  request,
  stream,
  TYPE,
} from './lib/fcgi.mjs';
import { random } from './lib/random.mjs';

const TEXT = 'text/plain';
const post = (body, more = {}) => ({
  method: 'POST',
  uri: '/comet/create',
  type: TEXT,
  body,
  ...more,
});

// A stack with one honest hold, which must still be there, and still work, when `fn` is done.
async function beside(t, fn, options) {
  const stack = await startStack(t, options);
  const before = (await stack.status()).connections;
  const honest = await stack.connect();
  const answer = honest.ask({ uri: '/comet/update?id=now&channel=honest' });
  await stack.holds(1);
  await fn(stack);
  await stack.holds(1);
  await stack.create('still here', { channel: 'honest' });
  assert.equal((await answer).json().messages[0].data, 'still here');
  await until(
    'every connection is let go of',
    async () => (await stack.status()).connections === before,
  );
}

// Sends bytes on a new connection, and waits until the daemon has closed it.
async function sent(stack, name, bytes) {
  const connection = await stack.connect();
  await connection.write(bytes).catch(() => {}); // refused before all was written: as good
  const late = new Promise((_, reject) =>
    setTimeout(reject, 30_000, new Error(`${name}: still open`)).unref(),
  );
  await Promise.race([connection.closed, late]);
  assert.equal(connection.bad, null, name);
  return connection;
}

const params = (bytes) =>
  Buffer.concat([
    begin(1),
    record(TYPE.PARAMS, 1, bytes),
    record(TYPE.PARAMS, 1),
    record(TYPE.STDIN, 1),
  ]);
const lengths = (...b) => params(Buffer.from(b));

claim('garbage and absurd lengths close that connection, and the rest goes on', (t) =>
  beside(t, async (stack) => {
    const { bytes } = random('garbage');
    const names = Array.from({ length: 40 }, () => pair('FCGI_MAX_CONNS', ''));
    const cases = {
      noise: Buffer.concat([Buffer.from([0x80]), bytes(63)]),
      'much noise': Buffer.concat([Buffer.from([0x80]), bytes(300_000)]),
      zeros: Buffer.alloc(4096),
      ones: Buffer.alloc(4096, 0xff),
      'an HTTP request': Buffer.from('GET /comet/status HTTP/1.1\r\nHost: x\r\n\r\n'),
      'version 0': record(TYPE.BEGIN, 1, [0, 1, 0, 0, 0, 0, 0, 0], { version: 0 }),
      'version 2': record(TYPE.BEGIN, 1, [0, 1, 0, 0, 0, 0, 0, 0], { version: 2 }),
      'a wrong version in the middle': Buffer.concat([
        begin(1),
        record(TYPE.PARAMS, 1, paramsOf(), { version: 3 }),
      ]),
      FCGI_GET_VALUES: record(TYPE.GET_VALUES, 0, pair('FCGI_MAX_CONNS', '')),
      'FCGI_GET_VALUES with many names': record(TYPE.GET_VALUES, 0, Buffer.concat(names)),
      'an unknown management record': record(77, 0, bytes(8)),
      'FCGI_GET_VALUES in the middle': Buffer.concat([
        begin(1),
        record(TYPE.GET_VALUES, 0, Buffer.concat(names)),
        request(),
      ]),
      'a request with id 0': request({ id: 0 }),
      'parameters before the beginning': stream(TYPE.PARAMS, 1, paramsOf()),
      'a body before the beginning': stream(TYPE.STDIN, 1, Buffer.from('x')),
      'an answer': record(TYPE.STDOUT, 1, Buffer.from('Status: 200 OK\r\n\r\n')),
      'a beginning cut short': Buffer.concat([
        record(TYPE.BEGIN, 1, [0, 1, 0]),
        stream(TYPE.PARAMS, 1, paramsOf()),
      ]),
      'a beginning too long': Buffer.concat([
        record(TYPE.BEGIN, 1, Buffer.alloc(500, 1)),
        stream(TYPE.PARAMS, 1, paramsOf()),
      ]),
      'two beginnings': Buffer.concat([begin(1), begin(1), request()]),
      'two requests at once': Buffer.concat([
        begin(1),
        begin(2),
        stream(TYPE.PARAMS, 2, paramsOf()),
      ]),
      'name length 0x7ffffffe': lengths(0xff, 0xff, 0xff, 0xfe, 0, 0x41),
      'name length 0x7fffffff': lengths(0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x41),
      'value length 0x7ffffffe': lengths(1, 0xff, 0xff, 0xff, 0xfe, 0x41),
      'both lengths 0x7ffffffe': lengths(0xff, 0xff, 0xff, 0xfe, 0xff, 0xff, 0xff, 0xfe, 0x41),
      'lengths that add up to nothing': lengths(0xff, 0xff, 0xff, 0xff, 0x80, 0, 0, 1, 0x41),
      'name longer than the parameters': lengths(100, 1, 0x41, 0x42),
      'value longer than the parameters': lengths(1, 100, 0x41, 0x42),
      'a length cut short': lengths(0x80, 0, 0),
      'a name length and no more': lengths(5),
      'parameters of megabytes': Buffer.concat([
        begin(1),
        stream(
          TYPE.PARAMS,
          1,
          Buffer.concat(
            Array.from({ length: 3000 }, (_, i) => pair(`HTTP_X${i}`, 'y'.repeat(3000))),
          ),
        ),
      ]),
      'a role that is not responder': Buffer.concat([
        begin(1, { role: 3 }),
        stream(TYPE.PARAMS, 1, paramsOf()),
        record(TYPE.STDIN, 1),
      ]),
      FCGI_DATA: Buffer.concat([
        begin(1),
        stream(TYPE.PARAMS, 1, paramsOf()),
        stream(TYPE.DATA, 1, Buffer.from('x')),
      ]),
      'an abort of nothing': record(TYPE.ABORT, 1),
    };
    for (const [name, wrong] of Object.entries(cases)) await sent(stack, name, wrong);
  }),
);

claim('a content length that is a lie, or none, is answered or closed, and never waited on', (t) =>
  beside(t, async (stack) => {
    const with_length = (length, body, more) =>
      request(post(body, { params: { CONTENT_LENGTH: length }, ...more }));
    for (const [length, body] of [
      ['3', 'longer'],
      ['60', 'shorter'],
      ['abc', 'x'],
      ['-1', 'chunked, says Caddy'],
      ['', 'none told'],
      ['99999999999999999999', 'x'],
      ['4294967297', 'x'],
      ['0', 'x'],
      [' 1', 'x'],
      ['1e9', ''],
      ['2147483648', 'x'],
    ]) {
      const connection = await stack.connect();
      const answer = connection.answer(1).then(
        (a) => a.status,
        () => 'closed',
      );
      await connection.write(with_length(length, body));
      const outcome = await Promise.race([
        answer,
        new Promise((r) => setTimeout(r, 30_000, 'a hang').unref()),
      ]);
      assert.ok(
        [200, 400, 413, 'closed'].includes(outcome),
        `CONTENT_LENGTH ${JSON.stringify(length)}: ${outcome}`,
      );
      connection.destroy();
    }
  }),
);

claim('a body whose length Caddy gives as -1 is a message', async (t) => {
  const stack = await startStack(t);
  const answer = await stack.raw(post('chunked', { params: { CONTENT_LENGTH: '-1' } }));
  assert.equal(answer.status, 200, answer.body);
  assert.equal((await stack.all())[0].data, 'chunked');
});

claim('a request that arrives byte by byte is answered', (t) =>
  beside(t, async (stack) => {
    for (const opts of [
      { uri: '/comet/status' },
      post('dribbled'),
      { uri: '/comet/update?timeout=0&channel=none' },
    ]) {
      const connection = await stack.connect();
      const answer = connection.answer(1);
      for (const byte of request(opts)) await connection.write(Buffer.from([byte]));
      assert.equal((await answer).status, 200);
      await connection.closed;
    }
  }),
);

claim('a body that dribbles in 200-byte writes is taken up to the limit', (t) =>
  beside(t, async (stack) => {
    const dribble = async (opts) => {
      const connection = await stack.connect();
      const answer = connection.answer(1);
      const whole = request({ ...opts, chunk: 200 });
      for (let at = 0; at < whole.length; at += 208)
        await connection.write(whole.subarray(at, at + 208));
      return answer;
    };
    const limit = 64 * 1024;
    assert.equal((await dribble(post('d'.repeat(limit)))).status, 200);
    const form = {
      method: 'POST',
      uri: '/comet/create',
      type: 'application/x-www-form-urlencoded',
      body: `msg=${'%64'.repeat(limit)}`,
    };
    assert.equal((await dribble(form)).status, 200);
    assert.equal((await dribble(post('d'.repeat(limit + 1)))).status, 413);
    const stored = await stack.all();
    assert.deepEqual(
      stored.map((m) => m.data),
      ['d'.repeat(limit), 'd'.repeat(limit)],
    );
  }),
);

claim('a body far over the limit gets 413 without being taken in', (t) =>
  beside(t, async (stack) => {
    for (const chunk of [65528, 8192, 200]) {
      const connection = await stack.connect();
      const answer = connection.answer(1);
      const size = chunk === 200 ? 400_000 : 5 * 2 ** 20;
      connection.write(request(post(Buffer.alloc(size, 'x'), { chunk }))).catch(() => {});
      const got = await answer;
      assert.equal(got.status, 413);
      assert.match(got.json().error, /./);
      await connection.closed;
    }
  }),
);

claim('records may be cut and padded in any way', (t) =>
  beside(t, async (stack) => {
    for (const [chunk, padding] of [
      [1, 0],
      [1, 255],
      [7, 1],
      [300, 7],
      [65535, 255],
      [65528, 0],
    ]) {
      const answer = await stack.raw(
        post('cut and padded', { chunk, padding, params: { HTTP_LONG: 'v'.repeat(900) } }),
      );
      assert.equal(answer.status, 200, `${chunk}/${padding}`);
    }
  }),
);

claim('padding that looks like records is padding', (t) =>
  beside(t, async (stack) => {
    const bait = [
      record(TYPE.PARAMS, 1, pair('REQUEST_URI', '/comet/nothing')),
      Buffer.concat([record(TYPE.PARAMS, 1), record(TYPE.STDIN, 1, 'another body')]),
      Buffer.concat([record(TYPE.STDIN, 1), begin(1)]),
      record(TYPE.GET_VALUES, 0, pair('FCGI_MAX_CONNS', '')),
    ];
    for (const padding of bait)
      assert.equal((await stack.raw(post('the message', { padding }))).status, 200);
    assert.deepEqual(
      (await stack.all()).map((m) => m.data),
      bait.map(() => 'the message'),
    );
  }),
);

// A decoder that takes the padding for a record skips with its first pair the headers that follow,
// and has in its second one three times the parameters that a request may have.
claim('parameters hidden in padding do not get past the limit on them', (t) =>
  beside(t, async (stack) => {
    const long = (n) => Buffer.from([0x80 | (n >> 24), n >> 16, n >> 8, n]);
    const head = (n) => record(TYPE.PARAMS, 1, [], { length: n });
    const skip = 255 - 8 + 8 + 8; // the rest of the padding and two headers
    const padding = Buffer.concat([head(skip), Buffer.from([1]), long(skip - 6), Buffer.from('X')]);
    const sizes = [65535 - 8 - 16, 65535 - 8, 65535 - 8 - 8 - 16];
    const uri = [Buffer.from([11]), long(sizes.reduce((a, b) => a + b)), Buffer.from('REQUEST_URI')];
    const parts = sizes.map((n) => Buffer.alloc(n, 'a'));
    const bodies = [
      Buffer.concat([head(65535 - 8), ...uri, parts[0]]),
      Buffer.concat([head(65535 - 8), parts[1]]),
      Buffer.concat([head(sizes[2]), parts[2], record(TYPE.PARAMS, 1), record(TYPE.STDIN, 1)]),
    ];
    const answer = await stack.connect().then(async (connection) => {
      const answered = connection.answer(1);
      await connection.write(
        Buffer.concat([
          begin(1, { padding: Buffer.concat([padding, Buffer.alloc(255 - padding.length, '.')]) }),
          record(TYPE.PARAMS, 1),
          ...bodies.map((body) => record(TYPE.STDIN, 1, body)),
          record(TYPE.STDIN, 1),
        ]),
      );
      return answered;
    });
    assert.equal(answer.status, 404); // a request without parameters, with a long body
  }),
);

claim('an answer carries the id of its request, whatever it is', (t) =>
  beside(t, async (stack) => {
    for (const id of [1, 2, 255, 256, 4097, 65535]) {
      const answer = await stack.raw({ id, uri: '/comet/status' });
      assert.equal(answer.status, 200);
      assert.deepEqual([answer.appStatus, answer.protocolStatus], [0, 0]);
      const connection = await stack.connect();
      const held = connection.ask({ id, uri: '/comet/update?id=now&channel=ids' });
      await stack.holds(2);
      await stack.create('held', { channel: 'ids' });
      assert.equal((await held).json().messages[0].data, 'held');
      await connection.closed;
    }
  }),
);

claim('a kept connection serves one request after another', (t) =>
  beside(t, async (stack) => {
    const connection = await stack.connect();
    for (let i = 0; i < 60; i++) {
      const id = 1 + (i % 3);
      assert.equal((await connection.ask(post(`m${i}`, { id, keep: true }))).status, 200);
      const seen = (
        await connection.ask({ id, keep: true, uri: '/comet/update?limit=1000' })
      ).json();
      assert.equal(seen.messages.length, i + 1);
      if (i % 10 === 0) {
        const held = connection.ask({ keep: true, uri: '/comet/update?id=now&channel=kept' });
        await stack.holds(2);
        await stack.create('news', { channel: 'kept' });
        assert.equal((await held).json().messages[0].data, 'news');
        assert.equal((await connection.ask({ keep: true, uri: '/comet/nothing' })).status, 404);
        assert.equal((await connection.ask({ keep: true, ...post('\0') })).status, 400);
      }
    }
    assert.equal(connection.isClosed, false);
    assert.equal((await connection.ask({ keep: false })).status, 200);
    await connection.closed;
  }),
);

claim('without the flag to keep it, the connection is closed after the answer', (t) =>
  beside(t, async (stack) => {
    const connection = await stack.connect();
    assert.equal((await connection.ask()).status, 200);
    await connection.closed;
    const unknown_flags = await stack.connect();
    const answer = unknown_flags.answer(1);
    await unknown_flags.write(
      Buffer.concat([begin(1, { flags: 0xff & ~KEEP_CONN }), request().subarray(16)]),
    );
    assert.equal((await answer).status, 200);
    await unknown_flags.closed;
  }),
);

claim('two requests sent at once on one connection are both answered, or it is closed', (t) =>
  beside(t, async (stack) => {
    const connection = await stack.connect();
    const both = [connection.answer(1), connection.answer(2)];
    await connection.write(
      Buffer.concat([request({ id: 1, keep: true }), request({ id: 2, keep: true })]),
    );
    const outcome = await Promise.race([
      Promise.all(both).then((answers) => answers.map((a) => a.status).join()),
      connection.closed.then(() => 'closed'),
    ]);
    assert.ok(['200,200', 'closed'].includes(outcome), outcome);
    connection.destroy();
  }),
);

claim('a second request while one is held closes that connection and frees the hold', (t) =>
  beside(t, async (stack) => {
    for (const id of [1, 2]) {
      const connection = await stack.connect();
      connection.ask({ id: 1, keep: true, uri: '/comet/update?id=now&channel=twice' });
      await stack.holds(2);
      await connection.write(
        request({ id, keep: true, uri: '/comet/update?id=now&channel=twice' }),
      );
      await connection.closed;
      await stack.holds(1);
    }
  }),
);

claim('FCGI_ABORT_REQUEST frees a hold', (t) =>
  beside(t, async (stack) => {
    const connection = await stack.connect();
    connection.ask({ keep: true, uri: '/comet/update?id=now&channel=aborted' });
    await stack.holds(2);
    await connection.write(record(TYPE.ABORT, 1));
    await stack.holds(1);
    connection.destroy();
  }),
);

claim('half a request is closed after --request-timeout', (t) =>
  beside(
    t,
    async (stack) => {
      const whole = request(post('x'.repeat(2000)));
      const halves = [
        begin(1).subarray(0, 5),
        begin(1),
        whole.subarray(0, 60),
        whole.subarray(0, whole.length - 9),
      ];
      await Promise.all(halves.map((half, i) => sent(stack, `half ${i}`, half)));
      const connection = await stack.connect();
      assert.equal((await connection.ask({ keep: true })).status, 200);
      await connection.write(begin(1));
      await connection.closed;
    },
    { args: ['--request-timeout', '1'] },
  ),
);

claim('a dribbler cannot hold a connection open beyond --request-timeout', (t) =>
  beside(
    t,
    async (stack) => {
      const connection = await stack.connect();
      await connection.write(begin(1));
      const dribble = setInterval(
        () => connection.write(record(TYPE.PARAMS, 1, pair('A', 'b'))).catch(() => {}),
        50,
      );
      t.after(() => clearInterval(dribble));
      await connection.closed;
    },
    { args: ['--request-timeout', '1'] },
  ),
);

claim('no mutation of a request harms anybody else', (t) =>
  beside(t, async (stack) => {
    const { int, pick, bytes } = random('mutations');
    const models = [
      request(),
      request({ keep: true }),
      request(post('some text')),
      request(post('keep', { keep: true, id: 3 })),
      request({ uri: '/comet/update?timeout=1&channel=fuzz' }),
      request({ uri: '/comet/subscribe?timeout=1&channel=fuzz' }),
    ];
    const mutate = (model) => {
      let wrong = Buffer.from(model);
      for (let n = 1 + int(4); n > 0; n--) {
        const at = int(wrong.length),
          end = at + int(20);
        switch (int(5)) {
          case 0:
            wrong[at] = int(256);
            break;
          case 1:
            wrong[at] ^= 1 << int(8);
            break;
          case 2:
            wrong = Buffer.concat([wrong.subarray(0, at), wrong.subarray(end)]);
            break;
          case 3:
            wrong = Buffer.concat([wrong.subarray(0, at), bytes(1 + int(20)), wrong.subarray(at)]);
            break;
          default:
            wrong = Buffer.concat([wrong.subarray(0, end), wrong.subarray(at)]);
        }
        if (wrong.length === 0) wrong = bytes(3);
      }
      return wrong;
    };
    for (let round = 0; round < 40; round++) {
      await Promise.all(
        Array.from({ length: 10 }, async () => {
          const connection = await Connection.open(stack.socket);
          await connection.write(mutate(pick(models))).catch(() => {});
          connection.end(); // half-closed: whatever the daemon still waits for will not come
          const late = new Promise((_, reject) =>
            setTimeout(reject, 40_000, new Error('a connection stays open')).unref(),
          );
          await Promise.race([connection.closed, late]);
        }),
      );
    }
  }),
);
