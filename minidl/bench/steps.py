"""Whole training steps: forward, backward and Adam."""

from __future__ import annotations

from math import prod, sqrt
from typing import Any

from minidl.bench.libraries.transformer import matrices
from minidl.bench.workload import Draw, Goal, Workload, integers, normal

__all__ = ["FAMILIES", "workloads"]

FAMILIES = {"steps": "Training steps: forward, backward, Adam (GPT: AdamW)"}

CNN: list[list[Any]] = [["conv", 1, 16], ["pool"], ["relu"], ["conv", 16, 32], ["pool"], ["relu"], ["flatten"],
       ["linear", 32 * 7 * 7, 128], ["relu"], ["linear", 128, 10]]  # fmt: skip


def workloads(full: bool = False) -> list[Workload]:
    """All rows."""
    return [
        step("MLP 784-256-128-10, batch 128", mlp(784, 256, 128, 10), (128, 784), 10, 1.5),
        step("MLP 784-1024-1024-10, batch 256", mlp(784, 1024, 1024, 10), (256, 784), 10, 1.3),
        step("CNN (conv 16, pool, conv 32, pool, 128, 10), batch 64", CNN, (64, 1, 28, 28), 10, 3.0),
        step("MLP 2-16-16-1, batch 1", mlp(2, 16, 16, 1), (1, 2), 0, 2.0),
        gpt_step(65, 64, 128, 4, 4, batch=12, goal=2.2),
    ]


def mlp(*sizes: int) -> list[list[Any]]:
    layers: list[list[Any]] = []
    for inputs, outputs in zip(sizes, sizes[1:], strict=False):
        layers += [["linear", inputs, outputs], ["relu"]]
    return layers[:-1]


def step(name: str, layers: list[list[Any]], shape: tuple[int, ...], classes: int, goal: float) -> Workload:
    weights: list[Draw] = []
    forward, first, side = 0.0, 0.0, shape[-1]
    for kind, *sizes in layers:
        if kind == "pool":
            side //= 2
        if kind not in ("linear", "conv"):
            continue
        inputs, outputs = sizes
        filters = (outputs, inputs, 3, 3) if kind == "conv" else (outputs, inputs)
        reach = 1 / sqrt(prod(filters[1:]))
        weights += [Draw("centred", filters, reach), Draw("centred", (outputs,), reach)]
        flops = 2.0 * shape[0] * prod(filters) * (side * side if kind == "conv" else 1)
        forward, first = forward + flops, first or flops
    target = integers(shape[0], below=classes) if classes else normal(shape[0], 1)
    return Workload(
        name, "steps", "step", (normal(*shape), target, *weights),
        {"layers": layers, "loss": "cross_entropy" if classes else "mse"},
        flops=3 * forward - first,  # nobody asks for the gradient of the first layer's input
        limit="peak", goals=(Goal("best", goal),), bound=1e-4, calls=5,
    )  # fmt: skip


def gpt_step(vocab: int, context: int, width: int, heads: int, layers: int, batch: int, goal: float) -> Workload:
    """nanoGPT's run on a processor: every place of the batch is a position to predict."""
    config = {"vocab": vocab, "context": context, "width": width, "heads": heads, "layers": layers}
    places = batch * context
    multiplied = sum(rows * columns for rows, columns in matrices(config)[2:]) + vocab * width
    attended = layers * width * (context + 1)  # two products, of half of all pairs
    return Workload(
        f"GPT ({layers} layers, {heads} heads, width {width}, context {context}), batch {batch}", "steps", "gpt",
        (integers(batch, context, below=vocab), integers(places, below=vocab),
         *(normal(*shape, scale=0.02) for shape in matrices(config))),
        {"config": config}, flops=3 * 2.0 * places * (multiplied + attended),
        limit="peak", goals=(Goal("best", goal),), bound=1e-4, calls=5,
    )  # fmt: skip
