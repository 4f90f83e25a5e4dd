"""Device "emulator": the whole engine on the CUDA backend, and no array that leaves its device unasked."""

from __future__ import annotations

import copy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cases import SIZES, TABLE, Row, V
from checks import call, described, draw, loss_of, same, tensors_of, weights

import minidl
from minidl import autograd, kernels, nn, optim, tape, train
from minidl.cli import main
from minidl.kernels.arrays import EmulatorArray
from minidl.utils.data import DataLoader, TensorDataset

if not kernels.emulator.available():
    pytest.skip("the emulated kernels are not built", allow_module_level=True)

CASES = [pytest.param(row, variant, id=f"{row.op}-{variant}") for row in TABLE for variant in row.variants]
CHECKED = [case for row in TABLE for case in [pytest.param(row, row.variants[0], id=row.op)]][::4]


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The operations that took the emulator's arrays and gave the CPU's."""
    strays: list[str] = []

    def record(Y: Any, *rest: Any, **more: Any) -> Any:
        y = recorded(Y, *rest, **more)
        if y.array.__class__ is np.ndarray and y.array.ndim and any(
            t.array.__class__ is EmulatorArray for t in rest[::2] if t is not None
        ):
            strays.append(f"{rest[1].__qualname__} gives {y.array.dtype} {y.array.shape} on the CPU")
        return y

    recorded = tape.record
    for name, module in list(sys.modules.items()):
        if name.startswith(("minidl.ops", "minidl.losses")) and getattr(module, "record", None) is recorded:
            monkeypatch.setattr(module, "record", record)
    yield strays
    assert not strays, strays


def sent(row: Row, arrays: list[np.ndarray], dtype: Any, where: str) -> list[minidl.Tensor]:
    return [x.detach().to(where).requires_grad_(x.requires_grad) for x in tensors_of(row, arrays, dtype, grad=True)]


def answers(row: Row, variant: V, arrays: list[np.ndarray], dtype: Any, where: str) -> list[minidl.Tensor]:
    """The results, then the gradients of a loss that weighs them at random."""
    tensors = sent(row, arrays, dtype, where)
    options = {k: v.to(where) if isinstance(v, minidl.Tensor) else v for k, v in variant.options.items()}
    moved = variant.having()
    moved.options = options
    results = call(row, moved, tensors)
    inputs = [x for x in tensors if x.requires_grad]
    if not inputs:
        return results
    G = [minidl.tensor(np.asarray(g, y.array.dtype)).to(where) for g, y in zip(weights(results), results, strict=True)]
    return [*results, *autograd.grad(loss_of(results, G), inputs)]  # type: ignore[list-item]


def compared(row: Row, variant: V, dtype: Any) -> None:
    arrays = draw(variant, SIZES)
    with np.errstate(all="ignore"):
        right = answers(row, variant, arrays, dtype, "cpu")
        got = answers(row, variant, arrays, dtype, "emulator")
    name = described(row, variant, arrays)
    for y, wanted in zip(got, right, strict=True):
        assert y.array.__class__ is EmulatorArray, f"{name}: an array of {y.array.__class__.__name__}"
        assert y.dtype == wanted.dtype, f"{name}: {y.dtype}, expected {wanted.dtype}"
        same(name, y.detach().cpu().numpy(), wanted.detach().numpy(), 1e-11 if dtype is np.float64 else 5e-5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("row", "variant"), CASES)
def test_the_table(row: Row, variant: V, dtype: Any, watched: list[str]) -> None:
    """Every operation: values and gradients as on the CPU, in arrays of the emulator."""
    compared(row, variant, dtype)


@pytest.mark.parametrize(("row", "variant"), CHECKED)
def test_the_table_in_checked_mode(row: Row, variant: V, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault in a kernel would raise: races, accesses out of bounds, reads of what nobody wrote."""
    checked = kernels.cuda.Backend(kernels.emulator.Device(True, array=EmulatorArray))
    monkeypatch.setitem(kernels._by_array, EmulatorArray, checked)
    compared(row, variant, np.float32)


def test_the_environment_chooses_the_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    for mode, expected in (("checked", True), ("quick", False)):
        monkeypatch.delitem(kernels._by_array, EmulatorArray, raising=False)
        monkeypatch.setenv("MINIDL_EMULATOR", mode)
        assert kernels.on("emulator").device.checked is expected
    monkeypatch.delitem(kernels._by_array, EmulatorArray)
    monkeypatch.setenv("MINIDL_EMULATOR", "fast")
    with pytest.raises(ValueError, match="MINIDL_EMULATOR is 'fast'"):
        minidl.zeros(2, device="emulator")


def test_the_kernels_run() -> None:
    backend = kernels.on("emulator")
    before = len(backend.device.launches)
    x = minidl.ones(3, 4, device="emulator")
    ((x @ x.mT) * 2 + 1).sum()
    names = [launch.kernel.split("<")[0] for launch in list(backend.device.launches)[before:]]
    assert any(name.startswith("matmul") for name in names) and any(name.startswith("reduce") for name in names)


# ------------------------------------------------------------------------------------------- to, from, and where


MAKERS: dict[str, Any] = {
    "tensor": lambda **on: minidl.tensor([[1.0, 2.0], [3.0, 4.0]], **on),
    "zeros": lambda **on: minidl.zeros(2, 3, **on),
    "ones": lambda **on: minidl.ones(2, 3, **on),
    "full": lambda **on: minidl.full((2,), 7.0, **on),
    "eye": lambda **on: minidl.eye(3, **on),
    "arange": lambda **on: minidl.arange(5, **on),
    "linspace": lambda **on: minidl.linspace(0, 1, 5, **on),
    "rand": lambda **on: minidl.rand(3, 4, **on),
    "randn": lambda **on: minidl.randn(3, 4, **on),
    "randint": lambda **on: minidl.randint(9, (5,), **on),
    "randperm": lambda **on: minidl.randperm(7, **on),
    "normal": lambda **on: minidl.normal(1.0, 2.0, (3,), **on),
}


@pytest.mark.parametrize("name", MAKERS)
def test_tensors_are_made_on_the_device(name: str) -> None:
    """The same seed gives the same numbers everywhere."""
    minidl.manual_seed(3)
    right = MAKERS[name]()
    minidl.manual_seed(3)
    made = MAKERS[name](device="emulator")
    assert made.array.__class__ is EmulatorArray and str(made.device) == "emulator" and not made.is_cuda
    same(name, made.cpu().numpy(), right.numpy(), 1e-6)
    for like in (minidl.zeros_like, minidl.ones_like, minidl.empty_like):
        assert like(made).device == made.device and like(made, device="cpu").device.type == "cpu"
    assert made.new_zeros(2).device == made.new_tensor([1]).device == made.device


def test_random_numbers_do_not_depend_on_the_device() -> None:
    drawn = []
    for where in ("cpu", "emulator"):
        minidl.manual_seed(11)
        x = minidl.zeros(5, 3, device=where)
        drawn.append([x.uniform_().tolist(), x.normal_().tolist(), x.bernoulli_(0.4).tolist()])
        drawn[-1].append(minidl.nn.functional.dropout(minidl.ones(6, 6, device=where), 0.5).tolist())
        drawn[-1].append(minidl.multinomial(minidl.ones(8, device=where), 3).tolist())
    for one, other in zip(*drawn, strict=True):
        same("drawn", one, other, 1e-6)


def test_moving() -> None:
    x = minidl.tensor([1.0, 2.0], requires_grad=True)
    y = x.to("emulator")
    assert y.to("emulator") is y and x.cpu() is x and x.to("cpu:0") is x and y.cpu().array.__class__ is np.ndarray
    y.array[0] = 5.0
    assert x.tolist() == [1.0, 2.0]
    (y * 3).sum().backward()
    assert x.grad is not None and x.grad.array.__class__ is np.ndarray and x.grad.tolist() == [3.0, 3.0]
    z = minidl.zeros(2, dtype=minidl.float64, device="emulator")
    assert x.to(z).dtype == minidl.float64 and x.to(z).device == z.device
    assert x.to("emulator", minidl.float64).device == minidl.device("emulator")
    assert minidl.as_tensor(np.ones(2), device="emulator").device == z.device
    assert minidl.tensor(z).device == z.device and minidl.tensor([z[0], z[1]]).tolist() == [0.0, 0.0]
    w = minidl.tensor(2.0, device="emulator")
    assert w.item() == 2.0 and float(w) == 2.0 and bool(w) and "device='emulator'" in repr(w)
    z.copy_(minidl.ones(2))
    z[1] = minidl.tensor(3.0)
    assert z.tolist() == [1.0, 3.0] and z.array.__class__ is EmulatorArray


def test_numpy_refuses() -> None:
    x = minidl.ones(2, device="emulator")
    for leave in (x.numpy, lambda: np.asarray(x), lambda: np.from_dlpack(x)):
        with pytest.raises(RuntimeError, match=r"x\.cpu\(\)\.numpy\(\)"):
            leave()


def test_views_share_memory() -> None:
    x = minidl.zeros(3, 4, device="emulator", requires_grad=True)
    y = x * 1
    y[1].add_(2.0)
    y.T[0].mul_(3.0)
    y.reshape(-1)[11:] = 5.0
    y[minidl.tensor([0, 2]).to("emulator"), 1] = 7.0
    assert y.array.__class__ is EmulatorArray
    assert y.tolist() == [[0, 7, 0, 0], [6, 2, 2, 2], [0, 7, 0, 5]]
    (y * y).sum().backward()
    assert x.grad is not None and x.grad.array.__class__ is EmulatorArray
    assert x.grad.tolist() == [[0, 0, 0, 0], [36, 4, 4, 4], [0, 0, 0, 0]]


MIXED = {
    "add": lambda x, y: x + y,
    "sub": lambda x, y: x - y,
    "matmul": lambda x, y: x @ y,
    "where": lambda x, y: minidl.where(x > 0, x, y),
    "cat": lambda x, y: minidl.cat([x, y]),
    "maximum": lambda x, y: minidl.maximum(x, y),
    "linear": lambda x, y: minidl.nn.functional.linear(x, y),
    "embedding": lambda x, y: minidl.nn.functional.embedding(x.long(), y),
    "mse_loss": lambda x, y: minidl.nn.functional.mse_loss(x, y),
    "gather": lambda x, y: minidl.gather(x, 0, y.long()),
}


@pytest.mark.parametrize("name", MIXED)
def test_mixed_devices_are_refused(name: str) -> None:
    here, there = minidl.ones(2, 2), minidl.ones(2, 2, device="emulator")
    for x, y in ((here, there), (there, here)):
        with pytest.raises(RuntimeError, match=f"^{name}: .*'emulator'.*'cpu'.*to\\('emulator'\\)"):
            MIXED[name](x, y)


def test_numbers_join_from_the_cpu() -> None:
    x = minidl.tensor([1.0, 2.0], device="emulator", requires_grad=True)
    w = minidl.tensor(3.0, requires_grad=True)
    for y in (x * w, w * x, (1 - x) * w / 2, w ** x, minidl.where(x > 1, w, x)):
        assert y.array.__class__ is EmulatorArray
    (w * x + x / w).sum().backward()
    assert w.grad is not None and w.grad.device.type == "cpu" and x.grad is not None
    assert abs(w.grad.item() - (3 - 3 / 9)) < 1e-6 and x.grad.device == x.device
    with pytest.raises(RuntimeError, match="grad: .*'cpu'.*'emulator'"):
        x.grad = minidl.ones(2)


def test_devices_that_are_not_there() -> None:
    with pytest.raises(ValueError, match="device: 'tpu' is unknown; use 'cpu', 'cuda' or 'emulator'"):
        minidl.zeros(1, device="tpu")
    with pytest.raises(ValueError, match="there is only one emulator"):
        minidl.device("emulator:1")
    assert minidl.device("cuda:0").index == 0 and minidl.device("emulator").type == "emulator"
    if minidl.cuda.is_available():
        pytest.skip("the rest is for machines without a GPU")
    x = minidl.ones(1)
    for move in (lambda: x.to("cuda"), x.cuda, lambda: minidl.ones(1, device="cuda:0"), learner("cpu").cuda):
        with pytest.raises(RuntimeError, match=r"^device 'cuda.*device 'emulator'"):
            move()
    assert minidl.cuda.device_count() == 0


# ------------------------------------------------------------------------------------ modules, optimizers, files


def learner(where: str, seed: int = 0) -> nn.Module:
    minidl.manual_seed(seed)
    layers = nn.Conv2d(1, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()
    return nn.Sequential(*layers, nn.Dropout(0.1), nn.Linear(48, 10)).to(where)


OPTIMIZERS: dict[str, Any] = {
    "GD": lambda p: optim.GD(p, 0.1),
    "SGD": lambda p: optim.SGD(p, 0.1, momentum=0.9, nesterov=True),
    "Adam": lambda p: optim.Adam(p, 0.01),
    "amsgrad": lambda p: optim.Adam(p, 0.01, amsgrad=True),
    "AdamW": lambda p: optim.AdamW(p, 0.01),
    "RMSprop": lambda p: optim.RMSprop(p, 0.01, momentum=0.5, centered=True),
    "Adagrad": lambda p: optim.Adagrad(p, 0.01),
    "Adadelta": lambda p: optim.Adadelta(p),
}


def steps(model: nn.Module, optimizer: Any, numbers: range, where: str) -> list[float]:
    """The losses of the steps of these numbers, each with a batch of its own."""
    found = []
    for number in numbers:
        rng = np.random.default_rng(number)
        x = minidl.tensor(rng.normal(size=(8, 1, 8, 8)).astype(np.float32), device=where)
        y = minidl.tensor(rng.integers(0, 10, 8), device=where)
        loss = nn.functional.cross_entropy(model(x), y, label_smoothing=0.1)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        found.append(loss.item())
    return found


class KernelsAlone(kernels.emulator.Device):
    """Where no kernel covers a verb's arguments, NumPy does not take its place."""

    @property
    def plain(self) -> Any:
        class Refusing:
            def __getattr__(self, name: str) -> Any:
                def refuse(*args: Any) -> Any:
                    given = [f"{x.dtype} {x.shape}" if isinstance(x, np.ndarray) else repr(x) for x in args]
                    raise AssertionError(f"{name}: no kernel took {', '.join(given)}")

                return refuse

        return Refusing()


def test_every_verb_has_a_kernel() -> None:
    verbs = {name for name in vars(kernels.reference) if callable(getattr(kernels.native, name, None))}
    verbs = {name for name in verbs if not name.startswith("_") and name in kernels.native.compiled}
    assert verbs and verbs <= set(kernels.cuda.VERBS)


@pytest.mark.parametrize("name", ["SGD", "Adam"])
def test_training_needs_no_verb_of_numpys(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    device = KernelsAlone(False, array=EmulatorArray)
    monkeypatch.setitem(kernels._by_array, EmulatorArray, kernels.cuda.Backend(device))
    model = learner("emulator")
    steps(model, OPTIMIZERS[name](model.parameters()), range(2), "emulator")
    families = {launch.kernel.split("::")[0] for launch in device.launches}
    assert families >= {"conv", "elementwise", "matmul", "normalize", "optim", "pool", "reduce", "softmax"}
    tokens = minidl.tensor([[1, 2, 3, 4, 5]], device="emulator")
    gpt = minidl.models.GPT(7, 5, width=8, heads=2, layers=1, dropout=0.1).to("emulator")
    optimizer = OPTIMIZERS[name](gpt.parameters())
    for _ in range(2):
        loss = nn.functional.cross_entropy(gpt(tokens).flatten(0, 1), tokens.flatten())
        loss.backward()
        optimizer.step()


def devices(optimizer: Any) -> set[type]:
    return {v.array.__class__ for s in optimizer.state.values() for v in s.values() if isinstance(v, minidl.Tensor)}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_steps_agree_with_the_cpu(name: str) -> None:
    """Convolution, batch norm, pooling, dropout, a linear layer, cross-entropy, clipping: loss by loss."""
    losses = []
    for where in ("cpu", "emulator"):
        model = learner(where)
        optimizer = OPTIMIZERS[name](model.parameters())
        losses.append(steps(model, optimizer, range(3), where))
    assert devices(optimizer) <= {EmulatorArray}
    same(name, losses[1], losses[0], 2e-4)


def test_a_module_moves_in_place() -> None:
    model = learner("cpu")
    optimizer = optim.Adam(model.parameters(), 0.01)
    before, weight = steps(model, optimizer, range(1), "cpu"), next(iter(model.parameters()))
    sum((p.sum() for p in model.parameters()), minidl.zeros(())).backward()
    assert model.to("emulator") is model and next(iter(model.parameters())) is weight
    everything = [*model.parameters(), *model.buffers(), *(p.grad for p in model.parameters())]
    assert {t.array.__class__ for t in everything} == {EmulatorArray}  # type: ignore[union-attr]
    after = steps(model, optimizer, range(1, 3), "emulator")
    assert devices(optimizer) == {EmulatorArray}
    plain = learner("cpu")
    same("losses", before + after, steps(plain, optim.Adam(plain.parameters(), 0.01), range(3), "cpu"), 2e-4)
    model.cpu()
    assert {t.array.__class__ for t in (*model.parameters(), *model.buffers())} == {np.ndarray}


def test_weights_on_disk(tmp_path: Path) -> None:
    model, file = learner("emulator"), tmp_path / "weights.safetensors"
    minidl.save(model.state_dict(), file)
    other = learner("emulator", seed=1)
    other.load_state_dict(minidl.load(file))
    for (name, one), (_, two) in zip(model.state_dict().items(), other.state_dict().items(), strict=True):
        assert two.array.__class__ is EmulatorArray, name
        same(name, two.cpu().numpy(), one.cpu().numpy(), 0)
    assert minidl.load(file, map_location="emulator")["0.weight"].array.__class__ is EmulatorArray
    optimizer, again = optim.Adam(model.parameters()), optim.Adam(other.parameters())
    steps(model, optimizer, range(1), "emulator")
    again.load_state_dict(optimizer.state_dict())
    assert devices(again) == {EmulatorArray}
    plain = learner("cpu", seed=2)
    plain.load_state_dict(model.state_dict())
    assert {t.array.__class__ for t in plain.state_dict().values()} == {np.ndarray}


def loaders() -> tuple[DataLoader, DataLoader]:
    parts = [minidl.data.load("digits").train.x[:96], minidl.data.load("digits").train.y[:96]]
    x, y = minidl.tensor(parts[0].astype(np.float32) / 16), minidl.tensor(parts[1])
    data = TensorDataset(x, y)
    return DataLoader(data, 32, shuffle=True, generator=minidl.Generator(5)), DataLoader(data, 48)


def test_a_run_goes_on_where_it_stopped(tmp_path: Path) -> None:
    """Also on another device."""
    histories = []
    for first, second in (("emulator", "emulator"), ("emulator", "cpu")):
        file = tmp_path / f"{second}.safetensors"
        for epochs, where in ((1, first), (2, second)):
            model, (some, valid) = learner(where), loaders()
            optimizer = optim.SGD(model.parameters(), 0.1, momentum=0.9)
            stop = train.EarlyStopping(3)
            options: dict[str, Any] = dict(metrics={"accuracy": train.accuracy}, early_stopping=stop, verbose=False)
            loss = nn.functional.cross_entropy
            options |= {"epochs": epochs, "checkpoint": file, "resume": True}
            history = train.fit(model, some, valid, loss, optimizer, **options)
        assert model.get_parameter("0.weight").device.type == second and len(history) == 2
        histories.append([row["train_loss"] for row in history])
    same("losses", histories[1], histories[0], 2e-4)
    assert train.predict(model.to("emulator"), valid).device.type == "cpu"


class Losses(train.Callback):
    def __init__(self) -> None:
        self.losses: list[float] = []

    def batch_ends(self, run: train.Run) -> None:
        self.losses.append(run.seen.total)


def test_training_learns_and_agrees_with_the_cpu() -> None:
    """The digits, through the CUDA kernels: the loss of each step within float32's tolerance of the CPU's."""
    seen = []
    for where in ("cpu", "emulator"):
        model, (some, valid) = learner(where), loaders()
        told = Losses()
        adam, loss = optim.Adam(model.parameters(), 0.02), nn.functional.cross_entropy
        history = train.fit(model, some, valid, loss, adam, epochs=6, callbacks=[told], verbose=False)
        seen.append(told.losses)
    assert len(seen[0]) == 18
    same("losses", seen[1], seen[0], 1e-3)
    assert history[-1]["train_loss"] < 0.6 * history[0]["train_loss"]


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "points.csv"
    rng = np.random.default_rng(0)
    x = rng.normal(size=(90, 2))
    rows = [f"{a:.4f},{b:.4f},{'right' if a + b > 0 else 'left'}" for a, b in x]
    table.write_text("\n".join(["a,b,side", *rows]) + "\n")
    losses = []
    for where in ("cpu", "emulator"):
        run = tmp_path / where
        options = ["--data", str(table), "--hidden", "8", "--epochs", "3", "--lr", "0.02", "--out", str(run)]
        assert main(["train", *options, "--quiet", "--device", where]) == 0
        losses.append([float(row.split(",")[2]) for row in (run / "history.csv").read_text().splitlines()[1:]])
        assert main(["eval", str(run), "--quiet", "--device", where]) == 0
        assert main(["predict", str(run), str(table), "--quiet", "--device", where]) == 0
    same("losses", losses[1], losses[0], 1e-3)
    capsys.readouterr()
    assert main(["train", "--device", "emulater"]) == 2
    assert "did you mean 'emulator'?" in capsys.readouterr().err
    if not minidl.cuda.is_available():
        assert main(["train", "--device", "cuda", "--out", str(tmp_path / "none")]) == 1
        assert "device 'emulator'" in capsys.readouterr().err and not (tmp_path / "none").exists()
    main(["doctor"])
    assert "device 'emulator' runs the CUDA kernels" in capsys.readouterr().out


def test_a_text_is_learned_and_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text, written = tmp_path / "text.txt", []
    text.write_text("abcdefgh " * 120)
    small = ["--context", "8", "--width", "16", "--heads", "2", "--layers", "1", "--steps", "4", "--batch-size", "4"]
    run = str(tmp_path / "run")
    small += ["--data", str(text), "--model", "gpt", "--out", run]
    assert main(["train", *small, "--quiet", "--device", "emulator"]) == 0
    capsys.readouterr()
    for where in ("cpu", "emulator"):
        assert main(["sample", run, "--prompt", "abc", "--tokens", "12", "--quiet", "--device", where]) == 0
        written.append(capsys.readouterr().out)
    assert written[0] == written[1] and len(written[0]) == 16


def test_importing_loads_no_emulator() -> None:
    code = "import minidl, sys; minidl.ones(2); assert 'minidl.kernels.emulator' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


LAYERS: dict[str, Any] = {
    "LSTM": lambda: nn.LSTM(3, 4, num_layers=2, bidirectional=True),
    "GRU": lambda: nn.GRU(3, 4, batch_first=True),
    "RNN": lambda: nn.RNN(3, 4, nonlinearity="relu"),
    "attention": lambda: nn.MultiheadAttention(4, 2, add_bias_kv=True, add_zero_attn=True),
    "transformer": lambda: nn.TransformerEncoderLayer(4, 2, 8, dropout=0.2, activation="gelu"),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers_stay_on_the_device(name: str) -> None:
    found = []
    for where in ("cpu", "emulator"):
        minidl.manual_seed(0)
        layer = LAYERS[name]().to(where)
        width = 3 if name in ("LSTM", "GRU", "RNN") else 4
        x = minidl.randn(5, 2, width).to(where).requires_grad_()
        y = layer(x, x, x, is_causal=True, attn_mask=causal(where)) if name == "attention" else layer(x)
        y = y[0] if isinstance(y, tuple) else y
        (y * y).sum().backward()
        tensors = [y.detach(), x.grad, *(p.grad for p in layer.parameters())]
        if where == "emulator":
            assert {t.array.__class__ for t in tensors} == {EmulatorArray}
        found.append([t.cpu().numpy() for t in tensors])
    for got, right in zip(found[1], found[0], strict=True):
        same(name, got, right, 5e-5)


def causal(where: str) -> minidl.Tensor:
    return minidl.ones(5, 5, dtype=minidl.bool, device=where).triu(1)


def test_second_derivatives_and_checks() -> None:
    x = minidl.tensor([[0.3, -0.7], [0.2, 0.9]], dtype=minidl.float64, device="emulator", requires_grad=True)
    assert autograd.gradcheck(lambda x: minidl.softmax(x @ x.tanh(), 1)[:, [0, 1]].sort().values, x)
    assert autograd.gradgradcheck(lambda x: minidl.log_softmax(x @ x, 1), x)
    with pytest.raises(FloatingPointError, match="log made the first NaN"), autograd.detect_anomaly():
        x.log()


def test_indexing_copying_printing() -> None:
    x = minidl.arange(6, device="emulator").reshape(2, 3)
    assert copy.deepcopy(x).array.__class__ is EmulatorArray and x.T.contiguous().array.__class__ is EmulatorArray
    assert x[1, 2].item() == 5 and x[1, 2].array.__class__ is EmulatorArray and [int(v) for v in x[0]] == [0, 1, 2]
    assert x[x > 3].tolist() == [4, 5] and x[minidl.tensor([1])].tolist() == [[3, 4, 5]] and x[[0], [1]].tolist() == [1]
    assert "device='emulator'" in repr(x) and 4 in x and minidl.nonzero(x).array.__class__ is EmulatorArray


@pytest.mark.parametrize("make", [nn.Linear, nn.LSTM, nn.Embedding, nn.LSTMCell], ids=lambda make: make.__name__)
def test_layers_are_made_on_the_device(make: Any) -> None:
    for layer in (make(3, 4, device="emulator"), nn.BatchNorm1d(3, device="emulator")):
        assert {t.array.__class__ for t in (*layer.parameters(), *layer.buffers())} == {EmulatorArray}
