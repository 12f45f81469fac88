#!/usr/bin/env python3
"""What vmmem prints and how it ends, for good input and for bad.

Usage: cli_test.py VMMEM CASE, where CASE is a function of this file.
"""

import json
import os
import pty
import re
import subprocess
import sys
import tempfile

VMMEM = sys.argv[1]
COMMANDS = ("info", "verify", "bench", "calibrate", "emit-policy", "demo")
SKIPPED = 77
HEADER = "vm_mem copy policy 1\n"
BASE = {key: value for key, value in os.environ.items() if not key.startswith("VM_MEM_")}


def run(*arguments, **environment):
    return subprocess.run([VMMEM, *arguments], stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, encoding="utf-8", timeout=100, env={**BASE, **environment})


def good(*arguments, **environment):
    result = run(*arguments, **environment)
    assert result.returncode == 0 and result.stderr == "", result
    return result.stdout


def expect_failure(result, status, pattern):
    assert result.returncode == status and result.stdout == "", result
    assert re.fullmatch("vmmem: " + pattern + "\n", result.stderr), result.stderr


def policy(text):
    with open("limits", "w", encoding="ascii") as file:
        file.write(text)
    return {"VM_MEM_POLICY": "limits"}


def rejected_environment(pattern, **environment):
    """info and demo go on with a warning; what measures does not start."""
    result = run("info", **environment)
    assert result.returncode == 0, result
    assert re.fullmatch("vmmem: warning: " + pattern + "\n", result.stderr), result.stderr
    assert re.search(r"^warning +" + pattern + "$", result.stdout, re.M), result.stdout
    for command in ("verify", "bench", "calibrate"):
        expect_failure(run(command, **environment), 1, pattern)
    assert not os.path.exists("vm_mem.policy")


def help_of_every_command():
    assert "Example: " in good("--help")
    for command in COMMANDS:
        assert f"Example: vmmem {command}" in good(command, "--help")


def wrong_command_lines():
    expect_failure(run(), 2, "want one of info, .*")
    expect_failure(run("bogus"), 2, "want one of info, .*")
    expect_failure(run("info", "--bogus"), 2, ".*--bogus.*")
    expect_failure(run("verify", "--seconds", "soon"), 2, ".*--seconds.*soon.*")
    expect_failure(run("verify", "--isa", "mmx"), 2,
                   "mmx: not a row of this machine; want one of .*scalar.*")
    expect_failure(run("bench", "--sizes", "1T"), 2, "--sizes 1T: not a size from 1 to 256M")


def bogus_isa():
    rejected_environment("VM_MEM_ISA=bogus: not a row .*; want one of .*", VM_MEM_ISA="bogus")


def damaged_policy():
    rejected_environment('VM_MEM_POLICY: limits:3: unknown key "speed"',
                         **policy(HEADER + "inline_max = 3\nspeed = 9\n"))
    rejected_environment("VM_MEM_POLICY: nope: No such file or directory", VM_MEM_POLICY="nope")


def foreign_policy():
    rejected_environment('VM_MEM_POLICY: limits:2: measured on another CPU: "486", and this is ".+"',
                         **policy(HEADER + 'cpu = "486"\n'))


def absurd_policy():
    rejected_environment("VM_MEM_POLICY: limits:2: CopyPolicy::inline_max = 1073741824: want at "
                         "most 4096", **policy(HEADER + "inline_max = 1073741824\n"))
    rejected_environment("VM_MEM_POLICY: limits:3: CopyPolicy::stream_min = 63: want at least 4096",
                         **policy(HEADER + "\nstream_min = 63\n"))


def info_is_json():
    told = json.loads(good("info", "--json"))
    assert told["row"] in [row["name"] for row in told["rows"] if row["supported"]], told
    assert told["cpu"]["identity"] and told["machine"]["page_bytes"] % 4096 == 0, told
    assert set(told["policy"]) >= {"inline_max", "prefetch_min", "rep_movsb_hot_min"}, told


def info_names_its_sources():
    told = good("info", **policy(HEADER + "stream_min = 8192\n"))
    assert re.search(r"^  stream_min +8K   limits$", told, re.M), told
    assert re.search(r"^  inline_max +\d+   default for .+$", told, re.M), told


def emit_policy_covers_every_size():
    for arguments in ((), ("--isa", "x86-64"), ("--isa", "aarch64")):
        told = json.loads(good("emit-policy", "--json", *arguments))
        assert not arguments or told["isa"] == arguments[1], told
        assert [table["mode"] for table in told["tables"]][0] == "host pointers", told
        for table in told["tables"]:
            for size in ("constant", "register"):
                rows = [row for row in table["rows"] if row["size"] == size]
                ends = [-1] + [row["max_bytes"] for row in rows]
                assert ends[-1] == "never", table
                assert [row["min_bytes"] for row in rows] == [end + 1 for end in ends[:-1]], table
        text = good("emit-policy", *arguments)
        assert re.search(r"^  constant 0( and more)? +\w+ +\S.*$", text, re.M), text
        assert max(map(len, text.splitlines())) < 80, text
    expect_failure(run("emit-policy", "--isa", "mips"), 2, "--isa: .*")


def verify_counts_every_row():
    told = good("verify", "--seconds", "0.3", "--seed", "7")
    rows = re.findall(r"^(\w+) +(\d+) cases$", told, re.M)
    total = re.search(r"^total +(\d+) cases, seed 7, 0 mismatches$", told, re.M)
    assert [name for name, _ in rows][-3:] == ["scalar", "memcpy_raw", "memcpy_adaptive"], told
    assert int(total[1]) == sum(int(count) for _, count in rows) > 0, told


def verify_is_repeatable():
    told = good("verify", "--isa", "scalar", "--seed", "7", "--case", "3")
    assert re.search(r"^total +1 cases, seed 7, 0 mismatches$", told, re.M), told


def verify_is_json():
    told = json.loads(good("verify", "--seconds", "0.1", "--json", "--isa", "scalar"))
    assert list(told["cases"]) == ["scalar"] and told["mismatches"] == 0, told


def forced_row():
    told = good("info", VM_MEM_ISA="scalar")
    assert re.search("^row in use +scalar: forced by VM_MEM_ISA$", told, re.M), told


def bench_is_a_table():
    told = good("bench", "--seconds", "0.2", "--sizes", "64,4K", "--rows", "scalar")
    assert re.match(r" bytes +libc ns  memcpy_raw +scalar\n", told), told
    assert re.search(r"^ +4K +[\d.]+ +[\d.]+ \([\d.]+-[\d.]+\) ", told, re.M), told


def bench_is_json():
    told = json.loads(good("bench", "--seconds", "0.1", "--sizes", "64", "--json"))
    assert told["sizes"][0]["bytes"] == 64, told
    assert told["sizes"][0]["ratios"]["memcpy_raw"]["median"] > 0, told


def calibrate_writes_what_info_reads():
    told = good("calibrate", "--quick", "--output", "my.policy")
    assert "VM_MEM_POLICY=my.policy" in told, told
    with open("my.policy", encoding="ascii") as file:
        written = dict(line.split(" = ") for line in file.read().splitlines()[1:])
    read = json.loads(good("info", "--json", VM_MEM_POLICY="my.policy"))
    for field, shown in read["policy"].items():
        assert shown == {"value": shown["value"], "source": "my.policy"}, shown
        assert str(shown["value"]) == written[field], (field, shown, written)
    assert written["cpu"] == '"' + read["cpu"]["identity"] + '"'
    assert os.listdir() == ["my.policy"], os.listdir()


def calibrate_is_json():
    told = json.loads(good("calibrate", "--quick", "--json", VM_MEM_ISA="scalar"))
    assert told["file"] == "vm_mem.policy" and os.path.exists("vm_mem.policy")
    assert told["limits"]["inline_max"]["verdict"] == "not measured: VM_MEM_ISA forces a row", told
    assert told["limits"]["stream_min"]["gain"] > 0, told


def calibrate_overwrites_no_other_file():
    with open("diary", "w", encoding="ascii") as file:
        file.write("dear diary\n")
    expect_failure(run("calibrate", "--output", "diary"), 1,
                   "diary: exists and is no policy file; not overwritten")
    expect_failure(run("calibrate", "--output", "no/such"), 1,
                   "no/such: No such file or directory")
    with open("diary", encoding="ascii") as file:
        assert file.read() == "dear diary\n"


def demo_fits_80_columns():
    told = good("demo", LC_ALL="C.UTF-8")
    assert "0 mismatches" in told and "Slower than libc here" in told, told
    assert "\u2588" in told and "\x1b" not in told, told
    assert max(len(line) for line in told.splitlines()) <= 80, told


def demo_is_json():
    told = json.loads(good("demo", "--json"))
    assert told["mismatches"] == 0 and told["verified_cases"] > 0 and told["speed"], told


def on_terminal(*arguments, stream):
    """What the program sends to a terminal that is its standard output or error."""
    try:
        master, slave = pty.openpty()
    except OSError as error:
        print(f"skipped: this machine gives no pseudo-terminal: {error}")
        sys.exit(SKIPPED)
    streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, stream: slave}
    child = subprocess.Popen([VMMEM, *arguments], stdin=subprocess.DEVNULL, **streams,
                             env={**BASE, "LC_ALL": "C"})
    os.close(slave)
    told = b""
    while True:
        try:
            part = os.read(master, 4096)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        told += part
    assert child.wait(timeout=30) == 0
    return told.decode()


def progress_shows_on_a_terminal_and_goes():
    told = on_terminal("verify", "--seconds", "1", stream="stderr")
    assert re.search(r"\rverify  \[#+ +\] +\d+ %  \d s", told), repr(told)
    assert told.endswith("\r\x1b[K"), repr(told)


def demo_has_colours_on_a_terminal():
    told = on_terminal("demo", stream="stdout")
    assert "\x1b[32m0 mismatches\x1b[0m" in told and "##" in told, told


if __name__ == "__main__":
    VMMEM = os.path.abspath(VMMEM)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        globals()[sys.argv[2]]()
        os.chdir("/")
