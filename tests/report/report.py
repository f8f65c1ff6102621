#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""`make report`: writes build/report/index.html, one file with everything in it, from what the parts of `make check` left, and the timelines of traced runs.

report.py stale            the parts that have not run on these sources, for make
report.py write [--kept] [--scenario a,b] [--rung NAME] [--results DIR] [--logs DIR] [--out DIR]
--kept runs nothing: it takes the traces that lie in LOGS/trace/."""

import argparse
import base64
import json
import sys
from dataclasses import dataclass
from pathlib import Path

sys.dont_write_bytecode = True
HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
sys.path.insert(0, str(HERE.parent / "run"))

import jinja2  # noqa: E402

import charts  # noqa: E402
import data  # noqa: E402
import dbgtrace  # noqa: E402
import job  # noqa: E402
import planted  # noqa: E402
import rungs  # noqa: E402
import timeline  # noqa: E402

SECTIONS = (("timelines", "timelines"), ("scenarios", "scenarios by rung"), ("reasons", "reasons"), ("rules", "rules"), ("mutants", "mutants"),
            ("policies", "policies"), ("bench", "bench"), ("parts", "parts of make check"))
WORDS = {"ok": "ok", "fail": "failed", "error": "could not run", "known": "known deviation", "skip": "skipped"}
OPTION = "trace=first"  # drover's: keeps the first events, so that a short run and a long one show the same part


@dataclass(frozen=True)
class Wanted:
    """A trace to show. mutant: planted for it, or "" for drover as it is."""
    group: str
    rung: str
    scenario: str
    mutant: str = ""

    @property
    def name(self):
        return "-".join(filter(None, (self.scenario, self.rung, self.mutant)))

    @property
    def title(self):
        return "%s on %s, %s" % (self.scenario, self.rung, "with the bug %s planted" % self.mutant if self.mutant else "drover as it is")


STORY = "A guest's DR6 comes back from the past: loaded again on a fast re-entry (H11, B01), beside drover as it is, on %s"
DEFAULT = tuple(Wanted(STORY % rung, rung, "doc0_dr6_once", mutant)
                for rung, bug in (("svm-qemu", "B01-svm"), ("vmx-bochs", "B01-vmx")) for mutant in (bug, ""))


def wanted(scenarios, rung):
    """The default ones, then those that were asked for."""
    return list(DEFAULT) + [Wanted("%s on %s" % (name, rung), rung, name) for name in scenarios]


# ---- Traces ----

def to_run(want):
    """(job.Run, "") or (None, why not)."""
    rung = rungs.RUNGS[want.rung]
    why = rungs.absent(rung)
    kernel = rungs.DROVER
    if not why and want.mutant:
        kernel, why = planted.build(want.mutant)
    if why:
        return None, why
    run = rungs.runs(rung, want.scenario, OPTION, inner=kernel)[0]
    run.kernel, run.rung, run.name = kernel, "trace", want.name
    return run, ""


def trace_all(wants):
    """Runs them; {name: why there is no log}. The logs are in build/logs/trace/."""
    why, todo = {}, []
    for want in wants:
        run, problem = to_run(want)
        if run is None:
            why[want.name] = problem
        else:
            todo.append(run)
    for result in job.execute_all(todo):
        if result.problem or result.timed_out:
            why[result.run.name] = result.end()
    return why


def read_trace(want, logs):
    """(Trace, "") of a kept log, the CPU with most events; or (None, why)."""
    try:
        text = (logs / "trace" / want.name / "serial.log").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None, "%s has not been traced" % want.name
    found = dbgtrace.parse(text)
    problems = [p for t in found for p in t.problems]
    if problems:
        return None, "%s: the trace is broken: %s" % (want.name, problems[0])
    found = [t for t in found if t.events]
    if not found:
        return None, "%s: its log has no trace (drover's %s)" % (want.name, OPTION)
    return max(found, key=lambda t: len(t.events)), ""


def pictures(wants, logs, out):
    """([picture], [why one is missing]); the Chrome traces are written beside the page as well."""
    found, missing = [], []
    for want in wants:
        trace, why = read_trace(want, logs)
        if trace is None:
            missing.append(why)
            continue
        beside = [p for p in found if p["group"] == want.group and p["partings"]]  # the same part of both
        made = timeline.picture(trace, want.name, want.title, beside[0]["first"] if beside else None)
        if beside:
            made["focus"] = beside[0]["focus"]
        text = json.dumps(timeline.chrome(trace, want.title))
        (out / (want.name + ".trace.json")).write_text(text + "\n", encoding="utf-8")
        made["chrome_uri"] = "data:application/json;base64," + base64.b64encode(text.encode()).decode()
        made["group"] = want.group
        made["verdict"] = "hardware and the owner's view part" if made["all_partings"] else "hardware and the owner's view never part"
        found.append(made)
    return found, missing


# ---- The page ----

def environment():
    """Jinja with escaping on."""
    return jinja2.Environment(loader=jinja2.FileSystemLoader(str(HERE)), autoescape=True, trim_blocks=False, undefined=jinja2.StrictUndefined)


def warnings_of(collected):
    """What a reader must know before believing the page."""
    found = ["%s %s" % (r["name"], r["stale"]) for r in collected["rungs"] if r["stale"]]
    found += ["check-%s %s" % (p["name"], p["stale"]) for p in collected["parts"] if p["stale"]]
    return ["Not from these sources: %s. `make report` without KEPT runs them again." % "; ".join(found)] if found else []


def render(collected, missing):
    """The page's text. collected: of data.collect(), with its timelines; missing: timelines that there are none of."""
    env = environment()
    svg = env.get_template("timeline.svg.j2")
    groups = {}
    for picture in collected["timelines"]:
        picture["svg"] = jinja2.utils.markupsafe.Markup(svg.render(t=picture))
        groups.setdefault(picture["group"], []).append(picture)
    lacking = charts.missing(collected["policies"])
    chart = "" if lacking else jinja2.utils.markupsafe.Markup(charts.policies_svg(collected["policies"]))
    policies = collected["policies"]
    return env.get_template("page.html.j2").render(
        d=collected, words=WORDS, sections=SECTIONS, warnings=warnings_of(collected) + ["No timeline: %s." % m for m in missing],
        style=jinja2.utils.markupsafe.Markup((HERE / "page.css").read_text(encoding="utf-8")),
        script=jinja2.utils.markupsafe.Markup((HERE / "page.js").read_text(encoding="utf-8")),
        timeline_groups=[{"title": title, "pictures": made} for title, made in groups.items()], no_timelines="; ".join(missing) or "none was asked for",
        chart=chart, no_chart="The bench has not compared the policies (missing: %s)" % ", ".join(lacking[:3]) if lacking else "",
        policy_figures=[f for f in next(iter(policies.values()), {}) if all(f in values for values in policies.values())],
        rule_ids={r["id"] for r in collected["rules"]})


def write(collected, missing, out):
    """build/report/index.html; its path."""
    path = out / "index.html"
    path.write_text(render(collected, missing), encoding="utf-8")
    return path


def build(args):
    """(collected, missing, the page's path)."""
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    wants = wanted([s for s in args.scenario.split(",") if s and s != "all"], args.rung)
    why = {} if args.kept else trace_all(wants)
    collected = data.collect(Path("."), Path(args.results))
    collected["timelines"], missing = pictures(wants, Path(args.logs), out)
    missing = ["%s: %s" % (name, text) for name, text in why.items()] + [m for m in missing if not any(m.startswith(name) for name in why)]
    return collected, missing, write(collected, missing, out)


def cmd_write(args):
    """make report."""
    collected, missing, path = build(args)
    for text in missing:
        print("report: no timeline: %s" % text)
    print("report: %s: %d rungs, %d scenarios, %d rules, %d mutants, %d timelines" % (
        path, len(collected["rungs"]), len(collected["scenarios"]), len(collected["rules"]), len(collected["mutants"]), len(collected["timelines"])))
    return 0


def main():
    """Status 0 unless something could not be written."""
    top = argparse.ArgumentParser(description=__doc__)
    subs = top.add_subparsers(dest="verb", required=True)
    sub = subs.add_parser("stale")
    sub.set_defaults(call=lambda _: print(" ".join(data.stale_parts(rungs.RESULTS))) or 0)
    sub = subs.add_parser("write")
    sub.add_argument("--kept", action="store_true", help="run nothing")
    sub.add_argument("--scenario", default="", help="more timelines, of these")
    sub.add_argument("--rung", default="svm-qemu", choices=sorted(n for n, r in rungs.RUNGS.items() if r.backend))
    sub.add_argument("--results", default=str(rungs.RESULTS))
    sub.add_argument("--logs", default=str(job.LOGS))
    sub.add_argument("--out", default="build/report")
    sub.set_defaults(call=cmd_write)
    args = top.parse_args()
    return args.call(args)


if __name__ == "__main__":
    sys.exit(main())
