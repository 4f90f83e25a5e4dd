"""Evaluates formulas by brute force: every index runs over its whole range, in float64, with NumPy alone.

Nothing of the engine is used here, so that an operation and its formula can be held against each other.

How it works: each index name owns one axis of a grid, the first one the last axis, the next one the axis before it,
and so on. A read `X[i, j+1]` becomes fancy indexing with such index arrays, a reduction adds axes in front and
reduces over them. That is slow and needs much memory, and it is short enough to be believed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from .functions import CONSTANTS, FUNCTIONS
from .grammar import Formula, FormulaError, Tree, formulas

_COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "==": np.equal, "!=": np.not_equal, "<": np.less, "<=": np.less_equal, ">": np.greater, ">=": np.greater_equal
}  # fmt: skip
_BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "+": np.add, "-": np.subtract, "*": np.multiply, "/": np.true_divide, "//": np.floor_divide, "%": np.remainder
}  # fmt: skip
_REDUCE: dict[str, Callable[[Any, Any, tuple[int, ...]], Any]] = {
    "Σ": lambda x, valid, axes: np.sum(x, axes, where=valid),
    "Π": lambda x, valid, axes: np.prod(x, axes, where=valid),
    "mean": lambda x, valid, axes: np.sum(x, axes, where=valid) / np.sum(np.broadcast_to(valid, x.shape), axes),
    "max": lambda x, valid, axes: np.max(np.where(valid, x, -np.inf), axes, initial=-np.inf),
    "min": lambda x, valid, axes: np.min(np.where(valid, x, np.inf), axes, initial=np.inf),
    "argmax": lambda x, valid, axes: np.argmax(np.where(valid, x, -np.inf), axes[0]),
    "argmin": lambda x, valid, axes: np.argmin(np.where(valid, x, np.inf), axes[0]),
}

Reads = tuple[tuple[Tree, ...], tuple[int, ...]]  # the indices of a read, and the shape of the array


def evaluate(
    source: Any, values: Mapping[str, Any], shapes: Mapping[str, Sequence[int]] | None = None
) -> dict[str, np.ndarray]:
    """Every `target = expression` of a function, docstring, `formula(...)` or list of formulas, by its target.

    `values` are the arguments under the names that the formulas use (tensors in capitals, `G` = ∂L/∂Y, options as
    they are). A target may use other targets, in any order. `shapes` names the shape of targets whose indices have a
    range that nothing on the right side tells.
    """
    lines = _lines(source)
    scope = _Scope(lines, values, shapes or {})
    with np.errstate(all="ignore"):
        return {line.target: np.asarray(scope.look_up(line.target, line)) for line in lines if line.sign == "="}


def run_updates(source: Any, state: Mapping[str, Any]) -> dict[str, Any]:
    """One pass over the lines of an update rule, top to bottom; returns the new state. `source`: as for `evaluate`."""
    state = dict(state)
    with np.errstate(all="ignore"):
        for line in _lines(source):
            if line.sign == "~":  # a distribution is no value
                continue
            value = _Scope([], state, {}).define(line)
            state[line.target] = value.item() if isinstance(value, np.generic) else value
    return state


def move_last(array: np.ndarray, dims: int | Sequence[int] | None) -> np.ndarray:
    """The axes of an operation's `dim`, flattened into one, moved last (None: all axes): what a formula indexes."""
    count = array.ndim
    axes = range(count) if dims is None else (dims,) if isinstance(dims, int) else dims
    named = [axis % count for axis in axes] if count else []
    rest = [axis for axis in range(count) if axis not in named]
    moved = array.transpose(*rest, *named)
    return moved.reshape(*(array.shape[axis] for axis in rest), math.prod(array.shape[axis] for axis in named))


def _lines(source: Any) -> list[Formula]:
    source = getattr(source, "lines", source)  # what `formula` and `plain` give
    lines = list(source) if isinstance(source, list | tuple) else formulas(source)
    for number, line in enumerate(lines):
        if line.sign == "=" and any(line.target == above.target for above in lines[:number]):
            raise FormulaError(f"{line.where}: `{line}`: a line above already gives `{line.target}`")
    return lines


def _letters(indices: Sequence[str], shape: Sequence[int]) -> dict[str, int]:
    """How far each index of a left side runs, its shape being known."""
    dots = indices.index("...") if "..." in indices else len(indices)
    front = zip(indices[:dots], shape, strict=False)
    back = zip(reversed(indices[dots + 1 :]), reversed(shape), strict=False)
    return dict([*front, *back])


class _Scope:
    """The values of the names, and the indices bound so far."""

    def __init__(self, lines: list[Formula], values: Mapping[str, Any], shapes: Mapping[str, Sequence[int]]) -> None:
        self.lines = {line.target: line for line in lines if line.sign == "="}
        self.known = dict(values)
        self.shapes = shapes
        self.bound: dict[str, int] = {}  # index name -> its axis, counted from the right
        self.ranges: list[int] = []  # by axis
        self.dots = 0  # how many axes `...` stands for
        self.invalid: Any = False  # where the term under evaluation has read beyond an edge
        self.line: Formula | None = None
        self.letters: dict[str, int] = {}  # how far an index runs that nothing else tells: as on a known left side
        for line in lines:
            if line.target in self.shapes:
                self.letters |= _letters(line.indices or (), self.shapes[line.target])

    def error(self, what: str) -> FormulaError:
        return FormulaError(f"{self.line.where}: `{self.line}`: {what}" if self.line else what)

    def look_up(self, name: str, line: Formula | None = None) -> Any:
        """A target's value, computed once; an argument's; or a constant's."""
        line = line or (self.lines.get(name) if name not in self.known else None)
        if line is not None and self.lines.get(name) is line:
            del self.lines[name]  # a target that needs itself is an unknown name
            inner = _Scope([], {}, self.shapes)
            # Shared, so that each target is computed once.
            inner.lines, inner.known, inner.letters = self.lines, self.known, self.letters
            self.known[name] = inner.define(line)
        if name in self.known:
            return self.known[name]
        if name.endswith(".flat"):
            return np.ravel(self.look_up(name[:-5]))
        if name in CONSTANTS:
            return CONSTANTS[name]
        names = ", ".join(sorted([*self.known, *self.lines]))
        raise self.error(f"nothing is called `{name}`; there are {names}")

    def define(self, line: Formula) -> Any:
        self.line = line
        if line.indices is None:
            value = self.tree(line.tree)
            return value if self.invalid is False else np.where(self.invalid, 0.0, value)
        binders = [(name, None) for name in line.indices]
        with self._bind(binders, line.tree, self._target_reads(line)) as sizes:
            value = np.asarray(self.tree(line.tree))
            value = np.where(self.invalid, 0.0, value) if self.invalid is not False else value
            return np.broadcast_to(value, sizes).transpose().copy()

    def _target_reads(self, line: Formula) -> list[Reads]:
        """The left side as one more array with these indices, where its shape is known."""
        if line.target not in self.shapes:
            return []
        items: tuple[Tree, ...] = tuple(("...",) if name == "..." else ("name", name) for name in line.indices or ())
        return [(items, tuple(self.shapes[line.target]))]

    @contextmanager
    def _bind(
        self, binders: Sequence[tuple[str, Tree | None]], body: Tree, also: Sequence[Reads] = ()
    ) -> Iterator[tuple[int, ...]]:
        """Gives each index an axis and a range; yields the sizes of the new axes, the last index first."""
        saved = dict(self.bound), list(self.ranges), self.dots, self.invalid
        reads = [*also, *self._reads(body)]
        named = []
        for name, limit in binders:
            if name != "...":
                named.append((name, limit))
                continue
            extra = [len(shape) - len(items) + 1 for items, shape in reads if ("...",) in items]
            self.dots = max(extra, default=0)
            named += [(f"...{place}", None) for place in reversed(range(self.dots))]
        sizes = [self._range(name, reads) if limit is None else int(self.tree(limit)) for name, limit in named]
        for (name, _), size in zip(named, sizes, strict=True):
            self.bound[name] = len(self.ranges)
            self.ranges.append(size)
        self.invalid = False
        try:
            yield tuple(reversed(sizes))
        finally:
            self.bound, self.ranges, self.dots, self.invalid = saved

    def _reads(self, tree: Any) -> list[Reads]:
        """(indices, shape) of every array that is read by index in this tree."""
        if not isinstance(tree, tuple):
            return []
        found = [read for part in tree for read in self._reads(part)]
        if tree[:1] == ("read",) and len(tree) == 3:
            shape = np.shape(self.look_up(tree[1]))
            if shape:
                found.append((tree[2], shape))
        return found

    def _range(self, name: str, reads: list[Reads]) -> int:
        """The size of the axes that this index names; an axis of 1 goes along with any other (broadcasting)."""
        sizes = set()
        for items, shape in reads:
            dots = items.index(("...",)) if ("...",) in items else len(items)
            for place, item in enumerate(items):
                if item == ("name", name):
                    sizes.add(shape[place] if place < dots else shape[place - len(items)])
                if item == ("...",) and name.startswith("..."):
                    from_right = len(items) - dots + int(name[3:])  # axes to the right of the one meant, plus one
                    if from_right <= len(shape) - dots:
                        sizes.add(shape[-from_right])
        wide = sorted(sizes - {1})
        if len(wide) > 1:
            raise self.error(f"index `{name}` would have to range over {wide[0]} and over {wide[1]}")
        if not sizes and name in self.letters:
            return self.letters[name]
        if not sizes:
            raise self.error(f"nothing tells the range of index `{name}`; write for example [{name} < size]")
        return wide[0] if wide else 1

    def tree(self, tree: Tree) -> Any:
        """The value of an expression: a number, or an array on the grid of the indices bound so far."""
        match tree:
            case ("number" | "text", value):
                return value
            case ("name", name):
                return self._name(name)
            case ("tuple", items):
                return tuple(self.tree(item) for item in items)
            case ("read", name, items):
                return self._read(self.look_up(name), name, items)
            case ("call", name, arguments):
                return self._call(name, arguments)
            case ("reduce", kind, binders, body):
                return self._reduce(kind, binders, body)
            case ("binary", sign, left, right):
                return self._binary(sign, left, right)
            case ("negate", inner):
                return np.negative(self.tree(inner))
            case ("not", inner):
                return np.logical_not(self.tree(inner))
            case ("compare", first, chain):
                return self._compare(self.tree(first), chain)
            case ("logic", word, left, right):
                return (np.logical_and if word == "and" else np.logical_or)(self.tree(left), self.tree(right))
            case ("if", condition, yes, no):
                return self._choose(self.tree(condition), yes, no)
            case ("bracket", condition):
                return np.asarray(self.tree(condition), bool).astype(np.float64)
        raise self.error(f"cannot evaluate {tree!r}")

    def _name(self, name: str) -> Any:
        if name in self.bound:
            axis = self.bound[name]
            return np.arange(self.ranges[axis]).reshape(-1, *[1] * axis)
        value = self.look_up(name)
        if self.bound and isinstance(value, np.ndarray) and value.ndim:
            raise self.error(f"`{name}` has the axes {value.shape}; name them: {name}[...]")
        return value

    def _read(self, array: Any, name: str, items: tuple[Tree, ...]) -> Any:
        if not np.ndim(array):  # one number for every index: a stride for both axes, an absent bias
            return array
        array = np.asarray(array)
        if not self.bound and any(item[0] == "name" for item in items):  # a whole index of NumPy's, x[index]
            places = [self._name(item[1]) for item in items]
            return array[places[0] if len(places) == 1 else tuple(places)]
        dots = array.ndim - len(items) + 1 if ("...",) in items else 0
        if ("...",) not in items and len(items) != array.ndim or dots > self.dots or dots < 0:
            raise self.error(f"`{name}` has {array.ndim} axes, not {len(items)} indices")
        wanted: list[tuple[Any, bool]] = []  # (place along the axis, whether it is a plain index, which broadcasts)
        for item in items:
            if item == ("...",):
                wanted += [(self._name(f"...{place}"), True) for place in reversed(range(dots))]
            else:
                wanted.append((np.asarray(self.tree(item)), item[0] == "name" and item[1] in self.bound))
        inside: Any = True
        places = []
        for (place, plain), size in zip(wanted, array.shape, strict=True):
            place = np.zeros_like(place) if plain and size == 1 else place
            within = (place >= 0) & (place < size)
            inside = inside & within
            places.append(np.where(within, place, 0).astype(np.intp))
        if np.all(inside):
            return array[tuple(places)]
        self.invalid = self.invalid | ~inside
        if not array.size:
            return np.zeros(np.broadcast_shapes(*(place.shape for place in places)))
        return np.where(inside, array[tuple(places)], 0)

    def _call(self, name: str, arguments: tuple[Tree, ...]) -> Any:
        if name not in FUNCTIONS:
            raise self.error(f"there is no function `{name}`")
        if name == "where":
            return self._choose(np.asarray(self.tree(arguments[0]), bool), *arguments[1:])
        if name in ("size", "numel", "zeros_like"):  # of the whole array, not of the grid
            if arguments[0][1] in self.bound:
                return self.ranges[self.bound[arguments[0][1]]]
            first = self.look_up(arguments[0][1])
            return FUNCTIONS[name](first, *(self.tree(argument) for argument in arguments[1:]))
        return FUNCTIONS[name](*(self.tree(argument) for argument in arguments))

    def _reduce(self, kind: str, binders: Sequence[tuple[str, Tree | None]], body: Tree) -> Any:
        depth = len(self.ranges)
        with self._bind(binders, body) as sizes:
            value = np.asarray(self.tree(body))
            value = np.broadcast_to(value, np.broadcast_shapes(value.shape, (*sizes, *[1] * depth)))
            valid = np.logical_not(self.invalid)
        return _REDUCE[kind](value, valid, tuple(range(len(sizes))))

    def _binary(self, sign: str, left: Tree, right: Tree) -> Any:
        a, b = self.tree(left), self.tree(right)
        if sign == "*":
            for tree, bracket, other in ((left, a, b), (right, b, a)):
                if tree[0] == "bracket":  # a strong zero, as in Knuth's definition: it hides an infinity or a NaN
                    return np.where(bracket, other, 0.0)
        if sign == "**":
            whole = np.asarray(a).dtype.kind in "iu" and np.asarray(b).dtype.kind in "iu" and np.all(np.asarray(b) >= 0)
            return np.power(a, b) if whole else np.float_power(a, b)
        return _BINARY[sign](a, b)

    def _compare(self, left: Any, chain: tuple[tuple[str, Tree], ...]) -> Any:
        result: Any = True
        for sign, tree in chain:
            right = self.tree(tree)
            if isinstance(left, str | None) or isinstance(right, str | None):  # an option
                equal = left is right or (isinstance(left, str) and isinstance(right, str) and left == right)
                result = np.logical_and(result, equal == (sign == "=="))
            else:
                result = np.logical_and(result, _COMPARE[sign](left, right))
            left = right
        return result

    def _choose(self, condition: Any, yes: Tree, no: Tree) -> Any:
        """Each place counts only the reads of the branch that it takes."""
        if not np.ndim(condition):
            return self.tree(yes if condition else no)
        before, self.invalid = self.invalid, False
        first, self.invalid, invalid_first = self.tree(yes), False, self.invalid
        second, invalid_second = self.tree(no), self.invalid
        chosen = np.where(condition, invalid_first, invalid_second)
        self.invalid = before | chosen if np.any(chosen) else before
        return np.where(condition, first, second)
