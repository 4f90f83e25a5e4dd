"""The device of CuPy's arrays: on a stand-in for CuPy whose kernels are the emulator's; on a GPU where there is one."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from fake_cupy import Array, CompileException, CUDADriverError, CUDARuntimeError, FakeCupy, OutOfMemoryError

from minidl.kernels import emulator, gpu, reference
from minidl.kernels.cuda import Backend

ONE = (1, 1)
NEEDS_EMULATOR = pytest.mark.skipif(
    not emulator.available(checked=False), reason="the quick emulator is not built: python setup.py build_ext --inplace"
)


def forget() -> None:
    gpu._device.cache_clear()
    gpu._cupy.cache_clear()


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeCupy]:
    module = FakeCupy()
    monkeypatch.setitem(sys.modules, "cupy", module)
    monkeypatch.setitem(sys.modules, "cupyx", FakeCupy())
    monkeypatch.setitem(sys.modules, "cupyx.scipy", FakeCupy())
    monkeypatch.setitem(sys.modules, "cupyx.scipy.special", module.special)
    forget()
    yield module
    forget()


# ----------------------------------------------------------------------------------------------- all verbs


def numbers(*shape: int, seed: int = 0, kind: Any = np.float32) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(kind)


def calls(kind: Any) -> dict[str, list[tuple[Any, ...]]]:
    """Arguments for every verb of the reference."""
    x, y, row = numbers(3, 5, kind=kind), numbers(3, 5, seed=1, kind=kind), numbers(5, seed=2, kind=kind)
    image, filters = numbers(2, 4, 6, 5, kind=kind), numbers(6, 2, 3, 2, seed=1, kind=kind)
    bias = numbers(6, kind=kind)
    positive = np.abs(x) + kind(0.1)
    gates = np.abs(numbers(2, 4, 3, kind=kind)) % 1
    target = np.array([4, -100, 1])
    index = np.array([[0, 2, 1, 0, 2], [1, 1, 0, 2, 2]])
    step = [(2, 1), (1, 0), (1, 2), 2]
    found: dict[str, list[tuple[Any, ...]]] = {}
    for name in "neg abs sign exp expm1 square reciprocal sin cos tanh sigmoid erf floor ceil round relu silu".split():
        found[name] = [(x,), (x.T,), (x[::-1, ::2],)]
    for name in "log log1p log2 sqrt rsqrt".split():
        found[name] = [(positive,)]
    for name in "add sub mul div maximum minimum floor_divide remainder eq ne lt le gt ge".split():
        found[name] = [(x, y), (x, row), (x.T, y.T), (x, np.array(2.5, kind))]
    found |= {"pow": [(positive, y)], "gelu": [(x,), (x, "tanh")], "gelu_gradient": [(y, x), (y, x, "tanh")]}
    for name in "relu tanh sigmoid silu".split():
        found[f"{name}_gradient"] = [(y, x)]
    found |= {"clamp": [(x, -0.5, 0.5), (x, None, 0.1), (x, 0.1, None)], "where": [(x > 0, x, y), (x > 0, x, row)]}
    for name in "sum mean prod amax amin logsumexp".split():
        found[name] = [(x, (0,), False), (x, (0, 1), True), (image, (0, 2, 3), False), (x.T, (1,), True)]
    found |= {name: [(x, 1, False), (x, 0, True)] for name in ("argmax", "argmin")}
    found |= {name: [(x > 0, (1,), False), (x > 0, (0, 1), True)] for name in ("any", "all")}
    found |= {"var": [(x, (1,), 1, False), (image, (0, 2, 3), 0, True)], "cumsum": [(x, 0), (x, 1)]}
    found |= {"matmul": [(x, y.T), (numbers(2, 1, 3, 4, kind=kind), numbers(5, 4, 2, kind=kind)), (x.T, y)]}
    found |= {"linear": [(x, y, None), (image[..., :5], y, bias[:3])]}
    found |= {"linear_gradient": [(numbers(2, 3, kind=kind), numbers(2, 5, kind=kind), x, (True, True, True))]}
    found |= {"conv2d": [(image, filters, bias, *step), (image, filters, None, *step)]}
    found |= {"conv2d_winograd": [(image, numbers(3, 4, 3, 3, kind=kind), None, ONE, 2)]}
    out = reference.conv2d(image, filters, None, *step)  # type: ignore[arg-type]
    found |= {"conv2d_input": [(out, filters, (6, 5), *step)], "conv2d_weight": [(image, out, (3, 2), *step)]}
    pool: tuple[Any, ...] = ((3, 2), (2, 1), (1, 1), (1, 1), True)
    peaks, places = reference.max_pool2d(image, *pool)
    found |= {"max_pool2d": [(image, *pool)], "max_pool2d_input": [(peaks, places, (6, 5))]}
    found |= {
        "avg_pool2d": [(image, (3, 2), (2, 1), ONE, True, False), (image, (2, 2), (2, 2), (0, 0), False, True, 3)]
    }
    means = reference.avg_pool2d(image, (3, 2), (2, 1), ONE, True, False)
    found |= {"avg_pool2d_input": [(means, (6, 5), (3, 2), (2, 1), ONE, True, False)]}
    found |= {"pooled_size": [(7, 3, 2, 1, 1, True)]}
    found |= {name: [(x, 1), (image, 1)] for name in ("softmax", "log_softmax")}
    found |= {f"{name}_gradient": [(y, x, 1), (y, x, 0)] for name in ("softmax", "log_softmax")}
    found |= {"cross_entropy": [(x, target, None, -100, 0.0), (x, target, np.abs(row), -100, 0.1)]}
    lse = reference.logsumexp(x, (1,), False)
    found |= {
        "cross_entropy_gradient": [
            (lse, x, target, lse, None, -100, 0.0),
            (lse, x, target, lse, np.abs(row), -100, 0.1),
        ]
    }
    every = (True, True, True)
    y1, mu, rstd = reference.layer_norm(x, 1, row, row, 1e-5)
    found |= {"layer_norm": [(x, 1, row, row, 1e-5), (image, 2, None, None, 1e-5)]}
    found |= {"layer_norm_gradient": [(y, x, 1, mu, rstd, row, every)]}
    found |= {"rms_norm": [(x, 1, row, 1e-5)], "rms_norm_gradient": [(y, x, 1, rstd, row, (True, True))]}
    scale = np.abs(numbers(4, kind=kind)) + 1
    found |= {"batch_norm": [(image, None, None, scale, scale, 1e-5), (image, scale, scale, None, None, 1e-5)]}
    found |= {"batch_norm_gradient": [(image[::-1].copy(), image, scale, scale, scale, 1e-5, True, every)]}
    q, k, v = (numbers(2, 3, 5, 4, seed=n, kind=kind) for n in range(3))
    attended, lse4 = reference.attention(q, k, v, None, True, 0.5)
    found |= {"attention": [(q, k, v, None, True, 0.5), (q, k, v, q[..., :1] > 0, False, 0.5)]}
    found |= {"attention_gradient": [(v, q, k, v, attended, lse4, None, True, 0.5)]}
    found |= {"gather": [(x, 0, index)], "scatter_add": [(x, 0, index, y[:2])]}
    found |= {"take_rows": [(x, index)], "add_rows": [((3, 5), index, numbers(2, 5, 5, kind=kind))]}
    w, m, s = [x.copy(), row.copy()], [y * 0, row * 0], [positive.copy(), np.abs(row)]
    g = [y, row]
    found |= {"sgd_step": [(w, g, None, 0.1, 0.0, 0.0, 0.1, False, False), (w, g, m, 0.1, 0.9, 0.1, 0.1, True, True)]}
    found |= {"adam_step": [(w, g, m, s, 3, 0.1, 0.9, 0.99, 1e-8, 0.1, flag) for flag in (True, False)]}
    found |= {"amsgrad_step": [(w, g, m, s, s, 3, 0.1, 0.9, 0.99, 1e-8, 0.1, True)]}
    found |= {"adagrad_step": [(w, g, s, 0.1, 1e-8, 0.1)], "adadelta_step": [(w, g, s, s, 0.1, 0.9, 1e-6, 0.1)]}
    found |= {"rmsprop_step": [(w, g, s, None, m, 0.1, 0.9, 1e-8, 0.1, 0.9)]}
    found |= {"squared_norm": [(g,)], "scale_in_place": [(w, 0.3)]}
    h = numbers(2, 3, kind=kind)
    found |= {"lstm_step": [(gates, gates, h)], "gru_step": [(gates[:, :3], gates[:, :3], h)]}
    found |= {"lstm_step_gradient": [(np.stack([h, h]), gates, h, np.stack([h, h]))]}
    found |= {"gru_step_gradient": [(h, gates[:, :3], gates[:, :3], h)]}
    found |= {"philox": [(7, 3, 11)], "uniform": [(7, 3, 11, np.dtype(kind))], "normal": [(7, 3, 11, np.dtype(kind))]}
    found |= {"dropout": [(x, 0.5, 7, 3)], "masked_scale": [(x, y > 0, 2.0)]}
    return found


VERBS = sorted(
    name
    for name, verb in vars(reference).items()
    if callable(verb)
    and not name.startswith("_")
    and not isinstance(verb, type)
    and name not in ("Any", "Pair", "Needed", "sliding_window_view")
)


def copied(x: Any, to: Any) -> Any:
    if isinstance(x, tuple | list):
        return type(x)(copied(each, to) for each in x)
    return to(x) if isinstance(x, np.ndarray | Array) else x


def same(got: Any, wanted: Any, verb: str) -> None:
    if isinstance(wanted, tuple | list):
        assert len(got) == len(wanted), verb
        for a, b in zip(got, wanted):
            same(a, b, verb)
    elif isinstance(wanted, np.ndarray | np.generic):
        assert got.dtype == wanted.dtype and got.shape == wanted.shape, verb
        np.testing.assert_allclose(got, wanted, rtol=2e-5, atol=1e-5, err_msg=verb)
    else:
        expected = pytest.approx(wanted, rel=1e-6) if isinstance(wanted, float) else wanted
        assert wanted is None or got == expected, verb


@NEEDS_EMULATOR
@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_on_arrays_as_particular_as_cupys(fake: FakeCupy, verb: str, kind: Any) -> None:
    backend = Backend(gpu.device())
    for args in calls(kind)[verb]:
        there, here = copied(args, lambda x: Array(x.copy(order="K"))), copied(args, np.copy)
        got = getattr(backend, verb)(*there)
        if verb not in ("pooled_size", "squared_norm") and not verb.endswith(("step", "in_place")):
            assert all(isinstance(each, Array) for each in (got if isinstance(got, tuple) else (got,))), type(got)
        same(copied(got, gpu.to_host), getattr(reference, verb)(*here), verb)
        same(copied(there, gpu.to_host), here, verb)  # what was written in place, and nothing else


def test_a_verb_that_cupy_cannot_compute_is_computed_on_the_host(fake: FakeCupy) -> None:
    device = gpu.device()
    fake.take_along_axis = fake.sqrt = lambda *args, **named: exec("raise TypeError('no such type')")
    x, target = numbers(3, 5), np.array([4, 0, 1])
    losses, lse = device.plain.cross_entropy(Array(x), Array(target), None, -100, 0.0)
    assert isinstance(losses, Array)
    same((losses.host, lse.host), reference.cross_entropy(x, target, None, -100, 0.0), "cross_entropy")
    with pytest.raises(TypeError, match="no such type"):  # it may have written to its arguments already
        device.plain.adagrad_step([Array(x)], [Array(x)], [Array(x * x)], 0.1, 1e-8, 0.0)
    with pytest.raises(ValueError, match="index holds 7"):
        device.plain.take_rows(Array(x), Array(np.array([7])))


# ------------------------------------------------------------------------------------------------ launches


@NEEDS_EMULATOR
def test_a_launch_as_cupy_sees_it(fake: FakeCupy) -> None:
    device = gpu.device()
    assert device.array is gpu.array_type() is fake.ndarray and device.capability == 90
    first = len(fake.launches)
    a, b = (gpu.to_device(numbers(40, 36, seed=n)) for n in range(2))
    backend = Backend(device)
    backend.matmul(a, b.T)
    backend.matmul(a, b.T)
    (kernel, grid, block, args, shared), again = fake.launches[first:]
    assert (kernel, grid, block, shared) == ("matmul::warp_tiled<float>", (1, 1, 1), (256,), 0)
    assert [int(x) for x in args[:3]] == [40, 40, 36]
    matrix = np.frombuffer(args[4].tobytes(), np.int64)
    assert matrix.tolist()[:3] == [b.data.ptr, 1, 36]  # address and strides of B
    assert len(fake.modules) == 1 and again[0] == kernel  # compiled once
    (module,) = fake.modules
    assert module["name_expressions"] == (kernel,) and "-std=c++17" in module["options"]
    assert "void __launch_bounds__(THREADS) warp_tiled" in module["code"] and module["backend"] == "nvrtc"
    assert fake.waits == 0 and fake.current == [0]


@NEEDS_EMULATOR
def test_a_second_gpu_is_the_current_one_while_it_works(monkeypatch: pytest.MonkeyPatch, fake: FakeCupy) -> None:
    monkeypatch.setitem(sys.modules, "cupy", two := FakeCupy(gpus=2))
    forget()
    seen: list[int] = []
    empty = two.empty

    def watched(shape: Any, dtype: Any) -> Array:
        seen.append(two.current[-1])
        return empty(shape, dtype)

    monkeypatch.setattr(two, "empty", watched)
    Backend(gpu.device(1)).exp(gpu.to_device(numbers(3), 1))
    assert seen == [1] and two.current == [0]
    with pytest.raises(RuntimeError, match=r"'cuda:2': this machine has 2 GPU\(s\): use 'cuda:0', 'cuda:1'"):
        gpu.device(2)
    gpu.synchronize(1)
    assert two.waits == 1 and two.freed == 0
    gpu.empty_cache()
    assert two.freed == 1


def test_arguments_are_passed_by_value(fake: FakeCupy) -> None:
    class Two:
        arrays = {"a": Array(np.zeros(3)), "b": Array(np.zeros(4))}

        def pack(self, addresses: dict[str, int]) -> bytes:
            return np.array([addresses["b"], addresses["a"]], np.int64).tobytes()

    class Alone:
        array = None

        def pack(self, address: int = 5) -> bytes:
            return bytes([address]) * 3

    two = Two()
    assert gpu._packed(-3).tobytes() == (-3).to_bytes(8, "little", signed=True)
    assert gpu._packed(2**64 - 1) == np.uint64(2**64 - 1)
    assert gpu._packed(np.float32(2)) == np.float32(2) and gpu._packed(np.float32(2)).itemsize == 4
    assert gpu._packed(two.arrays["a"]) == np.uint64(two.arrays["a"].data.ptr)
    assert gpu._packed(two).tobytes() == two.pack({name: x.data.ptr for name, x in two.arrays.items()})
    assert gpu._packed(two).size == 1 and gpu._packed(Alone()).tobytes() == b"\5\5\5"


def test_looks_wait_until_the_host_waits(fake: FakeCupy) -> None:
    device, seen = gpu.device(), []
    device.later(lambda: seen.append(1))
    assert not seen
    gpu.to_host(Array(np.ones(3)))
    assert seen == [1]
    for n in range(gpu.MOST_LOOKS - 1):
        device.later(lambda n=n: seen.append(n))
    assert seen == [1] and fake.waits == 0
    device.later(lambda: seen.append(-1))
    assert len(seen) == 1 + gpu.MOST_LOOKS and seen[-1] == -1

    def wrong() -> None:
        raise ValueError("take_rows: index holds 7")

    device.later(wrong)
    with pytest.raises(ValueError, match="index holds 7"):
        gpu.synchronize()
    gpu.synchronize()  # said once


def test_much_dynamic_shared_memory_is_asked_for(fake: FakeCupy) -> None:
    device = gpu.device()
    kernel = device.cupy.RawKernel("", "answer")
    device._functions["answer"] = kernel
    y = Array(np.zeros(1, np.int32))
    device.launch("answer", (1,), (1,), {"y": y}, ["y"], shared=100_000)
    assert y.host[0] == 42 and kernel.max_dynamic_shared_size_bytes == 100_000


# ----------------------------------------------------------------------------------------------- sentences

NO_DRIVER = CUDARuntimeError("cudaErrorInsufficientDriver: CUDA driver version is insufficient")
UNAVAILABLE: list[tuple[dict[str, Any], int, str]] = [
    ({"count": NO_DRIVER}, 0, "there is no NVIDIA driver: install it"),
    ({"count": NO_DRIVER}, 11080, "the NVIDIA driver supports CUDA 11.8, CuPy needs 13.2: update it"),
    ({"count": CUDARuntimeError("cudaErrorNoDevice: no CUDA-capable device is detected")}, 13020, "finds no GPU"),
    ({"gpus": 0}, 13020, r"'cuda:0': this machine has 0 GPU\(s\)"),
    ({"new": CUDARuntimeError("cudaErrorDevicesUnavailable: busy")}, 13020, "another process holds the GPU"),
    ({"new": OutOfMemoryError("Out of memory allocating 512 bytes")}, 13020, "memory is full"),
    (
        {"compile": CompileException("x.cu(3): warning: w\nx.cu(7): error: gone\n1 error")},
        13020,
        r"x\.cu\(7\): error: gone;",
    ),
    ({"launch": CUDADriverError("CUDA_ERROR_NO_BINARY_FOR_GPU: no kernel image")}, 13020, "does not know this GPU"),
    ({"launch": CUDADriverError("CUDA_ERROR_OPERATING_SYSTEM: x")}, 13020, r"the GPU refuses \(CUDA_ERROR_OPER"),
]


@pytest.mark.parametrize(("options", "driver", "words"), UNAVAILABLE, ids=[words for *_, words in UNAVAILABLE])
def test_why_there_is_no_gpu(
    monkeypatch: pytest.MonkeyPatch, fake: FakeCupy, options: dict[str, Any], driver: int, words: str
) -> None:
    monkeypatch.setitem(sys.modules, "cupy", module := FakeCupy(**options))
    module.versions = (driver, 13020)
    forget()
    why = gpu.available()
    assert why is not None and re.search(words, why) and "emulator" in why and "\n" not in why and "'cuda" in why
    with pytest.raises((RuntimeError, MemoryError)) as caught:
        gpu.device()
    assert str(caught.value) == why
    module.failures.clear()
    assert options.get("gpus") == 0 or gpu.available() is None  # what failed once is tried again


def test_without_cupy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", None)
    forget()
    for ask in (gpu.count, gpu.device, gpu.array_type, lambda: gpu.to_device(np.ones(3))):
        with pytest.raises(RuntimeError, match=r"CuPy does not load .*pip install 'minidl\[cuda13\]'.*'emulator'"):
            ask()


@NEEDS_EMULATOR
def test_errors_of_a_gpu_at_work(fake: FakeCupy) -> None:
    device = gpu.device()
    backend, x = Backend(device), gpu.to_device(numbers(4))
    wrong: list[tuple[str, Exception, type[Exception], str]] = [
        (
            "launch",
            CUDADriverError("CUDA_ERROR_ILLEGAL_ADDRESS: an illegal memory access"),
            RuntimeError,
            "GPU was lost",
        ),
        ("launch", CUDADriverError("CUDA_ERROR_OUT_OF_MEMORY: out of memory"), MemoryError, "memory is full"),
        ("copy", CUDARuntimeError("cudaErrorLaunchFailure: unspecified launch failure"), RuntimeError, "was lost"),
        ("new", OutOfMemoryError("Out of memory allocating 1,024 bytes"), MemoryError, r"new array \(4,\) of float32"),
    ]
    for where, raised, kind, words in wrong:
        fake.failures[where] = raised
        with pytest.raises(kind, match=words) as caught:
            gpu.to_host(backend.exp(x))
        assert "emulator" in str(caught.value) and "\n" not in str(caught.value)
        assert caught.value.__cause__ is raised
        fake.failures.clear()
        np.testing.assert_allclose(gpu.to_host(backend.exp(x)), np.exp(x.host), rtol=1e-6)
    fake.failures["compile"] = CompileException(
        'elementwise.cu(70): error: identifier "y" is undefined\n1 error detected'
    )
    with pytest.raises(RuntimeError, match=r"elementwise::.*Sin.*: NVRTC refuses .*\(70\): error: identifier \"y\""):
        backend.sin(x)
    missing = type("DynamicLibNotFoundError", (RuntimeError,), {})("Failure finding libnvrtc.so.13")
    fake.failures["compile"] = missing
    with pytest.raises(RuntimeError, match=r"a library of CUDA is missing .*minidl\[cuda13\]"):
        backend.sin(x)


def test_a_kernel_of_no_file_is_refused(fake: FakeCupy) -> None:
    with pytest.raises(ValueError, match="no kernel file has the namespace 'no'; there are .*matmul"):
        gpu.device().launch("no::kernel<float>", (1,), (1,), {}, [])
    with pytest.raises(ValueError, match="CUDA allows"):
        gpu.device().launch("matmul::naive<float>", (0,), (1,), {}, [])


def test_the_real_cupy_says_the_same_without_a_driver() -> None:
    if importlib.util.find_spec("cupy") is None:
        pytest.skip("needs CuPy: pip install 'minidl[cuda13]'")
    forget()
    why = gpu.available()
    if why is None:
        pytest.skip("here is a GPU")
    assert "device 'cuda'" in why and "emulator" in why and "\n" not in why
    plain = gpu.Device(0).plain
    assert all(hasattr(plain, verb) for verb in VERBS)


# ----------------------------------------------------------------------------------------------- on a real GPU


@pytest.fixture
def real() -> gpu.Device:
    forget()
    why = gpu.available()
    if why is not None:
        pytest.skip(why)
    return gpu.device()


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_on_the_gpu(real: gpu.Device, verb: str, kind: Any) -> None:
    backend = Backend(real)
    for args in calls(kind)[verb]:
        there, here = copied(args, gpu.to_device), copied(args, np.copy)
        got = getattr(backend, verb)(*there)
        back = lambda x: gpu.to_host(x) if isinstance(x, gpu.array_type()) else x
        got = tuple(map(back, got)) if isinstance(got, tuple) else back(got)
        same(got, getattr(reference, verb)(*here), verb)
