// The demo page in a real Chromium, behind a real web server, with the real daemon. What it shows is compared with
// what the log holds; a page error, a console error or a Content-Security-Policy violation fails the test, but for
// the failed requests of an outage that the test itself makes.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { openBoard, WAIT_MS } from './lib/browser.mjs';
import { defer, startStack, throughBoth, until } from './lib/harness.mjs';

// A create that needs no web server.
async function createByItself(stack, data, channel = 'main') {
  const answer = await stack.raw({ method: 'POST', uri: `/comet/create?channel=${channel}`, body: data, type: 'text/plain' });
  assert.equal(answer.status, 200, answer.body);
  return answer.json().id;
}

// The page's waits are a random part of more and more; with this the part is known.
const randomIs = (part) => (page) => page.addInitScript((value) => { Math.random = () => value; }, part);

function removeLog(stack) {
  const base = path.basename(stack.db);
  for (const name of fs.readdirSync(stack.dir))
    if (name === base || name.startsWith(`${base}-`)) fs.rmSync(path.join(stack.dir, name));
}

throughBoth('a message that curl creates is in the page with the answer to the request held', async (t, server) => {
  const stack = await startStack(t, { server });
  const board = await openBoard(t, stack);
  await stack.holds(1);
  const before = await board.figure('requests');
  const id = await stack.create('hello');
  await board.shows('hello');
  assert.equal((await board.shown())[0].id, id);
  await until('it waits again', async () => (await board.figure('requests')) === before + 1);
  await board.phase('waiting');
  assert.equal(await board.page.locator('[data-show=outcome]').textContent(), '[state: success ]');
  assert.equal(await board.page.locator('[data-show=id]').textContent(), id);
  const line = await board.page.locator('#curl').textContent();
  assert.equal(line, `curl -d msg=hello ${stack.url}/create`);
});

throughBoth('a page that is opened later shows what is retained, in order, by as many answers as it takes', async (t, server) => {
  const stack = await startStack(t, { server });
  const many = 1500; // more than one answer's limit, more than is shown
  for (let n = 0; n < many; n += 50)
    await Promise.all(Array.from({ length: 50 }, (_, i) => createByItself(stack, `number ${n + i}`)));
  const board = await openBoard(t, stack);
  await until('all are received', async () => (await board.figure('received')) === many);
  const log = (await stack.all({ channel: 'main' })).map((message) => message.id);
  assert.equal(log.length, many);
  assert.deepEqual((await board.shown()).map((row) => row.id), log.slice(-500), 'the newest 500, in the order of the log');
  await stack.create('one more');
  await until('it is the last', async () => (await board.texts()).at(-1) === 'one more');
  assert.equal((await board.shown()).length, 500, 'the inbox does not grow beyond its bound');
});

throughBoth('the box sends its text, Enter too, and the button has the server make one up', async (t, server) => {
  const stack = await startStack(t, { server });
  const board = await openBoard(t, stack);
  const box = board.page.getByLabel('Message', { exact: true });
  await board.send('from the box');
  await board.shows('from the box');
  await board.says('#sent', /^Stored in main as /);
  assert.equal(await box.inputValue(), '', 'a text that was stored leaves the box');
  await box.press('Shift+Enter');
  await box.pressSequentially('two');
  await box.press('Shift+Enter');
  await box.pressSequentially('lines + 100 % & more ?? ü €');
  await box.press('Enter');
  await board.shows('from the box', '\ntwo\nlines + 100 % & more ?? ü €');
  await board.page.getByLabel('to', { exact: true }).selectOption('news');
  await board.page.getByRole('button', { name: 'Random' }).click();
  await until('a third message', async () => (await board.texts()).length === 3);
  const last = (await board.shown()).at(-1);
  assert.match(last.data, /^[A-Z0-9]{6}$/);
  assert.equal(last.channel, 'news');
  assert.equal(await board.page.locator('#curl').textContent(), `curl -d msg=hello -d channel=news ${stack.url}/create`);
});

throughBoth('half a character in a message is stored as U+FFFD, and all the rest of it as it is', async (t, server) => {
  const stack = await startStack(t, { server });
  const board = await openBoard(t, stack);
  for (const [said, stored] of [
    ['ha\ud83d', 'ha\ufffd'],
    ['\ude00lf', '\ufffdlf'],
    ['a whole one \ud83d\ude00 & + % = ?? \u0001\n', 'a whole one \ud83d\ude00 & + % = ?? \u0001\n'],
    [0, '0'],
    ['', /^[A-Z0-9]{6}$/], // none is made up
  ]) {
    const id = await board.page.evaluate(
      async (message) => (await window.Encke.create({ base: 'comet/', message })).id, said);
    const [message] = (await stack.all()).slice(-1);
    assert.equal(message.id, id);
    if (stored instanceof RegExp) assert.match(message.data, stored);
    else assert.equal(message.data, stored);
  }
});

throughBoth('what a message contains is shown as text and never runs', async (t, server) => {
  const stack = await startStack(t, { server });
  const board = await openBoard(t, stack);
  const texts = [
    '<script>window.ran = 1</script>', '<img src=x onerror="window.ran = 2">', '<svg onload="window.ran = 3">',
    '</div></li><b>bold</b>', '&lt;i&gt; &amp; & "quotes" \'single\'', 'javascript:window.ran=4',
    '{"html":"<b>x</b>"}', '\u202e reversed \u2028 \u2029', '<a href="javascript:window.ran=5">x</a>',
  ];
  for (const text of texts) {
    const answer = await stack.http('create', {
      method: 'POST', headers: { 'Content-Type': 'application/x-www-form-urlencoded' },
      body: `msg=${encodeURIComponent(text)}`,
    });
    assert.equal(answer.status, 200, answer.body);
  }
  await board.shows(...texts);
  await board.send('<img src=y onerror="window.ran = 6"><script>window.ran = 7</script>');
  await until('the sent one is there', async () => (await board.texts()).length === texts.length + 1);
  const made = await board.page.$$eval('#messages *', (all) => [...new Set(all.map((one) => one.localName))].sort());
  assert.deepEqual(made, ['div', 'li', 'span', 'time'], 'only the page\'s own elements');
  assert.equal(await board.page.evaluate(() => window.ran), undefined);
});

throughBoth('a channel that is picked brings its history, and one that is left goes', async (t, server) => {
  const stack = await startStack(t, { server });
  await stack.create('main one');
  await stack.create('random one', { channel: 'random' });
  await stack.create('other one', { channel: 'other.1' });
  const board = await openBoard(t, stack);
  await stack.create('news one', { channel: 'news' });
  await board.shows('main one', 'news one');
  await stack.create('random two', { channel: 'random' }); // newer than the cursor of main and news: it comes twice
  await board.pick('random');
  await board.shows('main one', 'random one', 'news one', 'random two');
  await board.pick('main', false);
  await board.shows('random one', 'news one', 'random two');
  await stack.create('main two');
  await stack.create('news two', { channel: 'news' });
  await board.shows('random one', 'news one', 'random two', 'news two');
  await board.pick('main');
  await board.shows('main one', 'random one', 'news one', 'random two', 'main two', 'news two');

  const name = board.page.getByLabel('Another channel');
  await name.fill('not a name');
  await name.press('Enter');
  await board.says('#add-hint', /1 to 64/);
  await name.fill('other.1');
  await name.press('Enter');
  await board.shows('main one', 'random one', 'other one', 'news one', 'random two', 'main two', 'news two');
  assert.equal(new URL(board.page.url()).hash, '#main,news,random,other.1');

  for (const left of ['main', 'news', 'random', 'other.1']) await board.pick(left, false);
  await board.phase('idle');
  await board.shows();
  if (server === 'nginx') await stack.holds(0); // lighttpd does not always tell that a browser went
  await board.pick('news');
  await board.shows('news one', 'news two');
});

throughBoth('what comes while a channel\'s history is read is missed on no channel', async (t, server) => {
  const stack = await startStack(t, { server });
  const board = await openBoard(t, stack);
  await stack.create('one');
  await stack.create('history', { channel: 'random' });
  await board.shows('one');
  await board.page.route('**/comet/update', async (route) => {
    const channels = new URLSearchParams(route.request().postData()).getAll('channel');
    if (channels.join() === 'random') { // before its answer, so that the answer's cursor is past them
      await createByItself(stack, 'two');
      await createByItself(stack, 'three', 'random');
      await createByItself(stack, 'four', 'news');
    }
    await route.continue();
  });
  await board.pick('random');
  await until('all are there', async () => (await board.texts()).includes('four'));
  await stack.create('five');
  await until('all are there', async () => (await board.texts()).includes('five'));
  assert.deepEqual((await board.texts()).sort(), ['five', 'four', 'history', 'one', 'three', 'two']);
});

throughBoth('after kill -9 and a new start all is there, once and in order, and what is sent meanwhile is not lost', async (t, server) => {
  const stack = await startStack(t, { server });
  const board = await openBoard(t, stack);
  board.outage = true;
  const expected = [];
  for (let round = 1; round <= 3; round++) {
    await stack.create(`before ${round}`);
    expected.push(`before ${round}`);
    await board.shows(...expected);
    await stack.daemon.kill('SIGKILL');
    await board.phase('disconnected');
    await board.says('[data-show=phase]', /Disconnected|Reconnecting/);

    const text = `sent while it was down ${round}`;
    await board.send(text);
    await board.says('#sent', /ot stored.*: /);
    const box = board.page.getByLabel('Message', { exact: true });
    assert.equal(await box.inputValue(), text, 'the text stays in the box');

    await stack.daemon.start();
    await createByItself(stack, `after ${round}`);
    expected.push(`after ${round}`);
    await until('a press on "Retry now" brings it back', async () => {
      if ((await board.texts()).length === expected.length) return true;
      await board.page.$eval('[data-show=retry]', (button) => button.click());
      return false;
    }, { every: 500 }); // lighttpd leaves a backend that failed alone for a second
    await board.shows(...expected);
    await board.phase('waiting');
    await board.page.getByRole('button', { name: 'Send' }).click();
    expected.push(text);
    await board.shows(...expected);
  }
  const log = await stack.all({ channel: ['main', 'news'] });
  assert.deepEqual((await board.shown()).map((row) => row.id), log.map((message) => message.id));
});

throughBoth('after a restart of the web server all that came meanwhile arrives, once and in order', async (t, server) => {
  const stack = await startStack(t, { server });
  const board = await openBoard(t, stack);
  board.outage = true;
  await stack.create('before');
  await board.shows('before');
  await stack.web.stop();
  await board.phase('disconnected');
  const expected = ['before'];
  for (let n = 0; n < 20; n++) {
    await createByItself(stack, `meanwhile ${n}`, n % 3 ? 'main' : 'news');
    expected.push(`meanwhile ${n}`);
  }
  await stack.web.start();
  await board.shows(...expected); // by itself: nobody presses anything
  await board.phase('waiting');
  await stack.create('after');
  await board.shows(...expected, 'after');
});

throughBoth('a daemon that stops in order is no error that lasts', async (t, server) => {
  const stack = await startStack(t, { server });
  const board = await openBoard(t, stack);
  await stack.create('before');
  await board.shows('before');
  await stack.holds(1);
  board.outage = true;
  await stack.daemon.stop();
  await board.phase('disconnected');
  await stack.daemon.start();
  await createByItself(stack, 'after');
  await board.shows('before', 'after');
});

throughBoth('in an outage it asks more and more seldom, and at once when the network is back', async (t, server) => {
  const stack = await startStack(t, { server });
  const board = await openBoard(t, stack, {
    prepare: async (page) => { await page.clock.install(); await randomIs(1 - 2 ** -20)(page); },
  });
  await stack.holds(1);
  board.outage = true;
  await board.page.clock.pauseAt(Date.now() + 30_000); // from here on time passes only where the test says so
  await stack.web.stop();
  const waits = [];
  for (let failures = 1; failures <= 8; failures++) {
    await board.phase('disconnected');
    waits.push(Number(/reconnecting in (\d+) s/.exec(await board.page.locator('[data-show=countdown]').textContent())[1]));
    const asked = board.updates;
    await board.page.clock.fastForward(1000 * waits.at(-1) - 500);
    await board.phase('disconnected');
    assert.equal(board.updates, asked, 'it asks before the wait is over');
    await until('it asks again', async () => {
      await board.page.clock.runFor(50);
      return board.updates === asked + 1;
    });
    await board.says('[data-show=outcome]', /no answer from the server/);
  }
  assert.deepEqual(waits, [1, 2, 4, 8, 16, 30, 30, 30]);
  await stack.web.start();
  await createByItself(stack, 'the network is back');
  await board.phase('disconnected');
  await board.page.evaluate(() => window.dispatchEvent(new Event('online')));
  await board.shows('the network is back'); // the clock stands still: no wait has ended
  await board.phase('waiting');
  await stack.web.stop();
  await board.phase('disconnected');
  await stack.web.start();
  await createByItself(stack, 'somebody looks at it');
  await board.page.evaluate(() => document.dispatchEvent(new Event('visibilitychange')));
  await board.shows('the network is back', 'somebody looks at it');
});

throughBoth('a server that names a time to come back is left alone for that long', async (t, server) => {
  const stack = await startStack(t, { server, args: ['--max-holds', '1'], allow: [/1 requests are held, the limit/] });
  const taken = stack.update({ id: 'now', channel: 'taken' });
  await stack.holds(1);
  const waits = [];
  const board = await openBoard(t, stack, {
    phase: null, outage: true,
    prepare: async (page) => {
      await page.clock.install();
      await randomIs(0.999)(page);
      page.on('response', (answer) => { if (answer.status() === 503) waits.push(Number(answer.headers()['retry-after'])); });
    },
  });
  await board.says('[data-show=countdown]', /reconnecting in \d+ s/);
  assert.ok(waits[0] >= 1, `Retry-After: ${waits[0]}`);
  const left = Number(/\d+/.exec(await board.page.locator('[data-show=countdown]').textContent())[0]);
  assert.ok(left >= waits[0] - 1 && left <= waits[0] + 1, `reconnecting in ${left} s, asked to wait for ${waits[0]} s`);
  assert.match(await board.page.locator('[data-show=outcome]').textContent(), /^\[state: .+ \]$/);
  await createByItself(stack, 'the place is free', 'taken');
  await taken;
  await stack.holds(0);
  await board.page.clock.fastForward(1000 * (waits[0] + 1));
  await board.phase('waiting');
  await stack.holds(1);
  await stack.create('room again');
  await board.shows('room again');
});

throughBoth('a daemon that says nothing any more is noticed, and so is its return', async (t, server) => {
  const stack = await startStack(t, { server });
  const board = await openBoard(t, stack, { prepare: (page) => page.clock.install() });
  await stack.create('before');
  await board.shows('before');
  await stack.holds(1);
  board.outage = true;
  process.kill(stack.daemon.pid, 'SIGSTOP');
  defer(t, () => { if (!stack.daemon.process.ended) process.kill(stack.daemon.pid, 'SIGCONT'); });
  const asked = board.updates;
  await board.page.clock.fastForward(70_000);
  assert.equal(board.updates, asked, 'a hold may take its minute');
  await board.page.clock.fastForward(10_000); // longer than any hold: it asks for an answer at once
  await until('it asks again', () => board.updates === asked + 1);
  await board.page.clock.fastForward(20_000);
  await board.says('[data-show=outcome]', /no answer within 15 s/);
  await board.phase('disconnected');
  process.kill(stack.daemon.pid, 'SIGCONT');
  await board.page.$eval('[data-show=retry]', (button) => button.click()); // it may be back by itself already
  await board.phase('waiting');
  await stack.create('after');
  await board.shows('before', 'after');
});

throughBoth('a log that was replaced by a new one is told as a gap, and nothing of either is lost or doubled', async (t, server) => {
  const stack = await startStack(t, { server });
  const board = await openBoard(t, stack);
  await stack.create('old one');
  await stack.create('old two', { channel: 'news' });
  await board.shows('old one', 'old two');
  await stack.holds(1);
  board.outage = true;
  await stack.daemon.stop();
  await board.phase('disconnected');
  removeLog(stack);
  await stack.daemon.start();
  await createByItself(stack, 'new one');
  await until('the new message is there', async () => (await board.texts()).includes('new one'));
  const texts = await board.texts();
  assert.deepEqual([texts[0], texts[1], texts[3], texts.length], ['old one', 'old two', 'new one', 4]);
  assert.match(texts[2], /gap/);
  await stack.create('new two');
  await until('and the next', async () => (await board.texts()).at(-1) === 'new two');
});

throughBoth('what retention deleted while nobody looked is told as a gap, and what is known is not shown twice', async (t, server) => {
  const stack = await startStack(t, { server, args: ['--keep-messages', '5'] });
  const board = await openBoard(t, stack);
  await stack.create('news stays', { channel: 'news' });
  await stack.create('seen before');
  await board.shows('news stays', 'seen before');
  board.outage = true;
  await stack.web.stop();
  await board.phase('disconnected');
  for (let n = 0; n < 20; n++) await createByItself(stack, `meanwhile ${n}`);
  await stack.web.start();
  await until('only five are kept', async () => (await stack.all({ channel: 'main' })).length === 5);
  await board.page.evaluate(() => window.dispatchEvent(new Event('online')));
  await until('the last is there', async () => (await board.texts()).at(-1) === 'meanwhile 19');
  const shown = await board.shown();
  const ids = shown.filter((row) => row.id).map((row) => row.id);
  assert.equal(new Set(ids).size, ids.length, 'none twice');
  assert.deepEqual(shown.slice(0, 2).map((row) => row.data), ['news stays', 'seen before']);
  const log = (await stack.all({ channel: 'main' })).map((message) => message.id);
  assert.deepEqual(ids.slice(-5), log);
  if (ids.length < 22) assert.match(shown[2].notice, /gap/); // unless it came back before they were deleted
});

// Lets the page's creates reach the server, and loses the answers of the first ones.
async function loseAnswers(page, count) {
  const lost = { count, asked: 0 };
  await page.route('**/create*', async (route) => {
    const answer = await route.fetch();
    assert.equal(answer.status(), 200);
    if (lost.asked++ < lost.count) await route.abort();
    else await route.fulfill({ response: answer });
  });
  return lost;
}

throughBoth('a message whose answer is lost is sent again by itself, and stored once', async (t, server) => {
  const stack = await startStack(t, { server });
  const board = await openBoard(t, stack, { outage: true });
  const lost = await loseAnswers(board.page, 2);
  await board.send('sent three times');
  await board.says('#sent', /^Stored in main as /);
  assert.equal(lost.asked, 3);
  await board.send('and another');
  await board.shows('sent three times', 'and another');
  assert.equal((await stack.status()).creates, 2);
});

throughBoth('if no answer comes at all, the text stays, and is stored once when it is sent again', async (t, server) => {
  const stack = await startStack(t, { server });
  const board = await openBoard(t, stack, { outage: true });
  const lost = await loseAnswers(board.page, Infinity);
  await board.send('perhaps');
  await board.says('#sent', /^Perhaps not stored: .* Send it again: it is stored once\.$/);
  assert.equal(lost.asked, 4);
  assert.equal(await board.page.getByLabel('Message', { exact: true }).inputValue(), 'perhaps');
  lost.count = 0;
  await board.send('perhaps');
  await board.says('#sent', /^Stored in main as /);
  assert.equal((await stack.status()).creates, 1);
  await board.send('perhaps'); // now it is meant as another one
  await board.shows('perhaps', 'perhaps');
  lost.count = Infinity;
  await board.page.getByRole('button', { name: 'Random' }).click();
  await board.says('#sent', /^Perhaps not stored: .* Look before you send again\.$/);
  assert.equal(lost.asked, 7);
});

throughBoth('where the web server lets nobody publish, the page says so in plain words', async (t, server) => {
  const stack = await startStack(t, { server, webConfig: {
    nginx: (text) => text.replace(/allow 127[.]0[.]0[.]1;/g, ''), lighttpd: (text) => text.replaceAll('127\\.0\\.0\\.1|', ''),
  } });
  const board = await openBoard(t, stack);
  board.outage = true; // Chromium reports a 403 as a failed resource
  await board.send('from elsewhere');
  await board.says('#sent', /^Not stored \(403\): this server does not take messages from here\. Its configuration says who may publish\.$/);
  assert.equal(await board.page.getByLabel('Message', { exact: true }).inputValue(), 'from elsewhere');
  assert.equal((await stack.status()).creates, 0);
});

throughBoth('a message that is refused stays in the box, with the server\'s reason', async (t, server) => {
  const stack = await startStack(t, { server, args: ['--max-message', '100'] });
  const board = await openBoard(t, stack);
  board.outage = true; // Chromium reports a 413 as a failed resource
  const long = 'x'.repeat(101);
  const refused = await stack.http('create', { method: 'POST', headers: { 'Content-Type': 'text/plain' }, body: long });
  assert.equal(refused.status, 413);
  await board.send(long);
  await board.says('#sent', /^Not stored \(413\): /);
  const said = await board.page.locator('#sent').textContent();
  assert.ok(said.includes(refused.json().error), `${said} has ${refused.json().error}`);
  const box = board.page.getByLabel('Message', { exact: true });
  assert.equal(await box.inputValue(), long);
  await box.press('End');
  await box.press('Backspace');
  await box.press('Enter');
  await board.shows('x'.repeat(100));
  assert.equal(await box.inputValue(), '');
});

throughBoth('who has scrolled up keeps the same lines in view, and is told of what is new', async (t, server) => {
  const stack = await startStack(t, { server });
  for (let n = 0; n < 480; n++) await createByItself(stack, `line ${n}`);
  const board = await openBoard(t, stack);
  const { page } = board;
  const line = page.locator('#messages li', { hasText: /line 300$/ });
  const place = () => line.evaluate((item) => Math.round(item.getBoundingClientRect().top));
  const atEnd = () => page.$eval('#inbox', (box) => box.scrollHeight - box.scrollTop - box.clientHeight < 2);
  assert.ok(await atEnd(), 'it opens at the end');
  await stack.create('line 480');
  await until('it is there', async () => (await board.texts()).at(-1) === 'line 480');
  assert.ok(await atEnd(), 'and stays there');
  await line.scrollIntoViewIfNeeded();
  const before = await place();
  for (let n = 481; n < 540; n++) await createByItself(stack, `line ${n}`); // the oldest lines go meanwhile
  await until('all are there', async () => (await board.texts()).at(-1) === 'line 539');
  assert.equal((await board.texts()).length, 500);
  assert.equal(await place(), before);
  const jump = page.getByRole('button', { name: '59 new messages' });
  await jump.click();
  await until('the end is in view', atEnd);
  await jump.waitFor({ state: 'hidden' });
});

throughBoth('on a phone nothing is wider than the screen', async (t, server) => {
  const stack = await startStack(t, { server });
  const board = await openBoard(t, stack, {
    viewport: { width: 360, height: 740 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true,
    picks: ['main', 'news', 'random', 'a'.repeat(64)],
  });
  await stack.create('w'.repeat(3000));
  await stack.create('https://example.org/' + 'a/'.repeat(200), { channel: 'a'.repeat(64) });
  await board.send('tapped '.repeat(20));
  await until('three messages', async () => (await board.texts()).length === 3);
  board.outage = true;
  const { page } = board;
  const fits = () => page.evaluate(() => document.documentElement.scrollWidth <= window.innerWidth
    && document.querySelector('#inbox').scrollWidth <= document.querySelector('#inbox').clientWidth);
  assert.ok(await fits());
  await stack.daemon.kill('SIGKILL');
  await board.phase('disconnected');
  assert.ok(await fits(), 'nor when it is disconnected');
  await page.setViewportSize({ width: 320, height: 568 });
  assert.ok(await fits(), 'nor on a very small one');
  await stack.daemon.start();
});

throughBoth('a page without jQuery says so', async (t, server) => {
  const stack = await startStack(t, { server });
  const board = await openBoard(t, stack, {
    phase: null, outage: true,
    prepare: (page) => page.route('**/jquery.min.js', (route) => route.fulfill({ status: 404, body: '' })),
  });
  await board.page.getByRole('alert').filter({ hasText: 'jQuery did not load' }).waitFor();
});

async function killAndRestart(t, server, by) {
  const stack = await startStack(t, { server });
  const channels = ['main', 'news', 'random', 'four'];
  const board = await openBoard(t, stack, { picks: channels, by });
  board.outage = true;
  let sent = 0;
  let going = true;
  const publish = (async () => { // what a create that failed has left is the log's to say
    while (going && sent < 400) {
      await createByItself(stack, `n ${sent}`, channels[Math.floor(Math.random() * channels.length)])
        .then(() => { sent++; }, () => new Promise((next) => { setTimeout(next, 5); }));
    }
  })();
  try {
    for (let round = 1; round <= 4; round++) {
      for (let i = 0; i < 6; i++)
        await board.pick(channels[Math.floor(Math.random() * channels.length)], Math.random() < 0.5);
      await until('some more are sent', () => sent >= round * 80);
      if (round % 2) {
        await stack.daemon.kill('SIGKILL');
        await stack.daemon.start();
      } else {
        await stack.web.stop();
        await stack.web.start();
      }
    }
    for (const name of channels) await board.pick(name);
    await publish;
  } finally {
    going = false;
    await publish;
  }
  const log = await stack.all({ channel: channels });
  await until('all are shown', async () => (await board.shown()).length >= log.length, { within: WAIT_MS });
  const shown = await board.shown();
  for (const name of channels) {
    const of = (rows) => rows.filter((row) => row.channel === name).map((row) => row.id);
    assert.deepEqual(of(shown), of(log), `channel ${name}`);
  }
}

for (const by of ['long-polling', 'streaming', 'iframe', 'events', 'websocket', 'auto']) {
  throughBoth(`whatever is picked, killed and restarted meanwhile, each message is shown once and in its order, by ${by}`,
    (t, server) => killAndRestart(t, server, by));
}
