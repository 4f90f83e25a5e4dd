"""The benchmarks from the first process to the last table."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from minidl.bench import kernels, overhead, steps
from minidl.bench.libraries import LIBRARIES, PACKAGES, PEERS
from minidl.bench.referee import FULL, HEAP, QUICK, SAME_MINIDL, Effort, Referee, Row, environment, timing
from minidl.bench.results import (
    Verdict,
    family_table,
    family_verdict,
    limits_table,
    missed_table,
    ratios,
    row_json,
    summary_table,
    verdicts,
)
from minidl.bench.workload import Workload

__all__ = ["PARTS", "TITLES", "Results", "choose_peers", "plan", "run"]

PARTS: dict[str, ModuleType] = {"kernels": kernels, "steps": steps, "overhead": overhead}
CONDITIONS = """\
Each library runs in a process of its own, one at a time, round by round, on {threads}; the figures are medians
and half the distance between the quartiles. A ratio is the peer's time / minidl's: above 1, minidl is faster.
{removed}The memory that they free is kept for them (by glibc's heap), so that none pays for new pages."""
TITLES = {family: title for part in PARTS.values() for family, title in part.FAMILIES.items()}


@dataclass
class Results:
    """What a run has found.

    rows: in the order of the tables.
    limits: of the machine, as `minidl.kernels.limits.measure` gives them.
    about: each library's version and kernels.
    absent: peers that were left out, with the reason.
    removed: environment variables that pin a library's kernels, and were removed.
    """

    threads: int
    peers: list[str]
    rows: list[Row] = field(default_factory=list)
    limits: dict[str, Any] = field(default_factory=dict)
    about: dict[str, dict[str, str]] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)
    removed: list[str] = field(default_factory=list)

    def columns(self) -> list[str]:
        """The peers that were measured, torch.compile beside torch."""
        return [name for name in LIBRARIES if name in self.about and name != "minidl"]

    def of(self, family: str) -> list[Row]:
        return [row for row in self.rows if row.workload.family == family]

    def verdicts(self) -> list[Verdict]:
        """How every goal stands, those of whole families last."""
        means = [family_verdict(self.of(family), goal) for family, goal in kernels.MEANS.items()]
        return [*(verdict for row in self.rows for verdict in verdicts(row)), *(v for v in means if v)]

    def conditions(self) -> str:
        """How the figures came about, in a few sentences."""
        removed = f"{', '.join(self.removed)} are taken out of their environment. " if self.removed else ""
        return CONDITIONS.format(threads=f"{self.threads} thread{'s' * (self.threads > 1)}", removed=removed)

    def to_json(self) -> dict[str, Any]:
        return {
            "threads": self.threads,
            "libraries": self.about,
            "absent": self.absent,
            "removed from the environment": self.removed,
            "set in the environment": HEAP,
            "limits": self.limits,
            "rows": [row_json(row) for row in self.rows],
        }


def choose_peers(names: Sequence[str]) -> list[str]:
    """The peers by name, each once.

    Raises:
        ValueError: a name that is none.
    """
    for name in names:
        if name not in PEERS:
            raise ValueError(f"bench: there is no peer {name!r}; choose from {', '.join(PEERS)}")
    return [name for name in PEERS if name in names]


def run(
    parts: Sequence[str] = ("kernels", "steps", "overhead"),
    peers: Sequence[str] = PEERS,
    threads: int = 2,
    *,
    quick: bool = False,
    full: bool = False,
    only: str = "",
    say: Callable[[str], None] = print,
    libraries: Mapping[str, str] = LIBRARIES,
) -> Results:
    """Measure, and print each table when it is there.

    Args:
        parts: "kernels", "steps" or "overhead", or several.
        peers: "numpy", "torch", "jax" or "tinygrad"; one that is not installed is left out by name.
        threads: of every library (the overhead part: one).
        quick: a few milliseconds a row, to see that it runs.
        full: more rounds, and matrix products of many sizes.
        only: measure only the rows with this in their name or family.
        say: is given each line or table.
        libraries: name -> "module:Class", for other ways to do the same work.

    Raises:
        ValueError: an unknown part or peer, or no row is left.
        RuntimeError: a worker of minidl's own does not run.
    """
    table, chosen = plan(parts, full, only), choose_peers(peers)
    results = Results(threads, chosen, removed=environment(threads)[1])
    say(results.conditions())
    for name in list(chosen):
        if not installed(PACKAGES[name]):
            results.absent[name] = "it is not installed"
            say(f"{name} is not installed, so it is left out: pip install {PACKAGES[name]}")
            chosen.remove(name)
    effort = QUICK if quick else FULL if full else Effort()
    for part in parts:
        if any(workload is not overhead.IMPORT for workload in table[part]):
            names = ["minidl", *chosen]
            if part == "steps" and "torch" in chosen:
                names.insert(names.index("torch") + 1, "torch.compile")
            places = {name: libraries[name] for name in (*names, "exact")}
            measure(part, table[part], places, 1 if part == "overhead" else threads, effort, results, say)
        if overhead.IMPORT in table[part]:
            names = [name for name in ("minidl", *chosen) if name in overhead.IMPORT.only]
            results.rows.append(time_imports(names, 3 if quick else 7))
            say(f"\n{overhead.FAMILIES['import']}\n\n{family_table(results.of('import'), results.columns())}")
    rows = [row for row in results.rows if row.workload.family != "sizes"]
    if len(rows) > 1 and any(ratios(row) for row in rows):
        say(f"\n{summary_table(rows, results.columns(), TITLES)}")
    missed = [v for v in results.verdicts() if v.score < 1]
    if missed:
        say(f"\n{len(missed)} of {len(results.verdicts())} goals are missed, the worst first\n\n{missed_table(missed)}")
    elif results.verdicts():
        say(f"\nAll {len(results.verdicts())} goals are met.")
    return results


def plan(parts: Sequence[str], full: bool = False, only: str = "") -> dict[str, list[Workload]]:
    """The rows of each part with `only` in their family or name.

    Raises:
        ValueError: an unknown part, or no row is left.
    """
    for part in parts:
        if part not in PARTS:
            raise ValueError(f"bench: there is no part {part!r}; choose from {', '.join(PARTS)}")
    table = {part: wanted(PARTS[part].workloads(full), only) for part in parts}
    if not any(table.values()):
        raise ValueError(f"bench: no row's name contains {only!r}; leave --only out to see them all")
    return table


def wanted(workloads: Sequence[Workload], only: str) -> list[Workload]:
    return [w for w in workloads if only.lower() in f"{w.family}: {w.name}".lower()]


def installed(package: str) -> bool:
    import importlib.util

    return importlib.util.find_spec(package) is not None


def measure(
    part: str,
    workloads: Sequence[Workload],
    places: Mapping[str, str],
    threads: int,
    effort: Effort,
    results: Results,
    say: Callable[[str], None],
) -> None:
    """One part's rows, family by family."""
    families = PARTS[part].FAMILIES
    with Referee(places, threads, effort, say) as referee:
        results.absent |= referee.absent
        results.about |= referee.about
        for name, about in referee.about.items():
            say(f"{name} {about['version']}: {about['kernels']}")
        if part == "kernels" and not results.limits:
            found = referee.limits()
            if "failed" in found:
                say(f"the machine's limits are unknown: {found['failed']}")
            else:
                results.limits = found
                say(f"\n{limits_table(found)}")
        for family, title in families.items():
            rows = []
            for workload in workloads:
                if workload.family == family and workload is not overhead.IMPORT:
                    row = referee.measure(workload)
                    if row is None:
                        continue
                    rows.append(row)
                    for name, reason in row.refused.items():
                        say(f"{workload.name}: {name} is not timed: {reason}")
            results.rows += rows
            results.absent |= referee.absent
            if rows:
                say(f"\n{title}\n\n{family_table(rows, results.columns())}")


def time_imports(names: Sequence[str], rounds: int) -> Row:
    """Seconds that `import NAME` takes in a new process, in turn."""
    row = Row(overhead.IMPORT)
    times: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(rounds + 1):
        for name in names:
            watch = f"import time; t = time.perf_counter(); import {PACKAGES[name]}; print(time.perf_counter() - t)"
            command = [sys.executable, "-c", f"{SAME_MINIDL}; {watch}"]
            found = subprocess.run(command, env=environment(1)[0], capture_output=True, text=True)
            if found.returncode:
                row.refused[name] = (found.stderr.strip().splitlines() or ["it fails"])[-1]
            elif turn:  # the first reads the files from the disk
                times[name].append(float(found.stdout.split()[-1]))
    row.timings = {name: timing(each) for name, each in times.items() if each}
    return row
