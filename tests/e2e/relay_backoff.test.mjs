// While an upstream cannot be reached, clients that ask again at once wait longer each time, and the
// upstream is tried by one connection a second; when it is back, everybody hears of it at once.
import assert from 'node:assert/strict';
import { atOnce, until } from './lib/harness.mjs';
import { askRelay, expectNew, openClients, startRelay, upstreamOf, upstreamSays } from './lib/relay.mjs';
import { answers, NEW } from './lib/upstream.mjs';

// They mostly wait: all of them at once.
const claims = [];
const claim = (name, fn) => claims.push([name, fn]);

// Asks again and again at once, n times; gives how long each took.
async function spin(stack, n, text) {
  const waits = [];
  for (let i = 0; i < n; i++) {
    const before = process.hrtime.bigint();
    expectNew(await askRelay(stack, text));
    waits.push(Number(process.hrtime.bigint() - before) / 1e6);
  }
  return waits;
}

const grows = (waits) => {
  for (let i = 1; i < waits.length; i++)
    assert.ok(waits[i] > waits[i - 1], `each waits longer than the one before: ${waits}`);
};

claim('clients of an upstream that is down wait longer each time', async (t) => {
  const { upstream, stack } = await startRelay(t, { bad: true });
  await upstream.stop();
  assert.deepEqual([(await upstreamOf(stack)).state, (await upstreamOf(stack)).down_for], ['idle', 0]);
  const many = Promise.all(Array.from({ length: 20 }, (_, i) => spin(stack, 3, `?client=${i}`)));
  await upstreamSays(stack, { state: 'down' });
  for (const waits of await many) grows(waits);
  const says = await upstreamSays(stack, { down_for: (s) => s >= 1 });
  assert.ok(says.errors.unreachable >= 1);
  assert.ok(says.errors.unreachable <= 20 + 3 * says.down_for, 'tried once a second, not once a client');
  assert.equal(typeof says.last_error, 'string');
});

claim('while it is down and nobody waits, nobody knocks', async (t) => {
  const { upstream, stack } = await startRelay(t, { bad: true });
  await upstream.stop();
  expectNew(await askRelay(stack));
  const { errors } = await upstreamOf(stack);
  const now = Date.now();
  await until('two seconds have passed', () => Date.now() - now > 2200);
  const later = await upstreamOf(stack);
  assert.ok(later.errors.unreachable <= errors.unreachable + 1, 'no attempt while nobody waits');
});

claim('an upstream that is back is told of at once, long before the wait is over', async (t) => {
  const { upstream, stack } = await startRelay(t, { bad: true });
  await upstream.stop();
  await spin(stack, 3, '?a=1'); // some seven seconds: the next would wait as long again
  const waiting = await openClients(stack, 30, '?a=1');
  const others = await openClients(stack, 10, '?b=2');
  let late = false;
  const clock = stack.update({ id: 'now', timeout: 5 }).then(() => {
    late = true;
  });
  expectNew(await askRelay(stack, '?c=3&timeout=1')); // its own limit comes first
  await stack.holds(41);
  upstream.does = () => {};
  await upstream.start();
  for (const client of [...waiting, ...others]) expectNew(await client.answer);
  assert.ok(!late, 'a hold of five seconds goes on');
  await stack.create('that is all');
  await clock;
  const says = await upstreamSays(stack, { state: 'up', down_for: 0, clients: 0 });
  assert.equal(says.under_way, 0);
  upstream.does = answers({ body: 'back' });
  assert.equal((await askRelay(stack, '?a=1')).body, 'back');
  assert.match(stack.daemon.stderr(), /^encke: info: upstream default/m);
});

claim('who asks while it is down waits as long as the others, not from the start', async (t) => {
  const { upstream, stack } = await startRelay(t, { bad: true });
  await upstream.stop();
  const [first] = await spin(stack, 1, '?first');
  await spin(stack, 1, '?second');
  const before = Date.now();
  expectNew(await askRelay(stack, '?somebody-else'));
  assert.ok(Date.now() - before > first, 'a new client does not begin at a second');
});

claim('a query that fails is not asked more than once a second, whoever asks', async (t) => {
  const { upstream, stack } = await startRelay(t, { bad: true });
  upstream.does = answers({ status: 500, reason: 'No', body: 'x' });
  const rounds = Promise.all(Array.from({ length: 30 }, () => spin(stack, 3, '?a=1')));
  for (const waits of await rounds) grows(waits);
  const span = upstream.requests.at(-1).at - upstream.requests[0].at;
  assert.ok((upstream.count - 1) * 900 <= span, `${upstream.count} requests in ${span} ms`);
  const says = await upstreamOf(stack);
  assert.equal(says.errors.status, upstream.count);
  assert.equal(says.asked, 90);
});

claim('a good answer ends the back-off of its query', async (t) => {
  const { upstream, stack } = await startRelay(t, { bad: true });
  const fails = answers({ status: 503, reason: 'No', body: 'x' });
  upstream.does = fails;
  const [, second] = await spin(stack, 2, '?a=1');
  upstream.does = answers({ body: 'good' });
  assert.equal((await askRelay(stack, '?a=1')).body, 'good');
  upstream.does = fails;
  const [again] = await spin(stack, 1, '?a=1');
  assert.ok(again < second, `it begins anew: ${again} after ${second}`);
});

claim('clients are not all told in the same moment', async (t) => {
  const { upstream, stack } = await startRelay(t, { bad: true });
  await upstream.stop();
  const clients = await openClients(stack, 40, '?a=1');
  const times = await Promise.all(
    clients.map(async (client) => {
      expectNew(await client.answer);
      return Date.now();
    }),
  );
  assert.ok(Math.max(...times) > Math.min(...times), `${times}`);
});

claim('an upstream that stops with requests under way: all are told, and get the next answer', async (t) => {
  const { upstream, stack } = await startRelay(t, { bad: true });
  const clients = (await Promise.all([1, 2, 3].map((i) => openClients(stack, 10, `?q=${i}`)))).flat();
  await upstream.holding(3);
  await stack.holds(30);
  await upstream.stop();
  await upstream.start();
  for (const client of clients) expectNew(await client.answer);
  upstream.does = answers({ body: NEW });
  expectNew(await askRelay(stack, '?q=1'));
  await upstreamSays(stack, { clients: 0, under_way: 0 });
});

claim('the operator hears once that it fails, and once that it answers again', async (t) => {
  const { upstream, stack } = await startRelay(t, { bad: true });
  const heard = () => stack.daemon.stderr().match(/^encke: (warn: upstream .*|info: upstream .* again)$/gm) ?? [];
  const fails = answers({ status: 500, reason: 'No', body: 'x' });
  const good = answers({ body: 'good' });
  upstream.does = good;
  await askRelay(stack);
  assert.deepEqual(heard(), []);
  upstream.does = fails;
  await Promise.all(Array.from({ length: 20 }, (_, i) => spin(stack, 1, `?q=${i}`)));
  await upstreamSays(stack, { state: 'failing', last_error: (text) => /500/.test(text) });
  upstream.does = good;
  assert.equal((await askRelay(stack, '?back')).body, 'good');
  await upstreamSays(stack, { state: 'up', last_error: (text) => /500/.test(text) });
  upstream.does = fails; // within the minute: the operator knows
  await spin(stack, 1, '?again');
  await until('both lines', () => heard().length >= 2);
  const [warning, relief, ...more] = heard();
  assert.match(warning, /^encke: warn: upstream default: .*500.*look for themselves$/);
  assert.match(relief, /^encke: info: upstream default answers again$/);
  assert.deepEqual(more, []);
});

claim('status says of each upstream what it does, and when nothing was tried, that', async (t) => {
  const { stack } = await startRelay(t, { args: ['--upstream', 'b=http://u:p@127.0.0.1:9/x?secret=1#f'] });
  const { upstreams } = await stack.status();
  assert.deepEqual(upstreams.map((u) => u.name), ['default', 'b']);
  const errors = { unreachable: 0, timeout: 0, status: 0, broken: 0, refused: 0 };
  assert.deepEqual(upstreams[1], {
    name: 'b', url: 'http://127.0.0.1:9/x', state: 'idle', down_for: 0, clients: 0, under_way: 0, asked: 0,
    requests: 0, coalesced: 0, answers: 0, turned_away: 0, errors, last_error: null,
    channel: null, cursor: null, appended: 0, shortened: 0,
  });
});

atOnce('while an upstream fails', claims);
