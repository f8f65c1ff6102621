# SPDX-License-Identifier: MIT
"""The part of selftest.py that asks whether the mutants' judge can be fooled."""

import tempfile
import unittest
from pathlib import Path

import planted

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

    def test_mutant_table(self):
        """Each bug stands once in the table, with mutants that exist."""
        rows = "".join("| B%02d | %s | |\n" % (n, "`B07`" if n == 7 else "-") for n in range(1, 71))
        self.assertEqual(mutate.table_problems(rows, ["B07", "X01"]), [])
        self.assertEqual(mutate.table_problems(rows, ["B07", "B08"]), ["B08 is not listed"])
        self.assertEqual(mutate.table_problems(rows, []), ["B07 is not a mutant"])
        self.assertEqual(mutate.table_problems(rows.replace("| B09 | - | |\n", ""), ["B07"]), ["B09 stands 0 times"])
