// Pictures of the pages, to be looked at: wide and phone, light and dark. The board empty, busy, with a gap, and cut
// off; every way of comet, a picture a tab, and behind a proxy that carries little.
//
//   SHOTS=dir node --test screenshots.mjs
//
// Not a test (its name keeps it out of `npm test`), but it runs the same real servers.
import fs from 'node:fs';
import path from 'node:path';
import { chromium } from 'playwright-core';
import { claim, startStack } from './lib/harness.mjs';
import { badProxy } from './lib/proxy.mjs';

const DIR = process.env.SHOTS ?? fs.mkdtempSync('/tmp/encke-shots-');
const SCREENS = {
  wide: { viewport: { width: 1280, height: 800 } },
  tablet: { viewport: { width: 768, height: 1024 } },
  phone: { viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true },
};
const TALK = [
  ['news', 'Encke is in perihelion: 0.34 AU from the Sun, back after 3.3 years'],
  ['main', 'Good morning!'],
  ['main', 'Did anybody see it?'],
  ['news', 'deploy of www-2 finished in 42 s'],
  ['random', undefined],
  ['main', 'Not yet. Clouds.\nPerhaps tonight, low in the west, half an hour after sunset, with binoculars and some'
    + ' patience, if the horizon is free.'],
  ['news', '{"sensor": "roof", "temperature": 3.5, "wind": "NW 4"}'],
  ['main', '<b>bold</b> & <script>alert("hello")</script> is only text here'],
  ['random', undefined],
  ['main', 'مرحبا بالعالم'],
  ['news', 'backup: 12 GiB, 0 errors'],
];

for (const [screen, context] of Object.entries(SCREENS)) {
  for (const colorScheme of ['light', 'dark']) {
    claim(`${screen}, ${colorScheme}`, async (t) => {
      const stack = await startStack(t, { server: 'nginx' });
      const browser = await chromium.launch({
        executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: ['--no-sandbox', '--disable-gpu'],
      });
      t.after(() => browser.close());
      const page = await (await browser.newContext({ ...context, colorScheme, locale: 'en-GB' })).newPage();
      const shoot = async (name) => {
        await page.evaluate(() => Promise.all(document.getAnimations().map((one) => one.finished)));
        await page.screenshot({ path: path.join(DIR, `${screen}-${colorScheme}-${name}.png`), fullPage: true });
      };
      const phase = (name) => page.locator(`#state[data-phase="${name}"]`).waitFor();

      await page.goto(`${stack.origin}/#main,news,random`);
      await phase('waiting');
      await shoot('empty');
      for (const [channel, text] of TALK) await stack.create(text, { channel });
      await page.locator('#text').fill('Hello from the page');
      await page.locator('#submit').click();
      await page.locator('#sent.good').waitFor();
      await page.locator('#messages li').nth(TALK.length).waitFor();
      await shoot('busy');

      await stack.daemon.stop();
      await phase('disconnected');
      for (const file of ['', '-wal', '-shm', '.lock']) fs.rmSync(stack.db + file, { force: true });
      await stack.daemon.start();
      await stack.create('The first message of a new log');
      await page.locator('#messages .notice + li').waitFor();
      await phase('waiting');
      await shoot('gap');

      await stack.daemon.kill('SIGKILL');
      await phase('disconnected');
      await page.locator('#text').fill('Is anybody there?');
      await page.locator('#submit').click();
      await page.locator('#sent.bad').waitFor();
      await phase('disconnected');
      await shoot('cut-off');
      await stack.daemon.start();
      await phase('waiting');

      for (const way of ['long-polling', 'streaming', 'iframe', 'events', 'websocket']) {
        await page.goto(`${stack.origin}/ways.html#${way}`);
        await page.locator('.way:not([hidden]) .state[data-phase=waiting]').waitFor();
        if (way === 'long-polling') await shoot('way-empty');
        await stack.publish(['417', '23', '868'], { channel: 'ticker' });
        await page.locator('.way:not([hidden]) .lines li').nth(2).waitFor();
        if (way === 'websocket') {
          await page.locator('.echo input').fill('hello');
          await page.locator('.echo button').click();
          await page.locator('.echoed').waitFor();
          await stack.publish(['5', 'A text that is much longer than a number, as anybody may say one. '.repeat(3)],
            { channel: 'ticker' });
          await page.locator('.way:not([hidden]) .lines li').nth(5).waitFor();
        }
        if (way === 'events') await page.locator('#again:not([aria-disabled])').waitFor();
        await shoot(`way-${way}`);
      }
      const proxy = await badProxy(t, stack, { streaming: 'buffer', iframe: 'buffer', events: 'refuse', websocket: 'refuse' });
      await page.goto(`${proxy.origin}/ways.html#websocket`);
      await page.locator('#again:not([aria-disabled])').waitFor();
      await page.locator('.way:not([hidden]) .state[data-phase=disconnected]').waitFor();
      await shoot('way-refused');
    });
  }
}
console.log(`pictures: ${DIR}`);
