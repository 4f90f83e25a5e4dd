"""Cleaning tables x (N, F): missing values (NaN), outliers, duplicate rows.

`Impute` and `Clip` change values: they learn from the training part and serve every part. `missing_rows`,
`outlier_rows` and `duplicate_rows` give masks (N,) of the rows to lose: `x[~missing_rows(x)]`.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np

from .errors import DataError
from .scaling import State, Transform, columns, fittable, floating

if TYPE_CHECKING:
    from typing_extensions import Self


class Impute(Transform):
    """Missing values filled by one number a feature.

    Y = where(isnan(X), m, X)
    m[j] = Σ[n] where(isnan(X[n,j]), 0, X[n,j]) / Σ[n] where(isnan(X[n,j]), 0, 1)

    that is, by the mean of the values present (strategy "mean"); or by their median ("median"); or by a constant
    (a number).
    """

    kind = "impute"
    numbers = ("m",)
    m: np.ndarray | None = None

    def __init__(self, strategy: str | float = "mean") -> None:
        constant = isinstance(strategy, (int, float)) and not isinstance(strategy, bool)
        if strategy not in ("mean", "median") and not (constant and np.isfinite(strategy)):
            raise DataError(f'Impute: strategy={strategy!r}; expected "mean", "median" or a finite number')
        self.strategy = strategy

    def options(self) -> State:
        """The strategy."""
        return {"strategy": self.strategy}

    def fit(self, x: np.ndarray) -> Self:
        """Learn m. Raises DataError for an empty x and for a feature that is missing in every row."""
        x = columns(fittable(x, "Impute"))
        if isinstance(self.strategy, str):
            empty = np.isnan(x).all(axis=0)
            if empty.any():
                raise DataError(
                    f"Impute.fit: feature {int(empty.argmax())} is missing in every row, so it has no "
                    f"{self.strategy}; leave the feature out or give a number as the strategy"
                )
            self.m = np.nanmean(x, axis=0) if self.strategy == "mean" else np.nanmedian(x, axis=0)
        else:
            self.m = np.full(x.shape[1], self.strategy, np.float64)
        return self

    def transform(self, x: np.ndarray) -> np.ndarray:
        """Y = where(isnan(X), m, X)"""
        x = np.asarray(x)
        x = x.astype(floating(x))
        return np.where(np.isnan(x), self._number("m", x).astype(x.dtype), x)


class Clip(Transform):
    """Outliers moved to the nearest bound of the training part.

    Y = clamp(X, low, high)
    low[j] = μ[j] - k * σ[j] if method == "zscore" else q1[j] - k * (q3[j] - q1[j])
    high[j] = μ[j] + k * σ[j] if method == "zscore" else q3[j] + k * (q3[j] - q1[j])

    μ and σ are mean and deviation, q1 and q3 the quartiles (linear interpolation), of the values present; missing
    ones stay missing. method: "iqr", with k = 1.5 by default, or "zscore", with k = 3. Source of the quartile
    rule: J. W. Tukey, "Exploratory Data Analysis" (1977), chapter 2.
    """

    kind = "clip"
    numbers = ("low", "high")
    low: np.ndarray | None = None
    high: np.ndarray | None = None

    def __init__(self, method: str = "iqr", k: float | None = None) -> None:
        if method not in ("zscore", "iqr"):
            raise DataError(f'Clip: method={method!r}; expected "zscore" or "iqr"')
        self.method = method
        self.k = float({"zscore": 3.0, "iqr": 1.5}[method] if k is None else k)
        if not self.k > 0:
            raise DataError(f"Clip: k={k} must be positive")

    def options(self) -> State:
        """Method and k."""
        return {"method": self.method, "k": self.k}

    def fit(self, x: np.ndarray) -> Self:
        """Learn the bounds. Raises DataError for an empty x."""
        x = columns(fittable(x, "Clip"))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # a feature that is missing everywhere has NaN bounds
            if self.method == "zscore":
                low = high = np.nanmean(x, axis=0)
                width = np.nanstd(x, axis=0)
            else:
                low, high = np.nanquantile(x, [0.25, 0.75], axis=0)
                width = high - low
        self.low, self.high = low - self.k * width, high + self.k * width
        return self

    def transform(self, x: np.ndarray) -> np.ndarray:
        """Y = clamp(X, low, high)"""
        x = np.asarray(x)
        dtype = floating(x)
        return np.clip(x.astype(dtype), self._number("low", x).astype(dtype), self._number("high", x).astype(dtype))

    def outside(self, x: np.ndarray) -> np.ndarray:
        """Mask (N,) of the rows with a value below low or above high."""
        below, above = x < self._number("low", x), x > self._number("high", x)
        return np.any((below | above).reshape(len(x), -1), axis=1)


def missing_rows(x: np.ndarray) -> np.ndarray:
    """Mask (N,) of the rows that hold a missing value (NaN)."""
    return np.isnan(x).reshape(len(x), -1).any(axis=1) if x.dtype.kind == "f" else np.zeros(len(x), bool)


def outlier_rows(x: np.ndarray, method: str = "iqr", k: float | None = None) -> np.ndarray:
    """Mask (N,) of the rows that hold a value outside the bounds of `Clip(method, k)` fitted on x itself."""
    return Clip(method, k).fit(x).outside(x)


def duplicate_rows(x: np.ndarray, y: np.ndarray | None = None) -> np.ndarray:
    """Mask (N,) of the rows equal to an earlier one, in y too if it is given; missing values count as equal."""
    table = np.asarray(x).reshape(len(x), -1)
    table = np.ascontiguousarray(table + 0.0 if table.dtype.kind == "f" else table)  # adding 0 makes -0 into 0
    keys = [row.tobytes() for row in table]
    if y is not None:
        keys = [key + row.tobytes() for key, row in zip(keys, np.asarray(y).reshape(len(x), -1), strict=True)]
    first: dict[bytes, int] = {}
    return np.array([first.setdefault(key, n) != n for n, key in enumerate(keys)], bool)
