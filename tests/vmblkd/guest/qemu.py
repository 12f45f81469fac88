"""QEMU in front of vmblkd: the machine, and the socket by which it is told what to do."""

import array
import json
import os
import pathlib
import re
import socket
import time

import machines

QEMU = "/usr/bin/qemu-system-x86_64"
MEMORY = 1024  # MiB
CHUNK, PAGE = 1 << 20, 4096
# Requests of vhost-user, as QEMU's trace has them.
SET_LOG_BASE, SET_INFLIGHT_FD = 6, 32


class Qemu(machines.Guest):
    """Emulates every instruction: there may be no KVM."""

    def __init__(self, kernel, initramfs, disk, *arguments, memories=1, queues=1, packed=False,
                 qmp=None, incoming=None, paused=False):
        command = [QEMU, "-accel", "tcg", "-cpu", "max", "-m", str(MEMORY), "-smp", str(queues),
                   "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
                   "-serial", "stdio", "-trace", "vhost_user_write"]
        for i in range(memories):
            command += ["-object", f"memory-backend-memfd,id=ram{i},size={MEMORY // memories}M,"
                        "share=on"]
        if memories == 1:
            command += ["-machine", "q35,memory-backend=ram0"]
        else:
            command += ["-machine", "q35"]
            for i in range(memories):
                cpus = f",cpus=0-{queues - 1}" if i == 0 else ""
                command += ["-numa", f"node,memdev=ram{i}{cpus}"]
        command += ["-chardev", f"socket,id=disk,path={disk},reconnect=1",
                    "-device", f"vhost-user-blk-pci,chardev=disk,num-queues={queues},"
                    f"packed={'on' if packed else 'off'}",
                    "-kernel", kernel, "-initrd", initramfs,
                    "-append", " ".join(("console=ttyS0", "panic=-1", "quiet", *arguments))]
        if qmp:
            command += ["-qmp", f"unix:{qmp},server=on,wait=off"]
        if incoming:
            command += ["-incoming", incoming]
        if paused:
            command += ["-S"]
        super().__init__(command)

    def memory(self):
        """Descriptors of the guest's, as files."""
        folder = pathlib.Path(f"/proc/{self.process.pid}/fd")
        return [path for path in folder.iterdir() if "/memfd:memory-backend" in os.readlink(path)]

    def requests(self, number):
        """How many of them it has sent to the back end."""
        return len(self.matches(rf"vhost_user_write.*\breq:{number}\b"))


def reached_pages(process):
    """Where the pages of a guest's memory begin that a back end's process has accessed since it was
    given the memory. The host knows: those that have no entry in its page table were neither read
    nor written by it, nor by the host on its behalf."""
    reached = set()
    with open(f"/proc/{process.pid}/maps", encoding="ascii") as maps, \
            open(f"/proc/{process.pid}/pagemap", "rb", buffering=0) as table:
        for line in maps:
            if "/memfd:memory-backend" not in line:
                continue
            addresses, _, offset = line.split()[:3]
            begin, end = (int(address, 16) // PAGE for address in addresses.split("-"))
            table.seek(begin * 8)
            entries = array.array("Q", table.read((end - begin) * 8))
            first = int(offset, 16)
            reached.update(first + i * PAGE for i, entry in enumerate(entries) if entry >> 63)
    return reached


def different_pages(one, other):
    """Of the guests' memory: where those begin that are not the same in both."""
    (left,), (right,) = one.memory(), other.memory()
    different = []
    with open(left, "rb", buffering=0) as first, open(right, "rb", buffering=0) as second:
        for begin in range(0, MEMORY << 20, CHUNK):
            part, there = first.read(CHUNK), second.read(CHUNK)
            if part != there:
                pages = range(0, CHUNK, PAGE)
                different += [begin + i for i in pages if part[i:i + PAGE] != there[i:i + PAGE]]
    return different


class Qmp:
    def __init__(self, path, seconds=30):
        deadline = time.monotonic() + seconds
        while not os.path.exists(path):
            if time.monotonic() > deadline:
                raise machines.Failed(f"QEMU made no {path}")
            time.sleep(0.02)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(seconds)
        self.socket.connect(path)
        self.file = self.socket.makefile("r")
        self.file.readline()
        self("qmp_capabilities")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()
        self.socket.close()

    def __call__(self, command, **arguments):
        text = json.dumps({"execute": command, "arguments": arguments})
        self.socket.sendall(text.encode() + b"\n")
        while True:
            line = self.file.readline()
            if not line:
                raise machines.Failed(f"QEMU has gone at {command}")
            answer = json.loads(line)
            if "error" in answer:
                raise machines.Failed(f"QEMU at {command}: {answer['error']['desc']}")
            if "return" in answer:
                return answer["return"]

    def migrate(self, uri, seconds):
        """How it went, when it has."""
        self("migrate", uri=uri)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            about = self("query-migrate")
            if about.get("status") == "completed":
                return about
            if about.get("status") in ("failed", "cancelled"):
                raise machines.Failed(f"migration {about['status']}: {about.get('error-desc')}")
            time.sleep(0.05)
        raise machines.Failed(f"the migration took more than {seconds} s")

    def wait_for_arrival(self, seconds):
        """Of a migration that the other end has completed: what it sent may be on its way."""
        deadline = time.monotonic() + seconds
        while self("query-status")["status"] == "inmigrate":
            if time.monotonic() > deadline:
                raise machines.Failed(f"what was migrated is not there after {seconds} s")
            time.sleep(0.02)


def version():
    first = os.popen(f"{QEMU} --version").readline()
    return re.search(r"version (\S+)", first)[1]


def kernel_in(folder):
    """The kernel of an unpacked Debian package, and its modules."""
    folder = pathlib.Path(folder)
    return next(folder.glob("boot/vmlinuz-*")), next(folder.glob("lib/modules/*"))
