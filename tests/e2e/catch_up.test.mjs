// Many readers that come back at once, each with a cursor of its own, and much to catch up with.
// They come while the daemon is stopped for a moment, so that it meets all of them in one round:
// more than it gives in a round (256 KiB), and most have to wait for their turn.
import assert from 'node:assert/strict';
import { claim, startStack, until, within } from './lib/harness.mjs';
import { Connection, request } from './lib/fcgi.mjs';
import { expectUpdate } from './lib/expect.mjs';
import { random } from './lib/random.mjs';

const MESSAGES = 300;
const READERS = 200;
const SIZE = 500;

async function connect(t, stack, count) {
  const connections = await Promise.all(
    Array.from({ length: count }, () => Connection.open(stack.socket)),
  );
  t.after(() => connections.forEach((c) => c.socket.destroy()));
  return connections;
}

// The ids of a log of MESSAGES on main, behind one message on quiet.
async function fill(stack) {
  const quiet = await stack.create('quiet', { channel: 'quiet' });
  const ids = [];
  for (let i = 0; i < MESSAGES; i++)
    ids.push(await stack.create(`${i} ${'x'.repeat(SIZE)}`));
  return { quiet, ids };
}

// What each asks reaches the daemon while it is stopped.
async function askTogether(stack, asks) {
  stack.daemon.process.kill('SIGSTOP');
  const answers = asks.map(([connection, opts]) => connection.ask(opts));
  await until('all is sent', () => asks.every(([c]) => !c.socket.writableLength));
  stack.daemon.process.kill('SIGCONT');
  return answers;
}

const update = (fields) => ({ uri: `/comet/update?${new URLSearchParams(fields)}`, keep: true });

claim('of many that come back at once each gets what is newer than its cursor', async (t) => {
  const stack = await startStack(t);
  const { int } = random('catch up');
  const { ids } = await fill(stack);
  const connections = await connect(t, stack, READERS);
  for (let round = 0; round < 3; round++) {
    const last = ids.length - 1;
    const from = connections.map(() => int(last + 1));
    const limits = connections.map(() => (int(3) ? 1000 : 1 + int(40)));
    const answers = await askTogether(
      stack,
      connections.map((c, i) => [c, update({ id: ids[from[i]], limit: limits[i] })]),
    );
    for (const [i, answer] of answers.entries()) {
      if (from[i] === last) continue; // nothing is newer: it waits
      const body = expectUpdate((await within(answer, 30_000, 'an answer')).json());
      const want = ids.slice(from[i] + 1, from[i] + 1 + limits[i]);
      assert.deepEqual(
        body.messages.map((m) => m.id),
        want,
      );
      assert.ok(body.messages.every((m) => m.data.startsWith(`${ids.indexOf(m.id)} x`)));
      assert.equal(body.more, want.at(-1) !== ids.at(-1));
      assert.equal(body.id, want.at(-1));
    }
    // Those who held hear of the next message; it is part of the log from then on.
    ids.push(await stack.create(`${ids.length} x`));
    for (const [i, answer] of answers.entries())
      if (from[i] === last) assert.equal((await answer).json().messages.length, 1);
  }
});

claim('one that had to wait for its turn, and for whom there is nothing, is held', async (t) => {
  const stack = await startStack(t);
  const { quiet, ids } = await fill(stack);
  const connections = await connect(t, stack, READERS);
  const late = connections.slice(READERS / 2);
  const answers = await askTogether(
    stack,
    connections.map((c) => [c, update({ id: quiet, channel: late.includes(c) ? 'quiet' : 'main' })]),
  );
  for (const answer of answers.slice(0, READERS / 2))
    assert.equal((await answer).json().messages.length, ids.length);
  await until('they are held', async () => (await stack.status()).holds === late.length);
  late[0].socket.destroy(); // one goes away
  await until('it is missed', async () => (await stack.status()).holds === late.length - 1);
  const id = await stack.create('now', { channel: 'quiet' });
  for (const answer of answers.slice(READERS / 2 + 1))
    assert.deepEqual(
      (await answer).json().messages.map((m) => m.id),
      [id],
    );
  assert.equal((await stack.status()).holds, 0);
});

claim('who asks for little does not wait until all who are behind have it', async (t) => {
  const stack = await startStack(t);
  const { quiet } = await fill(stack);
  const [other, ...behind] = await connect(t, stack, 1 + READERS);
  await stack.status(); // all of them are accepted
  // so few messages that the socket takes an answer whole: none is put off by who reads it
  const poll = update({ id: quiet, channel: 'main', limit: 50 });
  const answers = await askTogether(stack, [
    ...behind.map((c) => [c, poll]),
    [other, { uri: '/comet/status', keep: true }],
  ]);
  const status = answers.pop();
  let given = 0;
  answers.forEach((answer) => answer.then(() => given++));
  assert.equal((await status).status, 200);
  assert.ok(given < READERS / 2, `${given} of ${READERS} were given theirs before`);
  for (const answer of answers) assert.equal((await answer).json().messages.length, 50);
});

claim('those who go away while they wait for their turn leave nothing behind', async (t) => {
  const stack = await startStack(t);
  const { quiet, ids } = await fill(stack);
  const connections = await connect(t, stack, READERS);
  stack.daemon.process.kill('SIGSTOP');
  await Promise.all(
    connections.map((c) => c.write(request(update({ id: quiet, channel: 'main' })))),
  );
  connections.slice(READERS / 2).forEach((c) => c.socket.destroy());
  stack.daemon.process.kill('SIGCONT');
  connections.slice(0, READERS / 2).forEach((c) => c.socket.destroy());
  await until('all are gone', async () => (await stack.status()).connections === 1);
  assert.deepEqual((await stack.status()).readers_by_channel, {});
  assert.equal((await stack.all()).length, ids.length);
});

claim('those who wait for their turn are served before the daemon stops', async (t) => {
  const stack = await startStack(t);
  const { quiet, ids } = await fill(stack);
  const connections = await connect(t, stack, READERS);
  stack.daemon.process.kill('SIGSTOP');
  const answers = connections.map((c) => c.ask(update({ id: quiet, channel: 'main' })));
  await until('all is sent', () => connections.every((c) => !c.socket.writableLength));
  stack.daemon.process.kill('SIGTERM');
  stack.daemon.process.kill('SIGCONT');
  for (const answer of answers) assert.equal((await answer).json().messages.length, ids.length);
  assert.equal((await stack.daemon.process.exited).code, 0);
});
