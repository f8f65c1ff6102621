# SPDX-License-Identifier: MIT
"""The part of selftest.py that asks whether the mutants' judge can be fooled."""

import tempfile
import unittest
from pathlib import Path

import drover_run
import expect
import job
import planted
import rungs

mutate = planted.mutate


class MutantTests(unittest.TestCase):
    """What counts as a kill."""

    def test_mutants(self):
        """A mutant is killed only by a red check of its own rules that tells both values; an edit that does not apply is an error."""
        head = "# story: s\n# source: t\n# rules: H06 A12%s\n\n@@ docs/rules.md\n<<<<\nno such text\n====\nother\n>>>>\n"
        own, other = ("not ok 3 %s.x text # expected=0x1 actual=0x2" % rule for rule in ("H06", "S02"))
        mutant = mutate.Mutant("m", head % "")
        self.assertEqual(mutant.mistakes, [])
        self.assertEqual(mutate.verdict(mutant, [other, own], 1), (True, "killed by H06.x (expected=0x1 actual=0x2)"))
        for failed, status in (([], 0), ([other], 1), (["not ok 3 H06.x text"], 1), ([own], None), ([own], -11)):
            self.assertFalse(mutate.verdict(mutant, failed, status)[0], (failed, status))
        self.assertTrue(mutate.verdict(mutate.Mutant("m", head % "\n# other: why"), [other], 1)[0])
        null = mutate.Mutant("m", head % "\n# expect: survives")
        self.assertTrue(mutate.verdict(null, [], 0)[0])
        self.assertFalse(mutate.verdict(null, [own], 1)[0])
        with tempfile.TemporaryDirectory() as folder:
            self.assertEqual(mutant.apply(Path(folder)), [])
        self.assertIn("ERROR no longer applies", mutate.verdict(mutant, [own], 1)[1])
        self.assertTrue(mutate.Mutant("m", "# story: s\n").mistakes)
        self.assertIsNone(mutate.load("../README"))

    def test_elsewhere(self):
        """A mutant of a backend that does not run, and what the last line of make run says of one that nothing has shown."""
        edit = "\n@@ %s\n<<<<\nx\n====\ny\n>>>>\n"
        svm, both, all_of = (mutate.Mutant("m", "# story: s\n# source: t\n# rules: H06\n" + "".join(edit % name for name in names)) for names in (
            ("arch/x86/svm/svm.c",), ("arch/x86/svm/svm.c", "arch/x86/vmx/vmx.c"), ("arch/x86/svm/svm.c", "vmm/run.c")))
        self.assertEqual([planted.elsewhere(svm, b) for b in ("svm", "pvm", "auto")], ["", "it is of svm, and pvm runs", ""])
        self.assertEqual([planted.elsewhere(both, b) for b in ("svm", "vmx", "pvm")], ["", "", "it is of svm and vmx, and pvm runs"])
        self.assertEqual(planted.elsewhere(all_of, "pvm"), "")
        self.assertEqual(planted.elsewhere(mutate.load("B01-svm"), "vmx"), "it is of svm, and vmx runs")
        rung, result = rungs.RUNGS["pvm-qemu"], job.Result(job.Run("run", "m"), "drover: verdict PASS code=0x10\n", 0x21)
        outcome = rungs.Outcome(rung, expect.Judgement(ok=["a"]), [], [result])
        self.assertEqual(drover_run.last_line(rung, outcome, "", ""), "verdict: PASS on pvm-qemu, drover ended with EXIT_PASS")
        self.assertEqual(drover_run.last_line(rung, outcome, "B01", "why"), "verdict: mutant B01 NOT SEEN on pvm-qemu (PASS, drover ended with EXIT_PASS): why")
        outcome.judgement.failed.append("x")
        self.assertEqual(drover_run.last_line(rung, outcome, "B01", ""), "verdict: FAIL on pvm-qemu, drover ended with EXIT_PASS")

    def test_mutant_table(self):
        """Each bug stands once in the table, with mutants that exist."""
        rows = "".join("| B%02d | %s | |\n" % (n, "`B07`" if n == 7 else "-") for n in range(1, 71))
        self.assertEqual(mutate.table_problems(rows, ["B07", "X01"]), [])
        self.assertEqual(mutate.table_problems(rows, ["B07", "B08"]), ["B08 is not listed"])
        self.assertEqual(mutate.table_problems(rows, []), ["B07 is not a mutant"])
        self.assertEqual(mutate.table_problems(rows.replace("| B09 | - | |\n", ""), ["B07"]), ["B09 stands 0 times"])
