"""A trained model as the subject of an audit: its functions of numpy arrays."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from typing import Any

import jax
import numpy as np

from arjax.core.arrays import up_to_end
from arjax.core.scores import EXACT
from arjax.data.sources import SPLITS, read_all
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
    model, dataset, end, claim = run.model, run.dataset, run.dataset.end, run.score_kind()
    split = next((name for name in reversed(SPLITS) if name in dataset.splits), "")
    rows = spread_rows(dataset, split, MOST, jax.random.key(0)) if split else None
    one = {name: np.zeros(part.shape, part.dtype) for name, part in model.context_spec.parts}
    context = (one if rows is None else jax.tree.map(lambda part: np.asarray(part)[0], dict(rows.context))) or None
    seeds = itertools.repeat(run.settings.seed) if claim == EXACT else itertools.count(run.settings.seed)

    def log_prob(x: np.ndarray) -> np.ndarray:
        scoring = dataclasses.replace(run.settings.scoring, seed=next(seeds), batch_size=BATCH)  # each call draws anew
        evaluator = Evaluator(model, dataclasses.replace(dataset, transform=None), scoring)
        mask = None if end is None else up_to_end(x, end)
        nll = evaluator.rows_of(run.params, run.source(x, context, mask).examples)["nll"]
        return dataset.log_scale_D.sum() - nll

    def sample(num: int, seed: int) -> np.ndarray:
        return run.sample(num, seed=seed, context=context)

    functions: dict[str, Any] = {"log_prob": log_prob, "sample": sample}
    if model.orders is not None and model.orders.has_all:
        functions["in_order"] = lambda x, k: run.log_prob(x, ordering=f"random(seed={k[0]})", context=context)
    one_order = "conditionals" in model.traits and model.orders is None and model.event.is_discrete and claim == EXACT
    if one_order and model.conditional.has_table and not model.conditional.joint:
        order = np.asarray(model.factorization.order)[:, None] * model.event.value_size
        functions["order"] = steps = (order + np.arange(model.event.value_size)).ravel()

        @functools.lru_cache(maxsize=4)  # one pass has the tables of all steps
        def tables(data: bytes) -> np.ndarray:
            x = np.frombuffer(data, model.event.dtype).reshape(-1, *model.event.shape)
            return run.conditionals(x, context=context).probabilities.reshape(len(x), model.event.num_dims, -1)

        functions["conditionals"] = lambda x, t: tables(x.astype(model.event.dtype).tobytes())[:, steps[t]]
    if rows is not None and model.event.columns == () and not rows.context:
        functions["data"] = np.asarray(rows.x)
    if split and dataset.truth is not None and dataset.transform is None and not context:
        functions["data"] = np.asarray(read_all(dataset.splits[split]).x)
        functions["truth"] = truth_rows(dataset, split, run.settings.scoring)["truth"]
    return Subject(model.event, claim=claim, end=end, batch_size=BATCH, name=repr(run), **functions)
