// GET events: Server-Sent Events, to the letter of the HTML standard (9.2), and with the clients
// that people have: Chromium's EventSource and the `eventsource` package.
import assert from 'node:assert/strict';
import { EventSource } from 'eventsource';
import { openPage } from './lib/browser.mjs';
import { claim, defer, startStack, throughBoth, together, until } from './lib/harness.mjs';
import { openReader, readAll } from './lib/readers.mjs';
import { openResponse } from './lib/response.mjs';
import { SseParser } from './lib/sse.mjs';

async function bytesOf(stack, at, options) {
  const response = await openResponse(stack, at, options);
  assert.equal(response.status, 200);
  return response.text();
}

// The parser that all is judged by: the standard's own examples and corners.
claim('the test parser reads streams as the standard says', () => {
  const read = (...parts) => {
    const parser = new SseParser();
    for (const part of parts) parser.push(Buffer.from(part));
    return parser;
  };
  const datas = (...parts) => read(...parts).events.map((e) => e.data);
  assert.deepEqual(datas('data: YHOO\ndata: +2\ndata: 10\n\n'), ['YHOO\n+2\n10']);
  assert.deepEqual(datas('data\n\ndata\ndata\n\ndata:'), ['', '\n']);
  assert.deepEqual(datas('data:test\n\ndata: test\n\n'), ['test', 'test']);
  assert.deepEqual(datas('data:  two\n\n'), [' two']);
  assert.deepEqual(datas('\ufeffdata: BOM\n\n'), ['BOM']);
  assert.deepEqual(datas('data: a\r', '\n\r\n'), ['a']);
  assert.deepEqual(datas('data: a\r\rdata: b\r\n\r\n'), ['a', 'b']);
  assert.deepEqual(datas('data: unfinished\n'), []);
  const ids = read(': c\n\ndata: 1\nid: 1\n\ndata: 2\nid\n\ndata:  3\n\nid: 4\n\n');
  assert.deepEqual(
    ids.events.map((e) => e.lastEventId),
    ['1', '', ''],
  );
  assert.equal(ids.lastEventId, '4', 'an id without data counts');
  assert.deepEqual(ids.comments, [' c']);
  const others = read('retry: 12\nretry: x\nfoo: bar\nevent: e\ndata: d\n\ndata: f\n\n');
  assert.equal(others.retry, 12);
  assert.deepEqual(others.ignored, ['retry: x', 'foo: bar']);
  assert.deepEqual(
    others.events.map((e) => e.type),
    ['e', 'message'],
  );
});

throughBoth('the bytes of events are those of the protocol', async (t, server) => {
  const stack = await startStack(t, { server });
  const form = /^retry: (\d+)\nevent: cursor\nid: ([0-9a-f]{12}-0)\ndata: \2\n\n$/;
  assert.match(await bytesOf(stack, 'events?id=now&timeout=0'), form);
  const [one, two, three] = await stack.publish(['text', 'a\rb\nc\r\nd\n\re', '\n']);
  const [id] = await stack.publish('j"\n', { channel: 'json' });
  const text = await bytesOf(stack, 'events?timeout=0');
  assert.equal(
    text.replace(/^retry: \d+\n/, ''),
    `id: ${one}\ndata: text\n\n` +
      `id: ${two}\ndata: a\ndata: b\ndata: c\ndata: d\ndata: \ndata: e\n\n` +
      `id: ${three}\ndata: \ndata: \n\n`,
  );
  const json = await bytesOf(stack, 'events?timeout=0&as=json&channel=json');
  const update = (await stack.http('update?timeout=0&channel=json')).body;
  const object = /"messages":\[(.*)\],"more"/.exec(update)[1];
  assert.equal(json.replace(/^retry: \d+\n/, ''), `id: ${id}\ndata: ${object}\n\n`);
  const reset = await bytesOf(stack, 'events?timeout=0&id=unknown&channel=json&as=json');
  assert.equal(
    reset.replace(/^retry: \d+\n/, ''),
    `event: reset\ndata: reset\n\nid: ${id}\ndata: ${object}\n\n`,
  );
});

throughBoth('retry differs from stream to stream, between 1 and 3 seconds', async (t, server) => {
  const stack = await startStack(t, { server });
  const retries = await Promise.all(
    Array.from(
      { length: 40 },
      async () => (await readAll(stack, 'events', { id: 'now' })).parser.retry,
    ),
  );
  for (const retry of retries) assert.ok(retry >= 1000 && retry <= 3000, `${retry}`);
  assert.ok(new Set(retries).size > 20, `${retries}`);
});

throughBoth('a heartbeat is a comment that moves the last event id', async (t, server) => {
  const stack = await startStack(t, { server, args: ['--heartbeat', '1'] });
  const reader = await openReader(stack, 'events', { id: 'now' });
  await reader.until('open', () => reader.cursor);
  const [id] = await stack.publish('elsewhere', { channel: 'other' });
  const { parser } = reader;
  await reader.until('two beats', () => parser.comments.length >= 2 && parser.lastEventId === id);
  assert.equal(parser.comments[0].trim(), 'heartbeat');
  assert.ok(!parser.events.some((event) => event.type === 'message'));
  reader.cut();
});

const LINES = ['one', 'CR\rLF\nCRLF\r\nend', '\n', ' space', 'e\u2028\u{1f4a5}', 'data: x\n\n'];
const asEvents = (text) => text.replaceAll('\r\n', '\n').replaceAll('\r', '\n');

throughBoth('as=text keeps all but the kind of line break', async (t, server) => {
  const stack = await startStack(t, { server });
  const ids = await stack.publish(LINES);
  const reader = await readAll(stack, 'events', { as: 'text' });
  assert.deepEqual(reader.texts, LINES.map(asEvents));
  assert.deepEqual(reader.ids, ids);
});

// What a page would keep of an EventSource: every event, its id, and how often it (re)connected. As www/README.md has it,
// a source that gives up (at a 502 or 503, while there is no daemon) is opened again.
function follow(at, id, EventSource) {
  const heard = { messages: [], ids: [], cursors: [], resets: 0, opens: 0, errors: 0 };
  const followed = { heard, cursor: id, source: null, over: false };
  const open = () => {
    if (followed.over) return;
    const source = new EventSource(`${at}?id=${followed.cursor}`);
    followed.source = source;
    const keep = (event, list) => list.push((followed.cursor = event.lastEventId));
    source.addEventListener('open', () => heard.opens++);
    source.addEventListener('reset', () => heard.resets++);
    source.addEventListener('cursor', (event) => keep(event, heard.cursors));
    source.addEventListener('message', (event) => {
      heard.messages.push(event.data);
      keep(event, heard.ids);
    });
    source.addEventListener('error', () => {
      heard.errors++;
      if (source.readyState === EventSource.CLOSED) setTimeout(open, 200);
    });
  };
  open();
  followed.close = () => {
    followed.over = true;
    followed.source.close();
  };
  return followed;
}

throughBoth('the eventsource package hears each message once, in order', async (t, server) => {
  const stack = await startStack(t, { server });
  const first = await stack.publish('before');
  const { heard, close } = follow(`${stack.url}/events`, '', EventSource);
  defer(t, close);
  await until('what was there', () => heard.messages.length === 1);
  const ids = await stack.publish(LINES);
  await until('all', () => heard.messages.length === 1 + LINES.length);
  assert.deepEqual(heard.messages, ['before', ...LINES.map(asEvents)]);
  assert.deepEqual(heard.ids, [...first, ...ids]);
  assert.deepEqual([heard.opens, heard.errors, heard.resets], [1, 0, 0]);
});

// The stream ends for every reason there is; the client comes back by itself, with Last-Event-ID
// and the URL that it began with.
async function goesOn(t, server) {
  const stack = await startStack(t, { server, args: ['--stream', '1s'] });
  const sent = [];
  const publish = async () => {
    const text = `m${sent.length}`;
    await stack.publish(text);
    sent.push(text);
  };
  await publish(); // before `now`: not heard
  sent.pop();
  const [resumed] = await stack.publish('seen');
  const followed = ['now', resumed].map((id) => follow(`${stack.url}/events`, id, EventSource));
  defer(t, () => followed.forEach(({ close }) => close()));
  const all = followed.map(({ heard }) => heard);
  await until('both are open', () => all.every((heard) => heard.cursors.length > 0));
  for (const signal of [null, 'SIGTERM', null, 'SIGKILL', null]) {
    await publish();
    const opens = all.map((heard) => heard.opens);
    if (signal) {
      await stack.daemon.kill(signal);
      stack.daemon.judged = false;
      await stack.daemon.start();
    }
    for (let i = 0; i < 5; i++) await publish(); // while they are away, or not
    await until('both have come back', () => all.every((heard, i) => heard.opens > opens[i]));
    await publish();
    for (const heard of all)
      await until('both have all', () => heard.messages.length >= sent.length);
  }
  for (const heard of all) {
    assert.deepEqual(heard.messages, sent);
    assert.equal(heard.resets, 0);
  }
}

async function goesOnInChromium(t, server) {
  const stack = await startStack(t, { server, args: ['--stream', '1s'] });
  const { page } = await openPage(t, `${stack.url}/status`, { outage: true });
  await page.evaluate(
    ([at, text]) => {
      const follow = new Function(`return ${text}`)();
      globalThis.followed = follow(at, 'now', EventSource);
    },
    [`${stack.url}/events`, String(follow)],
  );
  const heard = () => page.evaluate(() => globalThis.followed.heard);
  await until('it is open', async () => (await heard()).cursors.length > 0);
  const sent = [];
  for (const signal of [null, 'SIGTERM', null, 'SIGKILL']) {
    const { opens } = await heard();
    if (signal) {
      await stack.daemon.kill(signal);
      stack.daemon.judged = false;
      await stack.daemon.start();
    }
    const texts = LINES.map((line) => `${sent.length} ${line}`);
    await stack.publish(texts);
    sent.push(...texts);
    await until('it has come back', async () => (await heard()).opens > opens);
    await until('it has all', async () => (await heard()).messages.length >= sent.length);
  }
  const { messages, resets } = await heard();
  assert.deepEqual(messages, sent.map(asEvents));
  assert.equal(resets, 0);
  await page.evaluate(() => globalThis.followed.close());
  await stack.streams();
}

together('an EventSource comes back by itself, without loss or double', [
  ['the eventsource package, through ends and restarts', goesOn],
  ["Chromium's, through the same", goesOnInChromium],
]);

// As EventSource's imitations do that can set no header: what they were given first, and where they
// have come to appended, in a parameter of this name.
async function imitation(t, stack, given, name) {
  const parser = new SseParser();
  let open = true;
  defer(t, () => {
    open = false;
  });
  (async () => {
    while (open) {
      const more = parser.lastEventId && `&${name}=${encodeURIComponent(parser.lastEventId)}`;
      const response = await openResponse(stack, `${given}${more}`);
      response.onBody = (bytes) => parser.push(bytes);
      await response.ended;
    }
  })().catch(() => {});
  await until('it is open', () => parser.events.length > 0); // its cursor
  return parser;
}

together('what connects again with a cursor in the address misses nothing', [
  ...['lastEventId', 'last_event_id'].map((name) => [
    name,
    async (t, server) => {
      const stack = await startStack(t, { server, args: ['--stream', '1s'] });
      const given = ['events?id=now', 'events?channel=main'];
      const parsers = await Promise.all(given.map((at) => imitation(t, stack, at, name)));
      const sent = [];
      while (sent.length < 40) {
        sent.push(`m${sent.length}`);
        await stack.publish(sent.at(-1));
        await new Promise((next) => setTimeout(next, 100)); // some while it is away
      }
      const heard = (parser) => parser.events.filter((e) => e.type === 'message').map((e) => e.data);
      for (const parser of parsers) {
        await until('it has the last', () => heard(parser).includes('m39'));
        assert.deepEqual(heard(parser), sent);
      }
    },
  ]),
]);

claim('a cursor in the address counts as Last-Event-ID does, which counts for more', async (t) => {
  const stack = await startStack(t);
  const ids = await stack.publish(['a', 'b', 'c', 'd']);
  const reads = async (at, params) => {
    const answer = await stack.raw({ uri: `/comet/${at}&timeout=0`, params });
    const parser = new SseParser();
    if (at.startsWith('events')) parser.push(answer.bytes);
    else return answer.json().messages.map((message) => message.data);
    return parser.events.filter((event) => event.type === 'message').map((event) => event.data);
  };
  for (const name of ['lastEventId', 'last_event_id']) {
    assert.deepEqual(await reads(`events?${name}=${ids[1]}`), ['c', 'd']);
    assert.deepEqual(await reads(`events?id=${ids[0]}&${name}=${ids[1]}`), ['c', 'd']);
    assert.deepEqual(await reads(`events?id=${ids[0]}&${name}=`), ['b', 'c', 'd']);
    assert.deepEqual(await reads(`events?${name}=${ids[0]}&${name}=${ids[2]}`), ['d']);
    const header = { HTTP_LAST_EVENT_ID: ids[2] };
    assert.deepEqual(await reads(`events?${name}=${ids[1]}`, header), ['d']);
    assert.deepEqual(await reads(`update?${name}=${ids[1]}`), ['c', 'd']);
    assert.deepEqual(await reads(`update?id=${ids[2]}&${name}=${ids[1]}`), ['d']); // as the header
  }
});
