"""Ends of sequences of tokens: an example is a string up to its first end token, and behind that there is nothing."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from arjax.core.arrays import Array


def up_to_end(x_BT: Array, end: int | jax.Array) -> Any:
    """bool[B, T]: the tokens of each sequence up to its first `end`, this one included; all where there is none."""
    xp = np if isinstance(x_BT, np.ndarray) else jnp
    is_end_BT, length = x_BT == end, x_BT.shape[1]
    last_B = xp.where(is_end_BT.any(1), is_end_BT.argmax(1), length)
    return xp.arange(length) <= last_B[:, None]


def are_ended(x_BT: np.ndarray, end: int) -> bool:
    """Whether all sequences hold nothing but `end` behind the first one."""
    return bool((x_BT[~up_to_end(x_BT, end)] == end).all())


@jax.jit
def filled_behind_end(x_BT: jax.Array, end: int | jax.Array, observed_T: Array | None = None) -> jax.Array:
    """Sequences with the end token at all sites behind the first one, but for the observed sites bool[T], if any."""
    kept_BT = up_to_end(x_BT, end)
    return jnp.where(kept_BT if observed_T is None else kept_BT | observed_T, x_BT, end).astype(x_BT.dtype)
