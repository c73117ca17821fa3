// Every hold ends by itself. These mostly wait, so they wait together.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startStack, SERVERS, until } from './lib/harness.mjs';
import { expectJson, expectUpdate } from './lib/expect.mjs';

const seconds = (since) => Number(process.hrtime.bigint() - since) / 1e9;

test('holds end by themselves', { concurrency: true, timeout: 120_000 }, async (t) => {
  const cases = [];
  for (const server of SERVERS) {
    cases.push(
      t.test(
        `the default hold ends with an empty answer before a minute is over (${server})`,
        async (t) => {
          const stack = await startStack(t, { server });
          const start = process.hrtime.bigint();
          const ends = [];
          const held = Array.from({ length: 30 }, async (_, i) => {
            const answer = await stack.http(i % 2 ? 'subscribe' : 'update?id=now');
            ends.push(seconds(start));
            return answer;
          });
          const answers = await Promise.all(held);
          answers.forEach((answer, i) => {
            const body = expectJson(answer);
            if (i % 2) assert.deepEqual(body, { ret: 'punt' });
            else assert.deepEqual(expectUpdate(body).messages, []);
          });
          assert.ok(ends[0] > 40, `the first ended after ${ends[0]} s`);
          assert.ok(ends.at(-1) < 60, `the last ended after ${ends.at(-1)} s`);
          assert.ok(ends.at(-1) - ends[0] > 1, 'they are spread by jitter, not all at once');
          assert.equal((await stack.status()).holds, 0);
        },
      ),
    );
    cases.push(
      t.test(`--hold and timeout= set how long, less a tenth at most (${server})`, async (t) => {
        const stack = await startStack(t, { server, args: ['--hold', '3', '--hold-max', '5'] });
        await Promise.all(
          [
            ['update?id=now', 3],
            ['subscribe', 3],
            ['update?id=now&timeout=5', 5],
            ['subscribe?timeout=2', 2],
          ].map(async ([at, hold]) => {
            const start = process.hrtime.bigint();
            expectJson(await stack.http(at));
            const took = seconds(start);
            assert.ok(took >= hold * 0.9 - 0.05, `${at} ended after ${took} s`);
          }),
        );
      }),
    );
  }
  cases.push(
    t.test('a hold that ends does not end others', async (t) => {
      const stack = await startStack(t);
      const long = stack.update({ id: 'now', timeout: 60 });
      const short = Array.from({ length: 50 }, (_, i) =>
        stack.update({ id: 'now', timeout: 1 + (i % 3) }),
      );
      await Promise.all(short);
      await stack.holds(1);
      await stack.create('for the long one');
      assert.equal((await long).messages.length, 1);
    }),
  );
  cases.push(
    t.test('deadlines of many holds keep their order', async (t) => {
      const stack = await startStack(t, { args: ['--hold-max', '10'] });
      const ended = [];
      const all = [4, 1, 3, 2, 1, 4, 2, 3].map((timeout) =>
        stack.update({ id: 'now', timeout }).then(() => ended.push(timeout)),
      );
      await Promise.all(all);
      assert.deepEqual(
        ended,
        [...ended].sort((a, b) => a - b),
      );
      await until('none is left', async () => (await stack.status()).holds === 0);
    }),
  );
  await Promise.all(cases);
});
