# SPDX-License-Identifier: MIT
"""Small multiboot-1 ELF files, whole and broken ones, for the bad-input tests."""

import struct
from pathlib import Path

MB_MAGIC = 0x1BADB002
BASE = 0x100000
HEADER = 52 + 32 * 4  # ELF header and room for four program headers


def multiboot_header(flags=0):
    """The twelve bytes that make an image multiboot."""
    return struct.pack("<III", MB_MAGIC, flags, (-(MB_MAGIC + flags)) & 0xFFFFFFFF)


# mov eax, 0x10 ; mov dx, 0xf4 ; out dx, eax ; cli ; hlt: ends with EXIT_PASS if it is run at all
CODE = b"\xb8\x10\x00\x00\x00\x66\xba\xf4\x00\xef\xfa\xf4"


def segment(paddr, data, memsz=None, vaddr=None, offset=None, kind=1):
    """A loadable segment; offset: where it claims to lie in the file, else where it is put. kind 4: notes."""
    return {"kind": kind, "paddr": paddr, "data": data, "memsz": memsz if memsz is not None else len(data),
            "vaddr": paddr if vaddr is None else vaddr, "offset": offset}


def image(segments, entry=BASE + 12, machine=3, kind=2):
    """An ELF32 file with these segments."""
    body, headers, offset = b"", b"", 0x1000
    for part in segments:
        at = offset if part["offset"] is None else part["offset"]
        headers += struct.pack("<8I", part["kind"], at, part["vaddr"], part["paddr"], len(part["data"]), part["memsz"], 7, 0x1000)
        if part["offset"] is None:
            body += part["data"]
            offset += len(part["data"])
    head = struct.pack("<16sHHIIIIIHHHHHH", b"\x7fELF\x01\x01\x01" + b"\0" * 9, kind, machine, 1, entry, 52, 0, 0, 52, 32,
                       len(segments), 0, 0, 0)
    # The multiboot header has to be in the first 8 KiB of the file: the first segment begins with it, at 4 KiB.
    return (head + headers).ljust(0x1000, b"\0") + body


def first(extra=b""):
    """A first segment that is a whole kernel."""
    return segment(BASE, multiboot_header() + CODE + extra)


def note(entry, name=7, desc=8, offset=None):
    """The note of a 64-bit entry, of which these are the sizes that it says (vmm/boot64.h)."""
    return segment(0, struct.pack("<III8sQ", name, desc, 1, b"drover", entry), offset=offset, kind=4)


def good():
    """A kernel that passes at once: shows that the files below are refused for their fault, not for their make."""
    return image([first()])


def broken():
    """{name: contents} of what a loader has to refuse."""
    whole = image([first(b"\x90" * 8192)])
    return {
        "good.elf": good(),
        "no_elf.bin": b"this is no ELF file, it is a line of text\n" * 200,
        "empty.bin": b"",
        "header_cut.elf": good()[:40],
        "truncated.elf": whole[:-4096],
        "overlap.elf": image([first(b"\x90" * 8192), segment(BASE + 0x1000, b"\xcc" * 4096)]),
        "huge.elf": image([first(), segment(BASE + 0x10000, b"\x90", memsz=0x7F000000)]),
        "wrap.elf": image([first(), segment(0xFFFFF000, b"\x90", memsz=0x2000)]),
        "low.elf": image([first(), segment(0x0, b"\x90" * 16)]),
        "entry_out.elf": image([first()], entry=0x3000000),
        "note_entry_out.elf": image([first(), note(0x3000000)]),
        "note_entry_high.elf": image([first(), note(0x100000000 + BASE)]),
        "note_outside.elf": image([first(), note(BASE, offset=0x7FFFFF00)]),
        "note_sizes.elf": image([first(), note(BASE, 0xFFFFFFFF, 0xFFFFFFFF)]),
        "no_multiboot.elf": image([segment(BASE, b"\0" * 12 + CODE)]),
        "phdr_out.elf": good()[:28] + struct.pack("<I", 0x7FFFFFF0) + good()[32:],
        "offset_out.elf": image([first(), segment(BASE + 0x10000, b"\x90" * 16, offset=0x7FFFFF00)]),
    }


def write_all(folder):
    """Writes them; {name: path}."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = {}
    for name, data in broken().items():
        paths[name] = folder / name
        paths[name].write_bytes(data)
    return paths
