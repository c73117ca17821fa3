// A raw FastCGI client over a unix socket, for tests of what the daemon does with bytes that no web
// server would send, and for asking the daemon directly. It knows records, not policy: a test can
// build any bytes.
import net from 'node:net';

export const TYPE = {
  BEGIN: 1,
  ABORT: 2,
  END: 3,
  PARAMS: 4,
  STDIN: 5,
  STDOUT: 6,
  STDERR: 7,
  DATA: 8,
  GET_VALUES: 9,
  GET_VALUES_RESULT: 10,
};
export const KEEP_CONN = 1;
export const RESPONDER = 1;

// One record. Every header field can be told a lie, for the tests of bad records; padding is how
// long it is, or its bytes.
export function record(
  type,
  id,
  content = Buffer.alloc(0),
  { version = 1, padding = 0, length } = {},
) {
  const bytes = Buffer.from(content);
  const pad = typeof padding === 'number' ? Buffer.alloc(padding) : padding;
  const head = Buffer.alloc(8);
  head[0] = version;
  head[1] = type;
  head.writeUInt16BE(id, 2);
  head.writeUInt16BE(length ?? bytes.length, 4);
  head[6] = pad.length;
  return Buffer.concat([head, bytes, pad]);
}

export function begin(id, { keep = false, role = RESPONDER, flags, padding } = {}) {
  flags ??= keep ? KEEP_CONN : 0;
  return record(TYPE.BEGIN, id, [role >> 8, role & 255, flags, 0, 0, 0, 0, 0], { padding });
}

function nv_length(n) {
  if (n < 128) return Buffer.from([n]);
  const b = Buffer.alloc(4);
  b.writeUInt32BE((n | 0x80000000) >>> 0);
  return b;
}

export function pair(name, value) {
  const n = Buffer.from(name),
    v = Buffer.from(String(value));
  return Buffer.concat([nv_length(n.length), nv_length(v.length), n, v]);
}

// Bytes as a stream of records of at most `chunk` bytes each, ended by the empty record.
export function stream(type, id, bytes, { chunk = 65528, padding = 0 } = {}) {
  const parts = [];
  for (let at = 0; at < bytes.length; at += chunk)
    parts.push(record(type, id, bytes.subarray(at, at + chunk), { padding }));
  parts.push(record(type, id, [], { padding }));
  return Buffer.concat(parts);
}

export function paramsOf({
  method = 'GET',
  uri = '/comet/status',
  body = '',
  type,
  params = {},
} = {}) {
  const all = {
    GATEWAY_INTERFACE: 'CGI/1.1',
    SERVER_PROTOCOL: 'HTTP/1.1',
    SERVER_SOFTWARE: 'test',
    REQUEST_METHOD: method,
    REQUEST_URI: uri,
    QUERY_STRING: uri.includes('?') ? uri.slice(uri.indexOf('?') + 1) : '',
    SCRIPT_NAME: uri.split('?')[0],
    CONTENT_LENGTH: body.length ? String(body.length) : '',
    ...(type !== undefined ? { CONTENT_TYPE: type } : {}),
    ...params,
  };
  return Buffer.concat(Object.entries(all).map(([k, v]) => pair(k, v)));
}

// A whole request as one buffer.
export function request(opts = {}) {
  const { id = 1, keep = false, body = '', chunk, padding = 0 } = opts;
  const bytes = Buffer.from(body);
  return Buffer.concat([
    begin(id, { keep, padding }),
    stream(TYPE.PARAMS, id, paramsOf({ ...opts, body: bytes }), { chunk, padding }),
    stream(TYPE.STDIN, id, bytes, { chunk, padding }),
  ]);
}

// STDOUT's bytes as status, headers (lower-case names) and body.
export function cgiAnswer(bytes) {
  const text = bytes.toString('latin1');
  const end = text.indexOf('\r\n\r\n');
  if (end < 0) throw new Error(`no end of the header in ${JSON.stringify(text.slice(0, 200))}`);
  const headers = {};
  for (const line of text.slice(0, end).split('\r\n')) {
    const colon = line.indexOf(':');
    headers[line.slice(0, colon).toLowerCase()] = line.slice(colon + 1).trim();
  }
  const body = bytes.subarray(end + 4).toString('utf8');
  return {
    status: headers.status ? Number.parseInt(headers.status, 10) : 200,
    reason: headers.status?.replace(/^\d+ ?/, '') ?? 'OK',
    headers,
    body,
    bytes: bytes.subarray(end + 4),
    json: () => JSON.parse(body),
  };
}

// One connection to the daemon. `closed` settles when the daemon's side is gone, with the error or
// null.
export class Connection {
  constructor(socket) {
    this.socket = socket;
    this.received = Buffer.alloc(0);
    this.requests = new Map();
    this.bad = null;
    this.closed = new Promise((resolve) => {
      let error = null;
      socket.on('error', (e) => {
        error = e;
      });
      socket.on('close', () => {
        for (const waiting of this.requests.values())
          waiting.reject(
            new Error(
              `the connection closed before the answer${error ? `: ${error.message}` : ''}`,
            ),
          );
        this.requests.clear();
        resolve(error);
      });
    });
    this.isClosed = false;
    this.closed.then(() => {
      this.isClosed = true;
    });
    socket.on('data', (bytes) => this.#take(bytes));
  }

  static open(path) {
    return new Promise((resolve, reject) => {
      const socket = net.connect(path);
      socket.once('error', reject);
      socket.once('connect', () => {
        socket.removeListener('error', reject);
        resolve(new Connection(socket));
      });
    });
  }

  write(bytes) {
    return new Promise((resolve, reject) => {
      if (this.socket.destroyed || !this.socket.writable)
        reject(new Error('the connection is closed'));
      else this.socket.write(bytes, (e) => (e ? reject(e) : resolve()));
    });
  }

  // The answer to the request `id` on this connection: {status, headers, body, json(), appStatus,
  // protocolStatus}.
  answer(id = 1) {
    if (this.isClosed) return Promise.reject(new Error('the connection is closed'));
    const waiting = { out: [], err: [] };
    const promise = new Promise((resolve, reject) => Object.assign(waiting, { resolve, reject }));
    promise.catch(() => {}); // a test may look only at `closed`
    this.requests.set(id, waiting);
    return promise;
  }

  ask(opts = {}) {
    const answer = this.answer(opts.id ?? 1);
    this.write(request(opts)).catch(() => {});
    return answer;
  }

  #take(bytes) {
    this.received = this.received.length ? Buffer.concat([this.received, bytes]) : bytes;
    while (this.received.length >= 8) {
      const head = this.received,
        length = head.readUInt16BE(4),
        whole = 8 + length + head[6];
      if (head[0] !== 1) {
        this.bad = `record of version ${head[0]}`;
        return;
      }
      if (head.length < whole) return;
      this.#record(head[1], head.readUInt16BE(2), head.subarray(8, 8 + length));
      this.received = this.received.subarray(whole);
    }
  }

  #record(type, id, content) {
    const waiting = this.requests.get(id);
    if (!waiting) {
      this.bad = `a record of type ${type} for request ${id}, which nobody asked`;
      return;
    }
    if (type === TYPE.STDOUT) waiting.out.push(Buffer.from(content));
    else if (type === TYPE.STDERR) waiting.err.push(Buffer.from(content));
    else if (type === TYPE.END) {
      this.requests.delete(id);
      try {
        waiting.resolve({
          ...cgiAnswer(Buffer.concat(waiting.out)),
          stderr: Buffer.concat(waiting.err).toString(),
          appStatus: content.readUInt32BE(0),
          protocolStatus: content[4],
        });
      } catch (e) {
        waiting.reject(e);
      }
    } else this.bad = `a record of type ${type}`;
  }

  end() {
    this.socket.end();
  }
  destroy() {
    this.socket.destroy();
  }
}

// One request on a connection of its own.
export async function ask(path, opts = {}) {
  const connection = await Connection.open(path);
  try {
    return await connection.ask(opts);
  } finally {
    connection.destroy();
  }
}
