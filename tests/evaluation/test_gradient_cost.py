"""The price of a gradient, of objectives whose gradients are known."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from arjax.core.batch import Batch
from arjax.core.spec import EventSpec
from arjax.models import make_model
from arjax.objectives import Mean, Objective, make_objective
from arjax.objectives.base import Loss
from arjax.testing.examples import random_like, random_x

EVENT = EventSpec((3,), kind="tokens", num_levels=3)


@dataclasses.dataclass(frozen=True)
class Noisy(Objective):
    """Its gradient is 2 + z in every entry, with independent standard normal z."""

    def loss(self, model, params, own, batch, step):
        leaves = jax.tree.leaves(params)
        keys = jax.random.split(step.key, len(leaves))
        total = sum(
            (leaf * (2 + jax.random.normal(key, leaf.shape))).sum() for leaf, key in zip(leaves, keys, strict=True)
        )
        return Loss((Mean(total, jnp.float32(1)),), None)


@pytest.fixture
def measured(load_script):
    gradient_cost = load_script("experiments/as_is/gradient_cost.py").gradient_cost

    def measure(objective, num):
        model = make_model(EVENT, "markov")
        params, batch = random_like(model.param_shapes), Batch(random_x(EVENT, 4))
        options = {"key": jax.random.key(0), "num": num, "rounds": 2, "min_seconds": 1e-3}
        return model, gradient_cost(objective, model, params, batch, **options)

    return measure


def test_variance_and_norm_of_a_known_gradient(measured):
    model, cost = measured(Noisy(), num=300)
    size = model.num_params
    assert abs(cost.variance - size) < 5 * np.sqrt(2 * size / 300)
    assert abs(cost.squared_norm - 4 * size) < 5 * 4 * np.sqrt(size / 300)
    assert cost.relative_variance == pytest.approx(cost.variance / cost.squared_norm)
    assert cost.seconds > 0 and cost.temporary_bytes >= 0 and cost.num == 300


def test_teacher_forcing_draws_nothing(measured):
    _, cost = measured(make_objective("teacher_forcing"), num=3)
    assert cost.variance == 0 and cost.squared_norm > 0 and cost.relative_variance == 0
