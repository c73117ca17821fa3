// Clients that ask the same thing share one upstream request; each comes and goes as it likes.
import assert from 'node:assert/strict';
import { claim, throughBoth, until } from './lib/harness.mjs';
import {
  askRelay, expectPunt, openClient, openClients, startRelay, upstreamOf, upstreamSays,
} from './lib/relay.mjs';
import { NEW } from './lib/upstream.mjs';

const FORM = 'application/x-www-form-urlencoded';

throughBoth('a hundred clients, one request, and all get its answer', async (t, server) => {
  const { upstream, stack } = await startRelay(t, { server });
  for (let round = 0; round < 3; round++) {
    const held = Array.from({ length: 100 }, () => stack.http('subscribe?id=7'));
    await stack.holds(100);
    const says = await upstreamOf(stack);
    assert.deepEqual([says.clients, says.under_way, says.state], [100, 1, 'up']);
    const [asked] = await upstream.holding(1);
    asked.answer({ body: `{"round":${round}}` });
    for (const answer of await Promise.all(held)) {
      assert.equal(answer.status, 200);
      assert.equal(answer.body, `{"round":${round}}`);
    }
    assert.equal(upstream.count, round + 1);
  }
  const says = await upstreamOf(stack);
  assert.deepEqual(
    [says.asked, says.requests, says.coalesced, says.answers, says.clients, says.under_way],
    [300, 3, 297, 3, 0, 0],
  );
  assert.equal(upstream.connections, 1);
  assert.equal((await stack.status()).holds, 0);
});

claim('who comes late gets the answer that is under way, even when half of it is here', async (t) => {
  const { upstream, stack } = await startRelay(t);
  const clients = [await openClient(stack, '?a=1')];
  const asked = await upstream.request(0);
  clients.push(await openClient(stack, '?a=1'));
  await upstreamSays(stack, { clients: 2 });
  asked.write('HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConte');
  clients.push(await openClient(stack, '?a=1'));
  await upstreamSays(stack, { clients: 3 });
  asked.write('nt-Length: 10\r\n\r\n01234');
  clients.push(await openClient(stack, '?a=1'));
  await upstreamSays(stack, { clients: 4 });
  asked.raw('56789');
  for (const client of clients) {
    const answer = await client.answer;
    assert.deepEqual([answer.status, answer.body], [200, '0123456789']);
    assert.equal(answer.headers['content-type'], 'text/plain');
  }
  assert.equal(upstream.count, 1);
});

claim('different queries are different requests, the same one in other clothes is not', async (t) => {
  const { upstream, stack } = await startRelay(t);
  const different = ['', '?a=1', '?a=2', '?b=1', '?a=1&b=1', '?b=1&a=1', '?a=1&a=1', '?A=1', '?a=%2B'];
  const clients = await Promise.all(different.map((q) => openClient(stack, q)));
  await upstream.holding(different.length);
  assert.equal(new Set(upstream.requests.map((r) => r.target)).size, different.length);
  const same = [
    await openClient(stack, '?%61=%31'),
    await openClient(stack, '?a=1&upstream=default'),
    await openClient(stack, '?upstream=default&a=1'),
    await openClient(stack, '', { method: 'POST', type: FORM, body: 'a=1' }),
    await openClient(stack, '', { method: 'POST', type: FORM, body: 'upstream=default&a=%31' }),
  ];
  await upstreamSays(stack, { clients: different.length + same.length });
  assert.equal(upstream.count, different.length);
  for (const asked of upstream.held) asked.answer({ body: asked.target });
  const texts = await Promise.all(clients.map(async (c) => (await c.answer).body));
  assert.deepEqual([...texts].sort(), upstream.requests.map((r) => r.target).sort());
  for (const one of same) assert.equal((await one.answer).body, '/subscribe?a=1');
});

for (const direct of [true, false])
  claim(`when the last client is gone, so is the request (${direct ? 'socket' : 'nginx'})`, async (t) => {
    const { upstream, stack } = await startRelay(t, { server: direct ? undefined : 'nginx' });
    const open = async () => {
      if (direct) return openClient(stack, '?a=1');
      const gone = new AbortController();
      const answer = stack.http('subscribe?a=1', { signal: gone.signal });
      answer.catch(() => {});
      return { answer, leave: () => gone.abort() };
    };
    for (let round = 0; round < 3; round++) {
      const clients = await Promise.all(Array.from({ length: 10 }, open));
      await upstreamSays(stack, { clients: 10 });
      const asked = await upstream.request(round);
      const last = clients.pop();
      for (const client of clients) client.leave();
      await upstreamSays(stack, { clients: 1, under_way: 1 });
      assert.ok(!asked.over, 'it goes on for the one that is left');
      last.leave();
      await asked.left;
      assert.ok(asked.gone);
      await upstreamSays(stack, { clients: 0, under_way: 0 });
      await stack.holds(0);
    }
    const { errors } = await upstreamOf(stack);
    assert.deepEqual(Object.values(errors), [0, 0, 0, 0, 0], 'nothing went wrong');
    const again = await open();
    (await upstream.request(3)).answer({ body: 'again' });
    assert.equal((await again.answer).body, 'again');
  });

claim("a client's own limit ends it with the punt, and the request goes on for the others", async (t) => {
  const { upstream, stack } = await startRelay(t);
  const patient = await openClient(stack, '?id=1');
  const asked = await upstream.request(0);
  const hasty = await openClients(stack, 5, '?id=1&timeout=1');
  await upstreamSays(stack, { clients: 6 });
  for (const client of hasty) expectPunt(await client.answer);
  assert.ok(!patient.over && !asked.over);
  await upstreamSays(stack, { clients: 1, under_way: 1 });
  const late = await openClient(stack, '?id=1&timeout=60');
  await upstreamSays(stack, { clients: 2 });
  asked.answer({ body: NEW });
  assert.equal((await patient.answer).body, NEW);
  assert.equal((await late.answer).body, NEW);
  assert.equal(upstream.count, 1);
});

claim('a limit that is the last client ends the request too', async (t) => {
  const { upstream, stack } = await startRelay(t);
  const started = Date.now();
  expectPunt(await askRelay(stack, '?timeout=1'));
  assert.ok(Date.now() - started >= 800);
  const asked = await upstream.request(0);
  assert.equal(asked.target, '/subscribe', 'the limit is for the relay alone');
  await asked.left;
  assert.ok(asked.gone);
  assert.equal((await stack.status()).holds, 0);
});

claim('without a limit of its own a client waits for --hold-max, and no limit is longer', async (t) => {
  const { stack } = await startRelay(t, { args: ['--hold-max', '1', '--hold', '1'] });
  const clients = [
    await openClient(stack, '?a=1'),
    await openClient(stack, '?a=2&timeout=3600'),
    await openClient(stack, '?a=3&timeout=0'), // at least a second
    await openClient(stack, '?a=4&timeout=99999999999999999999'),
  ];
  for (const client of clients) {
    const answer = await client.answer;
    if (answer.status !== 400) expectPunt(answer);
  }
  await until('nobody is held', async () => (await stack.status()).holds === 0);
});

claim('clients that leave while the answer is on its way do no harm', async (t) => {
  const { upstream, stack } = await startRelay(t);
  upstream.does = (asked) => asked.answer({ body: 'x'.repeat(50_000) });
  for (let round = 0; round < 60; round++) {
    const clients = await openClients(stack, 5, `?round=${round % 7}`);
    for (const client of clients.slice(1)) client.leave();
    assert.equal((await clients[0].answer).body.length, 50_000);
  }
  await upstreamSays(stack, { clients: 0, under_way: 0 });
});

claim('a thousand different questions are held at once, each with its own answer', async (t) => {
  const { upstream, stack } = await startRelay(t);
  const n = 1000;
  const clients = [];
  for (let i = 0; i < n; i += 50)
    clients.push(...(await Promise.all(Array.from({ length: 50 }, (_, k) => openClient(stack, `?n=${i + k}`)))));
  await upstream.holding(n);
  await stack.holds(n);
  const says = await upstreamOf(stack);
  assert.deepEqual([says.clients, says.under_way], [n, n]);
  assert.equal(await stack.create('meanwhile').then(() => 'stored'), 'stored');
  for (const asked of upstream.held) asked.answer({ body: asked.query });
  for (const [i, client] of clients.entries()) assert.equal((await client.answer).body, `n=${i}`);
  await stack.holds(0);
});
