// The web server is restarted or reloaded: whoever asks again with its cursor has missed nothing.
import assert from 'node:assert/strict';
import { startStack, throughBoth, until } from './lib/harness.mjs';
import { expectUpdate, texts } from './lib/expect.mjs';
import { ask } from './lib/fcgi.mjs';

const tick = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const direct = (stack, body) =>
  ask(stack.socket, { method: 'POST', uri: '/comet/create', type: 'text/plain', body });

throughBoth('pollers go on through restarts of the web server', async (t, server) => {
  const stack = await startStack(t, { server });
  const sent = [];
  let polling = true;
  const pollers = Array.from({ length: 5 }, async () => {
    const seen = [];
    let id = '';
    while (polling || seen.length < sent.length) {
      const answer = await stack.http(`update?id=${id}&timeout=5`).catch(() => null);
      if (answer?.status !== 200) {
        await tick(5);
        continue;
      }
      const body = expectUpdate(answer.json());
      seen.push(...texts(body.messages));
      ({ id } = body);
    }
    return seen;
  });
  for (let round = 0; round < 4; round++) {
    for (let i = 0; i < 10; i++) {
      sent.push(`${round}.${i}`);
      assert.equal((await direct(stack, sent.at(-1))).status, 200);
    }
    await stack.web.stop(round % 2 ? 'SIGKILL' : 'SIGTERM');
    await until('the daemon noticed', async () => (await stack.status()).holds === 0);
    sent.push(`while down ${round}`);
    assert.equal((await direct(stack, sent.at(-1))).status, 200);
    await stack.web.start();
  }
  polling = false;
  sent.push('last');
  assert.equal((await direct(stack, 'last')).status, 200);
  for (const seen of await Promise.all(pollers)) assert.deepEqual(seen, sent);
});

throughBoth('a graceful reload of the web server answers what it held', async (t, server) => {
  const stack = await startStack(t, { server });
  const held = Array.from({ length: 20 }, () => stack.http('update?id=now'));
  await stack.holds(20);
  // nginx keeps its old workers until their requests are answered; lighttpd waits for its own.
  stack.web.process.kill(server === 'nginx' ? 'SIGHUP' : 'SIGUSR1');
  assert.equal((await direct(stack, 'after the reload')).status, 200);
  for (const answer of await Promise.all(held))
    assert.deepEqual(texts(answer.json().messages), ['after the reload']);
  await until('it serves again', async () => (await stack.http('status')).status === 200);
});
