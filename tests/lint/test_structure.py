#!/usr/bin/env python3
"""Tests of structure.py: each makes a small tree of sources, compiles it and checks it."""

import os
import subprocess
import tempfile
import unittest
from pathlib import Path

os.environ['FOLDERS'] = 'store fcgi/io fcgi/wire fcgi'

import structure  # noqa: E402 (it reads FOLDERS)

CC = os.environ.get('CC', 'cc').split()


class Tree(unittest.TestCase):
    def setUp(self):
        made = tempfile.TemporaryDirectory()
        self.addCleanup(made.cleanup)
        self.root = Path(made.name)

    def write(self, name, text):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        if path.suffix == '.c':
            subprocess.run([*CC, '-I.', '-c', name, '-o', f'{name[:-2]}.o'], cwd=self.root, check=True)

    def faults(self):
        return structure.faults(self.root, self.root)

    def test_a_file_may_reach_its_own_folder_and_those_before(self):
        self.write('store/log.h', 'int log_open(void);\n')
        self.write('store/log.c', '#include "store/log.h"\n\nint log_open(void)\n{\n    return 0;\n}\n')
        self.write('fcgi/io/buf.h', '')
        self.write('fcgi/io/loop.c', '#include "store/log.h"\n#include "fcgi/io/buf.h"\n')
        self.assertEqual(self.faults(), [])

    def test_an_include_upward_is_a_fault(self):
        self.write('fcgi/io/buf.h', '')
        self.write('store/log.h', '#include "fcgi/io/buf.h"\n')
        self.write('store/log.c', '#include "store/log.h"\n')
        self.assertEqual(self.faults(), [
            'store comes before fcgi/io, but store/log.h includes fcgi/io/buf.h'])

    def test_a_symbol_upward_is_a_fault_without_an_include(self):
        self.write('store/log.c', 'extern int loops;\n\nint *log_loops(void)\n{\n    return &loops;\n}\n')
        self.write('fcgi/io/loop.c', 'int loops = 1;\n')
        self.assertEqual(self.faults(), [
            'store comes before fcgi/io, but store/log.c uses loops of fcgi/io/loop.c'])

    def test_a_circle_is_told_with_its_whole_way(self):
        self.write('store/a.h', '#include "store/b.h"\n')
        self.write('store/b.h', '')
        self.write('store/c.h', '#include "store/a.h"\n')
        self.write('store/a.c', 'int in_a;\n')
        self.write('store/b.c', 'extern int in_c;\n\nint *of_b(void)\n{\n    return &in_c;\n}\n')
        self.write('store/c.c', 'int in_c;\n')
        self.assertEqual(self.faults(), [
            '3 files form a circle:\n'
            '    store/a.h includes store/b.h\n'
            '    store/b.c uses in_c of store/c.c\n'
            '    store/c.h includes store/a.h'])

    def test_twin_names_are_a_fault_also_of_static_functions(self):
        text = 'static __attribute__((unused)) void *give(int a,\n    int b)\n{\n    return 0;\n}\n'
        self.write('store/a.c', text)
        self.write('fcgi/io/b.c', text)
        self.assertEqual(self.faults(), [
            'give() is the name of a function in each of fcgi/io/b, store/a'])

    def test_a_folder_needs_a_place_in_the_order(self):
        self.write('fcgi/cluster/node.h', '')
        self.assertEqual(self.faults(), [
            'fcgi/cluster has no place in the order of the folders: give it one in the Makefile'])


if __name__ == '__main__':
    unittest.main()
