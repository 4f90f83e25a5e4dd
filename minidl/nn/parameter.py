"""Parameter, a Tensor that a Module owns and an optimizer changes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from minidl import tape
from minidl._tensor import Tensor
from minidl.tape import Storage, clock


class Parameter(Tensor):
    """A leaf Tensor that requires a gradient and registers itself when it is assigned to a Module.

    Shares memory with `data`, as PyTorch's does. `requires_grad=False` freezes it.
    """

    __slots__ = ()

    def __init__(self, data: Tensor, requires_grad: bool = True) -> None:
        if not isinstance(data, Tensor):
            raise TypeError(
                f"Parameter: data is a {type(data).__name__}, expected a Tensor; wrap it in minidl.tensor(...)"
            )
        self.array, self.node, self.storage = data.array, None, None
        tape.share(self, data)
        self.requires_grad = requires_grad

    def __repr__(self) -> str:
        return f"Parameter containing:\n{super().__repr__()}"


def clear_gradients(parameters: Iterable[Tensor], set_to_none: bool) -> None:
    """Forgets gradients, or fills them with zeros where someone holds on to the tensors."""
    for parameter in parameters:
        if set_to_none or parameter.grad is None:
            parameter.grad = None
        else:
            parameter.grad = parameter.grad.detach()
            parameter.grad.zero_()


class InPlace:
    """The tensors' arrays, C-contiguous, for a kernel that changes them; afterwards the tape knows of it.

    with InPlace(tensors) as arrays:
        kernel.sgd_step(arrays, ...)
    """

    def __init__(self, tensors: list[Tensor]) -> None:
        self.tensors = tensors

    def __enter__(self) -> list[Any]:
        self.arrays = [p.array if p.array.flags.c_contiguous else p.array.copy() for p in self.tensors]
        return self.arrays

    def __exit__(self, *_: object) -> None:
        for p, array in zip(self.tensors, self.arrays, strict=True):
            if array is not p.array:
                p.array[...] = array
            if p.storage is None:
                p.storage = Storage()
            p.storage.written = clock()


__all__ = ["InPlace", "Parameter", "clear_gradients"]
