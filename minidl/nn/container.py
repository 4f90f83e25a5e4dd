"""Modules that hold modules: Sequential, ModuleList, ModuleDict."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from typing import Any, TypeVar, overload

from minidl.nn.module import Module, _nested

L = TypeVar("L", bound="_Indexed")


class _Indexed(Module):
    """Submodules under the names "0", "1", ... (or an OrderedDict's), addressed by number and by slice."""

    def _place(self, index: int) -> str:
        try:
            number = operator.index(index)
        except TypeError:
            raise TypeError(
                f"{type(self).__name__}: the index is a {type(index).__name__}, expected an int or a slice"
            ) from None
        if not -len(self) <= number < len(self):
            raise IndexError(f"{type(self).__name__}: index {number} is out of range, it holds {len(self)} modules")
        return list(self._modules)[number]

    def _rebuild(self, modules: Iterable[Module]) -> None:
        for name in list(self._modules):
            delattr(self, name)
        for number, module in enumerate(modules):
            self.add_module(str(number), module)

    def _like(self: L, named: Iterable[tuple[str, Any]]) -> L:
        part = type(self).__new__(type(self))
        Module.__init__(part)
        for name, module in named:
            part.add_module(name, module)
        return part

    @overload
    def __getitem__(self, index: int) -> Module: ...
    @overload
    def __getitem__(self: L, index: slice) -> L: ...
    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return self._like(list(self._modules.items())[index])
        return self._modules[self._place(index)]

    def __setitem__(self, index: int, module: Module) -> None:
        self.add_module(self._place(index), module)

    def __delitem__(self, index: int | slice) -> None:
        names = list(self._modules)
        for name in names[index] if isinstance(index, slice) else [self._place(index)]:
            delattr(self, name)
        if all(name.isdigit() for name in names):  # numbers stay without gaps
            self._rebuild(list(self))

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._modules.values())

    def append(self: L, module: Module) -> L:
        """Adds a module at the end."""
        self.add_module(str(len(self)), module)
        return self

    def extend(self: L, modules: Iterable[Module]) -> L:
        """Adds modules at the end."""
        for module in list(modules):
            self.append(module)
        return self

    def insert(self: L, index: int, module: Module) -> L:
        """Puts a module before place `index`."""
        modules = list(self)
        modules.insert(index, module)
        self._rebuild(modules)
        return self

    def pop(self, index: int = -1) -> Module:
        """Takes a module out and returns it."""
        module = self[index]
        del self[index]
        return module


class Sequential(_Indexed):
    """Each module takes the result of the one before: Y = fₙ(... f₂(f₁(X))).

    `Sequential(a, b, c)` or `Sequential(OrderedDict([("conv", a), ("act", b)]))`; `model[0]`, `model[-1]`,
    `model[:2]`.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__()
        named = len(args) == 1 and isinstance(args[0], Mapping)
        for name, module in args[0].items() if named else enumerate(args):
            self.add_module(str(name), module)

    def __add__(self, other: Sequential) -> Sequential:
        if not isinstance(other, Sequential):
            raise TypeError(f"Sequential: cannot add a {type(other).__name__}, expected a Sequential; use append")
        return Sequential(*self, *other)

    def forward(self, input: Any) -> Any:
        for module in self._modules.values():
            input = module(input)  # type: ignore[misc]
        return input


class ModuleList(_Indexed):
    """A list of modules whose parameters count as the owner's; it has no forward of its own."""

    def __init__(self, modules: Iterable[Module] | None = None) -> None:
        super().__init__()
        self.extend(() if modules is None else modules)

    def __add__(self, other: Iterable[Module]) -> ModuleList:
        return ModuleList([*self, *other])

    def __iadd__(self, other: Iterable[Module]) -> ModuleList:
        return self.extend(other)

    def __repr__(self) -> str:
        entries, first = [], 0
        for text, run in groupby(repr(module) for module in self):
            count = len(list(run))
            last = first + count - 1
            entries.append((f"({first})", text) if count == 1 else (f"({first}-{last})", f"{count} x {text}"))
            first += count
        return _nested(self._get_name(), "", entries)


class ModuleDict(Module):
    """A dict of modules whose parameters count as the owner's; it has no forward of its own."""

    def __init__(self, modules: Mapping[str, Module] | Iterable[tuple[str, Module]] | None = None) -> None:
        super().__init__()
        self.update(() if modules is None else modules)

    def update(self, modules: Mapping[str, Module] | Iterable[tuple[str, Module]]) -> None:
        """Adds every (name, module), replacing what has the same name."""
        for name, module in dict(modules).items():
            self[name] = module

    def __getitem__(self, name: str) -> Module:
        if name not in self._modules:
            raise KeyError(f"ModuleDict: no module {name!r}; it has {', '.join(map(repr, self._modules)) or 'none'}")
        return self._modules[name]  # type: ignore[return-value]

    def __setitem__(self, name: str, module: Module) -> None:
        self.add_module(name, module)

    def __delitem__(self, name: str) -> None:
        self[name]
        delattr(self, name)

    def __contains__(self, name: object) -> bool:
        return name in self._modules

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def keys(self) -> Iterable[str]:
        return self._modules.keys()

    def values(self) -> Iterable[Any]:
        return self._modules.values()

    def items(self) -> Iterable[tuple[str, Any]]:
        return self._modules.items()

    def pop(self, name: str) -> Module:
        """Takes a module out and returns it."""
        module = self[name]
        del self[name]
        return module

    def clear(self) -> None:
        """Takes every module out."""
        for name in list(self._modules):
            delattr(self, name)


__all__ = ["ModuleDict", "ModuleList", "Sequential"]
