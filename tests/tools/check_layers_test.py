#!/usr/bin/env python3
"""The layering check passes on the tree, and fails on each seeded violation."""

import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHECK = ROOT / "tools" / "check_layers.py"


def run_check(root):
    return subprocess.run([sys.executable, CHECK, root], capture_output=True, text=True, check=False)


class CheckLayersTest(unittest.TestCase):
    def setUp(self):
        self.tree = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.tree)
        for top in ("vm_mem", "vm_device", "vm_engine", "tests", "tools"):
            shutil.copytree(ROOT / top, self.tree / top)

    def seed(self, name, line):
        path = self.tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="ascii") as file:
            file.write(line + "\n")

    def expect_violation(self, message):
        result = run_check(self.tree)
        self.assertEqual(result.returncode, 1, result.stdout)
        self.assertIn(message, result.stdout)
        self.assertEqual(len(result.stdout.splitlines()), 1, result.stdout)

    def test_the_tree_keeps_the_layering(self):
        result = run_check(self.tree)
        self.assertEqual(result.returncode, 0, result.stdout)

    def test_device_must_not_include_engine(self):
        self.seed("vm_device/seeded.cc", '#include "vm_engine/engine.h"')
        self.expect_violation("vm_device/seeded.cc:1: vm_device must not include vm_engine")

    def test_engine_must_not_include_device(self):
        self.seed("vm_engine/seeded.cc", "#include <vm_device/dma.h>")
        self.expect_violation("vm_engine/seeded.cc:1: vm_engine must not include vm_device")

    def test_mem_must_not_include_device(self):
        self.seed("vm_mem/seeded.h", '#include "vm_device/dma.h"')
        self.expect_violation("vm_mem must not include vm_device")

    def test_public_header_must_not_include_internal(self):
        self.seed("vm_mem/seeded.h", '  #  include "vm_mem/internal/copy_kernels.h"')
        self.expect_violation("a public header must not include vm_mem/internal/")

    def test_internal_is_private_to_its_layer(self):
        self.seed("vm_device/seeded.cc", '#include "vm_mem/internal/copy_kernels.h"')
        self.expect_violation("vm_mem/internal/ is private to vm_mem")

    def test_tests_of_a_layer_may_look_inside(self):
        self.seed("tests/vm_mem/seeded.cc", '#include "vm_mem/internal/copy_kernels.h"')
        self.assertEqual(run_check(self.tree).returncode, 0)

    def test_public_header_must_not_be_conditional(self):
        self.seed("vm_device/seeded.h", "#if defined(__x86_64__)")
        self.expect_violation("a public header must not use #if")

    def test_library_source_must_not_be_conditional(self):
        self.seed("vm_mem/internal/seeded.inc", "#ifdef __aarch64__")
        self.expect_violation("a library source must not use #ifdef")

    def test_library_must_not_end_the_process(self):
        self.seed("vm_mem/seeded.cc", "void f() { std::abort(); }")
        self.expect_violation("the library must not print or end the process")

    def test_a_source_begins_with_its_header(self):
        path = self.tree / "vm_mem" / "access.cc"
        path.write_text("#include <vector>\n" + path.read_text(encoding="ascii"), encoding="ascii")
        self.expect_violation("vm_mem/access.cc: must include vm_mem/access.h first")


if __name__ == "__main__":
    unittest.main()
