// How streams end when they do not end by themselves: their clients go, the daemon is drained or
// killed, the web server goes. Nothing is left behind, and whoever comes back has lost nothing.
import assert from 'node:assert/strict';
import { claim, startStack, throughBoth, until, within } from './lib/harness.mjs';
import { expectAscending } from './lib/expect.mjs';
import { random } from './lib/random.mjs';
import { LIVE, openReader, STREAMS } from './lib/readers.mjs';

const tick = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const open = async (stack, transport, n, fields = { id: 'now' }, options) => {
  const readers = await Promise.all(
    Array.from({ length: n }, () => openReader(stack, transport, fields, options)),
  );
  await stack.streams({ [transport]: n });
  return readers;
};

// What the daemon writes at the next heartbeat tells it of a client that the web server has not
// told of: one whose request lighttpd read before it began to watch the connection.
throughBoth('a client that has gone is freed within a heartbeat', async (t, server) => {
  const stack = await startStack(t, { server, args: ['--heartbeat', '1'] });
  for (const transport of LIVE) {
    const readers = await open(stack, transport, 20);
    for (const reader of readers.slice(0, 10)) reader.cut();
    await stack.streams({ [transport]: 10 });
    for (const reader of readers.slice(10)) {
      if (transport === 'websocket') reader.ws.socket.end();
      else reader.response.socket.end();
    }
    await stack.streams();
  }
  assert.equal((await stack.status()).streams_behind, 0);
});

throughBoth('a client that has gone without having read is freed, too', async (t, server) => {
  const stack = await startStack(t, { server, args: ['--heartbeat', '4'] });
  const big = 'x'.repeat(60_000);
  for (const transport of LIVE) {
    const readers = await open(stack, transport, 5, { id: 'now', channel: transport });
    for (const reader of readers) reader.pause();
    // On a slow machine one may have been ended by then, as a paused WebSocket answers no ping.
    await until('they are behind', async () => {
      await stack.publish(Array(20).fill(big), { channel: transport });
      const { streams, streams_behind } = await stack.status();
      const left = Object.values(streams).reduce((sum, count) => sum + count);
      return left > 0 && streams_behind === left;
    });
    for (const reader of readers) reader.cut();
    await stack.streams();
  }
  assert.equal((await stack.status()).streams_behind, 0);
});

claim('a connection that only half closes is let go of', async (t) => {
  const stack = await startStack(t);
  for (const transport of LIVE) {
    const readers = await open(stack, transport, 5);
    for (const reader of readers) (reader.ws ?? reader.response).socket.end();
    await stack.streams();
    const slow = await open(stack, transport, 5, { id: 'now', channel: transport });
    for (const reader of slow) reader.pause();
    await until('they are behind', async () => {
      await stack.publish(Array(10).fill('x'.repeat(60_000)), { channel: transport });
      return (await stack.status()).streams_behind === 5;
    });
    for (const reader of slow) (reader.ws ?? reader.response).socket.end();
    await stack.streams();
    for (const reader of slow) reader.cut();
  }
  assert.equal((await stack.status()).streams_behind, 0);
});

throughBoth('drained, every stream is ended as its protocol says', async (t, server) => {
  const stack = await startStack(t, { server });
  const ids = await stack.publish(['a', 'b', 'c']);
  const all = [];
  for (const transport of LIVE) {
    for (const direct of [false, true]) {
      const fields = { id: ids[0], channel: ['main', 'quiet'] };
      for (let i = 0; i < 25; i++) all.push(await openReader(stack, transport, fields, { direct }));
    }
  }
  await Promise.all(all.map((reader) => reader.has(2)));
  const start = process.hrtime.bigint();
  stack.daemon.process.kill('SIGTERM');
  const { code, signal } = await stack.daemon.exited;
  const took = Number(process.hrtime.bigint() - start) / 1e6;
  assert.deepEqual({ code, signal }, { code: 0, signal: null });
  assert.ok(took < 2000, `the drain took ${took} ms`);
  for (const reader of all) {
    assert.equal(await within(reader.ended, 20_000, 'its end'), 'end', reader.transport);
    if (reader.ws) assert.equal(reader.ws.closeCode, 1001);
    else assert.equal(reader.partial, '');
    assert.deepEqual(reader.texts, ['b', 'c']);
    assert.equal(reader.fault, null);
  }
});

claim('readers that do not read do not keep the drain waiting, and others are ended', async (t) => {
  const stack = await startStack(t, { allow: [/^encke: warn: .*not finished in time/] });
  const slow = [];
  for (const transport of LIVE)
    for (let i = 0; i < 5; i++) {
      slow.push(await openReader(stack, transport, { id: 'now' }));
      slow.at(-1).pause();
    }
  await until('they are behind', async () => {
    await stack.publish(Array(10).fill('x'.repeat(60_000)));
    return (await stack.status()).streams_behind === slow.length;
  });
  const quick = [];
  for (const transport of LIVE) quick.push(await openReader(stack, transport, { id: 'now' }));
  await Promise.all(quick.map((reader) => reader.until('open', () => reader.cursor)));
  const start = process.hrtime.bigint();
  assert.equal((await stack.daemon.stop()).code, 0);
  const took = Number(process.hrtime.bigint() - start) / 1e6;
  assert.ok(took < 2000, `the drain took ${took} ms`);
  for (const reader of quick) assert.equal(await reader.ended, 'end', reader.transport);
  // What the slow ones have in their sockets is sound; they go on from there.
  for (const reader of slow) reader.resume();
  await stack.daemon.start();
  const log = await stack.all();
  for (const reader of slow) {
    await reader.ended;
    assert.equal(reader.fault, null);
    const at = reader.cursor;
    const rest = await openReader(stack, reader.transport, { id: at });
    await rest.until('the end of the log', () => rest.cursor === log.at(-1).id);
    const first = log.findIndex((m) => m.id === (reader.ids[0] ?? rest.ids[0]));
    assert.deepEqual([...reader.ids, ...rest.ids], log.slice(first).map((m) => m.id));
    rest.cut();
  }
});

// One reader that comes back whenever it is cut, with the cursor that it has.
async function follow(stack, transport, channels, going, seen, { int }) {
  let id = '',
    cuts = 0;
  for (;;) {
    const fields = { id, channel: channels, timeout: transport === 'websocket' ? undefined : 1 };
    const reader = await openReader(stack, transport, fields).catch(() => null);
    if (!reader) {
      await tick(5 + int(20));
      continue;
    }
    const idle = async () => {
      // told the head, and nothing is published any more
      await until('it has all', () => reader.over || (!going() && reader.cursor === going.head), {
        within: 60_000,
        every: 5,
      });
      reader.cut();
    };
    reader.ended.then(() => {
      reader.over = true;
    });
    await Promise.race([reader.ended, idle()]);
    reader.over = true;
    if (reader.fault) throw reader.fault;
    assert.equal(reader.resets, 0, `${transport}: a reset where nothing was lost`);
    seen.push(...reader.messages);
    id = reader.cursor || id; // it may have been cut before it was told one
    cuts++;
    if (!going() && id === going.head) return cuts;
  }
}

throughBoth(
  'kill -9 under streams: nothing acknowledged is lost, nothing comes twice',
  async (t, server) => {
    const dice = random(`kills under streams ${server}`);
    const { int, pick } = dice;
    const stack = await startStack(t, {
      server,
      args: ['--keep-messages', '0', '--keep-bytes', '0', '--memory', '256K', '--heartbeat', '1'],
    });
    stack.daemon.judged = false;
    const channels = ['a', 'b', 'c'];
    const acknowledged = [];
    let publishing = true;
    const going = () => publishing;
    const publishers = Array.from({ length: 6 }, async (_, p) => {
      for (let i = 0; publishing; i++) {
        const channel = pick(channels);
        const data = `${p}.${i}`.padEnd(5 + int(int(8) ? 200 : 5000), '.');
        const answer = await stack
          .raw({ method: 'POST', uri: `/comet/create?channel=${channel}`, type: 'text/plain', body: data })
          .catch(() => null);
        if (answer?.status === 200) acknowledged.push({ id: answer.json().id, channel, data });
        else await tick(5);
      }
    });
    const readers = LIVE.flatMap((transport) =>
      [['a'], ['b', 'c'], channels].map((mine) => {
        const seen = [];
        const done = follow(stack, transport, mine, going, seen, dice);
        return { transport, mine, seen, done };
      }),
    );
    for (let kill = 0; kill < 12; kill++) {
      const enough = acknowledged.length + 1 + int(80);
      await until('messages are acknowledged again', () => acknowledged.length >= enough, { every: 1 });
      await stack.daemon.kill('SIGKILL');
      await stack.daemon.start();
    }
    const enough = acknowledged.length + 50;
    await until('a last stretch', () => acknowledged.length >= enough, { every: 1 });
    // The head for all: a message on each channel.
    publishing = false;
    await Promise.all(publishers);
    for (const channel of channels) {
      const [id] = await stack.publish('end', { channel });
      acknowledged.push({ id, channel, data: 'end' });
    }
    going.head = (await stack.status()).head;
    const log = await until('the web server is back', () => stack.all({ channel: channels }));
    expectAscending(log);
    const stored = new Map(log.map((m) => [m.id, m]));
    for (const { id, channel, data } of acknowledged) {
      assert.ok(stored.has(id), `${id} was acknowledged and is not there`);
      assert.deepEqual([stored.get(id).channel, stored.get(id).data], [channel, data]);
    }
    let cuts = 0;
    for (const { transport, mine, seen, done } of readers) {
      cuts += await within(done, 90_000, `${transport} of ${mine}`);
      const wanted = log.filter((m) => mine.includes(m.channel));
      assert.deepEqual(seen.map((m) => m.id), wanted.map((m) => m.id), `${transport} of ${mine}`);
      assert.deepEqual(seen, wanted);
    }
    t.diagnostic(`12 kills, ${cuts} streams, ${log.length} messages, ${acknowledged.length} acknowledged`);
  },
  { timeout: 240_000 },
);

throughBoth('streams go on through restarts and reloads of the web server', async (t, server) => {
  const stack = await startStack(t, { server, args: ['--heartbeat', '1'] });
  let sent = 0;
  const cursors = Object.fromEntries(LIVE.map((transport) => [transport, '']));
  const got = Object.fromEntries(LIVE.map((transport) => [transport, []]));
  for (let round = 0; round < 3; round++) {
    const readers = await Promise.all(
      LIVE.map((transport) => openReader(stack, transport, { id: cursors[transport] })),
    );
    await stack.publish([`${sent++}`, `${sent++}`]);
    await Promise.all(readers.map((r) => r.until('the last', () => r.texts.at(-1) === `${sent - 1}`)));
    await stack.web.stop(round % 2 ? 'SIGKILL' : 'SIGTERM');
    await stack.streams();
    await Promise.all(readers.map((reader) => within(reader.ended, 20_000, 'its end')));
    await stack.publish(`${sent++}`);
    await stack.web.start();
    for (const reader of readers) {
      assert.equal(reader.fault, null);
      got[reader.transport].push(...reader.texts);
      cursors[reader.transport] = reader.cursor || cursors[reader.transport];
    }
  }
  const log = (await stack.all()).map((m) => m.data);
  for (const transport of LIVE) {
    const rest = await openReader(stack, transport, { id: cursors[transport] });
    await rest.has(1);
    assert.deepEqual([...got[transport], ...rest.texts], log);
    rest.cut();
  }
});

claim('a drain ends streams that are just being opened, and those that just end', async (t) => {
  for (let round = 0; round < 8; round++) {
    const stack = await startStack(t, { args: ['--stream', '1s'] });
    const opening = Array.from({ length: 60 }, (_, i) =>
      openReader(stack, [...STREAMS, 'websocket'][i % 4], { id: 'now' }).catch(() => null),
    );
    await tick(round * 4);
    const { code } = await stack.daemon.stop();
    assert.equal(code, 0);
    for (const reader of await Promise.all(opening)) {
      if (!reader) continue; // it came too late
      await within(reader.ended, 20_000, 'its end');
      assert.equal(reader.fault, null);
    }
  }
});
