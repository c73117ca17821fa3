// The relay of deploy/README.md, as a site owner would copy it: its configurations behind real web servers, a real
// distant Encke as the upstream, the feed, the demo, the unit's drop-in, and what the manuals say.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import http from 'node:http';
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
  until,
} from './lib/harness.mjs';
import { expectJson } from './lib/expect.mjs';
import { openReader } from './lib/readers.mjs';

const DOCUMENT = fs.readFileSync(path.join(ROOT, 'deploy/README.md'), 'utf8');
const SECTION = /^## The relay\n([^]*)/m.exec(DOCUMENT)[1];

// The indented block of the section that begins with `start`, without its indent.
function block(start) {
  const all = SECTION.split(/\n(?=\S)/).flatMap((part) => {
    const at = part.indexOf('\n    ');
    return at < 0 ? [] : [part.slice(at + 1).replace(/^ {4}/gm, '')];
  });
  const found = all.filter((one) => one.startsWith(start));
  assert.equal(found.length, 1, `a block that begins with ${start}`);
  return found[0];
}

// Replaces what must be there.
function change(text, ...changes) {
  for (const [from, to] of changes) {
    assert.ok(text.includes(from), from);
    text = text.replaceAll(from, to);
  }
  return text;
}

// What Debian's own configurations have round it.
const AROUND = {
  nginx(dir, port, socket) {
    fs.copyFileSync('/etc/nginx/fastcgi_params', path.join(dir, 'fastcgi_params'));
    const site = change(
      block('upstream relay'),
      ['listen 80;', `listen 127.0.0.1:${port};`],
      ['    listen [::]:80;\n', ''],
      ['/run/encke/encke.sock', socket],
    );
    const temp = ['client_body', 'fastcgi', 'proxy', 'scgi', 'uwsgi'];
    return `${process.getuid() ? '' : 'user root;'}
worker_processes 1;
pid ${dir}/pid;
error_log ${dir}/error.log;
events { worker_connections 768; }
http {
    access_log off;
    gzip on;
    ${temp.map((kind) => `${kind}_temp_path ${dir}/${kind};`).join(' ')}
${site}
}`;
  },
  lighttpd(dir, port, socket) {
    const site = change(
      block('server.modules'),
      ['/run/encke/encke.sock', socket],
      ['server.max-fds = 20000', 'server.max-fds = 1000'],
      ['server.max-connections = 10000', 'server.max-connections = 500'],
    );
    return `
server.modules = ( "mod_indexfile", "mod_access", "mod_alias", "mod_redirect" )
server.bind = "127.0.0.1"
server.port = ${port}
server.document-root = "${dir}"
server.errorlog = "${dir}/error.log"
server.pid-file = "${dir}/pid"
url.access-deny = ( "~", ".inc" )
${site}
server.modules += ( "mod_staticfile" )
`;
  },
};
const COMMAND = {
  nginx: (dir) => `nginx -e ${dir}/error.log -p ${dir} -c ${dir}/conf -g 'daemon off;'`,
  lighttpd: (dir) => `lighttpd -D -f ${dir}/conf`,
};

// A web server with the document's lines before the daemon at `socket`, and a way to ask it as relay.lan.
async function relaySite(t, server, socket) {
  const dir = tempDir(t),
    port = await freePort();
  fs.writeFileSync(path.join(dir, 'conf'), AROUND[server](dir, port, socket));
  const web = run(['/bin/sh', '-c', `PATH=$PATH:/usr/sbin exec ${COMMAND[server](dir)}`], {
    group: true,
  });
  defer(t, () => web.stop('SIGKILL'));
  const ask = (at, options = {}) =>
    fetchHttp(`http://127.0.0.1:${port}${at}`, {
      ...options,
      headers: { Host: 'relay.lan', ...options.headers },
    });
  await until(`${server} answers`, async () => {
    if (web.ended) throw new Error(`${server} ended: ${web.stderr}`);
    return (await ask('/')).status === 404;
  });
  assert.equal(web.stderr.replace(/.*server started.*\n/g, ''), '');
  return ask;
}

// The relay, and what its daemon may say when its upstream goes.
const startRelay = (t, args, options = {}) =>
  startStack(t, { args, allow: [/^encke: warn: upstream /], ...options });

const upstreamOf = async (stack, name = 'default') =>
  (await stack.status()).upstreams.find((one) => one.name === name);

throughBoth("the documented relay: many clients, one request to a distant Encke", async (t, server) => {
  const far = await startStack(t, { server: 'nginx' });
  const relay = await startRelay(t, ['--upstream', `${far.url}/subscribe`]);
  const ask = await relaySite(t, server, relay.socket);

  const clients = Array.from({ length: 50 }, () => ask('/subscribe?channel=main&seen=42'));
  await until('all wait', async () => (await upstreamOf(relay)).clients === 50);
  assert.equal((await relay.status()).holds, 50);
  await far.holds(1);
  await far.publish('news');
  for (const one of clients) {
    const answer = await one;
    assert.deepEqual(expectJson(answer), { ret: 'new' });
    assert.equal(answer.headers['content-type'], 'application/json');
  }
  const told = await upstreamOf(relay);
  assert.deepEqual(
    [told.state, told.clients, told.asked, told.requests, told.coalesced, told.answers],
    ['up', 0, 50, 1, 49, 1],
  );

  // Each path but one is greeted, and nobody publishes.
  const greeted = await ask('/anything/else');
  assert.equal(greeted.status, 404);
  assert.match(greeted.headers['content-type'], /^text\/plain/);
  assert.match(greeted.body, /^Hello!/);
  const creates = ['/create', '/x/create', '/cre%61te', '//create', '/subscribe/../create'];
  for (const at of [...creates, '/batch', '/x/batch', '/bat%63h', '//batch']) {
    const headers = { 'Content-Type': 'application/json' };
    const forged = await ask(at, { method: 'POST', headers, body: '{"msg":"forged"}' });
    assert.equal(forged.status, 403, at);
  }
  assert.equal((await relay.status()).messages, 0);

  // How it is doing is for this machine.
  assert.equal((await ask('/status')).json().upstreams[0].asked, 50);
  const elsewhere = new http.Agent({ localAddress: '127.0.0.2' });
  for (const at of ['/status', '/x/status', '/stat%75s'])
    assert.equal((await ask(at, { agent: elsewhere })).status, 403, at);
});

throughBoth("the documented relay while its upstream is dead, and after", async (t, server) => {
  const far = await startStack(t, { server: 'nginx' });
  const relay = await startRelay(t, ['--upstream', `${far.url}/subscribe`]);
  const ask = await relaySite(t, server, relay.socket);
  const held = ask('/subscribe?channel=main');
  await far.holds(1);
  await far.web.stop('SIGKILL');
  assert.deepEqual(expectJson(await held), { ret: 'new' });
  const began = Date.now();
  assert.deepEqual(expectJson(await ask('/subscribe?channel=main')), { ret: 'new' });
  assert.ok(Date.now() - began >= 800, 'no client spins');
  const waiting = ask('/subscribe?channel=main');
  await until('down', async () => (await upstreamOf(relay)).state === 'down');
  await far.web.start();
  assert.deepEqual(expectJson(await waiting), { ret: 'new' });
  const again = ask('/subscribe?channel=main');
  await far.holds(1);
  await far.publish('news');
  assert.deepEqual(expectJson(await again), { ret: 'new' });
  assert.equal((await upstreamOf(relay)).state, 'up');
});

throughBoth('several upstreams by name, and the log’s own subscribe', async (t, server) => {
  const far = await startStack(t, { server: 'nginx' });
  const relay = await startRelay(t, [
    ...['--upstream', `one=${far.url}/update?channel=one`],
    ...['--upstream-params', 'one=id,timeout'],
    ...['--upstream', `two=${far.url}/longpolling?channel=two`],
  ]);
  const ask = await relaySite(t, server, relay.socket);
  await far.publish('first', { channel: 'one' });
  const one = await ask('/subscribe?upstream=one&channel=two&limit=1');
  assert.deepEqual(
    one.json().messages.map((m) => [m.channel, m.data]),
    [['one', 'first']],
  );
  const two = ask('/subscribe?upstream=two');
  await far.holds(1);
  await far.publish('second', { channel: 'two' });
  const answer = await two;
  assert.equal(answer.body, 'Server says: second\n');
  assert.equal(answer.headers['content-type'], 'text/plain; charset=utf-8');
  assert.equal((await ask('/subscribe?upstream=three')).status, 400);
  const own = ask('/subscribe');
  await relay.holds(1);
  await relay.publish('here');
  assert.deepEqual((await own).json(), { ret: 'new' });
});

throughBoth('a distant Encke feeds a channel, each answer once', async (t, server) => {
  const far = await startStack(t, { server: 'nginx' });
  const relay = await startRelay(
    t,
    [
      ...['--upstream', `far=${far.url}/update?limit=10`],
      ...['--upstream-channel', 'far=far', '--max-message', '1M'],
    ],
    { server },
  );
  await far.holds(1);
  const reader = await openReader(relay, 'events', { id: 'now', channel: 'far' });
  await reader.until('its cursor', () => reader.cursor);
  const sent = [];
  for (const text of ['one', 'two', 'three']) {
    sent.push(...(await far.publish(text)));
    await until('appended', async () => (await upstreamOf(relay, 'far')).cursor === sent.at(-1));
    await far.holds(1);
  }
  await relay.daemon.kill('SIGKILL');
  for (let i = 0; i < 25; i++) sent.push(...(await far.publish(`${i}`.padEnd(60000, '.'))));
  await relay.daemon.start();
  await until('resumed', async () => (await upstreamOf(relay, 'far')).cursor === sent.at(-1));
  const fed = (await relay.all({ channel: 'far' })).map((m) => JSON.parse(m.data));
  assert.deepEqual(
    fed.flatMap((answer) => answer.messages.map((m) => m.id)),
    sent,
  );
  const { channel, appended, shortened } = await upstreamOf(relay, 'far');
  assert.deepEqual([channel, appended, shortened], ['far', 3, 0]);
  reader.cut();
});

claim('the demo becomes a relay by ENCKE_UPSTREAM', async (t) => {
  const far = await startStack(t, { server: 'nginx' });
  const port = await freePort();
  const demo = run([path.join(ROOT, 'deploy/demo'), 'lighttpd', String(port)], {
    env: {
      ...process.env,
      ENCKE_BIN: daemonBinary(),
      ENCKE_UPSTREAM: `${far.url}/subscribe`,
      TMPDIR: tempDir(t),
    },
  });
  defer(t, () => demo.stop());
  const url = `http://127.0.0.1:${port}`;
  await until('it runs', () => {
    if (demo.ended) throw new Error(demo.stderr);
    return demo.stdout.includes(`${url}/comet/subscribe`);
  });
  const held = fetchHttp(`${url}/comet/subscribe`);
  await far.holds(1);
  await far.publish('news');
  assert.deepEqual((await held).json(), { ret: 'new' });
  assert.equal((await demo.stop()).code, 0);
});

claim("the drop-in opens the network to encke.service, and systemd understands it", async (t) => {
  if (spawnSync('systemd-analyze', ['--version']).error)
    return t.skip('systemd-analyze is not installed');
  const dir = tempDir(t),
    unit = path.join(dir, 'encke.service');
  const read = (name) => fs.readFileSync(path.join(ROOT, 'deploy', name), 'utf8');
  fs.writeFileSync(path.join(dir, 'encke.socket'), read('encke.socket'));
  fs.writeFileSync(unit, read('encke.service').replace('/usr/local/bin/encke', daemonBinary()));
  const analyze = (...args) => {
    const done = spawnSync('systemd-analyze', [...args, unit], { encoding: 'utf8' });
    assert.equal(done.stderr.split('\n').filter((l) => l.includes(dir)).join('\n'), '');
    return done.stdout;
  };
  const open = () => {
    const table = analyze('security', '--offline=yes', '--no-pager');
    const of = (name) => table.split('\n').find((line) => line.includes(name)).startsWith('✗');
    return ['PrivateNetwork=', '~AF_(INET|INET6)', '~AF_NETLINK', '~AF_UNIX', '~AF_PACKET'].map(of);
  };
  assert.deepEqual(open(), [false, false, false, true, false]);
  const shown = /^ +sudo install -D -m 644 \S+\/examples\/(\S+) \/etc\/systemd\/system\/(\S+)$/m;
  const [, from, to] = shown.exec(SECTION);
  fs.mkdirSync(path.dirname(path.join(dir, to)));
  fs.writeFileSync(path.join(dir, to), read(from));
  analyze('verify', '--man=no');
  assert.deepEqual(open(), [true, true, true, true, false]);
  const staged = path.join(dir, 'staged');
  const made = spawnSync('make', ['-n', 'install', `DESTDIR=${staged}`], {
    cwd: ROOT,
    encoding: 'utf8',
  });
  assert.match(made.stdout, new RegExp(`${staged}/usr/local/share/encke/examples/${from}`));
});
