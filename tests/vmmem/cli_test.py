#!/usr/bin/env python3
"""What vmmem prints and how it ends, for good input and for bad.

Usage: cli_test.py VMMEM CASE, where CASE is a function of this file.
"""

import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import tempfile

VMMEM = sys.argv[1]
COMMANDS = ("info", "verify", "bench", "calibrate", "emit-policy", "demo")
SNAPSHOT_COMMANDS = ("inspect", "verify", "diff", "merge", "export", "import")
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
    assert "Example: vmmem snapshot" in good("snapshot", "--help")
    for command in SNAPSHOT_COMMANDS:
        assert f"Example: vmmem snapshot {command}" in good("snapshot", command, "--help")


def wrong_command_lines():
    expect_failure(run(), 2, "want one of info, .*")
    expect_failure(run("bogus"), 2, "want one of info, .*")
    expect_failure(run("info", "--bogus"), 2, ".*--bogus.*")
    expect_failure(run("verify", "--seconds", "soon"), 2, ".*--seconds.*soon.*")
    expect_failure(run("verify", "--isa", "mmx"), 2,
                   "mmx: not a row of this machine; want one of .*scalar.*")
    expect_failure(run("snapshot", "bogus"), 2, "snapshot: want one of inspect, .*")
    expect_failure(run("snapshot", "diff", "a"), 2, "snapshot diff: want FIRST and SECOND .*")
    expect_failure(run("snapshot", "import", "a", "b", "--region", "64M"), 2,
                   "--region 64M: want ADDRESS:SIZE .*")
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


REGIONS = ("--region", "0x80000000:1M", "--region", "0x100000000:64K")


def snapshot(*arguments):
    return good("snapshot", *arguments)


def snapshot_fails(pattern, *arguments, status=1):
    expect_failure(run("snapshot", *arguments), status, pattern)


def make_snapshot(name, pages):
    """Of an image whose pages, told by number, are filled with the number given."""
    with open(name + ".img", "wb") as file:
        file.truncate((1 << 20) + (64 << 10))
        for page, byte in pages.items():
            file.seek(page * 4096)
            file.write(bytes([byte]) * 4096)
    snapshot("import", name + ".img", name, *REGIONS)


def flip(name, at):
    with open(name, "r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 1]))


def snapshots_go_to_images_and_back():
    make_snapshot("a", {0: 1, 7: 2, 256: 3})
    told = snapshot("export", "a", "flat")
    assert "--region 0x80000000:0x100000 --region 0x100000000:0x10000" in told, told
    with open("flat", "rb") as flat, open("a.img", "rb") as image:
        assert flat.read() == image.read()
    told = snapshot("merge", "a", "b")
    assert told.startswith("b: 3 pages (12.0 KiB) of 1 file; it needs no other, "), told
    told = snapshot("verify", "b")
    assert told == "b: good: 1 file, 3 pages (12.0 KiB), 0 states\n", told
    told = snapshot("diff", "a", "b")
    assert told == "a and b are the same: 1.1 MiB of memory, 0 states\n", told


def snapshot_inspect_has_regions_and_where_they_are_full():
    make_snapshot("a", {0: 1, 1: 1, 256: 3})
    told = json.loads(snapshot("inspect", "a", "--json"))
    assert told["format"] == "1.0" and told["features"]["readers"] == "0x0", told
    assert told["data_pages"] == 3 and len(told["chain"]) == 1 and "parent" not in told, told
    first, second = told["regions"]
    assert first["begin"] == "0x80000000" and first["data_bytes"] == 8192, told
    assert first["density"] == [0.25] + 31 * [0], told
    assert second["begin"] == "0x100000000" and second["density"] == [1] + 15 * [0], told
    text = snapshot("inspect", "a")
    assert re.search(r"^  0x80000000-0x800fffff  1.0 MiB, of which 8.0 KiB \(0.8 %\)", text, re.M)
    assert "\n  [+" + 31 * " " + "]\n" in text and "\n  [#" + 15 * " " + "]\n" in text, text


def snapshots_are_compressed_where_asked():
    make_snapshot("a", {page: 1 for page in range(100)})
    for library in ("lz4", "zstd"):
        result = run("snapshot", "merge", "a", library, "--compress", library)
        if result.returncode != 0:
            expect_failure(result, 1, f"compression with {library}, which this program was built "
                           f"without: build it where lib{library}-dev is installed")
            continue
        assert run("snapshot", "verify", library).returncode == 0
        assert run("snapshot", "diff", "a", library).returncode == 0
        told = json.loads(snapshot("inspect", library, "--json"))
        assert told["features"]["readers"] == "0x1" and told["stored_pages"] == 7, told
        assert " compressed to 28.0 KiB, " in snapshot("inspect", library)
        assert os.path.getsize(library) * 4 < os.path.getsize("a")
    snapshot_fails("--compress: .*", "merge", "a", "b", "--compress", "gzip", status=2)


def snapshot_diff_ends_as_diff_does():
    make_snapshot("a", {0: 1, 7: 2, 256: 3})
    make_snapshot("b", {0: 1, 7: 4, 8: 2})
    result = run("snapshot", "diff", "a", "b")
    assert result.returncode == 1 and result.stderr == "", result
    assert result.stdout.splitlines() == [
        "0x80007000-0x80008fff  2 pages (8.0 KiB)", "0x100000000-0x100000fff  1 page (4.0 KiB)",
        "a and b differ: 3 pages (12.0 KiB) in 2 ranges, 0 states"], result.stdout
    told = json.loads(run("snapshot", "diff", "a", "b", "--json").stdout)
    assert not told["same"] and told["differing_pages"] == 3 and told["read_pages"] == 2, told
    flip("b", 4096 + 9)  # the first page, which has to be read
    snapshot_fails("b: at 0x1000: .*does not match its checksum", "diff", "a", "b", status=2)
    snapshot_fails("nope: opening: .*No such file.*", "diff", "a", "nope", status=2)


def snapshot_damage_is_one_line():
    make_snapshot("a", {0: 1, 7: 2, 256: 3})
    for at in (0, 9, 4096, 4096 * 4, os.path.getsize("a") - 1):
        flip("a", at)
        snapshot_fails("a: at 0x[0-9a-f]+: .+", "verify", "a")
        flip("a", at)
    snapshot("verify", "a")
    with open("a", "r+b") as file:
        file.truncate(os.path.getsize("a") - 4096)
    snapshot_fails("a: at 0x[0-9a-f]+: .+", "inspect", "a")
    snapshot_fails("a.img: at 0x0: this is no snapshot: .*; .*import.*", "verify", "a.img")
    snapshot_fails("nope: opening: .*No such file or directory.*", "verify", "nope")
    os.mkdir("folder")
    snapshot_fails("folder: this is no regular file", "inspect", "folder")
    os.symlink("a", "link")
    snapshot_fails("link: this is a symbolic link; name the file .*", "inspect", "link")


def snapshot_outputs_replace_nothing_unasked():
    make_snapshot("a", {0: 1})
    make_snapshot("b", {1: 1})
    os.symlink("nowhere", "link")
    before = sorted(os.listdir())
    snapshot_fails("b: is there already; --force replaces it", "merge", "a", "b")
    snapshot_fails("a: it would replace a snapshot .*", "export", "a", "a", "--force")
    snapshot_fails("a.img: it would replace the image .*", "import", "a.img", "a.img", "--force",
                   *REGIONS)
    snapshot_fails("/dev/full: this is no regular file; .*", "export", "a", "/dev/full", "--force")
    snapshot_fails("link: this is no regular file; .*", "export", "a", "link", "--force")
    snapshot_fails(".: this is a folder; name a file in it", "export", "a", ".")
    snapshot_fails("no/such: there is no folder no; make it first", "merge", "a", "no/such")
    snapshot_fails("a.img: it has 0x110000 bytes, where the regions have 0x1000", "import",
                   "a.img", "c", "--region", "0:4K")
    snapshot_fails("a: the chain has 1 file, not 2", "merge", "a", "c", "--youngest", "2")
    assert sorted(os.listdir()) == before
    snapshot("merge", "a", "b", "--force")
    assert run("snapshot", "diff", "a", "b").returncode == 0
    assert sorted(os.listdir()) == before


def snapshot_without_room_leaves_nothing():
    make_snapshot("a", {page: 1 for page in range(64)})
    before = sorted(os.listdir())
    for arguments in (("merge", "a", "b"), ("export", "a", "b"),
                      ("import", "a.img", "b", *REGIONS)):
        result = subprocess.run(["prlimit", "--fsize=65536", VMMEM, "snapshot", *arguments],
                                capture_output=True, text=True, timeout=100, env=BASE)
        expect_failure(result, 1, "b: .*errno 27.*")
    assert sorted(os.listdir()) == before


def snapshot_in_a_folder_that_cannot_be_written():
    make_snapshot("a", {0: 1})
    os.mkdir("closed", 0o555)
    # Who may write to every folder does without that permission.
    prefix = ["setpriv", "--bounding-set=-dac_override"] if os.access("closed", os.W_OK) else []
    if prefix and (shutil.which("setpriv") is None or
                   subprocess.run([*prefix, "test", "-w", "closed"]).returncode != 1):
        print("skipped: this user may write to every folder")
        sys.exit(SKIPPED)
    result = subprocess.run([*prefix, VMMEM, "snapshot", "merge", "a", "closed/b"],
                            capture_output=True, text=True, timeout=100, env=BASE)
    expect_failure(result, 1, "closed/b: the folder closed cannot be written .*; choose another")


def interrupted_snapshot_leaves_nothing():
    """The signal comes once the temporary file is there, while 256 MiB are read."""
    image_bytes = 256 << 20
    with open("image", "wb") as file:
        for _ in range(16):
            file.write(b"x" * (image_bytes // 16))
    child = subprocess.Popen([VMMEM, "snapshot", "import", "image", "out", "--region",
                              f"0:{image_bytes}"], stderr=subprocess.PIPE, text=True, env=BASE)
    while len(os.listdir()) == 1:
        assert child.poll() is None, child.stderr.read()
    child.send_signal(signal.SIGINT)
    told = child.communicate(timeout=100)[1]
    assert child.returncode == -signal.SIGINT, (child.returncode, told)
    assert told == "vmmem: interrupted; no file was written or changed\n", told
    assert os.listdir() == ["image"], os.listdir()


if __name__ == "__main__":
    VMMEM = os.path.abspath(VMMEM)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        globals()[sys.argv[2]]()
        os.chdir("/")
