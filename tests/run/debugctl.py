# SPDX-License-Identifier: MIT
"""DEBUGCTL by software (`debugctl=emulate`): the lower drover is the hardware on which the upper one's policy is tested, and guests are stepped unseen."""

from dataclasses import dataclass

import cases
import expect
import ktap
import planted
import rungs

# What the upper drover's guest has to see: nothing of the host's DEBUGCTL (source document 2), and all of its own, by LBR virtualization.
UPPER = ("doc2_effects", "doc2_debugctl", "a30_btf", "a31_lbr", "a33_bus_lock")

# Scenarios whose every instruction is stepped by the lower drover, as of a guest that has asked for bus-lock traps. What a step could show is what they look at:
# RFLAGS in frames and on the stack, RF, shadows, single steps of their own, breakpoints, events, instructions that exit. The first one counts the exits.
STEPPED = ("stepped", "a10_general_detect", "a11_gd_cleared", "a18_exec_bp", "a19_data_bp", "a20_tf_popf", "a21_syscall_tf", "a22_int_tf", "a23_movss_hold", "a24_sti_tf",
           "a26_icebp", "a27_icebp_b", "a28_pushed_rf", "a29_rep_steps", "a34_one_db", "e01_step_exits", "e08_string_bps", "v14_icebp_prefix")


@dataclass(frozen=True)
class Case:
    """A run. bug: of tests/host/mutants, in the upper drover; red: the checks that have to fail then."""
    name: str
    rung: str
    scenarios: tuple
    bug: str = ""
    red: tuple = ()
    stepped: bool = False


CASES = (
    Case("upper", "svm-qemu", UPPER),
    Case("upper-B06", "svm-qemu", ("doc2_effects",), "B06", ("S07.bus_lock", "S09.dr6", "S07.value", "S07.btf")),
    Case("upper-B07", "svm-qemu", ("doc2_effects",), "B07", ("S07.value", "S07.btf")),
    Case("upper-B46", "svm-qemu", ("doc2_debugctl",), "B46", ("S07.host",)),
    Case("stepped", "svm-qemu", STEPPED, stepped=True),
    Case("upper", "vmx-bochs", ("doc2_effects", "a30_btf", "a31_lbr", "a33_bus_lock")),
    Case("upper-B46", "vmx-bochs", ("doc2_effects",), "B46", ("S07.host", "S07.btf.host")),
)


def to_run(case, kernel):
    """Its run. kernel: the upper drover's image."""
    rung = rungs.RUNGS[case.rung]
    run = rungs.runs(rung, case.scenarios[0])[0]
    scenarios = ",".join(case.scenarios)
    if case.stepped:
        run.modules = ((rungs.GUEST, "vm=l2 mem=32 lab debugctl=emulate -- debugctl=4 scenario=%s" % scenarios),)
    else:
        run.modules = ((kernel, "vm=%s mem=96 nested=on debugctl=emulate budget=600000 -- backend=%s screen=off" % (rungs.INNER, rung.backend)),
                       (rungs.GUEST, "module-of=%s -- guest.elf vm=l2 mem=32 lab -- scenario=%s" % (rungs.INNER, scenarios)))
        run.nest = 2
        if run.platform == "bochs":
            # While the host's DEBUGCTL is set the upper drover runs a thousand times slower, and by 50 MIPS its timer would never let it get on.
            run.mem, run.mips = 192, 400
    run.rung, run.name, run.timeout = "debugctl", "%s-%s" % (case.rung, case.name), 400
    return run


def listed(rung):
    """{check: actual} of what the emulator is known to get wrong, stepped or not."""
    entries, _ = expect.load(rungs.EXPECT / rung)
    return {e.key: e.actual for e in entries}


def judge(case, result):
    """What is wrong with a run, and words. With a bug or without: the report is whole, it has each scenario, and each drover ended as its checks say."""
    checks, problems = rungs.collect(result)
    problems += ["%s did not run" % name for name in case.scenarios if name not in {c.scenario for c in checks}]
    if case.bug:
        failed = {c.ident for c in checks if c.status == ktap.FAIL}
        missing = [ident for ident in case.red if ident not in failed]
        return problems + ["%s is not red" % ident for ident in missing], "%d checks red as they have to be" % (len(case.red) - len(missing))
    known = listed(case.rung) if case.stepped else {}
    good = [c for c in checks if c.status == ktap.OK]
    problems += ["%s: nothing passed" % name for name in case.scenarios if name not in {c.scenario for c in good}]
    problems += ["%s: expected=%s actual=%s %s" % (c.key, c.expected, c.actual, c.reason or "") for c in checks
                 if c.status == ktap.ERROR or (c.status == ktap.FAIL and not expect.same_value(known.get(c.key, ""), c.actual)) or (c.status == ktap.SKIP and c.key not in known)]
    return problems, "%d checks ok" % len(good)


def check(rung):
    """Runs a rung's; (passed, failed, skipped): one each."""
    todo, absent = [], rungs.absent(rungs.RUNGS[rung])
    for case in [c for c in CASES if c.rung == rung]:
        kernel, why = planted.build(case.bug) if case.bug and not absent else (rungs.DROVER, "")
        todo.append(cases.Case("%s on %s" % (case.name, case.rung), case, to_run(case, kernel) if kernel else None, absent or "", why))
    return cases.check("debugctl", todo, judge)
