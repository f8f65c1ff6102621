# SPDX-License-Identifier: MIT
"""Values of debug registers in words, `ffff4ff1 [B0 BS]`: for the picture, and for a check that is not ok."""

import re

DR6_INIT, DR7_INIT = 0xffff0ff0, 0x400

DR6_BITS = ((0, "B0"), (1, "B1"), (2, "B2"), (3, "B3"), (13, "BD"), (14, "BS"), (15, "BT"))
DEBUGCTL_BITS = ((0, "LBR"), (1, "BTF"), (2, "BUS_LOCK"), (6, "TR"), (7, "BTS"), (8, "BTINT"), (11, "FREEZE_LBRS"), (12, "FREEZE_PERFMON"),
                 (14, "FREEZE_IN_SMM"), (15, "RTM"))
TYPES = ("exec", "write", "io", "access")
SIZES = (1, 2, 8, 4)


def dr6_bits(value):
    """Names of the causes; those that are active when 0 with `active low` told by the name alone. What has no place there is named, too."""
    names = [name for bit, name in DR6_BITS if value >> bit & 1]
    names += [name for bit, name in ((11, "BLD"), (16, "RTM")) if not value >> bit & 1]
    names += ["bit%d!" % bit for bit in range(64) if value >> bit & 1 and not (DR6_INIT | 0xe00f) >> bit & 1]
    names += ["bit%d=0!" % bit for bit in range(32) if DR6_INIT >> bit & 1 and bit not in (11, 16) and not value >> bit & 1]
    return names


def dr7_bits(value):
    """Slots that are on with type and size, then the single bits."""
    names = []
    for i in range(4):
        on = ("L" if value >> 2 * i & 1 else "") + ("G" if value >> 2 * i & 2 else "")
        kind = value >> (16 + 4 * i) & 15
        if on or kind:
            names.append("%s%d:%s%d" % (on or "off", i, TYPES[kind & 3], SIZES[kind >> 2]))
    names += [name for bit, name in ((8, "LE"), (9, "GE"), (11, "RTM"), (13, "GD")) if value >> bit & 1]
    names += ["bit%d!" % bit for bit in (12, 14, 15) + tuple(range(32, 64)) if value >> bit & 1]
    return names + ([] if value & DR7_INIT else ["bit10=0!"])


def bits(reg, value):
    """`ffff4ff1 [B0 BS]`."""
    if value is None:
        return "?"
    if reg == "DR6":
        names = dr6_bits(value)
    elif reg == "DR7":
        names = dr7_bits(value)
    elif reg == "DEBUGCTL":
        names = [name for bit, name in DEBUGCTL_BITS if value >> bit & 1]
    else:
        return "%x" % value
    return "%x [%s]" % (value, " ".join(names))


# ---- What a check says ----

NAMED = re.compile(r"\b(DR6|DR7|DEBUGCTL)\b", re.IGNORECASE)
RULES = {"A01": "DR6", "A02": "DR7"}
IN_TRAP = re.compile(r"(DB[+-][0-9a-f]+)/([0-9a-f]{8})\b")  # a trap of the guest's log: RIP's offset, then DR6


def looks_like_dr6(value):
    """What every DR6 has: the ones that no cause can clear."""
    return value & 0xfffe07f0 == 0xfffe07f0 and value >> 32 == 0


def register_of(ident, title, values):
    """Which register a check speaks of: what its rule is about, what its words name if that is one, or what all its values look like; else None."""
    named = {RULES[ident[:3]]} if ident[:3] in RULES else {word.upper() for word in NAMED.findall(ident.replace(".", " ") + " " + title)}
    if named & {"DR7", "DEBUGCTL"}:
        return named.pop() if len(named) == 1 else None
    return "DR6" if all(map(looks_like_dr6, values)) else None


def decode(ident, title, *texts):
    """Each of a check's values (expected, actual) with its bits, where it is a debug register's."""
    try:
        values = [int(text, 0) for text in texts]
    except ValueError:
        return [IN_TRAP.sub(lambda m: "%s/DR6=%s" % (m.group(1), bits("DR6", int(m.group(2), 16))), text) for text in texts]
    reg = register_of(ident, title, values)
    return ["%s=%s" % (reg, bits(reg, value)) if reg else text for text, value in zip(texts, values)]
