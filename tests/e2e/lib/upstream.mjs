// An upstream comet server for tests of the relay: it does what it is told, right or wrong, byte by
// byte, and keeps what it was asked.
//
//   const upstream = await startUpstream(t);           // holds whatever it is asked
//   const asked = await upstream.request(0);           // the first request, once it is there
//   asked.method, asked.target, asked.header('accept')
//   asked.answer({ body: '{"ret":"new"}' });           // or asked.reset(), .raw(bytes), .end()
//   await asked.left;                                  // whoever asked has gone, before the answer
//
//   upstream.does = answers({ status: 404 });          // from now on, for every request
//   upstream.does = mad.dribbles;                      // what upstreams do wrong: see below
//   upstream.welcome = reset;                          // for every connection
//   await upstream.stop(); await upstream.start();     // gone, and back on the same port
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import net from 'node:net';
import tls from 'node:tls';
import zlib from 'node:zlib';
import { defer, freePort, run, until } from './harness.mjs';

const HEAD_MAX = 1024 * 1024;

// Ends a connection with a reset. Node must not be asked for one while a shutdown is under way: it
// refuses (EINVAL), leaves the socket open for ever, and then spins at the end of the process.
export function reset(socket) {
  if (socket.writableEnded && !socket.writableFinished) socket.destroy();
  else socket.resetAndDestroy();
}

// One request, and the ways to answer it.
class Asked {
  constructor(upstream, socket, head) {
    const [first, ...lines] = head.split('\r\n');
    const [method, target, version, ...more] = first.split(' ');
    assert.equal(more.length, 0, `a request line with blanks: ${first}`);
    Object.assign(this, { upstream, socket, method, target, version, at: Date.now() });
    this.headers = lines.map((line) => {
      const colon = line.indexOf(':');
      assert.ok(colon > 0, `no header: ${line}`);
      return [line.slice(0, colon), line.slice(colon + 1).trim()];
    });
    this.over = false; // answered, or the connection is gone
    this.gone = false; // the connection was gone before the answer had ended
    this.sent = 0;
    this.left = new Promise((resolve) => {
      socket.once('close', () => {
        this.gone = !this.over;
        this.over = true;
        resolve();
      });
    });
  }

  get path() {
    return this.target.split('?')[0];
  }
  get query() {
    return this.target.split('?').slice(1).join('?');
  }
  // The query's parameters in their order, decoded.
  get params() {
    return [...new URLSearchParams(this.query)];
  }
  header(name) {
    const found = this.headers.filter(([n]) => n.toLowerCase() === name);
    assert.ok(found.length <= 1, `${name} is there ${found.length} times`);
    return found[0]?.[1];
  }

  // A whole answer. `length`: what Content-Length says, if not the truth (null: no such header);
  // `chunked`; `close`: no more requests on this connection.
  answer(options = {}) {
    const { status = 200, reason = 'OK', headers = {}, body = '', chunked = false } = options;
    const { type = 'application/json', close = false } = options;
    const bytes = Buffer.from(body, 'utf8');
    const bare = status === 204 || status === 304 || status < 200;
    const length = 'length' in options ? options.length : chunked || bare ? null : bytes.length;
    const all = {
      ...(type === null ? {} : { 'Content-Type': type }),
      ...(length === null ? {} : { 'Content-Length': length }),
      ...(chunked ? { 'Transfer-Encoding': 'chunked' } : {}),
      ...(close ? { Connection: 'close' } : {}),
      ...headers,
    };
    const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`);
    const head = Buffer.from(`HTTP/1.1 ${status} ${reason}\r\n${lines.join('')}\r\n`, 'latin1');
    const size = Buffer.from(`${bytes.length.toString(16)}\r\n`);
    const chunks = bytes.length ? [size, bytes, Buffer.from('\r\n0\r\n\r\n')] : [Buffer.from('0\r\n\r\n')];
    this.over = true;
    this.write(Buffer.concat([head, ...(chunked ? chunks : [bytes])]));
    if (close) this.socket.end();
    return this;
  }

  // Bytes as they are, which are not the whole answer yet.
  write(bytes) {
    const data = Buffer.from(bytes, 'latin1');
    this.sent += data.length;
    return !this.socket.destroyed && this.socket.write(data);
  }
  // Bytes as they are, and nothing after them.
  raw(bytes) {
    this.over = true;
    this.write(bytes);
    return this;
  }
  reset() {
    this.over = true;
    reset(this.socket);
  }
  end() {
    this.over = true;
    this.socket.end();
  }
  // Again and again until whoever asked has gone.
  async writeAlways(piece, every = 0) {
    for (let i = 0; !this.socket.destroyed; i++) {
      const room = this.write(typeof piece === 'function' ? piece(i) : piece);
      await new Promise((next) => {
        if (every) setTimeout(next, every).unref();
        else if (room) setImmediate(next);
        else {
          const on = () => {
            this.socket.off('drain', on).off('close', on);
            next();
          };
          this.socket.on('drain', on).on('close', on);
        }
      });
    }
  }
}

export class Upstream {
  constructor({ scheme = 'http', tls: identity, path = '/subscribe' } = {}) {
    this.identity = identity; // { key, cert }: speaks TLS
    this.scheme = identity ? 'https' : scheme;
    this.path = path;
    this.port = 0;
    this.does = () => {}; // hold
    this.welcome = null;
    this.requests = [];
    this.connections = 0; // accepted so far
    this.sockets = new Set();
    this.fault = null;
  }

  get url() {
    return `${this.scheme}://127.0.0.1:${this.port}${this.path}`;
  }
  get count() {
    return this.requests.length;
  }
  // Those that wait for an answer now.
  get held() {
    return this.requests.filter((asked) => !asked.over);
  }

  async start() {
    if (!this.port) this.port = await freePort();
    const accept = (socket) => this.accept(socket);
    this.server = this.identity ? tls.createServer(this.identity, accept) : net.createServer(accept);
    this.server.on('connection', (socket) => {
      this.sockets.add(socket);
      socket.on('error', () => {});
      socket.on('close', () => this.sockets.delete(socket));
      this.connections++;
      if (this.identity) this.welcome?.(socket);
    });
    this.server.on('tlsClientError', () => {});
    await new Promise((resolve, reject) => {
      this.server.once('error', reject);
      this.server.listen(this.port, '127.0.0.1', 4096, resolve);
    });
    return this;
  }

  // Gone, with all its connections.
  async stop() {
    const closed = new Promise((resolve) => {
      this.server.close(resolve);
    });
    for (const socket of this.sockets) reset(socket);
    await closed;
  }

  accept(socket) {
    socket.on('error', () => {});
    socket.setMaxListeners(0); // some a request
    if (!this.identity && this.welcome) {
      this.welcome(socket);
      if (socket.destroyed) return;
    }
    let rest = '';
    socket.on('data', (bytes) => {
      rest += bytes.toString('latin1');
      for (let end; (end = rest.indexOf('\r\n\r\n')) >= 0;) {
        const head = rest.slice(0, end);
        rest = rest.slice(end + 4);
        try {
          const asked = new Asked(this, socket, head);
          this.requests.push(asked);
          this.does(asked);
        } catch (error) {
          this.fault ??= error;
          socket.destroy();
        }
      }
      if (rest.length > HEAD_MAX) this.fault ??= new Error('a request without end');
    });
    socket.on('end', () => socket.end());
  }

  // The request number n (from 0), once it is there.
  async request(n) {
    await this.has(n + 1);
    return this.requests[n];
  }
  has(n) {
    return until(`the upstream is asked ${n} times (${this.count} now)`, () => {
      if (this.fault) throw this.fault;
      return this.count >= n;
    }, { every: 2 });
  }
  // Waits until exactly n requests wait for their answer, and gives them.
  async holding(n) {
    await until(`the upstream holds ${n} requests`, () => this.held.length === n, { every: 2 });
    return this.held;
  }
}

export async function startUpstream(t, options) {
  const upstream = await new Upstream(options).start();
  defer(t, async () => {
    await upstream.stop().catch(() => {});
    if (upstream.fault) throw upstream.fault;
  });
  return upstream;
}

// ---- what an upstream may do ------------------------------------------------------------------

export const answers = (options) => (asked) => asked.answer(options);
export const NEW = '{"ret":"new"}';
export const PUNT = '{"ret":"punt"}';

const HEAD = 'HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n';
const MEGABYTE = Buffer.alloc(1024 * 1024, 'x');

// Sixty-four megabytes of blanks, made small; and made small again.
const gzipBomb = () => (gzipBomb.made ??= zlib.gzipSync(Buffer.alloc(64 * 1024 * 1024, ' ')));

// What upstreams do wrong. Each is for `does`.
export const mad = {
  resetsAtOnce: (asked) => asked.reset(),
  closesAtOnce: (asked) => asked.end(),
  resetsInMidHead(asked) {
    asked.write('HTTP/1.1 200 OK\r\nContent-Ty');
    setImmediate(() => asked.reset());
  },
  resetsInMidAnswer(asked) {
    asked.write(`${HEAD}Content-Length: 1000\r\n\r\nhalf`);
    setImmediate(() => asked.reset());
  },
  endsInMidAnswer(asked) {
    asked.write(`${HEAD}Content-Length: 1000\r\n\r\nhalf`);
    asked.end();
  },
  endsInMidChunk(asked) {
    asked.write(`${HEAD}Transfer-Encoding: chunked\r\n\r\n400\r\nhalf`);
    asked.end();
  },
  endsBetweenChunks(asked) {
    asked.write(`${HEAD}Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n`);
    asked.end();
  },
  badChunk: (asked) => asked.raw(`${HEAD}Transfer-Encoding: chunked\r\n\r\nzz\r\nhalf\r\n0\r\n\r\n`),
  endsInMidHead(asked) {
    asked.write('HTTP/1.1 200 OK\r\nContent-Ty');
    asked.end();
  },
  tellsAGigabyte(asked) {
    asked.write(`${HEAD}Content-Length: ${2 ** 30}\r\n\r\n`);
    asked.writeAlways(MEGABYTE);
  },
  tellsMoreThanAnybodyHas(asked) {
    asked.write(`${HEAD}Content-Length: 18446744073709551615\r\n\r\n`);
    asked.writeAlways(MEGABYTE);
  },
  neverEnds(asked) {
    asked.write(`${HEAD}\r\n`);
    asked.writeAlways(MEGABYTE);
  },
  neverEndsInChunks(asked) {
    asked.write(`${HEAD}Transfer-Encoding: chunked\r\n\r\n`);
    asked.writeAlways(Buffer.concat([Buffer.from('100000\r\n'), MEGABYTE, Buffer.from('\r\n')]));
  },
  gzipBomb: (asked) => asked.answer({ headers: { 'Content-Encoding': 'gzip' }, body: gzipBomb() }),
  gzipBombTwice: (asked) =>
    asked.answer({ headers: { 'Content-Encoding': 'gzip, gzip' }, body: zlib.gzipSync(gzipBomb()) }),
  // Nothing of this kind is asked for.
  gzip: (asked) => asked.answer({ headers: { 'Content-Encoding': 'gzip' }, body: zlib.gzipSync(NEW) }),
  badGzip: (asked) => asked.answer({ headers: { 'Content-Encoding': 'gzip' }, body: 'no gzip at all' }),
  halfGzip: (asked) =>
    asked.answer({
      headers: { 'Content-Encoding': 'gzip' },
      body: zlib.gzipSync('x'.repeat(10_000)).subarray(0, 30),
    }),
  unknownEncoding: (asked) => asked.answer({ headers: { 'Content-Encoding': 'rot13' }, body: 'uryyb' }),
  endlessHeaders(asked) {
    asked.write('HTTP/1.1 200 OK\r\n');
    asked.writeAlways((i) => `X-Header-${i}: ${'h'.repeat(1000)}\r\n`);
  },
  endlessHeader(asked) {
    asked.write('HTTP/1.1 200 OK\r\nX-Header: ');
    asked.writeAlways('h'.repeat(1000));
  },
  endlessContinues: (asked) => asked.writeAlways('HTTP/1.1 100 Continue\r\n\r\n'),
  endsWithContinue(asked) {
    asked.write('HTTP/1.1 100 Continue\r\n\r\n');
    asked.end();
  },
  switchesProtocols: (asked) =>
    asked.raw('HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n').end(),
  controlByteInType: (asked) => asked.answer({ type: 'text/pl\x01ain', body: 'x' }),
  controlByteInHeader: (asked) => asked.answer({ headers: { 'X-Bad': 'a\x1bb' }, body: 'x' }),
  deleteInType: (asked) => asked.answer({ type: 'text/\x7fplain', body: 'x' }),
  carriageReturnInType: (asked) => asked.answer({ type: 'text/plain\rX-Evil: 1', body: 'x' }),
  nulInHeader: (asked) => asked.answer({ headers: { 'X-Bad': 'a\x00b' }, body: 'x' }),
  controlByteInReason: (asked) => asked.answer({ reason: 'O\x07K', body: 'x' }),
  longType: (asked) => asked.answer({ type: `text/${'p'.repeat(251)}`, body: 'x' }),
  garbage: (asked) => asked.raw('\x00\x01\x02 this is no HTTP\n\n'.repeat(10)).end(),
  oldHttp: (asked) => asked.raw('<html>hello from 1991</html>').end(),
  otherProtocol: (asked) => asked.raw('220 mail.example.org ESMTP\r\n').end(),
  badStatus: (asked) => asked.raw('HTTP/1.1 banana OK\r\n\r\n').end(),
  badVersion: (asked) => asked.raw('HTTP/7.3 200 OK\r\nContent-Length: 1\r\n\r\nx').end(),
  badLength: (asked) => asked.raw(`${HEAD}Content-Length: -5\r\n\r\nhello`).end(),
  internalError: answers({ status: 500, reason: 'Internal Server Error', body: 'sorry' }),
  badGateway: answers({ status: 502, reason: 'Bad Gateway', body: 'sorry' }),
  busy: answers({ status: 503, reason: 'Service Unavailable', headers: { 'Retry-After': 1 } }),
  redirects: (asked) =>
    asked.answer({ status: 302, reason: 'Found', headers: { Location: '/elsewhere' }, body: 'there' }),
};

// Those that answer nothing, or so slowly that only a time-out ends them.
export const slow = {
  blackHole() {},
  headThenNothing: (asked) => asked.write(`${HEAD}Content-Length: 5\r\n\r\nhe`),
  dribbles(asked) {
    asked.write(`${HEAD}Content-Length: 100000\r\n\r\n`);
    asked.writeAlways('x', 200);
  },
  dribblesHead(asked) {
    asked.write('HTTP/1.1 200 OK\r\nX-Header: ');
    asked.writeAlways('h', 200);
  },
  dribblesContinues: (asked) => asked.writeAlways('HTTP/1.1 100 Continue\r\n\r\n', 200),
};

// ---- connections that do not come about -------------------------------------------------------

// A port where connecting never ends: its queue is full, and nobody accepts. {port, url, close()}
export async function fullBacklog(t) {
  const program = `
    const server = require('net').createServer();
    server.listen({ port: 0, host: '127.0.0.1', backlog: 1 }, () => {
      require('fs').writeSync(1, server.address().port + '\\n');
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
    });`;
  const child = run([process.execPath, '-e', program]);
  defer(t, () => child.stop('SIGKILL'));
  await until('the port is told', () => child.stdout.endsWith('\n'));
  const port = Number(child.stdout);
  const waiting = [];
  for (let full = false; !full && waiting.length < 20;) {
    const socket = net.connect(port, '127.0.0.1').on('error', () => {});
    waiting.push(socket);
    full = await new Promise((resolve) => {
      const timer = setTimeout(() => resolve(true), 300);
      socket.once('connect', () => {
        clearTimeout(timer);
        resolve(false);
      });
    });
  }
  defer(t, () => waiting.forEach((socket) => socket.destroy()));
  assert.ok(waiting.length < 20, 'the queue is never full here');
  return { port, url: `http://127.0.0.1:${port}/subscribe`, close: () => child.stop('SIGKILL') };
}

// ---- certificates -----------------------------------------------------------------------------

function openssl(dir, ...args) {
  const made = spawnSync('openssl', args, { cwd: dir, encoding: 'utf8' });
  assert.equal(made.status, 0, `openssl ${args.join(' ')}: ${made.error ?? made.stderr}`);
  return made.stdout;
}

// A private authority in a directory: `file` is its certificate, issue('IP:127.0.0.1') gives
// {key, cert} of a server with that name.
export function authority(dir, name = 'ca') {
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
  openssl(dir, 'req', '-x509', ...key, '-keyout', `${name}.key`, '-out', `${name}.pem`,
    '-days', '2', '-subj', `/CN=Encke's test ${name}`);
  let made = 0;
  return {
    file: `${dir}/${name}.pem`,
    issue(alternative) {
      const as = `${name}-${made++}`;
      openssl(dir, 'req', ...key, '-keyout', `${as}.key`, '-out', `${as}.csr`, '-subj', '/CN=upstream',
        '-addext', `subjectAltName=${alternative}`);
      const cert = openssl(dir, 'x509', '-req', '-in', `${as}.csr`, '-CA', `${name}.pem`, '-CAkey',
        `${name}.key`, '-CAcreateserial', '-days', '2', '-copy_extensions', 'copy');
      return { key: openssl(dir, 'pkey', '-in', `${as}.key`), cert };
    },
  };
}
