#!/usr/bin/env python3
"""Hostile front ends at one disk of vmblkd while another disk of the process serves an honest one.

usage: hostile_test.py VMBLKD [SECONDS [SEED]]

Every message may be cut off, have the wrong descriptors or none, memory that overlaps, wraps,
lies about its size or is cut off while DMA runs, and rings of rubbish, split and packed. Files of
noted requests are used again, of either form, rewritten and cut off while the ring runs. The honest
front end's data stays right meanwhile, and in the end vmblkd has as many descriptors, mappings and
threads as before. Prints what was tried; by hand it takes as many seconds as it is given.
"""
import collections
import os
import random
import re
import socket
import struct
import sys
import tempfile
import threading
import time

import cli_test
from cli_test import GUEST, SECTOR, SIZE, USER

REQUESTS = [*range(1, 46), 60, 255, 1 << 31]
ROUND = 64
PACKED = 1 << 34
WARM_UP = 100


def resources(pid):
    """Descriptors, threads but those of the kernel's for io_uring, mappings."""
    threads = 0
    for thread in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{thread}/comm") as name:
            threads += not name.read().startswith("iou-")
    with open(f"/proc/{pid}/maps") as maps:
        mappings = sum(1 for _ in maps)
    return len(os.listdir(f"/proc/{pid}/fd")), threads, mappings


class Honest(threading.Thread):
    """Writes sectors, reads them back, and compares."""

    def __init__(self, path, seed):
        super().__init__()
        self.front = cli_test.FrontEnd(path).start()
        self.random = random.Random(seed)
        self.requests = 0
        self.wrong = []
        self.ends = threading.Event()

    def run(self):
        disk = {}
        try:
            while not self.ends.is_set():
                sector = self.random.randrange(64)
                if self.random.random() < 0.5:
                    disk[sector] = self.random.randbytes(SECTOR)
                    status, _ = self.front.request(1, sector, disk[sector])
                    good = status == 0
                else:
                    good = self.front.request(0, sector) == (0, disk.get(sector, bytes(SECTOR)))
                self.requests += 1
                if not good:
                    self.wrong.append(sector)
        except Exception as error:  # whatever it is, the disk was lost
            self.wrong.append(repr(error))


class Hostile:
    """One connection after the other, each with something wrong."""

    def __init__(self, path, seed):
        self.path = path
        self.random = random.Random(seed)
        self.tried = collections.Counter()
        self.journal = -1
        self.new_journal()

    def new_journal(self):
        if self.journal >= 0:
            os.close(self.journal)
        self.journal = os.memfd_create("journal")
        os.ftruncate(self.journal, 8192)

    def noted(self, front):
        """A ring whose requests are noted, in a file that changes and goes."""
        if os.fstat(self.journal).st_size < 8192 or self.random.random() < 0.2:
            self.new_journal()
        front.start(more=self.random.choice((0, PACKED)), journal=self.journal)
        for _ in range(self.random.randrange(1, 5)):
            self.rubbish(front)
            self.packed_rubbish(front)
            what = self.random.randrange(8)
            if what == 0:
                os.ftruncate(self.journal, 0)
                os.eventfd_write(front.kick, 1)
                self.tried["journals cut off"] += 1
            elif what < 4:  # the version and the number of entries stay
                at = self.random.randrange(12, 320)
                few = bytes(self.random.randrange(10) for _ in range(self.random.randrange(1, 40)))
                os.pwrite(self.journal, few, at)
                self.tried["journals rewritten"] += 1
            front.send(11, struct.pack("<II", 0, 0))  # stops the ring
            front.send(12, struct.pack("<Q", 0), [front.kick])

    def packed_rubbish(self, front):
        """Descriptors that are available, most of them sensible."""
        for at in range(0, 128, 16):
            flags = self.random.choice((0x80, 0x80, 0x8000, 0x8080)) | self.random.randrange(8)
            front.memory[at:at + 16] = struct.pack(
                "<QIHH", GUEST + self.random.choice((0x1000, 0x2000, 0x3000, SIZE)),
                self.random.choice((1, 16, 512)), self.random.randrange(10), flags)
        os.eventfd_write(front.kick, 1)
        self.tried["packed rings"] += 1

    def odd_fd(self):
        kind = self.random.randrange(8)
        if kind == 0:
            return os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        if kind == 1:
            return os.open("/", os.O_RDONLY | os.O_CLOEXEC)
        if kind == 2:
            reader, writer = os.pipe()
            os.close(self.random.choice((reader, writer)))
            return reader if self.is_open(reader) else writer
        if kind == 3:
            return socket.socket(socket.AF_UNIX, socket.SOCK_STREAM).detach()
        if kind == 4:
            return os.eventfd(0)
        fd = os.memfd_create("odd")
        os.ftruncate(fd, self.random.choice((0, 1, 4095, 4096, SIZE, 1 << 40)))
        return fd

    @staticmethod
    def is_open(fd):
        try:
            os.fstat(fd)
            return True
        except OSError:
            return False

    def number(self):
        pick = self.random.choice
        return pick((0, 1, 2, 8, 255, 256, 4096, SIZE, GUEST, USER, USER + SIZE, 1 << 40, 1 << 63,
                     (1 << 64) - 1, (1 << 64) - 4096, self.random.getrandbits(64)))

    def payload(self):
        size = self.random.choice((0, 4, 8, 8, 16, 20, 32, 40, 40, 72, 264, 512))
        words = b"".join(struct.pack("<Q", self.number()) for _ in range((size + 7) // 8))
        return words[:size]

    def message(self, front):
        """One message of which anything may be wrong."""
        fds = [self.odd_fd() for _ in range(self.random.choice((0, 0, 0, 1, 1, 2, 8, 9)))]
        payload = self.payload()
        size = self.random.choice((len(payload),) * 8 + (0, 1, 513, 1 << 31))
        flags = self.random.choice((1, 1, 1, 9, 5, 0, 2, 0xffffffff))
        head = struct.pack("<III", self.random.choice(REQUESTS), flags, size)
        whole = head + payload
        if self.random.random() < 0.05:
            whole = whole[:self.random.randrange(len(whole))] or b"\0"
        try:
            socket.send_fds(front.socket, [whole], fds)
        finally:
            for fd in fds:
                os.close(fd)
        self.tried["messages"] += 1

    def rubbish(self, front):
        """Rings and requests of random bytes, then a kick."""
        for _ in range(4):
            at = self.random.choice((0, 0x400, 0x800, 0x1000))
            front.memory[at:at + 256] = self.random.randbytes(256)
        os.eventfd_write(front.kick, 1)
        self.tried["rings of rubbish"] += 1

    def cut_off(self, front):
        """The memory goes while requests are under way."""
        front.memory[0x400:0x402] = bytes(2)
        os.eventfd_write(front.kick, 1)
        os.ftruncate(front.fd, self.random.choice((0, 4096)))
        os.eventfd_write(front.kick, 1)
        self.tried["memory cut off"] += 1

    def remove_memory(self, front):
        os.eventfd_write(front.kick, 1)
        front.send(5, struct.pack("<II", 0, 0))
        front.send(5, struct.pack("<II4Q", 1, 0, GUEST, SIZE, USER, 0), [front.fd])
        self.tried["memory taken away"] += 1

    def connection(self):
        front = cli_test.FrontEnd(self.path)
        self.tried["connections"] += 1
        # Answers that nobody reads; an end that does not wait for them.
        front.socket.settimeout(5)
        try:
            if self.random.random() < 0.3:
                self.noted(front)
            elif self.random.random() < 0.8:
                front.start()
                what = self.random.randrange(4)
                if what == 0:
                    self.rubbish(front)
                elif what == 1:
                    self.cut_off(front)
                elif what == 2:
                    self.remove_memory(front)
            for _ in range(self.random.randrange(ROUND)):
                self.message(front)
        except OSError:
            self.tried["connections that were ended"] += 1
        finally:
            front.close()


def count_lines(pipe, told):
    for line in pipe:
        told[re.sub(rb"[0-9]+|0x[0-9a-f]+", b"", line)] += 1


def is_within(now, before):
    """An allocator may have a few mappings more; a leak has one for each connection."""
    return all(a <= b + more for a, b, more in zip(now, before, (0, 0, 8)))


def wait_for(condition):
    deadline = time.monotonic() + 30
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def main():
    vmblkd = os.path.abspath(sys.argv[1])
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 3
    seed = int(sys.argv[3]) if len(sys.argv) > 3 else 1
    cli_test.VMBLKD = vmblkd
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for name in ("honest.img", "hostile.img"):
            with open(name, "wb") as image:
                image.truncate(1 << 20)
        with cli_test.Server("--disk", "honest.img", "--socket", "hostile.sock", "--disk",
                             "hostile.img") as server:
            pid = server.process.pid
            told = collections.Counter()
            threading.Thread(target=count_lines, args=(server.process.stderr, told)).start()
            honest = Honest("d.sock", seed)
            hostile = Hostile("hostile.sock", seed)
            honest.start()
            for _ in range(WARM_UP):  # an allocator keeps what it has had
                hostile.connection()
            cli_test.FrontEnd("hostile.sock").start().close()
            time.sleep(0.2)
            before = resources(pid)
            until = time.monotonic() + seconds
            while time.monotonic() < until and server.process.poll() is None:
                hostile.connection()
            alive = server.process.poll() is None
            last = cli_test.FrontEnd("hostile.sock").start().request(0, 1)[0] if alive else None
            honest.ends.set()
            honest.join()
            same = alive and wait_for(lambda: is_within(resources(pid), before))
            after = resources(pid) if alive else None
            server.process.terminate()
            status = server.process.wait(60)
        print(", ".join(f"{count} {what}" for what, count in sorted(hostile.tried.items())))
        print(f"{told.total()} lines on stderr, of {len(told)} kinds")
        print(f"honest front end: {honest.requests} requests, {len(honest.wrong)} wrong")
        print(f"descriptors, threads, mappings: {before} before, {after} after")
        assert alive and status == 0, (status, told)
        assert honest.requests > 10 and not honest.wrong, honest.wrong[:5]
        assert last == 0, "the hostile front end's disk is not served any more"
        assert same, (before, after)
        os.chdir("/")


if __name__ == "__main__":
    main()
