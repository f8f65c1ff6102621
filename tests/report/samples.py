# SPDX-License-Identifier: MIT
"""Made-up input for the page's own tests: a trace with the bug of source document 0 and one without, results in which each mark occurs. Never shown to a reader."""

import charts

STALE, FRESH = 0xffff0ff0, 0xffff0fff


def entry(tsc, dr6="-", state="live", level=1, dr7="0x400", debugctl="0x0", flags=""):
    """A kvm_entry line."""
    return "drover: trace: [0] %d: kvm_entry: vm guest level %d rip 0x200123 state %s dr6 %s dr7 %s debugctl %s%s" % (tsc, level, state, dr6, dr7, debugctl, flags)


def leave(tsc, dr6="-", state="live", level=1, dr7="0x400", debugctl="0x0", flags="", reason="hypercall"):
    """A kvm_exit line."""
    return "drover: trace: [0] %d: kvm_exit: vm guest level %d reason %s code 0x81 info 0x0 rip 0x200126 state %s dr6 %s dr7 %s debugctl %s%s" % (
        tsc, level, reason, state, dr6, dr7, debugctl, flags)


def access(tsc, kind, who, reg, old, new, level=1):
    """A Set, Sync or View line."""
    return "drover: trace: [0] %d: %s DRs: vm guest level %d by %s %s %s -> %s" % (tsc, kind, level, who, reg, old, new)


def doc0(reloads):
    """A guest takes the registers, writes DR6, makes a fast exit, and goes on: with the old DR6 if the inner loop reloads it."""
    first = "0x%x" % (STALE if reloads else FRESH)
    return [entry(100, "-", "idle"), leave(150, "0xffff0ff0", "idle", reason="mov_dr"), access(160, "Set", "enter", "DR6", "-", "0xffff0ff0"),
            entry(200, "0x%x" % STALE), leave(260, "0x%x" % FRESH, flags=" fast"), entry(280, first), leave(330, first, reason="io"),
            access(340, "Sync", "leave", "DR6", "0xffff0ff0", first), access(350, "Set", "leave", "DR6", first, "0xffff0ff0"),
            access(360, "View", "guest", "DR7", "0x400", "0x402"), entry(400, first, dr7="0x402"), leave(450, first, dr7="0x402", reason="interrupt")]


def log(lines, lost=0):
    """A serial log round them."""
    return "\n".join(["drover: boot", "drover: trace: begin cpu 0: %d events, %d lost" % (len(lines), lost), *lines, "drover: trace: end cpu 0",
                      "drover: verdict PASS code=0x10"]) + "\n"


def rung_results():
    """{rung: what rungs.save() writes}: each mark somewhere, two rungs, one absent."""
    said = {"reason": "a made-up reason (docs/x.md, 2z) <&>", "expected": "0xffff0ff0", "actual": "0xffff4ff1", "title": "DR6 \"quoted\""}
    marks = {"a01_dr6_fixed/A01.zero": "ok", "a01_dr6_fixed/A01.ones": "known", "a01_dr6_fixed/A01.rtm": "skip", "a02_dr7_fixed/A02.x": "fail",
             "a02_dr7_fixed/A02.y": "fail", "a03_dr_high_bits/A03.e": "error", "a04_dr_any_address/A04.a": "ok", "a30_btf/all": "skip"}
    one = {"rung": "bare-qemu", "version": "qemu-1.2", "absent": "", "marks": marks, "said": {k: said for k, m in marks.items() if m != "ok"},
           "problems": ["a02_dr7_fixed/A02.x: not ok and unlisted <b>"], "guest": ""}
    fine = {k: "ok" for k in marks if k.startswith("a0")}
    return {"bare-qemu": one, "svm-qemu": {"rung": "svm-qemu", "version": "qemu-1.2", "absent": "", "marks": fine, "said": {}, "problems": [], "guest": ""},
            "kvm": {"rung": "kvm", "version": "qemu-1.2", "absent": "/dev/kvm: none", "marks": {}, "said": {}, "problems": [], "guest": ""}}


# What the page of these has to show, counted by hand: what data.py takes for something else is wrong in the data and in the page alike.
MARKS = {"bare-qemu": {"ok": 2, "fail": 2, "error": 1, "known": 1, "skip": 2}, "svm-qemu": {"ok": 7, "fail": 0, "error": 0, "known": 0, "skip": 0},
         "kvm": {"ok": 0, "fail": 0, "error": 0, "known": 0, "skip": 0}}
COUNTS = {"tr.scenario": 5, "tr.reason": 4, "li.group": 5, "tr.bench": 2, "tr.part": 1, "p.absent": 1, "#scenario-table tbody td.m-none": 6,
          "#scenario-table tbody td.m-ok": 5, "#scenario-table tbody td.m-known": 1, "#scenario-table tbody td.m-skip": 1, "#scenario-table tbody td.m-fail": 1,
          "#scenario-table tbody td.m-error": 1}


def bench():
    """What bench.keep() writes."""
    policies = {p: {"%s_%s" % (w, f): 100 * i + 7 * j + k for j, (w, _) in enumerate(charts.WORK) for k, (f, _) in enumerate(charts.FIGURES)}
                for i, p in enumerate(charts.POLICIES)}
    return {"rows": [["ok", "cpuid", "290", "<= 300", "CPUID round trip"], ["FAIL", "rdmsr", "missing", "<= 300", "RDMSR <round trip>"]],
            "policies": policies, "version": "qemu-1.2"}
