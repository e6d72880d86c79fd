"""Objectives: what training minimises."""

from arjax.objectives.base import OBJECTIVES, count
from arjax.objectives import teacher_forcing  # noqa: F401  (registers it)

__all__ = ["OBJECTIVES", "count"]
