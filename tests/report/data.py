# SPDX-License-Identifier: MIT
"""Collects what build/results and build/logs have into one dictionary, from which the page is made and against which its check counts. Runs nothing."""

import json
import re
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "run"))
sys.path.insert(0, str(HERE.parent / "host"))

import bits  # noqa: E402
import ktap  # noqa: E402
import mutate  # noqa: E402
import rules  # noqa: E402
import rungs  # noqa: E402
import table  # noqa: E402

MARKS = (ktap.OK, ktap.FAIL, ktap.ERROR, "known", ktap.SKIP)
TITLE = re.compile(r'^(?:SCENARIO|NESTED_SCENARIO)\w*\((\w+), "((?:[^"\\]|\\.)*)"', re.MULTILINE)
PARTS_TO_RUN = ("host", "explore", "mutants", "bare", "svm", "vmx", "pvm", "planted", "nested", "gdb", "policies")
OLD = "ran on other sources"


def load(path):
    """A JSON file's value, or None when it is absent or broken."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def stale_parts(results, parts=PARTS_TO_RUN):
    """The parts of `make check` that the page needs and that have not run on these sources."""
    return [part for part in parts if (load(results / ("part-%s.json" % part)) or {}).get("sources") != rungs.source_hash(part)]


def titles(root):
    """{scenario: its title} by the guest's sources."""
    found = {}
    for path in sorted((root / "tests/guest").glob("*.c")):
        found.update(TITLE.findall(path.read_text(encoding="utf-8")))
    return found


# ---- Scenario x rung ----

def rung_order(results):
    """Rungs that have results, in the table's order; those of other policies behind."""
    names = list(table.ORDER) + [n for n in rungs.RUNGS if n not in table.ORDER]
    return [n for n in names if (results / ("rung-%s.json" % n)).exists()]


def one_rung(name, saved):
    """A column's head."""
    guest = rungs.guest_hash()
    return {"name": name, "head": table.HEADS.get(name, name), "version": saved.get("version", ""), "absent": saved.get("absent", ""),
            "counts": {mark: sum(1 for m in saved.get("marks", {}).values() if m == mark) for mark in MARKS},
            "problems": saved.get("problems", []), "seconds": saved.get("seconds"),
            "stale": "" if not guest or saved.get("guest") == guest else "ran another guest image"}


def groups_of(name, saved):
    """{scenario: [group]}: what is not ok on a rung, one group per scenario, mark and reason."""
    found = {}
    for key, mark in sorted(saved.get("marks", {}).items()):
        if mark == ktap.OK:
            continue
        said = saved.get("said", {}).get(key, {})
        scenario, ident = key.split("/", 1)
        reason = said.get("reason") or ("no reason was kept" if mark in ("known", ktap.SKIP) else "not listed in tests/run/expect/%s" % name)
        mine = found.setdefault(scenario, {}).setdefault((mark, reason), {"rung": name, "mark": mark, "reason": reason, "checks": [], "example": ""})
        mine["checks"].append(ident)
        if said.get("expected", "-") != "-" and not mine["example"]:
            expected, actual = bits.decode(ident, said.get("title", ""), said["expected"], said["actual"])
            mine["example"] = "%s: %s; expected %s, actual %s" % (ident, said.get("title", ""), expected, actual)
    return {scenario: list(groups.values()) for scenario, groups in found.items()}


def scenarios(results, names, named):
    """(rows of the table, reasons). A reason has an id, so that cells can point to it."""
    rows, reasons = {}, {}
    for name in names:
        saved = load(results / ("rung-%s.json" % name)) or {}
        groups = groups_of(name, saved)
        for key, mark in saved.get("marks", {}).items():
            scenario = key.split("/", 1)[0]
            row = rows.setdefault(scenario, {"name": scenario, "title": named.get(scenario, ""), "cells": {}, "groups": []})
            cell = row["cells"].setdefault(name, dict.fromkeys(MARKS, 0))
            cell[mark] += 1
        for scenario, mine in sorted(groups.items()):
            for group in mine:
                reason = reasons.setdefault((group["mark"], group["reason"]), {
                    "id": "reason-%d" % (len(reasons) + 1), "mark": group["mark"], "text": group["reason"], "uses": [], "count": 0})
                reason["count"] += len(group["checks"])
                reason["uses"].append((scenario, name, len(group["checks"])))
                group["reason_id"] = reason["id"]
                rows[scenario]["groups"].append(group)
    for row in rows.values():
        for name, cell in row["cells"].items():
            cell["worst"] = next((m for m in (ktap.ERROR, ktap.FAIL, "known", ktap.SKIP) if cell[m]), ktap.OK)
            if cell["worst"] == ktap.SKIP and cell[ktap.OK]:
                cell["worst"] = ktap.OK
            ids = {g["reason_id"] for g in row["groups"] if g["rung"] == name and g["mark"] == "known"}
            cell["link"] = ids.pop() if len(ids) == 1 else "scenario-" + row["name"]
    return [rows[n] for n in sorted(rows)], list(reasons.values())


# ---- Rules and mutants ----

def rule_rows(root):
    """(rows, problems) as `make rules` has them, from what lies there."""
    text = (root / "docs/rules.md").read_text(encoding="utf-8")
    found, problems = rules.read_rules(text)
    caveats, more = rules.read_caveats((root / "docs/CAVEATS.md").read_text(encoding="utf-8"))
    said = rules.sentences(text)
    problems += more + rules.judge(found, rules.read_sources(root), caveats, rules.gather())
    rows = []
    for rule in found.values():
        rungs_of = [r for r in (rules.HOST, rules.EXPLORE, *table.ORDER) if r in rule.checks]
        rows.append({"id": rule.ident, "words": said.get(rule.ident, ""), "state": rule.state, "cited": rule.cited, "caveat": rule.caveat,
                     "rungs": [(table.HEADS.get(r, r), len(rule.checks[r]), rules.proves(r, rule.ident)) for r in rungs_of],
                     "red": sorted(rule.red.items())})
    return rows, problems


def mutant_rows(root, results):
    """One row per mutant: what it is, and each thing that killed it."""
    host, told = load(results / "host-red.json") or {}, load(results / "host-mutants.json") or {}
    plants = [p for what in ("planted", "nested") for p in load(results / ("%s-plants.json" % what)) or []]
    planted = load(results / "planted.json") or {}
    with_gdb = (load(results / "gdb.json") or {}).get("red", {})
    explored = load(results / "explore.json") or {}
    rows = []
    for name in mutate.names():
        mutant = mutate.load(name)
        kills, survives = [], mutant.head.get("expect") == "survives"
        if name in told:
            kills.append({"where": "host", "words": told[name][1], "good": bool(told[name][0])})
        elif host.get(name):
            kills.append({"where": "host", "words": "turned red: %s" % " ".join(host[name][:4]), "good": True})
        mine = [p for p in plants if p["mutant"] == name]
        kills += [{"where": p["rung"], "words": ("killed by %s" if p["red"] else "%s") % p["words"], "good": p["red"]} for p in mine]
        for rung, red in [*(planted.get(name, {}) if not mine else {}).items(), *with_gdb.get(name, {}).items()]:
            words = "turned red: %s" % " ".join(dict.fromkeys(red)) if red else "nothing of its rules went red"
            kills.append({"where": rung, "words": words, "good": bool(red)})
        rows.append(mutant_row(name, mutant.head, mutant.rules, kills, survives))
    for path in sorted((root / "tests/explore/mutants").glob("*.mutant")):
        mutant = mutate.Mutant(path.stem, path.read_text(encoding="utf-8"))
        kills = [{"where": "explorer", "words": "breaks %s" % " ".join(explored[path.stem]), "good": True}] if explored.get(path.stem) else []
        rows.append(mutant_row(path.stem, mutant.head, mutant.rules, kills, False))
    return rows


def mutant_row(name, head, of_rules, kills, survives):
    """state: killed, alive (something says that it was not seen), survives (as it has to), or not run."""
    state = "not run" if not kills else "alive" if not all(k["good"] for k in kills) else "survives" if survives else "killed"
    return {"name": name, "story": head.get("story", ""), "source": head.get("source", ""), "rules": of_rules, "kills": kills, "state": state}


# ---- All ----

def commit(root):
    """Which sources these are, or ""."""
    try:
        done = subprocess.run(["git", "-C", str(root), "describe", "--always", "--dirty"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                              stdin=subprocess.DEVNULL, check=False)
    except OSError:
        return ""
    return done.stdout.decode("utf-8", "replace").strip()


def parts(results):
    """The parts of `make check` with their counts."""
    rows = []
    for path in sorted(results.glob("part-*.json")):
        saved, now = load(path), rungs.source_hash(path.stem[5:])
        if saved:
            rows.append({"name": path.stem[5:], "passed": saved["passed"], "failed": saved["failed"], "skipped": saved["skipped"],
                         "stale": "" if saved.get("sources") == now else OLD})
    return rows


def collect(root=Path("."), results=None):
    """Everything but the timelines."""
    results = results or rungs.RESULTS
    names = rung_order(results)
    rows, reasons = scenarios(results, names, titles(root))
    rule_list, problems = rule_rows(root)
    bench = load(results / "bench.json") or {}
    return {"made": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()), "commit": commit(root), "parts": parts(results),
            "rungs": [one_rung(n, load(results / ("rung-%s.json" % n)) or {}) for n in names], "scenarios": rows, "reasons": reasons,
            "rules": rule_list, "rule_problems": problems, "mutants": mutant_rows(root, results),
            "bench": bench.get("rows", []), "bench_version": bench.get("version", ""), "policies": bench.get("policies", {}), "timelines": []}
