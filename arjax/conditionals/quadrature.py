"""Entropies without a closed form, by deterministic quadrature or stratified points."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

#: Gauss-Legendre points per interval.
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(6)


def entropy_by_quadrature(log_density: Callable[[jax.Array], jax.Array], breakpoints: jax.Array) -> jax.Array:
    """-int p log p, [...], of log-densities of points [N, ...]; `breakpoints` as for `integral`, to cover them."""

    def density(x: jax.Array) -> jax.Array:
        log_p = log_density(x)
        return jnp.exp(log_p) * log_p

    return -integral(density, breakpoints)


def integral(function: Callable[[jax.Array], jax.Array], breakpoints: jax.Array) -> jax.Array:
    """Integrals of functions of one number, [...].

    Args:
      function: maps points [N, ...] to values, [N, ...].
      breakpoints: [N + 1, ...] in any order, from the first point to the last; they must lie close (about one scale
        apart) wherever the functions bend. Each interval between neighbours is integrated by six Gauss-Legendre points.
    """
    edges = jnp.sort(breakpoints, axis=0)
    middle, half = (edges[1:] + edges[:-1]) / 2, (edges[1:] - edges[:-1]) / 2

    def add(total: jax.Array, node: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        return total + node[1] * (half * function(middle + node[0] * half)).sum(0), None

    nodes = (jnp.asarray(_NODES, jnp.float32), jnp.asarray(_WEIGHTS, jnp.float32))
    return jax.lax.scan(add, jnp.zeros(middle.shape[1:], jnp.float32), nodes)[0]


def stratified_points(num: int, dims: int) -> np.ndarray:
    """`num` points that fill the open unit cube evenly, float64[num, dims].

    The first coordinate takes the midpoints of `num` equal strata; the others follow the additive recurrence
    n alpha mod 1 with alpha_j = g^-j, g^dims = g + 1 (Roberts, 2018, "The unreasonable effectiveness of quasirandom
    sequences"), as in Hammersley's construction.
    """
    n = np.arange(num)
    g = 2.0
    for _ in range(64):
        g = (1 + g) ** (1 / max(dims, 2))
    alpha = g ** -np.arange(1, dims)
    return np.concatenate([((n + 0.5) / num)[:, None], (0.5 + n[:, None] * alpha) % 1], 1)
