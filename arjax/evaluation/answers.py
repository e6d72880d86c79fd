"""Errors of answers: of data sets whose scored sites are an answer to the others, the most probable value is judged."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from arjax.core.batch import Batch
from arjax.models import Model

#: The measures, functions of guesses and values [B, D, size of a value]: the mean over scored scalars is reported.
MEASURES = {
    "accuracy": lambda guess, value: (guess == value).astype(jnp.float32),
    "squared_error": lambda guess, value: jnp.square(guess - value),
}


def answers(model: Model, orders: Any, hidden: Any) -> bool:
    """Whether the scores of a model are those of conditionals with one most probable value for each site."""
    return "guesses" in model.abilities and orders is None and hidden is None


def answer_error(model: Model, params: Any, batch: Batch, measure: str) -> jax.Array:
    """The measure of each example, float32[B]: the mean over its scored sites, given the true values before each.

    The guess at a site is `model.guess`.
    """
    values = MEASURES[measure](model.guess(params, batch.x, batch.context), batch.x)
    by_site_BD = values.reshape(len(batch), model.event.num_sites, -1).mean(-1)
    counted_BD = jnp.ones_like(by_site_BD) if batch.mask is None else batch.mask.reshape(by_site_BD.shape) > 0
    return jnp.where(counted_BD, by_site_BD, 0).sum(-1) / jnp.maximum(counted_BD.sum(-1), 1)
