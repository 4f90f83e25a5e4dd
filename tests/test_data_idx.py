"""IDX files: what is written is read, byte by byte as published; one clear sentence for a damaged file."""

from __future__ import annotations

import gzip
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minidl.data import DataError, DataNotFoundError, read_idx, write_idx

TYPES = [np.uint8, np.int8, np.int16, np.int32, np.float32, np.float64]


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("name", ["a-idx", "a-idx.gz"])
def test_what_is_written_is_read(tmp_path, dtype, name):
    array = np.arange(-12, 12).astype(dtype).reshape(4, 3, 2)
    write_idx(tmp_path / name, array)
    found = read_idx(tmp_path / name)
    assert found.dtype == dtype and found.dtype.isnative
    np.testing.assert_array_equal(found, array)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(shape=st.lists(st.integers(0, 5), min_size=0, max_size=4), dtype=st.sampled_from(TYPES))
def test_any_shape(tmp_path_factory, shape, dtype):
    path = tmp_path_factory.mktemp("idx") / "file"
    array = np.random.default_rng(0).integers(0, 100, shape).astype(dtype)
    write_idx(path, array)
    found = read_idx(path)
    assert found.shape == array.shape
    np.testing.assert_array_equal(found, array)


def test_the_bytes_are_the_published_format(tmp_path):
    write_idx(tmp_path / "images", np.array([[[1, 2], [3, 4]]], np.uint8))
    assert (tmp_path / "images").read_bytes() == struct.pack(">4I4B", 2051, 1, 2, 2, 1, 2, 3, 4)
    write_idx(tmp_path / "labels", np.array([7, 8], np.uint8))
    assert (tmp_path / "labels").read_bytes() == struct.pack(">2I2B", 2049, 2, 7, 8)
    write_idx(tmp_path / "big-endian", np.array([1], np.int32))
    assert (tmp_path / "big-endian").read_bytes().endswith(b"\x00\x00\x00\x01")


def test_gzip_is_told_by_its_content_not_its_name(tmp_path):
    write_idx(tmp_path / "a.gz", np.arange(3, dtype=np.uint8))
    (tmp_path / "plain-name").write_bytes((tmp_path / "a.gz").read_bytes())
    np.testing.assert_array_equal(read_idx(tmp_path / "plain-name"), [0, 1, 2])


GOOD = struct.pack(">4I", 2051, 2, 3, 3) + bytes(18)


@pytest.mark.parametrize(
    "content, words",
    [
        (b"", "0 bytes are too few"),
        (GOOD[:3], "3 bytes are too few"),
        (GOOD[:10], r"header is cut short \(10 of 16 bytes\)"),
        (GOOD[:-1], r"cut short: its header says \(2, 3, 3\), 18 bytes of numbers, and there are 17"),
        (GOOD + b"x", "too long.*18 bytes.*19"),
        (b"\x89PNG\r\n\x1a\n" + bytes(20), r"magic number \d+ is not IDX's"),
        (struct.pack(">I", 0x00000A01) + bytes(8), "magic number 2561 is not IDX's"),
        (gzip.compress(GOOD)[:-9], "gzip file is cut short"),
        (gzip.compress(GOOD)[:12] + b"\xff\xff\xff" + gzip.compress(GOOD)[15:], "gzip file is damaged"),
        (struct.pack(">4I", 2051, 2**31, 2**31, 2**31), "cut short"),
    ],
)
def test_damaged_files(tmp_path, content, words):
    path = tmp_path / "bad-idx"
    path.write_bytes(content)
    with pytest.raises(DataError, match=words) as caught:
        read_idx(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_cut_of_a_file_is_refused(tmp_path):
    path = tmp_path / "cut"
    for content in (GOOD, gzip.compress(GOOD)):
        for end in range(len(content)):
            path.write_bytes(content[:end])
            with pytest.raises(DataError, match="cut short|too few"):
                read_idx(path)


def test_no_such_file(tmp_path):
    with pytest.raises(DataNotFoundError, match="no such file"):
        read_idx(tmp_path / "absent")
    with pytest.raises(FileNotFoundError):
        read_idx(tmp_path / "absent")
    with pytest.raises(DataError, match="cannot be read"):
        read_idx(tmp_path)


def test_a_type_that_idx_lacks(tmp_path):
    with pytest.raises(DataError, match="no type for int64"):
        write_idx(tmp_path / "x", np.arange(3))
