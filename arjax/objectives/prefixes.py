"""Losses on prefixes that are not those of the data: values that the model has drawn itself, or noise."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from arjax.conditionals.blocks import scores_blocks, site_log_prob
from arjax.core.batch import Batch
from arjax.core.errors import UserError
from arjax.core.traits import require
from arjax.models.autoregressive import AutoregressiveModel
from arjax.models.base import Model, Params
from arjax.objectives.base import Loss, Objective, ObjectiveState, Step, count, likelihood_loss, weighted_sum
from arjax.objectives.metrics import Mean


@dataclasses.dataclass(frozen=True)
class PrefixObjective(Objective[AutoregressiveModel]):
    """A weighted mean of numbers of the examples that read other prefixes. It is no likelihood of the data: it is
    reported by the name of the objective, and `nll` is that of teacher forcing, without dropout and a gradient.
    """

    def check(self, model: AutoregressiveModel) -> None:
        """Raises `UserError` unless the model reads prefixes in one order, which an objective replaces."""
        require(model, "conditionals", f"the objective {self.name!r}, which replaces the prefixes that a model reads,")
        self.check_own_loss(model)
        if model.orders is not None:
            raise UserError(f"the objective {self.name!r} trains one order: leave model.orders empty")

    def check_exact(self, model: AutoregressiveModel) -> None:
        """Raises `UserError` unless log p of a draw is exact: the gradient of a bound on it is no score function."""
        if model.score_kind != "exact":
            raise UserError(
                f"the score function of the objective {self.name!r} needs log p itself, and that of this conditional "
                f"is of the kind {model.score_kind!r}: take one whose kind is exact, such as gaussian_mixture"
            )

    def check_whole_steps(self, model: AutoregressiveModel, batch: Batch) -> None:
        """Raises `UserError` where a mask may cut a block of a joint conditional: a draw is then no draw of the part of
        the block whose log p is scored, and the score function is biased.
        """
        if batch.mask is not None and scores_blocks(model.conditional, model.factorization):
            raise UserError(
                f"the score function of the objective {self.name!r} needs whole blocks, and the examples have masks: "
                "take a conditional whose sites are independent within a step, or a partition into single sites"
            )

    def loss(self, model: AutoregressiveModel, params: Params, aux: ObjectiveState, batch: Batch, step: Step) -> Loss:
        batch = batch.replace(x=jnp.asarray(batch.x, model.event.dtype))
        loss = weighted_mean(model, batch, *self.costs(model, params, batch, step))
        of_data = model.score(jax.lax.stop_gradient(params), batch)
        metrics = likelihood_loss(model.event, batch, of_data.log_prob).metrics
        return Loss((loss,), dataclasses.replace(metrics, means={self.name: jax.lax.stop_gradient(loss)}))

    def costs(self, model: AutoregressiveModel, params: Params, batch: Batch, step: Step) -> tuple[jax.Array, Any]:
        """The value and the number of each example in `weighted_mean`, [B] each."""
        raise NotImplementedError


def replaceable(model: AutoregressiveModel, batch: Batch) -> jax.Array:
    """bool[B, D]: the sites whose values may be replaced in prefixes: those that are scored."""
    if batch.mask is None:
        return jnp.ones((len(batch), model.event.num_sites), bool)
    return jnp.asarray(batch.mask).reshape(len(batch), -1) > 0


def scored(model: AutoregressiveModel, params: Params, batch: Batch, inputs: Any, key: Any) -> jax.Array:
    """log p(x_i | inputs of earlier steps) of each site, float32[B, D]; 0 where it is not scored.

    `key` is that of dropout; None: without it, as draws are, for gradients by the score function.
    """
    per_site = model.per_site(site_log_prob, params, batch, inputs=inputs, train=key is not None, key=key)
    return per_site.reshape(len(batch), -1)


def weighted_mean(model: Model, batch: Batch, value_B: jax.Array, num_B: jax.Array | None = None) -> Mean:
    """sum_b w_b value_b / sum_b w_b num_b; by default the latter is the number of scored scalars."""
    if num_B is None:
        num = count(model.event, batch).dims
    else:
        num = (num_B if batch.weight is None else batch.weight * num_B).sum(dtype=jnp.float32)
    return Mean(weighted_sum(batch.weight, value_B), num)
