// Memory that runs out: the limit on the daemon's addresses makes its malloc fail, as a full machine
// does that does not overcommit.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import { claim, plainBinary, startStack } from './lib/harness.mjs';
import { begin, record, stream, pair, paramsOf, TYPE } from './lib/fcgi.mjs';

// What the daemon has of addresses, in bytes.
const addresses = (pid) =>
  1024 * Number(/VmSize:\s*(\d+)/.exec(fs.readFileSync(`/proc/${pid}/status`, 'utf8'))[1]);

const limit = (pid, bytes) => execFileSync('prlimit', [`--pid=${pid}`, `--as=${bytes}:unlimited`]);

// A request that costs libfcgi more memory than it has bytes. Only parameters that are asked for get as far as that.
function greedy(pairs) {
  const nothing = Buffer.concat(Array.from({ length: pairs }, () => pair('REQUEST_METHOD', 'GET')));
  return Buffer.concat([
    begin(1),
    stream(TYPE.PARAMS, 1, Buffer.concat([paramsOf({ uri: '/comet/status' }), nothing])),
    record(TYPE.STDIN, 1),
  ]);
}

async function statusOf(stack, bytes) {
  const connection = await stack.connect();
  const answer = connection.answer(1).then(
    ({ status }) => status,
    () => 'closed',
  );
  await connection.write(bytes);
  return answer;
}

claim('without memory for libfcgi a request is refused, and the daemon goes on', async (t) => {
  const stack = await startStack(t, { bin: plainBinary() });
  const { pid } = stack.daemon;
  assert.equal(await statusOf(stack, greedy(10)), 200);
  const outcomes = new Set();
  for (const room of [0, 100_000, 300_000, 600_000, 1_000_000, 1_500_000, 2_000_000]) {
    limit(pid, addresses(pid) + room);
    for (const pairs of [100, 500, 1000, 2000, 3000])
      outcomes.add(await statusOf(stack, greedy(pairs)));
    limit(pid, 'unlimited');
    assert.equal(await statusOf(stack, greedy(3000)), 200, `with ${room} bytes more`);
  }
  assert.ok(outcomes.has(503), `some were refused: ${[...outcomes]}`);
  assert.ok([...outcomes].every((outcome) => [200, 503, 'closed'].includes(outcome)), [...outcomes]);
});
