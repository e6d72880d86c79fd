"""Fifteen ways to a wrong likelihood, each rebuilt in a few lines, with the test of `arjax.audit` that has to name it.

Every function of `FAULTS` returns the arguments of `arjax.audit`, as the author of such a model would give them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.special import logsumexp
from scipy.stats import norm

from arjax import EventSpec

LEVELS, LENGTH = 3, 6
TOKENS = EventSpec((LENGTH,), (), "tokens", LEVELS)
IMAGE, PIXELS = EventSpec((3, 3), (), "binary"), 9
PAIR = EventSpec((2,), (), "real")
#: By name: the tests that may give the reason of the verdict, and the model.
FAULTS: dict[str, tuple[tuple[str, ...], Callable[[], dict[str, Any]]]] = {}

_rng = np.random.default_rng(0)
FIRST, ROWS = _rng.dirichlet(np.ones(LEVELS)), _rng.dirichlet(np.full(LEVELS, 0.4), size=LEVELS)


def fault(*tests: str) -> Callable[[Callable[[], dict]], Callable[[], dict]]:
    """Registers a wrong model with the tests that may name it."""

    def register(model: Callable[[], dict]) -> Callable[[], dict]:
        FAULTS[model.__name__] = tests, model
        return model

    return register


def chain_tables(x: np.ndarray, t: int) -> np.ndarray:
    """p(x_t | x_<t) of a Markov chain, [B, V]: the right model of which most faults are made."""
    return ROWS[x[:, t - 1]] if t else np.repeat(FIRST[None], len(x), 0)


def chain_log_prob(x: np.ndarray) -> np.ndarray:
    """log p(x) of the chain in nats, [B]."""
    return sum(np.log(chain_tables(x, t)[np.arange(len(x)), x[:, t]]) for t in range(x.shape[1]))


def chain_sample(num: int, seed: int, tables: Callable = chain_tables) -> np.ndarray:
    """Samples [num, LENGTH] of tables like those of the chain."""
    rng, x = np.random.default_rng(seed), np.zeros((num, LENGTH), int)
    for t in range(LENGTH):
        x[:, t] = (rng.random((num, 1)) > tables(x, t).cumsum(1)).sum(1).clip(max=LEVELS - 1)
    return x


def dense(units: int, inputs: int, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Random weights into and out of hidden units."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(inputs, units)), rng.normal(size=(units, inputs)) * 0.7


@fault("mass", "truth")
def dependent_predictions_in_a_masked_chain() -> dict[str, Any]:
    """A masked diffusion model unmasks half of the tokens in a step, and lets each of them see the others' values: its
    loss is a sum of log p(x_i | all others), which falls below the entropy and bounds nothing.
    """
    every = np.indices((LEVELS,) * LENGTH).reshape(LENGTH, -1).T
    joint = chain_log_prob(every).reshape((LEVELS,) * LENGTH)

    def log_prob(x):
        given_others = [joint - logsumexp(joint, axis=i, keepdims=True) for i in range(LENGTH)]
        return sum(table[tuple(x.T)] for table in given_others)

    return {"event": TOKENS, "log_prob": log_prob, "claim": "bound", "data": chain_sample(500, 1)}


@fault("conditionals", "mass")
def hashed_ngram_cache() -> dict[str, Any]:
    """Counts of n-grams in 7 buckets: grams that share a bucket share its counts, each as if they were its own."""
    text = chain_sample(400, 2)

    def bucket(context, value):
        return (context[..., 0] * 31 + context[..., 1] * 17 + value * 5) % 7

    counts, contexts = np.full(7, 0.1), np.full(7, 0.3)
    for t in range(2, LENGTH):
        np.add.at(counts, bucket(text[:, t - 2 : t], text[:, t]), 1)
        np.add.at(contexts, bucket(text[:, t - 2 : t], 0), 1)

    def conditionals(x, t):
        if t < 2:
            return chain_tables(x, t)
        context = x[:, t - 2 : t]
        cached = np.stack([counts[bucket(context, v)] / contexts[bucket(context, 0)] for v in range(LEVELS)], 1)
        return 0.5 * chain_tables(x, t) + 0.5 * cached

    def log_prob(x):
        return sum(np.log(conditionals(x, t)[np.arange(len(x)), x[:, t]]) for t in range(LENGTH))

    return {"event": TOKENS, "log_prob": log_prob, "conditionals": conditionals}


@fault("mass")
def wrong_first_factor_of_a_table() -> dict[str, Any]:
    """The density of a table's first column is that of the standardised value: -log(scale) is missing."""
    data = np.random.default_rng(3).normal(size=(400, 2)) * [0.2, 1.0] + [3.0, 0.0]
    mean, scale = data.mean(0), data.std(0)

    def log_prob(x):
        first = norm.logpdf((x[:, 0] - mean[0]) / scale[0])
        return first + norm.logpdf(x[:, 1], mean[1] + 0.5 * (x[:, 0] - mean[0]), scale[1])

    return {"event": PAIR, "log_prob": log_prob, "data": data}


@fault("mass")
def averaged_logits_over_orders() -> dict[str, Any]:
    """An ensemble of two orders that averages log-probabilities: a geometric mean, which sums to less than 1."""
    backward = np.random.default_rng(4).dirichlet(np.full(LEVELS, 0.4), size=LEVELS)

    def log_prob(x):
        last, pairs = np.log(FIRST[x[:, -1]]), np.log(backward[x[:, 1:], x[:, :-1]]).sum(1)
        return 0.5 * (chain_log_prob(x) + last + pairs)

    return {"event": TOKENS, "log_prob": log_prob}


@fault("leak")
def pixelcnn_that_reads_its_own_channel() -> dict[str, Any]:
    """A masked convolution whose mask of the first layer includes the centre: a pixel is predicted from itself."""
    mask = (np.arange(9).reshape(3, 3) <= 4).astype(float)  # the right mask is < 4
    kernel = np.random.default_rng(5).normal(size=(3, 3)) * mask

    def logits(x):
        padded = np.pad(x, ((0, 0), (1, 1), (1, 1)))
        views = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
        return np.einsum("bhwij,ij->bhw", views, kernel).reshape(len(x), -1)

    def conditionals(x, t):
        p = 1 / (1 + np.exp(-logits(x)[:, t]))
        return np.stack([1 - p, p], 1)

    def log_prob(x):
        p = 1 / (1 + np.exp(-logits(x)))
        return np.log(np.where(x.reshape(len(x), -1) == 1, p, 1 - p)).sum(1)

    return {"event": IMAGE, "log_prob": log_prob, "conditionals": conditionals}


@fault("mass", "kind")
def bits_called_nats() -> dict[str, Any]:
    """The scores are log2 p."""
    return {"event": TOKENS, "log_prob": lambda x: chain_log_prob(x) / np.log(2)}


@fault("mass", "conditionals")
def temperature_of_scores_alone() -> dict[str, Any]:
    """Scores are divided by a temperature, and not normalised again."""
    return {"event": TOKENS, "log_prob": lambda x: chain_log_prob(x) / 1.3, "sample": chain_sample}


@fault("neighbours", "reproducibility")
def batch_statistics() -> dict[str, Any]:
    """Batch norm in training mode: a row's score depends on the rows beside it."""
    first, second = dense(8, PIXELS)

    def log_prob(x):
        flat = x.reshape(len(x), -1).astype(float)
        causal = np.stack([np.where(np.arange(PIXELS) < t, flat, 0) for t in range(PIXELS)], 1)
        hidden = causal @ first
        hidden = np.tanh((hidden - hidden.mean(0)) / (hidden.std(0) + 1e-3))
        logit = np.einsum("btu,ut->bt", hidden, second)
        return -np.logaddexp(0, np.where(flat == 1, -logit, logit)).sum(1)

    return {"event": IMAGE, "log_prob": log_prob}


@fault("neighbours", "reproducibility")
def padding_of_other_rows() -> dict[str, Any]:
    """A mean over the tokens before, that counts padding up to the longest string of the batch."""
    end = 0

    def log_prob(x):
        lengths = np.where((x == end).any(1), (x == end).argmax(1) + 1, LENGTH)
        longest, total = lengths.max(), np.zeros(len(x))
        for t in range(LENGTH):
            mean = (x[:, :t] * (np.arange(t) < lengths[:, None])).sum(1) / longest
            logits = np.stack([mean, 1 - mean, 0.3 + 0 * mean], 1)
            log_p = logits - logsumexp(logits, axis=1, keepdims=True)
            total += np.where(t < lengths, log_p[np.arange(len(x)), x[:, t]], 0)
        return total

    return {"event": TOKENS, "log_prob": log_prob, "end": end}


@fault("draws")
def sampler_of_the_two_most_probable_values() -> dict[str, Any]:
    """Top-k in the sampler, all values in the scores."""

    def top_two(x, t):
        p = chain_tables(x, t)
        p = np.where(p >= np.sort(p, axis=1)[:, -2:-1], p, 0)
        return p / p.sum(1, keepdims=True)

    sample = lambda num, seed: chain_sample(num, seed, top_two)  # noqa: E731
    return {"event": TOKENS, "log_prob": chain_log_prob, "sample": sample, "conditionals": chain_tables}


@fault("draws")
def sampler_whose_cache_lags() -> dict[str, Any]:
    """The cache of the sampler holds the value before the last one."""
    lagged = lambda x, t: chain_tables(x, t) if t < 2 else chain_tables(np.roll(x, 1, axis=1), t)  # noqa: E731
    sample = lambda num, seed: chain_sample(num, seed, lagged)  # noqa: E731
    return {"event": TOKENS, "log_prob": chain_log_prob, "sample": sample, "conditionals": chain_tables}


@fault("reproducibility")
def dropout_left_on() -> dict[str, Any]:
    """A tenth of the inputs is dropped, anew in each call."""
    noise = np.random.default_rng(6)

    def log_prob(x):
        kept = noise.random((len(x), LENGTH - 1)) > 0.1
        rows = np.where(kept[..., None], ROWS[x[:, :-1]], 1 / LEVELS)
        later = np.take_along_axis(np.log(rows), x[:, 1:, None], -1)[..., 0]
        return np.log(FIRST[x[:, 0]]) + later.sum(1)

    return {"event": TOKENS, "log_prob": log_prob}


@fault("mass")
def flow_without_its_log_determinant() -> dict[str, Any]:
    """A coupling layer z = (x_1, (x_2 - m(x_1)) exp(-s(x_1))), without the term -s(x_1)."""

    def log_prob(x):
        shift, log_scale = np.sin(x[:, 0]), -0.5 - 0.3 * np.tanh(x[:, 0])
        return norm.logpdf(x[:, 0]) + norm.logpdf((x[:, 1] - shift) * np.exp(-log_scale))

    return {"event": PAIR, "log_prob": log_prob, "data": np.random.default_rng(7).normal(size=(300, 2))}


@fault("truth")
def scored_on_its_training_rows() -> dict[str, Any]:
    """A table of counts that is scored on the rows that it has counted. They are uniform, so their truth is known."""
    data = np.random.default_rng(8).integers(LEVELS, size=(300, LENGTH))
    rows, counts = np.unique(data, axis=0, return_counts=True)
    known = {row.tobytes(): count for row, count in zip(rows, counts, strict=True)}
    rest, mass = LEVELS**LENGTH - len(rows), len(data) + 1.0

    def log_prob(x):
        seen = np.array([known.get(row.astype(rows.dtype).tobytes(), 0) for row in x])
        return np.log(np.where(seen > 0, seen, 1 / rest) / mass)

    return {"event": TOKENS, "log_prob": log_prob, "data": data, "truth": np.full(len(data), LENGTH * np.log(LEVELS))}


@fault("order")
def any_order_model_that_contradicts_itself() -> dict[str, Any]:
    """A masked language model: log p(query | given) is a sum of single predictions of a network that was trained for
    each mask by itself, here random numbers of the mask and the given values.
    """

    def conditional_log_prob(x, query, given):
        total = np.zeros(len(x))
        for n in range(len(x)):
            seen = given[n].copy()
            for site in np.flatnonzero(query[n]):
                seed = int("".join(str(v) for v in np.where(seen, x[n] + 1, 0))) * LENGTH + site
                total[n] += np.log(np.random.default_rng(seed).dirichlet(np.ones(LEVELS)))[x[n, site]]
                seen[site] = True
        return total

    return {"event": TOKENS, "conditional_log_prob": conditional_log_prob}
