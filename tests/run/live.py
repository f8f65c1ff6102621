# SPDX-License-Identifier: MIT
"""What `make run` shows: on a terminal one line per scenario as it ends, with a count and the time that is left; and what is wrong, decoded."""

import os
import re
import sys
import time
from pathlib import Path

import bits
import dbgtrace
import expect
import ktap
import rules
import rungs

COLOURS = {"ok": "32", "known": "33", "skip": "2", "FAIL": "1;31", "ERROR": "1;35", "dim": "2"}
FLAGS = re.compile(r"^SCENARIO\((\w+),.*?,\s*([^,()]*)\)(?: |$)", re.MULTILINE)
LAST_EXITS = 12
EARLY = 0.05  # of a run: no word of the time that is left
SHOWN = 12  # failures that are told in full
CONSOLE = 0xe9  # the port on which a guest under drover says a line, in one exit


def colours_wanted(stream=None):
    """Only on a terminal, and not where NO_COLOR asks for none."""
    stream = stream or sys.stdout
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def paint(word, text, colours):
    """text in the colour of that word, or as it is."""
    return "\x1b[%sm%s\x1b[0m" % (COLOURS[word], text) if colours and word in COLOURS else text


# ---- While it runs ----

def scenario_flags(root=Path("tests/guest")):
    """{scenario: its flags as written}."""
    return {name: flags for path in sorted(root.glob("*.c")) for name, flags in FLAGS.findall(path.read_text(encoding="utf-8"))}


def planned(rung, scenarios, flags):
    """How many scenarios a run will end, over all its VMs."""
    if scenarios != "all":
        return len(scenarios.split(","))
    whole = sum(1 for f in flags.values() if "SCN_BY_NAME" not in f)
    if not rung.backend:
        return whole
    return whole + sum(1 for f in flags.values() if "SCN_NESTED" in f and "SCN_BY_NAME" not in f) + len(rungs.LOCKED) + len(rungs.EMULATED) + 2


def time_left(done, total, seconds, usual):
    """Seconds: what is left of the usual time, longer by as much as this run is slower; without a usual time by its own pace. None: not known yet, since
    at first the start of the machine is most of it."""
    if not total or done < total * EARLY:
        return None
    share = min(done / total, 1)
    if not usual:
        return seconds / share * (1 - share)
    return usual * (1 - share) * max(1, seconds / (usual * share))


class Lines:
    """Takes a growing log piece by piece; writes a line for each scenario of the uppermost VMs that ends."""

    def __init__(self, rung, total, usual, write, colours=False, clock=time.monotonic):
        self.rung, self.total, self.usual, self.write, self.colours, self.clock = rung, total, usual, write, colours, clock
        self.whole = total + ((rungs.HEAVY["debugctl"] - 1) * len(rungs.EMULATED) if usual and rung.backend else 0)
        self.entries = rungs.entries(rung)[0]
        self.version = rungs.version(rung)
        self.rest, self.done, self.weight, self.inner = "", 0, 0, {}
        self.began = self.last = clock()

    def feed(self, text):
        """More of the log."""
        lines = (self.rest + text.replace("\r", "")).split("\n")
        self.rest = lines.pop()
        for line in lines:
            self.line(ktap.ANSI.sub("", line))

    def line(self, line):
        """One line of it."""
        vm = ""
        for level in range(1, self.rung.nest + 1 if self.rung.backend else 1):
            match = ktap.VM_LINE.match(line)
            if not match or int(match.group(1)) != level:
                return
            vm, line = match.group(2), match.group(3)
        match = ktap.SUBTEST.match(line)
        if match:
            self.inner[vm] = []
            return
        match = ktap.RESULT.match(line)
        if match and match.group(1):
            self.inner.setdefault(vm, []).append(line)
        elif match:
            self.weight += rungs.HEAVY.get(vm, 1)
            self.ended(ktap.result(line).ident, self.inner.pop(vm, []))

    def ended(self, name, lines):
        """A scenario's last line has come."""
        out = expect.Judgement()
        for line in lines:
            expect.judge_check(ktap.result(line, name), self.entries, self.version, out)
        self.done += 1
        now = self.clock()
        word = "ERROR" if out.errors else "FAIL" if out.failed else "known" if out.known else "skip" if out.skipped and not out.ok else "ok"
        counts = ["%d %s" % (len(group), what) for group, what in ((out.errors, "errors"), (out.failed, "failed"), (out.ok, "ok"), (out.known, "known"),
                                                                  (out.skipped, "skipped")) if group]
        left = time_left(self.weight, self.whole, now - self.began, self.usual)
        tail = "" if left is None or self.done >= self.total else ", about %s left" % length(left)
        self.write("[%*d/%d] %s %-18s %s\n" % (len(str(self.total)), self.done, self.total, paint(word, "%-5s" % word, self.colours), name,
                                               ", ".join(counts) + paint("dim", "  %.1f s%s" % (now - self.last, tail), self.colours)))
        self.last = now


def length(seconds):
    """`40 s`, `2 min 10 s`."""
    seconds = int(seconds + 0.5)
    return "%d s" % seconds if seconds < 60 else "%d min %d s" % divmod(seconds, 60)


# ---- What is wrong ----

def read_sentences():
    """{rule: its words}, or none where docs/ is not there."""
    try:
        return rules.sentences(Path("docs/rules.md").read_text(encoding="utf-8"))
    except OSError:
        return {}


def explain(check, sentences, exits=(), colours=False):
    """The lines that tell what is wrong with one check: expected and actual values bit by bit, its rule, the last exits before it."""
    expected, actual = bits.decode(check.ident, check.text, check.expected, check.actual)
    lines = [paint("FAIL" if check.status != ktap.ERROR else "ERROR", "not ok %s %s" % (check.key, check.text), colours)]
    if check.status == ktap.ERROR:
        lines.append("    could not run: %s" % (check.reason or "no reason given"))
    elif check.status == ktap.SKIP:
        lines.append("    skipped, and not listed: %s" % check.reason)
    else:
        lines += ["    expected  %s" % expected, "    actual    %s" % actual]
    rule = rules.rule_of(check.ident)
    if rule in sentences:
        lines.append("    rule %s: %s" % (rule, sentences[rule]))
    if exits:
        lines.append("    the last exits before it:")
        lines += ["      %s" % text for text in exits]
    return lines


def one_event(e, last):
    """One event of a trace for a person, with the ticks before the check."""
    at = "-%d" % (last - e.tsc)
    values = " ".join("%s=%s" % (reg, bits.bits(reg, value)) for reg, value in e.regs.items() if value is not None)
    if e.kind == dbgtrace.ENTRY:
        return "%8s entry L%d (%s) %s" % (at, e.level, e.state, values)
    if e.kind == dbgtrace.EXIT:
        return "%8s exit  L%d %s%s rip=%x (%s) %s" % (at, e.level, e.reason, " (fast)" if e.fast else "", e.rip or 0, e.state, values)
    return "%8s %s by %s: %s %s -> %s" % (at, e.kind, e.who, e.reg, bits.bits(e.reg, e.old), bits.bits(e.reg, e.new))


def exits_before(log, vm, key, limit=LAST_EXITS):
    """The last events of the trace in this log before the VM said that check's line, as texts; () when there is no trace or they cannot be told apart.

    A line costs the guest one exit, an OUTS to the debug console; so the lines from the check's to the last one are as many such exits from the end. What a
    lost or broken trace leaves is not guessed at."""
    scenario, ident = key.split("/", 1)
    lines = ktap.split_vms(log).get(vm, [])
    at, inside = None, ""
    for number, line in enumerate(lines):
        found = ktap.SUBTEST.match(line)
        inside = found.group(1) if found else inside
        match = ktap.RESULT.match(line)
        if match and match.group(1) and inside == scenario and ktap.result(line).ident == ident:
            at = number
    traces = [t for t in dbgtrace.parse(log) if t.events and not t.problems]
    if at is None or not traces:
        return ()
    events = [e for e in traces[0].events if e.vm == vm]
    said = [i for i, e in enumerate(events) if e.kind == dbgtrace.EXIT and e.reason == "io" and e.info is not None and e.info >> 16 & 0xffff == CONSOLE]
    behind = len(lines) - at
    if behind > len(said):
        return ()
    end = said[-behind]
    return tuple(one_event(e, events[end].tsc) for e in events[max(0, end - limit):end])


def panic_exits(log):
    """What a panic printed of its ring: `last N of M exits` and the lines behind it."""
    lines = ktap.clean_lines(log)
    for number, line in enumerate(lines):
        if re.match(r"^drover: last \d+ of \d+ exits", line):
            end = next((n for n in range(number + 1, len(lines)) if not lines[n].startswith("drover:   -")), len(lines))
            return lines[number:end][-LAST_EXITS - 1:]
    return []


def troubles(outcome):
    """The checks of a judged run that are news."""
    judged = outcome.judgement
    told = " ".join(judged.failed + judged.errors)
    return [c for c in outcome.checks if c.status != ktap.OK and re.search(r"(?<![\w./])%s(?![\w.-])" % re.escape(c.key), told)]


def print_troubles(outcome, trace_again, write=None, colours=None):
    """Tells what failed. trace_again(scenario): the log of that scenario alone, with a trace, or "" when there is none."""
    write = write or sys.stdout.write
    colours = colours_wanted() if colours is None else colours
    bad = troubles(outcome)
    if not bad:
        return
    sentences, logs = read_sentences(), {}
    log = outcome.results[0].log if outcome.results else ""
    write("\n")
    for check in bad[:SHOWN]:
        exits = ()
        if check.status == ktap.FAIL:
            if check.scenario not in logs and len(logs) < 2:
                logs[check.scenario] = log if "drover: trace: begin" in log else trace_again(check.scenario)
            exits = exits_before(logs.get(check.scenario, ""), "guest", check.key)
        write("\n".join(explain(check, sentences, exits, colours)) + "\n")
    if len(bad) > SHOWN:
        write("... and %d more\n" % (len(bad) - SHOWN))
    for line in panic_exits(log):
        write(line + "\n")
