"""The sources: the bundled digits, folders of IDX files, names and paths; MNIST where its files are."""

from __future__ import annotations

import hashlib
import os
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from minidl import data
from minidl.data import DataError, DataNotFoundError, write_idx
from minidl.data.idx import read_bytes

MNIST = pytest.mark.skipif(
    not (Path(os.environ.get("MINIDL_DATA", "/nowhere")) / "mnist").is_dir(),
    reason="MNIST's files are not here: set MINIDL_DATA to the folder that holds mnist/*.gz",
)


def test_the_digits_ship_with_their_licence_note():
    folder = resources.files("minidl.data")
    content = read_bytes(str(folder / "digits.csv.gz"))
    assert hashlib.md5(content).hexdigest() == "a0339c30a8a5312a1b6f9e5c719dcce5"
    note = (folder / "digits_LICENSE.md").read_text(encoding="utf-8")
    for words in ("Alpaydin", "Kaynak", "UCI Machine Learning Repository", "CC BY 4.0", "10.24432/C50P49"):
        assert words in note


def test_digits(monkeypatch):
    monkeypatch.setenv("MINIDL_DATA", "/nowhere")
    parts = data.load("digits", seed=0)
    assert [len(part) for part in parts] == [1438, 179, 180]
    assert parts.shape == (1, 8, 8) and parts.classes == tuple("0123456789") and parts.name == "digits"
    x = np.concatenate([part.x for part in parts])
    y = np.concatenate([part.y for part in parts])
    assert x.dtype == np.uint8 and x.max() == 16 and x.min() == 0
    assert np.bincount(y).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    share = np.array([np.bincount(part.y) / len(part) for part in parts])
    np.testing.assert_allclose(share[1:], share[:1].repeat(2, 0), atol=0.02)
    again, other = data.load("digits", seed=0), data.load("digits", seed=1)
    np.testing.assert_array_equal(parts.test.x, again.test.x)
    assert not np.array_equal(parts.test.x, other.test.x)
    assert len(np.unique(x.reshape(len(x), -1), axis=0)) == 1797, "no image is in two parts"
    whole = data.load("digits", valid=0, test=0.25)
    assert whole.valid is None and len(whole.test) == 449


@MNIST
def test_mnist():
    parts = data.load("MNIST", seed=0)
    assert [len(part) for part in parts] == [55_000, 5_000, 10_000]
    assert parts.shape == (1, 28, 28) and parts.train.x.dtype == np.uint8
    assert np.bincount(parts.test.y).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    counts = np.bincount(parts.train.y) + np.bincount(parts.valid.y)
    assert counts.tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert np.abs(np.bincount(parts.valid.y) - counts / 12).max() < 1
    assert parts.test.y[:4].tolist() == [7, 2, 1, 0]
    scaler = data.Standardize().fit(parts.train.x)
    assert scaler.offset[0] / 255 == pytest.approx(0.1307, abs=2e-4)
    assert 1 / scaler.gain[0] / 255 == pytest.approx(0.3081, abs=2e-4)
    with pytest.raises(DataError, match="its test part is the official one"):
        data.load("mnist", test=0.2)


@MNIST
def test_an_altered_mnist_file_is_refused(tmp_path, monkeypatch):
    source = Path(os.environ["MINIDL_DATA"]) / "mnist"
    (tmp_path / "mnist").mkdir()
    for file in source.iterdir():
        (tmp_path / "mnist" / file.name).symlink_to(file)
    labels = tmp_path / "mnist" / "train-labels-idx1-ubyte.gz"
    altered = data.read_idx(labels).copy()
    labels.unlink()
    altered[0] = 9
    write_idx(labels, altered)
    monkeypatch.setenv("MINIDL_DATA", str(tmp_path))
    with pytest.raises(DataError, match="train-labels.*its checksum is .* expected a25bea736e30d166cdddb491f175f624"):
        data.load("mnist")
    np.testing.assert_array_equal(data.load(tmp_path / "mnist", valid=0).train.y[0], 9)  # as a folder it is anybody's


def fill(folder, *names, n=40, size=4, classes=4, suffix="-idx{}-ubyte.gz"):
    rng = np.random.default_rng(0)
    for name in names:
        write_idx(folder / f"{name}images{suffix.format(3)}", rng.integers(0, 256, (n, size, size)).astype(np.uint8))
        write_idx(folder / f"{name}labels{suffix.format(1)}", (np.arange(n) % classes).astype(np.uint8))


def test_a_folder_with_its_own_test_part(tmp_path):
    fill(tmp_path, "train-")
    fill(tmp_path, "t10k-", n=12, classes=3)
    parts = data.load(str(tmp_path), valid=0.1)
    assert [len(part) for part in parts] == [36, 4, 12]
    assert parts.classes == parts.test.classes == ("0", "1", "2", "3")
    assert parts.name == tmp_path.name and parts.shape == (1, 4, 4)
    with pytest.raises(DataError, match="so leave test out"):
        data.load(tmp_path, test=0.1)


@pytest.mark.parametrize(
    "name, suffix", [("", "-idx{}-ubyte"), ("mine-", ".idx{}-ubyte"), ("test-", "-idx{}-ubyte.gz")]
)
def test_a_folder_with_one_pair(tmp_path, name, suffix):
    fill(tmp_path, name, suffix=suffix)
    parts = data.load(tmp_path, test=0.2)
    assert [len(part) for part in parts] == [28, 4, 8]


def test_colour_images(tmp_path):
    write_idx(tmp_path / "images-idx4-ubyte", np.zeros((40, 3, 5, 5), np.uint8))
    write_idx(tmp_path / "labels-idx1-ubyte", (np.arange(40) % 2).astype(np.uint8))
    assert data.load(tmp_path).shape == (3, 5, 5)


def test_folders_that_cannot_be_used(tmp_path):
    with pytest.raises(
        DataNotFoundError, match="holds no IDX files; expected names such as train-images-idx3-ubyte.gz"
    ):
        data.load(tmp_path)
    fill(tmp_path, "train-")
    labels = tmp_path / "train-labels-idx1-ubyte.gz"
    labels.rename(tmp_path / "elsewhere")
    with pytest.raises(DataNotFoundError, match="the labels train-labels-idx1-ubyte are not; add them"):
        data.load(tmp_path)
    (tmp_path / "elsewhere").rename(labels)
    write_idx(labels, np.zeros(39, np.uint8))
    with pytest.raises(DataError, match="40 examples and 39 targets"):
        data.load(tmp_path)
    write_idx(labels, np.full(40, 100_000, np.int32))
    with pytest.raises(DataError, match="labels from 100000 to 100000; expected class indices"):
        data.load(tmp_path)
    write_idx(labels, np.zeros((40, 2), np.uint8))
    with pytest.raises(DataError, match=r"labels of shape \(40, 2\)"):
        data.load(tmp_path)
    labels.write_bytes(labels.read_bytes()[:-4])
    with pytest.raises(DataError, match="cut short"):
        data.load(tmp_path)
    fill(tmp_path, "train-", "t10k-", "other-")
    with pytest.raises(DataError, match=r"several data sets \(other-, t10k-, train-\)"):
        data.load(tmp_path)
    for file in tmp_path.glob("other-*"):
        file.unlink()
    fill(tmp_path, "t10k-", size=5)
    with pytest.raises(DataError, match="must have one shape"):
        data.load(tmp_path)
    write_idx(tmp_path / "train-images-idx3-ubyte.gz", np.zeros((0, 4, 4), np.uint8))
    write_idx(labels, np.zeros(0, np.uint8))
    with pytest.raises(DataError, match="the data set is empty"):
        data.load(tmp_path)


def test_a_name_that_is_nothing(tmp_path):
    with pytest.raises(DataNotFoundError) as caught:
        data.load("mnsit")
    assert "neither a known data set (digits, mnist, fashion-mnist, cifar10) nor a file or folder" in str(caught.value)
    with pytest.raises(FileNotFoundError):
        data.load(tmp_path / "absent.csv")
    with pytest.raises(DataError, match="'digits' has no option 'label'; it has seed, test, valid"):
        data.load("digits", label=3)
