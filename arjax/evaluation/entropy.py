"""Uncertainty of a model along its order: entropy and measured -log p of each step."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from arjax.core.batch import Batch
from arjax.data import Dataset
from arjax.data.sources import Subset
from arjax.evaluation.splits import Rows, Scoring, SplitScorer, split_of
from arjax.models import AutoregressiveModel


@dataclasses.dataclass(frozen=True)
class StepEntropy:
    """Means over the examples of a split, in nats; nan for a step (or site) that no example has.

    Attributes:
      entropy, entropy_stderr: float64[S], mean of H[p(x_t | x_<t)], summed over the sites of step t.
      nll, nll_stderr: float64[S], mean of -log p(x_t | x_<t) of the data. The sum over steps of `nll - entropy` is the
        excess over the model's own expectation: far above 0, the model is overconfident.
      entropy_over_grid: float64[*grid], mean entropy of each site.
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
    scoring: Scoring = Scoring(),  # noqa: B008, frozen
    max_examples: int = 0,
) -> StepEntropy:
    """Averages the entropy of the conditionals, given prefixes of the data, over a split or its first examples."""
    scorer = SplitScorer(_score, dataset, dataclasses.replace(scoring, seed=0))
    source = split_of(dataset, split)
    if max_examples:
        source = Subset(source, np.arange(min(max_examples, len(source))))
    sums: dict[str, np.ndarray] = {}
    for rows in scorer.batches((model, params), source):
        for name, value in _sums(rows).items():
            sums[name] = value + sums.get(name, 0.0)
    return _means(sums, model.event.grid_shape)


def _score(params: Any, batch: Batch, key: jax.Array, log_scale_D: jax.Array) -> dict[str, jax.Array]:
    """Returns entropy, -log p and scored sites of each step, [S, B], and each site, [D, B], in units of the data."""
    model, params = params
    factorization = model.factorization
    per_site = model.conditionals(params, batch.x, context=batch.context, key=key)
    log_prob, entropy = (values.reshape(len(batch), -1) for values in per_site)
    counted_BD = jnp.ones_like(log_prob) if batch.mask is None else jnp.asarray(batch.mask).reshape(log_prob.shape)
    entropy_BD, nll_BD = (jnp.where(counted_BD > 0, v + log_scale_D, 0.0) for v in (entropy, -log_prob))
    per_step = partial(jax.ops.segment_sum, segment_ids=factorization.step, num_segments=factorization.num_steps)
    entropy_SB, nll_SB, counted_SB = (per_step(v.T) for v in (entropy_BD, nll_BD, counted_BD))
    by_step = {"entropy": entropy_SB, "nll": nll_SB, "counted": counted_SB}
    return by_step | {"site_entropy": entropy_BD.T, "site_counted": counted_BD.T}


def _sums(rows: Rows) -> dict[str, np.ndarray]:
    sums = {name: rows[name].sum(1) for name in ("entropy", "nll", "site_entropy", "site_counted")}
    sums |= {f"{name}_squared": np.square(rows[name]).sum(1) for name in ("entropy", "nll")}
    return sums | {"counted": (rows["counted"] > 0).sum(1), "examples": np.array(rows["nll"].shape[1])}


def _means(sums: dict[str, np.ndarray], grid_shape: tuple[int, ...]) -> StepEntropy:
    with np.errstate(invalid="ignore", divide="ignore"):  # 0/0 is nan: a step without data
        count = sums["counted"]

        def mean_and_stderr(name: str) -> tuple[np.ndarray, np.ndarray]:
            mean = sums[name] / count
            variance = np.maximum(sums[f"{name}_squared"] / count - mean**2, 0.0)
            return mean, np.sqrt(variance / np.maximum(count - 1, 1))

        entropy, entropy_stderr = mean_and_stderr("entropy")
        nll, nll_stderr = mean_and_stderr("nll")
        over_grid = (sums["site_entropy"] / sums["site_counted"]).reshape(grid_shape)
    return StepEntropy(entropy, entropy_stderr, nll, nll_stderr, over_grid, int(sums["examples"]))
