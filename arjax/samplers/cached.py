"""Ancestral sampling with the step form: each step costs one step of the network, not a full pass."""

from __future__ import annotations

import dataclasses

import jax

from arjax.networks.base import step_variables
from arjax.samplers.base import SAMPLERS, Draw, Sampler, option, per_example


@SAMPLERS.register("cached")
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Cached(Sampler):
    """Samples step by step, with the network's carry (key-value cache, state, queue), the values of the naive one.

    Options: `chunk`, the observed steps at the start of the order that are read in one call of the network; 0: as many
    as suit the network.
    """

    chunk: int = option(0)

    def draw(self, model, params, steps, canvas, context):
        network, factorization = model.network, model.factorization
        variables, num_steps = step_variables(network, params), factorization.num_steps

        def body(t, state):
            carry, canvas = state
            carry, features = network.apply(variables, carry, canvas, t, factorization, context, method="step")
            return carry, steps.fill(canvas, t, features)

        carry = network.apply(variables, canvas.shape[0], factorization, context, method="init_carry")
        _, x = jax.lax.fori_loop(0, num_steps, body, (carry, canvas))
        return Draw(x, {"network_calls": per_example(x, num_steps)})
