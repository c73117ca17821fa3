// The disk is full, or fails: nothing acknowledged is lost, nothing lost is acknowledged.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { claim, defer, run, startStack, tempDir, throughBoth, until } from './lib/harness.mjs';
import { expectBusy, expectError, expectJson, texts } from './lib/expect.mjs';
import { faultyDisk } from './lib/fault.mjs';
import { smallDisk } from './lib/small_disk.mjs';

const TEXT = { 'Content-Type': 'text/plain' };
const post = (stack, body) => stack.http('create', { method: 'POST', headers: TEXT, body });

throughBoth(
  'a full disk gets 507, reads and holds go on, and creates work once there is room',
  async (t, server) => {
    const disk = faultyDisk(tempDir(t));
    const stack = await startStack(t, {
      ...disk.options,
      server,
      allow: [/^encke: (warn|error): .*(disk|space|full)/i],
    });
    const kept = [];
    for (let i = 0; i < 20; i++) {
      kept.push(`kept ${i}`);
      await stack.create(kept[i]);
    }
    for (let round = 0; round < 3; round++) {
      const head = (await stack.status()).head;
      const held = stack.update({ id: head });
      await stack.holds(1);
      disk.set('write=ENOSPC');
      const refused = await Promise.all(
        Array.from({ length: 20 }, (_, i) => post(stack, `lost ${i}`)),
      );
      for (const answer of refused) expectError(answer, 507, /disk|space|full/i);
      assert.deepEqual(texts(await stack.all()), kept, 'reads go on');
      const status = await stack.status();
      assert.equal(status.holds, 1, 'nobody was woken for nothing');
      assert.equal(status.head, head);
      assert.match(status.last_error ?? '', /disk|space|full/i);
      disk.set();
      kept.push(`room again ${round}`);
      await stack.create(kept.at(-1));
      assert.deepEqual(
        texts((await held).messages),
        [kept.at(-1)],
        'the hold sees what was stored, not what was refused',
      );
    }
    assert.deepEqual(texts(await stack.all()), kept);
    await stack.daemon.stop();
    await stack.daemon.start();
    assert.deepEqual(
      texts(await until('the web server is back', () => stack.all())),
      kept,
      'and so after a restart',
    );
  },
);

throughBoth(
  'a failed fsync: no acknowledgement, and the daemon ends with the reason',
  async (t, server) => {
    const disk = faultyDisk(tempDir(t));
    const stack = await startStack(t, {
      ...disk.options,
      server,
      allow: [/^encke: (warn|error): /],
    });
    stack.daemon.judged = false;
    const id = await stack.create('kept');
    const held = stack.http(`update?id=${id}`).then(
      (a) => a,
      (e) => e,
    );
    await stack.holds(1);
    disk.set('sync=EIO');
    const refused = await Promise.all(
      Array.from({ length: 10 }, (_, i) =>
        post(stack, `lost ${i}`).then(
          (a) => a.status,
          () => 'closed',
        ),
      ),
    );
    for (const outcome of refused) assert.ok(outcome === 'closed' || outcome >= 500, `${outcome}`);
    const { code, signal } = await stack.daemon.exited;
    assert.ok(code > 0, `exit code ${code}, signal ${signal}`);
    assert.match(stack.daemon.stderr(), /^encke: error: .*(fsync|sync|I\/O)/im);
    const woken = await held;
    if (woken.status === 200)
      assert.deepEqual(woken.json().messages, [], 'a hold did not see what failed');
    disk.set();
    await stack.daemon.start();
    const after = texts(await until('the web server is back', () => stack.all()));
    assert.equal(after[0], 'kept');
    await stack.create('goes on');
  },
);

claim(
  'damage found while running: no acknowledgement, and the daemon ends with the reason',
  async (t) => {
    const disk = faultyDisk(tempDir(t));
    const stack = await startStack(t, {
      ...disk.options,
      args: ['--keep-messages', '50', '--memory', '64K'],
      allow: [/^encke: (warn|error): /],
    });
    stack.daemon.judged = false;
    for (let at = 0; at < 400; at += 50)
      await Promise.all(Array.from({ length: 50 }, () => stack.create('d'.repeat(3000))));
    await stack.daemon.stop();
    const sound = fs.readFileSync(stack.db);
    await stack.daemon.start();
    disk.set('read=garbage');
    let ended = false;
    stack.daemon.exited.then(() => {
      ended = true;
    });
    for (let i = 0; i < 2000 && !ended; i++) {
      const outcome = await stack
        .raw({ method: 'POST', uri: '/comet/create', type: 'text/plain', body: `after ${i}` })
        .then(
          (a) => a,
          () => null,
        );
      if (!outcome) break;
      await stack.raw({ uri: '/comet/update?timeout=0' }).catch(() => {});
    }
    const { code } = await stack.daemon.exited;
    assert.ok(code > 0, `exit code ${code}`);
    assert.match(
      stack.daemon.stderr(),
      /^encke: error: .*(damaged|corrupt|malformed|not a database)/im,
    );
    disk.set();
    assert.ok(sound.length > 0);
  },
  { timeout: 60_000 },
);

claim(
  'a read that fails gets 500, never a wrong answer, and the daemon ends with the reason',
  async (t) => {
    const disk = faultyDisk(tempDir(t));
    const stack = await startStack(t, {
      ...disk.options,
      args: ['--memory', '0'],
      allow: [/^encke: (warn|error): /],
    });
    stack.daemon.judged = false;
    for (let i = 0; i < 200; i++) await stack.create(`${i} `.padEnd(8000, 'r'));
    await stack.daemon.stop();
    await stack.daemon.start();
    disk.set('read=EIO');
    expectError(await stack.raw({ uri: '/comet/update?timeout=0' }), 500);
    const { code } = await stack.daemon.exited;
    assert.ok(code > 0, `exit code ${code}`);
    assert.match(stack.daemon.stderr(), /^encke: error: .*(read|I\/O)/im);
    disk.set();
    await stack.daemon.start();
    assert.equal((await stack.all()).length, 200);
  },
);

claim(
  'the log deleted under the daemon: no acknowledgement, and the daemon ends with the reason',
  async (t) => {
    const stack = await startStack(t, { allow: [/^encke: (warn|error): /] });
    stack.daemon.judged = false;
    const kept = [];
    for (let i = 0; i < 10; i++) {
      kept.push(`m${i}`);
      await stack.create(kept[i]);
    }
    for (const suffix of ['', '-wal', '-shm']) fs.rmSync(stack.db + suffix, { force: true });
    // An acknowledgement for a message that the next start would not find is a lie: refuse, and say
    // why.
    let acknowledged = 0;
    for (let i = 0; i < 300 && !stack.daemon.process.ended; i++) {
      const outcome = await stack
        .raw({ method: 'POST', uri: '/comet/create', type: 'text/plain', body: `late ${i}` })
        .catch(() => null);
      if (outcome?.status === 200) acknowledged++;
    }
    assert.equal(acknowledged, 0, 'creates acknowledged into a file that is gone');
    await stack.daemon.exited;
    assert.match(stack.daemon.stderr(), /^encke: error: .*(deleted|gone|removed|moved|replaced)/im);
  },
);

claim('a database that is cut short while nobody publishes ends the daemon by itself', async (t) => {
  const first = await startStack(t, { db: path.join(tempDir(t), 'log.db') });
  for (let i = 0; i < 50; i++) await first.create('x'.repeat(10000));
  first.daemon.process.kill('SIGTERM');
  await first.daemon.exited; // with a checkpoint
  const stack = await startStack(t, { db: first.db, allow: [/^encke: error: /] });
  stack.daemon.judged = false;
  fs.truncateSync(stack.db, 100_000);
  assert.equal((await stack.daemon.exited).code, 1);
  assert.match(stack.daemon.stderr(), /^encke: error: .*was cut short while in use/m);
});

claim('a slow disk makes batches, not errors', async (t) => {
  const disk = faultyDisk(tempDir(t));
  const stack = await startStack(t, disk.options);
  disk.set('sync=delay:20');
  const before = await stack.status();
  const held = stack.update({ id: 'now', limit: 1000, timeout: 30 });
  await stack.holds(1);
  await Promise.all(Array.from({ length: 300 }, (_, i) => stack.create(`m${i}`)));
  const after = await stack.status();
  assert.equal(after.creates - before.creates, 300);
  assert.ok(
    after.commits - before.commits < 150,
    `${after.commits - before.commits} commits for 300 creates`,
  );
  assert.ok((await held).messages.length >= 1);
  disk.set();
});

claim(
  'a log locked by another program: 503 with Retry-After, reads go on, then all works again',
  async (t) => {
    if (spawnSync('perl', ['-MFcntl', '-e', '1']).status !== 0)
      return t.skip('perl is not installed');
    const stack = await startStack(t, { server: 'nginx', allow: [/^encke: warn: /] });
    await stack.create('before');
    // SQLite's write lock of a log in WAL mode is the byte 120 of its -shm file.
    const lock =
      'open F, "+<", $ARGV[0] or die $!; $l = pack "s s x4 q q i x4", F_WRLCK, 0, 120, 1, 0; ' +
      'fcntl(F, F_SETLK, $l) or die $!; ' +
      '$| = 1; print "locked\\n"; <STDIN>';
    const other = run(['perl', '-MFcntl', '-e', lock, `${stack.db}-shm`], { stdin: 'pipe' });
    defer(t, () => other.stop('SIGKILL'));
    await until(
      'the other program has the lock',
      () => other.stdout === 'locked\n' || (other.ended && assert.fail(other.stderr)),
    );
    expectBusy(await post(stack, 'refused'));
    assert.deepEqual(texts(await stack.all()), ['before']);
    await other.stop('SIGKILL');
    await stack.create('after');
    assert.deepEqual(texts(await stack.all()), ['before', 'after']);
  },
);

claim(
  'a real file system that fills up: 507, nothing acknowledged lost, and room again',
  async (t) => {
    const small = await smallDisk(t, '2m');
    if (small.refused) return t.skip(small.refused);
    const stack = await startStack(t, {
      server: 'nginx',
      db: path.join(small.dir, 'encke.db'),
      wrap: small.wrap,
      args: ['--keep-bytes', '0'],
      allow: [/^encke: (warn|error): .*(disk|space|full)/i],
    });
    const ballast = path.join(small.seen, 'ballast');
    fs.writeFileSync(ballast, Buffer.alloc(700_000));
    const kept = [];
    let full = 0;
    for (let i = 0; full < 3; i++) {
      const text = `${i} `.padEnd(20_000, 'f');
      const answer = await post(stack, text);
      if (answer.status === 200) {
        kept.push(text);
        full = 0;
      } else {
        expectError(answer, 507, /disk|space|full/i);
        full++;
      }
      assert.ok(i < 500, 'two megabytes are full at some time');
    }
    assert.deepEqual(texts(await stack.all()), kept);
    fs.rmSync(ballast);
    for (let i = 0; i < 3; i++) {
      kept.push(`room ${i}`);
      expectJson(
        await until('room is found', async () => {
          const answer = await post(stack, `room ${i}`);
          return answer.status === 200 && answer;
        }),
      );
    }
    assert.deepEqual(texts(await stack.all()), kept);
    await stack.daemon.kill('SIGKILL');
    await stack.daemon.start();
    assert.deepEqual(texts(await until('the web server is back', () => stack.all())), kept);
  },
);

claim(
  'a sound log on a full disk is not called damaged, and is there when there is room again',
  async (t) => {
    const small = await smallDisk(t, '1m');
    if (small.refused) return t.skip(small.refused);
    const stack = await startStack(t, {
      db: path.join(small.dir, 'encke.db'),
      wrap: small.wrap,
    });
    stack.daemon.judged = false;
    await stack.create('kept');
    await stack.daemon.kill('SIGKILL');
    fs.rmSync(path.join(small.seen, 'encke.db-shm')); // as after a reboot: it holds nothing that the next start needs
    const ballast = fs.openSync(path.join(small.seen, 'ballast'), 'w');
    for (const size of [65536, 4096, 1]) {
      try {
        for (;;) fs.writeSync(ballast, Buffer.alloc(size));
      } catch (error) {
        assert.equal(error.code, 'ENOSPC');
      }
    }
    fs.closeSync(ballast);
    const full = stack.daemon.spawn();
    const serves = until(
      'it answers',
      async () => full.ended || (await stack.raw()).status === 200,
    );
    await serves;
    if (full.ended) {
      // it need not serve, but must say what is wrong
      assert.ok((await full.exited).code > 0);
      assert.match(full.stderr, /^encke: error: .*(space|room|full)/im);
      assert.doesNotMatch(full.stderr, /damaged|corrupt|move it away/i);
      stack.daemon.allow(/^encke: error: .*(space|room|full)/i);
    } else await stack.daemon.stop();
    fs.rmSync(path.join(small.seen, 'ballast'));
    await stack.daemon.start();
    assert.deepEqual(texts(await stack.all()), ['kept']);
  },
);
