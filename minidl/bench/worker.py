"""One library in a process of its own: `python -m minidl.bench.worker MODULE:CLASS THREADS`.

Takes commands as lines of JSON on standard input, and answers each with one line on standard output:

    {"do": "offers", "kind": KIND}                         {"offers": whether the library does such work}
    {"do": "prepare", "workload": {...}, "exact": FILE}    {"error": largest, "memory": of a step} or {"missing": true}
    {"do": "exact", "workload": {...}, "exact": FILE}      {}; the results are in the file
    {"do": "time", "seconds": s}                           {"seconds": of one call, "calls": n, "work": of a call}
    {"do": "limits", "seconds": s}                         what `minidl.kernels.limits.measure` gives
    {"do": "drop"}                                         {}

Whatever goes wrong is answered as {"failed": sentence}. An answer comes only when the library's threads sleep again:
many spin for some milliseconds after their work, and would take the next library's core.
"""

from __future__ import annotations

import gc
import importlib
import itertools
import json
import os
import sys
import time
from typing import Any

import numpy as np

from minidl.bench.libraries.base import Library, Run
from minidl.bench.workload import Workload, from_json

__all__ = ["Worker", "main"]

SAMPLE = 1 << 18  # numbers of a result that are compared: of larger ones, so many evenly spread
WARM = 0.015  # seconds of calls before the clock starts, to have caches, clock rate and threads back
SLOW = 0.05  # seconds: a call as long as this warms nothing up


class Worker:
    """A library, and the work that it has prepared."""

    def __init__(self, library: Library) -> None:
        self.library = library
        self.run: Run | None = None
        self.call_seconds = 0.0

    def results(self, workload: Workload) -> list[np.ndarray]:
        """What the first calls give, and a run that stands ready."""
        self.run = self.library.run(workload.kind, workload.arrays(), workload.options, workload.backward)
        found = []
        for _ in range(workload.calls):
            begin = time.perf_counter()
            y = self.run()
            self.call_seconds = time.perf_counter() - begin
            for each in y if isinstance(y, (tuple, list)) else (y,):
                flat = np.array(self.library.numpy(each)).reshape(-1)
                found.append(flat[:: -(-flat.size // SAMPLE)] if flat.size > SAMPLE else flat)
        return found

    def exact(self, workload: Workload, file: str) -> dict[str, Any]:
        np.savez(file, *self.results(workload))
        self.drop()
        return {}

    def prepare(self, workload: Workload, file: str | None) -> dict[str, Any]:
        if not self.library.offers(workload.kind):
            return {"missing": True}
        if file is None:
            self.results(workload)
            error = 0.0
        else:
            with np.load(file) as exact:
                error = largest_error(self.results(workload), list(exact.values()))
        if self.call_seconds < SLOW:
            self.call_seconds = 0.0  # the first call says little about a short one
        gc.collect()
        gc.freeze()
        memory = self.library.memory(self.run) if workload.family == "steps" and self.run else None
        return {"error": error, "memory": memory}

    def time(self, seconds: float) -> dict[str, Any]:
        assert self.run is not None
        run, work = self.run, None
        if self.call_seconds < SLOW:
            begin = time.perf_counter()
            for count in itertools.count(1):
                work = run()
                past = time.perf_counter() - begin
                if past > WARM and (self.call_seconds or count > 2):
                    break
            self.call_seconds = self.call_seconds or past / count
        calls = max(1, round(seconds / self.call_seconds))
        begin = time.perf_counter()
        for _ in itertools.repeat(None, calls):
            run()
        each = (time.perf_counter() - begin) / calls
        self.call_seconds = each
        return {"seconds": each, "calls": calls, "work": work if isinstance(work, float) else None}

    def drop(self) -> dict[str, Any]:
        self.run = None
        gc.unfreeze()
        gc.collect()
        return {}

    def answer(self, command: dict[str, Any]) -> dict[str, Any]:
        match command["do"]:
            case "prepare":
                return self.prepare(from_json(command["workload"]), command["exact"])
            case "exact":
                return self.exact(from_json(command["workload"]), command["exact"])
            case "time":
                return self.time(command["seconds"])
            case "offers":
                return {"offers": self.library.offers(command["kind"])}
            case "limits":
                from minidl.kernels import limits

                return limits.measure(command["seconds"])
            case _:
                return self.drop()


def largest_error(found: list[np.ndarray], exact: list[np.ndarray]) -> float:
    """Of all results, the largest difference as a share of the largest number of the exact one."""
    if len(found) != len(exact):
        raise ValueError(f"gives {len(found)} results, expected {len(exact)}")
    worst = 0.0
    for got, want in zip(found, exact, strict=True):
        if got.shape != want.shape:
            raise ValueError(f"gives a result of {got.size} numbers, expected {want.size}")
        error = float(np.abs(got - want).max() / max(float(np.abs(want).max()), 1e-30)) if want.size else 0.0
        worst = max(worst, error if error == error else float("inf"))
    return worst


def settle(patience: float = 0.25) -> None:
    """Wait until this process takes no processor time any more."""
    end = time.perf_counter() + patience
    while time.perf_counter() < end:
        before = time.process_time()
        time.sleep(0.004)
        if time.process_time() - before < 0.0008:
            return


def main() -> None:
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")  # whatever a library prints must not come between
    os.dup2(2, 1)
    place, threads = sys.argv[1], int(sys.argv[2])
    if hasattr(os, "sched_setaffinity"):  # libraries that count processors count these
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])

    def say(answer: dict[str, Any]) -> None:
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

    module, name = place.split(":")
    try:
        worker = Worker(getattr(importlib.import_module(module), name)(threads))
        settle()
        say(worker.library.about())
    except Exception as error:
        say({"failed": sentence(error)})
        return
    for line in sys.stdin:
        try:
            answer = worker.answer(json.loads(line))
        except Exception as error:
            answer = {"failed": sentence(error)}
        settle()
        say(answer)


def sentence(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:200]}" if text else type(error).__name__


if __name__ == "__main__":
    main()
