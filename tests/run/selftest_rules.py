# SPDX-License-Identifier: MIT
"""The part of selftest.py that asks what `make rules` would take for a proof."""

import json
import os
import shutil
import tempfile
import unittest
from pathlib import Path

import planted
import rules
import rungs

TABLES = """## 1. Architectural (group A)
| ID | Rule |
| A01 | one (m) |
| A02 | two |
## 5. PVM / software backend, guest kernel in ring 3 (group P)
| P01 | later |
## 10. Bugs
| B04 | not a rule |
"""


class RulesTests(unittest.TestCase):
    good = ""  # a report, from selftest.py

    def judged(self, caveats="- A02: needs SMM\n", checks=None, red=None, sources=None, tables=TABLES):
        """(rules, all problems) of a made-up run in which A01 is tested and A02 is not."""
        found, problems = rules.read_rules(tables)
        lines, more = rules.read_caveats("%s\n%s## Next\n- N99: elsewhere\n" % (rules.SECTION, caveats + "- P01: later\n"))
        evidence = rules.Evidence({"svm-qemu": [("a01/A01.x", True)]} if checks is None else checks,
                                  {"B31": {"host": ["A01.zero"]}} if red is None else red)
        return found, "\n".join(problems + more + rules.judge(found, sources or {}, lines, evidence))

    def test_good(self):
        found, problems = self.judged(sources={"a.c": "int A02; /* x\n * (A01-A02) */"})
        self.assertEqual(problems, "")
        self.assertEqual([r.state for r in found.values()], ["tested", "caveat", "caveat"])
        self.assertEqual((found["A02"].cited, found["A01"].mark), (["a.c:2"], "m"))

    def test_neither(self):
        self.assertIn("A02 has neither test nor caveat: no check", self.judged(caveats="")[1])
        self.assertIn("A01 has neither test nor caveat: nothing ever turned", self.judged(red={"B31": {"host": ["A02.x"]}})[1])
        self.assertIn("A01 has neither test nor caveat: no check", self.judged(checks={"host": [("A01.x", False), ("A02.x", True)]})[1])
        self.assertIn("A01 has neither test nor caveat: no check", self.judged(checks={"bare-qemu": [("a/A01.x", True)]})[1])
        vmx = TABLES.replace("(group A)", "(group V)").replace("A0", "V0")
        for rung, says in (("svm-qemu", True), ("vmx-bochs", False), ("host", False)):
            problems = self.judged(tables=vmx, caveats="- V02: x\n", checks={rung: [("v/V01.x", True)]}, red={"B31": {"host": ["V01.x"]}})[1]
            self.assertEqual("V01 has neither" in problems, says, rung)
        for rung, says in (("svm-qemu", True), ("vmx-bochs", False), ("nest2-vmx-bochs", False), ("bare-bochs-intel", True), ("explore", False)):
            problems = self.judged(tables=vmx, caveats="- V02: x\n", checks={"host": [("v/V01.x", True)]}, red={"B31": {rung: ["v/V01.x"]}})[1]
            self.assertEqual("V01 has neither" in problems, says, rung)

    def test_caveats(self):
        self.assertIn("A01 is tested: its caveat is stale", self.judged(caveats="- A01: x\n- A02: y\n")[1])
        self.assertIn("A09 has a caveat and is no rule", self.judged(caveats="- A02: y\n- A09: x\n")[1])
        self.assertIn("A02 has two caveats", self.judged(caveats="- A02: y\n- A02: x\n")[1])
        self.assertIn("A02 gives no reason", self.judged(caveats="- A02:\n")[1])
        self.assertIn("a caveat names no rule", self.judged(caveats="- A02: y\n- something\n")[1])

    def test_stale(self):
        """What `make rules` runs first: parts without results, with failures, of another tree or of other tests."""
        with tempfile.TemporaryDirectory() as folder:
            old, rungs.RESULTS = rungs.RESULTS, Path(folder)
            try:
                self.assertEqual(rules.stale(), list(rules.PARTS))
                for part in rules.PARTS:
                    saved = {"passed": 3, "failed": int(part == "svm"), "sources": rungs.source_hash({"vmx": "host", "bare": ""}.get(part, part))}
                    Path(folder, "part-%s.json" % part).write_text("{" if part == "gdb" else json.dumps(saved), encoding="ascii")
                self.assertEqual([rules.stale(), rules.stale(True)], [["bare", "svm", "vmx", "gdb"], ["bare", "vmx", "gdb"]])
            finally:
                rungs.RESULTS = old

    def test_sources(self):
        """What a part's results are of: drover, its tests, and what judges these."""
        def seen(part, name):
            path = Path(name)
            was, before = path.read_bytes(), rungs.source_hash(part)
            try:
                path.write_bytes(was + b"\n")
                return rungs.source_hash(part) != before
            finally:
                path.write_bytes(was)
        with tempfile.TemporaryDirectory() as folder:
            for top in ("linker.ld", "Makefile", "boot", "arch", "vmm", "drivers", "tests/guest", "tests/explore", "tests/host", "tests/run/expect"):
                (shutil.copytree if Path(top).is_dir() else shutil.copy)(top, Path(folder, top))
            old = os.getcwd()
            os.chdir(folder)
            try:
                for part, name in (("", "linker.ld"), ("", "vmm/run.c"), ("svm", "tests/guest/guest.mk"), ("svm", "tests/run/expect/svm-qemu"), ("gdb", "tests/run/expect/svm-qemu-gdb"),
                                   ("explore", "tests/explore/known"), ("host", "tests/host/tap.c")):
                    self.assertTrue(seen(part, name), (part, name))
                self.assertFalse(seen("host", "tests/run/expect/svm-qemu"))
            finally:
                os.chdir(old)

    def test_collateral(self):
        """What a mutant breaks besides its own rules is no evidence for these."""
        red = {"M1": ["A01.x", "A02.y", "rules.z"], "M2": ["A02.y"], "M3": ["A02.z"], "GONE": ["A01.x"]}
        heads = {"M1": "rules: A01, A03", "M2": "rules: A01\n# other: by way of A02", "M3": "rules: A02\n# expect: survives"}
        with tempfile.TemporaryDirectory() as folder:
            for name, head in heads.items():
                Path(folder, name + ".mutant").write_text("# story: x\n# source: y\n# %s\n\n@@ a.c\n<<<<\n1\n====\n2\n>>>>\n" % head, encoding="ascii")
            Path(folder, "host-red.json").write_text(json.dumps(red), encoding="ascii")
            Path(folder, "planted.json").write_text(json.dumps({"M1": {"svm-qemu": ["a/A02.y", "a/A03.y"]}}), encoding="ascii")
            old = rungs.RESULTS, rungs.BUILD, planted.mutate.MUTANTS
            try:
                rungs.RESULTS = rungs.BUILD = planted.mutate.MUTANTS = Path(folder)
                found = rules.gather().red
            finally:
                rungs.RESULTS, rungs.BUILD, planted.mutate.MUTANTS = old
        self.assertEqual(found, {"M1": {"host": ["A01.x"]}, "M2": {"host": ["A02.y"]}, "M3": {"host": []}, "GONE": {"host": []},
                                 "M1*": {"svm-qemu": ["a/A03.y"]}})

    def test_nothing_ran(self):
        self.assertIn("no check passed", self.judged(checks={})[1])
        self.assertIn("no mutant turned anything red", self.judged(red={})[1])

    def test_tables(self):
        self.assertIn("no rule was found", self.judged(tables="nothing\n")[1])
        self.assertIn("A01 stands twice", self.judged(tables=TABLES.replace("A02", "A01"))[1])
        self.assertIn("A02 stands under", self.judged(tables=TABLES.replace("P01", "A02"))[1])
        self.assertIn("names no rule", self.judged(checks={"host": [("A01.x", True), ("A77.x", True)]})[1])
        self.assertEqual(self.judged(checks={"host": [("A01.x", True), ("B04.x", True)]})[1], "")

    def test_logs(self):
        self.assertEqual(rules.host_checks("ok 1 A01.x t\nnot ok 2 A02.y u\nok 3 rules.s held\n", ["H01"])[1:],
                         [("A02.y", False), ("rules.s", True), ("H01.rules.s", True)])
        self.assertEqual(rules.host_checks("ok 3 rules.s held\nok 4 rules.t.pvm.amd held\n", ["P01"])[2:], [("P01.rules.t.pvm.amd", True)])
        self.assertEqual(rules.host_checks("not ok 3 rules.s broken\n", ["H01"]), [("rules.s", False)])
        self.assertEqual(rules.rung_checks(self.good, True), ([("a01/A01.ones", False), ("a01/A01.zero", True), ("doc0_x/H11.once", True)], []))
        self.assertIn("no VM said anything", rules.rung_checks("boot failed\n", False)[1])
        self.assertNotEqual(rules.rung_checks(self.good[:self.good.index("  1..3")], True)[1], [])
