"""What a benchmark's row is: inputs by recipe, the operation's name, the work it does at least, the goal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

__all__ = ["Draw", "Goal", "Workload", "from_json", "integers", "normal", "uniform"]


@dataclass(frozen=True)
class Draw:
    """An input array: normal numbers, uniform ones in [0, scale), "centred" ones in [-scale, scale), or integers."""

    kind: str
    shape: tuple[int, ...]
    scale: float = 1.0

    def array(self, random: np.random.Generator) -> np.ndarray:
        if self.kind == "integers":
            return random.integers(0, int(self.scale), self.shape)
        draw = random.standard_normal if self.kind == "normal" else random.random
        x = draw(math.prod(self.shape), np.float32).reshape(self.shape)
        if self.kind == "centred":
            x = 2 * x - 1
        return np.asarray(x * np.float32(self.scale) if self.scale != 1 else x, np.float32)

    @property
    def bytes(self) -> int:
        return math.prod(self.shape) * (8 if self.kind == "integers" else 4)


def normal(*shape: int, scale: float = 1.0) -> Draw:
    """Normal numbers."""
    return Draw("normal", shape, scale)


def uniform(*shape: int) -> Draw:
    """Numbers in [0, 1): their sum does not cancel."""
    return Draw("uniform", shape)


def integers(*shape: int, below: int) -> Draw:
    """Class numbers, or places in a table."""
    return Draw("integers", shape, below)


@dataclass(frozen=True)
class Goal:
    """What minidl is to reach: so many times faster than `against`, or such a share of it; or, of "seconds", at most.

    against: "best" (of the peers that were measured), a peer's name, "peak", "memory" or "seconds".
    """

    against: str
    at_least: float


@dataclass(frozen=True)
class Workload:
    """One row of a benchmark, the same for every library.

    kind: the method of a library that does it; it takes the inputs and the options.
    backward: with the gradients of all floating inputs; the last input is then the gradient of the result.
    flops, bytes: the work at least; each input read and each result written once.
    limit: what bounds it: "peak", or a stream of `minidl.kernels.limits`, or nothing.
    bound: the largest error, as a share of the largest number of the exact result.
    calls: how many results in a row are compared (a training step goes on from the step before).
    only: the libraries that it is for; all when empty.
    """

    name: str
    family: str
    kind: str
    inputs: tuple[Draw, ...]
    options: dict[str, Any] = field(default_factory=dict)
    backward: bool = False
    flops: float = 0.0
    bytes: float = 0.0
    limit: str = ""
    goals: tuple[Goal, ...] = ()
    bound: float = 1e-5
    calls: int = 1
    only: tuple[str, ...] = ()

    def arrays(self) -> list[np.ndarray]:
        """The inputs: the same numbers in every process."""
        seed = [len(self.inputs), *(size for draw in self.inputs for size in draw.shape)]
        random = np.random.default_rng(seed)
        return [draw.array(random) for draw in self.inputs]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def from_json(data: dict[str, Any]) -> Workload:
    """What `to_json` wrote."""
    inputs = tuple(Draw(draw["kind"], tuple(draw["shape"]), draw["scale"]) for draw in data["inputs"])
    goals = tuple(Goal(**goal) for goal in data["goals"])
    return Workload(**{**data, "inputs": inputs, "goals": goals, "only": tuple(data["only"])})


def traffic(inputs: Sequence[Draw], results: float = 0) -> float:
    """Bytes of all inputs and of so many float32 results."""
    return sum(draw.bytes for draw in inputs) + 4 * results
