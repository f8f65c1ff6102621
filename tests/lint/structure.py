# SPDX-License-Identifier: MIT
"""Lints of structure: include direction, where privileged instructions and debug registers are touched, names, top level."""

import re

import tree as trees

# A file may include its own layer and those below it.
LAYERS = (("boot/",), ("arch/x86/svm/", "arch/x86/vmx/", "arch/x86/pvm/"), ("vmm/",), ("drivers/",), ("arch/x86/",), ("arch/lib/",),
          ("arch/x86/def/",))
HYPERVISOR = ("boot/", "arch/", "vmm/", "drivers/")
PRIVILEGED_FILES = ("arch/x86/insn.h", "arch/x86/dbg_hw.h")
DEBUG_FILE = "arch/x86/dbg_hw.h"
TOP_LEVEL = {"boot", "arch", "vmm", "drivers", "linker.ld", "Makefile", "tests", "docs", "README.md", "LICENSE"}

PRIVILEGED = re.compile(
    r"(?:^|[;\s\\])(?:(?:lock|rep\w*)\s+)?(l[gi]dt|sgdt|sidt|ltr|lldt|str|sldt|lmsw|clts|rdmsr|wrmsr|rdpmc|hlt|cli|sti|inv[dl]\w*|wbinvd|"
    r"invlpg\w*|invept|invvpid|invpcid|vm(?:run|load|save|mcall|call|xon|xoff|launch|resume|read|write|clear|ptrld|ptrst|func)|"
    r"stgi|clgi|skinit|xsetbv|swapgs|iretq?|sysretq?|sysexitq?|in[bwl]?\s|out[bwl]?\s|ins[bwl]\b|outs[bwl]\b|monitor|mwait|rsm|"
    r"stac|clac|wr[fg]sbase|rd[fg]sbase|pushfq?|popfq?)")
CONTROL_REG = re.compile(r"%%?cr\d")
DEBUG_REG = re.compile(r"%%?(?:dr|db)\d")
DEBUGCTL = re.compile(r"\b(?:rd|wr)msr\w*\s*\([^;]*?(?:DEBUGCTL|0x0*1d9\b)", re.IGNORECASE)
HARMLESS = {"pushfq", "popfq", "pushf", "popf", "stac", "clac"}  # legal in ring 3 or harmless hosted, but still one place


def layer(path):
    """The number of a file's layer, 0 the topmost, or None: the longest folder wins."""
    best = None
    for number, folders in enumerate(LAYERS):
        for folder in folders:
            if path.startswith(folder) and (best is None or len(folder) > len(best[1])):
                best = (number, folder)
    return best


def includes(tree):
    """Includes point one way, and one backend does not see another."""
    for path in tree.under(HYPERVISOR):
        mine = layer(path)
        for match in re.finditer(r'^[ \t]*#[ \t]*include[ \t]+(["<])([^">]+)[">]', tree.text(path), re.MULTILINE):
            where = "%s:%d" % (path, trees.line_of(tree.text(path), match.start()))
            target = match.group(2)
            if match.group(1) == "<":
                # arch/lib maps itself to libc where it is built hosted.
                hosted = path.startswith("arch/lib/") and "DROVER_HOSTED" in tree.text(path)
                if target not in ("stdint.h", "stdbool.h", "stddef.h", "stdarg.h", "limits.h") and not hosted:
                    yield "%s: <%s> is no header of a freestanding compiler" % (where, target)
                continue
            theirs = layer(target)
            if theirs is None:
                yield '%s: "%s" is not named from the tree\'s root, or lies outside the layers' % (where, target)
            elif theirs[0] < mine[0]:
                yield '%s: "%s" is a layer above' % (where, target)
            elif theirs[0] == mine[0] == 1 and theirs[1] != mine[1]:
                yield '%s: "%s" belongs to another backend' % (where, target)


def privileged(tree):
    """Privileged instructions stand in insn.h, dbg_hw.h and .S files only, so that hosted builds can shadow them."""
    for path in tree.under(HYPERVISOR, (".c", ".h", ".def")):
        if path in PRIVILEGED_FILES:
            continue
        for line, text in trees.asm_strings(tree.text(path)):
            found = PRIVILEGED.search(" " + text)
            if found:
                yield "%s:%d: privileged instruction in C: %s" % (path, line, found.group(1).strip())
            elif CONTROL_REG.search(text):
                yield "%s:%d: control register in C: %s" % (path, line, text)


def debug_registers(tree):
    """MOV DR and DEBUGCTL are touched in dbg_hw.h and nowhere else."""
    for path in tree.under(HYPERVISOR):
        if path == DEBUG_FILE:
            continue
        text = tree.text(path)
        if path.endswith(".S"):
            for number, line in enumerate(trees.no_comments(re.sub(r"(?m)^\s*#(?!\s*(?:define|if|include|el|end)).*$", "", text)).split("\n"), 1):
                if DEBUG_REG.search(line) or re.search(r"DEBUGCTL|0x0*1d9\b", line, re.IGNORECASE):
                    yield "%s:%d: debug register or DEBUGCTL outside of %s" % (path, number, DEBUG_FILE)
            continue
        for line, asm in trees.asm_strings(text):
            if DEBUG_REG.search(asm):
                yield "%s:%d: MOV DR outside of %s" % (path, line, DEBUG_FILE)
        code = trees.code_only(text)
        for match in DEBUGCTL.finditer(code):
            yield "%s:%d: DEBUGCTL is accessed outside of %s" % (path, trees.line_of(code, match.start()), DEBUG_FILE)


def vmcs_names(tree):
    """No identifier outside the VMX backend, def and tests says VMCS; nor a file name."""
    allowed = ("arch/x86/vmx/", "arch/x86/def/", "tests/")
    for path in tree.under(HYPERVISOR):
        if path.startswith(allowed):
            continue
        if "vmcs" in path.lower():
            yield "%s: the file's name says VMCS" % path
        for number, line in enumerate(trees.code_only(tree.text(path)).split("\n"), 1):
            for word in re.findall(r"\w*vmcs\w*", line, re.IGNORECASE):
                yield "%s:%d: identifier %s says VMCS" % (path, number, word)


def top_level(tree):
    """Nothing stands at the top but what the design allows."""
    for name in sorted({p.split("/", 1)[0] for p in tree.paths}):
        if name not in TOP_LEVEL and not name.startswith("."):
            yield "%s: not allowed at the top level" % name


LINTS = (includes, privileged, debug_registers, vmcs_names, top_level)
