// kill -9 at random moments under load: what was acknowledged is there, in order, once; and pollers
// that go on with their cursors miss nothing and double nothing.
import assert from 'node:assert/strict';
import { claim, startStack, throughBoth, until } from './lib/harness.mjs';
import { expectAscending, expectUpdate, seqOf } from './lib/expect.mjs';
import { random } from './lib/random.mjs';

// lighttpd takes seconds to believe that its backend is back, so it gets fewer.
const KILLS = { nginx: 35, lighttpd: 20 };
const CHANNELS = ['a', 'b', 'c', 'main'];
const TEXT = { 'Content-Type': 'text/plain' };
const tick = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

throughBoth(
  'kill -9 under load loses, doubles and reorders nothing that was acknowledged',
  async (t, server) => {
    const { int, pick } = random(`kills ${server}`);
    const stack = await startStack(t, {
      server,
      args: ['--keep-messages', '0', '--keep-bytes', '0', '--memory', '256K'],
    });
    stack.daemon.judged = false;
    const acknowledged = [];
    let publishing = true,
      polling = true;

    // Each publisher sends one message after another, never the same twice, and notes those
    // acknowledged.
    const publishers = Array.from({ length: 8 }, async (_, p) => {
      const own = [];
      for (let i = 0; publishing; i++) {
        const channel = pick(CHANNELS),
          text = `${p}.${i}`.padEnd(5 + int(int(8) ? 200 : 5000), '.');
        const answer = await stack
          .http(`create?channel=${channel}`, { method: 'POST', headers: TEXT, body: text })
          .catch(() => null);
        if (answer?.status === 200) {
          const { id } = answer.json();
          acknowledged.push({ id, channel, text });
          own.push({ id });
        } else await tick(5);
      }
      return own;
    });

    // Each poller asks with the cursor of its last answer, whatever happened in between.
    const pollers = [['a'], ['b'], ['main'], ['a', 'b'], ['c', 'main'], CHANNELS].map(
      async (channel) => {
        const seen = [];
        let id = '',
          idle = false;
        while (polling || !idle) {
          const channels = channel.map((c) => `channel=${c}`).join('&');
          const at = `update?${channels}&id=${id}&limit=${1 + int(200)}&timeout=2`;
          const answer = await stack.http(at).catch(() => null);
          if (answer?.status !== 200) {
            await tick(5);
            continue;
          }
          const body = expectUpdate(answer.json());
          seen.push(...body.messages);
          ({ id } = body);
          idle = body.messages.length === 0;
        }
        return { channel, seen };
      },
    );

    for (let kill = 0; kill < KILLS[server]; kill++) {
      const enough = acknowledged.length + 1 + int(80);
      await until('messages are acknowledged again', () => acknowledged.length >= enough, {
        every: 1,
      });
      await stack.daemon.kill('SIGKILL');
      await stack.daemon.start();
    }
    publishing = false;
    const own = await Promise.all(publishers);
    polling = false;
    const polled = await Promise.all(pollers);
    const log = await stack.all({ channel: CHANNELS });
    t.diagnostic(
      `${KILLS[server]} kills, ${acknowledged.length} acknowledged, ${log.length} in the log`,
    );

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
      assert.deepEqual(
        seen.map((m) => m.id),
        mine.map((m) => m.id),
        `the poller of ${channel}`,
      );
      assert.deepEqual(seen, mine);
    }
    assert.ok(seqOf(log.at(-1).id) >= BigInt(log.length));
  },
  { timeout: 240_000 },
);

// With retention at work a poller may fall behind it. Then it is told: between two cursors without
// a reset nothing that was acknowledged is missing.
claim(
  'kill -9 while retention deletes: a gap is told, never silent',
  async (t) => {
    const { int } = random('kills with retention');
    const stack = await startStack(t, { args: ['--keep-messages', '40', '--memory', '64K'] });
    stack.daemon.judged = false;
    const acknowledged = [];
    let publishing = true,
      polling = true;
    const publishers = Array.from({ length: 6 }, async (_, p) => {
      for (let i = 0; publishing; i++) {
        const body = `${p}.${i}`.padEnd(int(300), '.');
        const answer = await stack
          .raw({ method: 'POST', uri: '/comet/create', type: 'text/plain', body })
          .catch(() => null);
        if (answer?.status === 200) acknowledged.push(seqOf(answer.json().id));
        else await tick(2);
      }
    });
    const pollers = Array.from({ length: 4 }, async (_, p) => {
      const spans = [];
      let id = '';
      while (polling) {
        const answer = await stack
          .raw({ uri: `/comet/update?id=${id}&timeout=1&limit=${5 + int(60)}` })
          .catch(() => null);
        if (answer?.status !== 200) {
          await tick(2);
          continue;
        }
        const body = expectUpdate(answer.json(), { reset: answer.json().reset === true });
        const from = id === '' ? null : seqOf(id);
        spans.push({
          from,
          to: seqOf(body.id),
          reset: body.reset === true,
          seen: body.messages.map((m) => seqOf(m.id)),
        });
        ({ id } = body);
        if (p % 2) await tick(int(120)); // some are slow
      }
      return spans;
    });
    for (let kill = 0; kill < 15; kill++) {
      const enough = acknowledged.length + 30 + int(120);
      await until('messages are acknowledged again', () => acknowledged.length >= enough, {
        every: 1,
      });
      await stack.daemon.kill('SIGKILL');
      await stack.daemon.start();
    }
    publishing = false;
    await Promise.all(publishers);
    polling = false;
    let resets = 0,
      checked = 0;
    for (const spans of await Promise.all(pollers)) {
      for (const { from, to, reset, seen } of spans) {
        const got = new Set(seen);
        if (reset || from === null) {
          resets += reset;
          continue;
        }
        for (const seq of acknowledged.filter((a) => a > from && a <= to)) {
          checked++;
          assert.ok(
            got.has(seq),
            `${seq} was acknowledged, is between ${from} and ${to}, and was not given`,
          );
        }
      }
    }
    t.diagnostic(`${acknowledged.length} acknowledged, ${checked} checked, ${resets} resets`);
    assert.ok(checked > 0);
    await until('only the newest are left', async () => (await stack.status()).messages <= 40);
  },
  { timeout: 120_000 },
);
