#!/usr/bin/env python3
"""Makes the initramfs of the guest that drives vmblkd's disk: busybox, fio, init and modules.

Usage: initramfs.py OUT MODULES [DRIVER]...

MODULES is the kernel's folder of modules, such as /usr/lib/uml/modules/6.1.176; DRIVER is a
module that init is to load, virtio_blk if none is named. What it depends on comes with it.
"""

import os
import pathlib
import re
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
BUSYBOX, FIO = "/bin/busybox", "/usr/bin/fio"
FOLDERS = ("bin", "dev", "lib", "lib64", "modules", "proc", "sys", "tmp")


class Archive:
    """cpio in its "newc" form, as the kernel unpacks it."""

    def __init__(self, path):
        self.file = open(path, "wb")
        self.count = 0

    def add(self, name, mode, content=b"", device=(0, 0)):
        self.count += 1
        fields = (self.count, mode, 0, 0, 1, 0, len(content), 0, 0, *device, len(name) + 1, 0)
        header = "070701" + "".join(f"{field:08x}" for field in fields) + name + "\0"
        for part in (header.encode(), content):
            self.file.write(part)
            self.file.write(bytes(-len(part) % 4))

    def add_file(self, name, source):
        self.add(name, 0o100755, pathlib.Path(source).read_bytes())

    def close(self):
        self.add("TRAILER!!!", 0)
        self.file.close()


def libraries(program):
    """The paths of what it is linked with, the loader with them."""
    listed = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    return re.findall(r"(?:=> |^\s+)(/\S+)", listed, re.MULTILINE)


def module_file(modules, name):
    wanted = re.compile(name.replace("_", "[-_]") + r"\.ko")
    found = [path for path in pathlib.Path(modules).rglob("*.ko") if wanted.fullmatch(path.name)]
    return found[0] if found else None


def load_order(modules, names):
    """The files of the modules, each after those that it depends on. One that the kernel has
    built in has none."""
    order = {}

    def take(name):
        path = module_file(modules, name)
        if path is None or name in order:
            return
        depends = re.search(rb"\0depends=([^\0]*)\0", path.read_bytes())
        for other in depends[1].decode().split(",") if depends else ():
            if other:
                take(other)
        order[name] = path

    for name in names:
        take(name)
    return list(order.values())


def build(out, modules, drivers=("virtio_blk",)):
    archive = Archive(out)
    for folder in FOLDERS:
        archive.add(folder, 0o40755)
    archive.add("dev/console", 0o20600, device=(5, 1))
    archive.add_file("init", HERE / "init")
    archive.add_file("bin/busybox", BUSYBOX)
    archive.add_file("bin/fio", FIO)
    for path in libraries(FIO):
        folder = "lib64" if path.startswith("/lib64/") else "lib"
        archive.add_file(f"{folder}/{os.path.basename(path)}", path)
    for number, path in enumerate(load_order(modules, drivers)):
        archive.add_file(f"modules/{number:02}_{path.name}", path)
    archive.close()


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    build(sys.argv[1], sys.argv[2], sys.argv[3:] or ("virtio_blk",))
