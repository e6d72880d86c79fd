"""Samplers: algorithms that turn conditionals into samples."""

from arjax.samplers.base import SAMPLERS, draw
from arjax.samplers import cached, naive  # noqa: F401  (registers them)

__all__ = ["SAMPLERS", "draw"]
