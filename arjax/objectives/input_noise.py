"""Noise on the values that prefixes are made of: the simplest remedy against errors that accumulate."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from arjax.core.batch import Batch
from arjax.core.errors import UserError
from arjax.core.options import opt
from arjax.models.autoregressive import AutoregressiveModel
from arjax.objectives.base import OBJECTIVES
from arjax.objectives.prefixes import PrefixObjective, replaceable, scored
from arjax.samplers.prefixes import where_drawn

VALUES = ("uniform", "shuffled")


@OBJECTIVES.register("input_noise")
@dataclasses.dataclass(frozen=True)
class InputNoise(PrefixObjective):
    """loss = -sum_i log p(x_i | noisy prefix of i) / (number of scored scalars).

    Each discrete value of a prefix is replaced, with the probability `rate`, by a random one (Xie et al., "Data Noising
    as Smoothing in Neural Network Language Models", 2017, section 3); real values get Gaussian noise of the standard
    deviation `rate`, in the units that the model reads. Values that are predicted stay as they are. The loss is
    reported as `input_noise`, and `nll` is that of teacher forcing.

    Attributes:
      rate: from 0 to 1.
      values: of replacements: "uniform", over all values, or "shuffled", those of a random example of the batch at the
        same site, for data of any kind.
    """

    rate: float = opt(0.1, least=0, most=1)
    values: str = opt("uniform", choices=VALUES)

    def check(self, model: AutoregressiveModel) -> None:
        super().check(model)
        if self.values == "uniform" and model.event.kind == "columns":
            raise UserError("input_noise has no uniform values of mixed columns: take input_noise(values='shuffled')")

    def inputs(self, model: AutoregressiveModel, batch: Batch, key: jax.Array) -> jax.Array:
        """The values that prefixes are made of, [B, *grid, *value]."""
        coin_key, value_key = jax.random.split(key)
        x, event = jnp.asarray(batch.x), model.event
        may = replaceable(model, batch)
        if self.values == "uniform" and event.kind == "real":
            return where_drawn(may, x + self.rate * jax.random.normal(value_key, x.shape), x, model)
        if self.values == "shuffled":
            weight_B = jnp.ones(len(x)) if batch.weight is None else batch.weight
            others = x[jax.random.categorical(value_key, jnp.log(weight_B), shape=(len(x),))]
        else:
            others = jax.random.randint(value_key, x.shape, 0, event.num_levels)
        return where_drawn(may & jax.random.bernoulli(coin_key, self.rate, may.shape), others, x, model)

    def costs(self, model, params, batch, step):
        key, score_key = jax.random.split(step.key)
        return -scored(model, params, batch, self.inputs(model, batch, key), score_key).sum(-1), None
