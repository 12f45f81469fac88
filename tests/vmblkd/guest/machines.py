"""vmblkd and the virtual machines in front of it, as child processes with their output."""

import contextlib
import os
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time

import initramfs

HERE = pathlib.Path(__file__).resolve().parent
UML = "/usr/bin/linux.uml"
UML_MODULES = "/usr/lib/uml/modules"
UML_BYTES = 700 << 20  # of a file system


class Failed(Exception):
    """A machine did not do what was expected of it; the text says what."""


class Process:
    """A child whose output is read as it comes, in a process group of its own. It ends with this
    process at the latest."""

    def __init__(self, command, environment=None):
        self.name = os.path.basename(command[0])
        self.lines = []
        self.changed = threading.Condition()
        self.ended = False
        self.process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "--", *command],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})}, start_new_session=True)
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()

    def _read(self):
        for line in self.process.stdout:
            with self.changed:
                self.lines.append(line.decode("ascii", "replace").rstrip())
                self.changed.notify_all()
        with self.changed:
            self.ended = True
            self.changed.notify_all()

    def matches(self, pattern):
        found = (re.search(pattern, line) for line in list(self.lines))
        return [match for match in found if match]

    def wait_for(self, pattern, seconds, count=1):
        """Waits until so many lines match, from the first one on."""
        deadline = time.monotonic() + seconds
        while True:
            with self.changed:
                ended = self.ended
                seen = len(self.lines)
            if len(self.matches(pattern)) >= count:
                return
            left = deadline - time.monotonic()
            if ended or left <= 0:
                why = "ended" if ended else f"took more than {seconds} s"
                raise Failed(f"{self.name} {why} without /{pattern}/: {self.lines[-6:]}")
            with self.changed:
                if len(self.lines) == seen and not self.ended:
                    self.changed.wait(left)

    def kill(self, number=signal.SIGKILL):
        """It and its children. Its output is complete afterwards."""
        if self.process.returncode is None:
            os.killpg(self.process.pid, number)
            self.wait(30)

    def wait(self, seconds):
        """Its exit status. Children of its own that it has left behind end, too."""
        try:
            status = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise Failed(f"{self.name} did not end in {seconds} s") from None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.reader.join(seconds)
        self.process.stdout.close()
        return status


class Guest(Process):
    """A virtual machine with init on it."""

    def said(self):
        return [match[1] for match in self.matches(r"guest: (.*)")]

    def finish(self, seconds):
        """What it has said when it has switched itself off."""
        self.wait_for(r"guest: end", seconds)
        self.wait(30)
        return self.said()


class Server(Process):
    """vmblkd, ready for a front end."""

    def __init__(self, vmblkd, socket, *arguments):
        pathlib.Path(socket).unlink(missing_ok=True)
        super().__init__([vmblkd, "--socket", socket, *arguments])
        deadline = time.monotonic() + 30
        while not os.path.exists(socket):
            if self.ended or time.monotonic() > deadline:
                self.kill()
                raise Failed(f"vmblkd made no {socket}: {self.lines}")
            time.sleep(0.01)


    def end(self):
        """Its report is the last of its lines then."""
        self.process.send_signal(signal.SIGTERM)
        status = self.wait(60)
        if status != 0:
            raise Failed(f"vmblkd ended with status {status}: {self.lines}")


def failures_of(said, wanted=("integrity", "verify")):
    """What is not as it should be in the lines of a guest that has run these parts."""
    failures = [line for line in said if "FAIL" in line or re.search(r"rc=(?!0 err=0)", line)]
    for part, pattern in (("integrity", "INTEGRITY PASS"), ("verify", "fio verify rc=0 err=0")):
        if part in wanted and not any(line.startswith(pattern) for line in said):
            failures.append(f"no {pattern}")
    return failures


def missing_for_uml():
    """The packages that are not installed."""
    needed = {UML: "user-mode-linux", initramfs.BUSYBOX: "busybox-static", initramfs.FIO: "fio"}
    missing = [package for path, package in needed.items() if not os.path.exists(path)]
    return missing + ([] if shutil.which("gcc") else ["gcc"])


def folder_for_uml():
    """Where its memory and initramfs can be. None: nowhere."""
    for folder in ("/dev/shm", tempfile.gettempdir()):
        if not os.access(folder, os.W_OK):
            continue
        about = os.statvfs(folder)
        has_room = about.f_bavail * about.f_frsize >= UML_BYTES
        if has_room and not about.f_flag & os.ST_NOEXEC:
            return folder
    return None


def prepare_uml(folder):
    """What UserModeLinux() needs, made there."""
    subprocess.run(["gcc", "-O2", "-shared", "-fPIC", "-o", f"{folder}/xstate_shim.so",
                    HERE / "xstate_shim.c"], check=True)
    initramfs.build(f"{folder}/uml.cpio", next(pathlib.Path(UML_MODULES).iterdir()))


class UserModeLinux(Guest):
    def __init__(self, folder, socket, *arguments):
        # Its memory is a file there, which the back end maps.
        environment = {"LD_PRELOAD": f"{folder}/xstate_shim.so", "TMPDIR": str(folder)}
        super().__init__([UML, "mem=512M", f"initrd={folder}/uml.cpio", "con=null",
                          "con0=null,fd:1", "ssl=null", f"virtio_uml.device={socket}:2",
                          "panic=-1", "quiet", *arguments], environment)
