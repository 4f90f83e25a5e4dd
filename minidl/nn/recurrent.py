"""Recurrent layers RNN, LSTM and GRU, and their cells. The formulas of a step and its derivatives:
`minidl.ops.recurrent`."""

from __future__ import annotations

import math
import warnings
from typing import Any

from minidl import ops
from minidl._creation import empty, zeros
from minidl._tensor import Tensor
from minidl.nn import functional as F
from minidl.nn import init
from minidl.nn.module import Module, Parameter
from minidl.ops.recurrent import UNITS, recur


class _Recurrent(Module):
    """What RNN, LSTM and GRU share: layers above each other, in one direction or both.

    Parameters, for layer k = 0, 1, ...: weight_ih_l{k} (gates * H, inputs), weight_hh_l{k} (gates * H, H),
    bias_ih_l{k} and bias_hh_l{k} (gates * H); the same with `_reverse` behind the name for the way from the last time
    to the first.
    """

    mode: str

    def __init__(
        self,
        mode: str,
        input_size: int,
        hidden_size: int,
        num_layers: int,
        bias: bool,
        batch_first: bool,
        dropout: float,
        bidirectional: bool,
        proj_size: int,
        device: Any,
        dtype: Any,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        sizes = (("input_size", input_size), ("hidden_size", hidden_size), ("num_layers", num_layers))
        for option, size in sizes:
            if not isinstance(size, int) or size < 1:
                raise ValueError(f"{name}: {option} is {size!r}, expected an integer of 1 or more")
        if not isinstance(dropout, (int, float)) or isinstance(dropout, bool) or not 0 <= dropout <= 1:
            raise ValueError(f"{name}: dropout is {dropout!r}, expected a probability from 0 to 1")
        if not isinstance(bias, bool) or not isinstance(batch_first, bool):
            raise TypeError(f"{name}: bias is {bias!r}, batch_first {batch_first!r}; expected True or False")
        if proj_size:
            raise NotImplementedError(
                f"{name}: proj_size={proj_size} is not supported; put a Linear(hidden_size, {proj_size}) behind it"
            )
        if dropout > 0 and num_layers == 1:
            warnings.warn(f"{name}: dropout {dropout} acts between layers, and num_layers is 1", stacklevel=3)
        self.mode, self.input_size, self.hidden_size, self.num_layers = mode, input_size, hidden_size, num_layers
        self.bias, self.batch_first, self.dropout = bias, batch_first, float(dropout)
        self.bidirectional, self.proj_size = bidirectional, proj_size
        self._unit = UNITS[mode]()
        rows, kind = self._unit.gates * hidden_size, {"device": device, "dtype": dtype}
        for layer, suffix in self._ways():
            width = input_size if layer == 0 else hidden_size * (1 + bidirectional)
            self.register_parameter(f"weight_ih_l{layer}{suffix}", Parameter(empty((rows, width), **kind)))
            self.register_parameter(f"weight_hh_l{layer}{suffix}", Parameter(empty((rows, hidden_size), **kind)))
            for what in ("ih", "hh") if bias else ():
                self.register_parameter(f"bias_{what}_l{layer}{suffix}", Parameter(empty((rows,), **kind)))
        self.reset_parameters()

    def _ways(self) -> list[tuple[int, str]]:
        """(layer, suffix of its parameters' names), in the order of states and parameters."""
        suffixes = ("", "_reverse") if self.bidirectional else ("",)
        return [(layer, suffix) for layer in range(self.num_layers) for suffix in suffixes]

    @property
    def all_weights(self) -> list[list[Parameter]]:
        """The parameters layer by layer, direction by direction."""
        parts = _PARTS if self.bias else _PARTS[:2]
        return [[getattr(self, f"{what}_l{layer}{suffix}") for what in parts] for layer, suffix in self._ways()]

    def reset_parameters(self) -> None:
        """Draws the initial values again: all U(-k, k), k = 1 / sqrt(hidden_size)."""
        _uniform(self, self.hidden_size)

    def flatten_parameters(self) -> None:
        """Does nothing: PyTorch lays weights out for a GPU's library here."""

    def _run(self, input: Any, start: Tensor | None) -> tuple[Tensor, Tensor]:
        """(output (T, N, D * H) as the input's form wants it, last states (layers * D, k, N, H))."""
        name, k = type(self).__name__, 2 if self.mode == "LSTM" else 1
        if not isinstance(input, Tensor):
            raise TypeError(
                f"{name}: the input is a {type(input).__name__}, expected a Tensor; PackedSequence is not supported: "
                "pad the sequences to one length"
            )
        form = "(N, T, input_size)" if self.batch_first else "(T, N, input_size)"
        if input.ndim not in (2, 3) or input.shape[-1] != self.input_size:
            raise ValueError(
                f"{name}: the input has shape {tuple(input.shape)}, expected {form} or (T, input_size) with input_size "
                f"{self.input_size}"
            )
        batched = input.ndim == 3
        x = input.unsqueeze(1) if not batched else input.transpose(0, 1) if self.batch_first else input
        T, N = x.shape[:2]
        if T == 0:
            raise ValueError(f"{name}: the input {tuple(input.shape)} has no time step, expected one or more")
        ways = self._ways()
        if start is None:
            start = zeros((len(ways), k, N, self.hidden_size), dtype=x.dtype, device=x.device)
        last = []
        for place, (layer, suffix) in enumerate(ways):
            if suffix == "":
                if layer > 0 and self.dropout:
                    x = F.dropout(x, self.dropout, self.training)
                outputs: list[Tensor] = []
            part: dict[str, Any] = {w: getattr(self, f"{w}_l{layer}{suffix}", None) for w in _PARTS}
            projected = F.linear(x, part["weight_ih"], part["bias_ih"])  # (T, N, gates * H)
            reverse = suffix != ""
            states = recur(self._unit, projected, start[place], part["weight_hh"], part["bias_hh"], reverse)
            outputs.append(states[:, 0])
            last.append(states[0 if reverse else -1])
            if reverse or not self.bidirectional:
                x = outputs[0] if len(outputs) == 1 else ops.cat(outputs, -1)
        final = ops.stack(last)  # (layers * D, k, N, H)
        if not batched:
            return x.squeeze(1), final.squeeze(2)
        return (x.transpose(0, 1) if self.batch_first else x), final

    def _checked(self, what: str, state: Any, input: Any) -> Tensor:
        """A state given by the caller, as (layers * D, N, H)."""
        batched = isinstance(input, Tensor) and input.ndim == 3
        batch = (input.shape[0 if self.batch_first else 1],) if batched else ()
        size = (self.num_layers * (1 + self.bidirectional), *batch, self.hidden_size)
        if not isinstance(state, Tensor) or tuple(state.shape) != size:
            got = tuple(state.shape) if isinstance(state, Tensor) else type(state).__name__
            raise ValueError(
                f"{type(self).__name__}: {what} is {got}, expected a Tensor of shape {size}, batch in dimension 1"
            )
        return state if batched else state.unsqueeze(1)

    def extra_repr(self) -> str:
        text = f"{self.input_size}, {self.hidden_size}"
        for option, usual in (("num_layers", 1), ("bias", True), ("batch_first", False), ("dropout", 0.0)):
            if getattr(self, option) != usual:
                text += f", {option}={getattr(self, option)}"
        return text + (", bidirectional=True" if self.bidirectional else "")


_PARTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


class RNN(_Recurrent):
    """h[n,j] ← tanh(Σ[i] W[j,i] * x[n,i] + b[j] + (Σ[k] U[j,k] * h[n,k]) + d[j])

    Elman's units, for x = input[0], input[1], ...: output (T, N, D * H) holds h of every time, h_n (layers * D, N, H)
    the last. W and U are weight_ih_l0 and weight_hh_l0, b and d bias_ih_l0 and bias_hh_l0; H is hidden_size, D is 2
    if bidirectional, else 1.

    input         (T, N, input_size), with batch_first (N, T, input_size); without a batch (T, input_size)
    h_0           `rnn(input, h_0)`: where h starts, (layers * D, N, H), whatever batch_first says; 0 by default
    num_layers    layers above the first take the outputs of the layer below, in training through dropout
    nonlinearity  "tanh" or "relu"

    Initial values: all U(-k, k), k = 1 / sqrt(H). Source: Elman 1990, Finding Structure in Time.

    Errors: TypeError for a PackedSequence, which is not supported; ValueError where sizes do not fit.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"RNN: nonlinearity is {nonlinearity!r}, expected 'tanh' or 'relu'")
        self.__dict__["nonlinearity"] = nonlinearity
        mode = f"RNN_{nonlinearity.upper()}"
        options = (num_layers, bias, batch_first, dropout, bidirectional, 0, device, dtype)
        super().__init__(mode, input_size, hidden_size, *options)

    def forward(self, input: Tensor, hx: Tensor | None = None) -> tuple[Tensor, Tensor]:
        start = None if hx is None else self._checked("h_0", hx, input).unsqueeze(1)
        output, last = self._run(input, start)
        return output, last[:, 0]


class GRU(_Recurrent):
    """p[n,q,j] ← Σ[i] W[q,j,i] * x[n,i] + b[q,j]
    a[n,q,j] ← Σ[k] U[q,j,k] * h[n,k] + d[q,j]
    r[n,j] ← sigmoid(p[n,0,j] + a[n,0,j])
    z[n,j] ← sigmoid(p[n,1,j] + a[n,1,j])
    h[n,j] ← (1 - z[n,j]) * tanh(p[n,2,j] + r[n,j] * a[n,2,j]) + z[n,j] * h[n,j]

    Gated recurrent units, for x = input[0], input[1], ...: output (T, N, D * H) and h_n (layers * D, N, H). W and U are
    weight_ih_l0 and weight_hh_l0 as (3, H, ...), b and d bias_ih_l0 and bias_hh_l0 as (3, H). Shapes, options, initial
    values: RNN's. A step and its derivatives: `minidl.ops.gru_step`. Source: Cho et al. 2014, Learning Phrase
    Representations, section 2.3.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        options = (num_layers, bias, batch_first, dropout, bidirectional, 0, device, dtype)
        super().__init__("GRU", input_size, hidden_size, *options)

    def forward(self, input: Tensor, hx: Tensor | None = None) -> tuple[Tensor, Tensor]:
        start = None if hx is None else self._checked("h_0", hx, input).unsqueeze(1)
        output, last = self._run(input, start)
        return output, last[:, 0]


class LSTM(_Recurrent):
    """p[n,q,j] ← Σ[i] W[q,j,i] * x[n,i] + b[q,j] + (Σ[k] U[q,j,k] * h[n,k]) + d[q,j]
    c[n,j] ← sigmoid(p[n,1,j]) * c[n,j] + sigmoid(p[n,0,j]) * tanh(p[n,2,j])
    h[n,j] ← sigmoid(p[n,3,j]) * tanh(c[n,j])

    Long short-term memory, for x = input[0], input[1], ...: output (T, N, D * H) and (h_n, c_n), each (layers * D, N,
    H). W and U are weight_ih_l0 and weight_hh_l0 as (4, H, ...), b and d bias_ih_l0 and bias_hh_l0 as (4, H): the
    input gate, the forget gate, the candidate, the output gate. `lstm(input, (h_0, c_0))`; shapes, options, initial
    values: RNN's. A step and its derivatives: `minidl.ops.lstm_step`. `proj_size` is refused. Source: Hochreiter &
    Schmidhuber 1997; the forget gate: Gers, Schmidhuber & Cummins 2000.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        *,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        options = (num_layers, bias, batch_first, dropout, bidirectional, proj_size, device, dtype)
        super().__init__("LSTM", input_size, hidden_size, *options)

    def forward(self, input: Tensor, hx: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        start = None
        if hx is not None:
            h, c = _two("LSTM", hx)
            start = ops.stack([self._checked("h_0", h, input), self._checked("c_0", c, input)], 1)
        output, last = self._run(input, start)
        return output, (last[:, 0], last[:, 1])


# ---------------------------------------------------------------------------------------------------- cells


class _Cell(Module):
    """What the cells share: weight_ih (gates * H, input_size), weight_hh (gates * H, H), bias_ih, bias_hh (gates *
    H)."""

    gates: int

    def __init__(self, input_size: int, hidden_size: int, bias: bool, device: Any, dtype: Any) -> None:
        super().__init__()
        for option, size in (("input_size", input_size), ("hidden_size", hidden_size)):
            if not isinstance(size, int) or size < 1:
                raise ValueError(f"{type(self).__name__}: {option} is {size!r}, expected an integer of 1 or more")
        self.input_size, self.hidden_size, self.bias = input_size, hidden_size, bias
        rows, kind = self.gates * hidden_size, {"device": device, "dtype": dtype}
        self.weight_ih = Parameter(empty((rows, input_size), **kind))
        self.weight_hh = Parameter(empty((rows, hidden_size), **kind))
        for name in ("bias_ih", "bias_hh"):
            self.register_parameter(name, Parameter(empty((rows,), **kind)) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws the initial values again: all U(-k, k), k = 1 / sqrt(hidden_size)."""
        _uniform(self, self.hidden_size)

    def _both(self, input: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """What the input and h add to the gates, each (N, gates, H)."""
        shape = (self.gates, self.hidden_size)
        return (
            F.linear(input, self.weight_ih, self.bias_ih).unflatten(-1, shape),
            F.linear(h, self.weight_hh, self.bias_hh).unflatten(-1, shape),
        )

    def _batched(self, input: Any, *states: Tensor | None) -> list[Tensor]:
        """Input (N, input_size) and states (N, H), zeros for an absent one."""
        name = type(self).__name__
        if not isinstance(input, Tensor) or input.ndim not in (1, 2) or input.shape[-1] != self.input_size:
            got = tuple(input.shape) if isinstance(input, Tensor) else type(input).__name__
            raise ValueError(f"{name}: the input is {got}, expected (N, {self.input_size}) or ({self.input_size},)")
        size = (*input.shape[:-1], self.hidden_size)
        found = [input if input.ndim == 2 else input.unsqueeze(0)]
        for state in states:
            if state is None:
                state = zeros(size, dtype=input.dtype, device=input.device)
            elif not isinstance(state, Tensor) or tuple(state.shape) != size:
                got = tuple(state.shape) if isinstance(state, Tensor) else type(state).__name__
                raise ValueError(f"{name}: a state is {got}, expected a Tensor of shape {size}")
            found.append(state if input.ndim == 2 else state.unsqueeze(0))
        return found

    def extra_repr(self) -> str:
        text = f"{self.input_size}, {self.hidden_size}" + ("" if self.bias else ", bias=False")
        return text + (f", nonlinearity={self.nonlinearity}" if getattr(self, "nonlinearity", "tanh") != "tanh" else "")


class RNNCell(_Cell):
    """h[n,j] ← tanh(Σ[i] W[j,i] * x[n,i] + b[j] + (Σ[k] U[j,k] * h[n,k]) + d[j])

    One step of an RNN: x (N, input_size), h (N, H) -> (N, H); without a batch (input_size), (H) -> (H). W and U are
    weight_ih and weight_hh, b and d bias_ih and bias_hh; h is 0 where not given. `nonlinearity`: "tanh" or "relu".
    Source: Elman 1990.
    """

    gates = 1

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"RNNCell: nonlinearity is {nonlinearity!r}, expected 'tanh' or 'relu'")
        super().__init__(input_size, hidden_size, bias, device, dtype)
        self.nonlinearity = nonlinearity

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        x, h = self._batched(input, hx)
        a, b = self._both(x, h)
        y = (F.relu if self.nonlinearity == "relu" else F.tanh)(a + b).squeeze(1)
        return y if input.ndim == 2 else y.squeeze(0)


class LSTMCell(_Cell):
    """(N, input_size), ((N, H), (N, H)) -> (h', c'), each (N, H); the formulas: `minidl.ops.lstm_step` and LSTM.

    Without a batch: (input_size) and (H). (h, c) are 0 where not given.
    """

    gates = 4

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__(input_size, hidden_size, bias, device, dtype)

    def forward(self, input: Tensor, hx: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, Tensor]:
        x, h, c = self._batched(input, *((None, None) if hx is None else _two("LSTMCell", hx)))
        y = ops.lstm_step(*self._both(x, h), c)
        return (y[0], y[1]) if input.ndim == 2 else (y[0, 0], y[1, 0])


class GRUCell(_Cell):
    """(N, input_size), (N, H) -> (N, H); the formulas: `minidl.ops.gru_step` and GRU. h is 0 where not given.

    Without a batch: (input_size), (H) -> (H).
    """

    gates = 3

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__(input_size, hidden_size, bias, device, dtype)

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        x, h = self._batched(input, hx)
        y = ops.gru_step(*self._both(x, h), h)
        return y if input.ndim == 2 else y.squeeze(0)


def _two(name: str, hx: Any) -> tuple[Any, Any]:
    if not isinstance(hx, (tuple, list)) or len(hx) != 2:
        raise TypeError(f"{name}: hx is a {type(hx).__name__}, expected the pair (h, c)")
    return hx[0], hx[1]


def _uniform(module: Module, hidden_size: int) -> None:
    bound = 1 / math.sqrt(hidden_size)
    for parameter in module.parameters():
        init.uniform_(parameter, -bound, bound)


__all__ = ["GRU", "GRUCell", "LSTM", "LSTMCell", "RNN", "RNNCell"]
