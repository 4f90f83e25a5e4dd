"""Several runs of `minidl bench` beside each other: which goals are met every time, and which are missed, and why.

    minidl bench --peers numpy,torch,jax --out runs/one        and so on, at different times
    python benchmarks/runs.py runs/one runs/two runs/three [--keep]

--keep writes the table to benchmarks/results/runs.md as well.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from minidl.bench.report import caption
from minidl.bench.runs import compare, read


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, help="folders that minidl bench has written, or their bench.json")
    parser.add_argument("--keep", action="store_true", help="write the table to benchmarks/results/runs.md")
    options = parser.parse_args()
    files = [run / "bench.json" if run.is_dir() else run for run in options.runs]
    try:
        text = compare([read(file) for file in files])
    except ValueError as error:
        parser.error(str(error))
    print(text)
    if options.keep:
        folder = Path(__file__).resolve().parent / "results"
        (folder / "runs.md").write_text(f"{caption()}\n\n{text}\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
