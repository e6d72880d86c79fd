"""The objectives of latent models, term by term in numpy, from the terms of four draws of each of three examples."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from arjax.core.batch import Batch
from arjax.core.spec import EventSpec
from arjax.models.latent import Weights
from arjax.objectives import Step, make_objective
from arjax.objectives.base import likelihood_loss

K, B, EVENT = 4, 3, EventSpec((2, 3), (2,), "levels", 5)
rng = np.random.default_rng(0)
RECONSTRUCTION, LOG_PRIOR, LOG_POSTERIOR = rng.normal(-2, 1, (3, K, B)).astype(np.float32)
#: Without weights and masks; with an example that weighs nothing and one that weighs half; with one that is all masked.
MASK = np.ones((B, 2, 3), bool)
MASK[1], MASK[2, 0] = False, False
BATCHES = [({}, [1, 1, 1], 18), ({"weight": [0, 0.5, 1]}, [0, 0.5, 1], 9), ({"mask": MASK}, [1, 0, 1], 9)]


def score(call, params, progress=0.0, reparameterised=True, **fields):
    """The loss of an objective, whose draws are those above shifted by `params`."""
    seen = []

    def weights(params, batch, key, samples, train):
        seen.append((samples, train))
        shift = params[:, None, None]
        return Weights(jnp.zeros((K, B)), RECONSTRUCTION + shift[0], LOG_PRIOR + shift[1], LOG_POSTERIOR + shift[2])

    model = types.SimpleNamespace(event=EVENT, weights=weights, reparameterised=reparameterised)
    fields = {name: jnp.asarray(value, jnp.float32) for name, value in fields.items()}
    batch = Batch(jnp.zeros((B, 2, 3, 2), jnp.int32), **fields)

    @jax.jit
    def loss_of(params, batch, progress):
        return make_objective(call).loss(model, params, None, batch, Step(jax.random.key(0), progress))

    loss = loss_of(params, batch, jnp.float32(progress))
    assert seen == [(K, True)]
    return loss


@pytest.mark.parametrize(("fields", "weight_B", "sites"), BATCHES, ids=["plain", "weight", "mask"])
@pytest.mark.parametrize(
    ("call", "progress", "beta"),
    [
        ("elbo(samples=4)", 0.3, 1.0),
        ("elbo(samples=4, beta=0.5)", 0.3, 0.5),
        ("elbo(samples=4, beta=0.5, warmup=0.5)", 0.0, 0.0),
        ("elbo(samples=4, beta=0.5, warmup=0.5)", 0.25, 0.25),
        ("elbo(samples=4, beta=0.5, warmup=0.5)", 0.9, 0.5),
        ("iwae(samples=4)", 0.3, None),
    ],
)
def test_losses_are_the_bounds(call, progress, beta, fields, weight_B, sites):
    loss = score(call, jnp.zeros(3), progress, **fields)
    kl_KB = LOG_POSTERIOR - LOG_PRIOR
    log_w_KB = RECONSTRUCTION - kl_KB
    value_B = special.logsumexp(log_w_KB, 0) - np.log(K) if beta is None else (RECONSTRUCTION - beta * kl_KB).mean(0)
    bound_B = log_w_KB.mean(0) if beta is not None else value_B
    assert float(loss.metrics.sites) == sites
    np.testing.assert_allclose(loss.value, -np.dot(weight_B, value_B) / (2 * sites), rtol=1e-5)
    np.testing.assert_allclose(loss.metrics.nll, -np.dot(weight_B, bound_B), rtol=1e-5)
    means = {name: float(mean.value) for name, mean in loss.metrics.means.items()}
    expected = {"kl_nats": kl_KB.mean(0), "reconstruction_nats": -RECONSTRUCTION.mean(0)}
    assert means == pytest.approx({k: np.dot(weight_B, v) / sum(weight_B) for k, v in expected.items()}, rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("call", ["elbo(samples=4, beta=0.5)", "iwae(samples=4)"])
def test_signals_of_discrete_draws_are_compared_with_the_other_draws(call):
    """The gradient in log q of each draw: that of the terms, and for discrete draws also the signal."""
    log_w_KB = RECONSTRUCTION + LOG_PRIOR - LOG_POSTERIOR
    if call.startswith("elbo"):
        value_KB = RECONSTRUCTION - 0.5 * (LOG_POSTERIOR - LOG_PRIOR)
        signal_KB = (value_KB - (value_KB.sum(0) - value_KB) / (K - 1)) / K
        own_KB = np.full((K, B), -0.5 / K)
    else:
        others = [np.where(np.arange(K)[:, None] == k, np.delete(log_w_KB, k, 0).mean(0), log_w_KB) for k in range(K)]
        signal_KB = special.logsumexp(log_w_KB, 0) - np.stack([special.logsumexp(o, 0) for o in others])
        own_KB = -special.softmax(log_w_KB, 0)

    def loss(shift_KB, reparameterised):
        weights = lambda *args, **kwargs: Weights(  # noqa: E731
            jnp.zeros((K, B)), jnp.asarray(RECONSTRUCTION), jnp.asarray(LOG_PRIOR), LOG_POSTERIOR + shift_KB
        )
        model = types.SimpleNamespace(event=EVENT, weights=weights, reparameterised=reparameterised)
        batch = Batch(jnp.zeros((B, 2, 3, 2), jnp.int32))
        return make_objective(call).loss(model, None, None, batch, Step(jax.random.key(0))).value

    for reparameterised, expected in ((True, own_KB), (False, own_KB + signal_KB)):
        found = jax.grad(loss)(jnp.zeros((K, B)), reparameterised)
        np.testing.assert_allclose(found, -expected / 36, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("fields", "weight_B", "sites"), BATCHES, ids=["plain", "weight", "mask"])
def test_the_loss_of_a_likelihood_weighs_examples_as_the_bounds_do(fields, weight_B, sites):
    """A bound of an example of which nothing is scored is not 0: its latents have a divergence."""
    nats_B = np.float32([2.0, 30.0, 5.0])
    fields = {name: jnp.asarray(value, jnp.float32) for name, value in fields.items()}
    loss = likelihood_loss(EVENT, Batch(jnp.zeros((B, 2, 3, 2), jnp.int32), **fields), -nats_B)
    np.testing.assert_allclose(loss.value, np.dot(weight_B, nats_B) / (2 * sites), rtol=1e-6)
    np.testing.assert_allclose(loss.metrics.nll, np.dot(weight_B, nats_B), rtol=1e-6)
