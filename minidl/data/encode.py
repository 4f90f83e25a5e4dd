"""Labels as numbers: text to class indices, class indices to one-hot rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .errors import DataError


def encode_labels(values: Sequence[Any] | np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    """Class indices (N,) int64 and the classes' names, for labels that are text or numbers.

    The classes are the distinct values, in order of size if all of them are numbers (2 before 10), otherwise
    alphabetically; a label's index is the place of its value among them.
    """
    names = [_name(value) for value in values]
    distinct = set(names)
    try:
        classes = sorted(distinct, key=float)
    except ValueError:
        classes = sorted(distinct)
    index = {name: k for k, name in enumerate(classes)}
    return np.array([index[name] for name in names], np.int64), tuple(classes)


def _name(value: Any) -> str:
    """The text of a label; whole numbers without the decimal point, so that 3.0 is the class 3."""
    whole = isinstance(value, (float, np.floating)) and float(value).is_integer()
    return str(int(value)) if whole else str(value).strip()


def one_hot(labels: np.ndarray | Sequence[int], classes: int | None = None, dtype: Any = np.float32) -> np.ndarray:
    """Y[n,k] = [T[n] == k]

    labels T: (N,) whole numbers from 0 to classes - 1; classes: by default the largest label + 1. Result (N,
    classes). Raises DataError for labels that are not whole numbers or out of range.
    """
    t = check_labels(labels, classes, "one_hot")
    y = np.zeros((len(t), int(t.max(initial=-1)) + 1 if classes is None else classes), dtype)
    y[np.arange(len(t)), t] = 1
    return y


def check_labels(labels: Any, classes: int | None, who: str) -> np.ndarray:
    """The labels as int64 (N,), or DataError: not one-dimensional, not whole, not from 0 to classes - 1."""
    t = np.asarray(labels)
    if t.ndim != 1:
        raise DataError(f"{who}: labels have shape {t.shape}; expected one class index a row, (N,)")
    if t.dtype.kind not in "iub" and t.size:
        whole = t.dtype.kind == "f" and np.isfinite(t).all() and (t == np.floor(t)).all()
        if not whole:
            what = f"dtype {t.dtype}" if t.dtype.kind != "f" else "values that are not whole numbers"
            raise DataError(
                f"{who}: labels have {what}; expected class indices 0, 1, 2, ... (encode_labels makes them)"
            )
    t = t.astype(np.int64)
    bad = (t < 0) if classes is None else (t < 0) | (t >= classes)
    if bad.any():
        row = int(bad.argmax())
        upper = "" if classes is None else f" to {classes - 1}"
        raise DataError(
            f"{who}: label {t[row]} in row {row} is out of range; expected 0{upper or ' or more'} "
            "(encode_labels makes such indices of any labels)"
        )
    return t
