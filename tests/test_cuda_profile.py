"""minidl cuda-profile: the table, JSON, and a sentence for each wrong option."""

from __future__ import annotations

import json

import numpy as np
import pytest

from minidl.cli import main
from minidl.kernels import emulator

built = pytest.mark.skipif(
    not emulator.available(), reason="the emulator is not built; type: python setup.py build_ext --inplace"
)


@built
def test_the_table_shows_every_rung(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cuda-profile", "matmul", "--rungs", "all", "--size", "64"]) == 0
    printed = capsys.readouterr().out
    rows = {line.split()[0]: line.split()[1:] for line in printed.splitlines() if line.count("  ") > 3}
    heading = rows.pop("rung")
    assert list(rows) == [name for name, _ in emulator.matmul] and heading[:2] == ["instructions", "sectors"]
    a = np.ones((64, 64), np.float32)
    assert int(rows["naive"][1].replace(",", "")) == emulator.profile(emulator.matmul.naive, a, a).sectors
    for name, _ in emulator.matmul:
        assert f"\n{name}: " in printed
    assert "times fewer sectors" in printed


@built
def test_softmax_has_its_ladder(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cuda-profile", "softmax", "--size", "32"]) == 0
    printed = capsys.readouterr().out
    assert "softmax of the rows of 32 x 32 numbers" in printed
    assert all(f"\n{name}: " in printed for name, _ in emulator.softmax)


@built
def test_json_holds_the_counts(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--rungs", "two_pass,tree", "--size", "100", "--type", "float64", "--json"]
    assert main(["cuda-profile", "reduce", *options]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["family"], found["size"], found["type"]) == ("reduce", 100, "float64")
    assert list(found["rungs"]) == ["tree", "two_pass"]  # in the ladder's order
    tree, two_pass = found["rungs"]["tree"], found["rungs"]["two_pass"]
    assert tree["atomics"] == tree["barriers"] // 8 == -(-100 * 100 // 256) and two_pass["atomics"] == 0
    assert tree["bytes"] == 32 * tree["sectors"] and tree["intensity"] == tree["flops"] / tree["bytes"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "FAMILY"),
        (["conv"], "expected matmul, reduce or softmax"),
        (["matmul", "--rungs", "tilde"], "did you mean 'tiled'?"),
        (["matmul", "--rungs", ","], "--rungs is empty"),
        (["matmul", "--size", "0"], "at least 1"),
        (["matmul", "--size", "100000"], "below 1025"),
        (["matmul", "--type", "int8"], "expected float32 or float64"),
        (["matmul", "--rung", "all"], "did you mean --rungs?"),
    ],
)
def test_bad_input_ends_in_a_sentence(capsys: pytest.CaptureFixture[str], options: list[str], words: str) -> None:
    assert main(["cuda-profile", *options]) == 2
    printed = capsys.readouterr()
    assert words in printed.err and printed.err.count("\n") == 1 and printed.err.startswith("minidl cuda-profile: ")


def test_without_the_emulator_a_sentence_says_so(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    emulator.library.cache_clear()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert not emulator.available()
    assert main(["cuda-profile", "matmul", "--size", "8"]) == 1
    assert "minidl doctor" in capsys.readouterr().err
    emulator.library.cache_clear()
