"""Arrays of other devices than the CPU: what a tensor there holds, and that none leaves its device unasked.

The emulator's arrays lie in NumPy's memory and behave as CuPy's do: what is computed from them is one of them, a number
of 0 dimensions joins them from the CPU, any other array of the CPU is refused. New arrays beside one of them come from
NumPy's `like=`: np.zeros(shape, dtype, like=x).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

__all__ = ["EmulatorArray", "adopt", "lend", "mixed", "names", "one_device"]

graph: Any = None  # what is recorded now (graphs.Graph), or None
names: dict[type, str] = {np.ndarray: "cpu"}  # the device of each class of arrays; CuPy's is added when it is needed


class EmulatorArray(np.ndarray):
    """An array on device "emulator"."""

    __slots__ = ()

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        out = options.get("out")
        one_device(EmulatorArray, (*inputs, *(out or ())))
        if graph is not None:
            return graph.call(getattr(ufunc, method), inputs, options)
        result = getattr(ufunc, method)(*lend(inputs), **{name: lend(value) for name, value in options.items()})
        return adopt(result) if out is None else out[0] if len(out) == 1 else out

    def __array_function__(self, function: Any, types: Any, args: Any, options: Any) -> Any:
        one_device(EmulatorArray, (*args, *options.values()))
        if graph is not None:
            return graph.call(function, args, options)
        return adopt(function(*lend(args), **lend(options)))


names[EmulatorArray] = "emulator"


def refused(what: str) -> RuntimeError:
    """The sentence for a host that reads what kernels wrote while a graph is captured."""
    return RuntimeError(
        f"{what}: the host reads a number of the device while a graph is captured, and every replay would go on with"
        " that one; keep it a tensor, and read it after replay()"
    )


def frozen(what: str) -> RuntimeError:
    """The sentence for numbers of the CPU that come to a device while a graph is captured."""
    return RuntimeError(
        f"graph: a copy of {what} from the CPU while a graph is captured would be frozen in it; make the tensor before,"
        " and fill it with x.copy_(...) between replays"
    )


def _recorded(name: str) -> None:
    """A method of NumPy's that goes past the two protocols above: recorded while a graph is captured."""
    plain = getattr(np.ndarray, name)

    def method(self: Any, *args: Any, **options: Any) -> Any:
        if graph is None:
            return plain(self, *args, **options)
        if name == "__getitem__" and not isinstance(plain(lend(self), *lend(args)), np.ndarray):
            args = ((*args[0], ...) if isinstance(args[0], tuple) else (args[0], ...),)  # a view, not a number
        return graph.call(plain, (self, *args), options)

    method.__name__ = method.__qualname__ = name
    setattr(EmulatorArray, name, method)


def _read(name: str) -> None:
    """A method that gives the host numbers: refused while a graph is captured."""
    plain = getattr(np.ndarray, name)

    def method(self: Any, *args: Any, **options: Any) -> Any:
        if graph is not None:
            raise refused(name.strip("_"))
        return plain(self, *args, **options)

    method.__name__ = method.__qualname__ = name
    setattr(EmulatorArray, name, method)


for _name in (
    "__getitem__ __setitem__ all any argmax argmin argsort astype choose clip conj copy cumprod cumsum diagonal dot"
    " fill flatten max mean min partition prod ptp put ravel repeat reshape round searchsorted sort std sum take trace"
    " var"
).split():
    if hasattr(np.ndarray, _name):
        _recorded(_name)
for _name in "__bool__ __complex__ __contains__ __float__ __index__ __int__ item nonzero tobytes tolist tofile".split():
    _read(_name)


def lend(x: Any) -> Any:
    """The emulator's arrays, in whatever holds them, as NumPy sees their memory."""
    kind = x.__class__
    if kind is EmulatorArray:
        return x.view(np.ndarray)
    if kind is tuple or kind is list:
        return kind([lend(each) for each in x])
    if kind is dict:
        return {name: lend(each) for name, each in x.items()}
    return x


def adopt(x: Any) -> Any:
    """What NumPy computed (arrays, scalars, lists and tuples of them) as the emulator's arrays, in the same memory."""
    kind = x.__class__
    if kind is np.ndarray:
        return x.view(EmulatorArray)
    if kind is tuple or kind is list:
        return kind([adopt(each) for each in x])
    return np.asarray(x).view(EmulatorArray) if isinstance(x, np.generic) else x


def _arrays(values: Any) -> Iterator[Any]:
    for value in values:
        if value.__class__ is tuple or value.__class__ is list:
            yield from _arrays(value)
        elif value.__class__ in names:
            yield value


def one_device(kind: type, values: Any) -> None:
    """RuntimeError where an array lies on another device than those of class `kind`; numbers may, and the CPU's own
    arrays alone, which a device's array is to be laid out like."""
    found = list(_arrays(values))
    strangers = [x for x in found if x.__class__ is not kind and (x.ndim or x.__class__ is not np.ndarray)]
    if strangers and len(strangers) < len(found):
        raise mixed(kind, strangers[0].__class__)


def mixed(one: type, other: type) -> RuntimeError:
    """The sentence for tensors of two devices in one operation."""
    here, there = sorted((names[one], names[other]), key="cpu".__eq__)  # the CPU last
    return RuntimeError(
        f"{_operation()}: got tensors on devices '{here}' and '{there}', expected all on one; move one with"
        f" .to('{here}')"
    )


def _operation() -> str:
    """The operation that was called, by the stack of calls: the outermost public function of minidl's operations."""
    frame: Any = sys._getframe(1)
    found = "operation"
    while frame is not None:
        module, name = frame.f_globals.get("__name__", ""), frame.f_code.co_name
        if module.startswith(("minidl.ops", "minidl.losses")) and name[0] not in "_<":
            found = name
        frame = frame.f_back
    return found
