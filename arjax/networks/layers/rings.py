"""Rings: buffers of the last R steps, with step s at index s mod R."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def ring_steps(t: jax.Array, size: int) -> jax.Array:
    """The step at each index of a ring just before step t, int[R]; below 0 where there is none."""
    return t - 1 - jnp.mod(t - 1 - jnp.arange(size), size)


def put_in_ring(ring: jax.Array, new: jax.Array, t: jax.Array, n: jax.Array, axis: int) -> jax.Array:
    """The ring with the first n of the new steps t, t + 1, ... in it; `axis` is that of the steps in both."""
    size = ring.shape[axis]
    if not size:
        return ring
    step_R = ring_steps(t + n, size)
    fresh = jnp.take(new, step_R - t, axis=axis, mode="clip")
    is_new_R = (step_R >= t).reshape(size, *[1] * (ring.ndim - axis - 1))
    return jnp.where(is_new_R, fresh, ring)
