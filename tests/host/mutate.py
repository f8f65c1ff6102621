#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Plants each mutant in a copy of the sources and asks whether a host test sees it: `mutate.py [--only ID,..] BUILD_DIR`.

A mutant is killed by a check of one of its rules that says `not ok` with an expected and an actual value. What does not apply, or does not
compile without a warning by the kernel's own flags, is an ERROR; a crash or a time-out is no kill."""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.dont_write_bytecode = True
import drive  # noqa: E402

ROOT = drive.ROOT
MUTANTS = drive.HERE / "mutants"
TABLE = MUTANTS / "README.md"
SECONDS = 120
RED = re.compile(r"^not ok \d+ (\S+).* # expected=(\S+) actual=(\S+)")
EDIT = re.compile(r"(?:@@ )?(\S+)\n<<<<\n(.*?)\n?====\n(.*?)\n?>>>>\n*\Z", re.DOTALL)
# Besides: `other: why` a check of another rule may kill it; `expect: survives`; `emulator: why` not by host tests, only by check-planted.
NEEDED = ("story", "source", "rules")


class Mutant:
    """One file in mutants/: a head of `key: value` lines, then edits `@@ file`, `<<<<`, old text, `====`, new text, `>>>>`."""

    def __init__(self, name, text):
        self.name = name
        self.head, self.edits, self.mistakes = {}, [], []
        head, _, rest = text.partition("\n@@ ")
        for line in head.split("\n"):
            key, colon, value = line.lstrip("# ").partition(": ")
            if colon:
                self.head[key] = self.head.get(key, "") + value
        for part in ("@@ " + rest).split("\n@@ ") if rest else []:
            found = EDIT.match(part)
            if found:
                self.edits.append(found.groups())
            else:
                self.mistakes.append("an edit cannot be read")
        self.rules = [r for r in re.split(r"[ ,]+", self.head.get("rules", "")) if r]
        self.mistakes += ["no `%s:`" % need for need in NEEDED if not self.head.get(need)]
        if not self.edits:
            self.mistakes.append("no edit")

    def apply(self, where, root=ROOT):
        """Writes the changed copies; the files that were changed."""
        texts = {}
        for name, old, new in self.edits:
            text = texts.get(name) or (root / name).read_text()
            if text.count(old) != 1:
                self.mistakes.append("no longer applies: %d places in %s" % (text.count(old), name))
                return []
            texts[name] = text.replace(old, new)
        for name, text in texts.items():
            (where / name).parent.mkdir(parents=True, exist_ok=True)
            (where / name).write_text(text)
        return sorted(texts)


def load(name):
    """A mutant by name, or None."""
    path = MUTANTS / (name + ".mutant")
    return Mutant(name, path.read_text(encoding="utf-8")) if name == path.stem and path.exists() else None


def names():
    """All of them."""
    return sorted(p.stem for p in MUTANTS.glob("*.mutant"))


# ---- Building ----

def run(command):
    """(status, what it said first)."""
    done = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    return done.returncode, done.stdout.decode("utf-8", "replace")


def first_error(text):
    """The line of a compiler's output that tells."""
    lines = [x for x in text.split("\n") if "error" in x] or text.split("\n")
    return lines[0]


def of_tree():
    """The unmutated build's objects. Not all that lie there: a source may have been moved since."""
    return os.environ["HOST_OBJECTS"].split()


def depends_on(build, header):
    """The sources whose objects were built from this header."""
    found = []
    for name in of_tree():
        if re.search(r"(?:^|\s)%s(?:\s|$)" % re.escape(header), (build / "base" / name).with_suffix(".d").read_text()):
            found.append(name[:-2] + ".c")
    return sorted(found)


def to_compile(build, changed):
    """(edited C files, others that include an edited header)."""
    edited = {n for n in changed if n.endswith(".c")}
    others = {s for n in changed if not n.endswith(".c") for s in depends_on(build, n)}
    return sorted(edited), sorted(others - edited)


def shipped(where, edited, others):
    """By the Makefile's own command; None or what is wrong. Of many that only include an edited header one is compiled, the rest is parsed."""
    flags = [os.environ["KERNEL_CC"], "-I" + str(where), *os.environ["KERNEL_CFLAGS"].split()]
    kernel = [n for n in others if not n.startswith("tests/")]
    whole = edited or kernel[:1]
    jobs = [["-c", "-o", str(where / "kernel.o"), n] for n in whole]
    rest = [n for n in kernel if n not in whole]
    if rest:
        jobs.append(["-fsyntax-only", *rest])
    for job in jobs:
        status, said = run(flags + [str(where / n) if n.endswith(".c") and (where / n).exists() else n for n in job])
        if status:
            return "does not compile by the kernel's flags: " + first_error(said)
    return None


def hosted(build, where, sources):
    """(binary, None) or (None, what is wrong). Only what changed is compiled; the rest is the unmutated build's."""
    objects = {n: build / "base" / n for n in of_tree()}
    flags = [os.environ["HOST_CC"], "-I" + str(where), *os.environ["HOST_FLAGS"].split(), "-g0"]
    for name in sources:
        target = where / (name[:-2] + ".o")
        target.parent.mkdir(parents=True, exist_ok=True)
        copy = where / name
        status, said = run([*flags, "-c", "-o", str(target), str(copy if copy.exists() else name)])
        if status:
            return None, "does not build: " + first_error(said)
        objects[name[:-2] + ".o"] = target
    binary = where / "test"
    status, said = run([os.environ["HOST_CC"], "-o", str(binary), *map(str, objects.values()), "-lcapstone"])
    return (None, "does not link") if status else (binary, None)


def build_one(build, mutant):
    """The binary, or None with the reason among the mutant's mistakes."""
    where = build / "mutants" / mutant.name
    shutil.rmtree(where, ignore_errors=True)
    changed = [] if mutant.mistakes else mutant.apply(where)
    if not changed:
        return None
    edited, others = to_compile(build, changed)
    wrong = shipped(where, edited, others)
    binary, wrong = (None, wrong) if wrong else hosted(build, where, edited + others)
    if wrong:
        mutant.mistakes.append(wrong)
    return binary


# ---- Judging ----

def killer(mutant, failed):
    """(check, expected, actual) of the first failed line that counts, or None."""
    found = [m.groups() for m in map(RED.match, failed) if m]
    own = [f for f in found if f[0].split(".", 1)[0] in mutant.rules]
    return (own or (found if mutant.head.get("other") else []) or [None])[0]


def verdict(mutant, failed, status):
    """(good, words) of a whole test run; status None: timed out."""
    by = killer(mutant, failed)
    if mutant.mistakes:
        return False, "ERROR %s" % "; ".join(mutant.mistakes)
    if mutant.head.get("expect") == "survives":
        return status == 0, "survives, as it has to" if status == 0 else "FAIL it changes nothing, yet: %s" % (failed or [status])[0]
    if by and status == 1:
        return True, "killed by %s (expected=%s actual=%s)" % by
    why = "timed out" if status is None else "status %d, %d other checks failed%s" % (status, len(failed), ": " + failed[0][:100] if failed else "")
    return False, "FAIL survives its rules %s: %s" % (" ".join(mutant.rules), why)


def try_one(build, mutant):
    """(good, words, the checks that it turns red). A whole run tells all of these; one that dies is run again up to its first red check."""
    binary = build_one(build, mutant)
    if binary is None:
        return verdict(mutant, [], 0) + ([],)
    _, failed, _, status = drive.run_tests(binary, seconds=SECONDS)
    red = sorted({drive.LINE.match(x).group(2) for x in failed})
    if status not in (0, 1):
        _, failed, _, status = drive.run_tests(binary, {"TAP_STOP": ",".join(mutant.rules)}, SECONDS)
    return verdict(mutant, failed, status) + (red,)


def base_problem(build, mutants):
    """Of the unmutated tree by the same commands: (problem or None, the checks that pass)."""
    changed = sorted({name for m in mutants for name, _, _ in m.edits if (ROOT / name).exists()})
    where = build / "mutants" / "base"
    where.mkdir(parents=True, exist_ok=True)
    wrong = shipped(where, *to_compile(build, changed))
    passed, failed, text, status = drive.run_tests(build / "base" / "test", seconds=SECONDS)
    if not wrong and (status != 0 or not passed):
        wrong = "status %s, %d passed: %s" % (status, passed, "; ".join(failed[:3]))
    return wrong, {m.group(2) for m in map(drive.LINE.match, text.split("\n")) if m}


# ---- The table of the historical bugs ----

def table_problems(text, existing):
    """mutants/README.md lists each bug once, and each mutant that is named for a bug."""
    rows = re.findall(r"^\| (B\d\d) \| ([^|]*) \|", text, re.MULTILINE)
    listed = [r[0] for r in rows]
    problems = ["%s stands %d times" % (b, listed.count(b)) for b in ("B%02d" % n for n in range(1, 71)) if listed.count(b) != 1]
    named = {name for _, cell in rows for name in re.findall(r"`([\w-]+)`", cell)}
    problems += ["%s is not a mutant" % n for n in sorted(named - set(existing))]
    problems += ["%s is not listed" % n for n in existing if n.startswith("B") and n not in named]
    return problems


# ---- All ----

def report_red(passing, red_by):
    """Which checks has no mutant ever turned red? Only told: a check may be there for what no mutant breaks yet."""
    red = {check for checks in red_by.values() for check in checks}
    broken = {name.split(".", 1)[1] for name in red if "." in name}
    red.update(name for name in passing if name.startswith("rules.") and name[6:] in broken)
    missing = sorted(passing - red)
    if missing:
        print("never red: " + " ".join(missing))
    print("mutants: of %d checks %d were seen red" % (len(passing), len(passing & red)))


def check(build, only):
    """(passed, failed)."""
    todo = [m for m in map(load, names()) if (not only or m.name in only) and not m.head.get("emulator")]
    unknown = [n for n in only if n not in names()]
    problems = ["no mutant %s; there are: %s" % (n, " ".join(names())) for n in unknown]
    problems += ["README.md: " + p for p in table_problems(TABLE.read_text(encoding="utf-8"), names())]
    wrong, passing = base_problem(build, todo)
    problems += ["the unmutated tree: " + wrong] if wrong else []
    for text in problems:
        print("mutants: FAIL %s" % text)
    if wrong or unknown:
        return 0, len(problems)
    counts, red_by, told = [1, len(problems)], {}, {}
    print("mutants: the unmutated tree compiles by the kernel's flags and passes %d checks" % len(passing), flush=True)
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 2) as pool:
        for mutant, (good, words, red) in zip(todo, pool.map(lambda m: try_one(build, m), todo)):
            counts[0 if good else 1] += 1
            red_by[mutant.name], told[mutant.name] = red, [good, words]
            print("mutant %s: %s" % (mutant.name, words), flush=True)
    if not only:
        drive.keep("host-mutants.json", json.dumps(told, indent=1) + "\n")  # before the next one, by whose date `make rules` goes
        drive.keep("host-red.json", json.dumps(red_by, indent=1) + "\n")
        report_red(passing, red_by)
    return counts


def main():
    """Exit status 0 only when each mutant is killed as it has to be."""
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("build", type=Path)
    args.add_argument("--only", default="", help="mutants by name, comma-separated")
    opt = args.parse_args()
    start = time.monotonic()
    passed, failed = check(opt.build.resolve(), [n for n in opt.only.split(",") if n])
    print("# %.1f s" % (time.monotonic() - start))
    print("mutants: %d passed, %d failed" % (passed, failed))
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
