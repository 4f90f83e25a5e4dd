"""The lessons run from top to bottom, and what is stored in them looks right on a code host."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
PRIVATE = re.compile(  # paths, addresses, traces of an error
    r"(?<![\w.])/(home|root|tmp|work|Users|usr|opt|var)/|[A-Z]:\\|0x[0-9a-f]{6,}|site-packages|Traceback"
)

each = pytest.mark.parametrize("notebook", NOTEBOOKS, ids=[notebook.stem for notebook in NOTEBOOKS])


@pytest.fixture(scope="session")
def build() -> ModuleType:
    """notebooks/build.py, or the test is skipped where what it needs is not installed."""
    for module in ("nbclient", "nbformat", "ipykernel"):
        pytest.importorskip(module, reason=f"needs {module}: pip install '.[notebooks]'")
    spec = importlib.util.spec_from_file_location("build", FOLDER / "build.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def code_cells(lesson: Any) -> list[Any]:
    return [cell for cell in lesson["cells"] if cell["cell_type"] == "code"]


def kinds(cell: Any) -> list[list[str]]:
    """What a cell put out: streams by name, results by their formats. (stderr: import's word on a missing compiler.)"""
    shown = [out for out in cell["outputs"] if out.get("name") != "stderr"]
    return [[out["name"]] if "name" in out else sorted(out.get("data", {})) for out in shown]


def written(value: Any) -> str:
    return "".join(value) if isinstance(value, list) else str(value)


def test_the_lessons_are_there() -> None:
    assert [notebook.stem[:2] for notebook in NOTEBOOKS] == [f"{n:02}" for n in range(1, len(NOTEBOOKS) + 1)]
    assert len(NOTEBOOKS) >= 3


@each
def test_what_is_stored_is_a_whole_run_small_and_without_traces_of_a_machine(notebook: Path) -> None:
    lesson = json.loads(notebook.read_text(encoding="utf-8"))
    cells = code_cells(lesson)
    again = "; run: python notebooks/build.py"
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1)), again
    assert notebook.stat().st_size < 400_000
    for cell in lesson["cells"]:
        assert not cell["metadata"], f"{cell['metadata']}{again}"
        lines = written(cell["source"]).splitlines()
        if cell["cell_type"] == "code":
            assert max(map(len, lines)) <= 104 and len(lines) <= 30, lines[0]
    for output in (output for cell in cells for output in cell["outputs"]):
        assert output["output_type"] != "error" and output.get("name") != "stderr", output
        for kind, value in {"text": output.get("text", ""), **output.get("data", {})}.items():
            if not kind.startswith("image/"):
                assert not PRIVATE.search(written(value)), (kind, PRIVATE.search(written(value)))


@each
@pytest.mark.timeout(300)
def test_a_lesson_runs_and_shows_what_is_stored(notebook: Path, build: ModuleType, tmp_path: Path) -> None:
    copy = Path(shutil.copy(notebook, tmp_path))
    lesson = build.execute(copy)  # raises where a cell does
    stored = json.loads(notebook.read_text(encoding="utf-8"))
    for cell, before in zip(code_cells(lesson), code_cells(stored), strict=True):
        assert kinds(cell) == kinds(before), f"{written(cell['source'])}\nrun: python notebooks/build.py"
