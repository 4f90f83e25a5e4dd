"""What every benchmark keeps beside its figures: the machine, the versions, a JSON file, a table."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from datetime import date
from importlib import metadata
from pathlib import Path
from typing import Any

import minidl
from minidl.kernels.build import build_info

__all__ = ["between_markers", "caption", "keep", "machine", "table"]


def machine(packages: Sequence[str] = ("numpy", "torch", "jax")) -> dict[str, Any]:
    """Processor, cores, Python and the versions of what is compared."""
    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    versions = {"minidl": minidl.__version__}
    for package in packages:
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


def caption(here: dict[str, Any] | None = None) -> str:
    """One line under a table: where and when it was measured."""
    here = here or machine()
    versions = ", ".join(f"{name} {version}" for name, version in here["versions"].items())
    return f"{here['processor']}, {here['cores']} cores, Python {here['python']}, {versions}; {here['date']}."


def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A Markdown table: the first column to the left, figures to the right."""
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" + " ---: |" * (len(head) - 1)]
    return "\n".join(lines + ["| " + " | ".join(map(str, row)) + " |" for row in rows])


def keep(path: Path, figures: dict[str, Any]) -> Path:
    """The figures as JSON, with the machine."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"machine": machine(), **figures}, indent=1) + "\n")
    return path


def between_markers(file: Path, marker: str, text: str) -> None:
    """Replace what stands between <!-- marker:begin --> and <!-- marker:end --> in a Markdown file."""
    begin, end = f"<!-- {marker}:begin -->", f"<!-- {marker}:end -->"
    before, found, rest = file.read_text().partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise ValueError(f"{file.name} has no place for {marker}: write {begin} and {end} on lines of their own")
    file.write_text(f"{before}{begin}\n{text}\n{end}{after}")
