"""The options of a draw as one value."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax

from arjax.conditionals.temperature import as_temperature
from arjax.core.options import check_names, opt


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class DrawOptions:
    """What is drawn, beside the keys and the sampler: made once by the short forms of a draw, and passed whole.

    A pytree, whose arrays and numbers may differ between calls of one compiled program.

    Attributes:
      given: values to clamp, [*grid, *value] or [B, *grid, *value]. Those of one shape for all, under one context, are
        read once where they are a prompt: the first steps of the order.
      observed: bool[*grid], the sites where `given` counts. The rest is drawn from its exact conditional distribution,
        which needs an order of the model with every observed site before (or in the same step as) every other; a model
        trained under all orders has one for any set of sites. Within a step, a `nested` conditional has to visit the
        observed sites first, too. It is the order in which `conditional_log_prob` scores the rest given these sites.
      context: int[B] or float[B, size], or one for all: int[] or float[size]; of several parts a dict.
      temperature: divides the logits, up to 1e20; 1 is the model's own distribution, and tiny ones draw the most
        probable value of each step.
      top_k, top_p, min_p: draw only from the most probable values of each scalar, see `arjax.conditionals.truncate`.
      end: of sequences of tokens, the one that ends an example: behind it all is `end` again, and the values up to it
        are those without this option. `cached` stops when all examples have ended; kinds of models that draw whole
        examples are filled up behind the first end.
    """

    given: Any = None
    observed: Any = None
    context: Any = None
    temperature: Any = 1.0
    top_k: int = opt(0)
    top_p: float = opt(1.0)
    min_p: float = opt(0.0)
    end: Any = None

    @classmethod
    def of(cls, options: Mapping[str, Any], others: frozenset[str] = frozenset()) -> tuple[DrawOptions, dict[str, Any]]:
        """The value of keyword arguments of a draw, and those of the names `others`; raises `UserError` for others."""
        known = {field.name for field in dataclasses.fields(cls)}
        check_names("draw", options, known | others | {"sampler", "place"})
        more = {name: value for name, value in options.items() if name in others}
        return cls(**{name: value for name, value in options.items() if name in known}), more

    def used(self) -> list[str]:
        """The names of the options that have an effect."""
        defaults = {field.name: field.default for field in dataclasses.fields(self)}
        values = {name: getattr(self, name) for name in defaults}
        return [name for name, off in defaults.items() if values[name] is not off and not _equals(values[name], off)]

    def resolved(self, **changes: Any) -> DrawOptions:
        """The options of a draw that a model has checked: the temperature in the range of float32, and no others but
        `observed` (bool[D], or None), `context` (its parts, or None) and `end`.
        """
        kept = {"context": self.context, "end": self.end, "temperature": as_temperature(self.temperature)}
        return DrawOptions(**kept | changes)


def _equals(value: Any, off: Any) -> bool:
    return off is not None and not isinstance(value, jax.Array) and value == off


#: A draw without any option.
PLAIN_DRAW = DrawOptions()
