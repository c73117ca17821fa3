// Streams while the disk is full or fails, the log is locked, descriptors run out; and what a stream
// costs while nothing happens.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { claim, plainBinary, startStack, tempDir, throughBoth, until, within } from './lib/harness.mjs';
import { expectError } from './lib/expect.mjs';
import { faultyDisk } from './lib/fault.mjs';
import { Connection } from './lib/fcgi.mjs';
import { LIVE, openReader } from './lib/readers.mjs';
import { handshake, OP, RawWebSocket, shake } from './lib/websocket.mjs';

const create = ['--websocket-create', 'yes'];
const post = (stack, body) =>
  stack.raw({ method: 'POST', uri: '/comet/create', type: 'text/plain', body });
const openAll = async (stack, fields = { id: 'now' }) => {
  const readers = await Promise.all(LIVE.map((transport) => openReader(stack, transport, fields)));
  await Promise.all(readers.map((reader) => reader.until('open', () => reader.cursor)));
  return readers;
};

throughBoth('a full disk: streams stay, see nothing that was refused, and go on', async (t, server) => {
  const disk = faultyDisk(tempDir(t));
  const stack = await startStack(t, {
    ...disk.options,
    server,
    args: [...create, '--heartbeat', '1'],
    allow: [/^encke: (warn|error): .*(disk|space|full)/i],
  });
  await stack.publish('kept');
  const readers = await openAll(stack);
  disk.set('write=ENOSPC');
  for (let i = 0; i < 5; i++) expectError(await post(stack, `lost ${i}`), 507);
  const socket = readers.find((reader) => reader.ws);
  socket.ws.text('lost, too');
  await socket.until('an error', () => socket.others.length === 1);
  assert.match(JSON.parse(socket.others[0]).error, /disk|space|full/i);
  for (const reader of readers) {
    const { cursors } = reader;
    await reader.until('a heartbeat', () => reader.cursors > cursors);
  }
  disk.set();
  socket.ws.text('room again');
  await socket.until('its creation', () => socket.others.length === 2);
  for (const reader of readers) {
    await reader.has(1);
    assert.deepEqual(reader.texts, ['room again']);
    reader.cut();
  }
  await stack.streams();
});

throughBoth('a failed fsync: streams are ended, what failed was seen by nobody', async (t, server) => {
  const disk = faultyDisk(tempDir(t));
  const stack = await startStack(t, {
    ...disk.options,
    server,
    args: create,
    allow: [/^encke: (warn|error): /],
  });
  stack.daemon.judged = false;
  await stack.publish('kept');
  const readers = await openAll(stack);
  disk.set('sync=EIO');
  // By one of them: a text that meets the drain of another's failure may find its socket closed.
  const socket = readers.find((reader) => reader.ws);
  if (server === 'nginx') socket.ws.text('lost');
  else await post(stack, 'lost').catch(() => null);
  const { code } = await within(stack.daemon.exited, 20_000, 'the end');
  assert.ok(code > 0);
  for (const reader of readers) {
    assert.equal(await within(reader.ended, 20_000, 'its end'), 'end', reader.transport);
    if (reader.ws) assert.equal(reader.ws.closeCode, 1001);
    assert.deepEqual(reader.texts, []);
  }
  for (const text of socket.others) assert.match(text, /^\{"error"/);
  disk.set();
  await stack.daemon.start();
  for (const reader of readers) {
    const again = await until('the web server is back', () =>
      openReader(stack, reader.transport, { id: reader.cursor }),
    );
    await stack.publish('goes on');
    await again.until('what comes', () => again.texts.at(-1) === 'goes on');
    assert.equal(again.resets, 0);
    again.cut();
  }
});

// fsync held up: nothing is seen before it is on the disk, whatever the transport.
claim('no stream shows a message before it is durable', async (t) => {
  const disk = faultyDisk(tempDir(t));
  const stack = await startStack(t, { ...disk.options, args: [...create, '--heartbeat', '1'] });
  await stack.publish('warm');
  const readers = await openAll(stack);
  const before = (await stack.status()).head;
  disk.set('sync=gate');
  const socket = readers.find((reader) => reader.ws);
  socket.ws.text('first');
  await disk.hit('sync');
  const acknowledged = post(stack, 'second');
  for (const reader of readers) {
    const { cursors } = reader;
    await reader.until('two heartbeats', () => reader.cursors >= cursors + 2);
    assert.deepEqual([reader.count, reader.cursor], [0, before]);
  }
  assert.deepEqual(socket.others, []);
  const late = await openReader(stack, 'streaming', {});
  await late.has(1);
  assert.deepEqual(late.texts, ['warm']);
  disk.set();
  assert.equal((await acknowledged).status, 200);
  for (const reader of [...readers, late]) {
    await reader.until('both', () => reader.texts.at(-1) === 'second');
    assert.deepEqual(reader.texts.slice(-2), ['first', 'second']);
    reader.cut();
  }
});

// A drain while an fsync hangs: whoever waits for a creation is not told that it was.
claim('drained in the middle of a commit, a WebSocket is told the truth', async (t) => {
  const disk = faultyDisk(tempDir(t));
  const stack = await startStack(t, {
    ...disk.options,
    args: create,
    allow: [/^encke: warn: .*not finished in time/],
  });
  await stack.publish('warm');
  const ws = await RawWebSocket.open(stack.websocket, 'websocket?id=now');
  await stack.streams({ websocket: 1 });
  disk.set('sync=gate');
  ws.text('under way');
  await disk.hit('sync');
  stack.daemon.process.kill('SIGTERM');
  disk.set();
  assert.equal((await within(stack.daemon.exited, 20_000, 'the end')).code, 0);
  await within(ws.closed, 20_000, 'the close');
  assert.equal(ws.closeCode, 1001);
  assert.equal(ws.texts.filter((text) => text.includes('"created"')).length, 1);
  await stack.daemon.start();
  assert.equal((await stack.all()).at(-1).data, 'under way');
});

throughBoth('without file descriptors left streams get 503, and it recovers', async (t, server) => {
  const stack = await startStack(t, {
    server,
    wrap: ['/bin/sh', '-c', 'ulimit -n 64; exec "$@"', 'sh'],
    args: ['--heartbeat', '1'],
    allow: [/^encke: warn: /],
  });
  for (let round = 0; round < 2; round++) {
    const opened = await Promise.all(
      Array.from({ length: 60 }, (_, i) =>
        openReader(stack, LIVE[i % LIVE.length], { id: 'now' }).catch((error) => error),
      ),
    );
    const readers = opened.filter((one) => !(one instanceof Error));
    const refused = opened.filter((one) => one instanceof Error);
    assert.ok(readers.length >= 10, `${readers.length} were opened`);
    assert.ok(refused.length >= 10, `${refused.length} were refused`);
    for (const { response, answer } of refused) assert.equal((response ?? answer).status, 503);
    await until('a create gets through', () => stack.create('all hear').then(() => true));
    for (const reader of readers) {
      await reader.has(1);
      reader.cut();
    }
    await stack.streams();
  }
});

claim('silent connections to the socket of WebSockets keep nobody out for ever', async (t) => {
  const stack = await startStack(t, {
    wrap: ['/bin/sh', '-c', 'ulimit -n 64; exec "$@"', 'sh'],
    args: ['--request-timeout', '1'],
    allow: [/^encke: warn: /],
  });
  const begun = handshake('/comet/websocket', {}).subarray(0, 20);
  const silent = [];
  for (let i = 0; i < 100; i++) {
    const connection = await Connection.open(stack.websocket);
    if (i % 2) await connection.write(begun).catch(() => {});
    silent.push(connection);
  }
  await until('FastCGI gets in', () => stack.create('in').then(() => true), { every: 50 });
  await until('so does a WebSocket', async () => {
    const answer = await shake(stack.websocket, handshake('/comet/websocket', {}));
    answer.socket.destroy();
    return answer.status === 101;
  });
  await Promise.all(silent.map((connection) => connection.closed));
});

// ---- what they cost ----

claim('a quiet stream costs the daemon a few hundred bytes, a WebSocket hardly more', async (t) => {
  const stack = await startStack(t, { bin: plainBinary(), args: ['--heartbeat', '3600'] });
  const memory = () =>
    1024 *
    Number(
      /^RssAnon:\s+(\d+)/m.exec(fs.readFileSync(`/proc/${stack.daemon.pid}/status`, 'utf8'))[1],
    );
  const all = [];
  const open = async (transport, n) => {
    for (let i = 0; i < n; i += 50)
      all.push(
        ...(await Promise.all(
          Array.from({ length: 50 }, () => openReader(stack, transport, { id: 'now' })),
        )),
      );
  };
  for (const transport of LIVE) await open(transport, 100); // what is taken once is taken by now
  for (const transport of LIVE) {
    const before = memory(),
      n = 700;
    await open(transport, n);
    const each = (memory() - before) / n;
    t.diagnostic(`${transport}: ${each.toFixed(0)} bytes`);
    assert.ok(each <= (transport === 'websocket' ? 1024 : 640), `${transport}: ${each} bytes`);
  }
  for (const reader of all) reader.cut();
  await stack.streams();
});

claim('while nothing happens the daemon does nothing, however many streams it has', async (t) => {
  const stack = await startStack(t, { args: ['--heartbeat', '60'] });
  const all = [];
  for (const transport of LIVE)
    for (let i = 0; i < 75; i++)
      all.push(await openReader(stack, transport, { id: 'now', channel: `c${i % 7}` }));
  const wakings = () =>
    fs.readdirSync(`/proc/${stack.daemon.pid}/task`).reduce((sum, task) => {
      const status = fs.readFileSync(`/proc/${stack.daemon.pid}/task/${task}/status`, 'utf8');
      return sum + Number(/^voluntary_ctxt_switches:\s+(\d+)/m.exec(status)[1]);
    }, 0);
  const before = wakings(),
    end = Date.now() + 2000;
  await until('a while has passed', () => Date.now() > end);
  const woken = wakings() - before;
  assert.ok(woken <= 5, `woken ${woken} times in two seconds in which nothing happened`);
  for (const reader of all) reader.cut();
  await stack.streams();
});

claim('a client that only listens cannot make the daemon work by what it sends', async (t) => {
  const stack = await startStack(t, { args: ['--websocket-rate', '10'] });
  const bystanders = await openAll(stack);
  const flood = await Promise.all(
    Array.from({ length: 20 }, () => RawWebSocket.open(stack.websocket, 'websocket?id=now')),
  );
  for (const ws of flood)
    for (let i = 0; i < 2000 && ws.socket.writable; i++) ws.send(OP.PING, 'x'.repeat(125));
  for (const ws of flood) assert.equal(await within(ws.closed, 20_000, 'the close'), 1008);
  await stack.publish('heard');
  for (const reader of bystanders) {
    await reader.has(1);
    reader.cut();
  }
  await stack.streams();
});
