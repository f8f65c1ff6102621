# SPDX-License-Identifier: MIT
"""The part of selftest.py that asks whether a report from a drover in a drover is read as what it is."""

import unittest

import badinput
import bench
import exitcodes
import job
import ktap
import nested
import rungs

REPORT = ["KTAP version 1", "1..1", "  # Subtest: s", "  ok 1 A01.x y", "  1..1", "ok 1 s", "# totals: pass:1 fail:0 skip:0 error:0"]


def log_of(nest, verdicts=None, tags=None):
    """A log with the report in the uppermost drover's VM. verdicts, tags: per drover and per level, from the first on."""
    verdicts, tags = verdicts or ["PASS code=0x10"] * nest, tags or range(1, nest + 1)
    text = ["[L%d:guest] %s" % (list(tags)[-1], line) for line in REPORT]
    for level in range(nest - 1, -1, -1):
        text.append("drover: verdict %s" % verdicts[level])
        if level:
            text = ["[L%d:%s] %s" % (list(tags)[level - 1], rungs.INNER, line) for line in text]
    return "\n".join(text) + "\n"


class NestedTests(unittest.TestCase):
    """Levels."""

    def problems(self, log, nest):
        checks, problems = rungs.collect(job.Result(job.Run("nest", "main", nest=nest), log, 0x21))
        return [c.key for c in checks], "\n".join(problems)

    def test_levels(self):
        """The report is the uppermost drover's, whichever level that is."""
        for nest in (1, 2, 3):
            self.assertEqual(self.problems(log_of(nest), nest), (["s/A01.x"], ""))
        self.assertIn("no VM said anything", self.problems(log_of(1), 2)[1])
        self.assertIn("no KTAP header", self.problems(log_of(3), 2)[1])

    def test_tags(self):
        """A line whose tag is of another level than its place is no evidence."""
        for tags in ((1, 1), (2, 2), (0, 2), (1, 3)):
            self.assertIn("do not tell its level", self.problems(log_of(2, tags=tags), 2)[1], tags)
        self.assertEqual(ktap.misplaced(log_of(3)), [])
        self.assertEqual(ktap.split_vms("[guest] KTAP version 1\n"), {})

    def test_verdicts(self):
        """Each drover has to end as the checks say."""
        fail = "FAIL code=0x12"
        self.assertIn("the drover at level 1 did not end", self.problems(log_of(2, ["PASS code=0x10", fail]), 2)[1])
        self.assertIn("its checks say", self.problems(log_of(2, [fail, "PASS code=0x10"]), 2)[1])
        self.assertIsNone(ktap.verdict_code(log_of(2).rsplit("drover: verdict", 1)[0]))

    def test_modules(self):
        """Each drover gets the one above it with what that one is to run, and the image with a bug in it is the uppermost one."""
        mods = rungs.in_drovers(((rungs.GUEST, "vm=guest -- scenario=all"),), 3, "screen=off", "bug.elf")
        self.assertEqual([str(path) for path, _ in mods], [str(rungs.DROVER), "bug.elf", str(rungs.GUEST)])
        self.assertTrue(mods[1][1].startswith("module-of=inner -- bug.elf vm=inner mem="))
        self.assertTrue(mods[2][1].startswith("module-of=inner -- guest.elf module-of=inner -- guest.elf vm=guest"))
        self.assertEqual(rungs.in_drovers((), 1, ""), ())

    def test_rungs(self):
        """Each nested rung stands on the one with one drover, and proves what that one proves but for what is listed."""
        for name in rungs.NEST_RUNGS:
            rung = rungs.RUNGS[name]
            self.assertEqual("nest%d-%s" % (rung.nest, rung.base), name)
            self.assertIn(name, rungs.PROOFS["doc0_"])
        self.assertEqual({name for name in rungs.RUNGS if name.startswith("nest2-")}, {name for name in rungs.NEST_RUNGS if rungs.RUNGS[name].nest == 2})
        for path in rungs.EXPECT.glob("nest*"):
            self.assertIn(path.name, rungs.NEST_RUNGS, "an expect file that no check reads")
        for prefix, name in rungs.UNPROVEN_NESTED:
            self.assertIn(name, rungs.PROOFS[prefix])
            self.assertNotIn("nest2-" + name, rungs.PROOFS[prefix])

    def test_bench(self):
        """A reflected exit of more than twelve plain ones fails, and one that is too cheap to have been one."""
        def failed(reflected, plain=300, l2_exit=400):
            return bench.judge_nested(plain, {"l2_exit": (l2_exit, "ticks"), "l2_reflected": (reflected, "ticks")})[1]
        self.assertEqual([failed(n) for n in (599, 600, 3600, 3601)], [1, 0, 0, 1])
        self.assertEqual((failed(3000, None), failed(3000, l2_exit=299), failed(3000, l2_exit=501)), (2, 1, 1))
        self.assertEqual(bench.judge_nested(300, {})[1], 2)

    def test_bench_plant(self):
        """Only a figure above its bound is red, beside one that is good."""
        def red(reflected, plain=300, l2_exit=400):
            return nested.breaks_bound(bench.judge_nested(plain, {"l2_exit": (l2_exit, "ticks"), "l2_reflected": (reflected, "ticks")})[0])
        self.assertEqual([red(n) for n in (599, 3600, 3601)], [False, False, True])
        self.assertEqual((red(9000, None), red(9000, l2_exit=501), nested.breaks_bound([]), nested.breaks_bound(bench.judge_nested(300, {})[0])), (False,) * 4)

    def test_console(self):
        """An exit for a byte fails, at either level."""
        def good(lines, top, below):
            log = "".join("[L1:inner] [L2:guest] line\n" for _ in range(lines)) + "[L1:inner] drover: vm guest: %d exits\n" % top
            return nested.console_is_good(*nested.console_costs(log + "drover: vm inner: %d exits\n" % below))
        self.assertEqual([good(*c) for c in ((100, 130, 1200), (100, 6000, 1200), (100, 130, 7000), (0, 0, 0), (100, 50, 1200))],
                         [True, False, False, False, False])

    def test_cases(self):
        """Names are unique, codes exist, both vendors' locks are asked for."""
        names = [(c.where, c.name) for c in nested.cases()]
        self.assertEqual(len(names), len(set(names)))
        self.assertFalse(set(names) & {(c.where, c.name) for c in badinput.cases()})
        for case in nested.cases():
            self.assertIn(case.code, exitcodes.EXIT_CODES)
        text = " ".join(p for c in nested.cases() if c.name == "inner-drover-locked" for p in c.says)
        self.assertTrue("IA32_FEATURE_CONTROL" in text and "VM_CR" in text)
