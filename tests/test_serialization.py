"""Files: round trips, the format's own library, damage, full disks."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import minidl
from minidl import nn, serialization
from minidl.serialization import atomic_write, load, load_arrays, save, save_arrays

DTYPES = [
    "float64",
    "float32",
    "float16",
    "int64",
    "int32",
    "int16",
    "int8",
    "uint64",
    "uint32",
    "uint16",
    "uint8",
    "bool",
]


def arrays() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    found = {dtype: (rng.normal(size=(3, 5)) * 50).astype(dtype) for dtype in DTYPES}
    return {
        **found,
        "scalar": np.array(3.5),
        "empty": np.zeros((0, 4), np.float32),
        "turned": np.arange(6.0).reshape(2, 3).T,
        "ä ü": np.ones(1),
    }


def same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    return a.keys() == b.keys() and all(
        a[k].dtype == b[k].dtype and a[k].shape == b[k].shape and (a[k] == b[k]).all() for k in a
    )


def test_arrays_come_back(tmp_path: Path) -> None:
    save_arrays(arrays(), tmp_path / "x.safetensors", {"note": "größer"})
    found, metadata = load_arrays(tmp_path / "x.safetensors")
    assert same(found, arrays()) and metadata == {"note": "größer"}


def test_bits_come_back(tmp_path: Path) -> None:
    odd = np.array([np.nan, -0.0, np.inf, -np.inf, 5e-324, np.finfo(np.float64).max])
    save_arrays({"odd": odd}, tmp_path / "x")
    assert load_arrays(tmp_path / "x")[0]["odd"].tobytes() == odd.tobytes()


def test_agrees_with_the_formats_own_library(tmp_path: Path) -> None:
    library = pytest.importorskip("safetensors.numpy", reason="safetensors is not installed")
    save_arrays(arrays(), tmp_path / "ours")
    assert same(library.load_file(tmp_path / "ours"), arrays())
    plain = {name: np.ascontiguousarray(array) for name, array in arrays().items()}
    plain["scalar"] = np.array(3.5)
    library.save_file(plain, tmp_path / "theirs")
    assert same(load_arrays(tmp_path / "theirs")[0], arrays())


def test_a_models_weights_come_back(tmp_path: Path) -> None:
    minidl.manual_seed(0)
    model, other = (nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)) for _ in range(2))
    save(model.state_dict(), tmp_path / "m.safetensors")
    other.load_state_dict(load(tmp_path / "m.safetensors"))
    for name, tensor in model.state_dict().items():
        assert (other.state_dict()[name].array == tensor.array).all()


def test_load_takes_pytorchs_options(tmp_path: Path) -> None:
    save({"w": minidl.ones(2)}, tmp_path / "w.safetensors")
    for options in ({"map_location": "cpu"}, {"map_location": minidl.device("cpu"), "weights_only": True}):
        np.testing.assert_array_equal(load(tmp_path / "w.safetensors", **options)["w"].array, 1)
    with pytest.raises(ValueError, match="device: 'tpu' is unknown; use 'cpu'"):
        load(tmp_path / "w.safetensors", map_location="tpu")


def test_a_header_that_begins_as_a_pickle_does_is_read(tmp_path: Path) -> None:
    """A header of 0x0280 bytes: the file's first two are those of a pickle."""
    for length in range(700):
        save({"w": minidl.ones(2)}, tmp_path / "w.safetensors", {"note": "x" * length})
        if (tmp_path / "w.safetensors").read_bytes()[:2] == b"\x80\x02":
            break
    else:
        raise AssertionError("no header was 640 bytes long")
    assert load(tmp_path / "w.safetensors")["w"].tolist() == [1.0, 1.0]


def test_every_cut_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "x"
    save_arrays({"w": np.arange(5.0), "b": np.ones(3, np.float32)}, path)
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match="no complete safetensors file"):
            load(path)
    path.write_bytes(whole + b"x")
    with pytest.raises(ValueError, match="not fully covered"):
        load(path)


def test_every_flipped_bit_is_noticed_or_harmless(tmp_path: Path) -> None:
    path = tmp_path / "x"
    save_arrays({"w": np.arange(5.0), "b": np.ones(3, np.float32)}, path, {"epoch": "7"})
    whole, good = path.read_bytes(), load_arrays(path)
    for place in range(8 * len(whole)):
        damaged = bytearray(whole)
        damaged[place // 8] ^= 1 << place % 8
        path.write_bytes(damaged)
        try:
            found, metadata = load_arrays(path)
        except ValueError as error:
            assert "safetensors" in str(error) or "pickle" in str(error)
        else:  # only the name of the check sum itself may differ
            assert same(found, good[0]) and metadata["epoch"] == "7"


@pytest.mark.parametrize("content", [
    b"", b"hello", b"\xff" * 64, (2).to_bytes(8, "little") + b"[]", (4).to_bytes(8, "little") + b"null",
    (18).to_bytes(8, "little") + b'{"w":{"dtype":"X"}}'[:18], (2**62).to_bytes(8, "little") + b"{}",
    (68).to_bytes(8, "little") + b'{"w":{"dtype":"F64","shape":[99999999999],"data_offsets":[0,8]}}    ' + b"\0" * 8,
    (68).to_bytes(8, "little") + b'{"w":{"dtype":"F64","shape":[-1,-1],"data_offsets":[0,8]}}          ' + b"\0" * 8,
])  # fmt: skip
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(ValueError, match="no complete safetensors file"):
        load(tmp_path / "x")


def test_a_pickle_is_never_opened(tmp_path: Path) -> None:
    import pickle

    (tmp_path / "x").write_bytes(pickle.dumps({"w": np.ones(3)}))
    with pytest.raises(ValueError, match="is a pickle, which can run any code"):
        load(tmp_path / "x")


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no file"):
        load(tmp_path / "x")
    with pytest.raises(OSError, match="its folder does not exist; make it first"):
        save({}, tmp_path / "no" / "x")
    with pytest.raises(OSError, match="it is a folder"):
        save({}, tmp_path)


def test_wrong_arguments(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"pass model.state_dict\(\)"):
        save(nn.Linear(2, 2), tmp_path / "x")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="entry 'w' is list"):
        save({"w": [1.0]}, tmp_path / "x")  # type: ignore[dict-item]
    with pytest.raises(TypeError, match="metadata 'epoch' is int"):
        save({}, tmp_path / "x", {"epoch": 3})  # type: ignore[dict-item]
    with pytest.raises(TypeError, match="complex128 has no place"):
        save_arrays({"z": np.ones(2, complex)}, tmp_path / "x")
    assert not list(tmp_path.iterdir())


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x"
    save_arrays({"w": np.arange(5.0)}, path)
    before = path.read_bytes()

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(serialization.os, "fsync", full)
    with pytest.raises(OSError, match=r"cannot write .*x \(0.0 MB\): the disk is full; free some space") as caught:
        save_arrays({"w": np.zeros(5)}, path)
    assert caught.value.errno == errno.ENOSPC
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["x"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="file size limits are POSIX's")
def test_a_file_size_limit_leaves_the_old_file(tmp_path: Path) -> None:
    """The real thing: the kernel refuses the bytes in the middle of the file."""
    program = f"""
import resource, numpy as np
from minidl.serialization import save_arrays
save_arrays({{"w": np.ones(10)}}, {str(tmp_path / "x")!r})
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    save_arrays({{"w": np.zeros(100_000)}}, {str(tmp_path / "x")!r})
except OSError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True)
    assert "save: cannot write" in done.stdout, done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["x"] and (load_arrays(tmp_path / "x")[0]["w"] == 1).all()


def test_nothing_remains_of_a_failed_write(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), atomic_write(tmp_path / "x") as file:
        file.write(b"half")
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with atomic_write(tmp_path / "link") as file:
        file.write(b"new")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "real").read_bytes() == b"new"
