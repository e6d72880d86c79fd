"""Data of known density: draws follow it, and it is a density."""

import numpy as np
import pytest

from arjax.core.errors import UserError
from arjax.data import make_dataset
from arjax.data.generated import log_density, true_nats
from arjax.data.sources import read_all

NAMES = ["two_moons", "eight_gaussians", "checkerboard"]


def values(name: str, split: str = "train", **options) -> np.ndarray:
    return np.asarray(read_all(make_dataset(name, **options).splits[split]).x)


@pytest.mark.parametrize(
    ("name", "noise"), [("two_moons", 0.1), ("eight_gaussians", 0.2), ("checkerboard", 0.0), ("checkerboard", 0.1)]
)
def test_draws_follow_the_density(name, noise):
    """Cell by cell of a grid, each integrated on 10 x 10 points; on 5 x 5 of smooth densities."""
    edges, num = np.linspace(-3, 3, 16), 5 if noise else 10
    fine = (edges[:-1, None] + 0.4 * (np.arange(num) + 0.5) / num).ravel()
    points = np.stack(np.meshgrid(fine, fine, indexing="ij"), -1).reshape(-1, 2)
    p = np.exp(log_density(name, points, noise)).reshape(15, num, 15, num).sum((1, 3)) * (0.4 / num) ** 2
    assert abs(p.sum() - 1) < 1e-3
    x = values(name, noise=noise, num_examples=20_000)
    counts = np.histogram2d(x[:, 0], x[:, 1], [edges, edges])[0]
    assert (np.abs(counts - 20_000 * p) < 5 * np.sqrt(20_000 * p) + 5).all()
    shifted = np.roll(p, 1, 0)
    assert not (np.abs(counts - 20_000 * shifted) < 5 * np.sqrt(20_000 * shifted) + 5).all()  # it can fail


@pytest.mark.parametrize("name", NAMES)
def test_the_true_nats_are_the_mean_over_the_split(name):
    x = values(name, "validation", noise=0.3, num_examples=400, seed=2)
    assert len(x) == 100
    expected = -log_density(name, x, 0.3).mean()
    assert abs(true_nats(name, "validation", noise=0.3, num_examples=400, seed=2) - expected) < 1e-9


@pytest.mark.parametrize("name", NAMES)
def test_a_point_as_one_site_is_the_same_point(name):
    """Its nats, too: they are those of the whole example."""
    dataset = make_dataset(name, num_examples=40, as_one_site=True)
    assert (dataset.event.grid_shape, dataset.event.value_shape) == ((1,), (2,))
    np.testing.assert_array_equal(values(name, num_examples=40, as_one_site=True)[:, 0], values(name, num_examples=40))
    assert true_nats(name, num_examples=40, as_one_site=True) == true_nats(name, num_examples=40)


def test_the_checkerboard_is_uniform_on_eight_squares():
    inside, outside = np.array([[-1.5, -1.5], [1.5, 1.9]]), np.array([[-1.5, -0.5], [2.5, 0.5]])
    np.testing.assert_allclose(log_density("checkerboard", inside, 0.0), -np.log(8))
    assert (log_density("checkerboard", outside, 0.0) == -np.inf).all()
    with pytest.raises(UserError, match="must be 0, or from"):
        make_dataset("checkerboard", noise=0.001)


def test_densities_by_hand():
    means = [(2 * np.cos(a), 2 * np.sin(a)) for a in np.arange(8) * np.pi / 4]
    x = np.array([0.9, 0.1])
    squares = np.array([((x - m) ** 2).sum() for m in means])
    expected = np.log(np.exp(-squares / 2 / 0.25).mean() / (2 * np.pi * 0.25))
    assert abs(log_density("eight_gaussians", x[None], 0.5)[0] - expected) < 1e-9
    a = (np.arange(20_000) + 0.5) / 20_000 * np.pi
    moons = np.concatenate([np.stack([np.cos(a), np.sin(a)], -1), np.stack([1 - np.cos(a), 0.5 - np.sin(a)], -1)])
    expected = np.log(np.exp(-((x - moons) ** 2).sum(1) / 2 / 0.25).mean() / (2 * np.pi * 0.25))
    assert abs(log_density("two_moons", x[None], 0.5)[0] - expected) < 1e-6


@pytest.mark.parametrize("name", NAMES)
def test_seeds_and_splits_differ(name):
    first, again, other, validation = (
        values(name, *which, num_examples=40, **seed)[:10]
        for which, seed in (((), {}), ((), {}), ((), {"seed": 1}), (("validation",), {}))
    )
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).min() > 0 and np.abs(first - validation).min() > 0
