// README's "Mount it on your server", typed as it stands into a machine in Debian's stock layout: a
// namespace of this one (tests/mount/sandbox; `make check-mount` does it in whole Debians).
import { spawnSync } from 'node:child_process';
import path from 'node:path';
import { claim, ROOT, throughBoth } from './lib/harness.mjs';
import { Machine, STEPS } from './lib/machine.mjs';
import { carries, reloads, showsTheOther, showsThePage } from './lib/mounted.mjs';

const SANDBOX = path.join(ROOT, 'tests/mount/sandbox');
const DEFAULT = '/etc/nginx/sites-available/default';

async function sandbox(t) {
  if (spawnSync('unshare', ['--user', '--map-root-user', '--mount', 'true']).status !== 0 && process.getuid())
    return t.skip('this machine lets an ordinary user have no namespaces of his own');
  const machine = await Machine.open(t, [SANDBOX]);
  // and root's folders, which an ordinary user's PATH has not
  machine.env.PATH = `${path.join(ROOT, 'tests/mount/shims')}:${machine.env.PATH}:/usr/local/sbin:/usr/sbin:/sbin`;
  await machine.type(STEPS.daemon);
  return machine;
}

throughBoth("README's steps mount the page and Encke", async (t, server) => {
  const machine = await sandbox(t);
  if (!machine) return;
  await machine.type(STEPS[server]);
  await carries(machine);
  await showsThePage(machine);
  await reloads(machine, server);
  // Nor does it hurt to do it again, but that Debian calls a module that is enabled an error.
  await machine.type(STEPS[server].filter((line) => !line.includes('lighty-enable-mod')));
  await carries(machine);
});

claim('Encke stands beside a site that is there already (nginx)', async (t) => {
  const machine = await sandbox(t);
  if (!machine) return;
  const steps = STEPS.nginx.filter((line) => !/^sudo (ln|rm) /.test(line));
  const include = `sudo sed -i '0,/server_name _;/s//&\\n include snippets\\/encke.conf;/' ${DEFAULT}`;
  await machine.type([...steps.slice(0, -1), include, ...steps.slice(-1)]);
  await carries(machine);
  await showsTheOther(machine, /Welcome to nginx/);
});

claim('Encke stands beside a site that is there already (lighttpd)', async (t) => {
  const machine = await sandbox(t);
  if (!machine) return;
  const mine = 'server.document-root = "/usr/local/mine"';
  const site = `mkdir /usr/local/mine && echo mine >/usr/local/mine/index.html && echo '$HTTP["host"] =~ "" { ${mine} }'`;
  await machine.type(`${site} >/etc/lighttpd/conf-enabled/60-mine.conf`);
  await machine.type(STEPS.lighttpd.map((line) => line.replace('encke encke-page', 'encke')));
  await carries(machine);
  await showsTheOther(machine, /^mine$/m);
});

claim('what 50-encke.conf says of bin-path works as it says', async (t) => {
  const machine = await sandbox(t);
  if (!machine) return;
  const conf = '/etc/lighttpd/conf-available/50-encke.conf';
  await machine.type('sudo systemctl disable --now encke.service');
  const [restart] = STEPS.lighttpd.slice(-1);
  await machine.type(STEPS.lighttpd.slice(0, -1));
  await machine.type([
    `sudo sed -i 's,/run/encke/,/run/lighttpd/,; s/^\\( *\\)#\\("bin-path"\\|"max-procs"\\|"bin-environment"\\| *"ENCKE_\\|)\\)/\\1\\2/' ${conf}`,
    (await machine.sh(`sed -n 's/^ *# *\\(install -d .*\\)/sudo \\1/p' ${conf}`)).stdout.trim(),
    restart,
  ]);
  await carries(machine);
  await showsThePage(machine);
});
