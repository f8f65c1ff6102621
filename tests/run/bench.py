# SPDX-License-Identifier: MIT
"""What exits and debug events cost, in instructions: QEMU TCG with -icount counts one tick an instruction, so figures repeat."""

import json
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
AT_LEAST = {"later_mov_dr": 1, "four_dr_writes_exits": 1, "boot": 100_000}
# Of a guest's guest, in a run of its own. One that goes to the guest hypervisor and back makes two level switches: so many plain exits at most.
L2_EXIT = (500, "CPUID of a guest's guest, handled here")
L2_REFLECTED = (12, "plain exits: CPUID of a guest's guest, handled by the guest's hypervisor")
# Guests in ring 3. Each MOV DR is an exit here; an exception is an exit, a delivery by software and an IRETQ by software.
PVM_BOUNDS = {
    "hypercall": (1000, "PVM: exit round trip, a hypercall's"),
    "rdmsr": (1000, "PVM: RDMSR round trip"),
    "out_port": (1100, "PVM: OUT to an emulated port"),
    "later_mov_dr": (1200, "PVM: each MOV DR"),
    "single_step": (15500, "PVM: guest exception, a single step through the guest's handler"),
    "watchpoint_hit": (18500, "PVM: write watchpoint hit, through the guest's handler"),
    "dr_accesses_idle_exit": (0, "PVM: DR accesses of the host in 100 idle exits"),
    "debugctl_accesses_idle_exit": (0, "PVM: DEBUGCTL accesses of the host in 100 idle exits"),
    "four_dr_writes_exits": (4, "PVM: exits that four guest DR writes cost"),
}
TRACED = ("cpuid", "hypercall", "rdmsr", "out_port")  # with trace=on each may cost so much more than without, in percent
TRACE_PERCENT = 20
INFORMATION = ("fast_exit", "first_mov_dr", "exec_bp_hit", "watchpoint_hit_no_dr6", "later_mov_dr_read")

POLICIES = ("lazy",) + rungs.POLICIES
WORK = ("idle", "armed", "rearming", "stepping", "turns")
FIGURES = ("exits", "dr_reads", "dr_writes", "ticks")
POLICY_COMPARISONS = 8  # in judge_policies

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


def judge(found, invalid, bounds=None):
    """(rows, number failed). A figure with a bound that is missing fails."""
    rows, failed = [], 0
    for name, (bound, what) in (bounds or BOUNDS).items():
        value = found.get(name)
        good = value is not None and (EXIT_AT_LEAST if name in EXITS else AT_LEAST.get(name, 0)) <= value[0] <= bound
        failed += not good
        rows.append((("ok" if good else "FAIL"), name, "missing" if value is None else str(value[0]), "<= %d" % bound, what))
    for name in INFORMATION:
        if name in found:
            rows.append(("", name, str(found[name][0]), "", ""))
    failed += len(invalid)
    return rows, failed


def judge_nested(plain, found):
    """(rows, number failed). plain: the figure `cpuid` without nesting, or None; found: of the nested run."""
    rows = []
    for name, bound, least, what in (("l2_exit", L2_EXIT[0], plain, L2_EXIT[1]),
                                     ("l2_reflected", plain * L2_REFLECTED[0] if plain else None, plain and 2 * plain,
                                      "%d %s" % L2_REFLECTED)):
        value = found.get(name, (None,))[0]
        good = bound is not None and least is not None and value is not None and least <= value <= bound
        rows.append((("ok" if good else "FAIL"), name, "missing" if value is None else str(value), "<= %s" % bound, what))
    return rows, sum(1 for row in rows if row[0] == "FAIL")


def judge_traced(plain, found):
    """(rows, number failed). plain: figures without a trace; found: with trace=on. One that costs no more has recorded nothing."""
    rows = []
    for name in TRACED:
        before, value = plain.get(name, (None,))[0], found.get(name, (None,))[0]
        bound = None if before is None else before * (100 + TRACE_PERCENT) // 100
        good = value is not None and bound is not None and before < value <= bound
        rows.append((("ok" if good else "FAIL"), name + "_traced", "missing" if value is None else str(value), "<= %s" % bound, "%s with trace=on" % BOUNDS[name][1]))
    return rows, sum(1 for row in rows if row[0] == "FAIL")


def policy_runs(policy):
    """The same work under one policy: one guest, and two that take turns."""
    two = tuple((rungs.GUEST, "vm=%s mem=16 lab group=1 -- scenario=bench_turns%s" % vm) for vm in (("a", ""), ("b", "_b")))
    common = dict(rung="svm-qemu", cmdline="backend=svm dbg=%s" % policy, icount=True, timeout=180)
    return [job.Run(name="bench-%s" % policy, modules=rungs.modules("bench_policy"), **common),
            job.Run(name="bench-turns-%s" % policy, modules=two, **common)]


def judge_policies(found):
    """Texts of what is wrong. found: {policy: figures}. Lazy costs nothing when idle, and no policy makes work for itself out of nothing."""
    wrong = []
    for policy in POLICIES:
        for name in ("%s_%s" % (w, f) for w in WORK for f in FIGURES):
            if name not in found[policy]:
                wrong.append("%s: no figure %s" % (policy, name))
    if wrong:
        return wrong
    value = {(p, n): found[p][n][0] for p in POLICIES for n in found[p]}
    for policy in ("lazy", "trapped"):
        if value[policy, "idle_dr_reads"] + value[policy, "idle_dr_writes"]:
            wrong.append("%s: an idle guest costs DR accesses" % policy)
    if not value["eager", "idle_dr_reads"] > 0:
        wrong.append("eager: an idle guest costs no DR reads: are they counted?")
    if not value["eager", "idle_dr_writes"] > value["cached", "idle_dr_writes"]:
        wrong.append("cached writes no less than eager")
    if not value["trapped", "rearming_exits"] > value["lazy", "rearming_exits"]:
        wrong.append("trapped exits no more often than lazy: is MOV DR emulated?")
    for policy in rungs.POLICIES:
        if value["lazy", "idle_ticks"] > value[policy, "idle_ticks"]:
            wrong.append("lazy: an idle guest costs more instructions than with %s" % policy)
    return wrong


def check_policies():
    """The four policies side by side; (passed, failed, {policy: {figure: value}})."""
    todo = [(policy, run) for policy in POLICIES for run in policy_runs(policy)]
    found, problems = {policy: {} for policy in POLICIES}, []
    for (policy, _), result in zip(todo, job.execute_all([run for _, run in todo])):
        got, invalid = figures(result.log)
        found[policy].update(got)
        problems += invalid
        if result.problem or result.timed_out or result.code != 0x10:
            problems.append("%s: %s" % (result.run.name, result.end()))
            print(result.tail())
    problems += judge_policies(found)
    print("bench: policies, per 100 operations:    %s" % "".join("%12s" % p for p in POLICIES))
    for work in WORK:
        for figure in FIGURES:
            name = "%s_%s" % (work, figure)
            print("bench:      %-28s %s" % (name, "".join("%12s" % found[p].get(name, ("missing",))[0] for p in POLICIES)))
    for text in problems:
        print("bench: FAIL %s" % text)
    return 0 if problems else POLICY_COMPARISONS, len(problems), {p: {n: v[0] for n, v in found[p].items()} for p in POLICIES}


def two_runs(kernel):
    """Without nesting and with it."""
    return three_runs(kernel)[:2]


def three_runs(kernel):
    """And with a trace, without nesting."""
    common = dict(kernel=kernel, cmdline="backend=svm", icount=True, timeout=180)
    rung = "bench" if kernel == rungs.DROVER else "planted"
    return [job.Run(rung, "svm-qemu", modules=rungs.modules("bench"), **common),
            job.Run(rung, "svm-qemu-nested", modules=rungs.modules("bench_nested"), **common),
            job.Run(rung, "svm-qemu-traced", modules=rungs.modules("bench"), **dict(common, cmdline="backend=svm trace=on"))]


def pvm_run():
    """The guest's bench in ring 3."""
    return job.Run("bench", "pvm-qemu", modules=rungs.modules("bench"), cmdline="backend=pvm", icount=True, timeout=180, cpu=rungs.RUNGS["pvm-qemu"].cpu)


def nested_rows(kernel):
    """The rows of judge_nested() for this drover."""
    plain, inside = (figures(result.log)[0] for result in job.execute_all(two_runs(kernel)))
    return judge_nested(plain.get("cpuid", (None,))[0], inside)[0]


def keep(rows, policies):
    """For `make report`."""
    rungs.RESULTS.mkdir(parents=True, exist_ok=True)
    data = {"rows": rows, "policies": policies, "version": emulators.version_text("qemu"), "sources": rungs.source_hash()}
    (rungs.RESULTS / "bench.json").write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")


def check():
    """Runs the guest's bench under drover; (passed, failed, skipped)."""
    problem = emulators.qemu_svm_problem()
    if problem:
        print("bench: skipped: %s" % problem)
        return [0, 0, 1]
    results = job.execute_all(three_runs(rungs.DROVER) + [pvm_run()])
    found, invalid = figures(results[0].log)
    rows, failed = judge(found, invalid)
    inside, wrong = figures(results[1].log)
    more, bad = judge_nested(found.get("cpuid", (None,))[0], inside)
    rows, invalid, failed = rows + more, invalid + wrong, failed + bad + len(wrong)
    traced, wrong = figures(results[2].log)
    more, bad = judge_traced(found, traced)
    rows, invalid, failed = rows + more, invalid + wrong, failed + bad + len(wrong)
    ring3, wrong = figures(results[3].log)
    more, bad = judge(ring3, wrong, PVM_BOUNDS)
    rows, invalid, failed = rows + [row for row in more if row[0]], invalid + wrong, failed + bad
    print("bench: QEMU %s TCG, -icount shift=0, SVM; instructions" % emulators.version_text("qemu"))
    for row in rows:
        print("bench: %-4s %-28s %12s %14s  %s" % row)
    for line in invalid:
        print("bench: FAIL %s" % line)
    for result in results:
        if result.problem or result.timed_out or result.code != 0x10:
            print("bench: %s: %s" % (result.run.name, result.end()))
            print(result.tail())
            failed += 1
    passed, wrong, policies = check_policies()
    failed += wrong
    keep(rows, policies)
    passed += sum(1 for row in rows if row[0] == "ok")
    print("bench: %d passed, %d failed" % (passed, failed), flush=True)
    return [passed, failed, 0]
