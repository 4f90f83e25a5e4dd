"""Where tensors live."""

from __future__ import annotations

from typing import Any


class device:
    """Where a tensor lives: device("cpu"). Equal devices compare equal, also with their name."""

    def __init__(self, type: Any = "cpu", index: int | None = None) -> None:
        name = str(type)
        kind, _, number = name.partition(":")
        self.type: str = kind
        self.index = int(number) if number.isdigit() else index
        if self.type not in ("cpu", "cuda") or number and not number.isdigit():
            raise ValueError(f"device: {name!r} is unknown; use 'cpu'")
        if self.index is not None and not (isinstance(self.index, int) and self.index >= 0):
            raise ValueError(f"device: index {index!r} must be 0 or more")

    def __eq__(self, other: object) -> bool:
        return str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))

    def __str__(self) -> str:
        return self.type if self.index is None else f"{self.type}:{self.index}"

    def __repr__(self) -> str:
        return f"device({str(self)!r})"


CPU = device("cpu")


def require_cpu(where: Any) -> None:
    if where is not None and device(where).type != "cpu":
        raise RuntimeError(f"device {str(where)!r}: this build computes on the CPU only; use device='cpu'")
