"""Schedule-Free learning (Defazio et al., "The Road Less Scheduled", 2024, algorithm 1): a rule without momentum moves
parameters z, their average x is scored, and gradients are taken at y = (1 - b1) z + b1 x, which the train state holds.
In the average, each z has the weight of its squared learning rate.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax
from optax.contrib import ScheduleFreeState


def _is_state(state: Any) -> bool:
    return isinstance(state, ScheduleFreeState)


def _states(opt_state: Any) -> list[ScheduleFreeState]:
    return [state for state in jax.tree.leaves(opt_state, is_leaf=_is_state) if _is_state(state)]


def keeps_average(optimizer: optax.GradientTransformation) -> bool:
    """Whether an optimizer keeps an average of the parameters in this way."""
    params = {"kernel": jax.ShapeDtypeStruct((2, 3), jnp.float32)}
    return bool(_states(jax.eval_shape(optimizer.init, params)))


def average_of(opt_state: Any, params: Any) -> Any:
    """The average x of the parameters y, from the state of an optimizer; y itself where there is no average."""
    for state in _states(opt_state):
        params = _average(state.b1, params, state.z)
    return params


@jax.jit
def _average(b1: jax.Array, y: Any, z: Any) -> Any:
    """x = (y - (1 - b1) z) / b1, and y to the bit where z is the same; `b1` may have the axes of members."""

    def average(y: jax.Array, z: jax.Array) -> jax.Array:
        b = b1.reshape(b1.shape + (1,) * (y.ndim - b1.ndim))
        return jnp.where(y == z, y, (y - (1 - b) * z) / b)

    return jax.tree.map(average, y, z)


def follow(opt_state: Any, before: Any, after: Any) -> Any:
    """The state of an optimizer after an objective has set parameters: they are z, and so their average."""

    def followed(state: Any) -> Any:
        if not _is_state(state):
            return state
        z = jax.tree.map(lambda z, old, new: z if new is old else new, state.z, before, after)
        return state._replace(z=z)

    return jax.tree.map(followed, opt_state, is_leaf=_is_state)
