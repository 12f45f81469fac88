#!/usr/bin/env python3
"""Boots Debian's U-Boot: a file goes from disk to RAM, is checked, and goes back.

In M-mode behind an IOMMU, or in S-mode on OpenSBI, with the scalar row of the copy core.

Usage: boot_test.py VMRUN [opensbi] [jit]
"""

import json
import os
import random
import subprocess
import sys
import tempfile
import zlib

UBOOT = "/usr/lib/u-boot/qemu-riscv64/u-boot.bin"
SMODE_UBOOT = "/usr/lib/u-boot/qemu-riscv64_smode/u-boot.bin"
OPENSBI = "/usr/lib/riscv64-linux-gnu/opensbi/generic/fw_dynamic.bin"
SKIPPED = 77
SECTORS = 512
SECOND_HALF = 1024
SCRIPT = f"""# read, check, copy, compare, write back
virtio info
virtio read 84000000 0 {SECTORS:x}
crc32 84000000 {SECTORS * 512:x}
cp.b 84000000 86000000 {SECTORS * 512:x}
cmp.b 84000000 86000000 {SECTORS * 512:x}
virtio write 86000000 {SECOND_HALF:x} {SECTORS:x}
poweroff
"""
# The console's registers are no RAM: the IOMMU keeps the disk from writing there.
BEYOND_RAM = "virtio read 10000000 0 1\n"


def main():
    vmrun = os.path.abspath(sys.argv[1])
    opensbi = "opensbi" in sys.argv[2:]
    for image in (SMODE_UBOOT, OPENSBI) if opensbi else (UBOOT,):
        if not os.path.exists(image):
            print(f"skipped: {image} is not installed (u-boot-qemu, opensbi)")
            return SKIPPED
    environment = dict(os.environ)
    iommu = not opensbi
    jit = "jit" in sys.argv[2:]
    options = ["--iommu", "identity"] if iommu else ["--kernel", SMODE_UBOOT, "--harts", "2"]
    if jit:
        options += ["--cpu", "jit"]
    if opensbi:
        environment["VM_MEM_ISA"] = "scalar"
    content = random.Random(1).randbytes(SECTORS * 512)
    with tempfile.TemporaryDirectory() as folder:
        disk = os.path.join(folder, "disk.img")
        with open(disk, "wb") as file:
            file.write(content + bytes(SECOND_HALF * 512))
        script = os.path.join(folder, "script")
        with open(script, "w", encoding="ascii") as file:
            file.write(SCRIPT.replace("poweroff", BEYOND_RAM + "poweroff") if iommu else SCRIPT)
        result = subprocess.run([vmrun, "--disk", disk, "--script", script, "--stats", "json",
                                 "--timeout", "240", *options],
                                env=environment, capture_output=True, stdin=subprocess.DEVNULL,
                                timeout=280)
        console = result.stdout.decode("ascii", "replace").replace("\r", "")
        print(console, result.stderr.decode())
        with open(disk, "rb") as file:
            image = file.read()
    assert result.returncode == 0, result.returncode
    assert result.stderr == b"", result.stderr
    for line in ("VirtIO Block Device", f"==> {zlib.crc32(content):08x}\n",
                 f"Total of {SECTORS * 512} byte(s) were the same\n", f"{SECTORS} blocks read: OK",
                 f"{SECTORS} blocks written: OK"):
        assert line in console, line
    expected = content + bytes((SECOND_HALF - SECTORS) * 512) + content
    assert image[:len(expected)] == expected, "the disk"
    assert not any(image[len(expected):]), "the rest of the disk"
    stats = json.loads(console.splitlines()[-1])
    assert stats["end"] == "power off", stats
    for route in ("cpu", "dma", "engine"):
        assert sum(path["bytes"] for path in stats["routes"][route].values()) > 0, route
    assert stats["iommu_faults"] == (1 if iommu else None), stats["iommu_faults"]
    if opensbi:
        assert stats["isa"] == "scalar", stats["isa"]
        for line in ("OpenSBI v", "Domain0 Next Mode         : S-mode", "PMP Count       : 16",
                     "HART Count       : 2"):
            assert line in console, line
    return 0


if __name__ == "__main__":
    sys.exit(main())
