"""Small parts of objectives by themselves: means, weights and signals."""

import dataclasses
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from arjax.core.batch import Batch, Score
from arjax.core.spec import EventSpec
from arjax.objectives import Step
from arjax.objectives.base import leave_one_out, likelihood_loss, score_loss, with_score_function
from arjax.objectives.prefixes import PrefixObjective, weighted_mean

EVENT = EventSpec((2, 3), (2,), "levels", 5)
X, NATS, WEIGHT = np.arange(36).reshape(3, 2, 3, 2) % 5, jnp.array([1.0, 2.0, 4.0]), jnp.array([1.0, 0.0, 0.5])
MASK = np.ones((3, 2, 3), np.float32)
MASK[0, 0] = MASK[1] = 0
MODEL = types.SimpleNamespace(event=EVENT)
#: The fields of a batch, the sum of its nats, and its examples and sites.
CASES = [
    ({}, 7, 3, 18),
    ({"weight": WEIGHT}, 3, 1.5, 9),
    ({"mask": MASK}, 5, 2, 9),  # an example without a scored site is none, as in the scores of a split
    ({"weight": WEIGHT, "mask": MASK}, 3, 1.5, 6),
]


@dataclasses.dataclass(frozen=True)
class Mine(PrefixObjective):
    """Given values and numbers of the examples, of any model."""

    name = "mine"
    value_B: jax.Array
    num_B: jax.Array

    def check(self, model):
        pass

    def costs(self, model, params, batch, step):
        return self.value_B, self.num_B


@pytest.mark.slow
def test_signals_are_differences_from_the_other_values():
    assert leave_one_out(jnp.array([1.0, 3.0, 8.0])).tolist() == [5.5, 4.5, 2.0]
    assert leave_one_out(jnp.array([[7.0]])).tolist() == [[0.0]]
    value, slope = jax.value_and_grad(lambda p: with_score_function(p**2, 3 * p, 5 * p))(2.0)
    assert (float(value), float(slope)) == (4.0, 4 + 6 * 5)


@pytest.mark.parametrize(("fields", "nats", "examples", "sites"), CASES)
def test_losses_are_nats_per_scored_scalar(fields, nats, examples, sites):
    batch = Batch(X, **fields)
    nats_B = NATS.at[1].set(jnp.inf) if "weight" in fields else NATS  # nothing of an example without weight
    loss = likelihood_loss(EVENT, batch, -nats_B)
    assert float(loss.value) == pytest.approx(nats / (2 * sites))
    assert list(map(float, jax.tree.leaves(loss.metrics))) == [nats, examples, sites, 2 * sites]
    for kind, reported in (("exact", True), ("bound", True), ("none", False)):
        score = types.SimpleNamespace(log_prob=-nats_B, kind=kind, terms={"energy": None})
        found = score_loss(EVENT, batch, score)
        assert float(found.value) == float(loss.value) and (found.metrics.nll is not None) == reported
        means = {name: float(mean.value) for name, mean in found.metrics.means.items()}
        assert means == ({} if reported else {"energy": float(loss.value)})
    mean = weighted_mean(MODEL, batch, nats_B)
    costs = 3 if "weight" in fields else 7  # those of an objective's own are of all examples
    assert (float(mean.total), float(mean.count)) == (costs, 2 * sites)
    own = weighted_mean(MODEL, batch, nats_B, jnp.array([1.0, 3.0, 4.0]))
    assert (float(own.total), float(own.count)) == (costs, 3 if "weight" in fields else 8)
    model = types.SimpleNamespace(event=EVENT, score=lambda params, batch: Score(-nats_B))
    named = Mine(nats_B, jnp.array([1.0, 3.0, 4.0])).loss(model, None, None, batch, Step(jax.random.key(0)))
    assert float(named.value) == float(own.value)
    assert jax.tree.leaves(dataclasses.replace(named.metrics, means={})) == jax.tree.leaves(loss.metrics)
    assert {name: float(mean.value) for name, mean in named.metrics.means.items()} == {"mine": float(own.value)}
