"""What every benchmark keeps beside its figures: the machine, the versions, a JSON file, a table."""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from datetime import date
from importlib import metadata
from pathlib import Path
from typing import Any

import minidl
from minidl.kernels.build import build_info

RESULTS = Path(__file__).resolve().parent / "results"
README = RESULTS.parent.parent / "README.md"


def machine() -> dict[str, Any]:
    """Processor, cores, Python and the versions of what is compared."""
    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    versions = {"minidl": minidl.__version__}
    for package in ("numpy", "torch", "jax"):
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            pass
    return {
        "date": date.today().isoformat(),
        "processor": name,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "versions": versions,
        "build": build_info(),
    }


def caption() -> str:
    """One line under a table: where and when it was measured."""
    here = machine()
    versions = ", ".join(f"{name} {version}" for name, version in here["versions"].items())
    return f"{here['processor']}, {here['cores']} cores, Python {here['python']}, {versions}; {here['date']}."


def interleaved(contestants: dict[str, Callable[[], Any]], rounds: int, repeats: int) -> dict[str, list[float]]:
    """Seconds a call of each contestant, in turn, round by round, so that a drifting machine hits all alike."""
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for function in contestants.values():
        function()
    for _ in range(rounds):
        for name, function in contestants.items():
            start = time.perf_counter()
            for _ in range(repeats):
                function()
            times[name].append((time.perf_counter() - start) / repeats)
    return times


def median_and_spread(times: Sequence[float]) -> tuple[float, float]:
    """Median and the half distance between the quartiles, as a share of it."""
    low, middle, high = statistics.quantiles(times, n=4)
    return middle, (high - low) / 2 / middle


def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(head) + " |", "|" + "|".join(" --- " for _ in head) + "|"]
    return "\n".join(lines + ["| " + " | ".join(map(str, row)) + " |" for row in rows])


def keep(name: str, figures: Any) -> Path:
    """The figures as JSON under benchmarks/results, with the machine."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps({"machine": machine(), "figures": figures}, indent=1) + "\n")
    return path


def between_markers(file: Path, marker: str, text: str) -> None:
    """Replace what stands between <!-- marker:begin --> and <!-- marker:end --> in a Markdown file."""
    begin, end = f"<!-- {marker}:begin -->", f"<!-- {marker}:end -->"
    before, found, rest = file.read_text().partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise SystemExit(f"{file.name} has no place for {marker}: write {begin} and {end} on lines of their own")
    file.write_text(f"{before}{begin}\n{text}\n{end}{after}")
