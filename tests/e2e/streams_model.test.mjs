// Streams against the list of what was published, and against update: between catching up and being
// live nothing slips through, whatever the channels and whenever it is published.
import assert from 'node:assert/strict';
import { claim, startStack, throughBoth, until } from './lib/harness.mjs';
import { expectUpdate, seqOf } from './lib/expect.mjs';
import { random } from './lib/random.mjs';
import { LIVE, openReader, readAll, STREAMS } from './lib/readers.mjs';

const CHANNELS = Array.from({ length: 24 }, (_, i) => `channel-${i}`);
const tick = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const sets = ({ int, pick }) => [
  ...new Set(Array.from({ length: 1 + int(int(3) ? 3 : 12) }, () => pick(CHANNELS))),
];

throughBoth(
  'streams opened, left and opened again under publishing miss and double nothing',
  async (t, server) => {
    const dice = random(`streams ${server}`),
      { int, pick } = dice;
    const stack = await startStack(t, {
      server,
      args: ['--heartbeat', '1', '--memory', '64K', '--keep-messages', '0', '--keep-bytes', '0'],
    });
    let publishing = true;
    const known = []; // cursors to begin with
    const publishers = Array.from({ length: 8 }, async () => {
      while (publishing) {
        const texts = Array.from({ length: 1 + int(6) }, () => '.'.repeat(1 + int(int(9) ? 100 : 9000)));
        known.push(...(await stack.publish(texts, { channel: pick(CHANNELS) })));
        if (int(3) === 0) await tick(int(12));
      }
    });
    await until('there is a past', () => known.length > 200);
    let head = null;
    const readers = Array.from({ length: 40 }, async (_, r) => {
      const transport = LIVE[r % LIVE.length];
      const channel = sets(dice);
      const seen = [];
      let from = pick(['', 'now', pick(known)]),
        id = from,
        opened = 0;
      for (;;) {
        const fields = { id, channel };
        if (transport !== 'websocket' && int(5) === 0) fields.timeout = int(2);
        const reader = await openReader(stack, transport, fields, { direct: int(2) === 0 });
        opened++;
        if (from === 'now') {
          await reader.until('its beginning', () => reader.first);
          from = reader.first;
          assert.equal(reader.log[0], 'cursor');
        }
        const leave = Date.now() + int(int(4) ? 60 : 1500);
        let over = false;
        reader.ended.then(() => {
          over = true;
        });
        const done = () => head && reader.cursor && seqOf(reader.cursor) >= seqOf(head);
        while (!over && !done() && (publishing ? Date.now() < leave : true)) await tick(2 + int(6));
        reader.cut();
        if (reader.fault) throw reader.fault;
        assert.equal(reader.resets, 0, `${transport}: a reset where nothing was lost`);
        seen.push(...reader.messages);
        id = reader.cursor || id;
        if (done()) return { transport, channel, seen, from, opened };
        if (int(4) === 0) await tick(int(30));
      }
    });
    await Promise.race([tick(5000), Promise.all(readers)]);
    publishing = false;
    await Promise.all(publishers);
    head = (await stack.status()).head;
    const log = await stack.all({ channel: CHANNELS });
    let opened = 0;
    for (const reader of await Promise.all(readers)) {
      const mine = log.filter((m) => reader.channel.includes(m.channel));
      const wanted = mine.filter((m) => reader.from === '' || seqOf(m.id) > seqOf(reader.from));
      assert.deepEqual(
        reader.seen.map((m) => m.id),
        wanted.map((m) => m.id),
        `${reader.transport} of ${reader.channel} from ${reader.from}`,
      );
      assert.deepEqual(reader.seen, wanted);
      opened += reader.opened;
    }
    t.diagnostic(`${log.length} messages, ${opened} streams`);
    await stack.streams();
  },
);

claim('from now on means from the moment that the stream says its cursor', async (t) => {
  const dice = random('now');
  const stack = await startStack(t);
  for (let round = 0; round < 60; round++) {
    const channel = sets(dice);
    const before = stack.publish(Array(dice.int(4)).fill('before'), { channel: channel[0] });
    const transport = LIVE[round % LIVE.length];
    const opening = openReader(stack, transport, { id: 'now', channel });
    const reader = await opening;
    await reader.until('its cursor', () => reader.first);
    assert.equal(reader.log[0], 'cursor');
    const start = seqOf(reader.first);
    const ids = await before;
    const [last] = await stack.publish('after', { channel: channel.at(-1) });
    await reader.until('the last', () => reader.ids.includes(last));
    assert.deepEqual(reader.ids, [...ids.filter((id) => seqOf(id) > start), last]);
    reader.cut();
  }
});

claim('a stream gives what update gives: memory, disk, restarts and retention', async (t) => {
  const dice = random('streams and update'),
    { int, pick } = dice;
  const stack = await startStack(t, { args: ['--memory', '6K', '--keep-messages', '40'] });
  stack.daemon.judged = false;
  const known = ['', 'now', 'unknown', '0'];
  for (let step = 0; step < 500; step++) {
    const what = int(100);
    if (what < 45) {
      const texts = Array.from({ length: 1 + int(12) }, () => '.'.repeat(int(int(6) ? 60 : 3000)));
      known.push(...(await stack.publish(texts.map((x) => `${step}${x}`), { channel: pick(CHANNELS.slice(0, 6)) })));
    } else if (what < 98) {
      const channel = [...new Set(Array.from({ length: 1 + int(4) }, () => pick(CHANNELS.slice(0, 7))))];
      const id = pick(int(2) ? known : known.slice(-60));
      const wanted = [];
      let reset = false;
      for (let at = id, more = true; more;) {
        const body = await stack.update({ id: at, channel, timeout: 0 });
        expectUpdate(body, { reset: body.reset === true });
        wanted.push(...body.messages);
        reset ||= body.reset === true;
        ({ id: at, more } = body);
      }
      const reader = await readAll(stack, pick(STREAMS), { id, channel });
      const said = `${reader.transport} of ${channel} from '${id}'`;
      assert.deepEqual(reader.messages, wanted, said);
      assert.equal(reader.resets, reset ? 1 : 0, said);
      if (reset) assert.equal(reader.log[0], 'reset', said);
      if (wanted.length) assert.equal(seqOf(reader.cursor), seqOf(wanted.at(-1).id));
    } else {
      await stack.daemon.kill(pick(['SIGKILL', 'SIGTERM']));
      await stack.daemon.start();
    }
  }
});
