// A daemon that relays to test upstreams, and clients of it.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { query, startStack, until } from './harness.mjs';
import { startUpstream } from './upstream.mjs';
import { expectJson } from './expect.mjs';

// What the daemon says when an upstream starts failing: once, and to nobody's surprise in a test of
// bad upstreams. Tests of good ones do not allow it.
export const TROUBLE = /^encke: warn: upstream [A-Za-z0-9._-]+: .*look for themselves$/;

// {upstream, stack}: a daemon in front of one test upstream, the default one. `to` is for
// startUpstream, the rest for startStack.
export async function startRelay(t, { to, args = [], bad = false, ...options } = {}) {
  const upstream = options.upstream ?? (await startUpstream(t, to));
  const stack = await startStack(t, {
    ...options,
    args: ['--upstream', options.url ?? upstream.url, ...args],
    allow: [...(bad ? [TROUBLE] : []), ...(options.allow ?? [])],
  });
  return { upstream, stack };
}

// What status says of an upstream.
export async function upstreamOf(stack, name = 'default') {
  const { upstreams } = await stack.status();
  const found = upstreams.filter((u) => u.name === name);
  assert.equal(found.length, 1, `${name} among ${upstreams.map((u) => u.name)}`);
  return found[0];
}

// Waits until status says so of an upstream; a wish is a value, or a function of it.
export function upstreamSays(stack, wishes, name) {
  let last;
  return until(`upstream ${name ?? 'default'} has ${Object.entries(wishes).join(' ')}`, async () => {
    last = await upstreamOf(stack, name);
    return Object.entries(wishes).every(([field, wish]) =>
      typeof wish === 'function' ? wish(last[field]) : last[field] === wish) && last;
  }).catch((error) => {
    throw new Error(`${error.message}; it is ${JSON.stringify(last)}`, { cause: error });
  });
}

// One client, straight on the daemon's socket: `answer` is a promise, leave() hangs up. `text` is a
// query as it is, or an object of fields.
export async function openClient(stack, text = '', { method, body, type, params } = {}) {
  const at = typeof text === 'string' ? text : query(text);
  const connection = await stack.connect();
  const client = { over: false, leave: () => connection.destroy() };
  client.answer = connection
    .ask({ method, uri: `/comet/subscribe${at}`, body, type, params })
    .finally(() => {
      client.over = true;
      connection.destroy();
    });
  client.answer.catch(() => {});
  return client;
}

export const openClients = (stack, n, ...how) =>
  Promise.all(Array.from({ length: n }, () => openClient(stack, ...how)));

// One answer of a client that waits for it.
export const askRelay = async (stack, ...how) => (await openClient(stack, ...how)).answer;

// The answers that Encke gives on its own account. SAYS_NEW and SAYS_PUNT are their bodies.
export const SAYS_NEW = '{"ret":"new"}\n';
export const SAYS_PUNT = '{"ret":"punt"}\n';
export const expectNew = (answer) => assert.deepEqual(expectJson(answer), { ret: 'new' });
export const expectPunt = (answer) => assert.deepEqual(expectJson(answer), { ret: 'punt' });

// The most memory that a process ever had, in bytes, and what it has of its own now.
export const peakMemory = (pid) => memory(pid, 'VmHWM');
export const ownMemory = (pid) => memory(pid, 'RssAnon');
const memory = (pid, field) =>
  Number(
    new RegExp(`^${field}:\\s+(\\d+)`, 'm').exec(fs.readFileSync(`/proc/${pid}/status`, 'utf8'))[1],
  ) * 1024;
