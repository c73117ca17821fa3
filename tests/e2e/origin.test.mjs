// Pages of other sites do not publish with a visitor's credentials.
import assert from 'node:assert/strict';
import { claim, startStack, throughBoth } from './lib/harness.mjs';
import { expectError, expectJson, texts } from './lib/expect.mjs';

const FORM = { 'Content-Type': 'application/x-www-form-urlencoded' };

const publish = (stack, headers, msg = 'x') =>
  stack.http('create', { method: 'POST', headers: { ...FORM, ...headers }, body: `msg=${msg}` });

const sendBatch = (stack, headers) =>
  stack.http('batch', {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', ...headers },
    body: '[{"msg":"x"}]',
  });

throughBoth('a create or a batch of another site is refused, whatever its type', async (t, server) => {
  const stack = await startStack(t, { server });
  const foreign = [
    { Origin: 'https://evil.test' },
    { Origin: 'null' },
    { Origin: `${stack.origin}0` },
    { Origin: stack.origin.replace('127.0.0.1', 'localhost') },
    { Origin: `http://evil.127.0.0.1:${stack.web.port}` },
    { 'Sec-Fetch-Site': 'cross-site' },
    { 'Sec-Fetch-Site': 'same-site', Origin: 'http://www.site.test' },
    { 'Sec-Fetch-Site': 'cross-site', Origin: 'null' },
  ];
  for (const headers of foreign) {
    expectError(await publish(stack, headers), 403, /--origin/);
    const text = { ...headers, 'Content-Type': 'text/plain' };
    expectError(await stack.http('create', { method: 'POST', headers: text, body: 'x' }), 403);
    expectError(await stack.http('create?msg=x', { method: 'POST', headers }), 403);
    for (const type of ['application/json', 'text/plain'])
      expectError(await sendBatch(stack, { ...headers, 'Content-Type': type }), 403, /--origin/);
  }
  assert.equal((await stack.status()).creates, 0);
  for (const headers of foreign) // reading changes nothing
    expectJson(await stack.http('update?timeout=0', { headers }));
});

throughBoth("the site's own pages publish, and programs that name no origin", async (t, server) => {
  const stack = await startStack(t, { server });
  const own = [
    {},
    { Origin: stack.origin },
    { Origin: 'https://site.test', Host: 'site.test' },
    { Origin: 'https://site.test', Host: 'site.test:443' },
    { Origin: 'http://SITE.test:8080', Host: 'site.test:8080' },
    { 'Sec-Fetch-Site': 'same-origin', Origin: 'null' },
    { 'Sec-Fetch-Site': 'same-origin', Origin: 'https://www.site.test', Host: 'behind:81' },
    { 'Sec-Fetch-Site': 'none' },
  ];
  for (const headers of own) {
    expectJson(await publish(stack, headers));
    expectJson(await sendBatch(stack, headers));
  }
  assert.equal(texts(await stack.all()).length, 2 * own.length);
});

throughBoth('--origin lists the sites whose pages may publish', async (t, server) => {
  const args = ['--origin', 'https://a.test, http://b.test:81'];
  const stack = await startStack(t, { server, args });
  for (const Origin of ['https://a.test', 'http://b.test:81', stack.origin])
    expectJson(await publish(stack, { Origin }));
  expectJson(await publish(stack, { Origin: 'https://a.test', 'Sec-Fetch-Site': 'cross-site' }));
  for (const Origin of ['http://a.test', 'https://b.test:81', 'https://a.test.b', 'null'])
    expectError(await publish(stack, { Origin }), 403);
});

claim('--origin any lets all pages publish', async (t) => {
  const stack = await startStack(t, { server: 'nginx', args: ['--origin', 'any'] });
  expectJson(await publish(stack, { Origin: 'null', 'Sec-Fetch-Site': 'cross-site' }));
});
