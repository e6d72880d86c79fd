"""What all samplers share: the canvas, the keys, and clamping sites at given values."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from arjax.conditionals.blocks import scores_blocks
from arjax.core.registry import Registry
from arjax.factorization import Factorization

#: A sampler is `f(network, conditional, params, factorization, key, canvas, clamped, context, temperature) -> samples`,
#: jitted with the first two arguments static. `canvas` [B, *grid, *value] holds the given values, `clamped` bool[D]
#: says where.
SAMPLERS = Registry("sampler")


def fill(
    canvas: jax.Array,
    clamped_D: jax.Array,
    t: jax.Array,
    features_BMF: jax.Array,
    factorization: Factorization,
    conditional,
    key: jax.Array,
    temperature: jax.Array,
) -> jax.Array:
    """Draws the sites of step t from their features and writes those that are not clamped.

    The key of step t is `fold_in(key, t)`, so all samplers that visit the same steps draw the same values.
    """
    key, (sites_M, valid_M) = jax.random.fold_in(key, t), factorization.sites(t)
    num_sites = factorization.num_sites
    within_M = jnp.minimum(sites_M, num_sites - 1)
    given_M = valid_M & clamped_D[within_M]
    flat = canvas.reshape(canvas.shape[0], num_sites, -1)
    if scores_blocks(conditional, factorization):
        value_shape = canvas.shape[1 + len(factorization.grid_shape) :]
        held = flat[:, within_M].reshape(*features_BMF.shape[:2], *value_shape)
        values = conditional.block_sample(key, features_BMF, valid_M, held, given_M, temperature)
    else:
        values = conditional.sample(key, features_BMF, temperature)
    values = values.reshape(*values.shape[:2], -1).astype(canvas.dtype)
    flat = flat.at[:, jnp.where(valid_M & ~given_M, sites_M, num_sites)].set(values, mode="drop")
    return flat.reshape(canvas.shape)
