# SPDX-License-Identifier: MIT
"""The part of selftest.py that asks what `make check-l0` makes of a log."""

import io
import sys
import unittest
from pathlib import Path

import job
import ktap
import l0
import rungs

RULES = """| ID | Rule | Bk | Source | Prevents |
|---|---|---|---|---|
| A01 | DR6 has fixed bits | all | manual 17.2 | x |
## 3. VMX (group V)
| ID | Rule | Source | Prevents | Test |
| V01 | order | handle_dr | y | z |
"""
HELD = "KTAP version 1\n1..1\n  KTAP version 1\n  # Subtest: a01\n  ok 1 A01.zero\n  1..1\nok 1 a01\n# totals: pass:1 fail:0 skip:0 error:0\n"
NEITHER = "drover: backend svm refused: SVM: CPU has none\ndrover: verdict FAIL code=0x23\n"


def asked(bare, nested):
    """(status, what was printed) of a whole check whose runs end so: (log, exit status of QEMU, None for a time limit)."""
    old, job.execute_all = job.execute_all, lambda runs: [job.Result(run, *(bare if run.bare else nested)) for run in runs]
    out, sys.stdout = sys.stdout, io.StringIO()
    try:
        return l0.check("qemu"), sys.stdout.getvalue()
    finally:
        job.execute_all, sys.stdout = old, out


class L0Tests(unittest.TestCase):
    good = ""  # a report, from selftest.py: A01 with one ok, one not, one skipped; H11 ok

    def test_sources(self):
        self.assertEqual(l0.sources(RULES), {"A01": "manual 17.2", "V01": "handle_dr"})

    def test_by_rule(self):
        found = l0.by_rule(ktap.parse_text(self.good).checks)
        self.assertEqual({r: (f.state, f.passed, len(f.broken), len(f.skipped)) for r, f in found.items()}, {"A01": ("broken", 1, 1, 1), "H11": ("held", 1, 0, 0)})
        self.assertEqual(l0.summary(found), "1 rules held, 1 broken, 0 not shown")
        skipped = l0.by_rule([ktap.result("  ok 1 A01.x y # SKIP none", "a")])
        self.assertEqual(skipped["A01"].state, l0.UNSEEN)

    def test_told(self):
        out = []
        run = job.Run("l0", "bare-suite", bare=True)
        broken, ran = l0.report("bare", [job.Result(run, self.good.replace("0xffffffff", "0xffff4ff1"), 35)], {"A01": "fixed bits"}, {"A01": "a manual"}, out.append)
        self.assertEqual((broken, ran), (1, True))
        self.assertEqual(out[-4:-1], ["bare: A01 broken: fixed bits", "    from: a manual",
                                      "    1 of 2 checks; a01/A01.ones DR6 written ~0: expected DR6=ffffefff [B0 B1 B2 B3 BD BS BT], actual DR6=ffff4ff1 [B0 BS]"])

    def test_no_rule(self):
        """What names no rule is told and counted: by what its id begins with, or, of a scenario that could not run, by that."""
        lines = (("NB.gif.data", "a01", ktap.FAIL), ("NB.ok", "a01", ktap.OK), ("NV.sh", "b", ktap.FAIL), ("-", "c_dead", ktap.ERROR),
                 ("all", "d_skipped", ktap.SKIP))
        found = l0.by_rule([ktap.Check(scenario, ident, status, reason="no memory") for ident, scenario, status in lines])
        self.assertEqual({r: (f.passed, len(f.broken)) for r, f in found.items()}, {"NB": (1, 1), "NV": (0, 1), "scenario c_dead": (0, 1)})
        out, run = [], job.Run("l0", "bare-suite", bare=True)
        dead = "  KTAP version 1\n  # Subtest: doc0_x\n  ok 1 H11.once kept\n  1..1\nok 2 doc0_x"
        log = self.good.replace("ok 1 A01.zero a", "not ok 1 NB.zero a").replace(dead, "not ok 2 doc0_x # ERROR no memory")
        log = log.replace("pass:2 fail:1 skip:1 error:0", "pass:0 fail:2 skip:1 error:1")
        self.assertEqual(l0.report("bare", [job.Result(run, log, 37)], {}, {}, out.append), (3, True))
        for text in ("bare: NB broken: the base of nesting", "bare: scenario doc0_x broken: ", "could not run: no memory", "no rule: tests/guest/doc0_x.c"):
            self.assertIn(text, "\n".join(out))

    def test_dies(self):
        """A machine that dies or hangs with drover in it is news; one without SVM or VMX is none."""
        passed, refused = (HELD, 33), (NEITHER, 71)
        begun = "drover: backend svm\n"
        for nested, status, count in ((refused, 0, 0), ((begun, None), 1, 2), (("", 0), 1, 2), ((begun + "[L1:guest] KTAP version 1\n", None), 1, 2)):
            end, said = asked(passed, nested)
            self.assertEqual(end, status, said)
            self.assertIn("l0: %d rules broken" % count, said)
        end, said = asked((HELD, None), refused)  # all is said, and it does not end
        self.assertEqual(end, 1, said)

    def test_unusable(self):
        """A run that says nothing is no finding about a rule; it counts, unless drover has nothing to run on."""
        run = job.Run("l0", "nested-suite", modules=rungs.modules())
        out = []
        log = "drover: backend svm refused: SVM: CPU has none\ndrover: verdict FAIL code=0x24\n"
        for result, why in ((job.Result(run, log, 73), "drover cannot run there: backend svm refused: SVM: CPU has none"),
                            (job.Result(run, "", None), "no end within"), (job.Result(run, problem="qemu: none"), "qemu: none")):
            self.assertIn(why, l0.unusable(result))
            self.assertEqual(l0.report("nested", [result], {}, {}, out.append), (int(not l0.excused(result)), False))
            self.assertEqual(bool(l0.excused(result)), result.log == log)

    def test_known(self):
        """What is QEMU's own, without a clock that counts instructions, is told as QEMU's; the rule stays broken."""
        out = []
        log = self.good.replace("a01", "a35_irq_once").replace("0xffffffff", "0xffff4ff1")
        for of_qemu, told in ((None, 0), (l0.OF_TCG, 1)):
            self.assertEqual(l0.report("bare", [job.Result(job.Run("l0", "bare-suite", bare=True), log, 35)], {}, {}, out.append, of_qemu), (1, True))
            self.assertEqual("\n".join(out).count("    known: QEMU TCG without -icount"), told)
        for command, tcg in (("qemu-system-x86_64 -cpu max", True), ("/usr/bin/qemu-system-x86_64 -accel tcg -cpu kvm64", True), ("qemu -enable-kvm", False),
                             ("qemu -machine q35,accel=kvm:tcg", False), ("qemu -accel kvm", False), ("qemu -icount shift=0", False), ("mine", False)):
            self.assertEqual(l0.is_tcg(command.split()), tcg, command)

    def test_died(self):
        """A suite that dies in one scenario: the others are to run alone."""
        flags = {"a01": "0", "doc0_x": "0", "next": "SCN_LAB", "storm": "SCN_BY_NAME"}
        run = job.Run("l0", "bare-suite", bare=True)
        cut = job.Result(run, self.good[:self.good.index("  1..1\nok 2 doc0_x")], None)
        self.assertEqual((l0.died_in(cut), l0.left(cut, flags)), ("doc0_x", ["next"]))
        whole = job.Result(run, self.good, 35)
        self.assertEqual((l0.died_in(whole), l0.left(whole, flags)), ("", []))

    def test_nothing_began(self):
        """One message, with what may help."""
        old, job.execute_all = job.execute_all, lambda runs: [job.Result(run, problem="qemu: failed to set MSR 0x10a to 0x1") for run in runs]
        out, sys.stdout = sys.stdout, io.StringIO()
        try:
            status = l0.check("qemu -enable-kvm")
            said = sys.stdout.getvalue()
        finally:
            job.execute_all, sys.stdout = old, out
        self.assertEqual((status, said.count("MSR 0x10a")), (2, 1))
        self.assertIn("try -cpu host,-arch-capabilities", said.split("\n")[-2])
        self.assertEqual(l0.hint("all is well"), "")

    def test_command(self):
        words = ["qemu-system-x86_64", "-enable-kvm"]
        argv = l0.argv_of(words, Path("k.elf"), "a b", ((Path("g.elf"), "vm=a,b"),))(Path("s"), None)
        self.assertEqual(argv[:4], words + ["-m", "256"])
        self.assertEqual(argv[-1], "g.elf vm=a,,b")
        self.assertNotIn("256", l0.argv_of(words + ["-m", "64"], Path("k"), "")(Path("s"), None))
        self.assertEqual([kind for kind, _ in l0.to_run(words)], ["bare", "bare", "nested", "nested"])
