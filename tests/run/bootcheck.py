# SPDX-License-Identifier: MIT
"""The image that `make iso` and `make usb` leave, started in each way that it has to start in."""

import cases
import emulators
import job
import rungs

ISO = rungs.BUILD / "drover.iso"
FLOOR = 4000  # of the suite's checks, which is what the image runs: all but those that need a VM of their own
USB = rungs.BUILD / "drover-usb.img"


def qemu_way(name, image, medium, uefi):
    """A way to boot it in QEMU."""
    def argv(serial, workdir):
        return emulators.qemu_disk(serial, image, medium, uefi, workdir)
    return name, "svm-qemu", job.Run("boot", name, argv=argv, timeout=400)


def bochs_way():
    """The CD in Bochs; as AMD, so that the default backend is SVM there as well."""
    def argv(serial, workdir):
        return emulators.bochs("amd", ISO, serial, workdir)
    return "iso-bios-bochs", "svm-bochs", job.Run("boot", "iso-bios-bochs", platform="bochs", argv=argv, timeout=400)


def ways():
    """(name, rung whose expectations hold, run)."""
    return [qemu_way("iso-bios", ISO, "iso", False), qemu_way("iso-uefi", ISO, "iso", True),
            qemu_way("usb-bios", USB, "usb", False), qemu_way("usb-uefi", USB, "usb", True), bochs_way()]


def judge(rung, result):
    """What is wrong with a boot, and words: the guest ran in drover and each of its checks is as on the rung of that emulator."""
    judged = rungs.judge(rung, [result], whole=False, alone=True).judgement
    problems = judged.errors + judged.failed
    if not problems and len(judged.ok) < FLOOR:
        problems = ["only %d checks were ok" % len(judged.ok)]
    return problems, "%d checks ok" % len(judged.ok)


def check():
    """Runs them; (passed, failed, skipped): one each."""
    todo = []
    for name, rung_name, run in ways():
        rung = rungs.RUNGS[rung_name]
        absent = "no OVMF" if "uefi" in name and emulators.ovmf() is None else rungs.absent(rung)
        todo.append(cases.Case(name, rung, run, absent or ""))
    return cases.check("boot", todo, judge)
