#!/usr/bin/env python3
"""The shell entry points answer --help, and refuse what they do not know in one line."""

import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

TOOLS = pathlib.Path(__file__).resolve().parents[2] / "tools"


def run(name, *arguments):
    return subprocess.run(
        [TOOLS / name, *arguments], capture_output=True, text=True, check=False,
        stdin=subprocess.DEVNULL, cwd="/")


def write_program(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n" + text, encoding="ascii")
    path.chmod(0o755)


def run_around(folder, vmrun, *arguments):
    """tools/run in a tree of its own, around a program that stands in for vmrun."""
    write_program(folder / "tools" / "setup", "exit 0\n")
    write_program(folder / "bin" / "cmake", "exit 0\n")
    write_program(folder / "build" / "release" / "tools" / "vmrun" / "vmrun", vmrun)
    shutil.copy(TOOLS / "run", folder / "tools" / "run")
    scratch = folder / "scratch"
    scratch.mkdir()
    environment = {**os.environ, "TMPDIR": str(scratch), "PIDFILE": str(folder / "pid"),
                   "PATH": f"{folder / 'bin'}:{os.environ['PATH']}:/usr/sbin:/sbin"}
    return subprocess.run(
        ["sh", "-c", 'echo $$ >"$PIDFILE"; exec "$0" "$@"', folder / "tools" / "run", *arguments],
        capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, env=environment)


def has_mke2fs():
    return shutil.which("mke2fs", path=f"{os.environ['PATH']}:/usr/sbin:/sbin") is not None


class ScriptsTest(unittest.TestCase):
    def test_help_says_how_to_use_it(self):
        for name in ("setup", "run", "test", "fuzz", "soak", "coverage", "vhost_front_ends"):
            with self.subTest(name):
                result = run(name, "--help")
                self.assertEqual(result.returncode, 0)
                self.assertTrue(result.stdout.startswith(f"usage: tools/{name}"), result.stdout)

    def test_an_unknown_argument_is_one_line_and_status_2(self):
        for name in ("setup", "run", "test", "fuzz", "soak", "coverage", "vhost_front_ends"):
            with self.subTest(name):
                result = run(name, "--no-such-option")
                self.assertEqual(result.returncode, 2)
                self.assertEqual(result.stdout, "")
                self.assertRegex(
                    result.stderr, rf"\A{name}: unknown [a-z]+ --no-such-option .*--help.*\n\Z")

    def test_what_is_no_number_of_seconds_is_refused(self):
        wrong = ("", "0", "-1", "1.5", "ten", "86401", "99999999999999999999")
        for name, seconds in [(name, seconds) for name in ("fuzz", "soak") for seconds in wrong]:
            with self.subTest(name=name, seconds=seconds):
                result = run(name, "--seconds", seconds)
                self.assertEqual(result.returncode, 2)
                self.assertEqual(result.stdout, "")
                self.assertEqual(
                    result.stderr,
                    f"{name}: --seconds {seconds}: want 1 to 86400 (see tools/{name} --help)\n")
        for name in ("fuzz", "soak"):
            result = run(name, "--seconds")
            self.assertEqual((result.returncode, result.stderr),
                             (2, f"{name}: --seconds needs a number (see tools/{name} --help)\n"))

    def test_run_refuses_keep_without_a_directory(self):
        result = run("run", "--keep")
        self.assertEqual(result.returncode, 2)
        self.assertEqual(result.stderr, "run: --keep needs a directory\n")

    @unittest.skipUnless(has_mke2fs(), "e2fsprogs is not installed")
    def test_run_keeps_its_hands_off_other_files_of_the_kept_folder(self):
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            theirs = folder / "kept" / "files" / "letter"
            theirs.parent.mkdir(parents=True)
            theirs.write_text("dear", encoding="ascii")
            result = run_around(folder, "exit 1\n", "--keep", folder / "kept")
            self.assertEqual(result.returncode, 1)
            self.assertEqual(result.stderr, "run: vmrun exited with 1\n")
            self.assertEqual(theirs.read_text(encoding="ascii"), "dear")
            self.assertTrue((folder / "kept" / "disk.img").exists())

    def test_run_says_in_one_line_that_there_is_no_disk_image(self):
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            write_program(folder / "bin" / "mke2fs", "echo first >&2; echo no space >&2; exit 1\n")
            result = run_around(folder, "exit 0\n")
            self.assertEqual(result.returncode, 1)
            self.assertRegex(result.stderr, r"\Arun: no disk image in \S+: no space \(TMPDIR .*\)\n\Z")

    @unittest.skipUnless(has_mke2fs(), "e2fsprogs is not installed")
    def test_run_passes_on_what_is_vmruns(self):
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            result = run_around(
                folder, 'printf "%s\\n" "$@" >"${PIDFILE%pid}arguments"; exit 1\n', "--cpu", "jit",
                "--append", "two words", "--keep", folder / "kept", "--trace", "t", "--rng", "--",
                "--net", "a b", "--keep")
            self.assertEqual(result.stderr, "run: vmrun exited with 1\n")
            passed = (folder / "arguments").read_text(encoding="ascii").splitlines()
            self.assertEqual(passed[passed.index("--cpu"):],
                             ["--cpu", "jit", "--append", "two words", "--trace",
                              f"{os.getcwd()}/t", "--rng", "--net", "a b", "--keep"])
            self.assertTrue((folder / "kept" / "disk.img").exists())

    def test_run_refuses_an_option_of_vmruns_without_its_value(self):
        result = run("run", "--cpu")
        self.assertEqual((result.returncode, result.stderr), (2, "run: --cpu needs a value\n"))

    @unittest.skipUnless(has_mke2fs(), "e2fsprogs is not installed")
    def test_run_leaves_nothing_behind_when_it_is_stopped(self):
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            result = run_around(folder, 'kill -TERM "$(cat "$PIDFILE")"\n')
            self.assertEqual(result.returncode, 143)
            self.assertEqual(list((folder / "scratch").iterdir()), [])

    def test_setup_lists_every_package_with_its_reason(self):
        result = run("setup", "--cross", "--list")
        self.assertEqual(result.returncode, 0)
        lines = result.stdout.splitlines()
        self.assertGreater(len(lines), 20)
        for line in lines:
            self.assertRegex(line, r"\A\S+\s+\S.*\Z")
        self.assertTrue(any(line.startswith("libabsl-dev:arm64 ") for line in lines))

    def test_setup_installs_the_peers_of_the_benchmarks_on_request_alone(self):
        for arguments, wanted in (((), False), (("--run",), False), (("--bench",), True)):
            result = run("setup", *arguments, "--list")
            self.assertEqual(result.returncode, 0)
            self.assertEqual("librust-vm-memory-dev" in result.stdout, wanted, arguments)


if __name__ == "__main__":
    unittest.main()
