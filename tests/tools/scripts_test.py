#!/usr/bin/env python3
"""The shell entry points answer --help, and refuse what they do not know in one line."""

import pathlib
import subprocess
import unittest

TOOLS = pathlib.Path(__file__).resolve().parents[2] / "tools"


def run(name, *arguments):
    return subprocess.run(
        [TOOLS / name, *arguments], capture_output=True, text=True, check=False,
        stdin=subprocess.DEVNULL, cwd="/")


class ScriptsTest(unittest.TestCase):
    def test_help_says_how_to_use_it(self):
        for name in ("setup", "run", "test"):
            with self.subTest(name):
                result = run(name, "--help")
                self.assertEqual(result.returncode, 0)
                self.assertTrue(result.stdout.startswith(f"usage: tools/{name}"), result.stdout)

    def test_an_unknown_argument_is_one_line_and_status_2(self):
        for name in ("setup", "run", "test"):
            with self.subTest(name):
                result = run(name, "--no-such-option")
                self.assertEqual(result.returncode, 2)
                self.assertEqual(result.stdout, "")
                self.assertRegex(
                    result.stderr, rf"\A{name}: unknown [a-z]+ --no-such-option .*--help.*\n\Z")

    def test_run_refuses_keep_without_a_directory(self):
        result = run("run", "--keep")
        self.assertEqual(result.returncode, 2)
        self.assertEqual(result.stderr, "run: --keep needs a directory\n")

    def test_setup_lists_every_package_with_its_reason(self):
        result = run("setup", "--cross", "--list")
        self.assertEqual(result.returncode, 0)
        lines = result.stdout.splitlines()
        self.assertGreater(len(lines), 20)
        for line in lines:
            self.assertRegex(line, r"\A\S+\s+\S.*\Z")
        self.assertTrue(any(line.startswith("libabsl-dev:arm64 ") for line in lines))


if __name__ == "__main__":
    unittest.main()
