"""Samplers: algorithms that turn conditionals into samples."""

from arjax.samplers.base import SAMPLERS, Draw, Resources, Sampler, example_keys, make_sampler
from arjax.samplers.cached import Cached
from arjax.samplers.naive import Naive
from arjax.samplers.parallel import Parallel

__all__ = ["SAMPLERS", "Cached", "Draw", "Naive", "Parallel", "Resources", "Sampler", "example_keys", "make_sampler"]
