"""Samplers: algorithms that turn conditionals into samples."""

from arjax.samplers.base import SAMPLERS, Draw, Sampler, example_keys, make_sampler
from arjax.samplers.cached import Cached
from arjax.samplers.naive import Naive

__all__ = ["SAMPLERS", "Cached", "Draw", "Naive", "Sampler", "example_keys", "make_sampler"]
