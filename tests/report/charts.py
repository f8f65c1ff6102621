# SPDX-License-Identifier: MIT
"""The policy comparison as a chart: SVG by matplotlib, with the page's own colours, so that it is legible light and dark."""

import io
import re

import matplotlib

matplotlib.use("svg")
from matplotlib import pyplot  # noqa: E402

POLICIES = ("lazy", "eager", "cached", "trapped")
WORK = (("idle", "idle: CPUID,\nnothing armed"), ("armed", "armed: CPUID,\none breakpoint"), ("rearming", "re-arming\nbetween exits"),
        ("stepping", "stepping in\nthe guest"), ("turns", "two guests\nin turns"))
FIGURES = (("exits", "exits"), ("dr_reads", "MOV from DR by the host"), ("dr_writes", "MOV to DR by the host"), ("ticks", "instructions"))
# Stand-ins that matplotlib writes; the page's variables take their place.
PAPER, INK, GRID = "#fefdfc", "#010203", "#a1b2c3"
SHADES = {"lazy": "#0a0b01", "eager": "#0a0b02", "cached": "#0a0b03", "trapped": "#0a0b04"}
VARIABLES = {PAPER: "var(--paper)", INK: "var(--ink)", GRID: "var(--line)", **{shade: "var(--%s)" % name for name, shade in SHADES.items()}}


def missing(policies):
    """Figures that a chart needs and that are not there."""
    return ["%s of %s" % ("%s_%s" % (work, figure), policy) for policy in POLICIES for work, _ in WORK for figure, _ in FIGURES
            if "%s_%s" % (work, figure) not in policies.get(policy, {})]


def policies_svg(policies):
    """An <svg> with one panel a figure, one group of bars a kind of work, one bar a policy. Each bar has its own id, bar-POLICY-WORK-FIGURE."""
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "drover", "font.size": 9, "font.family": "sans-serif", "text.color": INK,
                                "axes.labelcolor": INK, "xtick.color": INK, "ytick.color": INK, "axes.edgecolor": GRID})
    figure, axes = pyplot.subplots(2, 2, figsize=(11.5, 7.6), facecolor=PAPER)
    for axis, (name, title) in zip(axes.flat, FIGURES):
        panel(axis, name, title, policies)
    figure.legend(*axes.flat[0].get_legend_handles_labels(), loc="upper center", ncol=4, frameon=False, title="dbg=")
    figure.tight_layout(rect=(0, 0, 1, 0.93))
    out = io.StringIO()
    figure.savefig(out, format="svg", facecolor=PAPER, metadata={"Date": None, "Creator": None})
    pyplot.close(figure)
    return page_colours(out.getvalue())


def panel(axis, name, title, policies):
    """One figure for all kinds of work."""
    axis.set_facecolor(PAPER)
    most = max(policies[p]["%s_%s" % (work, name)] for p in POLICIES for work, _ in WORK)
    for at, policy in enumerate(POLICIES):
        values = [policies[policy]["%s_%s" % (work, name)] for work, _ in WORK]
        bars = axis.bar([i + (at - 1.5) * 0.2 for i in range(len(WORK))], values, 0.19, label=policy, color=SHADES[policy])
        for (work, _), bar, value in zip(WORK, bars, values):
            bar.set_gid("bar-%s-%s-%s" % (policy, work, name))
            axis.text(bar.get_x() + bar.get_width() / 2, value + most * 0.012, short(value), ha="center", va="bottom", fontsize=6.5)
    axis.set_title(title + ", per 100 operations", fontsize=10, color=INK)
    axis.set_xticks(range(len(WORK)))
    axis.set_xticklabels([label for _, label in WORK], fontsize=7.5)
    axis.set_ylim(0, most * 1.12 or 1)
    axis.yaxis.grid(True, color=GRID, linewidth=0.5)
    axis.set_axisbelow(True)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)


def short(value):
    """31006 as 31k: a bar is narrow."""
    return "%dk" % round(value / 1000) if value >= 10000 else str(value)


def page_colours(svg):
    """The <svg> element alone, to stand in an HTML page."""
    svg = svg[svg.index("<svg"):]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    for stand_in, variable in VARIABLES.items():
        svg = svg.replace(stand_in, variable)
    return re.sub(r'<svg ([^>]*?)width="[^"]*" height="[^"]*"|<svg height="[^"]*" ([^>]*?)width="[^"]*"',
                  lambda m: "<svg " + (m.group(1) or m.group(2) or ""), svg, count=1)
