"""Module, the base class of every layer and model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np

from minidl import tape
from minidl._tensor import Tensor
from minidl.autograd import no_grad
from minidl.nn.parameter import Parameter, clear_gradients

M = TypeVar("M", bound="Module")
Hook = Callable[..., Any]


class IncompatibleKeys(NamedTuple):
    """What `load_state_dict(strict=False)` passed over."""

    missing_keys: list[str]
    unexpected_keys: list[str]

    def __repr__(self) -> str:
        if not self.missing_keys and not self.unexpected_keys:
            return "<All keys matched successfully>"
        return f"IncompatibleKeys(missing_keys={self.missing_keys}, unexpected_keys={self.unexpected_keys})"


class RemovableHandle:
    """Takes a hook out again: `handle.remove()`, or at the end of `with handle:`."""

    def __init__(self, hooks: dict[int, Any], key: int) -> None:
        self._hooks, self._key = hooks, key

    def remove(self) -> None:
        self._hooks.pop(self._key, None)

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()


class Module:
    """Parameters, buffers and submodules under names, and a `forward` that computes with them.

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.hidden, self.out = nn.Linear(64, 32), nn.Linear(32, 10)

            def forward(self, x):                        # (N, 64) -> (N, 10)
                return self.out(F.relu(self.hidden(x)))

    Assigning a Parameter or a Module registers it. The three registries keep the order and the names; each
    entry is an ordinary attribute too, so that reading `self.weight` costs a dictionary look-up and no more.
    """

    training: bool
    _parameters: dict[str, Parameter | None]
    _buffers: dict[str, Tensor | None]
    _modules: dict[str, Module | None]
    _non_persistent: set[str]
    _forward_hooks: dict[int, tuple[Hook, bool]]
    _forward_pre_hooks: dict[int, tuple[Hook, bool]]
    _name: str  # under which the owner keeps it, for detect_anomaly

    if TYPE_CHECKING:  # a submodule's attributes, reached through its owner

        def __getattr__(self, name: str) -> Any: ...

    def __init__(self) -> None:
        self.__dict__.update(
            training=True,
            _parameters={},
            _buffers={},
            _modules={},
            _non_persistent=set(),
            _forward_hooks={},
            _forward_pre_hooks={},
            _name="",
        )

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__}: no forward method; define forward(self, x) in the class")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self._forward_hooks or self._forward_pre_hooks or (tape.watched and tape.mode.anomaly):
            return self._call_watched(args, kwargs)
        return self.forward(*args, **kwargs)

    def _call_watched(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """With the hooks around it, and with its name on the tape's list while detect_anomaly looks on."""
        for hook, with_kwargs in tuple(self._forward_pre_hooks.values()):
            changed = hook(self, args, kwargs) if with_kwargs else hook(self, args)
            if changed is not None and with_kwargs:
                args, kwargs = changed
            elif changed is not None:
                args = changed if isinstance(changed, tuple) else (changed,)
        running = tape.mode.modules
        if tape.mode.anomaly:
            tape.mode.modules = (*running, self._name or type(self).__name__)
        try:
            output = self.forward(*args, **kwargs)
        finally:
            tape.mode.modules = running
        for hook, with_kwargs in tuple(self._forward_hooks.values()):
            changed = hook(self, args, kwargs, output) if with_kwargs else hook(self, args, output)
            if changed is not None:
                output = changed
        return output

    # Registration

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, Parameter):
            self.register_parameter(name, value)
        elif isinstance(value, Module):
            self.add_module(name, value)
        else:
            self._assign_plain(name, value)

    def _assign_plain(self, name: str, value: Any) -> None:
        """A value that is no Parameter and no Module: it may still fill or empty a registered name."""
        for registry, kinds, expected in (
            (self.__dict__.get("_parameters"), (), "a Parameter"),
            (self.__dict__.get("_modules"), (), "a Module"),
            (self.__dict__.get("_buffers"), Tensor, "a Tensor"),
        ):
            if registry and name in registry:
                if value is not None and not isinstance(value, kinds):
                    raise TypeError(
                        f"{type(self).__name__}: {name} is registered and cannot become a {type(value).__name__}; "
                        f"assign {expected} or None, or `del` it first"
                    )
                registry[name] = value
        object.__setattr__(self, name, value)

    def __delattr__(self, name: str) -> None:
        for registry in (self._parameters, self._buffers, self._modules):
            registry.pop(name, None)
        self._non_persistent.discard(name)
        object.__delattr__(self, name)

    def _register(self, kind: str, name: str, value: Any) -> None:
        registries = self.__dict__
        if "_parameters" not in registries:
            raise AttributeError(
                f"{type(self).__name__}: cannot assign {name} before Module.__init__(); call super().__init__() first"
            )
        if not isinstance(name, str):
            raise TypeError(f"{type(self).__name__}: a name is a str, got {type(name).__name__}")
        if name == "" or "." in name:
            raise KeyError(f"{type(self).__name__}: the name {name!r} is empty or has a dot, which state_dict keys use")
        known = any(name in registries[r] for r in ("_parameters", "_buffers", "_modules"))
        if hasattr(self, name) and not known and not (name in registries and kind != "_buffers"):
            raise KeyError(f"{type(self).__name__}: the attribute {name!r} exists already; choose another name")
        for other in ("_parameters", "_buffers", "_modules"):
            if other != kind:
                registries[other].pop(name, None)
        registries[kind][name] = value
        registries[name] = value

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Adds a parameter under a name; None keeps the name for one that this instance does without."""
        if param is not None and not isinstance(param, Parameter):
            raise TypeError(
                f"register_parameter: {name} is a {type(param).__name__}, expected a Parameter; wrap it in "
                "nn.Parameter(...)"
            )
        if param is not None and not param.is_leaf:
            raise ValueError(f"register_parameter: {name} was computed from other tensors; give a leaf, x.detach()")
        self._register("_parameters", name, param)

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Adds a tensor that is state and no parameter, in state_dict if `persistent`."""
        if tensor is not None and not isinstance(tensor, Tensor):
            raise TypeError(f"register_buffer: {name} is a {type(tensor).__name__}, expected a Tensor or None")
        self._register("_buffers", name, tensor)
        (self._non_persistent.discard if persistent else self._non_persistent.add)(name)

    def add_module(self, name: str, module: Module | None) -> None:
        """Adds a submodule under a name; the same as `setattr(self, name, module)`."""
        if module is not None and not isinstance(module, Module):
            raise TypeError(f"add_module: {name} is a {type(module).__name__}, expected a Module")
        self._register("_modules", name, module)
        if module is not None and not module._name:
            module.__dict__["_name"] = name

    register_module = add_module

    def register_forward_hook(
        self, hook: Hook, *, prepend: bool = False, with_kwargs: bool = False, always_call: bool = False
    ) -> RemovableHandle:
        """Calls `hook(module, args, output)` after every forward; what it gives, if not None, is the output.

        `with_kwargs=True` calls `hook(module, args, kwargs, output)`. Returns a handle; `handle.remove()`
        ends it. `always_call=True`, a hook that outlives an error in forward, is refused.
        """
        if always_call:
            raise NotImplementedError(
                "register_forward_hook: always_call=True is not supported; catch the error instead"
            )
        return _hooked(self._forward_hooks, (hook, with_kwargs), prepend)

    def register_forward_pre_hook(
        self, hook: Hook, *, prepend: bool = False, with_kwargs: bool = False
    ) -> RemovableHandle:
        """Calls `hook(module, args)` before every forward; what it gives, if not None, are the arguments.

        `with_kwargs=True` calls `hook(module, args, kwargs)`, which gives None or the pair (args, kwargs). Returns a
        handle; `handle.remove()` ends it.
        """
        return _hooked(self._forward_pre_hooks, (hook, with_kwargs), prepend)

    # Walking the tree

    def named_modules(
        self, memo: set[Module] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Module]]:
        """This module under `prefix`, then every submodule, parents first, each once."""
        memo = set() if memo is None else memo
        if remove_duplicate:
            if self in memo:
                return
            memo.add(self)
        yield prefix, self
        for name, child in self._modules.items():
            if child is not None:
                yield from child.named_modules(memo, f"{prefix}.{name}" if prefix else name, remove_duplicate)

    def modules(self, remove_duplicate: bool = True) -> Iterator[Module]:
        """This module, then every submodule, parents first."""
        return (module for _, module in self.named_modules(remove_duplicate=remove_duplicate))

    def named_children(self) -> Iterator[tuple[str, Module]]:
        seen: set[Module] = set()
        for name, child in self._modules.items():
            if child is not None and child not in seen:
                seen.add(child)
                yield name, child

    def children(self) -> Iterator[Module]:
        """The modules that are its own attributes, each once."""
        return (child for _, child in self.named_children())

    def _named(self, kind: str, prefix: str, recurse: bool, remove_duplicate: bool) -> Iterator[tuple[str, Any]]:
        seen: set[int] = set()
        tree = self.named_modules(None, prefix, remove_duplicate) if recurse else iter([(prefix, self)])
        for path, module in tree:
            for name, value in getattr(module, kind).items():
                if value is None or (remove_duplicate and id(value) in seen):
                    continue
                seen.add(id(value))
                yield f"{path}.{name}" if path else name, value

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """`("0.weight", parameter)`, ..., a shared parameter once."""
        return self._named("_parameters", prefix, recurse, remove_duplicate)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """Its parameters and, with `recurse`, those of all modules in it, each once: what an optimizer is given."""
        return (parameter for _, parameter in self.named_parameters(recurse=recurse))

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        return self._named("_buffers", prefix, recurse, remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """Its buffers and, with `recurse`, those of all modules in it: state that is kept but not trained."""
        return (buffer for _, buffer in self.named_buffers(recurse=recurse))

    def get_submodule(self, target: str) -> Module:
        """The submodule at a dotted path, `model.get_submodule("features.0")`; "" is the module itself."""
        module: Module = self
        for name in target.split(".") if target else ():
            child = module._modules.get(name)
            if child is None:
                raise AttributeError(
                    f"get_submodule: {type(module).__name__} has no submodule {name!r} (of {target!r})"
                )
            module = child
        return module

    def get_parameter(self, target: str) -> Parameter:
        """The parameter at a dotted path, `model.get_parameter("features.0.weight")`."""
        return self._get("get_parameter", "_parameters", target)

    def get_buffer(self, target: str) -> Tensor:
        """The buffer at a dotted path, `model.get_buffer("norm.running_mean")`."""
        return self._get("get_buffer", "_buffers", target)

    def _get(self, who: str, kind: str, target: str) -> Any:
        path, _, name = target.rpartition(".")
        owner = self.get_submodule(path)
        found = getattr(owner, kind).get(name)
        if found is None:
            raise AttributeError(f"{who}: {type(owner).__name__} has no {kind[1:-1]} {name!r} (of {target!r})")
        return found

    # Changing the whole tree

    def apply(self: M, fn: Callable[[Module], object]) -> M:
        """Calls `fn(module)` on every submodule, children first, then on this one."""
        for child in self.children():
            child.apply(fn)
        fn(self)
        return self

    def train(self: M, mode: bool = True) -> M:
        """Sets `training` here and below: Dropout drops and BatchNorm uses the batch's statistics."""
        if not isinstance(mode, bool):
            raise ValueError(f"train: mode is {mode!r}, expected True or False")
        for module in self.modules():
            module.__dict__["training"] = mode
        return self

    def eval(self: M) -> M:
        """`train(False)`: Dropout does nothing and BatchNorm uses its running statistics."""
        return self.train(False)

    def requires_grad_(self: M, requires_grad: bool = True) -> M:
        """Thaws or freezes every parameter."""
        for parameter in self.parameters():
            parameter.requires_grad = requires_grad
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forgets every parameter's gradient; `set_to_none=False` fills it with zeros instead."""
        clear_gradients(self.parameters(), set_to_none)

    def to(self: M, *args: Any, **kwargs: Any) -> M:
        """`to(dtype)`, `to(device)`, `to(device, dtype)` or `to(tensor)`, in place: parameters stay the same
        objects.

        A dtype reaches floating-point parameters and buffers only. An optimizer made before goes on with them, and
        moves its state with them before its next step; the state's dtype stays.
        """
        target = Tensor.to

        def convert(tensor: Tensor) -> Tensor:
            moved = target(tensor.detach(), *args, **kwargs)
            integer = not tensor.is_floating_point() and moved.dtype != tensor.dtype
            return moved.to(tensor.dtype) if integer else moved

        probe = target(tape.wrap(np.zeros(0, np.float32)), *args, **kwargs)
        if not probe.is_floating_point():
            raise TypeError(f"to: a module's parameters cannot become {probe.dtype}; give a floating-point dtype")
        return self._convert(convert)

    def _convert(self: M, convert: Callable[[Tensor], Tensor]) -> M:
        with no_grad():
            for tensor in (*self.parameters(), *self.buffers()):
                grad = tensor.grad
                tensor.data = convert(tensor)
                if grad is not None:
                    tensor.grad = convert(grad)
        return self

    def float(self: M) -> M:
        """float32 parameters and buffers."""
        return self._convert(lambda tensor: tensor.float() if tensor.is_floating_point() else tensor.detach())

    def half(self: M) -> M:
        """float16 parameters and buffers."""
        return self._convert(lambda tensor: tensor.half() if tensor.is_floating_point() else tensor.detach())

    def cpu(self: M) -> M:
        """`to("cpu")`."""
        return self.to("cpu")

    def cuda(self: M, device: Any = None) -> M:
        """`to("cuda")`."""
        return self.to("cuda" if device is None else device)

    def double(self: M) -> M:
        """float64 parameters and buffers."""
        return self._convert(lambda tensor: tensor.double() if tensor.is_floating_point() else tensor.detach())

    # State

    def state_dict(
        self, *, destination: dict[str, Tensor] | None = None, prefix: str = "", keep_vars: bool = False
    ) -> dict[str, Tensor]:
        """Every parameter and persistent buffer under its dotted name, sharing the module's memory.

        destination: a dict to fill; prefix: what stands before every name; keep_vars: the parameters themselves, not
        detached tensors.
        """
        state: dict[str, Tensor] = {} if destination is None else destination
        for path, module in self.named_modules(prefix=prefix.rstrip("."), remove_duplicate=False):
            for registry in (module._parameters, module._buffers):
                for name, tensor in registry.items():
                    if tensor is not None and name not in module._non_persistent:
                        state[f"{path}.{name}" if path else name] = tensor if keep_vars else tensor.detach()
        return state

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> IncompatibleKeys:
        """Copies every value into the parameter or buffer of its name, cast to that one's dtype.

        All is checked before the first value is written, so that an error leaves the module as it was.
        `strict=False` passes over missing and unexpected keys and returns them; a shape that differs is
        always an error. Values may be Tensors or whatever NumPy reads (so a PyTorch module's state_dict,
        too). `assign=True` makes the values themselves the parameters' memory, dtype and all, instead of
        copying them.
        """
        if not isinstance(state_dict, Mapping):
            raise TypeError(f"load_state_dict: expected a dict of names and tensors, got {type(state_dict).__name__}")
        own = self.state_dict(keep_vars=True)
        missing = [name for name in own if name not in state_dict]
        unexpected = [name for name in state_dict if name not in own]
        new = {
            name: value.array if isinstance(value, Tensor) else np.asarray(value)
            for name, value in state_dict.items()
            if name in own
        }
        faults = [
            f"{name} has shape {tuple(array.shape)} there and {tuple(own[name].shape)} here"
            for name, array in new.items()
            if tuple(array.shape) != tuple(own[name].shape)
        ]
        if strict:
            faults += [f"missing {_listing(missing)}"] * bool(missing)
            faults += [f"unexpected {_listing(unexpected)}"] * bool(unexpected)
        if faults:
            raise RuntimeError(
                f"load_state_dict: {'; '.join(faults)}: the state is not of this {type(self).__name__}, and "
                "nothing was loaded; build the module with the sizes it was saved with"
                + (", or pass strict=False to load what fits" if strict and (missing or unexpected) else "")
            )
        with no_grad():
            for name, array in new.items():
                if assign:
                    own[name].data = tape.wrap(array)
                else:
                    own[name].copy_(tape.wrap(array.copy()))
        return IncompatibleKeys(missing, unexpected)

    # Text

    def extra_repr(self) -> str:
        """What a layer prints between its brackets."""
        return ""

    def _get_name(self) -> str:
        return type(self).__name__

    def __repr__(self) -> str:
        return _nested(self._get_name(), self.extra_repr(), [(f"({n})", repr(m)) for n, m in self._modules.items()])


def _hooked(hooks: dict[int, Any], entry: tuple[Hook, bool], prepend: bool) -> RemovableHandle:
    """Adds a hook at the end, or at the front."""
    key = tape.clock()
    others = dict(hooks) if prepend else {}
    if prepend:
        hooks.clear()
    hooks[key] = entry
    hooks.update(others)
    return RemovableHandle(hooks, key)


def _nested(name: str, extra: str, entries: list[tuple[str, str]]) -> str:
    """PyTorch's layout: one line where nothing is nested, else one entry a line, indented by two."""
    if not entries:
        return f"{name}({extra})"
    indented = (f"{label}: {text}".replace("\n", "\n  ") for label, text in entries)
    return f"{name}(\n  " + "\n  ".join([*([extra] if extra else []), *indented]) + "\n)"


def _listing(names: list[str], shown: int = 6) -> str:
    return ", ".join(names[:shown]) + (f" and {len(names) - shown} more" if len(names) > shown else "")


__all__ = ["IncompatibleKeys", "Module", "Parameter", "RemovableHandle"]
