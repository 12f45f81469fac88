#!/usr/bin/env python3
"""What clients of the port of --gdb do to a run of vmrun, by the bytes that they send.

Usage: gdb_wire_test.py VMRUN CASE, where CASE is a function of this file.
"""

import contextlib
import itertools
import os
import re
import socket
import subprocess
import sys
import tempfile

VMRUN = os.path.abspath(sys.argv[1])
LOOP = b"\x6f\x00\x00\x00"  # jal x0, 0
WFI = b"\x73\x00\x50\x10"
SECONDS = 100
MINSTRET = 0x41 + 0xB02  # as GDB numbers it here


@contextlib.contextmanager
def held(firmware, *arguments, stdin=subprocess.DEVNULL):
    """The process of a machine that waits for a debugger, and its port."""
    with tempfile.TemporaryDirectory() as folder:
        image = os.path.join(folder, "firmware")
        with open(image, "wb") as file:
            file.write(firmware)
        with subprocess.Popen([VMRUN, "--firmware", image, "--gdb", "0", *arguments], stdin=stdin,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
            try:
                greeting = child.stderr.readline().decode()
                yield child, int(re.fullmatch(r"vmrun: waiting for gdb at .*:(\d+)\n", greeting)[1])
            finally:
                child.kill()


def connect(port):
    return socket.create_connection(("127.0.0.1", port), timeout=SECONDS)


class Debugger:
    def __init__(self, port):
        self.socket = connect(port)
        self.file = self.socket.makefile("rb")

    def tell(self, payload):
        self.socket.sendall(b"$%s#%02x" % (payload, sum(payload) & 255))
        ack = self.file.read(1)
        if not ack:
            raise ConnectionError
        assert ack == b"+"

    def hear(self):
        assert self.file.read(1) == b"$"
        payload = b""
        while (byte := self.file.read(1)) != b"#":
            assert byte, payload
            payload += byte
        assert int(self.file.read(2), 16) == sum(payload) & 255
        return payload

    def ask(self, payload):
        self.tell(payload)
        return self.hear()


def let_in(port):
    """A debugger, once whoever came before it has been seen to leave."""
    with contextlib.suppress(ConnectionError):
        debugger = Debugger(port)
        debugger.ask(b"qC")
        return debugger
    return None


def ends_with(child, status, pattern):
    _, errors = child.communicate(timeout=SECONDS)
    assert child.returncode == status, (child.returncode, errors)
    assert re.fullmatch(pattern, errors.decode()), errors


def whoever_tries_the_port_changes_nothing():
    with held(LOOP) as (child, port):
        for said in (b"", b"+", b"$Z0,80000000,4#xx\xff\x00$m8000", b"GET / HTTP/1.1\r\n\r\n"):
            with connect(port) as client:
                client.sendall(said)
        debugger = next(filter(None, map(let_in, itertools.repeat(port))))
        assert debugger.ask(b"p%x" % MINSTRET) == b"0" * 16, "it has run"
        debugger.socket.sendall(b"$k#6b")
        ends_with(child, 0, "")


def what_cannot_come_is_a_stop_while_a_debugger_is_there():
    with held(WFI) as (child, port):
        debugger = Debugger(port)
        for _ in range(3):
            assert debugger.ask(b"c") == b"T00thread:1;"
        assert debugger.ask(b"p20") == b"0400008000000000"
        assert debugger.ask(b"D") == b"OK"
        ends_with(child, 1, "vmrun: the guest waits at pc 0x80000004 for an .*\n")


def the_serial_line_stands_still_with_the_machine():
    with held(LOOP, stdin=subprocess.PIPE) as (child, port):
        child.stdin.write(b"x")
        child.stdin.flush()
        debugger = Debugger(port)
        assert debugger.ask(b"qRcmd," + b"devices on".hex().encode()) == b"done\n".hex().encode()
        for _ in range(10):
            assert debugger.ask(b"m10000005,1") == b"60"
        while debugger.ask(b"m10000005,1") != b"61":
            debugger.tell(b"c")
            debugger.socket.sendall(b"\x03")
            assert debugger.hear() == b"T02thread:1;"
        assert debugger.ask(b"m10000000,1") == b"78"


if __name__ == "__main__":
    globals()[sys.argv[2]]()
