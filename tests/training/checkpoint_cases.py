"""A small tree for the tests of checkpoints."""

import jax
import jax.numpy as jnp

TREE = {"params": {"kernel": jnp.arange(12.0).reshape(3, 4)}, "step": jnp.int32(3), "ema": {}}


def abstract(tree):
    """The shapes, types and places of the arrays."""
    return jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=a.sharding), tree)


def plus(tree, n):
    """Every array plus `n`."""
    return jax.tree.map(lambda a: a + n, tree)
