"""Objectives of latent models: gradients of the enumerated bound, what is reported, and models that they refuse."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from built import with_params
from latent_cases import EVENT, HIDDEN, KEY, X, latent_model, log_bernoulli, log_normal, through

from arjax.core.batch import Batch
from arjax.core.errors import UserError
from arjax.core.spec import EventSpec
from arjax.evaluation.bounds import sampled_scores
from arjax.evaluation.splits import Scoring
from arjax.models import ModelChoice, make_model
from arjax.objectives import Step, make_objective
from arjax.testing.examples import all_values


@pytest.mark.slow
@pytest.mark.parametrize("call", ["elbo(samples=3)", "elbo(samples=2, beta=0.3)", "iwae(samples=3)"])
def test_the_gradient_through_discrete_latents_is_that_of_the_enumerated_bound(call):
    """One binary latent: all 2^k draws, and the gradient of their mean, against that of 40,000 draws."""
    model, params = with_params(latent_model((1,), "binary", event=EventSpec((1,))), 1.0)
    objective = make_objective(call)
    k, beta = objective.samples, getattr(objective, "beta", 1.0)
    x, num = np.int32([[1]]), 40_000

    def exact(params):
        z = jnp.asarray(all_values(EventSpec((1,))))
        log_prior = model.prior.log_prob(params["prior"], z)
        log_x = model.likelihood.log_prob(params["likelihood"], jnp.repeat(x, 2, 0), context={"z": z})
        log_q = model.posterior.log_prob(params["posterior"], z, context={"x": jnp.repeat(x, 2, 0)})
        draws = all_values(EventSpec((k,)))  # [2^k, k]
        weight = jnp.exp(log_q[draws].sum(1))
        if call.startswith("iwae"):
            value = jax.nn.logsumexp((log_x + log_prior - log_q)[draws], 1) - np.log(k)
        else:
            value = (log_x + beta * (log_prior - log_q))[draws].mean(1)
        return -(weight * value).sum()

    @jax.jit
    def estimates(params):
        def one(key):
            own = objective.init(model, key)
            return jax.grad(lambda p: objective.loss(model, p, own, Batch(x), Step(key)).value)(params)

        found = jax.vmap(one)(jax.random.split(KEY, num))
        return jax.tree.map(lambda leaf: (leaf.mean(0), leaf.std(0) / num**0.5), found)

    wanted = jax.jit(jax.grad(exact))(params)
    found = estimates(params)
    for (mean, error), leaf in zip(
        jax.tree.leaves(found, is_leaf=lambda n: isinstance(n, tuple)), jax.tree.leaves(wanted), strict=True
    ):
        assert (np.abs(mean - leaf) < 5 * error + 1e-6).all()
    assert max(float(np.abs(leaf).max()) for leaf in jax.tree.leaves(wanted["posterior"])) > 0.01


@pytest.mark.slow
@pytest.mark.parametrize("call", ["elbo(samples=3, beta=0.3)", "iwae(samples=4)"])
def test_the_gradient_through_real_latents_is_that_of_finite_differences(call):
    """z = mean + scale * noise with the noise held (Kingma & Welling, 2014, section 2.4; Burda et al., 2016, equations
    12 to 14), in numpy and float64.
    """
    model, params = with_params(latent_model(), 1.0)
    objective, x = make_objective(call), X.reshape(16, 4).astype(np.float64)
    k = objective.samples

    @jax.jit
    def found(params):
        loss = lambda p: objective.loss(model, p, objective.init(model, KEY), Batch(X), Step(KEY)).value  # noqa: E731
        return *jax.value_and_grad(loss)(params), model.weights(params, Batch(X), KEY, k).latents

    def posterior(params):
        of_q = through(params["posterior"], x).reshape(16, 2, 2)
        return of_q[..., 0], of_q[..., 1]

    value, gradient, z = found(params)
    params, gradient = (jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), tree) for tree in (params, gradient))
    mean, log_scale = posterior(params)
    noise = (np.asarray(z, np.float64) - mean) / np.exp(log_scale)

    def loss(params):
        mean, log_scale = posterior(params)
        z = mean + np.exp(log_scale) * noise
        log_q = log_normal(z, mean, log_scale).sum(-1)
        log_prior, log_x = log_normal(z, 0, 0).sum(-1), log_bernoulli(x, through(params["likelihood"], z)).sum(-1)
        if call.startswith("iwae"):
            return -(np.logaddexp.reduce(log_x + log_prior - log_q, 0) - np.log(k)).mean() / 4
        return -(log_x + 0.3 * (log_prior - log_q)).mean() / 4

    np.testing.assert_allclose(value, loss(params), rtol=1e-5)
    leaves, structure = jax.tree.flatten(params)
    for n, slope in enumerate(jax.tree.leaves(gradient)):
        direction = np.random.default_rng(n).normal(size=slope.shape)
        moved = [[*leaves[:n], leaves[n] + step * direction, *leaves[n + 1 :]] for step in (-1e-5, 1e-5)]
        low, high = (loss(jax.tree.unflatten(structure, each)) for each in moved)
        np.testing.assert_allclose((slope * direction).sum(), (high - low) / 2e-5, rtol=1e-3, atol=1e-5)


def latents_below(values):
    """A prior with two latents of its own."""
    parts = {"prior": ModelChoice(network="constant"), "likelihood": HIDDEN, "posterior": HIDDEN}
    return ModelChoice("latent", {"latents": (2,), "values": values}, parts=parts)


def test_draws_of_discrete_latents_that_no_objective_follows():
    """A loss whose gradient lacks that of some draws would train, and be wrong."""
    discrete, below = latent_model((2,), "binary"), latent_model(prior=latents_below("binary"))
    mixed = make_model(
        EVENT, ModelChoice("mixture", parts={"a": latents_below("binary"), "b": ModelChoice(network="made")})
    )
    for model in (discrete, below, mixed):
        with pytest.raises(UserError, match="no gradient through draws of discrete latents"):
            make_objective("teacher_forcing").check(model)
    for call in ("elbo(samples=2)", "iwae"):
        with pytest.raises(UserError, match="the latents of its parts have to be real"):
            make_objective(call).check(below)
        make_objective(call).check(discrete)
        make_objective(call).check(latent_model(prior=latents_below("real")))
    make_objective("teacher_forcing").check(latent_model())


def test_scores_whose_exponentials_are_no_bound():
    """The score of a chain at random steps varies much: the log of a mean of exponentials is above log p(x)."""
    sizes = {"width": 8, "num_layers": 1, "num_heads": 2}
    chain = ModelChoice("discrete_chain", {"num_steps": 4, "score_steps": 1}, "denoising_transformer", sizes)
    parts = {"prior": ModelChoice(network="constant"), "likelihood": chain, "posterior": HIDDEN}
    model = make_model(EVENT, ModelChoice("latent", {"latents": (2,)}, parts=parts))
    make_objective("elbo").check(model)
    with pytest.raises(UserError, match="no bounds with chains"):
        make_objective("iwae").check(model)
    with pytest.raises(UserError, match="no bounds with chains inside"):
        sampled_scores(model, None, None, "test", 2, Scoring(2))
    mixture = make_model(EVENT, ModelChoice("mixture", parts={"a": chain, "b": ModelChoice(network="made")}))
    inside = latent_model(
        prior=ModelChoice("mixture", parts={"a": ModelChoice("gaussian_chain", {}, "denoising_transformer", sizes)})
    )
    assert (model.score_kind, mixture.score_kind, inside.score_kind) == ("bound", "estimate", "estimate")
