"""Text as numbers: one for each character, or one for each piece that byte-pair encoding has found."""

from __future__ import annotations

import codecs
import json
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..serialization import atomic_write
from .errors import DataError, DataNotFoundError

__all__ = ["BytePairTokenizer", "CharTokenizer", "Tokenizer", "load_tokenizer", "tokenizer_from_state"]

# A word with the blank before it, a run of signs, or blanks: no piece reaches across two of them (Radford et al. 2019,
# section 2.2, who forbid merges across kinds of characters).
WORDS = re.compile(r" ?\w+| ?[^\w\s]+|\s+")


class Tokenizer:
    """Text to token numbers, 0 to vocab - 1, and back."""

    kind: str
    vocab: int  # how many different tokens there are

    def encode(self, text: str) -> np.ndarray:
        """The tokens of a text, int64 (N,)."""
        raise NotImplementedError

    def decode(self, tokens: Iterable[int]) -> str:
        """The text of these tokens."""
        raise NotImplementedError

    def stream(self, tokens: Iterable[int]) -> Iterator[str]:
        """The text of these tokens, each piece as soon as its token is there."""
        return (self.decode([token]) for token in tokens)

    def state(self) -> dict[str, Any]:
        """What JSON can hold, and `tokenizer_from_state` makes the same tokenizer of."""
        raise NotImplementedError

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the state as JSON, replacing `path` in one step."""
        with atomic_write(path) as file:
            file.write((json.dumps(self.state(), ensure_ascii=False) + "\n").encode())

    def _checked(self, tokens: Iterable[int]) -> list[int]:
        numbers = [int(token) for token in tokens]
        for number in numbers:
            if not 0 <= number < self.vocab:
                raise DataError(f"decode: token {number} is out of range; expected 0 to {self.vocab - 1}")
        return numbers


class CharTokenizer(Tokenizer):
    """One token a character: its place among all different characters of a text, in their order in Unicode.

    Args:
        characters: those to know, such as a whole text; each counts once.

    Raises:
        DataError: there is none.
    """

    kind = "char"

    def __init__(self, characters: str) -> None:
        self.characters = "".join(sorted(set(characters)))
        if not self.characters:
            raise DataError("CharTokenizer: the text is empty; give one with at least one character")
        self.vocab = len(self.characters)
        self._codes = np.array([ord(c) for c in self.characters], np.uint32)

    def encode(self, text: str) -> np.ndarray:
        """The tokens of a text, int64 (N,). Raises DataError at the first character that is not known."""
        codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")
        found = np.minimum(np.searchsorted(self._codes, codes), self.vocab - 1)
        wrong = np.flatnonzero(self._codes[found] != codes)
        if wrong.size:
            place = int(wrong[0])
            raise DataError(
                f"encode: the character {text[place]!r} (number {place + 1}) is not one of the {self.vocab} that are"
                f" known, {_shown(self.characters)}; leave it out"
            )
        return found.astype(np.int64)

    def decode(self, tokens: Iterable[int]) -> str:
        return "".join(self.characters[token] for token in self._checked(tokens))

    def state(self) -> dict[str, Any]:
        return {"kind": self.kind, "characters": self.characters}


class BytePairTokenizer(Tokenizer):
    """Byte-pair encoding: tokens 0 to 255 are the bytes of UTF-8, and each further one a pair of earlier tokens.

    Encoding applies the merges in the order in which they were learned. Since every byte is a token, any text can be
    encoded, and comes back unchanged.

    Source: Sennrich, Haddow & Birch 2016, Neural machine translation of rare words with subword units, section 3.2 and
    algorithm 1; on bytes: Radford et al. 2019, section 2.2.

    Args:
        merges: pairs of tokens; number i becomes token 256 + i.

    Raises:
        DataError: a pair names a token that does not exist yet, or comes twice.
    """

    kind = "bpe"

    def __init__(self, merges: Iterable[Sequence[int]]) -> None:
        self.merges = [(int(a), int(b)) for a, b in merges]
        self.vocab = 256 + len(self.merges)
        self.bytes = [bytes([b]) for b in range(256)]  # of each token
        for number, (a, b) in enumerate(self.merges):
            if not (0 <= a < 256 + number and 0 <= b < 256 + number):
                raise DataError(f"BytePairTokenizer: merge {number} joins {a} and {b}; expected tokens made before it")
            self.bytes.append(self.bytes[a] + self.bytes[b])
        self._rank = {pair: rank for rank, pair in enumerate(self.merges)}
        if len(self._rank) < len(self.merges):
            raise DataError("BytePairTokenizer: a pair is merged twice; expected each once")
        self._known: dict[str, list[int]] = {}  # words encoded before

    @classmethod
    def train(cls, text: str, vocab: int) -> BytePairTokenizer:
        """Learn the merges from a text: while there are fewer than `vocab` tokens, the pair of neighbours that occurs
        most often becomes one (of equals, the one of the lowest numbers).

        Pairs are counted in words, each once with the number of times it occurs; after a merge, only the words that
        hold the pair are counted anew. A text that has no pair twice gives fewer tokens.

        Raises:
            DataError: the text is empty, or `vocab` below 256.
        """
        if vocab < 256:
            raise DataError(f"BytePairTokenizer: vocab is {vocab}; expected at least 256, one token for each byte")
        if not text:
            raise DataError("BytePairTokenizer: the text is empty; give one to learn from")
        occurs = Counter(WORDS.findall(text))
        words = [list(_bytes(word)) for word in occurs]
        times = list(occurs.values())
        count: Counter[tuple[int, int]] = Counter()
        where: defaultdict[tuple[int, int], set[int]] = defaultdict(set)
        for number, word in enumerate(words):
            for pair in zip(word, word[1:], strict=False):
                count[pair] += times[number]
                where[pair].add(number)

        merges: list[tuple[int, int]] = []
        while 256 + len(merges) < vocab and count:
            best = min(count, key=lambda pair: (-count[pair], pair))
            if count[best] < 2:
                break
            for number in where.pop(best):
                word = words[number]
                for pair in zip(word, word[1:], strict=False):
                    count[pair] -= times[number]
                    if not count[pair]:
                        del count[pair]
                words[number] = word = merged(word, best, 256 + len(merges))
                for pair in zip(word, word[1:], strict=False):
                    count[pair] += times[number]
                    where[pair].add(number)
            merges.append(best)
        return cls(merges)

    def encode(self, text: str) -> np.ndarray:
        tokens: list[int] = []
        for word in WORDS.findall(text):
            if word not in self._known:
                self._known[word] = self._encode_word(word)
            tokens += self._known[word]
        return np.array(tokens, np.int64)

    def _encode_word(self, word: str) -> list[int]:
        """Bytes, then the earliest learned of its pairs is merged, until none is left."""
        tokens = list(_bytes(word))
        while len(tokens) > 1:
            best = min(zip(tokens, tokens[1:], strict=False), key=lambda pair: self._rank.get(pair, self.vocab))
            if best not in self._rank:
                break
            tokens = merged(tokens, best, 256 + self._rank[best])
        return tokens

    def decode(self, tokens: Iterable[int]) -> str:
        """The text of these tokens; bytes that are no character, as in a text cut within one, become �."""
        joined = b"".join(self.bytes[token] for token in self._checked(tokens))
        return joined.decode("utf-8", "surrogatepass" if _whole(joined) else "replace")

    def stream(self, tokens: Iterable[int]) -> Iterator[str]:
        """The text of these tokens; a character waits for the last of its bytes."""
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        for token in tokens:
            yield decoder.decode(self.bytes[self._checked([token])[0]])
        yield decoder.decode(b"", final=True)

    def state(self) -> dict[str, Any]:
        return {"kind": self.kind, "merges": [list(pair) for pair in self.merges]}


def merged(tokens: Sequence[int], pair: tuple[int, int], new: int) -> list[int]:
    """The tokens with each occurrence of the pair, from the left, replaced by `new`."""
    result: list[int] = []
    place, last = 0, len(tokens) - 1
    while place <= last:
        if place < last and tokens[place] == pair[0] and tokens[place + 1] == pair[1]:
            result.append(new)
            place += 2
        else:
            result.append(tokens[place])
            place += 1
    return result


def tokenizer_from_state(state: dict[str, Any]) -> Tokenizer:
    """What `state` describes. Raises DataError where it is none."""
    try:
        if state["kind"] == "char":
            return CharTokenizer(state["characters"])
        if state["kind"] == "bpe":
            return BytePairTokenizer(state["merges"])
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"tokenizer: the state cannot be read ({error}); save it again with tokenizer.save") from None
    raise DataError(f"tokenizer: there is no kind {state['kind']!r}; expected char or bpe")


def load_tokenizer(path: str | os.PathLike[str]) -> Tokenizer:
    """Read what `save` wrote. Raises DataNotFoundError and DataError."""
    try:
        state = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataNotFoundError(f"{path}: there is no such file; tokenizer.save writes one") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: no tokenizer can be read from it ({error}); save it again") from None
    return tokenizer_from_state(state)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _whole(joined: bytes) -> bool:
    try:
        joined.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return False
    return True


def _shown(characters: str, most: int = 80) -> str:
    return repr(characters) if len(characters) <= most else f"{characters[:most]!r} and more"
