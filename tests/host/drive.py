#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Runs the host tests, then the mutants, and sums them: `drive.py BUILD_DIR [--mutants-only] [--only ID,..] COMPILER...`."""

import argparse
import json
import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
RESULTS = ROOT / "build/results"  # where `make rules` looks
LINE = re.compile(r"^(not )?ok \d+ (\S+)")
TEST_SECONDS = 120
MUTANT_SECONDS = 30


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


# ---- Mutants ----

class Mutant:
    """One file in mutants/: a head of `key: value` lines, then edits `@@ file`, `<<<<`, old text, `====`, new text, `>>>>`."""

    def __init__(self, path):
        self.path = path
        self.name = path.name.rsplit(".", 1)[0]
        self.head, self.edits, self.mistakes = {}, [], []
        head, _, rest = path.read_text().partition("\n@@ ")
        for line in head.split("\n"):
            key, colon, value = line.lstrip("# ").partition(": ")
            if colon:
                self.head[key] = self.head.get(key, "") + value
        for part in ("@@ " + rest).split("\n@@ ") if rest else []:
            found = re.match(r"(?:@@ )?(\S+)\n<<<<\n(.*?)\n?====\n(.*?)\n?>>>>\n*\Z", part, re.DOTALL)
            if found:
                self.edits.append(found.groups())
            else:
                self.mistakes.append("an edit cannot be read")
        self.rules = [r for r in re.split(r"[ ,]+", self.head.get("rules", "")) if r]
        for need in ("story", "source", "rules"):
            if not self.head.get(need):
                self.mistakes.append("no `%s:`" % need)
        if not self.edits:
            self.mistakes.append("no edit")

    def apply(self, where):
        """Writes the changed copies; the files that were changed."""
        texts = {}
        for name, old, new in self.edits:
            text = texts.get(name) or (ROOT / name).read_text()
            if text.count(old) != 1:
                self.mistakes.append("no longer applies: %d places in %s" % (text.count(old), name))
                return []
            texts[name] = text.replace(old, new)
        for name, text in texts.items():
            (where / name).parent.mkdir(parents=True, exist_ok=True)
            (where / name).write_text(text)
        return sorted(texts)


def depends_on(build, header):
    """The sources whose objects were built from this header."""
    names = []
    for dep in sorted((build / "base").rglob("*.d")):
        text = dep.read_text()
        if re.search(r"(?:^|\s)%s(?:\s|$)" % re.escape(header), text):
            names.append(str(dep.relative_to(build / "base"))[:-2] + ".c")
    return names


def build_mutant(build, mutant):
    """The binary, or None and why not. Only what changed is compiled; the rest is the unmutated build's."""
    where = build / "mutants" / mutant.name
    changed = mutant.apply(where)
    if not changed:
        return None
    sources = {n for n in changed if n.endswith(".c")}
    for name in changed:
        if not name.endswith(".c"):
            sources.update(depends_on(build, name))
    objects = {str(o.relative_to(build / "base")): o for o in sorted((build / "base").rglob("*.o"))}
    flags = ["-I" + str(where)] + os.environ["HOST_FLAGS"].split()
    for name in sorted(sources):
        copy = where / name
        target = where / (name[:-2] + ".o")
        target.parent.mkdir(parents=True, exist_ok=True)
        done = subprocess.run([os.environ["HOST_CC"], *flags, "-c", "-o", str(target), str(copy if copy.exists() else ROOT / name)], cwd=ROOT,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        if done.returncode:
            mutant.mistakes.append("does not build: " + done.stdout.decode("utf-8", "replace").split("\n")[0])
            return None
        objects[name[:-2] + ".o"] = target
    binary = where / "test"
    done = subprocess.run([os.environ["HOST_CC"], "-o", str(binary), *map(str, objects.values()), "-lcapstone"], cwd=ROOT,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        mutant.mistakes.append("does not link")
        return None
    return binary


def try_mutant(build, mutant):
    """(killed, line). Killed: a named check of one of its rules says `not ok`; a crash or a time-out before that is none."""
    binary = None if mutant.mistakes else build_mutant(build, mutant)
    if binary is None:
        return False, "mutant %s # ERROR %s" % (mutant.name, "; ".join(mutant.mistakes))
    # The tests that are named after its rules first, then all of them.
    for names in mutant.rules, ():
        _, failed, _, status = run_tests(binary, {"TAP_STOP": ",".join(mutant.rules)}, MUTANT_SECONDS, names)
        for line in failed:
            name = LINE.match(line).group(2)
            if name.split(".", 1)[0] in mutant.rules:
                return True, "mutant %s killed by %s: %s" % (mutant.name, name, mutant.head["story"])
    if mutant.head.get("expect") == "survives":
        return status == 0, "mutant %s survives, as it has to: %s" % (mutant.name, mutant.head["story"])
    why = "timed out" if status is None else "%d other checks failed: %s" % (len(failed), failed[0][:100] if failed else "none")
    return False, "mutant %s survives its rules %s # %s" % (mutant.name, " ".join(mutant.rules), why)


def mutants(totals, build, only):
    """All mutants; first the unmutated tree has to pass the same command."""
    passed, failed, _, status = run_tests(build / "base" / "test", {"TAP_STOP": "none"})
    totals.add(status == 0, "mutants.base the unmutated tree passes: %d passed, %d failed" % (passed, len(failed)))
    if status != 0:
        print("\n".join(failed))
        return
    todo = [Mutant(p) for p in sorted((HERE / "mutants").glob("*.mutant"))]
    todo = [m for m in todo if not only or m.name in only]
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 2) as pool:
        for killed, line in pool.map(lambda m: try_mutant(build, m), todo):
            totals.add(killed, line)


def never_red(build):
    """Which checks no mutant has ever turned red. Runs after host-mutants, whose binaries it uses."""
    names = sorted(p.name.rsplit(".", 1)[0] for p in (HERE / "mutants").glob("*.mutant"))
    binaries = [b for b in (build / "mutants" / name / "test" for name in names) if b.exists()]
    passing = {LINE.match(x).group(2) for x in run_tests(build / "base" / "test")[2].split("\n") if LINE.match(x)}
    red, by_mutant = set(), {}
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 2) as pool:
        for binary, (_, failed, _, _) in zip(binaries, pool.map(lambda b: run_tests(b, seconds=MUTANT_SECONDS), binaries)):
            by_mutant[binary.parent.name] = sorted({LINE.match(x).group(2) for x in failed})
            red.update(by_mutant[binary.parent.name])
    keep("host-red.json", json.dumps(by_mutant, indent=1) + "\n")
    broken = {name.split(".", 1)[1] for name in red if "." in name}
    red.update(name for name in passing if name.startswith("rules.") and name[6:] in broken)
    missing = sorted(passing - red)
    print("\n".join("never red: " + name for name in missing))
    print("host: of %d checks %d were seen red under one of %d mutants" % (len(passing), len(passing & red), len(binaries)))


def main():
    """Exit status 0 only when nothing failed."""
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("build", type=Path)
    args.add_argument("compilers", nargs="*")
    args.add_argument("--mutants-only", action="store_true")
    args.add_argument("--red", action="store_true", help="list the checks that no mutant turns red")
    args.add_argument("--only", default="", help="mutants by name, comma-separated")
    opt = args.parse_args()
    opt.build = opt.build.resolve()
    if opt.red:
        never_red(opt.build)
        return 0
    totals, start = Totals(), time.monotonic()
    if not opt.mutants_only:
        for i, compiler in enumerate(opt.compilers):
            plain_tests(totals, opt.build, compiler, i == 0)
    mutants(totals, opt.build, [n for n in opt.only.split(",") if n])
    print("# %.1f s" % (time.monotonic() - start))
    print("host: %d passed, %d failed" % (totals.passed, totals.failed))
    return 1 if totals.failed or not totals.passed else 0


if __name__ == "__main__":
    sys.exit(main())
