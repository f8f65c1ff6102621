# SPDX-License-Identifier: MIT
"""Draws a trace: lanes for host, L1, L2 and the hardware; register values as coloured spans; entries, exits and copies as arrows; in red the time in which
hardware and the owner's view differ. This file makes coordinates, timeline.svg.j2 the SVG. And the same for Perfetto: Chrome's trace-event JSON."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "run"))
from dbgtrace import DR6_INIT, ENTRY, EXIT, HOST, REGISTERS, SET, SYNC, VIEW, bits, follow  # noqa: E402

STEP, LEFT, ROW, GAP, TOP = 30, 136, 20, 14, 46
DR7_INIT = 0x400
RESET = {"DR6": (DR6_INIT,), "DR7": (DR7_INIT, 0), "DEBUGCTL": (0,)}
NR_COLOURS = 8
HARDWARE = "hardware"
EVENTS = 260  # of one picture: what a person can follow
BEFORE = 60   # of them before the first parting


def interesting(event):
    """Something about the debug registers, or a guest that owns them."""
    return event.kind not in (ENTRY, EXIT) or event.state == "live"


def window(moments):
    """(first, end) of what is worth drawing: round the first parting, else from the first event that has to do with debug registers."""
    parted = next((i for i, m in enumerate(moments) if m.why), None)
    start = max(0, parted - BEFORE) if parted is not None else next((i for i, m in enumerate(moments) if interesting(m.event)), 0)
    return start, min(len(moments), start + EVENTS)


class Palette:
    """Values in the order in which they appear get colours 1 to 8, and from the start again; a register's reset value is 0, grey."""

    def __init__(self):
        self.known = {}

    def colour(self, reg, value):
        if value in RESET[reg]:
            return 0
        return self.known.setdefault((reg, value), len(self.known) % NR_COLOURS + 1)

    def legend(self):
        return [{"reg": reg, "value": bits(reg, value), "colour": colour} for (reg, value), colour in self.known.items()]


def lanes_of(moments):
    """The lanes that this trace needs, from the top."""
    levels = sorted({HOST, 1} | {m.event.level for m in moments})
    return [("host" if level == HOST else "L%d" % level, level) for level in levels] + [(HARDWARE, None)]


def spans(moments, value_of, reg, palette):
    """[(first, end, value, colour)] of one row: runs of the same value."""
    found = []
    for i, moment in enumerate(moments):
        value = value_of(moment).get(reg)
        if found and found[-1][2] == value:
            found[-1][1] = i + 1
        else:
            found.append([i, i + 1, value, None])
    return [(a, b, v, palette.colour(reg, v)) for a, b, v, _ in found if v is not None]


def arrows(moments, centre):
    """Entries and exits between host and guest; copies between a view and the hardware."""
    found = []
    for i, moment in enumerate(moments):
        e = moment.event
        x = LEFT + i * STEP
        if e.kind in (ENTRY, EXIT):
            way = ("host", "L%d" % e.level) if e.kind == ENTRY else ("L%d" % e.level, "host")
            words = "entry" if e.kind == ENTRY else "exit: %s%s" % (e.reason, " (fast)" if e.fast else "")
            found.append({"kind": e.kind, "x": x, "y1": centre[way[0]], "y2": centre[way[1]], "words": words + where(e), "fast": e.fast})
        elif e.kind in (SET, SYNC):
            way = ("host" if e.level == HOST else "L%d" % e.level, HARDWARE)
            row = row_of(e.reg)
            y1, y2 = centre[way[0], row], centre[way[1], row]
            found.append({"kind": e.kind, "x": x, "y1": y1 if e.kind == SET else y2, "y2": y2 if e.kind == SET else y1, "fast": False,
                          "words": "%s by %s: %s %s -> %s%s" % (e.kind, e.who, e.reg, bits(e.reg, e.old), bits(e.reg, e.new), where(e))})
        else:
            found.append({"kind": VIEW, "x": x, "y1": centre["L%d" % e.level if e.level else "host", row_of(e.reg)], "y2": None, "fast": False,
                          "words": "by %s: %s %s -> %s%s" % (e.who, e.reg, bits(e.reg, e.old), bits(e.reg, e.new), where(e))})
    return found


def row_of(reg):
    """DR0-3 and the masks have no row of their own: their copies are drawn at DR7's."""
    return reg if reg in REGISTERS else "DR7"


def where(event):
    """For a tooltip."""
    return ", tsc %d%s" % (event.tsc, ", rip %x" % event.rip if event.rip is not None else "")


def red_spans(moments):
    """[(first, end, register, words)]: while hardware and view differ."""
    found = []
    for reg in REGISTERS:
        for i, moment in enumerate(moments):
            if reg not in moment.parted:
                continue
            if found and found[-1][2] == reg and found[-1][1] == i and not moment.why:
                found[-1][1] = i + 1
            else:
                found.append([i, i + 1, reg, moment.why or "still %s, not %s" % (bits(reg, moment.hw[reg]), bits(reg, moment.parted[reg]))])
    return found


def picture(trace, name, title, start=None):
    """What timeline.svg.j2 draws, from one CPU's Trace. start: the first event to show, for a picture beside another."""
    whole = follow(trace.events)
    first, end = window(whole) if start is None else (start, min(len(whole), start + EVENTS))
    moments, palette = whole[first:end], Palette()
    lanes, y, centre = [], TOP, {}
    for label, level in lanes_of(moments):
        rows = []
        for reg in REGISTERS:
            value_of = (lambda m: m.hw) if level is None else (lambda m, level=level: m.views.get(level, {}))
            rows.append({"reg": reg, "y": y, "spans": [
                {"x": LEFT + a * STEP, "w": (b - a) * STEP - 2, "value": bits(reg, v), "text": "%x" % v, "colour": c}
                for a, b, v, c in spans(moments, value_of, reg, palette)]})
            centre[label, reg] = y + ROW // 2
            y += ROW
        centre[label] = y - 3 * ROW // 2
        runs = [i for i, m in enumerate(moments) if m.running == level]
        lanes.append({"label": label, "y": rows[0]["y"], "h": 3 * ROW, "rows": rows, "runs": [{"x": LEFT + a * STEP, "w": (b - a) * STEP} for a, b in ranges(runs)]})
        y += GAP
    reds = [{"x": LEFT + a * STEP, "w": (b - a) * STEP - 2, "y": centre[HARDWARE, reg] - ROW // 2, "reg": reg, "words": words}
            for a, b, reg, words in red_spans(moments)]
    zero = moments[0].event.tsc if moments else 0
    ticks = [{"x": LEFT + i * STEP, "text": "+%d" % (m.event.tsc - zero)} for i, m in enumerate(moments) if i % 6 == 0]
    partings = [{"at": first + i, "x": LEFT + i * STEP, "words": m.why} for i, m in enumerate(moments) if m.why]
    return {"name": name, "title": title, "width": LEFT + len(moments) * STEP + 20, "height": y + 10, "left": LEFT, "lanes": lanes, "arrows": arrows(moments, centre),
            "reds": reds, "ticks": ticks, "partings": partings, "all_partings": sum(1 for m in whole if m.why), "legend": palette.legend(),
            "shown": len(moments), "first": first, "total": len(whole), "lost": trace.lost, "focus": partings[0]["x"] if partings else 0}


def ranges(numbers):
    """[(first, end)] of runs of successive numbers."""
    found = []
    for n in numbers:
        if found and found[-1][1] == n:
            found[-1][1] = n + 1
        else:
            found.append([n, n + 1])
    return found


# ---- Perfetto ----

def chrome(trace, name):
    """Chrome's trace-event format (an object with traceEvents), which Perfetto opens. A TSC tick is shown as a nanosecond. One thread a lane and register."""
    moments = follow(trace.events)
    out, threads = [], {}

    def thread(label):
        if label not in threads:
            threads[label] = len(threads) + 1
            out.append({"ph": "M", "name": "thread_name", "pid": trace.cpu, "tid": threads[label], "args": {"name": label}})
            out.append({"ph": "M", "name": "thread_sort_index", "pid": trace.cpu, "tid": threads[label], "args": {"sort_index": threads[label]}})
        return threads[label]

    def slice_(label, title, first, end, args):
        ts = moments[first].event.tsc
        stop = moments[end].event.tsc if end < len(moments) else moments[-1].event.tsc + 1
        out.append({"ph": "X", "name": title, "cat": "drover", "pid": trace.cpu, "tid": thread(label), "ts": ts / 1000,
                    "dur": max(stop - ts, 1) / 1000, "args": args})

    out.append({"ph": "M", "name": "process_name", "pid": trace.cpu, "args": {"name": "%s, CPU %d" % (name, trace.cpu)}})
    palette = Palette()
    for label, level in lanes_of(moments):
        if level is not None:
            for a, b in ranges([i for i, m in enumerate(moments) if m.running == level]):
                slice_(label, label, a, b, {})
        for reg in REGISTERS:
            for a, b, v, _ in spans(moments, (lambda m: m.hw) if level is None else (lambda m, level=level: m.views.get(level, {})), reg, palette):
                slice_("%s %s" % (label, reg), bits(reg, v), a, b, {"value": "0x%x" % v})
    for a, b, reg, words in red_spans(moments):
        slice_("parted", "%s parted" % reg, a, b, {"why": words})
    for i, moment in enumerate(moments):
        e = moment.event
        lane = "host" if e.level == HOST else "L%d" % e.level
        point = {"cat": "drover", "pid": trace.cpu, "ts": e.tsc / 1000}
        title = e.reason or e.kind if e.kind in (ENTRY, EXIT) else "%s %s by %s" % (e.kind, e.reg, e.who)
        out.append(dict(point, ph="i", s="t", name=title, tid=thread(lane), args={"rip": "0x%x" % e.rip} if e.rip is not None else {
            "old": "-" if e.old is None else "0x%x" % e.old, "new": "-" if e.new is None else "0x%x" % e.new}))
        if e.kind in (SET, SYNC) and e.reg in REGISTERS:  # the copy, as a flow between the two rows
            ends = ("%s %s" % (lane, e.reg), "%s %s" % (HARDWARE, e.reg))
            source, target = ends if e.kind == SET else ends[::-1]
            out.append(dict(point, ph="s", name="copy", id=i + 1, tid=thread(source)))
            out.append(dict(point, ph="f", bp="e", name="copy", id=i + 1, tid=thread(target)))
        if moment.why:
            out.append(dict(point, ph="i", s="p", name="PARTED: %s" % moment.why, tid=thread(HARDWARE + " DR6")))
    return {"traceEvents": out, "displayTimeUnit": "ns", "otherData": {"name": name, "clock": "TSC ticks, shown as ns", "lost": trace.lost}}
