"""A character GPT trained on Shakespeare by `minidl train`, and by the same model and loop in PyTorch.

    python benchmarks/gpt.py [--threads 2] [--rounds 3] [--compile] [--readme]
    python benchmarks/gpt.py --steps 100      to see that it runs; nothing is kept

The recipe is nanoGPT's for a processor: 4 layers, 4 heads, width 128, context 64, batch 12, 2,000 steps, AdamW, cosine
schedule with warm-up, clipped gradients; the initial values are those of `models.GPT` in both. Every 250 steps both
measure the loss on the whole validation text, in windows of 64 side by side, so that each character is predicted once.
Each library runs in a process of its own, in turn, on the same cores; the seconds are those of training and measuring,
and beside them those of the whole process. PyTorch has its fused AdamW, and a heap that keeps what was freed. Prints a
table, keeps JSON in benchmarks/results.

Source of the recipe and of the published loss: https://github.com/karpathy/nanoGPT, README.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from minidl.bench.referee import SAME_MINIDL, environment
from minidl.bench.report import between_markers, caption, keep, table
from minidl.cli.language import BETAS, EVALUATION_BATCH, RECIPE, prepare_text, rate_at
from minidl.models.gpt import initial_std

ROOT = Path(__file__).resolve().parent.parent
README, RESULTS = ROOT / "README.md", ROOT / "benchmarks" / "results" / "gpt.json"
PUBLISHED = 1.88
MINIDL = f"{SAME_MINIDL}; from minidl.cli import main; sys.exit(main(sys.argv[1:]))"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=1, help="the medians count")
    parser.add_argument("--steps", type=int, default=RECIPE["steps"], help="fewer, to see that it runs")
    parser.add_argument("--compile", action="store_true", help="torch.compile as well")
    parser.add_argument("--readme", action="store_true", help="write the table and a sample into README.md")
    parser.add_argument("--torch", choices=["eager", "compiled"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.torch:
        print(json.dumps(train_in_torch(options.steps, options.torch == "compiled")))
        return 0
    runs: dict[str, list[dict[str, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(options.rounds):
            run = Path(folder) / f"run-{number}"
            runs.setdefault("minidl", []).append(train_in_minidl(run, options.steps, options.threads))
            print(f"minidl: {said(runs['minidl'][-1])}", flush=True)
            for kind in ("eager", "compiled")[: 1 + options.compile]:
                name = "PyTorch" if kind == "eager" else "torch.compile"
                script = [str(Path(__file__).resolve()), "--torch", kind, "--steps", str(options.steps)]
                runs.setdefault(name, []).append(measured(script, options.threads))
                print(f"{name}: {said(runs[name][-1])}", flush=True)
        text, rate = sample(run, options.threads)
    found = {name: {key: statistics.median(r[key] for r in each) for key in each[0]} for name, each in runs.items()}
    shown = results_table(found, rate, options.threads)
    print(f"\n{shown}\n\n{text}")
    if options.steps != RECIPE["steps"]:
        return 0
    kept = {"threads": options.threads, "published": PUBLISHED, "median": found, "runs": runs}
    keep(RESULTS, {**kept, "sampled tokens a second": rate, "sample": text})
    if options.readme:
        between_markers(README, "gpt", f"{shown}\n\n```text\n{text}\n```\n\n{caption()}")
    return 0


def said(run: dict[str, float]) -> str:
    return f"validation loss {run['loss']:.4f} in {run['seconds']:.1f} s, the process {run['wall']:.1f} s"


def results_table(found: dict[str, dict[str, float]], rate: float, threads: int) -> str:
    """A row a library."""
    own = found["minidl"]
    rows = [
        [name, f"{each['loss']:.4f}", f"{each['seconds']:.1f} s", f"{each['seconds'] / own['seconds']:.2f}",
         f"{each['wall']:.1f} s", f"{each['wall'] / own['wall']:.2f}"]
        for name, each in found.items()
    ]  # fmt: skip
    head = [f"{threads} threads", "validation loss", "training", "of minidl's", "whole process", "of minidl's"]
    verdict = "reached" if own["loss"] <= PUBLISHED else f"missed by {own['loss'] - PUBLISHED:.3f}"
    return (
        f"{table(head, rows)}\n\nPublished: a validation loss of {PUBLISHED} (nanoGPT's README): {verdict}. Sampling:"
        f" {rate:,.0f} tokens a second."
    )


def process(arguments: list[str], threads: int) -> tuple[str, str, float]:
    """Standard output and error of a process on the first `threads` cores, and its seconds."""
    cores = sorted(os.sched_getaffinity(0))[:threads] if hasattr(os, "sched_getaffinity") else None
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, *arguments], env=environment(threads)[0], capture_output=True, text=True,
        preexec_fn=(lambda: os.sched_setaffinity(0, cores)) if cores else None,
    )  # fmt: skip
    seconds = time.perf_counter() - began
    if done.returncode:
        raise SystemExit(f"{' '.join(arguments[-6:])} ended with {done.returncode}: {done.stderr.strip()[-500:]}")
    return done.stdout, done.stderr, seconds


def measured(arguments: list[str], threads: int) -> dict[str, float]:
    output, _, wall = process(arguments, threads)
    return {**json.loads(output.strip().splitlines()[-1]), "wall": wall}


def train_in_minidl(run: Path, steps: int, threads: int) -> dict[str, float]:
    """The command line, as a user runs it."""
    command = ["train", "--data", "shakespeare", "--model", "gpt", "--steps", str(steps), "--threads", str(threads)]
    _, _, wall = process(["-c", MINIDL, *command, "--out", str(run)], threads)
    result = json.loads((run / "result.json").read_text())
    return {"loss": result["valid_loss"], "seconds": result["train_seconds"], "wall": wall}


def sample(run: Path, threads: int) -> tuple[str, float]:
    """A few lines, and how many tokens a second 5,000 of them take."""
    command = ["-c", MINIDL, "sample", str(run), "--prompt", "ROMEO:", "--temperature", "0.8", "--top-k", "40"]
    text, _, _ = process([*command, "--tokens", "400", "--threads", str(threads)], threads)
    _, told, _ = process([*command, "--tokens", "5000", "--threads", str(threads)], threads)
    found = re.search(r"([\d,.]+) a second", told)
    assert found, told
    return text.strip(), float(found[1].replace(",", ""))


# ------------------------------------------------------------------------------------------------------- PyTorch


def train_in_torch(steps: int, compiled: bool) -> dict[str, float]:
    """The same text, model, initial values' distribution, recipe and measurements; in a process of its own."""
    import torch
    from torch.nn import functional as F

    from minidl.bench.libraries.transformer import gpt

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    settings = {**RECIPE, "steps": steps, "warmup": min(RECIPE["warmup"], steps // 10)}
    parts = prepare_text(settings).parts
    torch.manual_seed(settings["seed"])
    train, valid = (torch.from_numpy(part.tokens.astype("int64")) for part in (parts.train, parts.valid))
    model = gpt({**settings, "vocab": parts.tokenizer.vocab})
    for name, p in model.named_parameters():
        if p.ndim == 2:
            torch.nn.init.normal_(p, 0.0, initial_std(name, settings["width"], settings["layers"]))
    every = list(model.parameters())
    groups = [
        {"params": [p for p in every if p.ndim >= 2], "weight_decay": settings["weight_decay"]},
        {"params": [p for p in every if p.ndim < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=settings["lr"], betas=BETAS, fused=True)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate_at(settings, step))

    def cost(x: Any, y: Any) -> Any:
        return F.cross_entropy(model(x).flatten(0, 1), y.flatten())

    forward = torch.compile(cost) if compiled else cost
    context, places = settings["context"], torch.arange(settings["context"] + 1)

    def measure() -> float:
        model.eval()
        count, total = (len(valid) - 1) // context, 0.0
        with torch.no_grad():
            for starts in (torch.arange(count) * context).split(EVALUATION_BATCH):
                windows = valid[starts[:, None] + places]
                total += cost(windows[:, :-1], windows[:, 1:]).item() * len(starts) * context
            rest = valid[count * context :][None]
            if rest.shape[1] > 1:
                total += cost(rest[:, :-1], rest[:, 1:]).item() * (rest.shape[1] - 1)
        model.train()
        return total / (len(valid) - 1)

    best, began = math.inf, time.perf_counter()
    for step in range(1, steps + 1):
        windows = train[torch.randint(len(train) - context, (settings["batch_size"], 1)) + places]
        loss = forward(windows[:, :-1], windows[:, 1:])
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(every, settings["clip"])
        optimizer.step()
        scheduler.step()
        assert math.isfinite(loss.item())
        if step % settings["eval_every"] == 0 or step == steps:
            best = min(best, measure())
            print(f"step {step}/{steps} validation {best:.4f}", file=sys.stderr, flush=True)
    return {"loss": best, "seconds": time.perf_counter() - began}


if __name__ == "__main__":
    sys.exit(main())
