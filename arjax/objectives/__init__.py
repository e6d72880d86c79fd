"""Objectives: what training minimises."""

from arjax.objectives import teacher_forcing  # noqa: F401  (registers it)
from arjax.objectives.base import OBJECTIVES, count

__all__ = ["OBJECTIVES", "count"]
