"""Cleaning, scaling, encoding and splitting, each against its formula written out with plain loops."""

from __future__ import annotations

import json
import math
import statistics

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minidl import data
from minidl.data import DataError

RNG = np.random.default_rng(3)
TABLE = RNG.normal([1.0, -5.0, 1e6], [1.0, 0.01, 300.0], (50, 3))


def columns(x):
    return [[float(v) for v in x[:, j]] for j in range(x.shape[1])]


def test_standardize_is_its_formula():
    y = data.Standardize().fit(TABLE).transform(TABLE)
    for j, column in enumerate(columns(TABLE)):
        mean, deviation = math.fsum(column) / len(column), statistics.pstdev(column)
        np.testing.assert_allclose(y[:, j], [(v - mean) / deviation for v in column], rtol=1e-9, atol=1e-9)


def test_minmax_is_its_formula():
    for low, high in ((0, 1), (-1, 3)):
        y = data.MinMax(low, high).fit(TABLE).transform(TABLE)
        for j, column in enumerate(columns(TABLE)):
            a, b = min(column), max(column)
            expected = [low + (v - a) / (b - a) * (high - low) for v in column]
            np.testing.assert_allclose(y[:, j], expected, rtol=1e-9, atol=1e-9)


def test_images_are_scaled_by_channel():
    x = RNG.integers(0, 256, (7, 3, 4, 5)).astype(np.uint8)
    y = data.Standardize().fit(x).transform(x)
    assert y.dtype == np.float32
    for c in range(3):
        values = [float(v) for v in x[:, c].ravel()]
        mean, deviation = statistics.fmean(values), statistics.pstdev(values)
        np.testing.assert_allclose(y[:, c], (x[:, c] - mean) / deviation, rtol=1e-5, atol=1e-5)
    z = data.MinMax().fit(x).transform(x)
    assert z.min() == 0 and abs(z.max() - 1) < 1e-6


def test_large_sets_are_summed_in_blocks():
    x = RNG.integers(0, 256, (2200, 1, 28, 28)).astype(np.uint8)  # more than one block
    scaler = data.Standardize().fit(x)
    np.testing.assert_allclose(scaler.offset, [x.mean(dtype=np.float64)], rtol=1e-12)
    np.testing.assert_allclose(1 / scaler.gain, [x.std(dtype=np.float64)], rtol=1e-12)


@pytest.mark.parametrize("scaler", [data.Standardize(), data.MinMax(), data.MinMax(-2, 5)])
def test_constant_features_and_the_way_back(scaler):
    x = TABLE.copy()
    x[:, 1] = 0.1
    y = scaler.fit(x).transform(x)
    assert np.isfinite(y).all()
    np.testing.assert_allclose(y[:, 1], getattr(scaler, "low", 0.0), atol=1e-9)
    np.testing.assert_allclose(scaler.inverse(y), x, rtol=1e-9)


def test_the_other_parts_do_not_leak_into_the_scale():
    train, other = TABLE[:30], TABLE[30:] + 1000
    alone = data.Standardize().fit(train)
    x = np.concatenate([train, other])
    both = data.Parts(data.ArrayData(train, np.zeros(30)), data.ArrayData(other, np.zeros(20)), None).transformed(
        data.Standardize()
    )
    np.testing.assert_array_equal(both.train.x, alone.transform(x)[:30])
    np.testing.assert_array_equal(both.valid.x, alone.transform(x)[30:])
    assert both.valid.x.mean() > 1


def holed():
    x = TABLE.copy()
    x[3, 0] = x[4, 0] = x[4, 2] = np.nan
    return x


def test_impute_is_its_formula():
    x = holed()
    for strategy, middle in (("mean", statistics.fmean), ("median", statistics.median), (7.5, lambda _: 7.5)):
        y = data.Impute(strategy).fit(x).transform(x)
        for j, column in enumerate(columns(x)):
            present = [v for v in column if v == v]
            expected = [v if v == v else middle(present) for v in column]
            np.testing.assert_allclose(y[:, j], expected, rtol=1e-12)
    assert np.isnan(x[3, 0]), "the input is left as it is"


def test_clip_is_its_formula():
    x = holed()
    x[7, 1] = 40.0
    for method, k in (("zscore", 3.0), ("iqr", 1.5), ("zscore", 0.5), ("iqr", 0.1)):
        clip = data.Clip(method, k).fit(x)
        y = clip.transform(x)
        out = np.zeros(len(x), bool)
        for j, column in enumerate(columns(x)):
            present = sorted(v for v in column if v == v)
            if method == "zscore":
                middle, width = statistics.fmean(present), statistics.pstdev(present)
                low, high = middle - k * width, middle + k * width
            else:
                q1, _, q3 = statistics.quantiles(present, n=4, method="inclusive")
                low, high = q1 - k * (q3 - q1), q3 + k * (q3 - q1)
            np.testing.assert_allclose(y[:, j], [min(max(v, low), high) if v == v else v for v in column])
            out |= np.array([v < low or v > high for v in column])
        np.testing.assert_array_equal(clip.outside(x), out)
        np.testing.assert_array_equal(data.outlier_rows(x, method, k), out)
        assert out[7]
    assert data.Clip("zscore").k == 3 and data.Clip("iqr").k == 1.5


def test_masks_of_rows():
    x = holed()
    np.testing.assert_array_equal(np.flatnonzero(data.missing_rows(x)), [3, 4])
    assert not data.missing_rows(np.zeros((3, 2), np.uint8)).any()
    rows = np.array([[1, 2], [0.0, np.nan], [1, 2], [-0.0, np.nan], [2, 1], [1, 2]])
    np.testing.assert_array_equal(data.duplicate_rows(rows), [0, 0, 1, 1, 0, 1])
    np.testing.assert_array_equal(data.duplicate_rows(rows, np.array([0, 0, 1, 0, 0, 1])), [0, 0, 0, 1, 0, 1])


@pytest.mark.parametrize(
    "transform",
    [
        data.Standardize(),
        data.MinMax(-1, 1),
        data.Impute("median"),
        data.Impute(3),
        data.Clip("zscore", 2),
        data.Affine([1.0, 2.0, 3.0], [0.5, 0.25, 2.0]),
        data.Chain([data.Impute(), data.Clip(), data.Standardize()]),
        data.Chain(),
    ],
    ids=repr,
)
def test_a_transform_survives_json(transform):
    x = holed() if isinstance(transform, (data.Impute, data.Clip, data.Chain)) else TABLE
    transform.fit(x)
    again = data.transform_from_state(json.loads(json.dumps(transform.state())))
    assert type(again) is type(transform) and repr(again) == repr(transform)
    np.testing.assert_array_equal(again.transform(x), transform.transform(x))


def test_a_chain_is_one_after_the_other():
    x = holed()
    chain = data.Chain([data.Impute(), data.Standardize()]).fit(x)
    full = data.Impute().fit(x).transform(x)
    expected = data.Standardize().fit(full).transform(full)
    np.testing.assert_array_equal(chain.transform(x), expected)
    with pytest.raises(DataError, match="no inverse"):
        chain.inverse(expected)
    both = data.Chain([data.MinMax(), data.Standardize()]).fit(TABLE)
    np.testing.assert_allclose(both.inverse(both.transform(TABLE)), TABLE, rtol=1e-9)


@pytest.mark.parametrize(
    "act, words",
    [
        (lambda: data.Standardize().transform(TABLE), "Standardize: not fitted yet"),
        (lambda: data.Standardize().state(), "not fitted yet"),
        (lambda: data.Standardize().affine(), "not fitted yet"),
        (lambda: data.Standardize().fit(TABLE).transform(TABLE[:, :2]), r"fitted on 3 features.*\(50, 2\)"),
        (lambda: data.Standardize().fit(TABLE).transform(TABLE[:, 0]), "axis 1 must be"),
        (lambda: data.Standardize().fit(np.zeros((0, 3))), r"shape \(0, 3\); expected a non-empty"),
        (lambda: data.Standardize().fit(np.array([["a"]])), "expected numbers"),
        (lambda: data.Standardize().fit(holed()), "feature 0 holds NaN or infinity; fill or drop"),
        (lambda: data.MinMax().fit(holed()), "feature 0 holds NaN"),
        (lambda: data.MinMax(1, 1), "low=1 must be below high=1"),
        (lambda: data.Impute("mode"), "strategy='mode'; expected"),
        (lambda: data.Impute(math.nan), "expected"),
        (lambda: data.Impute(True), "expected"),
        (lambda: data.Impute().fit(np.full((4, 2), np.nan)), "feature 0 is missing in every row"),
        (lambda: data.Clip("range"), "method='range'; expected"),
        (lambda: data.Clip("iqr", -1), "k=-1 must be positive"),
        (lambda: data.transform_from_state({"kind": "magic"}), "not the state of a transform"),
        (lambda: data.transform_from_state({"kind": "minmax", "options": {}}), "not the state"),
    ],
)
def test_what_cannot_be_fitted(act, words):
    with pytest.raises(DataError, match=words) as caught:
        act()
    assert "\n" not in str(caught.value)


def test_one_hot_is_its_formula():
    t = [2, 0, 1, 2]
    y = data.one_hot(t)
    assert y.dtype == np.float32 and y.shape == (4, 3)
    for n, k in np.ndindex(y.shape):
        assert y[n, k] == (1 if t[n] == k else 0)
    assert data.one_hot(np.array([1.0, 0.0]), 4).shape == (2, 4)
    assert data.one_hot([], 4).shape == (0, 4)


@pytest.mark.parametrize(
    "labels, classes, words",
    [
        ([0, 3], 3, "label 3 in row 1 is out of range; expected 0 to 2"),
        ([-1], None, "label -1 in row 0 is out of range; expected 0 or more"),
        ([0.5], None, "not whole numbers"),
        ([math.nan], None, "not whole numbers"),
        (["a"], None, "expected class indices"),
        ([[1]], None, r"shape \(1, 1\)"),
    ],
)
def test_bad_labels(labels, classes, words):
    with pytest.raises(DataError, match=words):
        data.one_hot(np.array(labels), classes)


@pytest.mark.parametrize(
    "values, codes, classes",
    [
        (["b", "a", "b"], [1, 0, 1], ("a", "b")),
        (["10", "2", "10"], [1, 0, 1], ("2", "10")),
        ([10, 2, 10], [1, 0, 1], ("2", "10")),
        (np.array([3.0, -1.0, 0.5]), [2, 0, 1], ("-1", "0.5", "3")),
        ([" x", "x "], [0, 0], ("x",)),
    ],
)
def test_encode_labels(values, codes, classes):
    found, names = data.encode_labels(values)
    assert found.dtype == np.int64
    assert found.tolist() == codes and names == classes


def check_split(labels, fractions, parts):
    n = len(labels)
    assert sorted(np.concatenate(parts).tolist()) == list(range(n)), "every row is in exactly one part"
    total = 0.0
    sizes = []
    for fraction, part in zip(fractions, parts):
        assert part.tolist() == sorted(part.tolist())
        sizes.append(round((total + fraction) * n) - round(total * n))
        total += fraction
        assert abs(len(part) - fraction * n) <= 1 + len(set(labels.tolist()))
    if min(np.bincount(labels)) > 30:
        assert [len(part) for part in parts] == sizes
    for k in set(labels.tolist()):
        rows = (labels == k).sum()
        for fraction, part in zip(fractions, parts):
            assert abs((labels[part] == k).sum() - fraction * rows) < len(fractions), (k, fraction)
            assert fraction == 0 or (labels[part] == k).any()


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    counts=st.lists(st.integers(6, 60), min_size=2, max_size=6),
    fractions=st.sampled_from([(0.8, 0.1, 0.1), (0.5, 0.5), (1.0,), (0.7, 0.2, 0.1), (0.2, 0.8, 0.0), (1 / 3,) * 3]),
    seed=st.integers(0, 2**63),
)
def test_stratified_split(counts, fractions, seed):
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    parts = data.split_rows(len(labels), fractions, labels, seed)
    check_split(labels, fractions, parts)
    again = data.split_rows(len(labels), fractions, labels, seed)
    assert all(np.array_equal(a, b) for a, b in zip(parts, again)), "the same seed gives the same parts"


def test_another_seed_gives_other_parts_of_the_same_sizes():
    labels = np.repeat([0, 1], [90, 10])
    a, b = (data.split_rows(100, (0.7, 0.3), labels, seed) for seed in (0, 1))
    assert not np.array_equal(a[0], b[0])
    assert (
        [np.bincount(labels[p]).tolist() for p in a]
        == [np.bincount(labels[p]).tolist() for p in b]
        == [[63, 7], [27, 3]]
    )


def test_a_plain_split_is_random_too():
    a, b = data.split_rows(1000, (0.5, 0.5), seed=5)
    assert len(a) == len(b) == 500
    assert 180 < (a < 500).sum() < 320, "not the first half"


@pytest.mark.parametrize(
    "count, fractions, labels, words",
    [
        (10, (0.5, 0.6), None, "add up to 1"),
        (10, (1.5, -0.5), None, "from 0 to 1"),
        (10, (), None, "add up to 1"),
        (0, (1.0,), None, "no rows to split"),
        (10, (0.5, 0.5), [1, 2], "2 labels for 10 rows"),
        (4, (0.95, 0.05), None, "4 rows are too few for a part of 0.05"),
        (10, (0.5, 0.5), ["a"] * 9 + ["b"], "class 'b' has 1 rows, too few for each of the 2 parts"),
    ],
)
def test_bad_splits(count, fractions, labels, words):
    with pytest.raises(DataError, match=words):
        data.split_rows(count, fractions, labels)
