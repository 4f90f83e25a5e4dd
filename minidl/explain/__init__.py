"""Formulas that run, printed from the code that runs: `explain.show(minidl.matmul)`.

The formula of an operation is written once, in its docstring. `formula` reads it, `plain` leaves out what
its options switch off, `evaluate` computes it by brute force without the engine (so the tests can compare), `show`
prints it beside the source. `graphs` draws what the tape holds, `plots` a run and what it learned.
"""

from .evaluator import evaluate, move_last, run_updates
from .grammar import Formula, FormulaError, formulas, parse
from .in_tex import latex
from .render import Formulas, formula, plain, show

__all__ = [
    "Formula",
    "FormulaError",
    "Formulas",
    "evaluate",
    "formula",
    "formulas",
    "latex",
    "move_last",
    "parse",
    "plain",
    "run_updates",
    "show",
]
