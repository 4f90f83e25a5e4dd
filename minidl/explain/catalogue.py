"""Every public operation, loss, layer, optimizer, schedule, penalty and initial value: formula and place, by family."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeGuard

from minidl import losses, nn, ops, optim, penalties
from minidl.optim import lr_scheduler

from .grammar import Formula, formulas
from .source import Source

__all__ = ["Entry", "catalogue", "find", "spoken"]

ORDER = """
    arithmetic elementwise compare reduce linalg einsum shape index linear conv pool pooling normalize norm activation
    softmax attention recurrent transformer noise dropout embedding distance container
""".split()
LOSSES = "Losses as layers"
BASES = {"LRScheduler", "Module", "Optimizer", "Parameter", "Penalty"}  # what the others are made from


@dataclass(frozen=True)
class Entry:
    """One name: where it belongs, what it computes, where it stands."""

    name: str
    family: str  # "Operations: pool"
    owner: Any

    @cached_property
    def own(self) -> list[Formula]:
        """The formulas of its own docstring."""
        return formulas(self.owner)

    @cached_property
    def operations(self) -> dict[str, list[Formula]]:
        """The formulas of the operations that a layer hands its input to, by name: written there, and only there."""
        if any(line.target == "Y" or line.sign == "←" for line in self.own):  # its docstring says it all
            return {}
        found = {operation.__name__: formulas(operation) for operation in _operations(self.owner)}
        return {name: lines for name, lines in found.items() if lines}

    @cached_property
    def lines(self) -> list[Formula]:
        """All its formulas: those of its docstring, and for a layer those of its operations."""
        return [*self.own, *(line for lines in self.operations.values() for line in lines)]

    @property
    def sentence(self) -> str:
        """What its docstring begins with, for the few that have no formula."""
        first = (inspect.getdoc(self.owner) or "").split("\n\n")[0]
        return " ".join(first.split())

    @cached_property
    def source(self) -> Source:
        """Its code as it runs, and the place of it."""
        return Source(self.owner)


def catalogue() -> list[Entry]:
    """All of them, family after family, each in alphabetical order."""
    layers = list(_of("Layers", nn, nn.__all__))
    entries = [
        *_of("Operations", ops, ops.__all__),
        *_of("Losses", losses, losses.__all__),
        *(entry for entry in layers if entry.family == LOSSES),
        *(entry for entry in layers if entry.family != LOSSES),
        *_of("Optimizers", optim, optim.__all__),
        *_of("Schedules", lr_scheduler, lr_scheduler.__all__),
        *_of("Penalties", penalties, penalties.__all__),
        *_of("Initial values", nn.init, nn.init.__all__),
    ]
    kinds = list(dict.fromkeys(entry.family.split(":")[0] for entry in entries))

    def place(entry: Entry) -> tuple[int, int, str, str]:
        kind, _, part = entry.family.partition(": ")
        known = ORDER.index(part) if part in ORDER else len(ORDER)
        return kinds.index(kind), known, part, entry.name.lower()

    return sorted(entries, key=place)


def find(wanted: str, entries: list[Entry]) -> list[Entry]:
    """What a user means: `softmax`, `nn.Softmax`, `adam` for Adam, or a family, `pool`; empty where nothing fits."""
    *_, name = wanted.rsplit(".", 1)
    tests = (
        lambda entry: entry.name == name,
        lambda entry: entry.name.lower() == name.lower(),
        lambda entry: spoken(entry.name) == spoken(name),
        lambda entry: name.lower() in entry.family.lower().split(": "),
    )
    for test in tests:
        if found := [entry for entry in entries if test(entry)]:
            return found
    return []


def spoken(name: str) -> str:
    """A name as it sounds: LayerNorm, layer_norm and layer-norm are one."""
    return name.lower().replace("_", "").replace("-", "")


def _of(kind: str, module: Any, names: list[str]) -> Iterator[Entry]:
    for name in names:
        owner = getattr(module, name)
        if name in BASES or name.startswith("_") or not (inspect.isfunction(owner) or inspect.isclass(owner)):
            continue
        own = owner.__module__.rpartition(".")[2]
        if kind == "Operations" or kind == "Layers" and own != "loss":
            yield Entry(name, f"{kind}: {own}", owner)
        else:
            yield Entry(name, LOSSES if kind == "Layers" else kind, owner)


def _operations(layer: Any) -> Iterator[Any]:
    """The public operations and losses that a layer's `forward` calls, in their order."""
    forward = getattr(layer, "forward", None)
    if not inspect.isfunction(forward):
        return
    if "function" in vars(layer):  # a loss as a layer
        yield layer.function
        return
    calls = [node.func for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(forward)))) if _is_call(node)]
    found = []
    for call in sorted(calls, key=lambda call: (call.lineno, call.col_offset)):
        operation = getattr(forward.__globals__.get(call.value.id), call.attr, None)
        if inspect.isfunction(operation) and operation.__module__.startswith(("minidl.ops", "minidl.losses")):
            found.append(operation)
    yield from dict.fromkeys(found)


def _is_call(node: ast.AST) -> TypeGuard[Any]:
    """module.function(...)"""
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name)
