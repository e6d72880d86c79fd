"""Batches that are spread over devices: each process has the rows that its own devices hold, and no others."""

from __future__ import annotations

import jax
import numpy as np
from jax.sharding import NamedSharding


def own_rows(sharding: NamedSharding, batch_size: int) -> np.ndarray:
    """The rows of a global batch that the devices of this process hold, ascending; `sharding` splits the first axis."""
    places = sharding.addressable_devices_indices_map((batch_size,))
    parts = [np.arange(batch_size)[index] for index in places.values() if index is not None]
    return np.unique(np.concatenate(parts))


def from_own_rows(
    rows: np.ndarray, own: np.ndarray, sharding: NamedSharding, batch_size: int, axis: int = 0
) -> jax.Array:
    """A global array [..., B, ...] of the rows `own` of axis `axis` that this process has, [..., len(own), ...]."""

    def part(index: tuple[slice, ...] | None) -> np.ndarray:
        assert index is not None
        begin, end, _ = index[axis].indices(batch_size)
        first = int(np.searchsorted(own, begin))  # the rows of one device follow one another
        return rows[(*index[:axis], slice(first, first + end - begin))]

    shape = (*rows.shape[:axis], batch_size, *rows.shape[axis + 1 :])
    return jax.make_array_from_callback(shape, sharding, part)


def to_mesh(array: np.ndarray, sharding: NamedSharding) -> jax.Array:
    """Puts an array that every process has in full onto the mesh."""
    return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])
