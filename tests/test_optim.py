"""Optimizers and schedules: their docstrings' update rules, what they refuse, how they resume; and PyTorch's
values.
"""

from __future__ import annotations

import copy
import json
import math

import numpy as np
import pytest

import minidl
from minidl import nn, optim, penalties
from minidl.optim import lr_scheduler

CASES = [
    (optim.GD, {"lr": 0.1}),
    (optim.GD, {"lr": 0.1, "weight_decay": 0.3}),
    (optim.SGD, {"lr": 0.1}),
    (optim.SGD, {"lr": 0.1, "weight_decay": 0.3, "maximize": True}),
    (optim.SGD, {"lr": 0.1, "momentum": 0.9}),
    (optim.SGD, {"lr": 0.1, "momentum": 0.9, "dampening": 0.4, "weight_decay": 0.2}),
    (optim.SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.2}),
    (optim.Adam, {"lr": 0.1}),
    (optim.Adam, {"lr": 0.1, "betas": (0.7, 0.8), "eps": 1e-3, "weight_decay": 0.3}),
    (optim.Adam, {"lr": 0.1, "maximize": True}),
    (optim.AdamW, {"lr": 0.1}),
    (optim.AdamW, {"lr": 0.1, "weight_decay": 0.5}),
    (optim.Adam, {"lr": 0.1, "betas": (0.7, 0.8), "weight_decay": 0.3, "amsgrad": True}),
    (optim.AdamW, {"lr": 0.1, "betas": (0.7, 0.8), "amsgrad": True}),
    (optim.Adagrad, {"lr": 0.1}),
    (optim.Adagrad, {"lr": 0.1, "lr_decay": 0.2, "weight_decay": 0.3, "maximize": True}),
    (optim.Adagrad, {"lr": 0.1, "initial_accumulator_value": 0.5}),
    (optim.RMSprop, {"lr": 0.1}),
    (optim.RMSprop, {"lr": 0.1, "momentum": 0.9, "alpha": 0.8, "weight_decay": 0.3, "maximize": True}),
    (optim.RMSprop, {"lr": 0.1, "momentum": 0.5, "centered": True, "eps": 1e-3}),
    (optim.Adadelta, {"lr": 1.0}),
    (optim.Adadelta, {"lr": 0.5, "rho": 0.7, "eps": 1e-3, "weight_decay": 0.3, "maximize": True}),
]
START = np.array([[1.0, -2.0, 0.5], [0.0, 3.0, -0.25]])


@pytest.fixture(params=["reference", "native"])
def backend(request):
    if request.param == "native" and not minidl.kernels.native.compiled:
        pytest.skip("the native kernels were not built here")
    with minidl.backend(request.param):
        yield request.param


def gradients(steps=5):
    return np.random.default_rng(0).normal(size=(steps, *START.shape))


def leaf(array=START, dtype=np.float64):
    return minidl.tensor(np.asarray(array, dtype), requires_grad=True)


def run(optimizer, params, grads):
    for g in grads:
        for p in params:
            p.grad = minidl.tensor(g.astype(p.array.dtype))
        optimizer.step()
    return [p.array.copy() for p in params]


@pytest.mark.parametrize(("make", "options"), CASES)
def test_the_docstring_is_what_runs(make, options, backend):
    evaluator = pytest.importorskip("minidl.explain.evaluator", reason="the formula evaluator is not in this build")
    w = leaf()
    optimizer = make([w], **options)
    settings = {**optimizer.defaults}
    if "betas" in settings:
        settings["β1"], settings["β2"] = settings.pop("betas")
    state = {
        **settings,
        "w": START,
        "m": np.zeros_like(START),
        "v": np.zeros_like(START),
        "b": np.zeros_like(START),
        "u": np.zeros_like(START),
    }
    for t, g in enumerate(gradients(), 1):
        state = evaluator.run_updates(make, {**state, "g": g, "t": t})
        run(optimizer, [w], [g])
        np.testing.assert_allclose(w.array, state["w"], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(("make", "options"), CASES)
def test_float32_and_awkward_layouts(make, options, backend):
    """Several parameters, one transposed and one empty, take the same steps as one alone in float64."""
    alone = run(make([p := leaf()], **options), [p], gradients())[0]
    flipped = minidl.from_numpy(np.ascontiguousarray(START.T)).T.requires_grad_()
    assert not flipped.array.flags.c_contiguous
    small, empty = leaf(dtype=np.float32), leaf(np.zeros((0, 3)))
    optimizer = make([small, flipped, empty], **options)
    for g in gradients():
        small.grad, flipped.grad = minidl.tensor(g.astype(np.float32)), minidl.tensor(g.T.copy()).T
        empty.grad = minidl.zeros(0, 3, dtype=minidl.float64)
        optimizer.step()
    np.testing.assert_array_equal(flipped.array, alone)
    np.testing.assert_allclose(small.array, alone, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize(("make", "options"), CASES)
def test_resuming_gives_the_same_bits(make, options):
    grads = gradients(6)
    straight = run(make([p := leaf()], **options), [p], grads)[0]
    first = make([p := leaf()], **options)
    half = run(first, [p], grads[:3])[0]
    saved = copy.deepcopy(first.state_dict())
    second = make([q := leaf(half)], **{**options, "lr": 7.0})
    second.load_state_dict(saved)
    assert second.param_groups[0]["lr"] == options["lr"]
    np.testing.assert_array_equal(run(second, [q], grads[3:])[0], straight)


def test_a_parameter_without_a_gradient_stays_and_keeps_its_own_count():
    a, b = leaf(), leaf()
    optimizer = optim.Adam([a, b], lr=0.1)
    g = gradients()
    a.grad = minidl.tensor(g[0])
    optimizer.step()
    np.testing.assert_array_equal(b.array, START)
    a.grad = None
    b.grad = minidl.tensor(g[0])
    optimizer.step()
    np.testing.assert_array_equal(a.array, b.array)
    assert optimizer.state[a]["step"] == optimizer.state[b]["step"] == 1


def test_groups_have_options_of_their_own():
    a, b = leaf(), leaf()
    optimizer = optim.SGD([{"params": [a], "lr": 0.5}, {"params": b}], lr=0.1)
    g = gradients(1)
    run(optimizer, [a, b], g)
    np.testing.assert_allclose(a.array, START - 0.5 * g[0], rtol=1e-15)
    np.testing.assert_allclose(b.array, START - 0.1 * g[0], rtol=1e-15)
    optimizer.add_param_group({"params": [c := leaf()], "momentum": 0.9})
    assert optimizer.param_groups[2]["lr"] == 0.1
    run(optimizer, [c], g)


def test_closure_and_zero_grad():
    w = leaf()
    optimizer = optim.SGD([w], lr=0.1)

    def closure():
        optimizer.zero_grad()
        loss = (w * w).sum()
        loss.backward()
        return loss

    with minidl.no_grad():
        before = optimizer.step(closure).item()
    assert before == (START**2).sum()
    np.testing.assert_allclose(w.array, 0.8 * START, rtol=1e-15)
    optimizer.zero_grad(set_to_none=False)
    assert (w.grad.array == 0).all()
    optimizer.zero_grad()
    assert w.grad is None


def test_nan_gradients_are_not_hidden():
    for make in (optim.SGD, optim.Adam):
        w = leaf()
        run(make([w], lr=0.1), [w], [np.full_like(START, np.nan)])
        assert np.isnan(w.array).all()


def test_a_step_is_seen_by_the_tape():
    w = leaf()
    y = (w * w).sum()
    w.grad = minidl.tensor(gradients(1)[0])
    optim.SGD([w], lr=0.1).step()
    with pytest.raises(RuntimeError, match="in place"):
        y.backward()


def test_l2_penalty_is_weight_decay_for_sgd_and_not_for_adam():
    """SGD adds both to the gradient alike; Adam divides the penalty's by √v̂, AdamW's decay goes past it
    (Loshchilov & Hutter 2019, proposition 1 and 2)."""

    def train(make, in_loss, decay, steps=10, **options):
        w = leaf()
        optimizer = make([w], lr=0.01, weight_decay=decay, **options)
        scale = minidl.tensor(np.array([[100.0, 1.0, 0.01], [100.0, 1.0, 0.01]]))
        for g in gradients(steps):
            optimizer.zero_grad()
            loss = (w * scale * minidl.tensor(g)).sum() + penalties.L2(in_loss)(w)
            loss.backward()
            optimizer.step()
        return w.array

    for options in ({}, {"momentum": 0.9}, {"momentum": 0.9, "nesterov": True}):
        np.testing.assert_allclose(
            train(optim.SGD, 0.1, 0.0, **options), train(optim.SGD, 0.0, 0.1, **options), rtol=1e-12
        )
    penalty, coupled, decoupled = (
        train(optim.Adam, 0.1, 0.0),
        train(optim.Adam, 0.0, 0.1),
        train(optim.AdamW, 0.0, 0.1),
    )
    np.testing.assert_allclose(penalty, coupled, rtol=1e-10)
    assert np.abs(penalty - decoupled).max() > 1e-3

    # Where gradients are large the penalty shrinks nothing, the decay shrinks all alike.
    plain = train(optim.Adam, 0.0, 0.0)
    by_penalty, by_decay = np.abs(penalty - plain)[:, 0], np.abs(decoupled - plain)[:, 0]
    nonzero = START[:, 0] != 0
    assert (by_decay[nonzero] > 5 * by_penalty[nonzero]).all()


@pytest.mark.parametrize(
    ("make", "options", "words"),
    [
        (optim.SGD, {"lr": math.nan}, "SGD: lr is nan, expected a number of 0 or more"),
        (optim.SGD, {"lr": -0.1}, "lr is -0.1"),
        (optim.Adam, {"lr": math.nan}, "lr is nan"),
        (optim.Adam, {"lr": math.inf}, "lr is inf"),
        (optim.Adam, {"lr": "0.1"}, "lr is '0.1'"),
        (optim.GD, {"lr": None}, "lr is None"),
        (optim.SGD, {"momentum": -1}, "momentum is -1"),
        (optim.SGD, {"weight_decay": -1}, "weight_decay is -1"),
        (optim.SGD, {"nesterov": True}, "needs momentum above 0"),
        (optim.SGD, {"nesterov": True, "momentum": 0.9, "dampening": 0.1}, "dampening 0"),
        (optim.Adam, {"betas": (0.9, 1.0)}, "beta2 is 1.0"),
        (optim.Adam, {"betas": (-0.1, 0.9)}, "beta1 is -0.1"),
        (optim.Adam, {"betas": 0.9}, "betas is 0.9"),
        (optim.AdamW, {"eps": -1}, "AdamW: eps is -1"),
        (optim.Adagrad, {"lr_decay": -1}, "Adagrad: lr_decay is -1"),
        (optim.RMSprop, {"alpha": -1}, "RMSprop: alpha is -1"),
        (optim.Adadelta, {"rho": 1.5}, "Adadelta: rho is 1.5, expected a number from 0 to 1"),
    ],
)
def test_options_are_checked(make, options, words):
    with pytest.raises(ValueError, match=words):
        make([leaf()], **options)


@pytest.mark.parametrize("make", [optim.SGD, optim.Adam, optim.AdamW, optim.Adagrad, optim.RMSprop, optim.Adadelta])
def test_other_ways_of_computing(make):
    """foreach and fused change nothing; a differentiable step does not exist and is refused."""
    given = {"foreach": True, "fused": True} if make not in (optim.RMSprop, optim.Adadelta) else {"foreach": True}
    plain = run(make([p := leaf()], lr=0.1), [p], gradients())[0]
    np.testing.assert_array_equal(run(make([q := leaf()], lr=0.1, **given), [q], gradients())[0], plain)
    with pytest.raises(NotImplementedError, match=f"{make.__name__}: differentiable=True is not supported"):
        make([leaf()], lr=0.1, differentiable=True)


def test_named_parameters_may_be_given():
    net = nn.Linear(2, 3)
    assert optim.SGD(net.named_parameters(), lr=0.1).param_groups[0]["params"] == list(net.parameters())
    groups = [{"params": net.named_parameters(), "lr": 0.5}]
    assert optim.SGD(groups, lr=0.1).param_groups[0]["params"] == list(net.parameters())


def test_parameters_are_checked():
    w = leaf()
    for params, error, words in [
        (w, TypeError, "params is a Tensor"),
        (3, TypeError, "expected Tensors"),
        ([], ValueError, "no parameters"),
        ([3.0], TypeError, "parameter 0 is a float"),
        ([w * 2], ValueError, "computed from other tensors"),
        ([w, w], ValueError, "given twice"),
        ([{"params": [w]}, {"params": [w]}], ValueError, "given twice"),
        ([{"params": [w], "momentun": 0.9}], TypeError, "unknown option 'momentun'"),
        ([minidl.tensor([1, 2])], TypeError, "floating point"),
    ]:
        with pytest.raises(error, match=words):
            optim.SGD(params, lr=0.1)


def test_foreign_state_is_refused_and_changes_nothing():
    w = leaf()
    optimizer = optim.Adam([w], lr=0.1)
    run(optimizer, [w], gradients(2))
    before = copy.deepcopy(optimizer.state_dict())
    other = optim.Adam([p := leaf(np.ones(4))], lr=0.3)
    run(other, [p], [np.ones(4)])
    for state, words in [
        ({}, "expected a dict with 'state'"),
        (optim.Adam([leaf(), leaf()]).state_dict(), "groups of"),
        (other.state_dict(), "the state is of another model"),
        ({"state": {}, "param_groups": [{"params": [0], "betas": [0.9, 2.0]}]}, "beta2 is 2.0"),
    ]:
        with pytest.raises(ValueError, match=words):
            optimizer.load_state_dict(state)
        after = optimizer.state_dict()
        assert after["param_groups"] == before["param_groups"]
        np.testing.assert_array_equal(after["state"][0]["exp_avg"].array, before["state"][0]["exp_avg"].array)


def test_repr_names_the_options():
    text = repr(optim.SGD([leaf()], lr=0.5))
    assert text.startswith("SGD (\nParameter Group 0\n") and "    lr: 0.5\n" in text


def test_training_a_line():
    """Least squares by every optimizer: y = 3 x - 2."""
    x = minidl.tensor(np.linspace(-1, 1, 32)[:, None])
    y = 3 * x - 2
    for make, options in [
        (optim.GD, {"lr": 0.3}),
        (optim.SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
        (optim.Adam, {"lr": 0.1}),
        (optim.AdamW, {"lr": 0.1, "weight_decay": 0.0}),
    ]:
        model = nn.Linear(1, 1).double()
        optimizer = make(model.parameters(), **options)
        for _ in range(300):
            optimizer.zero_grad()
            nn.functional.mse_loss(model(x), y).backward()
            optimizer.step()
        assert model.weight.item() == pytest.approx(3, abs=1e-3), make
        assert model.bias.item() == pytest.approx(-2, abs=1e-3), make


# Schedules

SCHEDULES = [
    ("StepLR", {"step_size": 3, "gamma": 0.5}),
    ("MultiStepLR", {"milestones": [2, 5, 5, 8], "gamma": 0.3}),
    ("ExponentialLR", {"gamma": 0.9}),
    ("LinearLR", {}),
    ("LinearLR", {"start_factor": 0.5, "end_factor": 0.1, "total_iters": 7}),
    ("CosineAnnealingLR", {"T_max": 6}),
    ("CosineAnnealingLR", {"T_max": 5, "eta_min": 0.01}),
    ("LambdaLR", {"lr_lambda": lambda t: 1 / (1 + t)}),
    ("OneCycleLR", {"max_lr": 0.5, "total_steps": 21}),
    ("OneCycleLR", {"max_lr": 0.5, "epochs": 3, "steps_per_epoch": 7, "anneal_strategy": "linear"}),
    ("OneCycleLR", {"max_lr": 0.5, "total_steps": 30, "three_phase": True}),
]  # fmt: skip


def rates(module, optimizer, name, options, steps=20):
    scheduler = getattr(module, name)(optimizer, **options)
    found = [optimizer.param_groups[0]["lr"]]
    for _ in range(steps):
        optimizer.step()
        scheduler.step()
        found.append(optimizer.param_groups[0]["lr"])
        assert scheduler.get_last_lr() == [found[-1]]
    return found


@pytest.mark.parametrize(("name", "options"), [s for s in SCHEDULES if s[0] not in ("LambdaLR", "OneCycleLR")])
def test_schedule_formulas(name, options):
    evaluator = pytest.importorskip("minidl.explain.evaluator", reason="the formula evaluator is not in this build")
    schedule = getattr(lr_scheduler, name)
    scheduler = schedule(optim.SGD([leaf()], lr=0.2), **options)
    settings = {k: v for k, v in vars(scheduler).items() if isinstance(v, (int, float))}
    settings["MILESTONES"] = np.array(options.get("milestones", []))
    for t in range(20):
        expected = evaluator.evaluate(schedule, {**settings, "base_lr": 0.2, "t": t})["lr"]
        assert scheduler.at(t, 0.2) == pytest.approx(float(expected), rel=1e-13)


@pytest.mark.parametrize("strategy", ["cos", "linear"])
def test_one_cycle_formula(strategy):
    evaluator = pytest.importorskip("minidl.explain.evaluator", reason="the formula evaluator is not in this build")
    options = {
        "max_lr": 0.5,
        "total_steps": 21,
        "pct_start": 0.4,
        "div_factor": 10.0,
        "final_div_factor": 50.0,
    }
    found = rates(lr_scheduler, optim.Adam([leaf()]), "OneCycleLR", {**options, "anneal_strategy": strategy})
    for t, lr in enumerate(found):
        expected = evaluator.evaluate(lr_scheduler.OneCycleLR, {**options, "anneal_strategy": strategy, "t": t})["lr"]
        assert lr == pytest.approx(float(expected), rel=1e-12)


def test_schedules_by_hand():
    sgd = lambda: optim.SGD([leaf()], lr=1.0)  # noqa: E731
    assert rates(lr_scheduler, sgd(), "StepLR", {"step_size": 2}, 4) == pytest.approx([1, 1, 0.1, 0.1, 0.01])
    assert rates(lr_scheduler, sgd(), "LinearLR", {"start_factor": 0.5, "total_iters": 2}, 3) == [
        0.5,
        0.75,
        1.0,
        1.0,
    ]
    assert rates(lr_scheduler, sgd(), "CosineAnnealingLR", {"T_max": 2}, 2) == pytest.approx([1, 0.5, 0])
    assert rates(lr_scheduler, sgd(), "LambdaLR", {"lr_lambda": lambda t: 2.0**-t}, 2) == [1.0, 0.5, 0.25]
    cycle = rates(
        lr_scheduler,
        optim.SGD([leaf()], lr=1.0, momentum=0.9),
        "OneCycleLR",
        {"max_lr": 1.0, "total_steps": 10},
        9,
    )
    assert (
        cycle[0] == pytest.approx(0.04)
        and max(cycle) == cycle[2] == pytest.approx(1)
        and cycle[-1] == pytest.approx(4e-6)
    )


def test_two_schedules_combine():
    optimizer = optim.SGD([leaf()], lr=1.0)
    both = lr_scheduler.ExponentialLR(optimizer, 0.5), lr_scheduler.StepLR(optimizer, 2, 0.1)
    found = []
    for _ in range(4):
        for scheduler in both:
            scheduler.step()
        found.append(optimizer.param_groups[0]["lr"])
    assert found == pytest.approx([0.5, 0.025, 0.0125, 0.000625])


@pytest.mark.parametrize(("name", "options"), SCHEDULES)
def test_schedule_state_round_trip(name, options):
    """Through JSON, where a checkpoint keeps it."""
    fresh = lambda: optim.SGD([leaf()], lr=0.2, momentum=0.9)  # noqa: E731
    straight = rates(lr_scheduler, fresh(), name, options, 16)
    optimizer = fresh()
    first = getattr(lr_scheduler, name)(optimizer, **options)
    for _ in range(7):
        first.step()
    saved = json.loads(json.dumps([first.state_dict(), optimizer.state_dict()["param_groups"]]))
    resumed = fresh()
    second = getattr(lr_scheduler, name)(resumed, **options)
    second.load_state_dict(saved[0])
    resumed.load_state_dict({"state": {}, "param_groups": saved[1]})
    found = []
    for _ in range(9):
        second.step()
        found.append(resumed.param_groups[0]["lr"])
    assert found == straight[8:]


def test_plateau():
    optimizer = optim.SGD([leaf()], lr=1.0)
    scheduler = lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=1, min_lr=0.2)
    found = []
    for metric in [1.0, 0.9, 0.9, minidl.tensor(0.95), math.nan, 0.9, 0.9, 0.9, 0.1]:
        scheduler.step(metric)
        found.append(optimizer.param_groups[0]["lr"])
    assert found == [1.0, 1.0, 1.0, 0.5, 0.5, 0.25, 0.25, 0.2, 0.2]
    with pytest.raises(ValueError, match="validation_loss"):
        scheduler.step()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda o: lr_scheduler.StepLR(o, 0), "step_size is 0"),
        (lambda o: lr_scheduler.LinearLR(o, start_factor=0), "start_factor is 0"),
        (lambda o: lr_scheduler.LinearLR(o, total_iters=0), "total_iters is 0"),
        (lambda o: lr_scheduler.CosineAnnealingLR(o, 0), "T_max is 0"),
        (lambda o: lr_scheduler.OneCycleLR(o, 0.1), "give total_steps"),
        (lambda o: lr_scheduler.OneCycleLR(o, 0.1, 10, anneal_strategy="step"), "anneal_strategy"),
        (lambda o: lr_scheduler.ReduceLROnPlateau(o, factor=1.0), "factor is 1.0"),
        (lambda o: lr_scheduler.ReduceLROnPlateau(o, mode="least"), "mode is 'least'"),
        (lambda o: lr_scheduler.LambdaLR(o, [abs, abs]), "2 functions for 1"),
        (lambda o: lr_scheduler.SequentialLR(o, [], []), "no schedulers"),
    ],
)
def test_schedule_options_are_checked(make, words):
    with pytest.raises(ValueError, match=words):
        make(optim.SGD([leaf()], lr=0.1, momentum=0.9))


def test_one_cycle_ends():
    scheduler = lr_scheduler.OneCycleLR(optim.Adam([leaf()]), 0.1, total_steps=2)
    scheduler.step()
    with pytest.raises(ValueError, match="total_steps"):
        scheduler.step()


# Against PyTorch


@pytest.fixture
def torch():
    return pytest.importorskip("torch", reason="PyTorch is not installed: nothing to compare with")


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(("make", "options"), [c for c in CASES if c[0] is not optim.GD])
def test_steps_as_pytorch(torch, make, options, dtype):
    w, theirs = leaf(dtype=dtype), torch.tensor(START.astype(dtype), requires_grad=True)
    ours, other = make([w], **options), getattr(torch.optim, make.__name__)([theirs], **options)
    for g in gradients(25).astype(dtype):
        w.grad, theirs.grad = minidl.tensor(g), torch.tensor(g)
        ours.step()
        other.step()
    np.testing.assert_allclose(w.array, theirs.detach().numpy(), rtol=1e-12 if dtype == np.float64 else 1e-5, atol=1e-7)


@pytest.mark.parametrize(("make", "options"), [c for c in CASES if c[0] is not optim.GD])
def test_state_of_pytorch_loads(torch, make, options):
    w, theirs = leaf(), torch.tensor(START, requires_grad=True)
    ours, other = make([w], **options), getattr(torch.optim, make.__name__)([theirs], **options)
    grads = gradients(6)
    for g in grads[:3]:
        theirs.grad = torch.tensor(g)
        other.step()
    ours.load_state_dict(other.state_dict())
    with minidl.no_grad():
        w.copy_(minidl.tensor(theirs.detach().numpy()))
    for g in grads[3:]:
        w.grad, theirs.grad = minidl.tensor(g), torch.tensor(g)
        ours.step()
        other.step()
    np.testing.assert_allclose(w.array, theirs.detach().numpy(), rtol=1e-12)


@pytest.mark.parametrize(("make", "options"), [c for c in CASES if c[0] is not optim.GD])
def test_state_loads_into_pytorch(torch, make, options):
    """The way back: the same keys, and the same steps from there on."""
    w, theirs = leaf(), torch.tensor(START, requires_grad=True)
    ours, other = make([w], **options), getattr(torch.optim, make.__name__)([theirs], **options)
    reference = getattr(torch.optim, make.__name__)([v := torch.tensor(START, requires_grad=True)], **options)
    grads = gradients(6)
    run(ours, [w], grads[:3])
    for g in grads[:3]:
        v.grad = torch.tensor(g)
        reference.step()
    saved, known = ours.state_dict(), reference.state_dict()
    assert {k for k, s in saved["state"].get(0, {}).items() if s is not None} == {
        k for k, s in known["state"].get(0, {}).items() if s is not None
    }
    saved["state"] = {
        n: {k: torch.tensor(np.asarray(getattr(s, "array", s)), dtype=torch.float64) for k, s in values.items()}
        for n, values in saved["state"].items()
    }
    groups = zip(known["param_groups"], saved["param_groups"], strict=True)
    saved["param_groups"] = [{**theirs_, **own} for theirs_, own in groups]
    other.load_state_dict(saved)
    with torch.no_grad():
        theirs.copy_(torch.tensor(w.array))
    for g in grads[3:]:
        w.grad, theirs.grad = minidl.tensor(g), torch.tensor(g)
        ours.step()
        other.step()
    np.testing.assert_allclose(w.array, theirs.detach().numpy(), rtol=1e-12)


@pytest.mark.parametrize("make", ["SGD", "Adam", "AdamW", "RMSprop", "Adagrad", "Adadelta"])
def test_groups_and_schedule_as_pytorch(torch, make):
    """A network with decay for its weights only, a group with a rate of its own, a warm-up chained with a decay."""
    import minidl.nn
    from minidl.optim import lr_scheduler as ours_schedules

    def train(nn, module, schedules, make_tensor, state=None):
        net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()
        if state is not None:
            net.load_state_dict(state)
        start = {k: v.detach().clone() for k, v in net.state_dict().items()}
        first, last = net[0], net[2]
        optimizer = getattr(module, make)(
            [
                {"params": [first.weight, last.weight], "weight_decay": 0.1},
                {"params": [first.bias], "lr": 0.05},
                {"params": [last.bias]},
            ],
            lr=0.01,
        )
        warm, decay = schedules.LinearLR(optimizer, 0.2, total_iters=5), schedules.ExponentialLR(optimizer, 0.9)
        random, losses = np.random.default_rng(3), []
        for _ in range(25):
            x, y = (make_tensor(random.normal(size=(6, n))) for n in (3, 2))
            optimizer.zero_grad()
            loss = nn.functional.mse_loss(net(x), y)
            loss.backward()
            optimizer.step()
            warm.step()
            decay.step()
            losses.append(loss.item())
        return start, losses, [g["lr"] for g in optimizer.param_groups], warm.get_last_lr()

    state, losses, rates_, last = train(torch.nn, torch.optim, torch.optim.lr_scheduler, torch.tensor)
    _, mine, my_rates, my_last = train(minidl.nn, optim, ours_schedules, minidl.tensor, state)
    np.testing.assert_allclose(mine, losses, rtol=1e-9)
    np.testing.assert_allclose(my_rates, rates_, rtol=1e-12)
    np.testing.assert_allclose(my_last, last, rtol=1e-12)


@pytest.mark.parametrize("make", ["SGD", "Adam"])
@pytest.mark.parametrize(("name", "options"), SCHEDULES)
def test_schedules_as_pytorch(torch, name, options, make):
    extra = {"momentum": 0.9} if make == "SGD" else {}
    optimizer = getattr(optim, make)([leaf()], lr=0.2, **extra)
    theirs = getattr(torch.optim, make)([torch.tensor(START, requires_grad=True)], lr=0.2, **extra)
    ours = rates(lr_scheduler, optimizer, name, options)
    np.testing.assert_allclose(ours, rates(torch.optim.lr_scheduler, theirs, name, options), rtol=1e-9, atol=1e-12)
    for key in ("momentum", "betas"):
        if key in theirs.param_groups[0]:
            np.testing.assert_allclose(optimizer.param_groups[0][key], theirs.param_groups[0][key], rtol=1e-9)


def test_sequential_and_plateau_as_pytorch(torch):
    def sequence(optim_, module, tensor):
        optimizer = optim_.SGD([tensor], lr=0.3)
        parts = [
            module.LinearLR(optimizer, 0.1, total_iters=4),
            module.CosineAnnealingLR(optimizer, 6),
            module.StepLR(optimizer, 2),
        ]
        scheduler = module.SequentialLR(optimizer, parts, [4, 9])
        found = [optimizer.param_groups[0]["lr"]]
        for _ in range(14):
            optimizer.step()
            scheduler.step()
            found.append(optimizer.param_groups[0]["lr"])
        return found

    def plateau(optim_, module, tensor, **options):
        optimizer = optim_.SGD([tensor], lr=0.3)
        scheduler = module.ReduceLROnPlateau(optimizer, **options)
        found = []
        for metric in np.random.default_rng(0).normal(size=60):
            scheduler.step(float(metric))
            found.append(optimizer.param_groups[0]["lr"])
        return found

    here = optim, lr_scheduler, leaf()
    there = torch.optim, torch.optim.lr_scheduler, torch.tensor(START, requires_grad=True)
    np.testing.assert_allclose(sequence(*here), sequence(*there), rtol=1e-12)
    for options in ({"patience": 2}, {"mode": "max", "patience": 1, "cooldown": 3, "threshold": 0.5},
                    {"threshold_mode": "abs", "patience": 0, "factor": 0.7, "min_lr": 1e-3}):  # fmt: skip
        np.testing.assert_allclose(plateau(*here, **options), plateau(*there, **options), rtol=1e-12)
