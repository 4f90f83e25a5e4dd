"""The plain case of a formula: what is off is gone, what is left says the same."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from minidl import data, losses, ops, optim, penalties, train
from minidl.explain import evaluate, formulas, latex, parse, plain
from minidl.explain.plain import text

draw = np.random.default_rng(7).normal
CLASSES = {"INPUT": draw(size=(4, 3)), "TARGET": np.array([2, 0, 1, 1]), "G": np.ones(4)}
VALUES = {"INPUT": draw(size=(4, 3)), "TARGET": draw(size=(4, 3)), "G": np.float64(2)}


def every_function() -> list[Any]:
    modules = (ops, losses, penalties, optim, data, train)
    found = [getattr(module, name) for module in modules for name in dir(module) if not name.startswith("_")]
    return [f for f in found if callable(f) and formulas(f)]


def test_the_latex_of_every_formula_closes_what_it_opens() -> None:
    for function in every_function():
        for line in [*formulas(function), *plain(function)]:
            shown = latex(line)
            for opens, closes in ((r"\\left\b", r"\\right\b"), (r"\\begin{", r"\\end{")):
                assert len(re.findall(opens, shown)) == len(re.findall(closes, shown)), line
            bare = shown.replace(r"\{", "").replace(r"\}", "")
            depths = [bare[:i].count("{") - bare[:i].count("}") for i in range(len(bare) + 1)]
            assert min(depths) == 0 == depths[-1], line


def test_a_tree_written_out_reads_as_the_same_tree() -> None:
    lines = [line for function in every_function() for line in formulas(function)]
    assert len(lines) > 300
    for line in lines:
        assert parse(f"Y = {text(line.tree)}").tree == line.tree, line


def test_every_formula_has_a_plain_case() -> None:
    for function in every_function():
        lines = plain(function)
        assert len(lines) > 0, function
        for line in lines:
            assert parse(str(line)).tree == line.tree and line.tree != ("name", line.target), (function, line)


@pytest.mark.parametrize(
    ("function", "values", "options", "others"),
    [
        (losses.cross_entropy, CLASSES, {"reduction": "sum", "weight": 1}, {"label_smoothing": 0, "ignore_index": 1}),
        (losses.cross_entropy, CLASSES, {"label_smoothing": 0.1, "weight": 2}, {"ignore_index": 1, "WEIGHT": 2}),
        (losses.cross_entropy, CLASSES, {"reduction": "none"}, {"label_smoothing": 0, "WEIGHT": 1, "ignore_index": 1}),
        (losses.mse_loss, VALUES, {}, {"reduction": "mean"}),
        (losses.mse_loss, VALUES, {"reduction": "sum"}, {}),
        (losses.huber_loss, VALUES, {"reduction": "sum", "delta": 0.5}, {}),
        (ops.gelu, {"X": draw(size=5), "G": draw(size=5)}, {"approximate": "tanh"}, {}),
        (ops.gelu, {"X": draw(size=5), "G": draw(size=5)}, {}, {"approximate": "none"}),
    ],
)  # fmt: skip
def test_the_plain_case_says_the_same_as_the_whole_formula(
    function: Any, values: dict[str, Any], options: dict[str, Any], others: dict[str, Any]
) -> None:
    told = values | {"reduction": "mean", "WEIGHT": 1} | others | options
    shapes = {"pull": (4, 3), "∂L/∂INPUT": (4, 3)}
    lines = plain(function, **options).lines
    whole, short = evaluate(function, told, shapes), evaluate(lines, told, shapes)
    assert {name for name in whole if name[0] in "Y∂"} <= set(short)
    assert sum(len(str(line)) for line in lines) < sum(len(str(line)) for line in formulas(function))
    for target in short:
        np.testing.assert_allclose(short[target], whole[target], err_msg=target)


def test_the_plain_case_of_an_update_rule_drops_what_is_off() -> None:
    assert repr(plain(optim.SGD)) == "w ← w - lr * g"
    assert repr(plain(optim.SGD, momentum=0.9)) == "b ← g if t == 1 else 0.9 * b + g\ng ← b\nw ← w - lr * g"
    assert "maximize" not in repr(plain(optim.Adam)) and len(plain(optim.Adam)) == 5
    with pytest.raises(TypeError, match="option of type list"):
        plain(optim.SGD, momentum=[0.9])


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("Y = mean[...] INPUT[...]", r"Y = \operatorname*{mean} \mathrm{input}"),
        ("B[k] = Σ[...] G[...,k] * 1e-8", r"B_{k} = \sum_{\ldots} G_{\ldots,k} \cdot 10^{-8}"),
        ("Y = POS_WEIGHT[c] * 2.5e3", r"Y = {\mathrm{pos\_weight}}_{c} \cdot 2500"),
    ],
)
def test_words_and_whole_arrays_as_mathematics(line: str, expected: str) -> None:
    assert latex(parse(line)) == expected
