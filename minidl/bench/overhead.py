"""What one operation on a tiny tensor costs: the tape and the call path, not the arithmetic; and an import."""

from __future__ import annotations

from minidl.bench.workload import Goal, Workload, normal

__all__ = ["FAMILIES", "IMPORT", "workloads"]

FAMILIES = {"calls": "One operation on 4 floats, one thread", "import": "Import, each time in a new process"}

OTHERS = ("minidl", "torch", "jax", "tinygrad")  # all of which import NumPy
IMPORT = Workload("import", "import", "import", (), goals=(Goal("torch", 4.0), Goal("seconds", 0.25)), only=OTHERS)
GOALS = {"a + b": (Goal("torch", 1.8),)}  # in plain Python


def workloads(full: bool = False) -> list[Workload]:
    """All rows; workers measure all but the last, `IMPORT`, which has processes of its own."""
    found = []
    for operation in ("a + b", "a * b", "a @ b", "exp", "relu", "sum"):
        shape = (2, 2) if "@" in operation else (4,)
        leaves = (normal(*shape),) * (1 + (len(operation) == 5))
        result = () if operation == "sum" else shape
        for backward in (False, True):
            found.append(Workload(
                f"{operation}, {'with backward' if backward else 'recorded'}", "calls", "call",
                (*leaves, normal(*result)), {"operation": operation, "backward": backward},
                goals=GOALS.get(operation, ()), only=("minidl", "torch"),
            ))  # fmt: skip
    return [*found, IMPORT]
