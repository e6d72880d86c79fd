"""Sequences drawn from Markov chains and hidden Markov models: their exact conditionals are known (`Dataset.truth`)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from arjax.core.errors import UserError
from arjax.core.spec import EventSpec
from arjax.data.base import DATASETS, Dataset, Truth, from_splits
from arjax.data.draws import check_least, draw_splits, generator_apart, split_sizes
from arjax.models import Model, make_model
from arjax.models.abilities import require

#: The least probability of a value and of a state, before probabilities are normalised: logarithms stay finite.
FLOOR = 1e-4
#: Histories of the largest chain.
MOST_HISTORIES = 2**16
#: Rounds of the power iteration, and the change of a probability at which it ends.
ROUNDS, CHANGE = 20_000, 1e-14


@DATASETS.register("hidden_markov")
def hidden_markov(
    *,
    states: int = 8,
    levels: int = 8,
    length: int = 64,
    concentration: float = 0.3,
    num_examples: int = 20_000,
    seed: int = 0,
) -> Dataset:
    """Sequences of tokens from a hidden Markov model in its stationary distribution; `truth` is the model.

    Each row of its transitions and emissions is drawn from a symmetric Dirichlet distribution. Its own entropy has no
    closed form; the mean of -log p of a split under the truth estimates it, and no model can be expected to score less.

    Args:
      states: K, of the hidden chain.
      levels: V, different tokens.
      length: tokens of a sequence.
      concentration: of the Dirichlet distributions; rows are sparser the smaller it is, and uniform as it grows.
      num_examples: of the train split; the others have a quarter of it.
      seed: of the model and of the draws.

    Raises:
      UserError: an option out of range.
    """
    _check(length, concentration, states=states, levels=levels)
    split_sizes(num_examples, seed)
    rng = generator_apart(seed)
    transitions_KK = dirichlet(rng, concentration, states, states)
    emissions_KV = dirichlet(rng, concentration, states, levels)
    initial_K = stationary(transitions_KK)

    def draw(rng: np.random.Generator, num: int) -> np.ndarray:
        z_N, x_NT = choose(rng, np.broadcast_to(initial_K, (num, states))), np.empty((num, length), np.int32)
        for t in range(length):
            x_NT[:, t] = choose(rng, emissions_KV[z_N])
            z_N = choose(rng, transitions_KK[z_N])
        return x_NT

    event = EventSpec((length,), kind="tokens", num_levels=levels)
    given = {"initial": initial_K, "transitions": transitions_KK, "emissions": emissions_KV}
    params = {name: np.log(p).astype(np.float32) for name, p in given.items()}
    truth = _truth(make_model(event, "hidden_markov", states=states), params)
    return _dataset("hidden_markov", event, draw, num_examples, seed, truth)


@DATASETS.register("markov_chain")
def markov_chain(
    *,
    order: int = 1,
    levels: int = 8,
    length: int = 64,
    concentration: float = 0.3,
    num_examples: int = 20_000,
    seed: int = 0,
) -> Dataset:
    """Sequences of tokens from a Markov chain in its stationary distribution; `truth` is the chain.

    The row of each history of `order` values is drawn from a symmetric Dirichlet distribution; the first values have
    the conditionals of the stationary distribution. So every stretch of a sequence has one distribution, and the
    entropy of a sequence is that of its first `order` values plus (length - order) times the entropy rate.

    Args:
      order: k, the values that a value depends on.
      levels: V, different tokens.
      length: tokens of a sequence.
      concentration: of the Dirichlet distributions; rows are sparser the smaller it is, and uniform as it grows.
      num_examples: of the train split; the others have a quarter of it.
      seed: of the chain and of the draws.

    Raises:
      UserError: an option out of range, or more than 65,536 histories.
    """
    _check(length, concentration, order=order, levels=levels)
    split_sizes(num_examples, seed)
    if order * np.log(levels) > np.log(MOST_HISTORIES) + 1e-9:
        raise UserError(f"a chain has at most {MOST_HISTORIES:,} histories, and levels^order are {levels}^{order}")
    rng = generator_apart(seed)
    rows_HV = dirichlet(rng, concentration, levels**order, levels)
    first = stationary(rows_HV).reshape((levels,) * order)
    tables = []  # of the histories of 0, 1, ..., `order` values
    for n in range(order):
        joint = first.sum(tuple(range(n + 1, order))).reshape(-1, levels)
        tables.append(joint / joint.sum(1, keepdims=True))
    tables.append(rows_HV)

    def draw(rng: np.random.Generator, num: int) -> np.ndarray:
        history_N, x_NT = np.zeros(num, np.int64), np.empty((num, length), np.int32)
        for t in range(length):
            x_NT[:, t] = choose(rng, tables[min(t, order)][history_N])
            history_N = (history_N * levels + x_NT[:, t]) % levels**order
        return x_NT

    event = EventSpec((length,), kind="tokens", num_levels=levels)
    params = {"table": np.log(np.concatenate(tables)).astype(np.float32)}
    truth = _truth(make_model(event, "markov", order=order), params)
    return _dataset("markov_chain", event, draw, num_examples, seed, truth)


def _truth(model: Model, params: Any) -> Truth:
    """The distribution of the data, which has conditionals."""
    return Truth(require(model, "conditionals", "a truth"), params)


def dirichlet(rng: np.random.Generator, concentration: float, rows: int, size: int) -> np.ndarray:
    """Rows of probabilities, float64[rows, size], none of them 0."""
    p = rng.dirichlet(np.full(size, concentration), rows) + FLOOR
    return p / p.sum(1, keepdims=True)


def stationary(rows_HV: np.ndarray) -> np.ndarray:
    """The stationary distribution over the histories of a chain, float64[H], from p(next value | history) [H, V].

    By power iteration; each round is averaged with the one before, so that chains which are nearly periodic settle.
    """
    num, levels = rows_HV.shape
    p_H = np.full(num, 1 / num)
    for _ in range(ROUNDS):
        # The oldest value of a history, its most significant digit, is summed over.
        after_H = (p_H[:, None] * rows_HV).reshape(levels, num // levels, levels).sum(0).ravel()
        p_H, last_H = (p_H + after_H) / 2, p_H
        if np.abs(p_H - last_H).max() < CHANGE:
            break
    return p_H / p_H.sum()


def choose(rng: np.random.Generator, p_NV: np.ndarray) -> np.ndarray:
    """A value drawn from each row of probabilities, int64[N]."""
    below_N = (rng.random(len(p_NV))[:, None] >= np.cumsum(p_NV, axis=1)).sum(1)
    return np.minimum(below_N, p_NV.shape[1] - 1)  # the last sum may be just below 1


def _check(length: int, concentration: float, **sizes: int) -> None:
    """Raises `UserError` for options out of range."""
    check_least(length=(length, 1), **{name: (size, 2 if name == "levels" else 1) for name, size in sizes.items()})
    if not 0.01 <= concentration <= 1e6:
        raise UserError(f"the data set option 'concentration' must be from 0.01 to 1e6, not {concentration}")


def _dataset(
    name: str,
    event: EventSpec,
    draw: Callable[[np.random.Generator, int], np.ndarray],
    num_examples: int,
    seed: int,
    truth: Truth,
) -> Dataset:
    """The data set of drawn splits with its truth."""
    splits = draw_splits(draw, num_examples, seed)
    return dataclasses.replace(from_splits(event, splits, name=name), truth=truth)
