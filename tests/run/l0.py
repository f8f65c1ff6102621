# SPDX-License-Identifier: MIT
"""`make check-l0 QEMU="..."`: what the hypervisor or emulator below breaks, rule by rule, bare (its own debug state for one guest) and under drover in it.

No list of known deviations is asked: each check that is not ok is told, with its rule's words and where the rule comes from."""

import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path

import bits
import emulators
import exitcodes
import job
import ktap
import live
import rules
import rungs

DEFAULT = "qemu-system-x86_64 -accel tcg -cpu max"
FAST = "l0_fastpath"
ROUNDS = 100000
TIMEOUT = 600
ALONE = 60  # seconds for one scenario, where the whole suite did not come to its end
ACCELERATED = re.compile(r"(?:^|[=,-])(?:enable-)?(?:kvm|hvf|whpx|nvmm|xen|mshv)(?:$|[:,])")
# What is QEMU's, by scenario, when it runs without -icount.
TWICE = "QEMU TCG without -icount: VMRUN's injected interrupt stays in QEMU's exception index, and comes again (docs/emulators.md, 9a); not the same in each run"
OF_TCG = {"a35_irq_once": TWICE, "a35_self_ipi": TWICE, "lapic_timer": TWICE}
# What QEMU says when a machine does not start, and what may help.
HINTS = ((re.compile(r"failed to set MSR 0x10a\b"), "KVM refuses IA32_ARCH_CAPABILITIES, which QEMU gives a guest with -cpu host: try -cpu host,-arch-capabilities"),
         (re.compile(r"failed to set MSR"), "KVM refuses an MSR of this CPU model: try -cpu host without the feature that has it, or another model, such as -cpu kvm64"),
         (re.compile(r"Could not access KVM|/dev/kvm|failed to initialize kvm", re.IGNORECASE), "no KVM for this user here; -accel tcg asks QEMU itself"))
HELD, BROKEN, UNSEEN = "held", "broken", "not shown"
# Checks whose id begins with no rule.
GROUPS = {"NB": "the base of nesting: entry, exit, nested paging, interrupts, the GIF",
          "NV": "what VMX gives a guest hypervisor besides: shadow VMCS, EPT, MTF, bitmaps", "EV": "events and the local APIC", "HP": "a guest that misbehaves"}
SCENARIO = "scenario "  # what a scenario that could not run stands under


@dataclass
class Finding:
    """What one way to run says about one rule, or about checks that name none: see heading()."""
    rule: str
    passed: int = 0
    broken: list = field(default_factory=list)   # checks
    skipped: list = field(default_factory=list)

    @property
    def state(self):
        return BROKEN if self.broken else HELD if self.passed else UNSEEN


def sources(text):
    """{rule: where it comes from: a commit, a file, a manual}, by each table's own columns."""
    found, column = {}, None
    for line in text.split("\n"):
        cells = [cell.strip() for cell in line.strip().strip("|").split(" | ")]
        if line.startswith("| ID |"):
            column = next((n for n, cell in enumerate(cells) if cell.startswith("Source")), None)
        elif rules.ROW.match(line) and column is not None and column < len(cells):
            found.setdefault(cells[0], cells[column])
    return found


def heading(check):
    """What a check is told under: its rule, else what its id begins with, else its scenario; "" for a scenario that was skipped as a whole."""
    if check.ident in ("-", "all"):
        return "" if check.status == ktap.SKIP else SCENARIO + check.scenario
    return rules.rule_of(check.ident) or check.ident.split(".")[0]


def by_rule(checks):
    """{heading: Finding}, in the order of the rules."""
    found = {}
    for check in checks:
        rule = heading(check)
        if not rule:
            continue
        mine = found.setdefault(rule, Finding(rule))
        if check.status == ktap.OK:
            mine.passed += 1
        elif check.status == ktap.SKIP:
            mine.skipped.append(check)
        else:
            mine.broken.append(check)
    return {rule: found[rule] for rule in sorted(found)}


def is_tcg(words):
    """Whether a QEMU command emulates, with a clock that does not count instructions."""
    return any("qemu" in Path(word).name for word in words) and "-icount" not in words and not any(ACCELERATED.search(word) for word in words)


def hint(said):
    """What may help where nothing ran, or ""."""
    return next((text for pattern, text in HINTS if pattern.search(said)), "")


def tell(where, finding, words, comes_from, of_qemu=None):
    """The lines about a broken rule. of_qemu: {scenario: why} of what is known of what runs it."""
    first = finding.broken[0]
    expected, actual = bits.decode(first.ident, first.text, first.expected, first.actual)
    value = "could not run: %s" % first.reason if first.status == ktap.ERROR else "expected %s, actual %s" % (expected, actual)
    known = {c.scenario: (of_qemu or {}).get(c.scenario) for c in finding.broken}
    lines = ["    %s: %s" % ("known" if len(known) == 1 else "known, of " + scenario, why) for scenario, why in known.items() if why]
    said = words.get(finding.rule) or GROUPS.get(finding.rule, "its checks name no rule")
    origin = comes_from.get(finding.rule) or ("docs/rules.md" if finding.rule in words else "no rule: tests/guest/%s.c" % first.scenario)
    return ["%s: %s broken: %s" % (where, finding.rule, said), "    from: %s" % origin,
            "    %d of %d checks; %s %s: %s" % (len(finding.broken), finding.passed + len(finding.broken), first.key, first.text, value)] + lines


def argv_of(words, kernel, append, modules=()):
    """A maker of the command line: the user's words, then what this needs; memory and machine are his if he says so."""
    def make(serial, _workdir):
        argv = list(words) + ([] if "-m" in words else ["-m", "256"])
        argv += ["-display", "none", "-no-reboot", "-device", "isa-debug-exit,iobase=0xf4,iosize=4", "-serial", "file:%s" % serial,
                 "-kernel", str(kernel), "-append", append]
        if modules:
            argv += ["-initrd", ",".join(emulators.escape_initrd("%s %s" % pair) for pair in modules)]
        return argv
    return make


def one_run(words, what, name, scenarios, more="", timeout=TIMEOUT):
    """The run of these scenarios, bare or nested."""
    if what == "bare":
        made = argv_of(words, rungs.GUEST, ("scenario=%s %s" % (scenarios, more)).strip())
    else:
        made = argv_of(words, rungs.DROVER, "backend=auto screen=off", rungs.modules(scenarios, more))
    return job.Run("l0", "%s-%s" % (what, name), bare=what == "bare", timeout=timeout, argv=made)


def to_run(words):
    """[(what it is, job.Run)]."""
    return [(what, one_run(words, what, *run)) for what in ("bare", "nested") for run in (("suite", "all"), ("fast", FAST, "count=%d" % ROUNDS))]


def died_in(result):
    """The scenario that a run did not come to the end of, or ""."""
    found = re.search(r"the log ends inside scenario (\w+)", "\n".join(rungs.collect(result)[1]))
    return found.group(1) if found else ""


def left(result, flags):
    """What a suite that died did not get to, by the scenarios' flags."""
    died, seen = died_in(result), {c.scenario for c in rungs.collect(result)[0]}
    return sorted(name for name, flag in flags.items() if "SCN_BY_NAME" not in flag and name not in seen and name != died) if died else []


def excused(result):
    """Why a run says nothing of what is below though nothing went wrong: drover has no SVM or VMX there; or ""."""
    refused = re.findall(r"^drover: backend \w+ refused: .*$", result.log.replace("\r", ""), re.MULTILINE)
    if refused and result.code in (exitcodes.code("EXIT_NOVIRT"), exitcodes.code("EXIT_LOCKED")):
        return "drover cannot run there: %s" % "; ".join(line[len("drover: "):] for line in refused)
    if re.search(r"^drover: backend pvm\b", result.log.replace("\r", ""), re.MULTILINE):
        return "drover finds no SVM or VMX there, and runs its guests in ring 3: that says nothing of nesting"
    return ""


def unusable(result):
    """Why a run says nothing, or ""."""
    if result.problem or excused(result):
        return result.problem or excused(result)
    checks, problems = rungs.collect(result)
    if not checks:
        return "%s; %s" % (result.end(), " ".join(result.said().split("\n")[:2]).strip() or (problems or ["nothing was said"])[0])
    return ""


def summary(findings):
    """`N rules held, N broken, N not shown`; what is no rule counts as one."""
    states = [f.state for f in findings.values()]
    return "%d rules held, %d broken, %d not shown" % tuple(states.count(s) for s in (HELD, BROKEN, UNSEEN))


def report(what, results, words, comes_from, write=print, of_qemu=None):
    """(rules broken, whether it could be judged) of one way to run. A run that ends with nothing said, or that says what does not fit its end, counts as one;
    those that died in a scenario are whose who asks."""
    checks, ran, ends = [], False, 0
    for result in results:
        why, told = unusable(result), result.run.timeout == ALONE and died_in(result)  # those that died stand in one line
        if why:
            if not told:
                write("%s: %s: %s" % (what, result.run.name, why))
                ends += not excused(result)
            continue
        ran = True
        found, problems = rungs.collect(result)
        checks += found
        ends += bool(problems) and not died_in(result)
        for text in [] if told else problems[:5]:
            write("%s: %s: %s" % (what, result.run.name, text))
    findings = by_rule(checks)
    for finding in findings.values():
        if finding.broken:
            for line in tell(what, finding, words, comes_from, of_qemu):
                write(line)
    if ran:
        write("%s: %s" % (what, summary(findings)))
    return sum(1 for f in findings.values() if f.broken) + ends, ran


def check(command):
    """0: no rule is broken; 1: some are; 2: nothing could be run."""
    words = shlex.split(command or DEFAULT)
    text = Path("docs/rules.md").read_text(encoding="utf-8")
    print("l0: %s" % " ".join(words), flush=True)
    runs = to_run(words)
    results = job.execute_all([run for _, run in runs])
    whys = {unusable(result) for result in results}
    if len(whys) == 1 and "" not in whys:  # one message, not one for each run
        print("l0: none of the %d runs began: %s" % (len(runs), whys.pop()))
        said = "\n".join(result.said() + result.problem for result in results)
        print("l0: nothing could be run%s" % ("; " + hint(said) if hint(said) else ""))
        return 2
    broken, ran = 0, False
    for what in ("bare", "nested"):
        mine = [r for (kind, _), r in zip(runs, results) if kind == what]
        judged = what == "bare" or not excused(mine[0])  # under drover: not where it has no SVM or VMX
        alone = left(mine[0], live.scenario_flags()) if judged else []
        if alone:
            print("%s: %s died in %s; the other %d scenarios run alone" % (what, mine[0].run.name, died_in(mine[0]), len(alone)), flush=True)
            mine += job.execute_all([one_run(words, what, name, name, timeout=ALONE) for name in alone])
        died = [name for name in map(died_in, mine) if name and judged]
        if died:
            ends = sorted({result.end() for result in mine if died_in(result)})
            print("%s: died in %d scenarios (%s): %s" % (what, len(died), "; ".join(ends), " ".join(died)))
            broken += len(died)
        found, judged = report(what, mine, rules.sentences(text), sources(text), of_qemu=OF_TCG if is_tcg(words) else None)
        broken, ran = broken + found, ran or judged
    print("l0: logs: %s" % (job.LOGS / "l0"))
    print("l0: %s" % ("nothing could be run" if not ran else
                      "%d rules broken, scenarios died in, or runs that ended wrongly; bare and nested counted apart" % broken))
    return 2 if not ran else 1 if broken else 0


# ---- docs/findings.md ----

def findings_table(names):
    """The rows `| rule | broken on ... | reason |` of what bare rungs said last (make check-bare): checks not ok of checks that ran, and the listed reason."""
    columns, said = {}, {}
    for name in names:
        run = job.Run(name, "main", platform=rungs.RUNGS[name].platform, bare=True)
        log = (run.workdir / "serial.log").read_text(encoding="utf-8", errors="replace")
        columns[name] = by_rule(ktap.parse_text(log).checks)
        said[name] = {e.key: e.reason for e in rungs.entries(rungs.RUNGS[name])[0]}
    lines = ["| rule | %s | why |" % " | ".join(names), "|---|%s---|" % ("---|" * len(names))]
    for rule in sorted({r for found in columns.values() for r, f in found.items() if f.broken}):
        cells, reasons = [], []
        for name in names:
            finding = columns[name].get(rule)
            cells.append("-" if finding is None or finding.state == UNSEEN else "ok" if not finding.broken else
                         "%d of %d" % (len(finding.broken), finding.passed + len(finding.broken)))
            reasons += [said[name].get(c.key, "not listed") for c in (finding.broken if finding else [])]
        lines.append("| %s | %s | %s |" % (rule, " | ".join(cells), "; ".join(dict.fromkeys(reasons))))
    return lines
