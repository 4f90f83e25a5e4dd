"""Kills training runs at random moments and holds what they resume to against a run that nobody disturbed.

    python tests/kill_and_resume.py [--kills 10] [--seed 0]

Each trial starts the same run, kills it (SIGKILL) at a moment drawn from its whole duration, and resumes it until it is
done; some trials are killed again while they resume. Then model.safetensors must be the undisturbed run's, byte for
byte, and history.csv must have each epoch once. Prints a table; the exit code is 0 if all trials agree.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

# Dropout, shifts, an optimizer with momentum, a schedule and early stopping: all that a resumed run has to bring back.
OPTIONS = (
    "--data digits --model mlp --hidden 32 --dropout 0.2 --augment-shift 1 --epochs 8 --batch-size 16 --l2 1e-4"
    " --patience 5 --threads 1 --quiet"
).split()


@dataclass
class Trial:
    """One run that was killed, and what became of it."""

    moments: list[float]
    epochs: list[str]
    agrees: bool
    note: str = ""


def start(arguments: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "minidl", "train", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def finish(arguments: list[str]) -> None:
    process = start(arguments)
    _, errors = process.communicate()
    if process.returncode:
        raise SystemExit(f"minidl train {' '.join(arguments)} ended with {process.returncode}: {errors}")


def kill_after(arguments: list[str], seconds: float) -> bool:
    """Run for so long, then SIGKILL; whether the run was still going."""
    process = start(arguments)
    try:
        process.communicate(timeout=seconds)
        return False
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.communicate()
        return True


def digest(run: Path) -> str:
    return hashlib.sha256((run / "model.safetensors").read_bytes()).hexdigest()


def epochs_of(run: Path) -> list[int]:
    if not (run / "history.csv").exists():
        return []
    with open(run / "history.csv", newline="") as file:
        return [int(row["epoch"]) for row in csv.DictReader(file)]


def trial(folder: Path, reference: Path, duration: float, moment: float, again: float | None) -> Trial:
    """Kill at `moment`, perhaps once more `again` seconds into the resumed run, then let it finish."""
    result = Trial([], [], False)
    fresh = [*OPTIONS, "--out", str(folder)]
    for seconds in [moment] if again is None else [moment, again]:
        killed = kill_after(["--resume", str(folder), "--quiet"] if folder.exists() else fresh, seconds)
        result.moments.append(seconds)
        result.epochs.append(str(max(epochs_of(folder), default=0)) if killed else "done")
    if not folder.exists():
        result.note = "killed before the run folder was there: started anew"
    finish(["--resume", str(folder), "--quiet"] if folder.exists() else fresh)
    leftovers = [path.name for path in folder.iterdir() if path.name.startswith(".")]
    whole = epochs_of(folder) == epochs_of(reference)
    result.agrees = digest(folder) == digest(reference) and whole and not leftovers
    if not result.agrees:
        result.note = "history differs" if not whole else f"left over: {leftovers}" if leftovers else "weights differ"
    return result


def trials(kills: int, seed: int, folder: Path) -> tuple[float, list[Trial]]:
    """The undisturbed run's seconds, and the trials."""
    chance = random.Random(seed)
    began = time.perf_counter()
    finish([*OPTIONS, "--out", str(folder / "reference")])
    duration = time.perf_counter() - began
    found = []
    for number in range(kills):
        # One moment from each part of the run, so that few kills still cover start, epochs and end.
        moment = duration * (number + chance.random()) / kills
        again = duration * chance.random() if chance.random() < 0.3 else None
        found.append(trial(folder / f"trial-{number + 1}", folder / "reference", duration, moment, again))
    return duration, found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    root = Path(__file__).resolve().parent.parent
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH")]))
    with tempfile.TemporaryDirectory() as folder:
        duration, found = trials(options.kills, options.seed, Path(folder))
    print(f"a run without interruption takes {duration:.2f} s")
    print(f"{'trial':>5}  {'killed after':>16}  {'epochs kept':>11}  same weights")
    for number, one in enumerate(found, 1):
        moments = ", ".join(f"{moment:.2f} s" for moment in one.moments)
        print(
            f"{number:>5}  {moments:>16}  {', '.join(one.epochs):>11} "
            f" {'yes' if one.agrees else 'NO'}{'  ' * bool(one.note)}{one.note}"
        )
    agreed = sum(one.agrees for one in found)
    print(f"{agreed} of {len(found)} killed runs ended in bit-identical weights")
    return 0 if agreed == len(found) else 1


if __name__ == "__main__":
    sys.exit(main())
