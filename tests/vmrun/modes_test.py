#!/usr/bin/env python3
"""One seed, one run: whatever executes the guest, its console and its state are the same.

Usage: modes_test.py VMRUN m_mode|s_mode
"""

import json
import os
import random
import subprocess
import sys
import tempfile

UBOOT = "/usr/lib/u-boot/qemu-riscv64/u-boot.bin"
SMODE_UBOOT = "/usr/lib/u-boot/qemu-riscv64_smode/u-boot.bin"
OPENSBI = "/usr/lib/riscv64-linux-gnu/opensbi/generic/fw_dynamic.bin"
SKIPPED = 77
SCRIPT = b"""virtio info
virtio read 84000000 0 40
crc32 84000000 8000
cp.b 84000000 86000000 8000
fdt addr ${fdtcontroladdr}
fdt print /chosen
net list
dm tree
poweroff
"""
STOPS = (999, 7_654_321)


def modes():
    yield []
    if os.uname().machine == "x86_64":
        yield ["--cpu", "jit"]
        yield ["--cpu", "jit", "--memory-mode", "fastmem"]


def run(vmrun, *options):
    """Gives (what the guest printed, the report)."""
    result = subprocess.run([vmrun, "--disk", "disk,readonly", "--net", "loop", "--rng", "--script",
                             "script", "--timeout", "250", "--stats", "json", *options],
                            capture_output=True, stdin=subprocess.DEVNULL, timeout=280)
    assert result.returncode == 0, result
    lines = result.stdout.splitlines(keepends=True)
    return b"".join(lines[:-1]), json.loads(lines[-1])


def check(vmrun, machine):
    console, report = run(vmrun, *machine, "--seed", "7")
    text = console.decode("ascii", "replace")
    for said in ("rng-seed", "eth0 : virtio-net", "virtio-blk#0", "crc32 for 84000000"):
        assert said in text, (said, text)
    for mode in modes():
        again, its = run(vmrun, *machine, *mode, "--seed", "7")
        assert again == console, (mode, again)
        assert its["state_hash"] == report["state_hash"], (mode, its, report)
        assert its["instructions"] == report["instructions"], (mode, its, report)
        assert (its["jit"] is not None) == bool(mode), its
    for stop in STOPS:
        ends = [run(vmrun, *machine, *mode, "--instructions", str(stop))[1] for mode in modes()]
        assert {(end["end"], end["instructions"], end["state_hash"]) for end in ends} == {
            ("end of instructions", ends[0]["instructions"], ends[0]["state_hash"])}, ends
        assert stop <= ends[0]["instructions"] < stop + 128 + 5000 * ("--harts" in machine), ends
    other, its = run(vmrun, *machine, "--seed", "8")
    assert other != console and its["state_hash"] != report["state_hash"]


def main():
    vmrun = os.path.abspath(sys.argv[1])
    s_mode = sys.argv[2] == "s_mode"
    for image in (SMODE_UBOOT, OPENSBI) if s_mode else (UBOOT,):
        if not os.path.exists(image):
            print(f"skipped: {image} is not installed (u-boot-qemu, opensbi)")
            return SKIPPED
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        with open("disk", "wb") as file:
            file.write(random.Random(1).randbytes(65536))
        with open("script", "wb") as file:
            file.write(SCRIPT)
        check(vmrun, ["--kernel", SMODE_UBOOT, "--harts", "2"] if s_mode else [])
        os.chdir("/")
    return 0


if __name__ == "__main__":
    sys.exit(main())
