"""Module, Parameter and the containers: registration, walking, state, text."""

from __future__ import annotations

import copy
import gc
import weakref
from collections import OrderedDict

import numpy as np
import pytest

import minidl
from minidl import nn
from minidl.nn import functional as F


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(3, 4)
        self.norm = nn.BatchNorm1d(4)
        self.scale = nn.Parameter(minidl.ones(1))
        self.register_buffer("offset", minidl.zeros(4))
        self.register_buffer("scratch", minidl.zeros(2), persistent=False)

    def forward(self, x):
        return F.relu(self.norm(self.hidden(x))) * self.scale + self.offset


NAMES = ["scale", "hidden.weight", "hidden.bias", "norm.weight", "norm.bias"]
STATE = ["scale", "offset", "hidden.weight", "hidden.bias", "norm.weight", "norm.bias", "norm.running_mean",
         "norm.running_var", "norm.num_batches_tracked"]  # fmt: skip


def test_parameter_is_a_leaf_with_a_gradient():
    p = nn.Parameter(minidl.tensor([1.0, 2.0]))
    assert isinstance(p, minidl.Tensor) and p.requires_grad and p.is_leaf
    (p * p).sum().backward()
    assert p.grad.tolist() == [2.0, 4.0]
    assert type(p * 2) is minidl.Tensor
    assert not nn.Parameter(minidl.zeros(2), requires_grad=False).requires_grad
    assert repr(p).startswith("Parameter containing:\ntensor([1., 2.]")
    with pytest.raises(TypeError, match="expected a Tensor"):
        nn.Parameter([1.0])


def test_a_parameter_shares_memory_with_its_data():
    data = minidl.zeros(2)
    p = nn.Parameter(data)
    with minidl.no_grad():
        p.add_(1)
    assert data.tolist() == [1.0, 1.0]


def test_names_in_order():
    net = Net()
    assert [n for n, _ in net.named_parameters()] == NAMES
    tracked = ["norm.running_mean", "norm.running_var", "norm.num_batches_tracked"]
    assert [n for n, _ in net.named_buffers()] == ["offset", "scratch", *tracked]
    assert [n for n, _ in net.named_modules()] == ["", "hidden", "norm"]
    assert [n for n, _ in net.named_children()] == ["hidden", "norm"]
    assert list(net.state_dict()) == STATE
    assert len(list(net.parameters())) == 5 and len(list(net.parameters(recurse=False))) == 1
    assert [n for n, _ in net.named_parameters(prefix="net", recurse=False)] == ["net.scale"]
    assert net.get_submodule("norm") is net.norm and net.get_submodule("") is net
    with pytest.raises(AttributeError, match="no submodule 'nrom'"):
        net.get_submodule("nrom")


def test_shared_parameters_and_modules_count_once():
    net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    net[1].weight = net[0].weight
    net.append(net[0])
    assert [n for n, _ in net.named_parameters()] == ["0.weight", "0.bias", "1.bias"]
    assert len(list(net.named_parameters(remove_duplicate=False))) == 6
    assert list(net.state_dict()) == [f"{i}.{n}" for i in range(3) for n in ("weight", "bias")]
    assert len(list(net.modules())) == 3


def test_assigning_registers_and_replaces():
    net = Net()
    net.hidden.weight = nn.Parameter(minidl.zeros(4, 3))
    assert (net.hidden.weight.array == 0).all() and [n for n, _ in net.named_parameters()] == NAMES
    net.hidden.bias = None
    assert net.hidden.bias is None and "hidden.bias" not in net.state_dict()
    net.offset = minidl.ones(4)
    assert net.state_dict()["offset"].tolist() == [1.0] * 4
    del net.scale
    assert not hasattr(net, "scale") and "scale" not in net.state_dict()
    net.plain = minidl.zeros(2)
    assert "plain" not in net.state_dict()
    net.plain = nn.Parameter(minidl.zeros(2))
    assert "plain" in net.state_dict()


def test_registering_refuses():
    net = Net()
    with pytest.raises(TypeError, match="weight is registered and cannot become a Tensor; assign a Parameter or None"):
        net.hidden.weight = minidl.zeros(4, 3)
    with pytest.raises(TypeError, match="cannot become a int"):
        net.hidden = 3
    with pytest.raises(TypeError, match="assign a Tensor or None"):
        net.offset = 3.0
    with pytest.raises(TypeError, match="expected a Parameter"):
        net.register_parameter("w", minidl.zeros(2))
    with pytest.raises(TypeError, match="expected a Tensor or None"):
        net.register_buffer("b", [1.0])
    with pytest.raises(TypeError, match="expected a Module"):
        net.add_module("m", 3)
    with pytest.raises(KeyError, match="exists already"):
        net.register_buffer("forward", minidl.zeros(2))
    for name in ("", "a.b"):
        with pytest.raises(KeyError, match="empty or has a dot"):
            net.add_module(name, nn.Identity())
    with pytest.raises(NotImplementedError, match="no forward method"):
        nn.Module()(1)


def test_super_init_is_missed():
    class Forgetful(nn.Module):
        def __init__(self):
            self.layer = nn.Linear(1, 1)

    with pytest.raises(AttributeError, match=r"call super\(\).__init__\(\) first"):
        Forgetful()


def test_unknown_attribute():
    with pytest.raises(AttributeError, match="wieght"):
        nn.Linear(1, 1).wieght  # noqa: B018


def test_train_eval_apply_and_freezing():
    net = nn.Sequential(Net(), nn.Dropout(0.5))
    assert net.eval() is net and not any(m.training for m in net.modules())
    assert all(m.training for m in net.train().modules())
    with pytest.raises(ValueError, match="True or False"):
        net.train("yes")
    seen = []
    net.apply(lambda m: seen.append(type(m).__name__))
    assert seen == ["Linear", "BatchNorm1d", "Net", "Dropout", "Sequential"]
    net.requires_grad_(False)
    assert not any(p.requires_grad for p in net.parameters())
    assert not net(minidl.ones(2, 3)).requires_grad


def test_zero_grad():
    net = nn.Linear(2, 1)
    net(minidl.ones(1, 2)).sum().backward()
    net.zero_grad(set_to_none=False)
    assert net.weight.grad.tolist() == [[0.0, 0.0]]
    net.zero_grad()
    assert net.weight.grad is None


def test_dtypes():
    net = Net().double()
    assert all(p.dtype == minidl.float64 for p in net.parameters())
    assert net.norm.num_batches_tracked.dtype == minidl.int64
    first = net.hidden.weight
    net(minidl.ones(2, 3, dtype=minidl.float64)).sum().backward()
    assert net.to(minidl.float32) is net and net.hidden.weight is first
    assert first.dtype == first.grad.dtype == minidl.float32 and first.requires_grad and first.is_leaf
    net(minidl.ones(2, 3)).sum().backward()
    net.to("cpu").to(device="cpu", dtype=minidl.float64).to(minidl.zeros(1)).float()
    assert net.cpu() is net
    with pytest.raises(RuntimeError, match="cuda"):
        net.cuda()
    with pytest.raises(TypeError, match="floating-point"):
        net.to(minidl.int64)
    assert first.dtype == minidl.float32


def test_state_dict_round_trip():
    a, b = Net(), Net()
    a(minidl.randn(8, 3))
    result = b.load_state_dict(a.state_dict())
    assert result == ([], [])
    for name, value in a.state_dict().items():
        np.testing.assert_array_equal(b.state_dict()[name].array, value.array)
        assert not value.requires_grad
    a.eval(), b.eval()
    x = minidl.randn(5, 3)
    np.testing.assert_array_equal(a(x).array, b(x).array)
    weight = b.hidden.weight
    b.load_state_dict({k: v.numpy().astype(np.float64) for k, v in a.state_dict().items()})
    assert b.hidden.weight is weight and weight.dtype == minidl.float32


def test_state_dict_shares_memory():
    net = nn.Linear(1, 1)
    with minidl.no_grad():
        net.weight.fill_(5)
    assert net.state_dict()["weight"].item() == 5
    assert net.state_dict(keep_vars=True)["weight"] is net.weight


def test_foreign_state_loads_nothing():
    net = Net()
    before = {k: v.array.copy() for k, v in net.state_dict().items()}
    good = {k: minidl.ones(*v.shape) for k, v in net.state_dict().items()}
    cases = [
        (
            {**good, "hidden.weight": minidl.ones(4, 5)},
            r"hidden.weight has shape \(4, 5\) there and \(4, 3\) here",
        ),
        ({k: v for k, v in good.items() if k != "scale"}, "missing scale"),
        ({**good, "extra": minidl.ones(1)}, "unexpected extra"),
        ({}, "missing scale, offset, .* and 3 more"),
    ]
    for state, words in cases:
        with pytest.raises(RuntimeError, match=words):
            net.load_state_dict(state)
    with pytest.raises(RuntimeError, match="has shape"):
        net.load_state_dict(cases[0][0], strict=False)
    with pytest.raises(TypeError, match="expected a dict"):
        net.load_state_dict([1])
    for name, value in net.state_dict().items():
        np.testing.assert_array_equal(value.array, before[name])
    missing, unexpected = net.load_state_dict({"scale": minidl.zeros(1), "extra": minidl.ones(1)}, strict=False)
    assert missing == STATE[1:] and unexpected == ["extra"] and net.scale.item() == 0


def test_deepcopy_is_independent():
    net = Net()
    other = copy.deepcopy(net)
    with minidl.no_grad():
        other.hidden.weight.fill_(0)
    assert (net.hidden.weight.array != 0).any()
    assert type(other.hidden.weight) is nn.Parameter and other.hidden.weight.requires_grad
    assert other.hidden._parameters["weight"] is other.hidden.weight


def test_a_module_dies_with_its_last_name():
    gc.disable()
    try:
        net = Net()
        gone = weakref.ref(net)
        net(minidl.randn(4, 3)).sum().backward()
        del net
        assert gone() is None
    finally:
        gc.enable()


def test_hooks():
    net, seen = nn.Linear(2, 2), []
    first = net.register_forward_hook(lambda module, args, output: seen.append((module, args, output)))
    net.register_forward_hook(lambda module, args, kwargs, output: output * 2, with_kwargs=True)
    net.register_forward_hook(lambda module, args, output: seen.append("early"), prepend=True)
    x = minidl.ones(1, 2)
    y = net(x)
    assert seen[0] == "early" and seen[1][0] is net and seen[1][1] == (x,)
    np.testing.assert_array_equal(y.array, 2 * seen[1][2].array)
    first.remove()
    net(x)
    assert len(seen) == 3


def test_anomaly_names_the_module():
    class Bad(nn.Module):
        def forward(self, x):
            return minidl.log(x - 1)

    net = nn.Sequential(nn.Identity(), nn.Sequential(OrderedDict(broken=Bad())))
    with (
        minidl.autograd.detect_anomaly(),
        pytest.raises(FloatingPointError, match=r"log made the first .* in module Sequential\.1\.broken"),
    ):
        net(minidl.ones(2))
    net(minidl.ones(2) * 3)


def test_hook_handles_are_context_managers():
    net, count = nn.Identity(), []
    with net.register_forward_hook(lambda *_: count.append(1)):
        net(1)
    net(1)
    assert count == [1]


# Containers


def test_sequential():
    a, b, c = nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)
    net = nn.Sequential(a, b, c)
    x = minidl.randn(4, 2)
    np.testing.assert_array_equal(net(x).array, c(F.relu(a(x))).array)
    assert net[0] is a and net[-1] is c and len(net) == 3 and list(net) == [a, b, c]
    assert list(net[:2]) == [a, b] and type(net[:2]) is nn.Sequential and net[1:][1] is c
    net[1] = nn.Tanh()
    assert "1): Tanh()" in repr(net)
    assert net.append(nn.Identity()) is net and len(net) == 4
    del net[1]
    assert [n for n, _ in net.named_children()] == ["0", "1", "2"] and net[1] is c
    net.insert(0, b)
    assert net[0] is b and net[1] is a and net.pop(0) is b and len(net) == 3
    net.extend([b, b])
    assert len(net) == 5
    with pytest.raises(IndexError, match="index 5 is out of range"):
        net[5]
    with pytest.raises(TypeError, match="expected an int or a slice"):
        net["0"]
    with pytest.raises(TypeError, match="expected a Module"):
        nn.Sequential(3)


def test_sequential_of_an_ordered_dict():
    net = nn.Sequential(OrderedDict([("conv", nn.Conv2d(1, 2, 3)), ("act", nn.ReLU())]))
    assert net.conv is net[0] and list(net.state_dict()) == ["conv.weight", "conv.bias"]
    assert list(net[:1].state_dict()) == ["conv.weight", "conv.bias"]


def test_subclass_of_sequential_can_be_sliced():
    class Stack(nn.Sequential):
        def __init__(self, depth):
            super().__init__(*(nn.Linear(2, 2) for _ in range(depth)))

    assert len(Stack(3)[1:]) == 2


def test_module_list():
    layers = nn.ModuleList(nn.Linear(i + 1, i + 2) for i in range(3))
    assert len(layers) == 3 and layers[1].in_features == 2 and len(list(layers.parameters())) == 6
    layers += [nn.ReLU()]
    assert isinstance(layers[-1], nn.ReLU) and len(layers + [nn.ReLU()]) == 5
    assert [type(m).__name__ for m in layers[2:]] == ["Linear", "ReLU"] and layers[0] in layers
    with pytest.raises(NotImplementedError):
        layers(1)


def test_module_dict():
    heads = nn.ModuleDict({"a": nn.Linear(1, 2), "b": nn.ReLU()})
    assert "a" in heads and list(heads) == ["a", "b"] == list(heads.keys()) and len(heads) == 2
    heads["c"] = nn.Tanh()
    assert isinstance(heads.pop("b"), nn.ReLU) and [k for k, _ in heads.items()] == ["a", "c"]
    assert [type(m).__name__ for m in heads.values()] == ["Linear", "Tanh"]
    with pytest.raises(KeyError, match="no module 'd'; it has 'a', 'c'"):
        heads["d"]
    heads.clear()
    assert len(heads) == 0


def test_text():
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 2), nn.ModuleList([nn.ReLU(), nn.ReLU(), nn.GELU()]))
    assert repr(net) == (
        "Sequential(\n"
        "  (0): Flatten(start_dim=1, end_dim=-1)\n"
        "  (1): Linear(in_features=4, out_features=2, bias=True)\n"
        "  (2): ModuleList(\n"
        "    (0-1): 2 x ReLU()\n"
        "    (2): GELU(approximate='none')\n"
        "  )\n"
        ")"
    )


def test_hooks_before_forward():
    layer, seen = nn.Linear(2, 2), []
    first = layer.register_forward_pre_hook(lambda module, args: seen.append("first"))
    layer.register_forward_pre_hook(lambda module, args: seen.append("zeroth"), prepend=True)
    double = layer.register_forward_pre_hook(lambda module, args: args[0] * 2)
    x = minidl.ones(1, 2)
    twice = layer(x)
    assert seen == ["zeroth", "first"]
    first.remove(), double.remove()
    layer.register_forward_pre_hook(lambda module, args, kwargs: ((), {"input": args[0] * 2}), with_kwargs=True)
    np.testing.assert_array_equal(layer(x).array, twice.array)
    assert seen == ["zeroth", "first", "zeroth"]


def test_parameters_and_buffers_by_their_path():
    net = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.BatchNorm1d(2)))
    assert net.get_parameter("0.weight") is net[0].weight
    assert net.get_buffer("1.0.running_mean") is net[1][0].running_mean
    with pytest.raises(AttributeError, match="^get_parameter: Linear has no parameter 'w' "):
        net.get_parameter("0.w")
    with pytest.raises(AttributeError, match="^get_submodule: "):
        net.get_buffer("2.running_mean")


def test_sequences_are_joined():
    a, b = nn.Sequential(nn.Linear(2, 3)), nn.Sequential(nn.ReLU())
    assert list((a + b)._modules) == ["0", "1"] and (a + b)[0] is a[0]
    with pytest.raises(TypeError, match="^Sequential: cannot add a ReLU"):
        a + nn.ReLU()
