"""The README's example runs, and its excerpt of the source is the source."""

import inspect
import re
import textwrap
from pathlib import Path

import numpy as np
import pytest

import minidl

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.S)


def test_the_example_reaches_what_it_promises(capsys):
    exec(compile(BLOCKS[0], "README.md", "exec"), {})
    accuracy = float(re.search(r"test accuracy ([\d.]+)%", capsys.readouterr().out)[1])
    assert accuracy > 95
    assert len(textwrap.dedent(BLOCKS[0]).strip().splitlines()) <= 22


def test_the_excerpt_is_the_running_code():
    assert BLOCKS[1].strip() == inspect.getsource(minidl.exp).strip()


@pytest.mark.skipif(not minidl.kernels.native.available, reason="no compiled kernels in this installation")
def test_the_ladder_is_climbed(capsys):
    scope = {}
    exec(compile(BLOCKS[2], "README.md", "exec"), scope)
    climbed = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert climbed == [name for name, _ in minidl.kernels.matmul]
    np.testing.assert_allclose(scope["c"], scope["a"] @ scope["b"], rtol=1e-5)


def test_exactly_two_commands():
    commands = re.findall(r"```sh\n(.*?)```", README, re.S)
    assert [c.count("\n") for c in commands] == [1, 1]


def test_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert target.startswith("http") or (Path(__file__).parent.parent / target).exists(), target
