"""The request of a draw: what is drawn, beside the keys and the sampler, as one value."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax

from arjax.conditionals.restricted import Truncation
from arjax.core.options import defaults, opt


@dataclasses.dataclass(frozen=True, kw_only=True)
class DrawOptions(Truncation):
    """The options of a draw that a config states, too."""

    temperature: float = opt(1.0, above=0, about="divides the logits")
    length: int = opt(0, about="sites of a sequence; 0: as many as in the data")


#: The fields of a request that users set; the others follow from them.
OPTIONS = ("given", "observed", "context", *defaults(DrawOptions), "end")


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Request(DrawOptions):
    """What is drawn, beside the keys and the sampler.

    `arjax.models.draws.checked_draw` makes it once of what a user writes, and it is passed whole down to the sampler. A
    pytree, whose arrays may differ between calls of one compiled program.

    Attributes:
      given: the values of observed sites, [*grid, *value] or [B, *grid, *value]; without `observed` the first sites of
        a sequence, [P, *value] or [B, P, *value]. When it is checked it is the canvas that the sampler fills, [B,
        *grid, *value], with 0 where nothing is observed. A prompt (the first steps of the order) that all examples
        share, under one context, is read once.
      observed: bool[*grid], the sites where `given` counts. The rest is drawn from its exact conditional distribution,
        which needs an order of the model with every observed site before (or in the same step as) every other; a model
        trained under all orders has one for any set of sites. Within a step, a `nested` conditional has to visit the
        observed sites first, too.
      context: int[B] or float[B, size], or one for all: int[] or float[size]; of several parts a dict. When it is
        checked, its parts [B, ...] by name, or None.
      temperature: divides the logits, up to 1e20; 1 is the distribution of the model, and tiny ones draw the most
        probable value of each step.
      top_k, top_p, min_p: draw only from the most probable values of each scalar, see `arjax.conditionals.restricted`.
      end: of sequences of tokens, the one that ends an example: behind it all is `end` again, and the values up to it
        are those without this option.
      length: sites of each sequence, see `arjax.models.longer`; 0: as many as the model was trained on.
      shared: whether all examples have the same given values and the same context.
      first: the number of step 0 in a longer sequence: the noise of step t is that of the keys and first + t.
      stop: the steps before it are requested; None: all. The values of other steps do not matter.
    """

    given: Any = None
    observed: Any = None
    context: Any = None
    temperature: Any = dataclasses.field(default=1.0, kw_only=True)  # an array, in one program for all temperatures
    end: Any = None
    shared: bool = opt(False)
    first: Any = 0
    stop: Any = None

    def used(self) -> list[str]:
        """Returns the names of the options that have an effect."""
        off = defaults(Request)
        return [name for name in OPTIONS if not _is(getattr(self, name), off[name])]


def _is(value: Any, off: Any) -> bool:
    return value is off or (off is not None and not isinstance(value, jax.Array) and value == off)


#: A draw without any option.
PLAIN_DRAW = Request()
