"""Objectives: what is summed, what it is divided by, and what masks and weights leave out."""

import functools
import types

import jax
import jax.numpy as jnp
import law_cases as cases
import numpy as np
import pytest
from objective_cases import loss_and_sums
from scipy import special

from arjax.core.batch import Batch
from arjax.core.spec import ContextSpec, EventSpec
from arjax.models import make_model
from arjax.models.latent import Weights
from arjax.objectives import Step, make_objective
from arjax.objectives.prefixes import weighted_mean
from arjax.objectives.terms import leave_one_out, likelihood_loss, score_loss, with_score_function

EVENT = EventSpec((2, 3), (2,), "levels", 3)
X = cases.random_x(EVENT, 6)
MASK = np.random.default_rng(1).integers(0, 2, (6, 2, 3)).astype(np.float32)
KEY = jax.random.key(0)


def with_params(model):
    return model, cases.random_like(model.param_shapes)


@pytest.fixture(scope="module")
def model_and_params():
    return with_params(make_model(EVENT, "made", hidden_sizes=(8,), orders="pool(num=3)"))


loss_of = jax.jit(loss_and_sums, static_argnums=0)
log_prob = jax.jit(lambda model, params, x, mask=None: model.log_prob(params, x, mask=mask))


@functools.partial(jax.jit, static_argnums=0)
def step(objective, model, params, batch, key=KEY):
    return jax.value_and_grad(lambda p: loss_and_sums(objective, model, p, batch, key), has_aux=True)(params)


def teacher_forcing(model, params, batch, key=KEY):
    return loss_of("teacher_forcing", model, params, batch, key)


@pytest.mark.parametrize("mask", [None, MASK])
def test_teacher_forcing_is_the_negative_log_likelihood_per_scored_dimension(model_and_params, mask):
    model, params = model_and_params
    loss, sums = teacher_forcing(model, params, Batch(X, mask=mask))
    nll = -np.asarray(log_prob(model, params, X, mask)).sum()
    np.testing.assert_allclose(sums["nll"], nll, rtol=1e-6)
    np.testing.assert_allclose(loss, nll / (72 if mask is None else 2 * MASK.sum()), rtol=1e-6)
    assert {(value.shape, value.dtype) for value in sums.values()} == {((), np.dtype(np.float32))}


def test_a_batch_of_which_nothing_counts_has_no_loss_and_no_gradient(model_and_params):
    model, params = model_and_params
    (loss, _), gradient = step("teacher_forcing", model, params, Batch(X, mask=0 * MASK))
    assert loss == 0
    assert all((np.asarray(leaf) == 0).all() for leaf in jax.tree.leaves(gradient))


@pytest.mark.slow
def test_context_and_dropout_reach_the_model():
    context = ContextSpec("label", 3)
    model, params = with_params(make_model(EVENT, "made", hidden_sizes=(8,), dropout=0.5, context=context))
    batch = Batch(X, {"label": np.array([0, 1, 2, 0, 1, 2], np.int32)})
    first, again, other = (float(teacher_forcing(model, params, batch, jax.random.key(k))[0]) for k in (0, 0, 1))
    assert first == again != other  # training: dropout follows the key
    moved = batch.replace(context={"label": batch.context["label"][::-1].copy()})
    assert float(teacher_forcing(model, params, moved)[0]) != first


PAIRS = EventSpec((2, 3), (2,), "levels", 5)
ROWS, NATS, WEIGHT = np.arange(36).reshape(3, 2, 3, 2) % 5, jnp.array([1.0, 2.0, 4.0]), jnp.array([1.0, 0.0, 0.5])
HALF = np.ones((3, 2, 3), np.float32)
HALF[0, 0] = HALF[1] = 0
MODEL = types.SimpleNamespace(event=PAIRS)
#: The fields of a batch, the sum of its nats, and its examples and sites.
FIELDS = [
    ({}, 7, 3, 18),
    ({"weight": WEIGHT}, 3, 1.5, 9),
    ({"mask": HALF}, 5, 2, 9),  # an example without a scored site is none, as in the scores of a split
    ({"weight": WEIGHT, "mask": HALF}, 3, 1.5, 6),
]


@pytest.mark.slow
def test_signals_are_differences_from_the_other_values():
    assert leave_one_out(jnp.array([1.0, 3.0, 8.0])).tolist() == [5.5, 4.5, 2.0]
    assert leave_one_out(jnp.array([[7.0]])).tolist() == [[0.0]]
    value, slope = jax.value_and_grad(lambda p: with_score_function(p**2, 3 * p, 5 * p))(2.0)
    assert (float(value), float(slope)) == (4.0, 4 + 6 * 5)


@pytest.mark.parametrize(("fields", "nats", "examples", "sites"), FIELDS)
def test_losses_are_nats_per_scored_scalar(fields, nats, examples, sites):
    batch = Batch(ROWS, **fields)
    nats_B = NATS.at[1].set(jnp.inf) if "weight" in fields else NATS  # nothing of an example without weight
    loss = likelihood_loss(PAIRS, batch, -nats_B)
    assert float(loss.value) == pytest.approx(nats / (2 * sites))
    assert list(map(float, jax.tree.leaves(loss.metrics))) == [nats, examples, sites, 2 * sites]
    for kind, reported in (("exact", True), ("bound", True), ("none", False)):
        score = types.SimpleNamespace(log_prob=-nats_B, kind=kind, terms={"energy": None})
        found = score_loss(PAIRS, batch, score)
        assert float(found.value) == float(loss.value) and (found.metrics.nll is not None) == reported
        means = {name: float(mean.value) for name, mean in found.metrics.means.items()}
        assert means == ({} if reported else {"energy": float(loss.value)})
    mean = weighted_mean(MODEL, batch, nats_B)
    costs = 3 if "weight" in fields else 7  # those of an objective's own are of all examples
    assert (float(mean.total), float(mean.count)) == (costs, 2 * sites)
    own = weighted_mean(MODEL, batch, nats_B, jnp.array([1.0, 3.0, 4.0]))
    assert (float(own.total), float(own.count)) == (costs, 3 if "weight" in fields else 8)


K, B, VECTORS = 4, 3, EventSpec((2, 3), (2,), "levels", 5)
rng = np.random.default_rng(0)
RECONSTRUCTION, LOG_PRIOR, LOG_POSTERIOR = rng.normal(-2, 1, (3, K, B)).astype(np.float32)
#: Without weights and masks; with an example that weighs nothing and one that weighs half; with one that is all masked.
ONE_MASKED = np.ones((B, 2, 3), bool)
ONE_MASKED[1], ONE_MASKED[2, 0] = False, False
BATCHES = [({}, [1, 1, 1], 18), ({"weight": [0, 0.5, 1]}, [0, 0.5, 1], 9), ({"mask": ONE_MASKED}, [1, 0, 1], 9)]


def terms_of(call, params, progress=0.0, **fields):
    """The loss of an objective of real latents, whose draws are those above shifted by `params`."""
    seen = []

    def weights(params, batch, key, samples, train):
        seen.append((samples, train))
        shift = params[:, None, None]
        return Weights(jnp.zeros((K, B)), RECONSTRUCTION + shift[0], LOG_PRIOR + shift[1], LOG_POSTERIOR + shift[2])

    model = types.SimpleNamespace(event=VECTORS, weights=weights, reparameterised=True)
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
        pytest.param("elbo(samples=4, beta=0.5, warmup=0.5)", 0.0, 0.0, marks=pytest.mark.slow),
        ("elbo(samples=4, beta=0.5, warmup=0.5)", 0.25, 0.25),
        pytest.param("elbo(samples=4, beta=0.5, warmup=0.5)", 0.9, 0.5, marks=pytest.mark.slow),
        ("iwae(samples=4)", 0.3, None),
    ],
)
def test_losses_are_the_bounds(call, progress, beta, fields, weight_B, sites):
    loss = terms_of(call, jnp.zeros(3), progress, **fields)
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
        model = types.SimpleNamespace(event=VECTORS, weights=weights, reparameterised=reparameterised)
        batch = Batch(jnp.zeros((B, 2, 3, 2), jnp.int32))
        return make_objective(call).loss(model, None, None, batch, Step(jax.random.key(0))).value

    for reparameterised, expected in ((True, own_KB), (False, own_KB + signal_KB)):
        gradient_KB = jax.grad(loss)(jnp.zeros((K, B)), reparameterised)
        np.testing.assert_allclose(gradient_KB, -expected / 36, rtol=1e-4, atol=1e-6)
