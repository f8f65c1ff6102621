# SPDX-License-Identifier: MIT
"""What exits and debug events cost, in instructions: QEMU TCG with -icount counts one tick an instruction, so figures repeat."""

import re

import emulators
import job
import rungs

# name: (bound, what it is). On the same emulator KVM 6.12 needs 3036, 3000 and 3014 for the first three, 1575 for a port in
# the kernel, 3506 for a watchpoint and 3173 for a step.
BOUNDS = {
    "cpuid": (300, "CPUID round trip"),
    "hypercall": (300, "hypercall round trip"),
    "rdmsr": (300, "RDMSR round trip"),
    "out_port": (450, "OUT to an emulated port"),
    "watchpoint_hit": (400, "write watchpoint hit, through the guest's handler"),
    "single_step": (400, "single step, through the guest's handler"),
    "later_mov_dr": (3, "MOV DR after the first"),
    "dr_accesses_idle_exit": (0, "DR accesses of the host in 100 idle exits"),
    "debugctl_accesses_idle_exit": (0, "DEBUGCTL accesses of the host in 100 idle exits"),
    "four_dr_writes_exits": (1, "exits that four guest DR writes cost"),
    "boot": (200_000_000, "from boot entry to the first guest instruction"),
}
# Through a world switch and a handler: a figure below this did not go there, whatever it measured.
EXITS = ("cpuid", "hypercall", "rdmsr", "out_port", "watchpoint_hit", "single_step")
EXIT_AT_LEAST = 100
INFORMATION = ("fast_exit", "first_mov_dr", "exec_bp_hit", "watchpoint_hit_no_dr6", "later_mov_dr_read")

LINE = re.compile(r"^(?:\[[^\]]+\] )?bench: (\w+) (\d+) (.+?)\s*$", re.MULTILINE)
INVALID = re.compile(r"^(?:\[[^\]]+\] )?bench: (\w+) invalid.*$", re.MULTILINE)
ENTRY = re.compile(r"^drover: vm \S+: first entry tsc=(0x[0-9a-fA-F]+|\d+)", re.MULTILINE)


def figures(log):
    """{name: (value, unit)} and the lines that say that a figure is none."""
    log = log.replace("\r", "")
    found = {name: (int(value), unit) for name, value, unit in LINE.findall(log)}
    entry = ENTRY.search(log)
    if entry:
        found["boot"] = (int(entry.group(1), 0), "instructions since power-on, firmware included")
    return found, [m.group(0) for m in INVALID.finditer(log)]


def judge(found, invalid):
    """(rows, number failed). A figure with a bound that is missing fails."""
    rows, failed = [], 0
    for name, (bound, what) in BOUNDS.items():
        value = found.get(name)
        good = value is not None and (EXIT_AT_LEAST if name in EXITS else 0) <= value[0] <= bound
        failed += not good
        rows.append((("ok" if good else "FAIL"), name, "missing" if value is None else str(value[0]), "<= %d" % bound, what))
    for name in INFORMATION:
        if name in found:
            rows.append(("", name, str(found[name][0]), "", ""))
    failed += len(invalid)
    return rows, failed


def check():
    """Runs the guest's bench under drover; (passed, failed, skipped)."""
    problem = emulators.qemu_svm_problem()
    if problem:
        print("bench: skipped: %s" % problem)
        return [0, 0, 1]
    run = job.Run("bench", "svm-qemu", modules=rungs.modules("bench"), cmdline="backend=svm", icount=True, timeout=180)
    result = job.execute(run)
    found, invalid = figures(result.log)
    rows, failed = judge(found, invalid)
    print("bench: QEMU %s TCG, -icount shift=0, SVM; instructions" % emulators.version_text("qemu"))
    for row in rows:
        print("bench: %-4s %-28s %12s %14s  %s" % row)
    for line in invalid:
        print("bench: FAIL %s" % line)
    if result.problem or result.timed_out or result.code != 0x10:
        print("bench: %s" % result.end())
        print(result.tail())
        failed += 1
    passed = sum(1 for row in rows if row[0] == "ok")
    print("bench: %d passed, %d failed" % (passed, failed), flush=True)
    return [passed, failed, 0]
