"""The README's picture: the curves that `minidl train` draws of its default run.

    python benchmarks/digits.py
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

RESULTS = Path(__file__).resolve().parent / "results"


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        subprocess.run([sys.executable, "-m", "minidl", "train", "--out", str(run)], check=True)
        RESULTS.mkdir(exist_ok=True)
        shutil.copy(run / "curves.png", RESULTS / "digits-curves.png")


if __name__ == "__main__":
    main()
