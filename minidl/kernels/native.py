"""The C++ backend: the reference's names, each with its compiled kernel where there is one.

A kernel takes aligned float32 and float64 arrays of any strides and up to eight dimensions, by position; whatever else
comes, it hands to the reference function of the same name (its `__self__`), and no Python stands in between. Without
compiled code every name here is the reference's.

Environment: `MINIDL_ISA` = `baseline`, `avx2` or `avx512` forces an instruction set (the best one otherwise);
`MINIDL_NUM_THREADS`, else `OMP_NUM_THREADS`, sets the number of threads (the CPUs that this process may use otherwise).
"""

from __future__ import annotations

import os

from minidl.kernels import build, reference
from minidl.kernels.reference import *  # noqa: F403  (the same names, replaced below by what is compiled)

try:
    from minidl import _native
except ImportError:
    available, compiled = False, frozenset[str]()
    build.announce()

    def get_num_threads() -> int:
        """Threads that kernels use: 1, the reference's."""
        return 1

    def set_num_threads(count: int) -> None:
        """Without compiled kernels there is nothing to set."""
else:
    from minidl._native import get_num_threads, set_num_threads

    if os.environ.get("MINIDL_ISA"):
        _native.set_level(os.environ["MINIDL_ISA"])
    _verbs = _native.verbs(vars(reference))
    available, compiled = True, frozenset(_verbs)
    globals().update(_verbs)

__all__ = ["available", "compiled", "get_num_threads", "set_num_threads"]
__all__ += [name for name in vars(reference) if not name.startswith("_")]
