"""Batches for the train step: rows gathered on the device, or batches assembled by the host, with the same rows.

A chunk holds the batches of up to K steps; the rest is padding, so that every chunk has the same shapes.
"""

from __future__ import annotations

import abc
import contextlib
import dataclasses
from collections.abc import Callable, Generator, Iterator
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding

from arjax.core.batch import Batch
from arjax.core.errors import UserError
from arjax.core.programs import bytes_of, free_bytes
from arjax.data import Source
from arjax.data.batches import read_ahead, train_index_block
from arjax.data.sources import read_all
from arjax.parallel.sharding import batch_sharding, from_local_rows, local_rows, replicated, to_mesh

KEEP_ON_HOST = "train.data_on_device=false keeps it on the host and reads batches of it"


@runtime_checkable
class GatherSource(Protocol):
    """A source that gathers batches from arrays on the device; `check_all()`, if it has one, refuses wrong rows."""

    arrays: Batch

    def gather(self, arrays: Batch, indices: jax.Array) -> Batch:
        """Returns the batch of the rows `indices` int[B] from `arrays`, wherever they are; pure."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ResidentChunk:
    """Row numbers int32[K, B] into a split that stays on the device; the function `gather` makes batches of it."""

    arrays: Batch
    indices: jax.Array
    gather: Callable[[Batch, jax.Array], Batch] = dataclasses.field(metadata={"static": True})
    sharding: NamedSharding | None = dataclasses.field(default=None, metadata={"static": True})

    def batch(self, k: jax.Array | int) -> Batch:
        """The batch of the k-th step of the chunk, sharded; may be traced."""
        batch = self.gather(self.arrays, self.indices[k])
        if self.sharding is None:
            return batch
        return jax.lax.with_sharding_constraint(batch, self.sharding)  # each device keeps its own rows


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class HostChunk:
    """Stacked batches [K, B, ...], sharded over B."""

    stacked: Batch

    def batch(self, k: jax.Array | int) -> Batch:
        return jax.tree.map(lambda array: jax.lax.dynamic_index_in_dim(array, k, keepdims=False), self.stacked)


#: Batches of up to K steps: a pytree of arrays with one shape, whatever the number of steps.
Chunk = ResidentChunk | HostChunk


class Feed(contextlib.AbstractContextManager):
    """The batches of a run: B examples each, at most K = `max_steps` of them in a chunk, whose rows are a function of
    (seed, step). `steps_from` returns the number of steps of the chunk that begins at a step, 0 after the last: a feed
    may read these chunks ahead. A context, which ends its threads.
    """

    def __init__(
        self,
        source: Source,
        mesh: Mesh,
        seed: int,
        batch_size: int,
        max_steps: int,
        steps_from: Callable[[int], int] = lambda step: 0,
    ):
        self._source, self._mesh, self._seed = source, mesh, seed
        self._batch_size, self._max_steps, self._steps_from = batch_size, max_steps, steps_from

    @abc.abstractmethod
    def chunk(self, step: int, n: int) -> Chunk:
        """The batches of the steps `step`, ..., `step + n - 1`, n <= K."""

    def _rows(self, step: int, n: int) -> np.ndarray:
        """The rows of these batches, [n, B]."""
        return train_index_block(self._seed, step, n, len(self._source), self._batch_size)

    def __exit__(self, *exception: object) -> None:
        """Ends the threads of the feed; here there are none."""


class ResidentFeed(Feed):
    """Keeps the whole split on every device, in the compact form of its source; a chunk transfers K x B integers."""

    def __init__(self, *arguments: Any, **options: Any):
        super().__init__(*arguments, **options)
        arrays, self._gather = compact_form(self._source, KEEP_ON_HOST)
        self._arrays = jax.tree.map(lambda array: to_mesh(np.asarray(array), replicated(self._mesh)), arrays)

    def chunk(self, step: int, n: int) -> ResidentChunk:
        indices = np.zeros((self._max_steps, self._batch_size), np.int32)
        indices[:n] = self._rows(step, n)
        indices_on_mesh = to_mesh(indices, replicated(self._mesh))
        return ResidentChunk(self._arrays, indices_on_mesh, self._gather, batch_sharding(self._mesh))


class HostFeed(Feed):
    """Assembles batches on the host, for splits that do not fit on a device; each process reads only its rows. While a
    run uses one chunk, a thread reads the next one and puts it onto the devices.
    """

    _coming: Generator[HostChunk, None, None] | None = None
    _foreseen = (-1, -1)  # step and n of the chunk that comes next

    def chunk(self, step: int, n: int) -> HostChunk:
        """Returns the batches of n steps, read ahead if this is the chunk that follows the last one."""
        if self._coming is None or (step, n) != self._foreseen:
            self.__exit__()
            if n != self._steps_from(step):
                return self._read(step, n)  # not one of the chunks of the run
            self._coming = read_ahead(self._chunks(step))
        coming, self._coming = self._coming, None
        chunk = next(coming)
        self._coming, self._foreseen = coming, (step + n, self._steps_from(step + n))
        return chunk

    def __exit__(self, *exception: object) -> None:
        if self._coming is not None:
            self._coming.close()
            self._coming = None

    def _chunks(self, step: int) -> Iterator[HostChunk]:
        while n := self._steps_from(step):
            yield self._read(step, n)
            step += n

    def _read(self, step: int, n: int) -> HostChunk:
        sharding = batch_sharding(self._mesh, leading_dims=1)
        local = local_rows(batch_sharding(self._mesh), self._batch_size)

        def stack(rows: np.ndarray) -> jax.Array:
            """[n * own rows, ...] -> this process's part of [K, B, ...], 0 after the n-th step."""
            stacked = np.zeros((self._max_steps, len(local), *rows.shape[1:]), rows.dtype)
            stacked[:n] = rows.reshape(n, len(local), *rows.shape[1:])
            return from_local_rows(stacked, local, sharding, self._batch_size, axis=1)

        rows = self._source.__getitems__(self._rows(step, n)[:, local].ravel())
        return HostChunk(jax.tree.map(lambda array: stack(np.asarray(array)), rows))


def compact_form(
    source: Source, remedy: str = "take fewer examples"
) -> tuple[Batch, Callable[[Batch, jax.Array], Batch]]:
    """Returns the arrays of a split in the compact form of its source, and the function that gathers from them."""
    if not isinstance(source, GatherSource):
        row = source.__getitems__(np.zeros(1, np.int64))
        _check_fits(len(source), bytes_of(row) * len(source), remedy)
        return read_all(source), Batch.take
    _check_fits(len(source), bytes_of(source.arrays), remedy)
    if hasattr(source, "check_all"):
        source.check_all()
    return source.arrays, source.gather


def _check_fits(num_examples: int, num_bytes: int, remedy: str) -> None:
    free, split = free_bytes(), f"the train split {{}}: {remedy}"
    if free is not None and num_bytes > free:
        size = f"takes {num_bytes / 1e9:.3g} GB on a device, where {free / 1e9:.3g} GB are free"
        raise UserError(split.format(size))
    if num_examples > 2**31:  # rows are counted in int32 there
        raise UserError(split.format(f"has {num_examples:,} examples, and a device counts up to 2^31"))


def as_traced(n: int, mesh: Mesh) -> jax.Array:
    """A number as an int32 scalar on every device of the mesh."""
    return to_mesh(np.asarray(n, jnp.int32), replicated(mesh))
