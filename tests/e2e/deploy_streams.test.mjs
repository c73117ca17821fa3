// The configurations in deploy/ carry streams and WebSockets: nothing waits in a buffer, no timeout
// cuts what is alive, whoever must not publish does not, and systemd and lighttpd pass the sockets.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import {
  claim,
  daemonBinary,
  defer,
  fetchHttp,
  freePort,
  ROOT,
  run,
  startStack,
  tempDir,
  throughBoth,
  together,
  until,
  within,
} from './lib/harness.mjs';
import { ask } from './lib/fcgi.mjs';
import { LIVE, openReader, STREAMS } from './lib/readers.mjs';
import { openResponse } from './lib/response.mjs';
import { RawWebSocket } from './lib/websocket.mjs';

// Replaces what must be there.
function change(text, ...changes) {
  for (const [from, to] of changes) {
    assert.match(text, from);
    text = text.replace(from, to);
  }
  return text;
}

// ---- buffers and timeouts ----

throughBoth('compression on elsewhere delays no stream', async (t, server) => {
  const deflate = '/usr/lib/lighttpd/mod_deflate.so';
  if (server === 'lighttpd' && !fs.existsSync(deflate))
    return t.skip('mod_deflate (Debian: lighttpd-mod-deflate) is not installed');
  const stack = await startStack(t, {
    server,
    webConfig: {
      nginx: (text) =>
        change(text, [/^server \{/m, 'gzip on; gzip_types *; gzip_min_length 0;\nserver {']),
      lighttpd:
        'server.modules += ("mod_deflate")\n' +
        'deflate.mimetypes = ("text/", "application/")\ndeflate.allowed-encodings = ("gzip")\n',
    },
  });
  const headers = { 'Accept-Encoding': 'gzip' };
  for (const transport of STREAMS) {
    const reader = await openReader(stack, transport, { id: 'now' }, { headers });
    assert.equal(reader.headers['content-encoding'], undefined);
    await reader.until('its cursor', () => reader.cursor);
    for (let i = 1; i <= 3; i++) {
      await stack.publish(`${i}`);
      await reader.has(i);
    }
    reader.cut();
  }
  const update = await openResponse(stack, 'update?timeout=0', { headers });
  assert.equal(update.headers['content-encoding'], 'gzip', 'it is on elsewhere');
  update.cut();
});

// An nginx of somebody else's in front of the stack's, with no more than proxy_pass.
async function proxyBefore(t, stack) {
  const dir = tempDir(t),
    port = await freePort();
  const temp = ['client_body', 'fastcgi', 'proxy', 'scgi', 'uwsgi'];
  fs.writeFileSync(
    path.join(dir, 'conf'),
    `${process.getuid() ? '' : 'user root;'} worker_processes 1;
pid ${dir}/pid; error_log ${dir}/error.log; events { }
http {
    access_log off; ${temp.map((kind) => `${kind}_temp_path ${dir}/${kind};`).join(' ')}
    server { listen 127.0.0.1:${port}; location / { proxy_pass ${stack.origin}; } }
}`,
  );
  const nginx = `nginx -e ${dir}/error.log -p ${dir} -c ${dir}/conf -g 'daemon off;'`;
  const proxy = run(['/bin/sh', '-c', `PATH=$PATH:/usr/sbin exec ${nginx}`], { group: true });
  defer(t, () => proxy.stop('SIGKILL'));
  const url = `http://127.0.0.1:${port}/comet`;
  await until('it answers', async () => (await fetchHttp(`${url}/status`)).status === 200);
  return { ...stack, web: { port }, url };
}

throughBoth('a second proxy in front holds no stream back', async (t, server) => {
  const stack = await startStack(t, { server });
  const front = await proxyBefore(t, stack);
  for (const transport of STREAMS) {
    const reader = await openReader(front, transport, { id: 'now' });
    await reader.until('its cursor', () => reader.cursor);
    for (let i = 1; i <= 3; i++) {
      await stack.publish(`${i}`);
      await reader.has(i);
    }
    reader.cut();
  }
});

// What Encke says of an answer reaches whoever asked, whole: no configuration has a header eaten.
throughBoth('every header of Encke’s gets through', async (t, server) => {
  const stack = await startStack(t, { server });
  await stack.publish('something');
  const framing = ['status', 'transfer-encoding', 'connection', 'content-length', 'date', 'server'];
  for (const [at, method = 'GET'] of [
    ...STREAMS.map((transport) => [`${transport}?timeout=0`]),
    ...['update?timeout=0', 'longpolling?timeout=0&id=none', 'subscribe?timeout=0'].map((at) => [at]),
    ['status'],
    ['nothing'],
    ['create'],
    ['create', 'OPTIONS'],
  ]) {
    const straight = await stack.raw({ uri: `/comet/${at}`, method });
    const through = await stack.http(at, { method });
    assert.equal(through.status, straight.status, at);
    for (const [name, value] of Object.entries(straight.headers))
      if (!framing.includes(name)) assert.equal(through.headers[name], value, `${at}: ${name}`);
  }
});

// Every timeout at 2 or 3 seconds, and a heartbeat each second: nothing is cut in eight.
async function heartbeatsKeep(t, server) {
  const stack = await startStack(t, {
    server,
    args: ['--heartbeat', '1'],
    webConfig: {
      nginx: (text) =>
        change(
          text,
          [/fastcgi_read_timeout \d+s/, 'fastcgi_read_timeout 3s'],
          [/proxy_read_timeout \d+s/, 'proxy_read_timeout 3s'],
          [/send_timeout \d+s/, 'send_timeout 3s'],
        ),
      lighttpd: (text) =>
        change(
          text,
          [/max-write-idle = \d+/, 'max-write-idle = 2'],
          [/max-read-idle = \d+/, 'max-read-idle = 2'],
        ),
    },
  });
  const readers = await Promise.all(
    LIVE.map((transport) => openReader(stack, transport, { id: 'now' })),
  );
  for (const reader of readers)
    await reader.until('eight heartbeats', () => reader.cursors >= 9, { within: 60_000 });
  await stack.publish('alive');
  for (const reader of readers) {
    await reader.has(1);
    reader.cut();
  }
}

// Without heartbeats the same timeouts do cut: what the claim above stands on. Whoever reads
// nothing is cut, too, and goes on.
async function silenceCuts(t, server) {
  const stack = await startStack(t, {
    server,
    args: ['--heartbeat', '3600'],
    webConfig: {
      nginx: (text) =>
        change(
          text,
          [/fastcgi_read_timeout \d+s/, 'fastcgi_read_timeout 2s'],
          [/proxy_read_timeout \d+s/, 'proxy_read_timeout 2s'],
        ),
      lighttpd: (text) =>
        change(
          text,
          [/max-write-idle = \d+/, 'max-write-idle = 2'],
          [/max-read-idle = \d+/, 'max-read-idle = 2'],
        ),
    },
  });
  await Promise.all(
    LIVE.map(async (transport) => {
      const reader = await openReader(stack, transport, { id: 'now' });
      assert.equal(await within(reader.ended, 60_000, 'the cut'), 'cut', transport);
      const [id] = await stack.publish('meanwhile', { channel: transport });
      const next = await openReader(stack, transport, { id: reader.cursor, channel: transport });
      await next.has(1);
      assert.deepEqual(next.ids, [id]);
      next.cut();
    }),
  );
}

async function slowIsCut(t, server) {
  const stack = await startStack(t, {
    server,
    args: ['--heartbeat', '1'],
    webConfig: {
      nginx: (text) => change(text, [/send_timeout \d+s/, 'send_timeout 2s']),
      lighttpd: (text) => change(text, [/max-write-idle = \d+/, 'max-write-idle = 2']),
    },
  });
  const readers = await Promise.all(
    LIVE.map((transport) => openReader(stack, transport, { id: 'now' }, { pong: false })),
  );
  for (const reader of readers) {
    await reader.until('open', () => reader.cursor);
    reader.pause();
  }
  for (let behind = 0; behind < readers.length;) {
    await stack.publish(Array(10).fill('x'.repeat(60_000)));
    const { streams, streams_behind } = await stack.status();
    const cut = readers.length - Object.values(streams).reduce((sum, n) => sum + n);
    behind = streams_behind + cut;
  }
  await stack.streams();
  const { head } = await stack.status();
  const all = await stack.all();
  for (const reader of readers) {
    reader.resume();
    assert.equal(await within(reader.ended, 20_000, 'the cut'), 'cut');
    assert.equal(reader.fault, null);
    const next = await openReader(stack, reader.transport, { id: reader.cursor });
    await next.until('the head', () => next.cursor === head);
    assert.equal(next.resets, 0);
    const first = all.findIndex((m) => m.id === (reader.ids[0] ?? next.ids[0]));
    assert.deepEqual([...reader.ids, ...next.ids], all.slice(first).map((m) => m.id));
    next.cut();
  }
  await stack.streams();
}

together("the web servers' timeouts", [
  ['heartbeats keep quiet streams alive', heartbeatsKeep],
  ['silence is cut, and nothing is lost', silenceCuts],
  ['a reader that takes nothing is cut, and goes on', slowIsCut],
]);

// What lighttpd holds for a reader that does not read: little, neither in memory nor in files.
claim('lighttpd keeps little for slow readers', async (t) => {
  const stack = await startStack(t, { server: 'lighttpd' });
  const temporary = () =>
    fs.readdirSync(path.join(stack.web.dir, 'tmp')).reduce((sum, name) => {
      try {
        return sum + fs.statSync(path.join(stack.web.dir, 'tmp', name)).size;
      } catch {
        return sum;
      }
    }, 0);
  const readers = await Promise.all(
    Array.from({ length: 20 }, () => openReader(stack, 'streaming', { id: 'now' })),
  );
  for (const reader of readers) reader.pause();
  const rss = () =>
    Number(/^VmRSS:\s+(\d+)/m.exec(fs.readFileSync(`/proc/${stack.web.process.pid}/status`))[1]);
  const before = rss();
  for (let i = 0; i < 10; i++) await stack.publish(Array(100).fill('x'.repeat(10_000)));
  await until('they are behind', async () => (await stack.status()).streams_behind === 20);
  assert.ok(temporary() < 20 * 512 * 1024, `${temporary()} bytes in files`);
  assert.ok(rss() - before < 20 * 512, `${rss() - before} KB more`);
  for (const reader of readers) {
    reader.resume();
    await reader.has(1000);
    reader.cut();
  }
});

// ---- sockets that are passed on ----

async function bothWork(socket, websocket) {
  await until('it answers', async () => (await ask(socket)).status === 200);
  assert.equal((await ask(socket)).json().websocket, true);
  const ws = await RawWebSocket.open(websocket, 'websocket?id=now');
  await ws.heard('a cursor', (text) => text.startsWith('{"id"'));
  const body = 'through both';
  await ask(socket, { method: 'POST', uri: '/comet/create', type: 'text/plain', body });
  await ws.heard('the message', (text) => text.includes(body));
  return ws;
}

const activate = (dir, names, more = []) =>
  run([
    'systemd-socket-activate',
    ...names.flatMap((name) => ['-l', path.join(dir, name)]),
    ...more,
    daemonBinary(),
    '--db',
    path.join(dir, 'db'),
  ]);

claim("systemd's two sockets are used, in their order or by their names", async (t) => {
  if (spawnSync('systemd-socket-activate', ['--version']).error)
    return t.skip('systemd-socket-activate is not installed');
  for (const [names, more] of [
    [['f.sock', 'w.sock'], []],
    [['w.sock', 'f.sock'], ['--fdname=websocket:encke.socket']],
  ]) {
    const dir = tempDir(t);
    const daemon = activate(dir, names, more);
    defer(t, () => daemon.stop('SIGKILL'));
    await until('it listens', () => names.every((name) => fs.existsSync(path.join(dir, name))));
    const ws = await bothWork(path.join(dir, 'f.sock'), path.join(dir, 'w.sock'));
    assert.equal((await daemon.stop()).code, 0);
    assert.equal(await within(ws.closed, 20_000, 'the close'), 1001);
    for (const name of names)
      assert.ok(fs.existsSync(path.join(dir, name)), "sockets that are systemd's are left to it");
  }
});

claim('more sockets than two are refused, and why is said', async (t) => {
  if (spawnSync('systemd-socket-activate', ['--version']).error)
    return t.skip('systemd-socket-activate is not installed');
  const dir = tempDir(t);
  const daemon = activate(dir, ['a.sock', 'b.sock', 'c.sock']);
  defer(t, () => daemon.stop('SIGKILL'));
  await until('it listens', () => fs.existsSync(path.join(dir, 'c.sock')));
  net.connect(path.join(dir, 'a.sock')).on('error', () => {});
  assert.ok((await within(daemon.exited, 20_000, 'its end')).code > 0);
  assert.match(daemon.stderr, /^encke: error: .*3 sockets/m);
});

claim('the units name the sockets that the configurations look for', async (t) => {
  const read = (name) => fs.readFileSync(path.join(ROOT, 'deploy', name), 'utf8');
  const sockets = [...read('encke.socket').matchAll(/^ListenStream=(.*)$/gm)].map((m) => m[1]);
  assert.equal(sockets.length, 2);
  const [fastcgi, websocket] = sockets;
  assert.equal(websocket, fastcgi.replace(/\.sock$/, '-websocket.sock'));
  const nginx = read('nginx/conf.d/encke.conf');
  assert.match(nginx, new RegExp(`upstream encke \\{\\s+server unix:${fastcgi};`));
  assert.match(nginx, new RegExp(`encke_websocket \\{\\s+server unix:${websocket};`));
  const lighttpd = read('lighttpd/conf-available/50-encke.conf');
  for (const socket of sockets) assert.ok(lighttpd.includes(`"${socket}"`));
  if (spawnSync('systemd-analyze', ['--version']).error)
    return t.skip('systemd-analyze is not installed');
  // In a copy, since what it starts is not installed here.
  const dir = tempDir(t);
  for (const unit of ['encke.socket', 'encke.service'])
    fs.writeFileSync(
      path.join(dir, unit),
      read(unit).replace('/usr/local/bin/encke', daemonBinary()),
    );
  const verified = spawnSync(
    'systemd-analyze',
    ['verify', '--man=no', ...['encke.socket', 'encke.service'].map((u) => path.join(dir, u))],
    { encoding: 'utf8' },
  );
  const complaints = verified.stderr.split('\n').filter((line) => line.includes('encke'));
  assert.deepEqual(complaints, []);
});

claim('lighttpd starts it by bin-path, WebSockets and all', async (t) => {
  const stderr = path.join(tempDir(t), 'stderr');
  const stack = await startStack(t, {
    server: 'lighttpd',
    start: false,
    webConfig: {
      // the example's lines, with the # taken away, and paths of this test's
      lighttpd: (text) =>
        change(
          text,
          [
            /#"bin-path" +=> "[^"]*"/,
            () => `"bin-path" => "${script(t, stack, stderr)}"`,
          ],
          [/#"max-procs"/, '"max-procs"'],
          [/#"bin-environment"/, '"bin-environment"'],
          [/# +"ENCKE_HOLD"/, '"ENCKE_HOLD"'],
          [/# +("ENCKE_WEBSOCKET_SOCKET" => )"[^"]*"/, () => `$1"${stack.websocket}"`],
          [/\$1/, '"ENCKE_WEBSOCKET_SOCKET" => '],
          [/#\),/, '),'],
        ),
    },
  });
  await stack.web.start();
  defer(t, () => stack.web.stop());
  await until('it answers', async () => (await stack.http('status')).json().websocket === true);
  for (const transport of LIVE) {
    const reader = await openReader(stack, transport, { id: 'now' });
    await reader.until('open', () => reader.cursor);
    await stack.create('by bin-path');
    await reader.has(1);
    reader.cut();
  }
  await stack.web.stop();
  await until('the daemon has ended, too', () => !fs.existsSync(stack.websocket));
  assert.doesNotMatch(fs.readFileSync(stderr, 'utf8'), /^encke: (error|warn)/m);
});

function script(t, stack, stderr) {
  const file = path.join(tempDir(t), 'encke.sh');
  const line = `exec '${daemonBinary()}' --db '${stack.db}' 2>'${stderr}'`;
  fs.writeFileSync(file, `#!/bin/sh\n${line}\n`, { mode: 0o755 });
  return file;
}

