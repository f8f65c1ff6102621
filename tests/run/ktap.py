# SPDX-License-Identifier: MIT
"""Reads KTAP out of a serial log: bare (plain lines) or under drover ("[L1:NAME] text" for each VM; a drover in a VM puts "[L2:NAME] " behind that)."""

import re
from dataclasses import dataclass, field

OK, SKIP, FAIL, ERROR = "ok", "skip", "fail", "error"
WORST = {OK: 0, SKIP: 1, FAIL: 2, ERROR: 3}

VM_LINE = re.compile(r"^\[L(\d+):([A-Za-z0-9_.-]+)\] ?(.*)$")
VERDICT = re.compile(r"^drover: verdict (PASS|FAIL) code=0x([0-9a-fA-F]+)\s*$")
RESULT = re.compile(r"^(\s*)(not ok|ok) (\d+)(?: (.*))?$")
PLAN = re.compile(r"^(\s*)1\.\.(\d+)\s*$")
SUBTEST = re.compile(r"^\s+# Subtest: (\S+)\s*$")
TOTALS = re.compile(r"^\s*# totals: pass:(\d+) fail:(\d+) skip:(\d+) error:(\d+)\s*$")
ACTUAL = re.compile(r"\bactual=(\S+)")
EXPECTED = re.compile(r"\bexpected=(\S+)")
ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1bc")


@dataclass
class Check:
    """One line of KTAP inside a scenario."""
    scenario: str
    ident: str
    status: str
    text: str = ""
    expected: str = "-"
    actual: str = "-"
    reason: str = ""

    @property
    def key(self):
        return "%s/%s" % (self.scenario, self.ident)


@dataclass
class Report:
    """What one guest said: its checks, the scenarios' own lines, and what is wrong with the report itself."""
    checks: list = field(default_factory=list)
    scenarios: dict = field(default_factory=dict)  # name -> status of its own line
    problems: list = field(default_factory=list)   # the report is broken: each is an ERROR
    seen: bool = False                             # a KTAP header was seen
    totals: tuple = None


def clean_lines(text):
    """The lines of a serial log without carriage returns and terminal escapes."""
    return [ANSI.sub("", line) for line in text.replace("\r", "").split("\n")]


def verdict_code(text):
    """The exit code of drover's last verdict line, or None; firmware may print after it, so it need not be the last line."""
    found = None
    for line in clean_lines(text):
        match = VERDICT.match(line)
        if match:
            found = int(match.group(2), 16)
            if (match.group(1) == "PASS") != (found == 0x10):
                return None
    return found


def split_vms(text, level=1):
    """{vm name: its lines}, in the order of first appearance. level: of the VMs, 1 where text is what the first drover wrote."""
    vms = {}
    for line in clean_lines(text):
        match = VM_LINE.match(line)
        if match and int(match.group(1)) == level:
            vms.setdefault(match.group(2), []).append(match.group(3))
    return vms


def misplaced(text):
    """Lines whose tags do not count up from 1: a drover that does not know its level, or lines that ran into each other."""
    wrong = []
    for line in clean_lines(text):
        rest, level = line, 0
        match = VM_LINE.match(rest)
        while match:
            level += 1
            if int(match.group(1)) != level:
                wrong.append(line)
                break
            rest = match.group(3)
            match = VM_LINE.match(rest)
    return wrong


def said_by(text, name, level):
    """What the drover said that is a guest at this level, in a VM of that name at each level: 0 is the first drover, the whole log."""
    for at in range(1, level + 1):
        text = "\n".join(split_vms(text, at).get(name, []))
    return text


def _parse_result(match, scenario):
    """(status, id, Check fields) of one result line; the part behind '#' is the directive or the diagnostic."""
    passed = match.group(2) == "ok"
    words = match.group(4) or ""
    text, _, directive = (" " + words).partition(" # ")  # "#DB" in a title is no directive
    directive = directive.strip()
    ident, _, title = text.strip().partition(" ")
    if ident == "-":
        ident, _, title = title.strip().partition(" ")
    status = OK if passed else FAIL
    reason = ""
    upper = directive.upper()
    if upper.startswith("SKIP"):
        status, reason = (SKIP if passed else FAIL), directive[4:].strip()
    elif upper.startswith("ERROR"):
        status, reason = ERROR, directive[5:].strip()
    check = Check(scenario, ident, status, title.strip(), reason=reason)
    found = EXPECTED.search(directive)
    if found:
        check.expected = found.group(1)
    found = ACTUAL.search(directive)
    if found:
        check.actual = found.group(1)
    return check


def result(line, scenario=""):
    """The Check of one result line."""
    return _parse_result(RESULT.match(line), scenario)


class _Parser:
    def __init__(self):
        self.report = Report()
        self.plan = None        # of the top level
        self.scenario = None    # name of the open subtest
        self.inner = []         # its checks
        self.inner_plan = None
        self.top_count = 0

    def problem(self, text):
        self.report.problems.append(text)

    def line(self, line):
        """One line of the log; what is no KTAP is the guest's own talk."""
        stripped = line.strip()
        if stripped.startswith("KTAP version"):
            self.report.seen = True
            return
        if not self.report.seen:
            return
        match = SUBTEST.match(line)
        if match:
            self.open(match.group(1))
            return
        match = PLAN.match(line)
        if match:
            self.set_plan(bool(match.group(1)), int(match.group(2)))
            return
        match = RESULT.match(line)
        if match:
            if match.group(1):
                self.check(match)
            else:
                self.close(match)
            return
        match = TOTALS.match(line)
        if match:
            self.report.totals = tuple(int(n) for n in match.groups())

    def open(self, name):
        if self.scenario is not None:
            self.problem("scenario %s was not finished" % self.scenario)
            self.report.checks += self.inner
        if name in self.report.scenarios:
            self.problem("scenario %s ran twice" % name)
        self.scenario, self.inner, self.inner_plan = name, [], None

    def set_plan(self, inner, count):
        if inner and self.scenario is not None:
            self.inner_plan = count
        elif not inner:
            if self.plan is not None:
                self.problem("two top-level plans")
            self.plan = count

    def check(self, match):
        if self.scenario is None:
            self.problem("a check outside of a scenario: %s" % match.group(0).strip())
            return
        check = _parse_result(match, self.scenario)
        if not check.ident:
            self.problem("scenario %s: a check without an id" % self.scenario)
            return
        if any(other.ident == check.ident for other in self.inner):
            self.problem("check %s was reported twice" % check.key)
            return
        if int(match.group(3)) != len(self.inner) + 1:
            self.problem("check %s has number %s, expected %d" % (check.key, match.group(3), len(self.inner) + 1))
        self.inner.append(check)

    def close(self, match):
        """The scenario's own line: its status has to be the worst of its checks."""
        line = _parse_result(match, "")
        self.top_count += 1
        name = line.ident
        if self.scenario is None:  # a scenario that ran no check: only a whole skip or an error may look so
            if line.status in (OK, FAIL):
                self.problem("scenario %s reported no check" % name)
            self.report.scenarios[name] = line.status
            self.report.checks.append(Check(name, "-", line.status, reason=line.reason))
            return
        if name != self.scenario:
            self.problem("scenario %s ends as %s" % (self.scenario, name))
        if self.inner_plan is not None and self.inner_plan != len(self.inner):
            self.problem("scenario %s planned %d checks, reported %d" % (name, self.inner_plan, len(self.inner)))
        if self.inner_plan is None:
            self.problem("scenario %s has no plan" % name)
        worst = max((c.status for c in self.inner), key=lambda s: WORST[s], default=None)
        if not self.inner:
            self.inner.append(Check(name, "-", line.status, reason=line.reason))
            if line.status in (OK, FAIL):
                self.problem("scenario %s reported no check" % name)
        elif line.status == ERROR and worst != ERROR:
            self.inner.append(Check(name, "-", ERROR, reason=line.reason))
        elif worst in (FAIL, ERROR) and line.status in (OK, SKIP):
            self.problem("scenario %s says %s though a check was %s" % (name, line.status, worst))
        elif line.status == FAIL and worst in (OK, SKIP):
            self.problem("scenario %s says fail though no check failed" % name)
        self.report.scenarios[self.scenario] = line.status
        self.report.checks += self.inner
        self.scenario, self.inner = None, []

    def finish(self):
        if not self.report.seen:
            self.problem("no KTAP header in the log")
            return self.report
        if self.scenario is not None:
            self.problem("the log ends inside scenario %s" % self.scenario)
            self.report.checks += self.inner
        if self.plan is None:
            self.problem("no top-level plan")
        elif self.plan != self.top_count:
            self.problem("planned %d scenarios, saw the end of %d" % (self.plan, self.top_count))
        return self.report


def parse(lines):
    """The Report of one guest's lines."""
    parser = _Parser()
    for line in lines:
        parser.line(line)
    report = parser.finish()
    if report.totals is not None and not report.problems:
        counts = [sum(1 for c in report.checks if c.status == s) for s in (OK, FAIL, SKIP, ERROR)]
        if list(report.totals) != counts:
            report.problems.append("totals say pass/fail/skip/error %s, the lines say %s"
                                   % (list(report.totals), counts))
    elif report.totals is None and report.seen:
        report.problems.append("no totals line: the log is cut short")
    return report


def parse_text(text):
    """The Report of a bare log."""
    return parse(clean_lines(text))
