"""Objectives: what is summed, what it is divided by, and what masks and weights leave out."""

import functools

import jax
import law_cases as cases
import numpy as np
import pytest
from objective_cases import loss_and_sums

from arjax.core.batch import Batch
from arjax.core.spec import ContextSpec, EventSpec
from arjax.models import make_model

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
    """The loss with its sums, and its gradient."""
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
