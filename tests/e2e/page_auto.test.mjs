// Which transport a page reads by where that is left open, in a real Chromium: the best that the web server carries;
// the next where it refuses, buffers, hangs or cuts; none given up for an outage, none tried without end.
import assert from 'node:assert/strict';
import { openBoard, openPage, WAIT_MS } from './lib/browser.mjs';
import { badProxy } from './lib/proxy.mjs';
import { claim, defer, startStack, throughBoth, until } from './lib/harness.mjs';

const NAMES = {
  websocket: 'WebSocket', events: 'Server-Sent Events', streaming: 'Streaming', iframe: 'Iframe', 'long-polling': 'Long polling',
};

async function openAuto(t, stack, { phase = null, ...options } = {}) {
  const board = await openBoard(t, stack, { by: 'auto', phase, ...options });
  board.readsBy = (name) => until(`it waits by ${name}`, () => board.page.evaluate((shown) => (
    document.querySelector('#state').dataset.phase === 'waiting'
      && document.querySelector('[data-show=transport]').textContent === shown), NAMES[name]), { within: WAIT_MS });
  // A transport that has been asked and says nothing is given up for it.
  board.givesUp = async (name) => {
    await until(`${name} is tried`, () => board.requests[name] >= 1, { within: WAIT_MS });
    await board.page.clock.fastForward(6000);
  };
  return board;
}

// The waits of the page are short, and its clock can be put forward.
async function quick(page) {
  await page.clock.install();
  await page.addInitScript(() => { Math.random = () => 0.01; });
}

throughBoth('the board reads by WebSocket, and one name in its address is obeyed', async (t, server) => {
  const stack = await startStack(t, { server });
  const board = await openAuto(t, stack);
  await board.readsBy('websocket');
  await stack.create('one');
  await board.shows('one');
  assert.equal(board.updates, 1, 'one quick question, for the history');
  const asked = await openAuto(t, stack, { by: 'iframe' });
  await asked.readsBy('iframe');
  await stack.create('two');
  await asked.shows('one', 'two');
  await board.shows('one', 'two');
});

for (const [treats, ends] of [
  [{ websocket: 'refuse' }, 'events'],
  [{ websocket: 'hang', events: 'buffer' }, 'streaming'],
  [{ websocket: 'refuse', events: 'refuse', streaming: 'refuse' }, 'long-polling'],
  [{ websocket: 'refuse', events: 'buffer', streaming: 'buffer' }, 'long-polling'],
  [{ websocket: 'hang', events: 'hang', streaming: 'hang' }, 'long-polling'],
]) {
  const how = Object.entries(treats).map(([name, treat]) => `${name}: ${treat}`).join(', ');
  throughBoth(`where the server in front says ${how}, the board reads by ${ends}`, async (t, server) => {
    const stack = await startStack(t, { server });
    await stack.publish(['history']);
    const proxy = await badProxy(t, stack, treats);
    const board = await openAuto(t, stack, { origin: proxy.origin, outage: true, prepare: quick });
    await board.shows('history'); // before anything is found out
    for (const [name, treat] of Object.entries(treats)) if (treat !== 'refuse') await board.givesUp(name);
    await board.readsBy(ends);
    for (const name of Object.keys(treats)) assert.equal(proxy.asked[name], 1, `${name} is tried once`);
    assert.ok(proxy.asked.update <= 5, `${proxy.asked.update} updates`);
    await stack.publish(['one', 'two']);
    await board.shows('history', 'one', 'two');
  });
}

// As with a policy that forbids the one, or a browser that lacks the other.
async function crippled(page) {
  await page.addInitScript(() => {
    window.WebSocket = function () { throw new Error('forbidden'); };
    delete window.EventSource;
  });
}

throughBoth('where a transport cannot even begin, the board reads by the next', async (t, server) => {
  const stack = await startStack(t, { server });
  const board = await openAuto(t, stack, { prepare: crippled });
  await board.readsBy('streaming');
  await stack.publish(['one']);
  await board.shows('one');
});

throughBoth('a page that insists on one that cannot begin is told so, and goes on trying', async (t, server) => {
  const stack = await startStack(t, { server });
  const board = await openAuto(t, stack, { by: 'websocket', prepare: crippled });
  await stack.publish(['one']); // a quick question brings it
  await board.shows('one');
  await board.page.locator('#state[data-phase="disconnected"]').waitFor();
  assert.match(await board.page.locator('[data-show=outcome]').textContent(), /forbidden/);
  await stack.publish(['two']);
  await board.shows('one', 'two');
});

throughBoth('news that come while a transport is tried in vain are shown when it is given up', async (t, server) => {
  const stack = await startStack(t, { server });
  const proxy = await badProxy(t, stack, { websocket: 'refuse', events: 'hang', streaming: 'hang' });
  const board = await openAuto(t, stack, { origin: proxy.origin, outage: true, prepare: quick });
  await until('events are tried', () => proxy.asked.events === 1);
  await stack.publish(['one']);
  await board.givesUp('events');
  await board.shows('one');
  await until('streaming is tried', () => proxy.asked.streaming === 1);
  await stack.publish(['two']);
  await board.givesUp('streaming');
  await board.shows('one', 'two');
  await board.readsBy('long-polling');
});

claim('a lighttpd that buffers answers and has no WebSocket gets long polls', async (t) => {
  const webConfig = { lighttpd: `
$HTTP["url"] =~ "^/comet/.*" { server.stream-response-body = 0 }
$HTTP["url"] =~ "^/comet/websocket" { proxy.server = () }
` };
  const stack = await startStack(t, { server: 'lighttpd', webConfig });
  const board = await openAuto(t, stack, { outage: true, prepare: quick });
  await board.givesUp('events');
  await board.givesUp('streaming');
  await board.readsBy('long-polling');
  await stack.publish(['one']);
  await board.shows('one');
  const ways = await openPage(t, `${stack.origin}/ways.html`, { outage: true });
  await until('the page says so', async () => {
    const seen = await ways.page.$$eval('#carried li', (rows) => rows.map((row) => row.dataset.verdict));
    return seen.join() === 'works,buffered,buffered,buffered,refused';
  }, { within: WAIT_MS });
});

throughBoth('an outage is not held against the transport', async (t, server) => {
  const stack = await startStack(t, { server });
  const board = await openAuto(t, stack, { outage: true, prepare: quick });
  await board.readsBy('websocket');
  const texts = [];
  for (const restart of [
    async () => { await stack.daemon.kill('SIGKILL'); await stack.daemon.start(); },
    async () => { await stack.web.stop(); await stack.web.start(); },
    async () => { await stack.daemon.stop(); await stack.daemon.start(); },
    async () => { await stack.web.stop('SIGKILL'); await stack.web.start(); },
  ]) {
    await restart();
    texts.push(`after ${texts.length}`);
    await stack.publish(texts.slice(-1));
    await board.shows(...texts);
    await board.readsBy('websocket');
  }
});

throughBoth('a transport that worked and then breaks again and again is left for the next one', async (t, server) => {
  const stack = await startStack(t, { server });
  const proxy = await badProxy(t, stack);
  const board = await openAuto(t, stack, { origin: proxy.origin, outage: true, prepare: quick });
  await board.readsBy('websocket');
  proxy.treats = { websocket: 'cut', events: 'cut' };
  await stack.web.stop();
  await board.phase('disconnected');
  const before = { ...proxy.asked };
  await stack.web.start();
  await board.readsBy('streaming');
  assert.ok(proxy.asked.websocket - before.websocket <= 7, `${proxy.asked.websocket} WebSockets`);
  assert.ok(proxy.asked.events <= 6, `${proxy.asked.events} event streams`);
  await stack.publish(['one']);
  await board.shows('one');
});

throughBoth('what did not carry is tried again after a while, and when the network is another one', async (t, server) => {
  const stack = await startStack(t, { server });
  const proxy = await badProxy(t, stack, { websocket: 'refuse', events: 'refuse', streaming: 'refuse' });
  const board = await openAuto(t, stack, { origin: proxy.origin, outage: true, prepare: quick });
  await board.readsBy('long-polling');
  await board.page.clock.fastForward('09:00');
  await stack.publish(['one']); // ends the poll; the next ask chooses
  await board.shows('one');
  await board.readsBy('long-polling');
  assert.equal(proxy.asked.websocket, 1, 'not before the time');
  proxy.treats = { events: 'refuse' };
  await board.page.clock.fastForward('02:00');
  await stack.publish(['two']);
  await board.readsBy('websocket');
  await board.shows('one', 'two');

  proxy.treats = { websocket: 'refuse' };
  await board.page.reload();
  await board.readsBy('events');
  proxy.treats = {};
  await board.page.evaluate(() => window.dispatchEvent(new Event('online')));
  await board.readsBy('websocket');
  await stack.publish(['three']);
  await board.shows('one', 'two', 'three');
});

throughBoth('a stream that falls silent is noticed, and so is the daemon\'s return', async (t, server) => {
  const stack = await startStack(t, { server });
  const board = await openAuto(t, stack, { outage: true, prepare: quick });
  await board.readsBy('websocket');
  await stack.publish(['before']);
  await board.shows('before');
  process.kill(stack.daemon.pid, 'SIGSTOP');
  defer(t, () => { if (!stack.daemon.process.ended) process.kill(stack.daemon.pid, 'SIGCONT'); });
  const updates = board.updates;
  await board.page.clock.fastForward(50_000);
  assert.equal(board.updates, updates, 'a heartbeat may be late');
  await board.page.clock.fastForward(11_000);
  await board.says('[data-show=outcome]', /silent for 60 s/);
  await until('it asks for an answer at once', async () => {
    await board.page.clock.runFor(100);
    return board.updates > updates;
  });
  await board.page.clock.fastForward(16_000);
  await board.says('[data-show=outcome]', /no answer within 15 s/);
  process.kill(stack.daemon.pid, 'SIGCONT');
  await board.readsBy('websocket');
  await stack.publish(['after']);
  await board.shows('before', 'after');
});

throughBoth('a server that is full is left alone for as long as it says, whatever the transport', async (t, server) => {
  const stack = await startStack(t, { server, args: ['--max-holds', '1'], allow: [/the limit/] });
  const taken = stack.update({ id: 'now', channel: 'taken' });
  await stack.holds(1);
  let refused = 0;
  const board = await openAuto(t, stack, {
    outage: true,
    prepare: async (page) => {
      await page.clock.install();
      page.on('response', (answer) => { refused += answer.status() === 503; });
    },
  });
  await board.says('[data-show=countdown]', /reconnecting in \d+ s/);
  assert.ok(refused <= 3, `${refused} refusals before it waits`);
  await stack.publish(['the place is free'], { channel: 'taken' });
  await taken;
  await stack.holds(0);
  await board.page.clock.fastForward(120_000);
  await board.phase('waiting');
  await stack.publish(['room again']);
  await board.shows('room again');
});
