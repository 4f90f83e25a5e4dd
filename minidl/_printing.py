"""How a tensor shows itself."""

from __future__ import annotations

from typing import Any

import numpy as np


def describe(x: Any) -> str:
    """tensor([[1., 2.]], shape=(1, 2), dtype=float32, from=add): values, shape, dtype and what made it."""
    array = x.detach().cpu().array
    if array.dtype.name == "bfloat16":
        array = array.astype(np.float32)
    if array.ndim == 0:
        values = np.array2string(array, precision=4)
    else:
        values = np.array2string(array, precision=4, separator=", ", prefix="tensor(", threshold=200, edgeitems=3)
    parts = [values, f"shape={x.shape}", f"dtype={x.dtype.name}"]
    if x.device.type != "cpu":
        parts.append(f"device='{x.device}'")
    if x.node is not None:
        parts.append("requires_grad=True" if x.is_leaf else f"from={x.node.name.strip('_')}")
    return f"tensor({', '.join(parts)})"
