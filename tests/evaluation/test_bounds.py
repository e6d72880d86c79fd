"""Bounds of a split that take more work than a score: those of chains."""

import dataclasses
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiled import of_model

from arjax.core.batch import Batch
from arjax.core.errors import UserError
from arjax.core.spec import EventSpec
from arjax.data.base import from_arrays
from arjax.evaluation.bounds import sampled_scores, split_bound
from arjax.evaluation.splits import Scoring
from arjax.evaluation.summaries import summarize
from arjax.models import make_model
from arjax.models.extras import SampledBound, report_of_examples, sampled_bound
from arjax.testing.examples import all_values, random_like

EVENT = EventSpec((2,), kind="tokens", num_levels=3)
X = np.repeat(all_values(EVENT), 40, 0)


@pytest.mark.slow
def test_a_chain_is_scored_by_more_steps():
    """The whole sum where as many steps are asked for; else an estimate with the same mean and a larger error."""
    sizes = {"width": 8, "num_layers": 1, "num_heads": 1}
    model = make_model(EVENT, "denoising_transformer", kind="discrete_chain", num_steps=6, score_steps=1, **sizes)
    params = random_like(model.param_shapes)
    dataset = from_arrays(EVENT, train=X, test=X)
    whole, few = (sampled_scores(model, params, dataset, "test", samples, Scoring(360)) for samples in (99, 2))
    assert (whole["chain_bound_steps"], few["chain_bound_steps"]) == (6, 2)
    exact = -np.asarray(of_model(model, "bound", params, Batch(X), jax.random.key(1)).log_prob)
    assert abs(whole["chain_bound_nats"] - exact.mean()) < 5 * exact.std() / len(X) ** 0.5
    assert whole["chain_bound_stderr"] < few["chain_bound_stderr"]
    assert abs(whole["chain_bound_nats"] - few["chain_bound_nats"]) < 5 * few["chain_bound_stderr"]
    bits = whole["chain_bound_nats"] / 2 / np.log(2)
    np.testing.assert_allclose(whole["chain_bound_bits_per_dim"], bits, rtol=1e-6)


def test_the_bound_of_a_split_is_the_mean_over_scored_examples_in_the_units_of_the_data():
    """Rows of weight 0 and rows without a scored site are left out; scored sites add the log of their scale."""
    rng, scale = np.random.default_rng(0), np.float32([0.01, 3.0, 50.0])
    x, mask, weight = rng.normal(size=(20, 3)), rng.random((20, 3)) < 0.6, np.arange(20) % 7 != 3
    mask[[2, 11]] = False
    model = make_model(EventSpec((3,), kind="real"), "made", hidden_sizes=(4,))
    rows = {"x": x.astype(np.float32), "mask": np.float32(mask), "weight": np.float32(weight)}

    def log_prob(model, params, batch, key):
        counts = jnp.ones(batch.x.shape) if batch.mask is None else batch.mask
        return (counts * batch.x).sum(-1)

    for name, counted in (("mask", mask), ("", np.ones_like(mask))):
        test = {key: value for key, value in rows.items() if name or key != "mask"}
        data = dataclasses.replace(from_arrays(model.event, train=x, test=test), scale=scale, shift=np.zeros(3))
        kept = weight & counted.any(1)
        nats = np.where(counted, np.log(scale) - rows["x"], 0).sum(1)[kept]
        found, sites = split_bound(model, {}, data, "test", log_prob, scoring=Scoring(8))
        np.testing.assert_allclose(found, nats, rtol=1e-5)
        np.testing.assert_array_equal(sites, counted.sum(1)[kept])


class StandIn(SimpleNamespace):
    """A model of a kind of its own."""


def test_bits_of_a_bound_are_those_of_a_scored_scalar():
    """As those of the score itself: the sum of the nats over the number of scored scalars."""
    model = make_model(EventSpec((3,), (2,), "real"), "made", hidden_sizes=(4,))
    rng = np.random.default_rng(0)
    x, mask = rng.normal(size=(9, 3, 2)).astype(np.float32), rng.integers(0, 2, (9, 3))
    mask[4] = 0
    weight = np.arange(9) != 6
    bound = SampledBound("importance_bound", model, _sum_of_scored, (), {"importance_samples": 5})
    sampled_bound.register(StandIn, lambda model, samples: bound)
    report_of_examples.register(StandIn, lambda model, params, batch, key: {"examples": len(batch)})
    stand_in = StandIn(event=model.event)
    data = from_arrays(model.event, train=x, test={"x": x, "mask": mask, "weight": weight})
    found = sampled_scores(stand_in, {}, data, "test", 5, Scoring(4))
    assert (found["examples"], found["importance_samples"]) == (8, 5)
    nats, scored = -(x.sum(-1) * mask).sum(1), (mask.sum(1) > 0) & weight
    expected = summarize(nats[weight], mask[weight].sum(1), model.event)
    for name in ("bits_per_dim", "bits_per_dim_stderr"):
        assert found[f"importance_bound_{name}"] == pytest.approx(expected[name], rel=1e-5)
    assert found["importance_bound_nats"] == pytest.approx(nats[scored].mean(), rel=1e-5)


def _sum_of_scored(model, params, batch, key):
    return (batch.mask * batch.x.sum(-1)).sum(-1)


def test_one_network_has_no_such_bound():
    model = make_model(EVENT, "made", hidden_sizes=(4,))
    with pytest.raises(UserError, match="needs a model of the kind latent or tokens, or a chain"):
        sampled_scores(model, {}, from_arrays(EVENT, train=X, test=X), "test", 3, Scoring(9))
