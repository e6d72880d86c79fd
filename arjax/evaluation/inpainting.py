"""Inpainting: completions of partly observed examples, and the likelihood of hidden sites given visible ones."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from arjax.core.arrays import as_sites
from arjax.core.batch import Batch
from arjax.core.errors import refuse
from arjax.data import Dataset
from arjax.evaluation.likelihood import Evaluator, HiddenSites
from arjax.evaluation.splits import Scoring
from arjax.models import AutoregressiveModel
from arjax.models.queries import evidence_first

#: Parts of an image that can be hidden: the axis that is cut in the middle, and whether the part begins there.
HALVES = {"top": (0, False), "bottom": (0, True), "left": (1, False), "right": (1, True)}


@dataclasses.dataclass(frozen=True)
class Completions:
    """N examples, each with K completions, and log p(hidden | visible) of both in nats."""

    truth: np.ndarray  # [N, *grid, *value]
    hidden: np.ndarray  # bool[*grid], the sites that were drawn
    drawn: np.ndarray  # [N, K, *grid, *value]; visible sites have the values of the truth
    log_prob: np.ndarray  # [N, K]
    log_prob_truth: np.ndarray  # [N]


def half_of_image(grid_shape: tuple[int, ...], name: str) -> np.ndarray:
    """The sites of one half of an image, bool[*grid]."""
    refuse(
        (name not in HALVES, f"the hidden half must be one of {', '.join(HALVES)}, not {name!r}"),
        (len(grid_shape) != 2, f"a grid of {len(grid_shape)} axes has no {name} half: this is for images"),
    )
    axis, second = HALVES[name]
    member = (np.indices(grid_shape)[axis] >= grid_shape[axis] // 2) == second
    refuse((not member.any(), f"a grid of {grid_shape} has no {name} half"))
    return member


def completions_of(
    model: AutoregressiveModel, params: Any, batch: Batch, hidden: np.ndarray, num: int, key: jax.Array
) -> Completions:
    """Draws the hidden sites of N examples `num` times each, from their exact conditional distribution."""
    x = np.asarray(batch.x)
    hidden = as_sites(model.event, hidden, "hidden")
    evidence_first(model, ~hidden, hidden)  # refuses a query that cannot be scored
    each = jax.tree.map(lambda array: np.repeat(np.asarray(array), num, axis=0), batch)
    drawn = model.sample(params, key, len(each), given=each.x, observed=~hidden, context=each.context)
    score = _scorer(model, HiddenSites(hidden, ~hidden))
    log_prob = np.asarray(score(params, drawn, each.context)).reshape(len(x), num)
    truth = np.asarray(score(params, x, batch.context))
    return Completions(x, hidden, np.asarray(drawn).reshape(len(x), num, *x.shape[1:]), log_prob, truth)


@functools.lru_cache(maxsize=16)
def _scorer(model: AutoregressiveModel, query: HiddenSites) -> Callable[..., jax.Array]:
    """(params, x, context) -> log p(hidden | visible), float32[N]; one program for all calls."""

    def score(params: Any, x: jax.Array, context: Any) -> jax.Array:
        return model.conditional_log_prob(params, x, query=query.sites, evidence=query.visible, context=context)

    return jax.jit(score)


def score_hidden(
    model: AutoregressiveModel,
    params: Any,
    dataset: Dataset,
    split: str,
    hidden: np.ndarray,
    visible: np.ndarray,
    scoring: Scoring = Scoring(),  # noqa: B008, frozen
) -> dict[str, float]:
    """Returns the exact negative log-likelihood of the hidden sites given the visible ones over a split, in the units
    of the data, and in bits per hidden scalar. If every site is hidden, these are the scores of `Evaluator` in one
    order. Masked sites are neither scored nor counted.

    Args:
      hidden: bool[*grid], the sites that are scored.
      visible: bool[*grid], the sites that are observed; sites in neither set are marginalised.
    """
    query = HiddenSites(as_sites(model.event, hidden, "hidden"), as_sites(model.event, visible, "visible"))
    refuse((not query.sites.any(), "no site is hidden, so there is nothing to score"))
    return Evaluator(model, dataset, scoring, query)(params, split)
