#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The lints of `make check-lint`, each seen failing on a planted fault first, and the runner's own tests.
lint.py [--fast] [NAME...]: all, all but the builds, or these. The last line is `lint: N passed, N failed`."""

import os
import subprocess
import sys
from pathlib import Path

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.dont_write_bytecode = True

import builds  # noqa: E402
import plant  # noqa: E402
import structure  # noqa: E402
import style  # noqa: E402
import tree  # noqa: E402

LINTS = structure.LINTS + style.LINTS + builds.LINTS


def run_lint(lint, source, limit=25):
    """Prints one lint's findings; True if there are none."""
    found = list(lint(source))
    print("lint: %s %s" % ("FAIL" if found else "ok", lint.__name__), flush=True)
    for text in found[:limit]:
        print("lint:   %s" % text)
    if len(found) > limit:
        print("lint:   ... and %d more" % (len(found) - limit))
    return not found


def main():
    """Status 0 only if all passed."""
    words = sys.argv[1:]
    root = Path(HERE).parent.parent
    chosen = [x for x in LINTS if not [w for w in words if w != "--fast"] or x.__name__ in words]
    if "--fast" in words:
        chosen = [x for x in chosen if x not in builds.LINTS]
    results = [plant.check(lint) for lint in chosen]
    source = tree.Tree(root)
    results += [run_lint(lint, source) for lint in chosen]
    passed, failed = sum(results), len(results) - sum(results)
    if not words:
        done = subprocess.run([sys.executable, str(root / "tests/run/selftest.py")], cwd=root, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, check=False)
        lines = done.stdout.decode("utf-8", "replace").strip().split("\n")
        if done.returncode:
            print("\n".join(lines))
        print(lines[-1])
        counts = [int(word) for word in lines[-1].replace(",", "").split() if word.isdigit()]
        if len(counts) != 2 or (done.returncode and not counts[1]):
            counts = [0, 1]
        passed, failed = passed + counts[0], failed + counts[1]
    print("lint: %d passed, %d failed" % (passed, failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
