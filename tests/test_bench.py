"""The benchmarks run, hold results against the exact ones before they time them, and say what they leave out."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import minidl
from minidl.bench import kernels, overhead, reasons, results, script, steps, suite
from minidl.bench.libraries import LIBRARIES
from minidl.bench.libraries.exact import Exact
from minidl.bench.libraries.tensors import Minidl
from minidl.bench.referee import Row, Timing, environment, timing
from minidl.bench.report import between_markers
from minidl.bench.worker import Worker, largest_error
from minidl.bench.workload import Goal, Workload, from_json, normal
from minidl.cli import main
from minidl.kernels import limits, native

HERE = Path(__file__).parent
LIAR = """
from minidl.bench.libraries.by_hand import NumPy

class Liar(NumPy):
    def run_matmul(self, inputs, form):
        right = super().run_matmul(inputs, form)
        return lambda: right() * 1.001

class Absent(NumPy):
    def __init__(self, threads):
        raise ImportError("no such library")

class Fragile(NumPy):
    def run_matmul(self, inputs, form):
        import os
        os._exit(3)
"""


@pytest.fixture
def strangers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module with libraries that lie, are absent or die."""
    (tmp_path / "strangers.py").write_text(LIAR)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]))


def quick(only: str, parts: tuple[str, ...] = ("kernels",), **stand_ins: str) -> tuple[suite.Results, str]:
    said: list[str] = []
    libraries = {**LIBRARIES, **stand_ins}
    found = suite.run(parts, ("numpy",), 1, quick=True, only=only, say=said.append, libraries=libraries)
    return found, "\n".join(said)


# ---------------------------------------------------------------------------------------------- the whole run


def test_a_quick_run_gives_tables_figures_and_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    out = tmp_path / "figures"
    arguments = ["--only", "32 x 32 x 32, A", "--peers", "numpy", "--quick", "--threads", "1", "--out", str(out)]
    assert main(["bench", "kernels", *arguments]) == 0
    said = capsys.readouterr().out
    assert "| 32 x 32 x 32, A Bᵀ |" in said and "numpy" in said and "kept in" in said
    figures = json.loads((out / "bench.json").read_text())
    assert {"machine", "limits", "libraries", "absent", "rows", "threads"} <= set(figures)
    assert "OPENBLAS_CORETYPE" in figures["removed from the environment"]
    assert [row["name"] for row in figures["rows"]] == [f"32 x 32 x 32, {form}" for form in kernels.FORMS]
    for row in figures["rows"]:
        assert set(row["seconds"]) == {"minidl", "numpy"} and row["ratios"]["numpy"] > 0
        assert max(row["errors"].values()) <= row["workload"]["bound"]
        assert row["seconds"]["minidl"]["least"] <= row["seconds"]["minidl"]["median"]
        if native.available:
            assert row["share"] > 0
    pictures = {path.name for path in out.glob("*.png")}
    assert pictures == ({"roofline.png", "kernels.png"} if native.available else {"kernels.png"})


@pytest.mark.skipif(not native.available, reason="no compiled kernels in this installation")
def test_the_machine_has_limits() -> None:
    found = limits.measure(0.002)
    assert set(found["flops"]) >= {"baseline"} and set(found["bandwidth"]) == set(limits.STREAMS)
    assert all(value > 0 for kind in found.values() for each in kind.values() for value in each.values())
    assert limits.runner("peak")() > 0 and limits.runner("triad")() == 3 * limits.runner("read")()
    before = native.get_num_threads()
    limits.fma_peak(threads=before + 1, seconds=0.001)
    assert native.get_num_threads() == before
    with pytest.raises(ValueError, match="'wind', expected one of read, copy"):
        limits.bandwidth("wind")
    with pytest.raises(ValueError, match="'wind', expected one of peak, read"):
        limits.runner("wind")


# ------------------------------------------------------------------------------------- what is left out, and why


def test_a_wrong_peer_is_reported_and_not_timed(strangers: None) -> None:
    found, said = quick("32 x 32 x 32, A B", numpy="strangers:Liar")
    for row in found.rows:
        assert "numpy" not in row.timings and "minidl" in row.timings
        assert row.refused["numpy"].startswith("wrong: error 1.0e-03")
    assert "numpy is not timed: wrong" in said and "refused" in said


def test_a_peer_that_does_not_run_is_left_out_by_name(strangers: None) -> None:
    found, said = quick("32 x 32 x 32, A Bᵀ", numpy="strangers:Absent")
    assert found.absent["numpy"] == "ImportError: no such library" and set(found.rows[0].timings) == {"minidl"}
    assert "numpy does not run here, so it is left out: ImportError: no such library" in said


def test_a_peer_that_dies_is_left_out_from_then_on(strangers: None) -> None:
    found, said = quick("32 x 32 x 32, A", numpy="strangers:Fragile")
    assert "its process ended with code 3" in found.rows[0].refused["numpy"] and not found.rows[1].refused
    assert all(set(row.timings) == {"minidl"} for row in found.rows)


def test_without_minidl_itself_there_is_nothing_to_measure(strangers: None) -> None:
    with pytest.raises(RuntimeError, match="minidl's own worker has ended at 32 x 32 x 32, A Bᵀ: .* code 3"):
        quick("32 x 32 x 32, A Bᵀ", minidl="strangers:Fragile")
    with pytest.raises(RuntimeError, match="minidl does not run: ImportError: no such library"):
        quick("32 x 32 x 32, A Bᵀ", minidl="strangers:Absent")


def test_a_peer_that_is_not_installed_is_left_out_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suite, "installed", lambda package: False)
    found, said = quick("32 x 32 x 32, A Bᵀ")
    assert "numpy is not installed, so it is left out: pip install numpy" in said
    assert found.absent == {"numpy": "it is not installed"} and found.columns() == []


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["kernel"], "minidl bench: PART: 'kernel' is unknown; did you mean 'kernels'? (see minidl bench --help)"),
        (["--peers", "numpy,keras"], "there is no peer 'keras'; choose from numpy, torch, jax, tinygrad"),
        (["--only", "nothing such"], "no row's name contains 'nothing such'; leave --only out to see them all"),
        (["--quick", "--full"], "--quick and --full exclude each other"),
        (["--threads", "0"], "expected a whole number of at least 1"),
    ],
)
def test_wrong_words_end_in_one_sentence(
    arguments: list[str],
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["bench", *arguments]) == 2
    said = capsys.readouterr().err
    assert sentence in said and said.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_script_ends_in_a_sentence_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        script.main("steps", "Steps.", tmp_path, ["--peers", "keras"])
    assert "there is no peer 'keras'; choose from numpy, torch, jax, tinygrad" in capsys.readouterr().err


def test_the_readme_gets_tables_and_pictures() -> None:
    found = suite.Results(2, ["torch"], [row_with((Goal("torch", 2.0),), minidl=1.0, torch=3.0)], removed=["MKL_X"])
    found.about = {"minidl": {}, "torch": {}}
    text, rest = script.readme_text("kernels", found, [Path("benchmarks/results/roofline.png")])
    assert "| a row | 1.00 s ± 1 % | 8.00 GFLOP/s | 80 % | 3.00 | met |" in text and "MKL_X" in text
    assert "(benchmarks/results/roofline.png)" in text and rest == ""
    found.rows = [row_with((Goal("torch", 4.0),), minidl=1.0, torch=3.0)] * 21
    text, rest = script.readme_text("kernels", found, [])
    assert "21 of 21 goals are missed" in text and "(benchmarks/results/kernels.md)" in text and "| a row |" not in text
    assert "| a row | 1.00 s" in rest and "| why |" in rest


def test_the_functions_name_what_they_do_not_know() -> None:
    with pytest.raises(ValueError, match="no part 'speed'; choose from kernels, steps, overhead"):
        suite.run(["speed"])


# --------------------------------------------------------------------------------------------- the workloads


def every_workload() -> list[Workload]:
    return [w for part in (kernels, steps, overhead) for w in part.workloads(full=True)]


def test_rows_have_names_of_their_own_families_and_work() -> None:
    rows = every_workload()
    assert len({(w.family, w.name) for w in rows}) == len(rows) > 100
    families = {**kernels.FAMILIES, **steps.FAMILIES, **overhead.FAMILIES}
    for w in rows:
        assert w.family in families and from_json(json.loads(json.dumps(w.to_json()))) == w
        for goal in w.goals:
            if goal.against in ("peak", "memory"):
                assert (w.limit == "peak") == (goal.against == "peak") and w.limit
                assert (w.flops if w.limit == "peak" else w.bytes) > 0


SMALL = [
    "32 x 32 x 32, A", "rows of 10", "relu, forward", "exp, forward + b", "MLP 2-16", "GPT (4", "with backward",
    "embedding",
]  # fmt: skip


@pytest.mark.parametrize("part", SMALL)
def test_minidl_agrees_with_the_exact_results(part: str, tmp_path: Path) -> None:
    rows = suite.wanted(every_workload(), part)
    assert rows
    file = str(tmp_path / "exact.npz")
    with minidl.backend(minidl.backend()):  # Exact leaves the reference in force
        for workload in rows:
            Worker(Exact(1)).exact(workload, file)
            minidl.backend("native" if native.available else "reference")
            worker = Worker(Minidl(1))
            assert worker.prepare(workload, file)["error"] <= workload.bound, workload.name
            assert worker.time(1e-4)["seconds"] > 0
            worker.drop()


def test_rungs_of_a_ladder_are_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from minidl.kernels import reference

    module = ModuleType("minidl.kernels.ladders")
    for name in ("matmul", "conv2d", "sum", "softmax"):
        right = getattr(reference, name, np.matmul)
        setattr(module, name, [("right", right), ("wrong", lambda *args, right=right: right(*args) * 1.01)])
    monkeypatch.setitem(sys.modules, "minidl.kernels.ladders", module)
    rows = [w for w in kernels.workloads() if w.family == "ladders"]
    assert len(rows) == 8 and "matmul, 256 x 256 x 256: right" in [w.name for w in rows]
    file = str(tmp_path / "exact.npz")
    for workload in rows:
        with minidl.backend(minidl.backend()):
            Worker(Exact(1)).exact(workload, file)
        error = Worker(Minidl(1)).prepare(workload, file)["error"]
        assert (error <= workload.bound) == workload.name.endswith("right"), workload.name


def test_errors_count_as_shares_of_the_largest_number() -> None:
    exact = [np.array([1.0, -4.0]), np.array(2.0)]
    assert largest_error([np.array([1.0, -4.4]), np.array(2.0)], exact) == pytest.approx(0.1)
    assert largest_error([np.array([np.nan, -4.0]), np.array(2.0)], exact) == np.inf
    with pytest.raises(ValueError, match="2 numbers, expected 1"):
        largest_error([exact[0], exact[0]], exact)
    with pytest.raises(ValueError, match="gives 1 results, expected 2"):
        largest_error(exact[:1], exact)


# ------------------------------------------------------------------------------------------ what the figures say


def row_with(goals: tuple[Goal, ...], **times: float) -> Row:
    workload = Workload("a row", "matmul", "matmul", (normal(2, 2),) * 2, flops=8e9, limit="peak", goals=goals)
    return Row(workload, {name: Timing(seconds, 0.01, seconds, 5) for name, seconds in times.items()}, limit=10e9)


def test_goals_are_met_or_missed_by_so_much() -> None:
    goals = (Goal("best", 1.5), Goal("torch", 2.0), Goal("peak", 0.5), Goal("jax", 9.0))
    row = row_with(goals, minidl=1.0, numpy=1.2, torch=3.0)
    assert results.ratios(row) == {"numpy": 1.2, "torch": 3.0} and results.share(row) == pytest.approx(0.8)
    assert [round(v.score, 3) for v in results.verdicts(row)] == [0.8, 1.5, 1.6]  # none for jax, which was not measured
    table = results.family_table([row], ["numpy", "torch", "jax"])
    assert "missed by 20 % (1.20 the best peer, goal 1.50)" in table and "80 %" in table and "8.00 GFLOP/s" in table
    assert "jax" not in table
    assert "| matmul: a row | 20 % |" in results.missed_table(results.verdicts(row))
    assert results.standing(row_with((Goal("torch", 2.0),), minidl=1.0, torch=2.0)) == ["met"]
    assert results.standing(replace(row, timings={})) == []


def test_medians_and_spreads() -> None:
    found = timing([1.0, 2.0, 3.0, 4.0, 100.0])
    assert (found.median, found.spread, found.least, found.rounds) == (3.0, pytest.approx(1 / 3), 1.0, 5)
    assert timing([2.0]) == Timing(2.0, 0.0, 2.0, 1)
    assert results.geometric_mean([1.0, 4.0]) == pytest.approx(2.0)


def test_variables_that_pin_kernels_are_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    monkeypatch.setenv("MKL_DEBUG_CPU_TYPE", "5")
    settings, removed = environment(3)
    assert {"OPENBLAS_CORETYPE", "MKL_DEBUG_CPU_TYPE"} <= set(removed) and not {*removed} & {"PATH", "HOME"}
    assert "OPENBLAS_CORETYPE" not in settings and settings["OPENBLAS_NUM_THREADS"] == "3"


def test_text_goes_between_its_markers(tmp_path: Path) -> None:
    file = tmp_path / "README.md"
    file.write_text("above\n<!-- steps:begin -->\nold\n<!-- steps:end -->\nbelow\n")
    between_markers(file, "steps", "new")
    assert file.read_text() == "above\n<!-- steps:begin -->\nnew\n<!-- steps:end -->\nbelow\n"
    with pytest.raises(ValueError, match="README.md has no place for kernels"):
        between_markers(file, "kernels", "new")


@pytest.mark.skipif(not native.available, reason="native code was not built here")
def test_a_breakdown_tells_verbs_and_python() -> None:
    script = HERE.parent / "benchmarks" / "breakdown.py"
    same = {**os.environ, "PYTHONPATH": str(Path(minidl.__file__).parents[1])}

    def told(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, script, *arguments], capture_output=True, text=True, env=same)

    row = told("a + b, recorded", "--threads", "1")
    assert row.returncode == 0, row.stderr
    assert "| add 4 4 | 1 |" in row.stdout and "| Python |" in row.stdout
    unknown = told("no such row")
    assert unknown.returncode == 1 and "no row of the benchmarks is named like 'no such row'" in unknown.stdout


def test_reasons_fit_rows() -> None:
    names = {f"{row.family}: {row.name}" for row in [*kernels.workloads(), *steps.workloads(), *overhead.workloads()]}
    for pattern, _ in reasons.REASONS:
        assert any(re.match(pattern, name) for name in names), pattern
