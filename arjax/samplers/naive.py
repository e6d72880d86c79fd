"""The definition of ancestral sampling: a full parallel pass for each step, of which one step's features are used."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from arjax.samplers.base import SAMPLERS, Draw, Sampler, Steps, per_example


@SAMPLERS.register("naive")
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Naive(Sampler):
    """Samples in S full passes. Slow, and correct by definition: other samplers are tested against it."""

    def draw(self, model, params, steps, canvas, context):
        num_steps = model.factorization.num_steps

        def body(t: jax.Array, canvas: jax.Array) -> jax.Array:
            return naive_step(model, params, steps, canvas, context, t)

        x = jax.lax.fori_loop(0, num_steps, body, canvas)
        return Draw(x, {"network_calls": per_example(x, num_steps)})


def naive_step(model: Any, params: Any, steps: Steps, canvas: jax.Array, context: Any, t: jax.Array) -> jax.Array:
    """Draws the sites of step t from a full pass over the canvas."""
    factorization = model.factorization
    features = model.network.apply({"params": params}, canvas, factorization, context)
    flat = features.reshape(features.shape[0], factorization.num_sites, -1)
    sites_M = jnp.minimum(factorization.sites(t)[0], factorization.num_sites - 1)
    return steps.fill(canvas, t, flat[:, sites_M])
