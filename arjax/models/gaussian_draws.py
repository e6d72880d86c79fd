"""Draws from Gaussian chains."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp

from arjax.models.chains import step_keys
from arjax.models.noise_schedules import reverse_steps
from arjax.models.paths import frames_of


@functools.partial(jax.jit, static_argnames=("visited", "places"))
def draw_gaussian(
    model: Any, params: Any, keys_B, context, visited: tuple[int, ...], places: tuple[int, ...], eta
) -> tuple[jax.Array, jax.Array | None]:
    """x_0, [B, *grid, *value], and the frames of its path at these places, in its units."""
    shape, steps = model.event.shape, reverse_steps(model.gammas(params), visited, eta)

    def normal(t: jax.Array) -> jax.Array:
        return jax.vmap(lambda key: jax.random.normal(key, shape))(step_keys(keys_B, t))

    def back(x_t: jax.Array, step: tuple[jax.Array, ...]) -> tuple[jax.Array, jax.Array | None]:
        t, gamma, of_found, of_noise, std = step
        fill = functools.partial(jnp.full, len(x_t))
        _, noise, found = model.predicted(params, x_t, fill(t), fill(gamma), context)
        x_s = of_found * found + of_noise * noise + std * normal(t - 1)
        return x_s, x_s if places else None

    def in_data_units(x: jax.Array) -> jax.Array:
        if model.event.kind == "real":
            return x
        top = model.event.num_levels - 1
        return jnp.clip(jnp.round((x + 1) * top / 2), 0, top).astype(model.event.dtype)

    x_T = normal(jnp.int32(model.num_steps))
    x, later = jax.lax.scan(back, x_T, steps)
    path = frames_of(x_T, later, places)
    return in_data_units(x), None if path is None else in_data_units(path)
