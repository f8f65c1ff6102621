#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Runs the explorer, then its mutants: `drive.py BUILD_DIR [PATTERN]`. The last line is `explore: N passed, N failed`."""

import fnmatch
import json
import os
import re
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(ROOT / "tests" / "host"))
sys.dont_write_bytecode = True

import drive as host  # noqa: E402  (tests/host/drive.py)
import mutate  # noqa: E402

LINE = re.compile(r"(not )?ok (\S+) ?(.*)")
BROKEN = re.compile(r"# (I\d) after (\d+) events, the last is (.*?): (.*)")
SECONDS = 900
MUTANT_SECONDS = 200


def known():
    """(pattern, invariant, reason) of the sets that are known to break."""
    lines = (HERE / "known").read_text(encoding="utf-8").split("\n")
    return [line.split(None, 2) for line in lines if line.strip() and not line.startswith("#")]


def explore(binary, pattern, seconds, wanted=()):
    """(list of (name, ok, text), all output, status or None on time-out)."""
    try:
        command = [str(binary), *([pattern] if pattern else []), *(["".join(wanted).replace("I", "")] if wanted else [])]
        done = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=seconds,
                              check=False)
        text, status = done.stdout.decode("utf-8", "replace"), done.returncode
    except subprocess.TimeoutExpired as late:
        text, status = (late.stdout or b"").decode("utf-8", "replace"), None
    found = [LINE.match(line) for line in text.split("\n")]
    return [(m.group(2), not m.group(1), m.group(3)) for m in found if m], text, status


def base(totals, binary, pattern):
    """The tree as it is. The sets that passed, the rules of each invariant, how many sets are known to break. The way to a violation is shown unless it is known; all of them are in explore.log."""
    lines, text, status = explore(binary, pattern, SECONDS)
    (binary.parent / "explore.log").write_text(text, encoding="utf-8")
    reasons, used, ways, way, skipped = known(), set(), {}, [], 0
    for line in text.split("\n"):
        found = LINE.match(line)
        if found:
            ways[found.group(2)], way = way, []
        elif line.startswith("#"):
            way.append(line)
    for name, ok, rest in lines:
        hits = [k for k in reasons if name.startswith("set.") and fnmatch.fnmatchcase(name[4:], k[0])]
        used.update(k[0] for k in hits)
        if hits and ok:
            totals.add(False, "%s # holds again: take it off tests/explore/known" % name)
        elif hits:
            broken = BROKEN.match(rest)
            if broken and broken.group(1) == hits[0][1]:
                print("known %s: %s %s" % (name, hits[0][2], rest))
                skipped += 1
            else:
                totals.add(False, "%s # known to break %s, but: %s" % (name, hits[0][1], rest))
        else:
            totals.add(ok, "%s %s" % (name, rest))
            print("".join(line + "\n" for line in ways.get(name, []) if not ok), end="")
    for name in [k[0] for k in reasons if not pattern and k[0] not in used]:
        totals.add(False, "known %s # there is no such set" % name)
    if status not in (0, 1) or not lines or not re.search(r"^search: %d passed, %d failed$" % (
            sum(ok for _, ok, _ in lines), sum(not ok for _, ok, _ in lines)), text, re.MULTILINE):
        totals.add(False, "explorer # ended with status %s" % status)
    print("\n".join(way))
    rules = {m.group(1): m.group(2).split() for m in re.finditer(r"^# (I\d) stands for (.*)$", text, re.MULTILINE)}
    return {name[4:] for name, ok, _ in lines if ok and name.startswith("set.")}, rules, skipped


# ---- Mutants ----

def compile_mutant(build, mutant):
    """The binary, or None; only what a changed file is part of is compiled."""
    where = build / "explore-mutants" / mutant.name
    shutil.rmtree(where, ignore_errors=True)
    changed = mutant.apply(where)
    if not changed:
        return None
    include = ["-I" + str(where)]
    objects = {name[:-2] + ".o": build / "explore" / (name[:-2] + ".o") for name in os.environ["EXPLORE_SRCS"].split()}
    objects["arch/x86/dbg.o"] = build / "arch/x86/dbg.o"
    todo = {n for n in changed if n.startswith("arch/") and n.endswith(".c")}
    if "vmm/run.c" in changed:
        with open(where / "run_parts.h", "w", encoding="utf-8") as out:
            subprocess.run([sys.executable, "-B", str(HERE / "cut.py"), str(where / "vmm/run.c")], stdout=out, check=True)
        todo.add("tests/explore/events.c")
    if any(n.endswith(".h") for n in changed):
        todo.update(name[:-2] + ".c" for name in objects)
    for name in sorted(todo):
        source, target = where / name, where / (name[:-2] + ".o")
        target.parent.mkdir(parents=True, exist_ok=True)
        done = subprocess.run([os.environ["HOST_CC"], *include, *os.environ["EXPLORE_FLAGS"].replace("-MMD -MP", "").split(), "-c", "-o", str(target),
                               str(source if source.exists() else ROOT / name)], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        if done.returncode:
            mutant.mistakes.append("does not build: " + done.stdout.decode("utf-8", "replace").split("\n")[0])
            return None
        objects[name[:-2] + ".o"] = target
    binary = where / "explore"
    done = subprocess.run([os.environ["HOST_CC"], "-no-pie", "-o", str(binary), *map(str, objects.values())], cwd=ROOT, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        mutant.mistakes.append("does not link")
        return None
    return binary


def try_mutant(build, mutant, good):
    """(killed, line, invariant). Killed: one of its invariants breaks in one of its sets, which hold without it."""
    pattern, wanted = mutant.head.get("sets", ""), mutant.head.get("invariant", "").split()
    if not wanted or not any(fnmatch.fnmatchcase(s, pattern) for s in good):
        mutant.mistakes.append("`sets:` names none that holds, or no `invariant:`")
    binary = None if mutant.mistakes else compile_mutant(build, mutant)
    if binary is None:
        return False, "mutant %s # ERROR %s" % (mutant.name, "; ".join(mutant.mistakes)), None
    lines, _, status = explore(binary, pattern, MUTANT_SECONDS, wanted)
    for name, ok, rest in lines:
        broken = None if ok or name[4:] not in good else BROKEN.match(rest)
        if broken and broken.group(1) in wanted:
            return True, "mutant %s breaks %s after %s events, the last is %s, in %s: %s" % (mutant.name, *broken.group(1, 2, 3), name[4:],
                                                                                            mutant.head["story"]), broken.group(1)
    return False, "mutant %s breaks none of %s # status %s: %s" % (mutant.name, " ".join(wanted), status, lines[0] if lines else "no output"), None


def main():
    """Exit status 0 only when nothing failed."""
    build, pattern = Path(sys.argv[1]).resolve(), sys.argv[2] if len(sys.argv) > 2 else ""
    totals, start = host.Totals(), time.monotonic()
    good, rules, skipped = base(totals, build / "explore/explore", pattern)
    print("# %.1f s" % (time.monotonic() - start), flush=True)
    if not pattern:
        broken, killed_by = set(), {}
        todo = [mutate.Mutant(p.stem, p.read_text(encoding="utf-8")) for p in sorted((HERE / "mutants").glob("*.mutant"))]
        with ThreadPoolExecutor(max_workers=os.cpu_count() or 2) as pool:
            for mutant, (killed, line, invariant) in zip(todo, pool.map(lambda m: try_mutant(build, m, good), todo)):
                totals.add(killed, line)
                broken.add(invariant)
                if killed:
                    killed_by[mutant.name] = ["%s.%s" % (rule, invariant) for rule in mutant.rules if rule in rules.get(invariant, [])]
        host.keep("explore.json", json.dumps(killed_by, indent=1) + "\n")  # make rules reads it
        for invariant in ("I1", "I2", "I3", "I4"):
            totals.add(invariant in broken, "invariant %s is broken by a mutant" % invariant)
    print("# %.1f s" % (time.monotonic() - start))
    print("explore: %d passed, %d failed, %d skipped" % (totals.passed, totals.failed, skipped))
    return 1 if totals.failed or not totals.passed else 0


if __name__ == "__main__":
    sys.exit(main())
