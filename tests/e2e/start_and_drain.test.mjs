// How the daemon starts: its socket, inherited ones, options from the environment. And how it
// stops: drained.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import {
  claim,
  daemonBinary,
  defer,
  fetchHttp,
  freePort,
  run,
  startStack,
  tempDir,
  throughBoth,
  until,
  within,
} from './lib/harness.mjs';
import { ask, Connection } from './lib/fcgi.mjs';
import { expectJson, expectUpdate, texts } from './lib/expect.mjs';

const TEXT = { 'Content-Type': 'text/plain' };
const mode = (file) => (fs.statSync(file).mode & 0o777).toString(8);
const clean = (text) =>
  assert.deepEqual(
    text.split('\n').filter((l) => l && !/^encke: (info|debug): /.test(l)),
    [],
  );

claim('the socket has mode 0660, whatever the umask, unless told otherwise', async (t) => {
  for (const umask of ['000', '077']) {
    const wrap = ['/bin/sh', '-c', `umask ${umask}; exec "$@"`, 'sh'];
    assert.equal(mode((await startStack(t, { wrap })).socket), '660');
    assert.equal(
      mode((await startStack(t, { wrap, args: ['--socket-mode', '0666'] })).socket),
      '666',
    );
    assert.equal(
      mode((await startStack(t, { wrap, env: { ENCKE_SOCKET_MODE: '0600' } })).socket),
      '600',
    );
  }
});

claim('a stale socket is replaced', async (t) => {
  const stack = await startStack(t);
  await stack.create('before');
  await stack.daemon.kill('SIGKILL');
  assert.ok(fs.existsSync(stack.socket), 'a killed daemon leaves its socket');
  await stack.daemon.start();
  assert.equal((await stack.all()).length, 1);
});

claim('a live socket is refused, and its owner goes on', async (t) => {
  const stack = await startStack(t);
  const other = run([
    daemonBinary(),
    '--socket',
    stack.socket,
    '--db',
    path.join(stack.dir, 'other.db'),
  ]);
  assert.ok((await other.exited).code > 0);
  assert.match(other.stderr, /^encke: error: .*(use|listen|another|live)/m);
  assert.ok(other.stderr.includes(stack.socket));
  assert.equal((await stack.status()).holds, 0);
});

claim('something that is not a socket is not replaced', async (t) => {
  const dir = tempDir(t),
    file = path.join(dir, 'precious');
  fs.writeFileSync(file, 'precious');
  const daemon = run([daemonBinary(), '--socket', file, '--db', path.join(dir, 'db')]);
  assert.ok((await daemon.exited).code > 0);
  assert.match(daemon.stderr, /^encke: error: /m);
  assert.equal(fs.readFileSync(file, 'utf8'), 'precious');
});

claim('a daemon that stopped has taken its socket away', async (t) => {
  const stack = await startStack(t);
  assert.equal((await stack.daemon.stop()).code, 0);
  assert.ok(!fs.existsSync(stack.socket));
  await stack.daemon.start();
  assert.equal((await stack.daemon.stop('SIGINT')).code, 0);
});

claim('options come from the environment, and the command line wins', async (t) => {
  const stack = await startStack(t, {
    env: { ENCKE_MAX_MESSAGE: '10', ENCKE_HOLD: '1', ENCKE_MAX_HOLDS: '1' },
    args: ['--max-message', '20'],
  });
  const post = (n) =>
    stack.raw({ method: 'POST', uri: '/comet/create', type: 'text/plain', body: 'x'.repeat(n) });
  assert.deepEqual([(await post(20)).status, (await post(21)).status], [200, 413]);
  assert.deepEqual(await stack.subscribe(), { ret: 'punt' });

  const dir = tempDir(t),
    socket = path.join(dir, 'env.sock');
  const daemon = run([daemonBinary()], {
    env: { ...process.env, ENCKE_SOCKET: socket, ENCKE_DB: path.join(dir, 'env.db') },
  });
  defer(t, () => daemon.stop());
  await until('it answers', async () => (await ask(socket)).status === 200);
  assert.equal((await daemon.stop()).code, 0);
  clean(daemon.stderr);
});

// Uses a daemon that inherited its socket, stops it, and looks whether it ended well.
async function usable(t, socket, daemonPid, exited, stderr) {
  await until('it answers', async () => (await ask(socket)).status === 200);
  const created = await ask(socket, {
    method: 'POST',
    uri: '/comet/create',
    type: 'text/plain',
    body: 'inherited',
  });
  assert.equal(created.status, 200);
  const held = ask(socket, { uri: '/comet/update?id=now' });
  await until('it holds', async () => (await ask(socket)).json().holds === 1);
  process.kill(await daemonPid(), 'SIGTERM');
  assert.deepEqual((await held).json().messages, []);
  await exited();
  clean(stderr());
}

claim('a socket inherited as file descriptor 0 is used (spawn-fcgi)', async (t) => {
  const dir = tempDir(t),
    socket = path.join(dir, 'spawned.sock');
  const daemon = run([
    'spawn-fcgi',
    '-n',
    '-s',
    socket,
    '-M',
    '0666',
    '--',
    daemonBinary(),
    '--db',
    path.join(dir, 'db'),
  ]);
  defer(t, () => daemon.stop('SIGKILL'));
  await usable(
    t,
    socket,
    () => daemon.pid,
    async () => assert.equal((await within(daemon.exited, 20_000, 'the end')).code, 0),
    () => daemon.stderr,
  );
});

claim('an inherited socket wins over --socket', async (t) => {
  const dir = tempDir(t),
    socket = path.join(dir, 'spawned.sock'),
    unused = path.join(dir, 'unused.sock');
  const daemon = run([
    'spawn-fcgi',
    '-n',
    '-s',
    socket,
    '--',
    daemonBinary(),
    '--socket',
    unused,
    '--db',
    path.join(dir, 'db'),
  ]);
  defer(t, () => daemon.stop('SIGKILL'));
  await until('it answers', async () => (await ask(socket)).status === 200);
  assert.ok(!fs.existsSync(unused));
  assert.equal((await daemon.stop()).code, 0);
});

claim('lighttpd starts it by bin-path', async (t) => {
  const dir = tempDir(t),
    port = await freePort(),
    pidFile = path.join(dir, 'pid');
  const script = path.join(dir, 'encke.sh');
  fs.writeFileSync(
    script,
    `#!/bin/sh\necho $$ >'${pidFile}'\nexec '${daemonBinary()}' 2>'${dir}/stderr'\n`,
    { mode: 0o755 },
  );
  fs.writeFileSync(
    path.join(dir, 'lighttpd.conf'),
    `
server.modules = ("mod_fastcgi")
server.bind = "127.0.0.1"
server.port = ${port}
server.document-root = "${dir}"
server.errorlog = "${dir}/error.log"
fastcgi.server = ("/comet/" => ((
  "socket" => "${dir}/encke.sock", "bin-path" => "${script}",
  "max-procs" => 1, "check-local" => "disable",
  "bin-environment" => ("ENCKE_DB" => "${dir}/encke.db", "ENCKE_HOLD" => "30"))))
`,
  );
  const lighttpd = run([
    '/bin/sh',
    '-c',
    `PATH=$PATH:/usr/sbin exec lighttpd -D -f ${dir}/lighttpd.conf`,
  ]);
  defer(t, () => lighttpd.stop());
  const url = `http://127.0.0.1:${port}/comet`;
  await until('it answers', async () => (await fetchHttp(`${url}/status`)).status === 200);
  const held = fetchHttp(`${url}/update?id=now`);
  await until('it holds', async () => (await fetchHttp(`${url}/status`)).json().holds === 1);
  expectJson(
    await fetchHttp(`${url}/create`, { method: 'POST', headers: TEXT, body: 'by bin-path' }),
  );
  assert.deepEqual(texts(expectJson(await held).messages), ['by bin-path']);
  const pid = Number(fs.readFileSync(pidFile, 'utf8'));
  process.kill(pid, 'SIGTERM');
  await until(
    'it has ended',
    () => !fs.existsSync(`/proc/${pid}/exe`) || !fs.readlinkSync(`/proc/${pid}/exe`),
  );
  clean(fs.readFileSync(path.join(dir, 'stderr'), 'utf8'));
});

// What systemd does with a socket unit: the listening socket as descriptor 3, and LISTEN_FDS,
// LISTEN_PID.
claim("systemd's socket activation is used", async (t) => {
  const dir = tempDir(t),
    socket = path.join(dir, 'activated.sock');
  const listener = net.createServer();
  await new Promise((resolve) => listener.listen(socket, resolve));
  const fd = listener._handle.fd;
  const argv = [
    '/bin/sh',
    '-c',
    'LISTEN_FDS=1 LISTEN_PID=$$ exec "$@"',
    'sh',
    daemonBinary(),
    '--db',
    path.join(dir, 'db'),
  ];
  const daemon = run(argv, { stdio: ['ignore', 'pipe', 'pipe', fd] });
  defer(t, () => daemon.stop('SIGKILL'));
  defer(t, () => new Promise((resolve) => listener.close(resolve)));
  listener._handle.unref();
  // Node's own copy of the listener must not take the connections: it is closed without unlinking
  // the path.
  fs.renameSync(socket, `${socket}.kept`);
  await new Promise((resolve) => listener.close(resolve));
  fs.renameSync(`${socket}.kept`, socket);
  await usable(
    t,
    socket,
    () => daemon.pid,
    async () => assert.equal((await within(daemon.exited, 20_000, 'the end')).code, 0),
    () => daemon.stderr,
  );
  assert.ok(fs.existsSync(socket), "a socket that is systemd's is left to systemd");
});

claim('systemd-socket-activate starts it at the first connection', async (t) => {
  const dir = tempDir(t),
    socket = path.join(dir, 'activated.sock');
  const daemon = run([
    'systemd-socket-activate',
    '-l',
    socket,
    daemonBinary(),
    '--db',
    path.join(dir, 'db'),
  ]);
  if ((await Promise.race([daemon.exited, until('it listens', () => fs.existsSync(socket))])).error)
    return t.skip('systemd-socket-activate is not installed');
  defer(t, () => daemon.stop('SIGKILL'));
  await until('it answers', async () => (await ask(socket)).status === 200);
  assert.equal((await daemon.stop()).code, 0);
});

claim('LISTEN_FDS meant for another process is not ours', async (t) => {
  const stack = await startStack(t, { env: { LISTEN_FDS: '1', LISTEN_PID: '1' } });
  assert.equal((await stack.status()).holds, 0);
});

throughBoth('SIGTERM answers every hold and every create, and ends with 0', async (t, server) => {
  const stack = await startStack(t, { server });
  const first = await stack.create('first');
  const held = Array.from({ length: 200 }, (_, i) =>
    [
      () => stack.http(`update?id=${first}&channel=quiet`),
      () => stack.http('subscribe?channel=quiet'),
      () => stack.http(`update?id=${first}&channel=quiet&as=html`),
      () => stack.http('update?id=now&channel=quiet&channel=silent'),
    ][i % 4](),
  );
  await stack.holds(200);
  const acknowledged = [];
  let refused = 0,
    stop = false;
  const publishers = Array.from({ length: 16 }, async (_, p) => {
    for (let i = 0; !stop; i++) {
      const answer = await stack
        .http('create', { method: 'POST', headers: TEXT, body: `${p}.${i}` })
        .catch((e) => e);
      if (answer.status === 200) acknowledged.push([answer.json().id, `${p}.${i}`]);
      else {
        refused++;
        return;
      }
    }
  });
  await until('creates are under way', () => acknowledged.length > 100);
  const start = process.hrtime.bigint();
  stack.daemon.process.kill('SIGTERM');
  const { code, signal } = await stack.daemon.exited;
  const took = Number(process.hrtime.bigint() - start) / 1e6;
  stop = true;
  assert.deepEqual({ code, signal }, { code: 0, signal: null });
  assert.ok(took < 2000, `the drain took ${took} ms`);
  await Promise.all(publishers);
  assert.ok(refused > 0);
  const answers = await Promise.all(held);
  answers.forEach((answer, i) => {
    const body = expectJson(answer);
    if (i % 4 === 1) assert.deepEqual(body, { ret: 'punt' });
    else if (i % 4 === 2) assert.equal(body.html, '');
    else assert.deepEqual(expectUpdate(body).messages, []);
  });
  await stack.daemon.start();
  const stored = new Map(
    (await until('the web server is back', () => stack.all())).map((m) => [m.id, m.data]),
  );
  for (const [id, text] of acknowledged) assert.equal(stored.get(id), text);
  assert.equal(new Set(stored.values()).size, stored.size, 'none twice');
});

claim('creates in the queue when SIGTERM comes are committed and answered', async (t) => {
  const stack = await startStack(t);
  const asked = [];
  for (let i = 0; i < 100; i++) {
    const connection = await Connection.open(stack.socket);
    asked.push({ connection, text: `queued ${i}` });
  }
  await stack.status(); // all are accepted
  const answers = asked.map(({ connection, text }) =>
    connection.ask({ method: 'POST', uri: '/comet/create', type: 'text/plain', body: text }),
  );
  await answers[0];
  stack.daemon.process.kill('SIGTERM');
  const outcome = await Promise.all(
    answers.map((a) =>
      a.then(
        (x) => x,
        () => null,
      ),
    ),
  );
  assert.equal((await stack.daemon.exited).code, 0);
  await stack.daemon.start();
  const stored = new Map((await stack.all()).map((m) => [m.id, m.data]));
  outcome.forEach((answer, i) => {
    if (answer?.status === 200) assert.equal(stored.get(answer.json().id), `queued ${i}`);
    else assert.ok(answer === null || answer.status === 503, `${answer?.status}`);
  });
});

claim(
  'a reader that does not read, and half a request, do not keep the drain waiting',
  async (t) => {
    const stack = await startStack(t, { allow: [/^encke: warn: .*not finished in time/] });
    for (let i = 0; i < 18; i++) await stack.create('x'.repeat(60_000));
    const stuck = [];
    for (let i = 0; i < 20; i++) {
      const connection = await stack.connect();
      connection.socket.pause();
      connection.ask({ uri: '/comet/update' });
      stuck.push(connection);
      const half = await stack.connect();
      await half.write(Buffer.from([1, 1, 0, 1]));
      stuck.push(half);
    }
    await stack.status();
    const start = process.hrtime.bigint();
    assert.equal((await stack.daemon.stop()).code, 0);
    const took = Number(process.hrtime.bigint() - start) / 1e6;
    assert.ok(took < 2000, `the drain took ${took} ms`);
    for (const connection of stuck) connection.destroy();
  },
);

claim('each log line on stderr has a level, and --log-level chooses', async (t) => {
  const quiet = await startStack(t, { args: ['--log-level', 'error'] });
  await quiet.create('x');
  await quiet.daemon.stop();
  assert.equal(quiet.daemon.stderr(), '');
  const loud = await startStack(t, { args: ['--log-level', 'debug'] });
  await loud.create('x');
  await loud.daemon.stop();
  for (const line of loud.daemon.stderr().trim().split('\n'))
    assert.match(line, /^encke: (info|debug): ./);
  const usual = await startStack(t);
  await usual.daemon.stop();
  assert.match(usual.daemon.stderr(), /^encke: info: /);
});

claim(
  "started without standard descriptors, the daemon's log lines go nowhere of its own",
  async (t) => {
    for (const closed of ['<&-', '>&-', '2>&-', '<&- >&- 2>&-']) {
      const stack = await startStack(t, {
        wrap: ['/bin/sh', '-c', `exec "$@" ${closed}`, 'sh'],
        args: ['--log-level', 'debug'],
      });
      const fds = [1, 2].map((fd) => fs.readlinkSync(`/proc/${stack.daemon.pid}/fd/${fd}`));
      const own = fs
        .readdirSync(`/proc/${stack.daemon.pid}/fd`)
        .filter((fd) => Number(fd) > 2)
        .map((fd) => {
          try {
            return fs.readlinkSync(`/proc/${stack.daemon.pid}/fd/${fd}`);
          } catch {
            return '';
          }
        });
      if (closed.includes('2>')) assert.equal(fds[1], '/dev/null', closed);
      for (const target of fds)
        assert.ok(!own.includes(target) && !target.includes(stack.dir), `${closed}: ${fds}`);
      for (let i = 0; i < 5; i++) await stack.create(`m${i}`);
      assert.equal((await stack.all()).length, 5);
      assert.equal((await stack.daemon.stop()).code, 0);
    }
  },
);

claim('polls whose turn does not come before the end are told to come back', async (t) => {
  const DRAIN_MS = 1500;
  const stack = await startStack(t);
  const { process } = stack.daemon;
  for (let i = 0; i < 100; i++) await stack.create('x'.repeat(500));
  const connections = await Promise.all(
    Array.from({ length: 1500 }, () => Connection.open(stack.socket)),
  );
  t.after(() => connections.forEach((c) => c.socket.destroy()));
  process.kill('SIGSTOP');
  const answers = connections.map((c) => c.ask({ uri: '/comet/update', keep: true }));
  await until('all is sent', () => connections.every((c) => !c.socket.writableLength));
  process.kill('SIGTERM');
  process.kill('SIGCONT');
  await until('it drains', () => process.stderr.includes('draining'));
  process.kill('SIGSTOP'); // until all that a drain may take is over
  await new Promise((resolve) => setTimeout(resolve, DRAIN_MS + 100));
  process.kill('SIGCONT');
  const statuses = (await Promise.all(answers)).map((answer) => answer.status);
  assert.deepEqual(new Set([200, 503]), new Set([200, 503, ...statuses]));
  t.diagnostic(`${statuses.filter((s) => s === 503).length} of ${statuses.length} come back`);
  assert.equal((await process.exited).code, 0);
});
