// Each allocation in turn fails: what was asked is answered as it should be, or with 503, or the
// connection is closed before an answer; and the daemon lives.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { claim, plainBinary, ROOT, startStack, tempDir } from './lib/harness.mjs';

function shortOfMemory(dir) {
  const shims = process.env.ENCKE_SHIMS ?? path.join(ROOT, 'build/tests');
  const control = path.join(dir, 'memory');
  fs.writeFileSync(control, Buffer.alloc(4));
  const fd = fs.openSync(control, 'r+');
  const number = Buffer.alloc(4);
  return {
    options: {
      dir,
      bin: plainBinary(),
      env: { LD_PRELOAD: path.join(shims, 'allocations.so'), SHORT_OF_MEMORY: control },
    },
    // The nth allocation from now on fails; 0: none.
    fail(nth) {
      number.writeInt32LE(nth);
      fs.writeSync(fd, number, 0, 4, 0);
    },
    // Whether it has not come to that yet.
    pending() {
      fs.readSync(fd, number, 0, 4, 0);
      return number.readInt32LE() > 0;
    },
    close: () => fs.closeSync(fd),
  };
}

const form = 'application/x-www-form-urlencoded';
const post = (body, type) => ({ method: 'POST', uri: '/comet/create', body, type });
const batch = (body) => ({ ...post(body, 'application/json'), uri: '/comet/batch' });
const get = (at) => ({ uri: `/comet/${at}` });
const json = (body) => JSON.parse(body);
const messages = (body) => assert.equal(JSON.parse(body).messages.at(-1).data, 'Grüße');
const text = (body) => assert.match(body, /Grüße/);

// What is asked, and what the answer's body must be.
const ASKED = {
  'a text': [post('Grüße', 'text/plain'), (body) => assert.match(JSON.parse(body).id, /-/)],
  'a form': [post('msg=Gr%C3%BC%C3%9Fe&channel=b', form), (body) => assert.match(JSON.parse(body).id, /-/)],
  'a text with a key': [
    post('msg=Gr%C3%BC%C3%9Fe&once=k', form),
    (body) => assert.match(JSON.parse(body).id, /-/),
  ],
  'a batch': [
    batch('[{"msg":"Grüße","once":"l"},{"msg":"Gr\\u00fc\\u00dfe","channel":"c"},{"msg":"Grüße"}]'),
    (body) => assert.equal(JSON.parse(body).filter(({ id }) => /-/.test(id)).length, 3),
  ],
  'a batch that is refused': [batch('[{"msg":"a"},{"msg":"b"},{}]'), () => {}, 400],
  update: [get('update?channel=main&channel=b&id='), messages],
  'update in HTML': [get('update?as=html&callback=cb'), text],
  'update from the disk': [get('update?channel=old&id='), json],
  'update that waits a second': [get('update?id=now&timeout=1'), json],
  longpolling: [get('longpolling?timeout=1'), () => {}],
  streaming: [get('streaming?timeout=0&id='), text],
  iframe: [get('iframe?timeout=0&id='), text],
  events: [get('events?timeout=0&id='), text],
  status: [get('status'), (body) => assert.ok(JSON.parse(body).messages > 0)],
};

for (const [name, [request, check, status = 200]] of Object.entries(ASKED))
  claim(`any allocation may fail: ${name}`, async (t) => {
    const memory = shortOfMemory(tempDir(t));
    const stack = await startStack(t, {
      ...memory.options,
      args: ['--memory', '1K'],
      allow: [/^encke: warn: /],
    });
    await stack.publish(Array(20).fill('old'), { channel: 'old' });
    await stack.publish(['Grüße'], { channel: 'b' });
    await stack.publish(['Grüße']);
    const seen = {};
    for (let nth = 1, met = true; met; nth++) {
      const connection = await stack.connect();
      memory.fail(nth);
      const answer = await connection.ask(request).catch(() => null);
      met = !memory.pending();
      memory.fail(0);
      const said = `allocation ${nth}: ${answer?.status} ${answer?.body}`;
      if (answer?.status === status) assert.doesNotThrow(() => check(answer.body), said);
      else if (answer) {
        assert.equal(answer.status, 503, said);
        assert.match(answer.body, /memory/, said);
      }
      const how = answer?.status ?? 'closed';
      seen[how] = (seen[how] ?? 0) + 1;
      connection.socket.destroy();
      assert.ok((await stack.status()).messages > 0);
    }
    t.diagnostic(JSON.stringify(seen));
    memory.close();
  });
