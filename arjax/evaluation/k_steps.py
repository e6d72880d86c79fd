"""The k-step bound: the nats of a model of all orders that draws several sites at once, in K rounds."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from arjax.core.batch import Batch
from arjax.core.errors import UserError
from arjax.data import Dataset
from arjax.evaluation.bounds import split_bound
from arjax.models import AutoregressiveModel
from arjax.samplers.parallel import MEASURED
from arjax.samplers.rounds import check_rounds, k_step_log_prob, measure_losses
from arjax.samplers.schedules import check_rounds_fit, check_schedule, make_sizes


def round_sizes(
    model: AutoregressiveModel, params: Any, dataset: Dataset, steps: int, schedule: str
) -> tuple[int, ...]:
    """The sizes of so many rounds, as those of the sampler `parallel(steps=..., schedule=...)`.

    Raises:
      UserError: a model without the bound or with fewer steps, an unknown schedule, or "optimal" without a validation
        split.
    """
    check_schedule("config.evaluate", steps, schedule)
    check_rounds(model, "the k-step bound")
    check_rounds_fit("config.evaluate.steps", steps, model.factorization.num_steps)
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
    rest = {"batch_size": batch_size, "seed": seed}
    mean, stderr = split_bound(model, params, dataset, split, _k_step_bound, tuple(sizes), **rest)
    return {"k_step_bound_nats": mean, "k_step_bound_stderr": stderr, "k_steps": len(sizes)}


def _k_step_bound(
    model: AutoregressiveModel, params: Any, batch: Batch, key: jax.Array, sizes: tuple[int, ...]
) -> tuple[jax.Array, jax.Array]:
    orders = jax.vmap(model.orders.draw)(jax.random.split(key, len(batch)))
    return k_step_log_prob(model, params, batch, orders, sizes)
