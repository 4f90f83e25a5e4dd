"""The tree's architecture: imports point one way, without cycles.

    train -> models, data, optim, losses, nn -> _tensor -> ops -> tape, kernels -> compiled
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import minidl

ROOT = Path(minidl.__file__).parent
COMPILED = {"_native", "_batch", "_matmul"}
LAYERS = [  # from the bottom up: a module imports from its own layer or from those below
    {"_dtypes", "_size", *COMPILED},  # names and compiled code
    {"kernels"},
    {"tape", "random"},
    {"ops"},
    {"_printing", "_device", "_inplace", "_operators", "_conversion", "_tensor"},
    {"autograd", "_creation"},
    {"explain", "linalg", "cuda", "losses", "penalties", "nn", "optim", "data", "utils", "serialization", "models"},
    {"train", "deploy", "bench"},
    {"cli", "__main__"},
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
FILES = sorted(ROOT.rglob("*.py"))


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in FILES}


def statements(nodes: list[ast.stmt]) -> Iterator[ast.stmt]:
    """What runs when the module is imported: not the bodies of functions, not `if TYPE_CHECKING:`."""
    for node in nodes:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            yield from statements(node.orelse)
        elif not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node
            for field in ("body", "orelse", "finalbody"):
                yield from statements(getattr(node, field, []))
            for handler in getattr(node, "handlers", []):
                yield from statements(handler.body)


def imports(name: str) -> set[str]:
    """The modules of minidl whose code this module runs or needs when it is imported."""
    path = MODULES[name]
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    found: set[str] = set()
    for node in statements(ast.parse(path.read_text(encoding="utf-8")).body):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:  # `from . import tape` is a module, `from .tape import record` a name in one
                whole = f"{base}.{alias.name}"
                found.add(whole if whole in MODULES or alias.name in COMPILED else base)
    return {module for module in found if module.split(".")[0] == "minidl" and module != name}


GRAPH = {name: imports(name) for name in MODULES}


def part(module: str) -> str:
    """tape for minidl.tape, ops for minidl.ops.reduce, nothing for minidl itself."""
    return module.split(".")[1] if "." in module else ""


def test_the_graph_of_imports_is_read_right() -> None:
    assert "minidl.tape" in GRAPH["minidl.ops.elementwise"] and "minidl.ops" in GRAPH["minidl._tensor"]
    assert "minidl.autograd" in GRAPH["minidl"] and "minidl._tensor" not in GRAPH["minidl.tape"]


def test_every_module_has_its_layer() -> None:
    unknown = sorted({part(module) for module in MODULES} - set(LEVEL) - {""})
    assert not unknown, f"give these a layer in tests/test_architecture.py: {unknown}"


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_point_one_way(module: str) -> None:
    if part(module):  # minidl itself collects names from everywhere
        above = {other for other in GRAPH[module] if part(other) and LEVEL[part(other)] > LEVEL[part(module)]}
        assert not above, f"{module} imports from layers above its own: {sorted(above)}"
        assert "minidl" not in GRAPH[module] or LEVEL[part(module)] >= LEVEL["explain"], (
            f"{module} takes a name from minidl itself, which imports it; name the module where it is defined"
        )


def test_there_are_no_cycles() -> None:
    done: set[str] = set()

    def visit(module: str, path: list[str]) -> None:
        assert module not in path, f"imports in a circle: {' -> '.join([*path[path.index(module) :], module])}"
        if module not in done:
            for other in sorted(GRAPH[module] & set(MODULES)):
                visit(other, [*path, module])
            done.add(module)

    for module in sorted(MODULES):
        visit(module, [])
