"""THE table: one row an operation. Everything that test_ops.py checks, it checks for every row.

A row says what the operation is (`spec`, in plain NumPy and independent of the engine) and on which inputs to try it.
An input is written by its axes, one letter an axis: `"ij"` is a matrix, and letters that agree have one size. A digit
is that very size. `Draw` says more: where the numbers come from, or that they are indices or bools.

    Row("matmul", np.matmul, [("ij", "jk")], [("nij", "njk")])      an operation, its spec, its variants
    V("ijk", dim=1, keepdim=True)                                   a variant: inputs, then options

Adding an operation: a function in minidl/ops/<family>.py, and a row here.
"""

# ruff: noqa: E501 (a row stands on one line)
from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import specs

SIZES = dict(i=3, j=4, k=5, l=2, m=3, n=2, c=4, d=2, o=6, h=7, w=6, r=3, s=2)  # unless Hypothesis draws others


@dataclass(frozen=True)
class Draw:
    """An input: one letter an axis, and where its elements come from."""

    axes: str
    low: float = -2.0
    high: float = 2.0
    sometimes: int | None = None  # an index that stands here and there instead, as ignore_index does
    kind: str = "real"  # "index": from 0 up to `below`; "integer"; "bool"; "wild": with NaN and infinities among them
    below: str = ""  # an axis letter (its size) or a digit

    def shape(self, sizes: Mapping[str, int]) -> tuple[int, ...]:
        return tuple(int(axis) if axis.isdigit() else sizes[axis] for axis in self.axes)

    def array(self, random: np.random.Generator, sizes: Mapping[str, int], dtype: Any = np.float64) -> np.ndarray:
        shape = self.shape(sizes)
        if self.kind == "bool":
            return random.random(shape) < 0.5
        if self.kind == "index":
            end = int(self.below) if self.below.isdigit() else sizes[self.below]
            drawn = random.integers(0, max(end, 1), shape)
            return drawn if self.sometimes is None else np.where(random.random(shape) < 0.3, self.sometimes, drawn)
        if self.kind == "integer":
            return random.integers(int(self.low), int(self.high), shape)
        if self.kind == "wild":
            return random.choice(np.array([1.5, math.nan, math.inf, -math.inf], dtype), shape)
        return np.asarray(random.uniform(self.low, self.high, shape), dtype)


def positive(axes: str) -> Draw:
    return Draw(axes, 0.3, 3.0)


def share(axes: str) -> Draw:
    return Draw(axes, 0.05, 0.95)


def unit(axes: str) -> Draw:
    return Draw(axes, -0.9, 0.9)


def index(axes: str, below: str, sometimes: int | None = None) -> Draw:
    return Draw(axes, kind="index", below=below, sometimes=sometimes)


def integers(axes: str, low: int = -5, high: int = 6) -> Draw:
    return Draw(axes, low, high, kind="integer")


def wild(axes: str) -> Draw:
    return Draw(axes, kind="wild")


def bools(axes: str) -> Draw:
    return Draw(axes, kind="bool")


class V:
    """A variant of a row: inputs, then options."""

    def __init__(self, *inputs: str | Draw, formula: bool = True, numeric: bool = True, vary: bool = True, **options: Any) -> None:
        self.inputs = [Draw(axes) if isinstance(axes, str) else axes for axes in inputs]
        self.options = options
        self.formula = formula  # False: the docstring's formula speaks of another form (a vector as operand, ...)
        self.numeric = numeric  # False: the gradient is meant to differ from the value's slope (a padding row)
        self.vary = vary  # False: the options fit these sizes only

    def having(self, **options: Any) -> V:
        flags = {"formula": self.formula, "numeric": self.numeric, "vary": self.vary}
        return V(*self.inputs, **flags, **self.options, **options)

    def __repr__(self) -> str:
        options = [f"{name}={value}" for name, value in self.options.items()]
        return ",".join([*(f"{draw.kind[0] if draw.kind != 'real' else ''}{draw.axes}" for draw in self.inputs), *options])


@dataclass
class Row:
    op: str
    spec: Callable[..., Any]
    variants: Sequence[V]
    differentiable: bool = True
    least: Mapping[str, int] = field(default_factory=dict)  # the smallest sizes that Hypothesis may draw
    dims: tuple[str, ...] | None = None  # the parameters whose axes the formula moves last; None: `dim`, if there is one
    names: Callable[..., dict[str, Any]] | None = None  # (arrays, options, outputs, k) -> further names of the formula
    called: Callable[..., dict[str, str]] = lambda arrays: {}  # what the formula calls X and Y, if not so
    only: tuple[int, ...] | None = None  # the inputs that gradients flow to; None: all real ones
    module: str = "ops"

    def function(self) -> Callable[..., Any]:
        import importlib

        return getattr(importlib.import_module(f"minidl.{self.module}"), self.op)

    def dims_of(self) -> tuple[str, ...]:
        if self.dims is not None:
            return self.dims
        return ("dim",) if "dim" in inspect.signature(self.function()).parameters else ()


def row(op: str, spec: Callable[..., Any], *variants: V | tuple[Any, ...] | str | Draw, **more: Any) -> Row:
    made = [v if isinstance(v, V) else V(*v) if isinstance(v, tuple) else V(v) for v in variants]
    return Row(op, spec, made, **more)


# ----------------------------------------------------------------------------------------------- elementwise


def unary(op: str, spec: Callable[..., Any], draw: Callable[[str], Draw] = Draw, **more: Any) -> Row:
    return row(op, spec, draw("ijk"), draw(""), **more)


def binary(op: str, spec: Callable[..., Any], b: Callable[[str], Draw] = Draw, a: Callable[[str], Draw] = Draw, **more: Any) -> Row:
    return row(op, spec, (a("ij"), b("ij")), (a("ijk"), b("k")), (a("i1"), b("1j")), (a(""), b("ij")), **more)


def compare(op: str, spec: Callable[..., Any]) -> Row:
    small = integers("ij", 0, 3)
    return row(op, spec, (small, small), ("ijk", "k"), (bools("ij"), bools("i1")), differentiable=False)


def limits(arrays: Sequence[np.ndarray], options: Mapping[str, Any], outputs: Any, k: int) -> dict[str, Any]:
    low, high = options.get("min"), options.get("max")
    return {"min": -math.inf if low is None else low, "max": math.inf if high is None else high}


ELEMENTWISE = [
    row("add", lambda a, b, alpha=1: a + alpha * b, ("ij", "ij"), ("ijk", "k"), ("i1", "1j"), V("ij", "", alpha=-0.5)),
    row("sub", lambda a, b, alpha=1: a - alpha * b, ("ij", "ij"), ("ijk", "k"), ("i1", "1j"), V("ij", "", alpha=-0.5)),
    binary("mul", np.multiply),
    binary("div", np.true_divide, positive),
    binary("remainder", np.remainder, positive),
    binary("floor_divide", np.floor_divide, positive, differentiable=False),
    binary("pow", np.power, Draw, positive),
    binary("maximum", np.maximum),
    binary("minimum", np.minimum),
    unary("neg", np.negative),
    unary("abs", np.abs),
    unary("square", np.square),
    unary("reciprocal", np.reciprocal, positive),
    unary("sqrt", np.sqrt, positive),
    unary("rsqrt", lambda x: x**-0.5, positive),
    unary("exp", np.exp),
    unary("expm1", np.expm1),
    unary("log", np.log, positive),
    unary("log1p", np.log1p, unit),
    unary("log2", np.log2, positive),
    unary("sin", np.sin),
    unary("cos", np.cos),
    unary("tanh", np.tanh),
    unary("sigmoid", specs.sigmoid),
    unary("erf", specs.erf),
    unary("sign", np.sign),
    unary("floor", np.floor),
    unary("ceil", np.ceil),
    row("round", np.round, "ijk", V("ij", decimals=1, formula=False)),
    row("where", np.where, (bools("ij"), "ij", "ij"), (bools("i1"), "ij", "j"), (bools("ij"), "", "1j")),
    row(
        "clamp", lambda x, min=None, max=None: np.clip(x, min, max),
        V("ijk", min=-0.5, max=0.7), V("ij", min=0.1), V("ij", max=-0.2), V("ij", min=0.5, max=-0.5), names=limits,
    ),
    unary("relu", lambda x: np.maximum(x, 0)),
    row("leaky_relu", lambda x, negative_slope=0.01: np.where(x > 0, x, negative_slope * x), "ijk", V("ij", negative_slope=0.3)),
    row("elu", lambda x, alpha=1.0: np.where(x > 0, x, alpha * (np.exp(x) - 1)), "ijk", V("ij", alpha=0.5)),
    row("hardtanh", lambda x, min_val=-1, max_val=1: np.clip(x, min_val, max_val), "ijk", V("ij", min_val=-0.3, max_val=1.5)),
    unary("silu", lambda x: x * specs.sigmoid(x)),
    row("gelu", specs.gelu, "ijk", V("ijk", approximate="tanh")),
    row(
        "softplus", lambda x, beta=1.0, threshold=20.0: np.where(beta * x > threshold, x, np.log1p(np.exp(beta * x)) / beta),
        "ijk", V("ij", beta=2.5), V("ij", threshold=0.5),
    ),
    unary("logsigmoid", lambda x: np.log(specs.sigmoid(x))),
    compare("eq", np.equal),
    compare("ne", np.not_equal),
    compare("lt", np.less),
    compare("le", np.less_equal),
    compare("gt", np.greater),
    compare("ge", np.greater_equal),
    row("isnan", np.isnan, wild("ij"), "i", differentiable=False),
    row("isinf", np.isinf, wild("ij"), "i", differentiable=False),
    row("isfinite", np.isfinite, wild("ij"), "i", differentiable=False),
    row("logical_and", np.logical_and, (bools("ij"), bools("j")), (integers("ij", 0, 2), "ij"), differentiable=False),
    row("logical_or", np.logical_or, (bools("ij"), bools("j")), (integers("ij", 0, 2), "ij"), differentiable=False),
    row("logical_xor", np.logical_xor, (bools("ij"), bools("j")), (integers("ij", 0, 2), "ij"), differentiable=False),
    row("logical_not", np.logical_not, bools("ij"), integers("ij", 0, 2), differentiable=False),
    row("bitwise_and", np.bitwise_and, (bools("ij"), bools("j")), (integers("ij"), integers("ij")), differentiable=False),
    row("bitwise_or", np.bitwise_or, (bools("ij"), bools("j")), (integers("ij"), integers("ij")), differentiable=False),
    row("bitwise_xor", np.bitwise_xor, (bools("ij"), bools("j")), (integers("ij"), integers("ij")), differentiable=False),
    row("bitwise_not", np.invert, bools("ij"), integers("ij"), differentiable=False),
]  # fmt: skip

# ------------------------------------------------------------------------------------------------ reductions


def indices(arrays: Sequence[np.ndarray], options: Mapping[str, Any], outputs: Any, k: int) -> dict[str, Any]:
    """The places are the second result."""
    return {"INDICES": outputs[1]}


DIMS = [V("ijk"), V("ijk", dim=1), V("ijk", dim=-1, keepdim=True), V("ijkl", dim=(0, -2)), V("ijk", dim=(2, 0), keepdim=True)]
ONE_DIM = [V("ijk"), V("ijk", dim=1), V("ijk", dim=-1, keepdim=True), V("i", dim=0)]
SOME = dict.fromkeys("ijkl", 1)

REDUCTIONS = [
    row("sum", specs.over(np.sum), *DIMS, V("", dim=None, formula=False)),
    row("mean", specs.over(np.mean), *DIMS, least=SOME),
    row("prod", specs.over(np.prod), *ONE_DIM),
    row("amax", specs.over(np.max), *DIMS, least=SOME),
    row("amin", specs.over(np.min), *DIMS, least=SOME),
    row("max", specs.extreme_and_place(True), *ONE_DIM, least=SOME),
    row("min", specs.extreme_and_place(False), *ONE_DIM, least=SOME),
    row("argmax", specs.over(np.argmax), *ONE_DIM, least=SOME, differentiable=False),
    row("argmin", specs.over(np.argmin), *ONE_DIM, least=SOME, differentiable=False),
    row("any", specs.over(np.any), V(integers("ij", 0, 2)), V(bools("ijk"), dim=1), V("ij", dim=0, keepdim=True), differentiable=False),
    row("all", specs.over(np.all), V(integers("ij", 0, 2)), V(bools("ijk"), dim=1), V("ij", dim=0, keepdim=True), differentiable=False),
    row(
        "var", lambda x, dim=None, correction=1, keepdim=False: np.var(x, axis=dim, ddof=correction, keepdims=keepdim),
        *DIMS, V("ij", dim=1, correction=0), least=dict.fromkeys("ijkl", 2),
    ),
    row(
        "std", lambda x, dim=None, correction=1, keepdim=False: np.std(x, axis=dim, ddof=correction, keepdims=keepdim),
        *DIMS, V("ij", dim=1, correction=0), least=dict.fromkeys("ijkl", 2),
    ),
    row("logsumexp", specs.over(specs.logsumexp), *DIMS, least=SOME),
    row("cumsum", lambda x, dim: np.cumsum(x, axis=dim), V("ijk", dim=1), V("ijk", dim=-1), V("i", dim=0)),
    row(
        "norm", lambda x, p=2, dim=None, keepdim=False: specs.p_norm(x, p, dim, keepdim),
        *DIMS, V("ij", p=1, dim=0), V("ij", p=3, dim=1), V("ij", p="fro"), V("ij", p=math.inf, formula=False), least=SOME,
        names=lambda arrays, options, outputs, k: {"p": 2} if options.get("p", "fro") == "fro" else {},
    ),
    row(
        "vector_norm", lambda x, ord=2, dim=None, keepdim=False: specs.p_norm(x, ord, dim, keepdim),
        V("ijk"), V("ij", ord=1, dim=0), V("ij", ord=3, dim=1), least=SOME,
    ),
    row("sort", specs.ranked, V("ijk"), V("ij", dim=0), V("ij", dim=1, descending=True), names=indices),
    row("topk", specs.top, V("ijk", k=2), V("ij", k=1, dim=0), V("ij", k=3, largest=False), least=dict.fromkeys("ijk", 3), names=indices),
]  # fmt: skip

# -------------------------------------------------------------------------------------- matrices, convolution


LINALG = [
    row(
        "matmul", np.matmul, ("ij", "jk"), ("nij", "njk"), ("nij", "jk"), ("l1ij", "njk"),
        V("j", "jk", formula=False), V("ij", "j", formula=False), V("j", "j", formula=False), V("nij", "j", formula=False),
    ),
    row("mm", np.matmul, ("ij", "jk")),
    row("bmm", np.matmul, ("nij", "njk")),
    row("mv", np.matmul, ("ij", "j")),
    row("dot", np.dot, ("j", "j")),
    row("outer", np.outer, ("i", "k")),
    row(
        "addmm", lambda x, a, b, beta=1, alpha=1: beta * x + alpha * (a @ b),
        ("ik", "ij", "jk"), V("k", "ij", "jk", beta=0.5, alpha=-2.0, formula=False),
    ),
    row(
        "einsum", lambda *operands, equation: np.einsum(equation, *operands), V("ij", "jk", equation="ij,jk->ik"), V("nij", "njk", equation="nij,njk->nki"),
        V("ij", "j", "ik", equation="ij,j,ik"), V("ijk", equation="ijk->ki"), V("5j5", equation="iji->ij"), V("nij", "njk", equation="...ij,...jk"),
        V("i1", "ij", "", equation="ij,ij,->j", formula=False), dims=(),
    ),
    row("linear", specs.linear, ("ij", "kj", "k"), ("ij", "kj"), ("nij", "kj", "k"), ("j", "kj", "k")),
]  # fmt: skip


def pool_names(arrays: Sequence[np.ndarray], options: Mapping[str, Any], outputs: Any, k: int) -> dict[str, Any]:
    """stride=None is kernel_size."""
    return {"stride": options["kernel_size"]} if options.get("stride") is None else {}


IMAGE = {"h": 6, "w": 6, "r": 1, "s": 1}
POOLED = IMAGE | {"c": 1}

CONVOLUTION = [
    row(
        "conv2d", specs.conv2d, ("nchw", "ocrs", "o"), V("nchw", "ocrs", stride=(2, 1), padding=(1, 0)),
        V("nchw", "odrs", "o", stride=2, padding=2, groups=2, vary=False), V("nchw", "81rs", padding=1, groups=4, vary=False),
        V("nchw", "ocrs", padding=1, dilation=(2, 1)),
        V("nchw", "oc31", padding="same", formula=False), V("nchw", "oc22", "o", padding="same", formula=False),
        V("nchw", "ocrs", padding="valid", formula=False), least=IMAGE,
    ),
    row(
        "conv2d_input", specs.conv2d_input, V("no45", "oc32", size=(7, 6), stride=(2, 1), padding=(1, 0), dilation=(1, 1), groups=1),
        V("n453", "4232", size=(5, 5), stride=(1, 2), padding=(1, 1), dilation=(1, 1), groups=2), least=dict.fromkeys("noc", 1),
    ),
    row(
        "conv2d_weight", specs.conv2d_weight, V("nc76", "no45", size=(3, 2), stride=(2, 1), padding=(1, 0), dilation=(1, 1), groups=1),
        V("n455", "n453", size=(3, 2), stride=(1, 2), padding=(1, 1), dilation=(1, 1), groups=2), least=dict.fromkeys("noc", 1),
    ),
    row(
        "conv1d", specs.conv1d, ("nch", "ocr", "o"), V("nch", "ocr", stride=2, padding=1), V("nch", "odr", "o", dilation=2, groups=2, vary=False),
        V("nch", "oc2", padding="same", formula=False), least=IMAGE,
    ),
    row(
        "max_pool2d", specs.max_pool2d, V("nchw", kernel_size=2), V("nchw", kernel_size=(3, 2), stride=(2, 1), padding=1),
        V("nchw", kernel_size=2, dilation=2, stride=1), V("nchw", kernel_size=3, stride=2, ceil_mode=True),
        V("nchw", kernel_size=3, stride=3, padding=1, ceil_mode=True), least=POOLED, names=pool_names,
    ),
    row("max_pool1d", specs.as_image(specs.max_pool2d), V("nch", kernel_size=2), V("nch", kernel_size=3, stride=2, padding=1), least=POOLED, names=pool_names),
    row(
        "avg_pool2d", specs.avg_pool2d, V("nchw", kernel_size=2), V("nchw", kernel_size=(3, 2), stride=(2, 1), padding=1),
        V("nchw", kernel_size=3, stride=2, padding=1, count_include_pad=False), V("nchw", kernel_size=3, stride=2, ceil_mode=True),
        V("nchw", kernel_size=3, stride=3, padding=1, ceil_mode=True), V("nchw", kernel_size=2, padding=1, divisor_override=3, formula=False),
        least=POOLED, names=pool_names,
    ),
    row(
        "adaptive_avg_pool2d", specs.adaptive_avg_pool2d, V("nchw", output_size=(3, 2)), V("nc76", output_size=(5, 6)),
        V("nc64", output_size=2), V("nchw", output_size=(None, 5), formula=False), V("chw", output_size=3, formula=False), least=POOLED,
    ),
    row(
        "conv_transpose2d", specs.conv_transpose2d, ("no45", "ocrs", "c"), V("no45", "ocrs", stride=(2, 1), padding=(1, 0), output_padding=(1, 0)),
        V("n444", "4332", "6", stride=2, padding=1, groups=2, dilation=(1, 2)), V("n434", "4322", stride=1, dilation=2, output_padding=(1, 0)),
        V("445", "4332", "3", stride=3, formula=False), least=IMAGE | dict.fromkeys("oc", 1),
    ),
    row(
        "unfold", specs.unfold, V("nchw", kernel_size=2), V("nc76", kernel_size=(3, 2), dilation=(1, 2), padding=(1, 0), stride=(2, 1)),
        V("ch5", kernel_size=(1, 3), formula=False), least=POOLED,
    ),
    row("pixel_shuffle", specs.pixel_shuffle, V("n834", upscale_factor=2), V("943", upscale_factor=3), V("ncijk", upscale_factor=1), dims=()),
    row("avg_pool1d", specs.as_image(specs.avg_pool2d), V("nch", kernel_size=2), V("nch", kernel_size=3, stride=2, padding=1), least=POOLED, names=pool_names),
]  # fmt: skip

# ------------------------------------------------------------------------------------------ shape and index


def piece_names(arrays: Sequence[np.ndarray], options: Mapping[str, Any], outputs: Any, k: int) -> dict[str, Any]:
    """Where the k-th piece starts."""
    n = arrays[0].shape[options.get("dim", 0)]
    size = options.get("split_size_or_sections") or -(-n // options["chunks"])
    return {"k": k, "start_k": sum(size[:k]) if isinstance(size, (tuple, list)) else k * size}


def joined(arrays: Sequence[np.ndarray], options: Mapping[str, Any], outputs: Any, k: int) -> dict[str, Any]:
    """The k-th tensor, and where it starts in the result."""
    dim = options.get("dim", 0)
    return {"X_k": arrays[k], "start_k": sum(array.shape[dim] for array in arrays[:k])}


SHAPE = [
    row("reshape", lambda x, shape: x.reshape(shape), V("ij", shape=(-1,)), V("345", shape=(2, -1, 6)), V("", shape=(1, 1))),
    row("view", lambda x, shape: x.reshape(shape), V("ij", shape=(-1,)), V("345", shape=(2, -1, 6))),
    row(
        "flatten", lambda x, start_dim=0, end_dim=-1: x.reshape(*x.shape[:start_dim], -1, *x.shape[end_dim % x.ndim + 1 :]),
        V("345"), V("2345", start_dim=1), V("2345", start_dim=1, end_dim=2), V("34", end_dim=0),
    ),
    row("unflatten", lambda x, dim, sizes: x.reshape(*x.shape[:dim], *sizes, *x.shape[dim + 1 :]), V("j6k", dim=1, sizes=(2, 3)), dims=()),
    row("permute", lambda x, dims: x.transpose(dims), V("ijkl", dims=(2, 0, 3, 1)), V("ij", dims=(-1, 0))),
    row("transpose", lambda x, dim0, dim1: x.swapaxes(dim0, dim1), V("ijk", dim0=0, dim1=2), V("ij", dim0=-1, dim1=0), dims=("dim0", "dim1")),
    row("t", np.transpose, "ij", V("i", formula=False)),
    row("squeeze", lambda x, dim=None: x.squeeze(dim), V("3141"), V("i1j1", dim=1), V("i1j1", dim=(1, -1)), dims=()),
    row("unsqueeze", lambda x, dim: np.expand_dims(x, dim), V("ij", dim=1), V("ij", dim=-1), V("", dim=0), dims=()),
    row("broadcast_to", lambda x, size: np.broadcast_to(x, size), V("31", size=(2, 3, 4)), V("", size=(2,))),
    row("expand", lambda x, sizes: np.broadcast_to(x, [3 if size == -1 else size for size in sizes]), V("31", sizes=(2, -1, 4))),
    row("repeat", lambda x, sizes: np.tile(x, sizes), V("ij", sizes=(2, 3)), V("ij", sizes=(2, 1, 3))),
    row("cat", lambda *tensors, dim=0: np.concatenate(tensors, dim), V("ij", "kj", "1j"), V("ij", "ik", dim=-1), V("ij"), dims=(), names=joined),
    row("stack", lambda *tensors, dim=0: np.stack(tensors, dim), V("ij", "ij"), V("ij", "ij", "ij", dim=-1), dims=()),
    row("narrow", lambda x, dim, start, length: np.take(x, range(start, start + length), dim), V("i5j", dim=1, start=1, length=3)),
    row("split", specs.pieces, V("4j", split_size_or_sections=2), V("j6", split_size_or_sections=(1, 3, 2), dim=-1), names=piece_names),
    row("chunk", lambda x, chunks, dim=0: np.array_split(x, [3, 6], dim), V("7j", chunks=3), V("i8", chunks=3, dim=1), names=piece_names),
    row("unbind", lambda x, dim=0: list(np.moveaxis(x, dim, 0)), V("3j"), V("i2j", dim=1), names=lambda arrays, options, outputs, k: {"k": k}),
    row("flip", lambda x, dims: np.flip(x, dims), V("ijk", dims=(0, 2)), V("i", dims=(-1,)), dims=("dims",)),
    row(
        "roll", lambda x, shifts, dims=None: np.roll(x, shifts, dims), V("ij", shifts=2), V("ij", shifts=-1, dims=1),
        V("ij", shifts=(2, -1), dims=(0, 1), formula=False), dims=("dims",),
    ),
    row("tril", lambda x, diagonal=0: np.tril(x, diagonal), "ij", V("nij", diagonal=1), V("ij", diagonal=-1)),
    row("triu", lambda x, diagonal=0: np.triu(x, diagonal), "ij", V("nij", diagonal=1), V("ij", diagonal=-1)),
    row("diag", lambda x, diagonal=0: np.diag(x, diagonal), V("i"), V("i", diagonal=-2), V("ij"), V("35", diagonal=1), V("53", diagonal=-1), V("35", diagonal=-2),
        called=lambda arrays: {"X": "v", "Y": "M"} if arrays[0].ndim == 1 else {"X": "M", "Y": "v"}),
    row(
        "pad", specs.padded, V("ij", pad=(1, 2)), V("ij", pad=(0, 1), value=3.5), V("ijk", pad=(1, 0, 2, 1), formula=False),
        *(V("ijk", pad=(1, 0), mode=mode, formula=False, vary=False) for mode in ("reflect", "replicate", "circular")),
        *(V("345", pad=(2, 1, -1, 1), mode=mode, formula=False, vary=False) for mode in ("reflect", "replicate", "circular")),
        V("44", pad=(-1, 2, 1, -1), formula=False), names=lambda arrays, options, outputs, k: {"value": options.get("value", 0.0)},
    ),
    unary("clone", np.copy),
    unary("contiguous", np.copy),
    unary("detach", np.copy, differentiable=False),
    row("getitem", lambda x, index: x[index], V("54", index=(slice(1, 4, 2), 2)), V("54", index=np.array([[0, 4], [4, 2]])), V("54", index=(None, ..., -1))),
    row("index_put", specs.index_put, V("54", "2", index=(slice(1, 4, 2), 2)), V("54", "4", index=3)),
    row("gather", specs.take, V("ij", index("kj", "i"), dim=0), V("ijk", index("ijl", "k"), dim=-1), least=SOME | {"l": 0}),
    row("scatter_add", specs.scatter_add, V("ij", index("kj", "i"), "kj", dim=0), V("ijk", index("ijl", "k"), "ijl", dim=-1), least=SOME | {"l": 0}),
    row("take_along_dim", specs.take, V("ij", index("kj", "i"), dim=0), V("ij", index("1k", "j"), dim=1, formula=False), least=SOME),
    row("index_select", lambda x, index, dim: np.take(x, index, dim), V("ijk", index("l", "j"), dim=1), V("ij", index("k", "i"), dim=0), least=SOME),
    row("masked_select", lambda x, mask: np.broadcast_arrays(x, mask)[0][np.broadcast_arrays(x, mask)[1]], V("ij", bools("ij")), V("ij", bools("j")), V("j", bools("ij"))),
    row("masked_fill", lambda x, mask, value: np.where(mask, value, x), V("ij", bools("ij"), value=2.5), V("ijk", bools("k"), value=-1.0)),
    row("nonzero", lambda x: np.argwhere(x), V(integers("ij", 0, 2)), differentiable=False),
    row("embedding", lambda x, weight, padding_idx=None: weight[x], (index("n", "i"), "ij"), V(index("nk", "i"), "ij", padding_idx=1, numeric=False), least={"i": 2}),
    row("one_hot", lambda x, num_classes=-1: np.eye(num_classes if num_classes > 0 else x.max() + 1, dtype=int)[x], V(index("ij", "5"), num_classes=5), differentiable=False),
]  # fmt: skip

# -------------------------------------------------------------------- softmax, normalisation, random numbers


class Seeded:
    """A new generator with the seed 5 for every call."""

    def __repr__(self) -> str:
        return "seed 5"


NORMAL = [
    row("softmax", specs.softmax, "ij", V("ijk", dim=1), V("ijk", dim=0), V("i", dim=-1)),
    row("log_softmax", lambda x, dim=-1: np.log(specs.softmax(x, dim)), "ij", V("ijk", dim=1), V("i", dim=-1)),
    row(
        "scaled_dot_product_attention", specs.attention, ("nik", "njk", "njl"), V("nik", "njk", "njl", is_causal=True), ("lnik", "lnjk", "lnjd", "ij"),
        V("ik", "nmjk", "mjl", scale=0.7), ("nik", "njk", "njl", bools("n1j")), ("ik", "jk", "jl", bools("ij")), ("nik", "1jk", "njl", "1j"),
        names=lambda arrays, options, outputs, k: {"MASK": specs.added(arrays[3]) if len(arrays) > 3 else 0.0}, least={"k": 1},
    ),
    row(
        "layer_norm", specs.layer_norm, V("ij7", normalized_shape=(7,)), V("ij7", "7", "7", normalized_shape=(7,)),
        V("i35", "35", "35", normalized_shape=(3, 5), eps=1e-3),
        names=lambda arrays, options, outputs, k: {name: a.ravel() for name, a in zip(("WEIGHT", "BIAS"), arrays[1:])},
    ),
    row(
        "rms_norm", specs.rms_norm, V("ij7", normalized_shape=(7,)), V("ij7", "7", normalized_shape=(7,), eps=1e-3),
        V("i35", "35", normalized_shape=(3, 5), eps=1e-5),
        names=lambda arrays, options, outputs, k: {name: a.ravel() for name, a in zip(("WEIGHT",), arrays[1:])}
        | ({} if "eps" in options else {"eps": 2.0**-52}),
    ),
    row(
        "batch_norm", specs.batch_norm, V("nch", "c", positive("c"), "c", "c"), V("nchw", "c", positive("c"), "c", "c", training=True),
        V("nch", "c", positive("c"), training=True), V("62", "2", positive("2"), "2", "2", training=True, eps=1e-3),
        only=(0, 3, 4), least={"n": 2, "c": 1, "h": 1, "w": 1},
    ),
    row(
        "group_norm", specs.group_norm, V("n6h", num_groups=3), V("n6hw", "6", "6", num_groups=2), V("i4", "4", "4", num_groups=1, eps=1e-3),
        V("n4", num_groups=2), least={"n": 1, "i": 1, "h": 1, "w": 1},
    ),
    row("normalize", specs.normalize, V("ij"), V("ijk", p=1.0, dim=-1), V("ijk", p=3.0), V("i", dim=0, eps=2.5), least=SOME),
    row(
        "cosine_similarity", specs.cosine, ("ij", "ij"), V("ijk", "ijk", dim=-1), V("i", "i", dim=0, eps=2.5), V("ijk", "i1k", dim=2, formula=False),
        V("ij", "j", formula=False), least=SOME,
    ),
    row(
        "dropout", lambda x, p, generator: x * specs.kept(x.shape, p) / (1 - p), V("ijk", p=0.3, generator=Seeded()), V("i", p=0.0, generator=Seeded()),
        names=lambda arrays, options, outputs, k: {"MASK": specs.kept(arrays[0].shape, options["p"])},
    ),
    row(
        "dropout2d", lambda x, p, generator: x * specs.kept(x.shape[:2], p)[:, :, None, None] / (1 - p), V("nchw", p=0.4, generator=Seeded()),
        names=lambda arrays, options, outputs, k: {"MASK": specs.kept(arrays[0].shape[:2], options["p"])},
    ),
]  # fmt: skip

# --------------------------------------------------------------------------------------------- recurrent networks

RECURRENT = [
    row("lstm_step", specs.lstm_step, ("n4j", "n4j", "nj")),
    row("gru_step", specs.gru_step, ("n3j", "n3j", "nj")),
]

# --------------------------------------------------------------------------------------------------- losses


def loss(op: str, spec: Callable[..., Any], *variants: V, **more: Any) -> Row:
    """Each variant with every reduction."""
    return row(op, spec, *(v.having(reduction=r) for v in variants for r in ("mean", "sum", "none")), module="losses", **more)


LOGITS = {"n": 1, "c": 1, "h": 1}
CLASSES = [
    V("nc", index("n", "c")),
    V("nc", index("n", "c", -100), positive("c")),
    V("nc", index("n", "4"), ignore_index=1, vary=False),
    V("nch", index("nh", "c"), formula=False),
    V("c", index("", "c"), formula=False),
]
LOSSES = [
    loss("mse_loss", specs.weighed(lambda x, t: (x - t) ** 2), V("ij", "ij"), V("ij", "ij", positive("ij")), least=SOME, only=(0, 1)),
    loss("l1_loss", specs.weighed(lambda x, t: np.abs(x - t)), V("ij", "ij"), V("ij", "ij", positive("ij")), least=SOME, only=(0, 1)),
    loss("huber_loss", specs.weighed(specs.huber), V("ij", "ij"), V("i", "i", delta=0.5), V("ij", "ij", positive("ij"), delta=0.7), least=SOME, only=(0, 1)),
    loss(
        "smooth_l1_loss", specs.reduced(lambda x, t, beta=1.0: specs.huber(x, t, beta) / beta), V("ij", "ij"), V("i", "i", beta=0.4),
        least=SOME,
    ),
    row("huber", lambda d, delta: specs.huber(d, 0, delta), V("ij", delta=0.7), module="losses"),
    loss(
        "cross_entropy", specs.cross_entropy, *CLASSES, V("nc", index("n", "c"), positive("c"), label_smoothing=0.2),
        V("nc", index("n", "c", -100), label_smoothing=0.3), V("nc", share("nc"), formula=False),
        V("nch", share("nch"), positive("c"), label_smoothing=0.1, formula=False), least=LOGITS,
    ),
    loss("nll_loss", specs.nll, *CLASSES, least=LOGITS),
    loss(
        "binary_cross_entropy", specs.reduced(lambda x, t, w=1.0: -w * (t * np.log(x) + (1 - t) * np.log(1 - x))),
        V(share("ij"), share("ij")), V(share("ij"), share("ij"), positive("j")), least=SOME,
    ),
    loss(
        "binary_cross_entropy_with_logits", specs.reduced(specs.binary_with_logits), V("ij", share("ij")),
        V("ij", share("ij"), positive("j")), least=SOME,
    ),
    row(
        "kl_div", specs.kl_div, *(V("ij", share("ij"), reduction=r) for r in ("mean", "batchmean", "sum", "none")),
        V("ij", "ij", log_target=True), module="losses", least=SOME,
    ),
]  # fmt: skip

TABLE = [*ELEMENTWISE, *REDUCTIONS, *LINALG, *CONVOLUTION, *SHAPE, *NORMAL, *RECURRENT, *LOSSES]
