#!/usr/bin/env python3
"""Cuts the complete programs out of Markdown files, so that tests compile them.

Each ```cpp or ```c block that defines main() becomes OUTPUT/<file>_<n>.cc (.c), and is
printed. One that begins with the comment // <name>.h becomes OUTPUT/<name>.h, which the
programs include.
"""

import argparse
import pathlib
import re
import sys

BLOCK = re.compile(r"^```(cpp|c)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
HEADER = re.compile(r"// (\w+\.h)\n")
SUFFIX = {"cpp": ".cc", "c": ".c"}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("output", type=pathlib.Path)
    parser.add_argument("documents", nargs="+", type=pathlib.Path)
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    for document in arguments.documents:
        blocks = BLOCK.findall(document.read_text())
        for _, text in blocks:
            if header := HEADER.match(text):
                (arguments.output / header[1]).write_text(text)
        programs = [block for block in blocks if "int main(" in block[1]]
        if not programs:
            print(f"{document}: no complete program found", file=sys.stderr)
            return 1
        for number, (language, text) in enumerate(programs, 1):
            name = f"{document.stem.lower()}_{number}{SUFFIX[language]}"
            (arguments.output / name).write_text(text)
            print(arguments.output / name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
