"""Draws from block diffusion: block by block, with a cache of the blocks that are finished."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from arjax.conditionals.base import bound
from arjax.models.chains import step_keys
from arjax.models.discrete_processes import lowest
from arjax.models.paths import frames_of
from arjax.networks.base import step_variables


@functools.partial(jax.jit, static_argnames=("visited", "places"))
def draw_blocks(
    model: Any, params: Any, keys_B, context, visited: tuple[int, ...], places: tuple[int, ...], temperature
) -> tuple[jax.Array, jax.Array | None]:
    """x_0, [B, *grid, *value], and the frames of its path at these places."""
    event, blocks, num = model.event, model.factorization, len(keys_B)
    head, counts_ST = bound(model.conditional, params), model.masked_counts()
    variables = step_variables(model.denoiser, params["denoiser"])
    call = functools.partial(model.denoiser.apply, variables)
    on_values = lambda marks_BM: marks_BM.reshape(num, -1, *[1] * len(event.value_shape))  # noqa: E731

    def one_block(state: tuple[Any, jax.Array], s: jax.Array) -> tuple[tuple[Any, jax.Array], jax.Array | None]:
        cache, x = state
        sites_M, valid_M = blocks.sites(s)

        def one_round(x: jax.Array, step: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array | None]:
            t, earlier = step
            features_BMF = call(cache, x, s, blocks, context, method="denoise")
            keys = step_keys(keys_B, s * model.num_steps + t - 1)
            values = jax.vmap(lambda key, f: head.sample(key, f, temperature))(
                step_keys(keys, jnp.int32(1)), features_BMF
            )
            now_BM = jnp.take(x, sites_M, axis=1, mode="clip")
            masked_BM = (now_BM == event.num_levels).reshape(num, len(sites_M), -1).any(-1) & valid_M
            revealed = counts_ST[s, t] - counts_ST[s, earlier]
            chosen_BM = jax.vmap(lowest, (0, 0, None))(keys, masked_BM, revealed)
            x = x.at[:, sites_M].set(jnp.where(on_values(chosen_BM), values, now_BM).astype(x.dtype), mode="drop")
            return x, x if places else None

        x, path = jax.lax.scan(one_round, x, steps)
        return (call(cache, x, s, blocks, context, method="write"), x), path

    t_S = np.array(visited[::-1])
    steps = jnp.asarray(t_S), jnp.asarray(np.append(t_S[1:], 0))
    first = jnp.full((num, event.num_sites, *event.value_shape), event.num_levels, jnp.int32)
    cache = call(num, blocks, method="init_carry")
    (_, x), path = jax.lax.scan(one_block, (cache, first), jnp.arange(blocks.num_steps))
    later = path.reshape(-1, *first.shape) if places else None
    frames = frames_of(first, later, places)
    grid = lambda x, *lead: x.reshape(num, *lead, *event.shape)  # noqa: E731
    return grid(x).astype(event.dtype), None if frames is None else grid(frames, len(places))
