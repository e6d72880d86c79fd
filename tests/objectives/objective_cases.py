"""Small models and batches, and the losses of objectives with their gradients and sums."""

import dataclasses
import functools
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from arjax.core.spec import EventSpec
from arjax.models import make_model
from arjax.objectives import Objective, ObjectiveState, Step, make_objective
from arjax.testing.examples import random_like


def loss_and_sums(objective: Objective | str, model, params, batch, key) -> tuple[jax.Array, dict[str, Any]]:
    """The loss, and the sums that are reported: `nll`, `examples`, `sites`, `dims`."""
    objective = make_objective(objective) if isinstance(objective, str) else objective
    own = objective.init(model, jax.random.key(7))
    loss = objective.loss(model, params, own, batch, Step(key))
    return loss.value, {field.name: getattr(loss.metrics, field.name) for field in dataclasses.fields(loss.metrics)[:4]}


TOKENS = EventSpec((6,), (), "tokens", 3)
NETWORKS = {"lstm": {"hidden_size": 6}, "made": {"hidden_sizes": (8,)}, "transformer": {"width": 8, "num_heads": 2}}

BITS = EventSpec((4,))
ALL = np.array(list(itertools.product((0, 1), repeat=4)), np.int32)
DATA = np.array([[1, 0, 0, 1]], np.int32)


@functools.cache
def model_and_params(network, event=TOKENS, ordering="random(seed=1)", conditional=""):
    model = make_model(event, network, ordering=ordering, conditional=conditional, **NETWORKS.get(network, {}))
    return model, random_like(model.param_shapes)


@functools.partial(jax.jit, static_argnums=0)
def loss_and_gradient(objective, model, params, batch, key, progress=1.0, companions=None):
    def loss(params):
        step = Step(key, jnp.float32(progress), companions or {})
        found = objective.loss(model, params, ObjectiveState(), batch, step)
        return found.value, found

    (value, found), gradient = jax.value_and_grad(loss, has_aux=True)(params)
    return value, gradient, found.metrics


def close(first, second, rtol=1e-5):
    floor = 0.1 * max(float(np.abs(leaf).max()) for leaf in jax.tree.leaves(second))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=floor * rtol), first, second)
