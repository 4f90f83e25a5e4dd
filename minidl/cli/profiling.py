"""minidl cuda-profile: what the rungs of a CUDA ladder ask of a GPU, counted by the emulator."""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import json

import numpy as np

from minidl.cli.options import UsageError
from minidl.kernels import emulator
from minidl.kernels.emulator import Counts
from minidl.kernels.ladders import Ladder

__all__ = ["run_profile"]

COLUMNS = {  # heading -> what stands in the column
    "instructions": lambda c: c.global_loads + c.global_stores,
    "sectors": lambda c: c.sectors,
    "MB": lambda c: c.bytes / 1e6,
    "shared passes": lambda c: c.shared_passes,
    "conflicts": lambda c: c.bank_conflicts,
    "atomics": lambda c: c.atomics,
    "shuffles": lambda c: c.exchanges,
    "barriers": lambda c: c.barriers,
    "FMAs": lambda c: c.multiply_adds,
    "additions": lambda c: c.additions,
    "FLOP/byte": lambda c: c.intensity,
}
LEGEND = """\
instructions: loads and stores of a warp from and to global memory; sectors: the 32-byte transactions that they take,
MB in all, without any cache; shared passes: over the 32 banks of shared memory; conflicts: passes that other addresses
would have spared; atomics: of a thread; shuffles: of a warp; barriers: of a block; FMAs and additions: of a thread.
"""


def run_profile(options: argparse.Namespace) -> int:
    """Count as the options say, print the table or JSON; the exit code."""
    size, kind = getattr(options, "size", 256), getattr(options, "type", "float32")
    ladder = {"matmul": emulator.matmul, "reduce": emulator.sum, "softmax": emulator.softmax}[options.family]
    rungs = chosen(ladder, getattr(options, "rungs", ["all"]))
    rng = np.random.default_rng(0)
    x = rng.random((size, size)).astype(kind)
    rest: dict[str, tuple[object, ...]] = {"reduce": ((0, 1), False), "softmax": (1,)}
    arguments = (x, *rest.get(options.family, (rng.random((size, size)).astype(kind),)))
    counted = {rung: emulator.profile(ladder[rung], *arguments) for rung in rungs}
    if getattr(options, "json", False):
        print(json.dumps({"family": options.family, "size": size, "type": kind, "rungs": as_json(counted)}, indent=2))
        return 0
    what = {"matmul": "C = A B of matrices,", "reduce": "sum of", "softmax": "softmax of the rows of"}[options.family]
    print(f"{what} {size} x {size} numbers, {kind}, on the CUDA emulator\n")
    print_table(counted)
    print(f"\n{LEGEND}")
    before = None
    for rung, counts in counted.items():
        why = " ".join((ladder[rung].__doc__ or "").split())
        print(f"{rung}: {why}{changes(before, counts) if before else ''}")
        before = counts
    return 0


def chosen(ladder: Ladder, names: list[str]) -> list[str]:
    """The rungs in the ladder's order."""
    every = [rung for rung, _ in ladder]
    for name in names:
        if name not in [*every, "all"]:
            near = difflib.get_close_matches(name, every, 1, 0.5)
            hint = f"did you mean {near[0]!r}?" if near else f"expected all, or some of {', '.join(every)}"
            raise UsageError(f"minidl cuda-profile: there is no rung {name!r}; {hint}")
    if not names:
        raise UsageError(f"minidl cuda-profile: --rungs is empty; expected all, or some of {', '.join(every)}")
    return every if "all" in names else [rung for rung in every if rung in names]


def as_json(counted: dict[str, Counts]) -> dict[str, dict[str, float]]:
    derived = ("bytes", "flops", "intensity", "transactions")
    return {
        rung: dataclasses.asdict(counts) | {name: getattr(counts, name) for name in derived}
        for rung, counts in counted.items()
    }


def print_table(counted: dict[str, Counts]) -> None:
    columns = {name: value for name, value in COLUMNS.items() if any(map(value, counted.values()))}
    rows = [["rung", *columns]]
    for rung, counts in counted.items():
        cells = [value(counts) for value in columns.values()]
        rows.append([rung, *(f"{cell:,.2f}" if isinstance(cell, float) else f"{cell:,}" for cell in cells)])
    widths = [max(map(len, column)) for column in zip(*rows)]
    for row in rows:
        print("  ".join([row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:]))]))


def changes(before: Counts, after: Counts) -> str:
    """What became less against the rung before, most first."""
    ratios = {}
    for name in ("sectors", "instructions", "shared passes", "atomics", "shuffles", "barriers"):
        old, new = COLUMNS[name](before), COLUMNS[name](after)
        if old > new:
            ratios[name] = old / new if new else float("inf")
    parts = [
        f"no {name}" if ratio == float("inf") else f"{ratio:.3g} times fewer {name}"
        for name, ratio in sorted(ratios.items(), key=lambda item: -item[1])
    ]
    return f" ({', '.join(parts)})" if parts else ""
