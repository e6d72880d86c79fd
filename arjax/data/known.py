"""Sequences drawn from Markov chains and hidden Markov models: their exact conditionals are known (`Dataset.truth`)."""

from __future__ import annotations

import numpy as np

from arjax.core.errors import UserError
from arjax.core.options import opt, seed_option
from arjax.core.spec import EventSpec
from arjax.core.traits import require
from arjax.data.base import DATASETS, Dataset, Truth, draw_splits, from_splits
from arjax.data.sources import SPLITS
from arjax.models import Model, make_model

#: The least probability of a value and of a state, before probabilities are normalised: logarithms stay finite.
FLOOR = 1e-4
#: Histories of the largest chain.
MOST_HISTORIES = 2**16
#: Rounds of the power iteration, and the change of a probability at which it ends.
ROUNDS, CHANGE = 20_000, 1e-14
#: Histories of the largest chain whose equations are solved where the power iteration has not ended.
MOST_SOLVED = 2048


@DATASETS.register("hidden_markov")
def hidden_markov(
    *,
    states: int = 8,
    levels: int = opt(8, least=2),
    length: int = 64,
    concentration: float = opt(0.3, least=0.01, most=1e6),
    num_examples: int = opt(20_000, least=4),
    seed: int = seed_option(),
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
    """
    rng = _rng_of_model(seed)
    transitions_KK = dirichlet(rng, concentration, states, states)
    emissions_KV = dirichlet(rng, concentration, states, levels)
    initial_K = stationary(transitions_KK)

    def draw(rng: np.random.Generator, num: int) -> np.ndarray:
        z_N, x_NT = choose(rng, np.broadcast_to(initial_K, (num, states))), np.empty((num, length), np.int32)
        for t in range(length):
            x_NT[:, t] = choose(rng, emissions_KV[z_N])
            z_N = choose(rng, transitions_KK[z_N])
        return x_NT

    probabilities = {"initial": initial_K, "transitions": transitions_KK, "emissions": emissions_KV}
    event = EventSpec((length,), kind="tokens", num_levels=levels)
    truth = _truth(make_model(event, "hidden_markov", states=states), probabilities)
    return from_splits(event, draw_splits(draw, num_examples, seed), name="hidden_markov", truth=truth)


@DATASETS.register("markov_chain")
def markov_chain(
    *,
    order: int = 1,
    levels: int = opt(8, least=2),
    length: int = 64,
    concentration: float = opt(0.3, least=0.01, most=1e6),
    num_examples: int = opt(20_000, least=4),
    seed: int = seed_option(),
) -> Dataset:
    """Sequences of tokens from a Markov chain in its stationary distribution; `truth` is the chain.

    The row of each history of `order` values is drawn from a symmetric Dirichlet distribution; the first values have
    the conditionals of the stationary distribution. So every stretch of a sequence has one distribution, and the
    entropy of a sequence is that of its first `order` values plus (length - order) times the entropy rate.

    Args:
      order: k, the values that a value depends on; a chain has at most 65,536 histories.
      levels, length, concentration, num_examples, seed: as of `hidden_markov`.
    """
    rng = _rng_of_model(seed)
    if order * np.log(levels) > np.log(MOST_HISTORIES) + 1e-9:
        raise UserError(f"a chain has at most {MOST_HISTORIES:,} histories, and levels^order are {levels}^{order}")
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
    truth = _truth(make_model(event, "markov", order=order), {"table": np.concatenate(tables)})
    return from_splits(event, draw_splits(draw, num_examples, seed), name="markov_chain", truth=truth)


def _truth(model: Model, probabilities: dict[str, np.ndarray]) -> Truth:
    """The distribution of the data, which has conditionals; its parameters are logarithms."""
    params = {name: np.log(p).astype(np.float32) for name, p in probabilities.items()}
    return Truth(require(model, "conditionals", "a truth"), params)


def dirichlet(rng: np.random.Generator, concentration: float, rows: int, size: int) -> np.ndarray:
    """Rows of probabilities, float64[rows, size], none of them 0."""
    p = rng.dirichlet(np.full(size, concentration), rows) + FLOOR
    return p / p.sum(1, keepdims=True)


def stationary(rows_HV: np.ndarray) -> np.ndarray:
    """The stationary distribution over the histories of a chain, float64[H], from p(next value | history) [H, V].

    By power iteration; each round is averaged with the one before, so that chains which are nearly periodic settle.
    Chains that hardly ever leave some histories need more rounds than there are: p = p P is then solved.
    """
    num, levels = rows_HV.shape
    p_H = np.full(num, 1 / num)
    for _ in range(ROUNDS):
        # The oldest value of a history, its most significant digit, is summed over.
        after_H = (p_H[:, None] * rows_HV).reshape(levels, num // levels, levels).sum(0).ravel()
        p_H, last_H = (p_H + after_H) / 2, p_H
        if np.abs(p_H - last_H).max() < CHANGE:
            break
    else:
        p_H = _solved(rows_HV) if num <= MOST_SOLVED else p_H
    return p_H / p_H.sum()


def _solved(rows_HV: np.ndarray) -> np.ndarray:
    """The solution p of p = p P and sum(p) = 1, float64[H], for the transitions P between the histories of a chain."""
    num, levels = rows_HV.shape
    equations_HH, ones_H = -np.eye(num), np.zeros(num)
    for history, value in np.ndindex(rows_HV.shape):
        equations_HH[(history * levels + value) % num, history] += rows_HV[history, value]
    equations_HH[0], ones_H[0] = 1, 1  # one of the equations follows from the others
    return np.linalg.solve(equations_HH, ones_H)


def choose(rng: np.random.Generator, p_NV: np.ndarray) -> np.ndarray:
    """A value drawn from each row of probabilities, int64[N]."""
    below_N = (rng.random(len(p_NV))[:, None] >= np.cumsum(p_NV, axis=1)).sum(1)
    return np.minimum(below_N, p_NV.shape[1] - 1)  # the last sum may be just below 1


def _rng_of_model(seed: int) -> np.random.Generator:
    """A generator for the parameters of the model, which all splits share."""
    return np.random.default_rng((seed, len(SPLITS)))
