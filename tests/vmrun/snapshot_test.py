#!/usr/bin/env python3
"""A machine that is saved goes on in another process as if nothing had been.

Usage: snapshot_test.py VMRUN CASE, where CASE is a function of this file.
"""

import json
import os
import random
import re
import subprocess
import sys
import tempfile

VMRUN = os.path.abspath(sys.argv[1])
UBOOT = "/usr/lib/u-boot/qemu-riscv64/u-boot.bin"
SMODE_UBOOT = "/usr/lib/u-boot/qemu-riscv64_smode/u-boot.bin"
OPENSBI = "/usr/lib/riscv64-linux-gnu/opensbi/generic/fw_dynamic.bin"
SKIPPED = 77
LINES = ["virtio info", "virtio read 84000000 0 40", "crc32 84000000 8000",
         "virtio write 84000000 40 40", "sleep 0.01", "net list", "poweroff"]
DEVICES = ["--net", "loop", "--rng", "--console", "console"]
SAVED = r"vmrun: saved saved: \d+\.\d MiB of 128\.0 MiB in \d+ ms, after (\d+) instructions\n"


def need(*images):
    for image in images:
        if not os.path.exists(image):
            print(f"skipped: {image} is not installed (u-boot-qemu, opensbi)")
            sys.exit(SKIPPED)


def modes():
    yield []
    if os.uname().machine == "x86_64":
        yield ["--cpu", "jit"]
        yield ["--cpu", "jit", "--memory-mode", "fastmem"]


def run(*options):
    return subprocess.run([VMRUN, "--timeout", "250", *options], capture_output=True,
                          stdin=subprocess.DEVNULL, timeout=280)


def write(name, content):
    with open(name, "wb") as file:
        file.write(content)
    return name


def read(name):
    with open(name, "rb") as file:
        return file.read()


def script(lines):
    return ["--script", write("script", "".join(f"{line}\n" for line in lines).encode())]


def new_disk():
    return ["--disk", write("disk", random.Random(1).randbytes(65536))]


def report(*options):
    """Gives (what the guest printed, the report)."""
    result = run("--stats-file", "stats", "--stats", "json", *options)
    assert result.returncode == 0, result
    return result.stdout, json.loads(read("stats"))


def expect_equal_runs(marks, machine):
    """Of each mark: saved there by one kind of CPU and gone on with by another, a run comes to
    the same end as one that was not saved."""
    console, whole = report(*machine, *DEVICES, *new_disk(), *script(LINES), "--seed", "7")
    disk = read("disk")
    cpus = list(modes())
    for number, mark in enumerate(marks):
        first, its = report(*machine, *DEVICES, *new_disk(), *script(LINES), "--seed", "7",
                            *cpus[number % len(cpus)], "--save", "saved", "--at", mark)
        assert its["end"] == "saved", its
        assert console.startswith(first), (mark, first)
        assert its["instructions"] < whole["instructions"], (mark, its)
        # A line that had been begun is in the file.
        begun = first.count(b"\n=> ") - (1 if first.endswith(b"\n=> ") else 0)
        second, its = report("--restore", "saved", "--disk", "disk", "--console", "console",
                             *script(LINES[begun:]), *cpus[(number + 1) % len(cpus)],
                             *(["--lazy"] if number % 2 == 0 else []))
        assert first + second == console, (mark, first, second)
        for what in ("end", "instructions", "state_hash"):
            assert its[what] == whole[what], (mark, what, its, whole)
        assert read("disk") == disk, mark


def u_boot_comes_to_the_same_end():
    need(UBOOT)
    # In the countdown, at the prompt, amid a command before and after its disk access.
    expect_equal_runs(["instructions:10000000", "\n=> ", "count 64 ... ", "64 blocks written: OK"],
                      [])


def opensbi_and_harts_come_to_the_same_end():
    need(SMODE_UBOOT, OPENSBI)
    expect_equal_runs(["instructions:25000000", "\n=> ", "text:blocks read"],
                      ["--kernel", SMODE_UBOOT, "--harts", "2", "--iommu", "identity"])


def expect_commands(machine, said):
    """Saved at the prompt by one who types nothing, and typed to in other processes."""
    result = run(*machine, "--save", "saved", "--at", "=> ", "--stats-file", "stats")
    assert result.returncode == 0, result
    assert re.fullmatch(SAVED, result.stderr.decode()), result.stderr
    assert result.stdout.endswith(b"\n=> "), result.stdout
    children = []
    for number, line in enumerate(["version", "bdinfo", "echo $((1))"]):
        name = write(f"script{number}", f"{line}\n".encode())
        mode = list(modes())[number % len(list(modes()))]
        children.append(subprocess.Popen(
            [VMRUN, "--restore", "saved", "--script", name, *mode, "--timeout", "250",
             "--stats-file", f"stats{number}"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE))
    for child, answer in zip(children, said):
        stdout, stderr = child.communicate(timeout=280)
        assert (child.returncode, stderr) == (0, b""), (child.returncode, stderr)
        assert answer in stdout and b"U-Boot SPL" not in stdout, (answer, stdout)
        assert stdout.endswith(b"\n=> "), stdout


def many_go_on_from_one_prompt():
    need(UBOOT)
    expect_commands([], [b"U-Boot 20", b"relocaddr   = 0x0000000087f57000", b"$((1))"])


def many_go_on_from_one_prompt_of_opensbi():
    need(SMODE_UBOOT, OPENSBI)
    expect_commands(["--kernel", SMODE_UBOOT], [b"U-Boot 20", b"relocaddr   = 0x0000000087f57000", b"$((1))"])


def a_machine_is_saved_again():
    need(UBOOT)
    assert run("--save", "saved", "--at", "=> ").returncode == 0
    result = run("--restore", "saved", "--save", "saved", "--at", "riscv64-linux-gnu-gcc",
                 *script(["version"]))
    assert result.returncode == 0, result
    stdout, its = report("--restore", "saved", *script(["poweroff"]))
    assert its["end"] == "power off" and b"GNU ld" in stdout, (its, stdout)
    for mode in modes():
        if "fastmem" in mode:
            result = run("--restore", "saved", "--lazy", *mode, *script(["poweroff"]))
            assert result.returncode == 0 and b"brought at once" in result.stderr, result


def damaged_memory_ends_the_run():
    need(UBOOT)
    assert run("--save", "saved", "--at", "=> ", *script(["version"])).returncode == 0
    with open("saved", "r+b") as file:
        for page in range(1, 200):
            file.seek(4096 * page + 100)
            byte = file.read(1)[0]
            file.seek(4096 * page + 100)
            file.write(bytes([byte ^ 1]))
    for options in ([], ["--lazy"]):
        result = run("--restore", "saved", *options, *script(["version"]))
        last = result.stderr.splitlines()[-1].decode()
        assert result.returncode == 1, result
        assert re.match("vmrun: saved: at 0x", last), result
        assert b"U-Boot" not in result.stdout, result


def expect(result, status, pattern):
    stderr = result.stderr.decode()
    assert result.returncode == status, (result.returncode, stderr)
    assert re.fullmatch("vmrun: " + pattern + "\n", stderr), repr(stderr)
    assert result.stdout == b"", result.stdout


def options_that_cannot_be():
    expect(run("--save", "it"), 2, "--save: needs --at")
    expect(run("--at", "=> "), 2, "--at: needs --save")
    expect(run("--lazy"), 2, "--lazy: needs --restore")
    expect(run("--save", "", "--at", "x"), 2, "--save: a file name is needed")
    expect(run("--restore", ""), 2, "--restore: a file name is needed")
    expect(run("--save", "it", "--at", "x", "--gdb", "0"), 2,
           "--save: not with --gdb, which holds the machine")
    for mark in ("", "text:", "instructions:", "instructions:0", "instructions:x"):
        expect(run("--save", "it", "--at", mark), 2,
               "--at: a text, or instructions:NUMBER above 0, is needed")
    for name in ("--firmware", "--kernel", "--initrd", "--append"):
        expect(run("--restore", "it", name, "it"), 2, f"{name}: not with --restore, .*")
    disk = new_disk()
    expect(run("--save", "none/it", "--at", "x"), 1, "none/it: No such file or directory")
    expect(run("--save", ".", "--at", "x"), 1, r"\.: Is a directory")
    expect(run("--save", "disk", "--at", "x", *disk), 1, "disk: the machine uses this file")
    # What it reads, and what it is about to write.
    loop = write("loop", b"\x6f\x00\x00\x00")
    expect(run("--save", "loop", "--at", "x", "--firmware", loop), 1,
           "loop: the machine uses this file")
    for option in ("--stats-file", "--trace", "--console"):
        expect(run("--save", "./it", "--at", "instructions:9", "--firmware", loop, option, "it"), 1,
               r"\./it: the machine uses this file")
    assert not os.path.exists("it")
    if os.geteuid() != 0:
        os.mkdir("locked", 0o500)
        expect(run("--save", "locked/it", "--at", "x"), 1, "locked/it: Permission denied")
    expect(run("--restore", "nope"), 1, "nope: .*No such file or directory.*")
    expect(run("--restore", "disk"), 1, "disk: at 0x0: this is no snapshot.*")


def a_mark_that_never_comes_saves_nothing():
    loop = write("loop", b"\x6f\x00\x00\x00")  # jal x0, 0
    firmware = ["--firmware", loop, "--save", "it", "--stats-file", "stats"]
    expect(run(*firmware, "--at", "=> ", "--instructions", "1000"), 1,
           "end of instructions: the guest never printed '=> ', so nothing is saved")
    expect(run(*firmware, "--at", "a\n", "--timeout", "0.1"), 1,
           r"timeout: .*; the guest never printed 'a\\x0a', so nothing is saved")
    expect(run(*firmware, "--at", "instructions:1000", "--instructions", "10"), 1,
           "end of instructions: 1000 instructions were not reached, so nothing is saved")
    assert not os.path.exists("it")


def what_is_not_of_the_machine_is_refused():
    loop = write("loop", b"\x6f\x00\x00\x00")
    disk = new_disk()
    result = run("--firmware", loop, *disk, "--net", "loop", "--console", "console", "--harts", "2",
                 "--seed", "7", "--save", "saved", "--at", "instructions:1000")
    assert result.returncode == 0, result
    again = ["--restore", "saved", "--console", "console", "--instructions", "20000", "--stats-file",
             "stats"]
    good = run(*again, *disk, "--harts", "2", "--memory", "128M", "--seed", "7", "--net", "none")
    assert (good.returncode, good.stderr) == (0, b""), good
    for options, said in (
            (["--memory", "64M"], "--memory: the machine of saved has 128M"),
            (["--harts", "3"], "--harts 3: the machine of saved has 2"),
            (["--iommu", "identity"], "--iommu: that of saved is off"),
            (["--seed", "8"], "--seed 8: the machine of saved has 7"),
            (["--rng"], "--rng: the machine of saved has none"),
            (["--net", "none", "--net", "none"], "--net: the machine of saved has 1"),
            (["--disk", "nope"], "--disk: the machine of saved has 1, and 2 are given"),
            (["--instructions", "10"], "--instructions 10: the machine of saved has executed .*")):
        expect(run(*again, *disk, *options), 1, said)
    expect(run("--restore", "saved", *disk), 1,
           "--console: the machine of saved has one: say where to")
    expect(run(*again), 1, "--disk: the machine of saved has 1, and 0 are given")
    expect(run(*again, "--disk", "nope"), 1, "nope: No such file or directory")
    expect(run(*again, "--disk", "disk,readonly"), 1,
           "disk: the disk of saved is written: leave out ,readonly")
    expect(run(*again, "--disk", write("other", bytes(1024))), 1,
           "other: not the disk of saved, which has 65536 bytes and not 1024")
    expect(run(*again, "--disk", write("other", read("disk")[:-1] + b"x")), 1,
           "other: not the disk of saved as it was then: something else is written on it")
    os.truncate("saved", os.path.getsize("saved") - 1)
    expect(run(*again, *disk), 1, "saved: at 0x[0-9a-f]+: the file is cut off here")


def main():
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            globals()[sys.argv[2]]()
        finally:
            os.chdir("/")


if __name__ == "__main__":
    main()
