"""minidl bench: kernels, training steps and calls beside the peers."""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path

from minidl.bench import PARTS, run
from minidl.bench.libraries import PEERS
from minidl.bench.report import caption, keep, machine
from minidl.bench.suite import choose_peers, plan
from minidl.cli.options import UsageError

__all__ = ["run_benchmarks"]


def run_benchmarks(options: argparse.Namespace) -> int:
    """Measure as the options say, print the tables, keep figures and pictures; the exit code."""
    quick, full, only = getattr(options, "quick", False), getattr(options, "full", False), getattr(options, "only", "")
    wanted = getattr(options, "peers", list(PEERS))
    parts = [options.part] if options.part else list(PARTS)
    try:
        peers = choose_peers(wanted)
        plan(parts, full, only)
    except ValueError as error:
        raise UsageError(f"minidl bench: {str(error).removeprefix('bench: ')}") from None
    if quick and full:
        raise UsageError("minidl bench: --quick and --full exclude each other; give one of them")
    folder = new_folder(getattr(options, "out", None))
    here = machine()
    print(caption(here), flush=True)
    results = run(
        parts,
        peers,
        getattr(options, "threads", 2),
        quick=quick,
        full=full,
        only=only,
        say=lambda text: print(text, flush=True),
    )
    keep(folder / "bench.json", results.to_json())
    kept = ["bench.json"]
    try:
        from minidl.bench.pictures import draw
    except ImportError as error:
        print(f"no pictures were drawn: {error}")
    else:
        kept += [path.name for path in draw(results, folder)]
    print(f"\nkept in {folder}: {', '.join(kept)}")
    return 0


def new_folder(wanted: str | None) -> Path:
    """The folder for the figures, made before minutes are spent on them: `wanted`, or the first free runs/bench-NNN."""
    if wanted is not None:
        Path(wanted).mkdir(parents=True, exist_ok=True)
        return Path(wanted)
    for number in itertools.count(1):
        folder = Path("runs") / f"bench-{number:03}"
        try:
            folder.mkdir(parents=True)
            break
        except FileExistsError:
            continue
    return folder
