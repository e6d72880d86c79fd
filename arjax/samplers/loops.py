"""Loops over steps, cut where a cache grows: attention then looks at few places that are not filled yet."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from arjax.factorization import Factorization
from arjax.networks.base import Carry, Network


def ends(first: int, num_steps: int) -> list[int]:
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
    """`body(t, (carry, state)) -> (carry, state)` for t from `start` to the last step, or until `goes_on(t, state)` is
    no longer true; returns the step behind the last one that was made, and the state.

    `carry` is that before step `start`, which may be traced. What `body` gets of it is made by `Network.room`.
    """
    t, begin, past = start, 0, None
    for end in ends(network.ROOM, factorization.num_steps):
        past = network.apply(variables, carry, end, factorization, past, method="room")
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
