// What every answer of the protocol must look like, in one place.
import assert from 'node:assert/strict';

export const CURSOR = /^[0-9a-f]{12}-\d+$/;

export const epochOf = (cursor) => cursor.split('-')[0];
export const seqOf = (cursor) => BigInt(cursor.split('-')[1]);

// Headers that every answer has, whatever it says.
export function expectCommon(answer) {
  assert.equal(answer.headers['cache-control'], 'no-store', 'Cache-Control');
  assert.equal(answer.headers['x-content-type-options'], 'nosniff', 'X-Content-Type-Options');
  assert.equal(
    answer.headers['content-length'],
    String(Buffer.byteLength(answer.body)),
    'Content-Length',
  );
}

export function expectJson(answer, status = 200) {
  assert.equal(answer.status, status, answer.body);
  expectCommon(answer);
  assert.match(answer.headers['content-type'] ?? '', /^application\/json/);
  return answer.json();
}

// An error: its status, and one sentence of JSON that says `says`.
export function expectError(answer, status, says = /./) {
  const told = expectJson(answer, status);
  assert.deepEqual(Object.keys(told), ['error']);
  assert.equal(typeof told.error, 'string');
  assert.match(told.error, says);
  return told;
}

// The same, about one element of an array.
export function expectElementError(answer, status, element, says = /./) {
  const told = expectJson(answer, status);
  assert.deepEqual(told, { error: told.error, element });
  assert.ok(told.error.startsWith(`element ${element}: `), told.error);
  assert.match(told.error, says);
}

export function expectBusy(answer) {
  expectError(answer, 503);
  assert.match(answer.headers['retry-after'] ?? '', /^[1-9]\d*$/, 'Retry-After');
}

export function expectMessage(message) {
  assert.deepEqual(Object.keys(message), ['id', 'channel', 'time', 'data']);
  assert.match(message.id, CURSOR);
  assert.match(message.channel, /^[A-Za-z0-9._-]{1,64}$/);
  assert.ok(Number.isSafeInteger(message.time), 'time is whole milliseconds');
  assert.equal(typeof message.data, 'string');
}

// The body of an update: exactly these fields, in this form.
export function expectUpdate(body, { reset = false } = {}) {
  const fields = ['id', 'messages', 'more', ...(reset ? ['reset'] : [])];
  assert.deepEqual(Object.keys(body).sort(), fields.sort());
  assert.match(body.id, CURSOR);
  assert.equal(typeof body.more, 'boolean');
  if (reset) assert.equal(body.reset, true);
  body.messages.forEach(expectMessage);
  expectAscending(body.messages);
  return body;
}

export function expectAscending(messages) {
  for (let i = 1; i < messages.length; i++)
    assert.ok(
      seqOf(messages[i - 1].id) < seqOf(messages[i].id),
      `${messages[i - 1].id} before ${messages[i].id}`,
    );
}

export const texts = (messages) => messages.map((m) => m.data);
