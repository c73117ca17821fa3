// Looking up the upstream's name fails, or takes for ever: the rest of the daemon does not notice.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { atOnce, tempDir, until } from './lib/harness.mjs';
import { nameService } from './lib/lookup.mjs';
import { askRelay, expectNew, expectPunt, openClient, openClients, SAYS_NEW, startRelay, upstreamOf, upstreamSays } from './lib/relay.mjs';
import { answers, startUpstream } from './lib/upstream.mjs';

// They mostly wait: all of them at once.
const claims = [];
const claim = (name, fn) => claims.push([name, fn]);

async function named(t, { word = '', args = [], bad = true } = {}) {
  const names = nameService(tempDir(t));
  names.set(word);
  const upstream = await startUpstream(t);
  upstream.does = answers({ body: 'found' });
  const url = upstream.url.replace('127.0.0.1', 'upstream.test');
  const { stack } = await startRelay(t, { ...names.options, upstream, url, args, bad });
  return { names, upstream, stack };
}

const threads = (pid) => fs.readdirSync(`/proc/${pid}/task`).length;

async function deliversAtOnce(stack, text) {
  const held = stack.update({ id: 'now' });
  await until('it is held', async () => (await stack.status()).readers_by_channel.main >= 1);
  await stack.create(text);
  assert.equal((await held).messages[0].data, text);
}

claim('a name that is found is asked, and looked up once for many', async (t) => {
  const { names, upstream, stack } = await named(t, { bad: false });
  for (let i = 0; i < 20; i++) assert.equal((await askRelay(stack, `?i=${i}`)).body, 'found');
  assert.match(upstream.requests[0].header('host'), /^upstream\.test:\d+$/);
  assert.ok(names.hits() <= 2, `${names.hits()} look-ups`);
});

for (const word of ['fail', 'again'])
  claim(`a name that is not found (${word}) is an upstream that is down, until it is found`, async (t) => {
    const { names, upstream, stack } = await named(t, { word });
    expectNew(await askRelay(stack));
    const says = await upstreamOf(stack);
    assert.equal(says.state, 'down');
    assert.ok(says.errors.unreachable >= 1);
    assert.ok(says.last_error);
    assert.equal(upstream.connections, 0);
    const waiting = await openClients(stack, 5, '?a=1');
    names.set();
    // whose request it is that finds it back is answered, the others are told
    for (const { status, body } of await Promise.all(waiting.map((client) => client.answer)))
      assert.ok(status === 200 && (body === 'found' || body === SAYS_NEW), body);
    await until('it is asked', async () => (await askRelay(stack)).body === 'found');
  });

claim('while a look-up hangs everything else goes on, and clients come and go', async (t) => {
  const { names, upstream, stack } = await named(t, { word: 'gate' });
  const other = await openClients(stack, 20, '?a=1');
  await names.hit();
  await deliversAtOnce(stack, 'while it hangs');
  for (const client of other) client.leave();
  await upstreamSays(stack, { clients: 0 });
  await deliversAtOnce(stack, 'when they have left');
  expectPunt(await askRelay(stack, '?b=2&timeout=1'));
  await deliversAtOnce(stack, 'after the punt');
  for (let round = 0; round < 10; round++) {
    const clients = await Promise.all(Array.from({ length: 30 }, (_, i) => openClient(stack, `?q=${i}&r=${round}`)));
    await upstreamSays(stack, { clients: 30 });
    for (const client of clients) client.leave();
    await upstreamSays(stack, { clients: 0, under_way: 0 });
  }
  const running = threads(stack.daemon.pid);
  assert.ok(running <= 50, `${running} threads for one name`);
  await deliversAtOnce(stack, 'and again');
  const last = await openClient(stack, '?c=3');
  names.set();
  const { body } = await last.answer;
  assert.ok(['found', SAYS_NEW].includes(body), body);
  assert.equal((await askRelay(stack, '?d=4')).body, 'found');
  assert.ok(upstream.count >= 1);
});

claim('a look-up that hangs too long is an upstream that is down', async (t) => {
  const { names, stack } = await named(t, { word: 'gate' });
  const client = await openClient(stack, '?a=1');
  await names.hit();
  expectNew(await client.answer); // after the ten seconds for connecting, and the first wait
  assert.equal((await upstreamOf(stack)).state, 'down');
  await deliversAtOnce(stack, 'still');
  names.set();
  await until('it is found', async () => (await askRelay(stack, '?b')).body === 'found');
});

claim('the daemon ends at once, though a look-up hangs', async (t) => {
  const { names, stack } = await named(t, { word: 'gate' });
  const clients = await openClients(stack, 5, '?a=1');
  await openClient(stack, '?b=1');
  await names.hit();
  const before = Date.now();
  const { code } = await stack.daemon.stop();
  assert.equal(code, 0);
  assert.ok(Date.now() - before < 8000, 'not only when the look-up gives up');
  for (const client of clients) expectPunt(await client.answer);
});

claim('one upstream whose name hangs does not hold up another', async (t) => {
  const fine = await startUpstream(t);
  fine.does = answers({ body: 'fine' });
  const { names, stack } = await named(t, { word: 'gate', args: ['--upstream', `fine=${fine.url}`, '--upstream', `also=http://localhost:${fine.port}/`] });
  await openClients(stack, 3, '?a=1');
  await names.hit();
  for (let i = 0; i < 20; i++) {
    assert.equal((await askRelay(stack, `?upstream=fine&i=${i}`)).body, 'fine');
    assert.equal((await askRelay(stack, `?upstream=also&i=${i}`)).body, 'fine');
  }
  names.set();
});

atOnce('looking up a name', claims);
