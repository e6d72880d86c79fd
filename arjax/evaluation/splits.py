"""The loop over the batches of a split, on the devices of a mesh. A function that scores one batch is handed to it."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from arjax.core.batch import Batch
from arjax.core.errors import UserError, did_you_mean, refuse
from arjax.core.programs import call_if_it_fits
from arjax.data import Dataset, Source
from arjax.data.base import Transform
from arjax.data.batches import eval_batches, read_ahead
from arjax.data.sources import SPLITS
from arjax.data.windows import RandomWindows
from arjax.parallel.sharding import from_local_rows, local_rows, on_mesh, replicated

#: Arrays by name; their last axis is that of the examples.
Rows = dict[str, np.ndarray]
#: (params, batch, key, log_scale_D) -> arrays [..., B] by name. `log_scale_D` is what the units of standardised data
#: add to the nats of each site.
ScoreOfBatch = Callable[[Any, Batch, jax.Array, jax.Array], dict[str, jax.Array]]


@dataclasses.dataclass(frozen=True)
class Scoring:
    """How the examples of a split are scored.

    Attributes:
      batch_size: examples scored at once. Exact results change by rounding alone; the noise of a drawn score changes,
        as each batch has a key.
      mesh: that of the parameters; None: the one device that they are on.
      seed: of a transform and of drawn scores, or their key. Draws do not depend on the parameters, so scores compare.
      num_orders: K, for a model with several orders: the mixture of K of them is scored, by their `Orders.shares`.
    """

    batch_size: int = 128
    mesh: Mesh | None = None
    seed: int | jax.Array = 0
    num_orders: int = 1

    @property
    def key(self) -> jax.Array:
        return self.seed if isinstance(self.seed, jax.Array) else jax.random.key(self.seed)


def split_of(dataset: Dataset, split: str) -> Source:
    """Returns the examples of a split; refuses a missing or empty one."""
    if split not in dataset.splits:
        raise UserError(f"data set {dataset.name!r} has no {split} split{did_you_mean(split, dataset.splits)}")
    refuse((not len(dataset.splits[split]), f"the {split} split of {dataset.name!r} is empty"))
    return dataset.splits[split]


def first_batch(dataset: Dataset, split: str) -> int:
    """Returns the number of the first batch of a split: for draws that are scored it differs between the splits."""
    return 0 if dataset.score_of_draws is None else SPLITS.index(split) << 20


def spread_examples(dataset: Dataset, split: str, num: int, owner: str) -> Batch:
    """Returns about `num` examples of a split, evenly spaced, as the model sees them, to measure schedules on."""
    if split not in dataset.splits:
        raise UserError(f"{owner} needs the {split} split of the data, which {dataset.name!r} does not have")
    source = dataset.splits[split]
    apart = source.length if isinstance(source, RandomWindows) else 1  # else most of them would overlap
    return dataset.events(split, np.arange(0, len(source), max(apart, -(-len(source) // num))))


def scored_examples(dataset: Dataset, split: str, numbers: np.ndarray, key: jax.Array) -> Batch:
    """Returns the scored ones of the examples of these numbers, as batches are when they are scored."""
    rows = split_of(dataset, split).__getitems__(numbers)
    if rows.weight is not None:
        rows = rows.take(np.flatnonzero(rows.weight > 0))
    rows = rows.replace(weight=None)
    return rows if dataset.transform is None else dataset.transform(key, rows, False)


def spread_rows(dataset: Dataset, split: str, num: int, key: jax.Array) -> Batch:
    """Returns at most `num` scored examples of a split, evenly spaced, as batches are when they are scored."""
    split_of(dataset, split)
    return scored_examples(dataset, split, dataset.thinned_numbers(split, num), key)


class SplitScorer:
    """Scores each example of a split by a function of a batch; compiled once for all parameters and splits.

    Each process reads the rows that its devices hold. At most two batches are on the devices, and a third is read in a
    thread, so splits may be larger than memory. The batch size is rounded up to a multiple of the mesh's data x fsdp; a
    drawn score is the same on any mesh where nothing is rounded. Batch i is scored under fold_in(key, i), or under one
    key for each of keys [S]. `transform_key` makes the key of the transform from that of a batch; None: they are the
    same.
    """

    def __init__(
        self,
        score: ScoreOfBatch,
        dataset: Dataset,
        scoring: Scoring,
        transform_key: Callable[[jax.Array], jax.Array] | None = None,
    ):
        self._key, mesh = scoring.key, scoring.mesh
        self._mesh = mesh
        self.batch_size, self._sharding, self._rows_here = scoring.batch_size, None, None
        if mesh is not None:
            # The last axis of the mesh (tensor) splits layers, the others split batches.
            axes = tuple(mesh.axis_names[:-1])
            num_shards = math.prod(mesh.shape[axis] for axis in axes)
            self.batch_size = -(-scoring.batch_size // num_shards) * num_shards
            self._sharding = NamedSharding(mesh, PartitionSpec(axes))
            self._rows_here = local_rows(self._sharding, self.batch_size)
        self.log_scale_D = np.asarray(dataset.log_scale_D, np.float32)
        self.program = _program(score, dataset.transform, transform_key, mesh)

    def rows(self, params: Any, source: Source, first: int = 0) -> Rows:
        """The scores of all examples of a source whose weight is not 0, float64[..., N] by name. The numbers of its
        batches, which their keys are made of, begin with `first`.
        """
        parts = list(self.batches(params, source, first))
        return {name: np.concatenate([part[name] for part in parts], axis=-1) for name in parts[0]}

    def batches(self, params: Any, source: Source, first: int = 0) -> Iterator[Rows]:
        """The scores batch by batch; one batch is computed while the next one is read."""
        batches = (jax.tree.map(self._put, batch) for batch in eval_batches(source, self.batch_size, self._rows_here))
        before = None
        with contextlib.closing(read_ahead(batches)) as coming:
            for i, batch in enumerate(coming, first):
                arguments = self.log_scale_D, params, batch, _key_of_batch(self._key, i)
                with on_mesh(self._mesh):
                    scored = call_if_it_fits("the arrays of this score", self.program, *arguments)
                if before is not None:
                    yield _without_padding(*before)
                before = scored
        if before is not None:
            yield _without_padding(*before)

    def _put(self, rows: Any) -> jax.Array:
        if self._sharding is None or self._rows_here is None:
            return jnp.asarray(rows)
        return from_local_rows(np.asarray(rows), self._rows_here, self._sharding, self.batch_size)


def _key_of_batch(key: jax.Array, i: int) -> jax.Array:
    return jax.random.fold_in(key, i) if not key.ndim else jax.vmap(jax.random.fold_in, (0, None))(key, i)


def _without_padding(scored: dict[str, jax.Array], weight_B: jax.Array) -> Rows:
    keep_B = np.asarray(weight_B) > 0
    return {name: np.asarray(values, np.float64)[..., keep_B] for name, values in scored.items()}


@functools.lru_cache(maxsize=32)
def _program(
    score: ScoreOfBatch, transform: Transform | None, transform_key: Callable | None, mesh: Mesh | None
) -> Callable[..., tuple[dict[str, jax.Array], jax.Array]]:
    """One program for all scorers with these options: (log_scale_D, params, batch, key) -> scores and weights."""

    def scored(log_scale_D: jax.Array, params: Any, batch: Batch, key: jax.Array) -> tuple[Any, jax.Array]:
        weight_B, batch = batch.weight, batch.replace(weight=None)
        if transform is not None:
            batch = transform(key if transform_key is None else transform_key(key), batch, False)
        assert weight_B is not None, "batches of a split mark the rows that fill the last one"
        return score(params, batch, key, log_scale_D), jnp.asarray(weight_B)

    # Whole on every device: each process reads the scores of all rows.
    return jax.jit(scored, out_shardings=None if mesh is None else replicated(mesh))
