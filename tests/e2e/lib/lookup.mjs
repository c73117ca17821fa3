// Orders to tests/e2e/lookup.c: what looking up names below .test gives from now on.
import fs from 'node:fs';
import path from 'node:path';
import { ROOT, plainBinary, until } from './harness.mjs';
import { settings } from './settings.mjs';

// Options for startStack (a directory of its own, the shim, the daemon without sanitizers), and the
// handle.
export function nameService(dir) {
  const shims = settings.shims ?? path.join(ROOT, 'build/tests');
  const shim = path.join(shims, 'lookup.so');
  if (!fs.existsSync(shim)) throw new Error(`${shim} is not built: make shims`);
  const control = path.join(dir, 'lookup');
  const names = {
    options: {
      dir,
      bin: plainBinary(),
      env: { LD_PRELOAD: shim, LOOKUP_CONTROL: control },
    },
    // A word as lookup.c explains them; none: names are this machine.
    set(word = '') {
      fs.writeFileSync(`${control}.new`, word);
      fs.renameSync(`${control}.new`, control);
    },
    hits() {
      try {
        return fs.readFileSync(`${control}.hits`, 'utf8').split('\n').length - 1;
      } catch {
        return 0;
      }
    },
    hit: (since = 0) => until('the daemon looks up the name', () => names.hits() > since),
  };
  return names;
}
