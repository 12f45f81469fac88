#!/usr/bin/env python3
"""The excerpts of a document are what the files say that they name.

Usage: tour_test.py SOURCE_DIR DOCUMENT. An excerpt is a ```cpp block whose first line is a
comment with the file's path; a line of three dots leaves something out.
"""

import pathlib
import re
import sys

EXCERPT = re.compile(r"^```cpp\n// (\S+/\S+\.(?:cc|h))\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def lines_of(text):
    return "\n".join(line.strip() for line in text.strip().splitlines())


def main():
    root = pathlib.Path(sys.argv[1])
    excerpts = EXCERPT.findall((root / sys.argv[2]).read_text(encoding="utf-8"))
    wrong = 0
    for path, text in excerpts:
        source = lines_of((root / path).read_text(encoding="utf-8"))
        for part in re.split(r"^\.\.\.$", text, flags=re.MULTILINE):
            if lines_of(part) in source:
                continue
            wrong += 1
            print(f"{sys.argv[2]}: {path} does not have:\n{part}")
    assert len(excerpts) >= 10, f"{len(excerpts)} excerpts were found"
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
