# SPDX-License-Identifier: MIT
"""The part of selftest.py that asks what counts as a good run of debugctl.py."""

import unittest

import debugctl
import exitcodes
import job
import rungs

UPPER = debugctl.Case("upper", "svm-qemu", ("s", "t"))
BUG = debugctl.Case("upper-bug", "svm-qemu", ("s",), "B06", ("S07.x",))


def log_of(scenarios, lower="PASS code=0x10", upper="PASS code=0x10", cut=""):
    """What two drovers say, with a report of these (name, "ok 1 A01.x y" lines) in the upper one's VM; up to a text, if one is given."""
    counts = [sum(line.startswith(word) for _, line in scenarios) for word in ("ok", "not ok")]
    report = ["KTAP version 1", "1..%d" % len(scenarios)]
    for number, (name, line) in enumerate(scenarios, 1):
        report += ["  # Subtest: %s" % name, "  " + line, "  1..1", "%s %d %s" % ("ok" if line.startswith("ok") else "not ok", number, name)]
    report += ["# totals: pass:%d fail:%d skip:0 error:0" % tuple(counts)]
    inner = ["[L2:l2] " + line for line in report] + ["drover: verdict " + upper]
    text = "\n".join(["[L1:%s] %s" % (rungs.INNER, line) for line in inner] + ["drover: verdict " + lower]) + "\n"
    return text[:text.index(cut)] if cut else text


class DebugctlTests(unittest.TestCase):
    """Ends, scenarios, red checks."""

    def problems(self, case, log, code="EXIT_PASS", status=None):
        result = job.Result(job.Run("debugctl", "main", nest=2), log, exitcodes.code(code) << 1 | 1 if status is None else status)
        return "\n".join(debugctl.judge(case, result)[0])

    def test_good(self):
        both = [("s", "ok 1 A01.x y"), ("t", "ok 1 A01.x y")]
        self.assertEqual(self.problems(UPPER, log_of(both)), "")
        self.assertIn("t did not run", self.problems(UPPER, log_of(both[:1])))
        self.assertIn("the drover at level 1 did not end", self.problems(UPPER, log_of(both, upper="FAIL code=0x12")))
        self.assertIn("its checks say", self.problems(UPPER, log_of(both, lower="FAIL code=0x12"), "EXIT_ERROR"))
        self.assertIn("its checks say", self.problems(UPPER, log_of(both), status=1))
        self.assertIn("the log ends inside", self.problems(UPPER, log_of(both, cut="ok 2 t")))
        failed = log_of([both[0], ("t", "not ok 1 A01.x y # expected=0x1 actual=0x2")], "FAIL code=0x11", "FAIL code=0x11")
        self.assertIn("t/A01.x: expected=0x1 actual=0x2", self.problems(UPPER, failed, "EXIT_FAIL"))
        self.assertIn("t: nothing passed", self.problems(UPPER, failed, "EXIT_FAIL"))

    def test_bug(self):
        """The named check has to be red, in a run that is whole and ends by itself."""
        def log(ident, **how):
            return log_of([("s", "not ok 1 %s y # expected=0x1 actual=0x2" % ident)], "FAIL code=0x11", "FAIL code=0x11", **how)
        self.assertEqual(self.problems(BUG, log("S07.x"), "EXIT_FAIL"), "")
        self.assertIn("S07.x is not red", self.problems(BUG, log("S07.y"), "EXIT_FAIL"))
        self.assertIn("no totals line", self.problems(BUG, log("S07.x", cut="[L1:inner] [L2:l2] # totals"), "EXIT_FAIL"))
        self.assertIn("its checks say", self.problems(BUG, log("S07.x"), "EXIT_PANIC"))
