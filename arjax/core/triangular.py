"""Triangular systems by products alone, which are faster on CPUs. There, where there are two threads, two batched calls
of `jax.lax.linalg.triangular_solve` at once, which call LAPACK in parallel, can wait for each other for ever.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

#: Size of the blocks on the diagonal of a triangular matrix that are inverted row by row.
BLOCK = 8


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
        blocks = a.reshape(*a.shape[:-2], full // size, size, full // size, size)
        return jnp.moveaxis(jnp.diagonal(blocks, axis1=-4, axis2=-2), -1, -3)

    block, one = diagonal(BLOCK), jnp.eye(BLOCK, dtype=jnp.float32)
    rows = [jnp.broadcast_to(one[0], block.shape[:-1])]
    for i in range(1, BLOCK):
        rows.append(one[i] - sum(block[..., i, j, None] * rows[j] for j in range(i)))
    inverse = jnp.stack(rows, -2)
    while (half := inverse.shape[-1]) < full:
        first, second = inverse[..., 0::2, :, :], inverse[..., 1::2, :, :]
        corner = -(second @ diagonal(2 * half)[..., half:, :half]) @ first
        above = jnp.concatenate([first, jnp.zeros_like(first)], -1)
        inverse = jnp.concatenate([above, jnp.concatenate([corner, second], -1)], -2)
    return inverse[..., 0, :size, :size]


@jax.custom_vjp
def inverse_by_products(a: jax.Array) -> jax.Array:
    """The same without slices of less than a tile, for kernels: with products of whole matrices alone."""
    step = jnp.arange(a.shape[-1])
    inverse, size = jnp.where(step[:, None] == step, jnp.ones_like(a), 0), 1
    while size < len(step):
        block = step // size
        corners = (block[:, None] == block + 1) & (block[:, None] % 2 == 1)
        corner = jnp.where(corners, a, 0)
        inverse -= corner if size == 1 else inverse @ (corner @ inverse)
        size *= 2
    return inverse


def _gradient(inverse: jax.Array, g: jax.Array) -> tuple[jax.Array]:
    return (jnp.tril(-(inverse.mT @ (g @ inverse.mT)), -1),)


inverse_by_products.defvjp(lambda a: (inverse_by_products(a),) * 2, _gradient)


def solve_unit_lower(a: jax.Array, b: jax.Array) -> jax.Array:
    """Solves (1 + L) x = b, where L is the part of a matrix [..., C, C] below its diagonal: x, float32[..., C, K]."""
    inverse, below = inverse_unit_lower(a), jnp.tril(a.astype(jnp.float32), -1)
    return jax.lax.custom_linear_solve(
        lambda x: x + below @ x, b.astype(jnp.float32), lambda _, b: inverse @ b, lambda _, b: inverse.mT @ b
    )


def solve_lower(a: jax.Array, b: jax.Array) -> jax.Array:
    """Solves a x = b for a lower triangular matrix [..., C, C] without zeros on its diagonal: x, float32[..., C, K]."""
    diagonal = jnp.diagonal(a, axis1=-2, axis2=-1)[..., None]
    return solve_unit_lower(a / diagonal, b / diagonal)
