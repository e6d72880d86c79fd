"""Small models and batches, and the gradients of objectives that replace prefixes."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np

from arjax.core.spec import EventSpec
from arjax.models import make_model
from arjax.objectives import ObjectiveState, Step
from arjax.testing.examples import random_like

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
