# SPDX-License-Identifier: MIT
"""Reads what drover prints with `trace=on`: entries, exits and accesses of the debug registers, in order; and tells where hardware and the owner's view part.

A line:  drover: trace: [CPU] TSC: kvm_entry: vm NAME level N rip 0x.. state live dr6 0x.. dr7 0x.. debugctl 0x..
         drover: trace: [CPU] TSC: kvm_exit: vm NAME level N reason NAME code 0x.. info 0x.. rip 0x.. state live dr6 0x.. dr7 0x.. debugctl 0x.. [fast]
         drover: trace: [CPU] TSC: Set DRs: vm NAME level N by WHO REG OLD -> NEW     hardware changes
         drover: trace: [CPU] TSC: Sync DRs: ...                                      the guest's view is read out of hardware
         drover: trace: [CPU] TSC: View DRs: ...                                      software changes the guest's view
between `drover: trace: begin cpu N: N events, N lost` and `drover: trace: end cpu N`. `-` stands for what is not known. Level 0 is the host, 1 its guest, 2 the guest's guest."""

import re
from dataclasses import dataclass, field

from bits import DR6_INIT, bits

ENTRY, EXIT, SET, SYNC, VIEW = "entry", "exit", "set", "sync", "view"
REGISTERS = ("DR6", "DR7", "DEBUGCTL")
FREEZE_IN_SMM = 1 << 14  # stays the host's while a guest runs (V18)
HOST = 0

PREFIX = re.compile(r"^drover: trace: (.*)$")
BEGIN = re.compile(r"^begin cpu (\d+): (\d+) events, (\d+) lost$")
END = re.compile(r"^end cpu (\d+)$")
EVENT = re.compile(r"^\[(\d+)\] (\d+): (kvm_entry|kvm_exit|Set DRs|Sync DRs|View DRs): vm (\S+) level ([012]) (.*)$")
RUNS = re.compile(r"^(?:reason (\S+) code (\S+) info (\S+) )?rip (\S+) state (idle|armed|live) dr6 (\S+) dr7 (\S+) debugctl (\S+)((?: fast| stepped)*)$")
ACCESS = re.compile(r"^by (host|enter|leave|db|guest|switch|lab|debugger|filter) (DR[0-7]|DEBUGCTL|MASK[0-3]) (\S+) -> (\S+)$")
KINDS = {"kvm_entry": ENTRY, "kvm_exit": EXIT, "Set DRs": SET, "Sync DRs": SYNC, "View DRs": VIEW}


@dataclass
class Event:
    """One line. regs: of entries and exits, what hardware runs the guest with or was left with; None: not known."""
    kind: str
    cpu: int
    tsc: int
    vm: str
    level: int
    rip: int = None
    reason: str = ""
    code: int = None
    info: int = None
    state: str = ""
    fast: bool = False
    stepped: bool = False
    regs: dict = field(default_factory=dict)
    who: str = ""
    reg: str = ""
    old: int = None
    new: int = None


@dataclass
class Trace:
    """A CPU's events. lost: how many the ring had no room for. problems: lines that cannot be read, counts that do not agree."""
    cpu: int = 0
    events: list = field(default_factory=list)
    lost: int = 0
    problems: list = field(default_factory=list)


def _number(word):
    return None if word == "-" else int(word, 0)


def parse_event(text):
    """The Event of what stands behind `trace: `, or None."""
    match = EVENT.match(text)
    if not match:
        return None
    cpu, tsc, word, vm, level, rest = match.groups()
    event = Event(KINDS[word], int(cpu), int(tsc), vm, int(level))
    try:
        if event.kind in (ENTRY, EXIT):
            found = RUNS.match(rest)
            if not found or bool(found.group(1)) != (event.kind == EXIT):
                return None
            reason, code, info, rip, event.state, *values, flags = found.groups()
            if event.kind == EXIT:
                event.reason, event.code, event.info = reason, _number(code), _number(info)
            event.rip = _number(rip)
            event.regs = dict(zip(REGISTERS, map(_number, values)))
            event.fast, event.stepped = "fast" in flags, "stepped" in flags
        else:
            found = ACCESS.match(rest)
            if not found:
                return None
            event.who, event.reg = found.group(1), found.group(2)
            event.old, event.new = _number(found.group(3)), _number(found.group(4))
    except ValueError:
        return None
    return event


def parse(text):
    """The Traces in a log, one per CPU that printed one."""
    found, here, promised = [], None, 0
    for line in text.replace("\r", "").split("\n"):
        match = PREFIX.match(line)
        if not match:
            continue
        words = match.group(1)
        begin, end = BEGIN.match(words), END.match(words)
        if begin:
            here = Trace(int(begin.group(1)), lost=int(begin.group(3)))
            promised = int(begin.group(2))
            found.append(here)
        elif here is None:
            found.append(Trace(problems=["an event outside of a trace: %s" % words]))
        elif end:
            if len(here.events) != promised:
                here.problems.append("cpu %d: %d events promised, %d read" % (here.cpu, promised, len(here.events)))
            here = None
        else:
            event = parse_event(words)
            if event is None:
                here.problems.append("not understood: %s" % words)
            elif here.events and event.tsc < here.events[-1].tsc:
                here.problems.append("time runs backwards: %s" % words)
            else:
                here.events.append(event)
    if here is not None:
        here.problems.append("cpu %d: the trace does not end" % here.cpu)
    return found


# ---- Who owned what when ----

@dataclass
class Moment:
    """The world right after an event. running: the level that runs. hw, views: {register: value}; parted: {register: what its owner has}."""
    event: Event
    running: int
    hw: dict
    views: dict          # level -> {register: value}
    parted: dict
    why: str = ""        # of a new parting, in words


def _same(reg, hw, view):
    if hw is None or view is None:
        return True
    return hw | FREEZE_IN_SMM == view | FREEZE_IN_SMM if reg == "DEBUGCTL" else hw == view


def follow(events):
    """The Moments of a trace: how views and hardware go on, and where they part.

    A guest that runs with state live owns DR6 and DR7: what the exit finds in hardware is its view then. Armed and idle: DR7 is its own, DR6 is not. While
    a debugger holds slots, or PVM keeps some out (by filter: P03, P08), hardware's DR7 is not the guest's to compare. When the registers are the host's again, DR6 is the reset value (H06)."""
    hw = dict.fromkeys(REGISTERS)
    views = {HOST: {"DR6": DR6_INIT, "DR7": None, "DEBUGCTL": None}}
    running, last, parted, entered, switched, debugger, filtered, settle = HOST, 1, {}, {}, set(), False, False, False
    out = []
    for e in events:
        view = views.setdefault(e.level, dict.fromkeys(REGISTERS))
        why = ""
        debugger |= e.who == "debugger"
        if e.kind == SET and e.reg == "DR7":
            filtered = e.who == "filter"
        if settle and e.who != "leave":  # the plan that gives the registers back is over
            settle = False
            if not _same("DR6", hw["DR6"], DR6_INIT):
                parted = {"DR6": DR6_INIT}
                why = "the host runs with DR6=%s, a guest's (H06)" % bits("DR6", hw["DR6"])
        if e.kind == ENTRY:
            if e.level != last:  # what the switch of levels has not told is not known
                view.update({r: None for r in REGISTERS if (e.level, r) not in switched})
            running, last, settle, switched = e.level, e.level, False, set()
            hw.update({r: v for r, v in e.regs.items() if v is not None})
            mine = ("DR6", "DR7", "DEBUGCTL") if e.state == "live" else ("DR7", "DEBUGCTL")
            mine = [r for r in mine if not (r == "DR7" and (debugger or filtered)) and not (r == "DEBUGCTL" and e.stepped)]
            before = parted
            parted = {r: view[r] for r in mine if not _same(r, e.regs.get(r), view[r])}
            new = [r for r in parted if before.get(r) != parted[r]]
            if new:
                why = "; ".join("the guest runs with %s=%s, its own is %s" % (r, bits(r, hw[r]), bits(r, parted[r])) for r in new)
            for r in REGISTERS:
                if view[r] is None and r in mine:
                    view[r] = e.regs.get(r)
            entered = dict(e.regs)
        elif e.kind == EXIT:
            running, settle = HOST, not e.fast
            hw.update({r: v for r, v in e.regs.items() if v is not None})
            for r in ("DR6", "DR7", "DEBUGCTL") if e.state == "live" else ():
                value = e.regs.get(r)
                if value is None or (r in parted and value == entered.get(r)):
                    continue  # what it runs with is still not what it wrote
                view[r] = value
                parted.pop(r, None)
            parted = dict(parted)
        elif e.reg in REGISTERS:
            if e.kind == SET:
                hw[e.reg] = e.new
                if e.who == "host":
                    views[HOST][e.reg] = e.new
                elif e.who == "db":  # a #DB that goes straight back in: what it does to hardware is what the guest has (H10)
                    view[e.reg] = e.new
            else:
                view[e.reg] = e.new
                switched.add((e.level, e.reg))
            if e.reg in parted:
                parted = {r: v for r, v in parted.items() if r != e.reg}
        out.append(Moment(e, running, dict(hw), {level: dict(v) for level, v in views.items()}, dict(parted), why))
    return out
