// A client that goes away is let go of at once, whatever it was in the middle of.
import assert from 'node:assert/strict';
import net from 'node:net';
import { claim, startStack, throughBoth, until } from './lib/harness.mjs';
import { begin, request, stream, TYPE, paramsOf } from './lib/fcgi.mjs';

// lighttpd does not notice that a client has gone whose request it could read as soon as it
// accepted the connection (it then never watches that connection). So these clients send their
// requests in two pieces, and between them another request goes through: lighttpd, which has one
// thread, has then seen the first pieces.
async function heldThrough(stack, at, n) {
  const request = `GET /comet/${at} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`;
  const clients = await Promise.all(
    Array.from(
      { length: n },
      () =>
        new Promise((resolve, reject) => {
          const socket = net.connect(stack.web.port, '127.0.0.1');
          let text = '';
          const answer = new Promise((answered, lost) => {
            socket.on('data', (part) => {
              text += part;
            });
            socket.on('end', () => answered({ body: text.slice(text.indexOf('\r\n\r\n') + 4) }));
            socket.on('error', lost);
            socket.on('error', reject);
          });
          answer.catch(() => {});
          socket.on('connect', () =>
            socket.write(request.slice(0, 9), () =>
              resolve({ socket, answer, leave: () => socket.destroy() }),
            ),
          );
        }),
    ),
  );
  assert.equal((await stack.http('status')).status, 200);
  for (const { socket } of clients) socket.write(request.slice(9));
  await stack.holds(n);
  return clients;
}

throughBoth('a client gone in mid-hold is freed at once', async (t, server) => {
  const stack = await startStack(t, { server });
  for (const at of ['update?id=now', 'subscribe', 'update?id=now&channel=a&channel=b&channel=c']) {
    const clients = await heldThrough(stack, at, 25);
    for (const { leave } of clients.slice(0, 10)) leave();
    await stack.holds(15);
    for (const { leave } of clients.slice(10)) leave();
    await stack.holds(0);
    assert.deepEqual((await stack.status()).readers_by_channel, {});
  }
  await stack.create('goes on');
});

throughBoth(
  'those who stay are answered when others on the same channel have gone',
  async (t, server) => {
    const stack = await startStack(t, { server });
    const clients = await heldThrough(stack, 'update?id=now', 30);
    clients.forEach(({ leave }, i) => {
      if (i % 3 !== 1) leave();
    });
    await stack.holds(10);
    await stack.create('for the rest');
    const stayed = await Promise.all(clients.filter((_, i) => i % 3 === 1).map((c) => c.answer));
    for (const answer of stayed)
      assert.equal(JSON.parse(answer.body).messages[0].data, 'for the rest');
    await stack.holds(0);
  },
);

throughBoth('a client gone in mid-request leaves nothing behind', async (t, server) => {
  const stack = await startStack(t, { server });
  await Promise.all(
    Array.from(
      { length: 20 },
      () =>
        new Promise((resolve, reject) => {
          const socket = net.connect(stack.web.port, '127.0.0.1', () => {
            socket.write(
              'POST /comet/create HTTP/1.1\r\nHost: x\r\n' +
                'Content-Type: text/plain\r\nContent-Length: 5000\r\n\r\nhalf',
              () => {
                socket.destroy();
                resolve();
              },
            );
          });
          socket.on('error', reject);
        }),
    ),
  );
  await stack.create('goes on');
  const { messages, holds } = await stack.status();
  assert.deepEqual({ messages, holds }, { messages: 1, holds: 0 });
});

claim('a connection gone in mid-request or mid-hold is no longer counted', async (t) => {
  const stack = await startStack(t);
  const { connections } = await stack.status();
  const hold = request({ uri: '/comet/update?id=now' });
  const create = request({
    method: 'POST',
    uri: '/comet/create',
    body: 'x'.repeat(3000),
    type: 'text/plain',
  });
  const cuts = [
    begin(1),
    begin(1).subarray(0, 3),
    hold.subarray(0, 30),
    hold.subarray(0, hold.length - 1),
    create.subarray(0, create.length - 8),
    create.subarray(0, 1000),
    Buffer.concat([begin(1), stream(TYPE.PARAMS, 1, paramsOf({}))]),
    hold,
  ];
  for (const how of ['end', 'destroy']) {
    const open = [];
    for (const bytes of cuts) {
      for (let i = 0; i < 5; i++) {
        const connection = await stack.connect();
        await connection.write(bytes);
        open.push(connection);
      }
    }
    await stack.holds(5);
    assert.equal((await stack.status()).connections, connections + open.length);
    for (const connection of open) connection[how]();
    await until(
      'every connection is let go of',
      async () => (await stack.status()).connections === connections,
    );
    await stack.holds(0);
  }
  assert.equal((await stack.status()).messages, 0);
});

claim('a creator gone before its answer loses only the answer', async (t) => {
  const stack = await startStack(t);
  const { connections } = await stack.status();
  for (let i = 0; i < 50; i++) {
    const connection = await stack.connect();
    await connection.write(
      request({ method: 'POST', uri: '/comet/create', body: `gone ${i}`, type: 'text/plain' }),
    );
    connection.destroy();
  }
  await stack.create('stayed');
  await until(
    'every connection is let go of',
    async () => (await stack.status()).connections === connections,
  );
  const stored = (await stack.all()).map((m) => m.data);
  assert.equal(stored.filter((text) => text === 'stayed').length, 1);
  assert.equal(new Set(stored).size, stored.length, 'none twice');
});

claim(
  'a reader that does not read keeps nobody waiting and gets its answer when it reads',
  async (t) => {
    const stack = await startStack(t);
    for (let i = 0; i < 18; i++) await stack.create('x'.repeat(60_000));
    const slow = [];
    for (let i = 0; i < 20; i++) {
      const connection = await stack.connect();
      connection.socket.pause();
      const answer = connection.ask({ uri: '/comet/update' });
      slow.push({ connection, answer });
    }
    const held = stack.update({ id: 'now' });
    await stack.holds(1);
    await stack.create('for the quick');
    assert.equal((await held).messages[0].data, 'for the quick');
    for (const { connection } of slow.slice(0, 10)) connection.destroy();
    for (const { connection, answer } of slow.slice(10)) {
      connection.socket.resume();
      const body = (await answer).json();
      assert.ok(body.messages.length >= 17, `${body.messages.length} messages`);
      await connection.closed;
    }
  },
);
