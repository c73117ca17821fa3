// Who may publish and who may see the status, as the configurations in deploy/ have it: this machine,
// by either family, until the owner opens a line or asks for a password; and nobody gets round that.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { fetchHttp, freePort, ROOT, startStack, tempDir, throughBoth } from './lib/harness.mjs';
import { openReader } from './lib/readers.mjs';
import { handshake, OP, RawWebSocket, shake } from './lib/websocket.mjs';

// Replaces what must be there.
function change(text, ...changes) {
  for (const [from, to] of changes) {
    assert.match(text, from);
    text = text.replace(from, to);
  }
  return text;
}

const TEXT = { 'Content-Type': 'text/plain' };
const post = { method: 'POST', headers: TEXT, body: 'text' };
const several = {
  method: 'POST',
  headers: { 'Content-Type': 'application/json' },
  body: '[{"msg":"text"}]',
};
// Any address but 127.0.0.1 is another machine to the web server.
const elsewhere = { agent: new http.Agent({ localAddress: '127.0.0.2' }) };

const OPENS = (name) => [new RegExp(`^.*# OPEN ${name}: .*\\n`, 'm'), ''];

throughBoth('create, batch and status are for this machine, reading is for all', async (t, server) => {
  const stack = await startStack(t, { server });
  assert.equal((await stack.http('create', post)).status, 200);
  assert.equal((await stack.http('batch', several)).status, 200);
  assert.equal((await stack.http('status')).status, 200);
  for (const at of ['create', 'x/create', 'cre%61te', '/create', 'x/../create'])
    assert.equal((await stack.http(at, { ...post, ...elsewhere })).status, 403, at);
  for (const at of ['batch', 'x/batch', 'bat%63h', '/batch', 'x/../batch'])
    assert.equal((await stack.http(at, { ...several, ...elsewhere })).status, 403, at);
  for (const at of ['status', 'x/status', 'stat%75s', '/status'])
    assert.equal((await stack.http(at, elsewhere)).status, 403, at);
  assert.equal((await stack.status()).creates, 2);
  const read = await stack.http('update?timeout=0', elsewhere);
  assert.deepEqual(read.json().messages.map((m) => m.data), ['text', 'text']);
});

throughBoth('a program that asks localhost by ::1 may publish, too', async (t, server) => {
  if (!Object.values(os.networkInterfaces()).flat().some((one) => one.address === '::1'))
    return t.skip('this machine has no ::1');
  const port = await freePort();
  const stack = await startStack(t, {
    server,
    webConfig: {
      nginx: (text) => change(text, [/listen 127[^;]*;/, `$& listen [::1]:${port};`]),
      lighttpd: `$SERVER["socket"] == "[::1]:${port}" { }\n`,
    },
  });
  const at = (endpoint) => `http://[::1]:${port}/comet/${endpoint}`;
  assert.equal((await fetchHttp(at('create'), post)).status, 200);
  assert.equal((await fetchHttp(at('status'))).status, 200);
  assert.equal((await stack.status()).creates, 1);
});

throughBoth('the line that says OPEN opens create and batch, or status, and not the other', async (t, server) => {
  for (const [name, created, seen] of [
    ['create', 200, 403],
    ['status', 403, 200],
  ]) {
    const open = (text) => change(text, OPENS(name));
    const stack = await startStack(t, { server, webConfig: { nginx: open, lighttpd: open } });
    assert.equal((await stack.http('create', { ...post, ...elsewhere })).status, created);
    assert.equal((await stack.http('batch', { ...several, ...elsewhere })).status, created);
    assert.equal((await stack.http('status', elsewhere)).status, seen);
  }
});

throughBoth('OPEN=create, with which the demo asks for its site, opens create', async (t, server) => {
  const dir = tempDir(t);
  const lines = (env) => {
    const at = fs.mkdtempSync(path.join(dir, 'site-'));
    const argv = [server, at, '8080', path.join(dir, 'encke.sock')];
    const site = spawnSync(path.join(ROOT, 'deploy/site'), argv, { env: { ...process.env, ...env } });
    assert.equal(site.status, 0, String(site.stderr));
    return fs.readFileSync(path.join(at, 'encke.conf'), 'utf8').split('\n');
  };
  const [shut, open] = [lines({}), lines({ OPEN: 'create' })];
  const taken = shut.filter((line) => / OPEN create: /.test(line));
  assert.equal(taken.length, 1);
  assert.deepEqual(open, shut.filter((line) => !taken.includes(line)));
  assert.match(fs.readFileSync(path.join(ROOT, 'deploy/demo'), 'utf8'), /OPEN=create "\$here\/site"/);
});

// Request targets that end in create, or batch, for the one who reads them loosely.
const CREATES = [
  '/comet/create',
  '/comet/x/create',
  '/comet//create',
  '/comet/cre%61te',
  '/comet/%63reate',
  '/comet/update%2fcreate',
  '/comet/x/..%2fcreate',
  '/comet/update/%2e%2e/create',
  '/comet/update?#/create',
  '/comet/update#/create',
  '/comet/update%23/create',
  '/comet/update%3f/create',
  '/comet/update;/create',
  '/comet/create?x=/update',
  '/comet/create/.',
  '/comet/create/',
  '/comet/create%00',
  '/comet/create%20',
  '/comet/./create',
  '/comet/status/../create',
  '/comet/update\\create',
  '/comet/websocket/../create',
  '/comet/websocket%2f..%2fcreate',
  '/comet/websocket#/create',
  '/comet/events/create',
  'http://x/comet/create',
];
const TARGETS = CREATES.flatMap((at) => [
  at,
  at.replace(/cre%61te$/, 'b%61tch').replace(/%63reate$/, '%62atch').replace(/create(?=[^a-z]*$|\?)/, 'batch'),
]);

// A request as its bytes are: no client normalizes them.
function raw(port, target) {
  return new Promise((resolve, reject) => {
    const socket = net.connect(port, '127.0.0.1');
    let text = '';
    socket.on('data', (part) => {
      text += part;
    });
    socket.on('close', () => resolve(text));
    socket.on('error', reject);
    socket.write(
      `POST ${target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n` +
        'Content-Type: application/json\r\nContent-Length: 16\r\n\r\n{"msg":"forged"}',
    );
  });
}

throughBoth('where create is guarded, nobody gets round the guard', async (t, server) => {
  const password = path.join(tempDir(t), 'publishers');
  fs.writeFileSync(password, 'publisher:$apr1$abcdefgh$Xu3yV.Vf1mC0vNsS4bX8T1\n');
  const stack = await startStack(t, {
    server,
    webConfig: {
      // the example's lines in the place of the one that says OPEN, for the WebSocket too
      nginx: (text) =>
        change(
          text,
          [/^.*# OPEN create: .*\n/m, ''],
          [/#auth_basic "publishers";/g, 'auth_basic "publishers";'],
          [/#auth_basic_user_file [^;]*;/g, `auth_basic_user_file ${password};`],
        ),
      lighttpd: (text) =>
        change(
          `server.modules += ("mod_auth", "mod_authn_file")\n${text}`,
          [/^.*# OPEN create: .*\n/m, ''],
          [/#(auth\.backend = )/, '$1'],
          [/#(auth\.backend\.htpasswd\.userfile = )".*"/, `$1"${password}"`],
          [/#(auth\.require = )/, '$1'],
          [/#( +"require" => "valid-user" )/, '$1'],
        ),
    },
  });
  await stack.publish('so that no update waits');
  const first = await raw(stack.web.port, TARGETS[0]);
  assert.match(first, /^HTTP\/1\.1 401 /, 'the guard is there');
  for (const target of TARGETS) {
    const answer = await raw(stack.web.port, target);
    assert.doesNotMatch(answer.slice(-60), /^\{"id":"[^"]+"\}$/m, target);
  }
  assert.equal((await stack.status()).creates, 1);
  assert.equal((await stack.http('update?timeout=0')).status, 200, 'reading is for all');
  const reader = await openReader(stack, 'events', { id: 'now' });
  await reader.until('open', () => reader.cursor);
  reader.cut();
  // The example guards the WebSocket likewise; and by itself it only reads.
  if (server === 'nginx') {
    const refused = await shake(stack.web.port, handshake('/comet/websocket', {}));
    assert.equal(refused.status, 401);
  }
  const ws = await RawWebSocket.open(stack.websocket, 'websocket?id=now');
  ws.send(OP.TEXT, 'forged');
  await ws.heard('an error', (text) => text.includes('websocket-create'));
  ws.cut();
  assert.equal((await stack.status()).creates, 1);
});
