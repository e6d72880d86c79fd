"""The model as its own draft: networks that predict from any set of observed sites propose several steps at once."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax

from arjax.conditionals.blocks import scores_blocks
from arjax.samplers.drafts.base import DRAFTS, Draft, Place, Proposal, Target, log_table


@DRAFTS.register("self")
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Ahead(Draft):
    """Proposes each of the next steps given the committed ones alone, in one call of the network (Guo & Ermon,
    "Reviving Any-Subset Autoregressive Models with Principled Parallel Sampling and Speculative Decoding", 2025).

    The first proposal is always right, so that each pair of calls commits at least two steps.
    """

    target_calls = 1

    def check(self, model, with_log_q=False):
        model.network.check_ahead()

    def propose(self, target: Target, state: Any, place: Place, k: int, keys: jax.Array, with_log_q: bool):
        (model, variables, steps, _), factorization = target, target.model.factorization
        args = place.carry, place.canvas, place.t, k, factorization, place.context
        features = model.network.apply(variables, *args, method="ahead")[0]
        values = steps.window_values(keys, place.canvas, place.t, features)
        if not with_log_q:
            return state, Proposal(values, None)
        assert not scores_blocks(steps.head, factorization)
        return state, Proposal(values, log_table(steps.head, features, steps.temperature))
