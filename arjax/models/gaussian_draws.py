"""Draws from Gaussian chains."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp

from arjax.models.chains import step_keys
from arjax.models.noise_schedules import reverse_steps


@functools.partial(jax.jit, static_argnames="visited")
def draw_gaussian(model: Any, params: Any, keys_B, context, visited: tuple[int, ...], eta) -> jax.Array:
    """x_0, [B, *grid, *value]."""
    shape, steps = model.event.shape, reverse_steps(model.gammas(params), visited, eta)

    def normal(t: jax.Array) -> jax.Array:
        return jax.vmap(lambda key: jax.random.normal(key, shape))(step_keys(keys_B, t))

    def back(x_t: jax.Array, step: tuple[jax.Array, ...]) -> tuple[jax.Array, None]:
        t, gamma, of_found, of_noise, std = step
        fill = functools.partial(jnp.full, len(x_t))
        _, noise, found = model.predicted(params, x_t, fill(t), fill(gamma), context)
        return of_found * found + of_noise * noise + std * normal(t - 1), None

    x, _ = jax.lax.scan(back, normal(jnp.int32(model.num_steps)), steps)
    if model.event.kind == "real":
        return x
    top = model.event.num_levels - 1
    return jnp.clip(jnp.round((x + 1) * top / 2), 0, top).astype(model.event.dtype)
