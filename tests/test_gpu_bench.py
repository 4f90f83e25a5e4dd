"""The GPU benchmark without a GPU: says so, verifies in the emulator, and runs as a whole on a stand-in for CuPy."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_cupy import FakeCupy
from test_gpu import NEEDS_EMULATOR, fake, forget  # noqa: F401

from minidl.bench import gpu as bench
from minidl.bench.gpu_cases import cases
from minidl.bench.gpu_steps import measured
from minidl.bench.steps import workloads
from minidl.kernels import emulator
from minidl.kernels.cuda import matmul, reduce


def test_without_a_gpu_it_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "cupy", None)
    forget()
    assert bench.main([]) == 1
    said = capsys.readouterr()
    assert "CuPy does not load" in said.err and "--emulator" in said.err and not said.out
    assert said.err.count("\n") == 1


@NEEDS_EMULATOR
def test_it_verifies_in_the_emulator(capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.main(["--emulator", "--seed", "3"]) == 0
    many = len(cases(8, 8))
    assert capsys.readouterr().out == f"{many} of {many} kernels are right in the emulator, seed 3\n"
    names = [case.name for case in cases(8, 8)]
    assert len(set(names)) == many >= len(matmul.MATMUL) + len(matmul.TENSOR_CORES) + len(reduce.SUM)


@NEEDS_EMULATOR
def test_wrong_and_missing_numbers_are_seen(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A kernel that leaves its result as it was, and one that is off by a thousandth."""
    launch = emulator.Device.launch

    def spoiled(self: Any, kernel: str, grid: Any, block: Any, arguments: Any, *more: Any, **options: Any) -> None:
        if "Tanh" in kernel:
            return
        launch(self, kernel, grid, block, arguments, *more, **options)
        if kernel == "matmul::naive<float>":
            arguments["C"].array[0, 3, 4] *= 1.1

    monkeypatch.setattr(emulator.Device, "launch", spoiled)
    assert bench.main(["--emulator"]) == 1
    said = capsys.readouterr()
    assert said.err.splitlines()[0].startswith("gpu.py: matmul.naive 131 is wrong: off by ")
    assert said.err.splitlines()[1].startswith("gpu.py: tanh is wrong: off by inf") and said.err.count("\n") == 2


@NEEDS_EMULATOR
def test_the_whole_benchmark(
    fake: FakeCupy,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(bench, "_checks", lambda root, until: {"tests": "passed: 3 passed"})
    monkeypatch.setattr(bench, "STEPS_ON", "cpu")
    monkeypatch.setattr(bench, "SETS", 1)
    monkeypatch.setattr(bench, "ROUNDS", 1)
    assert bench.main(["--quick", "--out", str(tmp_path)]) == 0
    kept = json.loads((tmp_path / "gpu.json").read_text())
    assert {each["name"] for each in kept["kernels"]} == {case.name for case in cases(bench.ODD, bench.SHORT)}
    assert all(each["seconds"] > 0 and each["per_second"] > 0 for each in kept["kernels"])
    product = next(each for each in kept["kernels"] if each["name"].startswith("matmul.warp_tiled"))
    assert product["error"] < 1e-5 and product["peers"]["CuPy"] > 0 and set(kept["peaks"]) == {"copy", "float32"}
    assert [row["name"] for row in kept["steps"]] == [work.name for work in workloads()]
    assert all(row["seconds"] > 0 and np.all(np.isfinite(row["losses"]["minidl"])) for row in kept["steps"])
    assert kept["gpu"]["name"] == "no card" and kept["gpu"]["capability"] == 90 and kept["errors"]
    written = (tmp_path / "gpu.md").read_text()
    assert written in capsys.readouterr().out and "| matmul.warp_tiled 131 |" in written and "tests: passed" in written
    assert "no card; measured peaks: copy" in written and fake.waits == 0


def test_the_error_counts_nan_and_wrong_shapes() -> None:
    x = np.array([1.0, -4.0])
    assert bench._error(x, x) == 0 and bench._error(x + 0.4, x) == pytest.approx(0.1)
    assert bench._error(np.array([1.0, np.nan]), x) == bench._error(x[:1], x) == np.inf
    assert bench._error((x, x + 4), (x, x)) == 1 and bench._error(x[:0], x[:0]) == 0


def test_steps_are_held_against_pytorchs() -> None:
    torch = pytest.importorskip("torch", reason="needs PyTorch: pip install torch")
    rows = measured("cpu", torch, 5, lambda run: float(run() is not None))
    assert len(rows) == len(workloads()) and all(row["seconds"] == row["PyTorch"] == 1 for row in rows)
    assert all(row["error"] < bench.STEP_LIMIT and len(set(row["losses"]["minidl"])) == 3 for row in rows)
