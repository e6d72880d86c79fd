"""All steps of a draft at once, as first values for iterations."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from arjax.samplers.base import Steps
from arjax.samplers.drafts.base import Draft, Place, ready_target
from arjax.samplers.prompt import num_calls, read_prompt


def draft_whole(
    draft: Draft, model: Any, params: Any, steps: Steps, canvas: jax.Array, context: Any
) -> tuple[jax.Array, int | jax.Array]:
    """The canvas [B, *grid, *value] with the values that a draft proposes for all steps that are not observed, and the
    calls of the model's network that it took.
    """
    network, factorization = model.network, model.factorization
    target, prompt = ready_target(model, params, steps, draft), steps.prompt()
    chunk, num_steps = min(max(network.CHUNK, 8), factorization.num_steps), factorization.num_steps
    reads = bool(draft.target_calls) and has_carry(network, target.variables, canvas, factorization, context)

    def propose(keys_S: jax.Array, canvas_1: jax.Array, context_1: Any) -> jax.Array:
        carry = ()
        if reads:
            carry = read_prompt(network, target.variables, canvas_1, factorization, context_1, prompt, chunk)
        place = Place(canvas_1, context_1, carry, jnp.int32(prompt))
        state = draft.begin(target, canvas_1, context_1, prompt)
        _, proposal = draft.propose(target, state, place, num_steps, keys_S, False)
        return steps.place(canvas_1, place.t, proposal.values)

    of_one = jax.tree.map(lambda leaf: leaf[:, None], (canvas, context))
    drafted = jax.vmap(propose)(jnp.swapaxes(steps.keys_SB, 0, 1), *of_one)[:, 0]
    return drafted, draft.target_calls + (num_calls(prompt, chunk) if reads else 0)


def has_carry(network: Any, variables: Any, canvas: jax.Array, factorization: Any, context: Any) -> bool:
    """Whether steps of the network leave anything: else all that a step needs is on the canvas."""
    carry = network.apply(variables, len(canvas), factorization, context, method="init_carry")
    return bool(jax.tree.leaves(carry))
