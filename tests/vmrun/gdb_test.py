#!/usr/bin/env python3
"""Debian's gdb-multiarch looks into a guest: its transcript, in one mode of the CPU.

Usage: gdb_test.py VMRUN CPU
"""

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile

SKIPPED = 77
GUEST = [(0xF1402573, 4),  # 0x80000000 csrr a0, mhartid
         (0x822A, 2),      # 0x80000004 mv tp, a0
         (0x84AE, 2),      # 0x80000006 mv s1, a1
         (0x4181, 2),      # 0x80000008 li gp, 0
         (0x0001, 2),      # 0x8000000a nop
         (0x00000297, 4),  # 0x8000000c auipc t0, 0
         (0x10028293, 4),  # 0x80000010 addi t0, t0, 256
         (0x30529073, 4),  # 0x80000014 csrw mtvec, t0
         (0x10500073, 4)]  # 0x80000018 wfi
COMMANDS = r"""
set pagination off
set confirm off
set architecture riscv:rv64
target remote 127.0.0.1:PORT
echo == begin\n
x/4i $pc
info registers pc a0 priv
break *0x80000006
continue
x/i $pc
stepi
info registers pc tp
p/x $mtvec
p/x $misa
echo == memory\n
set *(int *)0x84000000 = 0x12345678
x/wx 0x84000000
x/wx 0x10001000
echo == devices\n
monitor devices on
x/wx 0x10001000
monitor translate 80000000
info threads
hbreak *0x80000010
continue
set $a7 = 0x77
p/x $a7
set can-use-hw-watchpoints 0
watch $t0
continue
x/i $pc
delete
continue
p/x $mtvec
monitor info
detach
"""
WANTED = r"""== begin
=> 0x80000000:\tcsrr\ta0,mhartid
   0x80000004:\tmv\ttp,a0
   0x80000006:\tmv\ts1,a1
   0x80000008:\tli\tgp,0
pc             0x80000000\t0x80000000
a0             0x0\t0
priv           0x3\tprv:3 \[Machine\]
Breakpoint 1 at 0x80000006

Breakpoint 1, 0x0000000080000006 in \?\? \(\)
=> 0x80000006:\tmv\ts1,a1
0x0000000080000008 in \?\? \(\)
pc             0x80000008\t0x80000008
tp             0x0\t0x0
\$1 = 0x0
\$2 = 0x800000000014112d
== memory
0x84000000:\t0x12345678
0x10001000:\t.*Cannot access memory at address 0x10001000
"""
SECOND = r"""== devices
done
0x10001000:\t0x74726976
0x80000000 is at physical 0x80000000
  Id   Target Id                 Frame 
\* 1    Thread 1 \(hart 0, M-mode\) 0x0000000080000008 in \?\? \(\)
Hardware assisted breakpoint 2 at 0x80000010

Breakpoint 2, 0x0000000080000010 in \?\? \(\)
\$3 = 0x77
Watchpoint 3: \$t0

Watchpoint 3: \$t0

Old value = 2147483660
New value = 2147483916
0x0000000080000014 in \?\? \(\)
=> 0x80000014:\tcsrw\tmtvec,t0

Program stopped.
0x000000008000001c in \?\? \(\)
\$4 = 0x8000010c
hart 0: M-mode, pc 0x8000001c, 9 instructions, waiting
\[Inferior 1 \(Remote target\) detached\]
"""


def gdb(port, commands):
    arguments = ["gdb-multiarch", "-nx", "-q", "-batch"]
    for line in commands.strip().replace("PORT", port).splitlines():
        arguments += ["-ex", line]
    result = subprocess.run(arguments, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, timeout=100, text=True)
    return result.stdout


def expect(pattern, said):
    assert re.search(pattern.replace("\\t", "\t"), said), f"want:\n{pattern}\nfound:\n{said}"


def rubbish(port):
    """Breaks off in the middle of a packet; vmrun is to wait for nothing from it."""
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(b"$Z0,80000000,4#xx\xff\x00$m8000")


def started(vmrun, *arguments):
    """The process, and the port that it listens on."""
    machine = subprocess.Popen([vmrun, "--gdb", "0", "--timeout", "200", *arguments],
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True)
    greeting = machine.stderr.readline()
    return machine, re.fullmatch(r"vmrun: waiting for gdb at 127\.0\.0\.1:(\d+)\n", greeting).group(1)


def is_sound_after_rubbish(vmrun, cpu, folder):
    firmware = os.path.join(folder, "loop")
    with open(firmware, "wb") as file:
        file.write(b"\x6f\x00\x00\x00")  # jal x0, 0
    machine, port = started(vmrun, "--cpu", cpu, "--firmware", firmware)
    try:
        rubbish(int(port))
        said = gdb(port, "set architecture riscv:rv64\ntarget remote 127.0.0.1:PORT\ninfo registers pc\nkill")
        assert machine.wait(timeout=100) == 0, said
        expect(r"pc +0x80000000\t0x80000000", said)
    finally:
        machine.kill()


def main():
    vmrun, cpu = os.path.abspath(sys.argv[1]), sys.argv[2]
    if shutil.which("gdb-multiarch") is None:
        print("skipped: gdb-multiarch is not installed")
        return SKIPPED
    with tempfile.TemporaryDirectory() as folder:
        guest = os.path.join(folder, "guest")
        with open(guest, "wb") as file:
            file.write(b"".join(code.to_bytes(size, "little") for code, size in GUEST))
        is_sound_after_rubbish(vmrun, cpu, folder)
        machine, port = started(vmrun, "--cpu", cpu, "--firmware", guest)
        try:
            said = gdb(port, COMMANDS)
            expect(WANTED, said)
            expect(SECOND, said)
            _, errors = machine.communicate(timeout=200)
        finally:
            machine.kill()
        # Let go, it ends as it does without a debugger.
        assert machine.returncode == 1, machine.returncode
        expect(r"^vmrun: the guest waits at pc 0x8000001c for an interrupt that cannot come\n$", errors)
    return 0


if __name__ == "__main__":
    sys.exit(main())
