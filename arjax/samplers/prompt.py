"""Prompts: steps at the start of the order that are observed whole are read, several in one call of the network."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from arjax.core.batch import Array
from arjax.factorization import Factorization
from arjax.networks import Network


def read_prompt(
    network: Network,
    variables: Any,
    canvas: Array,
    factorization: Factorization,
    context: Any,
    prompt: int | jax.Array,
    chunk: int,
) -> Any:
    """The carry after the first `prompt` steps, of which `extend` reads `chunk` in one call.

    Args:
      network: the network.
      variables: its variables, as from `step_variables`.
      canvas: the values of these steps, [B, *grid, *value].
      factorization: the order.
      context: [B, ...] or None.
      prompt: how many steps there are; may be traced.
      chunk: steps of one call.
    """

    def read(state: tuple[Any, jax.Array]) -> tuple[Any, jax.Array]:
        carry, t = state
        carries, _ = network.apply(variables, carry, canvas, t, chunk, factorization, context, method="extend")
        n = jnp.minimum(prompt - t, chunk)
        return network.apply(variables, carries, n, method="keep"), t + n

    carry = network.apply(variables, len(canvas), factorization, context, method="init_carry")
    if (isinstance(prompt, int) and prompt == 0) or not jax.tree.leaves(carry):
        return carry
    return jax.lax.while_loop(lambda state: state[1] < prompt, read, (carry, jnp.int32(0)))[0]


def num_calls(prompt: int | jax.Array, chunk: int) -> int | jax.Array:
    """How many calls of the network read a prompt."""
    return -(-prompt // chunk)
