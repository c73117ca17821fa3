// What a stranger runs first, and the other ways to mount the daemon: make demo, CGI, systemd's
// notification.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import {
  claim,
  defer,
  fetchHttp,
  freePort,
  ROOT,
  run,
  startStack,
  tempDir,
  throughBoth,
  until,
  within,
} from './lib/harness.mjs';
import { expectJson, expectUpdate, texts } from './lib/expect.mjs';

const FORM = { 'Content-Type': 'application/x-www-form-urlencoded' };

// The processes whose command line names this directory.
function processesOf(dir) {
  return fs
    .readdirSync('/proc')
    .filter((pid) => /^\d+$/.test(pid))
    .filter((pid) => {
      try {
        return fs.readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(dir);
      } catch {
        return false;
      }
    });
}

throughBoth(
  'make demo serves the page and the daemon, and Ctrl-C stops all that it started',
  async (t, server) => {
    const port = await freePort(),
      tmp = tempDir(t, 'encke-demo-');
    const env = { ...process.env, TMPDIR: tmp };
    for (const name of ['MAKEFLAGS', 'MAKELEVEL', 'MFLAGS']) delete env[name];
    // A group of its own, as a terminal gives it: Ctrl-C reaches every process of it.
    const demo = spawn('make', ['demo', `SERVER=${server}`, `PORT=${port}`], {
      cwd: ROOT,
      env,
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let said = '';
    for (const out of [demo.stdout, demo.stderr])
      out.setEncoding('utf8').on('data', (s) => {
        said += s;
      });
    const exited = new Promise((resolve) => demo.on('close', resolve));
    let ended = false;
    exited.then(() => {
      ended = true;
    });
    defer(t, () => {
      if (!ended) process.kill(-demo.pid, 'SIGKILL');
      for (const pid of processesOf(tmp)) process.kill(Number(pid), 'SIGKILL');
    });
    const url = `http://127.0.0.1:${port}`;
    await until(
      'the demo says that it runs',
      () => {
        if (ended) throw new Error('it ended');
        return said.includes(`${url}/comet/create`);
      },
      { within: 60_000 },
    ).catch((error) => {
      throw new Error(`${error.message}\n${said}`, { cause: error });
    });
    assert.match(said, /Ctrl-C/);
    const page = await fetchHttp(`${url}/`);
    assert.equal(page.status, 200);
    assert.match(page.headers['content-type'], /^text\/html/);
    assert.equal((await fetchHttp(`${url}/javascript/jquery/jquery.js`)).status, 200);
    const held = fetchHttp(`${url}/comet/update?id=now`);
    await until(
      'it holds',
      async () => (await fetchHttp(`${url}/comet/status`)).json().holds === 1,
    );
    expectJson(
      await fetchHttp(`${url}/comet/create`, { method: 'POST', headers: FORM, body: 'msg=hello' }),
    );
    assert.deepEqual(texts(expectUpdate(expectJson(await held)).messages), ['hello']);
    const last = fetchHttp(`${url}/comet/update?id=now`);
    await until(
      'it holds',
      async () => (await fetchHttp(`${url}/comet/status`)).json().holds === 1,
    );
    assert.ok(processesOf(tmp).length >= 2, 'the daemon and the web server run');
    process.kill(-demo.pid, 'SIGINT');
    assert.deepEqual((await last).json().messages, [], 'whoever is held is answered first');
    await within(exited, 20_000, 'the demo to end');
    await until('nothing of it is left', () => processesOf(tmp).length === 0);
    await assert.rejects(fetchHttp(`${url}/`), /ECONNREFUSED/);
    assert.deepEqual(fs.readdirSync(tmp), [], 'its temporary folder is removed');
    for (const line of said.split('\n').filter((l) => l.startsWith('encke: ')))
      assert.match(line, /^encke: (info|debug): /);
  },
);

claim('the demo on a port that is taken says so and starts nothing', async (t) => {
  const stack = await startStack(t, { server: 'lighttpd' });
  const tmp = tempDir(t);
  const demo = run([path.join(ROOT, 'deploy/demo'), 'lighttpd', String(stack.web.port)], {
    cwd: ROOT,
    env: { ...process.env, TMPDIR: tmp },
  });
  assert.ok((await demo.exited).code > 0);
  assert.match(demo.stderr, new RegExp(`${stack.web.port}.*in use.* PORT=${stack.web.port + 1}'`));
  assert.deepEqual(fs.readdirSync(tmp), []);
});

claim('the demo on a port that is none, or is not the caller\'s, says so', async (t) => {
  const user = process.getuid() === 0 ? ['setpriv', '--reuid=65534', '--clear-groups'] : [];
  const dir = tempDir(t); // which that user can read, wherever this checkout is
  fs.chmodSync(dir, 0o755);
  fs.copyFileSync(path.join(ROOT, 'deploy/demo'), path.join(dir, 'demo'));
  const first = Number(fs.readFileSync('/proc/sys/net/ipv4/ip_unprivileged_port_start', 'utf8'));
  for (const [port, says] of [
    ['http', /^demo: PORT is a number up to 65535, not 'http'\n$/],
    ['0', /^demo: PORT is a number from 1 to 65535, not 0\n$/],
    ['99999', /^demo: PORT is a number from 1 to 65535, not 99999\n$/],
    ['80000000', /^demo: PORT is a number up to 65535, not '80000000'\n$/],
    ...(first > 1 ? [['1', /^demo: ports below \d+ are root's: try 'make demo PORT=8080'\n$/]] : []),
  ]) {
    const demo = run([...user, path.join(dir, 'demo'), 'nginx', port]);
    assert.ok((await demo.exited).code > 0);
    assert.match(demo.stderr, says);
  }
});

claim('where there is only CGI, deploy/encke.cgi mounts it', async (t) => {
  if (!fs.existsSync('/usr/bin/cgi-fcgi'))
    return t.skip('cgi-fcgi (Debian: libfcgi-bin) is not installed');
  const stack = await startStack(t);
  const port = await freePort(),
    bin = path.join(stack.dir, 'cgi-bin');
  fs.mkdirSync(bin);
  const script = fs
    .readFileSync(path.join(ROOT, 'deploy/encke.cgi'), 'utf8')
    .replace(/(-connect\s+)\S+/g, `$1${stack.socket}`);
  assert.ok(script.includes(stack.socket));
  fs.writeFileSync(path.join(bin, 'encke.cgi'), script, { mode: 0o755 });
  fs.writeFileSync(
    path.join(stack.dir, 'cgi.conf'),
    `
server.modules = ("mod_cgi")
server.bind = "127.0.0.1"
server.port = ${port}
server.document-root = "${stack.dir}"
server.errorlog = "${stack.dir}/cgi-error.log"
cgi.assign = (".cgi" => "")
`,
  );
  const lighttpd = run([
    '/bin/sh',
    '-c',
    `PATH=$PATH:/usr/sbin exec lighttpd -D -f ${stack.dir}/cgi.conf`,
  ]);
  defer(t, () => lighttpd.stop());
  const url = `http://127.0.0.1:${port}/cgi-bin/encke.cgi`;
  await until('it answers', async () => (await fetchHttp(`${url}/status`)).status === 200);
  const held = Array.from({ length: 5 }, () => fetchHttp(`${url}/update?id=now`));
  await stack.holds(5);
  expectJson(
    await fetchHttp(`${url}/create?channel=main`, {
      method: 'POST',
      headers: FORM,
      body: 'msg=through+CGI',
    }),
  );
  for (const answer of held)
    assert.deepEqual(texts(expectUpdate(expectJson(await answer)).messages), ['through CGI']);
  assert.equal((await fetchHttp(`${url}/nothing`)).status, 404);
});

claim('systemd is told when the daemon is ready and when it stops', async (t) => {
  if (spawnSync('perl', ['-MSocket', '-e', '1']).status !== 0)
    return t.skip('perl is not installed');
  const dir = tempDir(t),
    notify = path.join(dir, 'notify');
  const listen =
    'socket(S, AF_UNIX, SOCK_DGRAM, 0) && bind(S, sockaddr_un($ARGV[0])) || die $!; $| = 1; ' +
    'while (defined recv(S, $m, 4096, 0)) { print "$m\\n" }';
  const listener = run(['perl', '-MSocket', '-e', listen, notify]);
  defer(t, () => listener.stop('SIGKILL'));
  await until('the listener is bound', () => fs.existsSync(notify));
  const stack = await startStack(t, { env: { NOTIFY_SOCKET: notify } });
  await until('ready', () => /^READY=1$/m.test(listener.stdout));
  assert.doesNotMatch(listener.stdout, /STOPPING/);
  await stack.daemon.stop();
  await until('stopping', () => /^STOPPING=1$/m.test(listener.stdout));
});
