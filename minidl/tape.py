"""The tape: what was computed from what, and the walk back along it.

    record(value, a, da, b, db)      an operation leaves a Node: its inputs and one derivative per input
    walk(roots)                      from the newest node to the oldest: G flows through every derivative

A Tensor has a node; nodes link nodes, never tensors. An intermediate value lives exactly as long as a derivative
captured it (its closure) or asked for the result (`record_result`). There is no recursion and no reference
cycle: a graph of 100,000 operations is walked in a loop, and it is gone when its last name is.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterable, Sequence
from heapq import heapify, heappop, heappush
from operator import attrgetter
from sys import getrefcount
from typing import TYPE_CHECKING, Any
from weakref import ref

import numpy as np
from numpy import ndarray

from .kernels import arrays

if TYPE_CHECKING:
    from ._tensor import Tensor

_TensorClass: Any = None  # class Tensor, once _tensor.py has registered it
tensor_classes: set[Any] = set()  # Tensor and its subclasses: a quicker test than isinstance
_new = object.__new__
clock = itertools.count(1).__next__  # one clock for all: stamps nodes and writes to memory


def register_tensor(cls: type) -> None:
    """Tell the tape which class its results have (called once, by _tensor.py)."""
    global _TensorClass
    _TensorClass = cls
    tensor_classes.add(cls)


class Mode(threading.local):
    """What this thread records; every thread starts with recording on."""

    recording = True
    sharing = True  # views tell their base of themselves; a plain walk's own views need not
    anomaly = False  # detect_anomaly: look at every value for NaN and Inf
    modules: tuple[str, ...] = ()  # names of the modules whose forward runs now (kept only in anomaly mode)


mode = Mode()
paused = 0  # how many threads do not record now: without any, nobody asks for mode.recording
watched = 0  # how many detect_anomaly blocks are open, in all threads: without any, nobody asks for mode.anomaly
_counting = threading.Lock()


def watch(change: int) -> None:
    """Another detect_anomaly block is open (1), or one fewer (-1)."""
    global watched
    with _counting:
        watched += change


def set_recording(on: bool) -> bool:
    """Whether this thread records from now on; gives what it was before."""
    global paused
    before = mode.recording
    if on is not before:
        mode.recording = on
        with _counting:
            paused += 1 if before else -1
    return before


class Storage:
    """What tensors that share memory have in common: when it was last written, and which of them are views."""

    __slots__ = ("written", "known", "many")

    def __init__(self) -> None:
        self.written = 0
        self.known: list[ref[Tensor]] = []
        self.many = 64  # when there are more, the dead ones are forgotten

    def views(self) -> list[Tensor]:
        """The living views; the dead ones are forgotten."""
        living = [t for r in self.known if (t := r()) is not None]
        if len(living) < len(self.known):
            self.known = [r for r in self.known if r() is not None]
        return living


class View:
    """A view's storage: its base's, and the base itself, whose place on the tape a write through the view changes.

    base is None where recording was off when the view was made: nobody could tell the base of such a write.
    """

    __slots__ = ("root", "base")

    def __init__(self, root: Storage, base: Tensor | None) -> None:
        self.root, self.base = root, base

    @property
    def written(self) -> int:
        return self.root.written

    @written.setter
    def written(self, stamp: int) -> None:
        self.root.written = stamp


class Extra:
    """What only few nodes have: a gradient to keep, hooks, the module that was running."""

    __slots__ = ("grad", "hooks", "retain", "module")

    def __init__(self) -> None:
        self.grad: Tensor | None = None
        self.hooks: dict[int, Callable[[Tensor], Tensor | None]] = {}
        self.retain = False
        self.module = ""


class Node:
    """One operation on the tape, or a leaf (no inputs).

    inputs   (node, derivative, node, derivative, ...); () for a leaf; None once the graph was freed
    result   (array, Storage) where a derivative needs the operation's result, else None
    stamp    the clock when it was made: parents are always older than children
    """

    __slots__ = ("inputs", "result", "shape", "dtype", "stamp", "extra", "__weakref__")

    inputs: tuple[Any, ...] | None
    result: tuple[Any, Storage] | None
    extra: Extra | None
    fused = False

    def __init__(self, inputs: tuple[Any, ...], array: Any) -> None:
        self.inputs, self.shape, self.dtype, self.stamp = inputs, array.shape, array.dtype, clock()
        self.result = self.extra = None

    @property
    def name(self) -> str:
        """The operation's name, read from where its derivative was written."""
        if self.inputs == ():
            return "leaf"
        return "freed" if self.inputs is None else self._made_by().__qualname__.split(".<locals>")[0]

    def _made_by(self) -> Callable:
        assert self.inputs is not None
        return self.inputs[1]

    def __repr__(self) -> str:
        return f"Node({self.name}, shape={self.shape}, dtype={self.dtype.name})"

    def more(self) -> Extra:
        if self.extra is None:
            self.extra = Extra()
        return self.extra

    def parents(self) -> tuple[Node, ...]:
        return self._walked_once()[::2]

    def _walked_once(self) -> tuple[Any, ...]:
        if self.inputs is None:
            raise RuntimeError(
                "backward: this graph was walked before and its values were freed; "
                "pass retain_graph=True to the first backward() or grad(), or compute the loss again"
            )
        return self.inputs

    def free(self) -> None:
        self.inputs = self.result = None


class FusedNode(Node):
    """An operation whose gradients come from one kernel call; inputs: (node or None, ...).

    gradients    the call
    composition  the plain operations that it equals, of `tensors`
    used         the tensors whose values the gradients read
    """

    __slots__ = ("gradients", "composition", "tensors", "used")

    gradients: Callable | None
    composition: Callable | None
    tensors: Sequence[Tensor | None]
    used: Sequence[Tensor | None]
    fused = True

    def _made_by(self) -> Callable:
        assert self.gradients is not None
        return self.gradients

    def parents(self) -> tuple[Node, ...]:
        return tuple([n for n in self._walked_once() if n is not None])

    def free(self) -> None:
        self.inputs = self.result = self.gradients = self.composition = None
        self.tensors = self.used = ()


# ------------------------------------------------------------------------------------------------ record


def wrap(array: Any, node: Node | None = None) -> Tensor:
    """A Tensor around an array, nothing checked or copied."""
    t = _new(_TensorClass)
    t.array = array if array.__class__ is ndarray or array.__class__ in arrays.names else np.asarray(array)
    t.node = node
    t.storage = None
    return t


def record(Y: Any, a: Tensor, da: Callable, b: Tensor | None = None, db: Callable | None = None, *more: Any) -> Tensor:
    """The Tensor of an operation's value Y, with one derivative for each input: record(Y, a, da, b, db, ...).

    A derivative takes G = ∂L/∂Y and gives ∂L/∂(its input), written with the engine's own operations, in the
    broadcast shape: the walk sums it down to the input's shape and casts it to the input's dtype. Where derivatives
    need the result, `record_result` gives it to them. Inputs that need no gradient cost nothing.
    """
    if Y.__class__ is not ndarray:
        if Y.__class__ not in arrays.names:
            Y = np.asarray(Y)
        else:  # computed on another device: numbers from the CPU have come there, and their gradients go back
            a, b = _gone(a), None if b is None else _gone(b)
            more = tuple([_gone(t) if i % 2 == 0 else t for i, t in enumerate(more)])
    y = _new(_TensorClass)
    y.array = Y
    y.node = y.storage = None
    if not paused or mode.recording:
        inputs: tuple[Any, ...] = ()
        if a.node is not None:
            inputs = (a.node, da)
        if b is not None and b.node is not None:
            inputs += (b.node, db)
        if more:
            for t, dt in zip(more[::2], more[1::2], strict=True):
                if t.node is not None:
                    inputs += (t.node, dt)
        if inputs:
            y.node = node = _new(Node)  # without a call of __init__: this line runs once for each operation
            node.inputs, node.shape, node.dtype, node.stamp = inputs, Y.shape, Y.dtype, clock()
            node.result = node.extra = None
    if watched and mode.anomaly:
        _look_at(Y, da.__qualname__.split(".<locals>")[0], "forward", mode.modules)
        if y.node is not None:
            y.node.more().module = ".".join(mode.modules)
    return y


def _gone(t: Tensor) -> Tensor:
    """t, or where it is on the CPU a stand-in whose gradient, of another device, is brought to the CPU."""
    if t.node is None or t.array.__class__ is not ndarray or (paused and not mode.recording):
        return t
    stand_in = wrap(t.array)
    stand_in.node = Node((t.node, lambda G: G.cpu()), t.array)
    return stand_in


def record_result(
    Y: Any, a: Tensor, da: Callable, b: Tensor | None = None, db: Callable | None = None
) -> Tensor:
    """As `record`, for derivatives that need the operation's result: each takes G and Y."""
    y = record(Y, a, da, b, db)
    if y.node is not None:
        y.storage = Storage()
        y.node.result = (y.array, y.storage)
    return y


def record_fused(
    Y: Any,
    inputs: Sequence[Tensor | None],
    gradients: Callable[[Any, tuple[bool, ...]], Sequence[Any]],
    composition: Callable[..., Tensor] | None,
    used: Sequence[Tensor | None] | None = None,
    result: bool = False,
) -> Tensor:
    """The Tensor of a fused operation's value Y.

    inputs       the tensors that it is differentiated by (None for one that was not given)
    gradients    (G array, needed) -> one array or None for each input, all in one kernel call; `needed[i]` tells
                 whether the i-th is asked for
    composition  the plain operations of the engine that it equals, a function of the inputs. Second derivatives
                 walk this one: nobody writes a second derivative by hand. None: `gradients` takes and gives Tensors,
                 in operations of the engine, and is itself walked (autograd.Function).
    used         the tensors whose values the gradients read; all inputs unless given
    result       the gradients read Y too: a change of it in place is noticed
    """
    if watched and mode.anomaly:
        name = gradients.__qualname__.split(".<locals>")[0]
        _look_at(Y, name, "forward", mode.modules)
    y = wrap(Y)
    if paused and not mode.recording:
        return y
    nodes = tuple([None if t is None else t.node for t in inputs])
    if any(nodes):
        y.node = node = _new(FusedNode)
        array = y.array
        node.inputs, node.shape, node.dtype, node.stamp = nodes, array.shape, array.dtype, clock()
        node.result = node.extra = None
        node.gradients, node.composition = gradients, composition
        node.tensors, node.used = inputs if composition else (), inputs if used is None else used
        if result:
            y.storage = Storage()
            node.result = (y.array, y.storage)
        if watched and mode.anomaly:
            node.more().module = ".".join(mode.modules)
    return y


def view(array: Any, base: Tensor, derivative: Callable[[Tensor], Tensor]) -> Tensor:
    """As `record`, for an operation whose value shares the memory of its input."""
    y = record(array, base, derivative)
    if mode.sharing:
        root: Any = base.storage
        whole: Tensor | None = base
        if root is None:
            root = base.storage = Storage()
        elif root.__class__ is View:  # a view of a view is a view of the same base
            root, whole = root.root, root.base
        y.storage = seen = _new(View)  # without a call of __init__, as above
        seen.root = root
        if whole is None or (paused and not mode.recording):
            seen.base = None
        else:
            seen.base = whole
            root.known.append(ref(y))
            if len(root.known) > root.many:
                root.many = 64 + 2 * len(root.views())
    return y


def root_of(x: Tensor) -> Storage:
    """What x has in common with every tensor that shares its memory."""
    if x.storage is None:
        x.storage = Storage()
    return x.storage.root if isinstance(x.storage, View) else x.storage


def share(y: Tensor, x: Tensor) -> None:
    """Let y, off the tape, look at x's memory: a write to one is seen by the other's derivatives."""
    y.storage = root_of(x)


# -------------------------------------------------------------------------------------------------- walk


def walk(
    roots: Iterable[tuple[Node, Tensor]],
    targets: Sequence[Node] | None = None,
    retain_graph: bool = False,
    create_graph: bool = False,
) -> dict[Node, Tensor]:
    """Carry the gradients of the roots back, newest node first.

    Without targets, every leaf that is reached accumulates its `.grad`. With targets only what leads to them is
    computed, and their gradients are returned. `create_graph` records the walk itself, for second derivatives.
    """
    grads: dict[Node, Tensor] = {}  # of the nodes that are still to be walked
    for node, G in roots:
        grads[node] = grads[node] + G if node in grads else G
    needed = None if targets is None else _leading_to(targets, grads)
    todo = [(-node.stamp, node) for node in grads]  # a heap: the newest node first, for no older one can change its G
    heapify(todo)
    found: dict[Node, Tensor] = {}
    recording, sharing, looking = set_recording(bool(create_graph)), mode.sharing, watched and mode.anomaly
    mode.sharing = create_graph
    if looking:
        mode.anomaly = False  # a bad gradient is reported with the operation that it belongs to
    try:
        while todo:
            node = heappop(todo)[1]
            G = grads.pop(node)
            if needed is not None and node not in needed:
                continue
            if (extra := node.extra) is not None:
                for hook in list(extra.hooks.values()):
                    replaced = hook(G)
                    G = G if replaced is None else replaced
                if extra.retain:
                    extra.grad = G
            if targets is not None and node in targets:
                found[node] = G if create_graph or G.array.base is None else wrap(G.array.copy())
            if node.inputs == ():
                if targets is None:
                    _accumulate(node, G, create_graph)
                continue
            if node.fused:
                parts = _fused_parts(node, G, needed, create_graph)  # type: ignore[arg-type]
            else:
                parts = _parts(node, G, needed)
            for parent, g in parts:
                if g.array.shape != parent.shape:
                    g = sum_to(g, parent.shape)
                if g.array.dtype is not parent.dtype and g.array.dtype != parent.dtype:
                    g = g.to(parent.dtype)
                if looking:
                    _look_at(g.array, node.name, "backward", (node.extra.module,) if node.extra else ())
                if parent in grads:
                    grads[parent] = grads[parent] + g
                else:
                    grads[parent] = g
                    heappush(todo, (-parent.stamp, parent))
            if not retain_graph:
                node.free()
            G = g = parts = None  # type: ignore[assignment]  # only `grads` may hold them now
    finally:
        set_recording(recording)
        mode.sharing = sharing
        if looking:
            mode.anomaly = True
    return found


def _leading_to(targets: Sequence[Node], roots: Iterable[Node]) -> set[Node]:
    """The targets, and every node from which a walk reaches one."""
    seen = set(roots)
    todo = list(seen)
    for node in todo:  # it grows on the way
        for parent in node.parents():
            if parent not in seen:
                seen.add(parent)
                todo.append(parent)
    needed = set(targets)
    for node in sorted(seen, key=attrgetter("stamp")):  # parents are older than children
        if any(parent in needed for parent in node.parents()):
            needed.add(node)
    return needed


def _parts(node: Node, G: Tensor, needed: set[Node] | None) -> Iterable[tuple[Node, Tensor]]:
    """Each parent with its share of the gradient, one derivative after the other."""
    inputs = iter(node._walked_once())
    for parent, derivative in zip(inputs, inputs, strict=True):
        if needed is not None and parent not in needed:
            continue
        if derivative.__closure__ is not None:
            for cell in derivative.__closure__:
                captured = cell.cell_contents
                if isinstance(captured, _TensorClass) and captured.storage is not None:
                    _unchanged(node, captured.storage)
        if node.result is None:
            yield parent, derivative(G)
        else:
            array, storage = node.result
            _unchanged(node, storage)
            Y = wrap(array, node if mode.recording else None)
            Y.storage = storage
            yield parent, derivative(G, Y)


def _fused_parts(
    node: FusedNode, G: Tensor, needed: set[Node] | None, create_graph: bool
) -> Iterable[tuple[Node, Tensor]]:
    """As `_parts`: one kernel for all gradients, or, when they are to be differentiated again, the composition."""
    inputs, gradients = node._walked_once(), node.gradients
    assert gradients is not None
    for tensor in node.used:
        if tensor is not None and tensor.storage is not None:
            _unchanged(node, tensor.storage)
    if node.result is not None:
        _unchanged(node, node.result[1])
    asked = tuple([p is not None and (needed is None or p in needed) for p in inputs])
    if node.composition is None:
        found = gradients(G, asked)
        return [(p, g) for p, g, ask in zip(inputs, found, asked, strict=True) if ask and g is not None]
    if not create_graph:
        arrays = gradients(G.array, asked)
        return [(p, wrap(g)) for p, g, ask in zip(inputs, arrays, asked, strict=True) if ask]
    # The composition is walked down to stand-ins, each an identity of its input: the first walk ends there, and what it
    # recorded leads on through them to the inputs when it is differentiated again.
    stand_ins = [None if t is None else _identity(t) for t in node.tensors]
    Y = node.composition(*stand_ins)
    asked_nodes = [s.node for s, ask in zip(stand_ins, asked, strict=True) if ask and s is not None and s.node]
    reached = walk([(Y.node, G)], asked_nodes, retain_graph=True, create_graph=True) if Y.node else {}
    parts = []
    for parent, stand_in, ask in zip(inputs, stand_ins, asked, strict=True):
        if ask and stand_in is not None and stand_in.node in reached:
            parts.append((parent, reached[stand_in.node]))
    return parts


def _identity(x: Tensor) -> Tensor:
    """x again, as a node of its own that leads back to x."""
    return record(x.array, x, lambda G: G) if x.node is not None else x


def _unchanged(node: Node, storage: Storage | View) -> None:
    if storage.written > node.stamp:
        raise RuntimeError(
            f"backward: a tensor that the derivative of {node.name} needs was changed in place after {node.name} "
            f"used it; use an operation that makes a new tensor (x = x + 1, not x += 1), or change a clone()"
        )


def sum_to(g: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Undo broadcasting: sum g over the axes along which an input of this shape was repeated."""
    lead = g.array.ndim - len(shape)
    repeated = tuple(range(lead)) + tuple(
        lead + i for i, size in enumerate(shape) if size == 1 and g.array.shape[lead + i] != 1
    )
    if repeated:
        g = g.sum(repeated, keepdim=True)
    return g.reshape(shape) if g.array.shape != shape else g


def _accumulate(leaf: Node, G: Tensor, create_graph: bool) -> None:
    """leaf.grad ← leaf.grad + G. The first G is kept as it is where nothing else can see it, else copied."""
    extra = leaf.extra or leaf.more()
    if extra.grad is None:
        if G.node is None and (getrefcount(G) > _SOLE or G.array.base is not None or not G.array.flags.writeable):
            G = wrap(G.array.copy())
        extra.grad = G
    elif create_graph or extra.grad.node is not None or not extra.grad.array.flags.writeable:
        extra.grad = extra.grad + G
    else:
        np.add(extra.grad.array, G.array, out=extra.grad.array)
        if extra.grad.storage is not None:
            extra.grad.storage.written = clock()


def _count_references() -> int:
    """What getrefcount says in `_accumulate` of a gradient that only the walk holds."""

    def inner(G: object) -> int:
        return getrefcount(G)

    G = object()
    return inner(G)


_SOLE = _count_references()


def _look_at(value: Any, name: str, direction: str, modules: tuple[str, ...]) -> None:
    """In anomaly mode: raise at the first NaN or Inf, naming the operation and the module."""
    if value.dtype.kind == "f" and not np.isfinite(value).all():
        what = "NaN" if np.isnan(value).any() else "Inf"
        index = tuple(int(i) for i in np.argwhere(~np.isfinite(value))[0]) if value.ndim else ()
        where = ".".join(m for m in modules if m)
        raise FloatingPointError(
            f"{direction}: {name} made the first {what}, at index {index} of shape {value.shape}"
            + (f", in module {where}" if where else "")
        )


# ---------------------------------------------------------------------------------------------- backward


def backward(
    tensors: Tensor | Sequence[Tensor],
    grad_tensors: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    inputs: Tensor | Sequence[Tensor] | None = None,
) -> None:
    """Add the gradients of the tensors to the `.grad` of the leaves that they were computed from.

    grad_tensors: ∂L/∂ each tensor, None for a single number. inputs: only these get a gradient. The graph is freed on
    the way unless retain_graph (which create_graph implies).
    """
    ys = tensors if isinstance(tensors, (list, tuple)) else (tensors,)
    seeds = grad_tensors if isinstance(grad_tensors, (list, tuple)) else (grad_tensors,) * len(ys)
    if len(seeds) != len(ys):
        raise ValueError(f"backward: {len(seeds)} gradients for {len(ys)} tensors")
    roots = []
    for y, gradient in zip(ys, seeds, strict=True):
        G = seed("backward", y, gradient)
        roots.append((y.node, G))
    retain = create_graph if retain_graph is None else retain_graph
    if inputs is None:
        walk(roots, None, retain, create_graph)
        return
    targets = nodes_of("backward", inputs if isinstance(inputs, (list, tuple)) else (inputs,))
    found = walk(roots, targets, retain, create_graph)
    for node in targets:
        if node in found:
            _accumulate(node, found[node], create_graph)


def seed(name: str, y: Any, gradient: Tensor | None) -> Tensor:
    """∂L/∂y to start from: 1 for a single number."""
    if not isinstance(y, _TensorClass):
        raise TypeError(f"{name}: expected a Tensor, got {type(y).__name__}")
    if y.node is None:
        raise RuntimeError(
            f"{name}: the tensor was not computed from anything that requires a gradient; create a leaf with "
            "requires_grad=True, and compute outside no_grad()"
        )
    if gradient is None:
        if y.array.size != 1:
            raise RuntimeError(
                f"{name}: shape {y.shape} is no single number; take .sum() or .mean() first, or pass the gradient"
            )
        return wrap(np.full(y.array.shape, 1, y.array.dtype, like=y.array))
    if not isinstance(gradient, _TensorClass):
        if not isinstance(gradient, (int, float, ndarray)):
            raise TypeError(f"{name}: the gradient must be a Tensor, got {type(gradient).__name__}")
        gradient = wrap(np.asarray(gradient, y.dtype, like=y.array))
    if gradient.array.shape != y.array.shape:
        raise ValueError(f"{name}: the gradient has shape {gradient.shape}, the tensor {y.shape}; they must agree")
    return gradient if gradient.array.dtype is y.array.dtype else gradient.to(y.dtype)


def nodes_of(name: str, inputs: Sequence[Any]) -> list[Node]:
    """The inputs' nodes; an error for one that requires no gradient."""
    nodes = []
    for i, x in enumerate(inputs):
        if not isinstance(x, _TensorClass):
            raise TypeError(f"{name}: input {i} is {type(x).__name__}, not a Tensor")
        if x.node is None:
            raise RuntimeError(f"{name}: input {i} does not require a gradient; create it with requires_grad=True")
        nodes.append(x.node)
    return nodes
