# SPDX-License-Identifier: MIT
"""Runs inside gdb (`gdb -x`): one case of gdbcheck.py, named by $DROVER_CASE. Prints `@key value` lines; gdbcheck.py knows what they have to be."""

import os
import re
import signal

import gdb  # pylint: disable=import-error


def run(command):
    """A gdb command; what it said, an error's text included."""
    try:
        return gdb.execute(command, to_string=True)
    except gdb.error as error:
        return "error: %s" % error


def say(key, value):
    """A line for gdbcheck.py."""
    print("@%s %s" % (key, value), flush=True)


def value(text):
    """An expression as a number."""
    return int(gdb.parse_and_eval(text)) & 0xffffffffffffffff


def where():
    """The label at RIP, as `label` or `label+offset`; `nowhere` if there is nothing to debug any more."""
    if not gdb.selected_thread():
        return "nowhere"
    found = re.match(r"(\S+)(?: \+ (\d+))? in section", run("info symbol $rip"))
    if not found:
        return hex(value("$rip"))
    return found.group(1) + ("+" + found.group(2) if found.group(2) else "")


def go_to(place):
    """Runs to gdb_here(place)."""
    run("delete")
    run("hbreak gdb_here if (int)$rdi == %d" % place)
    run("continue")
    say("at", "%s %d" % (where(), value("(int)$rdi")))
    run("delete")


KINDS = {gdb.BP_HARDWARE_WATCHPOINT: "watch", gdb.BP_ACCESS_WATCHPOINT: "awatch", gdb.BP_READ_WATCHPOINT: "rwatch"}
LAST = ["?"]


def stopped(event):
    """gdb's own word for why it stopped."""
    if isinstance(event, gdb.BreakpointEvent):
        LAST[0] = KINDS.get(event.breakpoints[0].type, "break")
    elif isinstance(event, gdb.SignalEvent):
        LAST[0] = event.stop_signal
    else:
        LAST[0] = "step"


def go_on(command="continue"):
    """Runs on; why it stopped, in a word."""
    LAST[0] = "?"
    said = run(command)
    return "error" if LAST[0] == "?" and "error:" in said else LAST[0]


def case_steps():
    """Each instruction of gdb_list, then breakpoints of both kinds."""
    go_to(0)
    say("mode", "cr0.pg=%d efer.lma=%d cs=%#x" % (value("$cr0") >> 31 & 1, value("$efer") >> 10 & 1, value("$cs")))
    go_to(1)
    run("hbreak *(long)&gdb_list")
    run("continue")
    run("delete")
    for _ in range(40):
        say("step", "%s %s" % (where(), "TF" if value("$eflags") & 0x100 else "-"))
        if where() == "gl_end":
            break
        run("stepi")
    go_to(2)
    run("monitor hide off")
    run("break *(long)&gdb_int3")
    say("byte", "%#x" % value("*(unsigned char *)&gdb_int3"))
    say("soft", go_on() + " " + where())
    say("byte", "%#x" % value("*(unsigned char *)&gdb_int3"))
    run("delete")
    run("stepi")
    say("own", where())
    say("hide", "are hidden" in run("monitor hide on"))
    run("break *((long)&gdb_int3 + 2)")
    run("stepi")
    run("delete")
    run("break gdb_work")
    for _ in range(3):
        say("work", go_on() + " %s rdi=%d" % (where(), value("$rdi")))
    run("delete")


def case_emulated():
    """A guest that is stepped for its branch records: an INT3 of gdb's is no instruction of the guest's to carry out."""
    go_to(3)
    say("debugctl", "%#x" % value("$debugctl"))
    run("monitor hide off")
    run("break gdb_work")
    for _ in range(3):
        why = go_on()
        say("work", why + (" %s rdi=%d" % (where(), value("$rdi")) if gdb.selected_thread() else ""))
    run("delete")


def case_cut():
    """A gdb that goes without a word, with breakpoints of all kinds set."""
    go_to(0)
    run("set breakpoint always-inserted on")
    run("monitor hide off")
    run("break *(long)&gdb_int3")
    run("monitor hide on")
    run("break *(long)&gdb_list")
    run("hbreak gdb_work")
    run("watch *(unsigned long *)&gdb_counter")
    say("slots", slots())
    say("soft", soft())
    os.kill(os.getpid(), signal.SIGKILL)


def case_again():
    """The next one finds nothing of it."""
    say("byte", "%#x" % value("*(unsigned char *)&gdb_int3"))
    say("slots", slots())
    say("soft", soft())
    if soft():  # gdb would go on for ever from one that it knows nothing of: it learns of them, and takes them out
        run("set breakpoint always-inserted on")
        run("break *(long)&gdb_int3")
        run("break *(long)&gdb_list")
        run("delete")
        return
    say("at", where())
    run("hbreak gdb_work")
    say("next", "%s %s" % (go_on(), where()))  # over the code where the others were
    if where() != "gdb_work":
        run("kill")
    run("delete")


def case_watch():
    """Watchpoints of each size and kind."""
    go_to(3)
    for size in ("char", "short", "int", "long"):
        run("watch *(unsigned %s *)&gdb_counter" % size)
        say(size, "%s %d" % (go_on(), value("*(unsigned long *)&gdb_counter")))
        run("delete")
    run("awatch *(unsigned long *)&gdb_counter")
    say("awatch", "%s %s" % (go_on(), "gdb_work" in where()))
    run("delete")
    run("rwatch *(unsigned long *)&gdb_counter")
    say("rwatch", "%s %s" % (go_on(), "gdb_work" in where()))
    run("delete")
    say("write", run("set var *(unsigned long *)&gdb_go = 0x1122334455667788").strip() or "%#x" % value("*(unsigned long *)&gdb_go"))
    run("p $xmm3.uint128 = 77")
    run("p $r15 = 0x123456789abcdef0")
    run("maintenance flush register-cache")  # what is read now comes over the line
    say("xmm", run("p $xmm3.uint128").strip())
    say("r15", "%#x" % value("$r15"))
    say("unmapped", "Cannot access memory" in run("x/1xb 0xffff800000000000"))
    run("set var *(unsigned long *)&gdb_go = 0")


def soft():
    """How many software breakpoints `monitor dbg` tells of."""
    found = re.search(r"software breakpoints: (\d+)", run("monitor dbg"))
    return int(found.group(1)) if found else 0


def slots():
    """What `monitor dbg` says of the slots, in short."""
    text = run("monitor dbg")
    held = re.search(r"guest holds (\d) of 4 slots, debugger (\d)", text)
    return "guest=%s debugger=%s stepping=%d" % (held.group(1), held.group(2), len(re.findall("matched by stepping", text)))


def case_owners():
    """gdb's breakpoints beside the guest's own, which arms more and more of them."""
    go_to(3)
    run("set breakpoint always-inserted on")
    run("hbreak *((long)&gdb_stores + 4)")
    run("watch *(unsigned char *)((char *)&watch_buf + 32)")
    run("hbreak gdb_here if (int)$rdi >= 4")
    order = []
    for _ in range(40):
        why = go_on()
        if where() == "gdb_here":
            say("hits", " ".join(order))
            order = []
            say("arms", "%d %s" % (value("(int)$rdi") - 4, value("$dr7") & 0xff))
            if value("(int)$rdi") == 9:
                break
        else:
            order.append("%s@%s" % (why, where().replace("gdb_stores", "")))
            if "watch" in order[-1] or len(order) == 1:
                say("slots", slots())
    run("delete")


def case_refused():
    """The guest holds slots first."""
    for arms in (3, 4):
        go_to(4 + arms)
        run("set breakpoint always-inserted on")
        said = run("hbreak *((long)&gdb_stores + %d)" % arms) + run("watch *(unsigned char *)((char *)&watch_buf + %d)" % (32 + arms))
        say("refused", "%s %s" % (arms, "Could not insert" in said))
        print(said)
        refused = re.search(r"last refused: (.*)", run("monitor dbg"))
        say("name", re.sub("0x[0-9a-f]+", "ADDRESS", refused.group(1)) if refused else "-")
        run("delete")


def case_spin():
    """Ctrl-C, sent to this gdb by gdbcheck.py when the guest says that it spins."""
    run("delete")
    say("spin", "%s %s" % (go_on(), "gdb_spin" in where()))
    run("set var *(unsigned long *)&gdb_go = 1")


def case_later():
    """A gdb that comes while the guest runs."""
    say("later", "gdb_spin" in where())
    say("slots", slots())
    run("set var *(unsigned long *)&gdb_go = 1")
    run("stepi")


def progress():
    """Where the selected thread is: a step of a REP string instruction, or a loop's next round, leaves RIP alone."""
    return tuple(value(name) for name in ("$rip", "$rcx", "$rdi"))


def case_threads():
    """VMs are threads. Where a slice has ended is anywhere in the code."""
    say("threads", " ".join(re.findall(r"\((vm [^)]*)\)", run("info threads"))))
    run("hbreak gdb_work")
    names, threads = [], sorted(gdb.selected_inferior().threads(), key=lambda thread: thread.num)
    run("set scheduler-locking on")  # a slice's end is nothing to wait for
    for thread in threads:
        thread.switch()
        for _ in range(thread.num):
            run("continue")
        names += re.findall(r"\* *\d+ +Thread \S+ \((vm [^)]*)\)", run("info threads")) + ["%s %d" % (where(), value("(int)$rdi"))]
    say("seen", " ".join(names))
    run("set scheduler-locking off")
    run("continue")  # both of them: one is there next
    places, kept, here = {}, True, where()
    for thread in threads:
        thread.switch()
        places[thread.num] = progress()
        run("set var *(unsigned long *)&watch_buf = %d" % thread.num)
    for thread in threads:
        thread.switch()
        kept = kept and value("*(unsigned long *)&watch_buf") == thread.num
    say("registers", "%d %s" % (len(set(places.values())), here))
    say("memory", kept)
    run("set scheduler-locking on")
    alone = []
    for thread in threads:
        thread.switch()
        run("stepi")
        alone.append(gdb.selected_thread().num == thread.num)
        for other in threads:
            other.switch()
            now = progress()
            alone.append((now != places[other.num]) == (other.num == thread.num))
            places[other.num] = now
    say("alone", all(alone) and len(alone) == 6 or alone)
    run("set scheduler-locking off")
    run("delete")


def level():
    """Which level has stopped."""
    return "L2" if "its guest" in run("info threads") else "L1"


def case_nested():
    """A guest that is a hypervisor, and its guest, seen from below both."""
    run("hbreak l1_run")
    say("own", "%s %s %s" % (go_on(), where(), level()))
    run("delete")
    run("hbreak *(long)&n00_regs")
    say("guest", "%s %s %s" % (go_on(), where(), level()))
    run("delete")
    say("rbx", value("$rbx"))
    for _ in range(4):
        run("stepi")
        say("step", "%s %s" % (where(), level()))
    say("sum", value("$rax"))
    run("break *(long)&n00_ud")
    say("soft", "%s %s %s" % (go_on(), where(), level()))
    run("delete")
    run("hbreak l1_run")
    say("own", "%s %s %s" % (go_on(), where(), level()))
    run("delete")


def case_virtual():
    """Steps over where a nested guest's posted interrupt would come."""
    run("hbreak *(long)&m00_vintr")
    say("there", "%s %s %s" % (go_on(), where(), level()))
    run("delete")
    for _ in range(5):
        run("stepi")
        say("step", where())


def case_monitor():
    """What monitor knows."""
    go_to(0)
    rip, cr3, memory = value("$rip"), value("$cr3"), bytes(gdb.selected_inferior().read_memory(0x200000, 16))
    wanted = (("exits", r"^drover: +-0 exception .*rip=%#x " % rip), ("trace 5", r"6 events.*kvm_exit: vm guest level 1 reason exception .*rip %#x " % rip),
              ("vmcb", r"(?i)cr3\W+(0x)?%x\b" % cr3), ("vmcs", r"(?i)cr3\W+(0x)?%x\b" % cr3), ("audit", r"entry checks: 0 broken rules$"),
              ("phys 0x200000 16", "^200000: %s$" % memory.hex(" ")), ("dbg", r"dr7=%x debugctl=0$.*slot 3: guest dr3=0x0 off" % value("$dr7")),
              ("help", "^monitor phys +ADDRESS"), ("nonsense", "no such command: 'nonsense'"))
    for command, pattern in wanted:
        text = run("monitor %s" % command)
        print(text[-2000:])
        say(command.split()[0], re.search(pattern, re.sub(" +$", "", text.strip(), flags=re.M), re.M | re.S) is not None)


# With four slots of the guest's own in use for long: each instruction would be a step of gdb's sake, millions of them. Software breakpoints stay.
HEAVY = ("h12_sync_first", "p03_host_range")
# Bochs's SVM tells no cause of a #DB (svm-db-cause): p21 arms four at random, and each step would be taken for a hit of one that cannot be checked; in z01 a third
# owner, the lab, has some, and its code is in the page of the hidden one.
BLIND = ("p21_escape", "z01_debugger")


def case_suite():
    """All scenarios, with breakpoints of each kind set; those that are hit go on by themselves. The console's code is in the page of scenario_run: each character would be steps."""
    run("set breakpoint always-inserted on")
    run("monitor hide off")
    run("break scenario_run")
    run("hbreak gdb_spin")
    run("hbreak gdb_here" if "svm-bochs" in os.environ["DROVER_GDB"] else "watch *(unsigned long *)&gdb_go")  # no cause of a data hit among several there
    run("monitor hide on")
    run("break gdb_work")  # inserted now, and never hit
    run("monitor hide off")
    hits = {}
    while True:
        why = go_on()
        if why != "break":
            break
        place = value("$rip") == value("(long)&scenario_run") and "scenario_run" or where()
        hits[place] = hits.get(place, 0) + 1
        if place == "scenario_run":
            name = gdb.Value(value("*(unsigned long *)$rdi")).cast(gdb.lookup_type("char").pointer()).string()
            blind = name in BLIND and "svm-bochs" in os.environ["DROVER_GDB"]
            run("%s 2 3" % ("disable" if name in HEAVY or blind else "enable"))
            run("%s 4" % ("disable" if blind else "enable"))
    say("end", why)
    say("hits", " ".join("%s %d" % pair for pair in sorted(hits.items())))


def main():
    """The case, then gdb leaves without a trace."""
    for line in ("set pagination off", "set confirm off", "set width 0", "set remotetimeout 60", "set tcp connect-timeout 60"):
        run(line)
    if os.environ.get("DROVER_REMOTELOG"):
        run("set remotelogfile %s" % os.environ["DROVER_REMOTELOG"])
    gdb.events.stop.connect(stopped)
    gdb.events.exited.connect(lambda event: LAST.__setitem__(0, "exited"))
    case = os.environ["DROVER_CASE"]
    said = run("target remote %s" % os.environ["DROVER_GDB"])
    say("attached", "no: " + said.strip() if "error:" in said else "yes")
    globals()["case_" + case]()
    if case != "suite":
        said = run("detach")
        say("detached", "detached" in said)


main()
