"""Scheduled sampling: some values of each prefix are the model's own draws, more of them as training goes on."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from arjax.core.batch import Batch
from arjax.core.options import DEEPEST, opt
from arjax.models.autoregressive import AutoregressiveModel
from arjax.models.base import Params
from arjax.objectives.base import OBJECTIVES
from arjax.objectives.prefixes import PrefixObjective, replaceable, scored
from arjax.samplers.prefixes import draw_in_parallel, draw_in_steps, where_drawn

_LOW = 1 / (1 + math.exp(6))
#: The part of `final` that is reached at a part u of the run, from 0 at its start to 1 at its end. The schedules of
#: Bengio et al. (2015, section 2.4) are those of 1 minus it: k - c i, k^i with k^N = .01, k / (k + exp(i / k)).
SCHEDULES: dict[str, Callable[[Any], Any]] = {
    "constant": lambda u: jnp.ones_like(u),
    "linear": lambda u: u,
    "exponential": lambda u: (1 - 0.01**u) / 0.99,
    "inverse_sigmoid": lambda u: (jax.nn.sigmoid(12 * u - 6) - _LOW) / (1 - 2 * _LOW),
}


@OBJECTIVES.register("scheduled_sampling")
@dataclasses.dataclass(frozen=True)
class ScheduledSampling(PrefixObjective):
    """loss = -sum_i log p(x_i | prefix of i) / (number of scored scalars); for each site of
    a prefix, a coin chooses between the value of the data and a draw of the model. No gradient flows through the draws.

    Bengio et al., "Scheduled Sampling for Sequence Prediction with Recurrent Neural Networks" (2015), section 2.4. With
    `passes=0` each value is drawn given the mixed values before it, step by step, as there. With `passes=n` all are
    drawn at once from the features of a parallel pass, n times, each pass reading the draws of the one before it, the
    first one the data (Mihaylova & Martins, "Scheduled Sampling for Transformers", 2019; Duckworth et al., "Parallel
    Scheduled Sampling", 2019, algorithm 1). As the noise of a step is the same in all passes, S passes give the values
    of `passes=0`.

    The loss is no proper scoring rule (Huszar, "How (not) to Train your Generative Model", 2015): it is reported as
    `scheduled_sampling`, in nats per dimension, and `nll` stays that of teacher forcing.

    Attributes:
      schedule: "constant", "linear", "exponential" or "inverse_sigmoid".
      final: the part of the values that are drawn at the end of the run, from 0 to 1.
      passes: parallel passes; 0: step by step.
    """

    traits: ClassVar[frozenset[str]] = frozenset({"draws"})

    schedule: str = opt("linear", choices=tuple(SCHEDULES))
    final: float = opt(0.25, least=0, most=1)
    passes: int = opt(1, least=0, most=DEEPEST)

    def inputs(
        self, model: AutoregressiveModel, params: Params, batch: Batch, key: jax.Array, rate: float | jax.Array
    ) -> jax.Array:
        """The values that prefixes are made of, [B, *grid, *value], of which a part `rate` is drawn."""
        coin_key, draw_key = jax.random.split(key)
        drawn_BD = jax.random.bernoulli(coin_key, rate, (len(batch), model.event.num_sites)) & replaceable(model, batch)
        keys_B, params = jax.random.split(draw_key, len(batch)), jax.lax.stop_gradient(params)
        if self.passes == 0:
            return draw_in_steps(model, params, keys_B, batch.x, drawn_BD, dict(batch.context) or None)

        def one_pass(_: jax.Array, inputs: jax.Array) -> jax.Array:
            features = model.features(params, inputs, context=batch.context)
            return where_drawn(drawn_BD, draw_in_parallel(model, params, keys_B, inputs, features), batch.x, model)

        return jax.lax.fori_loop(0, self.passes, one_pass, batch.x)

    def costs(self, model, params, batch, step):
        key, score_key = jax.random.split(step.key)
        rate = self.final * SCHEDULES[self.schedule](jnp.asarray(step.progress, jnp.float32))
        return -scored(model, params, batch, self.inputs(model, params, batch, key, rate), score_key).sum(-1), None
