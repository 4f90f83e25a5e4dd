"""Texts: tokenizers that give back every text, windows that predict each token once, sentences for what is no text."""

from __future__ import annotations

import gzip
import json
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minidl
from minidl import data
from minidl.data import BytePairTokenizer, CharTokenizer, DataError, RandomWindows, TextData, Windows, published
from minidl.data.tokenizers import merged

TEXT = "the cat sat on the mat; the cat ate the rat.\n" * 40 + "Über Ærø: 漢字 🙂\n"
PAIRS = BytePairTokenizer.train(TEXT, 300)


# ------------------------------------------------------------------------------------------------- tokenizers


def test_characters_are_numbered_in_their_order() -> None:
    tokenizer = CharTokenizer("banana\n")
    assert tokenizer.characters == "\nabn" and tokenizer.vocab == 4
    assert tokenizer.encode("nab").tolist() == [3, 1, 2] and tokenizer.decode([3, 1, 2]) == "nab"
    assert tokenizer.encode("").shape == (0,) and tokenizer.decode([]) == ""
    everything = CharTokenizer(TEXT)
    assert everything.decode(everything.encode(TEXT)) == TEXT


def test_the_first_merges_of_the_paper() -> None:
    """The words of Sennrich et al. 2016, figure 1, without the sign for a word's end."""
    words = ["low"] * 5 + ["lowest"] * 2 + ["newer"] * 6 + ["wider"] * 3
    tokenizer = BytePairTokenizer.train(";".join(words), 260)
    assert tokenizer.bytes[256:] == [b"er", b"lo", b"low", b"ew"]
    assert [tokenizer.bytes[t] for t in tokenizer.encode("lower")] == [b"low", b"er"]


def test_each_merge_is_the_most_frequent_pair_of_its_moment() -> None:
    words = Counter(data.tokenizers.WORDS.findall(TEXT))
    pieces = {word: list(word.encode()) for word in words}
    for number, pair in enumerate(PAIRS.merges):
        count: Counter[tuple[int, int]] = Counter()
        for word, tokens in pieces.items():
            for each in zip(tokens, tokens[1:], strict=False):
                count[each] += words[word]
        assert pair == min(count, key=lambda each: (-count[each], each))
        pieces = {word: merged(tokens, pair, 256 + number) for word, tokens in pieces.items()}
    for word, tokens in pieces.items():
        assert PAIRS.encode(word).tolist() == tokens


@given(st.text())
def test_every_text_comes_back_from_byte_pairs(text: str) -> None:
    tokens = PAIRS.encode(text)
    assert PAIRS.decode(tokens) == text and tokens.dtype == np.int64


def test_byte_pairs_are_shorter_and_stop_where_nothing_repeats() -> None:
    assert len(PAIRS.encode(TEXT)) < len(TEXT) / 2
    assert BytePairTokenizer.train("ab cd ef", 1000).merges == []
    assert BytePairTokenizer.train("aaaa aaaa", 1000).bytes[256:] == [b"aa", b"aaaa"]
    assert BytePairTokenizer([]).decode([0xC3]) == "\N{REPLACEMENT CHARACTER}"


@pytest.mark.parametrize("tokenizer", [CharTokenizer(TEXT), PAIRS], ids=["char", "bpe"])
def test_tokenizers_are_kept_as_json(tokenizer: data.Tokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path / "tokenizer.json")
    json.loads((tmp_path / "tokenizer.json").read_text(encoding="utf-8"))
    back = data.load_tokenizer(tmp_path / "tokenizer.json")
    assert type(back) is type(tokenizer) and back.vocab == tokenizer.vocab
    assert back.encode(TEXT).tolist() == tokenizer.encode(TEXT).tolist()


def test_what_a_tokenizer_cannot_do_is_said(tmp_path: Path) -> None:
    tokenizer = CharTokenizer("abc")
    with pytest.raises(DataError, match=r"the character 'd' \(number 3\) is not one of the 3 that are known, 'abc'"):
        tokenizer.encode("bad")
    for bad in ([3], [-1]):
        with pytest.raises(DataError, match="out of range; expected 0 to 2"):
            tokenizer.decode(bad)
    with pytest.raises(DataError, match="the text is empty"):
        CharTokenizer("")
    with pytest.raises(DataError, match="vocab is 255; expected at least 256"):
        BytePairTokenizer.train("abc", 255)
    with pytest.raises(DataError, match="the text is empty"):
        BytePairTokenizer.train("", 300)
    with pytest.raises(DataError, match="merge 0 joins 1 and 256"):
        BytePairTokenizer([(1, 256)])
    with pytest.raises(DataError, match="merged twice"):
        BytePairTokenizer([(1, 2), (1, 2)])
    with pytest.raises(DataError, match="no such file"):
        data.load_tokenizer(tmp_path / "none.json")
    for content, sentence in (("{", "no tokenizer can be read"), ('{"kind": "word"}', "no kind 'word'"),
                              ('{"kind": "bpe"}', "the state cannot be read"), ("[]", "the state cannot be read"),
                              ('{"kind": "bpe", "merges": [[1]]}', "the state cannot be read")):  # fmt: skip
        (tmp_path / "bad.json").write_text(content)
        with pytest.raises(DataError, match=sentence):
            data.load_tokenizer(tmp_path / "bad.json")


# ---------------------------------------------------------------------------------------------------- windows


def test_a_window_and_what_comes_after_each_token() -> None:
    windows = TextData(np.arange(10), 4)
    assert len(windows) == 6
    x, y = windows[-1]
    assert x.tolist() == [5, 6, 7, 8] and y.tolist() == [6, 7, 8, 9] and x.dtype == minidl.int64
    batch, after = windows.gather(np.array([0, 3]))
    assert batch.tolist() == [[0, 1, 2, 3], [3, 4, 5, 6]] and after.tolist() == [[1, 2, 3, 4], [4, 5, 6, 7]]
    with pytest.raises(IndexError, match="index 6 is out of range for 6 windows"):
        windows[6]
    assert len(TextData(np.arange(5), 4)) == 1
    assert TextData(np.array([0, 70_000]), 1)[0][1].tolist() == [70_000]


@pytest.mark.parametrize(("count", "context", "batch"), [(10, 4, 2), (9, 4, 2), (30, 7, 3), (5, 4, 8), (11, 1, 4)])
def test_side_by_side_windows_predict_each_token_once(count: int, context: int, batch: int) -> None:
    loader = Windows(TextData(np.arange(count), context), batch)
    batches = [(x.numpy(), y.numpy()) for x, y in loader]
    assert len(batches) == len(loader) and all(len(x) <= batch for x, _ in batches)
    assert np.concatenate([y.ravel() for _, y in batches]).tolist() == list(range(1, count))
    assert all((x + 1 == y).all() for x, y in batches)


def test_random_windows_follow_the_generator_alone() -> None:
    windows = TextData(np.arange(100), 5)
    generator = minidl.Generator().manual_seed(3)
    loader = RandomWindows(windows, 4, 3, generator)
    first, state, second = list(loader), generator.get_state(), list(loader)
    assert len(first) == len(loader) == 3 and first[0][0].shape == (4, 5)
    assert first[0][0].tolist() != second[0][0].tolist()
    generator.set_state(state)
    assert [x.tolist() for x, _ in loader] == [x.tolist() for x, _ in second]
    starts = [x[0].item() for _ in range(300) for batch, _ in [next(iter(loader))] for x in batch]
    assert min(starts) == 0 and max(starts) == 94, "the first and the last window are drawn too"


@pytest.mark.parametrize("make", [lambda d: RandomWindows(d, 0, 1), lambda d: RandomWindows(d, 1, 0),
                                  lambda d: Windows(d, 0)])  # fmt: skip
def test_loaders_refuse_nothing(make) -> None:
    with pytest.raises(ValueError, match="expected at least 1"):
        make(TextData(np.arange(10), 4))


# ------------------------------------------------------------------------------------------- texts from outside


def test_a_text_is_cut_as_nanogpt_does() -> None:
    parts = data.split_text(TEXT, 8, name="cats")
    cut = int(len(TEXT) * 0.9)
    assert parts.tokenizer.decode(parts.train.tokens) == TEXT[:cut]
    assert parts.tokenizer.decode(parts.valid.tokens) == TEXT[cut:]
    pairs = data.split_text(TEXT, 8, "bpe", 265)
    assert pairs.tokenizer.vocab == 265 and pairs.tokenizer.decode(pairs.valid.tokens) == TEXT[cut:]
    assert pairs.tokenizer.state() == BytePairTokenizer.train(TEXT[:cut], 265).state(), "learned from the training part"


def test_files_of_text(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xef\xbb\xbfone\r\ntwo\rthree\n")
    assert data.read_text(path) == "one\ntwo\nthree\n"
    path.write_bytes(gzip.compress("größer".encode()))
    assert data.load_text(path) == "größer"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "the text is empty"),
        (b" \n\n ", "the text is empty"),
        (b"\x89PNG\r\n\x1a\n\0\0", r"not UTF-8 text \(byte 0\)"),
        (b"abc\0def", "holds zero bytes"),
        (b"caf\xe9", r"not UTF-8 text \(byte 3\)"),
        (b"\x1f\x8b\x08broken", "gzip file is"),
    ],
)
def test_what_is_no_text_is_refused(content: bytes, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.txt"
    path.write_bytes(content)
    with pytest.raises(DataError, match=sentence):
        data.load_text(path)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("", 4), "the text is empty"),
        (("abcdefgh", 4), "8: 7 tokens|1 tokens are too few for a context of 4"),
        (("a" * 100, 0), "context is 0"),
        (("a" * 100, 4, "word"), "no tokenizer 'word'; expected char or bpe"),
        (("a" * 100, 4, "bpe", 100), "vocab is 100; expected at least 256"),
        (("a" * 100, 4, "char", 512, 1.0), "valid is 1"),
    ],
)
def test_texts_that_cannot_be_split(arguments: tuple, sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        data.split_text(*arguments)


def test_an_unknown_text_is_named(tmp_path: Path) -> None:
    with pytest.raises(data.DataNotFoundError, match="neither 'shakespeare' nor a file that exists"):
        data.load_text(tmp_path / "none.txt")


def test_shakespeare_is_known_by_its_checksum(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "tinyshakespeare"
    folder.mkdir()
    (folder / "input.txt").write_text("To be")
    monkeypatch.setenv("MINIDL_DATA", str(tmp_path))
    with pytest.raises(DataError, match="its checksum is .*; replace it by the original, or unset MINIDL_DATA"):
        data.load_text("shakespeare")


@pytest.mark.skipif(
    not (Path(os.environ.get("MINIDL_DATA", "none")) / published.SHAKESPEARE.folder).is_dir(),
    reason="Shakespeare's plays are not in MINIDL_DATA",
)
def test_shakespeare() -> None:
    text = data.load_text("Shakespeare")
    parts = data.split_text(text, 64, name="shakespeare")
    assert len(text) == 1_115_394 and text.startswith("First Citizen:\n")
    assert (parts.tokenizer.vocab, len(parts.train.tokens), len(parts.valid.tokens)) == (65, 1_003_854, 111_540)
