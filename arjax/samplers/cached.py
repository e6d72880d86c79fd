"""Samplers of one step at a time: ancestral sampling by parallel passes or by the step form, and greedy decoding."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from arjax.conditionals.restricted import Modes
from arjax.core.options import opt
from arjax.samplers.base import SAMPLERS, Draw, Sampler, Steps, per_example
from arjax.samplers.loops import StepForm, num_calls


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


@SAMPLERS.register("cached")
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Cached(Sampler):
    """Samples step by step with the network's carry (key-value cache, state, queue); the values of the naive sampler.

    With an end token, it stops when all examples of the draw have ended. Fully observed steps at the start of the
    order, a prompt, are read in chunks by `extend`; once for all examples where they share it, and not at all for
    networks without a carry.

    Options: `chunk`, the steps of a prompt that are read in one call of the network; 0: as many as suit the network.
    """

    chunk: int = opt(0)
    PARTS: ClassVar[bool] = True

    def head(self, conditional: Any) -> Any:
        """Returns the conditional that draws the values of a step: by default that of the model."""
        return conditional

    def draw(self, model, params, steps, canvas, context):
        steps, form = steps.replace(head=self.head(steps.head)), StepForm.of(model, params)
        prompt = steps.prompt()
        chunk = min(self.chunk or form.chunk, model.factorization.num_steps)
        carry = form.start(len(canvas), context)
        reads = bool(jax.tree.leaves(carry))  # else all that a step needs is on the canvas
        if chunk == 1 and reads:
            prompt = 0  # a step costs the same whether its sites are then drawn or not
        readers = 1 if steps.shared else len(canvas)

        def draw(t, state):
            carry, canvas = state
            carry, features = form.step(carry, canvas, t, context)
            return carry, steps.fill(canvas, t, features)

        if reads and not isinstance(prompt, int):
            of_readers = jax.tree.map(lambda leaf: leaf[:readers], (canvas, context))
            first = form.read_prompt(*of_readers, prompt, chunk)
            # The axis of the examples is the one that differs, if any does: a counter of steps has none.
            carry = jax.tree.map(lambda one, all_: jnp.broadcast_to(one, all_.shape), first, carry)
        goes_on = (lambda t, canvas: ~steps.ends.ended(canvas, t).all()) if steps.ends else None
        last, x = form.loop(prompt, draw, carry, canvas, goes_on)
        return Draw(x, {"network_calls": per_example(x, num_calls(carry, prompt, chunk) + last - prompt)})


@SAMPLERS.register("greedy")
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Greedy(Cached):
    """The most probable value of each step, given those before; of a joint conditional a probable block.

    One sequence for all keys and temperatures, no draw from the model: its probability may be far below that of the
    most probable sequence, which `beam` looks for. Real values are the modes of their densities.
    """

    exact: ClassVar[bool] = False
    WARMS: ClassVar[bool] = False
    PARTS: ClassVar[bool] = True

    def head(self, conditional):
        return Modes(conditional)
