"""Whole training steps on a GPU: minidl's beside PyTorch's, from the same numbers; the networks of `bench.steps`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from minidl.bench.libraries.base import Layers
from minidl.bench.libraries.tensors import Minidl, Tensors, Torch
from minidl.bench.steps import workloads

__all__ = ["measured"]


def _placed(library: type[Tensors], device: str) -> Tensors:
    """The library with its tensors and models on a device."""

    class Placed(library):  # type: ignore[misc, valid-type]
        def array(self, x: np.ndarray) -> Any:
            return super().array(x).to(device)

        def numpy(self, y: Any) -> np.ndarray:
            return y.detach().cpu().numpy()

        def network(self, layers: Layers) -> Any:
            return super().network(layers).to(device)

        def gpt(self, config: dict[str, Any]) -> Any:
            return super().gpt(config).to(device)

    return Placed(1)


def measured(device: str, torch: Any, seed: int, median: Callable[[Callable[[], Any]], float]) -> list[dict[str, Any]]:
    """For each network the seconds of a step by `median`, and PyTorch's; three losses, and how far apart."""
    kinds = {"minidl": Minidl} | ({} if torch is None else {"PyTorch": Torch})
    libraries = {name: _placed(library, device) for name, library in kinds.items()}
    found = []
    for work in workloads():
        random = np.random.default_rng(seed)
        inputs = [draw.array(random) for draw in work.inputs]
        runs = {
            name: library.run(work.kind, [x.copy() for x in inputs], work.options, True)
            for name, library in libraries.items()
        }
        losses = {name: [float(libraries[name].numpy(run())) for _ in range(3)] for name, run in runs.items()}
        row: dict[str, Any] = {"name": work.name, "losses": losses, "seconds": median(runs["minidl"])}
        if torch is not None:
            row["PyTorch"] = median(runs["PyTorch"])
            row["error"] = float(np.max(np.abs(np.subtract(losses["minidl"], losses["PyTorch"]))))
        found.append(row)
    return found
