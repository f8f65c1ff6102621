# SPDX-License-Identifier: MIT
"""Judges a rung's checks against tests/run/expect/<rung>, the list of what is known not to be ok there.

A line:   scenario/checkid  skip|fail  actual=VALUE  emulator-version  reason...
VALUE is the exact wrong value, LOW..HIGH for a count that the host's clock has a part in, or - where there is none. The version is a prefix (bochs-2.7, qemu-10.0, or qemu alone).
Under drover, a reason that starts with "bare-ok:" says why a check fails here though it passes with no hypervisor."""

import re
from dataclasses import dataclass, field

import ktap

LINE = re.compile(r"^(\S+/\S+)\s+(\S+)\s+actual=(\S+)\s+(\S+)\s*(.*)$")
RANGE = re.compile(r"^(0x[0-9a-f]+)\.\.(0x[0-9a-f]+)$")


@dataclass
class Entry:
    """One listed check."""
    key: str
    status: str
    actual: str
    version: str
    reason: str
    where: str

    def fits(self, version):
        """True if the entry was written for this emulator: its version field is a prefix in whole components."""
        return version == self.version or version.startswith((self.version + ".", self.version + "-"))


@dataclass
class Judgement:
    """The outcome of a rung."""
    ok: list = field(default_factory=list)        # keys
    skipped: list = field(default_factory=list)   # (key, reason)
    known: list = field(default_factory=list)     # (key, reason): listed deviations that showed their listed value
    failed: list = field(default_factory=list)    # texts
    errors: list = field(default_factory=list)    # texts
    notes: list = field(default_factory=list)     # texts
    unlisted: list = field(default_factory=list)  # checks, for `suggest`

    @property
    def good(self):
        return not self.failed and not self.errors


def load(path):
    """(entries, problems) of an expect file; a file that is absent lists nothing."""
    try:
        with open(path, encoding="utf-8") as handle:
            text = handle.read()
    except FileNotFoundError:
        return [], []
    return parse(text, str(path))


def overlay(entries, path):
    """(entries, problems): a base rung's entries with those of another policy's file in their place; status `pass` takes one out."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return entries, []
    mine, problems = parse(text, str(path), ("skip", "fail", "pass"))
    known = {e.key for e in entries}
    problems += ["%s: %s: not listed by the base rung: nothing to take out" % (e.where, e.key) for e in mine
                 if e.status == "pass" and e.key not in known]
    replaced = {e.key for e in mine}
    return [e for e in entries if e.key not in replaced] + [e for e in mine if e.status != "pass"], problems


def parse(text, name="expect", statuses=("skip", "fail")):
    """(entries, problems) of an expect file's text."""
    entries, problems = [], []
    for number, line in enumerate(text.split("\n"), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        where = "%s:%d" % (name, number)
        match = LINE.match(line)
        if not match:
            problems.append("%s: not 'scenario/check skip|fail actual=VALUE emulator-version reason'" % where)
            continue
        entry = Entry(*match.groups(), where)
        problems += _entry_problems(entry, entries, statuses)
        entries.append(entry)
    return entries, problems


def _entry_problems(entry, others, statuses):
    if entry.status == "error":
        return ["%s: %s: an ERROR cannot be listed" % (entry.where, entry.key)]
    if entry.status not in statuses:
        return ["%s: %s: neither skip nor fail: %s" % (entry.where, entry.key, entry.status)]
    problems = []
    bounds = RANGE.match(entry.actual)
    if ".." in entry.actual and (not bounds or int(bounds.group(1), 16) >= int(bounds.group(2), 16)):
        problems.append("%s: %s: no range: %s" % (entry.where, entry.key, entry.actual))
    if len(entry.reason) < 8 or re.search(r"\bTODO\b", entry.reason):
        problems.append("%s: %s: no reason given" % (entry.where, entry.key))
    if any(o.key == entry.key and o.version == entry.version for o in others):
        problems.append("%s: %s: listed twice" % (entry.where, entry.key))
    return problems


def _choose(entries, key, version):
    """The entry for a check: of this version if there is one (fits=True), else any other (fits=False)."""
    mine = [e for e in entries if e.key == key]
    for entry in sorted(mine, key=lambda e: -len(e.version)):
        if entry.fits(version):
            return entry, True
    return (mine[0], False) if mine else (None, False)


def same_value(listed, actual):
    """Values are equal as numbers where both are numbers; or the number is in the range."""
    low, _, high = listed.partition("..")
    try:
        return int(low, 0) <= int(actual, 0) <= int(high or low, 0)
    except ValueError:
        return listed == actual


def judge_check(check, entries, version, out):
    """Judges one check, into the Judgement `out`."""
    entry, fits = _choose(entries, check.key, version)
    other = "" if fits or entry is None else " (listed for %s, this is %s)" % (entry.version, version)
    shown = "%s expected=%s actual=%s%s" % (check.key, check.expected, check.actual,
                                            " " + check.reason if check.reason else "")
    if check.status == ktap.ERROR:
        out.errors.append("%s: ERROR: %s" % (check.key, check.reason or check.text))
    elif check.status == ktap.OK:
        if entry is None:
            out.ok.append(check.key)
        elif fits:
            out.failed.append("%s: listed but passes (%s)" % (check.key, entry.where))
        else:
            out.ok.append(check.key)
            out.notes.append("%s: passes here%s" % (check.key, other))
    elif entry is None:
        out.unlisted.append(check)
        word = "skipped" if check.status == ktap.SKIP else "not ok"
        out.failed.append("%s and unlisted: %s" % (word, shown))
    elif entry.status != check.status:
        out.failed.append("%s, listed as %s (%s)%s" % (
            "%s: %s" % (check.status, shown), entry.status, entry.where, other))
    elif check.status == ktap.FAIL and not same_value(entry.actual, check.actual):
        out.failed.append("another wrong value than the listed %s: %s (%s)%s" % (
            entry.actual, shown, entry.where, other))
    else:
        if other:
            out.notes.append("%s: the same here%s" % (check.key, other))
        (out.skipped if check.status == ktap.SKIP else out.known).append((check.key, entry.reason))


def judge(checks, entries, version, whole=True, proofs=(), problems=(), bare=None):
    """Judges checks against entries.

    version: the emulator found ("bochs-2.7"). whole: all scenarios ran, so that what is listed and absent fails.
    proofs: scenario prefixes that this rung proves. problems: of the expect file. bare: {key: status} with no hypervisor
    on the same emulator, or None."""
    out = Judgement()
    out.failed += list(problems)
    seen = set()
    for check in checks:
        if check.key in seen:
            out.errors.append("%s: ERROR: reported by two runs" % check.key)
            continue
        seen.add(check.key)
        judge_check(check, entries, version, out)
    if whole:
        for entry in entries:
            if entry.key not in seen:
                seen.add(entry.key)
                out.failed.append("%s: listed but not in the run (%s)" % (entry.key, entry.where))
    _judge_proofs(checks, entries, proofs, whole, out)
    if bare is not None:
        _judge_bare(checks, entries, version, bare, whole, out)
    return out


def _judge_proofs(checks, entries, proofs, whole, out):
    """A scenario that this rung proves is there, all ok, and never listed."""
    for prefix in proofs:
        for entry in entries:
            if entry.key.startswith(prefix):
                out.failed.append("%s: this rung proves %s*, it cannot be listed (%s)" % (
                    entry.key, prefix, entry.where))
        mine = [c for c in checks if c.scenario.startswith(prefix)]
        if whole and not mine:
            out.failed.append("%s*: this rung proves it, but no such scenario ran" % prefix)
        for check in mine:
            if check.status != ktap.OK and not any(text.split("unlisted: ")[-1].startswith(check.key + " ") for text in out.failed):
                out.failed.append("%s: this rung proves %s*, but it is %s" % (check.key, prefix, check.status))


def _excused(key, here, entries, version):
    """Is a check absent because its scenario, or a check of which it is a part (A21.x, A21.x.0), is skipped and listed as `bare-ok:`?"""
    scenario, ident = key.split("/", 1)
    parts = ident.split(".")
    for name in ["all"] + [".".join(parts[:n]) for n in range(1, len(parts))]:
        skipped = "%s/%s" % (scenario, name)
        entry, _ = _choose(entries, skipped, version)
        if here.get(skipped) == ktap.SKIP and entry is not None and entry.status == "skip" and entry.reason.startswith("bare-ok:"):
            return True
    return False


def _judge_bare(checks, entries, version, bare, whole, out):
    """What passes with no hypervisor passes under drover, unless the list says why not."""
    here = {c.key: c.status for c in checks}
    gone = {}
    for key, status in sorted(bare.items()):
        if status != ktap.OK or here.get(key) == ktap.OK:
            continue
        if key not in here:
            if not _excused(key, here, entries, version):
                gone.setdefault(key.split("/", 1)[0], []).append(key)
            continue
        entry, _ = _choose(entries, key, version)
        if entry is not None and not entry.reason.startswith("bare-ok:"):
            out.failed.append("%s: passes bare, not ok under drover, and its reason does not start with 'bare-ok:' (%s)"
                              % (key, entry.where))
    if whole:
        for scenario, keys in gone.items():
            out.failed.append("%s: %s, absent under drover: %s" % (
                scenario, "%d checks pass bare" % len(keys) if len(keys) > 1 else "a check passes bare", " ".join(keys[:4])))


def suggest(judgement, version):
    """Lines for what is not ok and unlisted, each with a reason still to be written."""
    return ["%-40s %-4s actual=%s %s TODO %s" % (c.key, c.status, c.actual, version, c.reason or c.text)
            for c in judgement.unlisted]
