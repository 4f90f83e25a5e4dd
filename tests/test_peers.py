"""Every operation beside PyTorch's of that name, on PyTorch's own samples."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import minidl
import minidl.nn.functional as F
from minidl import Tensor, losses, ops

pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("ignore")]

# ---------------------------------------------------------------------------------------------- the table

FUNCTIONS = """
    abs add sub mul neg sign exp expm1 log log1p log2 sqrt rsqrt square reciprocal sin cos tanh sigmoid erf floor ceil
    round clamp pow div floor_divide remainder maximum minimum isnan isfinite isinf eq ne lt le gt ge all any
    logical_and logical_or logical_not logical_xor bitwise_and bitwise_or bitwise_xor bitwise_not
    sum mean prod var std amax amin max min argmax argmin logsumexp cumsum norm sort topk
    matmul mm bmm mv dot outer addmm
    reshape flatten unflatten transpose permute t squeeze unsqueeze broadcast_to cat stack split chunk
    unbind narrow nonzero masked_select index_select gather scatter_add take_along_dim flip roll tril triu diag
    masked_fill softmax log_softmax clone
    arange linspace eye zeros ones full zeros_like ones_like full_like
""".split()
FUNCTIONAL = """
    linear conv1d conv2d pad one_hot mse_loss l1_loss huber_loss smooth_l1_loss cross_entropy nll_loss
    binary_cross_entropy binary_cross_entropy_with_logits kl_div layer_norm rms_norm batch_norm avg_pool1d avg_pool2d
    max_pool1d max_pool2d relu leaky_relu elu gelu silu hardtanh softplus logsigmoid
    adaptive_avg_pool2d conv_transpose2d cosine_similarity group_norm normalize pixel_shuffle unfold
""".split()
METHODS = """
    view expand repeat contiguous item expand_as view_as reshape_as to bool double float half int long short byte
    new_zeros new_ones new_full T mT
    __getitem__
""".split()
REFLECTED = "__radd__ __rsub__ __rmul__ __rmod__ __rpow__ __rand__ __ror__ __rxor__".split()
RANDOM = {
    **{n: getattr(minidl, n) for n in "empty empty_like rand_like randn randn_like".split()},
    **{n: getattr(minidl, n) for n in "randint randint_like multinomial bernoulli".split()},
    **{f"nn.functional.{n}": getattr(F, n) for n in ("dropout", "dropout2d")},
    "normal": minidl.normal,
    "new_empty": lambda x, *args, **options: x.new_empty(*args, **options),
}
NO_PEER = {
    "dropout dropout2d": "random: shapes and dtypes below, the rest in test_ops.py",
    "detach": "PyTorch describes it nowhere; test_autograd.py",
    "conv2d_input conv2d_weight": "the gradients of conv2d, which are compared with it",
    "lstm_step gru_step": "the arithmetic of LSTMCell and GRUCell; test_recurrent.py",
    "getitem index_put": "compared as x[...] and below",
    "tanh sigmoid softmax log_softmax": "compared under their names in torch",
}


def method(name: str) -> Callable[..., Any]:
    """x.name(...) as a function of x; a property's value."""

    def call(x: Any, *args: Any, **options: Any) -> Any:
        found = getattr(x, name)
        return found(*args, **options) if callable(found) else found

    return call


PEERS: dict[str, Callable[..., Any]] = {
    **{name: getattr(minidl, name) for name in FUNCTIONS},
    **{f"nn.functional.{name}": getattr(F, name) for name in FUNCTIONAL},
    **{name: method(name) for name in METHODS},
    **{name: getattr(Tensor, name) for name in REFLECTED},
    "linalg.vector_norm": minidl.linalg.vector_norm,
    "einsum": lambda tensors, equation: minidl.einsum(equation, *tensors),  # in the order of PyTorch's samples
    "where": lambda x, condition, other: minidl.where(condition, x, other),  # in the order of PyTorch's samples
    "nn.functional.embedding": lambda weight, x, **options: F.embedding(x, weight, **options),
    "nn.functional.scaled_dot_product_attention": lambda *tensors, dropout_p=0.0, **options: (
        refuse_dropout() if dropout_p else F.scaled_dot_product_attention(*tensors, **options)
    ),
    "__rdiv__": Tensor.__rtruediv__,
    "__rmatmul__": lambda x, other: other @ x,
    "zero_": lambda x: x.clone().zero_(),
    "index_put": lambda x, at, value, accumulate=False: refuse() if accumulate else ops.index_put(x, tuple(at), value),
}
REFUSED = {  # what of the samples minidl does not have, and what its sentence says
    "norm": "p must be a number",  # the nuclear norm
    "nn.functional.embedding": "no sparse gradients",
    "nn.functional.batch_norm": "expected (N, C, ...)",  # a sample of shape (0,)
    "nn.functional.scaled_dot_product_attention": "random",  # test_attention.py
    "index_put": "no accumulate",
}
TIES = {"sort", "topk"}  # among equal elements PyTorch's order is arbitrary: the indices are not compared
NAN_DEPENDS = {"nn.functional.elu", "nn.functional.hardtanh"}  # PyTorch's gradient at NaN: vectorised loops differ


def refuse_dropout() -> Any:
    raise ValueError("scaled_dot_product_attention: dropout is random, nothing to compare")


def refuse() -> Any:
    raise ValueError("index_put: there is no accumulate; use scatter_add")


@pytest.fixture(scope="module")
def peers() -> Any:
    """The other side, or a skip with the reason."""
    pytest.importorskip("torch", reason="PyTorch is not installed: nothing to compare with; pip install torch")
    pytest.importorskip("expecttest", reason="PyTorch's samples need the package expecttest; pip install expecttest")
    import peers

    peers.torch.set_num_threads(1)
    return peers


def run(peers: Any, name: str, reference: bool, dtypes: dict[str, int]) -> tuple[list[str], int]:
    """What differs, and how many samples were tried: at most so many of each dtype."""
    wrong: list[str] = []
    count = 0
    entries = peers.entries(name)
    assert entries, f"PyTorch describes no operation {name}"
    for entry in entries:
        for dtype, most in ((getattr(peers.torch, n), most) for n, most in dtypes.items()):
            if dtype not in entry.supported_dtypes("cpu"):
                continue
            found = peers.samples(entry, dtype, most, reference)
            if reference and name in NAN_DEPENDS:
                found = [s for s in found if not np.isnan(peers.array(s.input)).any()]
            only = 1 if name in TIES else None
            count += len(found)
            wrong += peers.fails(entry, entry.op, PEERS[name], found, REFUSED.get(name), only=only)
    return wrong, count


# ---------------------------------------------------------------------------------------------- the tests


@pytest.mark.parametrize("name", PEERS)
def test_samples(peers: Any, name: str) -> None:
    """Value, dtype, gradient and second derivative in float64; value and dtype in other dtypes."""
    wrong, count = run(peers, name, False, dict(float64=50, float32=20, int64=20, bool=20, uint8=10, int32=10))
    assert count, f"no sample of {name} was tried"
    assert not wrong, f"{len(wrong)} of {count} samples differ:\n" + "\n".join(wrong[:8])


@pytest.mark.parametrize("name", PEERS)
def test_reference_samples(peers: Any, name: str) -> None:
    """The larger ones: other strides, sizes of 0 and 1, NaN and infinities."""
    wrong, count = run(peers, name, True, dict(float64=20, float32=8, int64=8, bool=8))
    assert not wrong, f"{len(wrong)} of {count} samples differ:\n" + "\n".join(wrong[:8])


@pytest.mark.parametrize("name", RANDOM)
def test_shapes_and_dtypes(peers: Any, name: str) -> None:
    """Of what is random or arbitrary only shape and dtype can agree."""
    for entry in (e for e in peers.entries(name) if e.variant_test_name != "in_place"):
        for dtype in entry.supported_dtypes("cpu") & {peers.torch.float64, peers.torch.float32, peers.torch.int64}:
            for sample in peers.samples(entry, dtype, 30):
                try:
                    x, args, options = peers.ours((sample.input, sample.args, sample.kwargs), {})
                except peers.Outside:
                    continue
                got = RANDOM[name](x, *args, **options)
                wanted = entry.op(sample.input, *sample.args, **sample.kwargs)
                assert (got.shape, got.dtype) == (tuple(wanted.shape), peers.DTYPES[wanted.dtype]), peers.said(sample)


@pytest.mark.parametrize("name", [n for n in PEERS if "." not in n and n[0] != "_" and hasattr(Tensor, n)])
def test_methods(peers: Any, name: str) -> None:
    """x.name(...) does what torch's x.name(...) does, and x.name_(...) too where both have it."""
    for entry in peers.entries(name):
        only = 1 if name in TIES else None
        found = [s for s in peers.samples(entry, peers.torch.float64, 16) if isinstance(s.input, peers.torch.Tensor)]
        if entry.method_variant is not None and name != "where":
            options = {"second": False, "only": only}
            wrong = peers.fails(entry, entry.method_variant, method(name), found, REFUSED.get(name), **options)
            assert not wrong, "\n".join(wrong[:8])
        if entry.inplace_variant is not None and hasattr(Tensor, name + "_"):
            op, peer = entry.inplace_variant, method(name + "_")
            wrong = peers.fails(
                entry,
                lambda x, *a, op=op, **o: op(x.clone(), *a, **o),
                lambda x, *a, peer=peer, **o: peer(x.clone(), *a, **o),
                [s for s in found if not s.broadcasts_input],
                second=False,
            )
            assert not wrong, "\n".join(wrong[:8])


def by_name(peers: Any, name: str, function: Any, sample: Any) -> list[str]:
    """PyTorch's names for a sample's positional arguments: the first form that PyTorch itself accepts."""
    values = (sample.input, *sample.args)
    schemas = peers.torch._C._jit_get_schemas_for_operator(f"aten::{name.rpartition('.')[2]}")
    known = [["input" if a.name == "self" else a.name for a in schema.arguments] for schema in schemas]
    if inspect.isfunction(function):
        known.append(list(inspect.signature(function).parameters))
    for names in (form[: len(values)] for form in [*known, ["input"]]):
        try:
            function(**dict(zip(names, values, strict=True)), **sample.kwargs)
        except (TypeError, ValueError, RuntimeError, IndexError):
            continue
        return names
    return []


KEYWORDS = [*FUNCTIONS, *(f"nn.functional.{name}" for name in FUNCTIONAL)]


@pytest.mark.parametrize("name", KEYWORDS)
def test_keywords(peers: Any, name: str) -> None:
    """Every argument by PyTorch's name: exp(input=x), add(input=a, other=b)."""
    function = peers.torch
    for part in name.split("."):
        function = getattr(function, part, None)
    tried = 0
    for entry in peers.entries(name) if function is not None else ():
        whole = peers.torch.float64 not in entry.supported_dtypes("cpu")
        for sample in peers.samples(entry, peers.torch.int64 if whole else peers.torch.float64, 12):
            if not (names := by_name(peers, name, function, sample)):
                continue
            tried += 1
            only = 1 if name in TIES else None
            difference = peers.fails(
                entry,
                lambda x, *a, names=names, **o: function(**dict(zip(names, (x, *a), strict=True)), **o),
                lambda x, *a, names=names, **o: PEERS[name](**dict(zip(names, (x, *a), strict=True)), **o),
                [sample],
                REFUSED.get(name),
                second=False,
                only=only,
            )
            assert not difference, f"{names}: {difference[0]}"
    assert tried, f"no sample of {name} could be called by keywords"


@pytest.mark.parametrize("name", [n for n in PEERS if not n.startswith("__r")])  # Python never calls those so
def test_what_pytorch_refuses(peers: Any, name: str) -> None:
    """A sentence of minidl's own, not an error from deep within."""
    for entry in peers.entries(name):
        for case in entry.error_inputs("cpu") if entry.error_inputs_func is not None else ():
            sample = case.sample_input
            if "out" in sample.kwargs:  # minidl has no out=
                continue
            try:
                x, args, options = peers.ours((sample.input, sample.args, sample.kwargs), {})
            except peers.Outside:
                continue
            with pytest.raises((TypeError, ValueError, RuntimeError, IndexError)) as caught:
                PEERS[name](x, *args, **options)
                pytest.fail(f"{entry.full_name}({peers.said(sample)}) was accepted; PyTorch: {case.error_regex}")
            assert ":" in str(caught.value), f"{entry.full_name}({peers.said(sample)}): {caught.value!r}"


def test_every_operation_has_a_peer() -> None:
    public = {name for name in ops.__all__ if inspect.isfunction(getattr(ops, name))}
    public |= set(F.__all__) | set(losses.__all__)
    known = {name.rpartition(".")[2] for name in PEERS} | {name for names in NO_PEER for name in names.split()}
    assert sorted(public - known) == [], "operations without a peer in the table of this file"


def test_a_difference_is_seen(peers: Any) -> None:
    """Wrong values, gradients, second derivatives, dtypes and shapes, each planted, are each reported."""
    (entry,) = peers.entries("tanh")
    found = [s for s in peers.samples(entry, peers.torch.float64, 4) if s.input.numel()]

    def wrong(peer: Callable[..., Any]) -> str:
        return " ".join(peers.fails(entry, entry.op, peer, found))

    assert not wrong(minidl.tanh)
    assert "result 0: " in wrong(lambda x: minidl.tanh(x) * (1 + 1e-6))
    assert "dtype" in wrong(lambda x: minidl.tanh(x).float())
    assert "shape" in wrong(lambda x: minidl.tanh(x)[None])
    assert "requires_grad" in wrong(lambda x: minidl.tanh(x.detach()))
    assert "gradient 0" in wrong(lambda x: minidl.tanh(x.detach()) + x - x.detach())
    assert "second derivative" in wrong(lambda x: Cubed.apply(x))


class Cubed(minidl.autograd.Function):
    """tanh with a right first derivative that pretends to be constant in one factor."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return minidl.tanh(x)

    @staticmethod
    def backward(ctx: Any, G: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return G * (1 - minidl.tanh(x) * minidl.tanh(x).detach())


def test_warnings_are_left_alone() -> None:
    """The filter above hides PyTorch's warnings here only."""
    with pytest.warns(UserWarning, match="differ in shape"), warnings.catch_warnings():
        warnings.simplefilter("always")
        F.mse_loss(minidl.zeros(2, 1), minidl.zeros(2))
