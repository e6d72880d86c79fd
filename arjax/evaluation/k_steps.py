"""The k-step bound: the nats of a model of all orders that draws several sites at once, in K rounds."""

from __future__ import annotations

import math
from typing import Any

import jax
import numpy as np

from arjax.core.batch import Batch
from arjax.core.errors import UserError
from arjax.data import Dataset
from arjax.data.batches import eval_batches
from arjax.models import AutoregressiveModel
from arjax.models.checks import as_values
from arjax.samplers.parallel import MEASURED
from arjax.samplers.rounds import check_rounds, k_step_log_prob, measure_losses
from arjax.samplers.schedules import check_schedule, make_sizes


def round_sizes(
    model: AutoregressiveModel, params: Any, dataset: Dataset, steps: int, schedule: str
) -> tuple[int, ...]:
    """The sizes of min(steps, S) rounds, as those of the sampler `parallel(steps=..., schedule=...)`.

    Raises:
      UserError: a model without the bound, an unknown schedule, or "optimal" without a validation split.
    """
    check_schedule("config.evaluate", steps, schedule)
    check_rounds(model, "the k-step bound")
    losses_S = None
    if schedule == "optimal":
        if "validation" not in dataset.splits:
            raise UserError(f"the schedule 'optimal' needs a validation split, which {dataset.name!r} has not")
        source = dataset.splits["validation"]
        examples = source.__getitems__(np.arange(min(MEASURED, len(source))))
        losses_S = measure_losses(model, params, examples)
    return make_sizes(schedule, model.factorization.num_steps, steps, losses_S)


def k_step_scores(
    model: AutoregressiveModel,
    params: Any,
    dataset: Dataset,
    split: str,
    *,
    steps: int,
    schedule: str = "uniform",
    batch_size: int = 128,
    seed: int = 0,
) -> dict[str, float]:
    """The k-step bound of a split: the mean over examples and random orders of
    -sum_r log p(the sites of round r | the sites of the rounds before), in nats.

    It bounds the nats of the mixture of all orders, each drawn in these rounds, from above (Jensen): of the samples of
    `parallel(choose="random")` in a random order. With a round for each step it is the mean over the orders of the
    exact nats (Hoogeboom et al., "Autoregressive Diffusion Models", 2022, equation 3 and section 3.3). Each example has
    one random order of its own, a function of `seed` and of its place in the split.

    Args:
      model: of all orders, whose network predicts several steps ahead.
      params: its parameters.
      dataset: has the split.
      split: "train", "validation" or "test".
      steps: K, the number of rounds.
      schedule: their sizes, see `arjax.samplers.schedules`.
      batch_size: rows per batch.
      seed: of the orders.

    Returns:
      `k_step_bound_nats`, `k_step_bound_stderr` (over the examples), `k_steps`.

    Raises:
      UserError: as `round_sizes`.
    """
    sizes = round_sizes(model, params, dataset, steps, schedule)

    @jax.jit
    def score(model: AutoregressiveModel, params: Any, batch: Batch, key: jax.Array) -> tuple[jax.Array, ...]:
        weight_B, batch = batch.weight, batch.replace(weight=None)
        transform_key, order_key = jax.random.split(key)
        if dataset.transform is not None:
            batch = dataset.transform(transform_key, batch, False)
        batch = Batch(as_values(model.event, batch.x), batch.context, batch.mask)
        orders = jax.vmap(model.orders.draw)(jax.random.split(order_key, len(batch)))
        log_prob_B, sites_B = k_step_log_prob(model, params, batch, orders, sizes)
        return log_prob_B, sites_B, weight_B

    found, key = [], jax.random.key(seed)
    for i, batch in enumerate(eval_batches(dataset.splits[split], batch_size)):
        found.append([np.asarray(a, np.float64) for a in score(model, params, batch, jax.random.fold_in(key, i))])
        found[-1][0] -= _log_scale(dataset, batch)
    log_prob_N, sites_N, weight_N = (np.concatenate(parts) for parts in zip(*found, strict=True))
    nats_N = -log_prob_N[(weight_N > 0) & (sites_N > 0)]
    stderr = nats_N.std(ddof=1) / math.sqrt(len(nats_N)) if len(nats_N) > 1 else 0.0
    return {"k_step_bound_nats": float(nats_N.mean()), "k_step_bound_stderr": float(stderr), "k_steps": len(sizes)}


def _log_scale(dataset: Dataset, batch: Batch) -> np.ndarray | float:
    """What the units of standardised data add to the nats of each example."""
    log_scale_D = np.asarray(dataset.log_scale_D, np.float64)
    if batch.mask is None:
        return float(np.broadcast_to(log_scale_D, dataset.event.num_sites).sum())
    counted_BD = np.asarray(batch.mask).reshape(len(batch), -1) > 0
    return np.where(counted_BD, log_scale_D, 0.0).sum(-1)
