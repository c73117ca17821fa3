// Real upstreams: another Encke behind its own web server, and nchan.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { claim, defer, fetchHttp, freePort, run, startStack, tempDir, throughBoth, until } from './lib/harness.mjs';
import { texts } from './lib/expect.mjs';
import { random } from './lib/random.mjs';
import { expectNew, expectPunt, openClient, openClients, TROUBLE, upstreamOf, upstreamSays } from './lib/relay.mjs';

const NCHAN = '/usr/lib/nginx/modules/ngx_nchan_module.so';

throughBoth('subscribe through three Enckes in a row', async (t, server) => {
  const board = await startStack(t, { server });
  const middle = await startStack(t, { server, args: ['--upstream', `${board.url}/subscribe`] });
  const edge = await startStack(t, { server, args: ['--upstream', `${middle.url}/subscribe`] });
  const id = await board.create('first');
  for (let round = 0; round < 3; round++) {
    const clients = Array.from({ length: 50 }, () => edge.http('subscribe?channel=main'));
    await edge.holds(50);
    await board.holds(1);
    assert.equal((await middle.status()).holds, 1);
    await board.create(`news ${round}`);
    for (const answer of await Promise.all(clients)) expectNew(answer);
    await board.holds(0);
  }
  expectNew(await edge.http(`subscribe?id=${id}`));
  expectPunt(await edge.http(`subscribe?id=${(await board.status()).head}&timeout=1`));
  // what the board refuses, the edge says as the board does
  const [there, here] = [await board.http('subscribe?channel=a%2Fb'), await edge.http('subscribe?channel=a%2Fb')];
  assert.deepEqual([here.status, here.body], [there.status, there.body]);
  assert.equal(here.status, 400);
  const { errors } = await upstreamOf(edge);
  assert.deepEqual(Object.values(errors), [0, 0, 0, 0, 0]);
});

// What one daemon's feed of another's `update` says: the other's messages.
const unwrap = (list) => list.flatMap((text) => JSON.parse(text).messages.map((m) => m.data));

claim('a board copied through three daemons, each killed at times, is whole', async (t) => {
  const dice = random('a chain of boards');
  const feed = (from, channel) => [
    '--upstream', `${from.url}/update?channel=${channel}`, '--upstream-channel', `${channel}.`,
  ];
  const allow = [TROUBLE];
  const board = await startStack(t, { server: 'nginx' });
  const second = await startStack(t, { server: 'nginx', args: feed(board, 'a'), allow });
  const third = await startStack(t, { server: 'nginx', args: feed(second, 'a.'), allow });
  for (const stack of [board, second, third]) stack.daemon.judged = false;
  const sent = [];
  for (let round = 0; round < 8; round++) {
    for (let i = dice.int(6); i >= 0; i--) sent.push(`${round}.${i} ${dice.int(3) ? 'x' : '"é\n'}`);
    for (const text of sent.filter((s) => s.startsWith(`${round}.`))) await board.publish(text, { channel: 'a' });
    const one = dice.pick([second, third]);
    await one.daemon.kill(dice.pick(['SIGKILL', 'SIGTERM']));
    await one.daemon.start();
  }
  const copy = async () => unwrap(unwrap(texts(await third.all({ channel: 'a..' }))));
  await until('all has arrived', async () => (await copy()).length >= sent.length, { within: 60_000, every: 50 });
  assert.deepEqual(await copy(), sent);
});

// nginx with nchan: /pub?ch=X publishes, /sub?ch=X is a long poll of what comes from now on.
async function startNchan(t) {
  const dir = tempDir(t);
  const port = await freePort();
  fs.mkdirSync(path.join(dir, 'tmp'));
  const temp = ['client_body', 'fastcgi', 'proxy', 'scgi', 'uwsgi'].map((k) => `${k}_temp_path ${dir}/tmp/${k};`);
  fs.writeFileSync(path.join(dir, 'nginx.conf'), `
    load_module ${NCHAN};
    ${process.getuid() === 0 ? 'user root;' : ''}
    worker_processes 1;
    daemon off;
    pid ${dir}/nginx.pid;
    error_log ${dir}/error.log;
    events { worker_connections 1000; }
    http {
      access_log off;
      ${temp.join('\n      ')}
      server {
        listen 127.0.0.1:${port};
        location = /pub { nchan_publisher; nchan_channel_id $arg_ch; nchan_message_timeout 1m; }
        location = /sub {
          nchan_subscriber longpoll;
          nchan_channel_id $arg_ch;
          nchan_subscriber_first_message newest;
          nchan_subscriber_timeout 60s;
        }
      }
    }`);
  const argv = ['/bin/sh', '-c', `PATH=$PATH:/usr/sbin exec nginx -e ${dir}/error.log -p ${dir} -c ${dir}/nginx.conf`];
  const nchan = {
    url: `http://127.0.0.1:${port}`,
    async start() {
      nchan.process = run(argv, { group: true });
      await until('nchan accepts', () => {
        if (nchan.process.ended) throw new Error(`nginx ended: ${nchan.process.stderr}`);
        return new Promise((resolve) => {
          const probe = net.connect(port, '127.0.0.1', () => resolve(probe.destroy() && true));
          probe.on('error', () => resolve(false));
        });
      });
    },
    stop: () => nchan.process.stop('SIGKILL'),
    publish: (ch, body, type = 'text/plain') =>
      fetchHttp(`${nchan.url}/pub?ch=${ch}`, { method: 'POST', headers: { 'Content-Type': type }, body }),
    // Waits until exactly n long polls wait on that channel.
    subscribers: (ch, n) =>
      until(`${n} polls of nchan's ${ch}`, async () => {
        const answer = await fetchHttp(`${nchan.url}/pub?ch=${ch}`, { headers: { Accept: 'application/json' } });
        return (answer.status === 404 ? 0 : answer.json().subscribers) === n;
      }),
  };
  await nchan.start();
  defer(t, () => nchan.process.ended || nchan.stop());
  return nchan;
}

throughBoth('nchan: one long poll for all who ask the same, its message untouched', async (t, server) => {
  const nchan = await startNchan(t);
  const stack = await startStack(t, { server, args: ['--upstream', `${nchan.url}/sub`] });
  const messages = [
    ['plain', 'text/plain'],
    ['{"a":"é"}', 'application/json'],
    [Buffer.from([0, 1, 255, 10, 13]), 'application/x-own'],
    ['x'.repeat(100_000), 'text/html'],
  ];
  for (const [body, type] of messages) {
    const clients = [
      ...Array.from({ length: 40 }, () => stack.http('subscribe?ch=one')),
      ...Array.from({ length: 10 }, () => stack.http('subscribe?ch=two')),
    ];
    await stack.holds(50);
    await nchan.subscribers('one', 1);
    await nchan.subscribers('two', 1);
    await nchan.publish('one', body, type);
    for (const answer of await Promise.all(clients.slice(0, 40))) {
      assert.equal(answer.status, 200);
      assert.equal(answer.headers['content-type'], type);
      assert.ok(Buffer.from(body).equals(answer.bytes));
      assert.equal(answer.headers.etag, undefined);
    }
    await stack.holds(10);
    await nchan.publish('two', 'two');
    for (const answer of await Promise.all(clients.slice(40))) assert.equal(answer.body, 'two');
  }
  const { requests, errors } = await upstreamOf(stack);
  assert.equal(requests, 2 * messages.length);
  assert.deepEqual(Object.values(errors), [0, 0, 0, 0, 0]);
});

claim('nchan: when the last client is gone, nchan has no subscriber', async (t) => {
  const nchan = await startNchan(t);
  const stack = await startStack(t, { args: ['--upstream', `${nchan.url}/sub`] });
  const clients = await openClients(stack, 10, '?ch=c');
  await nchan.subscribers('c', 1);
  for (const client of clients) client.leave();
  await nchan.subscribers('c', 0);
  const again = await openClient(stack, '?ch=c');
  await nchan.subscribers('c', 1);
  await nchan.publish('c', 'again');
  assert.equal((await again.answer).body, 'again');
});

claim('nchan: its messages feed a channel, and after its outage there is the word', async (t) => {
  const nchan = await startNchan(t);
  const stack = await startStack(t, {
    args: ['--upstream', `${nchan.url}/sub?ch=c`, '--upstream-channel', 'news'],
    allow: [TROUBLE],
  });
  const held = stack.update({ id: 'now', channel: 'news' });
  await stack.holds(1);
  for (const [i, text] of ['one', '{"two":2}', 'drei é'].entries()) {
    await nchan.subscribers('c', 1);
    await nchan.publish('c', text);
    await upstreamSays(stack, { appended: i + 1, cursor: null });
  }
  assert.equal((await held).messages[0].data, 'one');
  await nchan.stop();
  await upstreamSays(stack, { state: 'down' });
  await nchan.start();
  await upstreamSays(stack, { state: 'up', appended: 4 });
  await nchan.subscribers('c', 1);
  await nchan.publish('c', 'after');
  await upstreamSays(stack, { appended: 5 });
  assert.deepEqual(texts(await stack.all({ channel: 'news' })), ['one', '{"two":2}', 'drei é', '{"ret":"new"}', 'after']);
});
