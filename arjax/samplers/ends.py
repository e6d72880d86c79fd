"""The end of an example: a token behind which nothing counts, so that a draw may stop before its last step."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from arjax.factorization import Factorization


class Ends:
    """Which examples of a draw have ended; lives inside `jit`.

    An example ends at the first site, along the line of sites, that holds the end token. It has ended for good once all
    sites before that one are visited, in whatever order.
    """

    def __init__(self, factorization: Factorization, end: int | jax.Array | None):
        self.token, self.num_sites, self.order = end, factorization.num_sites, factorization.order
        if end is not None:
            # How many sites at the start of the line are visited before each step, int[S + 1].
            first_missing_S = jax.lax.cummin(jnp.asarray(factorization.blocks).min(1), reverse=True)
            self.visited = jnp.append(first_missing_S, self.num_sites)

    def __bool__(self) -> bool:
        """Whether there is an end token."""
        return self.token is not None

    def _length(self, x_BD: jax.Array) -> jax.Array:
        """The sites up to the first end token, it included, int[B]; D where there is none."""
        is_end_BD = jnp.asarray(x_BD == self.token)
        return jnp.where(is_end_BD.any(1), jnp.argmax(is_end_BD, axis=1) + 1, self.num_sites)

    def ended(self, canvas: jax.Array, t: jax.Array) -> jax.Array:
        """bool[B]: the examples that have ended, of a canvas [B, D] that is filled for all steps < t."""
        visited_D = jnp.arange(self.num_sites) < self.visited[t]
        return ((canvas == self.token) & visited_D).any(1)

    def completes(self, num_levels: int) -> Callable[[jax.Array, jax.Array], jax.Array]:
        """(x [D], t) -> bool[V]: the values of step t, of one site, with which an example has ended."""

        def of_step(x_D: jax.Array, t: jax.Array) -> jax.Array:
            site_D, site = jnp.arange(self.num_sites), jnp.asarray(self.order)[t]
            visited_D = site_D < self.visited[t + 1]
            by_itself = visited_D[site] & (jnp.arange(num_levels) == self.token)
            return by_itself | ((x_D == self.token) & visited_D & (site_D != site)).any()

        return of_step

    def counts(self, x: jax.Array) -> jax.Array:
        """bool[B, D]: the sites up to the end of each example, it included."""
        return jnp.arange(self.num_sites) < self._length(x)[:, None]

    def filled(self, x: jax.Array, observed_D: jax.Array | None) -> jax.Array:
        """The samples with the end token at all sites behind the first one, but for observed ones."""
        if self.token is None:
            return x
        kept_BD = self.counts(x) if observed_D is None else self.counts(x) | observed_D
        return jnp.where(kept_BD, x, self.token)

    def steps(self, x: jax.Array, to_draw_S: jax.Array) -> jax.Array:
        """The steps that draw a site before their example has ended, int32[B]."""
        if not self:
            return jnp.broadcast_to(to_draw_S.sum().astype(jnp.int32), x.shape[:1])
        needed_BS = self.visited[:-1] < self._length(x)[:, None]
        return (needed_BS & to_draw_S).sum(1).astype(jnp.int32)
