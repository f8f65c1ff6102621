#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""`make rules`: which rule of docs/rules.md is implemented where, which checks of this run prove it, on which rungs, and which mutants turn them red.

A rule is tested if a check with its ID passed inside drover on a rung (host is one) and a bug planted for that rule turned a check of it red: many a
bug breaks half of everything, which says nothing about the other rules' checks. The rest needs a line in docs/CAVEATS.md, `Rules without a test`. Nothing is run here: what the parts in PARTS left is read. `rules.py stale` names those that have to run first."""

import json
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path

import ktap
import planted
import rungs
import table

SOURCES = ("boot", "arch", "vmm", "drivers")
PARTS = ("host", "mutants", "explore", "bare", "svm", "vmx", "pvm", "planted", "nested", "gdb")
BACKEND = {"V": "vmx", "N": "vmx", "S": "svm", "M": "svm", "P": "pvm"}  # a group's rungs; what the other vendor's do is no proof
HOST = "host"
EXPLORE = "explore"  # an invariant that holds in a set, and that a mutant breaks there, speaks for the mutant's rules
SECTION = "## Rules without a test"
ROW = re.compile(r"^\| ([A-Z]\d\d) \| (.*)$")
RULE = re.compile(r"[AHVSEZNMP]\d\d")
CITED = re.compile(r"(?<![\w./-])([AHVSEZNMP])(\d\d)(?:-([AHVSEZNMP])?(\d\d))?(?![\w])")
CAVEAT = re.compile(r"^- ([A-Z]\d\d):(.*)$")
INVARIANT = re.compile(r'\[RULE_[A-Z]\d\d\] = \{ "([A-Z]\d\d)"')  # tests/host/model/cpu.c: what each `rules.*` line stands for
BUG = re.compile(r"B\d\d")  # a check may name a bug of section 10 instead of a rule
HOST_LINE = re.compile(r"^(not )?ok \d+ (\S+)")
COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)


@dataclass
class Rule:
    """One row of the tables and what this run says about it."""
    ident: str
    mark: str = ""                              # m or d: not read in the source
    cited: list = field(default_factory=list)   # path:line
    checks: dict = field(default_factory=dict)  # rung -> checks that passed
    missed: dict = field(default_factory=dict)  # rung -> checks that ran and did not pass
    red: dict = field(default_factory=dict)     # mutant -> the check that it turned red
    caveat: str = ""
    state: str = ""


@dataclass
class Evidence:
    """What was run: checks by rung, each an (id, passed), and the red ones by mutant and rung."""
    checks: dict = field(default_factory=dict)
    red: dict = field(default_factory=dict)
    problems: list = field(default_factory=list)


def rule_of(check):
    """The rule that a check's id begins with, or None. A guest's check is scenario/id."""
    first = check.rsplit("/", 1)[-1].split(".", 1)[0]
    return first if re.fullmatch(r"[A-Z]\d\d", first) else None


def read_rules(text):
    """({id: Rule}, problems) of sections 1 to 9; the other tables have other columns."""
    found, problems, section = {}, [], ""
    for line in text.split("\n"):
        if line.startswith("## "):
            section = line
        row = ROW.match(line)
        if not row or "(group" not in section:
            continue
        ident = row.group(1)
        if "(group %s)" % ident[0] not in section.replace("guest kernel in ring 3 (", "("):
            problems.append("%s stands under `%s`" % (ident, section))
        if ident in found:
            problems.append("%s stands twice in the tables" % ident)
        marks = re.findall(r"\(([md])\)", row.group(2))
        found[ident] = Rule(ident, "".join(sorted(set(marks))))
    if not found:
        problems.append("no rule was found in the tables")
    return found, problems


def sentences(text):
    """{id: the rule in words} of all tables that read_rules() reads."""
    found, section = {}, ""
    for line in text.split("\n"):
        section = line if line.startswith("## ") else section
        row = ROW.match(line)
        if row and "(group" in section:
            found.setdefault(row.group(1), row.group(2).split(" | ")[0].strip())
    return found


def read_caveats(text):
    """({id: reason}, problems) of the section on rules without a test."""
    found, problems, inside = {}, [], False
    for line in text.split("\n"):
        if line.startswith("## "):
            inside = line.strip() == SECTION
            continue
        row = CAVEAT.match(line) if inside else None
        if inside and line.startswith("- ") and not row:
            problems.append("a caveat names no rule: %s" % line)
        if not row:
            continue
        ident, reason = row.group(1), row.group(2).strip()
        if ident in found:
            problems.append("%s has two caveats" % ident)
        if not reason:
            problems.append("the caveat of %s gives no reason" % ident)
        found[ident] = reason
    return found, problems


def cited_in(text):
    """[(rule, line)] that a source's comments name; A12-A14 names three."""
    found = []
    for comment in COMMENT.finditer(text):
        for cite in CITED.finditer(comment.group(0)):
            line = text.count("\n", 0, comment.start() + cite.start()) + 1
            group, first, other, last = cite.groups()
            if last is None or (other and other != group) or int(last) < int(first):
                last = first
            found += [("%s%02d" % (group, n), line) for n in range(int(first), int(last) + 1)]
    return found


def host_checks(text, invariants=()):
    """[(check, passed)] of the host tests' log. The software CPU names an invariant only when it breaks: one line `rules.*` stands for all; those of
    group P are asked in ring 3 alone, which the line's name tells."""
    found = [(m.group(2), not m.group(1)) for m in map(HOST_LINE.match, text.split("\n")) if m]
    held = [check for check, passed in found if check.startswith("rules.") and passed]
    return found + [("%s.%s" % (ident, check), True) for check in held for ident in invariants if ident[0] != "P" or ".pvm" in check]


def rung_checks(text, bare, nest=1):
    """([(check, passed)], problems) of a rung's serial log. A check that two VMs report has to pass in both."""
    reports = [ktap.parse_text(text)] if bare else [ktap.parse(lines) for lines in rungs.vms_of(text, nest).values()]
    problems = [p for r in reports for p in r.problems]
    if not reports:
        problems.append("no VM said anything")
    found = {}
    for check in (c for r in reports for c in r.checks):
        if check.status != ktap.SKIP:
            found[check.key] = found.get(check.key, True) and check.status == ktap.OK
    return sorted(found.items()), problems


def of_its_rules(name, checks):
    """The red checks of a mutant of tests/host/mutants that are evidence: those of the rules that it is planted for (`other:` any)."""
    mutant = planted.mutate.load(name)
    if mutant is None or mutant.head.get("expect") == "survives":
        return []
    return list(checks) if mutant.head.get("other") else [c for c in checks if rule_of(c) in mutant.rules]


def proves(rung, ident="A00"):
    """A bare machine says nothing about drover, and one backend nothing about the other's rules."""
    base = rung.removesuffix("-gdb")  # with gdb attached (check-gdb)
    backend = rungs.RUNGS[base].backend if base in rungs.RUNGS else ""
    return rung in (HOST, EXPLORE) or (backend != "" and BACKEND.get(ident[0], backend) == backend)


def judge(rules, sources, caveats, evidence):
    """Fills the rules in; the problems, one line each. sources: {path: text}."""
    problems = list(evidence.problems)
    for path, text in sources.items():
        for ident, line in cited_in(text):
            if ident in rules:
                rules[ident].cited.append("%s:%d" % (path, line))
    if not any(passed for rung, checks in evidence.checks.items() if proves(rung) for _, passed in checks):
        problems.append("no check passed on any rung")
    if not evidence.red:
        problems.append("no mutant turned anything red")
    for rung, checks in evidence.checks.items():
        for check, passed in checks:
            ident = rule_of(check)
            if ident in rules:
                (rules[ident].checks if passed else rules[ident].missed).setdefault(rung, []).append(check)
            elif ident and not BUG.fullmatch(ident):
                problems.append("%s: check %s names no rule" % (rung, check))
    for mutant, rung, check in ((m, r, c) for m, by_rung in evidence.red.items() for r, checks in by_rung.items() for c in checks):
        ident = rule_of(check)
        if ident in rules and proves(rung, ident):
            rules[ident].red.setdefault(mutant, check)
    for ident in caveats:
        if ident not in rules:
            problems.append("%s has a caveat and is no rule" % ident)
    for ident, rule in rules.items():
        rule.caveat = caveats.get(ident, "")
        problems += judge_one(rule, ident in caveats)
    return problems


def judge_one(rule, caveat):
    """Sets one rule's state; yields what is wrong with it."""
    passed = any(proves(rung, rule.ident) for rung in rule.checks)
    tested = passed and bool(rule.red)
    if tested:
        rule.state = "tested"
        if caveat:
            yield "%s is tested: its caveat is stale" % rule.ident
    elif caveat:
        rule.state = "caveat"
    else:
        rule.state = "OPEN"
        lack = "no check of it passed inside drover" if not passed else "nothing ever turned a check of it red"
        yield "%s has neither test nor caveat: %s" % (rule.ident, lack)


# ---- Reading this run ----

def load(path, problems, need):
    """A file's text, or "" with a problem that tells what makes it."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        if need:
            problems.append("%s is missing: %s" % (path, need))
        return ""


def load_json(path, problems, need=""):
    """As load, parsed; {} if there is none."""
    text = load(path, problems, need)
    try:
        return json.loads(text) if text else {}
    except ValueError:
        problems.append("%s cannot be read" % path)
        return {}


def gather():
    """The Evidence in build/results and build/logs."""
    found = Evidence()
    results = rungs.RESULTS
    model = INVARIANT.findall(Path("tests/host/model/cpu.c").read_text(encoding="utf-8"))
    found.checks[HOST] = host_checks(load(results / "host-tests.log", found.problems, "make check-host"), model)
    host_red = load_json(results / "host-red.json", found.problems, "make check-mutants")
    found.red = {m: {HOST: of_its_rules(m, checks)} for m, checks in host_red.items()}
    if found.red and found.checks[HOST] and (results / "host-red.json").stat().st_mtime < (results / "host-tests.log").stat().st_mtime:
        found.problems.append("host-red.json is older than the host tests' log: make check-mutants")
    for mutant, by_rung in load_json(results / "planted.json", found.problems).items():
        found.red[mutant + "*"] = {rung: of_its_rules(mutant, checks) for rung, checks in by_rung.items()}
    for part in PARTS:
        saved = load_json(results / ("part-%s.json" % part), found.problems, "make check-%s" % part)
        if saved and saved.get("sources") != rungs.source_hash(part):
            found.problems.append("check-%s ran on other sources: run it again" % part)
        elif saved and saved.get("failed"):
            found.problems.append("check-%s has failures: what it says of others is not to be relied on" % part)
    explored = load_json(results / "explore.json", found.problems, "make check-explore")
    found.checks[EXPLORE] = sorted({(check, True) for checks in explored.values() for check in checks})
    found.red.update({m: {EXPLORE: checks} for m, checks in explored.items()})  # of the mutant's rules alone, as gdb.json's
    with_gdb = load_json(results / "gdb.json", found.problems, "make check-gdb")
    if with_gdb and with_gdb.get("guest") != rungs.guest_hash():
        found.problems.append("check-gdb: of another guest image: run it again")
        with_gdb = {}
    found.checks.update(with_gdb.get("checks", {}))
    for mutant, by_rung in with_gdb.get("red", {}).items():
        for rung, checks in by_rung.items():
            found.red.setdefault(mutant + "*", {}).setdefault(rung, []).extend(checks)
    for name in table.ORDER:
        path = job_log(name)
        if not path.exists():
            continue
        saved = load_json(results / ("rung-%s.json" % name), found.problems, "run the rung again")
        if saved.get("absent"):
            continue  # the log is of a time when it was there
        if saved.get("guest") != rungs.guest_hash():
            found.problems.append("%s: its log is of another guest image: run the rung again" % name)
            continue
        checks, broken = rung_checks(load(path, found.problems, "run the rung"), not rungs.RUNGS[name].backend, rungs.RUNGS[name].nest)
        found.checks[name] = checks
        found.problems += ["%s: %s" % (name, p) for p in broken]
    return found


def job_log(name):
    """Where a rung's serial log lies."""
    return rungs.BUILD / "logs" / name / "main" / "serial.log"


def read_sources(root):
    """{path: text} of the C and assembly sources."""
    paths = [p for top in SOURCES for p in sorted((root / top).rglob("*")) if p.suffix in (".c", ".h", ".S", ".def")]
    return {str(p.relative_to(root)): p.read_text(encoding="utf-8") for p in paths}


# ---- Printing ----

def some(items, limit):
    """The first few and how many more."""
    items = list(items)
    return " ".join(items[:limit]) + (" +%d" % (len(items) - limit) if len(items) > limit else "") or "-"


def print_rules(rules):
    """One line per rule; rungs that only say what a bare machine does stand in brackets."""
    for rule in rules.values():
        names = [r for r in (HOST, EXPLORE, *table.ORDER) if r in rule.checks] + [r for r in rule.checks if r.endswith("-gdb")]
        where = [table.HEADS.get(r, r) if proves(r) else "(%s)" % table.HEADS.get(r, r) for r in names]
        checks = [c for r in names if proves(r) for c in rule.checks[r]]
        print("%s %-7s | %s | %s | %s | %s" % (rule.ident, rule.state, some(rule.cited, 2), some(dict.fromkeys(checks), 2),
                                             " ".join(where) or "-", some(sorted(rule.red), 4)))
        if rule.caveat:
            print("    caveat: %s" % rule.caveat)


def stale(ran=False):
    """The parts whose results say nothing of this tree: absent, unreadable, of other sources or tests; or, unless it is known that they ran just now, failed."""
    found = []
    for part in PARTS:
        saved = load_json(rungs.RESULTS / ("part-%s.json" % part), [])
        if saved.get("sources") != rungs.source_hash(part) or (saved.get("failed") and not ran):
            found.append(part)
    return found


def main(words=()):
    """Status 0 only if each rule is tested or has its caveat. `stale` [`ran`]: prints the parts that have to run first, and no more."""
    if words[:1] == ["stale"]:
        print(" ".join(stale("ran" in words)))
        return 0
    root = Path(".")
    rules, problems = read_rules((root / "docs/rules.md").read_text(encoding="utf-8"))
    caveats, more = read_caveats((root / "docs/CAVEATS.md").read_text(encoding="utf-8"))
    evidence = gather()
    problems += more + judge(rules, read_sources(root), caveats, evidence)
    print("rule state | implemented (comments that cite it) | checks that passed | rungs (bare) | mutants that turned one red (* on an emulator)")
    print_rules(rules)
    rungs.RESULTS.mkdir(parents=True, exist_ok=True)
    data = {"rungs": sorted(evidence.checks), "problems": problems, "rules": {r.ident: vars(r) for r in rules.values()}}
    (rungs.RESULTS / "rules.json").write_text(json.dumps(data, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    for text in problems:
        print("rules: FAIL %s" % text)
    states = [r.state for r in rules.values()]
    mute = [r.ident for r in rules.values() if r.state == "tested" and not r.cited]
    print("rules: tested and cited in no comment of %s: %s" % (" ".join(SOURCES), " ".join(mute) or "none"))
    print("rules: %d tested, %d with a caveat, %d open, %d problems; rungs: %s" % (
        states.count("tested"), states.count("caveat"), states.count("OPEN"), len(problems), " ".join(sorted(evidence.checks))))
    print("rules: %d passed, %d failed" % (states.count("tested") + states.count("caveat"), len(problems)))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
