// A page in a real Chromium. A page error, a console error or a Content-Security-Policy violation fails the test, but
// for the failed requests of an outage that the test itself makes.
import assert from 'node:assert/strict';
import { after } from 'node:test';
import { chromium } from 'playwright-core';
import { defer, until } from './harness.mjs';

const CHROMIUM = process.env.CHROMIUM ?? '/usr/bin/chromium';
const FLAGS = [
  '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync',
];
export const WAIT_MS = 60_000; // how long a condition may take until the test gives up: no claim about speed

let launching = null; // one for all, also for those who ask at the same time
after(async () => (await launching)?.close());

// What Chromium itself says of requests that fail.
const FAILED = /^Failed to load resource|^WebSocket connection to .* failed/;

// {page, tab, requests, outage, faults, says}. `requests` counts them by the last segment of their path.
export async function openPage(t, url, { prepare, outage = false, ...context } = {}) {
  launching ??= chromium.launch({ executablePath: CHROMIUM, args: FLAGS });
  const browser = await launching;
  const tab = await browser.newContext({ viewport: { width: 1280, height: 800 }, locale: 'en-GB', ...context });
  const page = await tab.newPage();
  page.setDefaultTimeout(WAIT_MS);
  const opened = { page, tab, requests: {}, outage, faults: [] };

  page.on('pageerror', (error) => opened.faults.push(`page error: ${error.message}`));
  page.on('console', (line) => {
    if (!['error', 'warning'].includes(line.type()) || (opened.outage && FAILED.test(line.text()))) return;
    opened.faults.push(`console: ${line.text()}`);
  });
  const count = (at) => {
    const name = new URL(at).pathname.split('/').at(-1);
    opened.requests[name] = (opened.requests[name] ?? 0) + 1;
  };
  page.on('request', (request) => count(request.url()));
  page.on('websocket', (socket) => count(socket.url()));
  defer(t, async () => {
    await tab.close();
    assert.deepEqual(opened.faults, [], 'the page had errors');
  });
  opened.says = (selector, pattern) => until(`${selector} says ${pattern}`, async () => (
    pattern.test(await page.locator(selector).textContent())), { within: WAIT_MS });
  await prepare?.(page);
  await page.goto(url);
  return opened;
}

// The board in a tab of its own, reading by long poll. `picks` are the channels in its address.
export async function openBoard(t, stack, { picks, by = 'long-polling', phase = 'waiting', origin = stack.origin, ...options } = {}) {
  const at = `${origin}/?by=${by}${picks ? `#${picks.join(',')}` : ''}`;
  const board = await openPage(t, at, options);
  const { page } = board;
  Object.defineProperty(board, 'updates', { get: () => board.requests.update ?? 0 });

  // What the inbox shows, from top to bottom.
  board.shown = () => page.$$eval('#messages li', (items) => items.map((item) => (
    item.classList.contains('notice') ? { notice: item.textContent } : {
      id: item.dataset.id, channel: item.querySelector('.tag').textContent,
      data: item.querySelector('.nothing') ? '' : item.querySelector('.text').textContent,
    })));
  board.texts = async () => (await board.shown()).map((row) => row.notice ?? row.data);
  board.shows = async (...texts) => {
    let seen;
    await until(`the inbox shows ${JSON.stringify(texts)}`, async () => {
      seen = await board.texts();
      return JSON.stringify(seen) === JSON.stringify(texts);
    }, { within: WAIT_MS }).catch((error) => {
      throw new Error(`${error.message}; it shows ${JSON.stringify(seen)}`, { cause: error });
    });
  };
  board.phase = (phase) => page.locator(`#state[data-phase="${phase}"]`).waitFor();
  board.figure = async (id) => Number(await page.locator(`[data-show=${id}]`).textContent());
  board.send = async (text) => {
    await page.getByLabel('Message', { exact: true }).fill(text);
    await page.getByRole('button', { name: 'Send' }).click();
  };
  board.pick = (name, on = true) => page.getByRole('checkbox', { name, exact: true }).setChecked(on);

  if (phase) await board.phase(phase);
  return board;
}
