"""Entropy along the order: on models whose conditionals are known, with masks and partial batches."""

import jax
import numpy as np
import pytest

from arjax.core.errors import UserError
from arjax.core.spec import EventSpec
from arjax.data import from_arrays
from arjax.evaluation.entropy import step_entropy
from arjax.evaluation.splits import Scoring
from arjax.models import make_model

EVENT = EventSpec((2, 3), kind="levels", num_levels=4)


@pytest.fixture(scope="module")
def parts():
    model = make_model(EVENT, "made", hidden_sizes=(8,), ordering="reversed", partition="blocks(size=2)")
    x = np.random.default_rng(0).integers(0, 4, (7, 2, 3))
    mask = np.ones((7, 2, 3), np.float32)
    mask[:3, 0, 0] = 0
    return model, jax.jit(model.init)(jax.random.key(0)), x, mask


def by_hand(model, params, x, mask):
    """[N, S] entropies and -log p by step, and which rows count, one example at a time."""
    log_prob, entropy = (np.asarray(v, np.float64).reshape(len(x), -1) for v in jax.jit(model.conditionals)(params, x))
    mask = mask.reshape(len(x), -1)
    blocks = np.asarray(model.factorization.blocks)
    return [np.stack([(v * mask)[:, sites].sum(1) for sites in blocks], 1) for v in (entropy, -log_prob)]


@pytest.mark.parametrize("batch_size", [2, 7, 16])
def test_means_and_errors_by_hand(parts, batch_size):
    model, params, x, mask = parts
    found = step_entropy(
        model, params, from_arrays(EVENT, train=x, test={"x": x, "mask": mask}), "test", Scoring(batch_size)
    )
    entropy, nll = by_hand(model, params, x, mask)
    np.testing.assert_allclose(found.entropy, entropy.mean(0), rtol=1e-5)
    np.testing.assert_allclose(found.nll, nll.mean(0), rtol=1e-5)
    # the first entropy is the same for all examples: in float32 its error is not quite 0
    np.testing.assert_allclose(found.entropy_stderr, entropy.std(0, ddof=1) / np.sqrt(7), rtol=1e-3, atol=5e-4)
    np.testing.assert_allclose(found.nll_stderr, nll.std(0, ddof=1) / np.sqrt(7), rtol=1e-3, atol=1e-4)
    assert found.num_examples == 7 and found.entropy_over_grid.shape == (2, 3)


def test_sum_over_steps_is_the_likelihood(parts):
    model, params, x, _ = parts
    found = step_entropy(model, params, from_arrays(EVENT, train=x), "train", Scoring(4))
    assert found.nll.sum() == pytest.approx(-float(jax.jit(model.log_prob)(params, x).mean()), rel=1e-5)


def test_the_first_examples_only(parts):
    model, params, x, _ = parts
    some = step_entropy(model, params, from_arrays(EVENT, train=x), "train", Scoring(2), max_examples=5)
    first = step_entropy(model, params, from_arrays(EVENT, train=x[:5]), "train", Scoring(5))
    assert some.num_examples == 5
    np.testing.assert_allclose(some.nll, first.nll, rtol=1e-5)


def test_a_step_that_nobody_has_is_nan(parts):
    model, params, x, _ = parts
    mask = np.ones((7, 2, 3), np.float32)
    mask[:, 1, 1:] = 0  # the first step of the reversed order
    found = step_entropy(model, params, from_arrays(EVENT, train={"x": x, "mask": mask}), "train", Scoring(4))
    assert np.isnan(found.entropy[0]) and np.isfinite(found.entropy[1:]).all()


def test_a_missing_split_is_named(parts):
    model, params, x, _ = parts
    with pytest.raises(UserError, match="has no test split"):
        step_entropy(model, params, from_arrays(EVENT, train=x), "test")


@pytest.mark.slow
def test_estimates_have_other_noise_in_each_batch():
    """Equal examples, one in a batch: entropies and -log p of a head that draws differ by its noise alone."""
    head = "diffusion(steps=2, schedule='cosine', prediction='velocity', features=2, width=4, layers=1)"
    model = make_model(EventSpec((2,), (2,), "real"), "made", hidden_sizes=(4,), conditional=head)
    data = from_arrays(model.event, train=np.ones((3, 2, 2), np.float32))
    found = step_entropy(model, jax.jit(model.init)(jax.random.key(0)), data, "train", Scoring(1))
    assert (found.entropy_stderr > 0.01).all() and (found.nll_stderr > 0.01).all()
