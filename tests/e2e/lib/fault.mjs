// Orders to tests/e2e/fault.c: what the disk under the log does from now on.
import fs from 'node:fs';
import path from 'node:path';
import { ROOT, plainBinary, until } from './harness.mjs';
import { settings } from './settings.mjs';

// Options for startStack (a directory of its own, the shim, the daemon without sanitizers), and the
// handle.
export function faultyDisk(dir) {
  const shims = settings.shims ?? path.join(ROOT, 'build/tests');
  const shim = path.join(shims, 'fault.so');
  if (!fs.existsSync(shim)) throw new Error(`${shim} is not built: make shims`);
  const control = path.join(dir, 'fault');
  const disk = {
    options: {
      dir,
      bin: plainBinary(),
      env: {
        LD_PRELOAD: shim,
        FAULT_FILES: path.join(dir, 'encke.db'),
        FAULT_CONTROL: control,
      },
    },
    // Words as fault.c explains them; none: the disk is well.
    set(...words) {
      fs.writeFileSync(`${control}.new`, `${words.join(' ')}\n`);
      fs.renameSync(`${control}.new`, control);
    },
    hits(kind) {
      try {
        return fs
          .readFileSync(`${control}.hits`, 'utf8')
          .split('\n')
          .filter((l) => l === kind).length;
      } catch {
        return 0;
      }
    },
    // Waits until the daemon runs into the fault once more than `since`.
    hit: (kind, since = 0) =>
      until(`the daemon's ${kind} meets the fault`, () => disk.hits(kind) > since),
  };
  return disk;
}
