// GET events, read by the libraries that pages use for it: what each hands to the page is what was
// published, and nothing else, through ends of the stream too.
import assert from 'node:assert/strict';
import fetchEvents from '@microsoft/fetch-event-source';
import polyfill from 'event-source-polyfill';
import { EventSource } from 'eventsource';
import { defer, startStack, throughBoth, until } from './lib/harness.mjs';

// What fetch-event-source wants of a page.
globalThis.window ??= globalThis;
globalThis.document ??= { hidden: false, addEventListener() {}, removeEventListener() {} };

function listen(source, hear) {
  for (const type of ['message', 'cursor', 'reset'])
    source.addEventListener(type, ({ data, lastEventId: id }) => hear({ type, data, id }));
  return () => source.close();
}

// Each reads url and calls hear({type, data, id}) for all that it would hand to a page. Returns what
// ends it.
const CLIENTS = {
  eventsource: (url, hear) => listen(new EventSource(url), hear),
  'event-source-polyfill'(url, hear) {
    const options = { lastEventIdQueryParameterName: 'id' };
    return listen(new polyfill.EventSourcePolyfill(url, options), hear);
  },
  'fetch-event-source'(url, hear) {
    const controller = new AbortController();
    fetchEvents.fetchEventSource(url, {
      signal: controller.signal,
      onmessage: ({ event, data, id }) => hear({ type: event || 'message', data, id }),
      onclose() {
        throw new Error('connect again');
      },
    });
    return () => controller.abort();
  },
};

for (const [name, read] of Object.entries(CLIENTS))
  throughBoth(`${name} hands on what was published, once, and no empty message`, async (t, server) => {
    const stack = await startStack(t, { server, args: ['--stream', '1s', '--heartbeat', '1'] });
    const sent = ['before', 'kept'];
    await stack.publish(sent);
    const heard = [];
    defer(t, read(`${stack.url}/events`, (event) => heard.push(event)));
    const messages = () => heard.filter(({ type }) => type === 'message').map(({ data }) => data);
    for (let turn = 0; turn < 3; turn++) {
      const texts = [`${turn} one`, `${turn} two\nlines`];
      await until('it has come back', async () => (await stack.status()).streams.events === 1);
      await stack.publish(texts);
      sent.push(...texts);
      await until('it has all', () => messages().length >= sent.length);
      await until('its stream has ended', async () => (await stack.status()).streams.events === 0);
    }
    assert.deepEqual(messages(), sent);
    assert.ok(heard.every(({ data, id }) => data && id), JSON.stringify(heard));
    assert.ok(heard.every(({ type, data, id }) => type !== 'cursor' || data === id));
  });
