// One reader for every transport, so that one claim can be made of all of them: what it was given,
// in which order, and the cursor that it would go on with.
//
//   const reader = await openReader(stack, 'events', { id: 'now', channel: ['a', 'b'] });
//   await reader.has(3);                  // three messages
//   reader.messages, reader.cursor, reader.resets
//   reader.log                            // 'message', 'cursor' and 'reset' in their order
//   await reader.ended                    // 'end' or 'cut'
//
// It is strict: what does not have the transport's exact form is a fault, which every wait throws.
import assert from 'node:assert/strict';
import { fetchHttp, query, until } from './harness.mjs';
import { CURSOR, expectMessage } from './expect.mjs';
import { openResponse } from './response.mjs';
import { SseParser } from './sse.mjs';
import { RawWebSocket } from './websocket.mjs';

export const STREAMS = ['streaming', 'iframe', 'events'];
export const LIVE = [...STREAMS, 'websocket'];

export const TYPES = {
  streaming: 'application/x-ndjson',
  iframe: 'text/html; charset=utf-8',
  events: 'text/event-stream',
};

class Reader {
  constructor(transport, { keep = true } = {}) {
    Object.assign(this, { transport, keep, messages: [], log: [], count: 0, resets: 0 });
    this.cursor = '';
    this.cursors = 0; // told without a message
    this.first = null; // of those
    this.fault = null;
    this.onMessage = null;
  }

  message(message) {
    this.count++;
    this.cursor = message.id;
    if (this.keep) {
      this.messages.push(message);
      this.log.push('message');
    }
    this.onMessage?.(message);
  }

  told(id) {
    assert.match(id, CURSOR);
    this.cursor = id;
    this.cursors++;
    this.first ??= id;
    this.log.push('cursor');
  }

  reset() {
    this.resets++;
    this.log.push('reset');
  }

  // Runs part of a parser; what it throws is the reader's fault and ends the reading.
  guard(work) {
    if (this.fault) return;
    try {
      work();
    } catch (error) {
      this.fault = error;
      this.cut();
    }
  }

  until(what, condition, options) {
    return until(
      `${this.transport}: ${what}`,
      () => {
        if (this.fault) throw this.fault;
        return condition(this);
      },
      { every: 2, ...options },
    ).catch((error) => {
      const state = `${this.count} messages, ${this.resets} resets, cursor '${this.cursor}'`;
      throw new Error(`${error.message} (${state})`, { cause: this.fault ?? error.cause });
    });
  }

  has(n, options) {
    return this.until(`${n} messages`, () => this.count >= n, options);
  }
  get texts() {
    return this.messages.map((m) => m.data);
  }
  get ids() {
    return this.messages.map((m) => m.id);
  }
}

// One that reads a response, by lines that `line` understands.
class StreamReader extends Reader {
  constructor(transport, response, options) {
    super(transport, options);
    this.response = response;
    this.headers = response.headers;
    this.ended = response.ended;
  }
  start() {
    this.response.onBody = (bytes) => this.guard(() => this.take(bytes));
    return this;
  }
  eachLine(bytes, each) {
    this.rest = this.rest?.length ? Buffer.concat([this.rest, bytes]) : bytes;
    for (let end; (end = this.rest.indexOf(10)) >= 0;) {
      each(this.rest.toString('utf8', 0, end));
      this.rest = this.rest.subarray(end + 1);
    }
  }
  // What came after the last whole line: nothing, where the stream ended by itself.
  get partial() {
    return this.rest?.toString('utf8') ?? '';
  }
  pause() {
    this.response.pause();
  }
  resume() {
    this.response.resume();
  }
  cut() {
    this.response.cut();
  }
}

class LinesReader extends StreamReader {
  take(bytes) {
    this.eachLine(bytes, (line) => {
      const told = JSON.parse(line);
      const fields = Object.keys(told).join();
      if (fields === 'id') this.told(told.id);
      else if (line === '{"reset":true}') this.reset();
      else {
        expectMessage(told);
        this.message(told);
      }
    });
  }
}

// The document's head, then one script a line, each a call of the callback and nothing else.
class IframeReader extends StreamReader {
  constructor(transport, response, options) {
    super(transport, response, options);
    this.callback = options.callback ?? 'add_content';
    this.preamble = '';
    this.begun = false;
  }
  take(bytes) {
    this.eachLine(bytes, (line) => {
      if (!line.startsWith('<script>')) {
        assert.ok(!this.begun, `not a script: ${line.slice(0, 100)}`);
        this.preamble += `${line}\n`;
        return;
      }
      this.begun = true;
      const before = `<script>parent.${this.callback}(`,
        after = ')</script>';
      assert.ok(line.startsWith(before) && line.endsWith(after), line.slice(0, 100));
      const inside = line.slice(before.length, -after.length);
      // no control characters, `<`, `>`, U+2028 and U+2029
      assert.match(inside, /^[ -;=?-\u2027\u202a-\uffff]*$/);
      const args = JSON.parse(`[${inside}]`);
      if (args.length === 2 && args[0] === null && args[1] === null) this.reset();
      else if (args.length === 2 && args[0] === null) this.told(args[1]);
      else {
        assert.equal(args.length, 4);
        const [data, id, channel, time] = args;
        expectMessage({ id, channel, time, data });
        this.message({ id, channel, time, data });
      }
    });
  }
}

class EventsReader extends StreamReader {
  constructor(transport, response, options) {
    super(transport, response, options);
    this.json = options.as === 'json';
    this.parser = new SseParser();
    this.parser.onEvent = (event) => this.event(event);
  }
  take(bytes) {
    this.parser.push(bytes);
    assert.deepEqual(this.parser.ignored, []);
  }
  event({ type, data, lastEventId }) {
    if (type === 'reset') {
      assert.equal(data, 'reset');
      this.reset();
    } else if (type === 'cursor') {
      assert.equal(data, lastEventId);
      this.told(lastEventId);
    } else {
      assert.equal(type, 'message');
      const message = this.json ? JSON.parse(data) : { id: lastEventId, data };
      if (this.json) expectMessage(message);
      assert.equal(message.id, lastEventId);
      this.message(message);
    }
  }
  get partial() {
    return this.parser.rest + this.parser.data;
  }
}

class WebSocketReader extends Reader {
  constructor(ws, options) {
    super('websocket', options);
    this.ws = ws;
    this.headers = ws.headers;
    this.others = []; // answers to what we sent
    ws.on('text', (text) => this.guard(() => this.take(text)));
    this.ended = ws.closed.then((code) => (code === 1006 ? 'cut' : 'end'));
  }
  take(text) {
    if (this.ws.fault) throw new Error(this.ws.fault);
    const told = text[0] === '{' ? JSON.parse(text) : {};
    const fields = Object.keys(told).join();
    if (fields === 'id') this.told(told.id);
    else if (text === '{"reset":true}') this.reset();
    else if (fields === 'id,channel,time,data') {
      expectMessage(told);
      this.message(told);
    } else this.others.push(text);
  }
  pause() {
    this.ws.pause();
  }
  resume() {
    this.ws.resume();
  }
  cut() {
    this.ws.cut();
  }
}

const READERS = { streaming: LinesReader, iframe: IframeReader, events: EventsReader };

// Opens a stream or a WebSocket and reads it. `fields` are those of the query; options are those of
// openResponse, and `keep: false` where the messages are only counted (see onMessage).
export async function openReader(stack, transport, fields = {}, options = {}) {
  if (transport === 'websocket') {
    const direct = options.direct || !stack.web;
    const to = direct ? stack.websocket : stack.web.port;
    const host = direct ? 'encke.test' : `127.0.0.1:${stack.web.port}`;
    const at = `websocket${query(fields)}`;
    return new WebSocketReader(await RawWebSocket.open(to, at, { host, ...options }), options);
  }
  const wanted = transport === 'events' ? { as: 'json', ...fields } : fields;
  const response = await openResponse(stack, `${transport}${query(wanted)}`, options);
  const { callback, as } = wanted;
  const reader = new READERS[transport](transport, response, { ...options, callback, as });
  if (response.status !== 200) {
    const body = await response.text();
    throw Object.assign(new Error(`${transport}: ${response.status} ${body}`), { response, body });
  }
  return reader.start();
}

// A stream that gives what is there and ends: its reader, at its end.
export async function readAll(stack, transport, fields, options) {
  const reader = await openReader(stack, transport, { timeout: 0, ...fields }, options);
  assert.equal(await reader.ended, 'end');
  if (reader.fault) throw reader.fault;
  assert.equal(reader.partial, '');
  return reader;
}

// The article's long poll: {texts, cursor, reset}. Its text is lines, so a message's line breaks
// have become spaces.
export async function longpoll(stack, fields = {}, options = {}) {
  const at = `${stack.url}/longpolling${query(fields)}`;
  const answer = await fetchHttp(at, options);
  assert.equal(answer.status, 200, answer.body);
  assert.equal(answer.headers['content-type'], 'text/plain; charset=utf-8');
  const lines = answer.body.split('\n');
  assert.equal(lines.pop(), '');
  for (const line of lines) assert.ok(line.startsWith('Server says: '), line);
  assert.match(answer.headers['last-event-id'], CURSOR);
  return {
    answer,
    texts: lines.map((line) => line.slice('Server says: '.length)),
    cursor: answer.headers['last-event-id'],
    reset: answer.headers['encke-reset'] === 'true',
  };
}
