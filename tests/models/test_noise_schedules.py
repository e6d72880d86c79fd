"""Noise schedules against the papers, the even spread of random steps, and the steps of draws."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from chain_cases import gap_of

from arjax.core.errors import UserError
from arjax.models.noise_schedules import (
    GOLDEN,
    LEARNED_ENDS,
    fixed_gammas,
    init_learned,
    learned_gammas,
    stratified_steps,
    visited_steps,
)


def kept_of(gamma):
    return 1 / (1 + np.exp(np.asarray(gamma, np.float64)))


def test_linear_is_that_of_ho():
    """a_t = prod (1 - beta_s), beta from 1e-4 to 0.02; fewer steps visit the same process."""
    a = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))
    np.testing.assert_allclose(kept_of(fixed_gammas("linear", 1000)), a, rtol=1e-9)
    np.testing.assert_allclose(kept_of(fixed_gammas("linear", 10)), a[99::100], rtol=1e-9)


def test_cosine_is_that_of_nichol_and_dhariwal():
    """f(t) / f(0), f(t) = cos((t / T + s) / (1 + s) pi / 2)^2, s = 0.008, until beta is cut at 0.999."""
    for num_steps in (10, 1000):
        f = np.cos((np.arange(num_steps + 1) / num_steps + 0.008) / 1.008 * np.pi / 2) ** 2
        a = kept_of(fixed_gammas("cosine", num_steps))
        np.testing.assert_allclose(a[:-1], f[1:-1] / f[0], rtol=1e-9)
        np.testing.assert_allclose(a[-1], a[-2] * 0.001, rtol=1e-9)


def test_the_page_has_the_gaps_of_the_schedules(repository):
    """docs/models.md: nats of each normal value, and their limit, half of Euler's constant, of the first two schedules.

    Near the data their noise sigma_t^2 grows like t: ratios of 2, 3/2, 4/3, ... of which sum (1/t - log(1 + 1/t)) / 2
    is lost, however many steps there are.
    """
    page = (repository / "docs" / "models.md").read_text()
    for num_steps in (10, 100, 1000, 10_000):
        gammas = [fixed_gammas("linear", num_steps), fixed_gammas("cosine", num_steps)]
        cells = [f"{gap_of(each):.3f}" for each in (*gammas, np.linspace(*LEARNED_ENDS, num_steps))]
        assert f"| {num_steps:,} | {' | '.join(cells)} |" in page, cells
    ends = [gap_of(fixed_gammas(name, 1_000_000)) for name in ("linear", "cosine")]
    np.testing.assert_allclose(ends, np.euler_gamma / 2, rtol=0.01)


def test_learned_rises_between_its_end_points():
    ends = {"low": np.float32(-8.0), "range": np.float32(12.0), "slope": np.float32(-9.0)}
    params = init_learned(jax.random.key(0)) | ends
    is_first = np.arange(len(params["rate"])) < 20
    # units that would rise early and fall late, were their rates not made positive
    bent = {"rate": np.where(is_first, 8.0, -8.0), "bias": np.where(is_first, -2.0, 6.0)}
    bent = {name: np.float32(value) for name, value in bent.items()} | {"weight": 0 * params["weight"]}
    for changes in ({}, {"slope": np.float32(1.0)}, bent):
        gammas = np.asarray(jax.jit(learned_gammas, static_argnums=1)(params | changes, 50))
        assert (np.diff(gammas) > 0).all()
        np.testing.assert_allclose(gammas[[0, -1]], [-8, 4], atol=1e-5)


def test_learned_schedules_are_their_equation():
    """Kingma et al. (2021), appendix H: l_1(t) + sum w sigmoid(...), scaled to the end points; slopes count."""

    def softplus(x):
        return np.log1p(np.exp(np.asarray(x, np.float64)))

    params = dict(jax.jit(init_learned)(jax.random.key(0))) | {"low": np.float32(-8.0), "range": np.float32(12.0)}
    gammas = jax.jit(learned_gammas, static_argnums=1)
    for slope in (-1.0, 0.0, 2.0):
        place = np.linspace(0, 1, 9)[:, None]
        hidden = 1 / (1 + np.exp(-(softplus(params["rate"]) * place + np.asarray(params["bias"]))))
        rising = softplus(slope) * place[:, 0] + (softplus(params["weight"]) * hidden).sum(-1)
        share = (rising - rising[0]) / (rising[-1] - rising[0])
        found = gammas(params | {"slope": np.float32(slope)}, 9)
        np.testing.assert_allclose(found, -8 + 12 * share, rtol=1e-4, atol=1e-4)


def test_random_steps_are_spread_over_the_chain():
    """Each example has one in each of K equal parts; those of an example do not depend on how many follow."""
    key, num_steps = jax.random.key(3), 1000
    draw = jax.jit(stratified_steps, static_argnums=(1, 2, 3))
    steps = np.asarray(draw(key, 6, 4, num_steps))
    within = (float(jax.random.uniform(key)) + np.arange(6) * GOLDEN) % 1
    expected = np.floor((np.arange(4)[:, None] + within) / 4 * num_steps) + 1
    assert np.abs(steps - expected).max() <= 1 and (steps == expected).mean() > 0.9
    assert (np.asarray(draw(key, 3, 4, num_steps)) == steps[:, :3]).all()
    one = np.asarray(draw(key, 500, 1, 3))
    assert one.min() == 1 and one.max() == 3 and np.bincount(one[0])[1:].min() > 160


def test_visited_steps():
    assert visited_steps(0, 5) == (1, 2, 3, 4, 5) and visited_steps(3, 9) == (1, 5, 9)
    assert visited_steps((1, 4, 9), 9) == (1, 4, 9) and visited_steps(0, 1) == (1,)
    assert visited_steps(1, 9, 9) == (9,) and visited_steps((4, 9), 9, 9) == (4, 9)


@pytest.mark.parametrize("steps", [1, 6, -1, (1, 3), (2, 5), (1, 3, 3, 5), (1, 4, 3, 5), (), (0, 5), 2.5, True])
def test_steps_that_cannot_be_visited(steps):
    with pytest.raises(UserError, match="draw"):
        visited_steps(steps, 5)
