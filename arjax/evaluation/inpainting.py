"""Filling in what is hidden: completions of half-observed examples, and what the truth costs given what is seen."""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from arjax.data import Dataset
from arjax.data.batches import eval_batches
from arjax.errors import UserError
from arjax.models import AutoregressiveModel
from arjax.models.queries import evidence_first

#: Parts of an image that can be hidden: the axis that is cut in the middle, and whether the part begins there.
HALVES = {"top": (0, False), "bottom": (0, True), "left": (1, False), "right": (1, True)}


@dataclasses.dataclass(frozen=True)
class Completions:
    """N examples, each completed in K ways.

    Attributes:
      truth: [N, *grid, *value].
      hidden: bool[*grid], the sites that were drawn.
      drawn: [N, K, *grid, *value]; what is not hidden is that of the truth.
      log_prob: log p(hidden | visible) of each completion, float[N, K], in nats.
      log_prob_truth: the same of the truth, [N].
    """

    truth: np.ndarray
    hidden: np.ndarray
    drawn: np.ndarray
    log_prob: np.ndarray
    log_prob_truth: np.ndarray


def half(grid_shape: tuple[int, ...], name: str) -> np.ndarray:
    """The sites of one half of an image, bool[*grid]; raises `UserError` for an unknown half, or no plane."""
    if name not in HALVES:
        raise UserError(f"the hidden half must be one of {', '.join(HALVES)}, not {name!r}")
    if len(grid_shape) != 2:
        raise UserError(f"a grid of {len(grid_shape)} axes has no {name} half: this is for images")
    axis, second = HALVES[name]
    middle = grid_shape[axis] // 2
    index = np.arange(grid_shape[axis]) >= middle
    member = index if second else ~index
    if not member.any():
        raise UserError(f"a grid of {grid_shape} has no {name} half")
    return np.broadcast_to(member[:, None] if axis == 0 else member[None, :], grid_shape).copy()


def complete(
    model: AutoregressiveModel, params: Any, x: np.ndarray, hidden: np.ndarray, num: int, key: jax.Array
) -> Completions:
    """Draws the hidden sites of N examples in `num` ways each, from their exact conditional distribution.

    Args:
      model: has no context.
      params: its parameters.
      x: [N, *grid, *value].
      hidden: bool[*grid].
      num: K.
      key: of the draws.

    Raises:
      UserError: no order of the model has the visible sites first, or it needs a context.
    """
    if model.context_spec.kind != "none":
        raise UserError("completions of models with a context are not drawn by this function: use model.sample")
    evidence_first(model, ~hidden, hidden)  # what cannot be scored is not drawn
    given = np.repeat(np.asarray(x), num, axis=0)
    drawn = model.sample(params, key, len(given), given=given, observed=~hidden)
    score = functools.partial(model.conditional_log_prob, query=hidden, evidence=~hidden)
    log_prob = np.asarray(score(params, drawn)).reshape(len(x), num)
    truth = np.asarray(score(params, jnp.asarray(x)))
    return Completions(np.asarray(x), hidden, np.asarray(drawn).reshape(len(x), num, *x.shape[1:]), log_prob, truth)


def score_hidden(
    model: AutoregressiveModel,
    params: Any,
    dataset: Dataset,
    split: str,
    hidden: np.ndarray,
    visible: np.ndarray,
    batch_size: int,
) -> dict[str, float]:
    """The exact cost of the hidden sites given the visible ones, over a whole split.

    Returns:
      `nll_nats` per example, its `nll_stderr`, `bits_per_dim` over the hidden scalars, and `num_examples`.

    Raises:
      UserError: no order of the model has the visible sites first and the hidden ones second, or no such split.
    """
    if split not in dataset.splits:
        raise UserError(f"data set {dataset.name!r} has no {split} split")
    score = jax.jit(functools.partial(model.conditional_log_prob, query=hidden, evidence=visible))
    parts = []
    for i, batch in enumerate(eval_batches(dataset.splits[split], batch_size)):
        keep = batch.pop("weight") > 0
        if dataset.transform is not None:
            batch = dataset.transform(jax.random.fold_in(jax.random.key(0), i), batch, False)
        parts.append(-np.asarray(score(params, batch["x"], context=batch.get("context")), np.float64)[keep])
    nll = np.concatenate(parts)
    return {
        "nll_nats": float(nll.mean()),
        "nll_stderr": float(nll.std(ddof=1) / math.sqrt(len(nll))) if len(nll) > 1 else 0.0,
        "bits_per_dim": float(nll.mean() / hidden.sum() / model.event.value_size / math.log(2)),
        "num_examples": len(nll),
    }
