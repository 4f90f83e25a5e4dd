"""Drawings of the tape: what was computed from what, from the nodes themselves.

    y = minidl.sin(a * b) + a
    draw(y, a=a, b=b)                       one box a node; inputs on the left, the result on the right
    draw(y, derivatives=True, a=a, b=b)     on each arrow the derivative that the walk will call, as it is written

The picture is SVG, made here without further packages.
"""

from __future__ import annotations

import ast
import os
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from html import escape
from pathlib import Path
from typing import Any

from minidl._tensor import Tensor
from minidl.nn.module import Module
from minidl.serialization import atomic_write
from minidl.tape import Node

__all__ = ["Drawing", "derivative_text", "draw", "nodes"]

INK, GREY, LINE = "#24292f", "#6b7280", "#9aa3ad"
LEAF, OPERATION, RESULT = ("#eaf3fb", "#0072B2"), ("#ffffff", "#57606a"), ("#fdf0e6", "#D55E00")
PAGE = 840  # pixels: wider drawings are made smaller
FONT = "font-family='Helvetica, Arial, sans-serif'"
CODE = "font-family='DejaVu Sans Mono, Menlo, Consolas, monospace'"


class Drawing:
    """A picture in SVG: shows itself in a notebook, `save` writes it."""

    def __init__(self, svg: str) -> None:
        self.svg = svg

    def _repr_svg_(self) -> str:
        return self.svg

    def __repr__(self) -> str:
        return f"Drawing in SVG, {len(self.svg)} characters; .save(path) writes it"

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the SVG, replacing `path` in one step."""
        with atomic_write(path) as file:
            file.write(self.svg.encode())


def nodes(output: Tensor) -> list[Node]:
    """Every node that the output was computed from, newest first: the order of the walk back.

    Raises RuntimeError where there is no graph, or where a walk has freed it.
    """
    if output.node is None:
        raise RuntimeError(
            "nodes: this tensor was not computed from anything that requires a gradient, so there is no graph; "
            "create an input with requires_grad=True"
        )
    seen, todo = {output.node}, [output.node]
    while todo:
        node = todo.pop()
        if node.inputs is None:
            raise RuntimeError(
                "nodes: a walk has freed this graph; look at it before backward(), or call backward(retain_graph=True)"
            )
        new = set(node.parents()) - seen
        seen |= new
        todo += new
    return sorted(seen, key=lambda node: node.stamp, reverse=True)


def draw(output: Tensor, module: Module | None = None, /, *, derivatives: bool = False, **names: Tensor) -> Drawing:
    """The graph of a tensor.

    module       names the leaves by its parameters, such as fc.weight
    derivatives  write on each arrow the derivative as it stands in the operation, in the operation's own letters
    names        tensors by name; those of one number show it, and their gradient where there is one

    Raises RuntimeError where there is no graph or it was freed, ValueError beyond 200 nodes.
    """
    found = nodes(output)
    if len(found) > 200:
        raise ValueError(f"draw: {len(found)} nodes are too many to look at; draw a smaller model, or one layer")
    named = dict(module.named_parameters()) if module is not None else {}
    labels = {tensor.node: (name, tensor) for name, tensor in {**named, **names}.items()}
    what = labels[output.node][0] if output.node in labels else "L"
    boxes = {
        node: _box(node, what if node is output.node else "", f"∂{what}/∂", *labels.get(node, ("", None)))
        for node in reversed(found)
    }
    arrows = [
        Arrow(boxes[parent], boxes[node], derivative_text(how) if derivatives and how else "")
        for node in reversed(found)
        for parent, how in _inputs(node)
    ]
    return Drawing(_svg(_placed(list(boxes.values()), arrows), arrows))


def _inputs(node: Node) -> list[tuple[Node, Callable[..., Any] | None]]:
    """(parent, derivative); None for the derivative of a fused operation, which has one kernel for all."""
    if node.fused:
        return [(parent, None) for parent in node.parents()]
    return list(zip(node.inputs[::2], node.inputs[1::2], strict=True)) if node.inputs else []


# ------------------------------------------------------------------------------------- what a derivative says


def derivative_text(derivative: Callable[..., Any]) -> str:
    """A derivative as it is written in the operation's source: `G * b`; `name(G)` for a function with a name.

    Empty where the source is not there, or where two lambdas in its line cannot be told apart.
    """
    if derivative.__name__ != "<lambda>":
        return f"{derivative.__name__}(G)"
    code = derivative.__code__
    arguments, names = code.co_varnames[: code.co_argcount], {*code.co_names, *code.co_freevars}
    written = [
        body
        for found, used, body in _lambdas(code.co_filename).get(code.co_firstlineno, [])
        if found == arguments and used == names
    ]
    if len(written) > 1 and hasattr(code, "co_positions"):  # Python 3.11: where exactly the body stands
        places = {(line, column) for line, _, column, _ in code.co_positions()}
        written = [body for body in written if (body.lineno, body.col_offset) in places]
    # `composition if mode.recording else kernel`: what is said is the composition
    texts = {ast.unparse(body.body if isinstance(body, ast.IfExp) else body) for body in written}
    return texts.pop() if len(texts) == 1 else ""


@lru_cache(maxsize=64)
def _lambdas(file: str) -> dict[int, list[tuple[tuple[str, ...], set[str], ast.expr]]]:
    """All lambdas of a source file, by line: arguments, the other names that are used, and the body."""
    found: dict[int, list[tuple[tuple[str, ...], set[str], ast.expr]]] = defaultdict(list)
    if Path(file).is_file():
        for node in ast.walk(ast.parse(Path(file).read_text(encoding="utf-8"))):
            if isinstance(node, ast.Lambda):
                arguments = tuple(a.arg for a in node.args.args)
                parts = list(ast.walk(node.body))
                used = {part.id for part in parts if isinstance(part, ast.Name)} - set(arguments)
                used |= {part.attr for part in parts if isinstance(part, ast.Attribute)}
                found[node.lineno].append((arguments, used, node.body))
    return found


# -------------------------------------------------------------------------------------------------- the layout


@dataclass(eq=False)
class Box:
    """One node's picture, or (without lines) a bend of an arrow that passes other columns."""

    lines: list[str]
    colours: tuple[str, str] = OPERATION
    column: int = 0
    x: float = 0.0
    y: float = 0.0
    width: float = 0.0
    height: float = 0.0
    inputs: list[Box] = field(default_factory=list)
    outputs: list[Box] = field(default_factory=list)
    arrows: list[Arrow] = field(default_factory=list)  # those that end here


@dataclass(eq=False)
class Arrow:
    """From a parent to its child, through the bends between them."""

    start: Box
    end: Box
    text: str
    bends: list[Box] = field(default_factory=list)

    def path(self) -> list[Box]:
        return [self.start, *self.bends, self.end]


def _box(node: Node, result: str, derivative: str, name: str, tensor: Tensor | None) -> Box:
    shape = " × ".join(map(str, node.shape)) or "one number"
    if node.inputs == ():
        lines = [name or "leaf"]
    else:
        operation = node.name.strip("_")
        lines = [f"{name} = {operation}" if name else operation]
    if tensor is not None and tensor.array.size == 1:
        lines.append(f"{tensor.item():.4g}")
        if tensor.grad is not None:
            lines.append(f"{derivative}{name} = {tensor.grad.item():.4g}")
    else:
        lines.append(shape)
    box = Box(lines, LEAF if node.inputs == () else RESULT if result else OPERATION)
    box.width = max(58.0, 22 + max(_long(lines[0], 14), *(_long(line, 11) for line in lines[1:])))
    box.height = 24.0 + 15 * (len(lines) - 1)
    return box


def _long(text: str, size: float) -> float:
    """About how wide a text is."""
    return 0.6 * size * len(text)


def _placed(boxes: list[Box], arrows: list[Arrow]) -> list[Box]:
    """Give every box its place: columns by distance, few crossings, straight arrows (after Sugiyama et al. 1981)."""
    for arrow in arrows:  # the boxes come in the order of the tape, parents first
        arrow.end.inputs.append(arrow.start)
        arrow.start.outputs.append(arrow.end)
    for box in boxes:
        box.column = max((parent.column + 1 for parent in box.inputs), default=0)
    for box in reversed(boxes):  # as near to where it is used as can be
        if box.outputs and not box.inputs:
            box.column = min(child.column for child in box.outputs) - 1
    everything = list(boxes)
    for box in everything:
        box.inputs, box.outputs = [], []
    for arrow in arrows:
        arrow.bends = [Box([], column=c, height=12.0) for c in range(arrow.start.column + 1, arrow.end.column)]
        everything += arrow.bends
        arrow.end.arrows.append(arrow)
        path = arrow.path()
        for before, after in zip(path, path[1:], strict=False):
            before.outputs.append(after)
            after.inputs.append(before)
    columns: dict[int, list[Box]] = defaultdict(list)
    for box in everything:
        columns[box.column].append(box)
    order = [columns[c] for c in sorted(columns)]
    _untangle(order)
    _spread(order)
    _columns_apart(order, arrows)
    return boxes


def _untangle(order: list[list[Box]]) -> None:
    """Order each column by where its neighbours stand, to and fro."""
    for sweep in range(8):
        place = {box: i for column in order for i, box in enumerate(column)}
        for column in order if sweep % 2 == 0 else reversed(order):
            column.sort(key=lambda box: _middle([place[n] for n in box.inputs + box.outputs], place[box]))
            place.update({box: i for i, box in enumerate(column)})


def _middle(values: list[float] | list[int], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise


def _spread(order: list[list[Box]]) -> None:
    """Heights: each box beside the middle of its neighbours, none on top of another."""
    for column in order:
        y = 0.0
        for box in column:
            box.y = y + box.height / 2
            y += box.height + 18
    for _ in range(60):
        for column in order:
            wanted = [_middle([n.y for n in box.inputs + box.outputs], box.y) for box in column]
            for box, y in zip(column, wanted, strict=True):
                box.y += 0.5 * (y - box.y)
            for _ in range(4):
                for above, below in zip(column, column[1:], strict=False):
                    short = (above.height + below.height) / 2 + 18 - (below.y - above.y)
                    if short > 0:
                        above.y -= short / 2
                        below.y += short / 2


def _columns_apart(order: list[list[Box]], arrows: list[Arrow]) -> None:
    """Left edges of the columns: room for what is written on the arrows between them."""
    x = 0.0
    for column in order:
        width = max(box.width for box in column)
        for box in column:
            box.x = x + width / 2
        written = [_long(a.text, 11) for a in arrows if a.text and a.end.column == column[0].column + 1]
        x += width + max([46.0, *(w + 56 for w in written)])
    top = min(box.y - box.height / 2 for column in order for box in column)
    for column in order:
        for box in column:
            box.y -= top


# ---------------------------------------------------------------------------------------------------- drawing


def _svg(boxes: list[Box], arrows: list[Arrow]) -> str:
    margin = 14
    every = [*boxes, *(bend for arrow in arrows for bend in arrow.bends)]
    width = max(box.x + box.width / 2 for box in boxes) + 2 * margin
    height = max(box.y + box.height / 2 for box in every) + 2 * margin
    scale = min(1.0, PAGE / width)
    parts = [
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width:.0f} {height:.0f}' "
        f"width='{scale * width:.0f}' height='{scale * height:.0f}'>",
        f"<rect width='{width:.0f}' height='{height:.0f}' rx='8' fill='white'/>",
        f"<g transform='translate({margin},{margin})'>",
        *(_arrow_svg(arrow) for arrow in arrows),
        *(line for box in boxes for line in _box_svg(box)),
        *(line for arrow in arrows for line in _text_svg(arrow)),
        "</g></svg>",
    ]
    return "\n".join(parts)


def _arrow_svg(arrow: Arrow) -> str:
    start, *bends, end = arrow.path()
    x, y = start.x + start.width / 2, start.y
    path = f"M{x:.1f} {y:.1f}"
    for stop in bends:
        path += _curve(x, y, stop.x, stop.y)
        x, y = stop.x, stop.y
    tip, port = end.x - end.width / 2 - 7, _port(arrow)
    path += _curve(x, y, tip, port)
    head = f"M{tip - 1:.1f} {port - 3.5:.1f}l8 3.5l-8 3.5z"
    return f"<path d='{path}' fill='none' stroke='{LINE}' stroke-width='1.5'/><path d='{head}' fill='{LINE}'/>"


def _curve(x: float, y: float, to_x: float, to_y: float) -> str:
    half = (x + to_x) / 2
    return f"C{half:.1f} {y:.1f} {half:.1f} {to_y:.1f} {to_x:.1f} {to_y:.1f}"


def _port(arrow: Arrow) -> float:
    """Where on its left side a box takes this arrow: the arrows in the order in which they come."""
    coming = sorted(arrow.end.arrows, key=lambda a: a.path()[-2].y)
    room = min(16.0 if arrow.text else 12.0, (arrow.end.height - 10) / len(coming))
    return arrow.end.y + (coming.index(arrow) - (len(coming) - 1) / 2) * room


def _box_svg(box: Box) -> Iterator[str]:
    fill, edge = box.colours
    left, top = box.x - box.width / 2, box.y - box.height / 2
    yield (
        f"<rect x='{left:.1f}' y='{top:.1f}' width='{box.width:.1f}' height='{box.height:.1f}' rx='7' fill='{fill}' "
        f"stroke='{edge}' stroke-width='1.4'/>"
    )
    for i, line in enumerate(box.lines):
        size, colour, weight = (14, INK, 600) if i == 0 else (11, edge if line.startswith("∂") else GREY, 400)
        yield (
            f"<text x='{box.x:.1f}' y='{top + 17 + 15 * i:.1f}' text-anchor='middle' font-size='{size}' "
            f"fill='{colour}' font-weight='{weight}' {FONT}>{escape(line)}</text>"
        )


def _text_svg(arrow: Arrow) -> Iterator[str]:
    if arrow.text:
        before = arrow.path()[-2]
        x = (before.x + before.width / 2 + arrow.end.x - arrow.end.width / 2) / 2 - 3
        y, width = (before.y + _port(arrow)) / 2, _long(arrow.text, 11) + 10
        yield f"<rect x='{x - width / 2:.1f}' y='{y - 7:.1f}' width='{width:.1f}' height='14' fill='white'/>"
        yield (
            f"<text x='{x:.1f}' y='{y + 4:.1f}' text-anchor='middle' font-size='11' fill='{RESULT[1]}' {CODE}>"
            f"{escape(arrow.text)}</text>"
        )
