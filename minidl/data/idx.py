"""IDX, the format of MNIST and its relatives: a small header, then the numbers, row by row.

    byte 0, 1    0, 0
    byte 2       type of the numbers: 8 uint8, 9 int8, 11 int16, 12 int32, 13 float32, 14 float64
    byte 3       number of dimensions d
    4 d bytes    sizes, each a big-endian uint32
    the rest     the numbers, big-endian, last index fastest

So a file of grey images opens with the magic number 2051 = 0x0803 and a file of labels with 2049 = 0x0801.
Source: Y. LeCun, C. Cortes, C. J. C. Burges, "The MNIST database of handwritten digits", section "File
formats".
"""

from __future__ import annotations

import gzip
import math
import os
import struct
import zlib
from pathlib import Path

import numpy as np

from .errors import DataError, DataNotFoundError

_TYPES = {8: ">u1", 9: ">i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}
_CODES = {np.dtype(name).newbyteorder("="): code for code, name in _TYPES.items()}


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """The bytes of a file, unpacked if it is gzip (told by its first two bytes, not by its name).

    Raises DataNotFoundError if there is no such file and DataError if it is cut short or damaged.
    """
    path = Path(path)
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise DataNotFoundError(f"{path}: no such file; check the path") from None
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror or error}); check the path and its permissions"
        ) from None
    return unpack(raw, path)


def unpack(raw: bytes, path: str | os.PathLike[str]) -> bytes:
    """`raw`, unpacked if it is gzip; `path` only names the file in the error."""
    if raw[:2] != b"\x1f\x8b":
        return raw
    try:
        return gzip.decompress(raw)
    except EOFError:
        raise DataError(f"{path}: the gzip file is cut short ({len(raw)} bytes); fetch it again") from None
    except (OSError, zlib.error) as error:
        raise DataError(f"{path}: the gzip file is damaged ({error}); fetch it again") from None


def read_idx(path: str | os.PathLike[str]) -> np.ndarray:
    """The array in an IDX file, gzip or plain, in the machine's byte order.

    Raises DataNotFoundError (no file) and DataError (not IDX, cut short, too long, damaged).
    """
    return parse_idx(read_bytes(path), path)


def parse_idx(content: bytes, path: str | os.PathLike[str]) -> np.ndarray:
    """The array in the unpacked `content` of an IDX file; `path` only names the file in errors."""
    if len(content) < 4:
        raise DataError(f"{path}: {len(content)} bytes are too few for an IDX file; fetch it again")
    zero, code, ndim = struct.unpack_from(">HBB", content)
    if zero != 0 or code not in _TYPES:
        magic = int.from_bytes(content[:4], "big")
        raise DataError(
            f"{path}: magic number {magic} is not IDX's "
            "(2051 for grey images, 2049 for labels); is it another kind of file?"
        )
    start = 4 + 4 * ndim
    if len(content) < start:
        raise DataError(f"{path}: the IDX header is cut short ({len(content)} of {start} bytes); fetch it again")
    shape = struct.unpack_from(f">{ndim}I", content, 4)
    dtype = np.dtype(_TYPES[code])
    expected = math.prod(shape) * dtype.itemsize
    if len(content) - start != expected:
        what = "cut short" if len(content) - start < expected else "too long"
        raise DataError(
            f"{path}: the IDX file is {what}: its header says {shape}, {expected} bytes of numbers, "
            f"and there are {len(content) - start}; fetch it again"
        )
    return np.frombuffer(content, dtype, offset=start).reshape(shape).astype(dtype.newbyteorder("="), copy=False)


def write_idx(path: str | os.PathLike[str], array: np.ndarray) -> None:
    """Write `array` as an IDX file, gzip where the name ends in .gz.

    Raises DataError for a dtype that IDX lacks (it has uint8, int8, int16, int32, float32, float64) and for
    more than 255 dimensions.
    """
    array = np.asarray(array)
    code = _CODES.get(array.dtype.newbyteorder("="))
    if code is None:
        raise DataError(
            f"write_idx: IDX has no type for {array.dtype}; convert to uint8, int8, int16, int32, float32 or float64"
        )
    content = struct.pack(f">HBB{array.ndim}I", 0, code, array.ndim, *array.shape)
    content += array.astype(_TYPES[code]).tobytes()
    if str(path).endswith(".gz"):
        content = gzip.compress(content, mtime=0)
    Path(path).write_bytes(content)
