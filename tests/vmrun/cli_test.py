#!/usr/bin/env python3
"""What vmrun says to bad input: one line on stderr, its exit status, nothing broken.

Usage: cli_test.py VMRUN CASE, where CASE is a function of this file.
"""

import contextlib
import fcntl
import json
import os
import pty
import re
import resource
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import termios
import time

VMRUN = sys.argv[1]
UBOOT = "/usr/lib/u-boot/qemu-riscv64/u-boot.bin"
OPENSBI = "/usr/lib/riscv64-linux-gnu/opensbi/generic/fw_dynamic.bin"
LOOP = b"\x6f\x00\x00\x00"  # jal x0, 0
SKIPPED = 77
HAS_JIT = os.uname().machine == "x86_64"


def run(*arguments, **options):
    return subprocess.run([VMRUN, *arguments], stdin=subprocess.DEVNULL, capture_output=True,
                          timeout=250, **options)


@contextlib.contextmanager
def started(*arguments, **options):
    """A vmrun that is gone in the end, whatever becomes of the test."""
    child = subprocess.Popen([VMRUN, *arguments], **{"stdin": subprocess.DEVNULL, **options})
    try:
        yield child
    finally:
        child.kill()
        child.wait()


def open_terminal():
    try:
        return pty.openpty()
    except OSError as error:
        print(f"skipped: this machine gives no pseudo-terminal: {error}")
        sys.exit(SKIPPED)


def read_until(descriptor, shown, wanted):
    """What a terminal shows, until the wanted pattern is in it."""
    deadline = time.monotonic() + 60
    while not re.search(wanted, shown):
        ready, _, _ = select.select([descriptor], [], [], max(0, deadline - time.monotonic()))
        assert ready, (wanted, shown)
        shown += os.read(descriptor, 4096)
    return shown


def expect(result, status, pattern):
    stderr = result.stderr.decode()
    assert result.returncode == status, (result.returncode, stderr)
    assert re.fullmatch("vmrun: " + pattern + "\n", stderr), repr(stderr)


def write(name, content):
    with open(name, "wb") as file:
        file.write(content)
    return name


def missing_firmware():
    expect(run("--firmware", "nope.bin"), 1, r"nope\.bin: No such file or directory")


def firmware_is_a_directory():
    expect(run("--firmware", "."), 1, r"\.: Is a directory")


def empty_firmware():
    expect(run("--firmware", write("empty", b"")), 1, "empty: the firmware is empty")


def firmware_larger_than_memory():
    write("huge", LOOP)
    os.truncate("huge", 17 << 20)
    expect(run("--firmware", "huge", "--memory", "16M"), 1,
           "huge: 0x1100000 bytes at 0x80000000 are not within the RAM from 0x80000000 to 0x81000000")


def firmware_of_zeros():
    result = run("--firmware", write("zeros", bytes(4096)))
    expect(result, 1, "the firmware faults at its first instruction: illegal instruction at pc "
           r"0x80000000 \(mtval 0x0\); its handler traps again at pc 0x0")


def trap_loop():
    # nop, then an illegal instruction.
    expect(run("--firmware", write("trap", b"\x13\x00\x00\x00" + bytes(4))), 1,
           r"trap loop: illegal instruction at pc 0x80000004 \(mtval 0x0\); its handler .*")


def missing_disk():
    expect(run("--firmware", write("loop", LOOP), "--disk", "nope.img"), 1,
           r"nope\.img: No such file or directory")


def disk_of_odd_size():
    expect(run("--firmware", write("loop", LOOP), "--disk", write("odd", bytes(513))), 1,
           "odd: .*513.*512")


def disk_used_twice():
    write("disk", bytes(512))
    options = ("--firmware", write("loop", LOOP), "--instructions", "100")
    result = run(*options, "--disk", "disk,readonly", "--disk", "disk,readonly")
    assert result.returncode == 0 and result.stderr == b"", result
    expect(run("--firmware", write("loop", LOOP), "--disk", "disk", "--disk", "disk"), 1,
           "disk: .*")


def more_devices_than_slots():
    expect(run("--firmware", write("loop", LOOP), *["--net", "none"] * 8, "--rng"), 1,
           "9 virtio devices, but only 8 slots")


def bad_network():
    expect(run("--net", "tap0"), 2, "--net tap0: none, loop and dgram:LOCAL,PEER are possible")
    expect(run("--firmware", write("loop", LOOP), "--net", "dgram:loop,peer"), 1, "loop: .*")
    expect(run("--net", "dgram:no/such/folder,peer"), 1, "no/such/folder: No such file or directory")


def bad_console():
    expect(run("--console", "no/such/folder"), 1, "no/such/folder: No such file or directory")
    expect(run("--console", "."), 1, r"\.: Is a directory")


def initrd_of_more_than_the_memory():
    kernel = write("loop", LOOP)
    write("huge", b"")
    os.truncate("huge", (1 << 30) + (8 << 20))
    options = ("--firmware", kernel, "--kernel", kernel, "--initrd", "huge", "--instructions", "100")
    expect(run(*options, "--memory", "128M"), 1, "huge: larger than 1024 MiB")
    os.truncate("huge", 3 << 30)
    expect(run(*options, "--memory", "2G"), 1, "huge: larger than 2048 MiB")


def too_little_memory():
    expect(run("--memory", "1M"), 2, "--memory 1M: between 16M and 64G is possible")


def bad_size():
    expect(run("--memory", "much"), 2, "--memory much: not a size such as 128M")


def unknown_option():
    expect(run("--bogus"), 2, ".*--bogus.*")


def missing_script():
    expect(run("--firmware", write("loop", LOOP), "--script", "nope"), 1,
           "nope: No such file or directory")


def empty_script():
    expect(run("--firmware", write("loop", LOOP), "--script", write("s", b"# nothing\n\n")), 1,
           "s: no line to type")


def timeout_of_a_loop():
    result = run("--firmware", write("loop", LOOP), "--timeout", "0.3", "--stats", "json")
    expect(result, 1, r"timeout: the guest still runs after 0\.3 s, at pc 0x80000000")
    assert json.loads(result.stdout.splitlines()[-1])["end"] == "timeout"


def wait_without_wakeup():
    script = write("s", b"anything\n")
    wfi = write("wfi", b"\x73\x00\x50\x10")
    expect(run("--firmware", wfi, "--script", script), 1,
           "the guest waits at pc 0x80000004 for an interrupt that cannot come")


def guest_reports_failure():
    # lui t0, 0x100; lui t1, 0x73; addi t1, t1, 0x333; sw t1, 0(t0): 7 << 16 | 0x3333.
    words = [0x001002B7, 0x00073337, 0x33330313, 0x0062A023]
    image = write("fail", b"".join(word.to_bytes(4, "little") for word in words))
    expect(run("--firmware", image), 1, "the guest reported failure 7")


def bad_isa_is_a_warning():
    words = [0x001002B7, 0x00005337, 0x55530313, 0x0062A023]
    image = write("off", b"".join(word.to_bytes(4, "little") for word in words))
    expect(run("--firmware", image, env={**os.environ, "VM_MEM_ISA": "bogus"}), 0,
           ".*VM_MEM_ISA.*bogus.*")


def a_probe_loop_is_no_trap_loop():
    # 200 times: an illegal instruction, whose handler goes on without an MRET.
    # auipc t0, 0; addi t0, t0, 20; csrw mtvec, t0; li s0, 200; .word 0;
    # addi s0, s0, -1; bnez s0, -8; power off as below.
    words = [0x00000297, 0x01428293, 0x30529073, 0x0C800413, 0, 0xFFF40413, 0xFE041CE3,
             0x001002B7, 0x00005337, 0x55530313, 0x0062A023]
    image = write("probe", b"".join(word.to_bytes(4, "little") for word in words))
    result = run("--firmware", image)
    assert result.returncode == 0 and result.stderr == b"", result


def write_printer(name):
    # lui t0, 0x10000; li t1, 'x'; sb t1, 0(t0); jal x0, -4.
    words = [0x100002B7, 0x07800313, 0x00628023, 0xFFDFF06F]
    return write(name, b"".join(word.to_bytes(4, "little") for word in words))


def closed_streams_leave_the_disk_alone():
    for closed in ("1>&-", "0<&- 1>&-", "0<&- 1>&- 2>&-"):
        write("disk", bytes(65536))
        result = subprocess.run(
            ["sh", "-c", f'exec "$0" "$@" {closed}', VMRUN, "--firmware", write_printer("printer"),
             "--disk", "disk", "--timeout", "20"], stderr=subprocess.PIPE, timeout=250)
        with open("disk", "rb") as file:
            assert file.read() == bytes(65536), "the console is in the disk image"
        said = b"" if "2>" in closed else b"vmrun: standard output is closed\n"
        assert result.returncode == 1 and result.stderr == said, (closed, result)


def a_stalled_reader_holds_up_neither_timeout_nor_signal():
    for seconds, number, said in (("0.5", None, "timeout: .*"), ("200", signal.SIGTERM, "ended by .*")):
        with started("--firmware", write_printer("printer"), "--timeout", seconds,
                     stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
            child.stdout.read(1)  # it runs
            if number is not None:
                child.send_signal(number)
            assert child.wait(timeout=100) == 1
            assert re.fullmatch("vmrun: " + said + "\n", child.stderr.read().decode())


def kernel_of_another_machine():
    x86 = b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\x00\x3e\x00" + bytes(44)
    expect(run("--firmware", write("loop", LOOP), "--kernel", write("x86", x86)), 1,
           r"x86: an ELF program, but not for RISC-V with 64 bits \(machine 62, class 2\)")


def a_kernel_that_is_none():
    if not os.path.exists(OPENSBI):
        print("skipped: Debian's opensbi is not installed")
        sys.exit(SKIPPED)
    # OpenSBI sends the exception to where the kernel begins, for ever.
    expect(run("--kernel", write("text", b"no kernel\n" * 100), "--timeout", "0.3"), 1,
           r"timeout: the guest still runs after 0\.3 s, at pc 0x[0-9a-f]+; its last exception was: "
           r".* at pc 0x8020000[0-9a-f]")


def missing_kernel():
    expect(run("--firmware", write("loop", LOOP), "--kernel", "nope"), 1,
           "nope: No such file or directory")


def missing_initrd():
    expect(run("--firmware", write("loop", LOOP), "--kernel", "loop", "--initrd", "nope"), 1,
           "nope: No such file or directory")


def kernel_over_the_device_tree():
    write("huge", LOOP)
    os.truncate("huge", 13 << 20)
    expect(run("--firmware", write("loop", LOOP), "--kernel", "huge", "--memory", "16M"), 1,
           "huge: 0xd00000 bytes at 0x80200000 would overwrite the device tree at 0x80e00000")


def initrd_without_kernel():
    expect(run("--initrd", "nope"), 2, "--initrd: needs --kernel")


def write_power_off(name):
    words = [0x001002B7, 0x00005337, 0x55530313, 0x0062A023]
    return write(name, b"".join(word.to_bytes(4, "little") for word in words))


def lost_output_is_a_failure_however_the_guest_ends():
    # lui t0, 0x10000; li t1, 'x'; sb t1, 0(t0); then as write_power_off().
    words = [0x100002B7, 0x07800313, 0x00628023, 0x001002B7, 0x00005337, 0x55530313, 0x0062A023]
    printer = write("printer", b"".join(word.to_bytes(4, "little") for word in words))
    for image in (printer, write_power_off("off")):
        for output, said in (("/dev/full", "standard output: No space left on device"),
                             ("closed", "standard output is closed")):
            redirection = "1>&-" if output == "closed" else f">{output}"
            result = subprocess.run(
                ["sh", "-c", f'exec "$0" "$@" {redirection}', VMRUN, "--firmware", image,
                 "--stats", "json"],
                stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=250)
            expect(result, 1, said)


def a_console_that_cannot_be_written_is_one_line():
    # The emergency write of slot 0: lui t0, 0x10001; li t1, 'x'; sw t1, 0x108(t0), for ever.
    words = [0x100012B7, 0x07800313, 0x1062A423, 0xFFDFF06F]
    printer = write("printer", b"".join(word.to_bytes(4, "little") for word in words))
    expect(run("--firmware", printer, "--console", "/dev/full"), 1,
           "/dev/full: No space left on device")
    os.mkfifo("pipe")
    reader = os.open("pipe", os.O_RDONLY | os.O_NONBLOCK)  # and never read
    expect(run("--firmware", printer, "--console", "pipe", "--timeout", "0.5"), 1, "timeout: .*")
    os.close(reader)


def a_run_that_is_refused_empties_no_file():
    loop = write("loop", LOOP)
    for option in ("--trace", "--console"):
        write("old", b"yesterday")
        expect(run("--firmware", "nope", option, "old"), 1, "nope: No such file or directory")
        expect(run("--firmware", loop, "--script", "nope", option, "old"), 1,
               "nope: No such file or directory")
        write("disk", b"x" * 512)
        expect(run("--firmware", loop, "--disk", "disk", option, "disk"), 1,
               "disk: in use, as a disk or elsewhere")
        for name, content in (("old", b"yesterday"), ("disk", b"x" * 512)):
            with open(name, "rb") as file:
                assert file.read() == content, name


def stats_file():
    image = write_power_off("off")
    result = run("--firmware", image, "--stats", "json", "--stats-file", "stats")
    assert result.returncode == 0 and result.stdout == b"" and result.stderr == b"", result
    with open("stats", encoding="ascii") as file:
        stats = json.load(file)
    assert stats["instructions"] == 4 and stats["end"] == "power off", stats
    expect(run("--firmware", image, "--stats-file", "no/such"), 1,
           "no/such: No such file or directory")
    expect(run("--firmware", image, "--stats-file", "/dev/full"), 1,
           "/dev/full: No space left on device")
    write("disk", b"x" * 512)
    expect(run("--firmware", image, "--disk", "disk", "--stats-file", "disk"), 1,
           "disk: in use, as a disk or elsewhere")
    with open("disk", "rb") as file:
        assert file.read() == b"x" * 512, "the report is in the disk image"


def a_trace_that_cannot_be_written_is_one_line():
    loop = write("loop", LOOP)
    expect(run("--firmware", loop, "--trace", "no/such"), 1, "no/such: No such file or directory")
    expect(run("--firmware", loop, "--trace", "/dev/full"), 1, "/dev/full: No space left on device")
    # Little enough to be written at the end.
    expect(run("--firmware", write_power_off("off"), "--trace", "/dev/full"), 1,
           "/dev/full: No space left on device")


def traces_end_with_the_run():
    image = write_power_off("off")
    for what in ([], ["--cpu", "jit"] if HAS_JIT else []):
        result = run("--firmware", image, "--trace", "t", "--trace-what", "insn,mmio", *what)
        assert result.returncode == 0 and result.stderr == b"", result
        with open("t", encoding="ascii") as file:
            lines = file.read().splitlines()
        assert lines[0] == "insn 0 0 M 0x80000000 001002b7 t0=0x100000", lines
        assert lines[3:] == ["mmio 0 0 write 0x100000 4 0x5555 finisher",
                             "insn 0 3 M 0x8000000c 0062a023"], lines
    result = run("--firmware", image, "--trace", "-", "--trace-what", "block")
    assert result.stderr == b"block 0 0 M 0x80000000 4\n", result


def a_port_in_use_is_one_line():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        expect(run("--firmware", write("loop", LOOP), "--gdb", str(port)), 1,
               rf"--gdb {port}: 127\.0\.0\.1:{port}: Address already in use")


def a_debugger_that_never_comes_holds_up_neither_timeout_nor_signal():
    result = run("--firmware", write("loop", LOOP), "--gdb", "0", "--timeout", "0.3")
    assert result.returncode == 1 and b"timeout" in result.stderr, result
    with started("--firmware", "loop", "--gdb", "0", "--timeout", "200",
                 stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as child:
        child.stderr.readline()  # it listens
        child.send_signal(signal.SIGTERM)
        assert child.wait(timeout=100) == 1
        assert b"ended by signal" in child.stderr.read()


def on_terminal(keys):
    """Runs a guest that loops with a terminal, and gives (status, settings before, after)."""
    master, slave = open_terminal()
    before = termios.tcgetattr(slave)
    with started("--firmware", write("loop", LOOP), "--timeout", "50", stdin=slave,
                 stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as child:
        deadline = time.monotonic() + 30
        while termios.tcgetattr(slave)[3] & termios.ICANON:
            assert time.monotonic() < deadline, "never in raw mode"
            time.sleep(0.001)
        if isinstance(keys, bytes):
            os.write(master, keys)
        else:
            child.send_signal(keys)
        status = child.wait(timeout=30)
        return status, before, termios.tcgetattr(slave)


def escape_quits_and_restores_the_terminal():
    status, before, after = on_terminal(b"ab\x01\x01\x01x")
    assert status == 0 and before == after, (status, before, after)


def progress_is_shown_on_a_terminal():
    master, slave = open_terminal()
    script = write("s", b"anything\n")
    with started("--firmware", write("loop", LOOP), "--script", script, "--instructions",
                 "100000000000", stdout=slave, stderr=subprocess.PIPE) as child:
        shown = read_until(master, b"", b"s left")
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("4H", 24, 20, 0, 0))
        read_until(master, b"", rb"\x1b\[K[^\r]{19}\r")  # does not wrap
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("4H", 24, 0, 0, 0))
        child.send_signal(signal.SIGTERM)
        assert child.wait(timeout=30) == 1
        shown = read_until(master, shown, b"signal after")
    lines = shown.replace(b"\r\n", b"\n").split(b"\r\x1b[K")
    assert re.match(rb"\d+ s, \d+ M instructions, \d+ MIPS, .* % done, \d+ s left", lines[1]), lines
    assert lines[-1].startswith(b"--- vmrun: signal after"), lines


def a_profile_is_in_the_report():
    words = [0x001002B7, 0x00005337, 0x55530313, 0x0062A023]
    image = write("off", b"".join(word.to_bytes(4, "little") for word in words))
    result = run("--firmware", image, "--profile", "--stats", "json")
    assert result.returncode == 0, result
    profile = json.loads(result.stdout)["profile"]
    assert set(profile) == {"samples", "copies_share", "copies_error", "seconds"}, profile
    assert {"cpu", "dma", "engine", "translated", "machine"} <= set(profile["seconds"]), profile
    stripped = os.path.abspath("stripped")
    if subprocess.run(["strip", "-o", stripped, VMRUN], check=False).returncode == 0:
        result = subprocess.run([stripped, "--firmware", image, "--profile"], capture_output=True,
                                stdin=subprocess.DEVNULL, timeout=250)
        expect(result, 1, "no profile: the program is stripped of its symbols")


def signals_restore_the_terminal():
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        status, before, after = on_terminal(number)
        assert status == 1 and before == after, (number, status, before, after)


def uboot_runs_to_the_end_of_input():
    if not os.path.exists(UBOOT):
        print("skipped: Debian's u-boot-qemu is not installed")
        sys.exit(SKIPPED)
    result = run("--timeout", "200")
    assert result.returncode == 0, result
    assert b"\n=> " in result.stdout and b"vmrun: end of input" in result.stdout, result.stdout


def checksum(data):
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    return struct.pack(">H", ~(total + (total >> 16)) & 0xFFFF)


def answer(frame):
    """What a host at 10.0.0.1 sends in reply: to ARP requests and to pings."""
    mac = b"\x02\0\0\0\0\x01"
    if frame[12:14] == b"\x08\x06" and frame[20:22] == b"\0\x01":
        return (frame[6:12] + mac + frame[12:21] + b"\x02" + mac + frame[38:42] + frame[22:32]
                + frame[42:])
    if frame[12:14] == b"\x08\x00" and frame[23:24] == b"\x01" and frame[34:35] == b"\x08":
        size = int.from_bytes(frame[16:18], "big")
        echo = b"\0\0" + frame[38:14 + size]
        echo = echo[:2] + checksum(b"\0\0\0\0" + frame[38:14 + size]) + echo[2:]
        return frame[6:12] + mac + frame[12:26] + frame[30:34] + frame[26:30] + echo
    return None


def uboot_pings_through_sockets():
    if not os.path.exists(UBOOT):
        print("skipped: Debian's u-boot-qemu is not installed")
        sys.exit(SKIPPED)
    host = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    host.bind("host")
    host.settimeout(100)
    script = write("s", b"setenv ipaddr 10.0.0.2\nping 10.0.0.1\npoweroff\n")
    with subprocess.Popen([VMRUN, "--net", "dgram:guest,host", "--script", script, "--timeout", "100"],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as child:
        echoes = 0
        while echoes == 0:
            frame = host.recv(2048)
            reply = answer(frame)
            if reply is not None:
                host.sendto(reply, "guest")
                echoes += frame[12:14] == b"\x08\x00"
        console = child.communicate(timeout=100)[0]
        assert child.returncode == 0 and b"host 10.0.0.1 is alive" in console, console
    assert not os.path.exists("guest"), "the socket stays behind"


def a_limit_on_the_size_of_files_is_an_io_error_of_the_guests():
    if not os.path.exists(UBOOT):
        print("skipped: Debian's u-boot-qemu is not installed")
        sys.exit(SKIPPED)
    write("disk", b"x" * 65536)
    script = write("s", b"virtio scan\nvirtio write 84000000 0 1\nvirtio read 84000000 0 1\npoweroff\n")
    result = run("--disk", "disk", "--script", script, "--timeout", "200",
                 preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)))
    assert result.returncode == 0 and result.stderr == b"", result
    assert b"blocks written: ERROR" in result.stdout, result.stdout
    assert b"1 blocks read: OK" in result.stdout, result.stdout
    with open("disk", "rb") as file:
        assert file.read() == b"x" * 65536


if __name__ == "__main__":
    VMRUN = os.path.abspath(VMRUN)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        globals()[sys.argv[2]]()
        os.chdir("/")
