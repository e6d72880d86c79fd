"""Bounds that take more work than a score: means over a split, and what training asks for of them."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Hashable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from arjax.core.batch import Batch
from arjax.core.errors import UserError
from arjax.core.output import say_once
from arjax.data import Dataset
from arjax.data.base import Transform
from arjax.data.batches import eval_batches
from arjax.models import AutoregressiveModel, LatentModel, Model
from arjax.models.chains import Chain
from arjax.models.checks import as_values

#: (model, params, batch, key, *options) -> a bound of each example and its scored sites.
LogProb = Callable[..., tuple[jax.Array, jax.Array]]
#: Examples from which the latents are described, and the variance of a mean from which a latent is active.
UNITS_FROM, ACTIVE = 2000, 0.01


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


def check_samples(model: Model) -> None:
    """Raises `UserError` unless the model has latents, of which several can be drawn, or is a chain."""
    if isinstance(model, Chain):
        return
    if not isinstance(model, LatentModel):
        raise UserError(
            "config.evaluate.samples counts the latents of an example, or the steps of a chain: it needs a model of "
            "the kind latent, or a chain"
        )
    if not model.mixes:
        raise UserError(
            "config.evaluate.samples takes exponentials of scores, which are no bounds with chains inside: set it to 0"
        )


def sampled_scores(
    model: Model, params: Any, dataset: Dataset, split: str, *, samples: int, batch_size: int, seed: int
) -> dict[str, Any]:
    """The bound of a split that takes more work than a score: of latents `importance_scores`, of a chain
    `chain_scores`; raises `UserError` for other models.
    """
    check_samples(model)
    scores = chain_scores if isinstance(model, Chain) else importance_scores
    return scores(model, params, dataset, split, samples=samples, batch_size=batch_size, seed=seed)


def chain_scores(
    model: Chain, params: Any, dataset: Dataset, split: str, *, samples: int, batch_size: int, seed: int
) -> dict[str, Any]:
    """The bound of a chain with less noise than its score: from `samples` steps of each example, evenly spread, or from
    all T where these are no more.

    Returns:
      `chain_bound_nats`, `chain_bound_stderr` (over examples, with the noise of the steps), the same per scalar of an
      event as `chain_bound_bits_per_dim`, and `chain_bound_steps`.
    """
    steps = min(samples, model.num_steps)
    if samples > steps:
        say_once(f"config.evaluate.samples={samples} is more than the steps of the chain: all {steps} are taken")
    model = dataclasses.replace(model, score_steps=0 if steps == model.num_steps else steps)
    mean, stderr = split_bound(model, params, dataset, split, _chain_bound, batch_size=batch_size, seed=seed)
    return _per_dim("chain_bound", model, mean, stderr) | {"chain_bound_steps": steps}


def _chain_bound(model: Chain, params: Any, batch: Batch, key: jax.Array) -> tuple[jax.Array, jax.Array]:
    return model.score(params, batch, key=key).log_prob, _scored_sites(batch)


def _scored_sites(batch: Batch) -> jax.Array:
    """The scored sites of each example, [B]; 1 without a mask."""
    return jnp.ones(len(batch)) if batch.mask is None else (batch.mask > 0).reshape(len(batch), -1).sum(-1)


def _per_dim(name: str, model: Model, mean: float, stderr: float) -> dict[str, float]:
    """A bound in nats, and in bits for each scalar of an event."""
    bits = 1 / (math.log(2) * model.event.num_dims)
    per_dim = {f"{name}_bits_per_dim": bits * mean, f"{name}_bits_per_dim_stderr": bits * stderr}
    return {f"{name}_nats": mean, f"{name}_stderr": stderr} | per_dim


def importance_scores(
    model: LatentModel, params: Any, dataset: Dataset, split: str, *, samples: int, batch_size: int, seed: int
) -> dict[str, float]:
    """The importance-weighted bound L_k of a split, see `LatentModel.importance_bound`.

    Returns:
      `importance_bound_nats`, `importance_bound_stderr` (over the examples), the same per scalar of an event as
      `importance_bound_bits_per_dim`, and `importance_samples` k; the entries of `latent_units`.
    """
    rest = {"batch_size": batch_size, "seed": seed}
    mean, stderr = split_bound(model, params, dataset, split, _importance_bound, samples, **rest)
    found = _per_dim("importance_bound", model, mean, stderr) | {"importance_samples": samples}
    return found | latent_units(model, params, dataset, split, seed)


def _importance_bound(
    model: LatentModel, params: Any, batch: Batch, key: jax.Array, samples: int
) -> tuple[jax.Array, jax.Array]:
    return model.importance_bound(params, batch, key, samples), _scored_sites(batch)


def latent_units(model: LatentModel, params: Any, dataset: Dataset, split: str, seed: int) -> dict[str, Any]:
    """How much each latent tells of the examples, from up to `UNITS_FROM` of a split.

    Returns:
      `kl_nats_by_unit`, the mean of log q(z_i | x) - log p(z_i) for each site of z in nats, where the prior is one
      network; `active_units`, the number of latents whose posterior mean has a variance above .01 over the examples
      (Burda, Grosse & Salakhutdinov, "Importance Weighted Autoencoders", 2016, section 5.2), of real latents.
    """
    source = dataset.splits[split]
    batch = source.__getitems__(np.arange(min(UNITS_FROM, len(source))))
    if dataset.transform is not None:
        batch = dataset.transform(jax.random.key(seed), batch, False)
    found: dict[str, Any] = {}
    if isinstance(model.prior, AutoregressiveModel):
        units = jax.jit(LatentModel.kl_by_unit)(model, params, batch.replace(weight=None), jax.random.key(seed))
        found["kl_nats_by_unit"] = [float(value) for value in np.asarray(units, np.float64).mean(0)]
    if not model.latent_event.is_discrete:
        context = {name: jnp.asarray(part) for name, part in batch.context.items()}
        means = np.asarray(jax.jit(LatentModel.encode)(model, params, jnp.asarray(batch.x), context=context or None))
        found["active_units"] = int((means.reshape(len(means), -1).var(0) > ACTIVE).sum())
    return found
