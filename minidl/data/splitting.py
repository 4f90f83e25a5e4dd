"""Training, validation and test parts, drawn from a seed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .. import random
from .encode import encode_labels
from .errors import DataError


def split_rows(
    count: int, fractions: Sequence[float] = (0.8, 0.1, 0.1), labels: np.ndarray | None = None, seed: int = 0
) -> tuple[np.ndarray, ...]:
    """Row numbers, ascending, of disjoint parts that hold the given fractions of the rows; stratified if
    labels are given.

    The rows are put in a random order (Philox, from the seed) and then, keeping it, sorted by class. Part p
    gets m[p] = round(count * Σ[q<=p] f[q]) - round(count * Σ[q<p] f[q]) rows. From the n rows left it takes
    row i = 0 .. n - 1 where

    floor((i + 1) * m / n) > floor(i * m / n)

    which is exactly m rows, spread evenly: a class with n_k of them gives floor(n_k * m / n) or one more.

    count: rows N. fractions: at least one, each from 0 to 1, of sum 1. labels: (N,), of any type, or None for
    a plain random split. Raises DataError for fractions that do not fit, no rows, or a class with too few
    rows for each part to get one.
    """
    fractions = tuple(float(f) for f in fractions)
    if not fractions or min(fractions) < 0 or abs(sum(fractions) - 1) > 1e-9:
        raise DataError(f"split_rows: fractions={fractions}; expected numbers from 0 to 1 that add up to 1")
    if count <= 0:
        raise DataError("split_rows: there are no rows to split; check that the source is not empty")
    order = random.permutation(count, random.Generator(seed))
    names: tuple[str, ...] = ()
    if labels is not None:
        if len(labels) != count:
            raise DataError(f"split_rows: {len(labels)} labels for {count} rows; expected one a row")
        codes, names = encode_labels(labels)
        order = order[np.argsort(codes[order], kind="stable")]
    ends = np.rint(count * np.cumsum((0.0, *fractions))).astype(np.int64)
    parts = []
    for m in np.diff(ends):
        n = len(order)
        taken = np.diff(np.arange(n + 1) * m // max(n, 1)) > 0
        parts.append(np.sort(order[taken]))
        order = order[~taken]
    for fraction, part in zip(fractions, parts, strict=True):
        if fraction > 0 and len(part) == 0:
            raise DataError(
                f"split_rows: {count} rows are too few for a part of {fraction:g}; "
                "use larger fractions or more data"
            )
        if fraction > 0 and names:
            rows = np.bincount(codes[part], minlength=len(names))
            if (rows == 0).any():
                k = int((rows == 0).argmax())
                raise DataError(
                    f"split_rows: class {names[k]!r} has {int((codes == k).sum())} rows, too few for each of "
                    f"the parts {', '.join(f'{f:g}' for f in fractions)} to get one; collect more, drop or "
                    "merge the class, or split without labels (stratify=False)"
                )
    return tuple(parts)
