#!/usr/bin/env python3
"""Checks the structure of the program: which file reaches which, and that names are unique.

    FOLDERS='store fcgi/io ...' tests/lint/structure.py build

Run it in the root of the project, with the folder of the objects. FOLDERS is their order, as the
Makefile has it. It prints each fault, and exits with 1 if there is one. A fault is

  * an arrow against the order of the folders: a file reaches only files of its own folder and of
    the folders before it;
  * a circle between the files of a folder;
  * two functions of one name in two files, static ones too: gdb and perf show only the name.

A .c and its .h are one file here, and so are called without their ending. A file reaches another
if one of its two includes a header of the other, or if its object needs a symbol that the object
of the other defines: so an `extern` of its own does not hide an arrow.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

ORDER = os.environ['FOLDERS'].split()

INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)\.h"', re.MULTILINE)
# clang-format keeps a definition at the start of a line, and its brace alone on one.
ATTRIBUTE = re.compile(r'__attribute__\(\(.*\)\)\s*')
FUNCTION = re.compile(r'^[a-z][^;{}#=()]*\b(\w+)\([^;{}]*\)\n\{', re.MULTILINE)


# ---- what there is --------------------------------------------------------------------------


def sources(root):
    """All .c and .h files, as (file, path): ('store/log', Path('.../store/log.h'))."""
    for top in sorted({folder.split('/')[0] for folder in ORDER}):
        for path in sorted((root / top).rglob('*.[ch]')):
            yield path.relative_to(root).with_suffix('').as_posix(), path


def included(root):
    """The includes, as {(from, to): 'why'}."""
    found = {}
    for file, path in sources(root):
        for other in INCLUDE.findall(path.read_text()):
            if other != file and (root / (other + '.h')).exists():
                found.setdefault((file, other), f'{file}{path.suffix} includes {other}.h')
    return found


def symbols(root, objects):
    """The symbols that objects need and define, as {file: names} each."""
    needs, defines = {}, {}
    files = [file for file, path in sources(root) if path.suffix == '.c']
    nm = [os.environ.get('NM', 'nm'), '-A', '-P', *(f'{file}.o' for file in files)]
    for line in subprocess.check_output(nm, cwd=objects, text=True).splitlines():
        file, symbol = line.split('.o: ', 1)
        name, kind = symbol.split()[:2]
        if kind in 'Uw':
            needs.setdefault(file, []).append(name)
        elif kind.isupper():
            defines[name] = file
    return needs, defines


def linked(root, objects):
    """The arrows that the linker follows, as {(from, to): 'why'}."""
    needs, defines = symbols(root, objects)
    found = {}
    for file, names in needs.items():
        for name in names:
            other = defines.get(name, file)
            if other != file:
                found.setdefault((file, other), f'{file}.c uses {name} of {other}.c')
    return found


def functions(root):
    """Where each function is defined, as {name: files}."""
    where = {}
    for file, path in sources(root):
        for name in FUNCTION.findall(ATTRIBUTE.sub('', path.read_text())):
            where.setdefault(name, set()).add(file)
    return where


# ---- what is wrong with it ------------------------------------------------------------------


def folder(file):
    return file.rsplit('/', 1)[0]


def upward(arrow):
    source, target = arrow
    return ORDER.index(folder(source)) < ORDER.index(folder(target))


def way(arrows, start, end):
    """The files of a shortest way along the arrows, both ends too; None if there is none."""
    ways = newest = {start: [start]}
    while newest and end not in ways:
        newest = {b: [*newest[a], b] for a, b in arrows if a in newest and b not in ways}
        ways = {**ways, **newest}
    return ways.get(end)


def beside(arrows):
    """The arrows within a folder: a circle across folders has an arrow upward, too."""
    return [(a, b) for a, b in arrows if folder(a) == folder(b)]


def circles(arrows):
    """A shortest circle of each knot of files, from a file to the same file."""
    arrows, seen = beside(arrows), set()
    for first, second in arrows:
        back = None if first in seen else way(arrows, second, first)
        if back:
            seen.update(f for f, _ in arrows if way(arrows, first, f) and way(arrows, f, first))
            yield [first, *back]


def faults_of_arrows(why):
    """What is wrong with the arrows, as messages."""
    for arrow, reason in sorted(why.items()):
        if upward(arrow):
            yield f'{folder(arrow[0])} comes before {folder(arrow[1])}, but {reason}'
    for circle in circles(sorted(why)):
        steps = [why[step] for step in zip(circle, circle[1:])]
        yield f'{len(steps)} files form a circle:' + ''.join(f'\n    {step}' for step in steps)


def faults_of_names(where):
    """Which functions have one name, as messages."""
    for name, files in sorted(where.items()):
        if len(files) > 1:
            yield f'{name}() is the name of a function in each of {", ".join(sorted(files))}'


def faults(root, objects):
    """All that is wrong, as messages."""
    places = sorted({folder(file) for file, _ in sources(root)} - set(ORDER))
    if places:
        return [f'{place} has no place in the order of the folders: give it one in the Makefile'
                for place in places]
    why = {**linked(root, objects), **included(root)}
    return [*faults_of_arrows(why), *faults_of_names(functions(root))]


if __name__ == '__main__':
    found = faults(Path.cwd(), Path(sys.argv[1]))
    for fault in found:
        print(f'structure: {fault}')
    sys.exit(1 if found else 0)
