"""Errors of single predictions and of whole decodings: the difference that own prefixes make, without a truth."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from arjax.core.abilities import require
from arjax.core.batch import Batch
from arjax.core.errors import UserError
from arjax.evaluation.errors import ratio_of_means
from arjax.models import AutoregressiveModel
from arjax.samplers import example_keys


def decodes(model: AutoregressiveModel) -> bool:
    """Whether the model has decoding errors: of discrete values, each site of a step predicted by itself."""
    joint = model.conditional.joint and model.factorization.block_size > 1
    return model.event.is_discrete and not joint


def check_decoding(model: Any) -> None:
    """Raises `UserError` unless the model is autoregressive and has decoding errors."""
    if not decodes(require(model, "conditionals", "a decoding error")):
        raise UserError(
            "a decoding error counts wrong values: it needs discrete data, and sites of a step that are predicted "
            "independently"
        )


def decoding_errors(model: AutoregressiveModel, params: Any, rows: Batch, batch_size: int = 128) -> dict[str, float]:
    """The two errors of Bengio, Vinyals, Jaitly & Shazeer ("Scheduled Sampling for Sequence Prediction with Recurrent
    Neural Networks", 2015, table 3): how often the most probable value is wrong when all values before it are those of
    the data, and when the model has decoded them itself. They decode by beam search, this does so greedily.

    The first half of the steps is observed in both. The scored sites behind it count.

    Args:
      model: of discrete data.
      params: its parameters.
      rows: examples, with contexts and masks where there are.
      batch_size: B.

    Returns:
      `next_step_error` and `greedy_error`, parts of the sites, each with its `..._stderr` over the examples; nothing
      where no site of the second half is scored.

    Raises:
      UserError: as `check_decoding`.
    """
    check_decoding(model)
    step_D, num_steps = np.asarray(model.factorization.step), model.factorization.num_steps
    observed_D = step_D < num_steps // 2
    found = [
        _wrong(model, params, rows.take(np.arange(start, min(start + batch_size, len(rows)))), observed_D)
        for start in range(0, len(rows), batch_size)
    ]
    next_N, greedy_N, sites_N = (np.concatenate([np.asarray(part[i], np.float64) for part in found]) for i in range(3))
    if not sites_N.sum():
        return {}
    errors = {}
    for name, wrong_N in (("next_step_error", next_N), ("greedy_error", greedy_N)):
        errors[name], errors[f"{name}_stderr"] = ratio_of_means(wrong_N, sites_N)
    return errors


def _wrong(model: AutoregressiveModel, params: Any, batch: Batch, observed_D: np.ndarray) -> tuple[Any, ...]:
    """Wrong sites of each example in both ways, and the sites that count, [B] each."""
    grid = model.event.grid_shape
    context = batch.context or None
    given = {"given": batch.x, "observed": observed_D.reshape(grid)} if observed_D.any() else {}
    keys = example_keys(jax.random.key(0), len(batch))  # no value depends on them
    decoded = model.draw(params, keys, sampler="greedy", context=context, **given).x
    counted_BD = np.broadcast_to(~observed_D, (len(batch), len(observed_D)))
    if batch.mask is not None:
        counted_BD = counted_BD & (np.asarray(batch.mask).reshape(len(batch), -1) > 0)
    return _count_wrong(model, params, jnp.asarray(batch.x), context, decoded, jnp.asarray(counted_BD))


@jax.jit
def _count_wrong(
    model: AutoregressiveModel, params: Any, x: jax.Array, context: Any, decoded: jax.Array, counted_BD: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    modes = model.head(params).mode(model.features(params, x, context=context))

    def count(found: jax.Array) -> jax.Array:
        wrong_BD = (found != x).reshape(*counted_BD.shape, -1).any(-1)
        return (wrong_BD & counted_BD).sum(-1)

    return count(modes), count(decoded), counted_BD.sum(-1)
