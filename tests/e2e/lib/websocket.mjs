// A WebSocket client of raw frames (RFC 6455), strict about what it is sent and free in what it
// sends, for what the `ws` package would neither send nor tell.
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { EventEmitter } from 'node:events';
import net from 'node:net';
import { until } from './harness.mjs';

export const OP = { CONT: 0, TEXT: 1, BINARY: 2, CLOSE: 8, PING: 9, PONG: 10 };
const GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';

export const acceptOf = (key) => createHash('sha1').update(key + GUID).digest('base64');

// One frame. Every field can be told a lie: `length` is what the header says, `mask: null` masks
// nothing, `bytes` in the length is 0 (shortest), 2 or 8.
export function frame(op, payload = '', options = {}) {
  const { fin = true, rsv = 0, mask = randomBytes(4), length, bytes = 0 } = options;
  const content = Buffer.from(payload);
  const said = length ?? content.length;
  const head = [(fin ? 0x80 : 0) | (rsv << 4) | op];
  const masked = mask ? 0x80 : 0;
  if (bytes === 8 || (!bytes && said > 0xffff)) {
    const long = Buffer.alloc(8);
    long.writeBigUInt64BE(BigInt(said));
    head.push(masked | 127, ...long);
  } else if (bytes === 2 || said > 125) head.push(masked | 126, said >> 8, said & 255);
  else head.push(masked | said);
  const sent = mask ? content.map((byte, i) => byte ^ mask[i % 4]) : content;
  return Buffer.concat([Buffer.from(head), mask ?? Buffer.alloc(0), sent]);
}

export function closeFrame(code, reason = '', options) {
  const content = Buffer.concat([Buffer.from([code >> 8, code & 255]), Buffer.from(reason)]);
  return frame(OP.CLOSE, content, options);
}

// Sends bytes of a handshake to a unix socket (a path) or a port, and gives {status, headers, body,
// socket, rest}: the answer's head, and the body of a refusal, or the open socket with what came
// after the 101.
export function shake(to, bytes) {
  return new Promise((resolve, reject) => {
    const socket = typeof to === 'number' ? net.connect(to, '127.0.0.1') : net.connect(to);
    let all = Buffer.alloc(0);
    const judge = (closed) => {
      const end = all.indexOf('\r\n\r\n');
      if (end < 0) {
        if (closed) reject(new Error(`closed after ${JSON.stringify(all.toString('latin1'))}`));
        return;
      }
      const [first, ...lines] = all.toString('latin1', 0, end).split('\r\n');
      const status = Number(/^HTTP\/1\.1 (\d{3})/.exec(first)?.[1]);
      const headers = Object.fromEntries(
        lines.map((line) => {
          const colon = line.indexOf(':');
          return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()];
        }),
      );
      const rest = all.subarray(end + 4);
      const length = Number(headers['content-length'] ?? (closed ? 0 : Infinity));
      if (status !== 101 && rest.length < length && !closed) return;
      socket.removeAllListeners();
      socket.on('error', () => {});
      if (status !== 101) socket.destroy();
      const body = rest.toString('utf8');
      resolve({ status, headers, body, json: () => JSON.parse(body), socket, rest });
    };
    socket.on('connect', () => socket.write(bytes));
    socket.on('data', (part) => {
      all = Buffer.concat([all, part]);
      judge(false);
    });
    socket.on('error', (error) => {
      if (all.length) judge(true);
      else reject(error);
    });
    socket.on('close', () => judge(true));
  });
}

// The bytes of a handshake. A header that is undefined is left out, a list is given line by line.
export function handshake(at, { method = 'GET', version = '1.1', host = 'encke.test', ...more } = {}) {
  const { key = randomBytes(16).toString('base64'), headers = {} } = more;
  const all = {
    Host: host,
    Upgrade: 'websocket',
    Connection: 'Upgrade',
    'Sec-WebSocket-Key': key,
    'Sec-WebSocket-Version': '13',
    ...headers,
  };
  const lines = Object.entries(all)
    .filter(([, value]) => value !== undefined)
    .flatMap(([name, value]) => [value].flat().map((one) => `${name}: ${one}\r\n`));
  return Buffer.from(`${method} ${at} HTTP/${version}\r\n${lines.join('')}\r\n`, 'latin1');
}

export class RawWebSocket extends EventEmitter {
  constructor(socket, { pong = true } = {}) {
    super();
    Object.assign(this, { socket, pong, rest: Buffer.alloc(0), frames: [], texts: [] });
    this.parts = null; // of a fragmented message
    this.pings = 0;
    this.pongs = [];
    this.closeCode = null; // what the server's close said; 1005: nothing
    this.closeReason = '';
    this.fault = null; // what is wrong with the server's frames
    this.closed = new Promise((resolve) => {
      socket.on('close', () => {
        this.isClosed = true;
        resolve(this.closeCode ?? 1006);
      });
    });
    this.isClosed = false;
    socket.on('error', () => {});
    socket.on('data', (bytes) => this.take(bytes));
  }

  // Opens `at` (what follows /comet/) on a unix socket (a path) or a port. Refused: throws.
  static async open(to, at, options = {}) {
    const key = options.key ?? randomBytes(16).toString('base64');
    const answer = await shake(to, handshake(`/comet/${at}`, { ...options, key }));
    if (answer.status !== 101) {
      const error = new Error(`the handshake was answered ${answer.status}: ${answer.body}`);
      throw Object.assign(error, { answer });
    }
    assert.equal(answer.headers['sec-websocket-accept'], acceptOf(key));
    assert.equal(answer.headers.upgrade.toLowerCase(), 'websocket');
    assert.match(answer.headers.connection, /^upgrade$/i);
    const ws = new RawWebSocket(answer.socket, options);
    ws.headers = answer.headers;
    ws.rest = answer.rest;
    if (options.paused) ws.pause();
    setImmediate(() => ws.take(Buffer.alloc(0))); // what came already, once the caller listens
    return ws;
  }

  take(bytes) {
    this.rest = this.rest.length ? Buffer.concat([this.rest, bytes]) : Buffer.from(bytes);
    while (this.rest.length >= 2 && !this.fault) {
      const [first, second] = this.rest;
      let length = second & 127,
        at = 2;
      if (length === 126) {
        if (this.rest.length < 4) return;
        length = this.rest.readUInt16BE(2);
        at = 4;
        if (length < 126) this.fault = 'a length that is not the shortest';
      } else if (length === 127) {
        if (this.rest.length < 10) return;
        length = Number(this.rest.readBigUInt64BE(2));
        at = 10;
        if (length < 65_536) this.fault = 'a length that is not the shortest';
      }
      if (this.rest.length < at + length) return;
      if (second & 128) this.fault = 'the server masks';
      if (first & 0x70) this.fault = 'RSV bits from the server';
      const content = this.rest.subarray(at, at + length);
      this.rest = this.rest.subarray(at + length);
      this.frame((first & 128) !== 0, first & 15, content);
    }
  }

  frame(fin, op, content) {
    this.frames.push({ fin, op, length: content.length });
    if (this.closeCode !== null) this.fault = 'a frame after the close';
    if (op >= 8 && (!fin || content.length > 125)) this.fault = 'a bad control frame';
    if (op === OP.PING) {
      this.pings++;
      if (this.pong) this.write(frame(OP.PONG, content));
    } else if (op === OP.PONG) this.pongs.push(content.toString());
    else if (op === OP.CLOSE) this.close_frame(content);
    else if (op === OP.TEXT || op === OP.CONT) this.part(fin, op, content);
    else this.fault = `opcode ${op} from the server`;
  }

  part(fin, op, content) {
    if ((op === OP.TEXT) !== (this.parts === null)) this.fault = 'fragments out of order';
    this.parts = [...(this.parts ?? []), Buffer.from(content)];
    if (!fin) return;
    const bytes = Buffer.concat(this.parts);
    this.parts = null;
    const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
    this.texts.push(text);
    this.emit('text', text);
  }

  close_frame(content) {
    this.closeCode = content.length >= 2 ? content.readUInt16BE(0) : 1005;
    this.closeReason = content.subarray(2).toString('utf8');
    if (content.length === 1) this.fault = 'a close of one byte';
  }

  write(bytes) {
    if (this.socket.writable) this.socket.write(bytes);
  }
  send(op, payload, options) {
    this.write(frame(op, payload, options));
  }
  text(payload, options) {
    this.send(OP.TEXT, payload, options);
  }

  // The first text, from those that came already on, that `wanted` likes.
  heard(what, wanted) {
    return until(what, () => {
      if (this.fault) throw new Error(this.fault);
      return this.texts.find((text) => wanted(text));
    });
  }

  pause() {
    this.socket.pause();
  }
  resume() {
    this.socket.resume();
  }
  cut() {
    this.socket.destroy();
  }
}
