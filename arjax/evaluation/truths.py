"""The score of a model beside that of the distribution that its data were drawn from."""

from __future__ import annotations

from typing import Any

import numpy as np
from jax.sharding import Mesh

from arjax.data import Dataset
from arjax.data.base import Truth
from arjax.evaluation.errors import stderr_of
from arjax.evaluation.likelihood import Evaluator
from arjax.models import Model

#: The names of the scores.
OF_TRUTH = ("truth_nll_nats", "truth_nll_stderr", "excess_nats", "excess_stderr")


def truth_scores(
    model: Model,
    params: Any,
    truth: Truth,
    dataset: Dataset,
    split: str,
    *,
    batch_size: int,
    seed: int = 0,
    mesh: Mesh | None = None,
) -> dict[str, float]:
    """The nats of a split under its truth, which no model can be expected to undercut, and those of a model above them.

    Args:
      model: the model.
      params: its parameters.
      truth: the distribution of the data, with its parameters where those of the model are.
      dataset: has the split.
      split: "train", "validation" or "test".
      batch_size: rows per batch.
      seed: of scores that are drawn.
      mesh: as of `Evaluator`.

    Returns:
      `truth_nll_nats`, `truth_nll_stderr`; `excess_nats`, the mean difference over the examples, an estimate of
      KL(truth || model), and `excess_stderr`, that of the differences.
    """
    more = {"batch_size": batch_size, "seed": seed, "mesh": mesh}
    own_N = example_nats(model, params, dataset, split, **more)
    return beside_truth(own_N, example_nats(truth.model, truth.params, dataset, split, **more))


def example_nats(
    model: Model, params: Any, dataset: Dataset, split: str, *, batch_size: int, seed: int = 0, mesh: Mesh | None = None
) -> np.ndarray:
    """The nats of each example of a split with a scored site, float[N]; arguments as of `truth_scores`."""
    rows = Evaluator(model, dataset, batch_size, mesh, seed).rows(params, split)
    return rows["nll"][rows["sites"] > 0]


def beside_truth(own_N: np.ndarray, truth_N: np.ndarray) -> dict[str, float]:
    """The scores of `truth_scores`, of the nats of the same examples under a model and under the truth."""
    means = [float(value) for rows in (truth_N, own_N - truth_N) for value in (rows.mean(), stderr_of(rows))]
    return dict(zip(OF_TRUTH, means, strict=True))
