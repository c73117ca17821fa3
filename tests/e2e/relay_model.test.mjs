// Several hundred different questions at once, with clients that come and go as they like and an
// upstream that answers, fails, stops and comes back: everybody gets an answer to what was asked,
// each request has clients, and in the end nothing is left.
import assert from 'node:assert/strict';
import { claim, until } from './lib/harness.mjs';
import { random } from './lib/random.mjs';
import { askRelay, openClient, SAYS_NEW, SAYS_PUNT, startRelay, upstreamOf, upstreamSays } from './lib/relay.mjs';
import { mad } from './lib/upstream.mjs';

const tick = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const MAD = ['resetsAtOnce', 'closesAtOnce', 'resetsInMidAnswer', 'endsInMidAnswer', 'endsInMidChunk',
  'badGzip', 'internalError', 'redirects', 'garbage', 'controlByteInHeader', 'neverEnds'];

async function play(t, { name, seconds, failing }) {
  const dice = random(name),
    { int, pick } = dice;
  const { upstream, stack } = await startRelay(t, { bad: failing, allow: [/^encke: warn: /] });
  let on = true,
    serial = 0;
  // The upstream answers with the query and a number, so that a wrong or old answer shows.
  const answer = (asked) => asked.answer({ body: `${asked.query} ${serial++}`, chunked: int(2) === 0, close: int(10) === 0 });
  upstream.does = (asked) => {
    const what = int(100);
    if (failing && what < 10) return mad[pick(MAD)](asked);
    if (what < 20) return answer(asked);
    setTimeout(() => asked.over || answer(asked), int(int(5) ? 120 : 1500));
  };

  const tally = { answered: 0, told: 0, punted: 0, left: 0 };
  const clients = Array.from({ length: 120 }, async () => {
    while (on) {
      const q = int(int(3) ? 400 : 12);
      const limited = int(20) === 0;
      const client = await openClient(stack, `?q=${q}${limited ? '&timeout=1' : ''}`);
      if (int(3) === 0) {
        await tick(int(int(4) ? 40 : 400));
        if (!client.over) {
          client.leave();
          tally.left++;
          continue;
        }
      }
      const { status, body } = await client.answer;
      assert.equal(status, 200, body);
      if (body === SAYS_NEW) tally.told++;
      else if (body === SAYS_PUNT) {
        assert.ok(limited, 'the punt is only for who asked for it');
        tally.punted++;
      } else {
        assert.match(body, new RegExp(`^q=${q} \\d+$`));
        tally.answered++;
      }
    }
  });
  const local = (async () => {
    for (let i = 0; on; i++) {
      const held = stack.update({ id: 'now', timeout: 60 });
      await until('held', async () => (await stack.status()).readers_by_channel.main === 1, { every: 1 });
      await stack.create(`local ${i}`);
      assert.equal((await held).messages.at(-1).data, `local ${i}`);
    }
  })();
  const outages = (async () => {
    while (on && failing) {
      await tick(500 + int(1500));
      await upstream.stop();
      await tick(int(700));
      await upstream.start();
    }
  })();
  const checks = (async () => {
    while (on) {
      const says = await upstreamOf(stack);
      assert.ok(says.under_way <= says.clients, `${says.under_way} requests for ${says.clients} clients`);
      await tick(50);
    }
  })();
  const ENOUGH = 100;
  const enough = () => until('enough is answered', () => tally.answered > ENOUGH, { within: 120_000 });
  const all = Promise.all([...clients, local, checks, outages]);
  try {
    await Promise.race([tick(seconds * 1000).then(enough), all]);
  } finally {
    on = false;
    await outages; // or the upstream would be started after the test
  }
  const ending = setInterval(() => upstream.held.forEach(answer), 50);
  await all.finally(() => clearInterval(ending));

  await upstreamSays(stack, { clients: 0, under_way: 0 });
  await stack.holds(0);
  await upstream.holding(0);
  const says = await upstreamOf(stack);
  t.diagnostic(`${JSON.stringify(tally)} ${says.requests} requests, ${says.coalesced} shared`);
  if (!failing) assert.equal(tally.told, 0, 'nothing failed');
  upstream.does = (asked) => asked.answer({ body: 'sane' });
  await until('sane again', async () => (await askRelay(stack, '?after')).body === 'sane');
}

claim('clients come and go, and everybody gets the answer to what was asked', (t) =>
  play(t, { name: 'relayed clients', seconds: 5, failing: false }));

claim('the same while the upstream fails in every way', (t) =>
  play(t, { name: 'relayed clients of a mad upstream', seconds: 7, failing: true }));
