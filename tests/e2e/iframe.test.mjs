// GET iframe: HTML whose scripts run as they arrive, and from which no message breaks out.
import assert from 'node:assert/strict';
import { openPage } from './lib/browser.mjs';
import { startStack, throughBoth, until } from './lib/harness.mjs';
import { expectAscending } from './lib/expect.mjs';
import { openReader, readAll } from './lib/readers.mjs';
import { openResponse } from './lib/response.mjs';
import { HOSTILE } from './lib/texts.mjs';

throughBoth('the scripts are those of the protocol, after a document that parsers begin at once', async (t, server) => {
  const stack = await startStack(t, { server });
  const [id] = await stack.publish(`<b>"'&\\\u2028\u2029</script>\u0000`.replace('\u0000', '\u007f'));
  const { time } = (await stack.update({ timeout: 0 })).messages[0];
  const response = await openResponse(stack, 'iframe?timeout=0');
  const text = await response.text();
  const [document, ...scripts] = text.split(/^(?=<script>)/m);
  assert.match(document, /^<!DOCTYPE html>\n<meta charset="utf-8">\n/);
  assert.ok(document.length > 1024, 'some browsers begin only after their first KB');
  assert.equal(scripts.length, 1);
  const [, literal, rest] = /^<script>parent\.add_content\(("(?:[^"\\]|\\.)*"),(.*)\)<\/script>\n$/.exec(scripts[0]);
  assert.equal(rest, `"${id}","main",${time}`);
  assert.doesNotMatch(literal, /[<>\u2028\u2029]/);
  assert.equal(JSON.parse(literal), `<b>"'&\\\u2028\u2029</script>\u007f`);
  const reset = await (await openResponse(stack, 'iframe?timeout=0&id=unknown&channel=none')).text();
  assert.ok(
    reset.endsWith(
      '\n<script>parent.add_content(null,null)</script>\n' +
        `<script>parent.add_content(null,"${id}")</script>\n`,
    ),
  );
  const now = await (await openResponse(stack, 'iframe?timeout=0&id=now')).text();
  assert.ok(now.endsWith(`\n<script>parent.add_content(null,"${id}")</script>\n`));
});

throughBoth('nothing may be loaded into it, and no other site may frame it', async (t, server) => {
  const stack = await startStack(t, { server });
  const { headers } = await openResponse(stack, 'iframe?timeout=0');
  assert.equal(
    headers['content-security-policy'],
    "default-src 'none'; script-src 'unsafe-inline'; frame-ancestors 'self'",
  );
});

throughBoth('the callback is any function of the page whose name begins with add_', async (t, server) => {
  const stack = await startStack(t, { server });
  const ids = await stack.publish(['a', '"', 'c']);
  const names = ['add_f', 'add__', 'add_1', 'add_content', 'add_A1_z', 'add_' + 'x'.repeat(60)];
  for (const callback of names) {
    const reader = await readAll(stack, 'iframe', { callback });
    assert.deepEqual(reader.ids, ids);
    assert.deepEqual(reader.texts, ['a', '"', 'c']);
  }
  // Readers with different callbacks are given the same messages, each by its own.
  const readers = await Promise.all(
    names.map((callback) => openReader(stack, 'iframe', { callback, id: 'now' })),
  );
  await Promise.all(readers.map((reader) => reader.until('open', () => reader.cursor)));
  const [id] = await stack.publish('for all');
  for (const reader of readers) {
    await reader.has(1);
    assert.deepEqual(reader.ids, [id]);
    reader.cut();
  }
});

// A page of the same origin that frames the stream and keeps what its callback is called with.
const PAGE = `<!DOCTYPE html><meta charset="utf-8"><title>test</title><body><script>
  var calls = [], stolen = [];
  function add_line(...args) { calls.push(args); }
  function add_content(...args) { calls.push(args); }
</script>`;

async function framed(t, stack, fields, options) {
  const opened = await openPage(t, `${stack.origin}/frame.html`, {
    ...options,
    prepare: (page) =>
      page.route('**/frame.html', (route) => route.fulfill({ contentType: 'text/html', body: PAGE })),
  });
  const { page } = opened;
  await page.evaluate((src) => {
    const frame = document.createElement('iframe');
    frame.src = src;
    document.body.append(frame);
  }, `${stack.url}/iframe?${new URLSearchParams(fields)}`);
  opened.calls = () => page.evaluate(() => window.calls);
  return opened;
}

throughBoth('in Chromium each script runs when it comes, and none that a message brings', async (t, server) => {
  const stack = await startStack(t, { server, args: ['--heartbeat', '1'] });
  const before = await stack.publish(HOSTILE.slice(0, 3));
  const opened = await framed(t, stack, { callback: 'add_line' });
  await until('what was there', async () => (await opened.calls()).length >= 3);
  const ids = [...before];
  for (const text of HOSTILE.slice(3)) ids.push(...(await stack.publish(text)));
  const messages = async () => (await opened.calls()).filter((call) => call.length === 4);
  await until('all', async () => (await messages()).length === HOSTILE.length);
  const got = await messages();
  assert.deepEqual(got.map(([text]) => text), HOSTILE);
  assert.deepEqual(got.map(([, id]) => id), ids);
  expectAscending(got.map(([, id]) => ({ id })));
  assert.ok(got.every(([, , channel, time]) => channel === 'main' && Number.isSafeInteger(time)));
  const [last] = await stack.publish('elsewhere', { channel: 'other' });
  await until('a heartbeat brings the cursor on', async () => {
    const call = (await opened.calls()).at(-1);
    return call.length === 2 && call[0] === null && call[1] === last;
  });
  // What a script of a message would have left behind.
  const frame = opened.page.frames()[1];
  const left = await frame.evaluate(() => ({
    scripts: [...document.querySelectorAll('script')].every((s) => s.text.startsWith('parent.add_line(')),
    others: document.querySelectorAll('body *:not(script)').length,
    comments: document.documentElement.outerHTML.includes('<!--'),
  }));
  assert.deepEqual(left, { scripts: true, others: 0, comments: false });
  assert.deepEqual(await opened.page.evaluate(() => window.stolen), []);
});

throughBoth('the page frames it again with the last id when it has ended', async (t, server) => {
  const stack = await startStack(t, { server, args: ['--stream', '1s'] });
  const opened = await framed(t, stack, { id: 'now' });
  const { page } = opened;
  await page.evaluate(() => {
    const frame = document.querySelector('iframe');
    window.loads = 0;
    frame.addEventListener('load', () => {
      window.loads++;
      const id = window.calls.findLast((call) => call[1] !== null)[1];
      frame.src = frame.src.replace(/[?&]id=[^&]*/, `?id=${id}`);
    });
  });
  await until('it is open', async () => (await opened.calls()).length > 0);
  const sent = [];
  for (let round = 1; round <= 3; round++) {
    for (let i = 0; i < 20; i++) {
      sent.push(`${round}.${i}`);
      await stack.publish(sent.at(-1));
    }
    await until('it has ended', () => page.evaluate((n) => window.loads >= n, round));
  }
  const heard = async () => (await opened.calls()).filter((c) => c.length === 4).map(([text]) => text);
  await until('all', async () => (await heard()).length >= sent.length);
  assert.deepEqual(await heard(), sent);
});
