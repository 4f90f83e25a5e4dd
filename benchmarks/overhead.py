"""What one operation on a tiny tensor costs: the tape and the call path, not the arithmetic; and an import.

    python benchmarks/overhead.py [--peers numpy,torch,jax] [--readme]

Each operation on 4 floats (matmul: 2 x 2), recorded, without and with its backward, beside PyTorch on one thread
each. Prints a table, keeps JSON and a picture in benchmarks/results.
"""

from __future__ import annotations

import sys
from pathlib import Path

from minidl.bench.script import main

if __name__ == "__main__":
    sys.exit(main("overhead", __doc__ or "", Path(__file__).resolve().parent / "results"))
