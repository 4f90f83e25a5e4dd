"""A training step captured once and replayed: the same losses and weights as step by step, and nothing frozen."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from fake_cupy import CUDARuntimeError, FakeCupy

import minidl
from minidl import kernels, models, nn, optim
from minidl.kernels import arrays, gpu, graphs
from minidl.kernels.arrays import EmulatorArray
from minidl.kernels.cuda import Backend

NEEDS_EMULATOR = pytest.mark.skipif(
    not kernels.emulator.available(checked=False), reason="the quick emulator is not built"
)
pytestmark = NEEDS_EMULATOR
F = nn.functional
WHERE = "emulator"
Step = Callable[..., minidl.Tensor]


@pytest.fixture(autouse=True)
def nothing_captured() -> Iterator[None]:
    yield
    assert arrays.graph is None


def there(x: np.ndarray) -> minidl.Tensor:
    return minidl.tensor(x).to(WHERE)


def here(x: minidl.Tensor) -> np.ndarray:
    return x.detach().cpu().numpy()


def weights(model: nn.Module) -> list[np.ndarray]:
    return [here(p) for p in model.parameters()]


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Dropout(0.4), nn.Linear(8, 3))


def cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.25), nn.Flatten(),
        nn.Linear(36, 3),
    )  # fmt: skip


def language() -> nn.Module:
    """Embedding, layer norm and causal attention, as a GPT has them."""

    class Language(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words, self.norm, self.out = nn.Embedding(7, 8), nn.LayerNorm(8), nn.Linear(8, 7)

        def forward(self, index: minidl.Tensor) -> minidl.Tensor:
            x = self.norm(self.words(index))
            heads = x.reshape(*index.shape, 2, 4).transpose(1, 2)
            mixed = F.scaled_dot_product_attention(heads, heads, heads, is_causal=True)
            return self.out(x + F.gelu(mixed.transpose(1, 2).reshape(*x.shape))).flatten(0, 1)

    return Language()


def recurrent() -> nn.Module:
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cells, self.out = nn.LSTM(5, 4, batch_first=True), nn.Linear(4, 3)

        def forward(self, x: minidl.Tensor) -> minidl.Tensor:
            return self.out(self.cells(x)[0][:, -1])

    return Recurrent()


def gpt() -> nn.Module:
    return nn.Sequential(models.GPT(7, 5, width=8, heads=2, layers=1, dropout=0.1), nn.Flatten(0, 1))


def batches(name: str) -> list[tuple[np.ndarray, np.ndarray]]:
    random = np.random.default_rng(0)
    if name in ("language", "gpt"):
        return [(random.integers(0, 7, (2, 5)), random.integers(0, 7, 10)) for _ in range(8)]
    shape = {"mlp": (5, 6), "cnn": (2, 1, 6, 6), "recurrent": (2, 3, 5)}[name]
    return [(random.normal(size=shape).astype(np.float32), random.integers(0, 3, shape[0])) for _ in range(8)]


NETWORKS = {"mlp": mlp, "cnn": cnn, "language": language, "recurrent": recurrent, "gpt": gpt}
OPTIMIZERS: dict[str, Callable[[Any], optim.Optimizer]] = {
    "Adam": lambda params: optim.Adam(params, lr=0.05, capturable=True),
    "AMSGrad": lambda params: optim.Adam(params, lr=0.05, amsgrad=True, capturable=True),
    "AdamW": lambda params: optim.AdamW(params, lr=0.05, capturable=True),
    "SGD": lambda params: optim.SGD(params, lr=0.1),
    "momentum": lambda params: optim.SGD(params, lr=0.1, momentum=0.9, nesterov=True),
}


def learner(network: str, optimizer: str, clip: float | None = None) -> tuple[nn.Module, optim.Optimizer, Step]:
    minidl.manual_seed(3)
    model = NETWORKS[network]().to(WHERE)
    rule = OPTIMIZERS[optimizer](model.parameters())

    def step(x: minidl.Tensor, y: minidl.Tensor) -> minidl.Tensor:
        loss = F.cross_entropy(model(x), y)
        rule.zero_grad()
        loss.backward()
        if clip is not None:
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        rule.step()
        return loss

    return model, rule, step


def captured(step: Step, *inputs: minidl.Tensor) -> tuple[minidl.cuda.CUDAGraph, minidl.Tensor]:
    g = minidl.cuda.CUDAGraph()
    with minidl.cuda.graph(g, device=WHERE):
        loss = step(*inputs)
    return g, loss


def fill(inputs: list[minidl.Tensor], batch: tuple[np.ndarray, ...]) -> None:
    for x, new in zip(inputs, batch, strict=True):
        x.copy_(there(new))


def both(network: str, optimizer: str, clip: float | None = None) -> None:
    """Eight steps, the learning rate changed before the sixth: each computed, and the last six replayed."""
    data = batches(network)
    model, rule, step = learner(network, optimizer, clip)
    expected = []
    for n, (x, y) in enumerate(data):
        rule.param_groups[0]["lr"] *= 0.3 if n == 5 else 1
        expected.append(step(there(x), there(y)).item())
    wanted, offset = weights(model), minidl.random.default_generator.offset

    model, rule, step = learner(network, optimizer, clip)
    inputs = [there(each) for each in data[0]]
    found = [step(*inputs).item()]
    fill(inputs, data[1])
    found.append(step(*inputs).item())
    before, at = weights(model), minidl.random.default_generator.get_state()
    g, loss = captured(step, *inputs)
    for a, b in zip(before, weights(model), strict=True):
        np.testing.assert_array_equal(a, b)  # to capture does no work
    assert minidl.random.default_generator.get_state() == at
    for n, batch in list(enumerate(data))[2:]:
        rule.param_groups[0]["lr"] *= 0.3 if n == 5 else 1
        fill(inputs, batch)
        g.replay()
        found.append(loss.item())
    np.testing.assert_allclose(found, expected, rtol=2e-6)
    for p, w in zip(weights(model), wanted, strict=True):
        np.testing.assert_allclose(p, w, rtol=1e-5, atol=1e-6)
    assert minidl.random.default_generator.offset == offset
    assert len(set(found)) == len(found)


@pytest.mark.parametrize("network", NETWORKS)
def test_replayed_steps_are_the_steps(network: str) -> None:
    both(network, "Adam")


@pytest.mark.parametrize("optimizer", [name for name in OPTIMIZERS if name != "Adam"])
def test_optimizers(optimizer: str) -> None:
    both("mlp", optimizer)


def test_clipped_gradients() -> None:
    both("mlp", "Adam", clip=0.05)


def test_the_checked_emulator(monkeypatch: pytest.MonkeyPatch) -> None:
    if not kernels.emulator.available(checked=True):
        pytest.skip("the checked emulator is not built")
    monkeypatch.setitem(
        kernels._by_array, EmulatorArray, Backend(kernels.emulator.Device(checked=True, array=EmulatorArray))
    )
    both("mlp", "Adam")


def test_what_the_host_computes_with_numpy_is_recorded_too() -> None:
    a, b = there(np.arange(6.0).reshape(2, 3)), there(np.ones((2, 3)))
    total = there(np.zeros(3))

    def work() -> minidl.Tensor:
        picked = a.array[np.array([1, 0])]  # a copy
        y = picked.astype(np.float64) * 2 + b.array.T.reshape(2, 3)  # a copy by reshape
        y[0] = y[1] + 1
        total.array[...] = total.array + y.sum(0)
        np.add(total.array, 1, out=total.array)
        return minidl.ops._common.tape.wrap(y)

    expected = here(work()), here(total)
    total.array[...] = 0
    g, y = captured(work)
    np.testing.assert_array_equal(here(total), 0)
    g.replay()
    np.testing.assert_array_equal(here(y), expected[0])
    np.testing.assert_array_equal(here(total), expected[1])
    a.copy_(there(np.full((2, 3), 5.0)))
    g.replay()
    np.testing.assert_array_equal(here(y), [[12, 12, 12], [11, 11, 11]])
    np.testing.assert_array_equal(here(total), expected[1] + 24)


def test_gradients_add_up_where_they_are_kept() -> None:
    w = there(np.array([2.0, 3.0])).requires_grad_()
    x = there(np.array([1.0, 1.0]))

    def work() -> minidl.Tensor:
        (w * x).sum().backward()
        (w * w).sum().backward()
        return w.grad  # type: ignore[return-value]

    work()
    w.grad.zero_()  # type: ignore[union-attr]
    g, grad = captured(work)
    np.testing.assert_array_equal(here(grad), 0)
    for n in (1, 2):
        g.replay()
        np.testing.assert_array_equal(here(grad), [n * 5, n * 7])


def test_new_tensors_are_made_by_the_device() -> None:
    x = there(np.zeros(3))

    def work() -> minidl.Tensor:
        made = [make(3, device=WHERE) for make in (minidl.zeros, minidl.ones, minidl.arange)]
        made[0].add_(2.0)
        return x + made[0] + made[1] + made[2] * 2 + minidl.full((3,), 0.5, device=WHERE) + minidl.zeros_like(x)

    g, y = captured(work)
    for value in (0, 1):
        x.fill_(value)
        g.replay()
        np.testing.assert_array_equal(here(y), value + np.array([3.5, 5.5, 7.5]))


def test_random_numbers_go_on() -> None:
    def work() -> minidl.Tensor:
        return minidl.rand(4, device=WHERE) + minidl.randn(4, device=WHERE)

    minidl.manual_seed(1)
    expected = [here(work()) for _ in range(3)]
    minidl.manual_seed(1)
    g, y = captured(work)
    for numbers in expected:
        g.replay()
        np.testing.assert_array_equal(here(y), numbers)
    minidl.manual_seed(2)
    with pytest.raises(RuntimeError, match="seed is 2, the graph draws with 1"):
        g.replay()


def test_parameters_that_count_apart() -> None:
    """A parameter without a gradient rests; its step count must not move with the others'."""

    def run(capturable: bool) -> list[np.ndarray]:
        a, b = (there(np.ones(3, np.float32)).requires_grad_() for _ in range(2))
        rule = optim.Adam([a, b], lr=0.1, capturable=capturable)
        for n in range(4):
            rule.zero_grad()
            ((a * a).sum() * (n + 1) + (0 if n == 1 else (b * b * b).sum())).backward()
            rule.step()
            if n == 2:
                rule.load_state_dict(rule.state_dict())
        assert [int(rule.state[p]["step"]) for p in (a, b)] == [4, 3]
        return [here(a), here(b)]

    np.testing.assert_allclose(run(True), run(False), rtol=1e-6)


def test_capturable_on_the_cpu() -> None:
    found = []
    for capturable in (False, True):
        w = minidl.ones(3, requires_grad=True)
        rule = optim.Adam([w], lr=0.1, capturable=capturable)
        for _ in range(3):
            rule.zero_grad()
            (w * w).sum().backward()
            rule.step()
        found.append(here(w))
    np.testing.assert_array_equal(found[0], found[1])


def test_the_benchmarks_step() -> None:
    from minidl.bench import gpu_steps
    from minidl.bench.libraries.tensors import Minidl
    from minidl.bench.steps import workloads

    work = next(work for work in workloads() if work.name.startswith("MLP 2-16"))
    inputs = [draw.array(np.random.default_rng(0)) for draw in work.inputs]
    losses = []
    for options in ({}, {"capturable": True}):
        run = gpu_steps._placed(Minidl, WHERE, **options).run(work.kind, [x.copy() for x in inputs], work.options, True)
        run = gpu_steps.captured(run, WHERE) if options else run
        losses.append([run().item() for _ in range(4)])
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-6)
    assert len(set(losses[0])) == 4


# ---------------------------------------------------------------------------------------------------- refusals


def refusals() -> dict[str, tuple[Callable[[minidl.Tensor], Any], str]]:
    def fresh(make: Callable[[Any], optim.Optimizer]) -> Callable[[minidl.Tensor], Any]:
        def work(x: minidl.Tensor) -> None:
            w = x.detach().requires_grad_()
            (w * w).sum().backward()
            make([w]).step()

        return work

    return {
        "item": (lambda x: x.sum().item(), "keep it a tensor, and read it after replay"),
        "float": (lambda x: float(x.sum()), "keep it a tensor"),
        "bool": (lambda x: 1 if x.sum() > 0 else 2, "keep it a tensor"),
        "tolist": (lambda x: x.tolist(), "keep it a tensor"),
        "cpu": (lambda x: x.cpu(), "keep it a tensor"),
        "nonzero": (lambda x: minidl.nonzero(x), "captured"),
        "to": (lambda x: x + minidl.rand(2, 3).to(WHERE), "would be frozen in it; make the tensor before"),
        "copy_": (lambda x: x.copy_(minidl.rand(2, 3)), "would be frozen in it"),
        "Adam": (fresh(lambda p: optim.Adam(p)), "with capturable=True"),
        "RMSprop": (fresh(lambda p: optim.RMSprop(p)), "with capturable=True"),
        "state": (fresh(lambda p: optim.Adam(p, capturable=True)), "take one step before capturing"),
        "buffer": (fresh(lambda p: optim.SGD(p, momentum=0.9)), "take one step before capturing"),
        "again": (lambda x: minidl.cuda.graph(minidl.cuda.CUDAGraph(), device=WHERE).__enter__(), "another graph"),
        "replay": (lambda x: captured_before().replay(), "replay after the capture has ended"),
    }


BEFORE: list[minidl.cuda.CUDAGraph] = []


def captured_before() -> minidl.cuda.CUDAGraph:
    return BEFORE[0]


@pytest.mark.parametrize("name", refusals())
def test_refused_while_capturing(name: str) -> None:
    work, sentence = refusals()[name]
    x = there(np.arange(6, dtype=np.float32).reshape(2, 3))
    BEFORE[:] = [captured(lambda: x + 1)[0]]
    g = minidl.cuda.CUDAGraph()
    with pytest.raises(RuntimeError, match=sentence), minidl.cuda.graph(g, device=WHERE):
        x.mul_(2)
        work(x)
    np.testing.assert_array_equal(here(x), np.arange(6).reshape(2, 3))
    with pytest.raises(RuntimeError, match="nothing has been captured"):
        g.replay()
    assert x.sum().item() == 15  # all is as before


def test_options_that_changed_are_refused() -> None:
    _, rule, step = learner("mlp", "AdamW")
    x, y = map(there, batches("mlp")[0])
    step(x, y)
    g, _ = captured(step, x, y)
    g.replay()
    rule.param_groups[0]["weight_decay"] = 0.5
    with pytest.raises(RuntimeError, match="weight_decay is 0.5, the graph was captured with 0.01"):
        g.replay()


def test_state_that_was_replaced_is_refused() -> None:
    _, rule, step = learner("mlp", "Adam")
    x, y = map(there, batches("mlp")[0])
    step(x, y)
    g, _ = captured(step, x, y)
    rule.load_state_dict(rule.state_dict())
    with pytest.raises(RuntimeError, match="have been replaced"):
        g.replay()


def test_a_graph_keeps_the_memory_that_it_uses() -> None:
    model, _, step = learner("mlp", "Adam")
    x, y = map(there, batches("mlp")[0])
    step(x, y)
    g, loss = captured(step, x, y)
    del model, step, x, y
    losses = []
    for _ in range(5):
        g.replay()
        losses.append(loss.item())
    assert len(set(losses)) == 5 and np.all(np.isfinite(losses))


def test_bad_targets_and_words_are_told_after_the_replay() -> None:
    _, _, step = learner("language", "Adam")
    x, y = map(there, batches("language")[0])
    step(x, y)
    g, _ = captured(step, x, y)
    y[3] = 7
    with pytest.raises(IndexError, match="target 7 at 3"):
        g.replay()
    y[3] = 0
    x[1, 2] = 7
    with pytest.raises((IndexError, ValueError), match="7"):
        g.replay()
    x[1, 2] = 1
    g.replay()


def test_ignored_targets() -> None:
    x = there(np.arange(12, dtype=np.float32).reshape(4, 3) / 7)
    y = there(np.array([0, 1, 2, 1]))
    g, loss = captured(lambda: F.cross_entropy(x, y) + F.nll_loss(F.log_softmax(x, 1), y))
    for ignored in (0, 1, 3):
        y[:ignored] = -100
        g.replay()
        expected = F.cross_entropy(x.cpu(), y.cpu()).item()
        np.testing.assert_allclose(loss.item(), 2 * expected, rtol=1e-6)


def test_arguments() -> None:
    with pytest.raises(RuntimeError, match="nothing has been captured"):
        minidl.cuda.CUDAGraph().replay()
    with pytest.raises(TypeError, match="expected a minidl.cuda.CUDAGraph"):
        minidl.cuda.graph(None)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="the CPU has no graphs"):
        minidl.cuda.graph(minidl.cuda.CUDAGraph(), device="cpu")
    g, _ = captured(there_is_nothing)
    assert not minidl.cuda.is_current_stream_capturing()
    g.replay()
    g.reset()
    with pytest.raises(RuntimeError, match="nothing has been captured"):
        g.replay()


def there_is_nothing() -> minidl.Tensor:
    assert minidl.cuda.is_current_stream_capturing()
    return minidl.zeros(())


# ------------------------------------------------------------------------------------------------------- CuPy


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeCupy]:
    module = FakeCupy()
    for name in ("cupyx", "cupyx.scipy"):
        monkeypatch.setitem(sys.modules, name, FakeCupy())
    monkeypatch.setitem(sys.modules, "cupy", module)
    monkeypatch.setitem(sys.modules, "cupyx.scipy.special", module.special)
    gpu._device.cache_clear()
    gpu._cupy.cache_clear()
    yield module
    gpu._device.cache_clear()
    gpu._cupy.cache_clear()


def test_on_cupy_the_calls_are_made_in_order(fake: FakeCupy) -> None:
    device = gpu.device()
    backend: Any = Backend(device)
    x, rate = gpu.to_device(np.array([1.0, 2.0])), [0.5]
    backend.exp(x)
    graph = graphs.Captured(device)
    graph.begin()
    assert fake.pinned is graphs._no_copies
    with pytest.raises(RuntimeError, match="would be frozen"):
        fake.pinned(8)
    lr = graph.number(np.float64, lambda: rate[0], rate[0])
    y = backend.mul(backend.add(x, np.float64(1)), lr)
    with pytest.raises(RuntimeError, match="would be frozen"):
        device.adopt(np.ones(2))
    with pytest.raises(RuntimeError, match="read it after replay"):
        gpu.to_host(y)
    with pytest.raises(RuntimeError, match="read it after replay"):
        gpu.synchronize()
    assert any(each is x for each in graph._kept.values())
    seen: list[int] = []
    device.later(lambda: seen.append(1))
    waits = fake.waits
    graph.end()
    assert fake.pinned == "CuPy's own"
    assert fake.waits == waits
    for values, rate[0], expected in (([1.0, 2.0], 0.5, [1, 1.5]), ([3.0, 5.0], 2.0, [8, 12])):
        x[...] = gpu.to_device(np.array(values))
        graph.replay()
        np.testing.assert_array_equal(gpu.to_host(y), expected)
    assert seen == [1, 1]
    assert fake.calls == [
        "enter pool", "enter stream", "begin relaxed", "end", "leave stream", "leave pool", "launch", "launch"
    ]  # fmt: skip


def test_on_cupy_a_capture_that_fails_leaves_nothing_behind(fake: FakeCupy) -> None:
    device = gpu.device()
    fake.failures["capture"] = CUDARuntimeError("cudaErrorStreamCaptureUnsupported: operation not permitted")
    with pytest.raises(RuntimeError):
        graphs.Captured(device).begin()
    assert fake.calls == ["enter pool", "enter stream", "leave stream", "leave pool"]
    assert fake.pinned == "CuPy's own"


def test_on_cupy_memory_that_was_given_back_in_between_is_noticed(fake: FakeCupy) -> None:
    graph = graphs.Captured(gpu.device())
    graph.begin()
    graph._malloc(512)
    graph.pool.total = 0
    graph._malloc(256)
    with pytest.raises(MemoryError, match="memory is full while a step is captured"):
        graph.end()


def test_the_emulators_work_is_not_lost_in_a_gpus_graph(fake: FakeCupy) -> None:
    x = there(np.ones(3))
    graph = graphs.Captured(gpu.device())
    graph.begin()
    try:
        for work in (lambda: x + 1, lambda: x.array + 1, lambda: x.array.copy()):
            with pytest.raises(RuntimeError, match="while a graph of device 'cuda' is captured"):
                work()
    finally:
        graph.end()
