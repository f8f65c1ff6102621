# SPDX-License-Identifier: MIT
"""What the lints share: the files of a tree, C without comments and strings, functions, asm statements."""

import os
import re
import shutil
import subprocess
from pathlib import Path

SKIP_DIRS = {".git", "build", "__pycache__"}
C_EXT = (".c", ".h", ".S", ".def")


class Tree:
    """A source tree: paths relative to its root, read once. Generated and ignored files are not in it."""

    def __init__(self, root):
        self.root = Path(root)
        self.paths = sorted(self._git() or self._walk())
        self._cache = {}

    def _git(self):
        if not (self.root / ".git").exists() or not shutil.which("git"):
            return []
        done = subprocess.run(["git", "-C", str(self.root), "ls-files", "-co", "--exclude-standard"],
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
        return [p for p in done.stdout.decode().split("\n") if p and (self.root / p).is_file()]

    def _walk(self):
        found = []
        for folder, dirs, files in os.walk(self.root):
            dirs[:] = [d for d in dirs if d not in SKIP_DIRS]
            found += [os.path.relpath(os.path.join(folder, f), self.root) for f in files]
        return found

    def text(self, path):
        """A file's text."""
        if path not in self._cache:
            self._cache[path] = (self.root / path).read_text(encoding="utf-8", errors="replace")
        return self._cache[path]

    def under(self, prefixes, extensions=C_EXT):
        """The paths below these folders with these extensions."""
        return [p for p in self.paths if p.endswith(tuple(extensions)) and p.startswith(tuple(prefixes))]


TOKEN = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.DOTALL)


def blank(match):
    """Spaces of the same shape, so that positions and lines stay."""
    return re.sub(r"[^\n]", " ", match.group(0))


def no_comments(text):
    """C without its comments."""
    return TOKEN.sub(lambda m: blank(m) if m.group(0)[0] == "/" else m.group(0), text)


def code_only(text):
    """C without comments and without the insides of strings."""
    return TOKEN.sub(blank, text)


def line_of(text, position):
    """The line number of a position."""
    return text.count("\n", 0, position) + 1


def asm_strings(text):
    """(line, assembler text) of each string inside an asm statement of C code."""
    text = no_comments(text)
    shape = code_only(text)
    for match in re.finditer(r"\b(?:__asm__|asm)\b[^(;{]*\(", shape):
        depth, end = 1, match.end()
        while depth and end < len(shape):
            depth += {"(": 1, ")": -1}.get(shape[end], 0)
            end += 1
        for part in re.finditer(r'"((?:\\.|[^"\\\n])*)"', text[match.end():end]):
            yield line_of(text, match.end() + part.start()), part.group(1)


def functions(text):
    """(name, first line, number of lines) of each function whose body's braces stand in the first column."""
    shape = code_only(text).split("\n")
    start, name = None, None
    for number, line in enumerate(shape, 1):
        if line.startswith("{"):
            head = " ".join(shape[max(0, number - 6):number - 1])
            found = re.findall(r"(\w+)\s*\([^{;]*\)\s*(?:__attribute__\s*\(\(.*?\)\)\s*)?$", head.rstrip())
            start, name = number, found[-1] if found else "?"
        elif line.startswith("}") and start is not None:
            yield name, start, number - start + 1
            start = None
