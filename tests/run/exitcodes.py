# SPDX-License-Identifier: MIT
"""How a run ends: the runner's copy of arch/x86/def/exitcode.h (a lint compares the two)."""

EXIT_CODES = {
    "EXIT_PASS": 0x10,
    "EXIT_FAIL": 0x11,
    "EXIT_ERROR": 0x12,
    "EXIT_BADOPT": 0x20,
    "EXIT_NOMODULE": 0x21,
    "EXIT_BADMODULE": 0x22,
    "EXIT_NOVIRT": 0x23,
    "EXIT_LOCKED": 0x24,
    "EXIT_NOMEM": 0x25,
    "EXIT_TRIPLE": 0x31,
    "EXIT_BUDGET": 0x32,
    "EXIT_BADMEM": 0x33,
    "EXIT_ENTRY": 0x34,
    "EXIT_HALTED": 0x35,
    "EXIT_UNHANDLED": 0x36,
    "EXIT_PANIC": 0x3F,
}

NAMES = {value: name for name, value in EXIT_CODES.items()}


def code(name):
    """The value of an exit code, by its name in exitcode.h."""
    return EXIT_CODES[name]


def name_of(value):
    """The name of an exit code, or its number when it has none."""
    if value is None:
        return "none"
    return NAMES.get(value, "0x%02x" % value)


def from_qemu_status(status):
    """isa-debug-exit ends QEMU with (V << 1) | 1; None when QEMU ended in some other way."""
    if status is None or status < 0 or not status & 1 or status < 0x21:
        return None
    return status >> 1
