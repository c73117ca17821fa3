// What readers choose - which channels, in which shape, and not to read - does not decide how much
// memory the daemon needs; and whoever reads is served while others hold all that may be held.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import net from 'node:net';
import { claim, plainBinary, startStack, throughBoth, until } from './lib/harness.mjs';
import { expectBusy } from './lib/expect.mjs';
import { ask, request } from './lib/fcgi.mjs';
import { LIVE, openReader } from './lib/readers.mjs';

const MIB = 2 ** 20;
const MOST = 128; // MiB of the daemon, with its defaults, whatever readers do
const LEFT = 40; // after they left; 16 of it are the newest messages
const LOUD = '\u0001'.repeat(65_000); // JSON makes six bytes of each
const WARNED = [/^encke: warn: \d+ bytes are not taken/];

// A value of /proc/PID/status, in MiB.
function memory(stack, what) {
  const status = fs.readFileSync(`/proc/${stack.daemon.pid}/status`, 'utf8');
  return Number(new RegExp(`^${what}:\\s+(\\d+)`, 'm').exec(status)[1]) / 1024;
}

const peak = (stack) => memory(stack, 'VmHWM');
const now = (stack) => memory(stack, 'VmRSS');

// Sends a GET for each path, a connection each, and reads nothing; gives the sockets.
async function askAndNotRead(t, stack, paths) {
  const sockets = [];
  t.after(() => sockets.forEach((socket) => socket.destroy()));
  for (const path of paths) {
    const socket = stack.web ? net.connect(stack.web.port, '127.0.0.1') : net.connect(stack.socket);
    socket.on('error', () => {});
    socket.pause();
    const uri = `/comet/${path}`;
    socket.write(stack.web ? `GET ${uri} HTTP/1.1\r\nHost: a\r\n\r\n` : request({ uri }));
    sockets.push(socket);
  }
  await until('all is asked', () => sockets.every((s) => !s.connecting && !s.writableLength), { within: 90_000 });
  return sockets;
}

const range = (n, make) => Array.from({ length: n }, (_, i) => make(i));
const total = (counts) => Object.values(counts).reduce((sum, n) => sum + n, 0);

// As many channels as a request may name: 31 of the reader's own, and `main`.
const ownChannels = (i) => range(31, (c) => `&channel=own-${i}-${c}`).join('') + '&channel=main';

// Until nothing more is given to anybody.
async function allIsGiven(stack) {
  let before = -1;
  await until(
    'all is given',
    async () => {
      const { deliveries } = await stack.status();
      const done = deliveries === before;
      before = deliveries;
      return done;
    },
    { within: 180_000, every: 500 },
  );
}

async function staysSmall(t, stack, sockets, what) {
  const most = peak(stack);
  for (const socket of sockets) socket.destroy();
  await until('all are gone', async () => {
    const { holds, streams, connections } = await stack.status();
    return holds + total(streams) === 0 && connections < 50;
  }, { within: 90_000, every: 100 });
  await until('the memory is given back', () => now(stack) <= LEFT, { within: 30_000 }).catch(() => {});
  t.diagnostic(`${what}: ${most.toFixed(0)} MiB at most, ${now(stack).toFixed(0)} after they left`);
  assert.ok(most <= MOST, `${most} MiB at most`);
  assert.ok(now(stack) <= LEFT, `${now(stack)} MiB after they left`);
}

const start = (t, options = {}) =>
  startStack(t, { bin: plainBinary(), env: { ENCKE_MAX_HOLDS: '20000' }, allow: WARNED, ...options });

throughBoth('150 polls over sets of channels of their own that do not read', async (t, server) => {
  const stack = await start(t, { server });
  await stack.publish(range(20, () => LOUD));
  const sockets = await askAndNotRead(t, stack, range(150, (i) => `update?id=${ownChannels(i)}`));
  await allIsGiven(stack);
  await staysSmall(t, stack, sockets, '150 polls');
});

claim('600 polls that do not read, each from a place of its own', async (t) => {
  const stack = await start(t);
  const ids = await stack.publish(range(700, (i) => (i % 20 ? `${i} `.padEnd(4000, '"') : LOUD)));
  const sockets = await askAndNotRead(t, stack, range(600, (i) => `update?id=${ids[i]}`));
  await allIsGiven(stack);
  await staysSmall(t, stack, sockets, '600 polls');
});

claim('held polls of many kinds that do not read when a burst of news comes', async (t) => {
  const stack = await start(t);
  const shapes = range(600, (i) => `update?id=now&limit=${1 + i}${i % 3 ? ownChannels(i) : ''}${i % 2 ? '' : '&as=html'}`);
  const sockets = await askAndNotRead(t, stack, shapes);
  await stack.holds(600);
  await Promise.all(range(8, () => stack.publish(range(10, () => LOUD))));
  await stack.holds(0);
  await allIsGiven(stack);
  await staysSmall(t, stack, sockets, '600 holds');
});

throughBoth('1,500 iframes with callbacks of their own that do not read', async (t, server) => {
  const stack = await start(t, { server });
  const sockets = await askAndNotRead(t, stack, range(1500, (i) => `iframe?id=now&callback=add_${i}`));
  await stack.streams({ iframe: 1500 });
  await stack.publish(range(60, () => LOUD));
  await allIsGiven(stack);
  await staysSmall(t, stack, sockets, '1,500 iframes');
});

claim('1,500 iframes that catch up, each from a place of its own, and do not read', async (t) => {
  const stack = await start(t);
  const ids = await stack.publish(range(200, (i) => LOUD.slice(i)));
  const paths = range(1500, (i) => `iframe?id=${ids[i % 150]}&callback=add_${i}`);
  const sockets = await askAndNotRead(t, stack, paths);
  await allIsGiven(stack);
  await staysSmall(t, stack, sockets, '1,500 iframes');
});

// Not even an answer, or one message as it is written, that is more than all that may be held.
claim('who reads alone gets everything, however little may be held', async (t) => {
  const args = ['--unsent', '1M', '--max-message', '1M'];
  const stack = await start(t, { bin: undefined, args });
  const sent = await stack.publish(range(60, (i) => `${i} `.padEnd(60_000, '.')));
  sent.push(await stack.create('\u0001'.repeat(2 ** 20))); // six times as long in JSON
  const got = [];
  for (let page = { id: '', more: true }; page.more; got.push(...page.messages))
    page = (await ask(stack.socket, { uri: `/comet/update?id=${page.id}` })).json();
  assert.deepEqual(got.map((m) => m.id), sent);
  for (const transport of ['streaming', 'iframe', 'events']) {
    const reader = await openReader(stack, transport, { id: '' });
    await reader.has(sent.length);
    reader.cut();
  }
  assert.equal((await stack.status()).readers_cut_off, 0);
});

// Those who take what they are given are never the ones that are cut off.
throughBoth('while some hold all that may be held, others are served', async (t, server) => {
  const COUNT = 10;
  const stack = await start(t, { server, bin: undefined, args: ['--unsent', '2M', '--heartbeat', '1'] });
  const loud = await stack.publish(range(40, (i) => LOUD.slice(i)));
  const old = await stack.publish(range(12, (i) => `${i} `.padEnd(30_000, '.')), { channel: 'old' });
  const honest = [];
  for (const transport of LIVE) {
    const reader = await openReader(stack, transport, { id: 'now', channel: 'quiet' });
    await reader.until('its opening', () => reader.cursors === 1);
    honest.push(reader);
  }
  const direct = { ...stack, web: null };
  const paths = (n) => range(n, (i) => `iframe?id=${loud[i % 30]}&callback=add_${i}`);
  await askAndNotRead(t, direct, paths(60));
  await until('some are cut off', async () => (await stack.status()).readers_cut_off > 0);
  for (let i = 0; i < COUNT; i++) {
    const hostile = askAndNotRead(t, direct, paths(30));
    const held = stack.update({ id: 'now', channel: 'quiet' });
    await stack.holds(1);
    const id = await stack.create(`for all ${i}`, { channel: 'quiet' });
    assert.equal((await held).messages[0].id, id);
    for (const reader of honest) await reader.has(i + 1);
    const { more } = await stack.update({ channel: 'old', timeout: 0 });
    assert.equal(more, true, 'it is given less at once');
    assert.deepEqual((await stack.all({ channel: 'old' })).map((m) => m.id), old);
    await hostile;
  }
  const { unsent } = await stack.status();
  assert.ok(unsent <= 2 * MIB, `${unsent} bytes are not taken`);
  assert.ok(unsent >= MIB, `only ${unsent} bytes are not taken`);
  for (const reader of honest) {
    assert.equal(reader.count, COUNT);
    assert.equal(reader.resets, 0);
    reader.cut();
  }
});

// Streams of one kind over channels and callbacks of their own share what comes to all of them.
claim('what many lack counts once, whatever their channels and callbacks', async (t) => {
  const stack = await start(t, { bin: undefined });
  const kinds = range(200, (i) => `iframe?id=now&callback=add_${i}${i % 2 ? ownChannels(i) : ''}`);
  await askAndNotRead(t, stack, kinds);
  await stack.streams({ iframe: 200 });
  await stack.publish(range(4, () => LOUD));
  await until('all are behind', async () => (await stack.status()).streams_behind === 200);
  const { unsent, readers_cut_off } = await stack.status();
  assert.ok(unsent > 6 * LOUD.length && unsent < 2 * 6 * LOUD.length + 1000, `${unsent} bytes`);
  assert.equal(readers_cut_off, 0);
});

// Each set of channels costs the daemon a few hundred bytes a channel. There are as many as would
// be 1,600 bytes for each of --max-holds; more are told to come back.
claim('sets of channels that are read take only so much memory', async (t) => {
  const stack = await start(t, {
    bin: undefined,
    env: { ENCKE_MAX_HOLDS: '1000' },
    allow: [/^encke: warn: refusing to hold a request: too many channels are read$/],
  });
  const set = (i) => range(32, (c) => `&channel=${`${i}.${c}.`.padEnd(64, 'x')}`).join('');
  const answers = [];
  const held = [];
  for (let i = 0; i < 300; i++) {
    const connection = await stack.connect();
    held.push(connection);
    connection.ask({ uri: `/comet/update?id=now${set(i)}` }).then((a) => answers.push(a), () => {});
  }
  await until('some are refused', async () => (await stack.status()).holds + answers.length === 300);
  for (const answer of answers) {
    expectBusy(answer);
    assert.match(answer.body, /too many channels are read/);
  }
  const { holds } = await stack.status();
  assert.ok(holds > 100 && holds < 250, `${holds} are held`);
  expectBusy(await stack.raw({ uri: `/comet/streaming?id=now${set('new')}` }));
  // what others read already costs nothing more
  const same = await stack.connect();
  same.ask({ uri: `/comet/update?id=now${set(0)}` });
  await stack.holds(holds + 1);
  for (const connection of [same, ...held]) connection.destroy();
  await stack.holds(0);
  const again = stack.update({ id: 'now', channel: 'new' });
  await stack.holds(1);
  await stack.create('room', { channel: 'new' });
  assert.equal((await again).messages[0].data, 'room');
});

claim('an answer that moves slowly is not taken for one that is stuck', async (t) => {
  const stack = await start(t, { bin: undefined, args: ['--request-timeout', '1'] });
  await stack.publish(range(20, () => 'x'.repeat(60_000)));
  let bytes = 0;
  let slow = true;
  let ended = false;
  const socket = net.connect({
    path: stack.socket,
    onread: {
      buffer: Buffer.alloc(4096),
      callback: (n) => {
        bytes += n;
        return !slow; // one piece at a time
      },
    },
  });
  t.after(() => socket.destroy());
  socket.on('close', () => {
    ended = true;
  });
  socket.write(request({ uri: '/comet/update' }));
  const timer = setInterval(() => socket.resume(), 40); // the socket is writable again after 1.5 s
  t.after(() => clearInterval(timer));
  await until('a third is there', () => ended || bytes > 350_000, { within: 60_000 });
  assert.equal(ended, false, `ended after ${bytes} bytes`);
  slow = false;
  await until('all is there', () => bytes > 2 ** 20, { within: 60_000 });
});
