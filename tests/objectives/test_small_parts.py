"""Small parts of objectives by themselves: means that merge, weights, what may be replaced, and early refusals."""

import dataclasses
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from arjax.core.batch import Batch, Score
from arjax.core.errors import UserError
from arjax.core.spec import EventSpec
from arjax.factorization import make_factorization
from arjax.models import make_model
from arjax.models.base import repeated
from arjax.objectives import Step, make_objective
from arjax.objectives.base import leave_one_out, likelihood_loss, score_loss, with_score_function
from arjax.objectives.metrics import Mean
from arjax.objectives.prefixes import InputNoise, PrefixObjective, replaceable, weighted_mean

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


@pytest.mark.parametrize(("fields", "nats", "examples", "sites"), CASES)
def test_losses_are_nats_per_scored_scalar(fields, nats, examples, sites):
    batch = Batch(X, **fields)
    nats_B = NATS.at[1].set(jnp.inf) if "weight" in fields else NATS  # nothing of an example without weight
    loss = likelihood_loss(EVENT, batch, -nats_B)
    assert float(loss.value) == pytest.approx(nats / (2 * sites))
    assert [float(n) for n in (loss.metrics.nll, *jax.tree.leaves(loss.metrics)[1:])] == [
        nats,
        examples,
        sites,
        2 * sites,
    ]
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


def test_means_of_nothing_are_zero_and_others_merge():
    assert float(Mean(jnp.float32(0), jnp.float32(0)).value) == 0 and float(Mean(3.0, 0.5).value) == 6
    both = Mean(jnp.float32(3), jnp.float32(1)) + Mean(jnp.float32(5), jnp.float32(3))
    assert float(both.value) == 2


@pytest.mark.slow
def test_signals_are_differences_from_the_other_values():
    assert leave_one_out(jnp.array([1.0, 3.0, 8.0])).tolist() == [5.5, 4.5, 2.0]
    assert leave_one_out(jnp.array([[7.0]])).tolist() == [[0.0]]
    value, slope = jax.value_and_grad(lambda p: with_score_function(p**2, 3 * p, 5 * p))(2.0)
    assert (float(value), float(slope)) == (4.0, 4 + 6 * 5)


def test_scored_sites_may_be_replaced():
    assert replaceable(MODEL, Batch(X)).tolist() == [[True] * 6] * 3
    assert replaceable(MODEL, Batch(X, mask=MASK)).tolist() == (MASK.reshape(3, 6) > 0).tolist()
    twice = repeated(Batch(X, weight=WEIGHT), 2)
    np.testing.assert_array_equal(twice.x, np.concatenate([X, X]))
    assert twice.weight.tolist() == [1, 0, 0.5] * 2


@pytest.mark.slow
def test_noise_replaces_values_at_its_rate():
    event = EventSpec((400,), kind="tokens", num_levels=5)
    order = make_factorization((400,))
    model, x = (
        types.SimpleNamespace(event=event, factorization=order),
        jnp.full((20, 400), 7),
    )  # no value of the event: those drawn show
    mask = np.ones((20, 400), np.float32)
    mask[:, :100] = 0
    for rate in (0.0, 0.25, 1.0):
        found = np.asarray(InputNoise(rate=rate).inputs(model, Batch(x, mask=mask), jax.random.key(0)))
        assert (found[:, :100] == 7).all()
        changed = found[:, 100:][found[:, 100:] != 7]
        assert changed.size == pytest.approx(rate * 6000, abs=200)
        if rate:
            frequency = np.bincount(changed, minlength=5) / changed.size
            assert len(frequency) == 5 and np.abs(frequency - 0.2).max() < 0.05
    rows = jnp.arange(20)[:, None] * jnp.ones((20, 400), int)
    weight = (jnp.arange(20) == 3).astype(jnp.float32)
    shuffled = InputNoise(rate=1.0, values="shuffled")
    assert (shuffled.inputs(model, Batch(rows, weight=weight), jax.random.key(0)) == 3).all()
    assert len(set(np.asarray(shuffled.inputs(model, Batch(rows), jax.random.key(0)))[:, 0].tolist())) > 5
    real = types.SimpleNamespace(event=EventSpec((400,), kind="real"), factorization=order)
    noise = InputNoise(rate=0.25).inputs(real, Batch(jnp.zeros((20, 400)), mask=mask), jax.random.key(0))
    assert not noise[:, :100].any() and float(noise[:, 100:].std()) == pytest.approx(0.25, rel=0.05)


ONE = make_model(EventSpec((4,)), "made", hidden_sizes=(2,))
ALL = make_model(EventSpec((4,)), "masked_transformer", orders="uniform")
CHAIN = make_model(
    EventSpec((4,)), "denoising_transformer", kind="discrete_chain", num_steps=2, width=8, num_layers=1, num_heads=1
)


@pytest.mark.parametrize(
    ("call", "model"),
    [
        ("order_agnostic", ONE),
        ("learned_order", ONE),
        ("denoising", ONE),
        ("input_noise", ALL),
        ("scheduled_sampling", ALL),
        ("rollout", ALL),
        ("as_is", ALL),
        ("order_agnostic", CHAIN),
    ],
)
def test_models_that_do_not_fit_are_refused_before_a_training(call, model):
    with pytest.raises(UserError, match=call):
        make_objective(call).check(model)
