"""Cuts of an axis into blocks of equal size, and rings: buffers of the last R steps, with step s at index s mod R."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def windows(x: jax.Array, axis: int, size: int, before: int = 0, after: int = 0) -> jax.Array:
    """Cuts an axis into blocks of `size`, each with the `before` elements before it and the `after` elements after it.

    The axis [T] becomes two, [ceil(T / size), before + size + after]; zeros beyond the ends.
    """
    axis %= x.ndim
    length = x.shape[axis]
    count, reach = -(-length // size), before + size + after
    pieces = -(-reach // size)
    padding = [(0, 0)] * x.ndim
    padding[axis] = (before, (count + pieces - 1) * size - before - length)
    rows = jnp.pad(x, padding) if padding[axis] != (0, 0) else x
    rows = rows.reshape(*x.shape[:axis], count + pieces - 1, size, *x.shape[axis + 1 :])
    if pieces == 1:
        return rows
    shifted = [jax.lax.slice_in_dim(rows, i, i + count, axis=axis) for i in range(pieces)]
    return jax.lax.slice_in_dim(jnp.concatenate(shifted, axis + 1), 0, reach, axis=axis + 1)


def join(x: jax.Array, axis: int, length: int) -> jax.Array:
    """Blocks without overlap back to one axis of the given length: the inverse of `windows` without margins."""
    axis %= x.ndim
    flat = x.reshape(*x.shape[:axis], -1, *x.shape[axis + 2 :])
    return jax.lax.slice_in_dim(flat, 0, length, axis=axis)


def ring_steps(t: jax.Array, size: int) -> jax.Array:
    """The step at each index of a ring just before step t, int[R]; below 0 at an index that is still empty."""
    return t - 1 - jnp.mod(t - 1 - jnp.arange(size), size)


def put_in_ring(ring: jax.Array, new: jax.Array, t: jax.Array, n: jax.Array, axis: int) -> jax.Array:
    """The ring with the first n of the new steps t, t + 1, ... in it; `axis` is the axis of the steps in both."""
    size = ring.shape[axis]
    if not size:
        return ring
    step_R = ring_steps(t + n, size)
    fresh = jnp.take(new, step_R - t, axis=axis, mode="clip")
    is_new_R = (step_R >= t).reshape(size, *[1] * (ring.ndim - axis - 1))
    return jnp.where(is_new_R, fresh, ring)
