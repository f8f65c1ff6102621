# SPDX-License-Identifier: MIT
"""Tests of the trace's reader, of the partings that it finds, and of what is drawn from it, with made-up lines."""

import json
import tempfile
import unittest

import data  # first: it finds tests/run
import bits
import dbgtrace
import report
import samples
import timeline


def moments(lines):
    """The moments of a log that reads without a problem."""
    traces = dbgtrace.parse(samples.log(lines))
    assert len(traces) == 1 and not traces[0].problems, traces
    return dbgtrace.follow(traces[0].events)


def partings(lines):
    """[(number of the event, words)]."""
    return [(i, m.why) for i, m in enumerate(moments(lines)) if m.why]


class Reader(unittest.TestCase):
    def test_lines(self):
        e = dbgtrace.parse_event(samples.leave(77, "0xffff0fff", flags=" fast")[len("drover: trace: "):])
        self.assertEqual((e.kind, e.tsc, e.vm, e.level, e.reason, e.code, e.rip, e.state, e.fast), ("exit", 77, "guest", 1, "hypercall", 0x81, 0x200126, "live", True))
        self.assertEqual(e.regs, {"DR6": 0xffff0fff, "DR7": 0x400, "DEBUGCTL": 0})
        e = dbgtrace.parse_event(samples.access(9, "Sync", "leave", "DR6", "-", "0x5", 2)[len("drover: trace: "):])
        self.assertEqual((e.kind, e.level, e.who, e.reg, e.old, e.new), ("sync", 2, "leave", "DR6", None, 5))

    def test_broken(self):
        good = samples.doc0(False)
        for old, new in (("state live", "state dead"), ("by enter", "by nobody"), ("dr6 0xffff0ff0", "dr6 0xzz"), ("kvm_entry: vm guest", "kvm_entry: guest"),
                         ("reason mov_dr ", "")):
            text = samples.log(good)
            self.assertIn(old, text)
            found = dbgtrace.parse(text.replace(old, new, 1))
            self.assertIn("not understood", found[0].problems[0], new)
        self.assertIn("12 events promised, 11 read", dbgtrace.parse(samples.log(good).replace(good[3] + "\n", ""))[0].problems[0])
        self.assertIn("time runs backwards", dbgtrace.parse(samples.log(good[:2] + good[:1]))[0].problems[0])
        self.assertIn("does not end", dbgtrace.parse(samples.log(good).replace("drover: trace: end cpu 0\n", ""))[0].problems[0])
        self.assertIn("outside of a trace", dbgtrace.parse(good[0])[0].problems[0])
        self.assertEqual(dbgtrace.parse("drover: boot\n"), [])
        self.assertEqual(dbgtrace.parse(samples.log(good, 56))[0].lost, 56)


class Partings(unittest.TestCase):
    def test_doc0(self):
        self.assertEqual(partings(samples.doc0(False)), [])
        found = partings(samples.doc0(True))
        self.assertEqual([i for i, _ in found], [5])
        self.assertEqual(found[0][1], "the guest runs with DR6=ffff0ff0 [], its own is ffff0fff [B0 B1 B2 B3]")

    def test_lasts(self):
        """It goes on while the guest has not written again, and ends when the view is read out."""
        marked = [i for i, m in enumerate(moments(samples.doc0(True))) if m.parted]
        self.assertEqual(marked, [5, 6])
        lines = samples.doc0(True)
        lines[6] = samples.leave(330, "0xffff0ff2", reason="io")  # the guest has written
        self.assertEqual([i for i, m in enumerate(moments(lines)) if m.parted], [5])

    def test_not_owned(self):
        """Who does not own DR6 runs with the reset value: nothing parts (H09, H13)."""
        lines = [samples.access(1, "View", "guest", "DR6", "-", "0xffff0ff1"), samples.entry(5, "0xffff0ff0", "armed", dr7="0x402")]
        self.assertEqual(partings(lines), [])
        self.assertEqual(len(partings(lines[:1] + [samples.entry(5, "0xffff0ff0", "live")])), 1)

    def test_dr7_and_debugctl(self):
        base = [samples.entry(1, state="armed", dr7="0x402"), samples.leave(2, state="armed", dr7="0x402")]
        self.assertEqual(partings(base + [samples.entry(3, state="armed", dr7="0x402")]), [])
        self.assertIn("DR7=400", partings(base + [samples.entry(3, state="armed", dr7="0x400")])[0][1])
        self.assertIn("DEBUGCTL=1 [LBR]", partings(base + [samples.entry(3, state="armed", dr7="0x402", debugctl="0x1")])[0][1])
        self.assertEqual(partings(base + [samples.entry(3, state="armed", dr7="0x402", debugctl="0x4000")]), [])  # FREEZE_IN_SMM is the host's (V18)
        self.assertEqual(partings(base + [samples.entry(3, state="armed", dr7="0x402", debugctl="0x1", flags=" stepped")]), [])
        held = base + [samples.access(3, "Set", "debugger", "DR7", "0x402", "0x40a"), samples.entry(4, state="armed", dr7="0x40a")]
        self.assertEqual(partings(held), [])

    def test_host(self):
        """The registers are the host's again and DR6 is still a guest's (H06); a fast exit gives nothing back."""
        lines = [samples.entry(1, "0xffff0ff0"), samples.leave(2, "0xffff4ff0"), samples.access(3, "Sync", "leave", "DR6", "-", "0xffff4ff0")]
        reset = [samples.access(4, "Set", "leave", "DR6", "0xffff4ff0", "0xffff0ff0")]
        after = [samples.access(5, "View", "guest", "DR7", "0x400", "0x400")]
        self.assertEqual(partings(lines + reset + after), [])
        self.assertEqual(partings(lines + after)[0][0], 3)
        self.assertIn("H06", partings(lines + after)[0][1])
        fast = [samples.entry(1, "0xffff0ff0"), samples.leave(2, "0xffff4ff0", flags=" fast"), samples.entry(3, "0xffff4ff0")]
        self.assertEqual(partings(fast), [])

    def test_levels(self):
        """What a switch of levels does not tell is not known; what it tells counts."""
        one = [samples.entry(1, "0xffff0ff1"), samples.leave(2, "0xffff0ff1"), samples.access(3, "Set", "leave", "DR6", "-", "0xffff0ff0")]
        two = [samples.entry(4, "0xffff0ff2", level=2), samples.leave(5, "0xffff0ff2", level=2), samples.access(6, "Set", "leave", "DR6", "-", "0xffff0ff0")]
        self.assertEqual(partings(one + two + [samples.entry(7, "0xffff0ff8")]), [])
        told = two + [samples.access(7, "View", "switch", "DR6", "0xffff0ff2", "0xffff0ff1"), samples.entry(8, "0xffff0ff8")]
        self.assertEqual([i for i, _ in partings(one + told)], [7])


class Pictures(unittest.TestCase):
    def picture(self, reloads):
        return timeline.picture(dbgtrace.parse(samples.log(samples.doc0(reloads)))[0], "x", "title")

    def test_rows(self):
        made = self.picture(True)
        self.assertEqual([lane["label"] for lane in made["lanes"]], ["host", "L1", "hardware"])
        hardware = made["lanes"][-1]["rows"][0]
        self.assertEqual([s["text"] for s in hardware["spans"]], ["ffff0ff0", "ffff0fff", "ffff0ff0"])
        self.assertEqual([s["colour"] for s in hardware["spans"]], [0, 1, 0])
        self.assertEqual([(r["reg"], r["w"]) for r in made["reds"]], [("DR6", 2 * timeline.STEP - 2)])
        self.assertEqual(made["all_partings"], 1)
        self.assertEqual(self.picture(False)["reds"], [])

    def test_arrows(self):
        made = self.picture(False)
        ways = [(a["kind"], a["y1"] < (a["y2"] or 0)) for a in made["arrows"]]
        self.assertEqual(made["first"], 2)  # what comes before has nothing to do with debug registers
        self.assertEqual(ways[:3], [("set", True), ("entry", True), ("exit", False)])
        self.assertIn(("sync", False), ways)
        self.assertTrue(made["arrows"][2]["fast"])
        self.assertIn("exit: hypercall (fast), tsc 260, rip 200126", made["arrows"][2]["words"])

    def test_window(self):
        idle = [line for n in range(200) for line in (samples.entry(2 * n, "-", "idle"), samples.leave(2 * n + 1, "0xffff0ff0", "idle"))]
        later = [line.replace("[0] ", "[0] 9") for line in samples.doc0(True)]
        made = timeline.picture(dbgtrace.parse(samples.log(idle + later))[0], "x", "t")
        self.assertEqual((made["first"], made["total"]), (405 - timeline.BEFORE, 412))
        self.assertTrue(made["partings"] and made["reds"])

    def test_chrome(self):
        made = timeline.chrome(dbgtrace.parse(samples.log(samples.doc0(True)))[0], "x")
        events = made["traceEvents"]
        self.assertTrue(all({"ph", "pid", "name"} <= set(e) for e in events))
        self.assertTrue(all(e["dur"] > 0 for e in events if e["ph"] == "X"))
        threads = {e["args"]["name"]: e["tid"] for e in events if e["name"] == "thread_name"}
        values = [e["name"] for e in events if e["ph"] == "X" and e["tid"] == threads["hardware DR6"]]
        self.assertEqual(values, ["ffff0ff0 []", "ffff0fff [B0 B1 B2 B3]", "ffff0ff0 []"])
        flows = [e["id"] for e in events if e["ph"] == "s"]
        self.assertEqual(sorted(flows), sorted(e["id"] for e in events if e["ph"] == "f"))
        self.assertEqual(sum(1 for e in events if e["name"].startswith("PARTED")), 1)


class Traced(unittest.TestCase):
    """What check.py makes of scenarios that were traced one by one."""

    def words(self, lines, lost=0):
        import check  # which runs these tests
        tally, rung = check.Tally(), "pvm-qemu"
        said, tally.check = [], lambda good, words: said.append(("ok " if good else "FAIL ") + words)
        old = check.TRACED, check.job.execute_all
        check.TRACED, check.job.execute_all = {rung: ("a12_dr6_sticky",)}, lambda runs: [check.job.Result(run, samples.log(lines, lost), 33) for run in runs]
        try:
            check.traced_alone(tally, rung)
        finally:
            check.TRACED, check.job.execute_all = old
        return said[1:]

    def test_alone(self):
        read, parts = self.words(samples.doc0(False), 7)
        self.assertTrue(read.startswith("ok a12_dr6_sticky on pvm-qemu: its trace reads: 12 events, 7 lost"), read)
        self.assertTrue(parts.startswith("ok a12_dr6_sticky on pvm-qemu: nothing parts in the 12 events kept (7 lost), 3 of them entries"), parts)
        self.assertTrue(self.words(samples.doc0(True))[1].startswith("FAIL a12_dr6_sticky on pvm-qemu: nothing parts"))

    def test_nothing_to_see(self):
        """A trace without one entry of a guest that has breakpoints proves nothing, and an empty one less."""
        self.assertTrue(self.words(samples.doc0(False)[:2])[1].startswith("FAIL "))
        self.assertTrue(all(w.startswith("FAIL ") for w in self.words([])))


class Page(unittest.TestCase):
    def test_groups(self):
        saved = samples.rung_results()["bare-qemu"]
        groups = data.groups_of("bare-qemu", saved)
        self.assertEqual([(g["mark"], g["checks"]) for g in groups["a02_dr7_fixed"]], [("fail", ["A02.x", "A02.y"])])
        self.assertIn("actual DR7=ffff4ff1", groups["a02_dr7_fixed"][0]["example"])
        self.assertNotIn("a04_dr_any_address", groups)

    def test_mutant_states(self):
        def state(*good, survives=False):
            return data.mutant_row("m", {}, [], [{"where": "host", "words": "", "good": g} for g in good], survives)["state"]
        self.assertEqual([state(), state(True), state(True, False), state(True, survives=True)], ["not run", "killed", "alive", "survives"])

    def test_gdb_plants(self):
        """check-gdb's bugs are seen, or not, as the other plants are."""
        with tempfile.TemporaryDirectory() as folder:
            names = [p for p in data.mutate.names() if p.startswith("GE")][:3]
            red = dict(zip(names, ({"svm-qemu-gdb": ["Z06.gdb.steps", "Z06.gdb.steps"]}, {"svm-qemu-gdb": []})))
            data.Path(folder, "gdb.json").write_text(json.dumps({"red": red}), encoding="utf-8")
            data.Path(folder, "planted.json").write_text(json.dumps({"B03": {"svm-qemu": []}}), encoding="utf-8")
            rows = {row["name"]: row for row in data.mutant_rows(data.Path("."), data.Path(folder))}
        self.assertEqual([rows[name]["state"] for name in names] + [rows["B03"]["state"]], ["killed", "alive", "not run", "alive"])
        self.assertEqual(rows[names[0]]["kills"], [{"where": "svm-qemu-gdb", "words": "turned red: Z06.gdb.steps", "good": True}])
        self.assertIn("gdb", data.PARTS_TO_RUN)

    def test_no_trace(self):
        self.assertEqual(report.read_trace(report.DEFAULT[0], data.Path("/nonexistent"))[1], "doc0_dr6_once-svm-qemu-B01-svm has not been traced")


class Bits(unittest.TestCase):
    def test_values(self):
        self.assertEqual(bits.bits("DR6", 0xffff4ff1), "ffff4ff1 [B0 BS]")
        self.assertEqual(bits.bits("DR6", 0xfffe07f0), "fffe07f0 [BLD RTM]")
        self.assertEqual(bits.bits("DR6", 0xffffffff), "ffffffff [B0 B1 B2 B3 BD BS BT bit12!]")
        self.assertEqual(bits.bits("DR6", 0), "0 [BLD RTM %s]" % " ".join("bit%d=0!" % b for b in range(32) if 0xffff0ff0 >> b & 1 and b not in (11, 16)))
        self.assertEqual(bits.bits("DR7", 0xd2402), "d2402 [G0:write4 GD]")
        self.assertEqual(bits.bits("DR7", 0), "0 [bit10=0!]")
        self.assertEqual(bits.bits("DEBUGCTL", 3), "3 [LBR BTF]")
