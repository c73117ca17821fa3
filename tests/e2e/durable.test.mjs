// Durable before acknowledged, and before visible: with fsync held at a gate, nobody is told
// anything.
import assert from 'node:assert/strict';
import { startStack, tempDir, throughBoth, until } from './lib/harness.mjs';
import { texts } from './lib/expect.mjs';
import { faultyDisk } from './lib/fault.mjs';

throughBoth(
  'neither the creator nor any reader is answered before fsync has returned',
  async (t, server) => {
    const disk = faultyDisk(tempDir(t));
    const stack = await startStack(t, { ...disk.options, server });
    const id = await stack.create('before');
    for (let round = 0; round < 5; round++) {
      const { head, commits, creates } = await stack.status();
      const answered = [];
      const note = (who) => (answer) => {
        answered.push(who);
        return answer;
      };
      const readers = [
        stack.update({ id: head }).then(note('update')),
        stack.update({ id: 'now', as: 'html' }).then(note('html')),
        stack.subscribe().then(note('subscribe')),
        stack.update({ id: head, channel: ['main', 'other'] }).then(note('two channels')),
      ];
      await stack.holds(4);
      const hits = disk.hits('sync');
      disk.set('sync=gate');
      const creators = Array.from({ length: 8 }, (_, i) =>
        stack.create(`gated ${round}.${i}`).then(note('creator')),
      );
      await disk.hit('sync', hits);
      // The commit stands at the gate. Whoever asks now is told of the world as it was before.
      const late = [
        stack.update({ id: head }).then(note('late update')),
        stack.subscribe({ id: head }).then(note('late subscribe')),
      ];
      await stack.holds(6);
      for (let i = 0; i < 20; i++) {
        const status = await stack.status();
        assert.deepEqual(
          [status.head, status.holds, status.commits, status.creates],
          [head, 6, commits, creates],
        );
        assert.equal((await stack.update({ timeout: 0 })).id, head);
      }
      assert.deepEqual(answered, [], 'nobody was answered');
      disk.set();
      const made = await Promise.all(creators);
      assert.equal(new Set(made).size, 8);
      const [update, html, word, two, late_update, late_word] = await Promise.all([
        ...readers,
        ...late,
      ]);
      for (const body of [update, two, late_update]) assert.match(body.messages[0].data, /^gated/);
      assert.match(html.html, /^<div>gated/);
      assert.deepEqual([word, late_word], [{ ret: 'new' }, { ret: 'new' }]);
    }
    assert.equal((await stack.update({ id })).messages.length, 40);
  },
);

throughBoth(
  'what was at the gate when the daemon was killed was never acknowledged',
  async (t, server) => {
    const disk = faultyDisk(tempDir(t));
    const stack = await startStack(t, { ...disk.options, server });
    const kept = ['kept'];
    await stack.create('kept');
    const reader = stack.update({ id: 'now' }).then(
      () => 'answered',
      () => 'not answered',
    );
    await stack.holds(1);
    disk.set('sync=gate');
    const creators = Array.from({ length: 5 }, (_, i) =>
      stack.create(`lost ${i}`).then(
        () => 'answered',
        () => 'not answered',
      ),
    );
    await disk.hit('sync');
    await stack.daemon.kill('SIGKILL');
    disk.set();
    assert.deepEqual(await Promise.all([reader, ...creators]), Array(6).fill('not answered'));
    await stack.daemon.start();
    const after = texts(await until('the web server is back', () => stack.all()));
    assert.deepEqual(after.slice(0, 1), kept);
    assert.ok(
      after.slice(1).every((text) => text.startsWith('lost')),
      'unacknowledged ones may be there or not',
    );
  },
);

throughBoth('creates that arrive during a commit are committed together', async (t, server) => {
  const disk = faultyDisk(tempDir(t));
  const stack = await startStack(t, { ...disk.options, server });
  await stack.create('warm');
  const { commits } = await stack.status();
  disk.set('sync=gate');
  const first = stack.create('first');
  await disk.hit('sync');
  const rest = Array.from({ length: 60 }, (_, i) => stack.create(`rest ${i}`));
  await until('all are waiting', async () => (await stack.status()).connections >= 62);
  disk.set();
  await Promise.all([first, ...rest]);
  assert.equal(
    (await stack.status()).commits - commits,
    2,
    'one commit for the first, one for all the rest',
  );
});
