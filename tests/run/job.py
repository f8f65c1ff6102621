# SPDX-License-Identifier: MIT
"""One emulator run: start, time limit, logs kept, its end reported; and two of them at a time."""

import ctypes
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import emulators
import exitcodes
import ktap

LOGS = emulators.BUILD / "logs"
SCALE = float(os.environ.get("DROVER_TIMEOUT_SCALE", "1"))
GAVE_UP = re.compile(r"^KVM internal error.*$", re.MULTILINE)  # QEMU stays, and its machine stands still
NO_PORT = "could not bind any port"
WORKERS = int(os.environ.get("DROVER_JOBS", "2"))


@dataclass
class Run:
    """What to run.

    platform: qemu | bochs | kvm. vendor: which CPU Bochs shows (intel | amd). kernel: ELF. modules: (file, string).
    bare: no drover, the guest is the kernel. timeout: seconds. hangs: the run is to end by its timeout.
    stop_at: text; the run may be ended early once the log has it (for runs that hang on purpose)."""
    rung: str
    name: str
    platform: str = "qemu"
    vendor: str = "amd"
    kernel: Path = emulators.BUILD / "drover.elf"
    cmdline: str = ""
    modules: tuple = ()
    bare: bool = False
    cpu: str = None
    mem: int = 256
    mips: int = 50       # Bochs: instructions per microsecond of its clocks
    timeout: float = 120
    hangs: bool = False
    icount: bool = False
    nest: int = 1        # how many drovers, one in the other; the report is the uppermost one's
    argv: object = None  # function(serial, workdir) -> command line, for what this class cannot say

    @property
    def workdir(self):
        return LOGS / self.rung / self.name


@dataclass
class Result:
    """What came of it."""
    run: Run
    log: str = ""
    status: int = None      # the emulator's exit status; None when it was ended by the time limit
    seconds: float = 0.0
    problem: str = ""       # could not be started
    notes: list = field(default_factory=list)
    gave_up: str = ""       # the emulator's words, if it stopped the machine and stayed

    @property
    def timed_out(self):
        return self.status is None and not self.problem

    @property
    def code(self):
        """The exit code that the run ended with: by the debug-exit port, else by the verdict line, else None."""
        verdict = ktap.verdict_code(self.log)
        if self.run.platform == "bochs" or self.status is None:
            return verdict
        port = exitcodes.from_qemu_status(self.status)
        if verdict is not None and port != verdict:
            return None
        return port

    def end(self):
        """How it ended, in words."""
        if self.problem:
            return self.problem
        if self.gave_up:
            return "stopped for good: %s" % self.gave_up
        if self.timed_out:
            return "no end within %d s" % (self.run.timeout * SCALE)
        if self.status < 0:
            return "the emulator itself died by %s: %s" % (signal.Signals(-self.status).name, " ".join(self.said().split()[-40:]) or "without a word")
        return "exit status %d (code %s)" % (self.status, exitcodes.name_of(self.code))

    def said(self):
        """What the emulator itself printed."""
        path = self.run.workdir / "emulator.log"
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    def tail(self, lines=25):
        """The end of the log, indented, for a failure's report."""
        rows = [r for r in ktap.clean_lines(self.log) if r.strip()][-lines:]
        if not rows:
            rows = ["(nothing on the serial line)"] + self.said().split("\n")[-lines:]
        if self.status is not None and self.status < 0:
            rows += ["(the emulator's own words: %s)" % (self.run.workdir / "emulator.log")]
        return "\n".join("    | " + row for row in rows)


def command_line(run, serial):
    """The emulator's command line; builds what it boots from."""
    if run.argv is not None:
        return run.argv(serial, run.workdir)
    if run.platform in ("qemu", "kvm"):
        return emulators.qemu_kernel("kvm" if run.platform == "kvm" else "tcg", run.mem, serial, run.kernel, run.cmdline,
                                     run.modules, run.cpu, run.icount)
    iso = emulators.make_iso(run.workdir / "boot.iso", run.kernel, run.cmdline, run.modules, run.bare)
    return emulators.bochs(run.vendor, iso, serial, run.workdir, run.mem, run.mips)


class _Streamer(threading.Thread):
    """Copies a growing file to the terminal, or to what is given each piece of it."""

    def __init__(self, path, sink=None):
        super().__init__(daemon=True)
        self.path, self.stop, self.sink = path, threading.Event(), sink or sys.stdout.write

    def run(self):
        position = 0
        while True:
            last = self.stop.is_set()
            if self.path.exists():
                with open(self.path, "rb") as handle:
                    handle.seek(position)
                    data = handle.read()
                position += len(data)
                if data:
                    self.sink(data.decode("utf-8", "replace").replace("\r", ""))
                    sys.stdout.flush()
            if last:
                return
            time.sleep(0.05)


_LIBC = ctypes.CDLL(None, use_errno=True)
PR_SET_PDEATHSIG = 1


def _die_with_runner():
    """In the child: an emulator whose runner is gone would run for ever, if its guest hangs."""
    _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _end(process):
    """Ends a process of ours and what it started in its own session."""
    for sig in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, sig)
        except ProcessLookupError:
            pass
        try:
            process.wait(timeout=3)
            return
        except subprocess.TimeoutExpired:
            continue


def _settled(run, serial):
    """Bochs 2.7 stays when a kernel has said its last word but could not switch it off."""
    if run.platform != "bochs" or run.hangs or not serial.exists():
        return False
    with open(serial, "rb") as handle:
        handle.seek(max(0, os.path.getsize(serial) - 400))
        return b"\ndrover: verdict" in handle.read()


def execute(run, stream=False):
    """Runs to the end or the time limit; never raises for what the emulator does. stream: show the log, or a function that takes its pieces. A Bochs that got no port for its screen (it
    says so, before the machine starts) is started again."""
    for attempt in range(6):
        result = _execute(run, stream)
        if run.platform != "bochs" or result.log or result.timed_out or NO_PORT not in result.said():
            break
        time.sleep(1 + attempt)
    return result


def _execute(run, stream):
    result = Result(run)
    shutil.rmtree(run.workdir, ignore_errors=True)
    run.workdir.mkdir(parents=True)
    serial = run.workdir / "serial.log"
    try:
        argv = command_line(run, serial)
    except (OSError, RuntimeError) as error:
        result.problem = str(error)
        return result
    (run.workdir / "command").write_text(" ".join(_quote(a) for a in argv) + "\n", encoding="utf-8")
    started = time.monotonic()
    streamer = _Streamer(serial, stream if callable(stream) else None) if stream else None
    with open(run.workdir / "emulator.log", "wb") as said:
        try:
            process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT,
                                       start_new_session=True, preexec_fn=_die_with_runner)
        except OSError as error:
            result.problem = "%s: %s" % (argv[0], error.strerror)
            return result
        if streamer:
            streamer.start()
        try:
            result.status = _wait(run, process, serial, started)
        finally:
            _end(process)
            if streamer:
                streamer.stop.set()
                streamer.join()
    result.seconds = time.monotonic() - started
    gave_up = GAVE_UP.search(result.said()) if result.timed_out else None
    result.gave_up = gave_up.group(0) if gave_up else ""
    if serial.exists():
        result.log = serial.read_bytes().decode("utf-8", "replace")
    return result


def _wait(run, process, serial, started):
    """The exit status, or None at the time limit."""
    settled, asked = None, started
    while True:
        try:
            return process.wait(timeout=0.1)
        except subprocess.TimeoutExpired:
            pass
        now = time.monotonic()
        if now - started > run.timeout * SCALE:
            return None
        if run.platform != "bochs" and now - asked > 2:
            asked = now
            if GAVE_UP.search(Result(run).said()):
                return None
        if settled is None and _settled(run, serial):
            settled = now
        if settled is not None and now - settled > 5:
            return 0


def _quote(word):
    return word if word and all(c.isalnum() or c in "-_=./,:+" for c in word) else "'%s'" % word.replace("'", "'\\''")


def execute_all(runs):
    """The results in the order of the runs, at most two emulators at a time."""
    with ThreadPoolExecutor(max_workers=WORKERS) as pool:
        return list(pool.map(execute, runs))
