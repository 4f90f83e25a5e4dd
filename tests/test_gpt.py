"""The GPT: its shape, causality, the key-value cache, and what it writes."""

from __future__ import annotations

import math

import numpy as np
import pytest

import minidl
import minidl.nn.functional as F
from minidl import models, optim
from minidl.kernels import native
from minidl.models.sampling import choose

SMALL = {"vocab": 11, "context": 8, "width": 12, "heads": 3, "layers": 2}


def small(seed: int = 0, **more) -> models.GPT:
    """A GPT whose weights are wide enough to tell tokens apart."""
    minidl.manual_seed(seed)
    model = models.GPT(**{**SMALL, **more})
    with minidl.no_grad():
        for parameter in model.parameters():
            parameter.add_(minidl.randn(*parameter.shape) * 0.2)
    return model


def tokens(*shape: int, seed: int = 1) -> minidl.Tensor:
    return minidl.tensor(np.random.default_rng(seed).integers(0, SMALL["vocab"], shape))


# ---------------------------------------------------------------------------------------------------- the model


def test_nanogpts_model_and_its_initial_values() -> None:
    minidl.manual_seed(0)
    model = models.GPT(65, 64, width=128, heads=4, layers=4)
    assert sum(p.numel() for p in model.parameters()) == 804_096  # 0.80 million, as nanoGPT counts them with positions
    assert model.config == {
        "name": "gpt", "vocab": 65, "context": 64, "width": 128, "heads": 4, "layers": 4, "dropout": 0.0, "tied": True,
        "bias": False,
    }  # fmt: skip
    rebuilt = models.build(model.config)
    assert rebuilt.config == model.config and list(rebuilt.state_dict()) == list(model.state_dict())
    for name, parameter in model.named_parameters():
        if parameter.ndim == 1:
            assert (parameter.detach().numpy() == 1).all(), name
        else:
            wanted = 0.02 if name in ("tokens.weight", "positions.weight") else 0.02 * math.sqrt(768 / 128)
            wanted /= math.sqrt(8) if name.endswith("output.weight") else 1
            assert parameter.detach().numpy().std() == pytest.approx(wanted, rel=0.05), name
    x, y = (minidl.tensor(np.random.default_rng(seed).integers(0, 65, (4, 64))) for seed in (0, 1))
    loss = F.cross_entropy(model(x).flatten(0, 1), y.flatten())
    assert loss.item() == pytest.approx(math.log(65), abs=0.1), "at first every token is as probable as the others"


def test_tying_shares_one_weight() -> None:
    tied, untied = small(), small(tied=False)
    assert tied.head.weight is tied.tokens.weight and untied.head.weight is not untied.tokens.weight
    assert len(list(untied.parameters())) == len(list(tied.parameters())) + 1
    assert list(tied.state_dict()) == list(untied.state_dict()), "a saved model names the shared weight twice"
    tied(tokens(1, 3)).sum().backward()
    assert tied.tokens.weight.grad is not None


def test_biases_start_at_zero() -> None:
    model = models.GPT(**SMALL, bias=True)
    biases = {name: p for name, p in model.named_parameters() if name.endswith("bias")}
    assert len(biases) == 2 * 8 + 1 and all((p.detach().numpy() == 0).all() for p in biases.values())


def test_no_place_sees_what_comes_after_it() -> None:
    model, x = small(), tokens(2, 8)
    before = model(x).detach().numpy()
    changed = x.clone()
    changed[:, 5] = (changed[:, 5] + 1) % 11
    after = model(changed).detach().numpy()
    assert (before[:, :5] == after[:, :5]).all() and (np.abs(before[:, 5:] - after[:, 5:]).max((0, 2)) > 1e-4).all()
    assert np.allclose(model(x[:, :3]).detach().numpy(), before[:, :3], atol=1e-6)


def test_every_weight_gets_its_gradient() -> None:
    model = small(bias=True, tied=False).double()
    x, y = tokens(2, 8), tokens(2, 8, seed=2)

    def loss() -> minidl.Tensor:
        return F.cross_entropy(model(x).flatten(0, 1), y.flatten())

    loss().backward()
    rng = np.random.default_rng(0)
    for name, parameter in model.named_parameters():
        direction = rng.standard_normal(parameter.shape)
        with minidl.no_grad():
            kept = parameter.array.copy()
            values = []
            for sign in (1, -1):
                parameter.copy_(minidl.from_numpy(kept + sign * 1e-5 * direction))
                values.append(loss().item())
            parameter.copy_(minidl.from_numpy(kept))
        slope = (values[0] - values[1]) / 2e-5
        assert (parameter.grad.detach().numpy() * direction).sum() == pytest.approx(slope, rel=1e-5, abs=1e-8), name


def test_dropout_works_in_training_alone() -> None:
    model, x = small(dropout=0.3), tokens(2, 8)
    assert (model(x).detach().numpy() != model(x).detach().numpy()).any()
    model.eval()
    assert (model(x).detach().numpy() == model(x).detach().numpy()).all()
    assert np.allclose(model(x).detach().numpy(), small()(x).detach().numpy(), atol=1e-6)


def test_it_learns_a_rhyme() -> None:
    minidl.manual_seed(0)
    model = models.GPT(4, 8, width=16, heads=2, layers=2)
    rhyme = minidl.tensor([[0, 1, 2, 3, 0, 1, 2, 3, 0]])
    optimizer = optim.AdamW(model.parameter_groups(0.1), lr=1e-2)
    for _ in range(80):
        loss = F.cross_entropy(model(rhyme[:, :-1]).flatten(0, 1), rhyme[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1
    assert list(models.generate(model, [2], 20, temperature=0)) == [(3 + i) % 4 for i in range(20)]


def test_weight_decay_is_for_matrices() -> None:
    matrices, others = small(bias=True).parameter_groups(0.3)
    assert {p.ndim for p in matrices["params"]} == {2} and {p.ndim for p in others["params"]} == {1}
    assert (matrices["weight_decay"], others["weight_decay"]) == (0.3, 0.0)
    assert len(matrices["params"]) + len(others["params"]) == len(list(small(bias=True).parameters()))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"vocab": 0}, "GPT: vocab is 0; expected at least 1"),
        ({"layers": -1}, "GPT: layers is -1"),
        ({"width": 10}, "width 10 is no multiple of the 3 heads"),
        ({"dropout": 1.5}, "p is 1.5"),
    ],
)
def test_sizes_that_make_no_model(arguments: dict, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        models.GPT(**{**SMALL, **arguments})


def test_inputs_that_do_not_fit() -> None:
    model = small()
    with pytest.raises(ValueError, match=r"index has shape \(3,\); expected \(batch, length\)"):
        model(tokens(3))
    with pytest.raises(ValueError, match="9 tokens are more than the context of 8"):
        model(tokens(1, 9))
    with pytest.raises(IndexError):
        model(minidl.tensor([[11]]))
    cache = model.cache()
    with minidl.no_grad():
        model(tokens(1, 6), cache)
        with pytest.raises(ValueError, match="3 tokens after 6 in the cache are more than the context of 8"):
            model(tokens(1, 3), cache)


# ---------------------------------------------------------------------------------------------------- the cache


@pytest.mark.parametrize("pieces", [[1] * 8, [8], [3, 1, 1, 3], [2, 5, 1], [7, 1]])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_cached_and_uncached_scores_agree(pieces: list[int], dtype: str) -> None:
    model, x = small().eval(), tokens(2, 8)
    model = model.double() if dtype == "float64" else model
    with minidl.no_grad():
        whole, cache, place = model(x).detach().numpy(), model.cache(2), 0
        for piece in pieces:
            scores = model(x[:, place : place + piece], cache).detach().numpy()
            assert scores.dtype == dtype
            assert np.abs(scores - whole[:, place : place + piece]).max() < (1e-5 if dtype == "float32" else 1e-12)
            place += piece


def test_the_model_of_the_recipe_agrees_with_its_cache() -> None:
    minidl.manual_seed(0)
    model = models.GPT(65, 64).eval()
    x = minidl.tensor(np.random.default_rng(0).integers(0, 65, (1, 64)))
    with minidl.no_grad():
        whole, cache = model(x).detach().numpy(), model.cache()
        for place in range(64):
            assert np.abs(model(x[:, place : place + 1], cache).detach().numpy()[0, 0] - whole[0, place]).max() < 1e-5


def seen(length: int, prompt: int, context: int) -> int:
    """How many of `length` tokens the next one is chosen by: the documented window, counted out."""
    window = min(prompt, context)
    for _ in range(length - prompt):
        window = window + 1 if window < context else max(context // 2, 1)
    return window


@pytest.mark.parametrize("prompt", [1, 3, 8, 20])
@pytest.mark.parametrize("context", [1, 2, 5, 8])
def test_greedy_text_is_that_of_the_whole_window_token_by_token(prompt: int, context: int) -> None:
    model = small(seed=prompt, context=context)
    text = tokens(prompt).tolist()
    written = list(models.generate(model, text, 30, temperature=0))
    for token in written:
        with minidl.no_grad():
            window = minidl.tensor([text[-seen(len(text), prompt, context) :]])
            scores = model(window).detach().numpy()[0, -1]
        assert token == scores.argmax()
        text.append(token)


def test_the_same_seed_writes_the_same_text_on_any_number_of_threads() -> None:
    minidl.manual_seed(0)
    model = models.GPT(65, 64)
    before, texts = native.get_num_threads(), []
    try:
        for threads in (1, 2, 3, 8):
            minidl.set_num_threads(threads)
            texts.append(list(models.generate(model, [1, 2, 3], 150, 0.8, 40, minidl.Generator().manual_seed(7))))
    finally:
        minidl.set_num_threads(before)
    if minidl.backend() == "native":
        assert texts[0] == texts[1] == texts[2] == texts[3]
    assert texts[0] != list(models.generate(model, [1, 2, 3], 150, 0.8, 40, minidl.Generator().manual_seed(8)))


def test_writing_leaves_the_model_as_it_was() -> None:
    model = small(dropout=0.5)
    assert model.training
    writer = models.generate(model, [0], 5, 0)
    first = next(writer)
    assert not model.training
    writer.close()
    assert model.training and first == next(models.generate(model, [0], 1, 0))
    assert list(models.generate(model, [0], 0)) == []


# ------------------------------------------------------------------------------------------------- what is drawn


def test_tokens_are_drawn_as_often_as_they_are_probable() -> None:
    scores, generator = np.array([1.0, 0.0, 2.0, -50.0], np.float32), minidl.Generator().manual_seed(0)
    for temperature, top_k in ((1.0, None), (0.5, None), (2.0, 2), (1.0, 3)):
        weights = np.exp(scores.astype(np.float64) / temperature)
        if top_k:
            weights[np.argsort(scores)[:-top_k]] = 0
        drawn = np.bincount([choose(scores, temperature, top_k, generator) for _ in range(4000)], minlength=4) / 4000
        assert np.abs(drawn - weights / weights.sum()).max() < 0.03
        assert (drawn[weights == 0] == 0).all()


def test_greedy_is_the_first_of_the_largest() -> None:
    scores = np.array([0.0, 3.0, 3.0, -np.inf], np.float32)
    assert choose(scores, 0) == 1
    for seed in range(20):
        generator = minidl.Generator().manual_seed(seed)
        assert choose(scores, 1e-30, None, generator) in (1, 2) and choose(scores, 1.0, 1, generator) in (1, 2)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (([], 3), "the prompt is empty"),
        (([11], 3), "tokens from 11 to 11; expected 0 to 10"),
        (([-1], 3), "expected 0 to 10"),
        (([1], -1), "count=-1"),
        (([1], 3, -0.5), "temperature=-0.5; expected at least 0"),
        (([1], 3, math.nan), "temperature=nan"),
        (([1], 3, math.inf), "temperature=inf"),
        (([1], 3, 1.0, 0), "top_k is 0; expected 1 to 11"),
        (([1], 3, 1.0, 12), "top_k is 12; expected 1 to 11"),
    ],
)
def test_what_cannot_be_sampled_is_refused_at_once(arguments: tuple, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        models.generate(small(), *arguments)
