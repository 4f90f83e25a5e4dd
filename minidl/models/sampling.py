"""Text from a language model, token by token."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import numpy as np

from minidl import Generator, from_numpy, no_grad, random
from minidl.models.gpt import GPT

__all__ = ["choose", "generate"]


def generate(
    model: GPT,
    prompt: Iterable[int],
    count: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    generator: Generator | None = None,
) -> Iterator[int]:
    """Continue a prompt by `count` tokens, each drawn from what the model says after all before it.

    Each new token is one row of work: keys and values of the earlier ones wait in a cache. What the model sees slides:
    a prompt longer than the context counts with its last `context` tokens, and whenever the context is full, the model
    goes on with the last half of it. These are computed anew then, since a place's keys and values belong to its
    position in the window.

    Args:
        model: a trained GPT; it works in evaluation mode meanwhile.
        prompt: tokens to begin with, at least one.
        count: how many to add.
        temperature: divides the scores: 1 draws from the model's own probabilities, less prefers what is probable, 0
            takes the most probable token.
        top_k: draw among the k most probable tokens only (Fan et al. 2018, section 5.4); None: among all.
        generator: where chance comes from; by default the default generator.

    Yields:
        The new tokens, without the prompt.

    Raises:
        ValueError: the prompt is empty or holds a number that is no token, count or temperature is negative, or
            top_k is not between 1 and the vocabulary.
    """
    vocab, context = model.config["vocab"], model.context
    text = [int(token) for token in prompt]
    if not text:
        raise ValueError("generate: the prompt is empty; give at least one token to begin with")
    if not 0 <= min(text) <= max(text) < vocab:
        raise ValueError(
            f"generate: the prompt holds tokens from {min(text)} to {max(text)}; expected 0 to {vocab - 1}"
        )
    if count < 0 or not 0 <= temperature < math.inf:
        raise ValueError(f"generate: got count={count}, temperature={temperature}; expected at least 0 of each")
    if top_k is not None and not 1 <= top_k <= vocab:
        raise ValueError(f"generate: top_k is {top_k}; expected 1 to {vocab}, the vocabulary, or None for all of it")
    return _continued(model, text, count, context, temperature, top_k, generator)


def _continued(
    model: GPT,
    text: list[int],
    count: int,
    context: int,
    temperature: float,
    top_k: int | None,
    generator: Generator | None,
) -> Iterator[int]:
    training = model.training
    model.eval()
    cache, new = model.cache(), text[-context:]
    try:
        for _ in range(count):
            if cache[0].length + len(new) > context:
                for layer in cache:
                    layer.clear()
                new = text[-max(context // 2, 1) :]
            with no_grad():
                x = from_numpy(np.array([new])).to(model.tokens.weight.device)
                scores = model(x, cache).cpu().array[0, -1]
            token = choose(scores, temperature, top_k, generator)
            text.append(token)
            new = [token]
            yield token
    finally:
        model.train(training)


def choose(
    scores: np.ndarray, temperature: float = 1.0, top_k: int | None = None, generator: Generator | None = None
) -> int:
    """A token drawn with probability P[i] = exp(SCORES[i] / temperature) / Σ[j] exp(SCORES[j] / temperature).

    With top_k, the sum is over the k largest scores (and those equal to the least of them), and all others have
    probability 0. With temperature 0, the largest score's token, of equals the first. scores: (vocab,).
    """
    if temperature == 0:
        return int(scores.argmax())
    weights = scores.astype(np.float64)
    if top_k is not None and top_k < len(weights):
        weights[weights < np.partition(weights, -top_k)[-top_k]] = -np.inf
    weights -= weights.max()  # before the division, which a small temperature would overflow
    sums = np.exp(weights / temperature).cumsum()
    u = random.uniform((), np.dtype(np.float64), generator)  # [0, 1), so that the last sum is never reached
    return int(sums.searchsorted(u * sums[-1], "right"))
