// Several relays by name, how they are configured, and what is refused at the start.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { claim, run, startStack, tempDir, throughBoth, within } from './lib/harness.mjs';
import { expectError } from './lib/expect.mjs';
import { askRelay, expectNew, expectPunt, startRelay, upstreamOf } from './lib/relay.mjs';
import { answers, startUpstream } from './lib/upstream.mjs';

const named = async (t, ...names) =>
  Promise.all(
    names.map(async (name) => {
      const upstream = await startUpstream(t, { path: `/${name}` });
      upstream.does = answers({ body: name });
      return upstream;
    }),
  );

throughBoth('upstream=NAME chooses among several, and without it there is the default', async (t, server) => {
  const [a, b, c] = await named(t, 'a', 'b', 'c');
  const stack = await startStack(t, {
    server,
    args: ['--upstream', `a.1=${a.url}`, '--upstream', `B_-=${b.url}`, '--upstream', c.url],
  });
  const asked = async (at) => (await stack.http(`subscribe${at}`)).body;
  assert.equal(await asked('?upstream=a.1'), 'a');
  assert.equal(await asked('?upstream=B_-'), 'b');
  assert.equal(await asked('?upstream=default'), 'c');
  assert.equal(await asked(''), 'c');
  expectError(await stack.http('subscribe?upstream=nobody'), 400, /upstream/);
  for (const unknown of ['', 'A.1', 'b_-', 'a.1%20', 'a.1%00', '%ff', '..%2f', 'x'.repeat(5000)])
    expectError(await askRelay(stack, `?upstream=${unknown}`), 400);
  const { upstreams } = await stack.status();
  assert.deepEqual(upstreams.map((u) => u.name).sort(), ['B_-', 'a.1', 'default']);
});

claim('without a default, subscribe without upstream= is the local one', async (t) => {
  const [a] = await named(t, 'a');
  const stack = await startStack(t, { args: ['--upstream', `a=${a.url}`] });
  assert.equal((await askRelay(stack, '?upstream=a')).body, 'a');
  const id = await stack.create('one');
  expectPunt(await askRelay(stack, `?id=${id}&timeout=0`));
  await stack.create('two');
  expectNew(await askRelay(stack, `?id=${id}`));
  assert.equal(a.count, 1);
});

claim('without upstreams, upstream= is refused and the rest is as ever', async (t) => {
  const stack = await startStack(t);
  expectError(await askRelay(stack, '?upstream=a'), 400, /upstream/);
  assert.deepEqual((await stack.status()).upstreams, []);
  expectPunt(await askRelay(stack, '?timeout=0'));
});

claim('the same name and the same query at two upstreams are two requests', async (t) => {
  const upstream = await startUpstream(t);
  upstream.does = answers({ body: 'x' });
  const stack = await startStack(t, {
    args: ['--upstream', `a=${upstream.url}`, '--upstream', `b=${upstream.url.replace('subscribe', 'other')}`],
  });
  await askRelay(stack, '?upstream=a&q=1');
  await askRelay(stack, '?upstream=b&q=1');
  assert.deepEqual(upstream.requests.map((r) => r.target), ['/subscribe?q=1', '/other?q=1']);
});

claim('all of it can come from the environment, and the command line wins', async (t) => {
  const [a, b, c] = await named(t, 'a', 'b', 'c');
  const env = {
    ENCKE_UPSTREAM: `a=${a.url}  b=${b.url}`,
    ENCKE_UPSTREAM_PARAMS: 'a=x b=',
    ENCKE_UPSTREAM_TIMEOUT: '7',
    ENCKE_UPSTREAM_ANSWER: '1K',
    ENCKE_UPSTREAM_REQUESTS: '5',
  };
  const stack = await startStack(t, { env });
  assert.equal((await askRelay(stack, '?upstream=a&x=1&y=2')).body, 'a');
  assert.equal((await askRelay(stack, '?upstream=b&x=1&y=2')).body, 'b');
  assert.equal(a.requests[0].target, '/a?x=1');
  assert.equal(b.requests[0].target, '/b');
  const other = await startStack(t, {
    env: { ...env, ENCKE_UPSTREAM_PARAMS: '' },
    args: ['--upstream', `c=${c.url}`],
  });
  assert.equal((await askRelay(other, '?upstream=c')).body, 'c');
  expectError(await askRelay(other, '?upstream=a'), 400);
});

const good = 'http://127.0.0.1:9/x';
// What, arguments, and what the line must speak of.
const REFUSED = [
  ['ftp', ['--upstream', 'ftp://127.0.0.1/x'], /http/],
  ['file', ['--upstream', 'file:///etc/passwd'], /http/],
  ['a named file', ['--upstream', 'a=file:///etc/passwd'], /http/],
  ['gopher', ['--upstream', 'gopher://127.0.0.1/x'], /http/],
  ['no scheme', ['--upstream', '127.0.0.1:80/x'], /http|URL/],
  ['no host', ['--upstream', 'http://'], /URL|host/],
  ['empty', ['--upstream', ''], /upstream/],
  ['empty with a name', ['--upstream', 'a='], /upstream|URL/],
  ['a bad port', ['--upstream', 'http://127.0.0.1:99999/'], /URL|port/],
  ['a blank in the host', ['--upstream', 'http://a b/'], /URL|upstream/],
  ['a line break', ['--upstream', 'http://127.0.0.1/\r\nX-Evil: 1'], /URL|upstream/],
  ['a bad name', ['--upstream', `a/b=${good}`], /name|upstream/i],
  ['a long name', ['--upstream', `${'n'.repeat(65)}=${good}`], /name|upstream/i],
  ['the same name twice', ['--upstream', `a=${good}`, '--upstream', `a=${good}`], /\ba\b|twice/],
  ['the default twice', ['--upstream', good, '--upstream', `default=${good}`], /default|twice/],
  ['params of nobody', ['--upstream', good, '--upstream-params', 'b=x'], /\bb\b/],
  ['a channel of nobody', ['--upstream', good, '--upstream-channel', 'b=main'], /\bb\b/],
  ['a channel without default', ['--upstream', `a=${good}`, '--upstream-channel', 'main'], /main/],
  ['a bad channel', ['--upstream', good, '--upstream-channel', 'a/b'], /channel/],
  ['a cursor of nobody', ['--upstream', good, '--upstream-cursor', 'b=id:id'], /\bb\b/],
  ['a cursor without field', ['--upstream', good, '--upstream-cursor', 'id'], /cursor/],
  ['a cursor without parameter', ['--upstream', good, '--upstream-cursor', ':id'], /cursor/],
  ['a time-out of nothing', ['--upstream', good, '--upstream-timeout', '0'], /timeout/],
  ['a time-out of ages', ['--upstream', good, '--upstream-timeout', '3601'], /timeout/],
  ['an answer too small', ['--upstream', good, '--upstream-answer', '1023'], /answer/],
  ['an answer too large', ['--upstream', good, '--upstream-answer', '65M'], /answer/],
  ['no requests', ['--upstream', good, '--upstream-requests', '0'], /requests/],
  ['too many requests', ['--upstream', good, '--upstream-requests', '100001'], /requests/],
  ['no such CA file', ['--upstream', 'https://127.0.0.1/', '--upstream-ca', '/nowhere/ca.pem'], /\/nowhere\/ca\.pem/],
  ['a bad proxy', ['--upstream', good, '--upstream-proxy', 'http://'], /proxy/],
];

claim('what cannot be meant is refused with one clear line', async (t) => {
  const stack = await startStack(t, { start: false });
  stack.daemon.allow(/^encke: error: /);
  for (const [what, args, says] of REFUSED) {
    const argv = [...stack.daemon.argv(), ...args];
    const daemon = run(argv);
    const { code, signal } = await within(daemon.exited, 20_000, `a daemon with ${what} to refuse`).catch(async (error) => {
      await daemon.stop('SIGKILL');
      throw error;
    });
    assert.ok(code > 0, `${what}: exit code ${code}, signal ${signal}: ${daemon.stderr}`);
    const lines = daemon.stderr.trimEnd().split('\n').filter((line) => !/^encke: info: /.test(line));
    assert.match(lines[0], /^encke: error: /, what);
    assert.match(lines.join('\n'), says, what);
    assert.equal(lines.filter((line) => line.startsWith('encke: error: ')).length, 1, `${what}: ${daemon.stderr}`);
  }
  assert.ok(!fs.existsSync(stack.db), 'and before the log is made');
});

claim('environment, .netrc, .curlrc and cookies of the host do not matter', async (t) => {
  const other = await startUpstream(t);
  const home = tempDir(t);
  fs.writeFileSync(path.join(home, '.netrc'), 'machine 127.0.0.1 login somebody password secret\n');
  fs.writeFileSync(path.join(home, '.curlrc'), `proxy = "http://127.0.0.1:${other.port}"\n`);
  const proxy = `http://127.0.0.1:${other.port}`;
  const { upstream, stack } = await startRelay(t, {
    env: { HOME: home, http_proxy: proxy, HTTP_PROXY: proxy, ALL_PROXY: proxy, all_proxy: proxy, no_proxy: '' },
  });
  upstream.does = answers({ body: 'direct', headers: { 'Set-Cookie': 'a=b; Path=/' } });
  for (let i = 0; i < 3; i++) assert.equal((await askRelay(stack)).body, 'direct');
  for (const asked of upstream.requests) {
    assert.equal(asked.header('cookie'), undefined);
    assert.equal(asked.header('authorization'), undefined);
  }
  assert.equal(other.connections, 0);
});

claim('a proxy that was asked for is used', async (t) => {
  const proxy = await startUpstream(t);
  proxy.does = answers({ body: 'through the proxy' });
  const { stack } = await startRelay(t, {
    upstream: proxy,
    url: 'http://upstream.test:8080/subscribe',
    args: ['--upstream-proxy', `http://127.0.0.1:${proxy.port}`],
  });
  assert.equal((await askRelay(stack, '?a=1')).body, 'through the proxy');
  assert.equal(proxy.requests[0].target, 'http://upstream.test:8080/subscribe?a=1');
  assert.equal(proxy.requests[0].header('host'), 'upstream.test:8080');
});

claim('user and password in the URL go to the upstream and nowhere else', async (t) => {
  const upstream = await startUpstream(t, { path: '/subscribe?token=t0ken' });
  upstream.does = answers({ body: 'x' });
  const { stack } = await startRelay(t, {
    upstream,
    url: upstream.url.replace('//', '//some%40body:s3cret@'),
    args: ['--log-level', 'debug'],
    bad: true,
  });
  assert.equal((await askRelay(stack, '?mine=cl1ent')).status, 200);
  const [asked] = upstream.requests;
  assert.equal(asked.header('authorization'), `Basic ${Buffer.from('some@body:s3cret').toString('base64')}`);
  assert.equal((await upstreamOf(stack)).url, `http://127.0.0.1:${upstream.port}/subscribe`);
  upstream.does = answers({ status: 500, reason: 'No', body: 'x' });
  expectNew(await askRelay(stack, '?mine=cl1ent'));
  await upstream.stop();
  expectNew(await askRelay(stack, '?mine=cl1ent'));
  const told = JSON.stringify(await stack.status()) + stack.daemon.stderr();
  assert.doesNotMatch(told, /s3cret|t0ken|cl1ent|some%40body|some@body|c29tZUBib2R5/);
});

claim('the command line of the daemon is not where secrets must be: the environment does', async (t) => {
  const upstream = await startUpstream(t);
  upstream.does = answers({ body: 'x' });
  const stack = await startStack(t, { env: { ENCKE_UPSTREAM: upstream.url.replace('//', '//u:s3cret@') } });
  await askRelay(stack);
  assert.ok(upstream.requests[0].header('authorization'));
  assert.doesNotMatch(fs.readFileSync(`/proc/${stack.daemon.pid}/cmdline`, 'utf8'), /s3cret/);
});
