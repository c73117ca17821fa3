// The feed when the upstream, the disk or the daemon fails: with a cursor each answer is in the
// channel once, without one the channel is told that something may have been missed.
import assert from 'node:assert/strict';
import { atOnce, tempDir, until } from './lib/harness.mjs';
import { texts } from './lib/expect.mjs';
import { faultyDisk } from './lib/fault.mjs';
import { random } from './lib/random.mjs';
import { startRelay, upstreamOf, upstreamSays } from './lib/relay.mjs';
import { answers, mad, NEW } from './lib/upstream.mjs';

// They mostly wait: all of them at once.
const claims = [];
const claim = (name, fn) => claims.push([name, fn]);

const DISK = /^encke: (warn|error): .*(disk|space|full)/i;

const feeding = (t, { args = [], ...options } = {}) =>
  startRelay(t, { args: ['--upstream-channel', 'news', ...args], ...options });
const news = async (stack) => texts(await stack.all({ channel: 'news' }));

// An upstream with a log of its own: it answers what is newer than id, a few at a time, or holds.
class Log {
  constructor(upstream, { atOnce = 3 } = {}) {
    Object.assign(this, { upstream, items: [], atOnce });
    upstream.does = (asked) => this.answer(asked);
  }
  answer(asked) {
    const at = Number(new URLSearchParams(asked.query).get('id') ?? 0);
    assert.ok(Number.isInteger(at) && at >= 0 && at <= this.items.length, `a cursor of ours: ${asked.target}`);
    if (at === this.items.length) return;
    const messages = this.items.slice(at, at + this.atOnce);
    asked.answer({ body: JSON.stringify({ id: at + messages.length, messages }) });
  }
  add(...items) {
    this.items.push(...items);
    for (const asked of this.upstream.held) this.answer(asked);
  }
}
const items = async (stack) => (await news(stack)).flatMap((text) => JSON.parse(text).messages);
const upTo = (stack, log) => upstreamSays(stack, { cursor: String(log.items.length) });

for (const signal of ['SIGTERM', 'SIGKILL'])
  claim(`after ${signal} it goes on from the cursor: nothing missed, nothing twice`, async (t) => {
    const { upstream, stack } = await feeding(t);
    stack.daemon.judged = signal === 'SIGTERM';
    const log = new Log(upstream);
    for (let round = 0; round < 4; round++) {
      log.add(`${round}.1`, `${round}.2`);
      await upTo(stack, log);
      await stack.daemon.kill(signal);
      log.add(`${round}.3 while away`);
      await stack.daemon.start();
      await upTo(stack, log);
    }
    assert.deepEqual(await items(stack), log.items);
  });

claim('killed at any moment, each of the upstream\'s messages is in the channel once', async (t) => {
  const dice = random('kills while feeding');
  const { upstream, stack } = await feeding(t);
  stack.daemon.judged = false;
  const log = new Log(upstream);
  for (let round = 0; round < 25; round++) {
    for (let i = dice.int(4); i >= 0; i--) log.add(`${round}.${i}`);
    const wait = dice.int(150),
      at = Date.now();
    await until('a moment has passed', () => Date.now() - at >= wait, { every: 1 });
    await stack.daemon.kill('SIGKILL');
    await stack.daemon.start();
  }
  await upTo(stack, log);
  assert.deepEqual(await items(stack), log.items);
});

claim('an outage of the upstream costs nothing where there is a cursor', async (t) => {
  const { upstream, stack } = await feeding(t, { bad: true });
  const log = new Log(upstream);
  log.add('before');
  await upTo(stack, log);
  await upstream.holding(1);
  await upstream.stop();
  await upstreamSays(stack, { state: 'down' });
  log.items.push('meanwhile');
  await upstream.start();
  await upTo(stack, log);
  assert.deepEqual(await news(stack), [
    '{"id":1,"messages":["before"]}',
    '{"id":2,"messages":["meanwhile"]}',
  ]);
});

claim('after an outage without a cursor the channel gets the word, once', async (t) => {
  const { upstream, stack } = await feeding(t, { bad: true });
  (await upstream.request(0)).answer({ body: 'before' });
  await upstream.holding(1);
  for (let round = 1; round <= 2; round++) {
    await upstream.stop();
    await upstreamSays(stack, { state: 'down' });
    await upstream.start();
    await upstreamSays(stack, { state: 'up', appended: 1 + round });
    await upstream.holding(1);
  }
  const count = upstream.count;
  (await upstream.holding(1))[0].answer({ body: 'after' });
  await upstream.has(count + 1);
  assert.deepEqual(await news(stack), ['before', NEW, NEW, 'after']);
});

claim('an upstream that fails in another way is an outage too', async (t) => {
  const { upstream, stack } = await feeding(t, { bad: true });
  (await upstream.request(0)).answer({ body: 'before' });
  const ways = [answers({ status: 404, reason: 'Not Found', body: 'x' }), mad.internalError, mad.endsInMidAnswer];
  for (const [i, does] of ways.entries()) {
    const n = upstream.count;
    does((await upstream.holding(1))[0]);
    await upstreamSays(stack, { appended: 2 + i });
    await upstream.has(n + 1);
  }
  assert.deepEqual(await news(stack), ['before', NEW, NEW, NEW]);
});

claim('an upstream that always fails is asked once a second, and nothing is appended', async (t) => {
  const { upstream, stack } = await feeding(t, { bad: true });
  upstream.does = mad.internalError;
  for (const asked of upstream.held) mad.internalError(asked);
  const begun = Date.now();
  await upstream.has(3);
  const seconds = (Date.now() - begun) / 1000;
  assert.ok(upstream.count <= 2 + seconds, `${upstream.count} requests in ${seconds} s`);
  assert.deepEqual(await news(stack), []);
  assert.ok((await upstreamOf(stack)).errors.status >= 2);
});

claim('a full disk loses none of it, and doubles none', async (t) => {
  const disk = faultyDisk(tempDir(t));
  const { upstream, stack } = await feeding(t, { ...disk.options, allow: [DISK] });
  const log = new Log(upstream, { atOnce: 1 });
  log.add('kept');
  await upTo(stack, log);
  for (let round = 0; round < 2; round++) {
    disk.set('write=ENOSPC');
    const hits = disk.hits('write');
    log.add(`while full ${round}`, `and more ${round}`);
    await disk.hit('write', hits);
    const { cursor } = await upstreamOf(stack);
    assert.equal(cursor, String(log.items.length - 2), 'the cursor waits for the disk');
    disk.set();
    await upTo(stack, log);
  }
  assert.deepEqual(await items(stack), log.items);
});

claim('a disk that waits holds up the feed and nobody else', async (t) => {
  const disk = faultyDisk(tempDir(t));
  const { upstream, stack } = await feeding(t, disk.options);
  const log = new Log(upstream, { atOnce: 1 });
  log.add('one');
  await upTo(stack, log);
  disk.set('sync=gate');
  const hits = disk.hits('sync');
  log.add('two', 'three');
  await disk.hit('sync', hits);
  assert.deepEqual(await items(stack), ['one'], 'not seen before it is on disk');
  assert.equal((await upstreamOf(stack)).cursor, '1');
  disk.set();
  await upTo(stack, log);
  assert.deepEqual(await items(stack), log.items);
});

claim('at the drain a feed is no reason to wait', async (t) => {
  const { upstream, stack } = await feeding(t);
  const [asked] = await upstream.holding(1);
  assert.equal((await stack.daemon.stop()).code, 0);
  await asked.left;
  assert.ok(asked.gone);
});

atOnce('feeding a channel while things fail', claims);
