"""From timings to what they say: rates, shares of the limit, ratios to the peers, goals met or missed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import exp, log
from typing import Any

from minidl.bench.reasons import reason
from minidl.bench.referee import Row
from minidl.bench.report import table
from minidl.bench.workload import Goal

__all__ = [
    "Verdict", "family_table", "family_verdict", "geometric_mean", "limits_table", "missed_table", "ratios",
    "row_json", "share", "short_title", "summary_table", "three_digits", "verdicts",
]  # fmt: skip


@dataclass(frozen=True)
class Verdict:
    """A goal and what was reached: met from 1 up."""

    row: str
    family: str
    goal: Goal
    reached: float

    @property
    def score(self) -> float:
        limit = self.goal.at_least
        return limit / self.reached if self.goal.against == "seconds" else self.reached / limit

    def __str__(self) -> str:
        if self.goal.against == "seconds":
            return f"{duration(self.reached)}, goal {duration(self.goal.at_least)}"
        per_cent = self.goal.against in ("peak", "memory")
        number = (lambda x: f"{100 * x:.0f} %") if per_cent else (lambda x: f"{x:.2f}")
        names = {"peak": "of the peak", "memory": "of the bandwidth", "best": "the best peer"}
        against = names.get(self.goal.against, self.goal.against)
        return f"{number(self.reached)} {against}, goal {number(self.goal.at_least)}"


def ratios(row: Row) -> dict[str, float]:
    """Each peer's time / minidl's: above 1, minidl is faster."""
    own = row.timings.get("minidl")
    return {name: t.median / own.median for name, t in row.timings.items() if name != "minidl"} if own else {}


def share(row: Row) -> float | None:
    """Of the limit that was measured in the same rounds."""
    own, work = row.timings.get("minidl"), row.workload.flops if row.workload.limit == "peak" else row.workload.bytes
    return work / own.median / row.limit if own and row.limit else None


def verdicts(row: Row) -> list[Verdict]:
    """Each of the row's goals for which something was measured."""
    found, against = [], ratios(row)
    for goal in row.workload.goals:
        if goal.against == "best":
            reached = min(against.values(), default=None)
        elif goal.against == "seconds":
            reached = row.timings["minidl"].median if "minidl" in row.timings else None
        elif goal.against in ("peak", "memory"):
            reached = share(row)
        else:
            reached = against.get(goal.against)
        if reached is not None:
            found.append(Verdict(f"{row.workload.family}: {row.workload.name}", row.workload.family, goal, reached))
    return found


def family_verdict(rows: Sequence[Row], at_least: float) -> Verdict | None:
    """A goal for the geometric mean of a family's ratios to the best peer."""
    found = [min(ratios(row).values()) for row in rows if ratios(row)]
    if not found:
        return None
    family = rows[0].workload.family
    return Verdict(f"{family}: geometric mean", family, Goal("best", at_least), geometric_mean(found))


def geometric_mean(numbers: Iterable[float]) -> float:
    logs = [log(x) for x in numbers]
    return exp(sum(logs) / len(logs)) if logs else float("nan")


def duration(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{three_digits(seconds / size)} {unit}"
    return f"{three_digits(seconds * 1e6)} µs"


def three_digits(x: float) -> str:
    return f"{x:,.0f}" if x >= 99.95 else f"{x:.1f}" if x >= 9.995 else f"{x:.2f}" if x >= 0.0995 else f"{x:.2g}"


def rate(row: Row) -> str:
    """Of minidl: GFLOP/s where there is arithmetic to count, else GB/s."""
    own, work = row.timings.get("minidl"), row.workload
    if own and work.flops:
        return f"{three_digits(work.flops / own.median / 1e9)} GFLOP/s"
    return f"{three_digits(work.bytes / own.median / 1e9)} GB/s" if own and work.bytes else ""


def family_table(rows: Sequence[Row], peers: Sequence[str]) -> str:
    """A Markdown table: minidl's time, rate and share; each peer's ratio; how the goals stand."""
    shown = [peer for peer in peers if any(peer in row.timings or peer in row.refused for row in rows)]
    has_rate, has_share = any(rate(row) for row in rows), any(share(row) for row in rows)
    has_memory = any(row.memory for row in rows)
    head = ["", "minidl", *(["rate"] if has_rate else []), *(["of the limit"] if has_share else []), *shown, "goals"]
    if has_memory:
        head.append("memory of results, at its peak; new blocks")
    lines = []
    for row in rows:
        own, against = row.timings.get("minidl"), ratios(row)
        cells = [f"{duration(own.median)} ± {100 * own.spread:.0f} %" if own else row.refused.get("minidl", "")]
        if has_rate:
            cells.append(rate(row))
        if has_share:
            part = share(row)
            cells.append(f"{100 * part:.0f} %" if part else "")
        for peer in shown:
            cells.append(f"{against[peer]:.2f}" if peer in against else "refused" if peer in row.refused else "")
        cells.append("; ".join(standing(row)))
        if has_memory:
            cells.append(f"{three_digits(row.memory['peak'] / 1e6)} MB; {row.memory['fresh']}" if row.memory else "")
        lines.append([row.workload.name, *cells])
    return table(head, lines)


def standing(row: Row) -> list[str]:
    """met, or by how much each goal was missed."""
    found = verdicts(row)
    missed = [v for v in found if v.score < 1]
    return [f"missed by {100 * (1 - v.score):.0f} % ({v})" for v in missed] or (["met"] if found else [])


def summary_table(rows: Sequence[Row], peers: Sequence[str], titles: Mapping[str, str]) -> str:
    """A line a family: the geometric means of the ratios, and how many goals are met."""
    shown = [peer for peer in peers if any(peer in row.timings for row in rows)]
    lines = []
    for family, title in titles.items():
        members = [row for row in rows if row.workload.family == family and ratios(row)]
        if not members:
            continue
        cells = []
        for peer in [*shown, None]:
            every = [ratios(row) for row in members]
            numbers = [found[peer] if peer else min(found.values()) for found in every if not peer or peer in found]
            cells.append(f"{geometric_mean(numbers):.2f}" if numbers else "")
        goals = [v for row in members for v in verdicts(row)]
        met = f"{sum(v.score >= 1 for v in goals)} of {len(goals)}" if goals else ""
        lines.append([short_title(title), len(members), *cells, met])
    return table(["geometric means of the ratios", "rows", *shown, "best of them", "goals met"], lines)


def short_title(title: str) -> str:
    """What stands before the first comma or colon."""
    return title.split(":")[0].split(",")[0].split(";")[0]


def missed_table(found: Sequence[Verdict]) -> str:
    """All missed goals, the worst first, and why."""
    worst = sorted((v for v in found if v.score < 1), key=lambda v: v.score)
    lines = [[v.row, f"{100 * (1 - v.score):.0f} %", v, reason(v.row)] for v in worst]
    return table(["missed", "by", "reached", "why"], lines)


def row_json(row: Row) -> dict[str, Any]:
    """Everything that is known of a row."""
    return {
        "name": row.workload.name,
        "family": row.workload.family,
        "workload": {key: value for key, value in row.workload.to_json().items() if key not in ("name", "family")},
        "seconds": {name: asdict(t) for name, t in row.timings.items()},
        "errors": row.errors,
        "memory": row.memory,
        "refused": row.refused,
        "limit": row.limit,
        "share": share(row),
        "ratios": ratios(row),
        "goals": [{**asdict(v.goal), "reached": v.reached, "met": v.score >= 1} for v in verdicts(row)],
    }


def limits_table(limits: Mapping[str, Any]) -> str:
    """The machine's limits, one line each."""
    from minidl.kernels.limits import STREAMS

    counts = sorted({count for kind in limits.values() for each in kind.values() for count in each}, key=int)
    names = [f"{count} thread{'s' if count != '1' else ''}" for count in counts]
    lines = [
        [f"multiply-adds, {isa}", *(f"{three_digits(found[count] / 1e9)} GFLOP/s" for count in counts)]
        for isa, found in limits["flops"].items()
    ]
    lines += [
        [f"memory, {name} ({STREAMS[name]})", *(f"{three_digits(found[count] / 1e9)} GB/s" for count in counts)]
        for name, found in limits["bandwidth"].items()
    ]
    return table(["limit", *names], lines)
