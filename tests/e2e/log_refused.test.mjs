// A file that is not a sound log of this version is refused with a clear error, and left as it was.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { ask } from './lib/fcgi.mjs';
import { claim, daemonBinary, run, startStack, tempDir, until } from './lib/harness.mjs';
import {
  foreignDatabase,
  setApplicationId,
  setUserVersion,
  settled,
  userVersion,
} from './lib/sqlite.mjs';
import { random } from './lib/random.mjs';

// A sound log with some hundred messages, as a file.
async function soundLog(t) {
  const stack = await startStack(t);
  for (let at = 0; at < 300; at += 50)
    await Promise.all(
      Array.from({ length: 50 }, (_, i) =>
        stack.create(`message ${at + i} `.padEnd(900, '.'), { channel: `c${i % 5}` }),
      ),
    );
  const { code } = await stack.daemon.stop();
  assert.equal(code, 0);
  return settled(stack.db);
}

// Starts a daemon on these bytes, which must refuse them; gives what it said.
async function refused(t, name, bytes, says) {
  const dir = tempDir(t),
    db = path.join(dir, 'encke.db');
  fs.writeFileSync(db, bytes);
  const daemon = run([daemonBinary(), '--socket', path.join(dir, 'encke.sock'), '--db', db]);
  const { code, signal } = await Promise.race([
    daemon.exited,
    new Promise((r) => setTimeout(r, 20_000, { code: null, signal: 'none: it runs' }).unref()),
  ]);
  daemon.kill('SIGKILL');
  assert.ok(code > 0, `${name}: exit code ${code}, signal ${signal}, ${daemon.stderr}`);
  assert.match(daemon.stderr, says, name);
  const lines = daemon.stderr.trim().split('\n');
  for (const line of lines) assert.match(line, /^encke: (error|info): /, name);
  assert.ok(
    lines.some((line) => line.startsWith('encke: error: ') && line.includes(db)),
    `${name}: names the file: ${daemon.stderr}`,
  );
  assert.ok(fs.readFileSync(db).equals(bytes), `${name}: the file is as it was`);
  for (const suffix of ['-wal', '-shm', '-journal'])
    assert.ok(
      !fs.existsSync(`${db}${suffix}`) || fs.statSync(`${db}${suffix}`).size === 0,
      `${name}: nothing left in ${suffix}`,
    );
  assert.ok(!fs.existsSync(path.join(dir, 'encke.sock')), `${name}: no socket left`);
}

claim('a file that is not a log is refused and left untouched', async (t) => {
  const { bytes } = random('garbage files');
  const cases = {
    "somebody else's database": foreignDatabase(),
    "somebody else's database with the version of ours": foreignDatabase({ userVersion: 1 }),
    'a database of another application': foreignDatabase({ applicationId: 0x0f055112 }),
    noise: bytes(100_000),
    'a text': Buffer.from('not a database, but the notes of somebody\n'.repeat(300)),
    'one byte': Buffer.from([0]),
    "SQLite's first bytes and no more": Buffer.from('SQLite format 3\0', 'latin1'),
    "SQLite's first bytes and noise": Buffer.concat([
      Buffer.from('SQLite format 3\0', 'latin1'),
      bytes(8176),
    ]),
  };
  for (const [name, file] of Object.entries(cases))
    await refused(t, name, file, /not|log|database/i);
});

claim(
  'a log of a newer version or another application is refused and left untouched',
  async (t) => {
    const log = await soundLog(t);
    await refused(
      t,
      'a newer version',
      setUserVersion(Buffer.from(log), userVersion(log) + 1),
      /version|newer/i,
    );
    await refused(
      t,
      'a much newer version',
      setUserVersion(Buffer.from(log), 0x7fffffff),
      /version|newer/i,
    );
    await refused(
      t,
      'a negative version',
      setUserVersion(Buffer.from(log), -1),
      /version|newer|not/i,
    );
    await refused(
      t,
      'another application',
      setApplicationId(Buffer.from(log), 0x12345678),
      /not|log/i,
    );
    await refused(t, 'no application', setApplicationId(Buffer.from(log), 0), /not|log/i);
  },
);

claim(
  'a damaged log is refused and left untouched',
  async (t) => {
    const log = await soundLog(t);
    const page = log.readUInt16BE(16) === 1 ? 65536 : log.readUInt16BE(16);
    const pages = log.length / page;
    assert.ok(pages > 20, `${pages} pages`);
    const spoilt = (from, to, byte = 0xa5) => Buffer.from(log).fill(byte, from, to);
    const cases = {
      'cut in the middle of a page': log.subarray(0, Math.floor(pages / 2) * page + 100),
      'cut to half': log.subarray(0, Math.floor(pages / 2) * page),
      'cut to the first page': log.subarray(0, page),
      'cut by one page': log.subarray(0, log.length - page),
      'no schema': spoilt(100, page),
      'the second page spoilt': spoilt(page, 2 * page),
      'all but the first page spoilt': spoilt(page, log.length),
      'all but the first page zeros': spoilt(page, log.length, 0),
      'a page in the middle spoilt': spoilt(
        Math.floor(pages / 2) * page,
        Math.floor(pages / 2 + 1) * page,
      ),
      'the last page spoilt': spoilt(log.length - page, log.length),
    };
    for (const [name, file] of Object.entries(cases))
      await refused(t, name, file, /damaged|corrupt|malformed|cut short|not|integrity/i);
  },
  { timeout: 240_000 },
);

claim('a directory, or a path that does not exist, is refused', async (t) => {
  const dir = tempDir(t);
  fs.mkdirSync(path.join(dir, 'directory'));
  for (const db of [path.join(dir, 'directory'), path.join(dir, 'no/such/dir/encke.db')]) {
    const daemon = run([daemonBinary(), '--socket', path.join(dir, 's'), '--db', db]);
    assert.ok((await daemon.exited).code > 0);
    assert.match(daemon.stderr, /^encke: error: /m);
    assert.ok(daemon.stderr.includes(db), daemon.stderr);
  }
});

claim('a second daemon on the same log is refused, and the first goes on', async (t) => {
  const stack = await startStack(t);
  await stack.create('before');
  const link = path.join(stack.dir, 'link.db');
  fs.symlinkSync(stack.db, link);
  for (const db of [stack.db, path.join(stack.dir, '.', 'encke.db'), link]) {
    const second = run([
      daemonBinary(),
      '--socket',
      path.join(stack.dir, 'other.sock'),
      '--db',
      db,
    ]);
    const { code } = await second.exited;
    assert.ok(code > 0, `exit code ${code} on ${db}`);
    assert.match(second.stderr, /^encke: error: .*(another|in use|lock)/m);
    assert.ok(!fs.existsSync(path.join(stack.dir, 'other.sock')));
  }
  await stack.create('after');
  assert.deepEqual(
    (await stack.all()).map((m) => m.data),
    ['before', 'after'],
  );
});

claim('of several daemons started at once on a new log exactly one runs', async (t) => {
  for (let round = 0; round < 5; round++) {
    const dir = tempDir(t),
      db = path.join(dir, 'encke.db');
    const all = Array.from({ length: 5 }, (_, i) =>
      run([daemonBinary(), '--socket', path.join(dir, `${i}.sock`), '--db', db]),
    );
    const runs = async (daemon, i) => {
      if (daemon.ended) return false;
      const answer = await ask(path.join(dir, `${i}.sock`)).catch(() => null);
      return answer?.status === 200;
    };
    await until('all but one have ended', () => all.filter((d) => d.ended).length === 4);
    const [one] = all.filter((d) => !d.ended);
    await until('the one answers', () => runs(one, all.indexOf(one)));
    for (const daemon of all) {
      if (daemon === one) continue;
      assert.ok((await daemon.exited).code > 0);
      assert.match(daemon.stderr, /^encke: error: .*in use/m);
    }
    assert.equal((await one.stop()).code, 0);
  }
});

claim('the lock of a daemon that was killed does not keep the next one out', async (t) => {
  const stack = await startStack(t);
  for (let i = 0; i < 3; i++) {
    await stack.create(`m${i}`);
    await stack.daemon.kill('SIGKILL');
    await stack.daemon.start();
  }
  assert.deepEqual(
    (await stack.all()).map((m) => m.data),
    ['m0', 'm1', 'm2'],
  );
});

claim('one connection can write the log, all others are read-only', async (t) => {
  const stack = await startStack(t, { args: ['--memory', '0'] });
  for (let i = 0; i < 20; i++) await stack.create('x'.repeat(2000));
  await stack.all(); // from disk, so that a reader is open
  const proc = `/proc/${stack.daemon.pid}`;
  // A connection may end meanwhile, and its descriptor with it.
  const target = (fd) => {
    try {
      return fs.readlinkSync(`${proc}/fd/${fd}`);
    } catch {
      return '';
    }
  };
  const modes = fs
    .readdirSync(`${proc}/fd`)
    .filter((fd) => target(fd) === stack.db)
    .map(
      (fd) =>
        Number.parseInt(
          /^flags:\s+(\d+)/m.exec(fs.readFileSync(`${proc}/fdinfo/${fd}`, 'utf8'))[1],
          8,
        ) & 3,
    );
  assert.equal(modes.filter((m) => m !== 0).length, 1, `access modes ${modes}`);
  assert.ok(
    modes.some((m) => m === 0),
    'a reader is open',
  );
});
