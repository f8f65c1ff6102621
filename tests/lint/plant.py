# SPDX-License-Identifier: MIT
"""Planted faults: a lint that does not find what was put into a small tree for it is no lint."""

import tempfile
from pathlib import Path

import tree

SPDX = "/* SPDX-License-Identifier: MIT */\n/* A file. */\n"
MAKE = ("# SPDX-License-Identifier: MIT\n# Builds two files.\nall:\n\t@mkdir -p build\n\t%s\n\t@echo x >build/guest.elf\n")

# lint: [(path, text, what the finding has to say), ...]; and what must not be found: (path, text, None).
FAULTS = {
    "includes": [
        ("arch/lib/a.c", SPDX + '#include "vmm/vm.h"\n', "a layer above"),
        ("arch/x86/def/a.h", SPDX + '#include "arch/lib/fmt.h"\n', "a layer above"),
        ("vmm/dev/a.c", SPDX + '#include "arch/x86/svm/svm.h"\n', "a layer above"),
        ("arch/x86/svm/a.c", SPDX + '#include "arch/x86/vmx/vmx.h"\n', "another backend"),
        ("vmm/a.c", SPDX + "#include <stdio.h>\n", "no header of a freestanding compiler"),
        ("vmm/a.c", SPDX + "#ifdef DROVER_HOSTED\n#include <assert.h>\n#endif\n", "no header of a freestanding compiler"),
        ("arch/lib/a.c", SPDX + "#ifdef DROVER_HOSTED\n#include <assert.h>\n#endif\n", None),
        ("vmm/a.c", SPDX + '#include "vm.h"\n', "not named from the tree's root"),
        ("vmm/a.c", SPDX + '#include "vmm/vm.h"\n#include "arch/x86/insn.h"\n#include <stdint.h>\n', None),
        ("arch/x86/svm/a.c", SPDX + '#include "arch/x86/svm/b.h"\n#include "vmm/vm.h"\n', None),
    ],
    "privileged": [
        ("vmm/a.c", SPDX + 'void f(void)\n{\n\t__asm__ volatile("cli; hlt");\n}\n', "privileged instruction"),
        ("vmm/a.h", SPDX + '#define F() asm volatile("mov $1, %%eax\\n\\t" \\\n\t"wrmsr")\n', "wrmsr"),
        ("drivers/a.c", SPDX + 'void f(void)\n{\n\tasm("outb %al, %dx");\n}\n', "out"),
        ("vmm/a.c", SPDX + 'void f(void)\n{\n\tasm("mov %0, %%cr3" ::"r"(0L));\n}\n', "control register"),
        ("arch/x86/insn.h", SPDX + 'static inline void f(void) { __asm__("cli"); }\n', None),
        ("vmm/a.c", SPDX + '/* asm("cli") */\nvoid f(void)\n{\n\tasm("pause" ::: "memory"); log("cli hlt");\n}\n', None),
    ],
    "debug_registers": [
        ("vmm/a.c", SPDX + 'void f(void)\n{\n\tasm("mov %0, %%dr7" ::"r"(0L));\n}\n', "MOV DR outside"),
        ("arch/x86/insn.h", SPDX + 'static inline void f(void) { __asm__("mov %%db6, %0" ::"r"(0L)); }\n', "MOV DR outside"),
        ("boot/a.S", SPDX + "\tmov %rax, %dr7\n", "outside"),
        ("arch/x86/svm/a.c", SPDX + "void f(void)\n{\n\twrmsr(MSR_DEBUGCTL, 0);\n}\n", "DEBUGCTL is accessed"),
        ("arch/x86/vmx/a.c", SPDX + "long f(void)\n{\n\treturn rdmsr(0x1d9);\n}\n", "DEBUGCTL is accessed"),
        ("arch/x86/dbg_hw.h", SPDX + 'static inline void f(void) { __asm__("mov %0, %%dr7" ::"r"(0L)); }\n', None),
    ],
    "vmcs_names": [
        ("vmm/a.c", SPDX + "struct vmcs;\n", "identifier vmcs"),
        ("arch/x86/a.h", SPDX + "#define READ_VMCS_FIELD 1\n", "READ_VMCS_FIELD"),
        ("vmm/vmcs.c", SPDX, "the file's name"),
        ("vmm/a.c", SPDX + '/* as a VMCS does */\nconst char *f = "VMCS";\n', None),
        ("arch/x86/vmx/a.c", SPDX + "struct vmcs;\n", None),
    ],
    "top_level": [("src/a.c", SPDX, "src: not allowed"), ("notes.txt", "x\n", "notes.txt: not allowed"), ("vmm/a.c", SPDX, None)],
    "heads": [
        ("vmm/a.c", "int a;\n", "SPDX"), ("tests/a.py", "#!/usr/bin/env python3\nimport os\n", "SPDX"),
        ("vmm/a.h", "/* SPDX-License-Identifier: MIT */\n#ifndef A\n#endif\n", None),
        ("vmm/a.c", "/* SPDX-License-Identifier: MIT */\nint a;\n", "purpose"), ("vmm/a.c", SPDX, None),
    ],
    "lengths": [
        ("vmm/a.c", SPDX + "\n" * 600, "602 lines"),
        ("vmm/a.c", SPDX + "void f(int a)\n{\n" + "\ta++;\n" * 90 + "}\n", "f has 92 lines"),
        ("vmm/a.c", SPDX + "void f(int a)\n{\n" + "\ta++;\n" * 60 + "}\n", None),
    ],
    "forbidden": [
        ("docs/a.md", "see /wor" + "k/main\n", "a path of one machine"),
        ("tests/a.sh", "curl http://deb" + ".debian.org/x\n", "host name"),
        ("docs/a.md", "read ../share" + "d/rules.md\n", "a path outside"),
        ("docs/a.md", "Debian 12 and Ubuntu, and hard work/effort\n", None),
    ],
    "exit_codes": [
        ("arch/x86/def/exitcode.h", "\tEXIT_PASS = 0x10,\n\tEXIT_NEW = 0x77,\n", "EXIT_NEW"),
        ("arch/x86/def/exitcode.h", "\tEXIT_PASS = 0x13,\n", "EXIT_PASS is 16"),
        ("arch/x86/def/exitcode.h", "\tEXIT_PASS = 0x10, /* all */\n", None),
    ],
    "reading_order": [
        ("docs/00-reading-order.md", "first `vmm/a.c`\n", "vmm/b.c: named 0 times"),
        ("docs/00-reading-order.md", "`vmm/{a,b}.c`, again `vmm/a.c`; `tests/*/*` `vmm/*.h`\n", "vmm/a.c: named 2 times"),
        ("docs/00-reading-order.md", "`vmm/{a,b}.c`, `vmm/gone.c`, `tests/run/*`\n", "not there"),
        ("docs/00-reading-order.md", "`vmm/{a,b}.c`, `tests/run/*`\n", None),
    ],
    "headers_alone": [
        ("vmm/a.h", SPDX + "static inline uint32_t f(void) { return 0; }\n", "does not compile alone with"),
        ("vmm/a.h", SPDX + "struct a { int b; };\n", "redefinition"),
        ("vmm/a.h", SPDX + "#ifndef A\n#define A\n#include <stdint.h>\nstatic inline uint32_t f(void) { return 0; }\n#endif\n", None),
    ],
    "two_builds": [
        ("Makefile", MAKE % "@pwd >build/drover.elf", "differ"),
        ("Makefile", MAKE % "@echo x >build/drover.elf; echo 'a.c:1: warning: odd'", "warning: odd"),
        ("Makefile", MAKE % "@echo x >build/drover.elf; [ $(CC) != clang ]", "build with clang failed"),
        ("Makefile", MAKE % "@true", "leaves no build/drover.elf"),
        ("Makefile", MAKE % "@echo x >build/drover.elf", None),
    ],
}

# Files that a lint needs beside the planted one.
COMPANIONS = {
    "exit_codes": {"tests/run/exitcodes.py": 'CODES = {\n    "EXIT_PASS": 0x10,\n}\n'},
    "reading_order": {"vmm/a.c": SPDX, "vmm/b.c": SPDX, "tests/run/x.py": "#\n"},
}


def finds(lint, path, text):
    """What the lint says of a tree with this one file."""
    with tempfile.TemporaryDirectory() as folder:
        files = dict(COMPANIONS.get(lint.__name__, {}))
        files[path] = text
        for name, contents in files.items():
            target = Path(folder, name)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(contents, encoding="utf-8")
        return list(lint(tree.Tree(folder)))


def check(lint):
    """True if the lint finds each planted fault, and nothing where there is none."""
    good = True
    for path, text, wanted in FAULTS.get(lint.__name__, [("", "", "")]):
        if not path:
            print("lint: FAIL planted %s: there is no planted fault for it" % lint.__name__)
            return False
        found = finds(lint, path, text)
        if wanted is None and found:
            print("lint: FAIL planted %s: finds something where nothing is: %s" % (lint.__name__, found[0]))
            good = False
        if wanted is not None and not any(wanted in f for f in found):
            print("lint: FAIL planted %s: does not find '%s' in %s, only %s" % (lint.__name__, wanted, path, found))
            good = False
    if good:
        print("lint: ok planted %s (%d)" % (lint.__name__, len(FAULTS[lint.__name__])))
    return good
