"""Metrics against plain loops, hand-made cases, and their own formulas."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minidl
from minidl import explain
from minidl.train import metrics
from minidl.train.metrics import accuracy, confusion_matrix, f1, mae, precision, r2, recall, rmse

answers = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=40).map(
    lambda pairs: tuple(map(np.array, zip(*pairs)))
)


@given(answers)
def test_classes_against_loops(pair: tuple[np.ndarray, np.ndarray]) -> None:
    chosen, true = pair
    C = 1 + max(chosen.max(), true.max())
    M = [[sum(1 for p, t in zip(chosen, true) if (t, p) == (i, j)) for j in range(C)] for i in range(C)]
    assert confusion_matrix(chosen, true).tolist() == M
    assert accuracy(chosen, true) == pytest.approx(sum(M[c][c] for c in range(C)) / len(true))
    ps, rs, fs = [], [], []
    for c in range(C):
        given_c, true_c = sum(M[i][c] for i in range(C)), sum(M[c])
        ps.append(M[c][c] / given_c if given_c else 0.0)
        rs.append(M[c][c] / true_c if true_c else 0.0)
        fs.append(2 * ps[c] * rs[c] / (ps[c] + rs[c]) if ps[c] + rs[c] else 0.0)
    present = [c for c in range(C) if c in chosen or c in true]
    for function, expected in ((precision, ps), (recall, rs), (f1, fs)):
        assert function(chosen, true, None) == pytest.approx(expected)
        assert function(chosen, true, "macro") == pytest.approx(np.mean([expected[c] for c in present]))
        assert function(chosen, true, "micro") == pytest.approx(accuracy(chosen, true))


def test_scores_choose_the_largest() -> None:
    scores = minidl.tensor([[0.1, 3.0, -1.0], [5.0, 4.0, 4.5], [0.0, 0.0, 1.0]])
    target = minidl.tensor([1, 2, 2])
    assert accuracy(scores, target) == pytest.approx(2 / 3)
    assert confusion_matrix(scores, target).tolist() == [[0, 0, 0], [0, 1, 0], [1, 0, 1]]


def test_quantities() -> None:
    true, given_ = [1.0, 2.0, 3.0, 6.0], [1.0, 2.0, 4.0, 5.0]
    assert mae(given_, true) == 0.5 and rmse(given_, true) == pytest.approx(math.sqrt(0.5))
    assert r2(given_, true) == pytest.approx(1 - 2 / 14)
    assert r2([3.0] * 4, true) == 0 and r2(true, true) == 1
    assert r2([2.0, 2.0], [2.0, 2.0]) == 1 and r2([2.0, 2.5], [2.0, 2.0]) == 0


@pytest.mark.parametrize("name", ["accuracy", "confusion_matrix", "r2", "mae", "rmse", "precision", "recall", "f1"])
def test_the_formula_in_the_docstring(name: str) -> None:
    rng = np.random.default_rng(1)
    if name in ("r2", "mae", "rmse"):
        given_, true = rng.normal(size=7), rng.normal(size=7)
    else:
        given_, true = rng.integers(0, 3, 12), rng.integers(0, 3, 12)
        given_[:3] = true[:3] = [0, 1, 2]
    function = getattr(metrics, name)
    found = function(given_, true, None) if name in ("precision", "recall", "f1") else function(given_, true)
    stated = explain.evaluate(function, {"INPUT": given_, "TARGET": true}, {"M": (3, 3), "Y": np.shape(found)})
    np.testing.assert_allclose(found, stated["Y"], rtol=1e-12)


@pytest.mark.parametrize(("call", "sentence"), [
    (lambda: accuracy([], []), "no examples"),
    (lambda: accuracy([1, 2], [1, 2, 3]), "do not fit"),
    (lambda: accuracy([1.5, 2.0], [1, 2]), "whole numbers"),
    (lambda: accuracy([[0.1, 0.9]], [[1]]), "do not fit"),
    (lambda: confusion_matrix([0, 3], [0, 1], 3), "found class 3, expected 0 to 2"),
    (lambda: confusion_matrix([0, -1], [0, 1]), "found class -1"),
    (lambda: precision([0, 1], [0, 1], "weighted"), "expected \"macro\""),
    (lambda: mae(np.ones((3, 1)), np.ones(3)), "differ"),
    (lambda: r2([], []), "no examples"),
])  # fmt: skip
def test_wrong_input(call: object, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        call()  # type: ignore[operator]
