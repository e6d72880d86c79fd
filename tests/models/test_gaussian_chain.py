"""Gaussian chains and noise schedules against the formulas of their papers, and the steps and paths of all chains."""

from __future__ import annotations

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from built import built
from refusals import each_refused, refusal
from scipy import stats

from arjax.core.batch import Batch
from arjax.core.spec import ContextSpec, EventSpec
from arjax.models.chains import frame_places
from arjax.models.gaussian_chain import GaussianChain, GaussianNoise, expected_level, log_bin_mass
from arjax.models.noise_schedules import (
    GOLDEN,
    LEARNED_ENDS,
    fixed_gammas,
    init_learned,
    learned_gammas,
    reverse_steps,
    stratified_steps,
    visited_steps,
)
from arjax.networks.denoisers import Denoiser
from arjax.testing.examples import random_like

LEVELS = EventSpec((2, 3), kind="levels", num_levels=5)
REAL = EventSpec((6,), kind="real")
SMALL = {"width": 8, "num_layers": 1, "num_heads": 1}
KEY = jax.random.key(0)
X = np.random.default_rng(0).integers(0, 5, (4, 2, 3)).astype(np.int32)


def build(event=LEVELS, network="denoising_transformer", small=SMALL, **options):
    options = {"num_steps": 7, "schedule": "cosine"} | small | options
    model, params = built(event, network, kind="gaussian_chain", **options)
    learned = {"noise": model.process.init(KEY)["noise"]} if model.process.schedule == "learned" else {}
    return model, params | learned


@jax.jit
def gammas_of(model, params):
    return model.noise(params).gammas()


def forward(model, params):
    """alpha_bar_t, t = 0, ..., T, and beta_t."""
    a = np.append(1.0, kept_of(gammas_of(model, params)))
    return a, 1 - a[1:] / a[:-1]


@jax.jit
def bound(model, params, batch, key):
    return model.bound(params, batch, key)


@jax.jit
def terms(model, params, x, t_B, keys_B):
    """The term of a step, x_t and the predicted x_0."""
    process = model.noise(params)
    x_0, gamma_B = process.scaled(x), process.gammas()[t_B - 1]
    noise = jax.vmap(lambda key: jax.random.normal(key, model.event.shape))(keys_B)
    alpha, sigma = (
        s.reshape(-1, *[1] * (x.ndim - 1)) for s in (jax.nn.sigmoid(-gamma_B) ** 0.5, jax.nn.sigmoid(gamma_B) ** 0.5)
    )
    x_t = alpha * x_0 + sigma * noise
    _, e, found = process.predicted(model.features(params, x, x_t, t_B), x_t, gamma_B)
    return model.step_terms(params, x, t_B, keys_B, None), x_0, x_t, e, found


@pytest.mark.parametrize(
    "prediction", [*(pytest.param(name, marks=pytest.mark.slow) for name in ("noise", "velocity")), "levels"]
)
def test_a_step_is_the_divergence_of_two_gaussians(prediction):
    """Equations 6 and 7 of Ho et al.: q(x_{t-1} | x_t, x_0) against itself with the predicted x_0."""
    model, params = build(prediction=prediction)
    a, beta = forward(model, params)
    for t in (2, 4, 7):
        step, x_0, x_t, e, found = terms(model, params, X, np.full(4, t), jax.random.split(KEY, 4))
        x_0, x_t, e, found = (np.asarray(y, np.float64) for y in (x_0, x_t, e, found))

        def mean(x_0, t=t, x_t=x_t):
            return (np.sqrt(a[t - 1]) * beta[t - 1] * x_0 + np.sqrt(1 - beta[t - 1]) * (1 - a[t - 1]) * x_t) / (
                1 - a[t]
            )

        variance = (1 - a[t - 1]) / (1 - a[t]) * beta[t - 1]
        kl = ((mean(x_0) - mean(found)) ** 2).sum((1, 2)) / (2 * variance)
        np.testing.assert_allclose(step.log_prob, -kl, rtol=2e-3)
        # the predicted noise and x_0 make up x_t
        np.testing.assert_allclose(np.sqrt(a[t]) * found + np.sqrt(1 - a[t]) * e, x_t, rtol=1e-3, atol=1e-3)
        true_noise = (x_t - np.sqrt(a[t]) * x_0) / np.sqrt(1 - a[t])
        np.testing.assert_allclose(step.error, ((true_noise - e) ** 2).sum((1, 2)), rtol=2e-3)


def test_levels_are_predicted_by_their_posterior():
    """Bayes' rule over the levels, of a prior and a Gaussian observation."""
    rng = np.random.default_rng(0)
    logits, y, sd = rng.normal(size=(3, 5)), rng.normal(size=3), np.array([0.1, 0.5, 2.0])
    c = np.linspace(-1, 1, 5)
    weight = np.exp(logits) * stats.norm.pdf(y[:, None], c, sd[:, None])
    expected = (weight * c).sum(1) / weight.sum(1)
    np.testing.assert_allclose(jax.jit(expected_level)(logits, y, 1 / sd), expected, rtol=1e-4)


def test_bins_are_those_of_a_normal_and_sum_to_one():
    """Section 3.3 of Ho et al.; far from the mean in log space, with finite gradients."""
    centres, bins = np.linspace(-1, 1, 5), jax.jit(log_bin_mass, static_argnums=3)
    for mean, sd in ((0.1, 0.3), (-0.9, 0.05), (3.0, 1.0)):
        edges = np.concatenate([[-np.inf], (centres[1:] + centres[:-1]) / 2, [np.inf]])
        expected = np.diff(stats.norm.cdf(edges, mean, sd))
        found = np.asarray(bins((centres - mean) / sd, 0.25 / sd, np.arange(5), 5))
        np.testing.assert_allclose(np.exp(found), expected, rtol=1e-3, atol=1e-6)
        assert abs(np.exp(found).sum() - 1) < 1e-5
    far = jax.jit(jax.vmap(jax.value_and_grad(lambda d, k: log_bin_mass(d, 0.01, k, 5)), (0, None)))
    distances = np.float32([-40, -6, 0, 6, 40])
    for level in (0, 2, 4):
        value, slope = far(distances, level)
        assert np.isfinite(value).all() and np.isfinite(slope).all()
    at_40 = np.asarray(far(distances, 2)[0])[0]
    np.testing.assert_allclose(at_40, stats.norm.logpdf(40) + np.log(0.02), rtol=1e-3)


def test_the_terms_of_the_bound():
    """The prior by the formula; the last one by its Gaussian around the predicted x_0, a density for real data."""
    x = np.random.default_rng(1).normal(size=(4, 6)).astype(np.float32)
    model, params = build(REAL, schedule="linear", prediction="velocity")
    a, beta = forward(model, params)
    keys = jax.random.split(KEY, 4)
    step, _, _, _, found = terms(model, params, x, np.ones(4, int), keys)
    expected = stats.norm.logpdf(x, found, np.sqrt(beta[0])).sum(1)
    np.testing.assert_allclose(step.log_prob, expected, rtol=1e-3)
    prior = -0.5 * ((1 - a[-1]) + a[-1] * x.astype(np.float64) ** 2 - 1 - np.log(1 - a[-1])).sum(1)
    score = bound(model, params, Batch(x), KEY)
    np.testing.assert_allclose(score.terms["prior"], -prior, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(score.log_prob, -np.sum(list(score.terms.values()), 0), rtol=1e-5)
    assert score.kind == "bound" and set(score.terms) == {"prior", "diffusion", "reconstruction"}


@pytest.mark.parametrize("schedule", ["cosine", pytest.param("learned", marks=pytest.mark.slow)])
def test_random_steps_estimate_the_whole_sum(schedule):
    """The mean over many examples alike, of each term; K = 3."""
    model, params = build(schedule=schedule, prediction="velocity")
    batch = Batch(np.repeat(X[:1], 6000, 0))
    exact = jax.tree.map(np.asarray, bound(model, params, batch, KEY))
    score = jax.jit(lambda p, b: model.estimate(p, b, key=jax.random.key(5), num=3, train=True)[0])
    for name, value in jax.tree.map(np.asarray, score(params, batch)).terms.items():
        error = np.std(value) / 6000**0.5 + np.std(exact.terms[name]) / 6000**0.5
        assert abs(value.mean() - exact.terms[name].mean()) <= 4 * error + 1e-4 * abs(value.mean()), name


@pytest.mark.slow
def test_the_gradient_of_a_learned_schedule_is_that_of_finite_differences():
    """Of the whole bound under one key: all terms depend on the schedule, the last one by sigma_1."""
    small = {"width": 8, "num_layers": 1}
    model, params = build(REAL, "adaptive_mlp", small, schedule="learned", prediction="velocity", num_steps=4)
    params["noise"] |= {"low": np.float32(-3.0), "range": np.float32(6.0)}
    batch = Batch(np.random.default_rng(1).normal(size=(4, 6)).astype(np.float32))
    slopes = jax.jit(jax.grad(lambda noise, params: bound(model, params | {"noise": noise}, batch, KEY).log_prob.sum()))
    gradient, direction = slopes(params["noise"], params), random_like(params["noise"], seed=3)
    for name in params["noise"]:
        values = []
        for step in (-0.1, 0.1):  # less would drown in the rounding of a sum of -5,500 nats
            noise = params["noise"] | {name: np.asarray(params["noise"][name]) + np.float32(step) * direction[name]}
            values.append(np.asarray(bound(model, params | {"noise": noise}, batch, KEY).log_prob, np.float64).sum())
        slope = (np.asarray(gradient[name]) * direction[name]).sum()
        np.testing.assert_allclose(slope, (values[1] - values[0]) / 0.2, rtol=0.02, atol=0.02, err_msg=name)
    assert min(abs(float(gradient[name])) for name in ("low", "range")) > 1


@pytest.mark.slow
def test_every_step_of_a_score_has_noise_of_its_own():
    """Else the mean of K steps would be as noisy as one, and the terms of a bound would err together."""
    event, x = EventSpec((1,), kind="real"), np.full((4000, 1), 0.7, np.float32)
    model, params = build(event, num_steps=1, prediction="velocity")
    zero = jax.tree.map(np.zeros_like, params)

    @functools.partial(jax.jit, static_argnums=1)
    def variance(params, num):
        return model.estimate(params, Batch(x), key=KEY, num=num, train=False)[0].log_prob.var()

    assert 0.2 < variance(zero, 4) / variance(zero, 1) < 0.3
    model, _ = build(event, num_steps=2, prediction="velocity")
    terms = bound(model, zero, Batch(x), KEY).terms
    assert abs(np.corrcoef(terms["diffusion"], terms["reconstruction"])[0, 1]) < 0.08


@pytest.mark.slow
def test_the_bound_of_a_chain_without_a_network_is_below_its_density():
    """A network that says 0: all conditionals are Gaussian, so p(x_0) is known; two steps, one real site."""
    event = EventSpec((1,), kind="real")
    model, params = build(event, num_steps=2, prediction="velocity")
    zero = jax.tree.map(np.zeros_like, params)
    a, _ = forward(model, params)
    # backwards from N(0, 1): x_1 = c x_0' + d e' + std z with x_0' = sqrt(a_2) x_2 and e' = sqrt(1 - a_2) x_2
    std2 = (1 - a[1]) * (1 - a[2] / (1 - a[2]) * (1 - a[1]) / a[1])
    factor = np.sqrt(a[1] * a[2]) + np.sqrt((1 - a[1] - std2) * (1 - a[2]))
    variance = a[1] * (factor**2 + std2) + 1 - a[1]
    x = np.float32([[-1.5], [0.0], [0.7]])
    score = np.reshape(bound(model, zero, Batch(np.repeat(x, 20000, 0)), KEY).log_prob, (3, -1))
    gap = stats.norm.logpdf(x[:, 0], 0, np.sqrt(variance)) - score.mean(1)
    assert (gap > 0.01).all() and (gap < 1).all()
    draws = jax.jit(lambda params: [model.sample(params, KEY, 20000, eta=eta) for eta in (1.0, 0.0)])
    drawn, still = map(np.asarray, draws(zero))  # with eta = 0 all of the noise is the predicted one
    assert abs(drawn.var() / variance - 1) < 0.05
    factor = np.sqrt(a[1] * a[2]) + np.sqrt((1 - a[1]) * (1 - a[2]))
    assert abs(still.var() / (a[1] * factor**2) - 1) < 0.05


def kept_of(gammas):
    return 1 / (1 + np.exp(np.asarray(gammas, np.float64)))


def gap_of(gammas):
    """Nats by which the bound of one normal value is below log p, with the ideal denoiser: the mean of each term.

    The noise that it predicts is off by alpha_t^2, as x_0 given x_t has the variance sigma_t^2; the last step is exact.
    """
    kept = kept_of(gammas)
    prior = -0.5 * np.log(1 - kept[-1])
    steps = 0.5 * (np.expm1(np.diff(np.asarray(gammas, np.float64))) * kept[1:]).sum()
    return prior + steps + 0.5 * np.log(1 - kept[0])


class Says0(Denoiser):
    """The ideal denoiser of normal values, by their velocity, and of uniform levels, by their distribution."""

    @nn.compact
    def __call__(self, x_t, t, context=None, *, train=False):
        return self.param("zero", nn.initializers.zeros, ()) * jnp.ones((*x_t.shape, self.num_features))


def ideal(event, schedule, num_steps, prediction):
    num_features = event.num_levels if prediction == "levels" else 1
    denoiser = Says0(EventSpec(event.shape, kind="real"), ContextSpec(), num_features, "float32")
    model = GaussianChain(denoiser, GaussianNoise(event, num_steps, schedule, prediction))
    return model, jax.jit(model.init)(KEY)


@pytest.mark.slow
@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_the_bound_of_an_ideal_denoiser_has_the_gap_of_its_schedule(schedule):
    """Of normal values, where x_0 given x_t is N(alpha x_t, sigma_t^2): the velocity 0. See docs/models.md."""
    model, params = ideal(EventSpec((1,), kind="real"), schedule, 7, "velocity")
    x = np.random.default_rng(0).normal(size=(40_000, 1)).astype(np.float32)
    score = bound(model, params, Batch(x), KEY)
    gap = stats.norm.logpdf(x[:, 0]) - np.asarray(score.log_prob, np.float64)
    error = 4 * gap.std() / 40_000**0.5
    assert error < 0.05
    np.testing.assert_allclose(gap.mean(), gap_of(fixed_gammas(schedule, 7)), atol=error)


@pytest.mark.slow
def test_a_learned_schedule_lowers_the_gap_of_pixels():
    """Uniform levels of 256 and the ideal denoiser, a constant distribution over levels; 100 steps."""
    event = EventSpec((1,), kind="levels", num_levels=256)
    x, gaps = np.arange(2048).reshape(-1, 1) % 256, {}
    for schedule in ("linear", "cosine", "learned"):
        model, params = ideal(event, schedule, 100, "levels")
        nats = jax.jit(lambda params, key, x, m=model: -m.bound(params, Batch(x), key).log_prob.mean())
        gaps[schedule] = float(nats(params, KEY, x)) - np.log(256)
        if schedule == "learned":
            optimizer = optax.adam(0.05)
            state, slope = optimizer.init(params), jax.jit(jax.grad(nats))
            for n in range(150):
                update, state = optimizer.update(slope(params, jax.random.key(n), x[:256]), state)
                params = optax.apply_updates(params, update)
            gaps["trained"] = float(nats(params, KEY, x)) - np.log(256)
    np.testing.assert_allclose([gaps[name] for name in ("linear", "cosine", "learned")], (0.77, 0.71, 0.55), atol=0.1)
    assert gaps["trained"] < 0.25


@pytest.mark.parametrize("visited", [(1, 2, 3, 4, 5, 6, 7), (1, 3, 7)])
def test_ddim_with_eta_1_is_ancestral(visited):
    """Equations 12 and 16 of Song et al. against the posterior of Ho et al. for the chain of the visited steps."""
    model, params = build()
    a, _ = forward(model, params)
    gammas, steps = gammas_of(model, params), jax.jit(reverse_steps, static_argnums=(1, 2))
    _, _, c_S, d_S, std_S = (np.asarray(y, np.float64) for y in steps(gammas, visited, 1.0))
    for t, s, c, d, std in zip(visited[::-1][:-1], visited[::-1][1:], c_S, d_S, std_S, strict=False):
        ratio = a[t] / a[s]
        np.testing.assert_allclose(std**2, (1 - a[s]) / (1 - a[t]) * (1 - ratio), rtol=1e-3)
        # c x_0 + d e, with e = (x_t - sqrt(a_t) x_0) / sqrt(1 - a_t)
        of_x_t = d / np.sqrt(1 - a[t])
        np.testing.assert_allclose(of_x_t, np.sqrt(ratio) * (1 - a[s]) / (1 - a[t]), rtol=1e-3)
        np.testing.assert_allclose(c - of_x_t * np.sqrt(a[t]), np.sqrt(a[s]) * (1 - ratio) / (1 - a[t]), rtol=1e-3)
    half = list(map(np.asarray, steps(gammas, visited, 0.5)))
    np.testing.assert_allclose(half[4], 0.5 * std_S, rtol=1e-5)
    whole = d_S[:-1] ** 2 + std_S[:-1] ** 2
    np.testing.assert_allclose(half[3][:-1] ** 2 + half[4][:-1] ** 2, whole, rtol=1e-3)


@pytest.mark.slow
def test_pictures_in_a_context():
    """A U-Net on values of several scalars, with a class, and the end points of a learned schedule."""
    event, options = EventSpec((4, 3), (2,), "binary"), {"schedule": "learned", "prediction": "levels", "num_steps": 5}
    unet = {"width": 8, "groups": 4, "num_blocks": 1, "multipliers": (1,)}
    model, _ = build(event, "unet", unet, context=ContextSpec("label", 3), **options)
    params = jax.jit(model.init)(KEY)
    assert model.draw(params, jax.random.split(KEY, 2), context=np.int32(1)).x.shape == (2, 4, 3, 2)
    x = np.random.default_rng(0).integers(0, 2, (3, *event.shape)).astype(np.int32)

    @jax.jit
    def value(params, label):
        loss = lambda p: -model.score(p, Batch(x, {"label": label}), key=KEY, train=True).log_prob.sum()  # noqa: E731
        return jax.value_and_grad(loss)(params)

    nll, gradient = value(params, np.int32([0, 1, 2]))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
    assert all(np.abs(gradient["noise"][name]).max() > 0 for name in ("low", "range"))
    assert abs(float(value(params, np.int32([1, 1, 2]))[0] - nll)) > 1e-6


test_refusals = each_refused(
    (lambda m, p: build(EventSpec((3,), kind="tokens", num_levels=4)), "needs levels, binary or real data"),
    (lambda m, p: build(REAL, prediction="levels"), "real data have none"),
    (lambda m, p: build(schedule="learned", num_steps=1), "two end points"),
    (lambda m, p: build(sample_steps=8), "visits 2 to 7 steps"),
    (lambda m, p: m.score(p, Batch(X)), "give a random `key`"),
    (lambda m, p: m.score(p, Batch(X, mask=np.ones((4, 2, 3))), key=KEY), "all sites noisy together"),
    (lambda m, p: m.sample(p, KEY, 2, temperature=0.5), "no temperature"),
    (lambda m, p: m.sample(p, KEY, 2, sampler="naive"), "draws in one way"),
    (lambda m, p: m.sample(p, KEY, 2, top_k=3), "cannot draw with top_k"),
    (lambda m, p: m.sample(p, KEY, 2, eta=1.1), "eta must be in"),
    given=build,
)


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
    """docs/diffusion.md: nats of each normal value, and their limit for the first two schedules.

    Near the data their noise sigma_t^2 grows like t: ratios of 2, 3/2, 4/3, ... of which sum (1/t - log(1 + 1/t)) / 2
    is lost, however many steps there are.
    """
    page = (repository / "docs" / "diffusion.md").read_text()
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
    assert "draw" in refusal(visited_steps, steps, 5)


FOUR, KEYS = EventSpec((2, 2), kind="levels", num_levels=3), jax.random.split(jax.random.key(0), 5)
MODELS = {
    "gaussian": (FOUR, {"kind": "gaussian_chain", "prediction": "levels"}),
    "real": (EventSpec((3,), kind="real"), {"kind": "gaussian_chain"}),
    "absorbing": (FOUR, {"kind": "discrete_chain"}),
    "uniform": (FOUR, {"kind": "discrete_chain", "process": "uniform"}),
    "blocks": (FOUR, {"kind": "block_diffusion", "partition": "rows", "network": "block_transformer"}),
}


def chain_of(name):
    event, options = MODELS[name]
    steps = {} if name == "blocks" else {"num_steps": 6}
    sizes = {"width": 8, "num_layers": 1, "num_heads": 2}
    return built(event, **{"network": "denoising_transformer"} | options | steps | sizes)


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n != "blocks")) for n in MODELS])
def test_the_last_frame_is_the_draw(name):
    model, params = chain_of(name)
    path = np.asarray(model.draw(params, KEYS, frames=4).stats["path"])
    assert path.shape == (5, 4, *model.event.shape)
    np.testing.assert_allclose(path[:, -1], model.draw(params, KEYS).x, rtol=1e-5 if name == "real" else 0)
    assert len(np.unique(path[:, 0].reshape(5, -1), axis=0)) == (1 if name in ("absorbing", "blocks") else 5)
    if name in ("absorbing", "blocks"):
        masked = path == 3
        assert masked[:, 0].all() and not masked[:, -1].any()
        kept = ~masked[:, :-1]
        np.testing.assert_array_equal(path[:, 1:][kept], path[:, :-1][kept])  # what is revealed stays
        assert (masked.sum((2, 3))[:, 1:3] < 4).any()
    if name == "blocks":
        assert not masked[:, 2, 0].any()  # after three of four rounds the first row is finished
        assert (masked[:, 2, 1].sum(-1) == 1).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_draws_visit_some_steps_and_count_them(name):
    """In each of two blocks, where a call puts each finished block into the cache, too."""
    model, params = chain_of(name)
    steps, blocks = (2, 2) if name == "blocks" else (3, 1)
    visited = {"blocks": (1, 2), "gaussian": (1, 4, 6), "real": (1, 4, 6)}.get(name, (2, 4, 6))
    few, listed = (model.draw(params, KEYS, steps=each) for each in (steps, visited))
    np.testing.assert_array_equal(few.x, listed.x)
    assert few.x.dtype == model.event.dtype and len(np.unique(few.x)) > 1
    np.testing.assert_array_equal(few.stats["steps"], [steps * blocks] * 5)
    np.testing.assert_array_equal(few.stats["network_calls"], [steps * blocks + (blocks if blocks > 1 else 0)] * 5)
    every = model.draw(params, KEYS)
    assert (np.asarray(every.x) != few.x).any() or name == "blocks"
    if name in ("blocks", "absorbing"):  # all masked at once: the most probable values, the same for all
        coldest = np.asarray(model.draw(params, KEYS, steps=1, temperature=1e-9).x)
        assert (coldest == coldest[:1]).all()


def test_frames_lie_at_equal_distances():
    assert [frame_places(*each) for each in ((4, 6), (9, 3), (0, 6))] == [(0, 2, 4, 6), (0, 1, 2, 3), ()]
    model, params = chain_of("gaussian")
    for wrong in (1, -1, 2.0):
        assert "at least 2 frames" in refusal(model.draw, params, KEYS, frames=wrong)
