// More than the daemon takes, its drain, and its end.
import assert from 'node:assert/strict';
import { claim, throughBoth, until } from './lib/harness.mjs';
import { expectBusy, expectJson } from './lib/expect.mjs';
import { askRelay, expectNew, expectPunt, openClient, openClients, startRelay, upstreamSays } from './lib/relay.mjs';
import { answers } from './lib/upstream.mjs';

const WARN = /^encke: warn: /;

throughBoth('more different requests than --upstream-requests get 503, shared ones get in', async (t, server) => {
  const { upstream, stack } = await startRelay(t, {
    server,
    args: ['--upstream-requests', '3'],
    allow: [WARN],
  });
  for (let round = 0; round < 2; round++) {
    const held = [1, 2, 3].map((i) => stack.http(`subscribe?q=${i}`));
    await upstream.holding(3);
    for (let i = 4; i < 10; i++) expectBusy(await stack.http(`subscribe?q=${i}`));
    held.push(...[1, 2, 3].map((i) => stack.http(`subscribe?q=${i}`)));
    await stack.holds(6);
    expectJson(await stack.http('status'));
    await stack.create('local');
    const asked = upstream.held;
    asked[0].answer({ body: 'one' });
    await upstreamSays(stack, { under_way: 2 });
    held.push(stack.http('subscribe?q=room'));
    for (const one of await upstream.holding(3)) one.answer({ body: 'rest' });
    for (const answer of await Promise.all(held)) assert.equal(answer.status, 200);
    await upstreamSays(stack, { under_way: 0, clients: 0 });
  }
});

claim('relayed holds count in --max-holds', async (t) => {
  const { upstream, stack } = await startRelay(t, {
    args: ['--max-holds', '5', '--upstream', 'other=http://127.0.0.1:9/'],
    allow: [WARN],
  });
  const clients = await openClients(stack, 4, '?a=1');
  await stack.holds(4);
  const local = stack.update({ id: 'now' });
  await stack.holds(5);
  expectBusy(await askRelay(stack, '?a=1'));
  expectBusy(await askRelay(stack, '?b=1'));
  assert.equal(upstream.count, 1, 'nothing is asked for those');
  clients[0].leave();
  await stack.holds(4);
  const again = await openClient(stack, '?a=1');
  await stack.holds(5);
  (await upstream.holding(1))[0].answer({ body: 'x' });
  for (const client of [...clients.slice(1), again]) assert.equal((await client.answer).body, 'x');
  await stack.create('local');
  await local;
});

throughBoth('at the drain everybody gets the punt, and the upstream is left', async (t, server) => {
  const { upstream, stack } = await startRelay(t, { server });
  const held = Array.from({ length: 60 }, (_, i) => stack.http(`subscribe?q=${i % 3}`));
  await stack.holds(60);
  await upstream.holding(3);
  const { code } = await stack.daemon.stop();
  assert.equal(code, 0);
  for (const answer of await Promise.all(held)) expectPunt(answer);
  await Promise.all(upstream.requests.map((asked) => asked.left));
  assert.ok(upstream.requests.every((asked) => asked.gone));
});

claim('at the drain those who wait for the back-off get the punt too', async (t) => {
  const { upstream, stack } = await startRelay(t, { bad: true });
  await upstream.stop();
  expectNew(await askRelay(stack));
  expectNew(await askRelay(stack));
  const clients = await openClients(stack, 10, '?a=1');
  await upstreamSays(stack, { clients: 10 });
  assert.equal((await stack.daemon.stop()).code, 0);
  for (const client of clients) expectPunt(await client.answer);
});

claim('at the drain an upstream in the middle of an endless answer is cut', async (t) => {
  const { upstream, stack } = await startRelay(t, { args: ['--upstream-answer', '64M'] });
  upstream.does = (asked) => {
    asked.write('HTTP/1.1 200 OK\r\n\r\n');
    asked.writeAlways('x'.repeat(1000), 5);
  };
  const client = await openClient(stack);
  await upstream.has(1);
  assert.equal((await stack.daemon.stop()).code, 0);
  expectPunt(await client.answer);
});

claim('a killed daemon leaves nothing behind: the next one relays as before', async (t) => {
  const { upstream, stack } = await startRelay(t);
  stack.daemon.judged = false;
  for (let round = 0; round < 3; round++) {
    const clients = await openClients(stack, 20, `?round=${round}`);
    await stack.holds(20);
    const asked = await upstream.request(2 * round);
    await stack.daemon.kill('SIGKILL');
    await asked.left;
    assert.ok(asked.gone);
    for (const client of clients) await assert.rejects(client.answer);
    await stack.daemon.start();
    const next = await openClient(stack, '?next');
    (await upstream.request(2 * round + 1)).answer({ body: 'next' });
    assert.equal((await next.answer).body, 'next');
  }
});

claim('without file descriptors left: clients are told, and it recovers by itself', async (t) => {
  const { upstream, stack } = await startRelay(t, {
    server: 'nginx',
    wrap: ['/bin/sh', '-c', 'ulimit -n 64; exec "$@"', 'sh'],
    allow: [WARN],
  });
  const answered = [];
  const n = 100;
  for (let i = 0; i < n; i++) stack.http(`subscribe?q=${i}`).then((answer) => answered.push(answer));
  await until('some are asked', () => upstream.count >= 5);
  upstream.does = answers({ body: 'x' });
  await until('all are answered', () => {
    for (const asked of upstream.held) asked.answer({ body: 'x' });
    return answered.length === n;
  }, { within: 60_000 });
  for (const { status, body } of answered) assert.ok(status === 200 || status === 503, `${status} ${body}`);
  await until('it is well again', async () => (await askRelay(stack, '?after')).body === 'x');
  await stack.holds(0);
});

throughBoth('a restart of the daemon behind its web server: clients ask again and are relayed', async (t, server) => {
  const { upstream, stack } = await startRelay(t, { server });
  const held = Array.from({ length: 10 }, () => stack.http('subscribe?a=1'));
  await stack.holds(10);
  await stack.daemon.stop();
  await Promise.all(held);
  await stack.daemon.start();
  upstream.does = answers({ body: 'after' });
  const answer = await until('it relays again', async () => {
    const one = await stack.http('subscribe?a=2');
    return one.status === 200 && one;
  });
  assert.equal(answer.body, 'after');
});
