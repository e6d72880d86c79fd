"""Objectives: what training minimises."""

from arjax.objectives import order_agnostic, teacher_forcing  # noqa: F401  (they register themselves)
from arjax.objectives.base import OBJECTIVES, count, loss_and_sums, make_objective

__all__ = ["OBJECTIVES", "count", "loss_and_sums", "make_objective"]
