"""Ancestral sampling with the step form: each step costs one step of the network, not a full pass."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp

from arjax.conditionals.base import bound
from arjax.samplers.base import SAMPLERS, fill


@SAMPLERS.register("cached")
@functools.partial(jax.jit, static_argnums=(0, 1))
def cached(network, conditional, params, factorization, key, canvas, clamped_D, context, temperature):
    """Samples in S steps of one `lax.scan`, with the network's carry (key-value cache, state, queue), as naive does."""
    variables, conditional = {"params": params}, bound(conditional, params)

    def body(state, t):
        carry, canvas = state
        carry, features = network.apply(variables, carry, canvas, t, factorization, context, method="step")
        return (carry, fill(canvas, clamped_D, t, features, factorization, conditional, key, temperature)), None

    carry = network.apply(variables, canvas.shape[0], factorization, context, method="init_carry")
    (_, canvas), _ = jax.lax.scan(body, (carry, canvas), jnp.arange(factorization.num_steps))
    return canvas
