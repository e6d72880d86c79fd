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
from arjax.objectives import count

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


def test_counts_of_a_plain_batch():
    counts = {k: float(v) for k, v in count(EVENT, Batch(X))._asdict().items()}
    assert counts == {"examples": 6, "sites": 36, "dims": 72}


def test_counts_honour_mask_and_weight():
    weight = np.array([1, 0, 1, 1, 0, 0], np.float32)
    counts = {k: float(v) for k, v in count(EVENT, Batch(X, mask=MASK, weight=weight))._asdict().items()}
    sites = (MASK.sum((1, 2)) * weight).sum()
    assert counts == {"examples": 3, "sites": sites, "dims": 2 * sites}


def test_teacher_forcing_is_the_negative_log_likelihood_per_dimension(model_and_params):
    model, params = model_and_params
    loss, sums = teacher_forcing(model, params, Batch(X))
    nll = -np.asarray(log_prob(model, params, X)).sum()
    np.testing.assert_allclose(sums["nll"], nll, rtol=1e-6)
    np.testing.assert_allclose(loss, nll / 72, rtol=1e-6)
    assert {name: value.shape for name, value in sums.items()} == dict.fromkeys(
        ("nll", "examples", "sites", "dims"), ()
    )
    assert {value.dtype for value in sums.values()} == {np.dtype(np.float32)}


def test_teacher_forcing_scores_what_the_mask_marks(model_and_params):
    model, params = model_and_params
    loss, sums = teacher_forcing(model, params, Batch(X, mask=MASK))
    nll = -np.asarray(log_prob(model, params, X, MASK)).sum()
    np.testing.assert_allclose(sums["nll"], nll, rtol=1e-6)
    np.testing.assert_allclose(loss, nll / (2 * MASK.sum()), rtol=1e-6)


def test_sums_add_up_over_batches(model_and_params):
    model, params = model_and_params
    whole = teacher_forcing(model, params, Batch(X, mask=MASK))[1]
    parts = [teacher_forcing(model, params, Batch(X[s], mask=MASK[s]))[1] for s in (slice(3), slice(3, 6))]
    for name in whole:
        np.testing.assert_allclose(parts[0][name] + parts[1][name], whole[name], rtol=1e-5)


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


@pytest.mark.parametrize("text", ["teacher_forcing", "order_agnostic"])
def test_rows_of_weight_0_are_as_if_they_were_not_there(text):
    """The last rows of a batch: the random numbers of those before them stay the same. The laws of objectives hold all
    objectives to weights.
    """
    model, params = with_params(make_model(EVENT, "deep_nade", hidden_sizes=(8,), orders="pool(num=3)"))
    batch = Batch(X, mask=MASK)
    (loss, sums), gradient = step(text, model, params, batch.replace(weight=np.float32([1, 1, 1, 0, 0, 0])))
    (expected, expected_sums), expected_gradient = step(text, model, params, batch.take(slice(3)))
    assert sums["examples"] == 3 and sums["nll"] > 0
    for found, wanted in ((loss, expected), (sums, expected_sums), (gradient, expected_gradient)):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), found, wanted)
    twice = step(text, model, params, batch.replace(weight=np.float32([2, 2, 2, 0, 0, 0])))[0]
    np.testing.assert_allclose([twice[0], twice[1]["nll"]], [expected, 2 * expected_sums["nll"]], rtol=1e-5)
