// A key makes a message one message, however often it is sent.
import assert from 'node:assert/strict';
import { claim, startStack, throughBoth, until } from './lib/harness.mjs';
import { expectError, expectJson, texts } from './lib/expect.mjs';
import { random } from './lib/random.mjs';

const FORM = { 'Content-Type': 'application/x-www-form-urlencoded' };
const TEXT = { 'Content-Type': 'text/plain' };

const post = (stack, at, body, headers = FORM) => stack.http(at, { method: 'POST', headers, body });
const publish = (stack, fields) => post(stack, 'create', String(new URLSearchParams(fields)));

throughBoth('a message that is sent again with its key is stored once', async (t, server) => {
  const stack = await startStack(t, { server });
  const first = expectJson(await publish(stack, { msg: 'a', once: 'k' }));
  assert.deepEqual(Object.keys(first), ['id']);
  await stack.publish('between');
  for (let i = 0; i < 3; i++)
    assert.deepEqual(expectJson(await publish(stack, { msg: 'a', once: 'k' })), {
      id: first.id,
      duplicate: true,
    });
  assert.deepEqual(texts(await stack.all()), ['a', 'between']);
  assert.equal((await stack.status()).creates, 2);
});

throughBoth('the key comes as field, parameter, part or header', async (t, server) => {
  const stack = await startStack(t, { server });
  const { id } = expectJson(await publish(stack, { msg: 'a', once: 'k 1' }));
  const boundary = { 'Content-Type': 'multipart/form-data; boundary=b' };
  const part = (name, value) =>
    `--b\r\nContent-Disposition: form-data; name="${name}"\r\n\r\n${value}\r\n`;
  for (const [at, body, headers] of [
    ['create?once=k+1', 'msg=a', FORM],
    ['create?once=k%201&msg=a', undefined, {}],
    ['create?once=k+1', 'a', TEXT],
    ['create', `${part('once', 'k 1')}${part('msg', 'a')}--b--`, boundary],
    ['create', 'a', { ...TEXT, 'Idempotency-Key': '"k 1"' }],
    ['create', 'msg=a&once=k+1', { ...FORM, 'Idempotency-Key': '"k 1"' }],
  ])
    assert.deepEqual(expectJson(await post(stack, at, body, headers)), { id, duplicate: true }, at);
  const uuid = '8e03978e-40d5-43dd-bc93-6894a57f9324';
  const plain = expectJson(await post(stack, 'create', 'b', { ...TEXT, 'Idempotency-Key': uuid }));
  assert.deepEqual(expectJson(await publish(stack, { msg: 'b', once: uuid })), {
    id: plain.id,
    duplicate: true,
  });
  assert.deepEqual(texts(await stack.all()), ['a', 'b']);
});

throughBoth('another text under a key is refused, another channel is not', async (t, server) => {
  const stack = await startStack(t, { server });
  const { id } = expectJson(await publish(stack, { msg: 'a', once: 'k' }));
  for (const msg of ['b', 'A', 'a ', 'aa'])
    expectError(await publish(stack, { msg, once: 'k' }), 409, /key/);
  const other = expectJson(await publish(stack, { msg: 'b', once: 'k', channel: 'other' }));
  assert.deepEqual(Object.keys(other), ['id']);
  assert.deepEqual(expectJson(await publish(stack, { msg: 'a', once: 'k' })), { id, duplicate: true });
  assert.deepEqual(texts(await stack.all()), ['a']);
  assert.deepEqual(texts(await stack.all({ channel: 'other' })), ['b']);
});

throughBoth('of several at the same moment one is stored, and all get its id', async (t, server) => {
  const stack = await startStack(t, { server });
  for (let round = 0; round < 20; round++) {
    const fields = { msg: `m${round}`, once: `k${round}` };
    const answers = await Promise.all(Array.from({ length: 8 }, () => publish(stack, fields)));
    const told = answers.map((answer) => expectJson(answer));
    assert.equal(new Set(told.map(({ id }) => id)).size, 1);
    assert.equal(told.filter(({ duplicate }) => !duplicate).length, 1);
  }
  assert.equal((await stack.all()).length, 20);
});

throughBoth('of two texts under one key at the same moment one is refused', async (t, server) => {
  const stack = await startStack(t, { server });
  for (let round = 0; round < 20; round++) {
    const answers = await Promise.all(
      ['a', 'b'].map((msg) => publish(stack, { msg, once: `k${round}` })),
    );
    assert.deepEqual(answers.map(({ status }) => status).sort(), [200, 409]);
  }
  assert.equal((await stack.all()).length, 20);
});

throughBoth('a key is remembered across restarts and kill -9', async (t, server) => {
  const stack = await startStack(t, { server });
  stack.daemon.judged = false;
  const fields = { msg: 'a', once: 'k' };
  const { id } = expectJson(await publish(stack, fields));
  for (const signal of ['SIGKILL', 'SIGTERM', 'SIGKILL']) {
    await stack.daemon.kill(signal);
    await stack.daemon.start();
    const again = await until('it answers', async () => {
      const answer = await publish(stack, fields).catch(() => null);
      return answer?.status === 200 && answer.json();
    });
    assert.deepEqual(again, { id, duplicate: true });
    expectError(await publish(stack, { msg: 'b', once: 'k' }), 409);
  }
  assert.deepEqual(texts(await stack.all()), ['a']);
});

claim('publishers that repeat what is not answered store each message once, whatever dies', async (t) => {
  const { int } = random('once kills');
  const stack = await startStack(t, { server: 'nginx', args: ['--keep-messages', '0'] });
  stack.daemon.judged = false;
  const acknowledged = new Map();
  let publishing = true,
    repeats = 0;
  const publishers = Array.from({ length: 8 }, async (_, p) => {
    for (let i = 0; publishing; i++) {
      const fields = { msg: `${p}.${i}`, once: `key ${p}.${i}` };
      let answer = null;
      for (let tries = 0; answer?.status !== 200; tries++) {
        repeats += tries > 0;
        answer = await publish(stack, fields).catch(() => null);
        if (answer && answer.status < 500) assert.equal(answer.status, 200, answer.body);
      }
      acknowledged.set(fields.msg, answer.json().id);
    }
  });
  for (let kill = 0; kill < 20; kill++) {
    const enough = acknowledged.size + 1 + int(60);
    await until('more are acknowledged', () => acknowledged.size >= enough, { every: 1 });
    await stack.daemon.kill('SIGKILL');
    await stack.daemon.start();
  }
  publishing = false;
  await Promise.all(publishers);
  const log = await stack.all();
  t.diagnostic(`${acknowledged.size} messages, ${repeats} repeated requests`);
  assert.ok(repeats > 0);
  assert.equal(log.length, acknowledged.size);
  for (const { id, data } of log) assert.equal(acknowledged.get(data), id, data);
});

throughBoth('what is no key is refused', async (t, server) => {
  const stack = await startStack(t, { server });
  const long = 'k'.repeat(129);
  for (const [at, body, headers, says] of [
    ['create', 'msg=a&once=', FORM, /1 to 128 bytes/],
    ['create', 'msg=a&once', FORM, /1 to 128 bytes/],
    ['create', 'msg=a&once=%09', FORM, /control characters/],
    ['create', 'msg=a&once=a%00b', FORM, /control characters/],
    ['create', 'msg=a&once=%ff', FORM, /UTF-8/],
    ['create', `msg=a&once=${long}`, FORM, /1 to 128 bytes/],
    ['create', 'msg=a&once=k&once=k', FORM, /once is given twice/],
    ['create?once=k', 'msg=a&once=k', FORM, /in the query and in the body/],
    ['create', 'a', { ...TEXT, 'Idempotency-Key': long }, /1 to 128/],
    ['create', 'a', { ...TEXT, 'Idempotency-Key': '""' }, /Idempotency-Key/],
    ['create', 'a', { ...TEXT, 'Idempotency-Key': '"k' }, /Idempotency-Key/],
    ['create', 'a', { ...TEXT, 'Idempotency-Key': 'two words' }, /Idempotency-Key/],
    ['create?once=k', 'a', { ...TEXT, 'Idempotency-Key': 'other' }, /different keys/],
    ['create', 'once=k', FORM, /a key needs a message/],
    ['create', 'once=k&msg=', FORM, /a key needs a message/],
    ['create', undefined, { 'Idempotency-Key': 'k' }, /a key needs a message/],
  ])
    expectError(await post(stack, at, body, headers), 400, says);
  assert.equal((await stack.status()).creates, 0);
  const longest = 'ä'.repeat(64); // 128 bytes
  const { id } = expectJson(await publish(stack, { msg: 'a', once: longest }));
  const again = expectJson(await publish(stack, { msg: 'a', once: longest }));
  assert.deepEqual(again, { id, duplicate: true });
});

claim('a key is forgotten after --once', async (t) => {
  const stack = await startStack(t, { server: 'nginx', args: ['--once', '1'] });
  const fields = { msg: 'a', once: 'k' };
  const { id } = expectJson(await publish(stack, fields));
  const again = await until('it is stored again', async () => {
    const answer = expectJson(await publish(stack, fields));
    return !answer.duplicate && answer;
  });
  assert.notEqual(again.id, id);
  assert.deepEqual(texts(await stack.all()), ['a', 'a']);
});

claim('with --once-keys keys new ones are refused, and old ones are good', async (t) => {
  const stack = await startStack(t, {
    server: 'nginx',
    args: ['--once-keys', '2', '--once', '2'],
    allow: [/^encke: warn: too many keys are kept/],
  });
  const ids = [];
  for (const once of ['1', '2']) ids.push(expectJson(await publish(stack, { msg: 'a', once })).id);
  expectError(await publish(stack, { msg: 'a', once: '3' }), 507, /keys/);
  expectJson(await publish(stack, { msg: 'without a key' }));
  const again = expectJson(await publish(stack, { msg: 'a', once: '1' }));
  if (again.duplicate) assert.equal(again.id, ids[0]); // else its time was over
  await until('room is room again', async () => (await publish(stack, { msg: 'a', once: '3' })).status === 200);
});

claim('with --max-channels-kept channels a new one is refused, and old ones are good', async (t) => {
  const stack = await startStack(t, {
    server: 'nginx',
    args: ['--max-channels-kept', '2'],
    allow: [/^encke: warn: too many channels are kept/],
  });
  for (const channel of ['a', 'b']) expectJson(await publish(stack, { msg: 'x', channel }));
  for (let i = 0; i < 3; i++)
    expectError(await publish(stack, { msg: 'x', channel: 'c' }), 507, /channels/);
  assert.equal(stack.daemon.stderr().match(/too many channels are kept/g)?.length, 1);
  expectJson(await publish(stack, { msg: 'y', channel: 'a' }));
  assert.deepEqual(texts(await stack.all({ channel: 'a' })), ['x', 'y']);
  assert.deepEqual(await stack.all({ channel: 'c' }), []);
});
