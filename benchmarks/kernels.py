"""The kernels beside NumPy, PyTorch and JAX, and the machine's limits.

    python benchmarks/kernels.py [--peers numpy,torch,jax] [--readme]

Matrix products, convolutions, elementwise functions, rows, reductions, pooling, Adam, arrays beyond the caches; about
seven minutes on two cores. Prints a table a family, keeps JSON, the roofline and the ratios as pictures in
benchmarks/results. --full adds the curve of matrix products over their sizes.
"""

from __future__ import annotations

import sys
from pathlib import Path

from minidl.bench.script import main

if __name__ == "__main__":
    sys.exit(main("kernels", __doc__ or "", Path(__file__).resolve().parent / "results"))
