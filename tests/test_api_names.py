"""The public API: every name is there, documented, typed, a method where PyTorch has one, and called as PyTorch's."""

from __future__ import annotations

import importlib
import inspect
import typing
from collections.abc import Iterable
from importlib.util import find_spec
from typing import Any

import api_names as api
import numpy as np
import pytest

import minidl
from minidl.explain import formulas

# ------------------------------------------------------------------------------------------------ the names


def look_up(root: Any, path: str) -> Any:
    """root.a.b.c; modules are imported on the way. AttributeError where there is no such name."""
    found = root
    for name in path.split("."):
        try:
            if not hasattr(found, name):
                importlib.import_module(f"{found.__name__}.{name}")
            found = getattr(found, name)
        except ImportError:
            raise AttributeError(f"{root.__name__} has no {path}") from None
    return found


def paths(names: dict[str, list[str]]) -> list[str]:
    return [f"{where}.{name}" if where else name for where, several in names.items() for name in several]


def there(path: str) -> bool:
    try:
        look_up(minidl, path)
    except AttributeError:
        return False
    return True


PEERS = paths(api.NAMES)
ALL = [*PEERS, *paths(api.OWN)]


@pytest.mark.parametrize("path", ALL)
def test_the_name_is_there(path: str) -> None:
    assert there(path), f"minidl.{path} does not exist"


@pytest.mark.parametrize("name", [*api.ATTRIBUTES.split(), *api.OPERATORS.split()])
def test_tensors_have_it(name: str) -> None:
    assert hasattr(minidl.Tensor, name) or hasattr(minidl.ones(1), name), f"Tensor has no {name}"


def test_dtypes_are_numpys_under_pytorchs_names() -> None:
    aliases = {"float": "float32", "double": "float64", "half": "float16", "long": "int64", "int": "int32"}
    for name in api.DTYPES.split():
        if name == "bfloat16" and not find_spec("ml_dtypes"):
            continue  # NumPy has none of its own
        assert np.dtype(getattr(minidl, name)) == np.dtype(getattr(minidl, aliases.get(name, name))), name
        if name != "bfloat16":
            assert np.dtype(getattr(minidl, name)) == np.dtype(aliases.get(name, name)), name
    assert minidl.ones(1).dtype == minidl.float32


def test_no_name_is_listed_twice() -> None:
    for names in (ALL, api.ATTRIBUTES.split(), api.OPERATORS.split(), api.DTYPES.split()):
        assert len(names) == len(set(names)), sorted(name for name in names if names.count(name) > 1)


# ---------------------------------------------------------------------------------------------- documentation


def documented(thing: Any) -> str:
    """The docstring of its own: a class does not speak through its base."""
    text = vars(thing).get("__doc__") if inspect.isclass(thing) else getattr(thing, "__doc__", None)
    return text or ""


@pytest.mark.parametrize("path", ALL)
def test_it_is_documented(path: str) -> None:
    """By a formula that can be read, or by a sentence."""
    thing = look_up(minidl, path)
    text = documented(thing).strip()
    assert text, f"minidl.{path} has no docstring"
    assert formulas(thing) or len(text.split()) >= 3, f"minidl.{path} says too little: {text!r}"


# ------------------------------------------------------------------------------------------------------ types

KNOWN = {**vars(typing), "Tensor": minidl.Tensor, "Callable": typing.Callable, "Iterable": Iterable}


def callables(thing: Any) -> Iterable[tuple[str, Any]]:
    """What a user calls of it: a function itself, a class's constructor and its `forward` or `step`."""
    if inspect.isfunction(thing):
        yield thing.__name__, thing
    elif inspect.isclass(thing):
        for name in ("__init__", "__call__", "forward", "step"):
            function = inspect.getattr_static(thing, name, None)
            if inspect.isfunction(function) and function.__module__.startswith("minidl"):
                yield f"{thing.__name__}.{name}", function


def typed(function: Any) -> list[str]:
    """The arguments without a type, and `return`."""
    missing = []
    for place, (name, p) in enumerate(inspect.signature(function).parameters.items()):
        if p.annotation is p.empty and not (place == 0 and name in ("self", "cls", "input", "x", "a", "ctx")):
            missing.append(name)
    return missing + (["return"] if "return" not in function.__annotations__ else [])


@pytest.mark.parametrize("path", ALL)
def test_it_is_typed(path: str) -> None:
    for name, function in callables(look_up(minidl, path)):
        assert not typed(function), f"{name}: no type for {', '.join(typed(function))}"
        hints = typing.get_type_hints(function, localns=KNOWN)
        assert "return" in hints, name


# ---------------------------------------------------------------------------------------- as PyTorch has them


@pytest.fixture(scope="module")
def torch() -> Any:
    """PyTorch, or a skip with the reason."""
    return pytest.importorskip("torch", reason="PyTorch is not installed: nothing to compare with; pip install torch")


@pytest.mark.peers
@pytest.mark.parametrize("path", PEERS)
def test_pytorch_has_the_name(torch: Any, path: str) -> None:
    look_up(torch, path)


FUNCTIONS = sorted({name for where in ("", "linalg", "nn.functional") for name in api.NAMES[where]})


@pytest.mark.peers
@pytest.mark.parametrize("name", FUNCTIONS)
def test_it_is_a_method_where_pytorch_has_one(torch: Any, name: str) -> None:
    if hasattr(torch.Tensor, name) and name not in NO_METHOD:
        assert hasattr(minidl.Tensor, name), f"Tensor has no method {name}"


NO_METHOD = {
    "unfold": "PyTorch's Tensor.unfold is another function than nn.functional.unfold: windows of one dimension",
}

# PyTorch's arguments that minidl has nowhere.
NOWHERE = {
    "out": "a result is a new tensor",
    "layout": "tensors are strided",
    "memory_format": "tensors have one order in memory",
    "pin_memory": "there is no memory to pin",
    "size_average": "deprecated in PyTorch: reduction",
    "reduce": "deprecated in PyTorch: reduction",
    "foreach": "how PyTorch takes its step, not what it computes",
    "fused": "how PyTorch takes its step, not what it computes",
    "capturable": "how PyTorch takes its step, not what it computes",
    "differentiable": "how PyTorch takes its step, not what it computes",
    "out_dtype": "for products of halves on a GPU",
    "sparse_grad": "there are no sparse gradients",
}

# Where a call differs all the same: what differs, and why that may be.
DEVIATIONS: dict[str, tuple[list[str], str]] = {
    "from_numpy": (["has array", "lacks ndarray"], "given by its place"),
    "arange": (
        ["start=None, not 0", "end=None, not required", "step=None, not 1"],
        "one argument is the end, two are start and end: None tells",
    ),
    "as_tensor": (["device=None, not required"], "a slip of the docstring"),
    "no_grad": (["has orig_func"], "@no_grad without parentheses, which PyTorch takes too"),
    "randint": (
        ["low=None, not 0", "high=None, not required", "size=None, not required"],
        "one bound is the upper one, two are both: None tells",
    ),
    "randperm": (["lacks requires_grad", "dtype=None, not int64"], "integers need no gradient; None is int64"),
    "normal": (["has requires_grad"], "as every function that makes a tensor"),
    "bernoulli": (["generator=None, not required"], "None is the default generator"),
    "Generator": (["seed=0, not None", "device='cpu', not None"], "Generator(5) is a generator with its seed"),
    "max": (["lacks LongTensor"], "a type of the docstring"),
    "min": (["lacks LongTensor"], "a type of the docstring"),
    "logsumexp": (["dim=None, not required"], "None is all dimensions, as for sum"),
    "topk": (["dim=-1, not None"], "None is the last dimension there"),
    "reshape": (["shape=None, not required"], "sizes may be given one by one"),
    "broadcast_to": (["lacks shape"], "PyTorch's code calls it size, its docstring shape"),
    "softmax": (["dim=None, not required"], "asked for in a sentence"),
    "log_softmax": (["dim=None, not required"], "asked for in a sentence"),
    "permute": (["dims=None, not required"], "dimensions may be given one by one"),
    "flip": (["dims=None, not required"], "dimensions may be given one by one"),
    "squeeze": (["dim=None, not required"], "without it all dimensions of size 1 go"),
    "split": (["split_size_or_sections=None, not required"], "the method calls it split_size"),
    "device": (["lacks a", "type='cpu', not required"], "a word of the docstring; there is the CPU alone"),
    "save": (
        ["has path", "has metadata", "lacks f", "lacks pickle_module", "lacks pickle_protocol"],
        "a safetensors file, which has metadata; never pickle",
    ),
    "load": (
        ["has path", "lacks f", "lacks pickle_module", "lacks mmap", "order: map_location"],
        "a safetensors file; never pickle",
    ),
    "from_dlpack": (["has source", "lacks ext_tensor", "lacks device", "lacks copy"], "given by its place; no copy"),
    "Tensor.numpy": (["lacks force"], "x.detach().numpy() says the same"),
    "Tensor.detach": (["lacks input"], "PyTorch's dispatcher calls the tensor itself so"),
    "Tensor.mul_": (["lacks value"], "PyTorch's code calls it other, its docstring value"),
    "Tensor.div_": (["lacks value"], "PyTorch's code calls it other, its docstring value"),
    "Tensor.uniform_": (["has a", "has b", "lacks from", "lacks to"], "from is a keyword of Python"),
    "Tensor.__array__": (["has copy"], "NumPy 2 asks for it"),
    "Tensor.__getitem__": (["lacks key"], "written x[key]"),
    "Tensor.__setitem__": (["has index", "lacks key", "order: value"], "written x[key] = value"),
    "autograd.gradcheck": (
        [
            f"lacks {word}"
            for word in (
                "nondet_tol check_undefined_grad check_grad_dtypes check_batched_grad check_batched_forward_grad "
                "check_forward_ad check_backward_ad fast_mode masked"
            ).split()
        ],
        "one derivative, one check",
    ),
    "nn.Parameter": (["data=required, not None"], "a parameter without values is of no use"),
    "relu": (["has inplace"], "the same function as nn.functional.relu"),
    "nn.Hardtanh": (["lacks min_value", "lacks max_value"], "deprecated in PyTorch: min_val, max_val"),
    "nn.functional.one_hot": (["lacks tensor", "order: num_classes"], "PyTorch's code calls it input"),
    "nn.functional.dropout": (["has generator"], "so that a mask can be drawn again"),
    "nn.functional.dropout2d": (["has generator"], "so that a mask can be drawn again"),
    "optim.Adam": (["lacks decoupled_weight_decay"], "that is AdamW"),
    "utils.data.random_split": (["generator=None, not default_generator"], "None is the default generator"),
}


def own_arguments(path: str) -> list[Any]:
    """Without the tensor whose method it is."""
    from signatures import of_python

    thing = look_up(minidl, path)
    found = of_python(thing)
    method = path.startswith("Tensor.") and "self" not in inspect.signature(thing).parameters
    return found[1:] if method else found


@pytest.mark.peers
@pytest.mark.parametrize("path", [path for path in PEERS if path != "Tensor"])
def test_it_is_called_as_pytorchs(torch: Any, path: str) -> None:
    """The same arguments in the same places, with the same defaults, or a reason."""
    from signatures import differences, of_torch

    name = path.rpartition(".")[2]
    ways = of_torch(look_up(torch, path), name)
    if not ways:
        assert path in UNTOLD, f"nothing tells how PyTorch's {path} is called"
        return
    mine = own_arguments(path)
    found = [
        difference
        for difference in differences(mine, ways, name)
        if difference.removeprefix("lacks ") not in NOWHERE and not difference.startswith("lacks _")
    ]
    allowed, reason = DEVIATIONS.get(path, ([], ""))
    new, gone = sorted(set(found) - set(allowed)), sorted(set(allowed) - set(found))
    assert not new, f"{path} differs from PyTorch's: {'; '.join(new)}"
    assert not gone, f"{path} does not differ any more, take it out of DEVIATIONS: {'; '.join(gone)} ({reason})"


UNTOLD = {"linalg.vector_norm"}  # its docstring is rendered from pieces


def test_every_deviation_belongs_to_a_name_and_has_a_reason() -> None:
    assert set(DEVIATIONS) <= set(PEERS)
    assert all(reason and differences for differences, reason in DEVIATIONS.values())


# ------------------------------------------------------------------------------- the comparison itself is checked


def test_differences_are_found(torch: Any) -> None:
    from signatures import differences, of_docstring, of_python, of_torch

    def mine(input: Any, other: Any, *, alpha: int = 2, extra: bool = False) -> None: ...

    assert differences(of_python(mine), of_torch(torch.add, "add"), "add") == [
        "has extra",
        "lacks out",
        "alpha=2, not 1",
    ]

    def swapped(keepdim: bool = False, dim: int = 0, input: Any = None, dtype: Any = None) -> None: ...

    assert any(d.startswith("order") for d in differences(of_python(swapped), of_torch(torch.sum, "sum"), "sum"))
    zeros = of_docstring(torch.zeros, "zeros")[0]
    assert [a.name for a in zeros] == ["size", "out", "dtype", "layout", "device", "requires_grad"]
    assert zeros[0].star and not any(a.by_place for a in zeros[1:])
    attention = of_torch(torch.nn.functional.scaled_dot_product_attention, "scaled_dot_product_attention")[0]
    assert [a.default for a in attention] == ["required"] * 3 + ["None", "0", "False", "None", "False"]
