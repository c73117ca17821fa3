// A response that is read as it comes: over HTTP from a web server, or over FastCGI straight from
// the daemon. It can be paused (then nothing is read, as by a slow reader), resumed, and cut.
//
//   const response = await openResponse(stack, 'streaming?id=now');
//   response.status, response.headers
//   response.onBody = (bytes) => …       // what has arrived already comes at once
//   await response.ended                 // 'end': ended as the protocol says; 'cut': it was not
import net from 'node:net';
import { request, TYPE } from './fcgi.mjs';

const HEAD_MAX = 64 * 1024;

export class Response {
  constructor(socket) {
    this.socket = socket;
    this.status = 0;
    this.headers = {};
    this.received = 0; // bytes of body
    this.over = null; // 'end' or 'cut'
    this.why = null; // what was wrong with the bytes, or the socket's error
    this.early = []; // body that came before somebody listened
    this.listener = null;
    this.ended = new Promise((resolve) => {
      this.settle = resolve;
    });
    this.opened = new Promise((resolve, reject) => {
      this.open = resolve;
      this.fail = reject;
    });
    this.opened.catch(() => {}); // whoever waits for it is told
    socket.on('error', (error) => {
      this.why ??= error;
    });
    socket.on('close', () => this.finish('cut'));
  }

  finish(how) {
    if (this.over) return;
    this.over = how;
    this.fail(this.why ?? new Error('the connection closed before the head of the response'));
    this.settle(how);
  }

  wrong(what) {
    this.why ??= new Error(what);
    this.socket.destroy();
    this.finish('cut');
  }

  body(bytes) {
    if (bytes.length === 0) return;
    this.received += bytes.length;
    if (this.listener) this.listener(bytes);
    else this.early.push(Buffer.from(bytes));
  }

  set onBody(listener) {
    this.listener = listener;
    for (const bytes of this.early.splice(0)) listener(bytes);
  }

  head(lines, status) {
    for (const line of lines) {
      const colon = line.indexOf(':');
      const name = line.slice(0, colon).toLowerCase();
      if (colon <= 0 || name in this.headers) return this.wrong(`bad header line: ${line}`);
      this.headers[name] = line.slice(colon + 1).trim();
    }
    this.status = status ?? Number.parseInt(this.headers.status ?? '200', 10);
    this.open(this);
  }

  // The whole body, at its end.
  async text() {
    const parts = [];
    this.onBody = (bytes) => parts.push(Buffer.from(bytes));
    await this.ended;
    return Buffer.concat(parts).toString('utf8');
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

// Calls take(rest) with all that has not been taken yet, as long as it takes something: it gives
// the number of bytes it took, 0 for "more is needed".
function eachPart(response, take) {
  let rest = Buffer.alloc(0);
  response.socket.on('data', (bytes) => {
    rest = rest.length ? Buffer.concat([rest, bytes]) : bytes;
    for (let took = 1; took > 0 && !response.over && rest.length > 0;) {
      took = take(rest);
      rest = rest.subarray(took);
    }
  });
}

// HTTP/1.1: a body that is chunked, of known length, or ends with the connection.
function readHttp(response) {
  let state = 'head',
    left = 0;
  const line = (rest) => {
    const end = rest.indexOf('\r\n');
    if (end < 0 && rest.length > 1000) response.wrong('a chunk without its length');
    return end;
  };
  const states = {
    head(rest) {
      const end = rest.indexOf('\r\n\r\n');
      if (end < 0) {
        if (rest.length > HEAD_MAX) response.wrong('a head without end');
        return 0;
      }
      const [first, ...lines] = rest.toString('latin1', 0, end).split('\r\n');
      const status = /^HTTP\/1\.[01] (\d{3})( |$)/.exec(first);
      if (!status) response.wrong(`no HTTP response: ${first}`);
      else response.head(lines, Number(status[1]));
      const { headers } = response;
      if (headers['transfer-encoding'] === 'chunked') state = 'size';
      else if (headers['content-length'] !== undefined) {
        left = Number(headers['content-length']);
        state = 'body';
        if (left === 0) response.finish('end');
      } else state = 'close';
      return end + 4;
    },
    size(rest) {
      const end = line(rest);
      if (end < 0) return 0;
      const size = /^([0-9a-fA-F]+)(;.*)?$/.exec(rest.toString('latin1', 0, end));
      if (!size) response.wrong('a bad length of a chunk');
      else left = Number.parseInt(size[1], 16);
      state = left > 0 ? 'chunk' : 'trailer';
      return end + 2;
    },
    chunk(rest) {
      const took = Math.min(left, rest.length);
      response.body(rest.subarray(0, took));
      left -= took;
      if (left === 0) state = 'chunk_end';
      return took;
    },
    chunk_end(rest) {
      if (rest.length < 2) return 0;
      if (rest[0] !== 13 || rest[1] !== 10) response.wrong('a chunk longer than it said');
      state = 'size';
      return 2;
    },
    trailer(rest) {
      if (rest.length < 2) return 0;
      response.finish('end');
      return 2;
    },
    body(rest) {
      const took = Math.min(left, rest.length);
      response.body(rest.subarray(0, took));
      left -= took;
      if (left === 0) response.finish('end');
      return took;
    },
    close(rest) {
      response.body(rest);
      return rest.length;
    },
  };
  eachPart(response, (rest) => states[state](rest));
  response.socket.on('end', () => response.finish(state === 'close' ? 'end' : 'cut'));
}

// FastCGI: STDOUT records, the empty one, END_REQUEST. Anything else is wrong.
function readFastCgi(response, id) {
  let head = '',
    inBody = false,
    closed = false;
  const stdout = (content) => {
    if (content.length === 0) {
      closed = true;
    } else if (inBody) {
      response.body(content);
    } else {
      head += content.toString('latin1');
      const end = head.indexOf('\r\n\r\n');
      if (end < 0) return;
      inBody = true;
      response.head(head.slice(0, end).split('\r\n'));
      response.body(Buffer.from(head.slice(end + 4), 'latin1'));
    }
  };
  eachPart(response, (rest) => {
    if (rest.length < 8) return 0;
    const [version, type] = rest;
    const length = rest.readUInt16BE(4),
      whole = 8 + length + rest[6];
    if (version !== 1 || rest.readUInt16BE(2) !== id) response.wrong('a record that is not ours');
    if (rest.length < whole) return 0;
    const content = rest.subarray(8, 8 + length);
    if (type === TYPE.STDOUT && !closed) stdout(content);
    else if (type === TYPE.END && closed && content.equals(Buffer.alloc(8))) response.finish('end');
    else response.wrong(`a record of type ${type} out of place`);
    return whole;
  });
}

function connected(...to) {
  return new Promise((resolve, reject) => {
    const socket = net.connect(...to);
    socket.once('error', reject);
    socket.once('connect', () => {
      socket.removeListener('error', reject);
      resolve(socket);
    });
  });
}

// Asks `at` (what follows /comet/) through the web server of the stack, or with `direct`, or where
// there is none, on the daemon's socket. `paused`: not even the head is read before resume(), and
// the response is given at once.
export async function openResponse(stack, at, options = {}) {
  const { method = 'GET', headers = {}, body = '', direct = !stack.web } = options;
  const { paused = false, keep = false, id = 1, half = false } = options;
  const uri = `/comet/${at}`;
  const socket = direct
    ? await connected(stack.socket)
    : await connected(stack.web.port, '127.0.0.1');
  const response = new Response(socket);
  let bytes;
  if (direct) {
    const params = {};
    for (const [name, value] of Object.entries(headers))
      if (name.toLowerCase() !== 'content-type')
        params[`HTTP_${name.toUpperCase().replaceAll('-', '_')}`] = value;
    const type = headers['Content-Type'];
    bytes = request({ method, uri, body, type, params, keep, id });
    readFastCgi(response, id);
  } else {
    const all = { Host: `127.0.0.1:${stack.web.port}`, ...headers };
    if (method === 'POST') all['Content-Length'] = Buffer.byteLength(body);
    const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`);
    bytes = Buffer.from(`${method} ${uri} HTTP/1.1\r\n${lines.join('')}\r\n${body}`, 'latin1');
    readHttp(response);
  }
  if (paused) response.pause();
  if (half) {
    // In two pieces, with another request between: lighttpd watches only such a connection for its
    // client's end (see disconnect.test.mjs).
    socket.write(bytes.subarray(0, 9));
    await stack.http('status');
    socket.write(bytes.subarray(9));
  } else socket.write(bytes);
  return paused ? response : response.opened;
}
