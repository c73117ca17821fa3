// A machine on which to follow README's "Mount it on your server": tests/mount/sandbox, made in a
// moment, or with tests/mount/debian a whole Debian, from nothing. Commands run in it.
//
//   const machine = await Machine.open(t, [path.join(ROOT, 'tests/mount/sandbox')]);
//   await machine.type(STEPS.nginx);
//   assert.equal((await machine.ask('/')).status, 200);
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { defer, ROOT, run, tempDir, until, within } from './harness.mjs';

const COMMAND_MS = 300_000; // a compiler, and apt, on a busy machine
const README = fs.readFileSync(path.join(ROOT, 'README.md'), 'utf8');
const SECTION = /^## Mount it on your server\n([^]*?)^## /m.exec(README)[1];

// README's indented block with this in it, as a list of lines.
function block(what) {
  const found = SECTION.split(/\n\n+/).filter((part) => /^ {4}/.test(part) && part.includes(what));
  assert.equal(found.length, 1, `one block of README's has ${what}`);
  return found[0].trimEnd().split('\n').map((line) => line.replace(/^ {4}(\$ )?/, ''));
}

// The lines that README has one type.
export const STEPS = {
  daemon: block('make install'),
  nginx: block('install -y nginx'),
  lighttpd: block('install -y lighttpd'),
  see: block('comet/create'),
};

const inCheckout = (line) => `cd '${ROOT}' && { ${line}\n}`;

// Below this process the one that is process 1 of its own namespace.
function initOf(pid) {
  const children = fs.readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8');
  for (const child of children.trim().split(' ').filter(Boolean)) {
    const first = /^NSpid:.*\t1$/m.test(fs.readFileSync(`/proc/${child}/status`, 'utf8'));
    const found = first ? child : initOf(child);
    if (found) return found;
  }
  return null;
}

export class Machine {
  // `argv` and a new folder: a program that makes the machine, says "ready", and ends it when its
  // input ends. `wrap` has a line run by somebody else than root.
  static async open(t, argv, { folder = tempDir(t), wrap = inCheckout } = {}) {
    const machine = new Machine();
    Object.assign(machine, { argv, folder, wrap, env: { ...process.env } });
    for (const name of ['MAKEFLAGS', 'MAKELEVEL', 'MFLAGS']) delete machine.env[name];
    await machine.boot();
    defer(t, () => machine.end());
    return machine;
  }

  async boot() {
    this.process = run([...this.argv, this.folder], { stdin: 'pipe' });
    await until(
      'the machine is ready',
      () => {
        if (this.process.ended) throw new Error('it ended');
        return /^ready$/m.test(this.process.stdout);
      },
      { within: COMMAND_MS },
    ).catch((error) => {
      throw new Error(`${error.message}: ${this.process.stderr}`, { cause: error });
    });
    this.init = initOf(this.process.pid);
  }

  async end() {
    this.process.child.stdin.end();
    await within(this.process.exited, 60_000, 'the machine to end');
  }

  // All of it that is not on a disk is gone, and what is enabled starts.
  async reboot() {
    await this.end();
    await this.boot();
  }

  // A command line, by the machine's shell: {code, stdout, stderr}.
  async sh(line) {
    const user = process.getuid() ? ['--user', '--preserve-credentials'] : [];
    const spaces = ['--mount', '--net', '--pid'];
    const enter = ['nsenter', '--target', this.init, ...user, ...spaces];
    const command = run([...enter, '/bin/sh', '-c', this.wrap(line)], { env: this.env });
    const { code } = await within(command.exited, COMMAND_MS, line);
    return { code, stdout: command.stdout, stderr: command.stderr };
  }

  // Lines that must succeed, one after the other; what the last said.
  async type(lines) {
    let said = '';
    for (const line of [lines].flat()) {
      const { code, stdout, stderr } = await this.sh(line);
      assert.equal(code, 0, `${line}\n${stdout}${stderr}`);
      said = stdout;
    }
    return said;
  }

  // What the machine's web server answers to curl: {status, body}.
  async ask(at, options = '', host = 'localhost') {
    const curl = `curl -s -m 60 -w '\\n%{http_code}' ${options} 'http://${host}${at}'`;
    const { stdout, code } = await this.sh(curl);
    const [, body, status] = /^([^]*)\n(\d+)$/.exec(stdout);
    return { status: Number(status), body, code };
  }
}
