"""The command line as a hasty and hostile user meets it."""

from __future__ import annotations

import csv
import gzip
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from minidl import serialization
from minidl.cli import main
from minidl.data import write_idx
from minidl.train import History

QUICK = ["--model", "mlp", "--hidden", "16", "--epochs", "2"]


@pytest.fixture(autouse=True)
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MINIDL_TRACEBACK", raising=False)
    root = str(Path(__file__).resolve().parent.parent)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")])))


def write_table(name: str, rows: list[list[object]], header: list[str] | None = None) -> str:
    with open(name, "w", newline="") as file:
        csv.writer(file).writerows([*([header] if header else []), *rows])
    return name


def flowers(count: int = 90) -> str:
    rng = np.random.default_rng(0)
    kinds = rng.integers(0, 3, count)
    rows = [
        [*np.round(rng.normal(size=2) + 4 * np.eye(3)[kind][:2], 3), ["rose", "tulip", "daisy"][kind]] for kind in kinds
    ]
    return write_table("flowers.csv", rows, ["height", "width", "kind"])


def houses(count: int = 120) -> str:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(count, 3))
    price = 250_000 + 40_000 * x[:, 0] - 25_000 * x[:, 1] + 500 * rng.normal(size=count)
    return write_table("houses.csv", np.column_stack([x, price]).round(3).tolist(), ["rooms", "age", "noise", "price"])


def fails(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 2) -> str:
    """The sentence on standard error of a command that must fail: one line, no traceback."""
    capsys.readouterr()
    assert main(arguments) == code
    printed = capsys.readouterr()
    sentence = printed.err.strip()
    assert sentence.count("\n") == 0 and "Traceback" not in sentence and sentence.startswith("minidl"), sentence
    return sentence


def test_train_with_no_argument(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train"]) == 0
    printed = capsys.readouterr().out
    run = next(Path("runs").iterdir())
    assert run.name == "digits-cnn-001"
    assert sorted(path.name for path in run.iterdir()) == [
        "checkpoint.safetensors", "config.json", "confusion.png", "curves.png", "history.csv", "model.safetensors",
        "result.json",
    ]  # fmt: skip
    result = json.loads((run / "result.json").read_text())
    assert result["test_accuracy"] >= 0.97
    assert f"test accuracy {100 * result['test_accuracy']:.2f} %" in printed and "validation" in printed
    assert (
        len(History.from_csv(run / "history.csv"))
        == json.loads((run / "config.json").read_text())["settings"]["epochs"]
    )
    for picture in ("curves.png", "confusion.png"):
        assert (run / picture).read_bytes().startswith(b"\x89PNG")


def test_train_eval_predict_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--data", flowers(), "--epochs", "30", "--out", "f"]) == 0
    trained = capsys.readouterr().out.strip().splitlines()[-2]
    assert main(["eval", "f"]) == 0
    evaluated = capsys.readouterr().out
    assert evaluated.splitlines()[-1] == trained and "daisy" in evaluated and "precision" in evaluated
    table = write_table("new.csv", [[4.1, 0.2], [-0.3, 4.4]], ["height", "width"])
    shuffled = write_table("shuffled.csv", [["x", 0.2, 4.1], ["y", 4.4, -0.3]], ["note", "width", "height"])
    assert main(["predict", "f", table, shuffled]) == 0
    rows = list(csv.reader(capsys.readouterr().out.splitlines()))
    assert rows[0] == ["input", "prediction", "probability"] and [row[1] for row in rows[1:]] == ["rose", "tulip"] * 2
    assert rows[1][1:] == rows[3][1:]
    assert 0.5 < float(rows[1][2]) <= 1


def test_regression_is_told_by_the_labels(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--data", houses(), "--model", "linear", "--lr", "0.05", "--epochs", "60", "--out", "h"]) == 0
    printed = capsys.readouterr().out
    assert "regression" in printed and not Path("h/confusion.png").exists() and Path("h/curves.png").exists()
    result = json.loads(Path("h/result.json").read_text())
    assert result["test_r2"] > 0.99 and result["test_mae"] < 3000  # in the label's own unit
    assert main(["predict", "h", write_table("new.csv", [[1, 0, 0]], ["rooms", "age", "noise"])]) == 0
    assert float(capsys.readouterr().out.splitlines()[1].split(",")[1]) == pytest.approx(290_000, rel=0.02)


def test_missing_values_need_a_word(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [[1.0, 2.0, "a"], ["", 1.0, "b"]] * 20
    table = write_table("gaps.csv", rows, ["x", "z", "kind"])
    assert "--missing drop, --missing mean or --missing median" in fails(capsys, "train", "--data", table, *QUICK)
    assert not Path("runs").exists()
    assert main(["train", "--data", table, "--missing", "median", *QUICK, "--out", "r"]) == 0
    assert main(["predict", "r", write_table("new.csv", [["", 2.0]], ["x", "z"])]) == 0


def test_an_idx_folder_and_pictures(capsys: pytest.CaptureFixture[str]) -> None:
    from PIL import Image

    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 120).astype(np.uint8)
    images = np.zeros((120, 12, 12), np.uint8)
    images[labels == 0, 2:10, 5:7] = 230  # an upright stroke
    images[labels == 1, 5:7, 2:10] = 230  # a lying one
    images += rng.integers(0, 20, images.shape).astype(np.uint8)
    Path("strokes").mkdir()
    write_idx("strokes/train-images-idx3-ubyte.gz", images)
    write_idx("strokes/train-labels-idx1-ubyte.gz", labels)
    assert main(["train", "--data", "strokes", "--epochs", "4", "--augment-shift", "1", "--out", "s"]) == 0
    assert json.loads(Path("s/result.json").read_text())["test_accuracy"] == 1
    paper = np.full((60, 40), 250, np.uint8)
    paper[10:50, 17:23] = 20  # dark on light, another size
    Image.fromarray(paper).save("upright.png")
    Image.fromarray(paper).rotate(90, expand=True).convert("RGB").save("lying.jpg")
    Image.fromarray(np.dstack([np.zeros((60, 40, 3), np.uint8), 255 - paper])).save("clear.png")  # ink on nothing
    capsys.readouterr()
    assert main(["predict", "s", "upright.png", "lying.jpg", "clear.png", "--quiet"]) == 0
    assert [line.split(",")[1] for line in capsys.readouterr().out.splitlines()] == ["0", "1", "0"]
    Path("no.png").write_bytes(b"not a picture")
    assert "no.png cannot be read as a picture" in fails(capsys, "predict", "s", "no.png")


@pytest.mark.parametrize(("arguments", "sentence"), [
    (["--epoch", "3"], "there is no option '--epoch'; did you mean --epochs?"),
    (["--learning-rate=3"], "there is no option '--learning-rate'"),
    (["digits"], "there is no argument 'digits'"),
    (["--model", "mpl"], "'mpl' is unknown; did you mean 'mlp'?"),
    (["--model", "transformer-xl"], "expected linear, mlp, cnn, lenet5, resnet or gpt"),
    (["--lr", "0"], "--lr: got '0', expected a number above 0"),
    (["--lr", "-1"], "--lr: got '-1', expected a number above 0"),
    (["--lr", "fast"], "--lr: got 'fast'"),
    (["--lr", "nan"], "--lr: got 'nan'"),
    (["--lr", "inf"], "--lr: got 'inf'"),
    (["--lr"], "--lr is without its value"),
    (["--epochs", "0"], "--epochs: got 0, expected a whole number of at least 1"),
    (["--epochs", "2.5"], "--epochs: got '2.5', expected a whole number"),
    (["--batch-size", "0"], "--batch-size: got 0"),
    (["--batch-size", "-5"], "--batch-size: got -5"),
    (["--seed", "-1"], "--seed: got -1"),
    (["--seed", "99999999999999999999"], "--seed: got 99999999999999999999"),
    (["--threads", "0"], "--threads: got 0"),
    (["--dropout", "1"], "--dropout: got '1', expected a number at least 0 and below 1"),
    (["--momentum", "0.9"], "--momentum is for sgd, and --optimizer is adam"),
    (["--momentum", "1.5", "--optimizer", "sgd"], "--momentum: got '1.5'"),
    (["--weight-decay", "-1"], "--weight-decay: got '-1'"),
    (["--hidden", "0", "--model", "mlp"], "--hidden: got 0"),
    (["--hidden", "a", "--model", "mlp"], "--hidden: got 'a'"),
    (["--hidden", "5", "--model", "linear"], "--hidden is for mlp and cnn"),
    (["--hidden", "5", "6", "--model", "cnn"], "one number"),
    (["--dropout", "0.1", "--model", "linear"], "--dropout is for mlp and cnn"),
    (["--activation", "tanh", "--model", "cnn"], "--activation is for mlp"),
    (["--label", "x"], "--label is for CSV files"),
    (["--model", "lenet5"], "needs grey images of 28x28, these are 1x8x8"),
    (["--data", "nowhere"], "--data nowhere is neither a file or folder that exists nor one of digits"),
    (["--data", "minst"], "--data minst is neither"),
    (["--data", "missing.csv"], "--data missing.csv is neither"),
    (["--data", ""], "is neither a file or folder"),
    (["--resume", "runs/none"], "there is no run folder runs/none"),
    (["--loss", "hinge"], "'hinge' is unknown"),
])  # fmt: skip
def test_wrong_options(capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str) -> None:
    assert sentence in fails(capsys, "train", *arguments)
    assert not list(Path().iterdir())


def test_wrong_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert "did you mean 'train'?" in fails(capsys, "trian")
    assert "expected train, eval, predict, " in fails(capsys, "xyzzy")
    assert "RUN" in fails(capsys, "eval")
    assert "IMAGE-OR-CSV" in fails(capsys, "predict", "r")
    with pytest.raises(SystemExit) as caught:
        main([])
    assert caught.value.code == 0 and "train" in capsys.readouterr().out


@pytest.mark.parametrize(("content", "sentence"), [
    ("a,b,kind\n1,2,x\n1,2\n", "line 3 has 2 fields and line 1 has 3"),
    ("a,b,kind\n1,two,x\n1,2,y\n", "line 2, column 2 ('b'): 'two' is not a number"),
    ("a,b,kind\n", "line 1"),
    ("", "is empty"),
    ("a,b,kind\n" + "1,inf,x\n" * 9, "infinite"),
    ("a,b,kind\n" + "1,2,x\n" * 9 + "1,2,\n", "line 11, column 3 ('kind'): the label is missing"),
    ("a,a,kind\n1,2,x\n", "two columns are called 'a'"),
    ("a,b,kind\n1,2,x\n1,2,y\n", "too few"),
    ("\x00\x01\x02", "not text"),
])  # fmt: skip
def test_wrong_tables(capsys: pytest.CaptureFixture[str], content: str, sentence: str) -> None:
    Path("t.csv").write_text(content)
    assert sentence in fails(capsys, "train", "--data", "t.csv", *QUICK)
    assert [path.name for path in Path().iterdir()] == ["t.csv"]


def test_options_that_do_not_suit_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    table = flowers()
    assert "--model cnn needs images" in fails(capsys, "train", "--data", table, "--model", "cnn")
    assert "--augment-shift is for images" in fails(capsys, "train", "--data", table, "--augment-shift", "1")
    assert "there is no column 'colour'" in fails(capsys, "train", "--data", table, "--label", "colour")
    assert "must be numbers" in fails(capsys, "train", "--data", table, "--task", "regression")
    assert "--loss cross-entropy is for classes" in fails(
        capsys, "train", "--data", houses(), "--loss", "cross-entropy"
    )
    assert not Path("runs").exists()


def test_damaged_idx_files(capsys: pytest.CaptureFixture[str]) -> None:
    folder = Path("images")
    folder.mkdir()
    assert "holds no IDX files" in fails(capsys, "train", "--data", "images")
    write_idx(folder / "train-images-idx3-ubyte", np.zeros((40, 8, 8), np.uint8))
    assert "are not; add them" in fails(capsys, "train", "--data", "images")
    write_idx(folder / "train-labels-idx1-ubyte", np.zeros(39, np.uint8))
    assert "40 examples and 39 targets" in fails(capsys, "train", "--data", "images")
    whole = (folder / "train-images-idx3-ubyte").read_bytes()
    (folder / "train-images-idx3-ubyte").write_bytes(whole[:-1])
    assert "cut short" in fails(capsys, "train", "--data", "images")
    (folder / "train-images-idx3-ubyte").write_bytes(gzip.compress(whole)[:-9])
    assert "cut short" in fails(capsys, "train", "--data", "images")
    assert not Path("runs").exists()


def test_a_run_folder_is_never_overwritten(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["train", *QUICK, "--quiet"]
    for number in (1, 2):
        assert main(arguments) == 0
        assert Path(f"runs/digits-mlp-00{number}/result.json").exists()
    before = Path("runs/digits-mlp-001/model.safetensors").read_bytes()
    assert "go on with it: minidl train --resume runs/digits-mlp-001" in fails(
        capsys, *arguments, "--out", "runs/digits-mlp-001"
    )
    Path("file").write_text("precious")
    assert "exists and is not an empty folder" in fails(capsys, *arguments, "--out", "file")
    Path("mine").mkdir()
    Path("mine/thesis.tex").write_text("precious")
    assert "choose another --out" in fails(capsys, *arguments, "--out", "mine")
    assert Path("file").read_text() == "precious" and [path.name for path in Path("mine").iterdir()] == ["thesis.tex"]
    assert Path("runs/digits-mlp-001/model.safetensors").read_bytes() == before
    Path("empty").mkdir()
    assert main([*arguments, "--out", "empty"]) == 0
    assert "cannot make the run folder" in fails(capsys, *arguments, "--out", "file/under")
    assert not [path for path in Path().rglob(".*.partial")]


def test_resume(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--data", "digits", "--model", "mlp", "--hidden", "16", "--epochs", "3", "--dropout", "0.1", "--quiet"]
    assert main(["train", *options, "--out", "whole"]) == 0
    assert "leave out --lr" in fails(capsys, "train", "--resume", "whole", "--lr", "0.1")
    assert main(["train", "--resume", "whole", "--quiet"]) == 0  # a finished run stays as it is
    whole = Path("whole/model.safetensors").read_bytes()

    config = json.loads(Path("whole/config.json").read_text())
    Path("begun").mkdir()  # killed before its first checkpoint
    Path("begun/config.json").write_text(json.dumps(config))
    Path("begun/.checkpoint.safetensors.123-4.partial").write_bytes(b"half")
    capsys.readouterr()
    assert main(["train", "--resume", "begun"]) == 0
    assert "before the first epoch was saved: it starts anew" in capsys.readouterr().out
    assert Path("begun/model.safetensors").read_bytes() == whole and not list(Path("begun").glob(".*"))

    config["data"]["fingerprint"] = "00000000"
    Path("begun/config.json").write_text(json.dumps(config))
    assert "the data of begun has changed" in fails(capsys, "train", "--resume", "begun")
    Path("begun/config.json").write_text("{")
    assert "cannot be read" in fails(capsys, "train", "--resume", "begun")
    Path("begun/config.json").unlink()
    assert "no config.json" in fails(capsys, "train", "--resume", "begun")


def test_damaged_runs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", *QUICK, "--quiet", "--out", "r"]) == 0
    model, checkpoint = Path("r/model.safetensors"), Path("r/checkpoint.safetensors")
    good = model.read_bytes()
    model.write_bytes(good[:-7])
    assert "no complete safetensors file" in fails(capsys, "eval", "r")
    model.write_bytes(good[:-7] + b"garbage")
    assert "its check sum is wrong" in fails(capsys, "predict", "r", __file__)
    model.unlink()
    assert "has not finished; go on with: minidl train --resume r" in fails(capsys, "eval", "r")
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    assert "no complete safetensors file" in fails(capsys, "train", "--resume", "r")
    assert main(["train", "--model", "mlp", "--hidden", "17", "--epochs", "1", "--quiet", "--out", "other"]) == 0
    checkpoint.write_bytes(Path("other/checkpoint.safetensors").read_bytes())
    assert "is a checkpoint of another model" in fails(capsys, "train", "--resume", "r")


def test_wrong_inputs_of_a_prediction(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--data", flowers(), "--epochs", "1", "--quiet", "--out", "f"]) == 0
    assert "there is no file none.csv" in fails(capsys, "predict", "f", "none.csv")
    assert "takes tables with 2 columns" in fails(capsys, "predict", "f", write_table("x.png", [[1]]))
    assert "has 3 columns, and this model takes 2 (height, width)" in fails(
        capsys, "predict", "f", write_table("w.csv", [[1, 2, 3]])
    )
    assert "is not a number" in fails(capsys, "predict", "f", write_table("v.csv", [[1, 2], [1, "x"]]))
    assert "no run folder" in fails(capsys, "predict", "nowhere", "v.csv")


def test_a_full_disk(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    count = iter(range(100))
    real = serialization.os.fsync

    def full(handle: int) -> None:
        if next(count) > 6:
            raise OSError(28, "No space left on device")
        real(handle)

    with monkeypatch.context() as patch:
        patch.setattr(serialization.os, "fsync", full)
        sentence = fails(capsys, "train", *QUICK, "--quiet", "--out", "r", code=1)
    assert "the disk is full; free some space" in sentence
    assert not list(Path("r").glob(".*"))
    assert main(["train", "--resume", "r", "--quiet"]) == 0


def test_a_diverging_run_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    sentence = fails(
        capsys, "train", "--data", houses(), "--optimizer", "sgd", "--lr", "1e9", "--quiet", "--out", "r", code=1
    )
    assert "the loss became" in sentence and "with a learning rate of 1e+09: try 1e+08" in sentence


def start(*arguments: str) -> subprocess.Popen[str]:
    """A run that Ctrl-C reaches: a shell's background jobs are started with the signal ignored, and hand that on."""
    return subprocess.Popen(
        [sys.executable, "-m", "minidl", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip


LONG = ["train", "--model", "mlp", "--hidden", "256", "--epochs", "5000"]


def test_ctrl_c_keeps_the_run() -> None:
    process = start(*LONG, "--out", "r")
    assert process.stdout is not None
    while not process.stdout.readline().startswith("epoch    3"):
        pass
    other = subprocess.run([sys.executable, "-m", "minidl", "train", "--resume", "r"], capture_output=True, text=True)
    assert other.returncode == 2 and "another process trains in r" in other.stderr
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in errors
    assert "interrupted; the run is kept up to epoch" in errors and "minidl train --resume r" in errors


def test_a_closed_pipe_is_quiet() -> None:
    done = subprocess.run(
        f"{sys.executable} -m minidl {' '.join(LONG)} --out r | head -n 6",
        shell=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "Traceback" not in done.stderr and "BrokenPipe" not in done.stderr, done.stderr


def test_killed_runs_resume_to_the_same_weights(tmp_path: Path) -> None:
    from kill_and_resume import trials

    _, found = trials(3, seed=1, folder=tmp_path)
    assert [one.note for one in found if not one.agrees] == []


def test_doctor(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    printed = capsys.readouterr().out
    for word in ("Python", "NumPy", "compiler", "threads", "GPU", "matplotlib"):
        assert word in printed or word == "threads" and "NumPy only" in printed


def test_version_and_module() -> None:
    done = subprocess.run([sys.executable, "-m", "minidl", "--version"], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith("minidl ")
