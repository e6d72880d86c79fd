"""Samplers: algorithms that turn conditionals into samples."""

from arjax.samplers.base import SAMPLERS, Draw, Resources, Sampler, example_keys, make_sampler
from arjax.samplers.beam import Beam
from arjax.samplers.best import Best
from arjax.samplers.cached import Cached
from arjax.samplers.fixed_point import FixedPoint
from arjax.samplers.greedy import Greedy
from arjax.samplers.naive import Naive
from arjax.samplers.options import PLAIN_DRAW, DrawOptions
from arjax.samplers.parallel import Parallel
from arjax.samplers.speculative import Speculative

__all__ = [
    "PLAIN_DRAW",
    "SAMPLERS",
    "Beam",
    "Best",
    "Cached",
    "Draw",
    "DrawOptions",
    "FixedPoint",
    "Greedy",
    "Naive",
    "Parallel",
    "Resources",
    "Sampler",
    "Speculative",
    "example_keys",
    "make_sampler",
]
