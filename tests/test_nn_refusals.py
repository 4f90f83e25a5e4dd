"""What PyTorch's layers, functions and optimizers refuse is refused here too, in a sentence that names what came."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest

import minidl
import minidl.nn.functional

Call = Callable[[Any, Any], Any]  # of the library and its nn.functional


def leaf(T: Any) -> Any:
    return T.zeros(1, requires_grad=True)


def twice(T: Any) -> Any:
    p = leaf(T)
    return T.optim.SGD([{"params": [p]}, {"params": [p]}], lr=0.1)


REFUSED: list[tuple[Call, str]] = [
    (lambda T, F: F.conv_transpose2d(T.zeros(1, 2, 3, 3), T.zeros(3, 2, 2, 2)), "has 2 channels, the weight"),
    (
        lambda T, F: F.conv_transpose2d(T.zeros(1, 2, 3, 3), T.zeros(2, 2, 2, 2), output_padding=1),
        "must be smaller than stride",
    ),
    (lambda T, F: F.conv_transpose2d(T.zeros(1, 2, 1, 1), T.zeros(2, 2, 1, 1), padding=2), "which is empty"),
    (lambda T, F: F.adaptive_avg_pool2d(T.zeros(3, 3), 2), r"expected \(N, C, H, W\)"),
    (lambda T, F: F.adaptive_avg_pool2d(T.zeros(1, 1, 3, 3), -2), "output_size is -2"),
    (lambda T, F: F.group_norm(T.zeros(2, 5, 3), 2), "num_groups is 2"),
    (lambda T, F: F.group_norm(T.zeros(1, 2), 2), "more than one value per group"),
    (lambda T, F: F.group_norm(T.zeros(2, 4, 3), 2, T.ones(3)), "weight must have shape"),
    (lambda T, F: F.pixel_shuffle(T.zeros(1, 3, 2, 2), 2), "a multiple of 2² channels"),
    (lambda T, F: F.unfold(T.zeros(1, 3, 2, 2), 3), "do not fit into an image"),
    (lambda T, F: F.unfold(T.zeros(3, 2), 1), "expected input"),
    (lambda T, F: F.normalize(T.zeros(3, 2).long()), "expected floating point"),
    (lambda T, F: F.cosine_similarity(T.zeros(3, 2), T.zeros(4, 3)), "do not broadcast"),
    (lambda T, F: F.cosine_similarity(T.zeros(3, 2).long(), T.zeros(3, 2).long()), "expected floating point"),
    (lambda T, F: T.nn.LSTM(2, 3)(T.zeros(4, 1, 2), (T.zeros(1, 1, 3), T.zeros(1, 2, 3))), "c_0 is"),
    (lambda T, F: T.nn.LSTM(2, 3)(T.zeros(4, 1, 2).double()), "float64"),
    (lambda T, F: T.nn.GRU(2, 3)(T.zeros(4, 1, 2).long()), "int64"),
    (lambda T, F: T.nn.GRU(2, 3)(T.zeros(4, 1, 1, 2)), r"expected \(T, N, input_size\)"),
    (lambda T, F: T.nn.LSTMCell(2, 3)(T.zeros(4, 3)), r"expected \(N, 2\)"),
    (lambda T, F: T.nn.GRUCell(2, 3)(T.zeros(4, 1, 2)), r"expected \(N, 2\)"),
    (
        lambda T, F: T.nn.MultiheadAttention(4, 2, kdim=3)(T.zeros(2, 1, 4), T.zeros(2, 1, 4), T.zeros(2, 1, 4)),
        "kdim = 3",
    ),
    (lambda T, F: T.nn.TransformerEncoderLayer(5, 2), "embed_dim is 5"),
    (lambda T, F: T.nn.TransformerEncoderLayer(4, 2, activation="swish"), "activation is 'swish'"),
    (lambda T, F: T.optim.Adam([leaf(T)], lr=-1.0), "lr is -1.0"),
    (lambda T, F: T.optim.RMSprop([leaf(T)], momentum=-1.0), "momentum is -1.0"),
    (lambda T, F: T.optim.Adagrad([leaf(T)], initial_accumulator_value=-1.0), "initial_accumulator_value is -1.0"),
    (lambda T, F: T.optim.Adadelta([leaf(T)], rho=2.0), "rho is 2.0"),
    (lambda T, F: twice(T), "given twice"),
    (lambda T, F: T.nn.ConvTranspose2d(2, 2, 3, padding_mode="reflect"), "padding_mode 'reflect'"),
    (lambda T, F: T.nn.Conv2d(2, 2, 3)(T.zeros(2, 5)), r"expected x \(N, C, H, W\)"),
    (lambda T, F: T.nn.Embedding(3, 2)(T.zeros(2)), "must hold integers"),
    (lambda T, F: T.nn.Embedding(3, 2)(T.tensor([3])), "index 3 is out of range"),
    (lambda T, F: T.nn.BatchNorm1d(3)(T.zeros(1, 3)), "more than one value per channel"),
    (lambda T, F: F.mse_loss(T.zeros(3), T.zeros(3), weight=T.zeros(2)), "weight has shape"),
    (lambda T, F: T.nn.Linear(3, 2)(T.zeros(2, 4)), "needs a weight"),
    (lambda T, F: T.nn.MaxPool2d(2, padding=2)(T.zeros(1, 1, 4, 4)), "at most half"),
    (
        lambda T, F: T.optim.lr_scheduler.OneCycleLR(T.optim.SGD([leaf(T)], lr=0.1), max_lr=0.1, total_steps=-1),
        "total_steps is -1",
    ),
    (lambda T, F: T.optim.lr_scheduler.ReduceLROnPlateau(T.optim.SGD([leaf(T)], lr=0.1), factor=1.0), "factor is 1.0"),
]


@pytest.mark.parametrize(("call", "words"), REFUSED, ids=lambda value: value if isinstance(value, str) else "")
def test_it_is_refused(call: Call, words: str) -> None:
    with pytest.raises((TypeError, ValueError, IndexError), match=words) as caught:
        call(minidl, minidl.nn.functional)
    assert ":" in str(caught.value) and "\n" not in str(caught.value), "one sentence that begins with who speaks"


@pytest.mark.peers
@pytest.mark.parametrize(("call", "words"), REFUSED, ids=lambda value: value if isinstance(value, str) else "")
def test_pytorch_refuses_it_too(call: Call, words: str) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: nothing to compare with")
    with warnings.catch_warnings(), pytest.raises(Exception):  # noqa: B017 (of whatever type theirs is)
        warnings.simplefilter("ignore")
        call(torch, torch.nn.functional)
