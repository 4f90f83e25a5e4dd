"""Tensors among other things: sizes, arrays of other libraries, bfloat16, values of wrong types."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import minidl
from minidl import Tensor, autograd


def test_the_device_is_the_cpu() -> None:
    assert isinstance(minidl.float32, minidl.dtype) and minidl.device("cpu") == minidl.zeros(1).device
    assert minidl.cuda.is_available() is False and minidl.cuda.device_count() == 0
    with pytest.raises(RuntimeError, match=r"cuda\.synchronize: .*CPU"):
        minidl.cuda.synchronize()
    assert isinstance(minidl.Generator("cpu").manual_seed(3), minidl.Generator)


def test_sizes_know_how_many_elements_they_make() -> None:
    x = minidl.zeros(2, 3, dtype=minidl.float64)
    assert isinstance(x.shape, minidl.Size) and x.size() == minidl.Size([2, 3]) == (2, 3) and x.shape.numel() == 6
    assert x.size(-1) == x.size(dim=1) == 3 and x.element_size() == 8
    with pytest.raises(IndexError, match="size: "):
        x.size(2)


# ------------------------------------------------------------------------------------- arrays of other libraries


@pytest.mark.peers
@pytest.mark.parametrize("name", ["float64", "float32", "float16", "int64", "int32", "int16", "uint8", "bool"])
def test_dlpack_shares_memory_both_ways(name: str) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: nothing to exchange with")
    theirs = torch.zeros(2, 3).to(getattr(torch, name))
    ours = minidl.from_dlpack(theirs)
    theirs[0, 1] = 1
    assert ours.dtype == getattr(minidl, name) and ours.tolist() == theirs.tolist()
    ours = minidl.zeros(3, 2, dtype=getattr(minidl, name)).T
    theirs = torch.from_dlpack(ours)
    ours[0, 1] = 1
    assert theirs.dtype == getattr(torch, name) and ours.tolist() == theirs.tolist()


def test_dlpack_refuses_with_a_sentence() -> None:
    with pytest.raises(TypeError, match=r"from_dlpack: expected an array with __dlpack__, got int"):
        minidl.from_dlpack(3)
    with pytest.raises(RuntimeError, match="detach"):
        np.from_dlpack(minidl.ones(2, requires_grad=True))


# ----------------------------------------------------------------------------------------------------- bfloat16

B = {
    "add": lambda m, x: x + x, "times": lambda m, x: 2.5 * x, "divided": lambda m, x: x / 3,
    "square": lambda m, x: x**2, "matmul": lambda m, x: x @ x, "einsum": lambda m, x: m.einsum("ij,jk->ik", x, x),
    "sum": lambda m, x: x.sum(0), "mean": lambda m, x: x.mean(), "var": lambda m, x: x.var(1),
    "amax": lambda m, x: x.amax(0), "max": lambda m, x: x.max(1)[0], "softmax": lambda m, x: x.softmax(1),
    "exp": lambda m, x: x.exp(), "tanh": lambda m, x: x.tanh(), "erf": lambda m, x: x.erf(),
    "cat": lambda m, x: m.cat([x, x]), "where": lambda m, x: m.where(x > 2, x, x * 2),
    "clamp": lambda m, x: x.clamp(0, 2), "index": lambda m, x: x[[0, 1]], "view": lambda m, x: x.T[0],
    "sort": lambda m, x: x.sort(1)[0], "mixed": lambda m, x: x.float() + x,
    "linear": lambda m, x: m.nn.functional.linear(x, x), "norm": lambda m, x: x.norm(),
    "gelu": lambda m, x: m.nn.functional.gelu(x), "cumsum": lambda m, x: x.cumsum(1), "prod": lambda m, x: x.prod(0),
}  # fmt: skip


@pytest.mark.peers
@pytest.mark.parametrize("name", B)
def test_bfloat16_beside_pytorchs(name: str) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: nothing to compare with")
    pytest.importorskip("ml_dtypes", reason="bfloat16 needs ml_dtypes; pip install ml_dtypes")
    data = [[1.0, -2.0], [3.0, 4.5]]
    x, z = (m.tensor(data, dtype=m.bfloat16, requires_grad=True) for m in (minidl, torch))
    y, w = B[name](minidl, x), B[name](torch, z)
    assert y.dtype.name == str(w.dtype).removeprefix("torch.")
    np.testing.assert_allclose(y.detach().double().numpy(), w.detach().double().numpy(), rtol=2e-2)
    y.sum().backward(), w.sum().backward()
    assert x.grad is not None and x.grad.dtype == minidl.bfloat16
    np.testing.assert_allclose(x.grad.double().numpy(), z.grad.double().numpy(), rtol=3e-2, atol=1e-2)


# ------------------------------------------------------------------------------------------------ recording or not


def test_recording_is_turned_off_in_every_way_that_pytorch_has() -> None:
    x = minidl.ones(2, requires_grad=True)

    @minidl.no_grad
    def bare(t: Tensor) -> Tensor:
        return t * 2

    @minidl.inference_mode()
    def called(t: Tensor) -> Tensor:
        return t * 2

    assert not bare(x).requires_grad and not called(x).requires_grad and bare.__name__ == "bare"
    with minidl.inference_mode(False):
        assert (x * 2).requires_grad
    with minidl.no_grad(), minidl.enable_grad():
        assert (x * 2).requires_grad
    assert minidl.is_grad_enabled()


# ------------------------------------------------------------------------------------------------ wrong types


def test_a_tensor_is_not_equal_to_what_is_no_number() -> None:
    x = minidl.ones(2)
    assert (x == None) is False and (x != None) is True and (x == "x") is False  # noqa: E711
    assert (x == np.ones(2)).tolist() == (np.ones(2) == x).tolist() == [True, True]
    assert {x: 1}[x] == 1


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda x: autograd.grad((x * x).sum(), x, "a"), "grad: the gradient must be a Tensor, got str"),
        (lambda x: (x * x).sum().backward("a"), "backward: the gradient must be a Tensor, got str"),
        (lambda x: autograd.grad((x * x).sum(), 3), "grad: input 0 is int, not a Tensor"),
        (lambda x: setattr(x, "grad", 3), "grad: expected a Tensor or None, got int"),
        (lambda x: setattr(x, "data", 3), "data: expected a Tensor, got int"),
        (lambda x: setattr(x, "requires_grad", "no"), "requires_grad_: requires_grad must be True or False, got 'no'"),
        (lambda x: x.register_hook(3), "register_hook: expected a function of the gradient, got int"),
        (lambda x: minidl.set_grad_enabled("a"), "set_grad_enabled: mode must be True or False, got 'a'"),
        (lambda x: minidl.rand(2, generator=3), "generator: expected a Generator, got int"),
        (lambda x: minidl.zeros(2, dtype="float33"), "dtype: 'float33' is not supported"),
        (lambda x: minidl.tensor(None), "tensor: cannot make a tensor of object data"),
        (lambda x: minidl.einsum([0, 1], x), "einsum: equation must be a text"),
    ],
)
def test_wrong_types_are_named(call: Any, sentence: str) -> None:
    with pytest.raises(TypeError, match=f"^{sentence}"):
        call(minidl.ones(3, requires_grad=True))
