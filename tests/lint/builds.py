# SPDX-License-Identifier: MIT
"""Lints that compile: headers alone, both compilers without a warning, two clean builds byte for byte the same."""

import os
import re
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

IMAGES = ("build/drover.elf", "build/guest.elf")
FLAGS = ["-std=gnu17", "-ffreestanding", "-fno-pic", "-mno-red-zone", "-mgeneral-regs-only", "-O1", "-Wall", "-Wextra", "-Werror",
         "-Wconversion", "-Wshadow", "-Wstrict-prototypes", "-Wmissing-prototypes", "-Wvla", "-Wno-unused-function", "-I."]
JOBS = "2"


def compile_header(root, compiler, path):
    """The compiler's complaint about a file that includes this header alone, twice (so that its guard is tried too)."""
    flags = [f for f in FLAGS if not (path.startswith(("tests/host/", "tests/fuzz/")) and f in ("-ffreestanding", "-mgeneral-regs-only"))]
    if not path.startswith("tests/"):
        flags.append("-mcmodel=kernel")
    if path.startswith("tests/host/"):
        flags.append("-Itests/host")
    source = '#include "%s"\n#include "%s"\n' % (path, path)
    done = subprocess.run([compiler, *flags, "-fsyntax-only", "-x", "c", "-"], input=source.encode(), cwd=root,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        said = [line for line in done.stdout.decode("utf-8", "replace").split("\n") if "error" in line or "warning" in line]
        return "%s: does not compile alone with %s: %s" % (path, compiler, said[0] if said else "?")
    return None


def headers_alone(tree):
    """Each header compiles alone, with both compilers."""
    paths = [p for p in tree.paths if p.endswith(".h")]
    with ThreadPoolExecutor(max_workers=2) as pool:
        jobs = [pool.submit(compile_header, str(tree.root), c, p) for p in paths for c in ("gcc", "clang") if shutil.which(c)]
        for result in jobs:
            if result.result():
                yield result.result()


def copy_tree(tree, where):
    """A clean copy of the tree."""
    for path in tree.paths:
        target = Path(where) / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(tree.root / path, target)
    return where


def make(where, compiler, variables=()):
    """(status, output) of a clean build."""
    env = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "CC", "CFLAGS")}
    done = subprocess.run(["make", "-j" + JOBS, "CC=" + compiler, *variables], cwd=where, env=env, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    return done.returncode, done.stdout.decode("utf-8", "replace")


def clean_build(tree, where, compiler):
    """({image: bytes}, problems) of a build in a new folder."""
    status, output = make(copy_tree(tree, where), compiler)
    warnings = [line for line in output.split("\n") if re.search(r"\bwarning:", line)]
    problems = ["build with %s: %s" % (compiler, w) for w in warnings[:10]]
    if status:
        errors = [line for line in output.split("\n") if re.search(r": (?:fatal )?error:|\*\*\*|undefined", line)][:5]
        problems.append("build with %s failed: %s" % (compiler, " / ".join(errors) or output[-300:]))
        return {}, problems
    images = {}
    for name in IMAGES:
        path = Path(where) / name
        if path.exists():
            images[name] = path.read_bytes()
        else:
            problems.append("build with %s leaves no %s" % (compiler, name))
    return images, problems


def two_builds(tree):
    """gcc builds twice, in folders of different length, to the same bytes; clang builds; nobody warns."""
    if "Makefile" not in tree.paths:
        yield "no Makefile"
        return
    with tempfile.TemporaryDirectory() as scratch:
        first, problems = clean_build(tree, scratch + "/a", "gcc")
        yield from problems
        second, problems = clean_build(tree, scratch + "/a-longer-name/b", "gcc")
        yield from problems
        for name in sorted(set(first) & set(second)):
            if first[name] != second[name]:
                yield "%s: two clean builds in different folders differ" % name
        _, problems = clean_build(tree, scratch + "/c", "clang")
        yield from problems


LINTS = (headers_alone, two_builds)
