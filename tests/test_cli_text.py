"""minidl train and minidl sample on texts, as a hasty and hostile user meets them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import minidl
from minidl import cli
from minidl.cli import language
from minidl.train import History

TEXT = "".join(f"{n} green bottles hanging on the wall,\nand if one green bottle should fall:\n" for n in range(60))
TINY = ["--context", "8", "--width", "16", "--heads", "2", "--layers", "1", "--batch-size", "4"]
TINY += ["--steps", "20", "--eval-every", "8", "--lr", "0.01"]


@pytest.fixture(autouse=True)
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MINIDL_TRACEBACK", raising=False)
    Path("song.txt").write_text(TEXT)


def fails(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one sentence of a command that must be refused, and no run folder that it leaves behind."""
    before = sorted(Path().rglob("*"))
    capsys.readouterr()
    assert cli.main(arguments) == 2
    sentence = capsys.readouterr().err.strip()
    assert sentence.count("\n") == 0 and sentence.startswith("minidl"), sentence
    assert sorted(Path().rglob("*")) == before
    return sentence


def train(*more: str) -> int:
    return cli.main(["train", "--data", "song.txt", "--model", "gpt", *TINY, *more])


def test_train_eval_and_sample_a_text(capsys: pytest.CaptureFixture[str]) -> None:
    assert train() == 0
    run, printed = Path("runs/song-gpt-001"), capsys.readouterr().out
    assert sorted(path.name for path in run.iterdir()) == [
        "checkpoint.safetensors", "config.json", "curves.png", "history.csv", "model.safetensors", "result.json",
    ]  # fmt: skip
    history, result = History.from_csv(run / "history.csv"), json.loads((run / "result.json").read_text())
    assert history.column("step") == [8, 16, 20] and history[-1]["train_loss"] < history[0]["train_loss"]
    assert result["valid_tokens"] == len(TEXT) - int(0.9 * len(TEXT)) - 1
    assert result["valid_loss"] == min(history.column("valid_loss"))
    assert "step 16/20" in printed and f"validation loss {result['valid_loss']:.4f}" in printed
    assert cli.main(["eval", str(run)]) == 0
    assert f"validation loss {result['valid_loss']:.4f}" in capsys.readouterr().out

    def sample(*more: str) -> str:
        assert cli.main(["sample", str(run), "--tokens", "30", *more]) == 0
        return capsys.readouterr().out

    text = sample("--prompt", "green ", "--seed", "3")
    assert text.startswith("green ") and len(text) == 6 + 30 + 1 and set(text) <= set(TEXT)
    assert text == sample("--prompt", "green ", "--seed", "3") != sample("--prompt", "green ", "--seed", "4")
    assert text == sample("--prompt", "green ", "--seed", "3", "--threads", "3")
    greedy = [sample("--temperature", "0", "--seed", str(seed)) for seed in (1, 2)]
    assert greedy[0] == greedy[1] == sample("--top-k", "1") and greedy[0].startswith("\n")


def test_byte_pairs(capsys: pytest.CaptureFixture[str]) -> None:
    assert train("--tokenizer", "bpe", "--vocab", "300", "--out", "b") == 0
    result = json.loads(Path("b/result.json").read_text())
    assert result["valid_tokens"] < 0.5 * 0.1 * len(TEXT)
    assert "different byte pairs" in capsys.readouterr().out
    assert cli.main(["sample", "b", "--prompt", "größer 🙂", "--tokens", "5", "--quiet"]) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith("größer 🙂") and printed.err == ""


def test_the_same_seed_gives_the_same_weights_on_any_number_of_threads() -> None:
    for out, *more in (("a", "--threads", "1"), ("b", "--threads", "3"), ("c", "--threads", "8"), ("d", "--seed", "1")):
        assert train("--out", out, "--quiet", "--dropout", "0.1", *more) == 0
    a, b, c, d = (Path(out, "model.safetensors").read_bytes() for out in "abcd")
    if minidl.backend() == "native":
        assert a == b == c
    assert a != d


@pytest.mark.parametrize("after", [1, 2])
def test_an_interrupted_run_ends_in_the_same_weights(
    after: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train("--out", "whole", "--quiet", "--dropout", "0.1") == 0
    told = language.Rounds.epoch_begins

    def interrupt(self: language.Rounds, run) -> None:
        told(self, run)
        if run.epoch > after:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(language.Rounds, "epoch_begins", interrupt)
        assert train("--out", "cut", "--quiet", "--dropout", "0.1") == 130
    assert f"kept up to step {8 * after}; go on with: minidl train --resume cut" in capsys.readouterr().err
    assert "has not finished" in fails(capsys, "sample", "cut")
    assert cli.main(["train", "--resume", "cut"]) == 0
    assert f"resumed  after step {8 * after}" in capsys.readouterr().out
    assert Path("cut/model.safetensors").read_bytes() == Path("whole/model.safetensors").read_bytes()
    steps = [History.from_csv(Path(run, "history.csv")).column("step") for run in ("cut", "whole")]
    assert steps == [[8, 16, 20]] * 2


def test_the_recipe_is_nanogpts() -> None:
    settings = language.settle_language({"data": "shakespeare"})
    assert {name: settings[name] for name in ("context", "width", "heads", "layers", "steps", "batch_size")} == {
        "context": 64, "width": 128, "heads": 4, "layers": 4, "steps": 2000, "batch_size": 12,
    }  # fmt: skip
    assert (settings["lr"], settings["weight_decay"], settings["clip"], settings["dropout"]) == (1e-3, 0.1, 1.0, 0.0)
    rates = [1e-3 * language.rate_at(settings, step) for step in (0, 49, 99, 100, 1050, 1999, 2000, 2500)]
    assert rates == pytest.approx([1e-3 / 101, 50e-3 / 101, 100e-3 / 101, 1e-3, 5.5e-4, 1e-4, 1e-4, 1e-4], rel=1e-3)
    assert max(language.rate_at(settings, step) for step in range(2000)) == 1.0


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--data", "none.txt", "--model", "gpt"], "neither shakespeare nor a text file that exists"),
        (["--model", "gpt", "--data", "."], "neither shakespeare nor a text file that exists"),
        (["--model", "cnn", "--data", "shakespeare"], "shakespeare is a text, and --model cnn needs tables or images"),
        (["--data", "song.txt", "--model", "gpt", "--epochs", "3"], "--epochs is not for --model gpt"),
        (["--data", "song.txt", "--model", "gpt", "--hidden", "3"], "--hidden is not for --model gpt"),
        (["--data", "song.txt", "--model", "gpt", "--width", "130"], "--width 130 is no multiple of --heads 4"),
        (["--data", "song.txt", "--model", "gpt", "--vocab", "300"], "--vocab is for --tokenizer bpe"),
        (["--data", "song.txt", "--model", "gpt", "--warmup", "9", "--steps", "9"], "--warmup 9 leaves nothing"),
        (["--data", "song.txt", "--model", "gpt", "--context", "9999"], "too few for a context of 9999"),
        (["--data", "song.txt", "--model", "gpt", "--tokenizer", "word"], "'word' is unknown"),
        (["--data", "digits", "--layers", "3"], "--layers is for --model gpt, and --model is cnn"),
        (["--data", "empty.txt", "--model", "gpt"], "the text is empty"),
        (["--data", "picture.png", "--model", "gpt"], "not UTF-8 text"),
    ],
)
def test_what_is_no_run_on_a_text(arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("empty.txt").write_text("")
    Path("picture.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0")
    assert sentence in fails(capsys, "train", *arguments)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> str:
    assert train("--out", "r", "--quiet") == 0
    return "r"


def test_what_cannot_be_sampled(run: str, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, sentence in (
        (["--prompt", "ROMEO:"], "--prompt: the character 'R' (number 1) is not one of the"),
        (["--prompt", ""], "--prompt is empty"),
        (["--top-k", "500"], "--top-k 500 is more than the"),
        (["--top-k", "0"], "--top-k: got 0, expected a whole number of at least 1"),
        (["--temperature", "-1"], "--temperature: got '-1', expected a number at least 0"),
        (["--temperature", "nan"], "--temperature: got 'nan'"),
        (["--tokens", "0"], "--tokens: got 0"),
        (["--seed", "-1"], "--seed: got -1"),
    ):
        assert sentence in fails(capsys, "sample", run, *arguments)
    assert "there is no run folder none" in fails(capsys, "sample", "none")
    assert "is a language model; use minidl sample r" in fails(capsys, "predict", run, "song.txt")
    assert cli.main(["train", "--model", "linear", "--epochs", "1", "--out", "digits", "--quiet"]) == 0
    assert "digits is no language model but a linear" in fails(capsys, "sample", "digits")


def test_a_text_that_changes_is_noticed(run: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("song.txt").write_text(TEXT.replace("green", "brown"))
    assert "has changed since the run" in fails(capsys, "eval", run)
    assert "has changed since the run began" in fails(capsys, "train", "--resume", run)
