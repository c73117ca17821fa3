// Random creates, reads and restarts, compared with a model that is a list: whatever part of an
// answer comes from memory and whatever part from disk, it is what the list says.
import assert from 'node:assert/strict';
import { claim, startStack } from './lib/harness.mjs';
import { expectUpdate, seqOf } from './lib/expect.mjs';
import { random } from './lib/random.mjs';

const CHANNELS = ['a', 'b', 'c', 'd', 'e', 'never-used'];

async function create(stack, { int, pick }, list) {
  const channel = pick(CHANNELS.slice(0, 5));
  const data = `${list.length}:`.padEnd(int(6) ? int(60) : int(3000), '.');
  const answer = await stack.raw({
    method: 'POST',
    uri: `/comet/create?channel=${channel}`,
    type: 'text/plain',
    body: data,
  });
  assert.equal(answer.status, 200);
  const { id } = answer.json();
  list.push({ id, seq: seqOf(id), channel, data: data || null });
}

const pickChannels = ({ int, pick }) => [
  ...new Set(Array.from({ length: 1 + int(4) }, () => pick(CHANNELS))),
];

async function read(stack, id, channels, limit) {
  const fields = channels.map((c) => `channel=${c}`).join('&');
  const answer = await stack.raw({
    uri: `/comet/update?id=${id}&timeout=0&limit=${limit}&${fields}`,
  });
  assert.equal(answer.status, 200, answer.body);
  const body = answer.json();
  return expectUpdate(body, { reset: body.reset === true });
}

claim('reads are what a list would give, across memory, disk and restarts', async (t) => {
  const dice = random('model'),
    { int, pick } = dice;
  const stack = await startStack(t, {
    args: ['--memory', '6K', '--keep-messages', '0', '--keep-bytes', '0'],
  });
  const list = [];
  await create(stack, dice, list);
  const epoch = list[0].id.split('-')[0];
  for (let step = 0; step < 1500; step++) {
    const what = int(100);
    if (what < 40) await create(stack, dice, list);
    else if (what < 99) {
      const channels = pickChannels(dice),
        limit = int(3) ? 1 + int(30) : 1000;
      const from = int(8) === 0 ? 0n : pick(list).seq;
      const mine = list.filter((m) => m.seq > from && channels.includes(m.channel));
      const body = await read(stack, from ? `${epoch}-${from}` : '', channels, limit);
      assert.equal(body.reset, undefined);
      assert.deepEqual(
        body.messages.map((m) => m.id),
        mine.slice(0, limit).map((m) => m.id),
        `after ${from} on ${channels}`,
      );
      assert.ok(
        body.messages.every(
          (m, i) =>
            m.channel === mine[i].channel && (mine[i].data === null || m.data === mine[i].data),
        ),
      );
      assert.equal(body.more, mine.length > limit);
      assert.equal(body.id, (body.more ? body.messages : list).at(-1).id);
    } else {
      if (int(2)) await stack.daemon.stop();
      else await stack.daemon.kill('SIGKILL');
      stack.daemon.judged = false; // it was killed before
      await stack.daemon.start();
    }
  }
});

// Page after page from a cursor to the head. A walk through channels of which some have a gap may
// be told so on more than one page.
async function walk(stack, epoch, from, channels, limit) {
  const messages = [];
  let id = from ? `${epoch}-${from}` : '',
    more = true,
    reset = false;
  while (more) {
    const body = await read(stack, id, channels, limit);
    messages.push(...body.messages);
    reset ||= body.reset === true;
    ({ id, more } = body);
  }
  return { messages, reset };
}

// Retention deletes when it likes, so the model only knows bounds: what it must have kept, and what
// is told of the rest.
claim(
  'with retention a read is the newest part of the list, and says when something is missing',
  async (t) => {
    const KEEP = 25;
    const dice = random('model with retention'),
      { int, pick } = dice;
    const stack = await startStack(t, {
      args: ['--memory', '4K', '--keep-messages', String(KEEP)],
    });
    const list = [];
    await create(stack, dice, list);
    const epoch = list[0].id.split('-')[0];
    let resets = 0;
    for (let step = 0; step < 1200; step++) {
      const what = int(100);
      if (what < 50) await create(stack, dice, list);
      else if (what < 99) {
        const channels = pickChannels(dice);
        const from = int(8) === 0 ? 0n : pick(list).seq;
        const { messages, reset } = await walk(stack, epoch, from, channels, 1 + int(60));
        const got = messages.map((m) => m.id);
        for (const channel of channels) {
          const newer = list.filter((m) => m.channel === channel && m.seq > from).map((m) => m.id);
          const have = messages.filter((m) => m.channel === channel).map((m) => m.id);
          // The newest ones, at least as many as are kept; and all, unless it is told.
          assert.deepEqual(have, newer.slice(newer.length - have.length), channel);
          const said = `${channel}: ${have.length} of ${newer.length}, from ${from}, ${reset}`;
          assert.ok(have.length >= Math.min(newer.length, KEEP), said);
          if (!reset && from) assert.equal(have.length, newer.length, said);
        }
        assert.equal(new Set(got).size, got.length, 'none twice');
        const over = (channel) => list.filter((m) => m.channel === channel).length > KEEP;
        if (reset) assert.ok(channels.some(over), 'a reset where nothing can be missing');
        resets += reset;
      } else {
        if (int(2)) await stack.daemon.stop();
        else await stack.daemon.kill('SIGKILL');
        stack.daemon.judged = false;
        await stack.daemon.start();
      }
    }
    assert.ok(resets > 0, 'some reads were behind retention');
  },
);
