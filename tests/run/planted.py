# SPDX-License-Identifier: MIT
"""The bugs of the source documents, and those of nesting, put back one at a time into a copy of drover: their scenarios have to turn red on an emulator.

The edits are those of tests/host/mutants; here they boot. A scenario that stays green with its bug in place proves nothing."""

import json
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import emulators
import job
import ktap
import rungs

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "host"))
import mutate  # noqa: E402

WHERE = emulators.BUILD / "mutants"
SOURCES = ("boot", "arch", "vmm", "drivers", "Makefile", "linker.ld")


@dataclass(frozen=True)
class Plant:
    """A mutant, the scenario that has to see it, and on which rungs. Where these have several drovers it is in the uppermost, or else in the lowest."""
    mutant: str
    scenario: str
    rungs: tuple
    lowest: bool = False


PLANTS = (
    Plant("B01-svm", "doc0_dr6_once", ("svm-qemu", "svm-bochs")),
    Plant("B01-vmx", "doc0_dr6_once", ("vmx-bochs",)),
    Plant("B03", "doc1_host_dr6", ("svm-bochs", "vmx-bochs")),
    Plant("B06", "doc2_debugctl", ("svm-bochs",)),
    Plant("B46", "doc2_debugctl", ("svm-bochs",)),
    Plant("X19-cpl", "a08_dr_user", ("vmx-bochs",)),
    Plant("X32-fault-rf", "a28_pushed_rf", ("svm-bochs", "vmx-bochs")),
    Plant("P21-limit", "p21_escape", ("pvm-qemu",)),
    Plant("B65-memory", "p06_host_reads", ("pvm-qemu",)),
    Plant("P21-mapped", "p21_escape", ("pvm-qemu",)),
    Plant("P15-dropped", "a25_movss_event", ("pvm-bochs",)),
    Plant("B66", "m04_exit_dr", ("svm-qemu",)),
    Plant("NS01-upper", "m04_exit_dr", ("svm-qemu",)),
    Plant("NS02-dr7-left", "m04_exit_dr", ("svm-qemu",)),
    Plant("NS03-not-merged", "m05_db_exit", ("svm-qemu",)),
    Plant("NS04-emulated", "m05_db_exit", ("svm-qemu",)),
    Plant("NS05-lazy", "m07_dr_intercepts", ("svm-qemu",)),
    Plant("NS07-no-step", "m10_vmrun_tf", ("svm-qemu",)),
    Plant("NS08-dr6-fixed", "m04_exit_dr", ("svm-qemu",)),
    Plant("NS09-reintercepted", "n00_nested", ("svm-qemu",)),
    Plant("NS10-stale", "m00_npt", ("svm-qemu",)),
    Plant("NS11-gif", "m00_intr", ("svm-qemu",)),
    Plant("NS12-intr-twice", "a35_irq_once", ("svm-qemu",)),
    Plant("NS13-clean", "m02_clean_bits", ("svm-qemu",)),
    Plant("NS14-rf-kept", "m10_vmrun_tf", ("svm-qemu",)),
    Plant("NS15-rf-l2", "m10_vmrun_tf", ("svm-qemu",)),
    Plant("NS16-vmcb12-lost", "m13_snapshot", ("svm-qemu",)),
    Plant("NS17-db-lost", "m13_snapshot", ("svm-qemu",)),
    Plant("NS18-gif-lost", "m13_snapshot", ("svm-qemu",)),
    Plant("NS19-l1-step", "m13_snapshot", ("svm-qemu",)),
    Plant("B48-nsvm", "m13_snapshot", ("svm-qemu",)),
    Plant("NS20-ins-rights", "m00_npt", ("svm-qemu",)),
    Plant("NS21-ins-where", "m00_npt", ("svm-qemu",)),
    Plant("NS22-dr6-stale", "h11_nested", ("svm-qemu",)),
    Plant("NS24-masking", "m00_intr", ("svm-qemu",)),
    Plant("NS23-irq-type", "m00_intr", ("svm-qemu",)),
    Plant("NS23-irq-type", "m00_fuzz", ("svm-qemu",)),
    Plant("B01-svm", "h11_nested", ("svm-qemu",)),
    Plant("B01-vmx", "h11_nested", ("vmx-bochs",)),
    Plant("B55-nested", "m12_nmi", ("svm-qemu",)),
    Plant("DC01-shared", "m08_lbrv", ("svm-qemu",)),
    Plant("DC02-always", "m08_lbrv", ("svm-qemu",)),
    Plant("DC03-not-back", "m08_lbrv", ("svm-qemu",)),
    Plant("DC04-records", "m08_lbrv", ("svm-qemu",)),
    Plant("DC05-pushf", "a31_lbr", ("svm-qemu",)),
    Plant("DC06-btf", "a30_btf", ("svm-qemu", "vmx-bochs")),
    Plant("DC07-cpl", "a33_bus_lock", ("svm-qemu",)),
    Plant("DC08-line", "a33_bus_lock", ("svm-qemu",)),
    Plant("DC09-frame", "a31_lbr", ("svm-qemu",)),
    Plant("DC14-virq", "m08_lbrv", ("svm-qemu",)),
    Plant("NS25-hlt-virq", "m00_intr", ("svm-qemu",)),
    Plant("DC15-shadow-bs", "n03_debugctl", ("vmx-bochs",)),
    Plant("Y94-nested-rights", "m00_npt", ("vmx-bochs",)),
    Plant("DC10-taken", "a31_lbr", ("svm-qemu",)),
    Plant("DC11-vmx-load", "n03_debugctl", ("vmx-bochs",)),
    Plant("DC12-vmx-zero", "n03_debugctl", ("vmx-bochs",)),
    Plant("DC13-vmx-save", "n03_debugctl", ("vmx-bochs",)),
    Plant("B12-nested", "n13_general_detect", ("vmx-bochs",)),
    Plant("B47-load", "n03_load_debug", ("vmx-bochs",)),
    Plant("B47-save", "n05_save_debug", ("vmx-bochs",)),
    Plant("B49", "n01_debug_checks", ("vmx-bochs",)),
    Plant("B50-nested", "n10_db_exit", ("vmx-bochs",)),
    Plant("B64-nested", "n11_injection", ("vmx-bochs",)),
    Plant("B66-nested", "n03_load_debug", ("vmx-bochs",)),
    Plant("Y70-nested-dr7", "n05_save_debug", ("vmx-bochs",)),
    Plant("Y71-nested-dr-owner", "n09_mov_dr", ("vmx-bochs",)),
    Plant("Y72-nested-dr-switch", "n03_load_debug", ("vmx-bochs",)),
    Plant("Y73-nested-timer", "n19_timer", ("vmx-bochs",)),
    Plant("Y74-nested-vmfail", "n07_failed_entry", ("vmx-bochs",)),
    Plant("Y75-nested-invept", "n00_ept", ("vmx-bochs",)),
    Plant("Y76-nested-dr6", "n03_load_debug", ("vmx-bochs",)),
    Plant("Y77-nested-freeze", "n01_debug_checks", ("vmx-bochs",)),
    Plant("Y78-nested-late", "n00_events", ("vmx-bochs",)),
    Plant("Y78-nested-late", "m00_intr", ("vmx-bochs",)),
    Plant("Y79-nested-bitmap", "n22_bitmaps", ("vmx-bochs",)),
    Plant("Y80-nested-pending", "n19_timer", ("vmx-bochs",)),
    Plant("Y81-nested-class", "n15_code_bp", ("vmx-bochs",)),
    Plant("B14", "n12_mtf", ("vmx-bochs",)),
    Plant("B15", "n12_mtf", ("vmx-bochs",)),
    Plant("Y82-nested-mtf-lost", "n12_mtf", ("vmx-bochs",)),
    Plant("Y83-nested-mtf-fault", "n12_mtf", ("vmx-bochs",)),
    Plant("Y84-nested-mtf-theirs", "n12_mtf", ("vmx-bochs",)),
    Plant("Y85-nested-mtf-shadow", "n12_mtf", ("vmx-bochs",)),
    Plant("Y86-nested-cr0", "n00_errors", ("vmx-bochs",)),
    Plant("Y87-nested-late", "n00_apic_timer", ("vmx-bochs",)),
    Plant("Y88-nested-restore", "n04_snapshot", ("vmx-bochs",)),
    Plant("Y89-nested-debugger", "n24_debugger", ("vmx-bochs",)),
    Plant("Y90-nested-theirs", "n24_debugger", ("vmx-bochs",)),
    Plant("Y91-nested-vmclear", "n00_vmcs_shadow", ("vmx-bochs",)),
    Plant("Y93-nested-nowhere", "n00_ept", ("vmx-bochs",)),
    Plant("NS26-gif-bps", "m00_gif", ("svm-qemu",)),
    Plant("NS27-int-trap", "m08_lbrv", ("svm-qemu",)),
    Plant("NS28-apic-page", "n00_apic_page", ("svm-qemu",)),
    Plant("Y97-nested-apic", "n00_apic_page", ("vmx-bochs",)),
    Plant("DC16-step-over", "n03_debugctl", ("vmx-bochs",)),
    Plant("VS01-bitmap", "n00_shadow_vmcs", ("vmx-bochs",)),
    Plant("VS02-current", "n00_shadow_vmcs", ("vmx-bochs",)),
    Plant("VS03-link", "n00_shadow_vmcs", ("vmx-bochs",)),
    Plant("VS04-cpl", "n00_shadow_vmcs", ("vmx-bochs",)),
    Plant("VS05-entered", "n00_shadow_vmcs", ("vmx-bochs",)),
    Plant("VS06-info", "n00_shadow_vmcs", ("vmx-bochs",)),
    Plant("Y95-nested-mtf-kick", "n00_events", ("vmx-bochs",)),
    Plant("B13", "n16_init", ("vmx-bochs",)),
    Plant("B48", "n04_snapshot", ("vmx-bochs",)),
    Plant("B69", "n04_snapshot", ("vmx-bochs",)),
)

# Of two drovers (check-nested).
NESTED_PLANTS = (
    Plant("B01-svm", "doc0_dr6_once", ("nest2-svm-qemu",)),
    Plant("B01-vmx", "doc0_dr6_once", ("nest2-vmx-bochs",)),
    Plant("NS21-soft-lost", "n00_nested", ("nest2-svm-qemu",), lowest=True),
    Plant("Y90-nested-ept-rf", "n15_code_bp", ("nest2-vmx-bochs",), lowest=True),
    Plant("DC17-hlt-tf", "n03_debugctl", ("nest2-vmx-bochs",)),
    Plant("DC18-shadow-step", "n03_debugctl", ("nest2-vmx-bochs",)),
    Plant("DC19-mtf-in-step", "n03_debugctl", ("nest2-vmx-bochs",)),
    Plant("Y96-nested-mtf-pending", "n12_mtf", ("nest2-vmx-bochs",)),
)
# With gdb (check-gdb): mutant, rung, case.
GDB_PLANTS = (
    ("DC05-pushf", "svm-qemu", "steps"),
    ("DC09-frame", "svm-qemu", "steps"),
    ("GE01-isr", "svm-qemu", "steps"),
    ("GE02-int3-kept", "svm-qemu", "steps"),
    ("GE03-hlt", "svm-qemu", "steps"),
    ("GE04-slot-lost", "svm-qemu", "owners"),
    ("GE05-ring3-int3", "pvm-qemu", "steps"),
    ("GE09-emulated-int3", "svm-qemu", "emulated"),
    ("GE07-byte-left", "svm-qemu", "cut"),
    ("GE08-virtual-step", "svm-qemu", "virtual"),
    ("GE06-fetch-rf", "vmx-bochs", "steps"),
    ("G10-written", "svm-qemu", "steps"),
)
BENCH_PLANT = "NS20-whole-map"  # has to break a bound of bench (check-nested)


def copy_sources(tree, mutant):
    """The sources as they are now, with their dates: what has not changed since the last time is not compiled again. Another edit: all is."""
    if (tree / mutant.name).exists() and (tree / mutant.name).read_bytes() != mutant.read_bytes():
        shutil.rmtree(tree)
    tree.mkdir(parents=True, exist_ok=True)
    shutil.copy(mutant, tree)
    for source in SOURCES:
        shutil.rmtree(tree / source, ignore_errors=True)
        (shutil.copytree if Path(source).is_dir() else shutil.copy2)(source, tree / source)
    if not (tree / "build").exists():  # what the unmutated build has compiled
        part = tree / "build.part"
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
        for folder in ("arch", "boot", "drivers", "vmm"):
            if Path("build", folder).is_dir():
                shutil.copytree(Path("build", folder), part / folder)
        if Path("build/.cc").exists():
            shutil.copy2("build/.cc", part)
        part.rename(tree / "build")  # whole, or not at all


def build(name):
    """(drover.elf, "") of a copy of the sources with the mutant in it, in build/mutants/<name>; (None, reason) when there is none."""
    mutant, tree = mutate.load(name), WHERE / name
    if mutant is None:
        near = [n for n in mutate.names() if n.startswith(name[:3])]
        return None, "no such mutant%s; tests/host/mutants/README.md lists them" % ("; there are: %s" % " ".join(near) if near else "")
    copy_sources(tree, mutate.MUTANTS / (name + ".mutant"))
    changed = [] if mutant.mistakes else mutant.apply(tree)
    if not changed:
        return None, "; ".join(mutant.mistakes)
    env = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "MUTANT")}
    done = subprocess.run(["make", "-C", str(tree), "-j%d" % job.WORKERS, "build/drover.elf"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          stdin=subprocess.DEVNULL, env=env, check=False)
    if done.returncode:
        return None, "does not build: " + done.stdout.decode("utf-8", "replace")[-400:]
    return tree / "build/drover.elf", ""


BACKEND_NAME = re.compile(r"-(svm|vmx|pvm)(?:-|$)")
BACKEND_FILE = re.compile(r"arch/x86/(svm|vmx|pvm)/")


def elsewhere(mutant, backend):
    """Why a mutant is not to be seen with this backend: it is in the code of others, or has another's name (B01-svm). "": it may be."""
    named = BACKEND_NAME.search(mutant.name)
    places = {named.group(1)} if named else {found.group(1) if found else "" for found in (BACKEND_FILE.match(name) for name, _, _ in mutant.edits)}
    if backend not in ("svm", "vmx", "pvm") or backend in places or "" in places:
        return ""
    return "it is of %s, and %s runs" % (" and ".join(sorted(places)), backend)


def run_live(name, make):
    """`make run` with a mutant: the run that make(kernel) gives, with logs of its own. (run, "") or (None, message) when there is none."""
    kernel, why = build(name)
    if kernel is None:
        return None, "MUTANT=%s: %s" % (name, why)
    print("run: with mutant %s planted: %s" % (name, mutate.load(name).head["story"]), flush=True)
    run = make(kernel)
    run.rung, run.name = "mutants", name
    return run, ""


def to_run(plant, rung, kernel):
    """The run of one scenario on one rung with the planted drover."""
    base = rungs.runs(rungs.RUNGS[rung], plant.scenario, inner=rungs.DROVER if plant.lowest else kernel)[0]
    if base.nest == 1 or plant.lowest:
        base.kernel = kernel
    base.rung, base.name = "planted", "%s-%s-%s" % (rung, plant.mutant, plant.scenario)
    return base


def red_checks(plant, rung, result):
    """The checks of the scenario itself that failed, but for those that this rung fails without the bug."""
    known = {key for key, _ in rungs.judge(rungs.RUNGS[rung], [result], whole=False).judgement.known}
    return [c for c in rungs.collect(result)[0] if c.scenario == plant.scenario and c.status == ktap.FAIL and c.key not in known]


def killers(mutant, failed):
    """Those of the failed checks that count: named for one of the mutant's rules, as in mutate.killer()."""
    own = [c for c in failed if c.ident.split(".", 1)[0] in mutant.rules]
    return own or (failed if mutant.head.get("other") else [])


def verdict(plant, rung, result):
    """(red, words): red when a check of the scenario itself, of a rule of the mutant's, failed with a value; a run that died is not enough."""
    red, problems = red_checks(plant, rung, result), rungs.collect(result)[1]
    failed = killers(mutate.load(plant.mutant), red)
    if failed:
        return True, "%s: %s" % (failed[0].key, failed[0].actual or "not ok")
    return False, "nothing of its rules failed%s%s" % (", but " + red[0].key if red else "", "; " + problems[0] if problems else "")


def without_bugs(todo, what):
    """The plants whose scenario is as it should be on its rung when nothing is planted, and how many are not."""
    bases = sorted({(plant.scenario, name) for plant, name, _ in todo})
    base_runs = [to_run(Plant("base-" + scenario, scenario, (name,)), name, rungs.DROVER) for scenario, name in bases]
    bad = {}
    for (scenario, name), result in zip(bases, job.execute_all(base_runs)):
        judged = rungs.judge(rungs.RUNGS[name], [result], whole=False).judgement
        if judged.failed or judged.errors or not judged.ok:
            bad[scenario, name] = (judged.failed + judged.errors + ["nothing ran"])[0]
            print("%s: FAIL %s on %s without a bug: %s" % (what, scenario, name, bad[scenario, name]))
    return [t for t in todo if (t[0].scenario, t[1]) not in bad], len([t for t in todo if (t[0].scenario, t[1]) in bad])


def plant_all(plants, what):
    """Plants these; ([passed, failed, skipped], {mutant: {rung: the checks that it turned red}}). what: the first word of each line."""
    absent = {name: rungs.absent(rungs.RUNGS[name]) for plant in plants for name in plant.rungs}
    counts, todo, red_by, told = [0, 0, 0], [], {}, []
    with ThreadPoolExecutor(job.WORKERS) as pool:
        names = sorted({p.mutant for p in plants})
        built = dict(zip(names, pool.map(build, names)))
        kernels = [built[p.mutant] for p in plants]
    for plant, (kernel, why) in zip(plants, kernels):
        for name in plant.rungs:
            if absent[name]:
                print("%s: skipped %s on %s: %s" % (what, plant.mutant, name, absent[name]))
                counts[2] += 1
            elif kernel is None:
                print("%s: FAIL %s on %s: %s" % (what, plant.mutant, name, why))
                counts[1] += 1
            else:
                todo.append((plant, name, to_run(plant, name, kernel)))
    todo, broken = without_bugs(todo, what)
    counts[1] += broken
    for (plant, name, _), result in zip(todo, job.execute_all([run for _, _, run in todo])):
        red, words = verdict(plant, name, result)
        counts[0 if red else 1] += 1
        red_by.setdefault(plant.mutant, {}).setdefault(name, []).extend(c.key for c in red_checks(plant, name, result))
        told.append({"mutant": plant.mutant, "rung": name, "scenario": plant.scenario, "red": red, "words": words})
        print("%s: %s %s on %s, %s" % (what, "ok" if red else "FAIL", plant.mutant, name, words))
        if not red:
            print(result.tail(12))
    rungs.RESULTS.mkdir(parents=True, exist_ok=True)
    (rungs.RESULTS / ("%s-plants.json" % what)).write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    return counts, red_by


def check():
    """Plants all; (passed, failed, skipped)."""
    planted = {p.mutant for p in PLANTS + NESTED_PLANTS} | {words[0] for words in GDB_PLANTS} | {BENCH_PLANT}
    left = [n for n in mutate.names() if mutate.load(n).head.get("emulator") and n not in planted]
    for name in left:
        print("planted: FAIL %s: it is for an emulator, and stands in no row here" % name)
    counts, red_by = plant_all(PLANTS, "planted")
    counts[1] += len(left)
    rungs.RESULTS.mkdir(parents=True, exist_ok=True)
    (rungs.RESULTS / "planted.json").write_text(json.dumps(red_by, indent=1) + "\n", encoding="utf-8")
    print("planted: %d passed, %d failed, %d skipped" % tuple(counts), flush=True)
    return counts
