#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""`make check-report`: the report's own tests, then two pages, a made-up one with each mark in it and the one of what has run: HTML without a parse error,
links that lead somewhere, a real browser that has nothing to complain of, and as many rows, cells, bars and spans in it as the data has.
The last line is `report: N passed, N failed, N skipped`."""

import json
import re
import sys
import tempfile
import types
import unittest
from pathlib import Path

sys.dont_write_bytecode = True
HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import html5lib  # noqa: E402

import browser  # noqa: E402
import report  # noqa: E402; first: it finds tests/run
import charts  # noqa: E402
import dbgtrace  # noqa: E402
import job  # noqa: E402
import rungs  # noqa: E402
import samples  # noqa: E402
import test_report  # noqa: E402

MIN_CONTRAST = 4.5  # WCAG 2.1, AA, for text of this size
# Traced alone, since the ring keeps a thousandth of a suite, and follow() no longer compares DR7 once a debugger has been there.
TRACED = {"svm-qemu": ("doc0_dr6_once", "doc1_host_dr6", "a12_dr6_sticky", "h10_live_sync", "h11_nested", "z01_debugger"),
          "pvm-qemu": ("a12_dr6_sticky", "a19_data_bp", "p06_host_reads")}


class Tally:
    """Counts; prints what fails, and what was looked at."""

    def __init__(self):
        self.passed, self.failed, self.skipped = 0, 0, 0

    def check(self, good, words):
        self.passed, self.failed = self.passed + bool(good), self.failed + (not good)
        print("report: %s %s" % ("ok" if good else "FAIL", words), flush=True)


def sample_page(folder):
    """(data, page) of made-up results."""
    results, logs, out = folder / "results", folder / "logs", folder / "out"
    for path in (results, out):
        path.mkdir(parents=True)
    for name, saved in samples.rung_results().items():
        (results / ("rung-%s.json" % name)).write_text(json.dumps(saved), encoding="utf-8")
    (results / "bench.json").write_text(json.dumps(samples.bench()), encoding="utf-8")
    (results / "part-bare.json").write_text('{"passed": 3, "failed": 2, "skipped": 1}', encoding="utf-8")
    for want in report.DEFAULT[:2]:
        path = logs / "trace" / want.name
        path.mkdir(parents=True)
        (path / "serial.log").write_text(samples.log(samples.doc0(bool(want.mutant))), encoding="utf-8")
    args = types.SimpleNamespace(out=str(out), results=str(results), logs=str(logs), scenario="", rung="svm-qemu", kept=True)
    collected, _, page = report.build(args)
    return collected, page


def sample_counts(tally, collected):
    """The data of the made-up page against what was counted by hand."""
    marks, counts = {r["name"]: r["counts"] for r in collected["rungs"]}, wanted_counts(collected)
    wrong = {name: (want, marks.get(name)) for name, want in samples.MARKS.items() if marks.get(name) != want}
    wrong.update({what: (want, counts[what]) for what, want in samples.COUNTS.items() if counts[what] != want})
    tally.check(not wrong, "made-up page: the data has what was made up%s" % (": (wanted, data) %s" % wrong if wrong else ""))


def real_page(kept):
    """(data, page) of what is in build/."""
    args = types.SimpleNamespace(out="build/report", results=str(rungs.RESULTS), logs="build/logs", scenario="", rung="svm-qemu", kept=kept)
    collected, _, page = report.build(args)
    return collected, page


# ---- The text ----

def parse_errors(text):
    """html5lib's complaints."""
    parser = html5lib.HTMLParser(tree=html5lib.getTreeBuilder("etree"), namespaceHTMLElements=False)
    parser.parse(text)
    return ["%s at %s" % (error, position) for position, error, _ in parser.errors]


def link_problems(text, folder):
    """Links that lead nowhere, ids that stand twice, anything that would be fetched."""
    ids = re.findall(r'\sid="([^"]+)"', text)
    problems = ["id %s stands %d times" % (i, ids.count(i)) for i in sorted({i for i in ids if ids.count(i) > 1})]
    known = set(ids)
    for target in re.findall(r'\s(?:xlink:)?href="([^"]*)"', text) + re.findall(r'url\(([^)]*)\)', text):
        target = target.strip("'\"")
        if target.startswith("#"):
            if target[1:] not in known:
                problems.append("%s leads nowhere" % target)
        elif not target.startswith("data:") and not (folder / target).exists():
            problems.append("%s is not in the page" % target[:80])
    problems += ["fetches %s" % s for s in re.findall(r'\ssrc="([^"]*)"|@import ([^;]*)', text) if any(s)]
    return problems


# ---- The DOM ----

def wanted_counts(collected):
    """{selector: how many the data says}."""
    cells = [cell for s in collected["scenarios"] for cell in s["cells"].values()]
    columns = len(collected["rungs"])
    counts = {"tr.scenario": len(collected["scenarios"]), "details.detail": len(collected["scenarios"]), "tr.reason": len(collected["reasons"]),
              "li.group": sum(len(s["groups"]) for s in collected["scenarios"]), "tr.rule": len(collected["rules"]), "tr.mutant": len(collected["mutants"]),
              "tr.bench": len(collected["bench"]), "tr.part": len(collected["parts"]), "#scenario-table thead th": columns + 1,
              "#scenario-table tbody td.m-none": columns * len(collected["scenarios"]) - len(cells), "p.absent": sum(1 for r in collected["rungs"] if r["absent"]),
              "svg.timeline": len(collected["timelines"]), ".kill": sum(len(m["kills"]) for m in collected["mutants"]),
              "#rule-table .s-tested": sum(1 for r in collected["rules"] if r["state"] == "tested")}
    for mark in ("ok", "known", "skip", "fail", "error"):
        counts["#scenario-table tbody td.m-%s" % mark] = sum(1 for cell in cells if cell["worst"] == mark)
    bars = len(charts.POLICIES) * len(charts.WORK) * len(charts.FIGURES)
    counts['#policy-chart [id^="bar-"]'] = bars if collected["policies"] and not charts.missing(collected["policies"]) else 0
    for t in collected["timelines"]:
        at = "#timeline-%s svg.timeline " % t["name"]
        counts.update({at + ".span": sum(len(row["spans"]) for lane in t["lanes"] for row in lane["rows"]), at + ".red": len(t["reds"]),
                       at + ".parting": len(t["partings"]), at + ".lane": len(t["lanes"])})
        for kind in ("entry", "exit", "set", "sync", "view"):
            counts[at + ".a-" + kind] = sum(1 for a in t["arrows"] if a["kind"] == kind)
    return counts


CONTRAST = r"""(() => {
	const lum = (c) => { const f = c.map((v) => { v /= 255; return v <= 0.03928 ? v / 12.92 : Math.pow((v + 0.055) / 1.055, 2.4); }); return 0.2126 * f[0] + 0.7152 * f[1] + 0.0722 * f[2]; };
	const rgb = (s) => { const m = (s.match(/[\d.]+/g) || []).map(Number); return m.length === 4 && m[3] === 0 ? null : m.slice(0, 3); };
	const back = (e) => { for (; e; e = e.parentElement) { const c = rgb(getComputedStyle(e).backgroundColor); if (c) return c; } return [255, 255, 255]; };
	const found = {};
	const note = (name, fore, behind) => { const a = lum(fore), b = lum(behind), r = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
		if (!(name in found) || r < found[name]) found[name] = r; };
	for (const e of document.querySelectorAll("td, th, p, li, summary, a, h1, h2, h3, figcaption, .title, .count"))
		if (e.textContent.trim() && !(e.tagName === "LI" && e.querySelector("svg")))
			note((e.tagName + "." + e.className).toLowerCase(), rgb(getComputedStyle(e).color), back(e));
	for (const g of document.querySelectorAll("svg.timeline .span"))
		if (g.querySelector("text"))
			note("span " + g.className.baseVal, rgb(getComputedStyle(g.querySelector("text")).fill), rgb(getComputedStyle(g.querySelector("rect")).fill));
	for (const t of document.querySelectorAll("#policy-chart text"))
		note("chart", rgb(getComputedStyle(t).fill), back(t.closest("figure")));
	return found;
})()"""
COLUMN_SUMS = r"""(() => { const rows = [...document.querySelectorAll("#scenario-table tbody tr")].map((r) => [...r.children].slice(1));
	const number = (cell) => { const m = cell.textContent.match(/^\d+/); return m ? Number(m[0]) : 0; };
	return [...document.querySelectorAll("#scenario-table tfoot td")].map((cell, i) => [number(cell), rows.reduce((sum, r) => sum + number(r[i]), 0)]); })()"""


def in_browser(tally, what, collected, page, pictures):
    """Opens the page, light and dark."""
    with browser.Browser() as b:
        for scheme in ("light", "dark"):
            b.open(page.resolve().as_uri(), scheme=scheme)
            faint = {name: round(ratio, 2) for name, ratio in b.value(CONTRAST).items() if ratio < MIN_CONTRAST}
            tally.check(not faint, "%s, %s: text is legible%s" % (what, scheme, ": contrast %s" % faint if faint else ""))
            wide = b.value("document.documentElement.scrollWidth - document.documentElement.clientWidth")
            tally.check(wide <= 0, "%s, %s: wide tables scroll in themselves%s" % (what, scheme, "" if wide <= 0 else ": the page is %d pixels too wide" % wide))
            if pictures:
                b.picture(page.parent / ("page-%s.png" % scheme))
                for t in collected["timelines"]:
                    b.picture(page.parent / ("timeline-%s-%s.png" % (t["name"], scheme)), "#timeline-" + t["name"])
        wrong = {s: (n, b.value("document.querySelectorAll(%s).length" % json.dumps(s))) for s, n in wanted_counts(collected).items()}
        total = len(wrong)
        wrong = {s: pair for s, pair in wrong.items() if pair[0] != pair[1]}
        tally.check(not wrong, "%s: the DOM has what the data has, %d counts%s" % (what, total, ": (data, DOM) %s" % wrong if wrong else ""))
        sums = b.value(COLUMN_SUMS)
        tally.check(sums and all(x == y for x, y in sums) and [x for x, _ in sums] == [r["counts"]["ok"] for r in collected["rungs"]],
                    "%s: the columns add up: %s" % (what, sums))
        b.value("(() => { const f = document.getElementById('filter'); f.value = 'a01_dr6'; f.dispatchEvent(new Event('input')); })()")
        left = b.value("[...document.querySelectorAll('tr.scenario')].filter((r) => !r.hidden).length")
        tally.check(left == sum(1 for s in collected["scenarios"] if "a01_dr6" in s["name"]), "%s: the filter leaves %d rows" % (what, left))
        first = collected["scenarios"][0]["name"] if collected["scenarios"] else ""
        opened = b.value("location.hash = '#scenario-%s'; open_target(); document.getElementById('scenario-%s').open" % (first, first)) if first else True
        tally.check(opened, "%s: a link opens its detail" % what)
        tally.check(not b.errors and not b.value("document.documentElement.dataset.errors || ''"), "%s: no error, nothing fetched: %s" % (what, b.errors or "none"))


def check_page(tally, what, collected, page, pictures=False):
    """One page."""
    text = page.read_text(encoding="utf-8")
    errors = parse_errors(text)
    tally.check(not errors, "%s: HTML without a parse error%s" % (what, ": %s" % errors[:3] if errors else ""))
    problems = link_problems(text, page.parent)
    tally.check(not problems, "%s: links lead somewhere%s" % (what, ": %s" % problems[:3] if problems else ""))
    for t in collected["timelines"]:
        events = json.loads((page.parent / (t["name"] + ".trace.json")).read_text(encoding="utf-8"))["traceEvents"]
        tally.check(events, "%s: %s.trace.json has %d events" % (what, t["name"], len(events)))
    if browser.find() is None:
        tally.skipped += 1
        print("report: skipped: %s: no browser here (Debian's package chromium)" % what)
        return
    in_browser(tally, what, collected, page, pictures)


def traced(tally, name, result):
    """(traces, events kept, events lost) of a run, whose trace has to read."""
    traces = dbgtrace.parse(result.log)
    kept, lost = [e for t in traces for e in t.events], sum(t.lost for t in traces)
    problems = [p for t in traces for p in t.problems]
    tally.check(kept and not problems, "%s: its trace reads: %d events, %d lost%s" % (name, len(kept), lost, ": %s" % problems[:2] if problems else ""))
    return traces, len(kept), lost


def traced_alone(tally, name):
    """Short scenarios, one by one, from their beginning: nothing parts in what was kept of them, and how much that is is told."""
    rung = rungs.RUNGS[name]
    if rungs.absent(rung):
        return  # told by traced_suite
    todo = []
    for scenario in TRACED[name]:
        run = rungs.runs(rung, scenario, report.OPTION)[0]
        run.rung, run.name = "trace", "alone-%s-%s" % (name, scenario)
        todo.append(run)
    for scenario, result in zip(TRACED[name], job.execute_all(todo)):
        what = "%s on %s" % (scenario, name)
        judged = rungs.judge(rung, [result], whole=False, alone=True).judgement
        wrong = judged.failed + judged.errors
        tally.check(not wrong and judged.ok, "%s, traced: %d ok%s" % (what, len(judged.ok), ", but %s" % wrong[:2] if wrong else ""))
        traces, kept, lost = traced(tally, what, result)
        owned = sum(1 for t in traces for e in t.events if e.kind == dbgtrace.ENTRY and e.state != "idle")
        parted = [m.why for t in traces for m in dbgtrace.follow(t.events) if m.why]
        tally.check(owned and not parted, "%s: nothing parts in the %d events kept (%d lost), %d of them entries of a guest with breakpoints or its own DR6%s"
                    % (what, kept, lost, owned, ": %s" % parted[:2] if parted else ""))


def traced_suite(tally, name):
    """A rung's whole suite with trace=on: the same results, and a trace that reads. It says nothing of partings: what is kept is the last VM's end."""
    rung = rungs.RUNGS[name]
    why = rungs.absent(rung)
    if why:
        tally.skipped += 1
        print("report: skipped: %s with trace=on: %s" % (name, why))
        return
    run = rungs.runs(rung, "all", "trace=on")[0]
    run.rung, run.name = "trace", "suite-" + name
    result = job.execute(run)
    judged = rungs.judge(rung, [result]).judgement
    wrong = judged.failed + judged.errors
    tally.check(not wrong and judged.ok, "%s with trace=on is as without: %d ok%s" % (name, len(judged.ok), ", but %s" % wrong[:2] if wrong else ""))
    traced(tally, "%s, all" % name, result)


def pictures_tell(tally, collected):
    """With the bug of source document 0 they part, without it they do not; each picture that this machine can have is there."""
    made = {t["name"]: t["all_partings"] for t in collected["timelines"]}
    for want in report.DEFAULT:
        why = rungs.absent(rungs.RUNGS[want.rung])
        if why:
            tally.skipped += 1
            print("report: skipped: %s: %s" % (want.name, why))
        else:
            tally.check(want.name in made and bool(made[want.name]) == bool(want.mutant), "%s: %s partings" % (want.name, made.get(want.name, "no picture, hence no")))


def unit_tests(tally):
    """tests/report/test_report.py."""
    result = unittest.TextTestRunner(verbosity=0, stream=sys.stdout).run(unittest.defaultTestLoader.loadTestsFromModule(test_report))
    bad = len(result.failures) + len(result.errors)
    tally.passed, tally.failed = tally.passed + result.testsRun - bad, tally.failed + bad


def main():
    """`check.py [--kept]`: --kept traces nothing."""
    tally = Tally()
    unit_tests(tally)
    with tempfile.TemporaryDirectory() as folder:
        collected, page = sample_page(Path(folder))
        sample_counts(tally, collected)
        check_page(tally, "made-up page", collected, page)
    kept = "--kept" in sys.argv
    collected, page = real_page(kept)
    check_page(tally, "this page", collected, page, pictures=True)
    if not kept:
        pictures_tell(tally, collected)
        for name in TRACED:
            traced_suite(tally, name)
            traced_alone(tally, name)
    print("report: %d passed, %d failed, %d skipped" % (tally.passed, tally.failed, tally.skipped), flush=True)
    return 1 if tally.failed else 0


if __name__ == "__main__":
    sys.exit(main())
