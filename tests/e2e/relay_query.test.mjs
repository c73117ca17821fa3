// What a client may say to the upstream: parameters, and nothing that changes whom is asked, or how.
import assert from 'node:assert/strict';
import { claim, throughBoth } from './lib/harness.mjs';
import { expectError } from './lib/expect.mjs';
import { random } from './lib/random.mjs';
import { askRelay, openClient, startRelay } from './lib/relay.mjs';
import { answers, startUpstream } from './lib/upstream.mjs';

const FORM = 'application/x-www-form-urlencoded';
const OURS = ['Accept', 'Accept-Encoding', 'Host', 'User-Agent'];

// The target that the upstream is asked for when a client asks so.
async function target({ upstream, stack }, ...how) {
  const n = upstream.count;
  const answer = await askRelay(stack, ...how);
  assert.equal(answer.status, 200, answer.body);
  assert.equal(upstream.count, n + 1);
  // hexadecimal digits mean the same in both cases
  return upstream.requests[n].target.replace(/%../g, (escape) => escape.toUpperCase());
}

async function answering(t, options) {
  const relay = await startRelay(t, options);
  relay.upstream.does = answers({ body: '{}' });
  return relay;
}

claim('parameters go on in their order, decoded and encoded anew', async (t) => {
  const relay = await answering(t);
  for (const [asked, sent] of [
    ['', ''],
    ['?', ''],
    ['?a=1', '?a=1'],
    ['?b=1&a=2&b=3', '?b=1&a=2&b=3'],
    ['?a=', '?a='],
    ['?a=%41%62c', '?a=Abc'],
    ['?a=1+2%203', '?a=1%202%203'],
    ['?a=%2B', '?a=%2B'],
    ['?a=%26b%3D1', '?a=%26b%3D1'],
    ['?a=b=c', '?a=b%3Dc'],
    ['?a%3Db=c', '?a%3Db=c'],
    ['?a=%23frag', '?a=%23frag'],
    ['?a=%25', '?a=%25'],
    ['?a=%2525', '?a=%2525'],
    ["?a=-._~!*'(),:@/?$", "?a=-._~!*'(),:@/?$"],
    ['?a=%2D%2E%5F%7E%21%2A%27%28%29%2C%3A%40%2F%3F%24', "?a=-._~!*'(),:@/?$"],
    ['?timeout=5&a=1', '?a=1'], // it is for the relay
    ['?a=%c3%a9', '?a=%C3%A9'],
    ['?a=%ff%fe', '?a=%FF%FE'],
    ['?a="<>\\^`{|}[]', '?a=%22%3C%3E%5C%5E%60%7B%7C%7D%5B%5D'],
    ['?a=%01%7f', '?a=%01%7F'],
    ['?&&a=1&&', '?a=1'],
  ])
    assert.equal(await target(relay, asked), `/subscribe${sent}`, asked);
});

throughBoth('a form says it as well as a query', async (t, server) => {
  const { upstream, stack } = await answering(t, { server });
  const post = (at, body) =>
    stack.http(at, { method: 'POST', headers: { 'Content-Type': FORM }, body });
  await post('subscribe', 'id=7&x=a+b%26c');
  await post('subscribe?q=1', 'f=2');
  await stack.http('subscribe', { method: 'POST' });
  assert.deepEqual(upstream.requests.map((r) => r.method), ['GET', 'GET', 'GET']);
  assert.equal(upstream.requests[0].query, 'id=7&x=a%20b%26c');
  assert.deepEqual(upstream.requests[1].params.sort(), [['f', '2'], ['q', '1']]);
  assert.equal(upstream.requests[2].target, '/subscribe');
  for (const asked of upstream.requests) assert.equal(asked.header('content-length'), undefined);
});

claim('upstream= chooses, and does not go on', async (t) => {
  const relay = await answering(t);
  assert.equal(await target(relay, '?upstream=default&a=1'), '/subscribe?a=1');
  assert.equal(await target(relay, '?a=1&upstream=default&b=2'), '/subscribe?a=1&b=2');
  assert.equal(await target(relay, '?%75pstream=default'), '/subscribe');
  assert.equal(await target(relay, '', { method: 'POST', type: FORM, body: 'upstream=default&a=1' }), '/subscribe?a=1');
});

claim("the operator's parameters win, however the client writes them", async (t) => {
  const to = { path: '/a/b;c/subscribe?token=s%26cret&x=1' };
  const relay = await answering(t, { to });
  for (const [asked, more] of [
    ['', ''],
    ['?y=2', '&y=2'],
    ['?token=evil', ''],
    ['?token=evil&y=1&token=more&x=3', '&y=1'],
    ['?%74oken=evil&%78=9', ''],
    ['?token', ''],
    ['?Token=other', '&Token=other'],
    ['?a=1%26token%3Devil', '&a=1%26token%3Devil'],
    ['?token[]=1', '&token%5B%5D=1'],
  ])
    assert.equal(await target(relay, asked), `${to.path}${more}`, asked);
  assert.equal(
    await target(relay, '?y=1', { method: 'POST', type: FORM, body: 'token=evil' }),
    `${to.path}&y=1`,
  );
});

claim("an operator's URL may end in a question mark, and its own escapes are seen through", async (t) => {
  const upstream = await startUpstream(t);
  upstream.does = answers({ body: '{}' });
  const base = `http://127.0.0.1:${upstream.port}`;
  for (const [url, asked, sent] of [
    [`${base}/s?`, '?a=1', '/s?a=1'],
    [`${base}/s?to%6Ben=1`, '?token=2&a=1', null],
    [`${base}`, '?a=1', '/?a=1'],
    [`${base}/%41/%2e%2e/b%20c`, '?a=1', null],
    [`${base}/s#fragment`, '?a=1', null],
  ]) {
    const { stack } = await startRelay(t, { upstream, url });
    const got = await target({ upstream, stack }, asked);
    if (sent) assert.equal(got, sent);
    assert.match(got, /[?&]a=1$/);
    assert.doesNotMatch(got, /token=2|fragment/);
    await stack.daemon.stop();
  }
});

claim('only the parameters of --upstream-params go on', async (t) => {
  const upstream = await startUpstream(t);
  upstream.does = answers({ body: '{}' });
  const { stack } = await startRelay(t, {
    upstream,
    args: ['--upstream-params', 'id,host_int',
      '--upstream', `none=${upstream.url}`, '--upstream-params', 'none=',
      '--upstream', `all=${upstream.url}`,
      '--upstream', `slow=${upstream.url}`, '--upstream-params', 'slow=timeout'],
  });
  const relay = { upstream, stack };
  assert.equal(await target(relay, '?id=1&evil=2&host_int=3&ID=4&id=5'), '/subscribe?id=1&host_int=3&id=5');
  assert.equal(await target(relay, '?%69d=1'), '/subscribe?id=1');
  assert.equal(await target(relay, '?upstream=none&id=1&a=2'), '/subscribe');
  assert.equal(await target(relay, '?upstream=all&id=1&a=2'), '/subscribe?id=1&a=2');
  assert.equal(await target(relay, '?upstream=slow&id=1&timeout=30'), '/subscribe?timeout=30');
});

throughBoth('nothing of a client but its parameters goes on', async (t, server) => {
  const { upstream, stack } = await answering(t, { server });
  const headers = {
    Cookie: 'session=secret',
    Authorization: 'Basic c2VjcmV0',
    'Proxy-Authorization': 'Basic c2VjcmV0',
    Proxy: 'http://127.0.0.1:9/',
    'User-Agent': 'curious/1.0',
    Referer: 'http://secret.test/',
    Accept: 'x/y',
    'Accept-Encoding': 'br',
    'Accept-Language': 'de',
    'If-None-Match': '"x"',
    Range: 'bytes=0-0',
    Host: 'evil.test',
    'X-Forwarded-For': '10.0.0.1',
    'X-Own': 'own',
    'Last-Event-ID': '5',
    Origin: 'http://evil.test',
  };
  await stack.http('subscribe?a=1', { headers });
  const [asked] = upstream.requests;
  assert.deepEqual(asked.headers.map(([name]) => name).sort(), OURS);
  assert.equal(asked.method, 'GET');
  assert.equal(asked.version, 'HTTP/1.1');
  assert.equal(asked.target, '/subscribe?a=1');
  assert.equal(asked.header('host'), `127.0.0.1:${upstream.port}`);
  assert.equal(asked.header('accept'), '*/*');
  assert.equal(asked.header('accept-encoding'), 'identity');
  assert.match(asked.header('user-agent'), /^encke\/\d/i);
});

claim('no parameter adds a header or a request, or changes host, path or scheme', async (t) => {
  const relay = await answering(t);
  const { upstream, stack } = relay;
  const evil = await startUpstream(t);
  const there = `127.0.0.1:${evil.port}`;
  const tries = [
    'a=%0d%0aX-Evil:%201',
    'a=1%0d%0a%0d%0aGET%20/evil%20HTTP/1.1%0d%0aHost:%20x%0d%0a%0d%0a',
    'a=%0a',
    '%0d%0aX-Evil:1=1',
    'a=1%20HTTP/1.1%0d%0aHost:%20evil',
    `@${there}/`,
    `//${there}/`,
    `http://${there}/`,
    `url=http://${there}/&host=${there}&path=/evil`,
    `a=@${there}`,
    `..%2f..%2fevil`,
    'a=/../../evil',
    `%23@${there}`,
    `a=1%23@${there}/`,
    `%3fa=1`,
    `a[0-9]={1,2}`,
    `upstream=default&upstream=http://${there}/`,
    `upstream=default%26x`,
  ];
  for (const text of tries) {
    const n = upstream.count;
    const answer = await askRelay(stack, `?${text}`);
    assert.ok([200, 400].includes(answer.status), `${text}: ${answer.status}`);
    for (const asked of upstream.requests.slice(n)) {
      assert.equal(asked.path, '/subscribe', text);
      assert.match(asked.target, /^[!-~]+$/, text);
      assert.doesNotMatch(asked.target, /[#[\]{}"<>\\^`|]/, text);
      assert.equal(asked.header('host'), `127.0.0.1:${upstream.port}`, text);
      assert.deepEqual(asked.headers.map(([name]) => name).sort(), OURS, text);
    }
    assert.ok(upstream.count <= n + 1, text);
  }
  assert.equal(evil.connections, 0);
  for (const uri of [`/comet/http://${there}/subscribe`, '/comet/a/../subscribe', `/comet/@${there}/subscribe`]) {
    await stack.raw({ uri: `${uri}?a=1` });
    assert.equal(upstream.requests.at(-1).target, '/subscribe?a=1');
  }
  assert.equal(evil.connections, 0);
});

claim('any bytes in a parameter arrive as they are', async (t) => {
  const relay = await answering(t);
  const dice = random('bytes of parameters');
  const escaped = (bytes) => [...bytes].map((b) => `%${b.toString(16).padStart(2, '0')}`).join('');
  const decoded = (text) => Buffer.from(unescape(text), 'latin1');
  for (let i = 0; i < 200; i++) {
    const name = dice.bytes(1 + dice.int(4)).map((b) => b || 1);
    const value = dice.bytes(dice.int(20)).map((b) => b || 1);
    const got = await target(relay, `?${escaped(name)}=${escaped(value)}&end=1`);
    const [, n, v] = /^\/subscribe\?([!-~]*?)=([!-~]*)&end=1$/.exec(got);
    assert.ok(decoded(n).equals(name) && decoded(v).equals(value), `${escaped(name)}=${escaped(value)}: ${got}`);
  }
});

claim('a NUL, and a query that is too long, are refused with a reason', async (t) => {
  const { upstream, stack } = await answering(t);
  const many = 'a=1&'.repeat(3000);
  const post = (body) => ['', { method: 'POST', type: FORM, body }];
  for (const how of [['?a=%00'], ['?a=x%00y'], ['?%00=1'], post('a=%00')])
    expectError(await askRelay(stack, ...how), 400, /NUL/i);
  for (const how of [
    [`?a=${'x'.repeat(8300)}`],
    [`?${many}`],
    [`?a=${'%01'.repeat(2900)}`], // three bytes each on the way up as well
    post(`a=${'x'.repeat(8300)}`),
    post(`a=${'<'.repeat(3000)}`), // longer when it is encoded
    post(many),
  ])
    expectError(await askRelay(stack, ...how), 400, /long|large|many/i);
  assert.equal(upstream.count, 0);
  assert.equal((await askRelay(stack, `?a=${'x'.repeat(8000)}`)).status, 200);
  assert.equal(upstream.requests[0].query.length, 8002);
});

claim('two clients with the same words, one of them dropped by the rules, share a request', async (t) => {
  const { upstream, stack } = await startRelay(t, { args: ['--upstream-params', 'id'] });
  const clients = await Promise.all(
    ['?id=1', '?id=1&x=1', '?y=2&id=1&z', '?id=%31'].map((q) => openClient(stack, q)),
  );
  await stack.holds(4);
  const [asked] = await upstream.holding(1);
  asked.answer({ body: 'shared' });
  for (const client of clients) assert.equal((await client.answer).body, 'shared');
  assert.equal(upstream.count, 1);
});
