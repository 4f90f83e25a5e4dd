"""CIFAR-10 in its binary format: records of one label byte and 3,072 bytes of pixels, red, green and blue planes.

Source: A. Krizhevsky, Learning multiple layers of features from tiny images (2009);
https://www.cs.toronto.edu/~kriz/cifar.html.
"""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import numpy as np

from .arrays import ArrayData, Parts, split_data
from .download import RemoteFile, cache_folder
from .errors import DataError, DataNotFoundError
from .idx import read_bytes
from .published import Source

__all__ = ["cifar10", "cifar_folder", "is_cifar_folder", "parse_cifar"]

SHAPE = (3, 32, 32)
RECORD = 1 + 3 * 32 * 32
TRAINING, TEST = tuple(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin"

# md5 of the packed file, as the author publishes it.
CIFAR10 = Source(
    folder="cifar10",
    classes=tuple("airplane automobile bird cat deer dog frog horse ship truck".split()),
    mirrors=(
        "https://www.cs.toronto.edu/~kriz/",
        "https://storage.googleapis.com/s4tf-hosted-binaries/datasets/CIFAR10/",
    ),
    files=(RemoteFile("cifar-10-binary.tar.gz", packed="c32a1d4ab5d03f1284b67883e8d87530"),),
)


def cifar10(*, valid: float = 0.1, test: float | None = None, seed: int = 0, progress: bool | None = None) -> Parts:
    """CIFAR-10: 45,000 colour images (3, 32, 32) to train on, 5,000 to validate, the official 10,000 to test.

    Taken from the folder `cifar10` in MINIDL_DATA or in the cache folder, packed (cifar-10-binary.tar.gz) or unpacked
    (data_batch_1.bin ...), or fetched (170 MB).
    """
    for root in (os.environ.get("MINIDL_DATA"), cache_folder()):
        for place in (CIFAR10.folder, f"{CIFAR10.folder}/cifar-10-batches-bin", "cifar-10-batches-bin"):
            if root and is_cifar_folder(folder := Path(root).expanduser() / place):
                return cifar_folder(folder, valid=valid, test=test, seed=seed)
    file = CIFAR10.files[0]
    return _parts(_unpacked(CIFAR10.content(file, progress), file.name), valid, test, seed)


def is_cifar_folder(path: Path) -> bool:
    """Whether a folder holds CIFAR-10's files, or some of them."""
    return any((path / name).is_file() for name in (*TRAINING, TEST))


def cifar_folder(
    path: str | os.PathLike[str], *, valid: float = 0.1, test: float | None = None, seed: int = 0
) -> Parts:
    """A folder with CIFAR-10's files data_batch_1.bin to data_batch_5.bin and test_batch.bin.

    Raises DataNotFoundError where one of them is missing, and DataError where one is damaged.
    """
    folder = Path(path)
    if missing := [name for name in (*TRAINING, TEST) if not (folder / name).is_file()]:
        raise DataNotFoundError(f"{folder}: {', '.join(missing)} of CIFAR-10 is not there; add it or fetch all anew")
    return _parts({name: read_bytes(folder / name) for name in (*TRAINING, TEST)}, valid, test, seed, f"{folder}/")


def parse_cifar(content: bytes, path: str | os.PathLike[str]) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, 3, 32, 32) and labels (N,), both uint8, of a file's bytes; `path` names it in errors.

    Raises DataError for a file that is empty or ends within a record, and for a label above 9.
    """
    count, rest = divmod(len(content), RECORD)
    if rest or not count:
        raise DataError(
            f"{path}: {len(content):,} bytes are no whole number of images of {RECORD:,} bytes; the file is cut short"
            " or something other than CIFAR-10's binary format, so fetch it again"
        )
    records = np.frombuffer(content, np.uint8).reshape(count, RECORD)
    if records[:, 0].max() >= len(CIFAR10.classes):
        bad = int(np.argmax(records[:, 0] >= len(CIFAR10.classes)))
        raise DataError(
            f"{path}: image {bad} has the label {records[bad, 0]}, expected 0 to {len(CIFAR10.classes) - 1}; the file"
            " is damaged or not CIFAR-10's, so fetch it again"
        )
    return records[:, 1:].reshape(count, *SHAPE), records[:, 0]


def _unpacked(content: bytes, name: str) -> dict[str, bytes]:
    """The files that count, from the bytes of the tar archive; nothing is written."""
    found: dict[str, bytes] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            for member in archive:
                stem = Path(member.name).name
                if stem in (*TRAINING, TEST) and (file := archive.extractfile(member)):
                    found[stem] = file.read()
    except tarfile.TarError as error:
        raise DataError(f"{name}: no tar archive can be read from it ({error}); fetch it again") from None
    if missing := [each for each in (*TRAINING, TEST) if each not in found]:
        raise DataError(f"{name}: {', '.join(missing)} is not in the archive; fetch it again")
    return found


def _parts(files: dict[str, bytes], valid: float, test: float | None, seed: int, place: str = "") -> Parts:
    if test is not None:
        raise DataError(f"cifar10: test={test:g}; its test part is the official one, so leave test out")
    pairs = {name: parse_cifar(content, f"{place}{name}") for name, content in files.items()}
    x = np.concatenate([pairs[name][0] for name in TRAINING])
    y = np.concatenate([pairs[name][1] for name in TRAINING])
    return split_data(
        ArrayData(x, y, CIFAR10.classes, name="cifar10"),
        valid,
        seed=seed,
        held_out=ArrayData(*pairs[TEST], CIFAR10.classes, name="cifar10"),
    )
