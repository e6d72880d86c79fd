"""Objectives: the losses that training minimises.

Objectives on prefixes that differ from the data (`input_noise`, `scheduled_sampling`, `rollout`, `as_is`) make the
values of the prefixes without a gradient. One parallel pass then scores the data given these inputs,
`model.per_site(site_log_prob, params, batch, inputs=inputs)`; its gradient is that of the recursion with these inputs.
"""

from arjax.objectives import as_is, bounds, free_energy, likelihood, prefixes, rollout, tokens, weighted  # noqa: F401  (register)
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
    make_objective,
)
from arjax.objectives.terms import count, likelihood_loss, weighted_sum

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
