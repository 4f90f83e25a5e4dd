"""ResNet, and CIFAR-10 in its binary format, with files that lie."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest

import minidl
import minidl.nn.functional as F
from minidl import cli, data, models, optim
from minidl.data import DataError, cifar
from minidl.data.download import RemoteFile

RNG = np.random.default_rng(0)
FILES = (*cifar.TRAINING, cifar.TEST)


def record(label: int, pixel: int) -> bytes:
    """An image whose numbers grow from `pixel`: red plane, green plane, blue plane."""
    return bytes([label]) + bytes((pixel + np.arange(3072)).astype(np.uint8).tobytes())


def write(folder: Path, each: int = 40) -> Path:
    """Six files of noise in which the class shows in the brightness of one plane."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        labels = np.arange(each) % 10
        pixels = RNG.integers(0, 60, (each, 3, 32, 32))
        pixels[np.arange(each), labels % 3] += 18 * labels[:, None, None]
        records = np.concatenate([labels[:, None], pixels.reshape(each, -1)], 1).astype(np.uint8)
        (folder / name).write_bytes(records.tobytes())
    return folder


# ------------------------------------------------------------------------------------------------------- ResNet


def test_the_papers_network() -> None:
    model = models.ResNet()
    convolutions = [m for m in model.modules() if isinstance(m, minidl.nn.Conv2d)]
    assert len(convolutions) + 1 == 20 and sum(p.numel() for p in model.parameters()) == 269_722
    h = F.relu(model.norm(model.conv(minidl.rand(2, 3, 32, 32))))
    shapes = []
    for block in model.blocks:
        h = block(h)
        shapes.append(tuple(h.shape[1:]))
    assert shapes == [(16, 32, 32)] * 3 + [(32, 16, 16)] * 3 + [(64, 8, 8)] * 3
    assert model(minidl.rand(2, 3, 32, 32)).shape == (2, 10)
    assert [m.stride for m in convolutions if tuple(m.stride) == (2, 2)] == [(2, 2)] * 2
    weight = model.blocks[4].conv_1.weight.detach().numpy()
    assert weight.std() == pytest.approx((2 / weight[0].size) ** 0.5, rel=0.05)


def test_a_shortcut_takes_every_second_pixel_and_new_channels_are_empty() -> None:
    block = models.ResNet(blocks=1).blocks[1]
    x = minidl.rand(1, 16, 6, 6)
    short = block.shortcut(x).numpy()
    assert (short[:, :16] == x.numpy()[:, :, ::2, ::2]).all() and (short[:, 16:] == 0).all() and short.shape[1] == 32
    same = models.ResNet(blocks=1).blocks[0]
    assert same.shortcut(x) is x


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 28, 28), (2, 7, 5), (3, 1, 1)])
def test_images_of_any_size(shape: tuple[int, ...]) -> None:
    model = models.build({"name": "resnet", "shape": list(shape), "classes": 4, "blocks": 2, "width": 3})
    assert model.config["shape"] == list(shape)
    F.cross_entropy(model(minidl.rand(3, *shape)), minidl.tensor([0, 3, 1])).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_it_learns() -> None:
    minidl.manual_seed(0)
    model = models.ResNet((3, 8, 8), classes=2, blocks=1, width=4)
    y = minidl.tensor(np.arange(32) % 2)
    x = minidl.randn(32, 3, 8, 8) + y.reshape(-1, 1, 1, 1) * 0.7
    optimizer = optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    for _ in range(30):
        loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"shape": (32, 32)}, "expected channels, height and width"),
        ({"shape": (3, 0, 32)}, "expected sizes of at least 1"),
        ({"blocks": 0}, "blocks=0"),
        ({"width": 0}, "width=0"),
    ],
)
def test_sizes_that_make_no_network(arguments: dict, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        models.ResNet(**arguments)


# ----------------------------------------------------------------------------------------------------- CIFAR-10


def test_a_record_is_a_label_and_three_planes() -> None:
    images, labels = cifar.parse_cifar(record(3, 7) + record(9, 0), "x.bin")
    assert images.shape == (2, 3, 32, 32) and images.dtype == np.uint8 and labels.tolist() == [3, 9]
    assert images[0, 0, 0, :3].tolist() == [7, 8, 9] and images[1, 1, 0, 0] == 1024 % 256
    assert images[1, 2, 31, 31] == 3071 % 256


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "0 bytes are no whole number of images"),
        (record(1, 0)[:-1], "3,072 bytes are no whole number"),
        (record(1, 0) + b"\0", "3,074 bytes are no whole number"),
        (record(1, 0) + record(10, 0), "image 1 has the label 10, expected 0 to 9"),
    ],
)
def test_damaged_files(content: bytes, sentence: str) -> None:
    with pytest.raises(DataError, match=f"x.bin: {sentence}"):
        cifar.parse_cifar(content, "x.bin")


def test_a_folder_of_files(tmp_path: Path) -> None:
    folder = write(tmp_path / "images")
    parts = data.load(folder, seed=0)
    assert [len(part) for part in parts if part is not None] == [180, 20, 40]
    assert parts.shape == (3, 32, 32) and parts.classes == cifar.CIFAR10.classes and parts.test.y[3] == 3
    (folder / "data_batch_3.bin").unlink()
    with pytest.raises(data.DataNotFoundError, match=r"data_batch_3.bin of CIFAR-10 is not there"):
        data.load(folder)
    (folder / "data_batch_3.bin").write_bytes(b"short")
    with pytest.raises(DataError, match=r"images/data_batch_3.bin: 5 bytes are no whole number"):
        data.load(folder)
    with pytest.raises(DataError, match="its test part is the official one"):
        data.cifar_folder(write(folder), test=0.1)


def archive(folder: Path, names: tuple[str, ...] = FILES) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name in names:
            tar.add(folder / name, f"cifar-10-batches-bin/{name}")
    return packed.getvalue()


def test_the_published_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = archive(write(tmp_path / "files"))
    (tmp_path / "root" / "cifar10").mkdir(parents=True)
    (tmp_path / "root" / "cifar10" / "cifar-10-binary.tar.gz").write_bytes(content)
    monkeypatch.setenv("MINIDL_DATA", str(tmp_path / "root"))
    monkeypatch.setenv("MINIDL_CACHE", str(tmp_path / "cache"))
    with pytest.raises(DataError, match="its checksum is .*, expected c32a1d4ab5d03f1284b67883e8d87530"):
        data.load("cifar10")
    import dataclasses
    import hashlib

    def published(content: bytes) -> None:
        (tmp_path / "root" / "cifar10" / "cifar-10-binary.tar.gz").write_bytes(content)
        file = RemoteFile("cifar-10-binary.tar.gz", packed=hashlib.md5(content).hexdigest())
        monkeypatch.setattr(cifar, "CIFAR10", dataclasses.replace(cifar.CIFAR10, files=(file,)))

    published(content)
    parts = data.load("cifar10", seed=0)
    assert [len(part) for part in parts if part is not None] == [180, 20, 40]
    published(archive(tmp_path / "files", FILES[1:]))
    with pytest.raises(DataError, match=r"data_batch_1.bin is not in the archive"):
        data.load("cifar10")
    import gzip

    published(gzip.compress(b"no archive at all" * 100))
    with pytest.raises(DataError, match="no tar archive can be read"):
        data.load("cifar10")


def test_unpacked_files_in_the_data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "cifar10" / "cifar-10-batches-bin")
    monkeypatch.setenv("MINIDL_DATA", str(tmp_path))
    assert len(data.load("cifar10").train) == 180


# ----------------------------------------------------------------------------------------------- the command line


def test_train_a_resnet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "cifar10")
    monkeypatch.setenv("MINIDL_DATA", str(tmp_path))
    options = ["--data", "cifar10", "--epochs", "2", "--blocks", "1", "--batch-size", "60", "--lr", "0.05"]
    assert cli.main(["train", *options, "--out", "r"]) == 0
    settings = json.loads(Path("r/config.json").read_text())["settings"]
    assert settings["model"] == "resnet" and settings["augment_shift"] == 4 and settings["augment_flip"] is True
    assert settings["optimizer"] == "sgd" and settings["weight_decay"] == 1e-4
    assert "test accuracy" in capsys.readouterr().out
    assert cli.main(["train", *options, "--out", "s", "--threads", "1", "--quiet"]) == 0
    same = Path("r/model.safetensors").read_bytes() == Path("s/model.safetensors").read_bytes()
    assert same or minidl.backend() != "native"
    assert cli.main(["train", *options, "--no-augment-flip", "--augment-shift", "0", "--out", "t", "--quiet"]) == 0
    assert json.loads(Path("t/config.json").read_text())["settings"]["augment_flip"] is False
    assert Path("t/model.safetensors").read_bytes() != Path("r/model.safetensors").read_bytes()
    capsys.readouterr()
    for arguments, sentence in (
        (["--data", "cifar10", "--hidden", "3"], "--hidden is for mlp and cnn, and --model is resnet"),
        (["--data", "digits", "--blocks", "3"], "--blocks is for resnet, and --model is cnn"),
    ):
        assert cli.main(["train", *arguments]) == 2
        assert sentence in capsys.readouterr().err
