// What `make demo` shows on its second page: a number every few seconds, published by curl.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { openPage, WAIT_MS } from './lib/browser.mjs';
import { daemonBinary, defer, freePort, ROOT, run, tempDir, throughBoth, until, within } from './lib/harness.mjs';

throughBoth('the demo\'s numbers come in every tab, and end with it', async (t, server) => {
  const tmp = tempDir(t, 'encke-demo-');
  const port = String(await freePort());
  const demo = run([path.join(ROOT, 'deploy/demo'), server, port], {
    cwd: ROOT, env: { ...process.env, TMPDIR: tmp, ENCKE_BIN: daemonBinary() }, group: true,
  });
  defer(t, () => demo.ended || demo.stop('SIGKILL'));
  await until('it runs', () => demo.stdout.includes('Ctrl-C stops everything'), { within: WAIT_MS });
  const ways = await openPage(t, `http://127.0.0.1:${port}/ways.html`);
  for (const [name, count] of [['streaming', 2], ['websocket', 1]]) {
    await ways.page.locator(`#tab-${name}`).click();
    await ways.page.locator(`#way-${name} .lines li`).nth(count - 1).waitFor();
    for (const line of await ways.page.locator(`#way-${name} .lines .text`).allTextContents())
      assert.match(line, /^Server says: \d{1,3}$/);
  }
  await until('what the server carries is said', async () => /WebSocket here/.test(
    await ways.page.locator('#choice').textContent()), { within: WAIT_MS });
  await ways.page.goto('about:blank');
  assert.equal(demo.stderr.split('\n').filter((line) => line && !line.startsWith('encke: info:')).join('\n'), '');
  demo.kill('SIGINT');
  const { code } = await within(demo.exited, 20_000, 'the demo to end');
  assert.equal(code, 0);
  assert.deepEqual(fs.readdirSync(tmp), []);
});
