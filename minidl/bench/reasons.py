"""Why a row misses its goal, as far as its profile shows it (`python benchmarks/breakdown.py ROW`)."""

from __future__ import annotations

import re

__all__ = ["reason"]

# A pattern of "family: row", and what stands in the way there; the first that fits is said.
REASONS = [
    (r"steps: MLP 2-16", "nearly all of it is layers, losses and optimizer in Python: the kernels take a tenth"),
    (r"calls:", "plain Python: a tensor, a node and a closure for each derivative"),
    (r"steps: MLP", "the products take most of it, at the rates of their own rows; then Adam, which waits for memory"),
    (r"steps: CNN", "half of it is convolutions of few channels; pooling, ReLU and Adam wait for memory"),
    (r"steps: GPT", "two thirds of it is products with their gradients, 128 and 512 wide; the rest is many short rows"),
    (r"matmul: 32 x", "the call from Python takes as long as the arithmetic"),
    (r"matmul: 128 x 10", "a row of C fills 10 of 16 lanes"),
    (r"matmul: .*Aᵀ B", "A is copied into tiles, column by column, before it is used"),
    (r"matmul: .*A Bᵀ", "B is transposed into panels before it is used"),
    (r"matmul:", "the peak knows no memory: the rest goes to reading, writing, starting threads, and the later one"),
    (r"conv2d: .*14, 14", "rows of 14 numbers leave lanes of 16 empty"),
    (r"conv2d:", "few channels: little arithmetic for each number that is read"),
    (r"elementwise: gelu", "more arithmetic than memory hides: degree 8 (its slope: 14), accurate in the tail too"),
    (r"elementwise: tanh", "two polynomials and a division each, beside NumPy's own vector loop"),
    (r"elementwise:", "close to what memory allows for arrays of this size"),
    (r"rows: ", "short work for two threads: starting them and reading memory count as much as the arithmetic"),
    (r"reductions:", "waits for memory; sums carry along what rounding loses"),
    (r"optimizer:", "waits for memory, and that depends on the pages that each process was given: see the share"),
    (r"memory:", "one result for one or two operands, and the pages of a result that was used before"),
]


def reason(row: str) -> str:
    """What is known about the row "family: name"; empty where nothing is."""
    return next((text for pattern, text in REASONS if re.match(pattern, row)), "")
