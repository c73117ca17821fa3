// kill -9 at random moments under load: what was acknowledged is there, in order, once; and pollers that go on with
// their cursors miss nothing and double nothing.
import assert from 'node:assert/strict';
import { startStack, throughBoth, until } from './lib/harness.mjs';
import { expectAscending, expectUpdate, seqOf } from './lib/expect.mjs';
import { random } from './lib/random.mjs';

const KILLS = 30; // through each of two web servers
const CHANNELS = ['a', 'b', 'c', 'main'];
const TEXT = { 'Content-Type': 'text/plain' };
const tick = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

throughBoth('kill -9 under load loses, doubles and reorders nothing that was acknowledged', async (t, server) => {
  const { int, pick } = random(`kills ${server}`);
  const stack = await startStack(t, { server, args: ['--keep-messages', '0', '--keep-bytes', '0', '--memory', '256K'] });
  stack.daemon.judged = false;
  const acknowledged = [];
  let publishing = true, polling = true;

  // Each publisher sends one message after another, never the same twice, and notes those acknowledged.
  const publishers = Array.from({ length: 8 }, async (_, p) => {
    const own = [];
    for (let i = 0; publishing; i++) {
      const channel = pick(CHANNELS), text = `${p}.${i}`.padEnd(5 + int(int(8) ? 200 : 5000), '.');
      const answer = await stack.http(`create?channel=${channel}`, { method: 'POST', headers: TEXT, body: text }).catch(() => null);
      if (answer?.status === 200) {
        const { id } = answer.json();
        acknowledged.push({ id, channel, text });
        own.push({ id });
      } else await tick(5);
    }
    return own;
  });

  // Each poller asks with the cursor of its last answer, whatever happened in between.
  const pollers = [['a'], ['b'], ['main'], ['a', 'b'], ['c', 'main'], CHANNELS].map(async (channel) => {
    const seen = [];
    let id = '', idle = false;
    while (polling || !idle) {
      const at = `update?${channel.map((c) => `channel=${c}`).join('&')}&id=${id}&limit=${1 + int(200)}&timeout=2`;
      const answer = await stack.http(at).catch(() => null);
      if (answer?.status !== 200) { await tick(5); continue; }
      const body = expectUpdate(answer.json());
      seen.push(...body.messages);
      ({ id } = body);
      idle = body.messages.length === 0;
    }
    return { channel, seen };
  });

  for (let kill = 0; kill < KILLS; kill++) {
    const before = acknowledged.length;
    await until('messages are acknowledged again', () => acknowledged.length > before, { every: 1 });
    await tick(int(60));
    await stack.daemon.kill('SIGKILL');
    await stack.daemon.start();
  }
  publishing = false;
  const own = await Promise.all(publishers);
  polling = false;
  const polled = await Promise.all(pollers);
  const log = await stack.all({ channel: CHANNELS });
  t.diagnostic(`${KILLS} kills, ${acknowledged.length} acknowledged, ${log.length} in the log`);

  expectAscending(log);
  const stored = new Map(log.map((m) => [m.id, m]));
  for (const { id, channel, text } of acknowledged) {
    const message = stored.get(id);
    assert.ok(message, `${id} was acknowledged and is not there`);
    assert.deepEqual([message.channel, message.data], [channel, text]);
  }
  assert.equal(new Set(log.map((m) => m.data)).size, log.length, 'none is there twice');
  for (const ids of own) expectAscending(ids);
  for (const { channel, seen } of polled) {
    const mine = log.filter((m) => channel.includes(m.channel));
    assert.deepEqual(seen.map((m) => m.id), mine.map((m) => m.id), `the poller of ${channel}`);
    assert.deepEqual(seen, mine);
  }
  assert.ok(seqOf(log.at(-1).id) >= BigInt(log.length));
}, { timeout: 240_000 });
