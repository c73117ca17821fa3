// Upstreams over TLS: who it is must be proved.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { atOnce, tempDir, until } from './lib/harness.mjs';
import { askRelay, expectNew, openClient, startRelay, upstreamOf, upstreamSays, SAYS_NEW } from './lib/relay.mjs';
import { answers, authority, reset, startUpstream } from './lib/upstream.mjs';

// They mostly wait: all of them at once.
const claims = [];
const claim = (name, fn) => claims.push([name, fn]);

claim('an upstream with a certificate of our own authority is trusted', async (t) => {
  const ca = authority(tempDir(t));
  const { upstream, stack } = await startRelay(t, {
    to: { tls: ca.issue('IP:127.0.0.1') },
    args: ['--upstream-ca', ca.file],
  });
  upstream.does = answers({ body: 'secure' });
  for (let i = 0; i < 5; i++) assert.equal((await askRelay(stack, `?i=${i}`)).body, 'secure');
  assert.equal(upstream.connections, 1, 'on one connection');
  assert.match((await upstreamOf(stack)).url, /^https:\/\/127\.0\.0\.1:\d+\/subscribe$/);
});

// To read and parse the system's file takes as long as a hundred requests: not on the loop.
claim('whom to trust is read once, at the start', async (t) => {
  const ca = authority(tempDir(t));
  const { upstream, stack } = await startRelay(t, {
    to: { tls: ca.issue('IP:127.0.0.1') },
    args: ['--upstream-ca', ca.file],
  });
  fs.unlinkSync(ca.file);
  upstream.does = answers({ body: 'secure' });
  for (let i = 0; i < 3; i++) {
    assert.equal((await askRelay(stack, `?i=${i}`)).body, 'secure');
    await upstream.stop();
    await upstream.start();
  }
});

claim('a file without a good certificate is told at the start', async (t) => {
  const file = path.join(tempDir(t), 'ca.pem');
  fs.writeFileSync(file, '-----BEGIN CERTIFICATE-----\nbroken\n-----END CERTIFICATE-----\n');
  const told = /^encke: warn: no upstream can prove who it is over https, by .*ca\.pem: /m;
  const { stack } = await startRelay(t, {
    to: { scheme: 'https' },
    args: ['--upstream-ca', file],
    allow: [told],
  });
  assert.match(stack.daemon.stderr(), told);
});

claim('a wrong authority, a wrong name, and what is no TLS are not asked anything', async (t) => {
  const dir = tempDir(t);
  const ca = authority(dir),
    other = authority(dir, 'other');
  const mine = ca.issue('IP:127.0.0.1');
  const cases = {
    'an authority that nobody knows': [{ tls: other.issue('IP:127.0.0.1') }, ['--upstream-ca', ca.file]],
    'an authority that the system does not know': [{ tls: mine }, []],
    'another host': [{ tls: ca.issue('DNS:localhost,IP:127.0.0.2') }, ['--upstream-ca', ca.file]],
    'no TLS': [{ scheme: 'https' }, ['--upstream-ca', ca.file]],
  };
  await Promise.all(
    Object.entries(cases).map(async ([what, [to, args]]) => {
      const { upstream, stack } = await startRelay(t, { to, args, bad: true });
      upstream.does = answers({ body: 'stolen' });
      expectNew(await askRelay(stack, '?secret=1'));
      const { errors, state, last_error: said } = await upstreamOf(stack);
      assert.ok(errors.unreachable >= 1, what);
      assert.equal(state, 'down', what);
      assert.ok(said, what);
      assert.equal(upstream.count, 0, what);
    }),
  );
});

claim('an upstream that comes back with a good certificate is believed again', async (t) => {
  const dir = tempDir(t);
  const ca = authority(dir),
    other = authority(dir, 'other');
  const { upstream, stack } = await startRelay(t, {
    to: { tls: other.issue('IP:127.0.0.1') },
    args: ['--upstream-ca', ca.file],
    bad: true,
  });
  upstream.does = answers({ body: 'secure' });
  expectNew(await askRelay(stack));
  await upstream.stop();
  upstream.identity = ca.issue('IP:127.0.0.1');
  const waiting = await openClient(stack);
  await upstream.start();
  assert.ok(['secure', SAYS_NEW].includes((await waiting.answer).body));
  await until('it is asked again', async () => (await askRelay(stack)).body === 'secure');
});

claim('a handshake that never ends, and one that is reset, do not hold up the rest', async (t) => {
  const ca = authority(tempDir(t));
  const good = await startUpstream(t);
  good.does = answers({ body: 'good' });
  const { upstream, stack } = await startRelay(t, {
    to: { tls: ca.issue('IP:127.0.0.1') },
    args: ['--upstream-ca', ca.file, '--upstream', `good=${good.url}`],
    bad: true,
  });
  upstream.welcome = reset;
  expectNew(await askRelay(stack));
  await upstreamSays(stack, { state: 'down' });
  const knocked = upstream.connections;
  const waiting = await openClient(stack);
  await until('it is tried again while somebody waits', () => upstream.connections > knocked);
  upstream.welcome = (socket) => {
    socket.pause(); // says nothing, ever
    socket.removeAllListeners('data');
  };
  for (let i = 0; i < 20; i++) {
    assert.equal((await askRelay(stack, '?upstream=good')).body, 'good');
    await stack.create(`local ${i}`);
  }
  upstream.welcome = null;
  waiting.leave();
  await upstreamSays(stack, { clients: 0 });
});

claim('while a TLS upstream cannot be reached it is knocked at once a second, however many wait', async (t) => {
  const ca = authority(tempDir(t));
  const { upstream, stack } = await startRelay(t, {
    to: { tls: ca.issue('IP:127.0.0.1') },
    args: ['--upstream-ca', ca.file],
    bad: true,
  });
  upstream.welcome = reset;
  const begun = Date.now();
  expectNew(await askRelay(stack, '?first'));
  const clients = await Promise.all(Array.from({ length: 50 }, (_, i) => openClient(stack, `?q=${i}`)));
  for (const client of clients) expectNew(await client.answer);
  const span = Date.now() - begun;
  assert.ok((upstream.connections - 2) * 900 <= span, `${upstream.connections} in ${span} ms`);
  assert.equal(upstream.count, 0);
});

atOnce('over TLS', claims);
