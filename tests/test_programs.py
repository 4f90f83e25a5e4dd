"""Programs written for PyTorch, in the manner of its tutorials: with their imports changed they run here and learn.

tests/programs/*.py import torch and the standard library. The test changes `import torch` to `import minidl as torch`
and so on, runs the text as it then stands, and reads what it prints; where PyTorch is installed, it runs the unchanged
text too, which must print the same lines, with numbers that may differ as random numbers do.
"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import minidl

PROGRAMS = sorted((Path(__file__).parent / "programs").glob("*.py"))
BOUNDS = {  # what a program prints, by the text before the number: from, to
    "classifier": {
        "epoch 3 train_loss": (0.0, 1.1),
        "epoch 3 test_loss": (0.0, 1.15),
        "epoch 3 test_accuracy": (0.5, 1.0),
    },
    "gan": {"distance_before": (0.6, 1.1), "distance_after": (0.0, 0.5), "brightest": (0.5, 1.0)},
    "transformer": {"step 0 train_loss": (3.0, 5.0), "final train_loss": (0.5, 2.0), "val_loss": (0.5, 5.0)},
}
EXACT = {"classifier": ["parameters", "layers", "epoch 3 lr"], "gan": [], "transformer": ["parameters"]}
NUMBER = re.compile(r"-?\d+\.\d+|(?<=parameters )\d+|(?<=layers )\d+")


def ported(text: str) -> str:
    """The program with its imports changed, and nothing else."""
    text = re.sub(r"^import torch$", "import minidl as torch", text, flags=re.M)
    text = re.sub(r"^import torch\.([\w.]+) as (\w+)$", r"import minidl.\1 as \2", text, flags=re.M)
    return re.sub(r"^from torch([. ])", r"from minidl\1", text, flags=re.M)


def printed(text: str, where: Path) -> list[str]:
    """The lines that a program prints, run as a script of its own."""
    where.write_text(text, encoding="utf-8")
    root = str(Path(minidl.__file__).parents[1])
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run([sys.executable, str(where)], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, f"{where.name} ended with {done.returncode}:\n{done.stderr[-3000:]}"
    return done.stdout.splitlines()


def numbers(lines: list[str]) -> dict[str, float]:
    """Each number by the words before it."""
    found = {}
    for line in lines:
        start = 0
        for match in NUMBER.finditer(line):
            found[line[start : match.start()].strip()] = float(match.group())
            start = match.end()
    return found


def check(name: str, lines: list[str]) -> None:
    found = numbers(lines)
    for label, (low, high) in BOUNDS[name].items():
        assert label in found, f"{name} printed no {label!r}: {lines}"
        assert low <= found[label] <= high, f"{name}: {label} is {found[label]}, expected {low} to {high}"


@pytest.mark.timeout(600)
@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.stem)
def test_program(path: Path, tmp_path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert 50 <= len(text.splitlines()) <= 300 and "minidl" not in text
    changed = ported(text)
    assert "import torch\n" not in changed and "from torch" not in changed
    check(path.stem, printed(changed, tmp_path / path.name))


@pytest.mark.peers
@pytest.mark.timeout(600)
@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.stem)
def test_program_in_pytorch(path: Path, tmp_path: Path) -> None:
    """The same lines from both, equal numbers where nothing is random, and both learn."""
    if importlib.util.find_spec("torch") is None:
        pytest.skip("PyTorch is not installed: nothing to compare with; pip install torch")
    text = path.read_text(encoding="utf-8")
    theirs, ours = printed(text, tmp_path / "theirs.py"), printed(ported(text), tmp_path / "ours.py")
    check(path.stem, theirs)
    forms = [[NUMBER.sub("#", line) for line in lines if not line.startswith("sample")] for lines in (ours, theirs)]
    assert forms[0] == forms[1]
    for label in EXACT[path.stem]:
        assert numbers(ours)[label] == numbers(theirs)[label], label
