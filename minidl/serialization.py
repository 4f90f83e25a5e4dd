"""Tensors on disk: the safetensors format, never pickle, and files that are written whole or not at all.

Loading such a file runs no code, unlike unpickling. What `save` adds is a CRC-32 over names, shapes, values and
metadata, kept among the metadata, so that `load` notices a flipped bit; files of other libraries do without it.

Format: https://huggingface.co/docs/safetensors.
"""

from __future__ import annotations

import errno
import json
import os
import threading
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import safetensors
import safetensors.numpy

from minidl._creation import from_numpy
from minidl._device import placed
from minidl._dtypes import bfloat16
from minidl._tensor import Tensor

__all__ = ["atomic_write", "load", "load_arrays", "save", "save_arrays"]

DTYPES: dict[str, str] = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16",
    "I64": "int64", "I32": "int32", "I16": "int16", "I8": "int8",
    "U64": "uint64", "U32": "uint32", "U16": "uint16", "U8": "uint8", "BOOL": "bool",
}  # fmt: skip


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


def load(
    path: str | os.PathLike[str], map_location: Any = None, *, weights_only: bool | None = None
) -> dict[str, Tensor]:
    """Read a safetensors file: a dict of names and tensors, ready for `model.load_state_dict`.

    Args:
        path: the file.
        map_location: the tensors' device; None is the CPU.
        weights_only: accepted for PyTorch's sake; such a file holds nothing but weights.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is truncated, corrupt, or something other than safetensors, or no device has that name.
        RuntimeError: the device is not there.
    """
    if map_location is not None:
        placed(np.zeros(0), map_location)  # before the file is read
    return {name: from_numpy(array).to(device=map_location) for name, array in load_arrays(path)[0].items()}


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
    for name, array in arrays.items():
        if array.dtype.name not in DTYPES.values() or name == "__metadata__":
            raise TypeError(
                f"save: {name!r} of dtype {array.dtype} has no place in a safetensors file; convert it or leave it out"
            )
    native = {name: np.asarray(array, array.dtype.newbyteorder("="), order="C") for name, array in arrays.items()}
    content = _in_order(safetensors.numpy.save(native, {**texts, "crc32": _check_sum(native, texts)}))
    with atomic_write(path, size=len(content)) as file:
        file.write(content)


def load_arrays(path: str | os.PathLike[str]) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Read a safetensors file: its arrays and its metadata. Raises as `load` does."""
    try:
        content = Path(path).read_bytes()
    except FileNotFoundError:
        raise FileNotFoundError(f"load: there is no file {path}") from None
    except OSError as error:
        raise _explained(error, f"load: cannot read {path}") from error

    def broken(why: object) -> ValueError:
        return ValueError(
            f"load: {path} is no complete safetensors file: {why}; it may be cut short or damaged, so use a copy or"
            " save it again"
        )

    try:
        entries = safetensors.deserialize(content)
    except safetensors.SafetensorError as error:
        if content[:2] in (b"PK", b"\x80\x02", b"\x80\x04", b"\x80\x05"):  # as a header's length may begin, too
            raise ValueError(
                f"load: {path} is a pickle, which can run any code when loaded; save it as safetensors where it was"
                " made"
            ) from None
        raise broken(error) from None
    metadata: dict[str, str] = _header(content)[0].get("__metadata__") or {}
    arrays = {}
    for name, entry in entries:
        if entry["dtype"] not in DTYPES:
            raise ValueError(f"load: {path}: {name!r} is of type {entry['dtype']}, which no tensor here can hold")
        arrays[name] = np.frombuffer(entry["data"], _dtype(entry["dtype"])).reshape(entry["shape"]).copy()
    expected = metadata.pop("crc32", None)
    if expected is not None and expected != _check_sum(arrays, metadata):
        raise broken("its check sum is wrong")
    return arrays, metadata


def _dtype(code: str) -> np.dtype:
    return bfloat16() if code == "BF16" else np.dtype(DTYPES[code])


def _header(content: bytes) -> tuple[dict[str, Any], int]:
    """The header of a safetensors file (8 bytes of length, then JSON), and where the tensors begin."""
    end = 8 + int.from_bytes(content[:8], "little")
    return json.loads(content[8:end]), end


def _in_order(content: bytes) -> bytes:
    """The same file with its metadata sorted: the library's order is chance, and same content is to be same bytes."""
    header, end = _header(content)
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + content[end:]


def _check_sum(arrays: Mapping[str, np.ndarray], texts: Mapping[str, str]) -> str:
    """CRC-32 of all that a file says, in an order of its own."""
    total = zlib.crc32(json.dumps(sorted(texts.items())).encode())
    for name, array in sorted(arrays.items()):
        total = zlib.crc32(f"{name} {array.dtype.name} {array.shape}".encode(), total)
        total = zlib.crc32(array.reshape(-1).view(np.uint8).data, total)
    return f"{total:08x}"


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
