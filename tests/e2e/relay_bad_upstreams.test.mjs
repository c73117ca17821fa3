// Upstreams that do everything wrong: clients are told to look for themselves, the daemon's memory
// stays bounded, what is local goes on, and the next good answer is passed on again.
import assert from 'node:assert/strict';
import { atOnce, claim, plainBinary, until } from './lib/harness.mjs';
import {
  askRelay, expectNew, expectPunt, openClient, peakMemory, SAYS_NEW, startRelay, TROUBLE, upstreamOf,
  upstreamSays,
} from './lib/relay.mjs';
import { answers, fullBacklog, mad, slow, startUpstream } from './lib/upstream.mjs';

const MEGABYTE = 1024 * 1024;

// Publishes and reads, one round trip after the other, until told to stop; gives how many.
function localTraffic(stack) {
  let on = true,
    rounds = 0;
  const done = (async () => {
    let id = 'now';
    while (on) {
      const [made] = await stack.publish(`local ${rounds}`);
      const { messages } = await stack.update({ id: id === 'now' ? '' : id, timeout: 0 });
      assert.equal(messages.at(-1).data, `local ${rounds}`);
      ({ id } = messages.at(-1));
      assert.equal(id, made);
      rounds++;
    }
    return rounds;
  })();
  return {
    get rounds() {
      return rounds;
    },
    async stop() {
      on = false;
      return done;
    },
  };
}

// Claims that mostly wait: all of them at once, in the end.
const claims = [];
const waiting = (name, fn) => claims.push([name, fn]);

const byCase = (cases) => (asked) => cases[new URLSearchParams(asked.query).get('case')](asked);

// Which counter of status an upstream's fault belongs to, where there is no doubt.
const KINDS = {
  broken: ['resetsAtOnce', 'closesAtOnce', 'resetsInMidHead', 'resetsInMidAnswer', 'endsInMidAnswer',
    'endsInMidChunk', 'endsBetweenChunks', 'endsInMidHead', 'garbage', 'oldHttp', 'otherProtocol',
    'badChunk', 'badStatus'],
  status: ['internalError', 'badGateway', 'busy'],
  refused: ['tellsAGigabyte', 'neverEnds', 'neverEndsInChunks', 'gzip', 'gzipBomb', 'gzipBombTwice', 'badGzip',
    'halfGzip', 'unknownEncoding', 'endlessHeaders', 'redirects',
    'controlByteInType', 'controlByteInHeader', 'longType'],
};

claim('whatever they do, clients get the word, and then the next good answer', async (t) => {
  const { upstream, stack } = await startRelay(t, { bin: plainBinary(), bad: true });
  upstream.does = answers({ body: 'good' });
  await askRelay(stack, '?warm');
  const local = localTraffic(stack);
  await until('local traffic', () => local.rounds > 5);
  const before = peakMemory(stack.daemon.pid);
  upstream.does = byCase(mad);
  const clients = await Promise.all(
    Object.keys(mad).map(async (name) => [name, await openClient(stack, `?case=${name}`)]),
  );
  const at = local.rounds;
  const wrong = [];
  for (const [name, client] of clients) {
    const { status, body } = await client.answer;
    if (status !== 200 || body !== SAYS_NEW) wrong.push(`${name}: ${status} ${JSON.stringify(body.slice(0, 80))}`);
  }
  assert.deepEqual(wrong, []);
  for (const [, client] of clients) expectNew(await client.answer);
  await until('local traffic goes on', () => local.rounds > at);
  const grown = peakMemory(stack.daemon.pid) - before;
  assert.ok(grown < 24 * MEGABYTE, `${(grown / MEGABYTE).toFixed(1)} MB more`);

  const { errors, requests, state, under_way: underWay, last_error: lastError } = await upstreamOf(stack);
  assert.equal(underWay, 0);
  assert.equal(state, 'failing', 'not down: a mad answer does not stop the other queries');
  assert.equal(typeof lastError, 'string');
  assert.ok(requests <= 2 * clients.length + 1, `${requests} requests`);
  assert.deepEqual([errors.unreachable, errors.timeout], [0, 0]);
  const sum = errors.broken + errors.status + errors.refused;
  assert.ok(sum >= clients.length, `${sum} errors`); // one or the other was asked again

  upstream.does = (asked) => asked.answer({ body: asked.query });
  await Promise.all(
    Object.keys(mad).map(async (name) => {
      assert.equal((await askRelay(stack, `?case=${name}`)).body, `case=${name}`);
    }),
  );
  await local.stop();
  const warnings = stack.daemon.stderr().split('\n').filter((line) => TROUBLE.test(line));
  assert.ok(warnings.length <= 3, `one line for one trouble: ${warnings.join('\n')}`);
});

waiting('each fault is counted as what it is', async (t) => {
  const relays = await Promise.all(
    Object.keys(KINDS).map(async (kind) => [kind, await startRelay(t, { bad: true })]),
  );
  for (const [kind, { upstream, stack }] of relays) {
    upstream.does = byCase(mad);
    const clients = await Promise.all(KINDS[kind].map((name) => openClient(stack, `?case=${name}`)));
    for (const client of clients) expectNew(await client.answer);
    const { errors } = await upstreamOf(stack);
    const others = { unreachable: 0, timeout: 0, status: 0, broken: 0, refused: 0 };
    assert.deepEqual({ ...errors, [kind]: 0 }, others, kind);
    assert.ok(errors[kind] >= KINDS[kind].length, `${kind} ${errors[kind]}`);
  }
});

waiting('an upstream that never ends is ended', async (t) => {
  const { upstream, stack } = await startRelay(t, { args: ['--upstream-timeout', '2'], bad: true });
  upstream.does = byCase(slow);
  const local = localTraffic(stack);
  const clients = await Promise.all(Object.keys(slow).map((name) => openClient(stack, `?case=${name}`)));
  for (const client of clients) expectNew(await client.answer);
  await Promise.all(upstream.requests.map((asked) => asked.left));
  assert.ok(upstream.requests.every((asked) => asked.gone));
  const { errors, state } = await upstreamOf(stack);
  assert.ok(errors.timeout >= clients.length);
  assert.equal(state, 'failing');
  assert.ok((await local.stop()) > 5);
});

waiting('no redirect is followed, to wherever', async (t) => {
  const { upstream, stack } = await startRelay(t, { bad: true });
  const other = await startUpstream(t);
  const statuses = [300, 301, 302, 303, 305, 307, 308, 399];
  const there = `http://127.0.0.1:${other.port}/`;
  upstream.does = (asked) => {
    const status = Number(new URLSearchParams(asked.query).get('case'));
    const headers = { Location: there, Refresh: `0; url=${there}`, 'Alt-Svc': `h2="127.0.0.1:${other.port}"` };
    asked.answer({ status, reason: 'Elsewhere', headers, body: `{"ret":"${status}"}` });
  };
  const clients = await Promise.all(statuses.map((status) => openClient(stack, `?case=${status}`)));
  for (const client of clients) expectNew(await client.answer);
  assert.ok((await upstreamOf(stack)).errors.refused >= statuses.length);
  assert.equal(other.connections, 0);
  upstream.does = answers({ status: 201, reason: 'Created', headers: { Location: there }, body: 'x' });
  assert.equal((await askRelay(stack, '?made')).status, 201);
  assert.equal(other.connections, 0);
});

waiting('an answer may be as large as --upstream-answer, and no larger', async (t) => {
  const { upstream, stack } = await startRelay(t, { args: ['--upstream-answer', '1K'], bad: true });
  const ways = {
    length: (n) => answers({ body: 'x'.repeat(n) }),
    chunked: (n) => answers({ body: 'x'.repeat(n), chunked: true }),
    close: (n) => answers({ body: 'x'.repeat(n), length: null, close: true }),
  };
  for (const [way, make] of Object.entries(ways)) {
    upstream.does = make(1024);
    assert.equal((await askRelay(stack, `?${way}`)).body.length, 1024, way);
  }
  const clients = [];
  for (const [way, make] of Object.entries(ways)) {
    upstream.does = make(1025);
    const n = upstream.count;
    clients.push(await openClient(stack, `?${way}`));
    await upstream.has(n + 1);
  }
  for (const client of clients) expectNew(await client.answer);
  assert.ok((await upstreamOf(stack)).errors.refused >= 3);
});

claim('many large answers at once are held in bounded memory', async (t) => {
  const { upstream, stack } = await startRelay(t, { bin: plainBinary(), args: ['--upstream-answer', '1M'] });
  upstream.does = answers({ body: 'warm' });
  await askRelay(stack);
  const before = peakMemory(stack.daemon.pid);
  const body = 'x'.repeat(MEGABYTE);
  upstream.does = () => {};
  const clients = await Promise.all(Array.from({ length: 200 }, () => openClient(stack, '?a=1')));
  await stack.holds(200);
  (await upstream.holding(1))[0].answer({ body });
  for (const client of clients) assert.equal((await client.answer).bytes.length, MEGABYTE);
  const grown = peakMemory(stack.daemon.pid) - before;
  assert.ok(grown < 250 * MEGABYTE, `${(grown / MEGABYTE).toFixed(0)} MB`);
});

waiting('one mad query does not stop the good ones', async (t) => {
  const { upstream, stack } = await startRelay(t, { bad: true });
  upstream.does = (asked) =>
    asked.query === 'mad=' ? asked.reset() : asked.answer({ body: asked.query });
  let on = true;
  const madClient = (async () => {
    while (on) expectNew(await askRelay(stack, '?mad'));
  })();
  await upstreamSays(stack, { errors: (e) => e.broken >= 1 });
  for (let i = 0; i < 100; i++) assert.equal((await askRelay(stack, `?${i}=`)).body, `${i}=`);
  on = false;
  await madClient;
  assert.ok(['up', 'failing'].includes((await upstreamOf(stack)).state));
});

waiting('an address where connecting never ends counts as unreachable', async (t) => {
  const hole = await fullBacklog(t);
  const { stack } = await startRelay(t, { upstream: {}, url: hole.url, bad: true });
  const local = localTraffic(stack);
  const hasty = await openClient(stack, '?timeout=1');
  const patient = await openClient(stack, '?a=1');
  expectPunt(await hasty.answer);
  expectNew(await patient.answer);
  const { state, errors } = await upstreamOf(stack);
  assert.equal(state, 'down');
  assert.ok(errors.unreachable >= 1);
  assert.equal(errors.timeout, 0);
  assert.ok((await local.stop()) > 5);
});

atOnce('bad upstreams', claims);
