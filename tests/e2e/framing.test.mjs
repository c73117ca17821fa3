// What other sites can do with the pages: not frame them.
import assert from 'node:assert/strict';
import { fetchHttp, startStack, throughBoth } from './lib/harness.mjs';

throughBoth('the pages say that no other site may frame them', async (t, server) => {
  const stack = await startStack(t, { server });
  for (const page of ['/', '/index.html', '/ways.html']) {
    const { status, headers } = await fetchHttp(`${stack.origin}${page}`);
    assert.equal(status, 200);
    assert.equal(headers['content-security-policy'], "frame-ancestors 'self'", page);
    assert.equal(headers['x-content-type-options'], 'nosniff', page);
  }
});
