# SPDX-License-Identifier: MIT
"""The part of selftest.py that asks what gdbcheck.py takes for a good run, and for a planted bug that was seen."""

import unittest

import gdbcheck
import job
import rungs

CASE = gdbcheck.Case("steps", ("at gdb_here 0", "step gl_cpuid -"), log=(r"kvm_entry",), known=(("Z07.read", "0x2"),))
SAID = "@attached yes\n@at gdb_here 0\n@step gl_cpuid -\n@detached True\n"
CHECKS = ("ok 1 Z03.pushf a", "not ok 2 Z07.read b # expected=0x0 actual=0x2")


def log_of(checks=CHECKS, more="trace: x: kvm_entry: vm guest\n"):
    """drover's log with these checks of z03_stepped."""
    failed = sum(line.startswith("not") for line in checks)
    rows = ["KTAP version 1", "1..1", "  KTAP version 1", "  # Subtest: z03_stepped", *("  " + line for line in checks), "  1..%d" % len(checks),
            "%sok 1 z03_stepped" % ("not " if failed else ""), "# totals: pass:%d fail:%d skip:0 error:0" % (len(checks) - failed, failed)]
    return more + "\n".join("[L1:guest] " + row for row in rows) + "\ndrover: verdict FAIL code=0x11\n"


class GdbTests(unittest.TestCase):
    """Lines, checks, the log, ends."""

    def judged(self, said=SAID, log=None, status=0x11 << 1 | 1):
        run = job.Run("gdb", "svm-qemu-steps", modules=((rungs.GUEST, "vm=guest lab -- scenario=z03_stepped"),))
        return gdbcheck.judge(CASE, rungs.RUNGS["svm-qemu"], job.Result(run, log_of() if log is None else log, status), said)

    def bad(self, **other):
        """What is wrong, and which rules of Z06 a bug would be said to have turned red."""
        judged = self.judged(**other)
        return "\n".join(judged.bad), gdbcheck.red_of(judged, ["Z06"])

    def test_good(self):
        self.assertEqual(self.bad(), ("", []))

    def test_lines(self):
        self.assertEqual(self.bad(said=SAID.replace("gl_cpuid", "gl_cli")), ("line 3: wanted /step gl_cpuid -/, got 'step gl_cli -'", ["Z06.gdb.steps"]))
        self.assertIn("3 lines instead of 4", self.bad(said=SAID.replace("@at gdb_here 0\n", ""))[0])
        self.assertEqual(self.bad(log=log_of(more="")), ("the log has no /kvm_entry/", ["Z06.gdb.steps"]))

    def test_guest(self):
        self.assertIn("the guest: not ok z03_stepped/Z03.pushf", self.bad(log=log_of(("not ok 1 Z03.pushf a # expected=0x0 actual=0x1", CHECKS[1])))[0])
        self.assertIn("Z07.read is fail 0x3, not 0x2", self.bad(log=log_of((CHECKS[0], CHECKS[1].replace("0x2", "0x3"))))[0])
        self.assertIn("Z07.read is ok", self.bad(log=log_of((CHECKS[0], "ok 2 Z07.read b")))[0])
        self.assertIn("Z07.read is not in the run", self.bad(log=log_of(CHECKS[:1]))[0])

    def test_accidents(self):
        """What was cut short is no good run, and shows no bug."""
        cut = log_of()[:log_of().index("  1..2")]
        for other in ({"log": cut, "status": None, "said": SAID[:20]}, {"log": cut, "said": SAID[:20] + "@end of gdb: by its time limit\n"}, {"status": None}):
            words, red = self.bad(**other)
            self.assertEqual((bool(words), red), (True, []), other)

    def test_suite(self):
        result = job.Result(job.Run("gdb", "svm-qemu-suite"), log_of())
        self.assertEqual(gdbcheck.suite_hits("@hits scenario_run 1\n", result), [])
        for said in ("@hits scenario_run 2\n", "@end exited\n"):
            self.assertTrue(gdbcheck.suite_hits(said, result))

    def test_names(self):
        self.assertEqual(gdbcheck.check(("svm-qemu",), ("nosuch",)), [0, 1, 0])
