"""Bounds of a split that take more work than a score: those of chains."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from compiled import of_model

from arjax.core.batch import Batch
from arjax.core.errors import UserError
from arjax.core.spec import EventSpec
from arjax.data.base import from_arrays
from arjax.evaluation.bounds import sampled_scores
from arjax.models import make_discrete_chain, make_model
from arjax.testing.examples import all_values, random_like

EVENT = EventSpec((2,), kind="tokens", num_levels=3)
X = np.repeat(all_values(EVENT), 40, 0)


def test_a_chain_is_scored_by_more_steps():
    """The whole sum where as many steps are asked for; else an estimate with the same mean and a larger error."""
    sizes = {"width": 8, "num_layers": 1, "num_heads": 1}
    model = make_discrete_chain(EVENT, num_steps=6, score_steps=1, **sizes)
    params = random_like(model.param_shapes)
    dataset = from_arrays(EVENT, train=X, test=X)
    whole, few = (
        sampled_scores(model, params, dataset, "test", samples=samples, batch_size=360, seed=0) for samples in (99, 2)
    )
    assert (whole["chain_bound_steps"], few["chain_bound_steps"]) == (6, 2)
    exact = -np.asarray(of_model(model, "bound", params, Batch(X), jax.random.key(1)).log_prob)
    assert abs(whole["chain_bound_nats"] - exact.mean()) < 5 * exact.std() / len(X) ** 0.5
    assert whole["chain_bound_stderr"] < few["chain_bound_stderr"]
    assert abs(whole["chain_bound_nats"] - few["chain_bound_nats"]) < 5 * few["chain_bound_stderr"]
    bits = whole["chain_bound_nats"] / 2 / np.log(2)
    np.testing.assert_allclose(whole["chain_bound_bits_per_dim"], bits, rtol=1e-6)


def test_one_network_has_no_such_bound():
    model = make_model(EVENT, "made", hidden_sizes=(4,))
    with pytest.raises(UserError, match="needs a model of the kind latent, or a chain"):
        sampled_scores(model, {}, from_arrays(EVENT, train=X, test=X), "test", samples=3, batch_size=9, seed=0)
