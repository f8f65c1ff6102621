# SPDX-License-Identifier: MIT
"""drover on drover: the whole suite in the upper one, what the upper one finds when it boots as a guest, and upper ones with a bug planted."""

import re

import badinput
import bench
import job
import ktap
import planted
import rungs

def boots(where, name, options, mode):
    """drover as a guest without nesting: it finds a whole machine, calibrates its clock, misses only SVM and VMX, and runs its own guest in ring 3."""
    return badinput.Case(
        name, where, "EXIT_PASS",
        (r"^drover: vm inner: 96 MiB, .*, command line '%s'" % options,
         r"^\[L1:inner\] drover: started by multiboot 1, loader 'drover', 1 modules",
         r"^\[L1:inner\] drover: command line '%s'" % options,
         r"^\[L1:inner\] drover: level 1: a guest of drover$",
         r"^\[L1:inner\] drover: memory: 95 MiB in the map, 9\d MiB free",
         r"^\[L1:inner\] drover: acpi: revision 2 from the BIOS area, 2 tables, MADT 0xf\w+, FADT 0xf\w+, 1 CPUs \(1 runs\), 0 IOAPICs",
         r"^\[L1:inner\] drover: timer: 100 Hz by the LAPIC \(%s\), TSC \d+ kHz \(from (hypervisor leaf|CPUID 0x15)\)" % mode,
         r"^\[L1:inner\] drover: backend svm refused: SVM: CPU has none", r"^\[L1:inner\] drover: backend vmx refused: VMX: CPU lacks VMX",
         r"^\[L1:inner\] drover: backend pvm", r"^\[L1:inner\] \[L2:guest\] ok 1 %s" % badinput.AFTER,
         r"^\[L1:inner\] drover: verdict PASS code=0x10", r"^drover: vm inner: ended: status 0x10"),
        modules(options, "nested=off"), never=(r"LAPIC error", r"^\[L1:inner\] \[L1:inner\]"), mem=160)


def locked(where, backend, message):
    """nested=locked: what a firmware that has locked it off looks like, and drover says so (issue 1 of 5) and does not try."""
    return badinput.Case(
        "inner-drover-locked", where, "EXIT_ERROR",
        (r"^\[L1:inner\] drover: backend %s refused: %s" % (backend, message), r"^\[L1:inner\] drover: no backend can run here",
         r"^\[L1:inner\] drover: verdict FAIL code=0x24", r"^drover: vm inner: ended: status 0x24"),
        modules("screen=off backend=%s" % backend, "nested=locked"), never=(r"\[L2:",), mem=160)


def modules(options, nesting):
    """The upper drover, and a guest for it."""
    return ((rungs.DROVER, "vm=inner mem=96 %s -- %s" % (nesting, options)),
            (rungs.GUEST, "module-of=inner -- guest.elf vm=guest lab -- scenario=%s" % badinput.AFTER))


def cases():
    """All of them."""
    made = []
    for where in ("qemu", "bochs-svm", "bochs-vmx"):
        made += [boots(where, "inner-drover", "screen=off", "xapic"), boots(where, "inner-drover-x2apic", "screen=off apic=x2apic", "x2apic")]
        vmx = where == "bochs-vmx"
        made.append(locked(where, *(("vmx", r"VMX: firmware locked VT-x off: IA32_FEATURE_CONTROL=0x") if vmx else
                                    ("svm", r"SVM: firmware locked it off: VM_CR=0x"))))
    return made


def bench_turns_red():
    """The bound of a reflected exit fails where it has to; (passed, failed, skipped)."""
    if rungs.absent(rungs.RUNGS["svm-qemu"]):
        return [0, 0, 1]
    kernel, why = planted.build(planted.BENCH_PLANT)
    rows = [] if kernel is None else bench.nested_rows(kernel)
    red = breaks_bound(rows)
    said = "; ".join(" ".join(row[:4]) for row in rows)
    print("nested: %s %s in bench, %s" % ("ok" if red else "FAIL", planted.BENCH_PLANT, why or said))
    return [1, 0, 0] if red else [0, 1, 0]


def breaks_bound(rows):
    """The figure of a reflected exit is above its bound, and the other one, which the bug does not touch, is good: no run that went wrong as a whole."""
    (plain,), (reflected,) = ([row for row in rows if row[1] == name] or [("FAIL", name, "missing", "")] for name in ("l2_exit", "l2_reflected"))
    bound = reflected[3].removeprefix("<= ")
    return plain[0] == "ok" and reflected[2].isdigit() and bound.isdigit() and int(reflected[2]) > int(bound)


def console_costs(log):
    """(lines of the uppermost VM, its exits, exits of the VM that the upper drover runs in), of a run with two drovers."""
    upper = ktap.said_by(log, rungs.INNER, 1)
    lines = len(ktap.split_vms(upper, 2).get("guest", []))
    exits = [re.findall(pattern, text, re.MULTILINE) for pattern, text in (
        (r"^drover: vm guest: (\d+) exits", upper), (r"^drover: vm inner: (\d+) exits", log.replace("\r", "")))]
    return (lines, *(int(found[0]) if found else 0 for found in exits))


def console_is_good(lines, top, below):
    """A line is an exit at each level: two with start-up, and the dozen that an upper drover makes of each. A byte for an exit would be sixty times that."""
    return lines > 50 and lines <= top <= 2 * lines and top < below <= 20 * lines


def console():
    """A line of the console costs an exit at each level, not a byte; (passed, failed, skipped)."""
    rung = rungs.RUNGS["nest2-svm-qemu"]
    if rungs.absent(rung):
        return [0, 0, 1]
    run = rungs.runs(rung, "list")[0]
    run.name = "list"
    costs = console_costs(job.execute(run).log)
    good = console_is_good(*costs)
    print("nested: %s console on %s: %d lines, %d exits of their VM, %d of the upper drover" % ("ok" if good else "FAIL", rung.name, *costs))
    return [1, 0, 0] if good else [0, 1, 0]


def check(run_rungs):
    """(passed, failed, skipped). run_rungs: runs and prints rungs, returns their counts."""
    counts = [run_rungs(rungs.NEST_RUNGS), badinput.run_cases(cases())]
    made, _ = planted.plant_all(planted.NESTED_PLANTS, "nested")
    counts += [made, bench_turns_red(), console()]
    return [sum(values) for values in zip(*counts)]
