"""How batches reach the train step: rows gathered on the device, or batches assembled by the host, the same rows both.

A chunk holds the batches of up to K steps; what is not used is padding, so that every chunk has the same shapes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding

from arjax.core.batch import Batch
from arjax.data import Source
from arjax.data.batches import train_index_block
from arjax.parallel.sharding import batch_sharding, replicated


class Chunk(Protocol):
    """Batches of up to K steps: a pytree of arrays with one shape, whatever the number of steps."""

    def batch(self, k: jax.Array | int) -> Batch:
        """The batch of the k-th step of the chunk, sharded; may be traced."""


@runtime_checkable
class GatherSource(Protocol):
    """A source that can gather its batches from arrays on the device."""

    arrays: Batch

    def gather(self, arrays: Batch, indices: jax.Array) -> Batch:
        """The batch of the rows `indices` int[B], from `arrays` wherever they are; pure."""


class Feed(Protocol):
    """Makes chunks; which rows a step gets is a pure function of (seed, step)."""

    def chunk(self, step: int, n: int) -> Chunk:
        """The batches of the steps `step`, ..., `step + n - 1`, n <= K."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ResidentChunk:
    """Row numbers int32[K, B] into a whole split that stays on the device, and how `gather` makes a batch of them."""

    arrays: Batch
    indices: jax.Array
    gather: Callable[[Batch, jax.Array], Batch] = dataclasses.field(metadata={"static": True})
    sharding: NamedSharding = dataclasses.field(metadata={"static": True})

    def batch(self, k: jax.Array | int) -> Batch:
        """Gathers the rows; each device keeps its own."""
        return jax.lax.with_sharding_constraint(self.gather(self.arrays, self.indices[k]), self.sharding)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class HostChunk:
    """Stacked batches [K, B, ...], sharded over B."""

    stacked: Batch

    def batch(self, k: jax.Array | int) -> Batch:
        """The k-th of them."""
        return jax.tree.map(lambda array: jax.lax.dynamic_index_in_dim(array, k, keepdims=False), self.stacked)


class ResidentFeed:
    """Keeps the whole split on every device, in the compact form of its source; a chunk transfers K x B integers."""

    def __init__(self, source: Source, mesh: Mesh, seed: int, batch_size: int, max_steps: int):
        """Loads `source` onto the mesh; `max_steps` is K."""
        self._seed, self._batch_size, self._max_steps = seed, batch_size, max_steps
        self._num_examples, self._mesh = len(source), mesh
        arrays, self._gather = compact_form(source)
        self._arrays = jax.tree.map(lambda array: to_mesh(np.asarray(array), replicated(mesh)), arrays)

    def chunk(self, step: int, n: int) -> ResidentChunk:
        """The batches of n steps."""
        indices = np.zeros((self._max_steps, self._batch_size), np.int32)
        indices[:n] = train_index_block(self._seed, step, n, self._num_examples, self._batch_size)
        indices_on_mesh = to_mesh(indices, replicated(self._mesh))
        return ResidentChunk(self._arrays, indices_on_mesh, self._gather, batch_sharding(self._mesh))


class HostFeed:
    """Assembles batches on the host, for splits that do not fit on a device; each process reads its own rows only."""

    def __init__(self, source: Source, mesh: Mesh, seed: int, batch_size: int, max_steps: int):
        """`max_steps` is K."""
        self._seed, self._batch_size, self._max_steps = seed, batch_size, max_steps
        self._source, self._sharding = source, batch_sharding(mesh, leading_dims=1)
        self._own = own_rows(batch_sharding(mesh), batch_size)

    def chunk(self, step: int, n: int) -> HostChunk:
        """The batches of n steps."""
        indices = train_index_block(self._seed, step, n, len(self._source), self._batch_size)[:, self._own]
        rows = self._source.__getitems__(indices.ravel())
        return HostChunk(jax.tree.map(lambda array: self._stack(np.asarray(array), n), rows))

    def _stack(self, rows: np.ndarray, n: int) -> jax.Array:
        """[n * own rows, ...] -> this process's part of [K, B, ...], 0 after the n-th step."""
        stacked = np.zeros((self._max_steps, len(self._own), *rows.shape[1:]), rows.dtype)
        stacked[:n] = rows.reshape(n, len(self._own), *rows.shape[1:])
        shape = (self._max_steps, self._batch_size, *rows.shape[1:])
        return jax.make_array_from_process_local_data(self._sharding, stacked, shape)


def make_feed(
    source: Source, mesh: Mesh, *, seed: int, batch_size: int, max_steps: int, on_device: bool
) -> ResidentFeed | HostFeed:
    """The feed of a run: `on_device` keeps the whole split on every device; `max_steps` is K, steps per dispatch."""
    return (ResidentFeed if on_device else HostFeed)(source, mesh, seed, batch_size, max_steps)


def compact_form(source: Source) -> tuple[Batch, Callable[[Batch, jax.Array], Batch]]:
    """The arrays of a split and the function that gathers batches from them.

    Sources that have such a form of their own (pixels of one byte, windows that overlap) are kept in it.
    """
    if isinstance(source, GatherSource):
        return source.arrays, source.gather
    return source.__getitems__(np.arange(len(source))), Batch.take


def to_mesh(array: np.ndarray, sharding: NamedSharding) -> jax.Array:
    """Puts an array that every process has in full onto the mesh."""
    return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])


def own_rows(sharding: NamedSharding, batch_size: int) -> np.ndarray:
    """The rows of a global batch that the devices of this process hold, ascending."""
    places: dict[Any, tuple[slice, ...]] = sharding.addressable_devices_indices_map((batch_size,))
    parts = [np.arange(batch_size)[index] for index in places.values()]
    return np.unique(np.concatenate(parts))


def as_traced(n: int, mesh: Mesh) -> jax.Array:
    """A number as an int32 scalar on every device of the mesh."""
    return to_mesh(np.asarray(n, jnp.int32), replicated(mesh))
