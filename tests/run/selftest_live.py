# SPDX-License-Identifier: MIT
"""The part of selftest.py that asks what `make run` shows: lines per scenario, the time left, and what is wrong."""

import io
import re
import unittest
from pathlib import Path

import bench
import bits
import dbgtrace
import expect
import job
import ktap
import live
import rungs

LIST = "a01/A01.ones fail actual=0xffffffff qemu bit 12 is not modelled\na01/A01.rtm skip actual=- qemu no RTM here\n"


class LiveTests(unittest.TestCase):
    good = ""  # a report, from selftest.py

    def lines(self, text, rung="bare-qemu", pieces=1, colours=False):
        """What is written for a log that comes in pieces."""
        out, clock = [], iter(range(1000))
        made = live.Lines(rungs.RUNGS[rung], 2, 20, out.append, colours, lambda: next(clock))
        made.entries, made.version = expect.parse(LIST)[0], "qemu-10.0.2"
        size = max(1, len(text) // pieces)
        for at in range(0, len(text), size):
            made.feed(text[at:at + size])
        return out

    def test_lines(self):
        out = self.lines(self.good)
        self.assertEqual(out, ["[1/2] known a01                1 ok, 1 known, 1 skipped  1.0 s, about 10 s left\n", "[2/2] ok    doc0_x             1 ok  1.0 s\n"])
        for pieces in (3, 40, len(self.good)):
            self.assertEqual(self.lines(self.good.replace("\n", "\r\n"), pieces=pieces), out)

    def test_words(self):
        self.assertIn("FAIL  a01", self.lines(self.good.replace("actual=0xffffffff", "actual=0x5"))[0])
        self.assertIn("FAIL  doc0_x             1 failed", self.lines(self.good.replace("ok 1 H11.once kept", "not ok 1 H11.once kept # expected=0x1 actual=0x0"))[1])
        self.assertIn("ERROR doc0_x", self.lines(self.good.replace("ok 1 H11.once kept", "not ok 1 H11.once kept # ERROR none"))[1])
        self.assertIn("FAIL  a01", self.lines(self.good.replace("not ok 2 A01.ones", "ok 2 A01.ones"))[0])  # listed and passes

    def test_vms(self):
        tagged = "".join("drover: x\n[L1:a] %s\n[L1:b] %s\n" % (line, line) for line in self.good.split("\n")[1:-1])
        self.assertEqual([line.split()[2] for line in self.lines(tagged, "svm-qemu")], ["a01", "a01", "doc0_x", "doc0_x"])
        self.assertEqual(self.lines(tagged), [])
        deeper = "".join("[L1:inner] %s\n" % line for line in tagged.replace("[L1:", "[L2:").split("\n"))
        self.assertEqual(len(self.lines(deeper, "nest2-svm-qemu")), 4)
        self.assertEqual(self.lines(deeper, "svm-qemu"), [])

    def test_colours(self):
        self.assertNotIn("\x1b", "".join(self.lines(self.good)))
        self.assertIn("\x1b[33mknown\x1b[0m", self.lines(self.good, colours=True)[0])
        self.assertFalse(live.colours_wanted(io.StringIO()))

    def test_time_left(self):
        self.assertEqual([live.time_left(0, 10, 5, 40), live.time_left(4, 100, 5, 40), live.time_left(1, 0, 5, None)], [None, None, None])
        self.assertEqual(live.time_left(5, 10, 10, 40), 20)    # faster than usual: not believed
        self.assertEqual(live.time_left(5, 10, 40, 40), 40)    # twice as slow
        self.assertEqual(live.time_left(5, 10, 30, None), 30)  # by its own pace
        self.assertEqual([live.length(59.4), live.length(130)], ["59 s", "2 min 10 s"])

    def test_planned(self):
        flags = {"a": "SCN_LAB", "b": "0", "storm": "SCN_BY_NAME | SCN_LAB", "n": "SCN_NESTED | SCN_LAB"}
        self.assertEqual([live.planned(rungs.RUNGS[r], "all", flags) for r in ("bare-qemu", "svm-qemu")], [3, 3 + 1 + len(rungs.LOCKED) + len(rungs.EMULATED) + 2])
        self.assertEqual(live.planned(rungs.RUNGS["svm-qemu"], "a,b", flags), 2)
        sources = "".join(p.read_text(encoding="utf-8") for p in Path("tests/guest").glob("*.c"))
        self.assertEqual(len(live.scenario_flags()), sources.count("\nSCENARIO("))

    def test_traced_cost(self):
        plain = {name: (100, "") for name in bench.TRACED}
        for value, failed in ((120, 0), (121, 1), (100, 1)):
            self.assertEqual(bench.judge_traced(plain, {**{n: (110, "") for n in bench.TRACED}, "cpuid": (value, "")})[1], failed, value)
        self.assertEqual(bench.judge_traced({}, {})[1], len(bench.TRACED))

    def test_trace_words(self):
        """Who may access a register: what drover prints, no more and no less."""
        names = re.search(r"who_names\[\] = \{([^}]*)\}", Path("vmm/dbgtrace.c").read_text(encoding="utf-8")).group(1)
        words = re.search(r"by \(([^)]*)\)", dbgtrace.ACCESS.pattern).group(1)
        self.assertEqual(sorted(re.findall(r"\w+", names)), sorted(words.split("|")))

    def test_usual(self):
        self.assertEqual([r for r in rungs.RUNGS.values() if not r.policy and r.nest < 3 and r.name not in rungs.USUAL], [])
        self.assertEqual([r.name for r in rungs.RUNGS.values() if not r.floor], [])

    def check(self, line):
        return ktap.result("  " + line, "a01")

    def test_decoded(self):
        self.assertEqual(bits.decode("A01.x", "", "0xffff0ff0", "0xffff4ff1"), ["DR6=ffff0ff0 []", "DR6=ffff4ff1 [B0 BS]"])
        self.assertEqual(bits.decode("A02.x", "all but GD", "0xffff07ff", "0xffffdfff")[1][:12], "DR7=ffffdfff")
        self.assertEqual(bits.decode("B04.writes", "DR writes", "0x0", "0x1f5"), ["0x0", "0x1f5"])
        self.assertEqual(bits.decode("S07.guest", "DEBUGCTL is set", "0x0", "0x41"), ["DEBUGCTL=0 []", "DEBUGCTL=41 [LBR TR]"])
        self.assertEqual(bits.decode("H06.x", "DR6 and DR7 later", "0x1", "0x2"), ["0x1", "0x2"])
        self.assertEqual(bits.decode("A10.x", "one #DB", "DB+0/ffff2ff0", "DB+3/ffff2ff0"), ["DB+0/DR6=ffff2ff0 [BD]", "DB+3/DR6=ffff2ff0 [BD]"])

    def test_explain(self):
        check = self.check("not ok 2 A01.ones DR6 written # expected=0xffff0ff0 actual=0xffff4ff1")
        lines = live.explain(check, {"A01": "DR6 reads back"}, ("exit",))
        self.assertEqual(lines, ["not ok a01/A01.ones DR6 written", "    expected  DR6=ffff0ff0 []", "    actual    DR6=ffff4ff1 [B0 BS]", "    rule A01: DR6 reads back",
                                 "    the last exits before it:", "      exit"])
        self.assertIn("could not run: no memory", "\n".join(live.explain(self.check("not ok 2 A01.x y # ERROR no memory"), {})))

    def traced(self, extra=0):
        """A log with a trace in which each line cost one OUTS, and a register access before the second check."""
        said = ["KTAP version 1", "1..1", "  # Subtest: a01", "  ok 1 A01.zero x", "  not ok 2 A01.ones y # expected=0x1 actual=0x2", "  1..2", "not ok 1 a01"]
        events, tsc = [], 0
        for number in range(len(said) + extra):
            tsc += 10
            events.append("%d: kvm_entry: vm guest level 1 rip 0x1 state live dr6 0xffff0ff0 dr7 0x400 debugctl 0x0" % tsc)
            if number == 4 + extra:
                events.append("%d: kvm_exit: vm guest level 1 reason cpuid code 0x72 info 0x0 rip 0x7 state live dr6 0xffff4ff1 dr7 0x400 debugctl 0x0 fast" % tsc)
                events.append("%d: kvm_entry: vm guest level 1 rip 0x9 state live dr6 0xffff0ff0 dr7 0x400 debugctl 0x0" % tsc)
            events.append("%d: kvm_exit: vm guest level 1 reason io code 0x7b info 0xe90001 rip 0x1 state live dr6 0xffff0ff0 dr7 0x400 debugctl 0x0" % tsc)
        return "".join("[L1:guest] %s\n" % s for s in said) + "drover: trace: begin cpu 0: %d events, 0 lost\n" % len(events) + "".join(
            "drover: trace: [0] %s\n" % e for e in events) + "drover: trace: end cpu 0\n"

    def test_last_exits(self):
        for extra in (0, 3):  # lines of before the trace do not matter: it is counted from the end
            exits = live.exits_before(self.traced(extra), "guest", "a01/A01.ones", 2)
            self.assertEqual(exits, ("      -0 exit  L1 cpuid (fast) rip=7 (live) DR6=ffff4ff1 [B0 BS] DR7=400 [] DEBUGCTL=0 []",
                                     "      -0 entry L1 (live) DR6=ffff0ff0 [] DR7=400 [] DEBUGCTL=0 []"))
        self.assertEqual(live.exits_before(self.traced(), "guest", "a01/A01.other"), ())
        self.assertEqual(live.exits_before(self.traced().replace("reason io", "reason cpuid"), "guest", "a01/A01.ones"), ())
        self.assertEqual(live.exits_before(self.good, "guest", "a01/A01.ones"), ())
        panic = "drover: panic\ndrover: last 2 of 9 exits (ticks):\ndrover:   -5 cpuid\ndrover:   -0 hlt\ndrover: rip\n"
        self.assertEqual(live.panic_exits(panic), panic.split("\n")[1:4])

    def test_troubles(self):
        """Only what is news is told, once, and the scenario runs again for its trace."""
        run = job.Run("svm-qemu", "main", modules=rungs.modules())
        text = "".join("[L1:guest] %s\n" % line for line in self.good.replace("actual=0xffffffff", "actual=0xffff4ff1").split("\n")[1:-1])
        outcome = rungs.judge(rungs.RUNGS["svm-qemu"], [job.Result(run, text + "drover: verdict FAIL code=0x11\n", 35)], whole=False)
        out, asked = [], []
        live.print_troubles(outcome, lambda scenario: asked.append(scenario) or self.traced(), out.append, False)
        told = "".join(out)
        self.assertEqual(asked, ["a01"])
        self.assertIn("actual    DR6=ffff4ff1 [B0 BS]", told)
        self.assertEqual(told.count("not ok a01/A01.ones"), 1)
        self.assertIn("rule A01: DR6 reads back", told)
        self.assertIn("exit  L1 cpuid (fast)", told)
        self.assertNotIn("A01.zero", told)
