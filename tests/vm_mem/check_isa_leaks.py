#!/usr/bin/env python3
"""Checks that no object of a library holds instructions it may not run.

Usage: check_isa_leaks.py OBJECT...   (x86-64 objects; needs nm and objdump)

An object named copy_avx2.* may use ymm registers, copy_avx512.* zmm and mask
registers too; every other object only what x86-64 has always had. Objects above the
baseline must not define weak symbols: the linker could choose their copy for the
whole program.
"""
import os
import re
import subprocess
import sys

VECTOR = re.compile(r"%(?:ymm|zmm|k[0-7]|xmm(?:1[6-9]|2\d|3[01]))\b|\tv[a-z]+\w* .*%xmm")
ZMM = re.compile(r"%(?:zmm|k[0-7]|xmm(?:1[6-9]|2\d|3[01])|ymm(?:1[6-9]|2\d|3[01]))\b")


def run(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def check(path):
    """Returns what is wrong with one object, as lines."""
    name = os.path.basename(path).split(".")[0]
    code = run("objdump", "-d", "--no-show-raw-insn", path).splitlines()
    above_baseline = name in ("copy_avx2", "copy_avx512")
    forbidden = {"copy_avx2": ZMM, "copy_avx512": None}.get(name, VECTOR)
    wrong = []
    if forbidden is not None:
        leaks = [line.strip() for line in code if forbidden.search(line)]
        if leaks:
            wrong.append(f"{path}: {len(leaks)} instructions it may not use, e.g. {leaks[0]}")
    if above_baseline:
        expected = "%zmm" if name == "copy_avx512" else "%ymm"
        if not any(expected in line for line in code):
            wrong.append(f"{path}: no {expected} register at all: is the region in force?")
        weak = [l for l in run("nm", "-C", path).splitlines() if re.search(r" [WVuwv] ", l)]
        wrong += [f"{path}: weak symbol {line.split(' ', 2)[-1]}" for line in weak]
    return wrong


def main(objects):
    names = {os.path.basename(path).split(".")[0] for path in objects}
    wrong = [line for path in objects for line in check(path)]
    for needed in ("copy_avx2", "copy_avx512"):
        if needed not in names:
            wrong.append(f"no object {needed} among those given")
    for line in wrong:
        print(line, file=sys.stderr)
    print(f"{len(objects)} objects, {len(wrong)} problems")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
