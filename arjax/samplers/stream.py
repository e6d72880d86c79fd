"""A long draw in pieces: one compiled program makes some further steps, and is called again and again."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from arjax.networks.base import step_variables
from arjax.samplers.base import Steps, step_keys
from arjax.samplers.loops import Ends, read_prompt
from arjax.samplers.options import DrawOptions


class Progress(NamedTuple):
    """Where a draw stands."""

    carry: Any  # of the network, before step `t`
    canvas: jax.Array  # [B, T, *value], filled for all steps < t
    t: jax.Array  # the next step, int32[]
    ended: jax.Array  # bool[B], the examples that have ended; none where there is no end token


@functools.partial(jax.jit, static_argnames="chunk")
def begin(
    model: Any,
    params: Any,
    canvas: jax.Array,
    prompt: jax.Array,
    context: Any,
    end: jax.Array | None,
    chunk: int,
) -> Progress:
    """A draw whose first `prompt` steps stand on the canvas and are read, `chunk` of them in one call of the network.
    An example with the `end` in its prompt has ended.

    One program for prompts of all lengths.
    """
    network, factorization = model.network, model.factorization
    variables, chunk = step_variables(network, params), min(chunk, factorization.num_steps)
    carry = read_prompt(network, variables, canvas, factorization, context, prompt, chunk)
    ended = jnp.zeros(len(canvas), bool) if end is None else Ends(factorization, end).ended(canvas, prompt)
    return Progress(carry, canvas, jnp.asarray(prompt, jnp.int32), ended)


@functools.partial(jax.jit, static_argnames="num")
def go_on(
    model: Any,
    params: Any,
    keys: jax.Array,
    progress: Progress,
    context: Any,
    temperature: float | jax.Array,
    end: jax.Array | None,
    num: int,
) -> tuple[Progress, jax.Array]:
    """Makes `num` further steps, or those that are left, as the sampler `cached` does. Others, such as `greedy`, do so
    with the conditional that `Cached.head` makes.

    The order is raster, one site a step; `keys`, `context`, `temperature` and `end` are those of `Sampler.__call__`.
    Returns the progress, and the values drawn, [B, num, *value]: the last ones of them where fewer steps were left.
    Behind the end of an example stands the end token.
    """
    network, factorization = model.network, model.factorization
    variables, num_steps = step_variables(network, params), factorization.num_steps
    steps, start = Steps(model, params, keys, DrawOptions(temperature=temperature)), progress.t
    keys_nB = step_keys(keys, start + jnp.arange(num))  # alone: those of all steps are many

    def draw(t: jax.Array, state: tuple[Any, jax.Array, jax.Array]) -> tuple[Any, jax.Array, jax.Array]:
        carry, canvas, ended_B = state
        carry, features = network.apply(variables, carry, canvas, t, factorization, context, method="step")
        flat = canvas.reshape(*canvas.shape[:2], -1)
        values = jax.vmap(steps.value, (0, None, 0, 0))(keys_nB[t - start], t, flat, features)
        if end is not None:
            values = jnp.where(ended_B[:, None, None], end, values)
            ended_B = ended_B | (values[:, 0, 0] == end)
        canvas = jax.lax.dynamic_update_slice_in_dim(flat, values, t, axis=1).reshape(canvas.shape)
        return carry, canvas, ended_B

    last = jnp.minimum(start + num, num_steps)
    carry, canvas, ended = jax.lax.fori_loop(start, last, draw, (progress.carry, progress.canvas, progress.ended))
    return Progress(carry, canvas, last, ended), jax.lax.dynamic_slice_in_dim(canvas, last - num, num, axis=1)
