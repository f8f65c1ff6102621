# SPDX-License-Identifier: MIT
"""What check-pvm has besides its rungs: the places that p03_host_range asks for against the image, and the random scenarios with other seeds."""

import re
import subprocess
from pathlib import Path

import job
import rungs

IMAGE = Path("build/drover.sym.elf")
SCENARIO = Path("tests/guest/p03_host_range.c")
PLACES = {"TEXT": ("pvm_text_start", "pvm_text_end"), "DATA": ("area0", "pvm_area")}  # the first and the last symbol, or the end of that one
RANDOM = "p21_escape"
SEEDS = (2, 3)
COUNT = 1500


def defines(text):
    """{name: value} of the scenario's addresses."""
    return {name: int(value, 16) for name, value in re.findall(r"^#define (\w+_(?:FROM|TO)) (0x[0-9a-f]+)ul", text, re.MULTILINE)}


def symbols(lines):
    """{name: (start, end)} of `nm -S`; a label is empty."""
    found = {}
    for words in (line.split() for line in lines):
        if len(words) >= 3:
            start = int(words[0], 16)
            found[words[-1]] = (start, start + (int(words[1], 16) if len(words) == 4 else 0))
    return found


def outside(asked, there):
    """What of the image p03_host_range does not ask for, one line each."""
    problems = []
    for place, (first, last) in PLACES.items():
        try:
            low, high = asked[place + "_FROM"], asked[place + "_TO"]
            start, end = there[first][0], there[last][1]
        except KeyError as e:
            problems.append("%s: no %s" % (place, e))
            continue
        if not low <= start < end <= high:
            problems.append("%s: the image has %x-%x, asked for is %x-%x" % (place, start, end, low, high))
    return problems


def check_places():
    """(passed, failed, skipped): one per range."""
    lines = subprocess.run(["nm", "-S", str(IMAGE)], stdout=subprocess.PIPE, check=True, text=True).stdout.split("\n")
    problems = outside(defines(SCENARIO.read_text(encoding="utf-8")), symbols(lines))
    for text in problems:
        print("pvm: FAIL p03_host_range asks for other places than the image has them: %s" % text)
    return [len(PLACES) - len(problems), len(problems), 0]


def check_seeds():
    """The random scenarios on pvm-qemu, by seeds of no other run; (passed, failed, skipped): one per seed."""
    rung, counts, todo = rungs.RUNGS["pvm-qemu"], [0, 0, 0], []
    for seed in SEEDS:
        run = rungs.runs(rung, RANDOM, words="seed=%d count=%d" % (seed, COUNT))[0]
        run.rung, run.name = "pvm-seeds", "seed-%d" % seed
        todo.append(run)
    for run, result in zip(todo, job.execute_all(todo)):
        judged = rungs.judge(rung, [result], whole=False).judgement
        problems = judged.failed + judged.errors + ([] if judged.ok else ["nothing ran"])
        counts[1 if problems else 0] += 1
        print("pvm: %s %s of %s: %d checks ok" % ("FAIL" if problems else "ok", run.name, RANDOM, len(judged.ok)))
        for text in problems:
            print("pvm:   %s" % text)
    return counts


def check():
    """All; (passed, failed, skipped)."""
    return [sum(values) for values in zip(check_places(), check_seeds())]
