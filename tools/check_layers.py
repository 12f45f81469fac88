#!/usr/bin/env python3
"""Checks the layering of the source tree; prints each violation, exits 1 if any.

  vm_mem     includes no other layer
  vm_device  includes vm_mem, never vm_engine
  vm_engine  includes vm_mem, never vm_device
  vm_x/internal/ is for vm_x itself, tests/vm_x and bench/vm_x
  a public header (vm_x/*.h) includes no internal/ header
  a public header has no `#if` but its include guard (inline_copy.h excepted), nor has
  any other source of a library: CMake picks what an architecture differs in
  a library source prints nothing and ends no process (memcpy_fast excepted)
  vm_x/y.cc includes vm_x/y.h first, which shows that the header misses nothing
"""

import argparse
import pathlib
import re
import sys

LAYERS = ("vm_mem", "vm_device", "vm_engine")
MAY_INCLUDE = {
    "vm_mem": {"vm_mem"},
    "vm_device": {"vm_mem", "vm_device"},
    "vm_engine": {"vm_mem", "vm_engine"},
}
SUFFIXES = {".h", ".cc", ".inc", ".c"}
ANY_INCLUDE = re.compile(r'^\s*#\s*include\s*[<"]([^">]+)[">]', re.MULTILINE)
INCLUDE = re.compile(r'^\s*#\s*include\s*[<"](vm_\w+)/([^">]+)[">]')
CONDITIONAL = re.compile(r"^\s*#\s*(if|ifdef|elif)\b")
ENDS_OR_PRINTS = re.compile(
    r"\b(?:printf|fprintf|fputs|puts|perror|cerr|cout|abort|exit|_exit|terminate)\s*(?:\(|<<)"
)
CONDITIONAL_ALLOWED = {
    "vm_mem/inline_copy.h",  # what it inlines depends on the user's compiler flags
    "vm_mem/internal/target_region.h",  # the compiler
    "vm_mem/internal/copy_kernels.cc",  # the rows of each architecture
    "vm_mem/internal/dirty_kernels.cc",
}
# The C interface is wrapped for C++.
CPLUSPLUS_GUARD = re.compile(r"^\s*#\s*ifdef\s+__cplusplus\s*$")
# memcpy_fast terminates by contract.
ENDING_ALLOWED = {"vm_mem/simd_memcpy.cc"}


def files_of(root):
    for top in (*LAYERS, "tests", "bench", "tools", "examples"):
        for path in sorted((root / top).rglob("*")):
            if path.suffix in SUFFIXES and path.is_file():
                yield path, path.relative_to(root).as_posix()


def is_public_header(name):
    parts = name.split("/")
    return parts[0] in LAYERS and len(parts) == 2 and name.endswith(".h")


def may_include_internal(name, layer):
    return any(name.startswith(f"{top}{layer}/") for top in ("", "tests/", "bench/"))


def include_violations(name, number, line):
    match = INCLUDE.match(line)
    if not match:
        return
    target, rest = match.groups()
    layer = name.split("/")[0]
    if layer in MAY_INCLUDE and target in LAYERS and target not in MAY_INCLUDE[layer]:
        yield f"{name}:{number}: {layer} must not include {target}"
    if rest.startswith("internal/"):
        if is_public_header(name):
            yield f"{name}:{number}: a public header must not include {target}/internal/"
        elif not may_include_internal(name, target):
            yield f"{name}:{number}: {target}/internal/ is private to {target}"


def conditional_violations(name, number, line):
    if name.split("/")[0] not in LAYERS or name in CONDITIONAL_ALLOWED:
        return
    if CONDITIONAL.match(line) and not CPLUSPLUS_GUARD.match(line):
        what = "a public header" if is_public_header(name) else "a library source"
        yield f"{name}:{number}: {what} must not use #{CONDITIONAL.match(line)[1]}"


def ending_violations(name, number, line):
    if name.split("/")[0] not in LAYERS or name in ENDING_ALLOWED:
        return
    if ENDS_OR_PRINTS.search(line.split("//")[0]):
        yield f"{name}:{number}: the library must not print or end the process"


def first_include_violations(path, name, text):
    header = name.removesuffix(".cc") + ".h"
    if path.suffix != ".cc" or not is_public_header(header):
        return
    first = ANY_INCLUDE.search(text)
    if path.with_suffix(".h").exists() and (first is None or first[1] != header):
        yield f"{name}: must include {header} first"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    here = pathlib.Path(__file__).resolve().parent.parent
    parser.add_argument("root", nargs="?", default=here, type=pathlib.Path)
    root = parser.parse_args().root
    checks = (include_violations, conditional_violations, ending_violations)
    count = 0
    found = []
    for path, name in files_of(root):
        count += 1
        text = path.read_text(encoding="ascii")
        found.extend(first_include_violations(path, name, text))
        for number, line in enumerate(text.splitlines(), 1):
            for check in checks:
                found.extend(check(name, number, line))
    if count == 0:
        found.append(f"{root}: no sources found")
    print("\n".join(found) if found else f"{count} files keep the layering")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
