#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Tests of the runner itself, with made-up logs: each rule of the expectation lists is seen to turn red.
The last line is `selftest: N passed, N failed`."""

import io
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.dont_write_bytecode = True

import badinput  # noqa: E402
import bench  # noqa: E402
import elfmake  # noqa: E402
import emulators  # noqa: E402
import exitcodes  # noqa: E402
import expect  # noqa: E402
import job  # noqa: E402
import ktap  # noqa: E402
import planted  # noqa: E402
import rungs  # noqa: E402
import selftest_cases  # noqa: E402
import selftest_gdb  # noqa: E402
import selftest_l0  # noqa: E402
import selftest_live  # noqa: E402
import selftest_mutants  # noqa: E402
import selftest_nested  # noqa: E402
import selftest_rules  # noqa: E402
import table  # noqa: E402

GOOD = """SeaBIOS talks
KTAP version 1
1..2
  KTAP version 1
  # Subtest: a01
  ok 1 A01.zero a #DB title
  not ok 2 A01.ones DR6 written ~0 # expected=0xffffefff actual=0xffffffff
  ok 3 A01.rtm RTM bit # SKIP no RTM in CPUID
  1..3
not ok 1 a01
  KTAP version 1
  # Subtest: doc0_x
  ok 1 H11.once kept
  1..1
ok 2 doc0_x
# totals: pass:2 fail:1 skip:1 error:0
"""
LIST = """# a list
a01/A01.ones fail actual=0xffffffff qemu-10.0 bit 12 is not modelled
a01/A01.rtm  skip actual=- qemu no RTM on this CPU model
"""


def judged(log=GOOD, text=LIST, version="qemu-10.0.2", **options):
    """The judgement of a made-up log under a made-up list, and the report's own problems."""
    report = ktap.parse_text(log)
    entries, problems = expect.parse(text)
    options.setdefault("proofs", ("doc0_",))
    return expect.judge(report.checks, entries, version, problems=problems, **options), report.problems


def failures(**options):
    """All failures and errors as one text."""
    judgement, problems = judged(**options)
    return "\n".join(judgement.failed + judgement.errors + problems)


class Parser(unittest.TestCase):
    def problems(self, old, new):
        self.assertIn(old, GOOD)
        return "\n".join(ktap.parse_text(GOOD.replace(old, new, 1)).problems)

    def test_good(self):
        report = ktap.parse_text(GOOD.replace("\n", "\r\n"))
        self.assertEqual(report.problems, [])
        self.assertEqual([c.status for c in report.checks], ["ok", "fail", "skip", "ok"])
        self.assertEqual(report.checks[1].actual, "0xffffffff")
        self.assertEqual(report.checks[0].text, "a #DB title")

    def test_cut_short(self):
        self.assertIn("ends inside scenario a01", "\n".join(ktap.parse_text(GOOD[:GOOD.index("  1..3")]).problems))
        self.assertIn("planned 2 scenarios, saw the end of 1",
                      "\n".join(ktap.parse_text(GOOD[:GOOD.index("  # Subtest: doc0")]).problems))

    def test_nothing(self):
        self.assertIn("no KTAP header", "\n".join(ktap.parse_text("boot failed\n").problems))

    def test_plan(self):
        self.assertIn("planned 4 checks, reported 3", self.problems("  1..3", "  1..4"))
        self.assertIn("has no plan", self.problems("  1..3\n", ""))
        self.assertIn("planned 3 scenarios", self.problems("1..2", "1..3"))

    def test_totals(self):
        self.assertIn("totals say", self.problems("pass:2", "pass:3"))
        self.assertIn("no totals line", self.problems("# totals: pass:2 fail:1 skip:1 error:0\n", ""))

    def test_twice(self):
        self.assertIn("reported twice", self.problems("A01.ones", "A01.zero"))
        self.assertIn("ran twice", self.problems("# Subtest: doc0_x", "# Subtest: a01"))

    def test_wrong_summary(self):
        self.assertIn("says ok though a check was fail", self.problems("not ok 1 a01", "ok 1 a01"))
        self.assertIn("says fail though no check failed", self.problems("ok 2 doc0_x", "not ok 2 doc0_x"))

    def test_number(self):
        self.assertIn("has number 7", self.problems("not ok 2 A01.ones", "not ok 7 A01.ones"))

    def test_empty_scenario(self):
        log = GOOD.replace("  ok 1 H11.once kept\n  1..1\n", "  1..0\n")
        self.assertIn("reported no check", "\n".join(ktap.parse_text(log).problems))

    def test_error_line(self):
        log = GOOD.replace("ok 1 H11.once kept", "not ok 1 H11.once kept # ERROR no memory").replace(
            "ok 2 doc0_x", "not ok 2 doc0_x # ERROR").replace("pass:2", "pass:1").replace("error:0", "error:1")
        report = ktap.parse_text(log)
        self.assertEqual(report.problems, [])
        self.assertEqual(report.checks[-1].status, "error")

    def test_vms(self):
        tagged = "".join("[L1:guest] %s\n" % line for line in GOOD.split("\n")[1:-1]) + "drover: verdict FAIL code=0x11\n"
        vms = ktap.split_vms(tagged)
        self.assertEqual(list(vms), ["guest"])
        self.assertEqual(ktap.parse(vms["guest"]).problems, [])
        self.assertEqual(ktap.verdict_code(tagged), 0x11)
        self.assertIsNone(ktap.verdict_code("drover: verdict PASS code=0x11\n"))
        self.assertIsNone(ktap.verdict_code("[L1:guest] drover: verdict PASS code=0x10\n"))


class Lists(unittest.TestCase):
    def test_good(self):
        judgement, problems = judged()
        self.assertTrue(judgement.good, judgement)
        self.assertEqual(problems, [])
        self.assertEqual((len(judgement.ok), len(judgement.known), len(judgement.skipped)), (2, 1, 1))

    def test_unlisted(self):
        self.assertIn("not ok and unlisted: a01/A01.ones", failures(text=""))

    def test_skip_unlisted(self):
        self.assertIn("skipped and unlisted: a01/A01.rtm", failures(text=LIST.split("a01/A01.rtm")[0]))

    def test_listed_but_passes(self):
        self.assertIn("a01/A01.zero: listed but passes",
                      failures(text=LIST + "a01/A01.zero fail actual=0x1 qemu-10.0 was wrong once\n"))

    def test_other_value(self):
        self.assertIn("another wrong value", failures(text=LIST.replace("actual=0xffffffff", "actual=0xfffffffe")))

    def test_range(self):
        for words, said in (("0xfffffff0..0xffffffff", ""), ("0xfffffff0..0xfffffffe", "another wrong value"), ("0xf..0x1", "no range"), ("none..0x1", "no range")):
            self.assertIn(said, failures(text=LIST.replace("actual=0xffffffff", "actual=" + words)))
        self.assertEqual(failures(text=LIST.replace("actual=0xffffffff", "actual=0x0..0xffffffff")), "")

    def test_same_number(self):
        self.assertEqual(failures(text=LIST.replace("actual=0xffffffff", "actual=4294967295")), "")

    def test_other_kind(self):
        self.assertIn("listed as skip", failures(text=LIST.replace("A01.ones fail", "A01.ones skip")))

    def test_error_is_never_listed(self):
        log = GOOD.replace("# SKIP no RTM", "# ERROR no RTM").replace("ok 3", "not ok 3")
        self.assertIn("a01/A01.rtm: ERROR: no RTM", failures(log=log))
        self.assertIn("an ERROR cannot be listed", failures(log=log, text=LIST.replace(" skip", " error")))
        self.assertIn("a01/A01.rtm: ERROR", failures(log=log, text=LIST.replace(" skip", " error")))

    def test_listed_but_absent(self):
        text = LIST + "b02/B02.x fail actual=0x1 qemu-10.0 gone meanwhile\n"
        self.assertIn("b02/B02.x: listed but not in the run", failures(text=text))
        self.assertEqual(failures(text=text, whole=False), "")

    def test_proof_absent(self):
        log = GOOD.replace("doc0_x", "other")
        self.assertIn("doc0_*: this rung proves it, but no such scenario ran", failures(log=log))

    def test_proof_listed(self):
        log = GOOD.replace("ok 1 H11.once kept", "not ok 1 H11.once kept # expected=0x1 actual=0x0").replace(
            "ok 2 doc0_x", "not ok 2 doc0_x").replace("pass:2 fail:1", "pass:1 fail:2")
        text = LIST + "doc0_x/H11.once fail actual=0x0 qemu-10.0 we gave up on it\n"
        found = failures(log=log, text=text)
        self.assertIn("it cannot be listed", found)
        self.assertIn("but it is fail", found)
        self.assertEqual(failures(log=log, text=text, proofs=()), "")

    def test_proof_skipped(self):
        log = GOOD.replace("ok 1 H11.once kept", "ok 1 H11.once kept # SKIP no lab").replace(
            "pass:2 fail:1 skip:1", "pass:1 fail:1 skip:2")
        text = LIST + "doc0_x/H11.once skip actual=- qemu-10.0 no lab calls here\n"
        self.assertIn("but it is skip", failures(log=log, text=text))

    def test_reason(self):
        self.assertIn("no reason given", failures(text=LIST.replace("bit 12 is not modelled", "TODO bit 12 is wrong")))
        self.assertIn("no reason given", failures(text=LIST.replace("bit 12 is not modelled", "")))

    def test_malformed(self):
        self.assertIn("not 'scenario/check", failures(text=LIST + "what is this\n"))
        self.assertIn("neither skip nor fail", failures(text=LIST.replace(" skip", " maybe")))
        self.assertIn("listed twice", failures(text=LIST + LIST))

    def test_versions(self):
        judgement, _ = judged(version="qemu-11.0.0")
        self.assertTrue(judgement.good)
        self.assertIn("listed for qemu-10.0, this is qemu-11.0.0", "\n".join(judgement.notes))
        passes = LIST + "a01/A01.zero fail actual=0x1 qemu-9.1 was wrong there\n"
        judgement, _ = judged(text=passes)
        self.assertTrue(judgement.good)
        self.assertIn("passes here (listed for qemu-9.1", "\n".join(judgement.notes))
        self.assertIn("another wrong value", failures(version="qemu-11.0.0", text=LIST.replace("0xffffffff", "0xf")))
        entry = expect.parse("a/b fail actual=1 qemu-1 some reason here\n")[0][0]
        self.assertFalse(entry.fits("qemu-10.0.2"))

    def test_bare(self):
        bare = {"a01/A01.zero": "ok", "a01/A01.ones": "ok", "a01/A01.rtm": "skip", "gone/G01": "ok", "doc0_x/H11.once": "skip"}
        found = failures(bare=bare)
        self.assertIn("a01/A01.ones: passes bare, not ok under drover", found)
        self.assertIn("gone: a check passes bare, absent under drover: gone/G01", found)
        self.assertNotIn("A01.rtm", found)
        gone = LIST + "gone/all skip actual=- qemu-10.0 bare-ok: not here\n"
        self.assertIn("gone: a check passes bare", failures(bare=bare, text=gone))  # listed, but not skipped here
        del bare["gone/G01"]
        self.assertEqual(failures(bare=bare, text=LIST.replace("bit 12", "bare-ok: bit 12")), "")

    def test_suggest(self):
        judgement, _ = judged(text="")
        lines = expect.suggest(judgement, "qemu-10.0.2")
        self.assertEqual(len(lines), 2)
        entries, problems = expect.parse("\n".join(lines))
        self.assertEqual(len(entries), 2)
        self.assertEqual(len(problems), 2)  # each says TODO, so none may be used as it is


class Runs(unittest.TestCase):
    def result(self, log, status, **fields):
        return job.Result(job.Run("svm-qemu", "main", **fields), log, status)

    def drover(self, code, status=None):
        text = "".join("[L1:guest] %s\n" % line for line in GOOD.split("\n")[1:-1])
        verdict = "drover: verdict %s code=0x%02x\n" % ("PASS" if code == 0x10 else "FAIL", code)
        return self.result(text + verdict, (code << 1 | 1) if status is None else status)

    def test_codes(self):
        self.assertEqual(rungs.collect(self.drover(0x11))[1], [])
        self.assertIn("its checks say EXIT_FAIL", rungs.collect(self.drover(0x10))[1][0])
        self.assertIn("its checks say EXIT_FAIL", rungs.collect(self.drover(0x11, status=0))[1][0])
        self.assertIn("its checks say EXIT_FAIL", rungs.collect(self.drover(0x31))[1][0])

    def test_timeout(self):
        result = self.drover(0x11)
        result.status = None
        self.assertIn("no end within", rungs.collect(result)[1][0])

    def test_silence(self):
        self.assertIn("no VM said anything", rungs.collect(self.result("drover: verdict PASS code=0x10\n", 0x21))[1])

    @staticmethod
    def vm(name, checks, status):
        rows = ["KTAP version 1", "1..1", "  # Subtest: isolation"] + checks + ["  1..1", "ok 1 isolation", status]
        return "".join("[L1:%s] %s\n" % (name, row) for row in rows)

    def test_peer_merge(self):
        log = (self.vm("l2", ["  ok 1 all x # SKIP no second VM in this group"], "# totals: pass:0 fail:0 skip:1 error:0")
               + self.vm("a", ["  ok 1 H15.dr x"], "# totals: pass:1 fail:0 skip:0 error:0") + "drover: verdict PASS code=0x10\n")
        checks, problems = rungs.collect(self.result(log, 0x21))
        self.assertEqual(([c.key for c in checks], problems), (["isolation/H15.dr"], []))

    def test_skipped_in_every_vm(self):
        skip = ["  ok 1 all x # SKIP no VMX"], "# totals: pass:0 fail:0 skip:1 error:0"
        checks, problems = rungs.collect(self.result(self.vm("l2", *skip) + self.vm("l1", *skip) + "drover: verdict PASS code=0x10\n", 0x21))
        self.assertEqual(([c.key for c in checks], problems), (["isolation/all"], []))

    def test_time_limit_and_crash(self):
        with tempfile.TemporaryDirectory() as folder:
            old, job.LOGS = job.LOGS, Path(folder)
            try:
                slow = job.execute(job.Run("r", "slow", timeout=0.5, argv=lambda s, w: ["sleep", "60"]))
                none = job.execute(job.Run("r", "none", argv=lambda s, w: ["/no/such/emulator"]))
                stuck = job.execute(job.Run("r", "stuck", timeout=60, argv=lambda s, w: ["sh", "-c", "echo KVM internal error. Suberror: 1; sleep 60"]))
                end = stuck.end()
                dies = job.execute(job.Run("r", "dies", argv=lambda s, w: ["sh", "-c", "exit 3"]))
            finally:
                job.LOGS = old
        self.assertTrue(slow.timed_out and slow.seconds < 5)
        self.assertTrue(stuck.timed_out and stuck.seconds < 8)
        self.assertEqual(end, "stopped for good: KVM internal error. Suberror: 1")
        self.assertTrue(none.problem)
        self.assertEqual((dies.status, dies.code), (3, None))

    def test_no_port(self):
        with tempfile.TemporaryDirectory() as folder:
            old, job.LOGS = job.LOGS, Path(folder, "logs")
            flag = Path(folder, "flag")
            script = "[ -e %s ] || { echo RFB could not bind any port; touch %s; exit 1; }; exit 7" % (flag, flag)
            try:
                again = job.execute(job.Run("r", "again", platform="bochs", argv=lambda s, w: ["sh", "-c", script]))
            finally:
                job.LOGS = old
        self.assertEqual(again.status, 7)

    def test_commas(self):
        argv = emulators.qemu_kernel("tcg", 64, "s", "k", "", [("g.elf", "-- scenario=a,b"), ("h.elf", "")])
        self.assertEqual(argv[argv.index("-initrd") + 1], "g.elf -- scenario=a,,b,h.elf")

    def test_exit_status(self):
        self.assertEqual(exitcodes.from_qemu_status(0x21), 0x10)
        for status in (None, -11, 0, 1, 0x20):
            self.assertIsNone(exitcodes.from_qemu_status(status))


class Others(unittest.TestCase):
    def case_problems(self, log, status, code="EXIT_TRIPLE", **fields):
        case = badinput.Case("x", "qemu", code, badinput.stopped("triple"), **fields)
        return "\n".join(badinput.verdict(case, job.Result(badinput.to_run(case), log, status)))

    def test_bad_input(self):
        log = ("drover: vm bad: stopped: triple fault\n[L1:next] ok 1 %s\ndrover: vm next: ended: status 0x10\n"
               "drover: verdict FAIL code=0x31\n") % badinput.AFTER
        self.assertEqual(self.case_problems(log, 0x63), "")
        self.assertIn("expected EXIT_TRIPLE", self.case_problems(log.replace("0x31", "0x32"), 0x65))
        self.assertIn("vm next", self.case_problems(log.replace("vm next", "vm nix"), 0x63))
        self.assertIn("stopped", self.case_problems(log.replace("triple fault", "bad luck"), 0x63))
        self.assertIn("no end within", self.case_problems(log, None))
        self.assertIn("the serial line has", self.case_problems(log, 0x63, never=("^drover: vm next",)))
        self.assertIn("has to hang", self.case_problems(log, 0x63, code="hang"))

    def test_names(self):
        names = [(c.where, c.name) for c in badinput.cases()]
        self.assertEqual(len(names), len(set(names)))
        for case in badinput.cases():
            self.assertTrue(case.code == "hang" or case.code in exitcodes.EXIT_CODES, case)

    def test_elf(self):
        files = elfmake.broken()
        self.assertEqual(len(set(files.values())), len(files))
        self.assertLess(files["good.elf"].index(elfmake.multiboot_header()), 8192)

    def test_errors_fail_a_rung(self):
        """A run that is cut short, or ends with the wrong code, fails its rung even if each check that it made was ok."""
        run = job.Run("svm-qemu", "main", modules=rungs.modules())
        log = "[L1:guest] KTAP version 1\n[L1:guest] 1..2\n[L1:guest]   KTAP version 1\n[L1:guest]   # Subtest: s\n[L1:guest]   ok 1 A01.x y\n[L1:guest]   1..1\n[L1:guest] ok 1 s\n"
        outcome = rungs.judge(rungs.RUNGS["svm-qemu"], [job.Result(run, log, None)])
        self.assertTrue(outcome.judgement.errors)
        self.assertFalse(outcome.judgement.good)
        self.assertEqual(outcome.counts[1], len(outcome.judgement.failed) + len(outcome.judgement.errors))
        self.assertIn("only 1 checks were ok; %d are the least" % rungs.RUNGS["svm-qemu"].floor, outcome.judgement.failed)
        self.assertNotIn("are the least", " ".join(rungs.judge(rungs.RUNGS["svm-qemu"], [job.Result(run, log, None)], whole=False).judgement.failed))

    def test_planted(self):
        """A planted bug counts as seen only by a failed check of its own scenario and rules."""
        plant = planted.Plant("B01-svm", "s", ("svm-qemu",))
        run = job.Run("svm-qemu", "main", modules=rungs.modules())
        text = "[L1:guest] KTAP version 1\n[L1:guest] 1..1\n[L1:guest]   KTAP version 1\n[L1:guest]   # Subtest: %s\n[L1:guest]   %s 1 H11.x y%s\n[L1:guest]   1..1\n[L1:guest] ok 1 %s\n"
        red = text % ("s", "not ok", " # expected=0x1 actual=0x2", "s")
        self.assertTrue(planted.verdict(plant, "svm-qemu", job.Result(run, red, 1))[0])
        self.assertFalse(planted.verdict(plant, "svm-qemu", job.Result(run, text % ("s", "ok", "", "s"), 1))[0])
        self.assertFalse(planted.verdict(plant, "svm-qemu", job.Result(run, text % ("t", "not ok", " # expected=0x1 actual=0x2", "t"), 1))[0])
        self.assertFalse(planted.verdict(plant, "svm-qemu", job.Result(run, "", None))[0])
        self.assertFalse(planted.verdict(plant, "svm-qemu", job.Result(run, red.replace("H11.x", "A01.x"), 1))[0])

    def test_bench(self):
        log = "".join("[L1:guest] bench: %s %d ticks\n" % (n, b[0]) for n, b in bench.BOUNDS.items() if n != "boot")
        found, invalid = bench.figures(log + "drover: vm l2: first entry tsc=150000000\n")
        self.assertEqual(bench.judge(found, invalid)[1], 0)
        for name, (bound, _) in bench.BOUNDS.items():
            self.assertEqual(bench.judge(dict(found, **{name: (bound + 1, "")}), [])[1], 1, name)
            self.assertEqual(bench.judge({n: v for n, v in found.items() if n != name}, [])[1], 1, name)
        for name in bench.EXITS:
            self.assertEqual(bench.judge(dict(found, **{name: (3, "")}), [])[1], 1, name)
        self.assertEqual(len(bench.figures("[L1:guest] bench: single_step invalid: 3 hits instead of 4\n")[1]), 1)

    def test_sum(self):
        with tempfile.TemporaryDirectory() as folder:
            old, rungs.RESULTS = rungs.RESULTS, Path(folder)
            out, sys.stdout = sys.stdout, io.StringIO()
            try:
                table.save_part("a", 3, 0, 1, 70.4)
                good, missing = table.sum_parts(("a",)), table.sum_parts(("a", "b"))
                table.save_part("b", 0, 0, 4)
                empty = table.sum_parts(("a", "b"))
                table.save_part("b", 2, 1, 0)
                failed = table.sum_parts(("a", "b"))
                said = sys.stdout.getvalue().split("\n")
            finally:
                sys.stdout = out
                rungs.RESULTS = old
        self.assertEqual((good, missing, empty, failed), (True, False, False, False))
        self.assertEqual([said[0], *said[-3:]], ["check-a: 3 passed, 0 failed, 1 skipped, 70 s", "all parts: 1 min 10 s", "5 passed, 1 failed, 1 skipped", ""])

    def test_backports(self):
        script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "deps.sh")
        entries = {"sources.list.d/x.sources": "Types: deb\nURIs: http://m.invalid\nSuites: old old-updates\nComponents: main x\n",
                   "sources.list": "# c\ndeb [arch=a signed-by=/k] http://m.invalid old main x\n"}
        for name, text in entries.items():
            with tempfile.TemporaryDirectory() as folder:
                os.makedirs(folder + "/sources.list.d")
                Path(folder, name).write_text(text, encoding="ascii")
                done = subprocess.run(["sh", script, "backports", folder, "old", folder + "/out"], stdout=subprocess.PIPE,
                                      check=True)
                made = Path(done.stdout.decode().strip()).read_text(encoding="ascii")
                self.assertIn("old-backports", made)
                self.assertIn("m.invalid", made)
                self.assertNotIn("old-updates", made)
                self.assertEqual(subprocess.run(["sh", script, "backports", folder, "new", folder + "/out"],
                                                check=False).returncode, 1)


class Make(unittest.TestCase):
    """The Makefile's own promises."""

    @staticmethod
    def make(*words):
        """(status, output) of make in the tree."""
        env = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "GNUMAKEFLAGS")}
        done = subprocess.run(["make", *words], cwd=Path(__file__).resolve().parents[2], env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, check=False)
        return done.returncode, done.stdout.decode("utf-8", "replace")

    def test_dry(self):
        """make -n runs no part of check, although lines that call $(MAKE) are run all the same."""
        for words in (("-n",), ("-n", "V=1"), ("-kn",)):
            status, said = self.make(*words, "check-host", "check-coverage", "check-mutants", "check-fuzz", "check-explore")
            self.assertEqual((status, "failed" in said, "Error" in said), (0, False, False), said)
            self.assertIn("drover_run.py count host make", said)

    def test_variables(self):
        """A choice that there is not, and a misspelt variable, are named before anything is built."""
        for words, told in ((("BACKEND=smv",), "BACKEND=smv: it is one of: auto svm vmx pvm"), (("NEST=4",), "NEST=4: it is one of: 1 2 3"),
                            (("PLATFORM=qemu bochs",), "PLATFORM=qemu bochs: it is one of"), (("SCENARIOS=a",), "unknown variable: SCENARIOS")):
            status, said = self.make("run", *words)
            self.assertEqual((status, said.count("\n")), (2, 1), said)
            self.assertIn(told, said)


DEPS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "deps.sh")


class Deps(unittest.TestCase):
    """deps.sh on made-up machines: every command that it needs is a stand-in that writes down what it was asked."""

    def machine(self, qemu, ident, codename, backports_have):
        """(status, output, what apt was asked, the apt folder's new files) of `deps.sh` on a machine with this QEMU."""
        with tempfile.TemporaryDirectory() as folder:
            etc, tools, asked = Path(folder, "etc"), Path(folder, "bin"), Path(folder, "asked")
            (etc / "apt/sources.list.d").mkdir(parents=True)
            tools.mkdir()
            asked.write_text("", encoding="ascii")
            (etc / "os-release").write_text('ID=%s\nVERSION_CODENAME=%s\n' % (ident, codename), encoding="ascii")
            (etc / "apt/sources.list").write_text("deb http://m.invalid/x %s main\n" % codename, encoding="ascii")
            state = Path(folder, "qemu")
            state.write_text(qemu, encoding="ascii")
            stand_ins = {
                "qemu-system-x86_64": 'echo "QEMU emulator version $(cat %s)"' % state,
                "apt-get": 'echo "$*" >>%s; case "$*" in *backports*qemu*) echo 10.0.2 >%s;; esac' % (asked, state),
                "apt-cache": 'echo " qemu-system-x86 | 1:7.2+dfsg-7 | x"; ls %s/apt/sources.list.d | grep -q . && '
                             'echo " qemu-system-x86 | 1:%s+ds | x"; true' % (etc, backports_have),
                "id": "echo 0",
            }
            for name, text in stand_ins.items():
                (tools / name).write_text("#!/bin/sh\n%s\n" % text, encoding="ascii")
                (tools / name).chmod(0o755)
            env = dict(os.environ, PATH="%s:%s" % (tools, os.environ["PATH"]), DEPS_ETC=str(etc))
            done = subprocess.run(["sh", DEPS], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
            files = sorted(p.name for p in (etc / "apt/sources.list.d").iterdir())
            return done.returncode, done.stdout.decode(), asked.read_text(encoding="ascii"), files

    def test_all_there(self):
        self.assertEqual(self.machine("10.0.2", "debian", "bookworm", "10.0.2"), (0, "", "", []))

    def test_debian_12(self):
        status, said, asked, files = self.machine("7.2.22", "debian", "bookworm", "10.0.2")
        self.assertEqual((status, files), (0, ["drover-backports.list"]))
        self.assertLess(said.index("now adding the suite bookworm-backports"), said.index("wrote"))
        self.assertIn("-t bookworm-backports qemu-system-x86", asked)
        self.assertNotIn("will be absent", said)

    def test_ubuntu(self):
        status, said, asked, files = self.machine("8.2.2", "ubuntu", "noble", "8.2.2")
        self.assertEqual((status, files, asked), (0, [], ""))
        self.assertIn("SVM rung on QEMU will be absent", said)

    def test_verdict_names_it(self):
        old, emulators.qemu_version = emulators.qemu_version, lambda: (8, 2, 2)
        try:
            self.assertTrue(emulators.qemu_svm_problem().startswith("svm rung absent: QEMU 8.2 < 10"))
            self.assertEqual(rungs.absent(rungs.RUNGS["svm-qemu"]), emulators.qemu_svm_problem())
        finally:
            emulators.qemu_version = old


L0 = selftest_l0.L0Tests
L0.good = GOOD
Live = selftest_live.LiveTests
Live.good = GOOD
Mutants = selftest_mutants.MutantTests
Nested = selftest_nested.NestedTests
Gdb = selftest_gdb.GdbTests
Debugctl = selftest_cases.DebugctlTests
Rules = selftest_rules.RulesTests
Rules.good = GOOD


def main():
    """Runs them; status 0 only if all passed."""
    result = unittest.main(argv=sys.argv[:1], exit=False, verbosity=0).result
    failed = len(result.failures) + len(result.errors)
    print("selftest: %d passed, %d failed" % (result.testsRun - failed, failed))
    return 1 if failed or not result.testsRun else 0


if __name__ == "__main__":
    sys.exit(main())
