// A real file system that is really full at some time: a small tmpfs. A process holds it in a mount namespace of its
// own, where an ordinary user, too, may mount one.
//
//   const small = await smallDisk(t, '2m');
//   if (small.refused) return t.skip(small.refused);
//   startStack(t, { db: path.join(small.dir, 'encke.db'), wrap: small.wrap });
//   fs.writeFileSync(path.join(small.seen, 'ballast'), bytes);
import { defer, run, tempDir, until } from './harness.mjs';

// `dir` is its path for what is started with `wrap`, `seen` the same folder for this process. `refused`: why there is
// none here.
export async function smallDisk(t, size) {
  const dir = tempDir(t);
  const root = process.getuid() === 0;
  const mount = `mount -t tmpfs -o size=${size},mode=755 encke-test "$1" && echo mounted && exec cat`;
  const unshare = ['unshare', '--mount', ...(root ? [] : ['--map-root-user'])];
  const keeper = run([...unshare, 'sh', '-c', mount, 'sh', dir], { stdin: 'pipe' });
  defer(t, () => keeper.stop('SIGKILL'));
  await until('a small tmpfs is mounted', () => keeper.stdout === 'mounted\n' || keeper.ended);
  if (keeper.ended) return { refused: `no tmpfs of our own can be mounted here: ${keeper.stderr.trim()}` };
  const enter = ['nsenter', `--target=${keeper.pid}`, '--mount', ...(root ? [] : ['--user', '--preserve-credentials'])];
  return { dir, seen: `/proc/${keeper.pid}/root${dir}`, wrap: enter };
}
