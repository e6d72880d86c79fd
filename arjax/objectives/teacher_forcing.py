"""Teacher forcing (Williams & Zipser, 1989): maximum likelihood, all conditionals scored in one pass on real data."""

from __future__ import annotations

import jax

from arjax.core.batch import Batch
from arjax.models.autoregressive import AutoregressiveModel, Params
from arjax.objectives.base import OBJECTIVES, Sums, loss_and_sums


@OBJECTIVES.register("teacher_forcing")
def teacher_forcing(model: AutoregressiveModel, params: Params, batch: Batch, key: jax.Array) -> tuple[jax.Array, Sums]:
    """loss = -sum_b w_b log p(x_b) / (number of scored scalars), in nats per dimension."""
    log_prob_B = model.log_prob(params, batch.x, context=batch.context, mask=batch.mask, train=True, key=key)
    return loss_and_sums(model.event, batch, log_prob_B)
