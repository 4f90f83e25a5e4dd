"""Where data comes from: bundled digits, MNIST, Fashion-MNIST and CIFAR-10, folders of their files, CSV tables."""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Callable, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from .arrays import ArrayData, Parts, split_data
from .cifar import cifar10, cifar_folder, is_cifar_folder
from .cleaning import Clip, Impute, duplicate_rows, missing_rows
from .encode import encode_labels
from .errors import DataError, DataNotFoundError
from .idx import read_idx, unpack
from .published import FASHION_MNIST, MNIST, IdxSource
from .tables import read_csv

_IDX = re.compile(r"(?P<stem>.*?)(?P<kind>images|labels)[-.]idx\d-\w+(\.gz)?", re.IGNORECASE)


def _image_data(images: np.ndarray, labels: np.ndarray, name: str, classes: Sequence[str] | None = None) -> ArrayData:
    if images.ndim not in (3, 4) or labels.ndim != 1:
        raise DataError(
            f"{name}: images of shape {images.shape} and labels of shape {labels.shape}; expected "
            "images (N, H, W) or (N, C, H, W) and labels (N,)"
        )
    if images.ndim == 3:
        images = images[:, None]
    if classes is None:
        low, high = (int(labels.min()), int(labels.max())) if labels.size else (0, 0)
        if low < 0 or high >= max(1000, len(labels)):
            raise DataError(f"{name}: labels from {low} to {high}; expected class indices 0, 1, 2, ...")
        classes = tuple(map(str, range(high + 1)))
    return ArrayData(images, labels, tuple(classes), name=name)


def digits(*, valid: float = 0.1, test: float = 0.1, seed: int = 0) -> Parts:
    """The bundled digits: 1,797 images (1, 8, 8) of values 0 to 16, ten classes; nothing is fetched.

    Source: E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits" (test part), UCI Machine
    Learning Repository, doi 10.24432/C50P49, CC BY 4.0.
    """
    packed = resources.files(__package__).joinpath("digits.csv.gz").read_bytes()
    table = np.loadtxt(unpack(packed, "digits.csv.gz").decode().splitlines(), np.uint8, delimiter=",")
    return split_data(
        _image_data(table[:, :-1].reshape(-1, 8, 8), table[:, -1], "digits", MNIST.classes), valid, test, seed
    )


def mnist(*, valid: float = 1 / 12, test: float | None = None, seed: int = 0, progress: bool | None = None) -> Parts:
    """MNIST, handwritten digits: 55,000 images (1, 28, 28) to train on, 5,000 to validate, the official 10,000 to test.

    Taken from the folder `mnist` in MINIDL_DATA or in the cache folder, or fetched (11 MB).

    Source: Y. LeCun, C. Cortes, C. J. C. Burges, "The MNIST database of handwritten digits" (1998).
    """
    return _published(MNIST, valid, test, seed, progress)


def fashion_mnist(
    *, valid: float = 1 / 12, test: float | None = None, seed: int = 0, progress: bool | None = None
) -> Parts:
    """Fashion-MNIST: articles of clothing in MNIST's format and numbers (31 MB); see `mnist`.

    Source: H. Xiao, K. Rasul, R. Vollgraf, "Fashion-MNIST" (2017), arXiv 1708.07747; MIT licence.
    """
    return _published(FASHION_MNIST, valid, test, seed, progress)


def _published(source: IdxSource, valid: float, test: float | None, seed: int, progress: bool | None) -> Parts:
    if test is not None:
        raise DataError(f"{source.folder}: test={test:g}; its test part is the official one, so leave test out")
    x, y, test_x, test_y = source.arrays(progress)
    return split_data(
        _image_data(x, y, source.folder, source.classes),
        valid,
        seed=seed,
        held_out=_image_data(test_x, test_y, source.folder, source.classes),
    )


def idx_folder(path: str | os.PathLike[str], *, valid: float = 0.1, test: float | None = None, seed: int = 0) -> Parts:
    """A folder of IDX files named as MNIST's: `*images-idx3-ubyte` and `*labels-idx1-ubyte`, gzip or not.

    Of two such pairs, the one whose name holds `test` or `t10k` is the test part; of one alone, a test part
    is split off (a tenth by default). Raises DataNotFoundError for a folder without such files, and DataError
    for labels that are missing, several pairs of one kind, and damaged files.
    """
    folder = Path(path)
    pairs: dict[str, dict[str, Path]] = {}
    for file in sorted(folder.iterdir()):
        if found := _IDX.fullmatch(file.name):
            pairs.setdefault(found["stem"], {})[found["kind"].lower()] = file
    if not pairs:
        raise DataNotFoundError(
            f"{folder}: the folder holds no IDX files; expected names such as train-images-idx3-ubyte.gz and "
            "train-labels-idx1-ubyte.gz"
        )
    for stem, pair in pairs.items():
        if len(pair) < 2:
            have = next(iter(pair))
            raise DataNotFoundError(
                f"{folder}: {pair[have].name} is there and the {'labels' if have == 'images' else 'images'} "
                f"{stem}{'labels-idx1-ubyte' if have == 'images' else 'images-idx3-ubyte'} are not; add them"
            )
    tests = [stem for stem in pairs if re.search("test|t10k", stem, re.IGNORECASE)] if len(pairs) > 1 else []
    trains = [stem for stem in pairs if stem not in tests]
    if len(trains) != 1 or len(tests) > 1:
        raise DataError(
            f"{folder}: it holds several data sets ({', '.join(sorted(pairs))}); keep one training and one test pair"
        )

    def data(stem: str) -> ArrayData:
        return _image_data(read_idx(pairs[stem]["images"]), read_idx(pairs[stem]["labels"]), folder.name)

    train, held_out = data(trains[0]), data(tests[0]) if tests else None
    if held_out is None:
        return split_data(train, valid, 0.1 if test is None else test, seed)
    if test is not None:
        raise DataError(f"{folder}: test={test:g}; the folder holds a test part ({tests[0]}*), so leave test out")
    if held_out.x.shape[1:] != train.x.shape[1:]:
        raise DataError(
            f"{folder}: training images of {train.x.shape[1:]} and test images of {held_out.x.shape[1:]}; "
            "they must have one shape"
        )
    classes = max(train.classes or (), held_out.classes or (), key=len)
    train, held_out = (ArrayData(part.x, part.y, classes, name=part.name) for part in (train, held_out))
    return split_data(train, valid, seed=seed, held_out=held_out)


def csv_table(
    path: str | os.PathLike[str],
    *,
    label: str | int = -1,
    task: str | None = None,
    valid: float = 0.1,
    test: float = 0.1,
    seed: int = 0,
    missing: str | float = "error",
    outliers: str | None = None,
    outlier_rule: str = "iqr",
    duplicates: str = "keep",
    stratify: bool | None = None,
    **options: Any,
) -> Parts:
    """A CSV table, cleaned and split.

    label: the label column. task: "classification" or "regression"; by default a classification if the labels
    are text or few different whole numbers (up to 100, and no more than half as many as rows). duplicates:
    "keep" or "drop" rows that repeat an earlier one, label included, before the split, so that none is in two
    parts. missing: "error", "drop" the rows, or fill with "mean", "median" or a number. outliers: None,
    "clip" to the bounds of `outlier_rule` ("iqr" or "zscore"), or "drop" the rows beyond them, from the
    training part alone. What is learned from the values (means, bounds) is learned from the training part,
    and kept in `parts.transform`. stratify: by default for a classification. The further options are
    `read_csv`'s: header, delimiter, columns, ignore.
    """
    for name, value, known in (
        ("task", task, (None, "classification", "regression")),
        ("duplicates", duplicates, ("keep", "drop")),
        ("outliers", outliers, (None, "clip", "drop")),
        ("outlier_rule", outlier_rule, ("iqr", "zscore")),
    ):
        if value not in known:
            raise DataError(f"csv_table: {name}={value!r}; expected one of {', '.join(map(repr, known))}")
    fill = None if missing in ("error", "drop") else Impute(missing)
    table = read_csv(path, label, **options)
    if missing == "error" and (where := table.missing()):
        raise DataError(f'{where}; choose what to do: missing="drop", "mean", "median" or a number')
    data = _table_data(table.x, table.labels or (), table.features, Path(path).name, task)
    if duplicates == "drop":
        data = data.select(~duplicate_rows(data.x, data.y))
    if missing == "drop":
        rows = ~missing_rows(data.x)
        if not rows.any():
            raise DataError(f'{table.path}: every row has a missing value; fill them instead (missing="mean")')
        data = data.select(rows)
    parts = split_data(data, valid, test, seed, stratify)
    if fill is not None:
        parts = parts.transformed(fill)
    if outliers == "clip":
        parts = parts.transformed(Clip(outlier_rule))
    elif outliers == "drop":
        keep = ~Clip(outlier_rule).fit(parts.train.x).outside(parts.train.x)
        parts = Parts(parts.train.select(keep), parts.valid, parts.test, parts.transform)
    return parts


def _table_data(
    x: np.ndarray, labels: Sequence[str], features: tuple[str, ...], name: str, task: str | None
) -> ArrayData:
    try:
        values = np.array([float(text) for text in labels])
    except ValueError:
        if task == "regression":
            raise DataError(
                f"{name}: the labels of a regression must be numbers, and {_first_text(labels)!r} is not; "
                'name another label column, or task="classification"'
            ) from None
        values = None
    if task is None:
        distinct = len(set(labels))
        whole = values is None or bool((values == np.floor(values)).all())
        few = values is None or distinct <= min(100, max(2, len(labels) // 2))
        task = "classification" if whole and few else "regression"
    if values is not None and task == "regression":
        return ArrayData(x, values, None, features, name)
    y, classes = encode_labels(labels if values is None else values)
    return ArrayData(x, y, classes, features, name)


def _first_text(labels: Sequence[str]) -> str:
    for text in labels:
        try:
            float(text)
        except ValueError:
            return text
    return ""


SOURCES: dict[str, Callable[..., Parts]] = {
    "digits": digits,
    "mnist": mnist,
    "fashion-mnist": fashion_mnist,
    "cifar10": cifar10,
}


def load(name_or_path: str | os.PathLike[str], **options: Any) -> Parts:
    """The parts of a data set: "digits", "mnist", "fashion-mnist", "cifar10", a folder of IDX files or of CIFAR-10's
    binary files, or a CSV file.

    options: `seed` (0), `valid` and `test` (fractions), and those of `digits`, `mnist`, `fashion_mnist`, `cifar10`,
    `idx_folder`, `cifar_folder` and `csv_table`, which do the work. Raises DataNotFoundError for an unknown name
    that is no path either, and DataError for an option that the source does not have and for whatever is wrong with
    the data.

    >>> parts = data.load("digits", seed=0).transformed(data.Standardize())
    >>> loader = DataLoader(parts.train, batch_size=64, shuffle=True)
    """
    name = os.fspath(name_or_path)
    path = Path(name)
    read: Callable[..., Parts]
    arguments: tuple[Path, ...] = ()
    if (key := name.lower().replace("_", "-")) in SOURCES:
        read = SOURCES[key]
    elif path.is_dir():
        read, arguments = cifar_folder if is_cifar_folder(path) else idx_folder, (path,)
    elif path.is_file():
        read, arguments = csv_table, (path,)
    else:
        raise DataNotFoundError(
            f"load: {name!r} is neither a known data set ({', '.join(SOURCES)}) nor a file or folder "
            "that exists; check the spelling or the path"
        )
    known = set(inspect.signature(read).parameters) | (
        set(inspect.signature(read_csv).parameters) if read is csv_table else set()
    )
    if unknown := sorted(set(options) - known):
        raise DataError(
            f"load: {name!r} has no option {unknown[0]!r}; it has {', '.join(sorted(known - {'path', 'options'}))}"
        )
    return read(*arguments, **options)
