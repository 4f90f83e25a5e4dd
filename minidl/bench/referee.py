"""The parent of the workers: it starts them, holds their results against the exact ones, and times them in turn."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import minidl
from minidl.bench.workload import Workload

__all__ = ["HEAP", "SAME_MINIDL", "Effort", "Referee", "Row", "Timing", "environment"]

PINS = ("OPENBLAS_", "MKL_", "OMP_", "GOMP_", "KMP_", "DNNL_", "ONEDNN_", "BLIS_", "XLA_FLAGS", "ATEN_CPU_CAPABILITY")
# A process started anew looks into the current folder first, where another minidl may lie than the one that runs here.
SAME_MINIDL = f"import sys; sys.path[0] = {str(Path(__file__).resolve().parents[2])!r}"
PATIENCE = 300.0  # seconds: a worker that has no answer by then is ended
HEAP = {  # memory that was freed is kept and used again, so that no library pays for new pages
    "MALLOC_TRIM_THRESHOLD_": str(1 << 40),
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "MALLOC_MMAP_MAX_": "0",
}


@dataclass(frozen=True)
class Effort:
    """How long to measure: rounds, seconds of each library in each, and at most so many seconds a library and row."""

    rounds: int = 9
    turn: float = 0.03
    most: float = 2.0


QUICK = Effort(3, 0.003, 0.3)
FULL = Effort(31, 0.03, 8.0)


@dataclass
class Timing:
    """Seconds of one call: the median of the rounds, half the distance of the quartiles as a share of it, the least."""

    median: float
    spread: float
    least: float
    rounds: int


@dataclass
class Row:
    """What was found for a workload: timings by library, errors of results, and reasons for what was not timed."""

    workload: Workload
    timings: dict[str, Timing] = field(default_factory=dict)
    errors: dict[str, float] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    limit: float | None = None  # operations or bytes a second, measured in the same rounds
    memory: dict[str, int] | None = None  # of minidl's results in one step: "peak" bytes, "fresh" blocks


def environment(threads: int) -> tuple[dict[str, str], list[str]]:
    """The workers' environment, and the names of the variables that were left out of it.

    Variables that pin a library's kernels are left out, so that each chooses its own; all get the same number of
    threads and a heap that keeps what was freed.
    """
    removed = sorted(name for name in os.environ if name.startswith(PINS))
    kept = {name: value for name, value in os.environ.items() if name not in removed}
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "MINIDL_NUM_THREADS", "NPROC")
    here = str(Path(minidl.__file__).resolve().parent.parent)
    path = os.pathsep.join([here, *filter(None, [os.environ.get("PYTHONPATH")])])
    settings = {name: str(threads) for name in names} | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": path}
    return kept | HEAP | settings, removed


class Process:
    """A worker, and the lines that go to and fro."""

    def __init__(self, name: str, place: str, threads: int, log: Path) -> None:
        self.name, self.log = name, log
        with log.open("wb") as errors:
            code = f"{SAME_MINIDL}; from minidl.bench.worker import main; main()"
            self.child = subprocess.Popen(
                [sys.executable, "-c", code, place, str(threads)],
                env=environment(threads)[0], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True,
            )  # fmt: skip

    def hear(self) -> dict[str, Any]:
        assert self.child.stdout is not None
        watch = threading.Timer(PATIENCE, self.child.kill)
        watch.start()
        line = self.child.stdout.readline()
        watch.cancel()
        if not line:
            last = self.log.read_text(errors="replace").strip().splitlines()
            code = self.child.wait()
            return {"failed": f"its process ended with code {code}{': ' + last[-1] if last else ''}", "ended": True}
        return json.loads(line)

    def ask(self, do: str, **more: Any) -> dict[str, Any]:
        assert self.child.stdin is not None
        try:
            self.child.stdin.write(json.dumps({"do": do, **more}) + "\n")
            self.child.stdin.flush()
        except BrokenPipeError:
            pass
        return self.hear()

    def end(self) -> None:
        for pipe in (self.child.stdin, self.child.stdout):
            if pipe is not None:
                pipe.close()
        try:
            self.child.wait(10)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()


class Referee:
    """Workers for minidl, the peers and the exact results, one of which computes at a time. A context manager.

    Args:
        libraries: name -> "module:Class", minidl's first; "exact" is the one whose results count.
        threads: of each.
        effort: how long to measure.
        say: is told of peers that do not run here.
    """

    def __init__(
        self,
        libraries: Mapping[str, str],
        threads: int,
        effort: Effort,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.effort, self.threads = effort, threads
        self.folder = tempfile.TemporaryDirectory(prefix="minidl-bench-")
        self.about: dict[str, dict[str, str]] = {}
        self.absent: dict[str, str] = {}
        self.workers: dict[str, Process] = {}
        try:
            places = {**libraries, "limit": libraries["minidl"]}
            self.workers = {  # all at once, since their imports are no part of any figure
                name: Process(name, place, threads, Path(self.folder.name) / f"{name}.log")
                for name, place in places.items()
            }
            for name, worker in list(self.workers.items()):
                about = worker.hear()
                if "failed" in about:
                    self.workers.pop(name).end()
                    self.absent[name] = about["failed"]
                    say(f"{name} does not run here, so it is left out: {about['failed']}")
                elif name not in ("exact", "limit"):
                    self.about[name] = about
            for name in ("minidl", "exact", "limit"):
                if name not in self.workers:
                    raise RuntimeError(f"bench: {name} does not run: {self.absent[name]}")
            self.exact, self.yardstick = self.workers.pop("exact"), self.workers.pop("limit")
            self.limit = ""  # the one that the yardstick stands ready for
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Referee:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        for worker in [*self.workers.values(), *(vars(self).get(name) for name in ("exact", "yardstick"))]:
            if worker is not None:
                worker.end()
        self.folder.cleanup()

    def limits(self) -> dict[str, Any]:
        """The machine's limits on one thread and on all, as `minidl.kernels.limits.measure` gives them."""
        return self.yardstick.ask("limits", seconds=0.03 if self.effort.rounds < 5 else 0.2)

    def measure(self, workload: Workload) -> Row | None:
        """A row, or None where minidl does not offer the operation."""
        if not self.workers["minidl"].ask("offers", kind=workload.kind).get("offers", True):
            return None
        row = Row(workload)
        file = str(Path(self.folder.name) / "exact.npz")
        answer = self.exact.ask("exact", workload=workload.to_json(), exact=file)
        if "failed" in answer:  # then nothing is known to be right, and nothing is timed
            row.refused["exact"] = answer["failed"]
            return row
        ready = []
        for name, worker in self.workers.items():
            if workload.only and name not in workload.only:
                continue
            answer = worker.ask("prepare", workload=workload.to_json(), exact=file)
            if "missing" in answer:
                continue
            reason = answer.get("failed")
            if not reason:
                row.errors[name] = answer["error"]
                if name == "minidl":
                    row.memory = answer["memory"]
                if not answer["error"] <= workload.bound:
                    reason = f"wrong: error {answer['error']:.1e}, at most {workload.bound:.0e} is right"
            if reason:
                row.refused[name] = reason
                worker.ask("drop")
                if answer.get("ended"):
                    self.absent[name] = reason
            else:
                ready.append(name)
        self.workers = {name: worker for name, worker in self.workers.items() if name not in self.absent}
        if "minidl" not in self.workers:
            raise RuntimeError(f"bench: minidl's own worker has ended at {workload.name}: {self.absent['minidl']}")
        self.time(row, [name for name in ready if name in self.workers])
        return row

    def time(self, row: Row, names: Sequence[str]) -> None:
        """The libraries in turn, round by round, so that a drifting machine hits all alike."""
        times: dict[str, list[float]] = {name: [] for name in names}
        spent = dict.fromkeys(names, 0.0)
        limit = row.workload.limit
        if limit and limit != self.limit:
            yard = Workload(limit, "limits", "limit", (), {"name": limit})
            if "failed" in self.yardstick.ask("prepare", workload=yard.to_json(), exact=None):
                limit = ""  # nothing is compiled here
            self.limit = limit
        reached: list[float] = []
        for turn in range(self.effort.rounds):
            for name in names:
                # A slow one takes part in fewer rounds, evenly spread, but in three at least.
                due = max(3, int(self.effort.most * len(times[name]) / spent[name])) if spent[name] else turn + 1
                if len(times[name]) * self.effort.rounds >= (turn + 1) * min(due, self.effort.rounds):
                    continue
                answer = self.workers[name].ask("time", seconds=self.effort.turn)
                if "failed" in answer:
                    row.refused[name] = answer["failed"]
                    continue
                times[name].append(answer["seconds"])
                spent[name] += answer["seconds"] * answer["calls"]
            if limit:
                answer = self.yardstick.ask("time", seconds=self.effort.turn / 3)
                reached.append(answer["work"] / answer["seconds"])
        row.limit = statistics.median(reached) if reached else None
        for name in names:
            self.workers[name].ask("drop")
            if times[name]:
                row.timings[name] = timing(times[name])


def timing(times: Sequence[float]) -> Timing:
    if len(times) < 2:
        return Timing(times[0], 0.0, times[0], 1)
    low, middle, high = statistics.quantiles(times, n=4, method="inclusive")
    return Timing(middle, (high - low) / 2 / middle, min(times), len(times))
