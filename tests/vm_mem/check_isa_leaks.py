#!/usr/bin/env python3
"""Checks that no object of a library holds instructions it may not run.

Usage: check_isa_leaks.py OBJECT...   (of one architecture; needs its nm and objdump)

x86-64: an object named copy_avx2.* or dirty_avx2.* may use ymm registers, *_avx512.* zmm
and mask registers too; every other object only what x86-64 has always had. AArch64: only
copy_sve.* may use SVE. Objects above the baseline must not define weak symbols: the
linker could choose their copy for the whole program. Exit status 77: no tools.
"""
import os
import platform
import re
import shutil
import subprocess
import sys
import typing

SKIPPED = 77
PERSONALITY = "DW.ref."  # a pointer that noexcept functions refer to: data, no code
VECTOR = re.compile(r"%(?:ymm|zmm|k[0-7]|xmm(?:1[6-9]|2\d|3[01]))\b|\tv[a-z]+\w* .*%xmm")
ZMM = re.compile(r"%(?:zmm|k[0-7]|xmm(?:1[6-9]|2\d|3[01])|ymm(?:1[6-9]|2\d|3[01]))\b")
# Vector and predicate registers; instructions that only ask for their length.
SVE = re.compile(r"\b[zp](?:\d|[12]\d|3[01])\b|\t(?:(?:cnt|inc|dec)[bhwd]|rdvl|add[vp]l)\b")


class Row(typing.NamedTuple):
    expected: re.Pattern
    forbidden: re.Pattern | None


class Machine(typing.NamedTuple):
    name: str
    above_baseline: dict[str, Row]
    forbidden: re.Pattern


MACHINES = {
    62: Machine("x86_64", {"copy_avx2": Row(re.compile("%ymm"), ZMM),
                           "copy_avx512": Row(re.compile("%zmm"), None),
                           "dirty_avx2": Row(re.compile("%ymm"), ZMM),
                           "dirty_avx512": Row(re.compile("%zmm"), None)}, VECTOR),
    183: Machine("aarch64", {"copy_sve": Row(re.compile(r"\bz0\.b"), None)}, SVE),
}


def machine_of(path):
    """The architecture of an object: e_machine of its ELF header."""
    with open(path, "rb") as file:
        return MACHINES[int.from_bytes(file.read(20)[18:], "little")]


def tool(name, machine):
    own = platform.machine() == machine.name
    return shutil.which(name if own else f"{machine.name}-linux-gnu-{name}")


def run(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def name_of(path):
    return os.path.basename(path).split(".")[0]


def check(path, machine):
    """Returns what is wrong with one object, as lines."""
    code = run(tool("objdump", machine), "-d", "--no-show-raw-insn", path)
    code = re.sub(r"<[^>\n]*>", "", code).splitlines()  # names of symbols say nothing
    row = machine.above_baseline.get(name_of(path))
    forbidden = row.forbidden if row else machine.forbidden
    wrong = []
    if forbidden is not None:
        leaks = [line.strip() for line in code if forbidden.search(line)]
        if leaks:
            wrong.append(f"{path}: {len(leaks)} instructions it may not use, e.g. {leaks[0]}")
    if row:
        if not any(row.expected.search(line) for line in code):
            wrong.append(f"{path}: no {row.expected.pattern} at all: is the region in force?")
        symbols = run(tool("nm", machine), "-C", path).splitlines()
        weak = [line for line in symbols
                if re.search(r" [WVuwv] ", line) and PERSONALITY not in line]
        wrong += [f"{path}: weak symbol {line.split(' ', 2)[-1]}" for line in weak]
    return wrong


def main(objects):
    machine = machine_of(objects[0])
    if not (tool("objdump", machine) and tool("nm", machine)):
        print(f"no objdump for {machine.name} here")
        return SKIPPED
    wrong = [line for path in objects for line in check(path, machine)]
    missing = machine.above_baseline.keys() - {name_of(path) for path in objects}
    wrong += [f"no object {name} among those given" for name in sorted(missing)]
    for line in wrong:
        print(line, file=sys.stderr)
    print(f"{len(objects)} objects of {machine.name}, {len(wrong)} problems")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
