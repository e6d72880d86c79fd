"""Objectives: the losses that training minimises.

Objectives on prefixes that differ from the data (`input_noise`, `scheduled_sampling`, `rollout`, `as_is`) have two
parts. The first part makes the inputs, the values of the prefixes, without a gradient. The second part is one
parallel pass that scores the data given these inputs, `model.per_site(site_log_prob, params, batch, inputs=inputs)`. It
computes the features of the step form, so the gradient is that of the recursion with these inputs.
"""

from arjax.objectives import as_is, bounds, likelihood, prefixes, rollout, tokens, weighted  # noqa: F401  (register)
from arjax.objectives.base import (
    OBJECTIVES,
    TRUTH,
    Companion,
    Companions,
    Loss,
    Mean,
    Metrics,
    Objective,
    ObjectiveState,
    Step,
    count,
    likelihood_loss,
    make_objective,
    weighted_sum,
)

__all__ = [
    "OBJECTIVES",
    "TRUTH",
    "Companion",
    "Companions",
    "Loss",
    "Mean",
    "Metrics",
    "Objective",
    "ObjectiveState",
    "Step",
    "count",
    "likelihood_loss",
    "make_objective",
    "weighted_sum",
]
