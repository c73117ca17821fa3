// Lost wake-ups: many channels, random timing, publishers and pollers at once. Every poller sees
// every message of its channels exactly once, in order, and no hold sleeps through one.
import assert from 'node:assert/strict';
import http from 'node:http';
import { startStack, throughBoth } from './lib/harness.mjs';
import { expectUpdate } from './lib/expect.mjs';
import { random } from './lib/random.mjs';

const CHANNELS = Array.from({ length: 24 }, (_, i) => `channel-${i}`);
const PUBLISHERS = 8;
const EACH = 250;
const POLLERS = 48;
const HOLD = 60;
const ASLEEP = 40_000; // a hold that long, while messages come all the time, was not woken
const TEXT = { 'Content-Type': 'text/plain' };
const tick = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

throughBoth(
  'every poller sees every message of its channels exactly once, in order',
  async (t, server) => {
    const { int, pick } = random(`lost wake-ups ${server}`);
    const stack = await startStack(t, { server, args: ['--hold-max', String(HOLD)] });
    const agent = new http.Agent({ keepAlive: true, maxSockets: Infinity });
    t.after(() => agent.destroy());
    const start = (await stack.update({ id: 'now', timeout: 0 })).id;

    const pollers = Array.from({ length: POLLERS }, async (_, p) => {
      const channels =
        p < CHANNELS.length
          ? [CHANNELS[p]]
          : [...new Set(Array.from({ length: 2 + int(10) }, () => pick(CHANNELS)))];
      const fields = channels.map((c) => `channel=${c}`).join('&');
      const ended = new Set(),
        seen = [];
      let id = start;
      while (ended.size < channels.length) {
        const asked = Date.now();
        const limit = int(4) ? 1000 : 1 + int(5);
        const answer = await stack.http(
          `update?id=${id}&${fields}&limit=${limit}&timeout=${HOLD}`,
          { agent },
        );
        const slept = Date.now() - asked;
        const body = expectUpdate(answer.json());
        assert.ok(
          body.messages.length > 0 && slept < ASLEEP,
          `a hold on ${channels} slept ${slept} ms through what came`,
        );
        for (const message of body.messages) {
          if (message.data === 'end') ended.add(message.channel);
          else seen.push(message.id);
        }
        ({ id } = body);
        switch (
          int(4) // ask again at once, or let some go by
        ) {
          case 0:
            await tick(int(30));
            break;
          case 1:
            await new Promise(setImmediate);
            break;
          default:
        }
      }
      return { channels, seen };
    });

    // Some only wait for the word, on one channel, and are always woken.
    const words = CHANNELS.slice(0, 6).map(async (channel) => {
      let id = start,
        woken = 0;
      for (;;) {
        const asked = Date.now();
        const word = (
          await stack.http(`subscribe?id=${id}&channel=${channel}&timeout=${HOLD}`, { agent })
        ).json();
        assert.ok(
          word.ret === 'new' && Date.now() - asked < ASLEEP,
          `a subscriber to ${channel} slept`,
        );
        woken++;
        const body = (
          await stack.http(`update?id=${id}&channel=${channel}&timeout=0`, { agent })
        ).json();
        assert.ok(body.messages.length > 0, 'new means new');
        ({ id } = body);
        if (body.messages.some((m) => m.data === 'end')) return woken;
      }
    });

    const sent = [];
    const publish = async (channel, text) => {
      const answer = await stack.http(`create?channel=${channel}`, {
        agent,
        method: 'POST',
        headers: TEXT,
        body: text,
      });
      assert.equal(answer.status, 200, answer.body);
      const { id } = answer.json();
      sent.push({ id, channel, seq: BigInt(id.split('-')[1]) });
    };
    await Promise.all(
      Array.from({ length: PUBLISHERS }, async (_, p) => {
        for (let i = 0; i < EACH; i++) {
          await publish(pick(CHANNELS), `${p}.${i}`);
          switch (int(5)) {
            case 0:
              await tick(int(12));
              break;
            case 1:
              await new Promise(setImmediate);
              break;
            default:
          }
        }
      }),
    );
    sent.sort((x, y) => (x.seq < y.seq ? -1 : 1));
    const all = sent.slice();
    for (const channel of CHANNELS) await publish(channel, 'end');

    for (const { channels, seen } of await Promise.all(pollers))
      assert.deepEqual(
        seen,
        all.filter((m) => channels.includes(m.channel)).map((m) => m.id),
        `the poller of ${channels}`,
      );
    await Promise.all(words);
    await stack.holds(0);
    assert.deepEqual((await stack.status()).readers_by_channel, {});
  },
  { timeout: 180_000 },
);
