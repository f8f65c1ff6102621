#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The runner: boots drover or the bare guest on an emulator, judges what it says. `drover_run.py --help` lists the commands."""

import argparse
import difflib
import os
import re
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.dont_write_bytecode = True

import badinput  # noqa: E402
import bench  # noqa: E402
import bootcheck  # noqa: E402
import debugctl  # noqa: E402
import emulators  # noqa: E402
import exitcodes  # noqa: E402
import expect  # noqa: E402
import gdbcheck  # noqa: E402
import job  # noqa: E402
import l0  # noqa: E402
import live  # noqa: E402
import nested  # noqa: E402
import planted  # noqa: E402
import pvmcheck  # noqa: E402
import rungs  # noqa: E402
import table  # noqa: E402

BEGAN = time.monotonic()
PARTS = ("host", "coverage", "mutants", "fuzz", "explore", "bare", "svm", "vmx", "pvm", "nested", "policies", "gdb", "planted", "rules", "boot", "report", "lint")


def choose_pvm(platform):
    """The same with BACKEND=pvm, which needs nothing of the CPU."""
    if platform == "bochs":
        return rungs.RUNGS["pvm-bochs"], "guests in ring 3, Bochs %s, CPU model %s" % (
            emulators.version_text("bochs"), emulators.BOCHS_CPU["intel"])
    why = emulators.kvm_trial(rungs.GUEST) if os.path.exists("/dev/kvm") else "no /dev/kvm"
    if platform == "kvm" and why:
        return None, "PLATFORM=kvm: %s" % why
    return rungs.RUNGS["pvm-qemu" if why else "pvm-kvm"], "guests in ring 3, QEMU %s" % ("TCG; not KVM: %s" % why if why else "with KVM")


def choose_platform(platform, backend):
    """(rung, words about the choice) of `make run`."""
    if backend == "pvm":
        return choose_pvm(platform)
    problem = emulators.qemu_svm_problem()
    if platform == "kvm":
        vendor, why = emulators.kvm_offer()
        why = emulators.kvm_trial(rungs.GUEST) if vendor else why
        return (rungs.RUNGS["kvm"], "QEMU with KVM, %s" % vendor) if vendor and not why else (None, "PLATFORM=kvm: %s" % why)
    if platform == "bochs":
        problem = None
    elif platform == "" and problem and emulators.bochs_version() and not emulators.kvm_offer()[0]:
        platform = "bochs"
    else:
        platform = "qemu"
    if platform == "bochs":
        name = "svm-bochs" if backend == "svm" else "vmx-bochs"
        return rungs.RUNGS[name], "Bochs %s, CPU model %s" % (
            emulators.version_text("bochs"), emulators.BOCHS_CPU[rungs.RUNGS[name].vendor]) + ("; " + problem if problem else "")
    vendor, why = emulators.kvm_offer()
    if vendor and backend in ("", "auto", vendor):
        failed = emulators.kvm_trial(rungs.GUEST)
        if not failed:
            return rungs.RUNGS["kvm"], "QEMU with KVM, %s (%s)" % (vendor, why)
        why = failed
    elif vendor:
        why = "it nests %s, and BACKEND=%s was asked for" % (vendor, backend)
    if backend == "vmx":
        return None, "BACKEND=vmx in QEMU needs KVM with nested VMX (%s); TCG has no VMX. Use PLATFORM=bochs" % why
    text = "QEMU TCG with SVM; not KVM: %s" % why
    return rungs.RUNGS["svm-qemu"], text + ("; " + problem if problem else "")


def refusal(log):
    """The line in which drover or its guest names what it does not know."""
    lines = [line.strip() for line in log.split("\n") if re.search(r"unknown|no UART for gdb|no scenario|bad value|not an ELF|refused", line)]
    unknown = re.search(r"unknown scenario: (\S+)", lines[0]) if lines else None
    if not unknown:
        return lines[0] if lines else ""
    near = difflib.get_close_matches(unknown.group(1), live.scenario_flags(), 3)
    return "%s; SCENARIO=list names all%s" % (lines[0], ", near it: %s" % " ".join(near) if near else "")


def last_line(rung, outcome, mutant, unseen):
    """The verdict. With a mutant PASS is no good news: nothing has shown it. unseen: why nothing could."""
    first = outcome.results[0]
    good, end = outcome.judgement.good, exitcodes.name_of(first.code)
    if first.status is not None and first.status < 0:
        return "verdict: FAIL on %s, %s" % (rung.name, first.end())
    if mutant and good:
        return "verdict: mutant %s NOT SEEN on %s (PASS, drover ended with %s): %s" % (mutant, rung.name, end, unseen or "nothing that ran is red by it")
    return "verdict: %s on %s, drover ended with %s" % ("PASS" if good else "FAIL", rung.name, end)


def nest(rung, args):
    """(rung, problem): the rung with as many drovers as were asked for. Three on Bochs take hours for all: the source documents' scenarios then."""
    if args.nest == 1:
        return rung, ""
    base = rung.base or rung.name
    deep = rungs.RUNGS.get("nest%d-%s" % (args.nest, base))
    if rung.backend == "pvm":
        return rung, "NEST=%d with BACKEND=pvm: PVM nests nothing; it takes svm or vmx" % args.nest
    if deep is None:
        return rung, "NEST=%d on %s: there is NEST=2 and NEST=3, on the emulators" % (args.nest, base)
    if args.nest == 3 and rung.platform == "bochs" and args.scenario == "all":
        args.scenario = ",".join(rungs.DOCUMENTS)
        print("run: NEST=3 on Bochs: the source documents' scenarios only: %s" % args.scenario)
    return deep, ""


def one_run(rung, args, kernel=None):
    """The run of `make run`. kernel: with a bug in it, for the uppermost drover."""
    run = rungs.runs(rung, args.scenario, args.options, args.upper_options, kernel or rungs.DROVER, args.guest)[0]
    if kernel and rung.nest == 1:
        run.kernel = kernel
    return run


def view(rung, args):
    """What shows a run: the log itself, or a line per scenario (on a terminal, unless --view says otherwise)."""
    lines = args.view == "lines" or (args.view == "" and sys.stdout.isatty())
    if not lines or args.scenario == "list":
        return True

    def write(text):
        sys.stdout.write(text)
        sys.stdout.flush()
    total = live.planned(rung, args.scenario, live.scenario_flags())
    usual = rungs.USUAL.get(rung.name if rung.nest > 1 else rung.base or rung.name) if args.scenario == "all" else None
    return live.Lines(rung, total, usual, write, live.colours_wanted()).feed


def traced(run, rung, args, scenario):
    """The log of the same drover with this scenario alone and a trace; "" where it has none."""
    if rung.nest > 1 or not rung.backend:
        return ""
    again = rungs.runs(rung, scenario, ("%s trace=on" % args.options).strip(), words=args.guest)[0]
    again.kernel, again.rung, again.name = run.kernel, run.rung, run.name + "-trace"
    return job.execute(again).log


def cmd_run(args):
    """make run."""
    if args.mutant and planted.mutate.load(args.mutant) is None:
        print("run: MUTANT=%s: %s" % (args.mutant, planted.build(args.mutant)[1]))
        return 1
    rung, words = choose_platform(args.platform, args.backend)
    print("run: %s" % words, flush=True)
    if rung is None:
        return 1
    for policy in rungs.POLICIES:
        if "dbg=%s" % policy in args.options.split():
            rung = rungs.RUNGS.get("%s-%s" % (rung.name, policy), rung)
    rung, problem = nest(rung, args)
    if problem:
        print("run: %s" % problem)
        return 1
    whole = args.scenario == "all"
    run = one_run(rung, args)
    run.rung, run.name = "run", rung.name  # logs of its own: those of make check are evidence
    unseen = ""
    if args.mutant:
        unseen = planted.elsewhere(planted.mutate.load(args.mutant), emulators.kvm_offer()[0] if rung.backend == "auto" else rung.backend)
        if unseen:
            print("run: MUTANT=%s is not to be seen here: %s" % (args.mutant, unseen), flush=True)
        run, problem = planted.run_live(args.mutant, lambda kernel: one_run(rung, args, kernel))
    if problem:
        print("run: %s" % problem)
        return 1
    result = job.execute(run, stream=view(rung, args))
    if args.scenario == "list":
        return 0 if result.code == exitcodes.code("EXIT_PASS") else 1
    if result.code in (exitcodes.code("EXIT_BADOPT"), exitcodes.code("EXIT_BADMODULE")):
        print("run: refused: %s" % (refusal(result.log) or "see %s" % (result.run.workdir / "serial.log")))
        return 1
    outcome = rungs.judge(rung, [result], whole)
    live.print_troubles(outcome, lambda scenario: traced(run, rung, args, scenario))
    print()
    table.print_outcome(outcome)
    reasons = {}
    for key, reason in outcome.judgement.known:
        reasons.setdefault(reason, []).append(key)
    for reason, keys in sorted(reasons.items()):
        print("known deviation: %s: %d checks, %s" % (reason, len(keys), keys[0] + (" ..." if len(keys) > 1 else "")))
    print("log: %s" % (result.run.workdir / "serial.log"))
    absent = emulators.qemu_svm_problem()
    print(last_line(rung, outcome, args.mutant, unseen) + ("; " + absent if absent else ""))
    return 0 if outcome.judgement.good else 1


def run_rungs(names):
    """Runs and prints rungs; their counts."""
    counts = [0, 0, 0]
    for outcome in rungs.run_all(names):
        table.print_outcome(outcome)
        counts = [a + b for a, b in zip(counts, outcome.counts)]
    return counts


def add(*parts):
    """Sums of (passed, failed, skipped)."""
    return [sum(values) for values in zip(*parts)]


def cmd_check(args):
    """make check-bare, -svm, -vmx, -pvm, -nested, -policies, -gdb, -planted, -boot."""
    if args.part == "bare":
        counts = run_rungs(("bare-qemu", "bare-bochs-intel", "bare-bochs-amd"))
    elif args.part == "svm":
        counts = add(run_rungs(("svm-qemu", "svm-bochs", "kvm")), badinput.check(("qemu", "bochs-svm")), debugctl.check("svm-qemu"), bench.check())
    elif args.part == "vmx":
        counts = add(run_rungs(("vmx-bochs",)), badinput.check(("bochs-vmx",)), debugctl.check("vmx-bochs"))
    elif args.part == "pvm":
        counts = add(run_rungs(("pvm-qemu", "pvm-bochs", "pvm-bochs-amd", "pvm-kvm")), badinput.check(("pvm", "pvm-bochs")), pvmcheck.check())
    elif args.part == "nested":
        counts = nested.check(run_rungs)
    elif args.part == "policies":
        counts = run_rungs([name for name, rung in rungs.RUNGS.items() if rung.policy])
    elif args.part == "gdb":
        counts = gdbcheck.check()
    elif args.part == "planted":
        counts = planted.check()
    else:
        counts = bootcheck.check()
    table.save_part(args.part, *counts, time.monotonic() - BEGAN)
    return 1 if counts[1] else 0


def cmd_count(args):
    """Runs a command of another part, shows its output, and keeps the counts that its last `N passed, N failed` line says."""
    process = subprocess.Popen(args.command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                               close_fds=False)  # a make below shares the job server of the make above
    found = None
    for raw in process.stdout:
        line = raw.decode("utf-8", "replace")
        sys.stdout.write(line)
        sys.stdout.flush()
        match = re.match(r"^(?:\w+: )?(\d+) passed, (\d+) failed(?:, (\d+) skipped)?\s*$", line)
        if match:
            found = [int(n or 0) for n in match.groups()]
    status = process.wait()
    if found is None:
        print("check-%s: no line 'N passed, N failed' in its output" % args.part)
        found = [0, 1, 0]
    elif status and not found[1]:
        print("check-%s: ended with status %d though it names no failure" % (args.part, status))
        found[1] = 1
    table.save_part(args.part, *found, time.monotonic() - BEGAN)
    return 1 if found[1] else 0


def cmd_suggest(args):
    """Prints expectation lines for what is not ok and unlisted on a rung, reasons to be written."""
    rung = rungs.RUNGS[args.rung]
    reason = rungs.absent(rung)
    if reason:
        print("# absent: %s" % reason)
        return 1
    outcome = rungs.judge(rung, job.execute_all(rungs.runs(rung)))
    for line in expect.suggest(outcome.judgement, rungs.version(rung)):
        print(line)
    for text in outcome.judgement.failed + outcome.judgement.errors:
        if "unlisted" not in text:
            print("# %s" % text)
    return 0


def cmd_rung(args):
    """Runs and judges single rungs."""
    counts = run_rungs(args.rungs)
    return 1 if counts[1] else 0


def cmd_sum(_):
    """The end of make check."""
    return 0 if table.sum_parts(PARTS) else 1


def parser():
    """The command line."""
    top = argparse.ArgumentParser(description=__doc__)
    subs = top.add_subparsers(dest="verb", required=True)
    sub = subs.add_parser("run", help="boot drover with the guest, stream the log, judge it")
    sub.add_argument("--platform", choices=("", "qemu", "kvm", "bochs"), default="",
                     help="default: QEMU, with KVM where that nests; kvm: or nothing")
    sub.add_argument("--backend", choices=("", "auto", "svm", "vmx", "pvm"), default="")
    sub.add_argument("--scenario", default="all")
    sub.add_argument("--options", default="", help="more options for drover's own command line")
    sub.add_argument("--guest", default="", help="more words for the guest's command line: seed=, count=")
    sub.add_argument("--mutant", default="", help="a bug of tests/host/mutants to plant, by name; in the uppermost drover")
    sub.add_argument("--nest", type=int, default=1, help="drovers, one as the guest of the other")
    sub.add_argument("--view", choices=("", "log", "lines"), default="", help="the log, or a line per scenario; default: lines on a terminal")
    sub.add_argument("--upper-options", default="", help="more options for the drovers above the first")
    sub.set_defaults(call=cmd_run)
    sub = subs.add_parser("check", help="one part of make check")
    sub.add_argument("part", choices=("bare", "svm", "vmx", "pvm", "nested", "policies", "gdb", "planted", "boot"))
    sub.set_defaults(call=cmd_check)
    sub = subs.add_parser("count", help="run a command and keep its counts as a part of make check")
    sub.add_argument("part", choices=PARTS)
    sub.add_argument("command", nargs=argparse.REMAINDER)
    sub.set_defaults(call=cmd_count)
    sub = subs.add_parser("rung", help="run single rungs: %s" % " ".join(rungs.RUNGS))
    sub.add_argument("rungs", nargs="+", choices=sorted(rungs.RUNGS))
    sub.set_defaults(call=cmd_rung)
    sub = subs.add_parser("suggest", help="expectation lines for what is unlisted on a rung")
    sub.add_argument("rung", choices=sorted(rungs.RUNGS))
    sub.set_defaults(call=cmd_suggest)
    sub = subs.add_parser("bad-input", help="single bad-input cases, or all")
    sub.add_argument("names", nargs="*")
    sub.set_defaults(call=lambda args: 1 if badinput.check(None, args.names)[1] else 0)
    sub = subs.add_parser("gdb", help="single cases of check-gdb, or all: RUNG [CASE...]")
    sub.add_argument("rung", choices=gdbcheck.RUNGS)
    sub.add_argument("names", nargs="*")
    sub.set_defaults(call=lambda args: 1 if gdbcheck.check((args.rung,), args.names)[1] else 0)
    subs.add_parser("bench", help="instructions per operation against their bounds").set_defaults(
        call=lambda _: 1 if bench.check()[1] else 0)
    sub = subs.add_parser("l0", help="what the hypervisor below breaks, rule by rule")
    sub.add_argument("--qemu", default="", help="the command, without kernel and serial line; default: %s" % l0.DEFAULT)
    sub.set_defaults(call=lambda args: l0.check(args.qemu))
    sub = subs.add_parser("findings", help="the table of docs/findings.md, from what these bare rungs said last")
    sub.add_argument("rungs", nargs="+")
    sub.set_defaults(call=lambda args: print("\n".join(l0.findings_table(args.rungs))) or 0)
    subs.add_parser("table", help="the table of what ran last").set_defaults(call=lambda _: table.print_table() or 0)
    subs.add_parser("sum", help="the sum of all parts").set_defaults(call=cmd_sum)
    return top


def main():
    """Status 0 only if nothing failed."""
    args = parser().parse_args()
    return args.call(args)


if __name__ == "__main__":
    sys.exit(main())
