#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Builds and runs the fuzz targets, and demands that a bug planted in the decoder is found. The last line is `fuzz: N passed, N failed`."""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(ROOT / "tests" / "host"))
sys.dont_write_bytecode = True

import mutate  # noqa: E402

# target: (what is linked beside fuzz_NAME.c, libraries, -max_len, more of libFuzzer's options)
TARGETS = {
    "decode": (["vmm/decode.c"], ["-lcapstone"], 18, []),
    "movdr": (["arch/x86/dbg.c", "tests/host/model/ref.c"], [], 128, []),
    "options": (["boot/options.c", "vmm/vmopts.c", "arch/lib/string.c"], [], 256, []),
    "gdb": (["vmm/gdb/packet.c", "arch/lib/string.c"], [], 512, []),
    "multiboot": (["boot/multiboot_parse.c", "arch/lib/string.c"], [], 600, []),
}
JOBS = 2
UNIT_SECONDS = 10
CORPUS_FILES = 40
# A run must end in time even where it is ten times slower than it was when it was written (30 000 executions a second).
SECONDS_PER_MILLION = 330


class Totals:
    """What has been counted so far; prints as it goes."""

    def __init__(self):
        self.passed = self.failed = 0

    def add(self, found, line):
        """One more line; found: what went wrong, text of any length, or nothing."""
        self.passed += not found
        self.failed += bool(found)
        print("fuzz: %s%s" % ("FAIL " if found else "", line), flush=True)
        for text in found.rstrip().split("\n") if found else ():
            print("fuzz:   %s" % text, flush=True)


def build(target, where, changed=None):
    """(binary, problem). changed: a folder with copies that take the place of sources."""
    sources, libraries, _, _ = TARGETS[target]
    where.mkdir(parents=True, exist_ok=True)
    binary = where / target
    paths = ["tests/fuzz/fuzz_%s.c" % target] + sources
    paths = [str(changed / p) if changed and (changed / p).exists() else p for p in paths]
    done = subprocess.run(["clang", *os.environ["FUZZ_FLAGS"].split(), "-fsanitize=fuzzer", "-o", str(binary), *paths, *libraries], cwd=ROOT,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        return None, "does not build:\n" + done.stdout.decode("utf-8", "replace")[:3000]
    return binary, ""


class Run:
    """One run of libFuzzer and what its output says."""

    def __init__(self, binary, args, corpora, seconds):
        self.artifacts = Path(tempfile.mkdtemp(prefix="artifacts-", dir=str(binary.parent)))
        env = dict(os.environ, ASAN_OPTIONS="detect_leaks=0", UBSAN_OPTIONS="print_stacktrace=1")
        command = [str(binary), "-artifact_prefix=%s/" % self.artifacts, "-timeout=%d" % UNIT_SECONDS, "-print_final_stats=1",
                   "-reload=0", *args, *map(str, corpora)]
        start = time.monotonic()
        try:
            done = subprocess.run(command, cwd=ROOT, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                  timeout=seconds, check=False)
            self.text, self.status = done.stdout.decode("utf-8", "replace"), done.returncode
        except subprocess.TimeoutExpired as late:
            self.text, self.status = (late.stdout or b"").decode("utf-8", "replace"), None
        self.seconds = time.monotonic() - start
        self.executions = self._last(r"^stat::number_of_executed_units: (\d+)")
        self.edges = self._last(r"\bcov: (\d+)")
        self.of = self._last(r"^INFO: Loaded \d+ PC tables \((\d+) PCs\)")

    def _last(self, pattern):
        found = re.findall(pattern, self.text, re.MULTILINE)
        return int(found[-1]) if found else 0

    def inputs(self):
        """The reproducers that libFuzzer left: (name, bytes)."""
        return [(p.name, p.read_bytes()) for p in sorted(self.artifacts.iterdir())]

    def problem(self, wanted):
        """What went wrong, with the end of the log and the input as hex; empty if nothing."""
        kept = self.inputs()
        if self.status is None:
            why = "did not end in time (%d s)" % self.seconds
        elif self.status or kept:
            why = "ended with status %d" % self.status
        elif self.executions < wanted:
            why = "%d executions, %d were asked for" % (self.executions, wanted)
        elif not self.edges:
            why = "no coverage in its output"
        else:
            return ""
        lines = [x for x in self.text.split("\n") if not x.startswith(("#", "NEW_FUNC", "\tNEW_"))]
        first = next((i for i, x in enumerate(lines) if re.search(r"FINDING|ERROR:|runtime error", x)), max(0, len(lines) - 40))
        shown = "\n".join(lines[first:first + 40])
        return "\n".join([why, shown] + ["input %s: %s" % (name, data.hex()) for name, data in kept])


def corpus(target):
    """The kept inputs."""
    folder = HERE / "corpus" / target
    return sorted(p for p in folder.iterdir() if p.is_file()) if folder.is_dir() else []


def one_target(target, opt):
    """(problem, line)."""
    binary, problem = build(target, opt.build / target)
    if problem:
        return problem, target
    grown = opt.build / target / "corpus"
    shutil.rmtree(grown, ignore_errors=True)  # each run begins with what is kept, or its seed would mean nothing
    grown.mkdir()
    kept = corpus(target)
    _, _, length, more = TARGETS[target]
    run = Run(binary, ["-seed=%d" % opt.seed, "-runs=%d" % opt.runs, "-max_len=%d" % length, *more],
              [grown] + ([HERE / "corpus" / target] if kept else []), 60 + opt.runs * SECONDS_PER_MILLION // 1000000)
    problem = run.problem(opt.runs)
    if not problem and not opt.keep and (not kept or len(kept) > CORPUS_FILES):
        problem = "%d files in the corpus, 1 to %d are wanted" % (len(kept), CORPUS_FILES)
    if opt.keep and not problem:
        keep(binary, target, grown)
        kept = corpus(target)
    return problem, "%s %d executions, %d edges covered (of %d), corpus %d files, %.1f s" % (target, run.executions, run.edges, run.of, len(kept),
                                                                                          run.seconds)


def keep(binary, target, grown):
    """Replaces the kept corpus by a small set that covers the same edges; where it is not small enough, by the longest of it, which cover most."""
    folder = HERE / "corpus" / target
    with tempfile.TemporaryDirectory() as scratch:
        Run(binary, ["-merge=1", "-use_counters=0", "-max_len=%d" % TARGETS[target][2]], [scratch, grown] + ([folder] if folder.is_dir() else []), 600)
        found = sorted(Path(scratch).iterdir(), key=lambda p: (-p.stat().st_size, p.name))
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for path in found[:CORPUS_FILES]:
            shutil.copy(path, folder / path.name[:12])
        print("fuzz: %s: kept %d of %d" % (target, min(len(found), CORPUS_FILES), len(found)))


def planted(opt):
    """A bug planted in a copy of the decoder: found from nothing, without the corpus, within the same number of executions. (problem, line)."""
    where = opt.build / "planted"
    shutil.rmtree(where, ignore_errors=True)
    where.mkdir(parents=True)
    mutant = mutate.Mutant("planted", (HERE / "planted.mutant").read_text(encoding="utf-8"))
    if mutant.mistakes or not mutant.apply(where):
        return "planted.mutant: " + "; ".join(mutant.mistakes), "planted decode"
    binary, problem = build("decode", where, where)
    if problem:
        return problem, "planted decode"
    _, _, length, more = TARGETS["decode"]
    empty = where / "corpus"
    empty.mkdir()
    run = Run(binary, ["-seed=%d" % opt.seed, "-runs=%d" % opt.runs, "-max_len=%d" % length, *more], [empty],
              60 + opt.runs * SECONDS_PER_MILLION // 1000000)
    kept = [data for name, data in run.inputs() if name.startswith("crash-")]
    said = re.findall(r"^FINDING: [^:]*:\d+: (.*)$", run.text, re.MULTILINE)
    if not kept or not said:
        return "survives %d executions: %s\n%s" % (run.executions, mutant.head["story"], run.text[-500:]), "planted decode"
    return "", "planted decode: found after %d executions by input %s: %s; it says: %s" % (run.executions, kept[0].hex(), mutant.head["story"], said[0])


def main():
    """Exit status 0 only when nothing failed."""
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("--build", type=Path, required=True)
    args.add_argument("--runs", type=int, required=True, help="executions of each target")
    args.add_argument("--seed", type=int, default=1)
    args.add_argument("--only", default="", help="targets by name, comma-separated; `planted` is one")
    args.add_argument("--keep", action="store_true", help="put what was found into the kept corpus")
    opt = args.parse_args()
    opt.build = opt.build.resolve()
    only = [n for n in opt.only.split(",") if n] or [*TARGETS, "planted"]
    totals, start = Totals(), time.monotonic()
    for name in set(only) - set(TARGETS) - {"planted"}:
        totals.add("targets: " + " ".join(TARGETS), "no target '%s'" % name)
    with ThreadPoolExecutor(max_workers=JOBS) as pool:
        jobs = [pool.submit(one_target, name, opt) for name in TARGETS if name in only]
        if "planted" in only:
            jobs.append(pool.submit(planted, opt))
        for job in jobs:
            totals.add(*job.result())
    print("# %.1f s" % (time.monotonic() - start))
    print("fuzz: %d passed, %d failed" % (totals.passed, totals.failed))
    return 1 if totals.failed or not totals.passed else 0


if __name__ == "__main__":
    sys.exit(main())
