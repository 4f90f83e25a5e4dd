"""How good a model is, in numbers: for classes and for quantities.

Classes are given as whole numbers, `(N,)`, or as scores of any scale, `(N, C)`, whose largest entry is the choice.
Tensors, arrays and lists are all fine. Everything is computed in float64.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

__all__ = ["accuracy", "confusion_matrix", "f1", "mae", "precision", "r2", "recall", "rmse"]

Average = Literal["macro", "micro"] | None


def accuracy(input: Any, target: Any) -> float:
    """The share of right answers, between 0 and 1.

    Y = mean[n] [INPUT[n] == TARGET[n]]
    """
    chosen, true = _classes("accuracy", input, target)
    return float(np.mean(chosen == true))


def confusion_matrix(input: Any, target: Any, num_classes: int | None = None) -> np.ndarray:
    """How often class j was answered where i is true: int64 (C, C), true classes down, answers across.

    Y[i,j] = Σ[n] [TARGET[n] == i] * [INPUT[n] == j]

    Args:
        input: classes (N,) or scores (N, C).
        target: true classes (N,).
        num_classes: C; by default as many as the scores have columns, or else the largest class plus one.

    Raises:
        ValueError: a class is negative or not below `num_classes`.
    """
    chosen, true = _classes("confusion_matrix", input, target)
    scores = np.shape(_array(input))
    C = num_classes or (scores[1] if len(scores) == 2 else 1 + int(max(chosen.max(), true.max())))
    low, high = int(min(chosen.min(), true.min())), int(max(chosen.max(), true.max()))
    if low < 0 or high >= C:
        raise ValueError(
            f"confusion_matrix: found class {low if low < 0 else high}, expected 0 to {C - 1}; count classes from 0"
        )
    return np.bincount(true * C + chosen, minlength=C * C).reshape(C, C)


def precision(input: Any, target: Any, average: Average = "macro") -> Any:
    """Of the answers "class c", the share that is right; 0 for a class that was never the answer.

    M[i,j] = Σ[n] [TARGET[n] == i] * [INPUT[n] == j]
    Y[c] = M[c,c] / Σ[i] M[i,c]

    Args:
        input: classes (N,) or scores (N, C).
        target: true classes (N,).
        average: "macro" is the plain mean over the classes that occur; "micro" counts all answers alike (and then
            equals accuracy); None gives the array of shape (C,).
    """
    M = confusion_matrix(input, target)
    return _averaged("precision", np.diag(M), M.sum(0), M, average)


def recall(input: Any, target: Any, average: Average = "macro") -> Any:
    """Of the examples of class c, the share that was found; 0 for a class without examples.

    M[i,j] = Σ[n] [TARGET[n] == i] * [INPUT[n] == j]
    Y[c] = M[c,c] / Σ[j] M[c,j]

    The arguments are those of `precision`.
    """
    M = confusion_matrix(input, target)
    return _averaged("recall", np.diag(M), M.sum(1), M, average)


def f1(input: Any, target: Any, average: Average = "macro") -> Any:
    """The harmonic mean of precision and recall, 2 p r / (p + r), class by class.

    M[i,j] = Σ[n] [TARGET[n] == i] * [INPUT[n] == j]
    Y[c] = 2 * M[c,c] / (Σ[i] M[i,c] + Σ[j] M[c,j])

    The arguments are those of `precision`.
    """
    M = confusion_matrix(input, target)
    return _averaged("f1", 2 * np.diag(M), M.sum(0) + M.sum(1), M, average)


def r2(input: Any, target: Any) -> float:
    """R², the share of the target's variance that is explained: 1 is perfect, 0 as good as always answering the mean.

    μ = mean[n] TARGET[n]
    Y = 1 - Σ[n] (TARGET[n] - INPUT[n])**2 / Σ[n] (TARGET[n] - μ)**2

    Several outputs, (N, K), are averaged. A constant target gives 1 where it is met exactly, else 0.
    """
    given, true = _quantities("r2", input, target)
    left, total = ((true - given) ** 2).sum(0), ((true - true.mean(0)) ** 2).sum(0)
    share = np.where(total > 0, 1 - left / np.where(total > 0, total, 1), np.where(left > 0, 0.0, 1.0))
    return float(share.mean())


def mae(input: Any, target: Any) -> float:
    """The mean absolute error, in the target's own unit.

    Y = mean[n] abs(TARGET[n] - INPUT[n])
    """
    given, true = _quantities("mae", input, target)
    return float(np.abs(true - given).mean())


def rmse(input: Any, target: Any) -> float:
    """The root of the mean squared error, in the target's own unit.

    Y = sqrt(mean[n] (TARGET[n] - INPUT[n])**2)
    """
    given, true = _quantities("rmse", input, target)
    return float(np.sqrt(((true - given) ** 2).mean()))


def _averaged(name: str, parts: np.ndarray, wholes: np.ndarray, M: np.ndarray, average: Average) -> Any:
    each = np.where(wholes > 0, parts / np.maximum(wholes, 1), 0.0)
    if average is None:
        return each
    if average == "micro":
        return float(parts.sum() / wholes.sum())
    if average == "macro":
        return float(each[(M.sum(0) + M.sum(1)) > 0].mean())
    raise ValueError(f'{name}: average is {average!r}; expected "macro", "micro" or None')


def _array(values: Any) -> np.ndarray:
    return np.asarray(values.detach().cpu().array if hasattr(values, "detach") else values)


def _classes(name: str, input: Any, target: Any) -> tuple[np.ndarray, np.ndarray]:
    chosen, true = _array(input), _array(target)
    if chosen.ndim == 2:
        chosen = chosen.argmax(1)
    if chosen.shape != true.shape or true.ndim != 1:
        raise ValueError(
            f"{name}: input {np.shape(input)} and target {true.shape} do not fit; expected classes (N,) or scores (N,"
            " C), and target (N,)"
        )
    if true.size == 0:
        raise ValueError(f"{name}: there are no examples; expected at least one")
    for values in (chosen, true):
        if values.dtype.kind not in "iub":
            raise ValueError(f"{name}: classes are {values.dtype}; expected whole numbers (convert with .long())")
    return chosen.astype(np.int64), true.astype(np.int64)


def _quantities(name: str, input: Any, target: Any) -> tuple[np.ndarray, np.ndarray]:
    given, true = _array(input).astype(np.float64), _array(target).astype(np.float64)
    if given.shape != true.shape:
        raise ValueError(f"{name}: input {given.shape} and target {true.shape} differ; reshape one so that they match")
    if true.size == 0:
        raise ValueError(f"{name}: there are no examples; expected at least one")
    return given, true
