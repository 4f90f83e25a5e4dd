"""Runs the lessons from top to bottom and saves them with their outputs: python notebooks/build.py [NAME ...]

What is saved depends on the lesson and the code alone: no times, no paths, no machine, cells numbered from 1.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


def execute(notebook: Path, seconds: int = 120) -> Any:
    """The notebook (nbformat's) after a run in an empty folder, with the minidl that this Python imports.

    Raises nbclient's CellExecutionError where a cell raises.
    """
    import nbformat
    from nbclient import NotebookClient

    import minidl

    lesson = nbformat.read(notebook, as_version=4)
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(Path(minidl.__file__).parents[1]), before]))
    try:
        with tempfile.TemporaryDirectory() as folder:
            client = NotebookClient(
                lesson, timeout=seconds, kernel_name="python3", record_timing=False, coalesce_streams=True
            )
            client.execute(cwd=folder, env={**os.environ, "MPLBACKEND": "Agg"})
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before
    return tidied(lesson)


def tidied(lesson: Any) -> Any:
    """The same notebook with only what a reader needs."""
    lesson.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for number, cell in enumerate(lesson.cells, 1):
        cell.id = f"cell-{number:02d}"
        cell.metadata = {}
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if len(data) > 1 and "text/plain" in data and {"image/png", "image/svg+xml"} & set(data):
                data["text/plain"] = "picture"  # in place of sizes and addresses
    return lesson


def main(names: list[str]) -> None:
    import nbformat

    for notebook in sorted(HERE.glob("*.ipynb")):
        if names and not any(notebook.stem.startswith(name) for name in names):
            continue
        began = time.perf_counter()
        lesson = execute(notebook)
        nbformat.write(lesson, notebook)
        print(f"{notebook.name}: {time.perf_counter() - began:.1f} s, {notebook.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main(sys.argv[1:])
