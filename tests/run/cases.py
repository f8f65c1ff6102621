# SPDX-License-Identifier: MIT
"""Runs of a part of check that are judged one by one: a line for each, what is wrong below it, the counts at the end."""

from dataclasses import dataclass

import job


@dataclass(frozen=True)
class Case:
    """what: for whoever judges it. absent: why it cannot run here; broken: why there is nothing to run, which fails."""
    name: str
    what: object = None
    run: job.Run = None
    absent: str = ""
    broken: str = ""


def check(part, todo, judge):
    """Runs these; [passed, failed, skipped]: one each. judge(what, result): (problems, words for its line)."""
    counts = [0, 0, 0]
    for case in todo:
        if case.absent:
            print("%s: skipped %s: %s" % (part, case.name, case.absent))
            counts[2] += 1
        elif case.broken:
            print("%s: FAIL %s: %s" % (part, case.name, case.broken))
            counts[1] += 1
    todo = [case for case in todo if not case.absent and not case.broken]
    for case, result in zip(todo, job.execute_all([case.run for case in todo])):
        problems, words = judge(case.what, result)
        print("%s: %s %s: %s, %s, %.1f s" % (part, "FAIL" if problems else "ok", case.name, words, result.end(), result.seconds))
        for text in problems[:10]:
            print("%s:   %s" % (part, text))
        if problems:
            print(result.tail(12))
        counts[1 if problems else 0] += 1
    print("%s: %d passed, %d failed, %d skipped" % (part, *counts), flush=True)
    return counts
