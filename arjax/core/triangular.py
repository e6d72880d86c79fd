"""Triangular systems by products alone, which are faster on CPUs. There, where there are two threads, two batched calls
of `jax.lax.linalg.triangular_solve` at once, which call LAPACK in parallel, can wait for each other for ever.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

#: Size of the blocks on the diagonal of a triangular matrix that are inverted row by row.
BLOCK = 8


def _product(a: jax.Array, b: jax.Array) -> jax.Array:
    """a b in float32, also where processors multiply in a narrower type by default."""
    return jnp.matmul(a, b, precision="highest")


def inverse_unit_lower(a: jax.Array) -> jax.Array:
    """Returns (1 + L)^-1 of the part L of a matrix [..., C, C] below its diagonal, float32: inverses of blocks on the
    diagonal are joined, [[A, 0], [B, D]]^-1 = [[A^-1, 0], [-D^-1 B A^-1, D^-1]], all of a size at once.
    """
    size = full = a.shape[-1]
    while full % BLOCK or full & (full - 1):
        full += 1
    a = jnp.pad(a.astype(jnp.float32), [(0, 0)] * (a.ndim - 2) + [(0, full - size)] * 2)

    def diagonal(size: int) -> jax.Array:
        """Returns the blocks of a size on the diagonal, [..., C / size, size, size]."""
        return jnp.stack([a[..., i : i + size, i : i + size] for i in range(0, full, size)], -3)

    blocks = diagonal(BLOCK)
    # The blocks come last, as processors compute with many numbers of the last axis at once.
    block_ijn, one = blocks.reshape(-1, BLOCK, BLOCK).transpose(1, 2, 0), jnp.eye(BLOCK, dtype=jnp.float32)[..., None]
    rows = [jnp.broadcast_to(one[0], block_ijn.shape[1:])]
    for i in range(1, BLOCK):
        rows.append(one[i] - sum(block_ijn[i, j] * rows[j] for j in range(i)))
    inverse = jnp.stack(rows).transpose(2, 0, 1).reshape(blocks.shape)
    while (half := inverse.shape[-1]) < full:
        first, second = inverse[..., 0::2, :, :], inverse[..., 1::2, :, :]
        corner = -_product(_product(second, diagonal(2 * half)[..., half:, :half]), first)
        above = jnp.concatenate([first, jnp.zeros_like(first)], -1)
        inverse = jnp.concatenate([above, jnp.concatenate([corner, second], -1)], -2)
    return inverse[..., 0, :size, :size]


def solve_unit_lower(a: jax.Array, b: Any) -> Any:
    """Solves (1 + L) x = b, where L is the part of a matrix [..., C, C] below its diagonal, for an array b [..., C, K],
    or several of one type, which is that of x. The inverse is computed in float32, and multiplies in this type.
    """
    dtype = jax.tree.leaves(b)[0].dtype
    inverse, below = (x.astype(dtype) for x in (inverse_unit_lower(a), jnp.tril(a.astype(jnp.float32), -1)))

    def times(a: jax.Array, b: Any) -> Any:
        return jax.tree.map(lambda x: jnp.matmul(a, x, preferred_element_type=jnp.float32).astype(dtype), b)

    return jax.lax.custom_linear_solve(
        lambda x: jax.tree.map(jnp.add, x, times(below, x)),
        b,
        lambda _, b: times(inverse, b),
        lambda _, b: times(inverse.mT, b),
    )


def solve_lower(a: jax.Array, b: jax.Array) -> jax.Array:
    """Solves a x = b for a lower triangular matrix [..., C, C] without zeros on its diagonal: x, float32[..., C, K]."""
    diagonal = jnp.diagonal(a, axis1=-2, axis2=-1)[..., None]
    return solve_unit_lower(a / diagonal, (b / diagonal).astype(jnp.float32))
