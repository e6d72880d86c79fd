"""The score of a model beside that of the distribution that its data were drawn from."""

from __future__ import annotations

from typing import Any

from jax.sharding import Mesh

from arjax.data import Dataset
from arjax.data.base import Truth
from arjax.evaluation.exposure import stderr_of
from arjax.evaluation.likelihood import Evaluator
from arjax.models import Model


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
    rows = [
        Evaluator(each, dataset, batch_size, mesh, seed).rows(own, split)
        for each, own in ((model, params), (truth.model, truth.params))
    ]
    own_N, truth_N = (each["nll"][each["sites"] > 0] for each in rows)
    return {
        "truth_nll_nats": float(truth_N.mean()),
        "truth_nll_stderr": float(stderr_of(truth_N)),
        "excess_nats": float((own_N - truth_N).mean()),
        "excess_stderr": float(stderr_of(own_N - truth_N)),
    }
