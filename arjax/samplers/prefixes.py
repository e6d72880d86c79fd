"""Prefixes that the model draws in part: some sites keep their values, others are drawn, for training on them."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from arjax.core.batch import Array
from arjax.samplers.base import Steps
from arjax.samplers.loops import StepForm
from arjax.samplers.request import PLAIN_DRAW


def draw_in_steps(
    model: Any,
    params: Any,
    keys: jax.Array,
    x: Array,
    drawn_BD: jax.Array,
    context: Any = None,
    first: int | jax.Array = 0,
    last: int | jax.Array | None = None,
) -> jax.Array:
    """Returns examples x [B, *grid, *value] with the sites of `drawn_BD` drawn one step after another, from step
    `first` to before step `last`, which may be traced; the values are those of the sampler `naive` under the same keys.
    """
    model = jax.tree.map(jnp.asarray, model)  # outside of jit its orders are on the host, where no step can be traced
    steps, form = Steps(model, params, keys, PLAIN_DRAW), StepForm.of(model, params)

    def draw(t: jax.Array, state: tuple[Any, jax.Array]) -> tuple[Any, jax.Array]:
        carry, canvas = state
        carry, features = form.step(carry, canvas, t, context)
        return carry, where_drawn(drawn_BD, steps.fill(canvas, t, features), canvas, model)

    goes_on = None if last is None else lambda t, canvas: t < last
    return form.loop(first, draw, form.read_prompt(x, context, first, form.chunk), x, goes_on)[1]


def draw_in_parallel(model: Any, params: Any, keys: jax.Array, inputs: Array, features: jax.Array) -> jax.Array:
    """Returns all sites drawn at once from their features [B, *grid, F] of `inputs`, each with the noise of its step.
    It is a pass of Jacobi iteration: after t passes the first t steps are those of the sampler `naive`.
    """
    steps = Steps(model, params, keys, PLAIN_DRAW)

    def redraw(keys_S: jax.Array, canvas_1: jax.Array, features_DF: jax.Array) -> jax.Array:
        return steps.place(canvas_1, jnp.int32(0), steps.all_values(keys_S, canvas_1, features_DF))

    flat = features.reshape(len(inputs), model.factorization.num_sites, -1)
    return jax.vmap(redraw)(jnp.swapaxes(steps.keys_SB, 0, 1), jnp.asarray(inputs), flat)


def where_drawn(drawn_BD: jax.Array, drawn: Array, x: Array, model: Any) -> jax.Array:
    """`drawn` at the sites of `drawn_BD`, and `x` elsewhere, [B, *grid, *value]."""
    factorization = model.factorization
    rank = len(factorization.grid_shape)
    is_drawn = drawn_BD.reshape(len(x), *factorization.grid_shape, *[1] * (x.ndim - 1 - rank))
    return jnp.where(is_drawn, drawn.astype(x.dtype), x)
