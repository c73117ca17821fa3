// GET status, the greeting, and what the command line says.
import assert from 'node:assert/strict';
import { claim, daemonBinary, run, startStack, throughBoth, until } from './lib/harness.mjs';
import { CURSOR, epochOf, expectCommon, expectError, expectJson } from './lib/expect.mjs';

const FIELDS = [
  'version',
  'uptime',
  'epoch',
  'head',
  'connections',
  'holds',
  'channels_read',
  'reads_waiting',
  'messages',
  'bytes',
  'wal_bytes',
  'creates',
  'deliveries',
  'commits',
  'last_error',
];

throughBoth('status tells the state in these fields', async (t, server) => {
  const stack = await startStack(t, { server });
  const empty = expectJson(await stack.http('status'));
  for (const name of FIELDS) assert.ok(name in empty, name);
  assert.match(empty.version, /^\d+\.\d+/);
  assert.match(empty.epoch, /^[0-9a-f]{12}$/);
  assert.match(empty.head, CURSOR);
  assert.equal(epochOf(empty.head), empty.epoch);
  assert.ok(Number.isInteger(empty.uptime) && empty.uptime >= 0);
  assert.ok(empty.connections >= 1, 'at least the one that asks');
  assert.equal(empty.channels_read, 0);
  assert.ok(!('readers_by_channel' in empty), 'names are told on request only');
  assert.equal(empty.last_error, null);
  for (const name of ['holds', 'reads_waiting', 'messages', 'bytes', 'creates', 'deliveries', 'commits'])
    assert.equal(empty[name], 0, name);
});

throughBoth('status counts what happened', async (t, server) => {
  const stack = await startStack(t, { server });
  const held = [
    stack.update({ id: 'now', channel: ['a', 'b'] }),
    stack.subscribe({ channel: 'a' }),
  ];
  await stack.holds(2);
  assert.deepEqual((await stack.status()).readers_by_channel, { a: 2, b: 1 });
  await stack.create('12345', { channel: 'a' });
  const last = await stack.create('1234567', { channel: 'b' });
  await Promise.all(held);
  const told = expectJson(await stack.http('status'));
  assert.equal(told.head, last);
  assert.equal(told.messages, 2);
  assert.ok(told.bytes >= 12, `bytes: ${told.bytes}`);
  assert.equal(told.creates, 2);
  assert.ok(told.commits >= 1 && told.commits <= 2, `commits: ${told.commits}`);
  assert.ok(told.deliveries >= 1, `deliveries: ${told.deliveries}`);
  assert.equal(told.holds, 0);
  await until('no channel is read', async () => (await stack.status()).channels_read === 0); // a second later
});

throughBoth('status names the busiest channels on request, twenty at most', async (t, server) => {
  const stack = await startStack(t, { server });
  const held = [];
  for (let i = 10; i < 40; i++) held.push(stack.update({ id: 'now', channel: `c${i}` }));
  for (const channel of ['c25', 'c25', 'c39', 'z']) held.push(stack.update({ id: 'now', channel }));
  await stack.holds(held.length);
  const plain = await stack.http('status');
  assert.equal(plain.json().channels_read, 31);
  assert.ok(!plain.body.includes('c25'));
  const named = async (n) =>
    Object.entries(expectJson(await stack.http(`status?channels=${n}`)).readers_by_channel ?? {});
  const all = [['c25', 3], ['c39', 2], ...Array.from({ length: 18 }, (_, i) => [`c${10 + i + (i > 14)}`, 1])];
  assert.deepEqual(await named(20), all);
  assert.deepEqual(await named(1), all.slice(0, 1));
  assert.deepEqual(await named(0), []);
  for (const bad of ['21', '-1', 'x', ''])
    expectError(await stack.http(`status?channels=${bad}`), 400, /channels/);
  await Promise.all([stack.daemon.kill('SIGTERM'), ...held]);
});

throughBoth(
  'any other path is a 404 with a greeting that lists the endpoints',
  async (t, server) => {
    const stack = await startStack(t, { server });
    for (const at of [
      '',
      'nothing',
      'create/',
      'Create',
      'status.json',
      '%63reatex',
      'update/x?id=1',
    ]) {
      for (const method of ['GET', 'POST']) {
        const answer = await stack.http(at, { method });
        assert.equal(answer.status, 404, `${method} ${at}`);
        expectCommon(answer);
        assert.match(answer.headers['content-type'], /^text\/plain/);
        for (const word of ['create', 'update', 'subscribe', 'status'])
          assert.match(answer.body, new RegExp(`\\b${word}\\b`));
        assert.ok(answer.body.endsWith('\n'), "a terminal's prompt starts on a line of its own");
      }
    }
  },
);

claim('--help names every option, in 80 columns, and --version the version', async () => {
  const help = run([daemonBinary(), '--help']);
  assert.deepEqual((await help.exited).code, 0);
  for (const option of [
    'socket',
    'socket-mode',
    'db',
    'mount',
    'hold',
    'hold-max',
    'max-holds',
    'max-message',
    'max-channels',
    'keep-messages',
    'keep-age',
    'keep-bytes',
    'memory',
    'queue',
    'request-timeout',
    'log-level',
    'help',
    'version',
  ])
    assert.match(help.stdout, new RegExp(`--${option}\\b`), option);
  assert.match(help.stdout, /ENCKE_/);
  for (const line of help.stdout.split('\n\n')[1].split('\n')) {
    assert.ok(line.length <= 80, line);
    assert.match(line, /^( {2}--\S+ \S+| {2}--.{24} \S.*| {29}\S.*)$/, 'texts have a column');
  }
  assert.equal(help.stderr, '');
  const version = run([daemonBinary(), '--version']);
  assert.equal((await version.exited).code, 0);
  assert.match(version.stdout, /^encke \d+\.\d+\S*\n/);
  assert.equal(version.stderr, '');
});

claim('a wrong command line is refused with a word on what is wrong', async () => {
  for (const [args, says] of [
    [['--nonsense'], /nonsense/],
    [['--hold', 'long', '--db', '/tmp/x', '--socket', '/tmp/y'], /hold/],
    [['--max-message', '-5', '--db', '/tmp/x', '--socket', '/tmp/y'], /max-message/],
    [['--keep-bytes', '1X', '--db', '/tmp/x', '--socket', '/tmp/y'], /keep-bytes/],
    [['--socket-mode', '9999', '--db', '/tmp/x', '--socket', '/tmp/y'], /socket-mode/],
    [['--log-level', 'loud', '--db', '/tmp/x', '--socket', '/tmp/y'], /log-level/],
    [['--socket', '/tmp/y'], /db/],
    [['--db', '/tmp/x'], /socket/],
    [['stray', '--db', '/tmp/x', '--socket', '/tmp/y'], /stray/],
    [['--db'], /db/],
    [['--db', '/tmp/x', '--socket', `/tmp/${'y'.repeat(200)}`], /socket/],
  ]) {
    const refused = run([daemonBinary(), ...args]);
    const { code } = await refused.exited;
    assert.ok(code > 0, `${args}: exit code ${code}`);
    assert.match(refused.stderr, says, `${args}`);
    assert.match(refused.stderr, /^(encke: (info|error): .*\n)+$/, `${args}`);
    assert.match(refused.stderr, /^encke: error: /m, `${args}`);
  }
});
