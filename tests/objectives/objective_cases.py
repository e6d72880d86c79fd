"""The loss of an objective as a function of parameters, batch and key."""

import dataclasses
from typing import Any

import jax

from arjax.objectives import Objective, Step, make_objective


def loss_and_sums(objective: Objective | str, model, params, batch, key) -> tuple[jax.Array, dict[str, Any]]:
    """The loss, and the sums that are reported: `nll`, `examples`, `sites`, `dims`."""
    objective = make_objective(objective) if isinstance(objective, str) else objective
    own = objective.init(model, jax.random.key(7))
    loss = objective.loss(model, params, own, batch, Step(key))
    return loss.value, {field.name: getattr(loss.metrics, field.name) for field in dataclasses.fields(loss.metrics)[:4]}
