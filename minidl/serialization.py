"""Tensors on disk: the safetensors format, never pickle, and files that are written whole or not at all.

A safetensors file is plain enough to read with a ruler:

    8 bytes    length of the header, little-endian
    header     JSON: {"__metadata__": {text: text},
                      name: {"dtype": "F32", "shape": [2, 3], "data_offsets": [begin, end]}, ...}
    the rest   the tensors' bytes, little-endian and C-contiguous, one after the other without gaps

Loading one runs no code, unlike unpickling. What `save` adds is a CRC-32 over the whole file, kept among the metadata,
so that `load` notices a flipped bit; files written by other libraries do without it.

Format: https://huggingface.co/docs/safetensors.
"""

from __future__ import annotations

import errno
import json
import math
import os
import threading
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from minidl._creation import from_numpy
from minidl._tensor import Tensor

__all__ = ["atomic_write", "load", "load_arrays", "save", "save_arrays"]

DTYPES: dict[str, str] = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16",
    "I64": "int64", "I32": "int32", "I16": "int16", "I8": "int8",
    "U64": "uint64", "U32": "uint32", "U16": "uint16", "U8": "uint8", "BOOL": "bool",
}  # fmt: skip
CODES = {name: code for code, name in DTYPES.items()}
LONGEST_HEADER = 100_000_000  # bytes, as in the format's own library
NO_SUM = "00000000"  # stands in the header while the check sum is taken


def save(obj: Mapping[str, Tensor], path: str | os.PathLike[str], metadata: Mapping[str, str] | None = None) -> None:
    """Write a state_dict, or any dict of names and tensors, to a safetensors file.

    The file appears whole or not at all: it is written beside its final place, synced to the disk, and renamed over an
    older file of that name, which stays as it was until then.

    Args:
        obj: names and tensors, such as `model.state_dict()`.
        path: where to write; the folder must exist.
        metadata: text to keep in the header, by name.

    Raises:
        TypeError: `obj` is not a flat dict of tensors, or `metadata` is not a dict of text.
        OSError: the disk is full, or the folder is missing or read-only; an older file is untouched.
    """
    if not isinstance(obj, Mapping):
        hint = ": pass model.state_dict()" if hasattr(obj, "state_dict") else ""
        raise TypeError(f"save: expected a dict of names and tensors, got {type(obj).__name__}{hint}")
    arrays = {}
    for name, tensor in obj.items():
        if not isinstance(name, str) or not isinstance(tensor, (Tensor, np.ndarray)):
            raise TypeError(
                f"save: entry {name!r} is {type(tensor).__name__}; expected names as text and tensors as values"
            )
        arrays[name] = tensor.detach().cpu().array if isinstance(tensor, Tensor) else tensor
    save_arrays(arrays, path, metadata)


def load(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """Read a safetensors file: a dict of names and tensors, ready for `model.load_state_dict`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is truncated, corrupt, or something other than safetensors.
    """
    return {name: from_numpy(array) for name, array in load_arrays(path)[0].items()}


def save_arrays(
    arrays: Mapping[str, np.ndarray], path: str | os.PathLike[str], metadata: Mapping[str, str] | None = None
) -> None:
    """`save` for NumPy arrays."""
    texts = dict(metadata or {})
    for key, value in texts.items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise TypeError(
                f"save: metadata {key!r} is {type(value).__name__}; expected text (json.dumps makes text of anything)"
            )
    header: dict[str, Any] = {"__metadata__": {**texts, "crc32": NO_SUM}}
    payload: list[memoryview] = []
    offset = 0
    # Large elements first, so that every tensor starts at a multiple of its element's size.
    for name, array in sorted(arrays.items(), key=lambda item: (-item[1].dtype.itemsize, item[0])):
        if array.dtype.name not in CODES or name == "__metadata__":
            raise TypeError(
                f"save: {name!r} of dtype {array.dtype} has no place in a safetensors file; convert it or leave it out"
            )
        little = np.ascontiguousarray(array, array.dtype.newbyteorder("<")).reshape(array.shape)
        header[name] = {
            "dtype": CODES[array.dtype.name],
            "shape": list(array.shape),
            "data_offsets": [offset, offset + little.nbytes],
        }
        payload.append(little.reshape(-1).view(np.uint8).data)
        offset += little.nbytes
    text: bytes = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    total = zlib.crc32(text)
    for part in payload:
        total = zlib.crc32(part, total)
    with atomic_write(path, size=8 + len(text) + offset) as file:
        file.write(len(text).to_bytes(8, "little") + _with_sum(text, NO_SUM, f"{total:08x}"))
        for part in payload:
            file.write(part)


def load_arrays(path: str | os.PathLike[str]) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Read a safetensors file: its arrays and its metadata. Raises as `load` does."""
    path = Path(path)
    try:
        with open(path, "rb") as file:
            return _read(file, path, os.fstat(file.fileno()).st_size)
    except FileNotFoundError:
        raise FileNotFoundError(f"load: there is no file {path}") from None
    except OSError as error:
        raise _explained(error, f"load: cannot read {path}") from error


def _read(file: BinaryIO, path: Path, size: int) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    def broken(why: str) -> ValueError:
        return ValueError(
            f"load: {path} is no complete safetensors file: {why}; it may be cut short or damaged, so use a copy or"
            " save it again"
        )

    start = file.read(8)
    if start[:2] in (b"PK", b"\x80\x02", b"\x80\x04", b"\x80\x05"):
        raise ValueError(
            f"load: {path} is a pickle, which can run any code when loaded; save it as safetensors where it was made"
        )
    length = int.from_bytes(start, "little")
    if len(start) < 8 or length > min(size - 8, LONGEST_HEADER):
        raise broken(f"its {size} bytes hold no header")
    text = file.read(length)
    try:
        header = json.loads(text)
        metadata = dict(header.pop("__metadata__", {}))
        entries = sorted(
            (_entry(name, **entry) for name, entry in header.items()), key=lambda one: (one.begin, one.end)
        )
    except (ValueError, AttributeError, KeyError, TypeError, RecursionError):
        raise broken("its header is not the JSON of that format") from None
    offset = 0
    for one in entries:
        size_told = one.end - one.begin
        if (
            one.begin != offset
            or size_told != math.prod(one.shape) * one.dtype.itemsize
            or min(one.shape, default=0) < 0
        ):
            raise broken(f"the header's sizes for {one.name!r} do not fit together")
        offset = one.end
    if 8 + length + offset != size:
        raise broken(f"its header speaks of {8 + length + offset} bytes and it has {size}")
    expected = metadata.pop("crc32", None)
    total = zlib.crc32(_with_sum(text, str(expected), NO_SUM))
    result = {}
    for one in entries:
        array = np.empty(one.shape, one.dtype)
        if array.nbytes:
            part = array.reshape(-1).view(np.uint8).data
            if file.readinto(part) != array.nbytes:  # type: ignore[attr-defined]
                raise broken(f"{one.name!r} ends early")
            total = zlib.crc32(part, total)
        result[one.name] = array
    if expected is not None and expected != f"{total:08x}":
        raise broken("its check sum is wrong")
    return result, metadata


class _Entry(NamedTuple):
    """Where a tensor is in the file, and what."""

    name: str
    begin: int
    end: int
    shape: tuple[int, ...]
    dtype: np.dtype


def _entry(name: str, dtype: str, shape: list[int], data_offsets: list[int]) -> _Entry:
    begin, end = map(int, data_offsets)
    return _Entry(name, begin, end, tuple(map(int, shape)), _dtype(dtype))


def _dtype(code: str) -> np.dtype:
    if DTYPES[code] == "bfloat16":
        from ml_dtypes import bfloat16

        return np.dtype(bfloat16)
    return np.dtype(DTYPES[code]).newbyteorder("<")


def _with_sum(header: bytes, old: str, new: str) -> bytes:
    return header.replace(f'"crc32":"{old}"'.encode(), f'"crc32":"{new}"'.encode(), 1)


@contextmanager
def atomic_write(path: str | os.PathLike[str], size: int | None = None) -> Iterator[BinaryIO]:
    """Open a file that replaces `path` when the block ends well, and leaves no trace otherwise.

    The bytes go to a temporary file in the same folder; file and folder are synced, so that after a crash or a power
    cut `path` holds either all of the old content or all of the new.

    Args:
        path: the file to write or replace.
        size: bytes to be written, for the message when the disk is full.

    Raises:
        OSError: the file cannot be written; what was at `path` is untouched.
    """
    target = Path(os.path.realpath(path))
    temporary = target.with_name(f".{target.name}.{os.getpid()}-{threading.get_ident()}.partial")
    try:
        if target.is_dir():
            raise IsADirectoryError(errno.EISDIR, "it is a folder")
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
        _sync_folder(target.parent)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        needed = f" ({size / 1e6:.1f} MB)" if size else ""
        raise _explained(error, f"save: cannot write {os.fspath(path)}{needed}") from error
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _sync_folder(folder: Path) -> None:
    """Make a rename in `folder` last through a power cut (POSIX; Windows does so by itself)."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _explained(error: OSError, what: str) -> OSError:
    """The same kind of error with a sentence that names cause and remedy."""
    remedy = {
        errno.ENOSPC: "the disk is full; free some space or choose another folder",
        getattr(errno, "EDQUOT", -1): "your disk quota is used up; free some space or choose another folder",
        errno.ENOENT: "its folder does not exist; make it first",
        errno.ENOTDIR: "its folder is not a folder; choose another path",
        errno.EISDIR: "it is a folder; give a file's name",
        errno.EACCES: "you may not; choose a folder of your own",
        errno.EPERM: "you may not; choose a folder of your own",
        errno.EROFS: "that disk is read-only; choose another folder",
    }.get(error.errno or 0, error.strerror or str(error))
    problem = type(error)(f"{what}: {remedy}")
    problem.errno = error.errno
    return problem
