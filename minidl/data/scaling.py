"""Scaling: fitted on the training part, then applied to every part and to whatever is predicted later.

All take tables x (N, F) and images x (N, C, H, W): axis 1, the feature or the channel, is the axis j of the
formulas, and the means and extremes run over all the others. Statistics are computed and kept in float64; the
result has x's dtype if that is floating, otherwise float32.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from .errors import DataError

if TYPE_CHECKING:
    from typing_extensions import Self

State = dict[str, Any]


class Transform:
    """A map of x that first learns its numbers from the training part: `t.fit(train_x).transform(test_x)`.

    `state()` gives these numbers as a dictionary for JSON, and `transform_from_state` makes the transform
    from it.
    """

    kind: ClassVar[str]
    kinds: ClassVar[dict[str, type[Transform]]] = {}
    numbers: ClassVar[tuple[str, ...]] = ()  # the attributes, arrays (F,), that `fit` learns

    def __init_subclass__(cls) -> None:
        Transform.kinds[cls.kind] = cls

    def options(self) -> State:
        """The constructor's arguments."""
        return {}

    def fit(self, x: np.ndarray) -> Self:
        """Learn the numbers from x; gives itself. Raises DataError if x is empty or holds what cannot be used."""
        raise NotImplementedError

    def transform(self, x: np.ndarray) -> np.ndarray:
        """The transformed x, a new array. Raises DataError before `fit` and for other numbers of features."""
        raise NotImplementedError

    def inverse(self, y: np.ndarray) -> np.ndarray:
        """The x that `transform` maps to y. Raises DataError where the map has no inverse."""
        raise DataError(f"{type(self).__name__}.inverse: this map has no inverse; keep the original values")

    def state(self) -> State:
        """What `transform_from_state` needs: kind, options and learned numbers, ready for JSON."""
        self._fitted()
        learned = {name: getattr(self, name).tolist() for name in self.numbers}
        return {"kind": self.kind, "options": self.options(), "numbers": learned}

    def _fitted(self) -> None:
        if any(getattr(self, name, None) is None for name in self.numbers):
            raise DataError(f"{type(self).__name__}: not fitted yet; call fit(x) with the training part first")

    def _number(self, name: str, x: np.ndarray) -> np.ndarray:
        """The learned numbers (F,) shaped to broadcast along axis 1 of x."""
        self._fitted()
        value = getattr(self, name)
        if x.ndim < 2 or x.shape[1] != len(value):
            raise DataError(
                f"{type(self).__name__}: fitted on {len(value)} features and given x of shape {x.shape}; "
                "axis 1 must be the features (or channels) it was fitted on"
            )
        return value.reshape(-1, *[1] * (x.ndim - 2))

    def __repr__(self) -> str:
        options = ", ".join(f"{key}={value!r}" for key, value in self.options().items())
        return f"{type(self).__name__}({options})"


def transform_from_state(state: State) -> Transform:
    """The transform whose `state()` this is. Raises DataError for a state that it does not know."""
    try:
        if state["kind"] == Chain.kind:
            return Chain([transform_from_state(part) for part in state["transforms"]])
        transform = Transform.kinds[state["kind"]](**state["options"])
        for name in transform.numbers:
            setattr(transform, name, np.asarray(state["numbers"][name], np.float64))
        return transform
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"transform_from_state: not the state of a transform ({error!r}); "
            f"expected one that state() of {', '.join(sorted(Transform.kinds))} gave"
        ) from None


def floating(x: np.ndarray) -> np.dtype[Any]:
    """The dtype of the results for x: its own if floating, else float32."""
    return x.dtype if x.dtype.kind == "f" else np.dtype(np.float32)


def columns(x: np.ndarray) -> np.ndarray:
    """x as float64 with one column a feature, (N, F); images (N, C, H, W) as (N H W, C)."""
    return np.moveaxis(x, 1, -1).reshape(-1, x.shape[1]).astype(np.float64)


def fittable(x: np.ndarray, who: str, finite: bool = False) -> np.ndarray:
    """x as an array, or DataError if nothing can be learned from it (where asked, if it is not finite)."""
    x = np.asarray(x)
    if x.ndim < 2 or x.size == 0:
        raise DataError(f"{who}.fit: x has shape {x.shape}; expected a non-empty table (N, F) or images (N, C, H, W)")
    if x.dtype.kind not in "fiub":
        raise DataError(f"{who}.fit: x has dtype {x.dtype}; expected numbers")
    if finite and x.dtype.kind == "f" and not np.isfinite(x).all():
        bad = int((~np.isfinite(columns(x))).any(axis=0).argmax())
        raise DataError(
            f"{who}.fit: feature {bad} holds NaN or infinity; fill or drop missing values first (Impute, missing_rows)"
        )
    return x


class Affine(Transform):
    """Y[n,j] = (X[n,j] - offset[j]) * gain[j]

    The form that the batch path applies to images on the way.
    """

    kind = "affine"
    numbers = ("offset", "gain")
    offset: np.ndarray | None = None
    gain: np.ndarray | None = None

    def __init__(self, offset: Sequence[float] | None = None, gain: Sequence[float] | None = None) -> None:
        self.offset = None if offset is None else np.asarray(offset, np.float64)
        self.gain = None if gain is None else np.asarray(gain, np.float64)

    def affine(self, features: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """(offset, gain), each (F,). Raises DataError before `fit`, or if F is not the number asked for."""
        if self.offset is None or self.gain is None:
            raise DataError(f"{type(self).__name__}: not fitted yet; call fit(x) with the training part first")
        if features not in (None, len(self.offset)):
            raise DataError(
                f"{type(self).__name__}: fitted on {len(self.offset)} features, used on {features}; "
                "fit it on the training part of the same data"
            )
        return self.offset, self.gain

    def fit(self, x: np.ndarray) -> Self:
        """Nothing is learned here: offset and gain are the constructor's."""
        self._fitted()
        return self

    def transform(self, x: np.ndarray) -> np.ndarray:
        """Y[n,j] = (X[n,j] - offset[j]) * gain[j]"""
        x = np.asarray(x)
        dtype = floating(x)
        y = x.astype(dtype)
        y -= self._number("offset", x).astype(dtype)
        y *= self._number("gain", x).astype(dtype)
        return y

    def inverse(self, y: np.ndarray) -> np.ndarray:
        """X[n,j] = Y[n,j] / gain[j] + offset[j]"""
        y = np.asarray(y)
        dtype = floating(y)
        return y / self._number("gain", y).astype(dtype) + self._number("offset", y).astype(dtype)


def _blocks(x: np.ndarray) -> Iterator[np.ndarray]:
    """`columns(x)` in pieces of about 8 MB, so that no large set of images is in memory as float64."""
    rows = max(1, 2**20 * len(x) // x.size)
    return (columns(x[start : start + rows]) for start in range(0, len(x), rows))


class Standardize(Affine):
    """Mean 0 and deviation 1 in every feature.

    μ[j] = mean[n] X[n,j]
    σ[j] = sqrt(mean[n] (X[n,j] - μ[j])**2)
    Y[n,j] = (X[n,j] - μ[j]) / σ[j]

    A constant feature has σ = 0 and is divided by 1 instead, so that it becomes 0. Images: one μ and σ a
    channel.
    """

    kind = "standardize"

    def __init__(self) -> None:
        super().__init__()

    def fit(self, x: np.ndarray) -> Self:
        """Learn μ and σ. Raises DataError if x is empty or holds NaN or infinity."""
        x = fittable(x, "Standardize", finite=True)
        count = x.size / x.shape[1]
        mean = sum(block.sum(axis=0) for block in _blocks(x)) / count
        std = np.sqrt(sum(np.square(block - mean).sum(axis=0) for block in _blocks(x)) / count)
        # Rounding leaves a constant column a σ near ε |μ|, not 0.
        std[std <= 1e-12 * np.abs(mean)] = 0.0
        self.offset, self.gain = mean, 1 / np.where(std == 0, 1.0, std)
        return self


class MinMax(Affine):
    """The training part's range of every feature mapped to [low, high], by default [0, 1].

    a[j] = min[n] X[n,j]
    b[j] = max[n] X[n,j]
    Y[n,j] = low + (X[n,j] - a[j]) / (b[j] - a[j]) * (high - low)

    A constant feature has b = a; its divisor is 1 instead, so that it becomes low. Other parts may leave the
    range. Images: one a and b a channel.
    """

    kind = "minmax"

    def __init__(self, low: float = 0.0, high: float = 1.0) -> None:
        if not low < high:
            raise DataError(f"MinMax: low={low} must be below high={high}")
        super().__init__()
        self.low, self.high = float(low), float(high)

    def options(self) -> State:
        """low and high."""
        return {"low": self.low, "high": self.high}

    def fit(self, x: np.ndarray) -> Self:
        """Learn a and b. Raises DataError if x is empty or holds NaN or infinity."""
        x = fittable(x, "MinMax", finite=True)
        others = (0, *range(2, x.ndim))
        a, b = x.min(axis=others).astype(np.float64), x.max(axis=others).astype(np.float64)
        self.gain = (self.high - self.low) / np.where(b == a, 1.0, b - a)
        self.offset = a - self.low / self.gain
        return self


class Chain(Transform):
    """Transforms one after the other: fitted in turn, each on what those before it make of x."""

    kind = "chain"

    def __init__(self, transforms: Sequence[Transform] = ()) -> None:
        self.transforms = tuple(transforms)

    def fit(self, x: np.ndarray) -> Self:
        """Fit each in turn."""
        for transform in self.transforms:
            x = transform.fit(x).transform(x)
        return self

    def transform(self, x: np.ndarray) -> np.ndarray:
        """Apply each in turn."""
        for transform in self.transforms:
            x = transform.transform(x)
        return x

    def inverse(self, y: np.ndarray) -> np.ndarray:
        """Undo each, the last one first."""
        for transform in reversed(self.transforms):
            y = transform.inverse(y)
        return y

    def state(self) -> State:
        """The states of all, in order."""
        return {"kind": self.kind, "transforms": [transform.state() for transform in self.transforms]}

    def __repr__(self) -> str:
        return f"Chain([{', '.join(map(repr, self.transforms))}])"
