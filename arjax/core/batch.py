"""Batches of examples, the input of a model, and their scores."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from arjax.core.arrays import Array
from arjax.core.errors import UserError, did_you_mean, nearest, refuse
from arjax.core.spec import ContextSpec


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Batch:
    """B examples with their contexts, masks and weights: a pytree of arrays with B as the first axis.

    Attributes:
      x: values [B, *grid, *value].
      context: the parts of the context by name, [B, ...] each; empty without a context.
      mask: [B, *grid] of 0 and 1, the sites that are scored, given the other sites before them; None: all. Models that
        mix whole examples, or have a latent for each, mix with the weights of an example without given sites.
      weight: [B] of 0 and 1, the examples that are scored; None: all.
      extra: other arrays [B, ...], which the transform of a data set reads and models do not.
    """

    x: Array
    context: Mapping[str, Array] = dataclasses.field(default_factory=dict)
    mask: Array | None = None
    weight: Array | None = None
    extra: Mapping[str, Array] = dataclasses.field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.x)

    def replace(self, **changes: Any) -> Batch:
        """Returns the same batch with other fields."""
        return dataclasses.replace(self, **changes)

    def take(self, rows: Any) -> Batch:
        """Returns the examples `rows` int[...], of arrays on the host or on a device."""
        return jax.tree.map(lambda array: array[rows], self)

    def scored(self, grid_shape: tuple[int, ...]) -> np.ndarray:
        """Returns which sites are scored, bool[B, *grid]; no site of an example of weight 0 is."""
        sites = np.ones((len(self), *grid_shape), bool) if self.mask is None else np.asarray(self.mask) > 0
        return sites if self.weight is None else (sites.T & (np.asarray(self.weight) > 0)).T


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Score:
    """The scores of a batch under a model.

    Attributes:
      log_prob: log p(x | c) of each example in nats, float32[B].
      kind: "exact", "bound" (at most the log-likelihood), "estimate", or "none": then `log_prob` is another number, the
        higher the better, such as minus an energy score.
      terms: the terms whose sum is -log_prob, by name, float32[B] nats each; empty where there is only one.
      state: the state of the model after this batch, besides its parameters; None for a model without one.
    """

    log_prob: jax.Array
    kind: str = dataclasses.field(default="exact", metadata={"static": True})
    terms: Mapping[str, jax.Array] = dataclasses.field(default_factory=dict)
    state: Any = None


def as_parts(spec: ContextSpec, context: Any) -> Mapping[str, Any]:
    """Returns the parts of a context by name; an array alone stands for a context of one part."""
    names, is_dict = [name for name, _ in spec.parts], isinstance(context, Mapping)
    is_missing = context is None or (is_dict and not context)
    refuse(
        (names and is_missing, f"this model needs a {' and a '.join(names)} context: give context="),
        (not names and not is_missing, "this model has no context, so none can be given"),
        (len(names) > 1 and not is_dict, f"this context has several parts: give a dict with {', '.join(names)}"),
    )
    if not names:
        return {}
    if not is_dict:
        return {names[0]: context}
    if sorted(context) != names:
        unknown = next((str(name) for name in context if name not in names), "")
        hint = f"; {unknown!r}{did_you_mean(unknown, names)}" if nearest(unknown, names) else ""
        raise UserError(f"the context needs the parts {', '.join(names)}, not {', '.join(map(str, context))}{hint}")
    return context
