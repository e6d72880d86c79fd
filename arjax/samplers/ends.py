"""The end of an example: a token behind which nothing counts, so that a draw may stop before its last step."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from arjax.factorization import Factorization


class Ends:
    """Which examples of a draw have ended; lives inside `jit`.

    An example ends at the first site, along the line of sites, that holds the end token. It has ended for good once all
    sites before that one are visited, in whatever order.
    """

    def __init__(self, factorization: Factorization, end: int | jax.Array | None):
        self.token, self.num_steps, self.num_sites = end, factorization.num_steps, factorization.num_sites
        if end is not None:
            # How many sites at the start of the line are visited before each step, int[S + 1].
            first_missing_S = jax.lax.cummin(jnp.asarray(factorization.blocks).min(1), reverse=True)
            self.visited = jnp.append(first_missing_S, self.num_sites)

    def __bool__(self) -> bool:
        """Whether there is an end token."""
        return self.token is not None

    def _length(self, x_BD: jax.Array) -> jax.Array:
        """The sites up to the first end token, it included, int[B]; D where there is none."""
        is_end_BD = x_BD == self.token
        return jnp.where(is_end_BD.any(1), jnp.argmax(is_end_BD, axis=1) + 1, self.num_sites)

    def ended(self, canvas: jax.Array, t: jax.Array) -> jax.Array:
        """bool[B]: the examples that have ended, of a canvas [B, D] that is filled for all steps < t."""
        visited_D = jnp.arange(self.num_sites) < self.visited[t]
        return ((canvas == self.token) & visited_D).any(1)

    def filled(self, x: jax.Array, observed_D: jax.Array | None) -> jax.Array:
        """The samples with the end token at all sites behind the first one, but for observed ones."""
        if not self:
            return x
        behind_BD = jnp.arange(self.num_sites) >= self._length(x)[:, None]
        return jnp.where(behind_BD if observed_D is None else behind_BD & ~observed_D, self.token, x)

    def steps(self, x: jax.Array, to_draw_S: jax.Array) -> jax.Array:
        """The steps that draw a site before their example has ended, int32[B]."""
        if not self:
            return jnp.broadcast_to(to_draw_S.sum().astype(jnp.int32), x.shape[:1])
        needed_BS = self.visited[:-1] < self._length(x)[:, None]
        return (needed_BS & to_draw_S).sum(1).astype(jnp.int32)
