// One cursor for every way of comet: clients that change from one to another in mid-course, cut off
// wherever they are, while 10,000 messages are published, miss nothing and get nothing twice.
import assert from 'node:assert/strict';
import { startStack, throughBoth, until } from './lib/harness.mjs';
import { random } from './lib/random.mjs';
import { longpoll, openReader } from './lib/readers.mjs';
import { expectUpdate } from './lib/expect.mjs';

const CHANNELS = ['a', 'b', 'c', 'd', 'e'];
const EACH = 2000; // messages a channel
const WAYS = ['update', 'longpolling', 'streaming', 'iframe', 'events', 'websocket'];
const SEED = '2012'; // the journey is the same each time, but for what the machine's timing makes of it

class Traveller {
  constructor(stack, name, channel) {
    Object.assign(this, { stack, name, channel, id: '', seen: [], legs: {} });
    this.dice = random(`journey of ${name}`, SEED);
  }

  took(way, texts, id) {
    this.seen.push(...texts);
    this.id = id;
    this.legs[way] = (this.legs[way] ?? 0) + 1;
  }

  async update() {
    const { int } = this.dice;
    const fields = { id: this.id, channel: this.channel, limit: 1 + int(300), timeout: 1 };
    const body = expectUpdate(await this.stack.update(fields));
    this.took('update', body.messages.map((m) => m.data), body.id);
  }

  async longpolling() {
    const { int } = this.dice;
    if (this.id === '') return; // it would begin with now
    const fields = { id: this.id, channel: this.channel, limit: 1 + int(300), timeout: 1 };
    const { texts, cursor, reset } = await longpoll(this.stack, fields);
    assert.equal(reset, false);
    this.took('longpolling', texts, cursor);
  }

  // Reads so many messages of a stream, stops reading now and then, and leaves it in one of several
  // ways, or stays until it ends by itself.
  async stream(way) {
    const { int } = this.dice;
    const fields = { id: this.id, channel: this.channel };
    if (way !== 'websocket' && int(4) === 0) fields.timeout = int(2);
    const reader = await openReader(this.stack, way, fields);
    const enough = 1 + int(int(3) ? 60 : 800);
    const left = new Promise((resolve) => {
      reader.onMessage = () => {
        if (reader.count === enough) {
          // at once, with what else has come unread
          reader.cut();
          resolve();
        } else if (int(200) === 0) {
          reader.pause();
          setTimeout(() => reader.resume(), int(30));
        }
      };
    });
    let over = false;
    const late = until('the end of its news', () => over || reader.fault || this.finished(reader), {
      within: 60_000,
    });
    await Promise.race([left, reader.ended, late]);
    over = true;
    reader.cut();
    if (reader.fault) throw reader.fault;
    assert.equal(reader.resets, 0);
    // what was read after the cut, in the same portion of bytes, does not count
    const messages = reader.messages.slice(0, enough);
    const id = messages.length < reader.count ? messages.at(-1).id : reader.cursor;
    this.took(way, messages.map((m) => m.data), id || this.id);
  }

  finished(reader) {
    return reader.count > 0 && this.wanted() === this.seen.length + reader.count;
  }
  wanted() {
    return EACH * this.channel.length;
  }

  async travel() {
    while (this.seen.length < this.wanted()) {
      const way = this.dice.pick(WAYS);
      if (way === 'update') await this.update();
      else if (way === 'longpolling') await this.longpolling();
      else await this.stream(way);
    }
  }
}

throughBoth(
  'through all transports in any order, cut anywhere, none of 10,000 messages is missed or doubled',
  async (t, server) => {
    const stack = await startStack(t, {
      server,
      args: ['--memory', '512K', '--heartbeat', '1', '--websocket-create', 'yes'],
    });
    const travellers = [
      new Traveller(stack, 'one of all', CHANNELS),
      new Traveller(stack, 'two', ['a', 'c']),
      new Traveller(stack, 'three', ['e']),
      new Traveller(stack, 'four', ['d', 'b', 'a']),
    ];
    const journeys = travellers.map((traveller) => traveller.travel());
    const published = CHANNELS.map(async (channel, c) => {
      const { int } = random(`publisher ${channel}`, SEED);
      for (let i = 0; i < EACH;) {
        const texts = [];
        for (let n = 1 + int(40); n > 0 && i < EACH; n--) texts.push(`${channel}${i++}`.padEnd(int(400), '.'));
        await stack.publish(texts, { channel });
        if (c === int(8)) await new Promise((resolve) => setTimeout(resolve, int(20)));
      }
    });
    await Promise.all(published);
    await Promise.all(journeys);
    const log = await stack.all({ channel: CHANNELS });
    assert.equal(log.length, EACH * CHANNELS.length);
    for (const { name, channel, seen, legs } of travellers) {
      t.diagnostic(`${name}: ${JSON.stringify(legs)}`);
      const wanted = log.filter((m) => channel.includes(m.channel)).map((m) => m.data);
      assert.equal(seen.length, wanted.length);
      const wrong = seen.findIndex((text, i) => text !== wanted[i]);
      assert.equal(wrong, -1, `${name}: '${seen[wrong]}' instead of '${wanted[wrong]}' at ${wrong}`);
    }
    for (const way of WAYS)
      assert.ok(travellers.some(({ legs }) => legs[way] > 0), `nobody went by ${way}`);
    await stack.streams();
    await stack.holds(0);
  },
  { timeout: 240_000 },
);
