"""Samplers: algorithms that draw examples from a model.

The noise of example b in step t is a function of `keys[b]` and t alone. A sample therefore depends neither on the
number of samples that are drawn together nor on the mesh. Exact samplers draw the same values from the same keys,
except `speculative(coupling='rejection')`: it draws other values of the same distribution.

- `naive` is the definition: a parallel pass for each step. `cached` uses the step form of the network.
- `fixed_point` and `speculative` read several steps in one call and keep the first steps that are right. Their guesses
  are the values of the previous call, or the proposals of a draft (`drafts`), which does not see how they are judged.
- `parallel` draws the sites of several steps at once from `ChunkedNetwork.ahead`, an approximation.
- `greedy`, `beam` and `best` search for probable values.
"""

from arjax.samplers import beam, best, fixed_point, parallel  # noqa: F401  (they register themselves)
from arjax.samplers.base import OWN_NUMBERS, SAMPLERS, Draw, Resources, Sampler, Steps, example_keys, make_sampler
from arjax.samplers.cached import Cached
from arjax.samplers.loops import StepForm
from arjax.samplers.request import PLAIN_DRAW, Request
from arjax.samplers.speculative import Speculative

__all__ = [
    "OWN_NUMBERS",
    "PLAIN_DRAW",
    "SAMPLERS",
    "Cached",
    "Draw",
    "Request",
    "Resources",
    "Sampler",
    "Speculative",
    "StepForm",
    "Steps",
    "example_keys",
    "make_sampler",
]
