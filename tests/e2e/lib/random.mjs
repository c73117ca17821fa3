// Random numbers that a failing run can be repeated with: the seed is told, and ENCKE_SEED sets it.
import { createHash } from 'node:crypto';
import { settings } from './settings.mjs';

// With `fixed` it is that each time, unless ENCKE_SEED says otherwise.
export function random(name, fixed) {
  const seed = settings.seed ?? fixed ?? String(Date.now());
  if (seed !== fixed) process.stderr.write(`# ENCKE_SEED=${seed} for ${name}\n`);
  let state = createHash('sha256').update(`${seed} ${name}`).digest().readUInt32LE(0);
  const next = () => {
    // mulberry32
    state = (state + 0x6d2b79f5) | 0;
    let x = Math.imul(state ^ (state >>> 15), 1 | state);
    x = (x + Math.imul(x ^ (x >>> 7), 61 | x)) ^ x;
    return ((x ^ (x >>> 14)) >>> 0) / 2 ** 32;
  };
  const int = (below) => Math.floor(next() * below);
  return {
    seed,
    next,
    int,
    pick: (list) => list[int(list.length)],
    bytes: (n) => Buffer.from(Array.from({ length: n }, () => int(256))),
  };
}
