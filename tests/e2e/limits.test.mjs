// More than the daemon takes: 503 with Retry-After, and by itself back to normal.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { claim, plainBinary, startStack, tempDir, throughBoth, until } from './lib/harness.mjs';
import { expectBusy, expectJson, expectUpdate } from './lib/expect.mjs';
import { faultyDisk } from './lib/fault.mjs';
import { request } from './lib/fcgi.mjs';

const TEXT = { 'Content-Type': 'text/plain' };

throughBoth(
  'too many holds get 503 with Retry-After, and room is room again',
  async (t, server) => {
    const stack = await startStack(t, {
      server,
      args: ['--max-holds', '8'],
      allow: [/^encke: warn: /],
    });
    for (let round = 0; round < 3; round++) {
      const gone = new AbortController();
      const held = Array.from({ length: 7 }, (_, i) =>
        i % 2 ? stack.update({ id: 'now' }) : stack.subscribe(),
      );
      await stack.holds(7);
      const last = stack
        .update({ id: 'now', channel: 'other', timeout: 60 }, { signal: gone.signal })
        .catch(() => {});
      await stack.holds(8);
      for (let i = 0; i < 5; i++) {
        expectBusy(await stack.http('update?id=now'));
        expectBusy(await stack.http('subscribe'));
      }
      // What needs no hold is served all the same.
      expectJson(await stack.http('status'));
      expectUpdate(await stack.update({ timeout: 0 }));
      await stack.create('room');
      await Promise.all(held);
      await stack.holds(1);
      const again = stack.update({ id: 'now' });
      await stack.holds(2);
      await stack.create('free', { channel: 'other' });
      await stack.create('free');
      await again;
      await last;
      gone.abort();
      await stack.holds(0);
    }
  },
);

// The CPU time that a process has used, in clock ticks (hundredths of a second).
function ticks(pid) {
  const fields = fs.readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1].split(' ');
  return Number(fields[11]) + Number(fields[12]);
}

const fewFiles = ['/bin/sh', '-c', 'ulimit -n 64; exec "$@"', 'sh'];

throughBoth(
  'without file descriptors left: 503 with Retry-After, and it recovers by itself',
  async (t, server) => {
    const stack = await startStack(t, { server, wrap: fewFiles, allow: [/^encke: warn: /] });
    for (let round = 0; round < 2; round++) {
      const answers = [];
      const asked = Array.from({ length: 150 }, () =>
        stack.http('update?id=now').then((a) => answers.push(a)),
      );
      await until('some are refused', () => answers.length > 0);
      // As room comes back creates get through, which end the holds, until everybody has been
      // answered.
      await until(
        'all are answered',
        async () => {
          await stack.create(`round ${round}`).catch(() => null);
          return answers.length === asked.length;
        },
        { every: 20 },
      );
      const woken = answers.filter((answer) => answer.status === 200);
      for (const answer of answers) {
        if (answer.status === 200)
          assert.equal(expectUpdate(expectJson(answer)).messages.at(-1).data, `round ${round}`);
        else expectBusy(answer);
      }
      assert.ok(
        woken.length >= 10 && woken.length < asked.length,
        `${woken.length} of ${asked.length} were held`,
      );
      await stack.holds(0);
    }
  },
);

claim('a daemon without file descriptors left waits without burning the processor', async (t) => {
  const stack = await startStack(t, { wrap: fewFiles, allow: [/^encke: warn: /] });
  const silent = [];
  for (let i = 0; i < 120; i++) silent.push(await stack.connect());
  const before = ticks(stack.daemon.pid),
    end = Date.now() + 1500;
  await until('a while has passed', () => Date.now() > end);
  const used = ticks(stack.daemon.pid) - before;
  assert.ok(used < 50, `${used} ticks of 150 used while nothing happened`);
  for (const connection of silent) connection.destroy();
  await until('it recovers', async () => (await stack.status()).connections <= 3);
  await stack.create('after');
});

claim('connections that say nothing do not keep others out for ever', async (t) => {
  const stack = await startStack(t, {
    wrap: fewFiles,
    args: ['--request-timeout', '1'],
    allow: [/^encke: warn: /],
  });
  const started = request().subarray(0, 20);
  const silent = [];
  for (let i = 0; i < 100; i++) {
    const connection = await stack.connect();
    await connection.write(started).catch(() => {});
    silent.push(connection);
  }
  await until('the others get in', () => stack.create('in').then(() => true), { every: 50 });
  await Promise.all(silent.map((c) => c.closed));
});

throughBoth(
  'more creates than the queue takes get 503 with Retry-After, and the queued ones are stored',
  async (t, server) => {
    const disk = faultyDisk(tempDir(t));
    const stack = await startStack(t, {
      ...disk.options,
      server,
      args: ['--queue', '256K'],
      allow: [/^encke: warn: /],
    });
    await stack.create('warm');
    disk.set('sync=gate');
    const post = (i) =>
      stack.http('create', { method: 'POST', headers: TEXT, body: `${i} `.padEnd(30_000, 'q') });
    const first = post(-1);
    await disk.hit('sync');
    const settled = [];
    const rest = Array.from({ length: 60 }, (_, i) =>
      post(i).then((a) => {
        settled.push(a);
        return a;
      }),
    );
    await until('some are refused', () => settled.length >= 60 - 10);
    for (const answer of settled) expectBusy(answer);
    expectBusy(await post(99));
    disk.set();
    const stored = [await first, ...(await Promise.all(rest))].filter((a) => a.status === 200);
    assert.ok(stored.length >= 5, `${stored.length} stored`);
    for (const answer of stored) expectJson(answer);
    assert.equal((await stack.all()).length, 1 + stored.length);
    await Promise.all(Array.from({ length: 5 }, (_, i) => stack.create(`after ${i}`)));
  },
);

throughBoth(
  'a thousand holds are answered by one create, and counted to zero',
  async (t, server) => {
    const stack = await startStack(t, { server });
    const held = Array.from({ length: 1000 }, (_, i) =>
      stack.update({ id: 'now', channel: `c${i % 10}` }),
    );
    await stack.holds(1000);
    const { readers_by_channel } = await stack.status();
    assert.deepEqual(
      readers_by_channel,
      Object.fromEntries(Array.from({ length: 10 }, (_, i) => [`c${i}`, 100])),
    );
    for (let i = 0; i < 10; i++) await stack.create(`for ${i}`, { channel: `c${i}` });
    (await Promise.all(held)).forEach((body, i) =>
      assert.equal(body.messages[0].data, `for ${i % 10}`),
    );
    await stack.holds(0);
  },
);

claim('a held request costs the daemon a few hundred bytes, not kilobytes', async (t) => {
  const stack = await startStack(t, { bin: plainBinary() });
  const memory = () =>
    Number(
      /^RssAnon:\s+(\d+)/m.exec(fs.readFileSync(`/proc/${stack.daemon.pid}/status`, 'utf8'))[1],
    ) * 1024;
  const hold = async (n, channel) => {
    for (let i = 0; i < n; i += 100) {
      await Promise.all(
        Array.from({ length: 100 }, async () => {
          const connection = await stack.connect();
          connection.ask({ uri: `/comet/update?id=now&channel=${channel}`, params: manyParams });
          held.push(connection);
        }),
      );
      await stack.holds(held.length);
    }
  };
  const manyParams = Object.fromEntries(
    Array.from({ length: 30 }, (_, i) => [`HTTP_HEADER_${i}`, 'v'.repeat(200)]),
  );
  const held = [];
  await hold(500, 'warm'); // what is taken once is taken by now
  const before = memory();
  const n = 2500;
  await hold(n, 'measured');
  const each = (memory() - before) / n;
  t.diagnostic(`${each.toFixed(0)} bytes a hold`);
  assert.ok(each <= 512, `${each} bytes a hold`);
  for (const connection of held) connection.destroy();
  await stack.holds(0);
});

claim(
  'while nothing happens, the daemon does nothing, however many requests it holds',
  async (t) => {
    const stack = await startStack(t);
    const held = [];
    for (let i = 0; i < 300; i++) {
      const connection = await stack.connect();
      connection.ask({ uri: `/comet/update?id=now&channel=c${i % 7}` });
      held.push(connection);
    }
    await stack.holds(300);
    const wakings = () =>
      fs.readdirSync(`/proc/${stack.daemon.pid}/task`).reduce((sum, task) => {
        const status = fs.readFileSync(`/proc/${stack.daemon.pid}/task/${task}/status`, 'utf8');
        return sum + Number(/^voluntary_ctxt_switches:\s+(\d+)/m.exec(status)[1]);
      }, 0);
    const before = wakings(),
      end = Date.now() + 2000;
    await until('a while has passed', () => Date.now() > end);
    const woken = wakings() - before;
    assert.ok(woken <= 5, `woken ${woken} times in two seconds in which nothing happened`);
    for (const connection of held) connection.destroy();
    await stack.holds(0);
  },
);
