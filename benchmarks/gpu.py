"""The CUDA kernels on an NVIDIA GPU: verified, then timed beside the measured peaks, cuBLAS and PyTorch.

    python benchmarks/gpu.py [--emulator] [--quick] [--no-tests]

Prints a table, keeps it and JSON in benchmarks/results. Without a GPU it says why, and `--emulator` verifies the same
kernels on the CPU. minidl/bench/gpu.py says how it measures.
"""

from __future__ import annotations

import sys
from pathlib import Path

from minidl.bench.gpu import main

if __name__ == "__main__":
    results = Path(__file__).resolve().parent / "results"
    sys.exit(main(["--out", str(results), *sys.argv[1:]]))
