"""The batch path: its formula pixel by pixel, the compiled loop bit by bit, and data sets in memory."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minidl
from minidl import data
from minidl.data import ArrayData, DataError, batches, take_images

COMPILED = pytest.mark.skipif(batches._batch is None, reason="the Cython extension minidl._batch was not built")


def by_formula(x, index, offset, gain, dtype, dy, dx, flip):
    """The docstring's formula, one pixel at a time."""
    _, channels, height, width = x.shape
    y = np.empty((len(index), channels, height, width), dtype)
    offset, gain = offset.astype(dtype), gain.astype(dtype)
    for b, c, p, q in np.ndindex(y.shape):
        r = p - (0 if dy is None else dy[b])
        s = (width - 1 - q if flip is not None and flip[b] else q) - (0 if dx is None else dx[b])
        inside = 0 <= r < height and 0 <= s < width
        value = dtype(x[index[b], c, r, s]) if inside else dtype(0)
        y[b, c, p, q] = (value - offset[c]) * gain[c]
    return y


@st.composite
def cases(draw):
    n, c, h, w, b = (draw(st.integers(low, high)) for low, high in ((1, 4), (1, 3), (1, 6), (1, 6), (0, 5)))
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    x = rng.integers(0, 256, (n, c, h, w)).astype(draw(st.sampled_from([np.uint8, np.float32, np.float64])))
    moves = [rng.integers(-7, 8, b) if draw(st.booleans()) else None for _ in range(2)]
    flip = rng.integers(0, 2, b).astype(bool) if draw(st.booleans()) else None
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    return x, rng.integers(0, n, b), rng.normal(size=c) * 50, rng.normal(size=c), dtype, *moves, flip


@settings(max_examples=150, deadline=None, derandomize=True)
@given(case=cases())
def test_reference_is_the_formula(case):
    x, index, offset, gain, dtype, *moves = case
    found = batches.reference(x, index, offset.astype(dtype), gain.astype(dtype), *moves)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, by_formula(*case))


@COMPILED
@settings(max_examples=200, deadline=None, derandomize=True)
@given(case=cases())
def test_compiled_is_the_reference_bit_by_bit(case):
    x, index, offset, gain, dtype, *moves = case
    found = take_images(x, index, offset, gain, dtype, *moves)
    expected = batches.reference(x, index, offset.astype(dtype), gain.astype(dtype), *moves)
    assert found.dtype == dtype and found.flags.c_contiguous and expected.flags.c_contiguous
    np.testing.assert_array_equal(found.view(np.uint8), expected.view(np.uint8))


@COMPILED
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (1, 73, 17), (1, 1, 1)])
def test_compiled_is_the_reference_at_real_sizes(shape):
    rng = np.random.default_rng(1)
    x = rng.integers(0, 256, (200, *shape)).astype(np.uint8)
    x.setflags(write=False)
    index = rng.integers(0, 200, 64)
    offset, gain = rng.normal(size=shape[0]) * 99, rng.normal(size=shape[0])
    dy, dx = rng.integers(-3, 4, (2, 64))
    flip = rng.integers(0, 2, 64).astype(bool)
    for moves in ((None, None, None), (dy, dx, None), (dy, dx, flip), (None, None, flip), (None, dx, None)):
        found = take_images(x, index, offset, gain, np.float32, *moves)
        expected = batches.reference(x, index, offset.astype(np.float32), gain.astype(np.float32), *moves)
        np.testing.assert_array_equal(found.view(np.uint32), expected.view(np.uint32))


@pytest.mark.parametrize("compiled", [pytest.param(True, marks=COMPILED), False])
@pytest.mark.parametrize("index", [[3], [-1], [0, 2**62]])
def test_an_index_out_of_range_is_refused(monkeypatch, compiled, index):
    if not compiled:
        monkeypatch.setattr(batches, "_batch", None)
    x = np.zeros((3, 1, 2, 2), np.uint8)
    with pytest.raises(IndexError, match=f"take_images: index {index[-1]} is out of range for 3 images"):
        take_images(x, np.array(index), np.zeros(1), np.ones(1))


@COMPILED
@pytest.mark.parametrize("far", [4, -4, 2**62, -(2**62)])
def test_images_moved_out_of_sight(far):
    x, far = np.ones((1, 1, 4, 4), np.uint8), np.array([far])
    for moves in ((far, None), (None, far), (far, far)):
        for flip in (None, np.array([True])):
            assert (take_images(x, np.zeros(1, np.int64), [2.0], [3.0], np.float32, *moves, flip) == -6).all()


@COMPILED
def test_the_compiled_loop_checks_every_size():
    x, y = np.zeros((3, 2, 4, 4), np.uint8), np.zeros((2, 2, 4, 4), np.float32)
    index, two, ones = np.zeros(2, np.int64), np.zeros(2, np.float32), np.ones(1, np.int64)
    for arguments in (
        (x, index, two[:1], two, y),
        (x, index, two, two[:1], y),
        (x, index[:1], two, two, y),
        (x, index, two, two, y[:, :1].copy()),
        (x, index, two, two, y[:, :, :3].copy()),
        (x, index, two, two, y, ones, None, None),
        (x, index, two, two, y, None, ones, None),
        (x, index, two, two, y, None, None, ones.astype(np.uint8)),
    ):
        with pytest.raises(ValueError, match="take_images"):
            batches._batch.take_images(*arguments)


def test_draws_repeat_and_cover():
    def draw(seed, shift=2, flip=True):
        return batches.draw(4000, shift, flip, minidl.Generator(seed))

    a, b, c = draw(1), draw(1), draw(2)
    assert all(np.array_equal(x, y) for x, y in zip(a, b))
    assert not np.array_equal(a[0], c[0])
    for moves in a[:2]:
        assert np.bincount(moves + 2, minlength=5).tolist() == pytest.approx([800] * 5, abs=120)
    assert a[2].dtype == bool and a[2].mean() == pytest.approx(0.5, abs=0.05)
    assert np.corrcoef(a[0], a[1])[0, 1] == pytest.approx(0, abs=0.06)
    assert batches.draw(3, 0, False) == (None, None, None)
    with pytest.raises(DataError, match="shift=-1"):
        batches.draw(3, -1, False)


def images(n=6, classes=3):
    rng = np.random.default_rng(0)
    return ArrayData(
        rng.integers(0, 17, (n, 1, 5, 5)).astype(np.uint8),
        np.arange(n) % classes,
        tuple("abc"[:classes]),
        name="toy",
    )


def test_a_batch_of_images_is_scaled_on_the_way():
    part = images()
    x, y = part.gather(np.array([4, 0]))
    assert x.dtype == np.float32 and y.dtype == np.int64 and part.x.dtype == np.uint8
    np.testing.assert_array_equal(x.numpy(), part.x[[4, 0]])
    assert y.tolist() == [1, 0]
    scaler = data.Standardize().fit(part.x)
    scaled = part.transformed(scaler)
    assert scaled.x is part.x, "the images stay as they are"
    x, _ = scaled.gather(np.array([4, 0]))
    np.testing.assert_array_equal(x.numpy(), scaler.transform(part.x)[[4, 0]])
    one, label = scaled[4]
    np.testing.assert_array_equal(one.numpy(), x.numpy()[0])
    assert label.shape == () and label.item() == 1
    assert scaled[-2][1].item() == 1
    with pytest.raises(IndexError, match="toy: index 6 is out of range"):
        scaled[6]


def test_a_moved_image_has_the_background_of_a_scaled_zero():
    part = images().transformed(data.Affine([3.0], [2.0])).augmented(shift=9)
    for x in (part.gather(np.arange(6))[0].numpy() for _ in range(20)):
        values = set(np.unique(x)) - set(np.unique((part.x - np.float32(3)) * 2))
        assert not values
    x = part.augmented(shift=200, generator=minidl.Generator(0)).gather(np.zeros(30, np.int64))[0].numpy()
    assert (x == -6).all(axis=(1, 2, 3)).sum() > 25


def test_augmentation_repeats_from_a_state():
    generator = minidl.Generator(4)
    part = images().augmented(shift=1, flip=True, generator=generator)
    part.gather(np.arange(6))
    state = generator.get_state()
    a = part.gather(np.arange(6))[0].numpy()
    b = part.gather(np.arange(6))[0].numpy()
    generator.set_state(state)
    np.testing.assert_array_equal(part.gather(np.arange(6))[0].numpy(), a)
    assert not np.array_equal(a, b)


def test_tables_and_regressions():
    part = ArrayData(np.arange(8.0).reshape(4, 2), np.arange(4), features=("u", "v"), name="line")
    x, y = part.tensors()
    assert x.dtype == np.float32 and y.dtype == np.float32 and y.shape == (4, 1)
    assert repr(part) == "line: 4 examples of 2 (float64), regression"
    assert repr(images()) == "toy: 6 examples of 1 x 5 x 5 (uint8), 3 classes"
    whole = ArrayData(np.arange(8).reshape(4, 2), np.array([0.0, 1.0, 1.0, 0.0]), ("n", "y"))
    assert whole.y.dtype == np.int64 and whole.x.dtype == np.float64
    assert whole.select(np.array([True, False, False, True])).y.tolist() == [0, 0]


def test_parts_are_made_scaled_and_changed_together():
    parts = data.split_data(images(60), 0.2, 0.2, seed=1)
    assert [len(part) for part in parts] == [36, 12, 12]
    assert parts.name == "toy" and parts.shape == (1, 5, 5) and parts.classes == ("a", "b", "c")
    assert repr(parts).count("\n") == 2 and parts.features == ()
    scaled = parts.transformed(data.MinMax())
    assert [part.scaler for part in scaled] == [scaled.transform.transforms[0]] * 3
    x, _ = scaled.train.tensors()
    np.testing.assert_array_equal(x.numpy(), scaled.transform.transform(parts.train.x))
    with pytest.raises(DataError, match="scaled by MinMax.* already"):
        scaled.transformed(data.Standardize())
    two = parts.map(lambda part: part.select(np.arange(3)))
    assert [len(part) for part in two] == [3, 3, 3]
    alone = data.split_data(images(60), 0, 0)
    assert alone.valid is None and alone.test is None and len(alone.train) == 60
    unstratified = data.split_data(images(60), 0.5, 0.0, stratify=False)
    assert [len(unstratified.train), len(unstratified.valid)] == [30, 30]


X, Y = np.zeros((3, 2)), np.zeros(3, np.int64)


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: ArrayData(X[:0], Y[:0], ("a",)), r"the data set is empty \(x has shape \(0, 2\)\)"),
        (lambda: ArrayData(X, Y[:2], ("a",)), "3 examples and 2 targets"),
        (lambda: ArrayData(X[0], Y, ("a",)), r"shape \(2,\); expected numbers"),
        (lambda: ArrayData(np.array([["a"]] * 3), Y, ("a",)), "expected numbers"),
        (lambda: ArrayData(X + np.inf, Y, ("a",)), "holds infinity in row 0"),
        (lambda: ArrayData(X, Y + 1, ("a",)), "label 1 in row 0 is out of range; expected 0 to 0"),
        (lambda: ArrayData(X, Y - 1, ("a",)), "label -1 in row 0"),
        (lambda: ArrayData(X, Y + 0.5, ("a", "b")), "not whole numbers"),
        (lambda: ArrayData(X, Y + np.nan, ("a", "b")), "not whole numbers"),
        (lambda: ArrayData(X, Y + np.nan), "target in row 0 is NaN"),
        (lambda: ArrayData(X, np.array(["a", "b", "c"])), "encode_labels makes both"),
        (lambda: ArrayData(X, Y).augmented(shift=1), "shift and flip are for images"),
        (lambda: ArrayData(X + np.nan, Y).tensors(), r"6 missing values \(NaN\); fill them first"),
        (lambda: ArrayData(X + np.nan, Y)[0], "fill them first"),
        (lambda: images().transformed(data.Standardize()), "not fitted yet"),
        (lambda: images().transformed(data.Affine([1, 2], [1, 2])), "fitted on 2 features, used on 1"),
        (lambda: data.split_data(images(), 0.5, 0.5), "leave some rows"),
        (
            lambda: data.split_data(images(6), 0.2, 0.2),
            "class 'a' has 2 rows, too few for each of the 3 parts",
        ),
    ],
)
def test_bad_data(make, words):
    with pytest.raises(DataError, match=words) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_nan_in_a_part_is_told_and_filled():
    x = np.arange(40.0).reshape(20, 2)
    x[5, 1] = np.nan
    part = ArrayData(x, np.zeros(20), name="t")
    assert part.missing == 1 and "1 missing values" in repr(part)
    parts = data.Parts(part, part, None).transformed(data.Impute())
    assert parts.train.missing == 0 and parts.test is None
