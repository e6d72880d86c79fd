"""Greedy decoding: the most probable value of each step."""

from __future__ import annotations

import copy
import dataclasses
from typing import ClassVar

import jax

from arjax.conditionals.modes import Modes
from arjax.samplers.base import SAMPLERS
from arjax.samplers.cached import Cached


@SAMPLERS.register("greedy")
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Greedy(Cached):
    """The most probable value of each step, given those before; of a joint conditional a probable block.

    One sequence for all keys and temperatures, no draw from the model. Its probability may be far below that of the
    most probable sequence, which `beam` looks for. Real values are the modes of their densities.

    Options: those of `cached`.
    """

    exact: ClassVar[bool] = False
    WARMS: ClassVar[bool] = False

    def draw(self, model, params, steps, canvas, context):
        steps = copy.copy(steps)
        steps.head = Modes(steps.head)
        return super().draw(model, params, steps, canvas, context)
