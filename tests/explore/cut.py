#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Cuts the outer loop's functions out of run.c at the guest's entry and exit, so that the explorer can stop between them: `cut.py run.c > parts.h`."""

import re
import sys


def function(text, name):
    """One function as it stands, without `static` and what surrounds it, as (arguments, body)."""
    found = re.search(r"^static [^\n]*\b%s\(([^\n]*)\)\n\{\n(.*?)^\}\n" % name, text, re.DOTALL | re.MULTILINE)
    if not found:
        sys.exit("cut.py: no function %s in run.c" % name)
    return found.groups()


def main():
    """Anything that is not where it is expected ends the build."""
    with open(sys.argv[1], encoding="utf-8") as source:
        text = source.read()
    out = ["/* SPDX-License-Identifier: MIT */", "/* Made from vmm/run.c by tests/explore/cut.py. */"]
    for name, result in (("fast_db", "bool"), ("debug_enter", "unsigned"), ("debug_leave", "void")):
        out.append("static %s %s(%s)\n{\n%s}" % ((result, name) + function(text, name)))
    _, once = function(text, "run_once")
    found = re.match(r"(.*?)\tdo \{\n(.*?)\t\tv->be->run\(v, c\);\n(.*?)\t\} while \(run_fast\(v, c\)\);\n(.*)\Z", once, re.DOTALL)
    if not found:
        sys.exit("cut.py: run_once() is not the loop that it was")
    before, each, _, after = found.groups()
    keep = "\tunsigned ops = w.ops;\n\tbool idle = w.idle;\n\n\t(void)ops;\n\t(void)idle;\n\t(void)v;\n\t(void)c;\n"
    out.append("static void once_before(struct vcpu *v, struct cpu *c)\n{\n%s\tw.ops = (uint8_t)ops;\n\tw.idle = idle;\n}" % before)
    out.append("static void once_each(struct vcpu *v, struct cpu *c)\n{\n%s%s}" % (keep, each))
    out.append("static void once_after(struct vcpu *v, struct cpu *c)\n{\n%s%s}" % (keep, after))
    print("\n\n".join(out))


if __name__ == "__main__":
    main()
