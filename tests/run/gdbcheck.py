# SPDX-License-Identifier: MIT
"""`make check-gdb`: Debian's own gdb, in batch mode, on drover's stub: what it sees, and that the guest sees nothing of it."""

import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import job
import ktap
import planted
import rungs
import table

SYMBOLS = "build/obj/guest/guest64.elf"
RUNGS = ("svm-qemu", "svm-bochs", "vmx-bochs", "pvm-qemu")
# What is wrong there without gdb as well: Bochs tells no cause of a #DB, and drover's guess has limits (svm-db-cause).
KNOWN = {"svm-bochs": {"Z01.%d" % n: ";".join("DB+%s/ffff0ff0" % at for at in ("3", "8", "d", "12")[:n]) for n in (2, 3, 4)}}
SKIPPED = {("svm-bochs", "owners"): "with gdb's watchpoint and the guest's armed Bochs does not tell which was hit (svm-db-cause)",
           ("vmx-bochs", "virtual"): "SVM's virtual interrupts",
           ("svm-bochs", "virtual"): "its SVM never delivers a virtual interrupt for which IF is 1 at VMRUN (emulators.md)",
           ("pvm-qemu", "virtual"): "no guest in ring 3 is a hypervisor",
           ("pvm-qemu", "nested"): "no guest in ring 3 is a hypervisor",
           ("pvm-qemu", "emulated"): "debugctl=emulate is not for guests in ring 3"}
# In the trace, where guests own the registers now and then; and where they never do.
LIVE = ((r"trace: .*: Set DRs: .* DR0 \S+ -> 0x\w+", r"trace: .*: Sync DRs: .* DR0 0x\w+ -> 0x\w+"), (r"trace: .*: Set DRs: .* by enter DR0 \S+ -> 0x\w+",))
SPINS = b"z03_stepped: spins"

STEPS = ("gdb_list gl_cpuid gl_cli gl_ss gl_pair gl_pushf gl_pop gl_ecx gl_rep gl_rep gl_rep gl_syscall gl_entry gl_frame gl_frame+3 gl_frame+5 gl_frame+6 "
         "gl_frame+8 gl_frame+9 gl_frame+11 gl_frame+12 gl_frame+19 gl_iret gl_back gl_hlt gl_behind gl_end").split()


def steps(rung):
    """Where steps land. The emulators' own: QEMU goes round a REP once more (emulators.md, 10)."""
    labels = list(STEPS)
    if rung.endswith("-qemu"):
        labels.insert(labels.index("gl_syscall"), "gl_rep")
    return ["step %s -" % label for label in labels]


# What a case proves if all of gdb's lines are right; the guest's own checks speak for themselves.
PROVES = {"steps": ("Z03", "Z06", "Z07", "E15"), "watch": ("Z04",), "owners": ("Z01", "Z02"), "refused": ("Z01",), "emulated": ("Z07",), "cut": ("Z01", "Z07"), "virtual": ("Z06",)}


@dataclass(frozen=True)
class Plant:
    """A bug of tests/host/mutants: gdb's lines of the case, or a check of the guest's, have to go wrong."""
    mutant: str
    rung: str
    case: str = "steps"


PLANTS = tuple(Plant(*words) for words in planted.GDB_PLANTS)


@dataclass(frozen=True)
class Case:
    """name: the function in gdbside.py; want: what it has to print, as regular expressions. spins: it is told when the guest spins, by SIGINT; later: it comes
    only then. suite: all scenarios, judged as the rung itself."""
    name: str
    want: tuple = ()
    words: str = "scenario=z03_stepped"
    wait: bool = True
    spins: bool = False
    later: bool = False
    then: str = ""     # another gdb's, when this one has gone
    suite: bool = False
    modules: tuple = ()
    options: str = ""  # of drover's
    log: tuple = ()    # what its log has to have
    known: tuple = ()  # (check, value): of the guest's those that fail for what gdb does


def cases(rung):
    """What runs on a rung."""
    here = "at gdb_here %d"
    yield Case("steps", (here % 0, "mode cr0.pg=1 efer.lma=1 cs=0x8", here % 1, *map(re.escape, steps(rung)), here % 2, "byte 0x90", "soft break gdb_int3",
                         "byte 0x90", r"own gdb_int3\+1", "hide True", "work break gdb_work rdi=0", "work break gdb_work rdi=1", "work break gdb_work rdi=2"))
    yield Case("emulated", (here % 3, "debugctl 0x1", "work break gdb_work rdi=0", "work break gdb_work rdi=1", "work break gdb_work rdi=2"), known=(("Z07.read", "0x2"),),
               modules=((rungs.GUEST, "vm=guest mem=32 lab debugctl=emulate -- scenario=z03_stepped"),))
    yield Case("watch", (here % 3, "char watch 1", "short watch 3", "int watch 6", "long watch 10", "awatch awatch True", "rwatch rwatch True",
                         "write 0x1122334455667788", r"xmm \$\d+ = 77", "r15 0x123456789abcdef0", "unmapped True"))
    hits = r"hits break@\+4 watch@\+23 watch@scn_fn_z03_stepped\+\d+"
    alone, homeless = r"slots guest=%d debugger=%d stepping=0", r"slots guest=%d debugger=%d stepping=%d"
    yield Case("owners", (here % 3, "hits ", "arms 0 0", *[alone % (0, 3)] * 3, hits, "arms 1 2", *[alone % (1, 3)] * 2, alone % (0, 3), hits, "arms 2 10",
                          *[homeless % (2, 2, 1)] * 2, alone % (0, 3), hits, "arms 3 42", *[homeless % (3, 1, 2)] * 2, alone % (0, 3), hits, "arms 4 170",
                          *[homeless % (4, 0, 3)] * 2, r"hits break@\+4 watch@\+23", "arms 5 .*"))
    yield Case("refused", ("at gdb_here 7", "refused 3 True", "name vm guest: guest holds 3 of 4 slots, debugger 1: none is left for ADDRESS",
                           "at gdb_here 8", "refused 4 True", "name vm guest: guest holds 4 of 4 slots, debugger 0: none is left for ADDRESS"))
    spin = "scenario=z03_stepped count=%d" % (2 if rung == "svm-bochs" else 1)  # whose SVM lets nobody interrupt a guest with IF=0
    yield Case("spin", ("spin SIGINT True",), spin, spins=True)
    yield Case("later", ("later True", "slots guest=0 debugger=0 stepping=0"), spin, wait=False, later=True)
    yield Case("cut", (here % 0, alone % (0, 2), "soft 2", "attached yes", "byte 0x90", alone % (0, 0), "soft 0", "at gdb_here", "next break gdb_work"), then="again")
    yield Case("monitor", (here % 0, *("%s True" % word for word in "exits trace vmcb vmcs audit phys dbg help nonsense".split())),
               options="trace=on", log=LIVE[rung.startswith("pvm")] + (r"trace: .*: kvm_entry: vm guest level 1 rip 0x", r"trace: .*: kvm_exit: vm guest level 1 reason \w"))
    yield Case("threads", ("threads vm a vm b", "seen vm a gdb_work 0 vm b gdb_work 1", "registers 2 gdb_work", "memory True", "alone True"), modules=tuple(
        (rungs.GUEST, "vm=%s mem=16 lab group=1 -- scenario=z03_stepped" % name) for name in ("a", "b")))
    yield Case("nested", ("own break l1_run L1", "guest break n00_regs L2", "rbx 100", r"step n00_regs\+3 L2", r"step n00_regs\+7 L2", r"step n00_regs\+10 L2",
                          r"step n00_regs\+13 L2", "sum 105", "soft break n00_ud L2", "own break l1_run L1"),
               modules=((rungs.GUEST, "vm=hv mem=32 lab nested=on -- scenario=n00_nested"),))
    # It waits while gdb steps (Z06), and comes behind the last step: the guest's own check sees that.
    yield Case("virtual", ("there break m00_vintr L2", *(r"step m00_vintr\+%d" % n for n in range(1, 6))), known=(("NB.virq", "I80+5"),), log=(r"not ok \d+ NB\.virq .*I80\+5",),
               modules=((rungs.GUEST, "vm=hv mem=32 lab nested=on -- scenario=m00_intr"),))
    yield Case("suite", ("end exited", r"hits scenario_run \d+"), "scenario=all", suite=True)


class Bridge(threading.Thread):
    """Between Bochs, whose serial line waits for its one client before the machine starts, and gdbs that come and go. port: of the Bochs that runs now, since one
    that got no port is started again."""

    def __init__(self, path):
        super().__init__(daemon=True)
        self.port, self.over, self.listener = None, False, socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen(1)

    def run(self):
        while not self.over:
            try:
                line = socket.create_connection(("127.0.0.1", self.port))
            except OSError:
                time.sleep(0.1)
                continue
            self.serve(line)

    def serve(self, line):
        """One Bochs, from its line's beginning to its end."""
        gdb = None
        while True:
            ready, _, _ = select.select([line, gdb or self.listener], [], [])
            try:
                if line in ready:
                    data = line.recv(4096)
                    if not data:
                        break
                    if gdb:
                        gdb.sendall(data)
                if self.listener in ready and not gdb:
                    gdb, _ = self.listener.accept()
                elif gdb in ready:
                    data = gdb.recv(4096)
                    if data:
                        line.sendall(data)
                    else:
                        gdb = None
            except OSError:
                gdb = None
        if gdb:
            gdb.close()


def free_port():
    """A TCP port that nobody has now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def with_line(run, path, bridge):
    """The run with a second serial line, at a socket of that name."""
    plain = replace(run)

    def argv(serial, workdir):
        words = job.command_line(plain, serial)
        if run.platform == "bochs":
            bridge.port = free_port()
            with open(Path(workdir) / "bochsrc", "a", encoding="utf-8") as rc:
                rc.write("com2: enabled=1, mode=socket-server, dev=localhost:%d\n" % bridge.port)
            if not bridge.is_alive():
                bridge.start()
            return words
        return words + ["-serial", "unix:%s,server=on,wait=off" % path]
    return replace(plain, argv=argv)


def to_run(case, rung):
    """The emulator's run of a case."""
    option = "gdb=com2,wait" if case.wait else "gdb=com2"
    if case.spins or case.later:
        option += " budget=3600000"  # for gdb to start in
    if case.suite:
        run = rungs.runs(rung, options=option + " budget=3600000")[0]  # where the guest arms four slots gdb's are stepped for
    else:
        run = rungs.runs(rung, options=("%s %s" % (option, case.options)).strip())[0]
        run.modules = case.modules or ((rungs.GUEST, "vm=guest mem=32 lab -- " + case.words),)
    run.rung, run.name = "gdb", "%s-%s" % (rung.name, case.name)
    run.timeout = 1200 if case.suite else 200
    return run


def wait_for(condition, seconds):
    """Polls; True if it came."""
    end = time.monotonic() + seconds * job.SCALE
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return False


def drive(case, run, path):
    """Runs gdb; what it printed."""
    serial = run.workdir / "serial.log"
    spins = lambda: serial.exists() and SPINS in serial.read_bytes()
    if not wait_for(path.exists, 60) or (case.later and not wait_for(spins, 100)):
        return "(the emulator offers no line, or the guest does not spin)"
    said = one_gdb(case, case.name, run, path, spins)
    if case.then:
        said += one_gdb(case, case.then, run, path, spins)
    return said


def one_gdb(case, name, run, path, spins):
    """Runs one of a case's gdbs to its end."""
    argv = ["gdb", "-q", "-nx", "-batch", "-x", "tests/run/gdbside.py", SYMBOLS]
    process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
                               env=dict(os.environ, DROVER_CASE=name, DROVER_GDB=str(path)))
    if case.spins and wait_for(spins, 100):
        time.sleep(1)
        process.send_signal(signal.SIGINT)
    try:
        said, _ = process.communicate(timeout=run.timeout * job.SCALE)
    except subprocess.TimeoutExpired:
        process.kill()
        said, _ = process.communicate()
        said += b"\n@end of gdb: by its time limit\n"
    return said.decode("utf-8", "replace")


def execute(case, rung, kernel=None, bug=""):
    """(result, what gdb said) of a case. kernel: one with a bug, by its name."""
    run = to_run(case, rung)
    if kernel:
        run.kernel, run.name = kernel, "%s-%s" % (run.name, bug)
    path = Path("build") / ("gdb-%s-%d.sock" % (run.name, os.getpid()))
    results = []
    if path.exists():
        path.unlink()
    shutil.rmtree(run.workdir, ignore_errors=True)  # drive() looks at the log as soon as the line is there
    bridge = Bridge(str(path)) if run.platform == "bochs" else None
    run = with_line(run, path, bridge)
    thread = threading.Thread(target=lambda: results.append(job.execute(run)))
    thread.start()
    said = drive(case, run, path)
    thread.join()
    if bridge:
        bridge.over = True
    if path.exists():
        path.unlink()
    (run.workdir / "gdb.log").write_text(said, encoding="utf-8")
    return results[0], said


def differences(case, said):
    """Where gdb's lines are not what they have to be."""
    got = [line[1:] for line in said.split("\n") if line.startswith("@")]
    want = ["attached yes", *case.want] + ([] if case.suite else ["detached True"])
    bad = ["line %d: wanted /%s/, got '%s'" % (i + 1, w, g) for i, (w, g) in enumerate(zip(want, got)) if not re.fullmatch(w, g)]
    if len(got) != len(want):
        bad.append("%d lines instead of %d, the last '%s'" % (len(got), len(want), got[-1] if got else said.strip()[-200:]))
    return bad


def guest_checks(case, rung, result):
    """([(check, passed)] of the guest's own, what is wrong besides). What is known to fail has to, by its value, and proves nothing."""
    known = {**(KNOWN.get(rung.name, {}) if "z03_stepped" in result.log else {}), **dict(case.known)}
    checks, wrong = rungs.collect(result)
    wrong += ["%s is not in the run, and has to be %s" % (ident, value) for ident, value in sorted(known.items()) if all(c.ident != ident for c in checks)]
    wrong += ["%s is %s %s, not %s" % (c.key, c.status, c.actual, known[c.ident]) for c in checks
              if c.ident in known and (c.status != ktap.FAIL or c.actual != known[c.ident])]
    return sorted({(c.key, c.status == ktap.OK) for c in checks if c.ident not in known}), wrong


def suite_hits(said, result):
    """Each scenario begins with a breakpoint's stop, one of each VM's."""
    hits, runs = re.search(r"^@hits scenario_run (\d+)$", said, re.M), len(re.findall(r"# Subtest: ", result.log))
    return [] if hits and int(hits.group(1)) == runs else ["scenario_run has stopped %s times, for %d scenarios" % (hits.group(1) if hits else "no", runs)]


@dataclass
class Judged:
    """A case that has run. bad: what is wrong; checks: [(check, passed)], of the guest's and of gdb's lines; lines: gdb's that differ, if it has come to its end."""
    bad: list
    result: object
    checks: list
    lines: list


def judge(case, rung, result, said):
    """What a run was."""
    lines = differences(case, said)
    if case.suite:
        outcome = rungs.judge(replace(rung, name=rung.name + "-gdb", base=rung.name), [result])
        table.print_outcome(outcome)
        return Judged(lines + suite_hits(said, result) + outcome.judgement.failed + outcome.judgement.errors, result, [], [])
    checks, wrong = guest_checks(case, rung, result)
    missing = ["the log has no /%s/" % text for text in case.log if not re.search(text, result.log)]
    bad = lines + missing + ["the guest: " + text for text in wrong]
    bad += ["the guest: not ok %s" % key for key, passed in checks if not passed] + ([] if checks else ["the guest made no check"])
    ended = "@detached" in said and not result.timed_out
    return Judged(bad, result, checks + [("%s.gdb.%s" % (rule, case.name), not bad) for rule in PROVES.get(case.name, ())], lines + missing if ended else [])


def one(case, rung, kernel=None, bug=""):
    """Runs and judges a case."""
    return judge(case, rung, *execute(case, rung, kernel, bug))


def case_of(name, rung):
    """A case by its name."""
    return next(case for case in cases(rung) if case.name == name)


def red_of(judged, rules):
    """The checks of these rules that a bug has turned red: the guest's own, or gdb's lines. That something else went wrong is not enough."""
    failed = [key for key, passed in judged.checks if not passed and key.rsplit("/", 1)[-1].split(".")[0] in rules]
    return [key for key in failed if ".gdb." not in key or judged.lines]


def try_plant(plant):
    """Plants a bug: (ok or not, None: not here; words; what of its rules went red)."""
    if rungs.absent(rungs.RUNGS[plant.rung]):
        return None, "", []
    kernel, why = planted.build(plant.mutant)
    rules = re.split(r"[ ,]+", planted.mutate.load(plant.mutant).head["rules"]) if kernel else []
    red = red_of(one(case_of(plant.case, plant.rung), rungs.RUNGS[plant.rung], kernel, plant.mutant), rules) if kernel else []
    return bool(red), " ".join(red[:3]) or why or "nothing of its rules failed", red


def plant_all(pool, evidence, counts):
    """Plants the bugs; what of their rules went red."""
    for plant, (red, words, keys) in zip(PLANTS, pool.map(try_plant, PLANTS)):
        if red is None:
            counts[2] += 1
            continue
        print("gdb: %s planted %s in %s on %s: %s" % ("ok" if red else "FAIL", plant.mutant, plant.case, plant.rung, words), flush=True)
        evidence["red"].setdefault(plant.mutant, {}).setdefault(plant.rung + "-gdb", []).extend(keys)
        counts[0 if red else 1] += 1


def tell(name, case, bad, result):
    """The lines of a case."""
    print("gdb: %s %s on %s, %.1f s" % ("FAIL" if bad else "ok", case.name, name, result.seconds), flush=True)
    for text in bad[:12]:
        print("gdb:   %s" % text)
    if bad and not case.suite:
        print(result.tail(10))


def check(names=RUNGS, only=()):
    """Runs all, the long ones first; (passed, failed, skipped)."""
    there = sorted({case.name for name in names for case in cases(name)})
    for name in sorted(set(only) - set(there)):
        print("gdb: no case '%s'; there are: %s" % (name, " ".join(there)))
        return [0, 1, 0]
    counts, evidence = [0, 0, 0], {"guest": rungs.guest_hash(), "checks": {}, "red": {}}
    todo = []
    for name, case in ((name, case) for name in names for case in cases(name) if not only or case.name in only):
        absent = rungs.absent(rungs.RUNGS[name]) or SKIPPED.get((name, case.name), "")
        if absent:
            print("gdb: skipped %s on %s: %s" % (case.name, name, absent))
            counts[2] += 1
        else:
            todo.append((name, case))
    todo.sort(key=lambda pair: not pair[1].suite)
    with ThreadPoolExecutor(job.WORKERS) as pool:
        for (name, case), judged in zip(todo, pool.map(lambda pair: one(pair[1], rungs.RUNGS[pair[0]]), todo)):
            evidence["checks"].setdefault(name + "-gdb", []).extend(judged.checks)
            tell(name, case, judged.bad, judged.result)
            counts[1 if judged.bad else 0] += 1
        if not only:
            plant_all(pool, evidence, counts)
    if not only and tuple(names) == RUNGS:
        rungs.RESULTS.mkdir(parents=True, exist_ok=True)
        (rungs.RESULTS / "gdb.json").write_text(json.dumps(evidence, indent=1) + "\n", encoding="utf-8")
    print("gdb: %d passed, %d failed, %d skipped" % tuple(counts), flush=True)
    return counts
