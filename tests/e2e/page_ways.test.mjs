// The page with a tab for each way of comet, in a real Chromium: what each tab shows, what it asks for and when it
// stops; what it does when the daemon or the web server is restarted; that all of them go on from one cursor.
import assert from 'node:assert/strict';
import { openPage, WAIT_MS } from './lib/browser.mjs';
import { badProxy } from './lib/proxy.mjs';
import { startStack, throughBoth, until } from './lib/harness.mjs';

const WAYS = ['long-polling', 'streaming', 'iframe', 'events', 'websocket'];

async function openWays(t, stack, { way = '', origin = stack.origin, phase = 'waiting', ...options } = {}) {
  const ways = await openPage(t, `${origin}/ways.html${way && `#${way}`}`, options);
  const { page } = ways;
  ways.panel = page.locator('.way:not([hidden])');
  ways.tab = (name) => page.locator(`#tab-${name}`);
  ways.phase = (name) => ways.panel.locator(`.state[data-phase="${name}"]`).waitFor();
  ways.figure = (name) => ways.panel.locator(`[data-show=${name}]`).textContent();
  // What the tab that is shown has heard, the oldest first.
  ways.lines = () => page.$$eval('.way:not([hidden]) .lines li', (items) => items.reverse().map((item) => (
    item.querySelector('.text')?.textContent ?? item.textContent)));
  ways.shows = async (...texts) => {
    let seen;
    await until(`the tab shows ${JSON.stringify(texts)}`, async () => {
      seen = await ways.lines();
      return JSON.stringify(seen) === JSON.stringify(texts);
    }, { within: WAIT_MS }).catch((error) => {
      throw new Error(`${error.message}; it shows ${JSON.stringify(seen)}`, { cause: error });
    });
  };
  ways.probed = (...verdicts) => until(`the verdicts are ${verdicts}`, async () => {
    const seen = await page.$$eval('#carried li', (rows) => rows.map((row) => row.dataset.verdict));
    return seen.join() === verdicts.join();
  }, { within: WAIT_MS });
  if (phase) await ways.phase(phase);
  return ways;
}

const said = (texts) => texts.map((text) => `Server says: ${text}`);
const ticker = (stack, texts) => stack.publish(texts, { channel: 'ticker' });

// The daemon counts one reader, of this kind.
function readsBy(stack, name) {
  return until(`it reads by ${name} only`, async () => {
    const { holds, streams } = await stack.status();
    const readers = { ...streams, 'long-polling': holds };
    return Object.entries(readers).every(([kind, n]) => n === (kind === name ? 1 : 0));
  }, { within: WAIT_MS });
}

throughBoth('each tab shows what is said on the ticker, its state, its requests and its last id', async (t, server) => {
  const stack = await startStack(t, { server });
  await ticker(stack, ['said before anybody listened']);
  const ways = await openWays(t, stack);
  for (const [at, name] of WAYS.entries()) {
    await ways.tab(name).click();
    await ways.phase('waiting');
    assert.equal(new URL(ways.page.url()).hash, `#${name}`);
    const numbers = [1, 2, 3].map((n) => String(10 * at + n));
    const ids = await ticker(stack, numbers);
    await ways.shows(...said(numbers));
    await until('the last id is that of the last message', async () => (await ways.figure('id')) === ids.at(-1));
    assert.equal(await ways.figure('received'), '3');
    assert.equal(await ways.figure('outcome'), '[state: success ]');
    const requests = Number(await ways.figure('requests'));
    if (name === 'long-polling') assert.ok(requests >= 3, `${requests} requests`);
    else assert.equal(requests, 2, 'one for where to begin, and the stream');
    await ways.phase('waiting');
    if (server === 'nginx') await readsBy(stack, name); // lighttpd does not always tell that a browser went
  }
});

throughBoth('a tab reads while it is shown, and shown again it goes on where it was', async (t, server) => {
  const stack = await startStack(t, { server });
  const ways = await openWays(t, stack, { way: 'events' });
  await ticker(stack, ['1', '2']);
  await ways.shows(...said(['1', '2']));
  await ways.tab('websocket').click();
  await ways.phase('waiting');
  await ticker(stack, ['3', '4']);
  await ways.shows(...said(['3', '4']));
  if (server === 'nginx') await readsBy(stack, 'websocket');
  await ways.tab('long-polling').click();
  await ways.phase('waiting');
  await ticker(stack, ['5']);
  await ways.shows(...said(['5']));
  await ways.tab('events').click();
  await ways.shows(...said(['1', '2', '3', '4', '5']));
  await ways.tab('websocket').click();
  await ways.shows(...said(['3', '4', '5']));
  await ticker(stack, ['6']);
  await ways.shows(...said(['3', '4', '5', '6']));
});

throughBoth('the tabs are worked with the keyboard, and tell what they are', async (t, server) => {
  const stack = await startStack(t, { server });
  const ways = await openWays(t, stack, { outage: true }); // Chromium complains of a WebSocket that is left half open
  const { page } = ways;
  const selected = () => page.$$eval('[role=tab]', (tabs) => tabs
    .filter((tab) => tab.getAttribute('aria-selected') === 'true' && tab.tabIndex === 0)
    .map((tab) => [tab.id, tab === document.activeElement,
      document.getElementById(tab.getAttribute('aria-controls')).hidden]));
  const moves = async (key, name) => {
    await page.keyboard.press(key);
    assert.deepEqual(await selected(), [[`tab-${name}`, true, false]], key);
    assert.equal(await page.locator('[role=tabpanel]:visible').count(), 1);
  };
  await page.getByRole('tab', { name: 'Long polling' }).focus();
  await moves('ArrowRight', 'streaming');
  await moves('End', 'websocket');
  await moves('ArrowRight', 'long-polling');
  await moves('ArrowLeft', 'websocket');
  await moves('Home', 'long-polling');
  await page.keyboard.press('Tab');
  await page.getByRole('tabpanel', { name: 'Long polling' }).and(page.locator(':focus')).waitFor();
  await ways.phase('waiting');
});

throughBoth('what a message contains is shown as text and runs nothing, on every tab', async (t, server) => {
  const stack = await startStack(t, { server });
  const ways = await openWays(t, stack);
  const texts = [
    '</script><script>parent.ran = 1</script>', '<img src=x onerror="window.ran = 2; parent.ran = 2">',
    '"quotes" and \'quotes\' and \\ and \\u003c', 'a \u2028 b \u2029 c', '<!-- <script> ', '");parent.ran=3;("',
    ']]> &lt;b&gt; &amp;', 'one\ntwo\r\nthree\rfour', 'data: x\nid: y\nevent: reset\n\n', '{"reset":true}',
    '\ufeff ü € 😀 \u202e end',
  ];
  for (const name of WAYS) {
    await ways.tab(name).click();
    await ways.phase('waiting');
    await ticker(stack, texts);
    await ways.shows(...said(texts));
    const made = await ways.page.$$eval('.lines *', (all) => [...new Set(all.map((one) => one.localName))].sort());
    assert.deepEqual(made, ['b', 'li', 'span', 'time'], 'only the page\'s own elements');
    assert.equal(await ways.page.evaluate(() => window.ran), undefined);
  }
});

throughBoth('what is said by WebSocket comes back, and is not stored', async (t, server) => {
  const stack = await startStack(t, { server });
  const ways = await openWays(t, stack, { way: 'websocket' });
  const box = ways.page.getByLabel('Say something to the server');
  const texts = ['hello', '<b>bold</b><script>window.ran = 1</script>', 'ü € 😀'];
  for (const text of texts) {
    await box.fill(text);
    await box.press('Enter');
  }
  const echoed = texts.map((text) => `You say:${text}`);
  await ways.shows(...echoed);
  assert.equal(await box.inputValue(), '');
  await ticker(stack, ['1']);
  await ways.shows(...echoed, 'Server says: 1');
  assert.equal(await ways.page.evaluate(() => window.ran), undefined);
  assert.deepEqual((await stack.all({ channel: ['ticker', 'echo', 'main'] })).map((one) => one.data), ['1']);
  await ways.tab('long-polling').click();
  if (server === 'nginx') await readsBy(stack, 'long-polling'); // both sockets are closed
  await ways.tab('websocket').click();
  await box.fill('again');
  await ways.page.getByRole('button', { name: 'Say' }).click();
  await ways.shows(...echoed, 'Server says: 1', 'You say:again');
});

for (const way of WAYS) {
  throughBoth(`after restarts of the daemon and the web server each number is there once, by ${way}`, async (t, server) => {
    const stack = await startStack(t, { server });
    const ways = await openWays(t, stack, {
      way,
      prepare: async (page) => {
        await page.clock.install();
        await page.addInitScript(() => { Math.random = () => 0.01; }); // the shortest of the waits
      },
    });
    ways.outage = true;
    const numbers = [];
    const say = async (n) => {
      const more = Array.from({ length: n }, (_, i) => String(numbers.length + i));
      await ticker(stack, more);
      numbers.push(...more);
    };
    await say(3);
    await ways.shows(...said(numbers));
    for (const restart of [
      async () => { await stack.daemon.kill('SIGKILL'); await stack.daemon.start(); },
      async () => { await stack.web.stop(); await say(5); await stack.web.start(); },
      async () => { await stack.daemon.stop(); await stack.daemon.start(); },
    ]) {
      const asked = Number(await ways.figure('requests'));
      await restart();
      await say(5);
      if (way === 'iframe') { // nobody tells a page that a frame's line broke: a minute of silence does
        await until('it asks again', async () => {
          await ways.page.clock.fastForward(61_000);
          return Number(await ways.figure('requests')) > asked;
        });
      }
      await ways.shows(...said(numbers)); // by itself: nobody presses anything
      await ways.phase('waiting');
      await say(2);
      await ways.shows(...said(numbers));
      const more = Number(await ways.figure('requests')) - asked;
      assert.ok(more < 40, `${more} requests for one outage`);
    }
    assert.equal(await ways.figure('received'), String(numbers.length));
  });
}

throughBoth('streams that end by themselves go on, and nothing is missed or doubled between them', async (t, server) => {
  const stack = await startStack(t, { server });
  const ways = await openWays(t, stack);
  const { page } = ways;
  await page.evaluate((names) => {
    window.got = Object.fromEntries(names.map((name) => [name, []]));
    window.readers = names.map((name) => new window.Encke.Reader({
      base: 'comet/', channels: ['short'], transport: name, holdS: 2,
      onmessages: (messages) => window.got[name].push(...messages.map((message) => message.data)),
    }));
    window.readers.forEach((reader) => reader.start());
  }, ['streaming', 'iframe', 'events']);
  const states = () => page.evaluate(() => window.readers.map((reader) => reader.state()));
  const texts = [];
  await until('each has come back three times', async () => {
    texts.push(String(texts.length));
    await stack.publish(texts.slice(-1), { channel: 'short' });
    return (await states()).every((state) => state.requests >= 5);
  }, { within: WAIT_MS, every: 50 });
  await until('all are there', () => page.evaluate((n) => Object.values(window.got).every((got) => got.length >= n),
    texts.length), { within: WAIT_MS });
  for (const [name, got] of Object.entries(await page.evaluate(() => window.got))) assert.deepEqual(got, texts, name);
  for (const state of await states()) assert.deepEqual([state.failures, state.outcome], [0, 'success'], state.transport);
});

throughBoth('a stream of a quiet channel lives by its heartbeats, and its cursor moves on with them', async (t, server) => {
  const stack = await startStack(t, { server, args: ['--heartbeat', '1'] });
  const ways = await openWays(t, stack, { prepare: (page) => page.clock.install() });
  for (const name of WAYS.slice(1)) {
    await ways.tab(name).click();
    await ways.phase('waiting');
    for (let minute = 0; minute < 2; minute++) {
      const [id] = await stack.publish(['not for this page'], { channel: 'elsewhere' });
      await until('a heartbeat has brought the cursor', async () => (await ways.figure('id')) === id, { within: WAIT_MS });
      await ways.page.clock.fastForward(40_000);
    }
    assert.equal(await ways.figure('requests'), '2', 'it was never thought dead');
    assert.equal(await ways.figure('received'), '0');
  }
});

throughBoth('a reader that changes its transport again and again misses nothing and doubles nothing', async (t, server) => {
  const stack = await startStack(t, { server });
  const ways = await openWays(t, stack, { outage: true }); // of WebSockets that are left half open
  const { page } = ways;
  await page.evaluate(() => {
    window.got = [];
    window.reader = new window.Encke.Reader({
      base: 'comet/', channels: ['moving', 'other'], transport: 'events',
      onmessages: (messages) => window.got.push(...messages.map((message) => message.data)),
    });
    window.reader.start();
  });
  const count = 3000;
  let next = 0;
  const publish = (async () => {
    while (next < count) {
      const texts = Array.from({ length: 20 }, () => String(next++));
      await stack.publish(texts, { channel: next % 3 ? 'moving' : 'other' });
    }
  })();
  for (let round = 0; next < count; round++) {
    const from = await page.evaluate(() => window.got.length);
    await page.evaluate((name) => window.reader.setTransport(name), WAYS[round % WAYS.length]);
    await until('it reads on', async () => next >= count || await page.evaluate((n) => window.got.length > n, from));
  }
  await publish;
  for (const name of WAYS) { // each of them once more, in quiet
    await page.evaluate((way) => window.reader.setTransport(way), name);
    await until(`it waits by ${name}`, () => page.evaluate((way) => {
      const { phase, transport } = window.reader.state();
      return phase === 'waiting' && transport === way;
    }, name), { within: WAIT_MS });
    await stack.publish([String(next++)], { channel: 'moving' });
    await until('it is there', () => page.evaluate((n) => window.got.length >= n, next), { within: WAIT_MS });
  }
  assert.deepEqual(await page.evaluate(() => window.got), Array.from({ length: next }, (_, n) => String(n)));
});

throughBoth('the page says what the web server carries', async (t, server) => {
  const stack = await startStack(t, { server });
  const ways = await openWays(t, stack);
  await ways.probed('works', 'works', 'works', 'works', 'works');
  await ways.says('#choice', /reads by WebSocket here/);
  const board = await openPage(t, `${stack.origin}/`);
  await board.page.locator('#state[data-phase=waiting]').waitFor();
  await board.says('[data-show=transport]', /^WebSocket$/);
});

throughBoth('the page says what is buffered, refused or silent, and asks again when it is told to', async (t, server) => {
  const stack = await startStack(t, { server });
  const proxy = await badProxy(t, stack, { streaming: 'refuse', iframe: 'buffer', events: 'buffer', websocket: 'hang' });
  const ways = await openWays(t, stack, {
    origin: proxy.origin, outage: true, prepare: (page) => page.clock.install(),
  });
  await until('the last one is tried', () => proxy.asked.websocket === 1, { within: WAIT_MS });
  await ways.page.clock.fastForward(10_000);
  await ways.probed('works', 'refused', 'buffered', 'buffered', 'silent');
  await ways.says('#choice', /reads by Long polling here/);
  await ways.says('#carried', /buffered by the server/);
  await ways.says('#carried', /refused: 404/);
  await ticker(stack, ['1']);
  await ways.shows('Server says: 1');
  proxy.treats = { websocket: 'refuse', iframe: 'refuse', events: 'refuse' };
  await ways.page.getByRole('button', { name: 'Check again' }).click();
  await ways.probed('works', 'works', 'refused', 'refused', 'refused');
  await ways.says('#choice', /reads by Streaming here/);
});

throughBoth('on a phone no tab is wider than the screen', async (t, server) => {
  const stack = await startStack(t, { server });
  const ways = await openWays(t, stack, {
    viewport: { width: 360, height: 740 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true,
  });
  const fits = () => ways.page.evaluate(() => document.documentElement.scrollWidth <= window.innerWidth);
  for (const name of WAYS) {
    await ways.tab(name).tap();
    await ways.phase('waiting');
    await ticker(stack, ['w'.repeat(3000), '17']);
    await until('they are there', async () => (await ways.lines()).length >= 2);
    assert.ok(await fits(), name);
  }
  await ways.page.setViewportSize({ width: 320, height: 568 });
  assert.ok(await fits(), 'nor on a very small one');
});

throughBoth('a page without jQuery says so, with every way too', async (t, server) => {
  const stack = await startStack(t, { server });
  const ways = await openWays(t, stack, {
    phase: null, outage: true,
    prepare: (page) => page.route('**/jquery.min.js', (route) => route.fulfill({ status: 404, body: '' })),
  });
  await ways.page.getByRole('alert').filter({ hasText: 'jQuery did not load' }).waitFor();
});
