// The tests' own machinery: no test file goes on for ever, and none fails without a name.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { atOnce, ROOT, run, tempDir } from './lib/harness.mjs';

// Runs a test file of this text as `make check` does, and gives what was said and the exit code.
async function play(t, name, text, env = {}) {
  const file = path.join(tempDir(t), name);
  fs.writeFileSync(file, text.replaceAll('LIB', path.join(ROOT, 'tests/e2e/lib')));
  const all = { ...process.env, E2E_QUIET_SECONDS: '60', E2E_LEFT_SECONDS: '60', ...env };
  delete all.NODE_TEST_CONTEXT; // or it would take itself for a part of this run
  const node = run([process.execPath, '--test', '--test-reporter=spec', file], { env: all });
  const { code } = await node.exited;
  return { code, said: node.stdout + node.stderr };
}

const PASSES = `
import net from 'node:net';
import { claim } from 'LIB/harness.mjs';
import { Upstream } from 'LIB/upstream.mjs';
claim('fine', () => {});`;

atOnce('a test file', [
  ['that leaves something open says its name, and what it is', async (t) => {
    const { code, said } = await play(t, 'left_open.test.mjs', `${PASSES} net.createServer().listen(0, '127.0.0.1');`,
      { E2E_LEFT_SECONDS: '1' });
    assert.equal(code, 1, said);
    assert.match(said, /left_open\.test\.mjs: .*TCPServerWrap/i);
  }],

  ['with a test that hangs says its name', async (t) => {
    const { code, said } = await play(t, 'hangs.test.mjs', `${PASSES}
      claim('hangs', () => new Promise((resolve) => setTimeout(resolve, 100_000)));`, { E2E_QUIET_SECONDS: '2' });
    assert.equal(code, 1, said);
    assert.match(said, /hangs\.test\.mjs: no test has ended for 2 s; open are: .*Timeout/);
  }],

  ['that spins as it ends is killed, by name', async (t) => {
    const { code, said } = await play(t, 'spins.test.mjs', `${PASSES} process.on('exit', () => { for (;;); });`,
      { E2E_QUIET_SECONDS: '2' });
    assert.equal(code, 1, said);
    assert.match(said, /spins\.test\.mjs: not at its end after 2 s, .*: killed/);
  }],

  ['that connects to a name hears of it, whatever the machine thinks of localhost', async (t) => {
    const { code, said } = await play(t, 'names.test.mjs', `${PASSES}
      claim('by name', () => new Promise((resolve) => net.connect(1).on('error', resolve)));`);
    assert.equal(code, 1, said);
    assert.match(said, /connects to an address, not to a name: localhost/);
  }],

  ['ends, though a connection was reset while it was being closed', async (t) => {
    const { code, said } = await play(t, 'resets.test.mjs', `${PASSES}
      claim('a reset in mid-close', async () => {
        const upstream = await new Upstream().start();
        upstream.does = (asked) => {
          asked.answer({ close: true });
          upstream.stop();
        };
        const client = net.connect(upstream.port, '127.0.0.1', () => client.write('GET / HTTP/1.1\\r\\n\\r\\n'));
        await new Promise((resolve) => client.on('error', () => {}).resume().once('close', resolve));
      });`, { E2E_QUIET_SECONDS: '15' });
    assert.equal(code, 0, said);
  }],
]);
