"""The price of a gradient, of objectives whose gradients are known."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from arjax.core.batch import Batch
from arjax.core.errors import UserError
from arjax.core.spec import EventSpec
from arjax.evaluation.gradient_cost import gradient_cost
from arjax.models import make_model
from arjax.objectives import Objective, make_objective
from arjax.objectives.base import Loss
from arjax.objectives.metrics import Mean
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


def measured(objective, **options):
    model = make_model(EVENT, "markov")
    params = random_like(model.param_shapes)
    rest = {"rounds": 2, "min_seconds": 1e-3} | options
    return model, gradient_cost(objective, model, params, Batch(random_x(EVENT, 4)), key=jax.random.key(0), **rest)


def test_variance_and_norm_of_a_known_gradient():
    model, found = measured(Noisy(), num=300)
    size = model.num_params
    assert abs(found.variance - size) < 5 * np.sqrt(2 * size / 300)
    assert abs(found.squared_norm - 4 * size) < 5 * 4 * np.sqrt(size / 300)
    assert found.relative_variance == pytest.approx(found.variance / found.squared_norm)
    assert found.seconds > 0 and found.temporary_bytes >= 0 and found.num == 300


def test_teacher_forcing_draws_nothing():
    _, found = measured(make_objective("teacher_forcing"), num=3)
    assert found.variance == 0 and found.squared_norm > 0 and found.relative_variance == 0


def test_one_gradient_has_no_variance():
    with pytest.raises(UserError, match="at least 2 gradients"):
        measured(Noisy(), num=1)
