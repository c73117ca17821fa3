// What the documents say is so: the options, which are written down in the daemon alone.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { claim, daemonBinary, plainBinary, ROOT } from './lib/harness.mjs';

const read = (name) => fs.readFileSync(path.join(ROOT, name), 'utf8');
const FOLDERS = ['.', 'deploy', 'www', 'fcgi', 'store', 'tests', 'tests/bench'];
const DOCUMENTS = FOLDERS.flatMap((folder) =>
  fs.readdirSync(path.join(ROOT, folder)).map((name) => path.join(folder, name)),
).filter((name) => /\.(md|8\.in)$/.test(name));

function optionsOf(help) {
  const found = new Set([...help.matchAll(/^ {2}--([a-z-]+)/gm)].map((m) => m[1]));
  assert.ok(found.size > 20);
  return found;
}

const help = () => spawnSync(daemonBinary(), ['--help'], { encoding: 'utf8' }).stdout;

claim('the manual page has every option once, as --help has, and no other', () => {
  const manual = fs.readFileSync(path.join(path.dirname(plainBinary()), 'encke.8'), 'utf8');
  const items = [...manual.matchAll(/^\.It Fl -(\S+)/gm)].map((m) => m[1].replaceAll('\\-', '-'));
  assert.deepEqual(items, [...optionsOf(help())]);
  assert.doesNotMatch(manual, /@OPTIONS@/);
});

claim('every option that a document names is one of the daemon', () => {
  const known = optionsOf(help());
  // what other programs have
  for (const name of ['now', 'help', 'svg', 'csv', 'only']) known.add(name);
  for (const name of DOCUMENTS)
    for (const [, option] of read(name).matchAll(/(?<![\w-])--([a-z][a-z-]*)/g))
      assert.ok(known.has(option), `${name}: --${option}`);
});

claim('no document repeats the table of options', () => {
  for (const name of DOCUMENTS) {
    const rows = [...read(name).matchAll(/^(\| *`--|\.It Fl -)/gm)].length;
    assert.equal(rows, 0, name);
  }
});
