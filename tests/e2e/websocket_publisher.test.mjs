// Clients that publish over a WebSocket and do not behave: they do not read, or leave at once.
import assert from 'node:assert/strict';
import { claim, startStack, throughBoth, until } from './lib/harness.mjs';
import { closeFrame, frame, OP, RawWebSocket } from './lib/websocket.mjs';

const args = ['--websocket-create', 'yes', '--websocket-rate', '100000'];

// An answer that met the full socket once made the stream go on from the new head, without the
// messages of that round. Which of the two frames, answer or message, meets it is decided by how
// many bytes went before: hence the shift.
for (const shift of [0, 1, 2, 3])
  claim(`a publisher that does not read is given every message in the end (shift ${shift})`, async (t) => {
    const stack = await startStack(t, { args });
    const before = await stack.publish(Array.from({ length: shift }, (_, i) => 'x'.repeat(i * 37 + 1)));
    const ws = await RawWebSocket.open(stack.websocket, 'websocket', { paused: true });
    let sent = 0;
    await until('its socket is full', async () => {
      assert.ok(++sent < 3000, 'the socket takes a few hundred answers');
      ws.send(OP.TEXT, `m${sent}`);
      return (await stack.status()).streams_behind === 1;
    });
    ws.resume();
    const told = () => ws.texts.map((text) => JSON.parse(text));
    await until('all is there', () => told().filter((item) => item.data !== undefined).length === sent + shift);
    const messages = told().filter((item) => item.data !== undefined);
    const { messages: kept } = await stack.update({ id: '', timeout: 0 });
    assert.deepEqual(messages, kept);
    assert.deepEqual(messages.slice(0, shift).map((one) => one.id), before);
    await until('all is acknowledged', () => told().filter((item) => item.created).length === sent);
    assert.ok(!told().some((item) => item.reset));
    ws.socket.destroy();
  });

throughBoth('what a client says before it leaves is published', async (t, server) => {
  const stack = await startStack(t, { server, args });
  // Straight on the socket: everything at once, and nothing that the daemon said is read.
  for (let i = 0; i < 20; i++) {
    const ws = await RawWebSocket.open(stack.websocket, 'websocket?id=now', { paused: true });
    ws.socket.write(
      Buffer.concat([frame(OP.TEXT, `a${i}`), frame(OP.TEXT, `b${i}`), closeFrame(1000)]),
      () => ws.socket.destroy(),
    );
  }
  // Through the web server, which passes it on if the client waits for the close to be answered.
  const ws = await RawWebSocket.open(stack.web.port, 'websocket?id=now');
  for (let i = 0; i < 20; i++) ws.send(OP.TEXT, `c${i}`);
  ws.socket.write(closeFrame(1000));
  assert.equal(await ws.closed, 1000);
  const texts = async () => (await stack.update({ id: '', timeout: 0 })).messages.map((one) => one.data);
  await until('all is stored', async () => (await texts()).length === 60);
  const stored = await texts();
  for (let i = 0; i < 20; i++) {
    assert.ok(stored.indexOf(`a${i}`) < stored.indexOf(`b${i}`));
    assert.ok(stored.includes(`a${i}`));
  }
  assert.deepEqual(stored.filter((text) => text.startsWith('c')), Array.from({ length: 20 }, (_, i) => `c${i}`));
  await stack.streams();
});
