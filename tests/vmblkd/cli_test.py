#!/usr/bin/env python3
"""vmblkd as its users see it: what it says to bad input, and one disk served to a front end.

Usage: cli_test.py VMBLKD CASE [LIBRARY], where CASE is a function of this file. The library is for
storage_that_hangs: it hangs where sector 7 is read.
"""

import json
import mmap
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

VMBLKD = sys.argv[1]
SECTOR = 512
VERSION_1 = 1 << 32
ACCESS_PLATFORM = 1 << 33
PROTOCOL = 1 << 30
PACKED = 1 << 34
GUEST, SIZE, USER = 0x10000, 1 << 20, 0x7000000


def run(*arguments):
    return subprocess.run([VMBLKD, *arguments], stdin=subprocess.DEVNULL, capture_output=True,
                          timeout=100)


def expect(result, status, pattern):
    stderr = result.stderr.decode()
    assert result.returncode == status, (result.returncode, stderr)
    assert re.fullmatch("vmblkd: " + pattern + "\n", stderr), repr(stderr)


def make_image(name="disk.img", bytes_=1 << 20):
    with open(name, "wb") as file:
        for sector in range(bytes_ // SECTOR):
            file.write(struct.pack("<I", sector) * (SECTOR // 4))
    return name


class Server:
    def __init__(self, *arguments, path="d.sock", preload=""):
        self.path = path
        self.before = self.socket()
        self.process = subprocess.Popen([VMBLKD, "--socket", path, *arguments],
                                        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE,
                                        env={**os.environ, "LD_PRELOAD": preload})

    def socket(self):
        try:
            about = os.stat(self.path)
            return about.st_ino, about.st_ctime_ns
        except FileNotFoundError:
            return None

    def __enter__(self):
        while self.socket() in (None, self.before):
            assert self.process.poll() is None, self.process.stderr.read()
            time.sleep(0.01)
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.process.stderr.close()

    def end(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=60)
        return self.process.returncode, out.decode(), err.decode()


class FrontEnd:
    """One ring of a disk, split, without interrupts."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(30)
        self.socket.connect(path)
        self.fd = os.memfd_create("guest")
        os.ftruncate(self.fd, SIZE)
        self.memory = mmap.mmap(self.fd, SIZE)
        self.kick = os.eventfd(0)
        self.index = 0

    def close(self):
        self.socket.close()
        self.memory.close()
        os.close(self.fd)
        os.close(self.kick)

    def send(self, request, payload=b"", fds=(), answered=False):
        message = struct.pack("<III", request, 9 if answered else 1, len(payload)) + payload
        socket.send_fds(self.socket, [message], fds)
        if answered:
            assert struct.unpack("<IIIQ", self.socket.recv(20, socket.MSG_WAITALL))[3] == 0, request

    def get(self, request, payload=b""):
        self.send(request, payload)
        size = struct.unpack("<III", self.socket.recv(12, socket.MSG_WAITALL))[2]
        return self.socket.recv(size, socket.MSG_WAITALL)

    def share(self, translated=False, more=0, journal=None):
        """Translated: the driver's addresses are those of an IOMMU. `more` features; `journal`: a
        file of 8 KiB in which requests are noted."""
        features = struct.unpack("<Q", self.get(1))[0]
        accepted = VERSION_1 | PROTOCOL | more | (ACCESS_PLATFORM if translated else 0)
        assert features & accepted == accepted, features
        assert translated or not features & ACCESS_PLATFORM
        self.send(16, struct.pack("<Q", 1 << 3 | 1 << 12))
        self.send(2, struct.pack("<Q", accepted), answered=True)
        if journal is not None:
            self.send(32, struct.pack("<QQHHxxxx", 8192, 0, 1, 8), [journal], answered=True)
        guest, self.ring = (GUEST + 2 * SIZE, GUEST) if translated else (GUEST, USER)
        self.send(5, struct.pack("<II4Q", 1, 0, guest, SIZE, USER, 0), [self.fd], answered=True)
        if translated:
            self.send(22, struct.pack("<3QBB6x", GUEST, SIZE, USER, 3, 2), answered=True)

    def start(self, translated=False, more=0, journal=None):
        self.share(translated, more, journal)
        return self.run_ring()

    def run_ring(self):
        ring = self.ring
        self.send(8, struct.pack("<II", 0, 8), answered=True)
        self.send(9, struct.pack("<II4Q", 0, 0, ring, ring + 0x800, ring + 0x400, 0), answered=True)
        self.send(12, struct.pack("<Q", 0), [self.kick], answered=True)
        self.send(18, struct.pack("<II", 0, 1), answered=True)
        return self

    def stop(self):
        return struct.unpack("<II", self.get(11, struct.pack("<II", 0, 0)))[1]

    def offer(self, kind, sector, content=bytes(SECTOR)):
        memory = self.memory
        memory[0x1000:0x1010] = struct.pack("<IIQ", kind, 0, sector)
        memory[0x2000:0x2000 + len(content)] = content
        memory[0x3000] = 0xee
        direction = 0 if kind == 1 else 2
        chain = [(0x1000, 16, 1, 1), (0x2000, len(content), 1 | direction, 2), (0x3000, 1, 2, 0)]
        for i, (at, size, flags, following) in enumerate(chain):
            memory[16 * i:16 * i + 16] = struct.pack("<QIHH", GUEST + at, size, flags, following)
        struct.pack_into("<H", memory, 0x404 + 2 * (self.index % 8), 0)
        self.index = (self.index + 1) & 0xffff
        struct.pack_into("<H", memory, 0x402, self.index)
        os.eventfd_write(self.kick, 1)

    def request(self, kind, sector, content=bytes(SECTOR)):
        memory = self.memory
        self.offer(kind, sector, content)
        deadline = time.monotonic() + 30
        while struct.unpack_from("<H", memory, 0x802)[0] != self.index:
            assert time.monotonic() < deadline, "no answer"
            time.sleep(0.001)
        return memory[0x3000], bytes(memory[0x2000:0x2000 + len(content)])


def wrong_command_lines():
    for arguments, pattern in [
            ([], "--socket is needed.*"),
            (["--socket", "s"], "either --disk or --null is needed.*"),
            (["--socket", "s", "--disk", "d", "--null", "1G"], "either --disk or --null.*"),
            (["--socket", "s", "--disk", "d", "--disk", "e"], "2 disks, but 1 sockets"),
            (["--socket", "s", "--null", "7"], "--null 7: a size such as 1G is needed"),
            (["--socket", "s", "--null", "1M", "--queues", "65"], "--queues 65: 1 to 64.*"),
            (["--socket", "s", "--null", "1M", "--queue-size", "100"], "--queue-size 100: powers.*"),
            (["--socket", "s", "--null", "1M", "--poll", "-1"], "--poll -1: 0 to.*"),
            (["--socket", "s", "--null", "1M", "--service", "x"], "--service x: async and inline.*"),
            (["--socket", "s", "--null", "1M", "--lock", "x"], "--lock x: always and in-use.*"),
            (["--socket", "s", "--null", "1M", "--rings", "x"], "--rings x: any and split.*"),
            (["--socket", "s", "--null", "1M", "--stats", "xml"], "--stats xml: text and json.*"),
            (["--fd", "-1", "--null", "1M"], "--fd -1: no descriptor"),
            (["--nonsense"], ".*--nonsense.*--help.*")]:
        expect(run(*arguments), 2, pattern)
        assert not os.path.exists("s")


def help_and_capabilities():
    assert b"qemu-system-x86_64" in run("--help").stdout
    assert json.loads(run("--print-capabilities").stdout)["type"] == "block"


def missing_image():
    expect(run("--socket", "s", "--disk", "nope"), 1, "nope: No such file or directory")
    assert not os.path.exists("s")


def image_in_use():
    make_image()
    with Server("--disk", "disk.img"):
        expect(run("--socket", "other", "--disk", "disk.img"), 1, "disk.img: .*in use.*")


def no_permission():
    if os.geteuid() != 0:
        return
    make_image()
    shutil.copy(VMBLKD, "vmblkd")
    os.chmod("disk.img", 0o600)
    os.chmod(".", 0o755)
    for arguments, pattern in [
            (["--disk", "disk.img"], "vmblkd: disk.img: Permission denied\n"),
            (["--null", "1M"], "vmblkd: d.sock: Permission denied\n")]:
        result = subprocess.run([os.path.abspath("vmblkd"), "--socket", "d.sock", *arguments],
                                user=65534, capture_output=True, text=True, timeout=60)
        assert (result.returncode, result.stderr) == (1, pattern), result
        assert not os.path.exists("d.sock")


def a_lock_in_use_passes_from_one_to_the_next():
    make_image()
    with Server("--disk", "disk.img", "--lock", "in-use", path="a.sock"), \
            Server("--disk", "disk.img", "--lock", "in-use", path="b.sock") as second:
        source = FrontEnd("a.sock").start()
        assert source.request(1, 3, b"source".ljust(SECTOR))[0] == 0
        expect(run("--socket", "c.sock", "--disk", "disk.img"), 1, "disk.img: .*in use.*")
        try:
            FrontEnd("b.sock").start()
        except struct.error:
            pass  # the end of the connection instead of an answer
        else:
            raise AssertionError("two write to one image")
        destination = FrontEnd("b.sock")
        assert source.stop() == 1
        assert destination.start().request(0, 3)[1] == b"source".ljust(SECTOR)
        status, _, err = second.end()
        assert status == 0
        assert err == ("vmblkd: b.sock: connection ended: "
                       "disk.img: The image is in use (locked)\n"), err
        # A migration that came to nothing: the source goes on.
        assert source.run_ring().request(0, 3)[1] == b"source".ljust(SECTOR)


def split_rings_alone():
    make_image()
    for rings, packed in (("any", True), ("split", False)):
        with Server("--disk", "disk.img", "--rings", rings):
            assert bool(struct.unpack("<Q", FrontEnd("d.sock").get(1))[0] & PACKED) == packed


def held_by(process):
    """How many descriptors, mappings of memfds and threads it has."""
    folder = f"/proc/{process.pid}"
    with open(f"{folder}/maps", encoding="ascii") as maps:
        mapped = sum("memfd" in line for line in maps)
    return len(os.listdir(f"{folder}/fd")), mapped, len(os.listdir(f"{folder}/task"))


def many_connections_leave_nothing_behind():
    with Server("--null", "1M") as server:
        for number in range(1002):
            front = FrontEnd("d.sock")
            if number % 4 == 0:
                front.start()
            else:
                front.share()
            front.socket.shutdown(socket.SHUT_WR)
            assert front.socket.recv(1) == b""
            front.close()
            if number == 1:
                before = held_by(server.process)
        assert held_by(server.process) == before, (held_by(server.process), before)
        status, out, err = server.end()
        assert (status, err) == (0, ""), err
        assert out.startswith("d.sock: 1002 connections, "), out


def socket_in_use_and_left_behind():
    make_image()
    make_image("other.img")
    with Server("--disk", "disk.img") as server:
        expect(run("--socket", "d.sock", "--disk", "other.img"), 1,
               "d.sock: another process listens there")
        server.process.kill()
        server.process.wait()
        assert os.path.exists("d.sock")
    with Server("--disk", "disk.img") as server:
        assert server.end()[0] == 0
    assert not os.path.exists("d.sock")


def socket_of_another_stays():
    with Server("--null", "1M") as server:
        os.unlink("d.sock")
        other = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        other.bind("d.sock")
        assert server.end()[0] == 0
    assert os.path.exists("d.sock")


def report_is_json_whatever_the_path():
    with Server("--null", "1M", "--stats", "json", path='a "b".sock') as server:
        FrontEnd(server.path).start()
        status, out, _ = server.end()
    assert status == 0
    assert json.loads(out)["disks"][0]["socket"] == server.path, out


def refusals_do_not_fill_the_log():
    with Server("--null", "1M") as server:
        front = FrontEnd("d.sock")
        for _ in range(1000):
            front.send(99)
        assert len(front.get(1)) == 8
        time.sleep(0.2)
        front.send(99)
        assert len(front.get(1)) == 8
        status, _, err = server.end()
    told = sum("refused request 99" in line for line in err.splitlines())
    untold = sum(int(count) for count in re.findall(r"d.sock: (\d+) lines were left out", err))
    assert status == 0 and told < 200 and untold > 0 and told + untold == 1001, (told, untold)


def bad_sockets():
    make_image()
    expect(run("--socket", "x" * 120, "--disk", "disk.img"), 1, "x{120}: 120 characters, but.*")
    expect(run("--socket", "disk.img", "--null", "1M"), 1, "disk.img: something that is no socket.*")
    expect(run("--socket", "no/such/folder", "--null", "1M"), 1, "no/such/folder: No such file.*")
    expect(run("--fd", "99", "--null", "1M"), 1, "fd 99: Bad file descriptor")


def serves_and_ends():
    make_image()
    for service in ("async", "inline"):
        with Server("--disk", "disk.img", "--service", service, "--stats", "json") as server:
            front = FrontEnd("d.sock").start()
            assert front.request(0, 5) == (0, struct.pack("<I", 5) * 128)
            status, _ = front.request(1, 9, service.encode().ljust(SECTOR, b"."))
            assert status == 0
            status, out, err = server.end()
            assert status == 0 and err == "", (status, err)
            assert json.loads(out)["disks"][0]["connections"] == 1
        with open("disk.img", "rb") as file:
            file.seek(9 * SECTOR)
            assert file.read(SECTOR) == service.encode().ljust(SECTOR, b".")


def read_only_and_null():
    make_image()
    with Server("--disk", "disk.img", "--readonly") as server:
        front = FrontEnd("d.sock").start()
        assert front.request(1, 9)[0] == 1
        assert front.request(0, 9)[1] == struct.pack("<I", 9) * 128
        assert server.end()[0] == 0
    with Server("--null", "1G") as server:
        assert FrontEnd("d.sock").start().request(0, 9, b"x" * SECTOR) == (0, bytes(SECTOR))
        assert server.end(signal.SIGINT)[0] == 0


def addresses_are_translated():
    make_image()
    with Server("--disk", "disk.img", "--iommu", "--stats", "json") as server:
        front = FrontEnd("d.sock").start(translated=True)
        assert front.request(0, 5) == (0, struct.pack("<I", 5) * 128)
        status, out, _ = server.end()
        assert status == 0 and json.loads(out)["disks"][0]["iotlb_updates"] == 1, out


def next_front_end_is_served():
    make_image()
    with Server("--disk", "disk.img") as server:
        for _ in range(3):
            front = FrontEnd("d.sock").start()
            assert front.request(0, 1)[0] == 0
            front.socket.close()
        bad = FrontEnd("d.sock")
        bad.socket.send(b"GET / HTTP/1.1\r\n\r\n")
        try:
            assert bad.socket.recv(1) == b""
        except ConnectionResetError:
            pass
        assert FrontEnd("d.sock").start().request(0, 1)[0] == 0
        status, _, err = server.end()
        assert status == 0
        assert re.fullmatch(r"vmblkd: d\.sock: connection ended: .*\n", err), err


def storage_that_hangs():
    make_image()
    with Server("--disk", "disk.img", "--service", "inline", preload=sys.argv[3]) as server:
        front = FrontEnd("d.sock").start()
        assert front.request(0, 6)[0] == 0
        front.offer(0, 7)
        while not os.path.exists("stuck"):
            time.sleep(0.001)
        # The first is taken and waits for the storage; one that comes too early is the same.
        deadline = time.monotonic() + 30
        while server.process.poll() is None:
            assert time.monotonic() < deadline, "no second signal ends it"
            server.process.send_signal(signal.SIGTERM)
            time.sleep(0.01)
        assert server.process.returncode == -signal.SIGTERM
    with Server("--disk", "disk.img") as server:
        assert FrontEnd("d.sock").start().request(0, 7)[1] == struct.pack("<I", 7) * 128
        assert server.end()[0] == 0


def descriptor_that_is_connected():
    make_image()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind("l.sock")
    listener.listen(1)
    front = FrontEnd("l.sock")
    connection, _ = listener.accept()
    with subprocess.Popen([VMBLKD, "--fd", str(connection.fileno()), "--disk", "disk.img"],
                          pass_fds=[connection.fileno()], stdout=subprocess.PIPE) as process:
        connection.close()
        assert front.start().request(0, 3)[1] == struct.pack("<I", 3) * 128
        front.socket.close()
        process.communicate(timeout=60)
        assert process.returncode == 0


def main():
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        globals()[sys.argv[2]]()
        os.chdir("/")


if __name__ == "__main__":
    main()
