"""The sentence for a run that is too large for the memory of its devices."""

from __future__ import annotations

from typing import Any

import jax

from arjax.training.setup import Setup


def needs_of(setup: Setup) -> str:
    """The memory that a run needs, and the way out."""
    state = setup.abstract_state
    params, whole = _bytes(state.params), _bytes(state)
    return (
        f"this run needs more memory than its devices have: its parameters take {params / 1e9:.2g} GB, with "
        f"averages and the state of the optimizer {whole / 1e9:.2g} GB, and a train step more than that; make the "
        "network or train.batch_size smaller"
    )


def _bytes(tree: Any) -> int:
    """The bytes of all arrays but random keys."""
    arrays = (leaf for leaf in jax.tree.leaves(tree) if not jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.extended))
    return sum(leaf.size * leaf.dtype.itemsize for leaf in arrays)
