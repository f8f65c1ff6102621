#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Runs the host tests as each compiler built them, and sums them: `drive.py BUILD_DIR COMPILER...`. The mutants: mutate.py."""

import argparse
import os
import re
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
RESULTS = ROOT / "build/results"  # where `make rules` looks
LINE = re.compile(r"^(not )?ok \d+ (\S+)")
TEST_SECONDS = 120


def run_tests(binary, env=None, seconds=TEST_SECONDS, names=()):
    """(passed, failed lines, all output, exit status or None on time-out)."""
    full = dict(os.environ, ASAN_OPTIONS="detect_leaks=0", UBSAN_OPTIONS="print_stacktrace=1", **(env or {}))
    try:
        done = subprocess.run([str(binary), *names], cwd=ROOT, env=full, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=seconds, check=False)
        text, status = done.stdout.decode("utf-8", "replace"), done.returncode
    except subprocess.TimeoutExpired as late:
        text, status = (late.stdout or b"").decode("utf-8", "replace"), None
    passed, failed = 0, []
    for line in text.split("\n"):
        found = LINE.match(line)
        if found and found.group(1):
            failed.append(line)
        elif found:
            passed += 1
    return passed, failed, text, status


def keep(name, text):
    """Keeps what was found, for `make rules`."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / name).write_text(text, encoding="utf-8")


class Totals:
    """What has been counted so far; prints as it goes."""

    def __init__(self):
        self.passed = self.failed = 0

    def add(self, ok, line):
        """One more line."""
        self.passed += ok
        self.failed += not ok
        print("%sok %s" % ("" if ok else "not ", line), flush=True)


def plain_tests(totals, build, compiler, verbose):
    """All tests, built by one compiler with sanitizers."""
    binary = build / compiler / "test"
    passed, failed, text, status = run_tests(binary)
    totals.passed += passed
    totals.failed += len(failed)
    if verbose:
        keep("host-tests.log", text)
    for line in text.split("\n"):
        if line and (verbose or not line.startswith("ok ")) and not line.startswith("host:"):
            print(line)
    clean = status == (1 if failed else 0) and passed > 0
    totals.add(clean, "run.%s all tests ran to their end, no sanitizer complained: %d passed, %d failed%s"
               % (compiler, passed, len(failed), "" if clean else " # status %s" % status))


def main():
    """Exit status 0 only when nothing failed."""
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("build", type=Path)
    args.add_argument("compilers", nargs="+")
    opt = args.parse_args()
    totals, start = Totals(), time.monotonic()
    for i, compiler in enumerate(opt.compilers):
        plain_tests(totals, opt.build.resolve(), compiler, i == 0)
    print("# %.1f s" % (time.monotonic() - start))
    print("host: %d passed, %d failed" % (totals.passed, totals.failed))
    return 1 if totals.failed or not totals.passed else 0


if __name__ == "__main__":
    sys.exit(main())
