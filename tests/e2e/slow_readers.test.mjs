// A slow reader is only a cursor: while it does not read, nothing is kept for it, nobody else
// waits, and when it reads again it gets every message, in order, or is told of a gap.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { claim, plainBinary, startStack, throughBoth, until, within } from './lib/harness.mjs';
import { seqOf } from './lib/expect.mjs';
import { random } from './lib/random.mjs';
import { LIVE, openReader } from './lib/readers.mjs';

const tick = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const never = ['--heartbeat', '3600']; // so that the bytes of all streams of a kind are the same

const rss = (stack) =>
  Number(/^VmRSS:\s+(\d+)/m.exec(fs.readFileSync(`/proc/${stack.daemon.pid}/status`))[1]) * 1024;

// The bytes of a reader after its opening. The one that reads as they come is the measure: its
// messages are checked against the log, and what the others get must be the same bytes.
class Measure {
  constructor(reader) {
    this.reader = reader;
    this.parts = [];
    const source = reader.ws ?? reader.response;
    tap(source, (bytes) => this.parts.push(Buffer.from(bytes)));
  }
  bytes() {
    return Buffer.concat(this.parts);
  }
}

// What arrives from now on goes to `take` as well (and, with `instead`, only to it).
function tap(source, take, instead = false) {
  if (source.response === undefined && source.take && source.frames) {
    // a RawWebSocket
    const parse = source.take.bind(source);
    source.take = (bytes) => {
      take(bytes);
      if (!instead) parse(bytes);
    };
  } else {
    const parse = source.listener;
    source.listener = (bytes) => {
      take(bytes);
      if (!instead) parse(bytes);
    };
  }
}

// From now on the reader's bytes are not parsed but compared with those of the measure; `done` when
// it has had as many.
function compare(reader, measure) {
  const wanted = measure;
  let at = 0;
  const compared = { at: () => at, wrong: null, total: wanted.length };
  tap(
    reader.ws ?? reader.response,
    (bytes) => {
      if (compared.wrong) return;
      if (wanted.compare(bytes, 0, bytes.length, at, at + bytes.length) !== 0) {
        let i = 0;
        while (i < bytes.length && wanted[at + i] === bytes[i]) i++;
        compared.wrong = `byte ${at + i}: ${bytes.toString('utf8', Math.max(0, i - 40), i + 40)}`;
        reader.cut();
      }
      at += bytes.length;
    },
    true,
  );
  return compared;
}

// Opens n streams of each transport, reads their openings, and then reads nothing more.
async function openSlow(stack, n, options) {
  const slow = [];
  for (const transport of LIVE)
    for (let i = 0; i < n; i += 25) {
      const some = await Promise.all(
        Array.from({ length: Math.min(25, n - i) }, () =>
          openReader(stack, transport, { id: 'now' }, { ...options, keep: false, pong: false }),
        ),
      );
      await Promise.all(some.map((reader) => reader.until('its opening', () => reader.cursors === 1)));
      for (const reader of some) reader.pause();
      slow.push(...some);
    }
  return slow;
}

async function publishAll(stack, count, size, publishers = 8) {
  let i = 0;
  const ids = [];
  await Promise.all(
    Array.from({ length: publishers }, async () => {
      while (i < count) {
        const texts = [];
        for (let n = 0; n < 50 && i < count; n++) texts.push(`${i++} `.padEnd(size, '.'));
        ids.push(...(await stack.publish(texts)));
      }
    }),
  );
  return ids.sort((a, b) => (seqOf(a) < seqOf(b) ? -1 : 1));
}

// Everybody reads on; each must get the bytes that the measure of its kind got.
async function readOn(slow, measures, wait) {
  const bytes = Object.fromEntries(LIVE.map((kind) => [kind, measures[kind].bytes()]));
  const compared = slow.map((reader) => {
    const one = compare(reader, bytes[reader.transport]);
    reader.resume();
    return one;
  });
  await until(
    'all have all',
    () => {
      const wrong = compared.findIndex((one) => one.wrong);
      if (wrong >= 0) return true;
      return compared.every((one) => one.at() >= one.total);
    },
    { within: wait, every: 50 },
  );
  compared.forEach((one, i) => {
    assert.equal(one.wrong, null, slow[i].transport);
    assert.equal(one.at(), one.total, slow[i].transport);
  });
}

async function measured(stack, options) {
  const measures = {};
  for (const transport of LIVE) {
    const reader = await openReader(stack, transport, { id: 'now' }, options);
    await reader.until('its opening', () => reader.cursors === 1);
    measures[transport] = new Measure(reader);
  }
  return measures;
}

async function allRead(measures, ids) {
  for (const { reader } of Object.values(measures)) {
    await reader.has(ids.length, { within: 90_000 });
    assert.deepEqual(reader.ids, ids);
    assert.equal(reader.resets, 0);
  }
}

claim(
  '1,000 streams that do not read while 10,000 messages of 1 KiB are published cost no memory',
  async (t) => {
    const COUNT = 10_000,
      EACH = 250;
    const stack = await startStack(t, {
      bin: plainBinary(),
      args: [...never, '--memory', '2M', '--keep-messages', '0'],
    });
    await publishAll(stack, 3000, 1024); // what is taken once is taken by now
    const measures = await measured(stack);
    const slow = await openSlow(stack, EACH);
    const before = rss(stack);
    let most = 0;
    const watch = setInterval(() => {
      most = Math.max(most, rss(stack));
    }, 20);
    t.after(() => clearInterval(watch));
    const ids = await publishAll(stack, COUNT, 1024);
    assert.equal(ids.length, COUNT, 'creates go on');
    await allRead(measures, ids);
    const { streams, streams_behind } = await stack.status();
    assert.deepEqual(streams, Object.fromEntries(LIVE.map((kind) => [kind, EACH + 1])));
    assert.ok(streams_behind > EACH * LIVE.length * 0.9, `${streams_behind} are behind`);
    const grown = Math.max(most, rss(stack)) - before;
    const started = Date.now();
    await readOn(slow, measures, 240_000);
    const seconds = ((Date.now() - started) / 1000).toFixed(1);
    const after = Math.max(most, rss(stack)) - before;
    clearInterval(watch);
    t.diagnostic(
      `grown by ${(grown / 2 ** 20).toFixed(1)} MiB while they did not read, ` +
        `by ${(after / 2 ** 20).toFixed(1)} MiB in all; ${slow.length} read on in ${seconds} s`,
    );
    // Queued, it would have been 10 GB.
    assert.ok(grown < 8 * 2 ** 20, `${grown} bytes while they did not read`);
    assert.ok(after < 16 * 2 ** 20, `${after} bytes in all`);
    assert.equal((await stack.status()).streams_behind, 0);
    for (const reader of slow) reader.cut();
    for (const { reader } of Object.values(measures)) reader.cut();
    await stack.streams();
  },
  { timeout: 400_000 },
);

throughBoth(
  'behind a web server slow readers get every message in order when they read again',
  async (t, server) => {
    const stack = await startStack(t, { server, args: [...never, '--memory', '2M'] });
    const measures = await measured(stack);
    const slow = await openSlow(stack, 25);
    const ids = await publishAll(stack, 6000, 1024);
    await allRead(measures, ids);
    assert.ok((await stack.status()).streams_behind > 0, 'some are behind');
    // creates and polls through the same web server go on
    const held = stack.update({ id: ids.at(-1), channel: 'other' });
    await stack.holds(1);
    await stack.create('not kept waiting', { channel: 'other' });
    assert.equal((await held).messages[0].data, 'not kept waiting');
    await readOn(slow, measures, 90_000);
    for (const reader of slow) reader.cut();
    for (const { reader } of Object.values(measures)) reader.cut();
    await stack.streams();
  },
);

// The numbers that a reader was given, and where it was told of a gap.
function numbersOf(reader) {
  const numbers = [];
  let at = 0;
  for (const what of reader.log) {
    if (what === 'reset') numbers.push('reset');
    else if (what === 'message') numbers.push(Number.parseInt(reader.messages[at++].data, 10));
  }
  return numbers;
}

// Up, one by one, but where a reset stands.
function expectToldGaps(numbers, what) {
  let last = null,
    told = true;
  for (const number of numbers) {
    if (number === 'reset') told = true;
    else {
      assert.ok(last === null || number > last, `${what}: ${number} after ${last}`);
      assert.ok(told || number === last + 1, `${what}: a silent gap from ${last} to ${number}`);
      last = number;
      told = false;
    }
  }
  return last;
}

throughBoth('retention passing a blocked stream is told, never silent', async (t, server) => {
  const KEEP = 100,
    COUNT = 1500, // times SIZE is more than the sockets between take
    SIZE = 8192;
  const stack = await startStack(t, {
    server,
    args: [...never, '--keep-messages', String(KEEP), '--memory', '256K'],
  });
  const slow = [];
  for (const direct of [true, false])
    for (const transport of LIVE)
      for (let i = 0; i < 5; i++) {
        const reader = await openReader(stack, transport, { id: 'now' }, { direct });
        await reader.until('its opening', () => reader.cursor);
        reader.pause();
        slow.push({ reader, direct });
      }
  let n = 0;
  while (n < COUNT)
    await stack.publish(Array.from({ length: 100 }, () => `${n++} `.padEnd(SIZE, '.')));
  await until('retention', async () => (await stack.status()).messages <= KEEP);
  for (const { reader } of slow) reader.resume();
  await stack.publish(`${n} the last`);
  for (const { reader, direct } of slow) {
    await reader.until('the last', () => reader.texts.at(-1)?.endsWith('the last'));
    const last = expectToldGaps(numbersOf(reader), reader.transport);
    assert.equal(last, n);
    // a web server goes on taking for a while, and may be overtaken each time
    if (direct) assert.equal(reader.resets, 1);
    reader.cut();
  }
});

throughBoth('readers of every speed, with retention at their heels', async (t, server) => {
  const { int, pick } = random(`speeds ${server}`);
  const stack = await startStack(t, {
    server,
    args: ['--heartbeat', '1', '--keep-messages', '60', '--memory', '64K', '--stream', '4s'],
  });
  let publishing = true,
    gapTold = false,
    n = 0;
  // More is published than is kept and than sockets take, however slow the machine is.
  const overtaken = () => {
    const from = n;
    return until('retention passes', () => n > from + 200 || !publishing, { within: 120_000 });
  };
  const readers = Array.from({ length: 24 }, async (_, r) => {
    const transport = LIVE[r % 4];
    const fields = { id: '', channel: r % 3 ? 'c' : ['c', 'idle'] };
    const numbers = [];
    for (let all = false; !all;) {
      const reader = await openReader(stack, transport, fields, { direct: r % 2 === 0 });
      let over = false;
      reader.ended.then(() => {
        over = true;
      });
      const stop = Date.now() + 500 + int(3000);
      while (!over && !reader.fault && !all && (Date.now() < stop || !publishing)) {
        if (r % 6) {
          reader.pause();
          if (r === 2) await overtaken();
          else await tick(int(pick([5, 50, 400])));
          reader.resume();
        }
        await tick(int(20));
        all = !publishing && reader.texts.at(-1)?.endsWith('the last');
        all ||= numbers.at(-1) === n;
      }
      reader.cut();
      if (reader.fault) throw reader.fault;
      numbers.push(...numbersOf(reader));
      gapTold ||= numbers.includes('reset');
      fields.id = reader.cursor || fields.id;
    }
    return { transport, numbers };
  });
  const publisher = (async () => {
    const end = Date.now() + 7000; // and until retention has overtaken a reader, which takes longer where all is slow
    while (Date.now() < end || (!gapTold && Date.now() < end + 90_000)) {
      const some = Array.from({ length: 1 + int(60) }, () => `${n++} `.padEnd(int(4) ? 300 : 20_000, '.'));
      await stack.publish(some, { channel: 'c' });
      await tick(int(40));
    }
    await stack.publish(`${n} the last`, { channel: 'c' });
    publishing = false;
  })();
  await publisher;
  let resets = 0;
  for (const { transport, numbers } of await within(Promise.all(readers), 90_000, 'the readers')) {
    expectToldGaps(numbers, transport);
    resets += numbers.filter((x) => x === 'reset').length;
  }
  t.diagnostic(`${n} messages, ${resets} gaps told`);
  assert.ok(resets > 0);
});
