"""minidl: a deep learning engine whose every formula is visible in the code that runs."""

from typing import Any

from . import autograd, kernels, ops, random
from ._creation import (
    arange,
    as_tensor,
    bernoulli,
    empty,
    empty_like,
    eye,
    from_dlpack,
    from_numpy,
    full,
    full_like,
    linspace,
    multinomial,
    normal,
    ones,
    ones_like,
    rand,
    rand_like,
    randint,
    randint_like,
    randn,
    randn_like,
    randperm,
    tensor,
    zeros,
    zeros_like,
)
from ._dtypes import bool_, double, dtype, float16, float32, float64, half, int16, int32, int64, long, uint8
from ._size import Size
from ._tensor import Tensor, device
from .autograd import enable_grad, inference_mode, is_grad_enabled, no_grad, set_grad_enabled
from .kernels import backend
from .kernels.native import get_num_threads, set_num_threads
from .ops import *  # noqa: F403
from .random import Generator, manual_seed

__version__ = "0.1.0"

float, int, bool = float32, int32, bool_  # PyTorch's names; after every use of Python's own

_LAZY = {
    "bench", "cuda", "data", "explain", "linalg", "losses", "models", "nn", "optim", "penalties", "serialization",
    "train", "utils",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    """Sub-packages are imported when they are first asked for; `import minidl` stays quick."""
    import importlib

    if name in _LAZY:
        return importlib.import_module(f"minidl.{name}")
    if name in ("save", "load"):
        return getattr(importlib.import_module("minidl.serialization"), name)
    if name == "bfloat16":
        from ._dtypes import bfloat16

        return bfloat16()
    raise AttributeError(f"module 'minidl' has no attribute {name!r}")
