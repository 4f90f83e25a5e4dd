"""The grammar of formulas: what it reads, what it computes, and that it catches wrong formulas."""

from __future__ import annotations

import importlib
import inspect
import pkgutil

import numpy as np
import pytest

import minidl
from minidl.explain import (
    FormulaError,
    evaluate,
    formula,
    formulas,
    latex,
    move_last,
    parse,
    run_updates,
    show,
)

draw = np.random.default_rng(7).normal
A, B, X, W = draw(size=(3, 4)), draw(size=(4, 5)), draw(size=(2, 3, 6, 5)), draw(size=(4, 3, 3, 2))


def value(line: str, *, shape: tuple[int, ...] | None = None, **values: object) -> np.ndarray:
    """The value of the first line's target."""
    target = formulas(line)[0].target
    return evaluate(line, values, {} if shape is None else {target: shape})[target]


# ------------------------------------------------------------------------------------------------- reading


def test_finds_the_formula_lines_of_a_docstring_and_nothing_else() -> None:
    def op() -> None:
        """Y[i] = Σ[j] A[i,j]
            * B[j]

        The default dim=None sums all; `x = 3` in the middle of prose is no formula.
        dim=0 neither, and not this: f(x) = 2.

            y = op(x)  # nor an example

        ∂L/∂A[i,j] = G[i] * B[j]
        m̂ ← m / (1 - β1**t)
        """

    assert [str(line) for line in formulas(op)] == [
        "Y[i] = Σ[j] A[i,j] * B[j]",
        "∂L/∂A[i,j] = G[i] * B[j]",
        "m̂ ← m / (1 - β1**t)",
    ]
    assert [line.where for line in formulas(op)] == ["op, line 1", "op, line 9", "op, line 10"]
    assert formulas(op)[1].target == "∂L/∂A" and formulas(op)[1].indices == ("i", "j")
    assert formulas(op)[2].indices is None and formulas(op)[2].sign == "←"


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("Y = a +", "needs a value"),
        ("Y = (a * b", "needs `)`"),
        ("Y = a b", "goes on with `b`"),
        ("Y = a ; b", "does not know `;`"),
        ("Y = a = b", "does not know `=`"),
        ("Y = a if b", "needs `else`"),
        ("Y[i] = Σ[j A[i,j]", "needs `]`"),
        ("Y = Σ[2] a", "name of an index"),
        ("Y[i+1] = A[i]", "plain names"),
        ("Y[i]= A[i]", "is no formula"),
        ("∂L/∂X= G", "is no formula"),
    ],
)
def test_a_line_that_cannot_be_read_names_function_and_line(line: str, complaint: str) -> None:
    def op() -> None: ...

    op.__doc__ = f"Z = a\n\n    {line}\n\n    Prose.\n"
    with pytest.raises(FormulaError, match=r"op, line 3: `") as caught:
        formulas(op)
    assert complaint in str(caught.value)


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("Y = Q * 2", "nothing is called `Q`"),
        ("Y[i] = A[i]", "`A` has 2 axes"),
        ("Y[i] = Σ[j] A[i,k]", "range of index `j`"),
        ("Y[i,j] = A[i,j] + B[i,j]", "range over 3 and over 4"),
        ("Y[i] = Σ[j] A[i,j] * B", "name them"),
        ("Y = blur(A)", "no function `blur`"),
        ("Y = Y + A", "nothing is called `Y`"),
        ("Y = A\nY = B", "already gives `Y`"),
    ],
)
def test_a_line_that_cannot_be_evaluated_says_why(line: str, complaint: str) -> None:
    with pytest.raises(FormulaError, match="line") as caught:
        evaluate(line, {"A": A, "B": B})
    assert complaint in str(caught.value)


MODULES = [info.name for info in pkgutil.walk_packages(minidl.__path__, "minidl.") if "__main__" not in info.name]


@pytest.mark.parametrize("module", MODULES)
def test_every_formula_of_the_package_can_be_read_and_shown(module: str) -> None:
    """Functions, classes and their methods: a line that looks like a formula is one."""
    try:
        things = vars(importlib.import_module(module))
    except ImportError as error:
        pytest.skip(f"{module} cannot be imported here: {error}")
    plain = [thing for thing in things.values() if inspect.isfunction(thing) or inspect.isclass(thing)]
    methods = [f for thing in plain if inspect.isclass(thing) for f in vars(thing).values() if inspect.isfunction(f)]
    for thing in [*plain, *methods]:
        if thing.__module__ == module:
            for line in formulas(thing):
                shown = latex(line).replace(r"\leftarrow", "")
                assert shown.count("{") == shown.count("}") and shown.count(r"\left") == shown.count(r"\right"), shown


# ------------------------------------------------------------------------------------------------- values


def test_elementwise_formulas_broadcast_and_bind_as_python_does() -> None:
    a, b = draw(size=(3, 1)), draw(size=4)
    for text in (
        "a - b - a * b ** 2 / 3",
        "-a ** 2 + b % 0.3 // 0.1",
        "a + 1 if 2 > 1 else b",
        "2 ** -1 * a",
        "- -a",
    ):
        np.testing.assert_allclose(value(f"Y = {text}", a=a, b=b), eval(text, {"a": a, "b": b}), rtol=1e-14)
    np.testing.assert_array_equal(value("Y = a if a > 0 else 0 * a", a=a), np.maximum(a, 0))
    np.testing.assert_array_equal(value("Y = [0 < a < 1 or not a < 2] * 3", a=a), 3 * (((0 < a) & (a < 1)) | (a >= 2)))
    np.testing.assert_allclose(value("Y = a * sigmoid(a)", a=a), a / (1 + np.exp(-a)))


def test_index_notation() -> None:
    np.testing.assert_allclose(value("Y[i,k] = Σ[j] A[i,j] * B[j,k]", A=A, B=B), A @ B)
    np.testing.assert_allclose(value("Y[k,i] = Σ[j] A[i,j] * B[j,k]", A=A, B=B), (A @ B).T)
    np.testing.assert_allclose(value("Y[j] = mean[i] A[i,j] - 1", A=A), A.mean(0) - 1)
    np.testing.assert_allclose(value("Y[i] = max[j] A[i,j] + min[j] A[i,j]", A=A), A.max(1) + A.min(1))
    np.testing.assert_allclose(value("Y[i] = Π[j] A[i,j]", A=A), A.prod(1))
    np.testing.assert_array_equal(value("Y[i] = argmax[j] A[i,j]", A=A), A.argmax(1))
    np.testing.assert_allclose(value("Y = Σ[i,j] A[i,j] ** 2", A=A), (A**2).sum())
    np.testing.assert_allclose(value("Y[i] = Σ[j] A[i,j] * [j <= i]", A=A), np.tril(A).sum(1))
    np.testing.assert_array_equal(value("Y[i] = Σ[j < 4] 1", shape=(3,)), [4, 4, 4])
    np.testing.assert_allclose(value("Y[i] = Σ[j < 2] A[i,j]", A=A), A[:, :2].sum(1))


def test_dots_stand_for_the_other_axes_and_broadcast() -> None:
    np.testing.assert_allclose(
        value("Y[...,i] = exp(X[...,i]) / Σ[j] exp(X[...,j])", X=X),
        np.exp(X) / np.exp(X).sum(-1, keepdims=True),
    )
    left, right = draw(size=(2, 1, 3, 4)), draw(size=(5, 4, 2))
    np.testing.assert_allclose(value("Y[...,i,k] = Σ[j] A[...,i,j] * B[...,j,k]", A=left, B=right), left @ right)
    np.testing.assert_allclose(value("Y = mean[...] X[...]", X=X), X.mean())
    np.testing.assert_allclose(value("Y[c] = Σ[n,...] X[n,c,...]", X=X), X.sum((0, 2, 3)))
    np.testing.assert_allclose(value("Y[...] = X[...] * 2", X=np.float64(3)), 6)


def test_reads_beyond_the_edge_are_left_out() -> None:
    row = np.array([-5.0, -3.0, -4.0])
    np.testing.assert_array_equal(value("Y[i] = X[i-1]", X=row, shape=(5,)), [0, -5, -3, -4, 0])
    np.testing.assert_array_equal(value("Y[i] = max[r < 2] X[i+r-1]", X=row, shape=(4,)), [-5, -3, -3, -4])
    np.testing.assert_array_equal(value("Y[i] = mean[r < 2] X[i+r-1]", X=row, shape=(4,)), [-5, -4, -3.5, -4])
    np.testing.assert_array_equal(value("Y[i] = X[i-1] if 1 <= i < 4 else 9", X=row, shape=(5,)), [9, -5, -3, -4, 9])


def test_convolution_with_stride_padding_and_dilation() -> None:
    line = "Y[n,o,p,q] = Σ[c,r,s] X[n,c,p*stride+r*dilation-padding,q*stride+s*dilation-padding] * W[o,c,r,s]"
    stride, padding, dilation = 2, 1, 2
    padded = np.pad(X, ((0, 0), (0, 0), (1, 1), (1, 1)))
    expected = np.zeros((2, 4, 2, 3))
    for p, q, r, s in np.ndindex(2, 3, 3, 2):
        patch = padded[:, :, p * stride + r * dilation, q * stride + s * dilation]
        expected[:, :, p, q] += patch @ W[:, :, r, s].T
    got = value(line, X=X, W=W, stride=stride, padding=padding, dilation=dilation, shape=expected.shape)
    np.testing.assert_allclose(got, expected)
    pairs = line.replace("stride", "stride[0]", 1).replace("q*stride", "q*stride[1]")
    got = value(pairs, X=X, W=W, stride=(stride, stride), padding=padding, dilation=dilation, shape=expected.shape)
    np.testing.assert_allclose(got, expected)


def test_an_array_can_index_another() -> None:
    logits, target = draw(size=(4, 3)), np.array([2, 0, -100, 1])
    log_softmax = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    text = """ℓ[n,c] = X[n,c] - log(Σ[k] exp(X[n,k]))
    Y = -(Σ[n] ℓ[n,T[n]]) / Σ[n] [T[n] != ignore_index]
    """
    got = evaluate(text, {"X": logits, "T": target, "ignore_index": -100})["Y"]
    np.testing.assert_allclose(got, -log_softmax[[0, 1, 3], [2, 0, 1]].mean())
    table = draw(size=(5, 2))
    np.testing.assert_array_equal(value("Y[...,j] = W[I[...],j]", W=table, I=np.array([[1, 4]])), table[[[1, 4]]])


def test_targets_use_each_other_in_any_order() -> None:
    text = """Y[n,j] = (A[n,j] - μ[n]) / sqrt(σ²[n] + eps)

    μ[n] = mean[j] A[n,j]
    σ²[n] = mean[j] (A[n,j] - μ[n]) ** 2
    """
    got = evaluate(text, {"A": A, "eps": 1e-5})
    np.testing.assert_allclose(got["Y"], (A - A.mean(1, keepdims=True)) / np.sqrt(A.var(1, keepdims=True) + 1e-5))
    np.testing.assert_allclose(got["σ²"], A.var(1))


def test_a_number_stands_for_an_array_of_it() -> None:
    np.testing.assert_allclose(value("Y[i] = A[i,0] + B[i]", A=A, B=0.0), A[:, 0])


def test_a_bracket_of_0_hides_infinity() -> None:
    np.testing.assert_array_equal(value("Y = [X > 0] * log(X)", X=np.array([-1.0, 0.0, 1.0])), [0, 0, 0])


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0), (1, 1), (5, 7)])
def test_empty_and_odd_sizes(shape: tuple[int, int]) -> None:
    array = draw(size=shape)
    np.testing.assert_allclose(value("Y[i] = Σ[j] X[i,j]", X=array), array.sum(1))
    np.testing.assert_allclose(
        value("Y[...,i] = X[...,i] / Σ[j] abs(X[...,j])", X=array), array / abs(array).sum(1)[:, None]
    )


def test_move_last_makes_the_named_axes_one_last_axis() -> None:
    assert move_last(X, 1).shape == (2, 6, 5, 3)
    assert move_last(X, (0, -1)).shape == (3, 6, 10)
    np.testing.assert_array_equal(move_last(X, None), X.ravel())
    np.testing.assert_array_equal(move_last(X, (3, 0))[1, 2], X[:, 1, 2, :].T.ravel())


def test_update_rules_run_from_top_to_bottom() -> None:
    state = {"w": 1.0, "g": 2.0, "m": 0.5, "β1": 0.9, "t": 2, "lr": 0.1}
    after = run_updates("m ← β1 * m + (1 - β1) * g\nm̂ = m / (1 - β1**t)\nw ← w - lr * m̂", state)
    assert after["m"] == pytest.approx(0.65) and after["m̂"] == pytest.approx(0.65 / 0.19)
    assert after["w"] == pytest.approx(1 - 0.1 * 0.65 / 0.19) and state["w"] == 1.0


# ------------------------------------------------------------------- wrong formulas are caught, planted ones


def cross_entropy(logits: np.ndarray, target: np.ndarray) -> float:
    return -np.log((np.exp(logits) / np.exp(logits).sum(1, keepdims=True))[np.arange(len(target)), target]).mean()


def adam(w: float, g: float, m: float, v: float, t: int) -> float:
    m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
    return w - 0.1 * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-3)


@pytest.mark.parametrize("right", [True, False])
def test_a_missing_minus_sign_is_caught(right: bool) -> None:
    line = f"Y = {'-' if right else ''}mean[n] log(exp(X[n,T[n]]) / Σ[c] exp(X[n,c]))"
    logits, target = draw(size=(4, 3)), np.array([2, 0, 1, 1])
    same = np.allclose(value(line, X=logits, T=target), cross_entropy(logits, target))
    assert same is right


@pytest.mark.parametrize("right", [True, False])
def test_an_epsilon_inside_the_root_is_caught(right: bool) -> None:
    rule = f"""m ← β1 * m + (1 - β1) * g
    v ← β2 * v + (1 - β2) * g**2
    m̂ = m / (1 - β1**t)
    v̂ = v / (1 - β2**t)
    w ← w - lr * m̂ / {"(sqrt(v̂) + eps)" if right else "sqrt(v̂ + eps)"}
    """
    state = {"w": 1.0, "g": 0.01, "m": 0.0, "v": 0.0, "t": 1, "β1": 0.9, "β2": 0.999, "lr": 0.1, "eps": 1e-3}
    assert np.isclose(run_updates(rule, state)["w"], adam(1.0, 0.01, 0.0, 0.0, 1)) == right


@pytest.mark.parametrize("right", [True, False])
def test_a_missing_factor_is_caught(right: bool) -> None:
    line = f"∂L/∂X = {'2 * ' if right else ''}G * X"
    x, h = draw(size=5), 1e-6
    numeric = ((x + h) ** 2 - (x - h) ** 2) / (2 * h)
    assert np.allclose(value(line, X=x, G=np.ones(5)), numeric) == right


@pytest.mark.parametrize("wrong", ["Σ[k] G[i,k] * B[k,j]", "Σ[k] G[k,i] * B[j,k]", "Σ[k] G[i,k] * A[j,k]"])
def test_swapped_indices_are_caught(wrong: str) -> None:
    square, other, G = (draw(size=(4, 4)) for _ in range(3))
    got = value(f"∂L/∂A[i,j] = {wrong}", A=square, B=other, G=G, shape=(4, 4))
    assert not np.allclose(got, G @ other.T)


# ------------------------------------------------------------------------------------------------- showing


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("Y[i,k] = Σ[j] A[i,j] * B[j,k]", r"Y_{i,k} = \sum_{j} A_{i,j} \, B_{j,k}"),
        (
            "∂L/∂X[...,i] = G[...,i] / (a - b)",
            r"\frac{\partial L}{\partial X_{\ldots,i}} = \frac{G_{\ldots,i}}{a - b}",
        ),
        ("m̂ ← m / (1 - β1**t)", r"\hat{m} \leftarrow \frac{m}{1 - {\beta_{1}}^{t}}"),
        ("Y = -a * (b - c) - (d - e)", r"Y = -a \, \left(b - c\right) - \left(d - e\right)"),
        (
            "Y = X if X > 0 else 0",
            r"Y = \begin{cases} X & \text{if } X > 0 \\ 0 & \text{otherwise} \end{cases}",
        ),
        ("σ² = step_size * lr_t", r"\sigma^{2} = \mathrm{step\_size} \cdot \mathrm{lr}_{t}"),
        ("Y = sqrt(abs(x)) + 2 * 3", r"Y = \sqrt{\left|x\right|} + 2 \cdot 3"),
        ("W ~ U(-bound, bound)", r"W \sim \operatorname{U}\left(-\mathrm{bound}, \mathrm{bound}\right)"),
        ("Y = (Σ[r < k] x) * 2", r"Y = \left(\sum_{r < k} x\right) \cdot 2"),
    ],
)
def test_latex(line: str, expected: str) -> None:
    assert latex(line) == expected


def test_formula_is_text_in_a_terminal_and_mathematics_in_a_notebook() -> None:
    def op() -> None:
        """Y = A * B

        ∂L/∂A = G * B
        """

    shown = formula(op)
    assert repr(shown) == "Y = A * B\n∂L/∂A = G * B"
    assert shown._repr_markdown_().startswith("$$\\begin{aligned}\nY &= A \\, B")
    assert "&=" in shown._repr_latex_() and len(shown) == 2


def test_show_prints_formula_place_and_source_from_the_function_itself(
    capsys: pytest.CaptureFixture[str],
) -> None:
    show(parse)
    printed = capsys.readouterr().out
    line = inspect.getsourcelines(parse)[1]
    assert (
        f"minidl/explain/grammar.py:{line}\n" in printed.replace("\\", "/")
        and inspect.getsource(parse).rstrip() in printed
    )
    with pytest.raises(TypeError, match="has no Python source"):
        show(len)
