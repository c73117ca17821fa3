// Thousands of requests, handshakes and frames with some bits turned, bytes lost or put in between,
// sent in any pieces and left in any way: nobody else notices, and nothing is left of them.
import net from 'node:net';
import { claim, startStack, until } from './lib/harness.mjs';
import { request } from './lib/fcgi.mjs';
import { random } from './lib/random.mjs';
import { settings } from './lib/settings.mjs';
import { LIVE, openReader } from './lib/readers.mjs';
import { closeFrame, frame, handshake, OP } from './lib/websocket.mjs';

const CONNECTIONS = Number(settings.fuzz ?? 8000);

const QUERIES = ['', '?id=now', '?id=&channel=a&channel=b', '?as=echo', '?to=c&id=1'];
QUERIES.push('?id=%ff%00', '?timeout=0', '?callback=add_x', '?limit=1&as=json');
const ENDPOINTS = ['streaming', 'iframe', 'events', 'longpolling', 'websocket', 'update'];

function makers({ int, pick, bytes }) {
  const frames = [
    () => frame(OP.TEXT, 'x'.repeat(int(300))),
    () => frame(OP.PING, bytes(int(126))),
    () => closeFrame(1000, 'x'),
    () => frame(OP.CONT, 'y', { fin: int(2) === 1 }),
    () => frame(OP.TEXT, bytes(int(40)), { fin: int(2) === 1, rsv: int(9) ? 0 : 1 }),
  ];
  const webSocket = () =>
    Buffer.concat([
      handshake(`/comet/websocket${pick(QUERIES)}`, {
        headers: { Origin: pick([undefined, 'http://encke.test', 'null']) },
      }),
      ...Array.from({ length: int(6) }, () => pick(frames)()),
    ]);
  const fastCgi = () =>
    request({
      uri: `/comet/${pick(ENDPOINTS)}${pick(QUERIES)}`,
      keep: int(2) === 1,
      id: 1 + int(3),
      method: pick(['GET', 'POST']),
      body: int(2) ? 'id=now&channel=q' : '',
      type: 'application/x-www-form-urlencoded',
    });
  const spoil = (whole) => {
    let all = Buffer.from(whole);
    for (let n = int(4); n > 0; n--) {
      const at = int(all.length),
        before = all.subarray(0, at);
      const how = int(4);
      if (how === 0) all[at] = int(256);
      else if (how === 1) all = Buffer.concat([before, bytes(int(8)), all.subarray(at)]);
      else if (how === 2) all = Buffer.concat([before, all.subarray(at + int(12))]);
      else all[at] ^= 1 << int(8);
    }
    return all;
  };
  return { webSocket: () => spoil(webSocket()), fastCgi: () => spoil(fastCgi()) };
}

// Sends the bytes in pieces, reads or not, and goes.
function visit(to, bytes, { int }) {
  return new Promise((resolve) => {
    const socket = net.connect(to);
    socket.on('error', () => {});
    socket.on('close', resolve);
    socket.on('data', () => {
      if (int(3) === 0) socket.pause();
    });
    const leave = () => {
      if (int(2)) return socket.destroy();
      socket.resume();
      socket.end();
      setTimeout(() => socket.destroy(), int(50));
    };
    socket.on('connect', async () => {
      for (let at = 0; at < bytes.length;) {
        const n = int(3) ? bytes.length : 1 + int(40);
        socket.write(bytes.subarray(at, at + n));
        at += n;
        if (int(3) === 0) await new Promise(setImmediate);
      }
      setTimeout(leave, int(20));
    });
  });
}

claim('spoiled requests, handshakes and frames harm nobody', async (t) => {
  const dice = random('fuzz'),
    { int, pick } = dice;
  const stack = await startStack(t, {
    args: ['--websocket-create', 'yes', '--heartbeat', '1', '--request-timeout', '2'],
    allow: [/^encke: warn: /],
  });
  const bystanders = await Promise.all(
    LIVE.map((transport) => openReader(stack, transport, { id: 'now', channel: 'calm' })),
  );
  const make = makers(dice);
  const calm = [];
  let visits = 0;
  await Promise.all(
    Array.from({ length: 40 }, async () => {
      while (visits++ < CONNECTIONS) {
        if (int(2)) await visit(stack.websocket, make.webSocket(), dice);
        else await visit(stack.socket, make.fastCgi(), dice);
        if (int(50) === 0) await stack.publish('p'.repeat(1 + int(2000)), { channel: pick(['a', 'q']) });
        if (int(100) === 0) calm.push(...(await stack.publish(`${visits}`, { channel: 'calm' })));
      }
    }),
  );
  calm.sort((a, b) => Number(a.split('-')[1]) - Number(b.split('-')[1]));
  for (const reader of bystanders) {
    await reader.has(calm.length);
    if (reader.ids.join() !== calm.join()) throw new Error(`${reader.transport} missed something`);
    reader.cut();
  }
  await stack.streams();
  await until('no connection is left', async () => (await stack.status()).connections === 1);
});
