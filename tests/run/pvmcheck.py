# SPDX-License-Identifier: MIT
"""What check-pvm has besides its rungs: the places that p03_host_range asks for against the image, the random scenarios with other seeds, a #MC in the switcher."""

import os
import re
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import gdbcheck
import job
import rungs

IMAGE = Path("build/drover.sym.elf")
SCENARIO = Path("tests/guest/p03_host_range.c")
PLACES = {"TEXT": ("pvm_text_start", "pvm_text_end"), "DATA": ("area0", "pvm_area")}  # the first and the last symbol, or the end of that one
RANDOM = "p21_escape"
FLOOR = 47  # checks that each seed makes
SEEDS = (2, 3)
COUNT = 1500
ENTRIES = 20  # of the guest, before the one that is disturbed
CHANGES = re.compile(r"^\s*([0-9a-f]{16}):\t[0-9a-f ]+\t(?:lidt|lgdt|mov .*%cr3)", re.MULTILINE)
BOUNDARY = re.compile(r"^\s*([0-9a-f]{16}):\t[0-9a-f ]+\t\w", re.MULTILINE)
MACHINE_CHECK = "monitor mce 0 1 0xbe00000000000000 0x5 0 0"  # CPU 0, bank 1: not corrected


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
    outcomes = [rungs.judge(rung, [result], whole=False) for result in job.execute_all(todo)]
    made = {check.key for outcome in outcomes for check in outcome.checks}
    for run, outcome in zip(todo, outcomes):
        judged = outcome.judgement
        missing = sorted(made - {check.key for check in outcome.checks})
        problems = judged.failed + judged.errors + ["not in the run, but in another seed's: %s" % " ".join(missing[:5])] * bool(missing)
        problems += [] if len(judged.ok) >= FLOOR else ["%d checks ok, at least %d are wanted" % (len(judged.ok), FLOOR)]
        counts[1 if problems else 0] += 1
        print("pvm: %s %s of %s: %d checks ok" % ("FAIL" if problems else "ok", run.name, RANDOM, len(judged.ok)))
        for text in problems:
            print("pvm:   %s" % text)
    return counts


def boundaries(listing):
    """Of a disassembly: the addresses before and behind each instruction that changes page tables, GDT or IDT, in order."""
    every, changes = BOUNDARY.findall(listing), set(CHANGES.findall(listing))
    return sorted({int(a, 16) for i, a in enumerate(every) if a in changes or (i and every[i - 1] in changes)})


def disturbed(address):
    """The log of a guest on pvm-qemu that is stopped there and gets a #MC, and what gdb said."""
    plain = replace(rungs.runs(rungs.RUNGS["pvm-qemu"], "a20_tf_popf")[0], rung="pvm-windows", name="%x" % address, timeout=60, icount=False)
    path = Path("build") / ("window-%x-%d.sock" % (address, os.getpid()))
    words = ["gdb", "-q", "-nx", "-batch"]
    for command in ("set pagination off", "target remote %s" % path, "hbreak *0x%x" % address, "ignore 1 %d" % ENTRIES, "continue", "delete", MACHINE_CHECK, "continue"):
        words += ["-ex", command]
    results = []
    run = replace(plain, argv=lambda serial, workdir: job.command_line(plain, serial) + ["-S", "-gdb", "unix:%s,server=on,wait=off" % path])
    thread = threading.Thread(target=lambda: results.append(job.execute(run)))
    thread.start()
    try:
        gdbcheck.wait_for(path.exists, 20)
        said = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60 * job.SCALE, check=False).stdout
    except subprocess.TimeoutExpired:
        said = b"(gdb: by its time limit)"
    thread.join()
    if path.exists():
        path.unlink()
    return results[0], said.decode("utf-8", "replace")


def check_windows():
    """A #MC at each boundary of the switcher where page tables, GDT and IDT are of two worlds: a panic that names it; (passed, failed, skipped)."""
    at = symbols(subprocess.run(["nm", "-S", str(IMAGE)], stdout=subprocess.PIPE, check=True, text=True).stdout.split("\n"))
    ends = ["--start-address=0x%x" % at["pvm_switch"][0], "--stop-address=0x%x" % at["pvm_trap_inside"][0]]
    listing = subprocess.run(["objdump", "-d", str(IMAGE), *ends], stdout=subprocess.PIPE, check=True, text=True).stdout
    where, counts = boundaries(listing), [0, 0, 0]
    with ThreadPoolExecutor(max_workers=job.WORKERS) as pool:
        for address, (result, said) in zip(where, pool.map(disturbed, where)):
            ok = re.search(r"^drover: panic: unexpected exception 18 #MC error=0x0 rip=%016x" % address, result.log, re.MULTILINE)
            counts[0 if ok else 1] += 1
            if not ok:
                print("pvm: FAIL a #MC at %x of the switcher: no panic; %s\n%s\n%s" % (address, result.end(), result.tail(6), said))
    if len(where) < 8:  # three changes on each way
        print("pvm: FAIL the switcher changes its tables at %d boundaries only" % len(where))
        counts[1] += 1
    print("pvm: a #MC at %d boundaries of the switcher: %d panics" % (len(where), counts[0]))
    return counts


def check():
    """All; (passed, failed, skipped)."""
    return [sum(values) for values in zip(check_places(), check_seeds(), check_windows())]
