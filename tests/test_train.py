"""The loop, its observers, and runs that go on as if they had never stopped."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minidl
from minidl import models, nn, optim, penalties, train
from minidl.nn import functional as F
from minidl.serialization import load_arrays, save
from minidl.utils.data import DataLoader, TensorDataset


def blobs(count: int = 120, seed: int = 0) -> TensorDataset:
    """Three classes around three corners of a square."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, count)
    x = rng.normal(size=(count, 2)) * 0.5 + np.array([[0, 0], [2, 0], [0, 2]])[y]
    return TensorDataset(minidl.tensor(x.astype(np.float32)), minidl.tensor(y))


def weights(model: nn.Module) -> dict[str, bytes]:
    return {name: tensor.array.tobytes() for name, tensor in model.state_dict().items()}


def run(epochs: int = 4, seed: int = 1, **options: Any) -> tuple[nn.Module, train.History]:
    minidl.manual_seed(seed)
    model = models.MLP((2, 16, 3), dropout=0.2)
    optimizer = options.pop("optimizer", optim.Adam)(model.parameters(), lr=0.01)
    loaders = DataLoader(blobs(), 16, shuffle=True), DataLoader(blobs(60, 1), 32)
    options = {"metrics": {"accuracy": train.accuracy}, "verbose": False, "progress": False, **options}
    schedule = optim.lr_scheduler.CosineAnnealingLR(optimizer, 4)
    return model, train.fit(model, *loaders, F.cross_entropy, optimizer, scheduler=schedule, epochs=epochs, **options)


def test_learns_and_keeps_a_history() -> None:
    _, history = run(epochs=8)
    assert len(history) == 8 and history[-1]["valid_accuracy"] > 0.9
    assert list(history[0]) == [
        "epoch", "learning_rate", "train_loss", "train_accuracy", "valid_loss", "valid_accuracy", "seconds"
    ]  # fmt: skip
    assert history.column("epoch") == list(range(1, 9)) and history[0]["learning_rate"] == 0.01
    assert history.best("valid_accuracy")["valid_accuracy"] == max(history.column("valid_accuracy"))
    assert "valid_loss" in repr(history)


def test_history_as_csv(tmp_path: Path) -> None:
    history = train.History(
        [{"epoch": 1, "train_loss": 0.1 + 0.2, "valid_loss": None}, {"epoch": 2, "train_loss": 1e-9, "note": "x"}]
    )
    history.to_csv(tmp_path / "h.csv")
    back = train.History.from_csv(tmp_path / "h.csv")
    assert (
        [row["train_loss"] for row in back] == [0.1 + 0.2, 1e-9]
        and back[0]["valid_loss"] is None
        and back[1]["note"] == "x"
    )
    with pytest.raises(ValueError, match="no row has 'accuracy'"):
        history.best("accuracy")


def test_one_step_is_the_textbooks() -> None:
    """w ← w - lr * ∂(loss + penalty)/∂w, batch by batch, by hand."""
    x, y = np.array([[1.0], [2.0], [4.0]]), np.array([[2.0], [1.0], [3.0]])
    model = nn.Linear(1, 1, bias=False)
    w = 0.5
    model.load_state_dict({"weight": np.full((1, 1), w, np.float32)})
    data = TensorDataset(minidl.tensor(x, dtype=minidl.float32), minidl.tensor(y, dtype=minidl.float32))
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    train.fit(
        model,
        DataLoader(data, 2),
        None,
        F.mse_loss,
        optimizer,
        penalties.L2(0.3),
        epochs=1,
        verbose=False,
        progress=False,
    )
    for batch in (slice(0, 2), slice(2, 3)):
        w -= 0.1 * (np.mean(2 * (w * x[batch] - y[batch]) * x[batch]) + 0.3 * w)
    assert model.weight.item() == pytest.approx(w, rel=1e-6)


@pytest.mark.parametrize("batch_size", [1, 7, 50, 64])
def test_gd_steps_once_with_the_gradient_of_the_mean(batch_size: int) -> None:
    x, y = blobs(50).tensors
    results = []
    for size in (50, batch_size):
        minidl.manual_seed(3)
        model = models.MLP((2, 5, 3), activation="tanh").double()
        data = TensorDataset(x.double(), y)
        train.fit(
            model,
            DataLoader(data, size, shuffle=size != 50),
            None,
            F.cross_entropy,
            optim.GD(model.parameters(), lr=0.5),
            penalties.L2(0.1),
            epochs=3,
            verbose=False,
            progress=False,
        )
        results.append(np.concatenate([tensor.array.ravel() for tensor in model.state_dict().values()]))
    np.testing.assert_allclose(results[1], results[0], rtol=1e-12)


@pytest.mark.parametrize("stop", [1, 2, 3])
@pytest.mark.parametrize("optimizer", [optim.Adam, optim.SGD, optim.GD, optim.AdamW])
def test_a_resumed_run_is_the_uninterrupted_one(
    tmp_path: Path, stop: int, optimizer: Callable[..., optim.Optimizer]
) -> None:
    def options(path: str) -> dict[str, Any]:
        return {"optimizer": optimizer, "early_stopping": train.EarlyStopping(None), "checkpoint": tmp_path / path}

    whole, history = run(4, **options("whole"))
    run(stop, **options("parts"))
    minidl.rand(17)  # the random state has moved on meanwhile
    resumed, again = run(4, seed=99, resume=True, **options("parts"))
    assert weights(resumed) == weights(whole)
    assert [{**row, "seconds": 0} for row in again] == [{**row, "seconds": 0} for row in history]
    a, b = load_arrays(tmp_path / "whole")[0], load_arrays(tmp_path / "parts")[0]
    assert a.keys() == b.keys() and all(a[name].tobytes() == b[name].tobytes() for name in a)


def test_a_generator_of_the_loaders_own_is_resumed(tmp_path: Path) -> None:
    def go(epochs: int, resume: bool, path: str) -> dict[str, bytes]:
        minidl.manual_seed(0)
        model = models.LinearModel(2, 3)
        loader = DataLoader(blobs(), 16, shuffle=True, generator=minidl.Generator().manual_seed(5))
        optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        train.fit(
            model,
            loader,
            None,
            F.cross_entropy,
            optimizer,
            epochs=epochs,
            checkpoint=tmp_path / path,
            resume=resume,
            verbose=False,
            progress=False,
        )
        return weights(model)

    whole = go(3, False, "a")
    go(1, False, "b")
    assert go(3, True, "b") == whole


def test_batch_norms_buffers_are_resumed(tmp_path: Path) -> None:
    def go(epochs: int, resume: bool, path: str) -> dict[str, bytes]:
        minidl.manual_seed(0)
        model = nn.Sequential(nn.Linear(2, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))
        loader = DataLoader(blobs(), 16, shuffle=True)
        train.fit(
            model,
            loader,
            loader,
            F.cross_entropy,
            optim.Adam(model.parameters()),
            epochs=epochs,
            checkpoint=tmp_path / path,
            resume=resume,
            verbose=False,
            progress=False,
        )
        return weights(model)

    whole = go(3, False, "a")
    go(2, False, "b")
    assert go(3, True, "b") == whole


def test_early_stopping_brings_the_best_weights_back() -> None:
    model, best = nn.Linear(1, 1), []
    rows = [3.0, 2.0, 2.5, 1.9995, 2.2, 2.4]

    class Script(train.Callback):
        def epoch_ends(self, run: train.Run) -> None:
            run.history[-1]["valid_loss"] = rows[run.epoch - 1]
            best.append(weights(run.model))

    stopping = train.EarlyStopping(patience=3, min_delta=0.01)
    fake = train.Run(model, optim.SGD(model.parameters(), lr=0.1), None, [], 10, {}, stopping)
    for fake.epoch in range(1, len(rows) + 1):
        model.load_state_dict({"weight": np.full((1, 1), fake.epoch), "bias": np.zeros(1)})
        fake.history.append({})
        Script().epoch_ends(fake)
        stopping.epoch_ends(fake)
        if fake.stopped:
            break
    assert fake.epoch == 5 and "3 epochs" in fake.stopped  # 1.9995 is no improvement of 0.01
    stopping.fit_ends(fake)
    assert weights(model) == best[1]


def test_early_stopping_ends_a_run_and_stays_ended(tmp_path: Path) -> None:
    def loss(prediction: minidl.Tensor, y: minidl.Tensor) -> minidl.Tensor:
        return F.cross_entropy(prediction, y) * 0 + 1.0  # never better

    def go(resume: bool) -> tuple[dict[str, bytes], train.History]:
        minidl.manual_seed(0)
        model = models.LinearModel(2, 3)
        loader = DataLoader(blobs(), 64)
        history = train.fit(
            model,
            loader,
            loader,
            loss,
            optim.Adam(model.parameters()),
            epochs=9,
            verbose=False,
            progress=False,
            early_stopping=train.EarlyStopping(2),
            checkpoint=tmp_path / "c",
            resume=resume,
        )
        return weights(model), history

    first, history = go(False)
    again, same = go(True)
    assert len(history) == 3 and again == first and same == history


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: train.EarlyStopping(0), "patience=0"),
        (lambda: train.EarlyStopping(1, -1), "min_delta=-1"),
        (lambda: train.EarlyStopping(mode="up"), 'expected "auto"'),
        (lambda: run(early_stopping=train.EarlyStopping(monitor="valid_f1")), "the history has no 'valid_f1'"),
        (lambda: run(epochs=-1), "epochs=-1"),
        (lambda: run(scheduler_by="step"), "scheduler_by='step'"),
    ],
)
def test_wrong_arguments(make: Callable[[], Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        make()


def fit_on(
    x: Any, y: Any, rate: float = 0.1, batch_size: int = 2, loss: Any = F.mse_loss, model: nn.Module | None = None
) -> None:
    model = model or nn.Linear(1, 1)
    loader = DataLoader(TensorDataset(minidl.tensor(x), minidl.tensor(y)), batch_size)
    train.fit(
        model, loader, None, loss, optim.SGD(model.parameters(), lr=rate), epochs=50, verbose=False, progress=False
    )


def test_a_loss_that_is_no_number_names_place_and_remedy() -> None:
    with pytest.raises(
        FloatingPointError, match=r"became (inf|nan) in epoch \d+, batch \d, with a learning rate of 1e\+06: try 100000"
    ):
        fit_on([[1.0], [2.0], [3.0]], [[1.0], [2.0], [3.0]], rate=1e6)


def test_nan_in_the_data_is_named() -> None:
    with pytest.raises(
        ValueError, match=r"epoch 1, batch 2: the inputs hold 1 NaN or infinite numbers; clean the data"
    ):
        fit_on([[1.0], [2.0], [math.nan]], [[1.0], [2.0], [3.0]])
    with pytest.raises(ValueError, match=r"epoch 1, batch 1: the targets hold 1 NaN"):
        fit_on([[1.0], [2.0]], [[1.0], [math.inf]])


def test_empty_loaders() -> None:
    with pytest.raises(ValueError, match="train_loader gives no batch"):
        train.fit(nn.Linear(1, 1), [], None, F.mse_loss, optim.SGD(nn.Linear(1, 1).parameters(), lr=0.1), verbose=False)
    with pytest.raises(ValueError, match="the loader gives no batch"):
        train.evaluate(nn.Linear(1, 1), [], F.mse_loss)
    nothing = [(minidl.zeros(0, 1), minidl.zeros(0, 1))]
    with pytest.raises(ValueError, match="holds 0 examples"):
        train.fit(
            nn.Linear(1, 1), nothing, None, F.mse_loss, optim.SGD(nn.Linear(1, 1).parameters(), lr=0.1), verbose=False
        )


def test_labels_out_of_range_and_wrong_shapes_are_one_sentence() -> None:
    with pytest.raises((ValueError, IndexError), match="3"):
        fit_on([[1.0], [2.0]], [0, 3], loss=F.cross_entropy, model=nn.Linear(1, 3))
    with pytest.raises((ValueError, RuntimeError), match="2"):
        fit_on([[1.0, 2.0], [2.0, 3.0]], [[0.0], [3.0]])


def test_a_checkpoint_of_another_model(tmp_path: Path) -> None:
    def go(model: nn.Module, optimizer: Any = optim.Adam, schedule: bool = False, **options: Any) -> None:
        loader = DataLoader(blobs(), 64)
        made = optimizer(model.parameters(), lr=0.01)
        scheduler = optim.lr_scheduler.StepLR(made, 1) if schedule else None
        train.fit(
            model,
            loader,
            loader,
            F.cross_entropy,
            made,
            scheduler=scheduler,
            epochs=1,
            checkpoint=tmp_path / "c",
            verbose=False,
            progress=False,
            **options,
        )

    go(models.MLP((2, 4, 3)))
    for model, sentence in (
        (
            models.MLP((2, 5, 3)),
            (
                r"checkpoint of another model: it has layers.1.weight \(4, 2\) float32, this model has layers.1.weight"
                r" \(5, 2\)"
            ),
        ),
        (models.LinearModel(2, 3), "it has no linear.weight, this model has linear.weight"),
        (models.MLP((2, 4, 3)).double(), "float32, this model has layers.1.weight .* float64"),
    ):
        before = weights(model)
        with pytest.raises(ValueError, match=sentence):
            go(model, resume=True)
        assert weights(model) == before
    with pytest.raises(ValueError, match="was written with Adam, this run has SGD"):
        go(models.MLP((2, 4, 3)), optim.SGD, resume=True)
    with pytest.raises(ValueError, match="was written without scheduler"):
        go(models.MLP((2, 4, 3)), schedule=True, resume=True)
    with pytest.raises(ValueError, match="was written without early_stopping"):
        go(models.MLP((2, 4, 3)), early_stopping=train.EarlyStopping(), resume=True)
    save(models.MLP((2, 4, 3)).state_dict(), tmp_path / "c")
    with pytest.raises(ValueError, match="holds weights but is no checkpoint"):
        go(models.MLP((2, 4, 3)), resume=True)
    (tmp_path / "c").write_bytes((tmp_path / "c").read_bytes()[:-5])
    with pytest.raises(ValueError, match="no complete safetensors file"):
        go(models.MLP((2, 4, 3)), resume=True)


def test_schedules_by_batch_and_on_a_plateau() -> None:
    model, rates = models.LinearModel(2, 3), []
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    schedule = optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step))

    class Watch(train.Callback):
        def batch_ends(self, run: train.Run) -> None:
            rates.append(run.optimizer.param_groups[0]["lr"])

    loader = DataLoader(blobs(48), 16)
    train.fit(
        model,
        loader,
        None,
        F.cross_entropy,
        optimizer,
        scheduler=schedule,
        scheduler_by="batch",
        epochs=2,
        verbose=False,
        progress=False,
        callbacks=[Watch()],
    )
    assert rates == pytest.approx([0.1 / (1 + step) for step in range(1, 7)])
    plateau = optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0, threshold=1.0, factor=0.5)
    before = optimizer.param_groups[0]["lr"]
    train.fit(
        model, loader, loader, F.cross_entropy, optimizer, scheduler=plateau, epochs=3, verbose=False, progress=False
    )
    assert optimizer.param_groups[0]["lr"] < before


def test_evaluation_leaves_the_model_as_it_was() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.Dropout(0.5))
    model[1].eval()
    loader = DataLoader(blobs(50), 16)
    first, second = (train.evaluate(model, loader, F.cross_entropy, {"accuracy": train.accuracy}) for _ in range(2))
    assert first == second and model.training and not model[1].training
    x, y = blobs(50).tensors
    model.eval()
    assert first["loss"] == pytest.approx(F.cross_entropy(model(x), y).item(), rel=1e-6)
    assert first["accuracy"] == pytest.approx(float((model(x).array.argmax(1) == y.array).mean()))
    np.testing.assert_allclose(train.predict(model, loader).numpy(), model(x).detach().numpy(), rtol=1e-6, atol=1e-6)
    assert "loss" not in train.evaluate(model, loader, metrics={"f1": train.f1})


def test_lines_and_bar(capsys: pytest.CaptureFixture[str]) -> None:
    run(2, verbose=True, progress=True)
    printed = capsys.readouterr()
    assert printed.out.count("\n") == 2 and printed.out.startswith("epoch 1/4" if "1/4" in printed.out else "epoch 1/2")
    assert "validation" in printed.out and "accuracy" in printed.out
    assert "epoch 1/2" in printed.err
    run(1, verbose=False, progress=False)
    assert capsys.readouterr() == ("", "")


CNN = {"name": "cnn", "classes": 10, "hidden": 9, "dropout": 0.0, "batch_norm": False}


@pytest.mark.parametrize(
    "config",
    [
        {"name": "linear", "inputs": [1, 8, 8], "outputs": 10},
        {"name": "mlp", "sizes": [64, 7, 10], "activation": "gelu", "dropout": 0.1},
        {**CNN, "shape": [1, 8, 8], "channels": [4, 6], "dropout": 0.1, "batch_norm": True},
        {**CNN, "shape": [3, 31, 17], "classes": 4, "channels": [4]},
        {**CNN, "shape": [1, 1, 1], "classes": 2, "channels": [2, 2]},
        {"name": "lenet5", "classes": 10},
    ],
)
def test_models_and_their_configs(config: dict[str, Any]) -> None:
    model = models.build(config)
    assert model.config == config
    shape = config.get("shape", [1, 28, 28] if config["name"] == "lenet5" else [1, 8, 8])
    scores = model(minidl.rand(5, *shape))
    assert scores.shape == (5, config.get("classes", 10))
    F.cross_entropy(scores, minidl.tensor([0, 1, 0, 1, 1])).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_lenet5_has_the_papers_sizes() -> None:
    counts = [parameter.numel() for parameter in models.LeNet5().parameters()]
    assert counts == [
        150,
        6,
        2400,
        16,
        48000,
        120,
        10080,
        84,
        840,
        10,
    ]  # C1, C3 (full), C5, F6, output: weights, biases


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({"name": "alexnet"}, "no model 'alexnet'; expected one of linear, mlp, cnn, lenet5"),
        ({}, "no model None"),
        ({"name": "mlp", "size": [1]}, "does not fit MLP"),
        ({"name": "mlp", "sizes": [3]}, "sizes is"),
        ({"name": "mlp", "sizes": [3, 0, 2]}, "each at least 1"),
        ({"name": "mlp", "sizes": [3, 2, 2], "activation": "selu"}, "no activation 'selu'"),
        ({"name": "cnn", "shape": [28, 28]}, "expected channels, height and width"),
        ({"name": "linear", "inputs": [0], "outputs": 2}, "expected sizes of at least 1"),
    ],
)
def test_configs_that_do_not_fit(config: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        models.build(config)
