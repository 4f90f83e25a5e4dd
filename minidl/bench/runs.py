"""Several runs of the benchmarks beside each other: which goals are met every time, and which only sometimes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from minidl.bench import kernels
from minidl.bench.reasons import reason
from minidl.bench.report import table
from minidl.bench.results import Verdict, geometric_mean
from minidl.bench.workload import Goal

__all__ = ["compare", "read"]


def read(path: Path) -> dict[tuple[str, Goal], Verdict]:
    """Every goal of a run and what was reached, from its JSON (`minidl bench` and benchmarks/*.py write it).

    Raises:
        ValueError: the file is none of theirs.
    """
    try:
        rows: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["rows"]
        found = [
            Verdict(f"{row['family']}: {row['name']}", row["family"], Goal(g["against"], g["at_least"]), g["reached"])
            for row in rows
            for g in row["goals"]
        ]
        for family, at_least in kernels.MEANS.items():
            best = [min(row["ratios"].values()) for row in rows if row["family"] == family and row["ratios"]]
            if best:
                mean = geometric_mean(best)
                found.append(Verdict(f"{family}: geometric mean", family, Goal("best", at_least), mean))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is no result of minidl bench ({error}); give its bench.json") from None
    return {(v.row, v.goal): v for v in found}


def compare(runs: Sequence[dict[tuple[str, Goal], Verdict]]) -> str:
    """How many goals each run met, then a line for each that a run missed, the worst (by its median) first.

    A goal that a run did not measure counts as missed there.
    """
    goals = list(dict.fromkeys(goal for run in runs for goal in run))
    counts = [sum(v.score < 1 for v in run.values()) + len(goals) - len(run) for run in runs]
    always = sum(all(goal in run and run[goal].score >= 1 for run in runs) for goal in goals)
    never = sum(all(goal not in run or run[goal].score < 1 for run in runs) for goal in goals)
    text = (
        f"{len(goals)} goals: missed in the runs {', '.join(map(str, counts))}; met in every run {always},"
        f" in none {never}."
    )
    lines = []
    for goal in goals:
        scores = sorted(run[goal].score if goal in run else 0.0 for run in runs)
        if scores[0] < 1:
            found = [str(run[goal]).partition(",")[0] if goal in run else "" for run in runs]
            wanted = str(next(run[goal] for run in runs if goal in run)).partition("goal ")[2]
            middle = scores[len(scores) // 2]
            lines.append((middle, [goal[0], wanted, *found, reason(goal[0])]))
    head = ["missed at least once", "goal", *(f"run {i + 1}" for i in range(len(runs))), "why"]
    return f"{text}\n\n{table(head, [line for _, line in sorted(lines, key=lambda x: x[0])])}" if lines else text
