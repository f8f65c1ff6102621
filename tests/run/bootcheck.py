# SPDX-License-Identifier: MIT
"""The image that `make iso` and `make usb` leave, started in each way that it has to start in."""

import emulators
import job
import rungs

ISO = rungs.BUILD / "drover.iso"
FLOOR = 4000  # of the suite's checks, which is what the image runs: all but those that need a second VM
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


def problems_of(rung, result):
    """What is wrong with a boot: the guest ran in drover and each of its checks is as on the rung of that emulator."""
    outcome = rungs.judge(rung, [result], whole=False, alone=True)
    judged = outcome.judgement
    problems = judged.errors + judged.failed
    if not problems and len(judged.ok) < FLOOR:
        problems = ["only %d checks were ok" % len(judged.ok)]
    return problems, len(judged.ok)


def check():
    """Runs them; (passed, failed, skipped): one each."""
    counts = [0, 0, 0]
    todo = []
    for name, rung_name, run in ways():
        rung = rungs.RUNGS[rung_name]
        absent = rungs.absent(rung)
        if "uefi" in name and emulators.ovmf() is None:
            absent = "no OVMF"
        if absent:
            print("boot: skipped %s: %s" % (name, absent))
            counts[2] += 1
        else:
            todo.append((name, rung, run))
    for (name, rung, _), result in zip(todo, job.execute_all([run for _, _, run in todo])):
        problems, good = problems_of(rung, result)
        print("boot: %s %s: %d checks ok, %s, %.1f s" % ("FAIL" if problems else "ok", name, good, result.end(), result.seconds))
        for text in problems[:10]:
            print("boot:   %s" % text)
        if problems:
            print(result.tail(15))
        counts[1 if problems else 0] += 1
    print("boot: %d passed, %d failed, %d skipped" % tuple(counts), flush=True)
    return counts
