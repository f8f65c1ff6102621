# SPDX-License-Identifier: MIT
"""The manifest: which rungs there are, what runs on each, which source document each proves, and how a rung is judged."""

import hashlib
import json
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path

import emulators
import exitcodes
import expect
import job
import ktap

BUILD = emulators.BUILD
DROVER = BUILD / "drover.elf"
GUEST = BUILD / "guest.elf"
RESULTS = BUILD / "results"
EXPECT = Path("tests/run/expect")

# A source document's scenario, by prefix, and the rungs that prove it: there it is never listed.
PROOFS = {
    "doc0_": ("svm-qemu", "svm-bochs", "vmx-bochs"),
    "doc1_": ("vmx-bochs", "svm-bochs"),
    "doc2_": ("svm-bochs",),
}


DOCUMENTS = ("doc0_dr6_once", "doc1_host_dr6", "doc2_debugctl")

# Not proven where drover is a guest: nothing of DEBUGCTL was seen to work there, so that its guests have none.
UNPROVEN_NESTED = (("doc2_", "svm-bochs"),)

# Scenarios with a hypervisor of their own.
NESTED = re.compile(r"[nm]\d\d_|h11_nested|(bench_)?nested$")
EMULATED = ("a30_btf", "a31_lbr", "a33_bus_lock", "m08_lbrv", "n03_debugctl")  # want a DEBUGCTL that acts: drover's, by software
FRAGILE = {"": "", "vmx": "", "pvm": "", "svm": " fragile"}  # Bochs panics where SVM's shutdown intercept is due
LOCKED = ("n00_locked", "m00_locked")  # want a firmware that has locked it off


@dataclass(frozen=True)
class Rung:
    """One way to run the guest's scenarios. bare: the rung without a hypervisor on the same emulator. base: this rung is that one under another
    debug-register policy or with more drovers; its own expect file lists only where the two differ."""
    name: str
    platform: str
    vendor: str = "amd"
    backend: str = ""      # "" = no hypervisor
    bare: str = ""
    timeout: float = 120
    base: str = ""
    policy: str = ""
    cpu: str = None        # QEMU's CPU model, if it is not the usual one
    nest: int = 1          # drovers, one in the other; base: the same with one
    floor: int = 0         # so many checks have to be ok in a whole run: one that is not made at all is in no list


RUNGS = {r.name: r for r in (
    Rung("bare-qemu", "qemu", floor=2020),
    Rung("bare-bochs-intel", "bochs", "intel", timeout=120, floor=2580),
    Rung("bare-bochs-amd", "bochs", "amd", timeout=120, floor=2340),
    Rung("svm-qemu", "qemu", "amd", "svm", "bare-qemu", floor=5480),
    Rung("svm-bochs", "bochs", "amd", "svm", "bare-bochs-amd", timeout=300, floor=5710),
    Rung("vmx-bochs", "bochs", "intel", "vmx", "bare-bochs-intel", timeout=300, floor=6260),
    Rung("pvm-qemu", "qemu", "amd", "pvm", "bare-qemu", cpu="max,-svm", floor=5190),
    Rung("pvm-bochs", "bochs", "intel", "pvm", "bare-bochs-intel", timeout=300, floor=5490),
    Rung("pvm-bochs-amd", "bochs", "amd", "pvm", "bare-bochs-amd", timeout=300, floor=5460),
    Rung("kvm", "kvm", "", "auto", floor=4700),
    Rung("pvm-kvm", "kvm", "", "pvm", floor=5000),
)}
# Where the tests of a part of `make check` lie, and what they are judged by, if it is not the guest and the lists of the rungs.
ON_RUNGS, PLANTED = ("tests/guest", "tests/run/expect"), ("tests/host/mutants", "tests/run/planted.py")
TESTS_OF = {"host": ("tests/host",), "coverage": ("tests/host",), "mutants": ("tests/host",), "explore": ("tests/host", "tests/explore"),
            "fuzz": ("tests/host", "tests/fuzz"), "planted": ON_RUNGS + PLANTED, "nested": ON_RUNGS + PLANTED,
            "pvm": ON_RUNGS + ("tests/run/pvmcheck.py",), "gdb": ON_RUNGS + PLANTED + ("tests/run/gdbcheck.py", "tests/run/gdbside.py")}
# Seconds that the whole suite takes on an idle machine with two cores: by these `make run` tells how long it will be.
USUAL = {"bare-qemu": 2, "bare-bochs-intel": 20, "bare-bochs-amd": 25, "svm-qemu": 25, "svm-bochs": 90, "vmx-bochs": 85, "kvm": 15, "nest2-svm-qemu": 60,
         "pvm-qemu": 20, "pvm-bochs": 60, "pvm-bochs-amd": 60, "pvm-kvm": 15, "nest2-svm-bochs": 500, "nest2-vmx-bochs": 550}
HEAVY = {"debugctl": 20}  # a scenario of this VM counts as so many of the others: each instruction of its guest is stepped
POLICIES = ("eager", "cached", "trapped")  # lazy is the default, and what the rungs above run with


def with_policies(base):
    """The rung again, once per policy."""
    return [replace(base, name="%s-%s" % (base.name, p), base=base.name, policy=p) for p in POLICIES]


RUNGS.update({r.name: r for name in ("svm-qemu", "vmx-bochs") for r in with_policies(RUNGS[name])})

# drover on drover. Three of them on Bochs VMX: for the source documents' scenarios only (make run), a whole suite would take hours.
NEST_MAX = 3
NEST_TIMEOUT = {"qemu": {2: 300, 3: 1500}, "bochs": {2: 1800, 3: 2400}}
NEST_RUNGS = ("nest3-svm-qemu", "nest2-vmx-bochs", "nest2-svm-qemu", "nest2-svm-bochs")  # of check-nested; the long ones first, one to a CPU
INNER = "inner"         # the VM in which a drover runs
INNER_MIB = (96, 176)   # its memory, from the uppermost down
INNER_BUDGET = 3600000  # ms: the run's own time limit ends it


def with_nesting(base, nest):
    """The rung again, with so many drovers."""
    return replace(base, name="nest%d-%s" % (nest, base.name), base=base.name, nest=nest, timeout=NEST_TIMEOUT[base.platform][nest],
                   floor=base.floor * 19 // 20)


RUNGS.update({r.name: r for nest in (2, 3) for name in ("svm-qemu", "svm-bochs", "vmx-bochs") for r in [with_nesting(RUNGS[name], nest)]})
PROOFS = {prefix: names + tuple("nest%d-%s" % (nest, name) for nest in (2, 3) for name in names if (prefix, name) not in UNPROVEN_NESTED)
          for prefix, names in PROOFS.items()}


def in_drovers(mods, nest, options, kernel=DROVER):
    """The modules with nest - 1 drovers around them: each the guest of the one below, with a guest's CPU that can nest. kernel: the uppermost one's."""
    for depth in range(nest - 1):
        inner = "vm=%s mem=%d nested=on budget=%d -- %s" % (INNER, INNER_MIB[depth], INNER_BUDGET, options)
        mods = ((kernel if depth == 0 else DROVER, inner),) + tuple(
            (path, "module-of=%s -- %s %s" % (INNER, Path(path).name, text)) for path, text in mods)
    return mods


def modules(scenarios="all", words=""):
    """What drover runs: the guest alone; then, when all is asked for, one that is a hypervisor itself, and two VMs that share a CPU."""
    nested = ""
    if NESTED.match(scenarios):
        nested = "nested=locked " if scenarios in LOCKED else "nested=on "
    if scenarios in EMULATED:
        nested = "nested=on debugctl=emulate "
    one = ((GUEST, ("vm=guest mem=32 lab %s-- scenario=%s %s" % (nested, scenarios, words)).strip()),)
    if scenarios != "all":
        return one
    one += ((GUEST, ("vm=hv mem=32 lab nested=on -- scenario=nested %s" % words).strip()),
            (GUEST, "vm=locked mem=16 lab nested=locked -- scenario=%s" % ",".join(LOCKED)),
            (GUEST, "vm=debugctl mem=32 lab nested=on debugctl=emulate -- scenario=%s" % ",".join(EMULATED)))
    return one + ((GUEST, "vm=a mem=16 lab group=1 -- scenario=isolation"),
                  (GUEST, "vm=b mem=16 lab group=1 -- scenario=peer"))


def runs(rung, scenarios="all", options="", inner_options="", inner=DROVER, words=""):
    """The emulator runs of a rung. inner_options: of the drovers above the first; inner: the uppermost one's image; words: for the guest's command line."""
    # QEMU TCG counts instructions (icount), so that host interrupts come at the same places and each run is the same.
    common = dict(rung=rung.name, name="main", platform=rung.platform, vendor=rung.vendor, timeout=rung.timeout,
                  icount=rung.platform == "qemu", cpu=rung.cpu)
    if rung.platform == "bochs":
        common["mem"] = 128
        words = (words + FRAGILE[rung.backend]).strip()
    if not rung.backend:
        return [job.Run(kernel=GUEST, cmdline=("scenario=%s %s" % (scenarios, words)).strip(), bare=True, **common)]
    if rung.policy and "dbg=" not in options:
        options = ("dbg=%s %s" % (rung.policy, options)).strip()
    upper = ("screen=off backend=%s budget=%d %s" % (rung.backend, INNER_BUDGET, inner_options)).strip()
    if rung.nest > 1:
        common["mem"] = 160 + sum(INNER_MIB[:rung.nest - 1])
    return [job.Run(kernel=DROVER, cmdline=("backend=%s %s" % (rung.backend, options)).strip(), nest=rung.nest,
                    modules=in_drovers(modules(scenarios, words), rung.nest, upper, inner), **common)]


def absent(rung):
    """Why this rung cannot run on this machine, or None. Only kvm, pvm-kvm and svm on an old QEMU may be absent."""
    if rung.name == "pvm-kvm":  # nests nothing
        return emulators.kvm_trial(GUEST) if os.path.exists("/dev/kvm") else "/dev/kvm: none"
    if rung.platform == "kvm":
        vendor, why = emulators.kvm_offer()
        return why if vendor is None else emulators.kvm_trial(GUEST)
    if "svm-qemu" in (rung.name, rung.base):
        return emulators.qemu_svm_problem()
    return None


def version(rung):
    """The emulator's name and version, as expectation lists write it."""
    return emulators.version_text("bochs" if rung.platform == "bochs" else "qemu")


def source_hash(part=""):
    """Of what is under test: results of other sources are no evidence. part: of `make check`, with the tests that it runs; "": drover alone."""
    digest = hashlib.sha256()
    for top in ("boot", "arch", "vmm", "drivers", "linker.ld", "Makefile") + (TESTS_OF.get(part, ON_RUNGS) if part else ()):
        files = [Path(top)] if Path(top).is_file() else Path(top).rglob("*")
        for path in sorted(p for p in files if p.suffix in (".c", ".h", ".S", ".def", ".mutant", ".ld", ".mk", ".py", "") and p.is_file()):
            digest.update(str(path).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def guest_hash():
    """Identifies the guest image: bare results are compared with those of the same image only."""
    return hashlib.sha256(GUEST.read_bytes()).hexdigest() if GUEST.exists() else ""


def vms_of(log, nest):
    """{vm name: its lines} of the uppermost drover's VMs."""
    return ktap.split_vms(ktap.said_by(log, INNER, nest - 1), nest)


def collect(result):
    """(checks, problems) of a run: all VMs' reports merged. A scenario that one VM skips as a whole and another runs
    (it needs a peer) counts where it ran; one that no VM runs counts once, for the first one's reason."""
    reports = []
    if result.run.bare:
        reports.append(("", ktap.parse_text(result.log)))
    else:
        reports += [(name, ktap.parse(lines)) for name, lines in vms_of(result.log, result.run.nest).items()]
    problems, checks = ["a line's tags do not tell its level: %s" % line for line in ktap.misplaced(result.log)[:3]], []
    if not reports:
        problems.append("no VM said anything")
    for name, report in reports:
        problems += ["%s%s" % ("vm %s: " % name if name else "", p) for p in report.problems]
        checks.append(report.checks)
    ran = {c.scenario for group in checks for c in group if c.ident != "all"}
    merged, skipped = [], set()
    for c in (c for group in checks for c in group):
        if c.ident == "all" and c.status == ktap.SKIP:
            if c.scenario in ran or c.key in skipped:
                continue
            skipped.add(c.key)
        merged.append(c)
    return merged, problems + _end_problems(result, merged)


def _end_problems(result, checks):
    """The run has to end by itself, with the code that fits its checks."""
    if result.problem:
        return [result.problem]
    if result.timed_out:
        return [result.end()]
    statuses = {c.status for c in checks}
    want = "EXIT_ERROR" if ktap.ERROR in statuses else "EXIT_FAIL" if ktap.FAIL in statuses else "EXIT_PASS"
    if result.run.bare and result.run.platform == "bochs":
        return []  # no exit code leaves a bare Bochs: the totals line stands for it
    if result.code != exitcodes.code(want):
        return ["%s, its checks say %s" % (result.end(), want)]
    return ["the drover at level %d did not end with %s" % (level, want) for level in range(1, result.run.nest)
            if ktap.verdict_code(ktap.said_by(result.log, INNER, level)) != exitcodes.code(want)]


@dataclass
class Outcome:
    """A judged rung."""
    rung: Rung
    judgement: expect.Judgement
    checks: list
    results: list
    absent: str = ""

    @property
    def counts(self):
        """(passed, failed, skipped): known deviations count as skipped, they are neither proof nor news."""
        judged = self.judgement
        return (len(judged.ok), len(judged.failed) + len(judged.errors), len(judged.skipped) + len(judged.known))


def bare_statuses(rung):
    """({key: status}, note) of the matching bare rung; (None, note) when it was not run with this image."""
    if not rung.bare:
        return None, ""
    path = RESULTS / ("rung-%s.json" % rung.bare)
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None, "not compared with %s, which has not run (make check-bare)" % rung.bare
    if data.get("guest") != guest_hash():
        return None, "not compared with %s, which ran another guest image (make check-bare)" % rung.bare
    return data["checks"], ""


def entries(rung):
    """(entries, problems) of what is listed for a rung."""
    listed, problems = expect.load(EXPECT / (rung.base or rung.name))
    if rung.base:
        listed, more = expect.overlay(listed, EXPECT / rung.name)
        problems = problems + more
    return listed, problems


def judge(rung, results, whole=True, alone=False):
    """The Outcome of a rung's runs; whole: all scenarios ran; alone: one VM, so that what needs a second one may be absent."""
    listed, problems = entries(rung)
    checks, broken = [], []
    for result in results:
        found, wrong = collect(result)
        checks += found
        broken += ["%s: ERROR: %s" % (result.run.name, p) for p in wrong]
    if alone:
        checks = [c for c in checks if not (c.ident == "all" and c.status == ktap.SKIP and
                                            (c.reason == "no second VM in this group" or NESTED.match(c.scenario) or c.scenario in EMULATED))]
    proofs = [prefix for prefix, proving in PROOFS.items() if rung.name in proving]
    bare, note = bare_statuses(rung)
    judgement = expect.judge(checks, listed, version(rung), whole, proofs, problems, bare)
    judgement.errors += broken
    if whole and len(judgement.ok) < rung.floor:
        judgement.failed.append("only %d checks were ok; %d are the least" % (len(judgement.ok), rung.floor))
    if rung.platform == "kvm":  # whose CPU is unknown: what it cannot show is told, and is no failure
        absent_here = [text for text in judgement.failed if text.startswith("skipped and unlisted") and "/all " not in text]
        judgement.failed = [text for text in judgement.failed if text not in absent_here]
        judgement.notes += absent_here
    if note:
        judgement.notes.append(note)
    return Outcome(rung, judgement, checks, results)


def save(outcome):
    """Keeps a rung's checks for the comparison and for the final table."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    passed, failed, skipped = outcome.counts
    judged = outcome.judgement
    known = {key for key, _ in judged.known}
    marks = {c.key: ("known" if c.key in known else c.status) for c in outcome.checks}
    reasons = dict(judged.known + judged.skipped)
    said = {c.key: {"expected": c.expected, "actual": c.actual, "title": c.text, "reason": reasons.get(c.key, c.reason)}
            for c in outcome.checks if c.status != ktap.OK}
    data = {"rung": outcome.rung.name, "version": version(outcome.rung), "guest": guest_hash(), "absent": outcome.absent,
            "passed": passed, "failed": failed, "skipped": skipped, "known": len(judged.known),
            "checks": {c.key: c.status for c in outcome.checks}, "marks": marks, "said": said,
            "problems": judged.failed + judged.errors, "seconds": round(sum(r.seconds for r in outcome.results), 1)}
    path = RESULTS / ("rung-%s.json" % outcome.rung.name)
    path.write_text(json.dumps(data, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def run_all(names):
    """Runs rungs, at most two emulators at a time; the Outcomes in the order of the names."""
    wanted = [RUNGS[name] for name in names]
    reasons = {rung.name: absent(rung) for rung in wanted}
    todo = [(rung, run) for rung in wanted if not reasons[rung.name] for run in runs(rung)]
    done = job.execute_all([run for _, run in todo])
    outcomes = []
    for rung in wanted:
        if reasons[rung.name]:
            judgement = expect.Judgement(skipped=[(rung.name, reasons[rung.name])])
            outcome = Outcome(rung, judgement, [], [], reasons[rung.name])
        else:
            outcome = judge(rung, [r for r in done if r.run.rung == rung.name])
        save(outcome)
        outcomes.append(outcome)
    return outcomes
