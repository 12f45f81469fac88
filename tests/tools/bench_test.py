#!/usr/bin/env python3
"""tools/bench: what it prints and writes, and what it refuses. Argument: the folder of the
suite programs that the build made."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

BENCH = pathlib.Path(__file__).resolve().parents[2] / "tools" / "bench"
PROGRAMS = pathlib.Path(sys.argv.pop()).resolve()
RATIO = re.compile(r"ratio copy/(\w+) \d+\.\d\d \(\d+\.\d\d-\d+\.\d\d\) vs libc( .*)?")
# Regimes of the default build: no CPU feature is needed to measure them.
FAST = "u256_called,hot_1m"


def bench(*arguments, **environment):
    return subprocess.run(
        [BENCH, *arguments], capture_output=True, text=True, check=False, cwd="/",
        stdin=subprocess.DEVNULL, env={**os.environ, **environment})


def write_script(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n" + text, encoding="ascii")
    path.chmod(0o755)


def write_program(folder, text):
    for name in ("bench_copy_inlined", "bench_copy_called", "bench_copy_row"):
        write_script(folder / name, text)


class BenchTest(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.folder = pathlib.Path(scratch.name)
        self.json = self.folder / "out.json"

    def assert_refused(self, result, status, pattern):
        self.assertEqual(result.returncode, status, result.stderr)
        self.assertRegex(result.stderr, rf"\Abench: {pattern}\n\Z")

    def run_fast(self, *arguments):
        return bench("copy", "--programs", PROGRAMS, "--quick", "--rounds", "2", "--only", FAST,
                     *arguments)

    def test_list_names_the_suites(self):
        result = bench("--list")
        self.assertEqual(result.returncode, 0)
        for suite in ("copy", "dma", "guest"):
            self.assertRegex(result.stdout, rf"(?m)^{suite} +\S.*$")

    def test_help_says_how_to_use_it(self):
        result = bench("--help")
        self.assertEqual(result.returncode, 0)
        self.assertTrue(result.stdout.startswith("usage: tools/bench"), result.stdout)

    def test_a_wrong_command_line_is_one_line_and_status_2(self):
        for words, pattern in (
                ([], "want a suite: copy .*"),
                (["nosuch"], "unknown suite nosuch; there are: copy.*"),
                (["copy", "--nosuch"], ".*--nosuch.*--help.*"),
                (["copy", "--rounds", "0"], ".*at least 1.*"),
                (["copy", "--rounds", "many"], ".*many.*"),
                (["copy", "--seed"], ".*--seed.*")):
            with self.subTest(words):
                result = bench(*words)
                self.assertEqual(result.stdout, "")
                self.assert_refused(result, 2, pattern)

    def test_a_json_file_that_cannot_be_written_is_refused_before_anything_runs(self):
        for path in (self.folder, self.folder / "no" / "such.json"):
            result = bench("copy", "--programs", PROGRAMS, "--json", path)
            self.assertEqual(result.stdout, "")
            self.assert_refused(result, 2, f"{path} cannot be written")

    def test_an_unknown_regime_is_refused_with_those_there_are(self):
        result = bench("copy", "--programs", PROGRAMS, "--only", "hot_1m,nosuch")
        self.assert_refused(result, 2, "unknown regime nosuch; there are: .*hot_1m.*worst.*")

    def test_it_prints_a_line_per_regime_and_writes_them_all(self):
        result = self.run_fast("--json", self.json)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(result.stderr, "")
        lines = [line for line in result.stdout.splitlines() if line.startswith("ratio ")]
        self.assertEqual([RATIO.fullmatch(line)[1] for line in lines], FAST.split(","))
        self.assertNotIn("progress", result.stdout)
        document = json.loads(self.json.read_text("ascii"))
        self.assertEqual([row["name"] for row in document["rows"]],
                         [f"copy/{name}" for name in FAST.split(",")])
        for row in document["rows"]:
            self.assertEqual(row["rounds"], 2)
            self.assertEqual(len(row["ratios"]), 2)
            self.assertLessEqual(row["min"], row["median"])
        self.assertLess({"cpu", "caches", "kernel", "libc", "governor"}, set(document["machine"]))
        settings = {program["program"]: program["settings"] for program in document["programs"]}
        self.assertEqual(settings["bench_copy_called"]["run"]["seed"], 1)
        self.assertIn("stream_min", settings["bench_copy_called"]["policy"])

    @unittest.skipUnless(os.uname().machine == "x86_64", "the row is one of x86-64's")
    def test_a_forced_row_is_measured_in_that_row(self):
        result = bench("copy", "--programs", PROGRAMS, "--quick", "--rounds", "1", "--only",
                       "sse2_fleet", "--json", self.json)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertRegex(result.stdout, r"(?m)^ratio copy/sse2_fleet ")
        programs = json.loads(self.json.read_text("ascii"))["programs"]
        rows = {program["program"]: program["settings"]["policy"]["row"] for program in programs}
        self.assertEqual(rows["bench_copy_row VM_MEM_ISA=sse2"], "sse2")

    def test_the_worst_row_names_its_point_and_libc_against_itself(self):
        result = bench("copy", "--programs", PROGRAMS, "--quick", "--rounds", "1", "--only",
                       "worst", "--points", "--json", self.json)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertRegex(result.stdout, r"(?m)^ratio copy/worst \S+ \(\S+\) vs libc at \S+; "
                                        r"libc against itself \S+ \(\S+\) at \S+$")
        points = json.loads(self.json.read_text("ascii"))["points"]
        names = {point["point"] for point in points if point["name"] == "copy/worst"}
        for kind in ("fixed/aligned/", "fixed/misaligned/", "page/crossing/", "page/end/",
                     "load_back/", "L2/", "L3/", "DRAM/"):
            self.assertTrue(any(name.startswith(kind) for name in names), kind)
        self.assertEqual(len(names), result.stdout.count("point copy/worst "))

    def test_a_missing_size_distribution_is_refused_before_the_build(self):
        result = bench("copy", "--sizes", self.folder / "none.csv")
        self.assert_refused(result, 2, ".*argument --sizes: .*none.csv cannot be read.*")

    def test_a_wrong_size_distribution_is_refused_with_what_was_read(self):
        sizes = self.folder / "sizes.csv"
        for text, reason in (("", "read an empty line.*want BYTES:SHARE.*"),
                             ("1:0.5,2:0.6", "read shares that sum to 1.1; want 1.*"),
                             ("1:0.5,x", 'read "x" at column 7; want BYTES:SHARE.*')):
            with self.subTest(text):
                sizes.write_text(text, encoding="ascii")
                result = bench("copy", "--programs", PROGRAMS, "--only", "fleet_called",
                               "--sizes", sizes, "--json", self.json)
                self.assert_refused(result, 2, rf".* failed: {sizes}:1: {reason}")
                self.assertFalse(self.json.exists())

    def test_a_wrong_isa_is_refused_with_what_was_read(self):
        for suite, regime in (("copy", "hot_1m"), ("guest", "churn")):
            result = bench(suite, "--programs", PROGRAMS, "--only", regime, VM_MEM_ISA="nosuch")
            self.assert_refused(result, 2, ".*VM_MEM_ISA.*nosuch.*")

    def test_a_missing_program_is_named(self):
        result = bench("copy", "--programs", self.folder)
        self.assert_refused(result, 1, rf"{self.folder}/bench_copy_\w+ cannot be run: No such file.*")

    def test_a_failing_program_leaves_the_old_json_as_it_was(self):
        self.json.write_text("old", encoding="ascii")
        for script, pattern in (
                ("echo first >&2; echo broke >&2; exit 3\n", r"bench_copy_\w+ failed: broke"),
                ("kill -9 $$\n", r"bench_copy_\w+ failed: status -9"),
                ("echo nonsense\n", r"bench_copy_\w+ printed no result line: nonsense")):
            with self.subTest(script):
                write_program(self.folder, script)
                result = bench("copy", "--programs", self.folder, "--json", self.json)
                self.assert_refused(result, 1, pattern)
                self.assertEqual(self.json.read_text("ascii"), "old")
                self.assertEqual(len(list(self.folder.glob(".out.json*"))), 0)

    def test_a_guest_row_is_a_ratio_or_says_what_is_missing(self):
        rows = ["read8", "block_64", "unicorn8", "bulk_overhead_64k", "churn", "load8_1"]
        result = bench("guest", "--programs", PROGRAMS, "--quick", "--rounds", "1", "--only",
                       ",".join(rows))
        self.assertEqual(result.returncode, 0, result.stderr)
        lines = [line for line in result.stdout.splitlines() if not line.startswith("#")]
        self.assertEqual(len(lines), len(rows), result.stdout)
        for row, line in zip(rows, lines):
            self.assertRegex(line, rf"\Aratio guest/{row} \S+ \(\S+\) vs \S.*\Z"
                                   rf"|\Ainstr guest/{row} \d+\Z"
                                   r"|\Askip \S+: .* is not installed \(tools/setup --bench\)\Z")
        self.assertRegex(result.stdout, r"(?m)^ratio guest/churn .*; \d+ changes a second$")

    def test_a_dma_row_is_a_ratio_or_says_what_is_missing(self):
        rows = ["write_64", "write_4k_manager", "sg_64", "iommu_4k"]
        rows += ["split_chain"] if shutil.which("valgrind") else []
        result = bench("dma", "--programs", PROGRAMS, "--quick", "--rounds", "1", "--only",
                       ",".join(rows))
        self.assertEqual(result.returncode, 0, result.stderr)
        lines = [line for line in result.stdout.splitlines() if not line.startswith("#")]
        named = re.findall(r"(?m)^(?:ratio|instr|skip) dma/(\w+)", result.stdout)
        self.assertEqual(sorted(named), sorted(rows), result.stdout)
        for line in lines:
            self.assertRegex(line, r"\Aratio dma/\S+ \S+ \(\S+\) vs (memcpy_raw|vm-memory|no_iommu): .*"
                                   r"ours \S+ ns, theirs \S+ ns.*\Z"
                                   r"|\Ainstr dma/\S+ \d+\Z"
                                   r"|\Askip \S+: .* is not installed \(tools/setup --bench\)\Z")
        self.assertRegex(result.stdout, r"(?m)^ratio dma/write_64 .*, difference -?\d+\.\d\d ns$")

    VHOST_ROWS = ["null_qd32", "null_qd1", "null_64k", "packed", "log"]

    def test_a_vhost_row_is_a_ratio_or_says_what_is_missing(self):
        result = bench("vhost", "--programs", PROGRAMS, "--quick", "--rounds", "1", "--only",
                       ",".join(self.VHOST_ROWS))
        self.assertEqual(result.returncode, 0, result.stderr)
        lines = [line for line in result.stdout.splitlines() if not line.startswith("#")]
        self.assertEqual(len(lines), len(self.VHOST_ROWS), result.stdout)
        for row, line in zip(self.VHOST_ROWS, lines):
            self.assertRegex(line, rf"\Aratio vhost/{row} \S+ \(\S+\) vs \S+: ours \d+ kIOPS .*\Z"
                                   r"|\Askip \S+: .* is not installed \(tools/setup --bench\)\Z")

    def test_vhost_rows_beside_a_program_that_is_not_there_are_left_out(self):
        (self.folder / "python3").symlink_to(sys.executable)
        result = bench("vhost", "--programs", PROGRAMS, "--quick", "--rounds", "1", "--only",
                       "null_qd1,null_64k", PATH=os.fspath(self.folder))
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertRegex(result.stdout, r"(?m)^skip vhost/null_qd1: qemu-system-common is not "
                                        r"installed \(tools/setup --bench\)\n"
                                        r"skip vhost/null_64k: .*\n\Z")

    SNAPSHOT_ROWS = ["zero_scan", "zero_scan_dram", "save25_mapped_ram", "diff1_firecracker",
                     "eager_cold", "ws_cold_private", "ws_cold_uffd4k", "ws_hot_private"]

    def test_a_snapshot_row_is_a_ratio_or_says_what_is_missing(self):
        result = bench("snapshot", "--programs", PROGRAMS, "--quick", "--rounds", "1", "--only",
                       ",".join(self.SNAPSHOT_ROWS), "--json", self.json)
        self.assertEqual(result.returncode, 0, result.stderr)
        lines = [line for line in result.stdout.splitlines() if not line.startswith("#")]
        self.assertEqual(len(lines), len(self.SNAPSHOT_ROWS), result.stdout)
        for row, line in zip(self.SNAPSHOT_ROWS, lines):
            self.assertRegex(line, rf"\Aratio snapshot/{row} \S+ \(\S+\) vs \S+: ours \S+ [mn]s.*\Z"
                                   rf"|\Askip snapshot/{row}: \S.*\Z")
        programs = json.loads(self.json.read_text("ascii"))["programs"]
        self.assertIn("file_system", programs[0]["settings"]["folder"])

    @unittest.skipUnless(os.access("/dev/shm", os.W_OK), "there is no tmpfs to write to")
    def test_snapshot_rows_say_that_a_tmpfs_is_no_disk(self):
        rows = "save25_mapped_ram,eager_cold"
        result = bench("snapshot", "--programs", PROGRAMS, "--quick", "--rounds", "1", "--only",
                       rows, TMPDIR="/dev/shm")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertRegex(result.stdout, r"(?m)^(ratio snapshot/save25_mapped_ram .*; on tmpfs, which "
                                        r"is no disk|skip snapshot/save25_mapped_ram: .*)$")
        self.assertRegex(result.stdout, r"(?m)^skip snapshot/eager_cold: .*$")
        self.assertEqual(list(pathlib.Path("/dev/shm").glob("vm-bench-snapshot-*")), [])

    def count_with(self, valgrind, *arguments):
        """Counts the works of a program, with something that stands in for valgrind."""
        works = "empty/all row/low row/high other/all aside/all empty/aside"
        write_script(self.folder / "programs" / "bench_guest", "exit 0\n")
        write_script(self.folder / "programs" / "bench_guest_instructions",
                     f'[ "$1" = --list ] && printf "%s\\n" {works}\n')
        write_script(self.folder / "bin" / "valgrind", valgrind)
        return bench("guest", "--programs", self.folder / "programs", "--json", self.json,
                     *arguments, PATH=f"{self.folder / 'bin'}:{os.environ['PATH']}")

    # The last two words are the work and its count.
    VALGRIND = """
while [ $# -gt 2 ]; do shift; done
case $1 in
  empty/all) each=3 ;; empty/aside) each=30 ;;
  row/low) each=10 ;; row/high) each=20 ;; *) each=50 ;;
esac
echo "==1== Collected : $((1000 + each * $2))" >&2
"""

    def test_instructions_are_the_highest_part_without_the_loop_and_what_is_done_once(self):
        result = self.count_with(self.VALGRIND)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(result.stdout.splitlines()[1:],
                         ["instr guest/row 17", "instr guest/other 47", "instr guest/aside 20"])
        rows = json.loads(self.json.read_text("ascii"))["rows"]
        self.assertEqual(rows[0], {"kind": "instr", "name": "guest/row", "count": 17,
                                   "parts": {"low": 7, "high": 17}})

    def test_only_the_rows_asked_for_are_counted(self):
        result = self.count_with(self.VALGRIND, "--only", "other")
        self.assertEqual(result.stdout.splitlines()[1:], ["instr guest/other 47"])

    def test_a_program_that_valgrind_cannot_run_is_named(self):
        result = self.count_with("echo cannot >&2; exit 1\n")
        self.assert_refused(result, 1, r"bench_guest_instructions \S+ failed under valgrind: status 1")
        self.assertFalse(self.json.exists())

    def test_without_valgrind_nothing_is_counted_and_a_line_says_so(self):
        write_script(self.folder / "programs" / "bench_guest", "exit 0\n")
        (self.folder / "bin").mkdir()
        (self.folder / "bin" / "python3").symlink_to(shutil.which("python3"))
        result = bench("guest", "--programs", self.folder / "programs",
                       PATH=str(self.folder / "bin"))
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(result.stdout.splitlines()[0],
                         "skip bench_guest_instructions: valgrind is not installed "
                         "(tools/setup --bench)")


if __name__ == "__main__":
    unittest.main()
