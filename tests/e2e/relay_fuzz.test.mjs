// Answers with random faults in their bytes: whoever asked gets an answer or the word, and what is not
// spoiled arrives as it is.
import assert from 'node:assert/strict';
import zlib from 'node:zlib';
import { claim } from './lib/harness.mjs';
import { texts } from './lib/expect.mjs';
import { random } from './lib/random.mjs';
import { openClient, SAYS_NEW, startRelay, upstreamOf, upstreamSays } from './lib/relay.mjs';
import { answers, startUpstream } from './lib/upstream.mjs';

const ANSWERS = [
  'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 13\r\n\r\n{"ret":"new"}',
  'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nX-T: 1\r\n\r\n',
  'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 404 Not Found\r\nContent-Length: 4\r\nConnection: close\r\n\r\ngone',
  'HTTP/1.0 200 OK\r\nServer: old\r\n\r\nuntil the end',
  'HTTP/1.1 204 No Content\r\n\r\n',
  'HTTP/1.1 304 Not Modified\r\nETag: "x"\r\n\r\n',
  'HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:9/\r\nContent-Length: 0\r\n\r\n',
  `HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 33\r\n\r\n${zlib.gzipSync('{"ret":"new"}').toString('latin1')}`,
];
const TOKENS = ['\r\n', '\n', '\r', '\0', ':', ' ', '0', '-1', '99999999999999999999', 'HTTP/1.1 200 OK\r\n', '\r\n\r\n',
  'Content-Length: 3\r\n', 'Transfer-Encoding: chunked\r\n', 'Connection: close\r\n', 'ffffffffffffffff', '\xff', '\t', 'x'.repeat(70_000)];

function spoil(dice, text) {
  for (let n = dice.int(4); n > 0; n--) {
    const at = dice.int(text.length + 1);
    const what = dice.int(5);
    if (what === 0) text = text.slice(0, at);
    else if (what === 1) text = text.slice(0, at) + text.slice(at + 1 + dice.int(8));
    else if (what === 2) text = text.slice(0, at) + String.fromCharCode(dice.int(256)) + text.slice(at + 1);
    else if (what === 3) text = text.slice(0, at) + dice.pick(TOKENS) + text.slice(at);
    else text += text.slice(dice.int(text.length));
  }
  return text;
}

claim('answers with random faults are passed on, or told as the word', async (t) => {
  const dice = random('spoiled answers');
  const { upstream, stack } = await startRelay(t, { bad: true, args: ['--upstream-timeout', '1'] });
  upstream.does = (asked) => {
    const text = spoil(dice, dice.pick(ANSWERS));
    const cut = dice.int(text.length + 1);
    asked.write(text.slice(0, cut));
    setImmediate(() => (dice.int(3) ? asked.raw(text.slice(cut)).end() : asked.raw(text.slice(cut))));
  };
  for (let round = 0; round < 3; round++) {
    const clients = await Promise.all(
      Array.from({ length: 200 }, (_, i) => openClient(stack, `?q=${round}-${i}`)),
    );
    for (const client of clients) {
      const { status, body, headers } = await client.answer;
      assert.ok(status >= 200 && status < 600, `${status}`);
      assert.ok(status < 500, 'what fails is told by the word');
      assert.ok(status < 300 || status === 304 || status >= 400, 'no redirect passes');
      assert.ok(body === SAYS_NEW || body.length < 200_000);
      assert.equal(headers['cache-control'], 'no-store');
      assert.equal(headers.location, undefined);
    }
    await stack.create('meanwhile');
  }
  await upstreamSays(stack, { clients: 0, under_way: 0 });
  const { errors, answers: good } = await upstreamOf(stack);
  t.diagnostic(`${good} good, ${JSON.stringify(errors)}`);
  assert.ok(good > 50 && errors.broken > 50 && errors.refused > 10);
  assert.equal(errors.unreachable, 0);
  await upstream.stop(); // and all its connections, whatever was on them
  await upstream.start();
  upstream.does = answers({ body: 'sane' });
  for (let i = 0; i < 10; i++) {
    const { body } = await (await openClient(stack, `?sane=${i}`)).answer;
    assert.ok(['sane', SAYS_NEW].includes(body), body);
  }
});

claim('a feed of spoiled JSON appends what it got, and never asks with what is no cursor', async (t) => {
  const dice = random('spoiled feeds');
  const n = 30;
  const upstream = await startUpstream(t);
  const told = new Map(Array.from({ length: n }, (_, i) => [`/${i}`, []]));
  const JSONS = ['{"ret":"new","id":7}', '{"id":"a-1","messages":[{"id":"a-1","data":"x"}],"more":false}',
    '{"ret":"punt"}', '{"id":18446744073709551616}', '{"id":1e400}', '{"id":"\\ud800"}', '{"id":"a\\u0000b"}', '{"id":1,"id":2}'];
  upstream.does = (asked) => {
    const all = told.get(asked.path);
    if (all.length >= 3) return;
    const body = spoil({ ...dice, pick: () => ',' }, dice.pick(JSONS));
    all.push(body);
    asked.answer({ body: Buffer.from(body, 'latin1') });
  };
  const args = Array.from({ length: n }, (_, i) => [
    '--upstream', `u${i}=http://127.0.0.1:${upstream.port}/${i}`, '--upstream-channel', `u${i}=c${i}`,
  ]).flat();
  const { stack } = await startRelay(t, { upstream, url: `none=${upstream.url}`, args, allow: [/an answer is no text/] });
  await upstream.has(4 * n);
  for (let i = 0; i < n; i++) {
    const given = told.get(`/${i}`).map((body) => Buffer.from(body, 'latin1').toString());
    for (const text of texts(await stack.all({ channel: `c${i}` })))
      assert.ok(given.includes(text) || /^\{"ret":"new"[,}]/.test(text), text);
  }
  for (const asked of upstream.requests) assert.match(asked.target, /^\/\d+(\?id=[!-~]*)?$/);
});
