# SPDX-License-Identifier: MIT
"""Lints of style: heads, lengths, words that have no place here, the reading order, copies of tables."""

import re

import tree as trees

FILE_LINES = 520
FUNCTION_LINES = 80
SOURCE_EXT = (".c", ".h", ".S", ".def", ".ld", ".py", ".sh", ".mk")

# Host names of package sources and paths of somebody's machine. Written so that they do not match themselves.
FORBIDDEN = (
    (re.compile(r"(?<![\w.])/wor[k]/"), "a path of one machine"),
    (re.compile(r"(?<![\w/])/(?:home|roo[t])/\w"), "a path of one machine"),
    (re.compile(r"\b[\w-]+\.(?:debian|ubuntu|npmjs|pypi|pythonhosted|golang|crates|launchpad)\.(?:org|com|io|net)\b", re.IGNORECASE),
     "a package source's host name"),
    (re.compile(r"\b(?:pypi|crates|npmjs)\.(?:org|io|com)\b", re.IGNORECASE), "a package source's host name"),
    (re.compile(r"\.\./share[d]\b"), "a path outside the tree"),
)


def is_source(path):
    """Files that carry a licence line."""
    return path.endswith(SOURCE_EXT) or path.rsplit("/", 1)[-1] in ("Makefile", "run") or path.startswith("tests/run/expect/")


def heads(tree):
    """The licence first (behind an interpreter line), then the file's purpose."""
    for path in tree.paths:
        if not is_source(path):
            continue
        lines = tree.text(path).split("\n")
        if lines and lines[0].startswith("#!"):
            lines = lines[1:]
        if not lines or "SPDX-License-Identifier: MIT" not in lines[0]:
            yield "%s: does not begin with the SPDX line" % path
        elif len(lines) < 2 or not re.match(r'\s*(/\*|\*|//|#|""")\s*\S', lines[1]):
            yield "%s: does not tell its purpose in the second line" % path


def lengths(tree):
    """Files and functions stay readable at one go."""
    for path in tree.paths:
        if not is_source(path):
            continue
        text = tree.text(path)
        count = text.count("\n")
        if count > FILE_LINES and not path.startswith("tests/run/expect/"):
            yield "%s: %d lines, at most %d" % (path, count, FILE_LINES)
        if path.endswith((".c", ".h")):
            for name, line, length in trees.functions(text):
                if length > FUNCTION_LINES:
                    yield "%s:%d: %s has %d lines, at most %d" % (path, line, name, length, FUNCTION_LINES)


def forbidden(tree):
    """No machine's paths, no package source's host."""
    for path in tree.paths:
        for number, line in enumerate(tree.text(path).split("\n"), 1):
            for pattern, what in FORBIDDEN:
                found = pattern.search(line)
                if found:
                    yield "%s:%d: %s: %s" % (path, number, what, found.group(0))


def exit_codes(tree):
    """The runner's copy of the exit codes is the same table."""
    header, copy = "arch/x86/def/exitcode.h", "tests/run/exitcodes.py"
    if header not in tree.paths or copy not in tree.paths:
        return
    values = {n: int(v, 0) for n, v in re.findall(r"^\s*(EXIT_\w+)\s*=\s*(\w+),", tree.text(header), re.MULTILINE)}
    mine = {n: int(v, 0) for n, v in re.findall(r'^\s*"(EXIT_\w+)":\s*(\w+),', tree.text(copy), re.MULTILINE)}
    for name in sorted(set(values) | set(mine)):
        if values.get(name) != mine.get(name):
            yield "%s: %s is %s, in %s %s" % (copy, name, mine.get(name), header, values.get(name))


def expand(word):
    """The paths that `a/{b,c}.h` stands for."""
    match = re.match(r"^(.*)\{([^{}]*)\}(.*)$", word)
    if not match:
        return [word]
    return [w for part in match.group(2).split(",") for w in expand(match.group(1) + part.strip() + match.group(3))]


def reading_order(tree):
    """docs/00-reading-order.md names every file once; `dir/*` or `dir/*.c` names all that fit, but for those named alone."""
    guide = "docs/00-reading-order.md"
    if guide not in tree.paths:
        return
    words = [w for quoted in re.findall(r"`([^`\n]+)`", tree.text(guide)) for w in expand(quoted)]
    known = set(tree.paths)
    count = {}
    globs = [w for w in words if "*" in w]
    for word in words:
        if word in known:
            count[word] = count.get(word, 0) + 1
        elif "/" in word and "*" not in word and " " not in word and re.search(r"\.\w+$", word):
            yield "%s: names %s, which is not there" % (guide, word)
    patterns = [re.compile("^" + re.escape(g).replace(r"\*", "[^/]*") + "$") for g in globs]
    for path in tree.paths:
        if path.startswith(".") or path == guide:
            continue
        named = count.get(path, 0) or min(1, sum(1 for p in patterns if p.match(path)))
        if named != 1:
            yield "%s: named %d times in %s" % (path, named, guide)


LINTS = (heads, lengths, forbidden, exit_codes, reading_order)
