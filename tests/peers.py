"""One call made on both sides, PyTorch's and minidl's: values, dtypes, gradients and second derivatives compared.

PyTorch describes each of its operations by samples (arguments to try, and arguments that it must refuse):
torch.testing._internal.common_methods_invocations.op_db. A sample is carried over with its strides. Importing this
file takes some seconds, so test_peers.py does it only when a test runs.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.testing._internal.common_methods_invocations import op_db

import minidl
from minidl import Tensor, autograd

# PyTorch seeds every device before each sample, and writes the stack down for the absent ones: half of the whole time.
torch.cuda.manual_seed_all = torch.xpu.manual_seed_all = lambda seed: None

NAMES = ("float64", "float32", "float16", "int64", "int32", "int16", "uint8", "bool")
DTYPES = {getattr(torch, name): getattr(minidl, name) for name in NAMES}


class Outside(Exception):
    """The sample cannot be carried over, or PyTorch itself fails on it; the message says why."""


def entries(name: str) -> list[Any]:
    """PyTorch's descriptions of an operation: one, or one for each variant."""
    return [entry for entry in op_db if entry.name == name]


def samples(entry: Any, dtype: torch.dtype, most: int, reference: bool = False) -> list[Any]:
    """At most so many of PyTorch's samples, spread over all of them; `reference`: the larger and wilder ones."""
    torch.manual_seed(0)
    draw = entry.reference_inputs if reference else entry.sample_inputs
    try:
        gradient = dtype == torch.float64 and entry.supports_autograd
        found = list(itertools.islice(draw("cpu", dtype, requires_grad=gradient), 8 * most))
    except ValueError:  # some descriptions ask for gradients of integers among the samples
        found = list(itertools.islice(draw("cpu", dtype, requires_grad=False), 8 * most))
    found = [s for s in found if not isinstance(s.input, torch.Tensor) or s.input.numel() < 50_000]
    step = max(len(found) / most, 1)
    return [found[int(i * step)] for i in range(int(len(found) / step))]


# --------------------------------------------------------------------------------------------- both sides' arguments


def ours(value: Any, leaves: dict[int, Tensor]) -> Any:
    """A PyTorch argument as minidl's; tensors keep shape, strides and whether they want a gradient."""
    if isinstance(value, torch.Tensor):
        if id(value) not in leaves:
            if value.layout != torch.strided or value.dtype not in DTYPES or value.ndim > 64:
                raise Outside(f"a tensor of {value.dtype}, {value.layout}, {value.ndim} dimensions")
            x = minidl.from_numpy(copy.deepcopy(value.detach()).numpy())
            leaves[id(value)] = x.requires_grad_() if value.requires_grad else x
        return leaves[id(value)]
    if isinstance(value, torch.dtype):
        if value not in DTYPES:
            raise Outside(str(value))
        return DTYPES[value]
    if isinstance(value, torch.device):
        return str(value)
    if isinstance(value, (torch.layout, torch.memory_format, complex, torch.Generator)):
        raise Outside(str(value))
    if isinstance(value, torch.Size):
        return tuple(value)
    if isinstance(value, (list, tuple)):
        return type(value)(ours(v, leaves) for v in value)
    if isinstance(value, dict):
        return {k: ours(v, leaves) for k, v in value.items()}
    return value


def theirs(value: Any, leaves: dict[int, torch.Tensor]) -> Any:
    """The same arguments with every tensor a leaf of its own, so that gradients can be asked for."""
    if isinstance(value, torch.Tensor):
        if id(value) not in leaves:
            leaves[id(value)] = copy.deepcopy(value.detach()).requires_grad_(value.requires_grad)
        return leaves[id(value)]
    if isinstance(value, (list, tuple)) and not isinstance(value, torch.Size):
        return type(value)(theirs(v, leaves) for v in value)
    if isinstance(value, dict):
        return {k: theirs(v, leaves) for k, v in value.items()}
    return value


def results(value: Any) -> list[Any]:
    """Every tensor (of either side) or number in a result, in order."""
    if isinstance(value, (list, tuple)) and not isinstance(value, torch.Size):
        return [t for v in value for t in results(v)]
    return [value]


def array(x: Any) -> np.ndarray:
    if isinstance(x, torch.Tensor):
        return x.numpy(force=True)
    return x.array if isinstance(x, Tensor) else np.asarray(x)


def differ(what: str, got: Any, wanted: Any, rtol: float, atol: float) -> str | None:
    """How two results differ: the first difference, in words."""
    if isinstance(wanted, torch.Tensor) != isinstance(got, Tensor):
        return f"{what}: a {type(got).__name__}, PyTorch's is a {type(wanted).__name__}"
    a, b = array(got), array(wanted)
    if a.shape != b.shape:
        return f"{what}: shape {a.shape}, PyTorch's {b.shape}"
    if a.dtype != b.dtype:
        return f"{what}: dtype {a.dtype}, PyTorch's {b.dtype}"
    if a.dtype == np.float16:  # PyTorch rounds float64 twice on the way there
        rtol = max(rtol, 2e-3)
    if a.dtype.kind == "b":
        close = a == b
    else:
        with np.errstate(all="ignore"):
            close = (a == b) | (np.abs(a - b) <= atol + rtol * np.abs(b)) | (np.isnan(a) & np.isnan(b))
    if close.all():
        return None
    at = tuple(int(i) for i in np.argwhere(~close)[0])
    return f"{what}: {int((~close).sum())} of {a.size} differ, first at {at}: {a[at]!r}, PyTorch's {b[at]!r}"


def said(sample: Any) -> str:
    """A sample in words."""

    def one(value: Any) -> str:
        if isinstance(value, torch.Tensor):
            return f"{str(value.dtype).removeprefix('torch.')}{list(value.shape)}"
        if isinstance(value, (list, tuple)):
            return "[" + ", ".join(map(one, value)) + "]"
        return repr(value)

    options = [f"{k}={one(v)}" for k, v in sample.kwargs.items()]
    return ", ".join([one(sample.input), *map(one, sample.args), *options])[:300]


# ------------------------------------------------------------------------------------------------- one sample


def compare(
    entry: Any,
    op: Callable[..., Any],
    peer: Callable[..., Any],
    sample: Any,
    second: bool = True,
    only: int | None = None,
) -> str | None:
    """None where both sides agree on a sample, else how they differ. only: so many of the results are compared."""
    their_leaves: dict[int, torch.Tensor] = {}
    our_leaves: dict[int, Tensor] = {}
    arguments = (sample.input, sample.args, sample.kwargs)
    x, args, options = theirs(arguments, their_leaves)
    a, more, known = ours(arguments, our_leaves)
    try:
        wanted = op(x, *args, **options)
    except Exception as error:
        raise Outside(f"PyTorch: {error}") from None
    if wanted is NotImplemented:
        raise Outside("PyTorch: a number's own operator, which Python never calls so")
    ys, zs = results(peer(a, *more, **known)), results(wanted)
    if len(ys) != len(zs):
        return f"{len(ys)} results, PyTorch's {len(zs)}"
    ys, zs = ys[:only], zs[:only]
    for k, (y, z) in enumerate(zip(ys, zs, strict=True)):
        single = isinstance(z, torch.Tensor) and z.dtype != torch.float64
        rtol, atol = (2e-4, 2e-5) if single else (1e-9, 1e-10)
        if found := differ(f"result {k}", y, z, rtol, atol):
            return found
        if isinstance(z, torch.Tensor) and y.requires_grad != z.requires_grad:
            return f"result {k}: requires_grad is {y.requires_grad}, PyTorch's {z.requires_grad}"
    keys = [k for k, t in their_leaves.items() if t.requires_grad]
    pairs = [(y, z) for y, z in zip(ys, zs, strict=True) if isinstance(z, torch.Tensor) and z.requires_grad]
    if not keys or not pairs:
        return None
    leaves = [our_leaves[k] for k in keys], [their_leaves[k] for k in keys]
    return compare_gradients(pairs, leaves, second and entry.supports_gradgrad)


def compare_gradients(pairs: list[tuple[Any, Any]], leaves: tuple[list[Any], list[Any]], second: bool) -> str | None:
    tolerance = 2e-3 if any(array(y).dtype == np.float16 for y, _ in pairs) else 1e-7
    found = gradients(pairs, leaves, second)
    for k, (g, h) in enumerate(found):
        if difference := differ(f"gradient {k}", g, h, tolerance, tolerance / 100):
            return difference
    if not second:
        return None
    # What PyTorch records as a zero, minidl may know to be constant; the other way round would be a difference.
    again = [(g, h) for g, h in found if g.requires_grad]
    if any(not h.requires_grad for _, h in again):
        again = [(g, h) for g, h in again if h.requires_grad]
    if again:
        for k, (g, h) in enumerate(gradients(again, leaves, False)):
            if difference := differ(f"second derivative {k}", g, h, 10 * tolerance, tolerance / 10):
                return difference
    return None


def gradients(pairs: list[tuple[Any, Any]], leaves: tuple[list[Any], list[Any]], create: bool) -> list[tuple[Any, Any]]:
    """Both sides' gradients through the same random cotangents; zeros where nothing flows."""
    random = np.random.default_rng(0)
    drawn = [random.uniform(0.5, 1.5, z.shape) * random.choice((-1.0, 1.0), z.shape) for _, z in pairs]
    G = [np.asarray(g, array(z).dtype) for g, (_, z) in zip(drawn, pairs, strict=True)]
    options = dict(create_graph=create, retain_graph=True, allow_unused=True, materialize_grads=True)
    mine = autograd.grad([y for y, _ in pairs], leaves[0], [minidl.from_numpy(g) for g in G], **options)
    try:
        yours = torch.autograd.grad([z for _, z in pairs], leaves[1], [torch.from_numpy(g) for g in G], **options)
    except RuntimeError as error:
        raise Outside(f"PyTorch: {error}") from None
    return list(zip(mine, yours, strict=True))


def fails(
    entry: Any, op: Any, peer: Any, found: list[Any], refused: str | None = None, **options: Any
) -> list[str]:
    """What is wrong with the samples, a line each. refused: a sentence that says this may refuse a sample."""
    wrong = []
    for sample in found:
        try:
            difference = compare(entry, op, peer, sample, **options)
        except Outside:
            continue
        except (TypeError, ValueError, RuntimeError) as error:
            if refused is not None and refused in str(error):
                continue
            difference = f"{type(error).__name__}: {error}"
        if difference:
            wrong.append(f"{entry.full_name}({said(sample)}): {difference}")
    return wrong
