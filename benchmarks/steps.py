"""Whole training steps (forward, backward, Adam) beside NumPy by hand, PyTorch, its compiler, and JAX.

    python benchmarks/steps.py [--peers numpy,torch,jax] [--readme]

Prints a table, keeps JSON and a picture in benchmarks/results.
"""

from __future__ import annotations

import sys
from pathlib import Path

from minidl.bench.script import main

if __name__ == "__main__":
    sys.exit(main("steps", __doc__ or "", Path(__file__).resolve().parent / "results"))
