// Which address is which endpoint, and whose query counts: the web server's, where it has one.
import assert from 'node:assert/strict';
import http from 'node:http';
import { claim, defer, freePort, startStack, throughBoth } from './lib/harness.mjs';
import { expectError, expectJson, texts } from './lib/expect.mjs';
import { handshake, RawWebSocket, shake } from './lib/websocket.mjs';

// Each user's channel has one message, which says whose it is.
async function twoUsers(stack) {
  for (const user of [1, 2]) await stack.publish(`for ${user}`, { channel: `user${user}` });
}

const X_USER = (user) => ({ headers: { 'X-User': String(user) } });

// What user 1 reads at `at`, however hard it tries to be another.
async function isUser1(stack, at, options = X_USER(1)) {
  for (const more of [
    '',
    'channel=user2',
    'channel=user1&channel=user2',
    'id=&channel=user2',
    'channel=user2&id=0',
    '%63hannel=user2',
    'channel=user2?channel=user2',
  ]) {
    const answer = await stack.http(`${at}?${more}${more && '&'}timeout=0`, options);
    assert.deepEqual(texts(expectJson(answer).messages), ['for 1'], more);
  }
}

const inLocation = (directive) => (text) =>
  text.replace('location ~ /(update|subscribe)$ {', (line) => `${line}\n${directive}\n`);

claim('a site that sets $args in nginx says which channel is read', async (t) => {
  const set = 'set $args "channel=user$http_x_user&id=$arg_id&timeout=$arg_timeout";';
  const stack = await startStack(t, { server: 'nginx', webConfig: { nginx: inLocation(set) } });
  await twoUsers(stack);
  await isUser1(stack, 'update');
  const two = await stack.http('update?channel=user1&timeout=0', X_USER(2));
  assert.deepEqual(texts(two.json().messages), ['for 2']);
});

claim('a site that empties $args in nginx leaves the channel main', async (t) => {
  const webConfig = { nginx: inLocation('set $args "";') };
  const stack = await startStack(t, { server: 'nginx', webConfig });
  await twoUsers(stack);
  await stack.publish('for all');
  const answer = await stack.http('update?channel=user2', {});
  assert.deepEqual(texts(expectJson(answer).messages), ['for all']);
});

claim('a rewrite in nginx that breaks off says which channel is read', async (t) => {
  const rewrite = 'rewrite ^(.*)$ $1?channel=user$http_x_user&timeout=0? break;';
  const webConfig = { nginx: inLocation(rewrite) };
  const stack = await startStack(t, { server: 'nginx', webConfig });
  await twoUsers(stack);
  await isUser1(stack, 'update');
});

// Says who somebody is, as a site's own program would.
async function authority(t) {
  const port = await freePort();
  const server = http.createServer((request, response) => {
    const user = /user=(\d)/.exec(request.headers.cookie ?? '')?.[1];
    response.writeHead(user ? 204 : 401, user ? { 'X-User': user } : {}).end();
  });
  await new Promise((resolve) => server.listen(port, '127.0.0.1', resolve));
  defer(t, () => server.close());
  return port;
}

claim('who auth_request in nginx says that it is reads its own channel', async (t) => {
  const port = await authority(t);
  const recipe = `
    auth_request /whoami;
    auth_request_set $user $upstream_http_x_user;
    include /etc/nginx/fastcgi_params;
    fastcgi_param QUERY_STRING "channel=user$user&timeout=0";`;
  const whoami = `location = /whoami { internal; proxy_pass http://127.0.0.1:${port}; }\n`;
  const nginx = (text) => inLocation(recipe)(text).replace('location /comet/ {', `${whoami}$&`);
  const stack = await startStack(t, { server: 'nginx', webConfig: { nginx } });
  await twoUsers(stack);
  await isUser1(stack, 'update', { headers: { Cookie: 'user=1' } });
  assert.equal((await stack.http('update?channel=user2')).status, 401);
});

claim('a site that rewrites queries in lighttpd says which channel is read', async (t) => {
  const lighttpd = `
server.modules += ( "mod_rewrite" )
$REQUEST_HEADER["x-user"] =~ "^(1|2)$" {
    url.rewrite-once = ( "^(/comet/[a-z]+)(?:\\?.*)?$" => "$1?channel=user%1&timeout=0" )
}
`;
  const stack = await startStack(t, { server: 'lighttpd', webConfig: { lighttpd } });
  await twoUsers(stack);
  await isUser1(stack, 'update');
  const two = await stack.http('update?channel=user1', X_USER(2));
  assert.deepEqual(texts(two.json().messages), ['for 2']);
});

throughBoth('a query that the web server changed counts for a WebSocket too', async (t, server) => {
  const webConfig = {
    nginx: (text) =>
      text.replace('location ~ /websocket$ {', '$&\nset $args "channel=user$http_x_user";\n'),
    lighttpd: `
server.modules += ( "mod_rewrite" )
$REQUEST_HEADER["x-user"] == "1" {
    url.rewrite-once = ( "^(/comet/websocket)(?:\\?.*)?$" => "$1?channel=user1" )
}
`,
  };
  const stack = await startStack(t, { server, webConfig });
  await twoUsers(stack);
  const ws = await RawWebSocket.open(stack.web.port, 'websocket?channel=user2', X_USER(1));
  await ws.heard('a message', (text) => text.includes('data'));
  assert.deepEqual(
    ws.texts.map((text) => JSON.parse(text).data),
    ['for 1'],
  );
  ws.cut();
});

claim('QUERY_STRING is the query where it is given, though it be empty', async (t) => {
  const stack = await startStack(t);
  await twoUsers(stack);
  await stack.publish('for all');
  const read = async (uri, params) =>
    texts((await stack.raw({ uri, params })).json().messages ?? []);
  const uri = '/comet/update?channel=user2&timeout=0';
  assert.deepEqual(await read(uri, { QUERY_STRING: 'channel=user1' }), ['for 1']);
  assert.deepEqual(await read(uri, { QUERY_STRING: '' }), ['for all']);
  assert.deepEqual(await read('/comet/update', { QUERY_STRING: 'channel=user2' }), ['for 2']);
});

throughBoth('what is said in the query and in the body is refused by name', async (t, server) => {
  const stack = await startStack(t, { server });
  await twoUsers(stack);
  const headers = { 'Content-Type': 'application/x-www-form-urlencoded' };
  const post = (at, body) => stack.http(at, { method: 'POST', headers, body });
  for (const [at, body, name] of [
    ['update?channel=user1', 'channel=user2&timeout=0', 'channel'],
    ['update?channel=user1', '%63hannel=user1&timeout=0', 'channel'],
    ['update?id=&timeout=0', 'timeout=0', 'timeout'],
    ['longpolling?channel=user1', 'channel=user2&timeout=0', 'channel'],
    ['streaming?channel=user1', 'channel=user2&timeout=0', 'channel'],
    ['subscribe?channel=user1', 'channel=user2&timeout=0', 'channel'],
    ['create?channel=user1', 'msg=x&channel=user2', 'channel'],
    ['create?msg=x', 'msg=x', 'msg'],
    ['update?%22=1', '%22=2', 'a field'],
  ])
    expectError(await post(at, body), 400, new RegExp(`^${name} is in the query and`));
  assert.equal((await stack.status()).messages, 2);
  const read = await post('update?channel=user1', 'timeout=0'); // each of another
  assert.deepEqual(texts(expectJson(read).messages), ['for 1']);
});

claim('with --mount only what stands right behind it is an endpoint', async (t) => {
  const stack = await startStack(t, { args: ['--mount', '/comet/'] });
  const post = (uri) => stack.raw({ method: 'POST', uri, type: 'text/plain', body: 'x' });
  assert.equal((await post('/comet/create')).status, 200);
  assert.equal((await post('/comet/create?channel=/a/b')).status, 400, 'the channel is wrong');
  for (const uri of [
    '/create',
    '/comet/x/create',
    '/comet//create',
    '//comet/create',
    '/x/comet/create',
    '/comet/./create',
    '/comet/x/../create',
    '/comet/../comet/create',
    '/comet/create/',
    '/comet/create/.',
    '/comet/create;x=1',
    '/comet/create%20',
    '/comet/%63reate',
    '/comet%2Fcreate',
    '/%63omet/create',
    '/Comet/create',
    '/comet/Create',
    '/comet/?/create',
    '/comet/?/comet/create',
    '/comet/',
    '/comet',
    '/',
    '',
  ]) {
    const answer = await post(uri);
    assert.equal(answer.status, 404, uri);
    assert.match(answer.body, /\/comet\/create/, 'the greeting says where it is');
  }
  assert.equal((await stack.status()).creates, 1);

  const opens = async (at) => {
    const answer = await shake(stack.websocket, handshake(at));
    answer.socket.destroy();
    return answer.status;
  };
  assert.equal(await opens('/comet/websocket'), 101);
  for (const at of ['/websocket', '/comet/x/websocket', '/comet//websocket', '/comet/%77ebsocket'])
    assert.equal(await opens(at), 404, at);
});

claim('a # in an address is refused, and gets round no guard', async (t) => {
  const stack = await startStack(t);
  for (const uri of [
    '/comet/update#/create',
    '/comet/create#/update',
    '/comet/update?x=#/create',
    '/comet/nothing#',
    '#',
  ]) {
    const answer = await stack.raw({ method: 'POST', uri, type: 'text/plain', body: 'x' });
    expectError(answer, 400, /#.*%23/);
  }
  assert.equal((await stack.status()).creates, 0);
  const answer = await shake(stack.websocket, handshake('/comet/update#/websocket'));
  assert.equal(answer.status, 400);
  assert.match(answer.json().error, /#/);
});
