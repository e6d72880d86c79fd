"""Cuts of an axis into blocks of equal size."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def windows(x: jax.Array, axis: int, size: int, before: int = 0, after: int = 0) -> jax.Array:
    """Cuts an axis into blocks of `size`, each with the `before` elements before it and the `after` elements after it.

    The axis [T] becomes two, [ceil(T / size), before + size + after]; zeros where there is nothing.
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
