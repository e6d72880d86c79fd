"""Samplers: algorithms that turn conditionals into samples."""

from arjax.samplers import cached, naive  # noqa: F401  (registers them)
from arjax.samplers.base import SAMPLERS

__all__ = ["SAMPLERS"]
