"""A trained model as the subject of an audit: its functions of numpy arrays."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import numpy as np

from arjax.core.arrays import up_to_end
from arjax.core.scores import EXACT
from arjax.data.sources import read_all
from arjax.evaluation.likelihood import Evaluator
from arjax.evaluation.report import truth_rows
from arjax.evaluation.splits import spread_rows
from arjax.models.checks import check_likelihood
from arjax.testing.auditing import Subject

#: Examples of a split that are taken as data, and examples in a call.
MOST, BATCH = 1024, 64


def subject_of(run: Any) -> Subject:
    """Returns the functions of a trained model given one context, in the units that the model sees: its scores, those
    of conditionals with tables in one order, and its samples. The data are those of the last split.
    """
    check_likelihood(run.model, "an audit")
    model, dataset = run.model, run.dataset
    split = next((name for name in ("test", "validation", "train") if name in dataset.splits), "")
    rows = spread_rows(dataset, split, MOST, jax.random.key(0)) if split else None
    one = {name: np.zeros(part.shape, part.dtype) for name, part in model.context_spec.parts}
    context = jax.tree.map(lambda part: np.asarray(part)[0], dict(rows.context)) if rows is not None else one
    claim, end = run.score_kind(), dataset.end
    calls = 0

    def log_prob(x: np.ndarray) -> np.ndarray:
        nonlocal calls
        calls += claim != EXACT  # the noise of another call is other noise
        scoring = dataclasses.replace(run.settings.scoring, seed=run.settings.seed + calls, batch_size=BATCH)
        evaluator = Evaluator(model, dataclasses.replace(dataset, transform=None), scoring)
        mask = None if end is None else up_to_end(x, end)
        nll = evaluator.rows_of(run.params, run.source(x, context or None, mask).examples)["nll"]
        return dataset.log_scale_D.sum() - nll

    def sample(num: int, seed: int) -> np.ndarray:
        return run.sample(num, seed=seed, context=context or None)

    functions: dict[str, Any] = {"log_prob": log_prob, "sample": sample}
    if _has_tables(model) and claim == EXACT:
        order = np.asarray(model.factorization.order)[:, None] * model.event.value_size
        functions["order"] = steps = (order + np.arange(model.event.value_size)).ravel()

        kept: dict[bytes, np.ndarray] = {}  # one pass has the tables of all steps

        def conditionals(x: np.ndarray, t: int) -> np.ndarray:
            if (key := x.tobytes()) not in kept:
                while len(kept) > 3:
                    kept.pop(next(iter(kept)))
                kept[key] = run.conditionals(x, context=context or None).probabilities
            return kept[key].reshape(len(x), model.event.num_dims, -1)[:, steps[t]]

        functions["conditionals"] = conditionals
    if rows is not None and model.event.columns == () and not rows.context:
        functions["data"] = np.asarray(rows.x)
    if split and dataset.truth is not None and dataset.transform is None and not context:
        functions["data"] = np.asarray(read_all(dataset.splits[split]).x)
        functions["truth"] = truth_rows(dataset, split, run.settings.scoring)["truth"]
    return Subject(model.event, claim=claim, end=end, batch_size=BATCH, name=repr(run), **functions)


def _has_tables(model: Any) -> bool:
    """Whether each scalar has a table of probabilities, in one order."""
    if "conditionals" not in model.traits or model.orders is not None or not model.event.is_discrete:
        return False
    return bool(model.conditional.has_table and not model.conditional.joint)
