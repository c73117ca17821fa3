// What holds for every transport that goes on: streaming, iframe, events and WebSocket. One cursor,
// nothing missed, nothing twice, a gap told.
import assert from 'node:assert/strict';
import { startStack, throughBoth, until } from './lib/harness.mjs';
import { CURSOR, epochOf, expectAscending, expectError, seqOf } from './lib/expect.mjs';
import { LIVE, openReader, readAll, STREAMS, TYPES } from './lib/readers.mjs';
import { openResponse } from './lib/response.mjs';
import { TEXTS } from './lib/texts.mjs';

const FORM = { 'Content-Type': 'application/x-www-form-urlencoded' };

// The messages of a test go to a channel of the transport's own: all share a stack.
const forEach = (transports, work) =>
  Promise.all(transports.map((transport) => work(transport, `c-${transport}`)));

throughBoth('a stream says something at once, and then what is published', async (t, server) => {
  const stack = await startStack(t, { server });
  await stack.publish('elsewhere', { channel: 'other' });
  const { head } = await stack.status();
  await forEach(LIVE, async (transport, channel) => {
    const reader = await openReader(stack, transport, { id: 'now', channel });
    await reader.until('a cursor before any message', () => reader.cursor !== '');
    assert.deepEqual(reader.log, ['cursor']);
    assert.equal(epochOf(reader.cursor), epochOf(head));
    const ids = [];
    for (let i = 0; i < 5; i++) {
      ids.push(...(await stack.publish(`${i}`, { channel })));
      await reader.has(i + 1); // each when it comes, not with the next
      assert.equal(reader.cursor, ids[i]);
    }
    assert.deepEqual(reader.texts, ['0', '1', '2', '3', '4']);
    assert.deepEqual(reader.ids, ids);
    for (const message of reader.messages) assert.equal(message.channel, channel);
    assert.equal(reader.resets, 0);
    reader.cut();
  });
});

throughBoth('a stream has the headers of one, and no length', async (t, server) => {
  const stack = await startStack(t, { server });
  for (const transport of STREAMS) {
    for (const direct of [false, true]) {
      const response = await openResponse(stack, `${transport}?id=now`, { direct });
      const { headers } = response;
      assert.equal(response.status, 200);
      assert.equal(headers['content-type'], TYPES[transport]);
      assert.equal(headers['cache-control'], 'no-store, no-transform');
      assert.equal(headers['x-content-type-options'], 'nosniff');
      assert.equal(headers['content-length'], undefined);
      if (direct) assert.equal(headers['x-accel-buffering'], 'no');
      response.cut();
    }
  }
});

throughBoth('every kind of text arrives as it was sent', async (t, server) => {
  const stack = await startStack(t, { server });
  await forEach(LIVE, async (transport, channel) => {
    const live = await openReader(stack, transport, { id: 'now', channel });
    await live.until('it is open', () => live.cursor);
    const ids = await stack.publish(TEXTS, { channel });
    await live.has(TEXTS.length);
    const readers = [live];
    if (transport === 'websocket') {
      readers.push(await openReader(stack, transport, { channel }));
      await readers[1].has(TEXTS.length);
    } else readers.push(await readAll(stack, transport, { channel })); // from the log
    for (const reader of readers) {
      assert.deepEqual(reader.ids, ids);
      reader.texts.forEach((text, i) =>
        assert.ok(text === TEXTS[i], `${transport}: ${JSON.stringify(TEXTS[i].slice(0, 40))}`),
      );
      reader.cut();
    }
  });
});

throughBoth('a heartbeat carries the cursor past what other channels got', async (t, server) => {
  const stack = await startStack(t, { server, args: ['--heartbeat', '1'] });
  await forEach(LIVE, async (transport, channel) => {
    const reader = await openReader(stack, transport, { id: 'now', channel });
    await reader.until('its first cursor', () => reader.cursors === 1);
    const [id] = await stack.publish('elsewhere', { channel: `loud-${transport}` });
    await reader.until('it is past that', () => seqOf(reader.cursor) >= seqOf(id));
    const cursors = reader.cursors;
    await reader.until('it beats on', () => reader.cursors >= cursors + 2);
    assert.equal(reader.count, 0);
    await stack.publish('here', { channel });
    await reader.has(1);
    // whatever else was sent
    await reader.until('and on', () => reader.log.slice(reader.log.indexOf('message')).length > 2);
    assert.deepEqual(reader.texts, ['here']);
    reader.cut();
  });
});

throughBoth('a stream ends by itself, and the next one goes on from its cursor', async (t, server) => {
  const stack = await startStack(t, { server, args: ['--stream', '1s'] });
  await forEach(STREAMS, async (transport, channel) => {
    const seen = [],
      sent = [];
    let id = 'now',
      streams = 0,
      publishing = true;
    const publisher = (async () => {
      while (publishing) sent.push(...(await stack.publish(`m${sent.length}`, { channel })));
    })();
    while (streams < 4) {
      const reader = await openReader(stack, transport, { id, channel });
      if (streams++ === 2) publishing = false;
      assert.equal(await reader.ended, 'end', String(reader.fault));
      assert.equal(reader.partial, '');
      assert.equal(reader.resets, 0);
      seen.push(...reader.ids);
      id = reader.cursor;
    }
    await publisher;
    expectAscending(seen.map((i) => ({ id: i })));
    assert.ok(seen.length > 10, `${seen.length} seen`);
    assert.deepEqual(seen, sent.slice(sent.indexOf(seen[0])), transport);
  });
  await stack.streams();
});

throughBoth('timeout=0 gives what is there and ends; timeout=1 soon', async (t, server) => {
  const stack = await startStack(t, { server });
  await forEach(STREAMS, async (transport, channel) => {
    const none = await readAll(stack, transport, { channel });
    assert.deepEqual(none.log, ['cursor']);
    const ids = await stack.publish(['a', 'b', 'c'], { channel });
    assert.deepEqual((await readAll(stack, transport, { channel })).ids, ids);
    assert.deepEqual((await readAll(stack, transport, { channel, id: '' })).ids, ids);
    assert.deepEqual((await readAll(stack, transport, { channel, id: ids[0] })).ids, ids.slice(1));
    const nothing = await readAll(stack, transport, { channel, id: ids[2] });
    assert.deepEqual(nothing.log, ['cursor']);
    assert.ok(seqOf(nothing.cursor) >= seqOf(ids[2]));
    const now = await readAll(stack, transport, { channel, id: 'now' });
    assert.deepEqual(now.log, ['cursor']);
    const soon = await readAll(stack, transport, { channel, id: ids[1], timeout: 1 });
    assert.deepEqual(soon.ids, ids.slice(2));
  });
  assert.equal((await stack.status()).holds, 0);
  await stack.streams();
});

throughBoth('one cursor serves any set of channels, and every transport', async (t, server) => {
  const stack = await startStack(t, { server });
  const [a1] = await stack.publish('a1', { channel: 'a' });
  await stack.publish('b1', { channel: 'b' });
  await stack.publish('c1', { channel: 'c' });
  for (const transport of LIVE) {
    const reader = await openReader(stack, transport, { id: a1, channel: ['b', 'a', 'b'] });
    await reader.has(1);
    const [b2] = await stack.publish('b2', { channel: 'b' });
    await stack.publish('c2', { channel: 'c' });
    const [a2] = await stack.publish('a2', { channel: 'a' });
    const [b3] = await stack.publish('b3', { channel: 'b' });
    const start = reader.count;
    await reader.until('b3', () => reader.ids.at(-1) === b3); // there is an older one of that text
    assert.deepEqual(
      reader.messages.slice(-3).map((m) => [m.channel, m.data]),
      [
        ['b', 'b2'],
        ['a', 'a2'],
        ['b', 'b3'],
      ],
    );
    assert.ok(start > 0 && reader.ids.includes(b2) && reader.ids.includes(a2));
    assert.ok(!reader.messages.some((m) => m.channel === 'c'));
    expectAscending(reader.messages);
    reader.cut();
    // another transport goes on from there
    for (const next of LIVE.filter((l) => l !== transport)) {
      const other = await openReader(stack, next, { id: a2, channel: ['a', 'b', 'c'] });
      await other.has(1);
      assert.deepEqual(other.texts, ['b3']);
      other.cut();
    }
  }
});

throughBoth('a cursor that cannot be honoured is told, with what is kept', async (t, server) => {
  const stack = await startStack(t, { server });
  const ids = await stack.publish(['one', 'two']);
  const foreign = `${epochOf(ids[0]) === 'ffffffffffff' ? '0'.repeat(12) : 'f'.repeat(12)}-1`;
  const ahead = `${epochOf(ids[0])}-${seqOf(ids[1]) + 1000n}`;
  for (const transport of LIVE) {
    for (const id of [foreign, ahead, 'nonsense', '-', 'NOW', '0', '💥']) {
      const reader = await openReader(stack, transport, { id });
      await reader.has(2);
      assert.deepEqual(reader.log, ['reset', 'message', 'message'], `${transport} ${id}`);
      assert.deepEqual(reader.ids, ids);
      await stack.publish('more', { channel: 'x' });
      reader.cut();
      // where nothing is kept, it is told at once all the same
      const empty = await openReader(stack, transport, { id, channel: 'empty' });
      await empty.until('a reset and a cursor', () => empty.log.length === 2);
      assert.deepEqual(empty.log, ['reset', 'cursor']);
      empty.cut();
    }
  }
});

throughBoth('what retention took is told, several channels or one', async (t, server) => {
  const stack = await startStack(t, { server, args: ['--keep-messages', '10'] });
  const many = (n, channel) =>
    stack.publish(
      Array.from({ length: n }, (_, i) => `${channel}${i}`),
      { channel },
    );
  const [first] = await many(1, 'quiet');
  await many(50, 'loud');
  await until('retention', async () => (await stack.status()).messages <= 11);
  for (const transport of LIVE) {
    const reader = await openReader(stack, transport, { id: first, channel: 'loud' });
    await reader.has(10);
    assert.equal(reader.log[0], 'reset');
    assert.deepEqual(reader.texts, Array.from({ length: 10 }, (_, i) => `loud${40 + i}`));
    reader.cut();
    const both = await openReader(stack, transport, { id: first, channel: ['quiet', 'loud'] });
    await both.has(10);
    assert.equal(both.log[0], 'reset');
    both.cut();
    const well = await openReader(stack, transport, { id: first, channel: 'quiet' });
    await well.until('a cursor', () => well.cursor);
    assert.deepEqual([well.resets, well.count], [0, 0]);
    well.cut();
  }
});

// Where the browser itself asks again, with the same URL and the header beside it, the header is the
// newer one. Elsewhere a field is what the client meant.
throughBoth('Last-Event-ID is where a stream goes on', async (t, server) => {
  const stack = await startStack(t, { server });
  const ids = await stack.publish(['m0', 'm1', 'm2', 'm3']);
  const head = (await stack.status()).head;
  for (const transport of LIVE) {
    const events = transport === 'events';
    for (const [fields, from, wanted] of [
      [{}, ids[1], ['m2', 'm3']],
      [{}, head, []],
      [{}, 'unknown', ['reset', 'm0', 'm1', 'm2', 'm3']],
      [{ id: ids[2] }, ids[0], events ? ['m1', 'm2', 'm3'] : ['m3']],
      [{ id: ids[0] }, ids[2], events ? ['m3'] : ['m1', 'm2', 'm3']],
      [{ id: 'now' }, ids[2], events ? ['m3'] : []],
      [{ id: 'now' }, '', []],
    ]) {
      const headers = { 'Last-Event-ID': from };
      const reader = await openReader(stack, transport, fields, { headers });
      await reader.until('its first words', () => reader.log.length >= Math.max(1, wanted.length));
      const got = [...(reader.resets ? ['reset'] : []), ...reader.texts];
      assert.deepEqual(got, wanted, `${transport} ${JSON.stringify(fields)} ${from}`);
      reader.cut();
    }
  }
});

throughBoth('a long catch-up comes whole, and runs into what is live', async (t, server) => {
  const stack = await startStack(t, { server, args: ['--memory', '256K'] });
  const N = 3000;
  const text = (i) => `${i}:`.padEnd(i % 50 === 0 ? 20_000 : 100, 'x');
  await stack.publish(
    Array.from({ length: N }, (_, i) => text(i)),
    { channel: 'long' },
  );
  let publishing = true;
  const more = [];
  const publisher = (async () => {
    while (publishing)
      more.push(...(await stack.publish(text(N + more.length), { channel: 'long' })));
  })();
  const readers = await Promise.all(
    LIVE.map((transport) => openReader(stack, transport, { channel: 'long' })),
  );
  await until('some are live', () => more.length >= 200, { every: 2 });
  publishing = false;
  await publisher;
  for (const reader of readers) {
    await reader.has(N + more.length);
    reader.texts.forEach((got, i) => assert.ok(got === text(i), `${reader.transport} ${i}`));
    assert.deepEqual(reader.ids.slice(N), more);
    assert.equal(reader.resets, 0);
    reader.cut();
  }
  assert.equal((await stack.status()).streams_behind, 0);
});

throughBoth('POST streaming takes its fields from a form', async (t, server) => {
  const stack = await startStack(t, { server });
  const ids = await stack.publish(['a', 'b', 'c'], { channel: 'form' });
  const post = (body) =>
    openReader(stack, 'streaming', {}, { method: 'POST', headers: FORM, body });
  const reader = await post(`channel=form&id=${ids[0]}&timeout=0`);
  assert.equal(await reader.ended, 'end');
  assert.deepEqual(reader.texts, ['b', 'c']);
  const live = await post('channel=form&id=now');
  await live.until('a cursor', () => CURSOR.test(live.cursor));
  await stack.publish('d', { channel: 'form' });
  await live.has(1);
  assert.deepEqual(live.texts, ['d']);
  live.cut();
});

throughBoth('a stream that is asked for wrongly gets 400 or 405 and why', async (t, server) => {
  const stack = await startStack(t, { server });
  const list = Array.from({ length: 33 }, (_, i) => `channel=c${i}`).join('&');
  for (const transport of STREAMS) {
    for (const [at, says] of [
      ['channel=', /channel/],
      ['channel=a%20b', /channel/],
      ['channel=%C3%A4', /channel/],
      [`channel=${'x'.repeat(65)}`, /channel/],
      ['channel=main&channel=a/b', /channel/],
      [list, /channel/],
      ['timeout=-1', /timeout/],
      ['timeout=', /timeout/],
      ['timeout=x', /timeout/],
      ['timeout=1.5', /timeout/],
      ['timeout=601', /timeout/],
      ['timeout=99999999999999999999', /timeout/],
      ['as=html', /as/],
      ['as=echo', /as/],
      ['as=', /as/],
    ])
      expectError(await stack.http(`${transport}?${at}`), 400, says);
    for (const method of ['PUT', 'DELETE', 'PATCH', ...(transport === 'streaming' ? [] : ['POST'])]) {
      const answer = await stack.http(transport, { method });
      expectError(answer, 405);
      const allow = answer.headers.allow.split(/\s*,\s*/);
      assert.deepEqual(allow, transport === 'streaming' ? ['GET', 'HEAD', 'POST'] : ['GET', 'HEAD']);
    }
  }
  for (const callback of [
    '',
    '1a',
    'a b',
    'a-b',
    'a.',
    '.a',
    'a..b',
    'a()',
    'a;b',
    '<x>',
    'a\n',
    'a.1',
    'ä',
    "a['b']",
    'a\u2028',
    'x'.repeat(65),
    'alert(1)//',
    // whatever a browser brings along would run what a message says
    'eval',
    'setTimeout',
    'document.write',
    'add',
    'add_',
    'add_x.y',
    'add_$',
    'addEventListener',
    'Add_content',
    'add_' + 'x'.repeat(61),
  ].map(encodeURIComponent))
    if (server === 'nginx' || !/%0A/.test(callback))
      expectError(await stack.http(`iframe?callback=${callback}`), 400, /callback/);
  await stack.streams();
});

throughBoth('any bytes at all are a cursor of some kind', async (t, server) => {
  // lighttpd by itself refuses some that are no UTF-8, and which, changes with its version
  const webConfig = { lighttpd: 'server.http-parseopts = ("url-invalid-utf8-reject" => "disable")\n' };
  const stack = await startStack(t, { server, webConfig });
  await stack.publish('kept');
  const ids = ['%', '%4', '%zz', '%F0%9F', '%ff%fe', 'a'.repeat(2000), '%22%3E%3Cscript%3E', '+'];
  for (const transport of STREAMS) {
    for (const id of ids) {
      const answer = await stack.http(`${transport}?timeout=0&id=${id}`);
      assert.equal(answer.status, 200, `${transport} ${id}: ${answer.body}`);
      assert.match(answer.body, /reset|null,null/);
      assert.match(answer.body, /kept/);
    }
  }
  await stack.streams();
});

throughBoth('the count of streams is theirs, and returns to zero', async (t, server) => {
  const stack = await startStack(t, { server, args: ['--heartbeat', '1'] });
  const each = { streaming: 3, iframe: 4, events: 5, websocket: 6 };
  const wanted = Object.fromEntries(LIVE.map((transport) => [transport, each[transport]]));
  for (let round = 0; round < 2; round++) {
    const readers = (
      await Promise.all(
        LIVE.map((transport) =>
          Promise.all(
            Array.from({ length: each[transport] }, (_, i) =>
              openReader(stack, transport, { id: 'now', channel: `c${i % 2}` }),
            ),
          ),
        ),
      )
    ).flat();
    await stack.streams(wanted);
    const status = await stack.status();
    assert.equal(status.holds, 0);
    assert.equal(status.streams_behind, 0);
    assert.equal(typeof status.websocket, 'boolean');
    for (const reader of readers) reader.cut();
    await stack.streams();
  }
  await until('no connection is left', async () => (await stack.status()).connections <= 20);
});

throughBoth('more than --max-holds streams and holds get 503', async (t, server) => {
  const stack = await startStack(t, {
    server,
    args: ['--max-holds', '8', '--heartbeat', '1'],
    allow: [/^encke: warn: /],
  });
  for (let round = 0; round < 2; round++) {
    const readers = [];
    for (let i = 0; i < 7; i++)
      readers.push(await openReader(stack, LIVE[i % LIVE.length], { id: 'now' }));
    const held = stack.update({ id: 'now', timeout: 60 });
    await stack.holds(1);
    for (const transport of LIVE) {
      const refused = await openReader(stack, transport, { id: 'now' }).catch((error) => error);
      assert.ok(refused instanceof Error, transport);
      const { status, headers } = refused.response ?? refused.answer;
      assert.equal(status, 503, transport);
      assert.match(headers['retry-after'], /^[1-9]\d*$/);
    }
    await stack.publish('the hold ends');
    await held;
    const eighth = await openReader(stack, LIVE[0], { id: 'now' });
    for (const reader of [...readers, eighth]) reader.cut();
    await stack.streams();
  }
});
