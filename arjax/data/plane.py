"""Points of the plane from densities that are known: the least possible score of a model can be computed."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from arjax.core.errors import UserError
from arjax.core.options import opt, seed_option
from arjax.core.spec import EventSpec
from arjax.data.base import DATASETS, Dataset, draw_splits, from_splits

LEAST_NOISE = 0.01


@DATASETS.register("two_moons")
def two_moons(
    *,
    noise: float = opt(0.1, least=LEAST_NOISE, most=10),
    as_one_site: bool = False,
    num_examples: int = opt(100_000, least=4),
    seed: int = seed_option(),
) -> Dataset:
    """Points on two half circles of radius 1 that are entangled, with Gaussian noise.

    Args:
      noise: standard deviation of the noise.
      as_one_site: a point as one site with a vector of two numbers as its value; else as two sites.
      num_examples: of the train split; the others have a quarter of it.
      seed: of the draws.
    """
    return _dataset("two_moons", _draw_moons, noise, as_one_site, num_examples, seed)


@DATASETS.register("eight_gaussians")
def eight_gaussians(
    *,
    noise: float = opt(0.2, least=LEAST_NOISE, most=10),
    as_one_site: bool = False,
    num_examples: int = opt(100_000, least=4),
    seed: int = seed_option(),
) -> Dataset:
    """Eight Gaussians whose means stand evenly on a circle of radius 2.

    Args:
      noise: their standard deviation.
      as_one_site, num_examples, seed: as of `two_moons`.
    """
    return _dataset("eight_gaussians", _draw_gaussians, noise, as_one_site, num_examples, seed)


@DATASETS.register("checkerboard")
def checkerboard(
    *,
    noise: float = opt(0.0, least=0, most=10),
    as_one_site: bool = False,
    num_examples: int = opt(100_000, least=4),
    seed: int = seed_option(),
) -> Dataset:
    """Points that are uniform on the eight black squares of a board of 4 x 4 squares of side 1 around 0.

    Args:
      noise: standard deviation of Gaussian noise; 0: the edges of the density are sharp.
      as_one_site, num_examples, seed: as of `two_moons`.
    """
    if 0 < noise < LEAST_NOISE:
        raise UserError(f"the data set option 'noise' must be 0, or from {LEAST_NOISE} to 10, not {noise}")
    return _dataset("checkerboard", _draw_board, noise, as_one_site, num_examples, seed)


def log_density(name: str, x: np.ndarray, noise: float) -> np.ndarray:
    """log p of points float[N, 2] (or [N, 1, 2]) under the density of a data set of this file, float64[N], in nats."""
    log_p = {"two_moons": _log_moons, "eight_gaussians": _log_gaussians, "checkerboard": _log_board}
    return log_p[name](np.asarray(x, np.float64).reshape(-1, 2), noise)


def true_nats(name: str, split: str = "test", **options: Any) -> float:
    """The mean of -log p over a split of a data set of this file under the density that it was drawn from.

    No model can be expected to score fewer nats; `options` are those of the data set.
    """
    options = DATASETS.resolve(name, options)
    source = DATASETS.get(name)(**options).splits[split]
    x = np.asarray(source.__getitems__(np.arange(len(source))).x)
    return float(-log_density(name, x, options["noise"]).mean())


def _dataset(name: str, draw: Callable, noise: float, as_one_site: bool, num_examples: int, seed: int) -> Dataset:
    """The splits of noisy points."""
    event = EventSpec((1,), (2,), "real") if as_one_site else EventSpec((2,), kind="real")

    def noisy(rng: np.random.Generator, num: int) -> np.ndarray:
        clean = draw(rng, num)
        return (clean + noise * rng.normal(size=clean.shape)).astype(np.float32).reshape(num, *event.shape)

    return from_splits(event, draw_splits(noisy, num_examples, seed), name=name)


def _moons(angle: np.ndarray) -> np.ndarray:
    """The points of both half circles at angles [N] from 0 to pi, [2, N, 2]."""
    upper = np.stack([np.cos(angle), np.sin(angle)], -1)
    return np.stack([upper, np.array([1.0, 0.5]) - upper])


def _draw_moons(rng: np.random.Generator, num: int) -> np.ndarray:
    moon = rng.integers(2, size=num)
    return _moons(math.pi * rng.uniform(size=num))[moon, np.arange(num)]


@functools.cache
def _quadrature() -> tuple[np.ndarray, np.ndarray]:
    """Gauss-Legendre points on each half circle, and their weights: so many that neighbours are closer than the scale
    of the least noise. They take .2 seconds to compute.
    """
    return np.polynomial.legendre.leggauss(800)


def _log_moons(x: np.ndarray, noise: float) -> np.ndarray:
    """The noise around each point of the half circles, integrated over the angle."""
    nodes, weights = _quadrature()
    points = _moons(math.pi * (nodes + 1) / 2).reshape(-1, 2)
    return _log_mixture(x, points, np.concatenate([weights, weights]) / 4, noise)


_ANGLES = 2 * math.pi * np.arange(8) / 8
#: The means of the Gaussians, [8, 2].
_MEANS = 2 * np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], -1)


def _draw_gaussians(rng: np.random.Generator, num: int) -> np.ndarray:
    return _MEANS[rng.integers(8, size=num)]


def _log_gaussians(x: np.ndarray, noise: float) -> np.ndarray:
    return _log_mixture(x, _MEANS, np.full(8, 1 / 8), noise)


def _corners() -> np.ndarray:
    """The lower corners of the black squares, [8, 2]."""
    places = np.stack(np.meshgrid(np.arange(4), np.arange(4), indexing="ij"), -1).reshape(-1, 2)
    return places[places.sum(-1) % 2 == 0] - 2.0


def _draw_board(rng: np.random.Generator, num: int) -> np.ndarray:
    return _corners()[rng.integers(8, size=num)] + rng.uniform(size=(num, 2))


def _log_board(x: np.ndarray, noise: float) -> np.ndarray:
    """The mean over the squares of the product of the masses of normal noise between their sides."""
    from_corner = x[:, None] - _corners()  # [N, 8, 2], from 0 to 1 on a square
    if noise:
        from scipy.special import ndtr  # takes long to import

        inside = ndtr(from_corner / noise) - ndtr((from_corner - 1) / noise)
    else:
        inside = ((from_corner >= 0) & (from_corner <= 1)).astype(float)
    with np.errstate(divide="ignore"):
        return np.log(inside.prod(-1).mean(-1))


def _log_mixture(x: np.ndarray, means: np.ndarray, weights: np.ndarray, noise: float) -> np.ndarray:
    """log sum_k w_k N(x; m_k, noise^2) of points [N, 2], [N]."""
    found = []
    for part in np.array_split(x, max(1, len(x) // 1000)):
        square = ((part[:, None] - means) ** 2).sum(-1) / noise**2
        found.append(np.logaddexp.reduce(np.log(weights) - square / 2, axis=1))
    return np.concatenate(found) - math.log(2 * math.pi * noise**2)
