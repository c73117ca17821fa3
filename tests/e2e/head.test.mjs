// HEAD wherever GET is: the same headers, no body, and no wait.
import assert from 'node:assert/strict';
import { claim, startStack, throughBoth } from './lib/harness.mjs';
import { handshake, shake } from './lib/websocket.mjs';
import { Connection } from './lib/fcgi.mjs';
import { startUpstream } from './lib/upstream.mjs';

const SAME = ['content-type', 'content-length', 'cache-control', 'x-content-type-options', 'allow',
  'content-security-policy', 'x-accel-buffering', 'last-event-id'];

// What HEAD must have of a GET's answer. X-Accel-Buffering is for the web server.
const headers = (answer) =>
  Object.fromEntries(SAME.map((name) => [name, answer.headers[name]]).filter(([, value]) => value));

throughBoth('HEAD gets the headers of GET and no body, and waits for nothing', async (t, server) => {
  const stack = await startStack(t, { server });
  await stack.create('something');
  for (const [at, status] of [
    ['update', 200],
    ['update?id=now&timeout=50', 200], // would be held
    ['update?as=html', 200],
    ['update?limit=none', 400],
    ['subscribe', 200],
    ['longpolling?id=', 200],
    ['longpolling', 200],
    ['streaming', 200],
    ['iframe', 200],
    ['events', 200],
    ['events?as=none', 400],
    ['websocket', 426],
    ['nothing', 404],
    ['', 404],
  ]) {
    const head = await stack.http(at, { method: 'HEAD', wait: 10_000 });
    assert.equal(head.status, status, at);
    assert.equal(head.body, '');
    if (at === 'websocket') continue; // asked without FastCGI
    const now = `${at}${at.includes('?') ? '&' : '?'}`.replace(/timeout=\d+/, '');
    const get = await stack.http(at.includes('none') || status === 404 ? at : `${now}timeout=0`);
    if (/streaming|iframe|events$/.test(at)) delete get.headers['content-length']; // lighttpd's own
    assert.deepEqual(headers(head), headers(get), at);
  }
  const status = await stack.http('status', { method: 'HEAD' });
  assert.equal(status.status, 200);
  assert.ok(Number(status.headers['content-length']) > 100);
  const { holds, streams } = await stack.status();
  assert.equal(holds, 0);
  assert.deepEqual(streams, { streaming: 0, iframe: 0, events: 0, websocket: 0 });
  const create = await stack.http('create', { method: 'HEAD' });
  assert.equal(create.status, 405);
  assert.equal(create.headers.allow, 'POST');
  assert.equal(create.body, '');
});

claim('a HEAD has no body on its way to the web server, and the next GET has one', async (t) => {
  const stack = await startStack(t);
  const connection = await Connection.open(stack.socket);
  for (const at of ['status', 'update', 'streaming', 'iframe', 'nothing', 'create', 'update?limit=x']) {
    const uri = `/comet/${at}`;
    const head = await connection.ask({ method: 'HEAD', uri, keep: true });
    assert.equal(head.bytes.length, 0, at);
    const get = await connection.ask({ uri: `${uri}${at.includes('?') ? '&' : '?'}timeout=0`, keep: true });
    assert.ok(get.bytes.length > 0 || at === 'streaming', at);
  }
  connection.destroy();
});

claim('where a WebSocket is, HEAD is told so without a body', async (t) => {
  const stack = await startStack(t);
  for (const [at, status] of [
    ['/comet/websocket', 426],
    ['/comet/nothing', 404],
  ]) {
    const answer = await shake(stack.websocket, handshake(at, { method: 'HEAD' }));
    assert.equal(answer.status, status);
    assert.ok(Number(answer.headers['content-length']) > 0);
    assert.equal(answer.body, '');
  }
});

claim('a HEAD of a relayed subscribe asks nobody', async (t) => {
  const upstream = await startUpstream(t);
  const stack = await startStack(t, { args: ['--upstream', upstream.url] });
  const head = await stack.raw({ method: 'HEAD', uri: '/comet/subscribe?seen=1' });
  assert.equal(head.status, 200);
  assert.equal(head.bytes.length, 0);
  assert.equal((await stack.status()).upstreams[0].requests, 0);
});
