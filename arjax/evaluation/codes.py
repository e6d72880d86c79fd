"""The use of a codebook over a whole split: how many codes occur, and how evenly."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from arjax.core.batch import Batch
from arjax.core.errors import UserError
from arjax.data import Dataset
from arjax.evaluation.splits import SplitScorer, split_of
from arjax.evaluation.summaries import CODES, code_counts
from arjax.models import Model

Rows = dict[str, jax.Array]


def code_rows(model: Model, params: Any, batch: Batch) -> Rows:
    """The numbers of the codes of each example, `codes/K` [T, B]; nothing for models without a codebook."""
    found = model.code_numbers(params, batch)
    return {} if found is None else {f"{CODES}{found[1]}": found[0].T}


def codes_in_use(
    model: Model, params: Any, dataset: Dataset, split: str, batch_size: int = 128, mesh: Mesh | None = None
) -> np.ndarray:
    """How often a split uses each code, int64[K].

    Raises:
      UserError: a model without a codebook, or no such split.
    """
    scorer = SplitScorer(_score, dataset, batch_size, mesh, jax.random.key(0))
    total: Any = 0
    for rows in scorer.batches((model, params), split_of(dataset, split)):
        counts = [code_counts(name, numbers) for name, numbers in rows.items() if name.startswith(CODES)]
        if not counts:
            raise UserError(f"{type(model).__name__} has no codes whose use could be counted")
        total = total + counts[0]
    return total


def _score(params: tuple[Model, Any], batch: Batch, key: jax.Array, log_scale_D: jax.Array) -> dict[str, jax.Array]:
    model, params = params
    return dict(code_rows(model, params, batch)) or {
        "nothing": log_scale_D.sum() + batch.x.reshape(len(batch), -1)[:, 0]
    }
