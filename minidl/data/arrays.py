"""A data set in memory, and its training, validation and test parts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from .. import random
from .._tensor import Tensor
from ..tape import wrap
from ..utils.data import Dataset
from .batches import draw, take_images
from .encode import check_labels
from .errors import DataError
from .scaling import Affine, Chain, Transform
from .splitting import split_rows


@dataclass(frozen=True, eq=False, repr=False)
class ArrayData(Dataset):
    """Examples x with their targets y; a `Dataset` of pairs of tensors, whose batches are one gather each.

    x: a table (N, F) of numbers, or images (N, C, H, W) of uint8 that stay so in memory and are scaled on the
    way into a batch. y: class indices (N,), kept as int64, with `classes` naming them; or, where `classes` is
    None, the values of a regression, kept as float32 (N, 1), so that they match a network's output. features:
    the names of a table's columns.

    scaler: applied to the images of every batch. shift, flip: every image that is taken is moved by up to
    `shift` whole pixels down or up and right or left, and mirrored left to right half of the time, drawn from
    `generator` (by default the default generator). Use `transformed`, `augmented`, `select`: they give a new
    object and share the arrays.

    Raises DataError if the set is empty, x and y differ in length, x holds infinity, or y holds labels out of
    range or NaN. NaN in x is a missing value of a table: `missing` tells, and batches refuse it.
    """

    x: np.ndarray
    y: np.ndarray
    classes: tuple[str, ...] | None = None
    features: tuple[str, ...] = ()
    name: str = "data"
    scaler: Affine | None = None
    shift: int = 0
    flip: bool = False
    generator: random.Generator | None = None
    missing: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        x, y, name = np.ascontiguousarray(self.x), np.asarray(self.y), self.name
        if x.ndim not in (2, 4) or x.dtype.kind not in "fiub":
            raise DataError(
                f"{name}: x is {x.dtype} of shape {x.shape}; expected numbers, a table (N, F) or images (N, C, H, W)"
            )
        if x.size == 0:
            raise DataError(f"{name}: the data set is empty (x has shape {x.shape}); check the source and the filters")
        if len(x) != len(y):
            raise DataError(f"{name}: {len(x)} examples and {len(y)} targets; give one target for each example")
        if x.dtype not in (np.uint8, np.float32, np.float64):
            x = x.astype(np.float64)
        if x.dtype.kind == "f":
            if np.isinf(x).any():
                raise DataError(
                    f"{name}: x holds infinity in row {int(np.argwhere(np.isinf(x))[0][0])}; "
                    "correct it or mark it as missing (NaN)"
                )
            object.__setattr__(self, "missing", int(np.isnan(x).sum()))
        if self.classes is not None:
            y = check_labels(y, len(self.classes), name)
        else:
            if y.dtype.kind not in "fiub":
                raise DataError(
                    f"{name}: targets of dtype {y.dtype}; expected numbers, or classes=, the names of the "
                    "classes (encode_labels makes both)"
                )
            y = y.astype(np.float32).reshape(len(x), -1)
            if not np.isfinite(y).all():
                row = int(np.argwhere(~np.isfinite(y))[0][0])
                raise DataError(f"{name}: the target in row {row} is NaN or infinite; correct it or leave the row out")
        if (self.shift or self.flip) and x.ndim != 4:
            raise DataError(f"{name}: shift and flip are for images (N, C, H, W); x is a table of shape {x.shape}")
        object.__setattr__(self, "x", x)
        object.__setattr__(self, "y", y)

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        n = len(self)
        if not -n <= index < n:
            raise IndexError(f"{self.name}: index {index} is out of range for {n} examples")
        x, y = self.gather(np.array([index % n]))
        return x[0], y[0]

    def gather(self, index: np.ndarray) -> tuple[Tensor, Tensor]:
        """The batch (x, y) of these rows, x float32. Raises DataError while values are missing."""
        if self.missing:
            raise DataError(
                f"{self.name}: x holds {self.missing} missing values (NaN); fill them first "
                "(parts.transformed(Impute())) or drop their rows (missing_rows)"
            )
        y = wrap(self.y[index])
        if self.x.ndim == 2:
            return wrap(self.x[index].astype(np.float32, copy=False)), y
        channels = self.x.shape[1]
        offset, gain = (np.zeros(channels), np.ones(channels)) if self.scaler is None else self.scaler.affine()
        moves = draw(len(index), self.shift, self.flip, self.generator)
        return wrap(take_images(self.x, index, offset, gain, np.float32, *moves)), y

    def tensors(self) -> tuple[Tensor, Tensor]:
        """All of it as one batch (x, y)."""
        return self.gather(np.arange(len(self)))

    def select(self, rows: np.ndarray) -> ArrayData:
        """The rows of a mask (N,) of bool or of an array of row numbers."""
        return replace(self, x=self.x[rows], y=self.y[rows])

    def augmented(self, shift: int = 0, flip: bool = False, generator: random.Generator | None = None) -> ArrayData:
        """The same images, moved and mirrored at random, anew each time they are taken (see the class)."""
        return replace(self, shift=shift, flip=flip, generator=generator)

    def transformed(self, transform: Transform) -> ArrayData:
        """x mapped by a fitted transform: at once, or images by `Standardize` or `MinMax` on the way into a batch."""
        if self.x.ndim == 4 and self.scaler is None and isinstance(transform, Affine):
            transform.affine(self.x.shape[1])
            return replace(self, scaler=transform)
        if self.scaler is not None:
            raise DataError(
                f"{self.name}: its images are scaled by {self.scaler} already; transform the data as it was loaded"
            )
        return replace(self, x=transform.transform(self.x))

    def __repr__(self) -> str:
        kind = "regression" if self.classes is None else f"{len(self.classes)} classes"
        shape = " x ".join(map(str, self.x.shape[1:]))
        missing = f", {self.missing:,} missing values" if self.missing else ""
        return f"{self.name}: {len(self):,} examples of {shape} ({self.x.dtype}), {kind}{missing}"


@dataclass(frozen=True, repr=False)
class Parts:
    """The training, validation and test part of one data set; a part that was not asked for is None.

    transform: what was fitted on the training part and applied to all of them; a model's input passes through
    it, so it is saved with the model (`transform.state()`) and `transform.transform(x)` prepares x for a
    prediction.
    """

    train: ArrayData
    valid: ArrayData | None
    test: ArrayData | None
    transform: Chain = Chain()

    @property
    def name(self) -> str:
        """The data set's name."""
        return self.train.name.removesuffix(" train")

    @property
    def classes(self) -> tuple[str, ...] | None:
        """The classes' names, None for a regression."""
        return self.train.classes

    @property
    def features(self) -> tuple[str, ...]:
        """The names of a table's columns."""
        return self.train.features

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one example: (F,) or (C, H, W)."""
        return self.train.x.shape[1:]

    def transformed(self, transform: Transform) -> Parts:
        """Fit the transform on the training part and apply it to all parts."""
        transform.fit(self.train.x)
        return self.map(lambda part: part.transformed(transform), Chain((*self.transform.transforms, transform)))

    def map(self, change: Callable[[ArrayData], ArrayData], transform: Chain | None = None) -> Parts:
        """Change every part that is there."""
        valid, test = (None if part is None else change(part) for part in (self.valid, self.test))
        return Parts(change(self.train), valid, test, transform or self.transform)

    def __iter__(self) -> Iterator[ArrayData | None]:
        return iter((self.train, self.valid, self.test))

    def __repr__(self) -> str:
        return "\n".join(repr(part) for part in self if part is not None)


def split_data(
    data: ArrayData,
    valid: float = 0.1,
    test: float = 0.1,
    seed: int = 0,
    stratify: bool | None = None,
    held_out: ArrayData | None = None,
) -> Parts:
    """Split a data set into parts by `split_rows`, from the seed.

    valid, test: fractions of the rows, 0 for no such part. stratify: by default for classes, not for a
    regression. held_out: a test part that comes with the data; nothing is taken for it then.

    Raises DataError for fractions that do not fit and for classes with too few rows.
    """
    test = 0.0 if held_out is not None else test
    if not (valid >= 0 and test >= 0 and valid + test < 1):
        raise DataError(
            f"split_data: valid={valid:g}, test={test:g}; expected fractions from 0 that leave some rows to train on"
        )
    if stratify is None:
        stratify = data.classes is not None
    labels = data.y if data.classes is None else np.array(data.classes)[data.y]
    rows = split_rows(len(data), (1 - valid - test, valid, test), labels if stratify else None, seed)
    train, *others = (
        replace(data.select(r), name=f"{data.name} {part}") if len(r) else None
        for r, part in zip(rows, ("train", "valid", "test"), strict=True)
    )
    if train is None:
        raise DataError(f"{data.name}: {len(data)} rows are too few for a training part beside the others")
    return Parts(train, others[0], others[1] if held_out is None else replace(held_out, name=f"{data.name} test"))
