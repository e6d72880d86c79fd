"""The loops of a draw over the steps of an order: prompts that are read, cuts where a cache grows, the end token."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from arjax.core.arrays import filled_behind_end, up_to_end
from arjax.core.batch import Array
from arjax.factorization import Factorization
from arjax.networks.base import Carry, Network


def read_prompt(
    network: Network,
    variables: Any,
    canvas: Array,
    factorization: Factorization,
    context: Any,
    prompt: int | jax.Array,
    chunk: int,
) -> Any:
    """Returns the carry after the first `prompt` steps, which may be traced; `extend` reads `chunk` of them in one call
    from the canvas [B, *grid, *value].
    """

    def read(state: tuple[Any, jax.Array]) -> tuple[Any, jax.Array]:
        carry, t = state
        carries, _ = network.apply(variables, carry, canvas, t, chunk, factorization, context, method="extend")
        n = jnp.minimum(prompt - t, chunk)
        return network.apply(variables, carries, n, method="keep"), t + n

    carry = network.apply(variables, len(canvas), factorization, context, method="start")
    if (isinstance(prompt, int) and prompt == 0) or not jax.tree.leaves(carry):
        return carry
    return jax.lax.while_loop(lambda state: state[1] < prompt, read, (carry, jnp.int32(0)))[0]


def has_carry(network: Network, variables: Any, canvas: Array, factorization: Factorization, context: Any) -> bool:
    """Whether steps of the network leave anything: else all that a step needs is on the canvas."""
    carry = network.apply(variables, len(canvas), factorization, context, method="start")
    return bool(jax.tree.leaves(carry))


def num_calls(prompt: int | jax.Array, chunk: int) -> int | jax.Array:
    """Returns how many calls of the network read a prompt."""
    return -(-prompt // chunk)


def loop_ends(first: int, num_steps: int) -> list[int]:
    """Where the loops over the steps end: after `first` of them (0: all), then each time after twice as many."""
    cuts = []
    while 0 < first < num_steps:
        cuts.append(first)
        first *= 2
    return [*cuts, num_steps]


def loop_over_steps(
    network: Network,
    variables: Any,
    factorization: Factorization,
    start: int | jax.Array,
    body: Callable[[jax.Array, tuple[Carry, Any]], tuple[Carry, Any]],
    carry: Carry,
    state: Any,
    goes_on: Callable[[jax.Array, Any], jax.Array] | None = None,
) -> tuple[int | jax.Array, Any]:
    """Runs `body(t, (carry, state)) -> (carry, state)` for t from `start`, which may be traced, to the last step, or
    until `goes_on(t, state)` is no longer true; `body` gets what `loop_carry` makes of the carry. Returns the step
    behind the last one that was made, and the state.
    """
    t, begin, past = start, 0, None
    for end in loop_ends(network.FIRST_LOOP, factorization.num_steps):
        past = network.apply(variables, carry, end, factorization, past, method="loop_carry")
        if goes_on is None:
            first = jnp.clip(start, begin, end) if isinstance(start, jax.Array) else max(start, begin)
            past, state = jax.lax.fori_loop(first, end, body, (past, state))
            t, begin = end, end
            continue
        going = lambda loop, end=end: (loop[0] < end) & goes_on(loop[0], loop[1][1])  # noqa: E731
        t, (past, state) = jax.lax.while_loop(
            going, lambda loop: (loop[0] + 1, body(*loop)), (jnp.asarray(t, jnp.int32), (past, state))
        )
    return t, state


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
        """bool[B, D]: the sites up to the end of each example, it included; all where there is no end token."""
        return jnp.ones((len(x), self.num_sites), bool) if self.token is None else up_to_end(x, self.token)

    def filled(self, x: jax.Array, observed_D: jax.Array | None) -> jax.Array:
        """The samples with the end token at all sites behind the first one, but for observed ones."""
        return x if self.token is None else filled_behind_end(x, self.token, observed_D)

    def steps(self, x: jax.Array, to_draw_S: jax.Array) -> jax.Array:
        """The steps that draw a site before their example has ended, int32[B]."""
        if not self:
            return jnp.broadcast_to(to_draw_S.sum().astype(jnp.int32), x.shape[:1])
        needed_BS = self.visited[:-1] < self.counts(x).sum(1)[:, None]
        return (needed_BS & to_draw_S).sum(1).astype(jnp.int32)
