"""The definition of ancestral sampling: a full parallel pass for each step, of which one step's features are used."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp

from arjax.conditionals.base import bound
from arjax.samplers.base import SAMPLERS, fill


@SAMPLERS.register("naive")
@functools.partial(jax.jit, static_argnums=(0, 1))
def naive(network, conditional, params, factorization, key, canvas, clamped_D, context, temperature):
    """Samples in S full passes. Slow, and right by definition: other samplers are tested against it."""

    def body(t, canvas):
        return naive_step(network, conditional, params, factorization, key, canvas, clamped_D, context, temperature, t)

    return jax.lax.fori_loop(0, factorization.num_steps, body, canvas)


def naive_step(network, conditional, params, factorization, key, canvas, clamped_D, context, temperature, t):
    """Draws the sites of step t from a full pass over the canvas."""
    features = network.apply({"params": params}, canvas, factorization, context)
    flat = features.reshape(features.shape[0], factorization.num_sites, -1)
    sites_M = jnp.minimum(factorization.sites(t)[0], factorization.num_sites - 1)
    head = bound(conditional, params)
    return fill(canvas, clamped_D, t, flat[:, sites_M], factorization, head, key, temperature)
