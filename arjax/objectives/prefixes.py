"""Losses on prefixes that are not those of the data: values that the model has drawn itself, or noise."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from arjax.conditionals.blocks import scores_blocks
from arjax.core.batch import Array, Batch
from arjax.core.errors import UserError
from arjax.models.abilities import require
from arjax.models.autoregressive import AutoregressiveModel
from arjax.models.base import Model, Params
from arjax.objectives.base import Loss, check_own_loss, count, likelihood_loss
from arjax.objectives.metrics import Mean, Metrics


def check_prefixes(name: str, model: Model) -> None:
    """Raises `UserError` unless the model reads prefixes in one order, which an objective replaces."""
    require(model, "conditionals", f"the objective {name!r}, which replaces the prefixes that a model reads,")
    check_own_loss(name, model)
    if model.orders is not None:
        raise UserError(f"the objective {name!r} trains one order: leave model.orders empty")


def check_rate(name: str, option: str, value: float) -> None:
    """Raises `UserError` unless an option is a part, from 0 to 1."""
    if not 0 <= value <= 1:
        raise UserError(f"the option {option!r} of the objective {name!r} must be from 0 to 1, not {value}")


def check_whole_steps(name: str, model: AutoregressiveModel, batch: Batch) -> None:
    """Raises `UserError` where a mask may cut a block of a joint conditional: a draw is then no draw of the part of the
    block whose log p is scored, and the score function is biased.
    """
    if batch.mask is not None and scores_blocks(model.conditional, model.factorization):
        raise UserError(
            f"the score function of the objective {name!r} needs whole blocks, and the examples have masks: take a "
            "conditional whose sites are independent within a step, or a partition into single sites"
        )


def replaceable(model: AutoregressiveModel, batch: Batch) -> jax.Array:
    """bool[B, D]: the sites whose values may be replaced in prefixes: those that are scored."""
    if batch.mask is None:
        return jnp.ones((len(batch), model.event.num_sites), bool)
    return jnp.asarray(batch.mask).reshape(len(batch), -1) > 0


def example_context(batch: Batch) -> dict[str, Array] | None:
    """The context as networks take it."""
    return dict(batch.context) or None


def scored(
    model: AutoregressiveModel, params: Params, batch: Batch, inputs: jax.Array | None, key: jax.Array | None
) -> jax.Array:
    """log p(x_i | inputs of earlier steps) of each site, float32[B, D]; 0 where it is not scored.

    `key` is that of dropout; None: without it, as draws are, for gradients by the score function.
    """
    more = {"context": batch.context, "mask": batch.mask, "train": key is not None, "key": key}
    per_site = model.log_prob_per_site(params, batch.x, inputs=inputs, **more)
    return per_site.reshape(len(batch), -1)


def teacher_forced(model: AutoregressiveModel, params: Params, batch: Batch) -> Metrics:
    """The metrics of the batch given its own prefixes, without dropout and without a gradient: `nll` is reported for
    every objective, and those that replace prefixes are no likelihoods of the data.
    """
    params = jax.lax.stop_gradient(params)
    log_prob_B = model.log_prob(params, batch.x, context=batch.context, mask=batch.mask)
    return likelihood_loss(model.event, batch, log_prob_B).metrics


def weighted_mean(model: Model, batch: Batch, value_B: jax.Array, num_B: jax.Array | None = None) -> Mean:
    """sum_b w_b value_b / sum_b w_b num_b; by default the latter is the number of scored scalars."""
    if num_B is None:
        num = count(model.event, batch).dims
    else:
        num = (num_B if batch.weight is None else batch.weight * num_B).sum(dtype=jnp.float32)
    if batch.weight is not None:
        value_B = jnp.where(batch.weight > 0, batch.weight * value_B, 0.0)
    return Mean(value_B.sum(), num)


def prefix_loss(
    model: Model, batch: Batch, name: str, value_B: jax.Array, metrics: Metrics, num_B: jax.Array | None = None
) -> Loss:
    """The loss that is `weighted_mean`, reported as `name` beside `metrics`."""
    loss = weighted_mean(model, batch, value_B, num_B)
    means = {name: jax.lax.stop_gradient(loss)}
    return Loss((loss,), dataclasses.replace(metrics, means=means))


def repeated(batch: Batch, num: int) -> Batch:
    """The batch `num` times after itself: example b stands at b, B + b, 2 B + b, ..."""
    return jax.tree.map(lambda rows: jnp.concatenate([jnp.asarray(rows)] * num), batch)
