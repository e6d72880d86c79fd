"""The use of a codebook over a whole split: how many codes occur, and how evenly."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from arjax.core.batch import Batch
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
    """How often a split uses each code of a model with a codebook, int64[K]; raises `UserError` as `split_of`."""
    scorer = SplitScorer(_score, dataset, batch_size, mesh, jax.random.key(0))
    batches = scorer.batches((model, params), split_of(dataset, split))
    return np.sum([code_counts(name, numbers) for rows in batches for name, numbers in rows.items()], axis=0)


def _score(params: tuple[Model, Any], batch: Batch, key: jax.Array, log_scale_D: jax.Array) -> Rows:
    model, params = params
    return code_rows(model, params, batch)
