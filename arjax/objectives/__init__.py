"""Objectives: the losses that training minimises."""

from arjax.objectives import (  # noqa: F401  (they register themselves)
    denoising,
    latent,
    learned_order,
    order_agnostic,
    teacher_forcing,
)
from arjax.objectives.base import (
    OBJECTIVES,
    Companion,
    Companions,
    Loss,
    Objective,
    Own,
    Step,
    count,
    likelihood_loss,
    make_objective,
)
from arjax.objectives.metrics import Mean, Metrics

__all__ = [
    "OBJECTIVES",
    "Companion",
    "Companions",
    "Loss",
    "Mean",
    "Metrics",
    "Objective",
    "Own",
    "Step",
    "count",
    "likelihood_loss",
    "make_objective",
]
