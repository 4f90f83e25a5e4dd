"""Drawings of the tape, sources and pictures for the lessons."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from html import unescape
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

import minidl
from minidl import autograd, nn
from minidl.explain import show
from minidl.explain.graphs import Drawing, derivative_text, draw, nodes
from minidl.explain.source import Source, coloured
from minidl.nn import functional as F

plots = pytest.importorskip("minidl.explain.plots", reason="needs matplotlib")
SVG = "{http://www.w3.org/2000/svg}"


def leaf(value: Any) -> minidl.Tensor:
    return minidl.tensor(value, requires_grad=True)


def texts(drawing: Drawing) -> list[str]:
    return [text.text or "" for text in ElementTree.fromstring(drawing.svg).iter(f"{SVG}text")]


def boxes(drawing: Drawing) -> list[tuple[float, ...]]:
    """(left, top, right, bottom) of every node's box."""
    found = [box for box in ElementTree.fromstring(drawing.svg).iter(f"{SVG}rect") if box.get("rx") == "7"]
    numbers = [[float(box.get(key, 0)) for key in ("x", "y", "width", "height")] for box in found]
    return [(x, y, x + w, y + h) for x, y, w, h in numbers]


# ------------------------------------------------------------------------------------------- the tape drawn


def test_a_drawing_has_a_box_a_node_with_names_values_and_gradients(tmp_path: Path) -> None:
    a, b = leaf(2.0), leaf(3.0)
    y = minidl.sin(a * b) + a
    y.backward(retain_graph=True)
    drawing = draw(y, a=a, b=b, y=y)
    assert len(boxes(drawing)) == len(nodes(y)) == 5
    assert {"a", "b", "mul", "sin", "y = add", "∂y/∂a = 3.881", "one number"} <= set(texts(drawing))
    drawing.save(tmp_path / "graph.svg")
    assert (tmp_path / "graph.svg").read_text(encoding="utf-8") == drawing._repr_svg_()


def test_derivatives_stand_on_the_arrows_as_they_are_written() -> None:
    a, b = leaf(2.0), leaf(3.0)
    assert {"G * b", "G * a"} <= set(texts(draw(a * b, derivatives=True, a=a, b=b)))
    assert texts(draw(a * a, derivatives=True)).count("G * b") == 1  # the same tensor, twice an input
    assert "G * cos(x)" in texts(draw(minidl.sin(a), derivatives=True))


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda a, b: a / b, ["G / b", "-G * a / (b * b)"]),
        pytest.param(
            lambda a, b: a - b,
            ["G", "-G"],
            marks=pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.10 does not place a lambda"),
        ),
        (lambda a, b: minidl.tanh(a), ["G * (1 - Y * Y)"]),
        (lambda a, b: minidl.prod(a), ["derivative(G)"]),
    ],
)
def test_derivative_text(function: Callable[..., Any], expected: list[str]) -> None:
    node = function(leaf([2.0, 1.0]), leaf([3.0, 1.0])).node
    assert [derivative_text(how) for how in node.inputs[1::2]] == expected


def test_boxes_keep_apart_and_arrows_lead_to_the_right() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3))
    loss = F.cross_entropy(model(minidl.randn(5, 4)), minidl.tensor([0, 1, 2, 1, 0]))
    loss = loss + sum(p.square().sum() for p in model.parameters())
    drawing = draw(loss, model)
    found = boxes(drawing)
    assert len(found) == len(nodes(loss)) and {"0.weight", "4.bias", "cross_entropy"} <= set(texts(drawing))
    for i, one in enumerate(found):
        for other in found[:i]:
            assert one[2] < other[0] or other[2] < one[0] or one[3] < other[1] or other[3] < one[1], (one, other)
    paths = [path.get("d", "") for path in ElementTree.fromstring(drawing.svg).iter(f"{SVG}path")]
    for path in paths[::2]:  # every second one is an arrow's head
        points = [float(number) for number in re.findall(r"-?[\d.]+", path)]
        assert points[0] < points[-2], path


def test_what_cannot_be_drawn_says_why() -> None:
    x = leaf([1.0, 2.0])
    y = x.square().sum()
    y.backward()
    with pytest.raises(RuntimeError, match="a walk has freed this graph; look at it before backward"):
        draw(y)
    with pytest.raises(RuntimeError, match="requires_grad=True"):
        draw(minidl.ones(2))
    for _ in range(300):
        x = x + 1
    with pytest.raises(ValueError, match="301 nodes are too many to look at"):
        draw(x)


def test_a_node_says_what_it_is() -> None:
    a = leaf([1.0, 2.0])
    assert repr((a * a).node) == "Node(mul, shape=(2,), dtype=float32)"
    assert repr(a.node) == "Node(leaf, shape=(2,), dtype=float32)"


def test_an_operation_of_ones_own_is_drawn_under_its_name() -> None:
    class Twice(autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return 2 * x

        @staticmethod
        def backward(ctx: Any, G: Any) -> Any:
            return 2 * G

    assert any("Twice" in text for text in texts(draw(Twice.apply(leaf(1.0)))))


# -------------------------------------------------------------------------------------------------- sources


@pytest.mark.parametrize("owner", [minidl.matmul, minidl.tape.walk, coloured, Source, minidl.train.fit])
def test_coloured_source_is_the_source(owner: Any) -> None:
    source = Source(owner)
    shown = source._repr_html_()
    body = shown.split("<pre", 1)[1].split(">", 1)[1].removesuffix("</pre>")
    assert unescape(re.sub(r"</?span[^>]*>", "", body)).rstrip("\n") == source.text
    assert "<span" in body and re.fullmatch(r"(minidl|test_\w+)[\w/\\.]*\.py:\d+", source.place)


def test_what_has_no_source_says_so() -> None:
    with pytest.raises(TypeError, match="show: .* has no Python source"):
        show(len)


# ------------------------------------------------------------------------------------------------- pictures


def shape_of(picture: Any) -> tuple[int, int]:
    """Pixels, from the PNG's own header."""
    data = picture.png()
    assert data.startswith(b"\x89PNG")
    return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")


def test_pictures_of_arrays() -> None:
    wide = shape_of(plots.images(np.random.default_rng(0).normal(size=(8, 1, 5, 5)), range(8), columns=8))
    high = shape_of(plots.images(minidl.rand(8, 5, 5), columns=2))
    assert wide[0] > wide[1] and high[1] > high[0]
    assert shape_of(plots.tables(x=minidl.ones(2, 3), y=minidl.tensor(4.0)))[0] > 100
    with pytest.raises(ValueError, match="images: got an array of shape"):
        plots.images(np.zeros((2, 3)))
    with pytest.raises(ValueError, match="tables: x has shape"):
        plots.tables(x=np.zeros((2, 3, 4)))


def test_pictures_of_curves_and_ways() -> None:
    picture, axes = plots.panels(3)
    axes[1].plot([1, 2])
    data, size = picture._repr_png_()
    assert len(axes) == 3 and data.startswith(b"\x89PNG") and size["width"] > size["height"]
    ways = {"one": [(1.0, 1.0), (0.5, 0.2)], "other": np.ones((4, 2))}
    drawn = plots.descent(lambda x, y: x**2 + 10 * y**2, ways, (-2, 2), (-1, 1), ("a", "b"))
    assert [text.get_text() for text in drawn.axes[0].get_legend().get_texts()] == ["one", "other"]
    shape_of(drawn)
