# SPDX-License-Identifier: MIT
"""What drover is given wrong, and the message and the exit code that it answers with; and the storms, bare and inside."""

import re
import signal
from dataclasses import dataclass, replace

import elfmake
import emulators
import exitcodes
import job
import rungs

FILES = emulators.BUILD / "bad"
AFTER = "a03_dr_high_bits"  # passes on every machine: the VM behind a stopped one runs it
GOOD = (FILES / "good.elf", "vm=next mem=8")
PVM = ("pvm", "pvm-bochs")


@dataclass(frozen=True)
class Case:
    """A case. where: qemu | bochs-svm | bochs-vmx | pvm (QEMU) | pvm-bochs (Intel). code: how drover ends, or "hang" for a bare run that must not end.
    says: every pattern has to be on the serial line; never: none of these."""
    name: str
    where: str
    code: str
    says: tuple
    modules: tuple = ()
    options: str = ""
    never: tuple = ()
    bare: str = ""       # the scenario, with no drover
    cpu: str = None
    mem: int = 256
    timeout: float = 60
    recurses: bool = False  # a bare storm may also end the emulator itself


def guest(scenario, options="budget=1000"):
    """A VM with a guest that misbehaves, and one behind it that has to run its scenario and pass all the same."""
    return ((rungs.GUEST, ("vm=bad mem=16 %s" % options).strip() + " -- scenario=%s" % scenario),
            (rungs.GUEST, "vm=next mem=16 -- scenario=%s" % AFTER))


NEXT_RAN = r"^drover: vm next: ended: status 0x10"
IN_RING3 = r"^drover: no hardware virtualization: guests will run in ring 3"


def stopped(why):
    """Patterns: the VM was stopped for this reason, and the next one ran."""
    return (r"^drover: vm bad: stopped: .*%s" % why, r"^\[L1:next\] ok 1 %s" % AFTER, NEXT_RAN)


def module_cases():
    """Modules that cannot be run."""
    def one(name, file, says, code="EXIT_BADMODULE", options="vm=bad mem=16"):
        return Case(name, "qemu", code, (r"^drover: .*%s" % says,), ((FILES / file, options),), never=(r"^drover: verdict PASS",))
    return [
        Case("no-module", "qemu", "EXIT_NOMODULE", (r"^drover: no module",)),
        Case("good-module", "qemu", "EXIT_PASS", (NEXT_RAN,), (GOOD,)),
        one("no-elf", "no_elf.bin", r"cannot load its module: not an ELF file"),
        one("header-cut", "header_cut.elf", r"cannot load its module: truncated: the ELF header"),
        one("truncated", "truncated.elf", r"truncated"),
        one("overlap", "overlap.elf", r"overlap"),
        one("needs-more-memory", "huge.elf", r"memory"),
        one("address-wraps", "wrap.elf", r"(wrap|memory|outside)"),
        one("entry-outside", "entry_out.elf", r"entry"),
        one("no-multiboot", "no_multiboot.elf", r"multiboot"),
        one("headers-outside", "phdr_out.elf", r"(truncated|program header|outside)"),
        one("segment-outside-file", "offset_out.elf", r"(truncated|outside)"),
        one("note-entry-outside", "note_entry_out.elf", r"its entry point 0x3000000 lies outside all segments"),
        one("note-entry-above-4g", "note_entry_high.elf", r"its entry point 0x100100000 lies outside all segments"),
        one("note-outside-file", "note_outside.elf", r"truncated: its notes lie outside the file"),
        replace(one("note-sizes", "note_sizes.elf", r"no note names a 64-bit entry"), where="pvm", options="backend=pvm"),
        one("vm-needs-more-than-host", "good.elf", r"(memory|RAM)", "EXIT_NOMEM", "vm=bad mem=4000"),
    ]


def option_cases():
    """Words that drover or the guest does not know."""
    def drover(name, options, word):
        return Case(name, "qemu", "EXIT_BADOPT", (r"^drover: unknown option or value '%s'" % re.escape(word),), (GOOD,), options,
                    (NEXT_RAN,))

    def module(name, text, word):
        return Case(name, "qemu", "EXIT_BADOPT", (r"^drover: .*%s" % re.escape(word),), ((FILES / "good.elf", text),),
                    never=(r"^drover: verdict PASS",))
    return [
        drover("unknown-option", "colour=blue", "colour=blue"),
        drover("unknown-flag", "verbose", "verbose"),
        drover("unknown-backend", "backend=xen", "backend=xen"),
        drover("unknown-policy", "dbg=sometimes", "dbg=sometimes"),
        drover("bad-number", "budget=12x", "budget=12x"),
        drover("unknown-fault", "fault=gremlins", "fault=gremlins"),
        Case("gdb-nowhere", "qemu", "EXIT_BADOPT", (r"^drover: no UART for gdb at 0x2f8, and one is to be waited for",), (GOOD,), "gdb=com2,wait", (NEXT_RAN,)),
        Case("gdb-on-console", "qemu", "EXIT_BADOPT", (r"^drover: no UART for gdb at 0x3f8: it is the console's, and one is to be waited for",), (GOOD,),
             "gdb=com1,wait", (NEXT_RAN,)),
        module("unknown-vm-option", "vm=bad flavour=salt", "flavour"),
        module("bad-vm-memory", "vm=bad mem=lots", "lots"),
        module("vm-memory-below-minimum", "vm=bad mem=1", "mem"),
        Case("unknown-scenario", "qemu", "EXIT_BADOPT",
             (r"^\[L1:bad\] guest: unknown scenario: no_such_thing", r"^drover: vm bad: ended: status 0x20", NEXT_RAN),
             guest("no_such_thing", "")),
        Case("unknown-guest-option", "qemu", "EXIT_BADOPT", (r"^\[L1:bad\] guest: unknown option: speed=1", NEXT_RAN),
             ((rungs.GUEST, "vm=bad mem=16 -- speed=1"), GOOD)),
    ]


def machine_cases():
    """Machines that cannot do it."""
    return [
        Case("no-svm", "qemu", "EXIT_PASS", (r"^drover: backend svm refused: SVM: CPU has none", r"^drover: backend vmx refused: VMX: CPU lacks VMX",
                                             IN_RING3, NEXT_RAN), ((rungs.GUEST, "vm=next mem=16 -- scenario=%s" % AFTER),), cpu="qemu64,-svm"),
        Case("no-npt", "qemu", "EXIT_BADMODULE", (r"^drover: backend svm refused: SVM: CPU lacks (nested paging|NPT)", IN_RING3,
                                                  r"^drover: vm next: cannot load its module: no note names a 64-bit entry"), (GOOD,),
             cpu="qemu64,+svm", never=(NEXT_RAN,)),
        Case("no-npt-svm-asked-for", "qemu", "EXIT_NOVIRT", (r"^drover: backend svm refused: SVM: CPU lacks (nested paging|NPT)",), (GOOD,), "backend=svm",
             cpu="qemu64,+svm", never=(NEXT_RAN,)),
        Case("no-vmx-asked-for", "qemu", "EXIT_NOVIRT", (r"^drover: backend vmx refused: VMX: CPU lacks VMX",), (GOOD,), "backend=vmx", (NEXT_RAN,)),
        Case("little-ram", "qemu", "EXIT_NOMEM", (r"^drover: too little memory: have \d+ MiB",), (GOOD,), mem=16, never=(NEXT_RAN,)),
        Case("vtx-locked", "bochs-vmx", "EXIT_LOCKED", (r"^drover: backend vmx refused: VMX: firmware locked VT-x off: IA32_FEATURE_CONTROL=0x",),
             (GOOD,), "backend=vmx fault=vtx-locked", (NEXT_RAN,), mem=128),
        Case("svm-locked", "qemu", "EXIT_LOCKED", (r"^drover: backend svm refused: SVM: firmware locked it off: VM_CR=0x",), (GOOD,),
             "backend=svm fault=svm-locked", (NEXT_RAN,)),
        # `auto` finds what firmware has locked off, and does not take PVM in its place
        Case("vtx-locked-auto", "bochs-vmx", "EXIT_LOCKED", (r"^drover: backend vmx refused: VMX: firmware locked VT-x off: IA32_FEATURE_CONTROL=0x",),
             (GOOD,), "fault=vtx-locked", (NEXT_RAN, IN_RING3), mem=128),
        Case("svm-locked-auto", "qemu", "EXIT_LOCKED", (r"^drover: backend svm refused: SVM: firmware locked it off: VM_CR=0x",), (GOOD,),
             "fault=svm-locked", (NEXT_RAN, IN_RING3)),
        Case("no-svm-asked-for", "bochs-vmx", "EXIT_NOVIRT", (r"^drover: backend svm refused: SVM: CPU has none",), (GOOD,), "backend=svm",
             (NEXT_RAN,), mem=128),
    ]


def fault_cases(where):
    """drover is at fault: hardware refuses the entry, which is told with the state, the last exits and the broken rule; and a panic."""
    ring3 = where in PVM
    backend = "backend=pvm" if ring3 else "backend=vmx" if where == "bochs-vmx" else "backend=svm"
    two, one = (guest(AFTER, ""), guest(AFTER, "")[1:]) if ring3 else (((GOOD[0], "vm=bad mem=8"), GOOD), (GOOD,))
    return [
        Case("entry-refused", where, "EXIT_ENTRY",
             (r"^drover: vm bad: stopped: hardware refused to enter it", r"^drover: vm bad: rip=[0-9a-f]{16} rflags=",
              r"^drover: last \d+ of \d+ exits", r"^drover: .*(audit|entry rule): .*DR7", r"^drover: audit: [1-9]\d* broken rules", NEXT_RAN),
             two, backend + " fault=bad-entry", mem=128),
        Case("panic", where, "EXIT_PANIC", (r"^drover: panic: asked for by fault=panic",), one, (backend + " " if ring3 else "") + "fault=panic", (NEXT_RAN,),
             mem=128),
    ]


def guest_cases(where):
    """Guests that misbehave."""
    svm = where == "bochs-svm"
    init = ("EXIT_BADMEM", r"memory that it does not have: fetch at gpa=0xfffffff0 .*rip=0xfff0")
    if where in PVM:
        init = ("EXIT_UNHANDLED", r"left long mode, which PVM has not, rip=0xfff0")
    made = [
        Case("loop-if1", where, "EXIT_BUDGET", stopped("budget"), guest("loop_if1")),
        Case("no-memory-there", where, "EXIT_BADMEM", stopped("memory"), guest("touch_nomem")),
        Case("halted", where, "EXIT_HALTED", stopped("halt"), guest("halt_if0")),
        Case("storm-db-code", where, "EXIT_BUDGET", stopped("budget"), guest("storm_db_code"), never=(r"^\[L1:bad\] !",)),
        Case("apic-no-mov", where, "EXIT_UNHANDLED", stopped("APIC's page was touched by an instruction that is no MOV: gpa=0xfee00080"),
             guest("apic_or"), never=(r"^\[L1:bad\] !",)),
        Case("apic-init", where, init[0], stopped(init[1]), guest("apic_init"),
             never=(r"^\[L1:bad\] !",)),
        Case("some-checks-fail", where, "EXIT_ERROR", (r"^drover: vm bad: ended: status 0x12", NEXT_RAN), guest("always_fails")),
        Case("exit-value-unknown", where, "EXIT_ERROR", (r"^drover: vm bad: .*0x0*5", NEXT_RAN), guest("bad_exit")),
    ]
    if not svm:  # see KNOWN_ABSENT
        made.append(Case("triple-fault", where, "EXIT_TRIPLE", stopped("triple"), guest("triple_fault")))
        made.append(Case("loop-if0", where, "EXIT_BUDGET", stopped("budget"), guest("loop_if0")))
    if where != "qemu":  # QEMU's data breakpoints do not fire while an exception is being pushed; under PVM it is drover that pushes
        made.append(Case("storm-db", where, "EXIT_BUDGET", stopped("budget"), guest("storm_db"), never=(r"^\[L1:bad\] !",)))
    if where in PVM:  # the storm's kernel is a 32-bit one
        made.append(Case("leaves-long-mode", where, "EXIT_UNHANDLED", stopped("left long mode, which PVM has not"), guest("storm_ac"), never=(r"^\[L1:bad\] [!n]",)))
    if where == "bochs-vmx":  # QEMU raises no #AC
        made.append(Case("storm-ac", where, "EXIT_BUDGET", stopped("budget"), guest("storm_ac"), never=(r"^\[L1:bad\] [!n]",)))
    return [replace(c, options="backend=pvm", mem=128) for c in made] if where in PVM else made


def left_out_cases():
    """What PVM has not is left out, and said by name; what nobody asked for is not."""
    def left(vm, option):
        return r"^drover: vm %s: %s is left out: the pvm backend has no such thing" % (vm, option)
    asked = ((rungs.GUEST, "vm=bad mem=16 nested=on debugctl=emulate -- scenario=%s" % AFTER), (rungs.GUEST, "vm=next mem=16 -- scenario=%s" % AFTER))
    return [
        Case("left-out", "pvm", "EXIT_PASS", (left("bad", "nested="), left("bad", "debugctl=emulate"), NEXT_RAN), asked, "backend=pvm",
             (left("bad", "dbg="), r"vm next: .*left out")),
        Case("left-out-policy", "pvm", "EXIT_PASS", (left("bad", "dbg="), left("next", "dbg="), NEXT_RAN), asked, "backend=pvm dbg=cached"),
    ]


def bare_cases():
    """The storms with no hypervisor: each has to hang the machine, else the case above proves nothing."""
    def storm(name, where, recurses=False):
        return Case("bare-%s" % name.replace("_", "-"), where, "hang", (r"^# %s: begins" % name,), bare=name,
                    never=(r"^[!n]",), timeout=6, mem=128, recurses=recurses)
    return [storm("storm_db_code", "qemu"), storm("storm_db_code", "bochs-vmx"), storm("storm_db", "bochs-vmx"),
            # Bochs delivers an #AC inside the delivery of the one before, by recursion, until its own stack ends.
            storm("storm_ac", "bochs-vmx", recurses=True), storm("storm_db_code", "bochs-svm"), storm("storm_db", "bochs-svm")]


# What an emulator cannot do: these cases are not there, and counted as skipped.
KNOWN_ABSENT = (
    ("bochs-svm", "loop-if0", "Bochs 2.7 SVM ignores the host's IF at VMRUN: a guest with IF=0 is never interrupted"),
    ("bochs-svm", "triple-fault", "Bochs 2.7 SVM panics at an intercepted shutdown (bochs-emu issue 130)"),
    ("qemu", "storm-db", "QEMU 10 data breakpoints do not fire while an exception is being pushed: no storm to stop"),
    ("qemu", "storm-ac", "QEMU raises no #AC"),
    ("pvm", "storm-ac", "the storm needs a 32-bit kernel, which PVM has not"),
    ("pvm-bochs", "storm-ac", "the storm needs a 32-bit kernel, which PVM has not"),
)


def cases():
    """All of them."""
    made = module_cases() + option_cases() + machine_cases() + bare_cases()
    for where in ("qemu", "bochs-svm", "bochs-vmx"):
        made += guest_cases(where) + fault_cases(where)
    for where in PVM:
        made += guest_cases(where) + fault_cases(where)
    # Two #DBs of one instruction while #DB has a stack of its own: the first one's registers are lost, and the VM ends, not the host.
    return made + left_out_cases() + [Case("lost-registers", "pvm", "EXIT_ENTRY", stopped("an exit that nobody asked for: reason 0x1ff"), guest("p19_user_privileges,a34_one_db", ""),
                        "backend=pvm quirks=none")]


def to_run(case):
    """The emulator run of a case."""
    platform, vendor = ("qemu", "amd") if case.where in ("qemu", "pvm") else ("bochs", "amd" if case.where == "bochs-svm" else "intel")
    mem = min(case.mem, 128) if platform == "bochs" else case.mem
    common = dict(rung="bad-input", name="%s-%s" % (case.where, case.name), platform=platform, vendor=vendor, mem=mem,
                  cpu=case.cpu, timeout=case.timeout)
    if case.bare:
        return job.Run(kernel=rungs.GUEST, cmdline="scenario=%s" % case.bare, bare=True, hangs=True, **common)
    return job.Run(cmdline=case.options, modules=case.modules, **common)


def verdict(case, result):
    """The problems of a case's run."""
    problems = []
    if result.problem:
        return [result.problem]
    log = result.log.replace("\r", "")
    for pattern in case.says:
        if not re.search(pattern, log, re.MULTILINE | re.IGNORECASE):
            problems.append("nothing on the serial line matches %r" % pattern)
    for pattern in case.never:
        if re.search(pattern, log, re.MULTILINE | re.IGNORECASE):
            problems.append("the serial line has %r" % pattern)
    if case.code == "hang":
        if not result.timed_out and not (case.recurses and result.status == -signal.SIGSEGV):
            problems.append("has to hang the bare machine, but: %s" % result.end())
        return problems
    if result.timed_out:
        problems.append(result.end())
    elif result.code != exitcodes.code(case.code):
        problems.append("ended with %s, expected %s" % (result.end(), case.code))
    return problems


def check(places=None, names=()):
    """Runs the cases of these places (all when None) and names; (passed, failed, skipped)."""
    elfmake.write_all(FILES)
    known = {c.name for c in cases()}
    for name in names:
        if name not in known:
            print("bad-input: unknown case %s; there are: %s" % (name, " ".join(sorted(known))))
            return [0, 1, 0]
    wanted = [c for c in cases() if (places is None or c.where in places) and (not names or c.name in names)]
    return run_cases(wanted, [] if names else [k for k in KNOWN_ABSENT if places is None or k[0] in places])


def run_cases(wanted, absent=()):
    """Runs these; (passed, failed, skipped). absent: (place, name, reason) of cases that there cannot be."""
    wanted, skipped = list(wanted), list(absent)
    problem = emulators.qemu_svm_problem()
    if problem:
        for case in [c for c in wanted if c.where == "qemu" and not c.bare]:
            skipped.append((case.where, case.name, problem))
            wanted.remove(case)
    failed = 0
    for case, result in zip(wanted, job.execute_all([to_run(c) for c in wanted])):
        problems = verdict(case, result)
        print("bad-input: %s %s-%s (%s, %.1f s)" % ("FAIL" if problems else "ok", case.where, case.name, case.code, result.seconds))
        for text in problems:
            print("bad-input:   %s" % text)
        if problems:
            print(result.tail(12))
            failed += 1
    for where, name, why in skipped:
        print("bad-input: skipped %s-%s: %s" % (where, name, why))
    print("bad-input: %d passed, %d failed, %d skipped" % (len(wanted) - failed, failed, len(skipped)), flush=True)
    return [len(wanted) - failed, failed, len(skipped)]
