#!/usr/bin/env python3
"""User-mode Linux drives vmblkd's disk: what it wrote is what it reads, and is in the image.

Usage: front_ends_test.py VMBLKD RINGS, where RINGS is split or packed.
"""

import hashlib
import pathlib
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.dont_write_bytecode = True
sys.path.insert(0, str(HERE / "guest"))
import machines  # noqa: E402

SKIPPED = 77
MIB = 4
SEED = 20261


def pattern():
    """What init's integrity() writes."""
    text = "".join(f"{number}\n" for number in range(SEED, SEED + MIB * 200_000))
    return text.encode()[:MIB << 20]


def drive(vmblkd, rings):
    """What the guest said. Raises where it is not what it should be."""
    with tempfile.TemporaryDirectory(dir=machines.folder_for_uml()) as folder:
        socket, image = f"{folder}/d.sock", f"{folder}/disk.img"
        machines.prepare_uml(folder)
        with open(image, "wb") as file:
            file.truncate(2 * MIB << 20)
        offered = "any" if rings == "packed" else "split"
        with machines.Server(vmblkd, socket, "--disk", image, "--rings", offered) as server, \
                machines.UserModeLinux(folder, socket, f"test.mib={MIB}",
                                       f"test.seed={SEED}") as guest:
            said = guest.finish(120)
            server.end()
        with open(image, "rb") as file:
            written = file.read(MIB << 20)
    assert not machines.failures_of(said), said
    assert said[0].endswith(f"{2 * MIB << 11} sectors, 1 queues, {rings} rings"), said
    assert written == pattern(), "the image"
    assert hashlib.md5(written).hexdigest() in said[1], said
    assert " 0 queue errors," in server.lines[-1], server.lines
    return said[:-1]


def main():
    missing = machines.missing_for_uml()
    if missing:
        print(f"skipped: {', '.join(missing)} not installed")
        return SKIPPED
    if machines.folder_for_uml() is None:
        print("skipped: neither /dev/shm nor TMPDIR has 700 MiB that can be executed")
        return SKIPPED
    print("\n".join(drive(*sys.argv[1:])))
    return 0


if __name__ == "__main__":
    sys.exit(main())
