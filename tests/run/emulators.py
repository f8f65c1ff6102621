# SPDX-License-Identifier: MIT
"""Command lines and configuration files of the emulators, and what this machine offers of them."""

import functools
import os
import re
import shutil
import subprocess
from pathlib import Path

BUILD = Path("build")
OVMF_CODE = ("/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/qemu/OVMF.fd")
BOCHS_CPU = {"intel": "corei7_skylake_x", "amd": "ryzen"}

# The DEBUGCTL and LBR MSRs as plain storage: what they do is modelled nowhere, the order of writes can be seen.
BOCHS_MSRS = """\
# ADDRESS  TYPE   RESET_HI   RESET_LO    RSRVD_HI   RSRVD_LO   IGNRD_HI   IGNRD_LO
   0x1d9     0    00000000   00000000    ffffffff   ffff2038   00000000   00000000
   0x1db     1    00000000   00000000    00000000   00000000   00000000   00000000
   0x1dc     1    00000000   00000000    00000000   00000000   00000000   00000000
   0x1dd     1    00000000   00000000    00000000   00000000   00000000   00000000
   0x1de     1    00000000   00000000    00000000   00000000   00000000   00000000
   0x1c9     0    00000000   00000000    ffffffff   ffffffe0   00000000   00000000
   0x680     1    00000000   00000000    00000000   00000000   00000000   00000000
   0x6c0     1    00000000   00000000    00000000   00000000   00000000   00000000
"""

BOCHSRC = """\
plugin_ctrl: unmapped=1, biosdev=1, speaker=0, extfpuirq=0, parallel=0, serial=1, iodebug=1, e1000=0
config_interface: textconfig
display_library: rfb, options="timeout=0"
memory: guest={mem}, host={mem}
romimage: file=/usr/share/bochs/BIOS-bochs-latest, options=fastboot
vgaromimage: file=/usr/share/bochs/VGABIOS-lgpl-latest
boot: cdrom
floppy_bootsig_check: disabled=1
ata0-master: type=cdrom, path={iso}, status=inserted
com1: enabled=1, mode=file, dev={serial}
cpu: model={model}, count=1, ips={mips}000000, reset_on_triple_fault=0, ignore_bad_msrs=0{msrs}
clock: sync=none, time0=1
log: {log}
panic: action=fatal
error: action=report
info: action=report
debug: action=ignore
sound: driver=dummy
mouse: enabled=0
"""


def _output(argv, timeout=20):
    try:
        done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                              timeout=timeout, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode("utf-8", "replace")


@functools.lru_cache(None)
def qemu_version():
    """(10, 0, 2), or None when there is no QEMU."""
    match = re.search(r"version (\d+)\.(\d+)\.?(\d*)", _output(["qemu-system-x86_64", "--version"]))
    return tuple(int(n or 0) for n in match.groups()) if match else None


@functools.lru_cache(None)
def bochs_version():
    """(2, 7), or None when there is no Bochs."""
    match = re.search(r"Bochs x86 Emulator (\d+)\.(\d+)", _output(["bochs", "--help", "cpu"]))
    return tuple(int(n) for n in match.groups()) if match else None


def version_text(platform):
    """What expectation lists call an emulator: qemu-10.0.2, bochs-2.7."""
    version = qemu_version() if platform == "qemu" else bochs_version()
    return "%s-%s" % (platform, ".".join(str(n) for n in version)) if version else "%s-none" % platform


def qemu_svm_problem():
    """Why this QEMU cannot be judged as an SVM machine, or None."""
    version = qemu_version()
    if version is None:
        return "svm rung absent: no QEMU"
    if version[0] < 10:
        return ("svm rung absent: QEMU %d.%d < 10 (its VMRUN and #VMEXIT do not switch breakpoints, DR7.GD is not modelled,"
                " ICEBP is #UD, VMRUN loads no interrupt shadow)" % version[:2])
    return None


@functools.lru_cache(None)
def kvm_offer():
    """(vendor "vmx"|"svm", why) when QEMU with KVM can nest here, else (None, why not)."""
    try:
        os.close(os.open("/dev/kvm", os.O_RDWR))
    except OSError as error:
        return None, "/dev/kvm: %s" % error.strerror
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        flags = ""
    vendor = "svm" if re.search(r"\bsvm\b", flags) else "vmx" if re.search(r"\bvmx\b", flags) else None
    if vendor is None:
        return None, "the CPU shows neither vmx nor svm in /proc/cpuinfo"
    module = "kvm_amd" if vendor == "svm" else "kvm_intel"
    nested = Path("/sys/module/%s/parameters/nested" % module)
    value = nested.read_text(encoding="ascii").strip() if nested.exists() else "absent"
    if value not in ("1", "Y", "y"):
        return None, "%s nested parameter is %s" % (module, value)
    return vendor, "%s with nested=%s" % (module, value)


def kvm_trial(kernel):
    """None if QEMU boots the kernel under KVM to its first serial byte in 15 s, else the reason."""
    serial = BUILD / "logs" / "kvm" / "trial.log"
    serial.parent.mkdir(parents=True, exist_ok=True)
    argv = qemu_base("kvm", 128, serial) + ["-kernel", str(kernel), "-append", "scenario=list"]
    try:
        done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                              timeout=15, check=False)
        said = done.stdout.decode("utf-8", "replace").strip().split("\n")[0]
    except subprocess.TimeoutExpired:
        said = "nothing within 15 s"
    except OSError as error:
        said = error.strerror
    return None if serial.exists() and serial.stat().st_size else "trial boot under KVM failed: %s" % said


def escape_initrd(text):
    """QEMU splits -initrd at commas and reads two as one."""
    return text.replace(",", ",,")


def escape_option(text):
    """QEMU's key=value options likewise."""
    return str(text).replace(",", ",,")


def qemu_base(accel, mem, serial, cpu=None, machine="pc"):
    """A QEMU with a serial line, the debug-exit port and nothing else."""
    argv = ["qemu-system-x86_64", "-machine", machine, "-accel", accel, "-cpu",
            cpu or ("host" if accel == "kvm" else "max"), "-m", str(mem), "-display", "none", "-no-reboot", "-nodefaults",
            "-device", "isa-debug-exit,iobase=0xf4,iosize=4", "-serial", "file:%s" % serial]
    return argv


# One tick an instruction: each run is the same. It also changes what TCG does between the iterations of REP, so that expectations hold with it only.
ICOUNT = ["-icount", "shift=0,sleep=off", "-rtc", "base=2020-01-01,clock=vm"]


def qemu_kernel(accel, mem, serial, kernel, cmdline="", modules=(), cpu=None, icount=False):
    """QEMU's own multiboot loader. modules: (file, string) pairs; the string is what follows the file's name."""
    argv = qemu_base(accel, mem, serial, cpu) + ["-kernel", str(kernel)]
    if cmdline:
        argv += ["-append", cmdline]
    if modules:
        argv += ["-initrd", ",".join(escape_initrd(("%s %s" % (path, text)).strip()) for path, text in modules)]
    return argv + (ICOUNT if icount else [])


def ovmf():
    """OVMF's code volume, or None."""
    for path in OVMF_CODE:
        if os.path.exists(path):
            return path
    return None


def qemu_disk(serial, image, medium, uefi, workdir, mem=512):
    """Boot an image as a CD-ROM (medium "iso") or a USB stick ("usb"), under BIOS or UEFI. TCG."""
    argv = qemu_base("tcg", mem, serial, machine="q35" if uefi else "pc") + ["-device", "VGA"] + ICOUNT
    if uefi:
        code = ovmf()
        argv += ["-drive", "if=pflash,format=raw,readonly=on,file=%s" % escape_option(code)]
        variables = code.replace("_CODE", "_VARS")
        if variables != code and os.path.exists(variables):
            copy = Path(workdir) / "ovmf_vars.fd"
            shutil.copyfile(variables, copy)
            argv += ["-drive", "if=pflash,format=raw,file=%s" % escape_option(copy)]
    drive = "id=medium,if=none,format=raw,readonly=on,file=%s" % escape_option(image)
    if medium == "usb":
        argv += ["-drive", drive.replace("readonly=on,", "") + ",snapshot=on", "-device", "qemu-xhci",
                 "-device", "usb-storage,drive=medium,bootindex=0"]
    elif uefi:
        argv += ["-drive", drive + ",media=cdrom", "-device", "ide-cd,drive=medium,bus=ide.0,bootindex=0"]
    else:
        argv += ["-drive", drive + ",media=cdrom", "-device", "ide-cd,drive=medium,bootindex=0"]
    return argv


def bochs(vendor, iso, serial, workdir, mem=128, mips=50):
    """Writes bochsrc and its companions into workdir; returns the command line. vendor: "intel" or "amd". mips: what its clocks take for its speed."""
    workdir = Path(workdir).absolute()
    (workdir / "msrs.def").write_text(BOCHS_MSRS, encoding="ascii")
    (workdir / "rc.cq").write_text("c\nq\n", encoding="ascii")
    rc = workdir / "bochsrc"
    rc.write_text(BOCHSRC.format(mem=mem, mips=mips, iso=Path(iso).absolute(), serial=Path(serial).absolute(),
                                 model=BOCHS_CPU[vendor], msrs=", msrs=%s" % (workdir / "msrs.def"),
                                 log=workdir / "bochs.log"), encoding="utf-8")
    argv = ["bochs", "-f", str(rc)]
    version = bochs_version()
    if version is not None and version < (3, 0):
        return argv + ["-q", "-rc", str(workdir / "rc.cq")]
    return argv + ["-q"]


def make_iso(out, kernel, cmdline="", modules=(), bare=False):
    """A BIOS ISO: drover's by boot/mkiso.sh; a bare one has the guest itself as the multiboot-1 kernel."""
    out = Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    if bare:
        root = out.with_suffix(".dir")
        shutil.rmtree(root, ignore_errors=True)
        (root / "boot" / "grub").mkdir(parents=True)
        shutil.copyfile(kernel, root / "boot" / "kernel.elf")
        (root / "boot" / "grub" / "grub.cfg").write_text(
            "set timeout=0\nset default=0\nmenuentry bare {\n\tmultiboot /boot/kernel.elf %s\n\tboot\n}\n" % cmdline,
            encoding="utf-8")
        argv = ["grub-mkrescue", "-d", "/usr/lib/grub/i386-pc", "--install-modules=multiboot normal iso9660 biosdisk "
                "part_msdos configfile echo", "--locales=", "--fonts=", "--themes=", "-o", str(out), str(root)]
    else:
        argv = ["sh", "boot/mkiso.sh", str(out), str(kernel), cmdline]
        for path, text in modules:
            argv += [str(path), text]
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, check=False)
    if done.returncode or not out.exists():
        raise RuntimeError("no ISO: %s\n%s" % (" ".join(argv), done.stdout.decode("utf-8", "replace")[-2000:]))
    return out
