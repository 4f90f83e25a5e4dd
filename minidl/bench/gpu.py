"""The CUDA kernels on an NVIDIA GPU: verified, then timed beside the measured peaks, cuBLAS and PyTorch.

    python benchmarks/gpu.py [--emulator] [--quick] [--no-tests] [--out FOLDER]

First every kernel is verified on fresh random numbers (the seed is printed), with results that hold NaN beforehand.
Then it is timed by events: after a warm-up, in rounds over several sets of arguments, larger together than the GPU's
cache; medians. Whole training steps follow, as they are and captured as a graph, beside
PyTorch's. The tests of the GPU and compute-sanitizer, where it is installed, run at the end. One table and one
JSON file go to benchmarks/results. Less than eight minutes.

--emulator: only verify, at small sizes, on the CPU. --quick: small sizes, for a trial.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from minidl.bench import gpu_steps
from minidl.bench.gpu_cases import Case, cases
from minidl.bench.report import keep, table
from minidl.kernels import emulator, gpu
from minidl.kernels.cuda import Backend

__all__ = ["main"]

ODD, SHORT = 131, 10_007  # sizes at which kernels are verified: no multiples of anything
LARGE, LONG = 4096, 1 << 26  # sizes at which they are timed
SETS = 512 << 20  # bytes of arguments to go round, several times a GPU's cache
STEPS_ON, STEP_LIMIT = "cuda", 1e-3  # where whole training steps run, and how far losses may be from PyTorch's
ROUNDS = 5  # at least, for a median
LIMIT = 7 * 60  # seconds for all; what is left over then is left out, and said so


class Poisoned:
    """A device whose new arrays hold NaN (integers: -1), so that what a kernel forgets to write is seen."""

    def __init__(self, device: Any) -> None:
        self._device = device

    def __getattr__(self, name: str) -> Any:
        return getattr(self._device, name)

    def empty(self, shape: Sequence[int], dtype: Any) -> Any:
        x = self._device.zeros(shape, dtype)
        if x.size:
            x[...] = np.frombuffer(b"\xff" * x.itemsize, x.dtype)[0] if x.dtype != bool else True
        return x


def _to(device: Any, arguments: Any) -> tuple[Any, ...]:
    return tuple(device.adopt(x) if isinstance(x, np.ndarray) else x for x in arguments)


def _host(x: Any) -> np.ndarray:
    return np.asarray(x if isinstance(x, np.ndarray | np.generic) else gpu.to_host(x))


def _error(got: Any, wanted: Any) -> float:
    """The largest difference, of the largest number wanted."""
    if isinstance(wanted, tuple):
        return max(_error(g, w) for g, w in zip(got, wanted))
    found, wanted = _host(got), np.asarray(wanted)
    if found.shape != wanted.shape:
        return float("inf")
    if not wanted.size:
        return 0.0
    apart = np.abs(found.astype(np.float64) - wanted)
    return float(np.max(np.where(np.isnan(apart), np.inf, apart)) / max(float(np.max(np.abs(wanted))), 1e-30))


def verify(device: Any, seed: int) -> dict[str, float]:
    """Each kernel's error at odd sizes; those that are too far off are said and counted by `main`."""
    backend, found = Backend(Poisoned(device)), {}
    for case in cases(ODD, SHORT):
        random = np.random.default_rng(seed)
        given = case.arguments(random)
        copies = tuple(x.copy() if isinstance(x, np.ndarray) else x for x in given)
        found[case.name] = _error(case.run(backend, *_to(device, copies)), case.wanted(*given))
    return found


# -------------------------------------------------------------------------------------------------- timing


class Clock:
    """Times work on the GPU by events on CuPy's current stream."""

    def __init__(self, cupy: Any) -> None:
        self.cupy = cupy

    def median(self, work: Callable[..., Any], sets: Sequence[tuple[Any, ...]], seconds: float = 0.5) -> float:
        """Seconds for one call: the median of rounds over all sets."""
        for _ in range(2):
            for each in sets:
                work(*each)
        start, end = self.cupy.cuda.Event(), self.cupy.cuda.Event()
        rounds: list[float] = []
        until = time.monotonic() + seconds
        while len(rounds) < ROUNDS or (time.monotonic() < until and len(rounds) < 100):
            start.record()
            for each in sets:
                work(*each)
            end.record()
            end.synchronize()
            rounds.append(self.cupy.cuda.get_elapsed_time(start, end) / 1e3 / len(sets))
        return statistics.median(rounds)


def _torch() -> Any:
    """PyTorch with CUDA, or None."""
    if importlib.util.find_spec("torch") is None:
        return None
    torch = importlib.import_module("torch")
    if not torch.cuda.is_available():
        return None
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False  # float32 is float32
    return torch


def peaks(clock: Clock, torch: Any, n: int, length: int) -> dict[str, float]:
    """Bytes per second of a copy, operations per second of the libraries' largest products."""
    cupy = clock.cupy
    a, b = cupy.zeros(length, np.float32), cupy.zeros(length, np.float32)
    found = {"copy": 8 * length / clock.median(lambda: cupy.copyto(b, a), [()])}
    square = cupy.asarray(np.random.default_rng(0).standard_normal((n, n), np.float32))
    found["float32"] = 2 * n**3 / clock.median(lambda: cupy.matmul(square, square), [()])
    if torch is not None:
        x = torch.from_dlpack(square)
        torch.backends.cuda.matmul.allow_tf32 = True
        found["tf32"] = 2 * n**3 / clock.median(lambda: torch.matmul(x, x), [()])
        torch.backends.cuda.matmul.allow_tf32 = False
        half = x.bfloat16()
        found["bfloat16"] = 2 * n**3 / clock.median(lambda: torch.matmul(half, half), [()])
    return found


def _peers(case: Case, cupy: Any, torch: Any, sets: Sequence[tuple[Any, ...]]) -> Iterator[tuple[str, Any, Any]]:
    """Each peer's name, work and arguments: PyTorch's share the memory of CuPy's."""
    for name, peer in case.peers.items():
        if name == "CuPy":
            yield name, (lambda *args, peer=peer: peer(cupy, *args)), sets
        elif torch is not None:
            shared = sets
            if name == "PyTorch":
                shared = [tuple(torch.from_dlpack(x) if hasattr(x, "shape") else x for x in each) for each in sets]
            yield "PyTorch", (lambda *args, peer=peer: peer(torch, *args)), shared


def measure(device: Any, clock: Clock, torch: Any, case: Case, seed: int, seconds: float) -> dict[str, Any]:
    """One case's time, what it reaches, and the peers' times. Its result is compared with CuPy's on the way."""
    first = case.arguments(np.random.default_rng(seed))
    size = sum(x.nbytes for x in first if isinstance(x, np.ndarray))
    count = min(max(SETS // max(size, 1), 2), 8)
    sets = [_to(device, first) for _ in range(count)]  # the same numbers in other places
    backend = Backend(device)
    found: dict[str, Any] = {"family": case.family, "name": case.name, "peers": {}}
    if "CuPy" in case.peers and case.operations:
        wanted = gpu.to_host(case.peers["CuPy"](clock.cupy, *sets[0]))
        found["error"] = _error(case.run(backend, *sets[0]), wanted)
    found["seconds"] = clock.median(lambda *args: case.run(backend, *args), sets, seconds)
    found["per_second"] = (case.bytes or case.operations) / found["seconds"]
    found["kind"] = "copy" if case.bytes else case.peak
    for name, work, given in _peers(case, clock.cupy, torch, sets):
        found["peers"][name] = clock.median(work, given, seconds)
    return found


# -------------------------------------------------------------------------------------- tests, the report, main


def _checks(root: Path, until: float) -> dict[str, str]:
    """The last line of the tests on the GPU, and of compute-sanitizer."""
    found = {}
    tests = [sys.executable, "-m", "pytest", "tests", "-k", "on_the_gpu"]
    tool = shutil.which("compute-sanitizer")
    verifying = [sys.executable, str(root / "benchmarks" / "gpu.py"), "--verify"]
    commands = {"tests": tests} if (root / "tests").is_dir() else {}
    for name in ("memcheck", "racecheck") if tool else ():
        commands[f"compute-sanitizer {name}"] = [str(tool), "--tool", name, "--error-exitcode", "9", *verifying]
    for name, command in commands.items():
        left = until - time.monotonic()
        try:
            run = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=max(left, 1))
            lines = (run.stdout + run.stderr).strip().splitlines() or [""]
            summary = next((line for line in reversed(lines) if "SUMMARY" in line), lines[-1])
            found[name] = f"{'passed' if run.returncode == 0 else 'FAILED'}: {summary.strip()}"
        except subprocess.TimeoutExpired:
            found[name] = "left out: no time"
    if not tool:
        found["compute-sanitizer"] = "not installed"
    return found


def _rows(measured: Sequence[dict[str, Any]], highest: dict[str, float]) -> Iterator[list[str]]:
    for each in measured:
        unit = "GB/s" if each["kind"] == "copy" else "GFLOP/s"
        peak = highest.get(each["kind"])
        share = f"{each['per_second'] / peak:.0%}" if peak else "?"
        peers = [f"{each['peers'][name] * 1e6:,.1f}" if name in each["peers"] else "" for name in ("CuPy", "PyTorch")]
        rate = f"{each['per_second'] / 1e9:,.0f} {unit}"
        yield [each["name"], f"{each['seconds'] * 1e6:,.1f}", rate, share, *peers]


def _step_rows(steps: Sequence[dict[str, Any]]) -> Iterator[list[str]]:
    for row in steps:
        columns = ("seconds", "captured", "PyTorch")
        yield [row["name"], *(f"{row[name] * 1e6:,.0f}" if name in row else "" for name in columns)]


def _arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="benchmarks/gpu.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--emulator", action="store_true", help="verify in the emulator, on the CPU")
    parser.add_argument("--verify", action="store_true", help="verify on the GPU, time nothing")
    parser.add_argument("--quick", action="store_true", help="small sizes")
    parser.add_argument("--no-tests", action="store_true", help="neither tests nor compute-sanitizer")
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "little"), help="of the numbers")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"), help="folder for gpu.json and gpu.md")
    return parser.parse_args(given)


def main(given: Sequence[str] | None = None) -> int:
    """0 where every kernel is right; 1 where one is not, or where there is no GPU."""
    options = _arguments(given)
    begin = time.monotonic()
    try:
        device: Any = emulator.Device(checked=False) if options.emulator else gpu.device()
        if options.emulator:
            emulator.library(False)  # RuntimeError where it was not built
    except (RuntimeError, MemoryError) as error:
        print(f"gpu.py: {error}; `--emulator` verifies the kernels without one", file=sys.stderr)
        return 1
    errors = verify(device, options.seed)
    limits = {case.name: case.limit for case in cases(ODD, SHORT)}
    wrong = [name for name, error in errors.items() if not error <= limits[name]]
    for name in wrong:
        print(f"gpu.py: {name} is wrong: off by {errors[name]:.1e}, at most {limits[name]:.0e}", file=sys.stderr)
    where = "in the emulator" if options.emulator else f"on {device}"
    print(f"{len(errors) - len(wrong)} of {len(errors)} kernels are right {where}, seed {options.seed}")
    if options.emulator or options.verify or wrong:
        return int(bool(wrong))

    cupy, torch = device.cupy, _torch()
    clock, seconds = Clock(cupy), 0.01 if options.quick else 0.5
    n, length = (ODD, SHORT) if options.quick else (LARGE, LONG)
    highest = peaks(clock, torch, n if options.quick else 2 * n, length)
    measured, left_out = [], []
    for case in cases(n, length):
        if time.monotonic() - begin > LIMIT:
            left_out.append(case.name)
            continue
        found = measure(device, clock, torch, case, options.seed, seconds)
        if not found.get("error", 0.0) <= 10 * case.limit:
            wrong.append(case.name)
            print(f"gpu.py: {case.name} is wrong: {found['error']:.1e} from CuPy's", file=sys.stderr)
        measured.append(found)
    steps = gpu_steps.measured(STEPS_ON, torch, options.seed, lambda run: clock.median(run, [()], 4 * seconds))
    for row in steps:
        if not row.get("error", 0.0) <= STEP_LIMIT:
            wrong.append(row["name"])
            print(f"gpu.py: {row['name']}: losses {row['error']:.1e} apart", file=sys.stderr)
    root = Path(__file__).resolve().parents[2]
    checks = {} if options.no_tests else _checks(root, begin + LIMIT + 60)
    properties = cupy.cuda.runtime.getDeviceProperties(device.index)
    card = {
        "name": properties["name"].decode(), "capability": device.capability, "memory": properties["totalGlobalMem"],
        "driver": cupy.cuda.runtime.driverGetVersion(), "cuda": cupy.cuda.runtime.runtimeGetVersion(),
        "cupy": cupy.__version__, "torch": None if torch is None else torch.__version__,
    }  # fmt: skip
    head = ["kernel", "µs", "reached", "of the peak", "CuPy, µs", "PyTorch, µs"]
    peak = ", ".join(f"{k} {v / 1e9:,.0f} {'GB/s' if k == 'copy' else 'GFLOP/s'}" for k, v in highest.items())
    lines = [table(head, list(_rows(measured, highest))), "", f"{card['name']}; measured peaks: {peak}."]
    lines += ["", table(["training step", "µs", "captured, µs", "PyTorch, µs"], list(_step_rows(steps))), ""]
    lines += [f"{name}: {outcome}" for name, outcome in checks.items()]
    lines += [f"left out, for the time was over: {', '.join(left_out)}"] if left_out else []
    print("\n".join(lines))
    figures = {"gpu": card, "seed": options.seed, "peaks": highest, "errors": errors, "kernels": measured}
    path = keep(options.out / "gpu.json", figures | {"steps": steps, "checks": checks, "left_out": left_out})
    path.with_suffix(".md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    failed = any(outcome.startswith("FAILED") for outcome in checks.values())
    return int(bool(wrong) or failed)
