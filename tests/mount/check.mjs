// README's "Mount it on your server", typed as it stands by an ordinary user with sudo into a bare Debian
// 12 and 13, from nothing: apt installs, systemd is process 1, and the machine is booted again. `make
// check-mount` (DISTS=bookworm for one of them); for root, with a network and debootstrap.
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import assert from 'node:assert/strict';
import { claim, ROOT } from '../e2e/lib/harness.mjs';
import { Machine, STEPS } from '../e2e/lib/machine.mjs';
import { carries, reloads, showsThePage } from '../e2e/lib/mounted.mjs';

const DEBIAN = path.join(ROOT, 'tests/mount/debian');
const DISTS = (process.env.DISTS || 'bookworm trixie').split(' ');

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
const asOwner = (line) => `su - owner -c ${quoted(`cd encke && { ${line}\n}`)}`;

async function mounted(machine, server) {
  await carries(machine);
  await showsThePage(machine);
  await reloads(machine, server);
  await machine.reboot();
  await carries(machine);
}

for (const dist of DISTS)
  claim(
    `from nothing to a page that is live (${dist})`,
    async (t) => {
      const made = spawnSync(DEBIAN, ['make', dist], { encoding: 'utf8' });
      assert.equal(made.status, 0, made.stderr);
      // Beside what was made, since a temporary folder may be in memory.
      const store = process.env.STORE || '/var/tmp/encke-mount';
      const folder = fs.mkdtempSync(path.join(store, 'machine-'));
      t.after(() => fs.rmSync(folder, { recursive: true, force: true }));
      const machine = await Machine.open(t, [DEBIAN, 'boot', dist], { folder, wrap: asOwner });
      await machine.type(STEPS.daemon);
      const units = 'systemd-analyze verify --man=no encke.socket encke.service 2>&1 | grep encke';
      assert.equal((await machine.sh(units)).stdout, '');
      await machine.type(STEPS.nginx);
      await mounted(machine, 'nginx');
      await machine.type('sudo systemctl disable --now nginx');
      await machine.type(STEPS.lighttpd);
      await mounted(machine, 'lighttpd');
    },
    { timeout: 1_800_000 },
  );
