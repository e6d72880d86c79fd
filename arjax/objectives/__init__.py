"""Objectives: the losses that training minimises."""

from arjax.objectives import (  # noqa: F401  (they register themselves)
    as_is,
    denoising,
    input_noise,
    latent,
    learned_order,
    order_agnostic,
    rollout,
    scheduled_sampling,
    teacher_forcing,
    weighted,
)
from arjax.objectives.base import (
    OBJECTIVES,
    TRUTH,
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
    "TRUTH",
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
