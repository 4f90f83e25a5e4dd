"""Sums of products in Einstein's notation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ._common import promote_all, tensor_of
from .arithmetic import mul
from .index import getitem
from .linalg import matmul
from .reduce import sum
from .shape import permute, reshape

if TYPE_CHECKING:
    from .._tensor import Tensor


def einsum(equation: str, *operands: Any) -> Tensor:
    """Y = einsum(equation, OPERANDS)

    A letter for each dimension of each operand, and after the arrow those of the result: what is missing there is
    summed, "ij,jk->ik" is Y[i,k] = Σ[j] A[i,j] * B[j,k]. A letter twice in one operand is its diagonal; "..." stands for
    all dimensions without a letter, which broadcast, as do sizes of 1. Without an arrow the result has the letters that
    occur once, in alphabetical order, after the "...".

    A composition: diagonals by getitem, what only one operand has by sum, then operand by operand from the left a
    broadcast product or, where a letter is summed over both, a matmul of matrices (batch..., I, J) and (batch..., J, K).
    """
    if not isinstance(equation, str):
        raise TypeError(
            f"einsum: equation must be a text such as 'ij,jk->ik', got {type(equation).__name__}; "
            "the form with lists of numbers is not supported"
        )
    if len(operands) == 1 and isinstance(operands[0], (list, tuple)):
        operands = tuple(operands[0])
    tensors = [tensor_of(x, "einsum") for x in operands]
    inputs, output = _read(equation, [x.array.ndim for x in tensors])
    dtypes = {x.array.dtype.name for x in tensors}
    if len(dtypes) > 1:
        raise TypeError(f"einsum: the operands' dtypes {', '.join(sorted(dtypes))} differ; convert them with .to(dtype)")
    terms = [_diagonals(equation, x, letters) for x, letters in zip(promote_all(tensors, "einsum"), inputs, strict=True)]
    sizes: dict[Any, int] = {}
    for x, letters in terms:
        for letter, n in zip(letters, x.array.shape, strict=True):
            if sizes.setdefault(letter, n) != n and 1 not in (n, sizes[letter]):
                raise ValueError(f"einsum: {equation!r}: {_name(letter)} has size {sizes[letter]} and size {n}; they must agree")
            sizes[letter] = n if sizes[letter] == 1 else sizes[letter]
    for k in range(len(terms)):  # a size of 1 repeats: nothing to sum over, and broadcasting brings it back
        x, letters = terms[k]
        short = [d for d, letter in enumerate(letters) if x.array.shape[d] == 1 != sizes[letter] and letter not in output]
        terms[k] = x.squeeze(short), tuple(letter for d, letter in enumerate(letters) if d not in short)
    y, letters = terms[0]
    for k, (x, more) in enumerate(terms[1:], 1):
        kept = set(output).union(*(later for _, later in terms[k + 1 :]))
        y, letters = _product(*_summed(y, letters, kept.union(more)), *_summed(x, more, kept.union(letters)), kept)
    y, letters = _summed(y, letters, set(output))
    return permute(y, tuple(letters.index(letter) for letter in output))


def _read(equation: str, ndims: Sequence[int]) -> tuple[list[tuple[Any, ...]], tuple[Any, ...]]:
    """The letters of each operand and of the result; the dimensions of "..." are numbered from the right: -1, -2, ..."""
    left, arrow, right = equation.replace(" ", "").partition("->")
    parts = left.split(",")
    if len(parts) != len(ndims):
        raise ValueError(f"einsum: {equation!r} describes {len(parts)} operands, got {len(ndims)}")
    rest = [n - len(part.replace("...", "", 1)) for part, n in zip(parts, ndims, strict=True)]
    for part, n, extra in zip(parts, ndims, rest, strict=True):
        if extra < 0 or (extra and "..." not in part):
            raise ValueError(f"einsum: {equation!r}: {part!r} does not describe an operand of {n} dimensions")
    dots = tuple(range(-max((r for r, part in zip(rest, parts, strict=True) if "..." in part), default=0), 0))
    inputs = [_letters(equation, part, dots[len(dots) - r :]) for part, r in zip(parts, rest, strict=True)]
    every = [letter for letters in inputs for letter in letters]
    if not arrow:
        return inputs, dots + tuple(sorted(x for x in set(every) if isinstance(x, str) and every.count(x) == 1))
    output = _letters(equation, right, dots)
    for letter in output:
        if letter not in every:
            raise ValueError(f"einsum: {equation!r}: {_name(letter)} of the result occurs in no operand")
        if output.count(letter) > 1:
            raise ValueError(f"einsum: {equation!r}: {_name(letter)} occurs twice in the result")
    return inputs, output


def _letters(equation: str, part: str, dots: tuple[int, ...]) -> tuple[Any, ...]:
    before, found, after = part.partition("...")
    for letter in before + after:
        if not (letter.isascii() and letter.isalpha()):
            raise ValueError(f"einsum: {equation!r}: {letter!r} is no letter; use a-z, A-Z, '...', ',' and '->'")
    return (*before, *(dots if found else ()), *after)


def _name(letter: Any) -> str:
    return repr(letter) if isinstance(letter, str) else f"dimension {letter} of '...'"


def _diagonals(equation: str, x: Tensor, letters: tuple[Any, ...]) -> tuple[Tensor, tuple[Any, ...]]:
    """Where a letter stands twice: both dimensions last, as one row of n * n elements, of which every (n + 1)th stays."""
    for letter in dict.fromkeys(letters):
        while letters.count(letter) > 1:
            i = letters.index(letter)
            j = letters.index(letter, i + 1)
            n = x.array.shape[i]
            if x.array.shape[j] != n:
                raise ValueError(
                    f"einsum: {equation!r}: {_name(letter)} stands for sizes {n} and {x.array.shape[j]} of one operand"
                )
            others = tuple(d for d in range(len(letters)) if d not in (i, j))
            rows = reshape(permute(x, (*others, i, j)), (*(x.array.shape[d] for d in others), n * n))
            x, letters = getitem(rows, (..., slice(None, None, n + 1))), (*(letters[d] for d in others), letter)
    return x, letters


def _summed(x: Tensor, letters: tuple[Any, ...], kept: set[Any]) -> tuple[Tensor, tuple[Any, ...]]:
    """x summed over the letters that nobody needs any more."""
    dims = tuple(d for d, letter in enumerate(letters) if letter not in kept)
    return (sum(x, dims) if dims else x), tuple(letter for letter in letters if letter in kept)


def _product(
    a: Tensor, left: tuple[Any, ...], b: Tensor, right: tuple[Any, ...], kept: set[Any]
) -> tuple[Tensor, tuple[Any, ...]]:
    """Two terms become one: letters of both that are not kept are summed."""
    both = [letter for letter in left if letter in right]
    batch, inner = [x for x in both if x in kept], [x for x in both if x not in kept]
    rows, columns = [x for x in left if x not in right], [x for x in right if x not in left]
    a = permute(a, tuple(left.index(x) for x in (*batch, *rows, *inner)))
    b = permute(b, tuple(right.index(x) for x in (*batch, *inner, *columns)))
    A, B, n = a.array.shape, b.array.shape, len(batch)
    I, J, K = A[n : n + len(rows)], B[n : n + len(inner)], B[n + len(inner) :]
    letters = (*batch, *rows, *columns)
    if not inner:
        return mul(reshape(a, A + (1,) * len(K)), reshape(b, B[:n] + (1,) * len(I) + K)), letters
    i, j, k = math.prod(I), math.prod(J), math.prod(K)
    y = matmul(reshape(a, (*A[:n], i, j)), reshape(b, (*B[:n], j, k)))
    return reshape(y, (*y.array.shape[:n], *I, *K)), letters
