// What the documents say is so: their links, tables and examples, and that options are written down
// in the daemon alone. (mount.test.mjs types the README's steps, deploy_relay.test.mjs the relay's.)
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { openPage } from './lib/browser.mjs';
import { CURSOR, expectUpdate } from './lib/expect.mjs';
import { faultyDisk } from './lib/fault.mjs';
import {
  claim,
  daemonBinary,
  fetchHttp,
  plainBinary,
  ROOT,
  run,
  startStack,
  tempDir,
  until,
  within,
} from './lib/harness.mjs';
import { handshake, RawWebSocket, shake } from './lib/websocket.mjs';

const read = (name) => fs.readFileSync(path.join(ROOT, name), 'utf8');
const FOLDERS = ['.', 'deploy', 'www', 'fcgi', 'store', 'tests', 'tests/bench'];
const PAGES = FOLDERS.map((folder) => path.join(folder, 'README.md')).filter((name) =>
  fs.existsSync(path.join(ROOT, name)),
);

// The document between the heading and the next one of its kind or a higher one.
function section(name, heading) {
  const lines = read(name).split('\n');
  const start = lines.indexOf(heading);
  assert.notEqual(start, -1, `${name} has ${heading}`);
  const level = heading.indexOf(' ');
  const length = lines.slice(start + 1).findIndex((line) => /^#+ /.test(line) && line.indexOf(' ') <= level);
  return lines.slice(start + 1, length < 0 ? undefined : start + 1 + length).join('\n');
}

// The rows of its first table, as lists of cells.
function table(text) {
  const rows = [];
  for (const line of text.slice(text.search(/^\|/m)).split('\n')) {
    if (!line.startsWith('|')) break;
    rows.push(line.split('|').slice(1, -1).map((cell) => cell.trim()));
  }
  return rows.slice(2);
}

const namesIn = (cell) => [...cell.matchAll(/`([^`]+)`/g)].map((m) => m[1]);

// The lines that a section has one type, each with what it prints.
function typed(text) {
  const found = [];
  for (const line of text.split('\n')) {
    if (line.startsWith('    $ ')) found.push({ line: line.slice(6), prints: '' });
    else if (line.startsWith('    ') && found.length) found.at(-1).prints += `${line.slice(4)}\n`;
  }
  return found;
}

// ---- links -----------------------------------------------------------------------------------------

const anchorOf = (heading) => heading.toLowerCase().replace(/[^\w\- ]/g, '').replaceAll(' ', '-');

claim('every link between documents leads somewhere', () => {
  const anchors = new Map(
    PAGES.map((name) => [name, [...read(name).matchAll(/^#+ (.*)$/gm)].map((m) => anchorOf(m[1]))]),
  );
  for (const name of PAGES) {
    const prose = read(name).replace(/^ {4}.*$/gm, '');
    for (const [, link] of prose.matchAll(/\]\(([^)]+)\)/g)) {
      const [to, anchor] = link.split('#');
      const target = to ? path.join(path.dirname(name), to) : name;
      assert.ok(fs.existsSync(path.join(ROOT, target)), `${name}: ${link}`);
      if (anchor) assert.ok(anchors.get(target)?.includes(anchor), `${name}: ${link}`);
    }
  }
});

claim('the README has at most 150 lines', () => {
  assert.ok(read('README.md').trimEnd().split('\n').length <= 150);
});

// ---- options ---------------------------------------------------------------------------------------

function knownOptions() {
  const help = spawnSync(daemonBinary(), ['--help'], { encoding: 'utf8' }).stdout;
  const found = new Set([...help.matchAll(/^ {2}--([a-z-]+)/gm)].map((m) => m[1]));
  assert.ok(found.size > 20);
  return found;
}

claim('the manual page has every option once, as --help has, and no other', () => {
  const manual = fs.readFileSync(path.join(path.dirname(plainBinary()), 'encke.8'), 'utf8');
  const items = [...manual.matchAll(/^\.It Fl -(\S+)/gm)].map((m) => m[1].replaceAll('\\-', '-'));
  assert.deepEqual(items, [...knownOptions()]);
  assert.doesNotMatch(manual, /@OPTIONS@/);
});

claim('every option that a document names is one of the daemon', () => {
  const known = knownOptions();
  for (const name of ['now', 'svg', 'csv', 'only', 'retry', 'retry-all-errors']) known.add(name); // of other programs
  for (const name of [...PAGES, 'deploy/encke.8.in'])
    for (const [, option] of read(name).matchAll(/(?<![\w-])--([a-z][a-z-]*)/g))
      assert.ok(known.has(option), `${name}: --${option}`);
});

claim('no document repeats the table of options', () => {
  for (const name of [...PAGES, 'deploy/encke.8.in'])
    assert.doesNotMatch(read(name), /^(\| *`--|\.It Fl -)/m, name);
});

// ---- the README ------------------------------------------------------------------------------------

const PUBLISH = section('README.md', '## Publish and read');

claim('the lines that the README has one type print what it says', async (t) => {
  const stack = await startStack(t, { server: 'nginx' });
  const lines = typed(PUBLISH);
  assert.equal(lines.length, 6);
  const alike = (text) => text.replace(/[0-9a-f]{12}-\d+/g, 'ID').replace(/"time":\d+/, 'TIME');
  let id = '';
  for (const { line, prints } of lines) {
    const here = line.replace('http://127.0.0.1:8080', stack.origin).replace(/[0-9a-f]{12}-\d+/, id);
    const curl = run(['sh', '-c', `exec ${here.replace('curl', 'curl -s')}`]);
    if (line.includes('update?')) await stack.holds(1);
    if (line.includes('update?')) await stack.publish('the next message');
    if (line.includes('-N')) {
      await until('the stream has begun', () => /^\{"id":"/.test(curl.stdout));
      curl.kill();
      continue;
    }
    await within(curl.exited, 60_000, line);
    const said = JSON.parse(curl.stdout);
    if (prints) assert.equal(alike(curl.stdout), alike(prints), line);
    else assert.equal(said.messages[0].data, 'the next message');
    ({ id } = said);
  }
});

const form = (type, body) => ({ method: 'POST', headers: { 'Content-Type': type }, body });
const fields = (body) => form('application/x-www-form-urlencoded', body);

// What each row of the README's table says of its endpoint.
const ANSWERS = {
  async create(stack) {
    const answer = await stack.http('create', fields('msg=one'));
    assert.match(answer.json().id, CURSOR);
    assert.equal((await stack.all()).at(-1).data, 'one');
  },
  async batch(stack) {
    const three = ['one', 'two', 'three'].map((msg) => ({ msg }));
    const answer = await stack.http('batch', form('application/json', JSON.stringify(three)));
    for (const { id } of answer.json()) assert.match(id, CURSOR);
    assert.deepEqual((await stack.all()).slice(-3).map(({ data }) => data), ['one', 'two', 'three']);
    const refused = await stack.http('batch', form('application/json', '[{"msg":"x"},{}]'));
    assert.equal(refused.json().element, 1);
    assert.equal((await stack.all()).at(-1).data, 'three');
  },
  async update(stack) {
    expectUpdate(await stack.update());
    const held = stack.update({ id: 'now' });
    await stack.holds(1);
    await stack.publish('awaited');
    assert.equal((await held).messages[0].data, 'awaited');
  },
  async subscribe(stack) {
    const held = stack.subscribe();
    await stack.holds(1);
    await stack.publish('news');
    assert.deepEqual(await held, { ret: 'new' });
    assert.deepEqual(await stack.subscribe({ timeout: 0 }), { ret: 'punt' });
  },
  async longpolling(stack) {
    const answer = await stack.http('longpolling?id=x&timeout=0');
    assert.match(answer.headers['content-type'], /^text\/plain/);
    assert.match(answer.body, /^Server says: one$/m);
  },
  async streaming(stack) {
    const { body } = await stack.http('streaming?timeout=0');
    assert.ok(body.trimEnd().split('\n').map(JSON.parse).some((one) => one.data === 'one'));
  },
  async iframe(stack) {
    assert.match((await stack.http('iframe?timeout=0')).body, /<script>parent\.add_content\("one",/);
  },
  async events(stack) {
    const answer = await stack.http('events?timeout=0');
    assert.equal(answer.headers['content-type'], 'text/event-stream');
    assert.match(answer.body, /^id: .*\ndata: one$/m);
  },
  async websocket(stack) {
    const socket = await RawWebSocket.open(stack.web.port, 'websocket');
    await stack.publish('pushed');
    while (!socket.texts.some((text) => JSON.parse(text).data === 'pushed'))
      await within(new Promise((resolve) => socket.once('text', resolve)), 60_000, 'the message');
    socket.socket.destroy();
  },
  async status(stack) {
    assert.equal(typeof (await stack.http('status')).json().holds, 'number');
  },
};

claim("every endpoint of the README's table answers as it says", async (t) => {
  const stack = await startStack(t, { server: 'nginx' });
  const rows = table(PUBLISH).map(([endpoint]) => {
    const words = namesIn(endpoint).flatMap((one) => one.split(' '));
    return { name: words.at(-1), methods: words.slice(0, -1) };
  });
  assert.deepEqual(rows.map((row) => row.name), Object.keys(ANSWERS));
  const greeting = (await fetchHttp(`${stack.url}/`)).body;
  const greeted = [...greeting.matchAll(/^ {2}\w+ +(?:\S*\/)?([a-z]+) /gm)].map((m) => m[1]);
  assert.deepEqual(greeted, Object.keys(ANSWERS));
  for (const { name, methods } of rows) {
    await ANSWERS[name](stack);
    for (const method of ['GET', 'POST', 'PUT']) {
      const { status } = await stack.raw({ uri: `/comet/${name}?timeout=0`, method });
      assert.equal(status === 405, !methods.includes(method), `${method} ${name}: ${status}`);
    }
  }
});

// ---- the HTTP interface ----------------------------------------------------------------------------

// The block of JavaScript in a section, which begins with `let cursor`.
const scriptOf = (heading) => {
  const text = section('www/README.md', heading).replace(/^(?! {4}|$).*$/gm, '\0');
  return text.slice(text.indexOf('    let cursor')).split('\0')[0];
};

claim('the JavaScript in www/README.md shows what is published', async (t) => {
  const stack = await startStack(t, { server: 'nginx' });
  for (const heading of ['### events', '### websocket']) {
    const { page, says } = await openPage(t, `${stack.url}/status`, { outage: true });
    const before = (await stack.status()).streams;
    await page.evaluate(scriptOf(heading));
    const name = heading.slice(4);
    await until('it reads', async () => (await stack.status()).streams[name] > before[name]);
    await stack.publish(`seen by ${name}`, { channel: 'ticker' });
    await says('body', new RegExp(`seen by ${name}`));
    await page.close();
  }
});

const OTHER_SITE = { Origin: 'http://other.example' };
const HUGE = { Cookie: 'x'.repeat(70_000) };
const FILE = 'Content-Disposition: form-data; name="msg"; filename="f"\r\n\r\nx';
const WITH_FILE = form('multipart/form-data; boundary=b', `--b\r\n${FILE}\r\n--b--\r\n`);

// How to get each status that www/README.md lists.
const STATUSES = {
  101: async (stack) => {
    const { status, socket } = await shake(stack.websocket, handshake('/comet/websocket'));
    socket.destroy();
    await stack.streams({});
    return status;
  },
  200: async (stack) => (await stack.raw({ uri: '/comet/status' })).status,
  400: async (stack) => (await stack.http('update?limit=x')).status,
  403: async (stack) => (await stack.http('create', { method: 'POST', headers: OTHER_SITE })).status,
  404: async (stack) => (await stack.http('nothing')).status,
  405: async (stack) => (await stack.http('create')).status,
  409: async (stack) => {
    await stack.http('create', fields('msg=x&once=k'));
    return (await stack.http('create', fields('msg=y&once=k'))).status;
  },
  413: async (stack) => (await stack.http('create', form('text/plain', 'x'.repeat(70_000)))).status,
  415: async (stack) => (await stack.http('create', WITH_FILE)).status,
  426: async (stack) => (await stack.raw({ uri: '/comet/websocket' })).status,
  431: async (stack) =>
    (await shake(stack.websocket, handshake('/comet/websocket', { headers: HUGE }))).status,
  500: async (stack, disk) => {
    await stack.publish(Array(20).fill('x'.repeat(8000)));
    await stack.daemon.stop();
    await stack.daemon.start();
    disk.set('read=EIO');
    return (await stack.raw({ uri: '/comet/update?timeout=0' })).status;
  },
  503: async (stack) => {
    const held = stack.update({ id: 'now' });
    await stack.holds(1);
    const { status } = await stack.http('update?id=now');
    await stack.publish('done');
    await held;
    return status;
  },
  507: async (stack, disk) => {
    disk.set('write=ENOSPC');
    const { status } = await stack.http('create', fields('msg=x'));
    disk.set();
    return status;
  },
};

claim('what www/README.md has one type prints what it says', async (t) => {
  const stack = await startStack(t, { server: 'nginx' });
  for (const { line, prints } of [...typed(section('www/README.md', '### Keys')), ...typed(section('www/README.md', '## batch'))]) {
    const curl = run(['sh', '-c', `exec ${line.replace('http://localhost', stack.origin).replace('curl', 'curl -s')}`]);
    await within(curl.exited, 60_000, line);
    const told = [...prints.matchAll(/-(\d+)"/g)].map((m) => m[1]);
    assert.deepEqual([...curl.stdout.matchAll(/-(\d+)"/g)].map((m) => m[1]), told, line);
    const alike = (text) => text.replace(/[0-9a-f]{12}-\d+/g, 'ID');
    assert.equal(alike(curl.stdout), alike(prints), line);
  }
});

claim('every status that www/README.md lists exists', async (t) => {
  const listed = table(section('www/README.md', '## Statuses')).map(([status]) => status);
  assert.deepEqual(listed, Object.keys(STATUSES));
  const disk = faultyDisk(tempDir(t));
  const stack = await startStack(t, {
    ...disk.options,
    server: 'nginx',
    args: ['--max-holds', '1', '--memory', '0'],
    allow: [/^encke: (warn|error): /],
  });
  stack.daemon.judged = false; // it ends with its log
  for (const status of [...listed.filter((one) => one !== '500'), '500'])
    assert.equal(String(await STATUSES[status](stack, disk)), status);
});

claim('status has the fields that the documents list, and no other', async (t) => {
  const stack = await startStack(t, { args: ['--upstream', 'http://127.0.0.1:9/'] });
  const listed = (name, heading) => table(section(name, heading)).flatMap(([names]) => namesIn(names)).sort();
  const { upstreams, readers_by_channel, ...status } = await stack.status();
  assert.ok(readers_by_channel);
  assert.deepEqual(listed('www/README.md', '## status'), ['upstreams', ...Object.keys(status)].sort());
  assert.deepEqual(listed('deploy/README.md', '### Watching a relay'), Object.keys(upstreams[0]).sort());
});

// ---- the source ------------------------------------------------------------------------------------

claim('the map of the source names every file, in its folder', () => {
  const folders = section('fcgi/README.md', '## The source').split(/^(?=\[?`[^`]+\/`)/m).slice(1);
  const mapped = folders.map((text) => {
    const [, folder] = /^\[?`([^`]+)\/`/.exec(text);
    const at = ['store', 'fcgi'].includes(folder) ? folder : `fcgi/${folder}`;
    const there = fs.readdirSync(path.join(ROOT, at)).filter((name) => /\.[ch]$/.test(name));
    const found = new Set(there.map((name) => name.slice(0, -2).replace(/^endpoint_.*/, 'endpoint_*')));
    const named = [...text.matchAll(/^- ([^:]*):/gm)].flatMap((m) => namesIn(m[1]));
    assert.deepEqual(named.sort(), [...found].sort(), at);
    return at;
  });
  const inside = fs.readdirSync(path.join(ROOT, 'fcgi'), { withFileTypes: true });
  const layers = inside.filter((entry) => entry.isDirectory()).map((entry) => `fcgi/${entry.name}`);
  assert.deepEqual(mapped.sort(), [...layers, 'fcgi', 'store'].sort());
});
