"""Benchmarks: minidl's kernels, training steps and calls beside NumPy, PyTorch, JAX and tinygrad.

    minidl bench [kernels|steps|overhead] [--peers numpy,torch,jax,tinygrad]

Each library computes in a process of its own, one at a time, round by round; every result is held against the exact
one before it is timed.
"""

from minidl.bench.suite import PARTS, run

__all__ = ["PARTS", "run"]
