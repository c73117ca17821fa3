// A test file comes to its end, or is ended by name. One that hangs cannot say so itself where it spins outside of
// JavaScript (Node does, in its last moment, over a handle that it lost), so a small process beside it does.
import { spawn } from 'node:child_process';
import path from 'node:path';
import { after } from 'node:test';

const QUIET_S = Number(process.env.E2E_QUIET_SECONDS ?? 900); // without a test that ends: more than any may take
const LEFT_S = Number(process.env.E2E_LEFT_SECONDS ?? 60); // from its last test to its end

const name = path.basename(process.argv[1] ?? 'node');

function giveUp(why) {
  const open = process.getActiveResourcesInfo().filter((what) => what !== 'Immediate');
  process.stderr.write(`${name}: ${why}; open are: ${open.join(' ')}\n`, () => process.exit(1));
}

// It reads a byte for each test that ends, and the end when this process closes all that it has, which should be its
// last moment. If either takes too long it asks for the end, and insists ten seconds later.
const WATCH = `
gone() {
    for _ in $(seq 100); do kill -0 "$PPID" 2>/dev/null || return 0; sleep 0.1; done
    false
}
why="though all is closed"
while :; do
    byte=$(timeout "$1" head -c 1) || { why="after $1 s, and does not listen"; kill -USR2 "$PPID"; break; }
    [ -n "$byte" ] || break
done
gone || { echo "$2: not at its end $why: killed" >&2; kill -KILL "$PPID"; }`;
const watch = spawn('/bin/sh', ['-c', WATCH, 'watch', String(QUIET_S), name], {
  stdio: ['pipe', 'ignore', 'inherit'],
});
watch.unref();
watch.stdin.unref();
watch.stdin.on('error', () => {});
process.on('SIGUSR2', () => giveUp(`no test has ended for ${QUIET_S} s`));

// Says that a test has ended.
export const ended = () => watch.stdin.write('.');

// What a test leaves open keeps the file from ending.
after(() => {
  setTimeout(() => giveUp(`its tests are over, but it does not end`), LEFT_S * 1000).unref();
});
