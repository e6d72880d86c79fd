"""Points of the plane from densities that are known: the least possible score of a model can be computed."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from arjax.core.errors import UserError
from arjax.core.spec import EventSpec
from arjax.data.base import DATASETS, Dataset, from_splits
from arjax.data.draws import draw_splits

#: Gauss-Legendre points on each half of a circle; with the least noise, neighbours are closer than its scale.
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(800)
LEAST_NOISE = 0.01


@DATASETS.register("two_moons")
def two_moons(*, noise: float = 0.1, num_examples: int = 100_000, seed: int = 0) -> Dataset:
    """Points on two half circles of radius 1 that are entangled, with Gaussian noise.

    Args:
      noise: standard deviation of the noise.
      num_examples: of the train split; the others have a quarter of it.
      seed: of the draws.
    """
    return _dataset("two_moons", _draw_moons, noise, num_examples, seed)


@DATASETS.register("eight_gaussians")
def eight_gaussians(*, noise: float = 0.2, num_examples: int = 100_000, seed: int = 0) -> Dataset:
    """Eight Gaussians whose means stand evenly on a circle of radius 2.

    Args:
      noise: their standard deviation.
      num_examples: of the train split; the others have a quarter of it.
      seed: of the draws.
    """
    return _dataset("eight_gaussians", _draw_gaussians, noise, num_examples, seed)


def log_density(name: str, x: np.ndarray, noise: float) -> np.ndarray:
    """log p of points float[N, 2] under the density of a data set of this file, float64[N], in nats."""
    log_p = {"two_moons": _log_moons, "eight_gaussians": _log_gaussians}
    return log_p[name](np.asarray(x, np.float64), noise)


def true_nats(name: str, split: str = "test", **options: Any) -> float:
    """The mean of -log p over a split of `two_moons` or `eight_gaussians` under the density that it was drawn from.

    No model can be expected to score fewer nats; `options` are those of the data set.
    """
    options = DATASETS.resolve(name, options)
    source = DATASETS.get(name)(**options).splits[split]
    x = np.asarray(source.__getitems__(np.arange(len(source))).x)
    return float(-log_density(name, x, options["noise"]).mean())


def _dataset(name: str, draw: Callable, noise: float, num_examples: int, seed: int) -> Dataset:
    """The splits of noisy points."""
    if not LEAST_NOISE <= noise <= 10:
        raise UserError(f"the data set option 'noise' must be from {LEAST_NOISE} to 10, not {noise}")

    def noisy(rng: np.random.Generator, num: int) -> np.ndarray:
        clean = draw(rng, num)
        return (clean + noise * rng.normal(size=clean.shape)).astype(np.float32)

    return from_splits(EventSpec((2,), kind="real"), draw_splits(noisy, num_examples, seed), name=name)


def _moons(angle: np.ndarray) -> np.ndarray:
    """The points of both half circles at angles [N] from 0 to pi, [2, N, 2]."""
    upper = np.stack([np.cos(angle), np.sin(angle)], -1)
    return np.stack([upper, np.array([1.0, 0.5]) - upper])


def _draw_moons(rng: np.random.Generator, num: int) -> np.ndarray:
    moon = rng.integers(2, size=num)
    return _moons(math.pi * rng.uniform(size=num))[moon, np.arange(num)]


def _log_moons(x: np.ndarray, noise: float) -> np.ndarray:
    """The noise around each point of the half circles, integrated over the angle."""
    points = _moons(math.pi * (_NODES + 1) / 2).reshape(-1, 2)
    return _log_mixture(x, points, np.concatenate([_WEIGHTS, _WEIGHTS]) / 4, noise)


def _means() -> np.ndarray:
    angle = 2 * math.pi * np.arange(8) / 8
    return 2 * np.stack([np.cos(angle), np.sin(angle)], -1)


def _draw_gaussians(rng: np.random.Generator, num: int) -> np.ndarray:
    return _means()[rng.integers(8, size=num)]


def _log_gaussians(x: np.ndarray, noise: float) -> np.ndarray:
    return _log_mixture(x, _means(), np.full(8, 1 / 8), noise)


def _log_mixture(x: np.ndarray, means: np.ndarray, weights: np.ndarray, noise: float) -> np.ndarray:
    """log sum_k w_k N(x; m_k, noise^2) of points [N, 2], [N]."""
    found = []
    for part in np.array_split(x, max(1, len(x) // 1000)):
        square = ((part[:, None] - means) ** 2).sum(-1) / noise**2
        found.append(np.logaddexp.reduce(np.log(weights) - square / 2, axis=1))
    return np.concatenate(found) - math.log(2 * math.pi * noise**2)
