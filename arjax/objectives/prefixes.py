"""Losses on prefixes that differ from those of the data: with noise, or with values that the model has drawn itself."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from arjax.conditionals.blocks import scores_blocks, site_log_prob
from arjax.core.batch import Batch
from arjax.core.errors import UserError
from arjax.core.options import DEEPEST, opt
from arjax.core.spec import DISCRETE_KINDS
from arjax.core.traits import require
from arjax.models.autoregressive import AutoregressiveModel
from arjax.models.base import Model, Params
from arjax.objectives.base import OBJECTIVES, Loss, Mean, Objective, ObjectiveState, Step
from arjax.objectives.terms import count, likelihood_loss, weighted_sum
from arjax.samplers.prefixes import draw_in_parallel, draw_in_steps, where_drawn


@dataclasses.dataclass(frozen=True)
class PrefixObjective(Objective[AutoregressiveModel]):
    """A weighted mean over examples that read other prefixes. As it is no likelihood of the data, it is reported by the
    name of the objective, and `nll` is that of teacher forcing, without dropout and a gradient.
    """

    def check(self, model: AutoregressiveModel) -> None:
        require(model, "conditionals", f"the objective {self.name!r}, which replaces the prefixes that a model reads,")
        self.check_own_loss(model)
        self.check_one_order(model)

    def check_whole_steps(self, model: AutoregressiveModel, batch: Batch) -> None:
        """Refuses a mask that may cut a block of a joint conditional: the score function needs log p of whole draws."""
        if batch.mask is not None and scores_blocks(model.conditional, model.factorization):
            raise UserError(
                f"the score function of the objective {self.name!r} needs whole blocks, and the examples have masks: "
                "take a conditional whose sites are independent within a step, or a partition into single sites"
            )

    def loss(self, model: AutoregressiveModel, params: Params, aux: ObjectiveState, batch: Batch, step: Step) -> Loss:
        batch = batch.replace(x=jnp.asarray(batch.x, model.event.dtype))
        loss = weighted_mean(model, batch, *self.costs(model, params, batch, step))
        of_data = model.score(jax.lax.stop_gradient(params), batch)
        metrics = likelihood_loss(model.event, batch, of_data.log_prob).metrics
        return Loss((loss,), dataclasses.replace(metrics, means={self.name: jax.lax.stop_gradient(loss)}))

    def costs(self, model: AutoregressiveModel, params: Params, batch: Batch, step: Step) -> tuple[jax.Array, Any]:
        """The value and the number of each example in `weighted_mean`, [B] each."""
        raise NotImplementedError


def replaceable(model: AutoregressiveModel, batch: Batch) -> jax.Array:
    """The sites whose values may be replaced in prefixes, bool[B, D]: those that are scored."""
    if batch.mask is None:
        return jnp.ones((len(batch), model.event.num_sites), bool)
    return jnp.asarray(batch.mask).reshape(len(batch), -1) > 0


def scored(model: AutoregressiveModel, params: Params, batch: Batch, inputs: Any, key: Any) -> jax.Array:
    """Returns log p(x_i | inputs of earlier steps) of each site, float32[B, D]; 0 where it is not scored. `key` is that
    of dropout; None: no dropout, as in draws, for gradients by the score function.
    """
    per_site = model.per_site(site_log_prob, params, batch, inputs=inputs, train=key is not None, key=key)
    return per_site.reshape(len(batch), -1)


def weighted_mean(model: Model, batch: Batch, value_B: jax.Array, num_B: jax.Array | None = None) -> Mean:
    """Returns sum_b w_b value_b / sum_b w_b num_b; by default the divisor is the number of scored scalars."""
    if num_B is None:
        num = count(model.event, batch).dims
    else:
        num = (num_B if batch.weight is None else batch.weight * num_B).sum(dtype=jnp.float32)
    return Mean(weighted_sum(batch.weight, value_B), num)


@OBJECTIVES.register("input_noise")
@dataclasses.dataclass(frozen=True)
class InputNoise(PrefixObjective):
    """loss = -sum_i log p(x_i | noisy prefix of i) / (number of scored scalars).

    Each discrete value of a prefix is replaced, with the probability `rate`, by a random one (Xie et al., "Data Noising
    as Smoothing in Neural Network Language Models", 2017, section 3): any one with `values="uniform"`; with "shuffled",
    for data of any kind, that of a random example of the batch at the same site. Real values get Gaussian noise of the
    standard deviation `rate`, in the units that the model reads. Predicted values stay as they are. The loss is
    reported as `input_noise`, and `nll` is that of teacher forcing.
    """

    rate: float = opt(0.1, least=0, most=1)
    values: str = opt("uniform", choices=("uniform", "shuffled"))

    def check(self, model: AutoregressiveModel) -> None:
        super().check(model)
        if self.values == "uniform":
            needs = "input_noise(values='uniform') needs values of one kind (take input_noise(values='shuffled'))"
            model.event.check_kind((*DISCRETE_KINDS, "real"), needs)

    def inputs(self, model: AutoregressiveModel, batch: Batch, key: jax.Array) -> jax.Array:
        """The values that prefixes are made of, [B, *grid, *value]."""
        coin_key, value_key = jax.random.split(key)
        x, may = jnp.asarray(batch.x), replaceable(model, batch)
        if self.values == "shuffled":
            weight_B = jnp.ones(len(x)) if batch.weight is None else batch.weight
            others = x[jax.random.categorical(value_key, jnp.log(weight_B), shape=(len(x),))]
        elif not model.event.num_levels:  # real values
            return where_drawn(may, x + self.rate * jax.random.normal(value_key, x.shape), x, model)
        else:
            others = jax.random.randint(value_key, x.shape, 0, model.event.num_levels)
        return where_drawn(may & jax.random.bernoulli(coin_key, self.rate, may.shape), others, x, model)

    def costs(self, model, params, batch, step):
        key, score_key = jax.random.split(step.key)
        return -scored(model, params, batch, self.inputs(model, batch, key), score_key).sum(-1), None


_LOW = 1 / (1 + math.exp(6))
#: The part of `final` that is reached at a part u of the run, from 0 to 1: 1 minus the schedules of Bengio et al.
#: (2015, section 2.4), k - c i, k^i with k^N = .01, k / (k + exp(i / k)).
SCHEDULES: dict[str, Callable[[Any], Any]] = {
    "constant": lambda u: jnp.ones_like(u),
    "linear": lambda u: u,
    "exponential": lambda u: (1 - 0.01**u) / 0.99,
    "inverse_sigmoid": lambda u: (jax.nn.sigmoid(12 * u - 6) - _LOW) / (1 - 2 * _LOW),
}


@OBJECTIVES.register("scheduled_sampling")
@dataclasses.dataclass(frozen=True)
class ScheduledSampling(PrefixObjective):
    """loss = -sum_i log p(x_i | prefix of i) / (number of scored scalars); for each site of a prefix, a coin chooses
    between the value of the data and a draw of the model. No gradient flows through the draws.

    Bengio et al., "Scheduled Sampling for Sequence Prediction with Recurrent Neural Networks" (2015), section 2.4. With
    `passes=0` each value is drawn given the mixed values before it, step by step, as there. With `passes=n` all are
    drawn at once from the features of a parallel pass, n times, each pass reading the draws of the one before it, the
    first one the data (Mihaylova & Martins, "Scheduled Sampling for Transformers", 2019; Duckworth et al., "Parallel
    Scheduled Sampling", 2019, algorithm 1). As the noise of a step is the same in all passes, S passes give the values
    of `passes=0`. At the end of the run, the part `final` of the values is drawn.

    The loss is no proper scoring rule (Huszar, "How (not) to Train your Generative Model", 2015): it is reported as
    `scheduled_sampling`, in nats per dimension, and `nll` stays that of teacher forcing.
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
