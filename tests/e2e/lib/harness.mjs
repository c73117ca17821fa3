// Runs the real daemon behind a real web server for one test: a temp directory, a socket, a log and
// a free port each; ready when it answers; all of it stopped, and the daemon's stderr and exit code
// judged, when the test ends.
//
//   const stack = await startStack(t, { server: 'nginx' });
//   const id = await stack.create('hello');
//   const { messages } = await stack.update({ id: '' });
//
// Nothing here sleeps for luck: `until` asks again until a condition holds, and gives up loudly.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import dns from 'node:dns';
import { setMaxListeners } from 'node:events';
import fs from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { ended } from './ends.mjs';
import { Connection, ask } from './fcgi.mjs';
import { settings } from './settings.mjs';

export const ROOT = fileURLToPath(new URL('../../..', import.meta.url)).replace(/\/$/, '');
export const SERVERS = ['nginx', 'lighttpd'];

const READY_MS = 60_000; // a sanitized daemon on a busy machine
const ANSWER_MS = 90_000; // longer than any hold: no answer by then is a hang
const STOP_MS = 60_000;

const tick = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// Web servers and upstreams here listen on 127.0.0.1, and `localhost`, which is what Node connects to
// where no host is given, may be ::1: so no test looks up a name, on any machine.
const { lookup } = dns;
dns.lookup = (name, ...more) => {
  if (!net.isIP(name)) throw new Error(`a test connects to an address, not to a name: ${name}`);
  return lookup(name, ...more);
};

// Asks `condition` again and again until it gives something true, which is returned.
export async function until(what, condition, { within = READY_MS, every = 10 } = {}) {
  const end = Date.now() + within;
  let last;
  for (;;) {
    try {
      const value = await condition();
      if (value) return value;
      last = undefined;
    } catch (error) {
      last = error;
    }
    if (Date.now() > end)
      throw new Error(`still not so after ${within} ms: ${what}`, { cause: last });
    await tick(every);
  }
}

const TEST_MS = 300_000; // what a test may take on a machine that is busy with ten times as much

// A claim is a test with a bound. Its name says what must be so.
export function claim(name, fn, { timeout = TEST_MS, ...options } = {}) {
  test(name, { timeout, ...options }, (t) => {
    t.after(ended);
    return fn(t);
  });
}

// The same claim through each web server; fn gets (t, server).
export function throughBoth(name, fn, options) {
  for (const server of SERVERS) claim(`${name} (${server})`, (t) => fn(t, server), options);
}

// Claims that mostly wait, made at the same time: `through` is a list of [name, fn], where fn gets
// (t, server).
export function together(name, through, { timeout = TEST_MS } = {}) {
  test(name, { concurrency: true, timeout }, (t) =>
    Promise.all(
      through.flatMap(([what, fn]) =>
        SERVERS.map((server) => t.test(`${what} (${server})`, (t) => fn(t, server))),
      ),
    ),
  );
}

// The same without a web server: `claims` is a list of [name, fn], where fn gets (t).
export function atOnce(name, claims, { timeout = TEST_MS } = {}) {
  test(name, { concurrency: true, timeout }, (t) =>
    Promise.all(claims.map(([what, fn]) => t.test(what, { timeout }, fn))),
  );
}

// The daemon to test: ENCKE_BIN as given (from here or from the checkout's top), else build/encke.
export function daemonBinary() {
  const given = settings.bin ?? 'build/encke';
  if (path.isAbsolute(given)) return given;
  return (
    [path.resolve(given), path.join(ROOT, given)].find((p) => fs.existsSync(p)) ??
    path.join(ROOT, given)
  );
}

// The daemon without sanitizers, for tests that preload a library of their own.
export function plainBinary() {
  return settings.plainBin
    ? path.resolve(ROOT, settings.plainBin)
    : path.join(ROOT, 'build/encke');
}

// Whatever happens, no process outlives the test file, nor keeps it from ending.
const children = new Set();
function killAll() {
  for (const child of children) {
    try {
      if (child.leader) process.kill(-child.pid, 'SIGKILL');
      else child.kill('SIGKILL');
    } catch {
      /* gone already */
    }
  }
}
after(killAll);
process.on('exit', killAll);
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => process.exit(1));

// A child process whose stderr is kept and whose end is a promise. With `group` it leads a group of
// its own, and SIGKILL is for all of it: a server's workers outlive its master otherwise.
export function run(argv, { env, cwd, stdin = 'ignore', stdio, group = false } = {}) {
  const child = spawn(argv[0], argv.slice(1), {
    cwd,
    detached: group,
    env: env ?? process.env,
    stdio: stdio ?? [stdin, 'pipe', 'pipe'],
  });
  child.leader = group;
  children.add(child);
  const handle = { child, pid: child.pid, stdout: '', stderr: '', ended: false };
  child.stdout?.setEncoding('utf8').on('data', (s) => {
    handle.stdout += s;
  });
  child.stderr?.setEncoding('utf8').on('data', (s) => {
    handle.stderr += s;
  });
  handle.exited = new Promise((resolve) => {
    const done = (code, signal, error) => {
      children.delete(child);
      handle.ended = true;
      resolve({ code, signal, error });
    };
    child.on('error', (error) => {
      if (child.pid === undefined) done(null, null, error);
    });
    child.on('close', (code, signal) => done(code, signal));
  });
  handle.kill = (signal = 'SIGTERM') => {
    if (group && signal === 'SIGKILL') process.kill(-child.pid, signal);
    else child.kill(signal);
  };
  handle.stop = async (signal = 'SIGTERM') => {
    if (!handle.ended) handle.kill(signal);
    return within(handle.exited, STOP_MS, `${argv[0]} to end after ${signal}`);
  };
  return handle;
}

export async function within(promise, ms, what) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`waited ${ms} ms for ${what}`)), ms);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

// A port nobody listens on, below the range that outgoing connections take theirs from, so that a
// web server that is stopped and started again finds it still free.
export async function freePort() {
  for (let tries = 0; tries < 200; tries++) {
    const port = 12_000 + Math.floor(Math.random() * 20_000);
    const free = await new Promise((resolve) => {
      const probe = net.createServer().once('error', () => resolve(false));
      probe.listen(port, '127.0.0.1', () => probe.close(() => resolve(true)));
    });
    if (free) return port;
  }
  throw new Error('no free port');
}

// Runs `undo` when the test ends, the last deferred first (t.after runs the first first), each
// whatever the others do.
const undoing = new WeakMap();
export function defer(t, undo) {
  if (!undoing.has(t)) {
    undoing.set(t, []);
    t.after(async () => {
      const faults = [];
      for (const one of undoing.get(t).reverse()) {
        try {
          await one();
        } catch (error) {
          faults.push(error);
        }
      }
      if (faults.length === 1) throw faults[0];
      if (faults.length)
        throw new Error(faults.map((f) => f.message).join('\n'), { cause: faults });
    });
  }
  undoing.get(t).push(undo);
}

export function tempDir(t, prefix = 'encke-') {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), prefix));
  fs.chmodSync(dir, 0o755); // the web server's workers may run as another user
  defer(t, () => fs.rmSync(dir, { recursive: true, force: true, maxRetries: 5 }));
  return dir;
}

// One HTTP request: {status, reason, headers, rawHeaders, body, bytes, json()}. A connection of its
// own unless an agent is given. `signal` aborts it. `chunks` (an array or async iterable) is sent
// instead of `body`, piece by piece.
export function fetchHttp(
  url,
  { method = 'GET', headers = {}, body, chunks, agent, signal, wait = ANSWER_MS } = {},
) {
  return new Promise((resolve, reject) => {
    const bytes = body === undefined ? undefined : Buffer.from(body);
    const sent = { ...(bytes ? { 'Content-Length': bytes.length } : {}), ...headers };
    const req = http.request(url, { method, headers: sent, agent: agent ?? false, signal });
    let answered = false;
    const timer = setTimeout(
      () => req.destroy(new Error(`no answer to ${method} ${url} within ${wait} ms`)),
      wait,
    );
    req.on('error', (error) => {
      // an early answer may come with the rest of our body refused
      if (!answered) {
        clearTimeout(timer);
        reject(error);
      }
    });
    req.on('response', (res) => {
      answered = true;
      const parts = [];
      res.on('data', (part) => parts.push(part));
      res.on('error', (error) => {
        clearTimeout(timer);
        reject(error);
      });
      res.on('end', () => {
        clearTimeout(timer);
        const bytes = Buffer.concat(parts);
        const text = bytes.toString('utf8');
        resolve({
          status: res.statusCode,
          reason: res.statusMessage,
          headers: res.headers,
          rawHeaders: res.rawHeaders,
          body: text,
          bytes,
          json: () => JSON.parse(text),
        });
      });
    });
    if (chunks) {
      (async () => {
        for await (const part of chunks)
          if (!req.write(part))
            await new Promise((next) => {
              req.once('drain', next);
              req.once('close', next);
            });
        req.end();
      })().catch((error) => req.destroy(error));
    } else req.end(bytes);
  });
}

export function query(fields) {
  const q = new URLSearchParams();
  for (const [name, value] of Object.entries(fields ?? {})) {
    if (value === undefined) continue;
    for (const one of [value].flat()) q.append(name, one);
  }
  const text = q.toString();
  return text ? `?${text}` : '';
}

// Runs deploy/site and gives the command that runs the web server in the foreground. `more` is added
// to the configuration, or is a function that changes the text of the example in deploy/.
async function writeSite(server, dir, port, socket, more) {
  fs.mkdirSync(dir, { recursive: true });
  const site = run([path.join(ROOT, 'deploy/site'), server, dir, String(port), socket], {
    cwd: ROOT,
  });
  const { code, error } = await within(site.exited, READY_MS, 'deploy/site');
  if (error) throw error;
  assert.equal(code, 0, `deploy/site failed: ${site.stderr}`);
  if (typeof more === 'function') {
    const example = path.join(dir, 'encke.conf'); // as it is in deploy/, but for paths and port
    fs.writeFileSync(example, more(fs.readFileSync(example, 'utf8')));
  } else fs.appendFileSync(path.join(dir, `${server}.conf`), more);
  const command = site.stdout.trim().split('\n').at(-1);
  assert.ok(command, 'deploy/site printed no command');
  return command;
}

function connects(port) {
  return new Promise((resolve) => {
    const socket = net.connect(port, '127.0.0.1');
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}

// The web server of a stack. Its own complaints are shown when a test fails, but do not fail it: it
// reports a daemon that was killed on purpose.
export class Web {
  constructor(server, dir, socket, more = '') {
    Object.assign(this, { server, dir, socket, more, port: 0, process: null });
  }

  async start() {
    assert.ok(!this.process || this.process.ended, 'the web server runs already');
    for (let tries = 0; ; tries++) {
      if (!this.port || tries) this.port = await freePort();
      const command = await writeSite(this.server, this.dir, this.port, this.socket, this.more);
      this.process = run(['/bin/sh', '-c', `exec ${command}`], { cwd: ROOT, group: true });
      try {
        await until(
          `${this.server} accepts connections`,
          () => {
            if (this.process.ended) throw new Error(`${this.server} ended: ${this.process.stderr}`);
            return connects(this.port);
          },
          { within: this.restarted ? READY_MS : 10_000 },
        );
        break;
      } catch (error) {
        // somebody may have taken the port between the look and the bind
        await this.process.stop('SIGKILL');
        if (this.restarted || tries >= 3)
          throw new Error(`${this.server} does not start: ${this.process.stderr}`, {
            cause: error,
          });
      }
    }
    this.restarted = true;
    return this;
  }

  async stop(signal = 'SIGTERM') {
    if (this.process) await this.process.stop(signal);
  }
}

const LEVEL = /^encke: (error|warn|info|debug): /;

// Where the daemon takes WebSockets; the configurations in deploy/ expect it there.
export const websocketOf = (socket) => socket.replace(/\.sock$/, '-websocket.sock');

class Daemon {
  constructor({ bin, socket, db, args, env, wrap }) {
    Object.assign(this, {
      bin,
      socket,
      websocket: websocketOf(socket),
      db,
      args,
      env,
      wrap,
      process: null,
      runs: [],
      allowed: [],
      judged: true,
    });
  }

  get pid() {
    return this.process?.pid;
  }
  get exited() {
    return this.process.exited;
  }
  stderr() {
    return this.runs.map((r) => r.stderr).join('');
  }

  argv() {
    const paths = ['--socket', this.socket, '--websocket-socket', this.websocket, '--db', this.db];
    return [...this.wrap, this.bin, ...paths, ...this.args];
  }

  spawn() {
    assert.ok(!this.process || this.process.ended, 'the daemon runs already');
    this.process = run(this.argv(), {
      env: {
        ...process.env,
        UBSAN_OPTIONS: 'print_stacktrace=1',
        ENCKE_MAX_HOLDS: '4000', // few enough for the file limit of any machine
        ...this.env,
        ASAN_OPTIONS: ['detect_leaks=1', process.env.ASAN_OPTIONS, this.env.ASAN_OPTIONS]
          .filter(Boolean)
          .join(':'),
      },
    });
    this.runs.push(this.process);
    return this.process;
  }

  // Ready means: it answers `status` on its own socket.
  async start() {
    const started = this.spawn();
    const ready = until(
      'the daemon answers',
      async () => started.ended || (await ask(this.socket)).status === 200,
      { every: 5 },
    );
    await ready.catch((error) => {
      throw new Error(`the daemon does not answer:\n${started.stderr}`, { cause: error });
    });
    if (started.ended) {
      const { code, signal, error } = await started.exited;
      throw new Error(
        `the daemon ended (${error?.message ?? signal ?? `exit code ${code}`}):\n${started.stderr}`,
      );
    }
    return this;
  }

  async stop(signal = 'SIGTERM') {
    return this.process.stop(signal);
  }

  // Sends a signal and waits for the end where it is one that ends the daemon.
  async kill(signal = 'SIGKILL') {
    this.process.kill(signal);
    return within(this.process.exited, STOP_MS, `the daemon to end after ${signal}`);
  }

  // Lines that the test expects; each must match one of these to be allowed beside info and debug
  // lines.
  allow(...patterns) {
    this.allowed.push(...patterns);
  }

  unexpected() {
    return this.stderr()
      .split('\n')
      .filter((line) => {
        if (line === '') return false;
        const level = LEVEL.exec(line)?.[1];
        if (level === 'info' || level === 'debug') return false;
        return !this.allowed.some((pattern) => pattern.test(line));
      });
  }
}

export async function startStack(
  t,
  {
    server,
    args = [],
    env = {},
    bin = daemonBinary(),
    wrap = [],
    start = true,
    db,
    allow = [],
    webConfig = {},
    dir = tempDir(t),
  } = {},
) {
  const socket = path.join(dir, 'encke.sock');
  const daemon = new Daemon({ bin, socket, db: db ?? path.join(dir, 'encke.db'), args, env, wrap });
  daemon.allow(...allow);
  const site = path.join(dir, 'site');
  const web = server ? new Web(server, site, socket, webConfig[server]) : null;
  const controller = new AbortController();
  setMaxListeners(0, controller.signal); // one a request

  defer(t, async () => {
    const faults = [];
    controller.abort();
    if (daemon.process && !daemon.process.ended) {
      try {
        const { code, signal } = await daemon.stop();
        if (daemon.judged && code !== 0)
          faults.push(`the daemon ended with ${signal ?? `exit code ${code}`} after SIGTERM`);
      } catch (error) {
        faults.push(error.message);
        daemon.process.kill('SIGKILL');
        await daemon.process.exited;
      }
    }
    try {
      await web?.stop();
    } catch (error) {
      web.process.kill('SIGKILL');
      faults.push(error.message);
    }
    const lines = daemon.unexpected();
    if (lines.length) faults.push(`the daemon said on stderr:\n${lines.slice(0, 80).join('\n')}`);
    if (faults.length) throw new Error(faults.join('\n'));
  });

  const stack = {
    dir,
    socket,
    websocket: daemon.websocket,
    db: daemon.db,
    daemon,
    web,
    server,
    get url() {
      return `http://127.0.0.1:${web.port}/comet`;
    },
    get origin() {
      return `http://127.0.0.1:${web.port}`;
    },
    get websocketUrl() {
      return `ws://127.0.0.1:${web.port}/comet/websocket`;
    },

    // Any request through the web server: path is what follows /comet/.
    http: (at, options = {}) =>
      fetchHttp(`${stack.url}/${at}`, { signal: controller.signal, ...options }),
    // Any request straight on the socket, as a web server would send it.
    raw: (opts) => ask(socket, opts),
    connect: () => Connection.open(socket),

    // The verbs, asked through the web server where there is one. Each asserts 200 and gives the
    // JSON.
    async ask(endpoint, fields, options = {}) {
      const at = `${endpoint}${query(fields)}`;
      const method = options.method ?? 'GET';
      const answer = web
        ? await stack.http(at, { ...options, method })
        : await stack.raw({
            uri: `/comet/${at}`,
            method,
            body: options.body ?? '',
            type: options.headers?.['Content-Type'],
          });
      assert.equal(answer.status, 200, `${method} ${at}: ${answer.status} ${answer.body}`);
      return answer.json();
    },
    async create(data, { channel, ...options } = {}) {
      const headers = { 'Content-Type': 'text/plain; charset=utf-8' };
      return (
        await stack.ask('create', { channel }, { ...options, method: 'POST', headers, body: data })
      ).id;
    },
    update: (fields = {}, options) => stack.ask('update', fields, options),
    subscribe: (fields = {}, options) => stack.ask('subscribe', fields, options),
    // Status always straight from the socket: it must not depend on what the web server is doing.
    async status() {
      const answer = await ask(socket, { uri: '/comet/status?channels=20' });
      assert.equal(answer.status, 200, answer.body);
      return answer.json();
    },
    // Waits until the daemon holds exactly n requests.
    holds: (n) => until(`${n} holds`, async () => (await stack.status()).holds === n),
    // Waits until the daemon counts exactly these streams, and none of the kinds not named.
    streams: (wanted = {}) =>
      until(`streams ${JSON.stringify(wanted)}`, async () => {
        const { streams } = await stack.status();
        return Object.entries(streams).every(([kind, n]) => n === (wanted[kind] ?? 0));
      }),
    // Publishes texts in their order, straight on the socket, and gives their ids.
    async publish(texts, { channel = 'main' } = {}) {
      const connection = await Connection.open(socket);
      const uri = `/comet/create?channel=${channel}`;
      const ids = [];
      for (const body of [texts].flat()) {
        const type = 'text/plain';
        assert.notEqual(body, '', 'an empty message is given six random letters');
        const answer = await connection.ask({ method: 'POST', uri, keep: true, type, body });
        assert.equal(answer.status, 200, answer.body);
        ids.push(answer.json().id);
      }
      connection.destroy();
      return ids;
    },
    // Everything retained, by as many updates as it takes.
    async all(fields = {}) {
      const messages = [];
      for (let id = '', more = true; more;) {
        const answer = await stack.update({ ...fields, id, timeout: 0 });
        messages.push(...answer.messages);
        ({ id, more } = answer);
      }
      return messages;
    },
  };
  if (start) {
    await daemon.start();
    await web?.start();
  }
  return stack;
}
