"""Random numbers: the published answers of Philox4x32-10, and one stream on every backend."""

from __future__ import annotations

import numpy as np
import pytest

import minidl
from minidl import kernels

# counter (4 words), key (2 words), answer: the lines `philox4x32 10` of kat_vectors in the Random123 distribution
KNOWN_ANSWERS = [
    "00000000 00000000 00000000 00000000 00000000 00000000 6627e8d5 e169c58d bc57ac4c 9b00dbd8",
    "ffffffff ffffffff ffffffff ffffffff ffffffff ffffffff 408f276d 41c83b0e a20bc7c6 6d5451fd",
    "243f6a88 85a308d3 13198a2e 03707344 a4093822 299f31d0 d16cfe09 94fdcceb 5001e420 24126ea1",
]


def philox_block(counter: list[int], key: list[int]) -> list[int]:
    """One block of four words, in plain integers (Salmon et al. 2011, section 3.3)."""
    a, b, c, d = counter
    k0, k1 = key
    for _ in range(10):
        high0, low0 = divmod(0xD2511F53 * a, 2**32)
        high1, low1 = divmod(0xCD9E8D57 * c, 2**32)
        a, b, c, d = high1 ^ b ^ k0, low1, high0 ^ d ^ k1, low0
        k0, k1 = (k0 + 0x9E3779B9) % 2**32, (k1 + 0xBB67AE85) % 2**32
    return [a, b, c, d]


def words_of(number: int, count: int) -> list[int]:
    return [number >> 32 * i & 0xFFFFFFFF for i in range(count)]


def backends() -> list[str]:
    return ["reference", "native"]


def verbs(name: str):  # type: ignore[no-untyped-def]
    if name == "native" and not kernels.native.compiled:
        pytest.skip("the native kernels are not built")
    with minidl.backend(name):
        return kernels.active()


@pytest.mark.parametrize("line", KNOWN_ANSWERS)
def test_published_answers(line: str) -> None:
    words = [int(word, 16) for word in line.split()]
    assert philox_block(words[:4], words[4:6]) == words[6:]


@pytest.mark.parametrize("backend", backends())
@pytest.mark.parametrize(
    ("seed", "offset"),
    [(0, 0), (0, 3), (1, 4), (2**64 - 1, 5), (0x299F31D0A4093822, 4 * (2**32 - 1) + 2), (7, 2**40 + 1), (7, 2**60)],
)
def test_a_stream_is_its_blocks_in_a_row(backend: str, seed: int, offset: int) -> None:
    count = 23
    blocks = range(offset // 4, (offset + count) // 4 + 1)
    stream = [word for block in blocks for word in philox_block(words_of(block, 4), words_of(seed, 2))]
    expected = np.array(stream[offset % 4 : offset % 4 + count], np.uint32)
    got = verbs(backend).philox(seed, offset, count)
    assert got.dtype == np.uint32
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("draw", [minidl.rand, minidl.randn])
@pytest.mark.parametrize("dtype", [minidl.float32, minidl.float64])
def test_same_numbers_on_every_backend(draw, dtype) -> None:  # type: ignore[no-untyped-def]
    verbs("native")
    numbers = {}
    for backend in backends():
        minidl.manual_seed(5)
        with minidl.backend(backend):
            numbers[backend] = [draw(n, dtype=dtype).numpy() for n in (1, 2, 1001)]
    for reference, native in zip(*numbers.values(), strict=True):
        np.testing.assert_allclose(native, reference, rtol=1e-6 if dtype == minidl.float32 else 1e-13, atol=1e-13)


def test_the_state_is_seed_and_offset_and_resumes() -> None:
    generator = minidl.Generator().manual_seed(11)
    minidl.rand(5, generator=generator)
    state = generator.get_state()
    assert state[0] == 11 and state[1] >= 5 and all(isinstance(part, int) for part in state)
    later = minidl.randn(7, generator=generator)
    generator.set_state(state)
    np.testing.assert_array_equal(minidl.randn(7, generator=generator).numpy(), later.numpy())


def test_moments() -> None:
    minidl.manual_seed(0)
    uniform, normal = minidl.rand(200_000).double().numpy(), minidl.randn(200_000).double().numpy()
    assert 0 <= uniform.min() and uniform.max() < 1
    assert abs(uniform.mean() - 0.5) < 3e-3 and abs(uniform.var() - 1 / 12) < 1e-3
    assert abs(normal.mean()) < 0.01 and abs(normal.var() - 1) < 0.02 and abs((normal**4).mean() - 3) < 0.1
    assert sorted(minidl.randperm(100).tolist()) == list(range(100))
    drawn = minidl.randint(-3, 4, (10_000,)).numpy()
    assert set(drawn) == set(range(-3, 4)) and abs(drawn.mean()) < 0.1
