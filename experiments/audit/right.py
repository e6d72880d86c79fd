"""Right models in numpy with random parameters: every score is that of a distribution, whatever the seed.

Every function of `RIGHT` returns the arguments of `arjax.audit` for a random number generator.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.stats import multivariate_normal, norm

from arjax import EventSpec


def chain(rng: np.random.Generator, end: int | None = None) -> dict[str, Any]:
    """A Markov chain of a random order of its sites; with `end`, strings that stop at this token."""
    length, levels = int(rng.integers(2, 7)), int(rng.integers(2, 5))
    order = np.arange(length) if end is not None else rng.permutation(length)
    rows = rng.dirichlet(np.full(levels, rng.choice([0.3, 1.0, 3.0])), size=levels + 1)  # the last one begins

    def conditionals(x: np.ndarray, t: int) -> np.ndarray:
        return rows[x[:, order[t - 1]] if t else np.full(len(x), levels)]

    def log_prob(x: np.ndarray) -> np.ndarray:
        steps = [np.log(conditionals(x, t)[np.arange(len(x)), x[:, order[t]]]) for t in range(length)]
        goes_on = np.cumprod(np.concatenate([np.ones((len(x), 1)), x[:, :-1] != end], 1), 1)
        return (np.stack(steps, 1) * goes_on).sum(1)

    def sample(num: int, seed: int) -> np.ndarray:
        draws, x = np.random.default_rng(seed), np.zeros((num, length), int)
        for t in range(length):
            p = conditionals(x, t).cumsum(1)
            x[:, order[t]] = np.minimum((draws.random((num, 1)) > p).sum(1), levels - 1)
            if end is not None and t:
                x[:, t] = np.where(x[:, t - 1] == end, end, x[:, t])
        return x

    event = EventSpec((length,), (), "tokens", levels)
    functions = {"log_prob": log_prob, "conditionals": conditionals, "sample": sample}
    truth = {"data": sample(500, 0), "truth": -log_prob(sample(500, 0))}
    return {"event": event, "order": order, "end": end, **functions, **truth}


def strings(rng: np.random.Generator) -> dict[str, Any]:
    """Strings of a chain that end with the token 0."""
    return chain(rng, end=0)


def bound(rng: np.random.Generator) -> dict[str, Any]:
    """A bound whose mean lies below the chain by a random number of nats."""
    exact, noise = chain(rng), np.random.default_rng(rng.integers(2**31))
    size = rng.exponential(0.3)

    def log_prob(x: np.ndarray) -> np.ndarray:
        return exact["log_prob"](x) - noise.exponential(size, len(x))

    kept = {name: exact[name] for name in ("event", "sample", "data", "truth")}
    return {**kept, "log_prob": log_prob, "claim": "bound"}


def joint(rng: np.random.Generator) -> dict[str, Any]:
    """A table of all probabilities of three tokens, which answers every query."""
    p = rng.dirichlet(np.full(27, rng.choice([0.5, 2.0]))).reshape(3, 3, 3)

    def conditional_log_prob(x: np.ndarray, query: np.ndarray, given: np.ndarray) -> np.ndarray:
        def mass(row: np.ndarray, sites: np.ndarray) -> float:
            return p[tuple(row[site] if sites[site] else slice(None) for site in range(3))].sum()

        rows = zip(x, query, given, strict=True)
        return np.array([np.log(mass(row, q | g) / mass(row, g)) for row, q, g in rows])

    functions = {"log_prob": lambda x: np.log(p[tuple(x.T)]), "conditional_log_prob": conditional_log_prob}
    return {"event": EventSpec((3,), (), "tokens", 3), **functions}


def gaussians(rng: np.random.Generator) -> dict[str, Any]:
    """A mixture of two Gaussians of one to three scalars."""
    size, weight = int(rng.integers(1, 4)), rng.uniform(0.2, 0.8)
    means = np.stack([np.zeros(size), rng.normal(size=size)])
    spread = rng.normal(size=(size, size))
    factors = np.linalg.cholesky(np.eye(size) + spread @ spread.T)

    def log_prob(x: np.ndarray) -> np.ndarray:
        covariance = factors @ factors.T
        parts = [multivariate_normal.logpdf(x, mean, covariance).reshape(len(x)) for mean in means]
        return np.logaddexp(np.log(weight) + parts[0], np.log1p(-weight) + parts[1])

    def sample(num: int, seed: int) -> np.ndarray:
        draws = np.random.default_rng(seed)
        return means[(draws.random(num) > weight).astype(int)] + draws.normal(size=(num, size)) @ factors.T

    return {"event": EventSpec((size,), (), "real"), "log_prob": log_prob, "sample": sample}


def columns(rng: np.random.Generator) -> dict[str, Any]:
    """A word, and a number whose mean depends on the word."""
    p, means = rng.dirichlet(np.ones(3)), rng.normal(size=3)
    event = EventSpec((2,), kind="columns", columns=(EventSpec((), (), "real"), EventSpec((), (), "tokens", 3)))

    def log_prob(x: np.ndarray) -> np.ndarray:
        word = x[:, 1].astype(int)
        return np.log(p[word]) + norm.logpdf(x[:, 0], means[word])

    def sample(num: int, seed: int) -> np.ndarray:
        draws = np.random.default_rng(seed)
        word = draws.choice(3, size=num, p=p)
        return np.stack([means[word] + draws.normal(size=num), word], 1)

    return {"event": event, "log_prob": log_prob, "sample": sample}


RIGHT: dict[str, Callable[[np.random.Generator], dict[str, Any]]] = {
    function.__name__: function for function in (chain, strings, bound, joint, gaussians, columns)
}
