#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""gcov over the host tests: `coverage.py BUILD_DIR`, after the binary with --coverage has been built. Lines and branches per file under test; the policy,
arch/x86/dbg.c, has to have each branch taken both ways."""

import json
import os
import subprocess
import sys
from pathlib import Path

WHOLE = ("arch/x86/dbg.c", "arch/x86/dbg_switch.c")
SECONDS = 300


def run_tests(build):
    """Counters are made anew, so that they are this run's."""
    for old in build.rglob("*.gcda"):
        old.unlink()
    done = subprocess.run([str(build / "test")], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=SECONDS, check=False)
    return done.returncode, done.stdout.decode("utf-8", "replace")


def gcov_of(data):
    """gcov's JSON for one object."""
    out = subprocess.run(["gcov", "--json-format", "--stdout", "--branch-probabilities", str(data)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                         check=True).stdout
    return json.loads(out)


def collect(build):
    """{source: ({line: count}, {(line, branch): count})}; a header's lines add up over the files that include it."""
    found = {}
    for data in sorted(build.rglob("*.gcda")):
        for entry in gcov_of(data)["files"]:
            name = os.path.relpath(entry["file"])
            if name.startswith(("tests", "..", "/")):
                continue
            lines, branches = found.setdefault(name, ({}, {}))
            for line in entry["lines"]:
                at = line["line_number"]
                lines[at] = lines.get(at, 0) + line["count"]
                for i, branch in enumerate(line["branches"]):
                    branches[at, i] = branches.get((at, i), 0) + branch["count"]
    return found


def share(counts):
    """(taken, all, per cent)."""
    taken = sum(1 for n in counts.values() if n)
    return taken, len(counts), 100.0 * taken / len(counts) if counts else 100.0


def main():
    """Prints and judges."""
    build = Path(sys.argv[1])
    status, text = run_tests(build)
    if status:
        print(text[-2000:])
        print("coverage: the host tests fail with counters in them\ncoverage: 0 passed, 1 failed")
        return 1
    found, failed = collect(build), 0
    for name in sorted(n for n in found if n.endswith(".c")):
        lines, branches = found[name]
        print("coverage: %-28s lines %5d/%-5d %5.1f%%  branches %5d/%-5d %5.1f%%" % ((name,) + share(lines) + share(branches)))
    for name in WHOLE:
        lines, branches = found.get(name, ({}, {}))
        missed = sorted({at for (at, _), n in branches.items() if not n} | {at for at, n in lines.items() if not n})
        if missed or not branches:
            failed += 1
            print("coverage: FAIL %s: a branch was never taken on line %s" % (name, ", ".join(map(str, missed)) or "(no data)"))
    print("coverage: %d passed, %d failed" % (len(WHOLE) - failed, failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
