// How `make` builds: flags that whoever packages it brings are kept.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import path from 'node:path';
import { claim, ROOT, tempDir } from './lib/harness.mjs';

// What a compiler makes of FORTIFY_SOURCE in make's command for an object: the last word counts.
function fortified(t, object, ...variables) {
  const build = tempDir(t);
  const argv = ['-n', 'V=1', `B=${build}`, ...variables, path.join(build, object)];
  const made = spawnSync('make', argv, { cwd: ROOT, encoding: 'utf8' });
  const compile = made.stdout.split('\n').find((line) => line.includes(' -c -o ')) ?? made.stderr;
  return compile.match(/-[DU]_FORTIFY_SOURCE(=\d)?/g)?.at(-1);
}

claim("a distribution's FORTIFY_SOURCE stays, else it is the most that the compiler can do", (t) => {
  const object = 'fcgi/main.o';
  assert.match(fortified(t, object), /^-D_FORTIFY_SOURCE=[23]$/);
  for (const level of [1, 2, 3]) {
    const flag = `-D_FORTIFY_SOURCE=${level}`;
    assert.equal(fortified(t, object, `CPPFLAGS=${flag}`), flag);
    assert.equal(fortified(t, object, `CFLAGS=-O2 ${flag}`), flag);
    assert.equal(fortified(t, `asan/${object}`, `CPPFLAGS=${flag}`), '-U_FORTIFY_SOURCE');
  }
  assert.equal(fortified(t, object, 'CFLAGS=-O0 -g'), undefined);
});
