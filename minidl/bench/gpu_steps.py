"""Whole training steps on a GPU: minidl's beside PyTorch's, from the same numbers; the networks of `bench.steps`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from minidl import cuda
from minidl.bench.libraries.base import Layers
from minidl.bench.libraries.tensors import Minidl, Tensors, Torch
from minidl.bench.steps import workloads

__all__ = ["captured", "measured"]


def _placed(library: type[Tensors], device: str, **adam: Any) -> Tensors:
    """The library with its tensors and models on a device. adam: options of Adam and AdamW."""

    class Placed(library):  # type: ignore[misc, valid-type]
        adam_options = library.adam_options | adam

        def array(self, x: np.ndarray) -> Any:
            return super().array(x).to(device)

        def numpy(self, y: Any) -> np.ndarray:
            return y.detach().cpu().numpy()

        def network(self, layers: Layers) -> Any:
            return super().network(layers).to(device)

        def gpt(self, config: dict[str, Any]) -> Any:
            return super().gpt(config).to(device)

    return Placed(1)


def captured(step: Callable[[], Any], device: str) -> Callable[[], Any]:
    """The step, computed when it is first called, captured when it is called again, and replayed from then on."""
    graph = cuda.CUDAGraph()
    losses: list[Any] = []

    def run() -> Any:
        if not losses:
            losses.append(step())
            return losses[0]
        if len(losses) == 1:
            with cuda.graph(graph, device=device):
                losses.append(step())
        graph.replay()
        return losses[1]

    return run


def measured(device: str, torch: Any, seed: int, median: Callable[[Callable[[], Any]], float]) -> list[dict[str, Any]]:
    """For each network the seconds of a step by `median`, of one captured as a graph, and PyTorch's; three losses, and
    how far apart."""
    kinds = {"minidl": Minidl} | ({} if torch is None else {"PyTorch": Torch})
    libraries = {name: _placed(library, device) for name, library in kinds.items()}
    if device != "cpu":
        libraries["captured"] = _placed(Minidl, device, capturable=True)
    found = []
    for work in workloads():
        random = np.random.default_rng(seed)
        inputs = [draw.array(random) for draw in work.inputs]
        runs = {
            name: library.run(work.kind, [x.copy() for x in inputs], work.options, True)
            for name, library in libraries.items()
        }
        if "captured" in runs:
            runs["captured"] = captured(runs["captured"], device)
        losses = {name: [float(libraries[name].numpy(run())) for _ in range(3)] for name, run in runs.items()}
        row: dict[str, Any] = {"name": work.name, "losses": losses, "seconds": median(runs["minidl"])}
        if "captured" in runs:
            row["captured"] = median(runs["captured"])
        if torch is not None:
            row["PyTorch"] = median(runs["PyTorch"])
        others = [losses[name] for name in losses if name != "minidl"]
        if others:
            row["error"] = float(np.max(np.abs(np.subtract(others, losses["minidl"]))))
        found.append(row)
    return found
