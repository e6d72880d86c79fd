"""All steps of a draft at once, as first values for iterations."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from arjax.networks.base import step_variables
from arjax.samplers.base import Steps
from arjax.samplers.drafts.base import Draft, Place, Target
from arjax.samplers.prompt import read_prompt


def draft_whole(draft: Draft, model: Any, params: Any, steps: Steps, canvas: jax.Array, context: Any) -> jax.Array:
    """The canvas [B, *grid, *value] with the values that a draft proposes for all steps that are not observed."""
    network, factorization = model.network, model.factorization
    target, prompt = Target(model, step_variables(network, params), steps), steps.prompt()
    target = target._replace(ready=draft.make_ready(target))
    chunk, num_steps = min(max(network.CHUNK, 8), factorization.num_steps), factorization.num_steps

    def propose(keys_S: jax.Array, canvas_1: jax.Array, context_1: Any) -> jax.Array:
        carry = None
        if draft.target_calls:
            carry = read_prompt(network, target.variables, canvas_1, factorization, context_1, prompt, chunk)
        place = Place(canvas_1, context_1, carry, jnp.int32(prompt))
        state = draft.begin(target, canvas_1, context_1, prompt)
        _, proposal = draft.propose(target, state, place, num_steps, keys_S, False)
        return steps.place(canvas_1, place.t, proposal.values)

    of_one = jax.tree.map(lambda leaf: leaf[:, None], (canvas, context))
    return jax.vmap(propose)(jnp.swapaxes(steps.keys_SB, 0, 1), *of_one)[:, 0]
