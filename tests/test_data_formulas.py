"""The formulas in the docstrings of the data functions, evaluated by brute force against what the functions do."""

from __future__ import annotations

import numpy as np
import pytest

from minidl import data

explain = pytest.importorskip("minidl.explain", reason="the formula evaluator is not there")
RNG = np.random.default_rng(5)
X = RNG.normal([1.0, -5.0, 30.0], [1.0, 0.1, 3.0], (12, 3))


def same(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", data.__all__)
def test_every_line_that_looks_like_a_formula_can_be_read(name):
    explain.formulas(getattr(data, name))


@pytest.mark.parametrize("scaler", [data.Standardize(), data.MinMax(), data.MinMax(-1, 4)], ids=repr)
def test_scaling(scaler):
    same(scaler.fit(X).transform(X), explain.evaluate(type(scaler), {"X": X, **scaler.options()})["Y"])
    affine = {"X": X, "offset": scaler.offset, "gain": scaler.gain}
    same(scaler.transform(X), explain.evaluate(data.Affine, affine)["Y"])
    same(scaler.transform(X), explain.evaluate(data.Affine.transform, affine)["Y"])
    back = {"Y": scaler.transform(X), "offset": scaler.offset, "gain": scaler.gain}
    same(scaler.inverse(back["Y"]), explain.evaluate(data.Affine.inverse, back)["X"])


def test_impute():
    x = X.copy()
    x[2, 1] = x[3, 1] = x[5, 2] = np.nan
    impute = data.Impute().fit(x)
    found = explain.evaluate(data.Impute, {"X": x})
    same(impute.m, found["m"])
    same(impute.transform(x), found["Y"])
    same(impute.transform(x), explain.evaluate(data.Impute.transform, {"X": x, "m": impute.m})["Y"])


@pytest.mark.parametrize("method, k", [("zscore", 1.0), ("iqr", 0.2)])
def test_clip(method, k):
    clip = data.Clip(method, k).fit(X)
    q1, q3 = np.quantile(X, [0.25, 0.75], axis=0)
    values = {"X": X, "μ": X.mean(0), "σ": X.std(0), "q1": q1, "q3": q3, "k": k, "method": method}
    found = explain.evaluate(data.Clip, values)
    same(clip.low, found["low"])
    same(clip.high, found["high"])
    same(clip.transform(X), found["Y"])
    assert (found["Y"] != X).any()


def test_one_hot():
    t = np.array([2, 0, 1, 2, 4])
    same(data.one_hot(t, 6), explain.evaluate(data.one_hot, {"T": t}, {"Y": (5, 6)})["Y"])


def test_taking_images():
    x = RNG.normal(size=(5, 2, 4, 3))
    values = {
        "X": x,
        "index": np.array([3, 1, 0, 3]),
        "dy": np.array([1, -1, 0, 2]),
        "dx": np.array([0, 2, -1, 9]),
        "flip": np.array([True, False, True, False]),
        "offset": np.array([1.0, 2.0]),
        "gain": np.array([2.0, 3.0]),
    }
    shape = (4, 2, 4, 3)
    options = {key: value for key, value in values.items() if key != "X"}
    found = data.take_images(x, dtype=np.float64, **options)
    same(found, explain.evaluate(data.take_images, values, {"Y": shape, "Z": shape})["Y"])


def test_split():
    sizes = [9, 14, 17]
    labels = RNG.permutation(np.repeat([0, 1, 2], sizes))
    for m in (7, 20, 33):
        taken = explain.evaluate(data.split_rows, {"m": m, "n": 40}, {"taken": (40,)})["taken"]
        by_class = np.add.reduceat(taken, [0, 9, 23])  # the rows in order of their classes
        part, _ = data.split_rows(40, (m / 40, 1 - m / 40), labels, seed=m)
        assert np.bincount(labels[part]).tolist() == by_class.tolist()
