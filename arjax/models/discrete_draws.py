"""Draws from discrete chains."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from arjax.conditionals.base import bound
from arjax.models.chains import step_keys
from arjax.models.discrete_processes import lowest, reverse_table
from arjax.models.paths import frames_of


def revealed(model: Any, key: jax.Array, masked_D: jax.Array, kept_t: jax.Array, kept_s: jax.Array) -> jax.Array:
    """The masked sites that are revealed between the steps t and s < t, bool[D]: a fixed number of them in `rounds`,
    else each by itself.
    """
    if model.process == "rounds":
        return lowest(key, masked_D, jnp.round((kept_s - kept_t) * model.event.num_sites))
    return masked_D & (jax.random.uniform(key, masked_D.shape) < (kept_s - kept_t) / (1 - kept_t))


@functools.partial(jax.jit, static_argnames=("visited", "places"))
def draw_discrete(
    model: Any, params: Any, keys_B, context, visited: tuple[int, ...], places: tuple[int, ...], temperature
) -> tuple[jax.Array, jax.Array | None]:
    """x_0, [B, *grid, *value], and the frames of its path at these places."""
    event, head, num = model.event, bound(model.conditional, params), len(keys_B)
    first_keys = step_keys(keys_B, jnp.int32(model.num_steps))
    if model.process == "uniform":
        x_T = jax.vmap(lambda key: jax.random.randint(key, event.shape, 0, event.num_levels))(first_keys)
    else:
        x_T = jnp.full((num, *event.shape), event.num_levels)

    def back(x_t: jax.Array, step: tuple[jax.Array, ...]) -> tuple[jax.Array, jax.Array | None]:
        x_s = reverse(x_t, step)
        return x_s, x_s if places else None

    def reverse(x_t: jax.Array, step: tuple[jax.Array, ...]) -> jax.Array:
        t, kept_t, kept_s = step
        features = model.denoise(params, x_t, jnp.full(num, t), context)
        keys = step_keys(keys_B, t - 1)
        if model.process == "uniform":
            table = reverse_table(jnp.exp(head.tempered_table(features, temperature)), x_t, kept_t, kept_s)
            return jax.vmap(jax.random.categorical)(keys, jnp.log(table)).astype(x_t.dtype)
        chosen_BD = jax.vmap(lambda key, masked: revealed(model, key, masked, kept_t, kept_s))(keys, model.masked(x_t))
        values = jax.vmap(lambda key, f: head.sample(key, f, temperature))(step_keys(keys, jnp.int32(1)), features)
        return jnp.where(model.on_values(chosen_BD), values, x_t).astype(x_t.dtype)

    t_S = np.array(visited[::-1])
    kept_S, earlier_S = model.kept[t_S], model.kept[np.append(t_S[1:], 0)]
    steps = jnp.asarray(t_S), jnp.asarray(kept_S, jnp.float32), jnp.asarray(earlier_S, jnp.float32)
    x_T = x_T.astype(jnp.int32)
    x, later = jax.lax.scan(back, x_T, steps)
    return x.astype(event.dtype), frames_of(x_T, later, places)
