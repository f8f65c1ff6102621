# SPDX-License-Identifier: MIT
"""What the runner prints: a rung's outcome, the table scenario x rung, and the sum of all parts."""

import json

import ktap
import rungs

ORDER = ("bare-qemu", "bare-bochs-intel", "bare-bochs-amd", "svm-qemu", "svm-bochs", "vmx-bochs", "pvm-qemu", "pvm-bochs", "pvm-bochs-amd") + rungs.NEST_RUNGS + ("kvm", "pvm-kvm")
HEADS = {"bare-qemu": "bare-q", "bare-bochs-intel": "bare-bI", "bare-bochs-amd": "bare-bA", "svm-qemu": "svm-q",
         "svm-bochs": "svm-b", "vmx-bochs": "vmx-b", "kvm": "kvm", "pvm-kvm": "pvm-kvm",
         "pvm-qemu": "pvm-q", "pvm-bochs": "pvm-bI", "pvm-bochs-amd": "pvm-bA",
         "nest2-svm-qemu": "2svm-q", "nest2-svm-bochs": "2svm-b", "nest2-vmx-bochs": "2vmx-b", "nest3-svm-qemu": "3svm-q"}


def print_outcome(outcome, limit=60):
    """A rung: what failed, each with its reason, what is only worth a note, then its counts in one line."""
    name, judged = outcome.rung.name, outcome.judgement
    if outcome.absent:
        print("%s: absent: %s" % (name, outcome.absent))
        return
    troubles = ["ERROR %s" % e if "ERROR" not in e else e for e in judged.errors] + ["FAIL %s" % f for f in judged.failed]
    for text in troubles[:limit]:
        print("%s: %s" % (name, text))
    if len(troubles) > limit:
        print("%s: ... and %d more" % (name, len(troubles) - limit))
    for text in judged.notes[:limit]:
        print("%s: note: %s" % (name, text))
    for result in outcome.results:
        if judged.errors:
            print("%s: %s: %s, log %s" % (name, result.run.name, result.end(), result.run.workdir / "serial.log"))
            print(result.tail())
    print("%s (%s): %d ok, %d failed, %d errors, %d skipped, %d known deviations, %.1f s" % (
        name, rungs.version(outcome.rung), len(judged.ok), len(judged.failed), len(judged.errors), len(judged.skipped),
        len(judged.known), sum(r.seconds for r in outcome.results)), flush=True)


def cell(marks):
    """One scenario on one rung, from its checks' marks: the number ok, then what was not."""
    if not marks:
        return "-"
    counts = {m: sum(1 for x in marks if x == m) for m in set(marks)}
    text = str(counts.get(ktap.OK, 0))
    for mark, sign in ((ktap.FAIL, "F"), (ktap.ERROR, "E"), ("known", "d"), (ktap.SKIP, "s")):
        if counts.get(mark):
            text += " %s%d" % (sign, counts[mark])
    return text


def load_rungs():
    """{rung: its saved data}, of the rungs that ran."""
    found = {}
    for name in ORDER:
        path = rungs.RESULTS / ("rung-%s.json" % name)
        if path.exists():
            found[name] = json.loads(path.read_text(encoding="utf-8"))
    return found


def print_table():
    """Scenario x rung."""
    data = load_rungs()
    names = [n for n in ORDER if n in data]
    cells = {}
    for name in names:
        by_scenario = {}
        for key, mark in data[name]["marks"].items():
            by_scenario.setdefault(key.split("/", 1)[0], []).append(mark)
        for scenario, marks in by_scenario.items():
            cells.setdefault(scenario, {})[name] = cell(marks)
    if not names:
        return
    width = max([len(s) for s in cells] + [8]) + 1
    columns = [max([len(HEADS[n])] + [len(cells[s].get(n, "-")) for s in cells]) + 2 for n in names]
    print("\nchecks ok by scenario and rung (F failed, E error, d known deviation, s skipped)")
    print("scenario".ljust(width) + "".join(HEADS[n].rjust(c) for n, c in zip(names, columns)))
    for scenario in sorted(cells):
        print(scenario.ljust(width) + "".join(cells[scenario].get(n, "-").rjust(c) for n, c in zip(names, columns)))
    print("all ok".ljust(width) + "".join(str(data[n]["passed"]).rjust(c) for n, c in zip(names, columns)))
    for name in names:
        if data[name]["absent"]:
            print("%s: absent: %s" % (name, data[name]["absent"]))


def said_of(part, data):
    """A part's line."""
    return "check-%s: %d passed, %d failed, %d skipped, %d s" % (part, data["passed"], data["failed"], data["skipped"], data["seconds"])


def save_part(part, passed, failed, skipped, seconds=0.0):
    """Keeps a part's counts for the sum, and how long it took without the build; prints them."""
    rungs.RESULTS.mkdir(parents=True, exist_ok=True)
    path = rungs.RESULTS / ("part-%s.json" % part)
    data = {"passed": passed, "failed": failed, "skipped": skipped, "seconds": round(seconds, 1), "sources": rungs.source_hash(part)}
    path.write_text(json.dumps(data) + "\n", encoding="utf-8")
    print(said_of(part, data), flush=True)


def sum_parts(parts):
    """The last lines of `make check`; True if nothing failed. A part without a result failed."""
    total, seconds = [0, 0, 0], 0
    print_table()
    print()
    for part in parts:
        path = rungs.RESULTS / ("part-%s.json" % part)
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            counts, line = [data["passed"], data["failed"], data["skipped"]], said_of(part, data)
        except (OSError, ValueError, KeyError):
            counts = [0, 1, 0]
            print("check-%s: left no result: it failed as a whole" % part)
        else:
            print(line)
            seconds += data["seconds"]
        if part != "lint" and counts[0] == 0 and counts[1] == 0:
            print("check-%s: nothing ran" % part)
            counts[1] = 1
        total = [a + b for a, b in zip(total, counts)]
    print("all parts: %d min %d s" % divmod(seconds, 60))
    print("%d passed, %d failed, %d skipped" % tuple(total), flush=True)
    return total[1] == 0
