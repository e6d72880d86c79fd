"""Uncertainty of a model along its order: entropy and measured -log p of each step."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from arjax.core.batch import Batch
from arjax.core.errors import UserError
from arjax.data import Dataset
from arjax.data.ahead import read_ahead
from arjax.data.batches import eval_batches
from arjax.models import AutoregressiveModel


@dataclasses.dataclass(frozen=True)
class StepEntropy:
    """Means over the examples of a split, in nats; nan for a step (or site) that no example has.

    Attributes:
      entropy: float64[S], mean of H[p(x_t | x_<t)], summed over the sites of step t.
      entropy_stderr: float64[S], its standard error.
      nll: float64[S], mean of -log p(x_t | x_<t) of the data. The sum over steps of `nll - entropy` is the excess over
        the model's own expectation: far above 0, the model is overconfident.
      nll_stderr: float64[S], its standard error.
      entropy_over_grid: float64[*grid], mean entropy of each site.
      num_examples: number of examples.
    """

    entropy: np.ndarray
    entropy_stderr: np.ndarray
    nll: np.ndarray
    nll_stderr: np.ndarray
    entropy_over_grid: np.ndarray
    num_examples: int


def step_entropy(
    model: AutoregressiveModel,
    params: Any,
    dataset: Dataset,
    split: str = "test",
    batch_size: int = 128,
    max_examples: int = 0,
) -> StepEntropy:
    """Averages the entropy of the model's conditionals, given prefixes of the data, over a split.

    Args:
      model: the model, with its own order.
      params: its parameters.
      dataset: the source of the prefixes.
      split: "train", "validation" or "test".
      batch_size: B, examples scored at once; the memory that is needed grows with it.
      max_examples: only the first examples, 0: all.

    Raises:
      UserError: the data set has no such split.
    """
    if split not in dataset.splits:
        raise UserError(f"data set {dataset.name!r} has no split {split!r} (it has: {', '.join(dataset.splits)})")
    source = dataset.splits[split]
    num = min(len(source), max_examples or len(source))
    sums: dict[str, np.ndarray] = {}
    batches = itertools.islice(eval_batches(source, batch_size), -(-num // batch_size))
    with contextlib.closing(read_ahead(batches)) as coming:
        for i, batch in enumerate(coming):
            rows = i * batch_size + np.arange(batch_size)
            batch = batch.replace(weight=batch.weight * (rows < num))
            if dataset.transform is not None:
                batch = dataset.transform(jax.random.fold_in(jax.random.key(0), i), batch, False)
            for name, value in _sums(model, params, batch, dataset.log_scale_D).items():
                sums[name] = np.asarray(value, np.float64) + sums.get(name, 0.0)
    return _means(sums, model.event.grid_shape)


@jax.jit
def _sums(model: AutoregressiveModel, params: Any, batch: Batch, log_scale_D: jax.Array) -> dict[str, jax.Array]:
    """Sums over a batch; `log_scale_D` makes densities those of the data's own units."""
    factorization = model.factorization
    per_site = model.conditionals(params, batch.x, context=batch.context)
    log_prob, entropy = (values.reshape(values.shape[0], -1) for values in per_site)
    counted_BD = jnp.broadcast_to(batch.weight[:, None], log_prob.shape)
    if batch.mask is not None:
        counted_BD = counted_BD * batch.mask.reshape(log_prob.shape)
    entropy_BD, nll_BD = (jnp.where(counted_BD > 0, v + log_scale_D, 0.0) for v in (entropy, -log_prob))
    per_step = partial(jax.ops.segment_sum, segment_ids=factorization.step, num_segments=factorization.num_steps)
    entropy_SB, nll_SB, counted_SB = (per_step(v.T) for v in (entropy_BD, nll_BD, counted_BD))
    return {
        "examples": batch.weight.sum(),
        "count": (counted_SB > 0).sum(1),
        "entropy": entropy_SB.sum(1),
        "entropy_squared": jnp.square(entropy_SB).sum(1),
        "nll": nll_SB.sum(1),
        "nll_squared": jnp.square(nll_SB).sum(1),
        "site_count": counted_BD.sum(0),
        "site_entropy": entropy_BD.sum(0),
    }


def _means(sums: dict[str, np.ndarray], grid_shape: tuple[int, ...]) -> StepEntropy:
    with np.errstate(invalid="ignore", divide="ignore"):  # 0/0 is nan: a step without data
        count = sums["count"]

        def mean_and_stderr(name: str) -> tuple[np.ndarray, np.ndarray]:
            mean = sums[name] / count
            variance = np.maximum(sums[f"{name}_squared"] / count - mean**2, 0.0)
            return mean, np.sqrt(variance / np.maximum(count - 1, 1))

        entropy, entropy_stderr = mean_and_stderr("entropy")
        nll, nll_stderr = mean_and_stderr("nll")
        over_grid = (sums["site_entropy"] / sums["site_count"]).reshape(grid_shape)
    return StepEntropy(entropy, entropy_stderr, nll, nll_stderr, over_grid, int(sums["examples"]))
