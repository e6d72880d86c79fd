"""Bounds that take more work than a score: means over a split."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Hashable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from arjax.core.batch import Batch
from arjax.data import Dataset
from arjax.data.base import Transform
from arjax.data.batches import eval_batches
from arjax.models import Model
from arjax.models.checks import as_values

#: (model, params, batch, key, *options) -> a bound of each example and its scored sites.
LogProb = Callable[..., tuple[jax.Array, jax.Array]]
#: Examples of which a kind may report more, at most.
REPORTED = 2000


def split_bound(
    model: Model,
    params: Any,
    dataset: Dataset,
    split: str,
    log_prob: LogProb,
    *options: Hashable,
    batch_size: int = 128,
    seed: int = 0,
) -> tuple[float, float]:
    """The mean over the examples of a split of -log_prob in nats, in the units of the data, and its standard error.

    Args:
      model: the model.
      params: its parameters.
      dataset: has the split.
      split: "train", "validation" or "test".
      log_prob: (model, params, batch, key, *options) -> a bound of each example, float32[B] nats, and its scored
        sites, [B]; a function at the top of a module, so that further calls find the compiled program.
      *options: of `log_prob`.
      batch_size: rows per batch.
      seed: of the keys; each batch has its own.
    """
    found, key = [], jax.random.key(seed)
    for i, batch in enumerate(eval_batches(dataset.splits[split], batch_size)):
        scored = _score(log_prob, dataset.transform, options, model, params, batch, jax.random.fold_in(key, i))
        found.append([np.asarray(a, np.float64) for a in scored])
        found[-1][0] -= _log_scale(dataset, batch)
    log_prob_N, sites_N, weight_N = (np.concatenate(parts) for parts in zip(*found, strict=True))
    nats_N = -log_prob_N[(weight_N > 0) & (sites_N > 0)]
    stderr = nats_N.std(ddof=1) / math.sqrt(len(nats_N)) if len(nats_N) > 1 else 0.0
    return float(nats_N.mean()), float(stderr)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _score(
    log_prob: LogProb,
    transform: Transform | None,
    options: tuple[Hashable, ...],
    model: Model,
    params: Any,
    batch: Batch,
    key: jax.Array,
) -> tuple[jax.Array, ...]:
    """The bound and the scored sites of the examples of a batch, and their weights."""
    weight_B, batch = batch.weight, batch.replace(weight=None)
    transform_key, key = jax.random.split(key)
    if transform is not None:
        batch = transform(transform_key, batch, False)
    batch = Batch(as_values(model.event, batch.x), batch.context, batch.mask)
    return *log_prob(model, params, batch, key, *options), weight_B


def _log_scale(dataset: Dataset, batch: Batch) -> np.ndarray | float:
    """What the units of standardised data add to the nats of each example."""
    log_scale_D = np.asarray(dataset.log_scale_D, np.float64)
    if batch.mask is None:
        return float(np.broadcast_to(log_scale_D, dataset.event.num_sites).sum())
    counted_BD = np.asarray(batch.mask).reshape(len(batch), -1) > 0
    return np.where(counted_BD, log_scale_D, 0.0).sum(-1)


def sampled_scores(
    model: Model, params: Any, dataset: Dataset, split: str, *, samples: int, batch_size: int, seed: int
) -> dict[str, Any]:
    """The bound of a split that takes more work than a score, see `Model.sampled_bound`, by the name that the kind
    gives it, and what the kind reports of up to `REPORTED` examples.

    Returns:
      such as `importance_bound_nats`, `importance_bound_stderr` (over the examples), the same per scalar of an event as
      `importance_bound_bits_per_dim`, and `importance_samples`.

    Raises:
      UserError: the kind of the model has no such bound.
    """
    bound = model.sampled_bound(samples)
    options = bound.log_prob, *bound.options
    rest = {"batch_size": batch_size, "seed": seed}
    mean, stderr = split_bound(bound.model, params, dataset, split, _sampled_log_prob, *options, **rest)
    scores = _per_dim(bound.name, model, mean, stderr) | bound.entries
    source, key = dataset.splits[split], jax.random.key(seed)
    batch = source.__getitems__(np.arange(min(REPORTED, len(source))))
    if dataset.transform is not None:
        batch = dataset.transform(key, batch, False)
    return scores | model.report_of_examples(params, batch.replace(weight=None), key)


def _sampled_log_prob(
    model: Model, params: Any, batch: Batch, key: jax.Array, log_prob: Callable[..., jax.Array], *options: Hashable
) -> tuple[jax.Array, jax.Array]:
    return log_prob(model, params, batch, key, *options), _scored_sites(batch)


def _scored_sites(batch: Batch) -> jax.Array:
    """The scored sites of each example, [B]; 1 without a mask."""
    return jnp.ones(len(batch)) if batch.mask is None else (batch.mask > 0).reshape(len(batch), -1).sum(-1)


def _per_dim(name: str, model: Model, mean: float, stderr: float) -> dict[str, float]:
    """A bound in nats, and in bits for each scalar of an event."""
    bits = 1 / (math.log(2) * model.event.num_dims)
    per_dim = {f"{name}_bits_per_dim": bits * mean, f"{name}_bits_per_dim_stderr": bits * stderr}
    return {f"{name}_nats": mean, f"{name}_stderr": stderr} | per_dim
