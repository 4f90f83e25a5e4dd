"""Formulas that run, printed from the code that runs: `explain.show(minidl.matmul)`.

The formula of an operation is written once, in its docstring. `formula` reads it, `evaluate` computes it by brute
force without the engine (so the tests can compare), `show` prints it beside the source.
"""

from .evaluator import evaluate, move_last, run_updates
from .grammar import Formula, FormulaError, formulas, parse
from .render import Formulas, formula, latex, show

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
    "run_updates",
    "show",
]
