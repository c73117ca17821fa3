// What must be so on a machine on which README's "Mount it on your server" was followed.
import assert from 'node:assert/strict';
import { until } from './harness.mjs';
import { STEPS } from './machine.mjs';

const PAGE = /<title>Encke/;
const POST = '-d msg=hello';

// Encke answers at /comet/, and only there; this machine may publish, by both families, others may
// read.
export async function carries(machine) {
  await until('it answers', async () => (await machine.ask('/comet/status')).status === 200);
  assert.match(await machine.type(STEPS.see), /^\{"id":"[^"]+"\}$/m);
  for (const family of ['-4', '-6'])
    assert.equal((await machine.ask('/comet/create', `${family} ${POST}`)).status, 200, family);
  const other = '--interface 127.0.0.2';
  assert.equal((await machine.ask('/comet/create', `${other} ${POST}`, '127.0.0.1')).status, 403);
  assert.equal((await machine.ask('/comet/status', other, '127.0.0.1')).status, 403);
  const read = await machine.ask('/comet/update?timeout=0', other, '127.0.0.1');
  assert.match(read.body, /"data":"hello"/);
  assert.equal((await machine.ask('/comet/x/create', POST)).status, 404);
  const stream = await machine.ask('/comet/events?id=now&timeout=0');
  assert.match(stream.body, /^event: cursor$/m);
  const upgrade = ['Connection: Upgrade', 'Upgrade: websocket', 'Sec-WebSocket-Version: 13'];
  const key = 'Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==';
  const headers = [...upgrade, key].map((one) => `-H '${one}'`).join(' ');
  const socket = await machine.ask('/comet/websocket', `-m 1 ${headers}`);
  assert.equal(socket.status, 101);
}

// The page is at /, and the library that it needs where it looks for it.
export async function showsThePage(machine) {
  const page = await machine.ask('/');
  assert.match(page.body, PAGE);
  assert.equal((await machine.ask('/ways.html')).status, 200);
  assert.match((await machine.ask('/javascript/jquery/jquery.min.js')).body, /jQuery/);
}

// What was there before is still at /.
export async function showsTheOther(machine, what) {
  const page = await machine.ask('/');
  assert.equal(page.status, 200);
  assert.match(page.body, what);
  assert.doesNotMatch(page.body, PAGE);
}

// While a request is held, a reload makes nobody else wait until that is over (lighttpd: 2 s).
export async function reloads(machine, server) {
  const held = machine.ask('/comet/update?id=now&timeout=110');
  await until('it holds', async () => /"holds": 1,/.test((await machine.ask('/comet/status')).body));
  await machine.type(`sudo systemctl reload-or-restart ${server}`);
  for (let i = 0; i < 10; i++) {
    const answer = await machine.ask('/comet/status', '-m 90');
    assert.equal(answer.status, 200, `curl's exit code ${answer.code}`);
  }
  await machine.ask('/comet/create', POST);
  await held;
}
