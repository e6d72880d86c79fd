"""The second of two stages of training: the model goes on from prefixes of the data, and learns on its own values."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from arjax.core.batch import Batch
from arjax.core.errors import UserError, refuse, say_once
from arjax.core.options import opt
from arjax.core.spec import DISCRETE_KINDS
from arjax.core.traits import require
from arjax.models.autoregressive import AutoregressiveModel
from arjax.models.base import Params, repeated
from arjax.objectives.base import OBJECTIVES, TRUTH, Companions, Step
from arjax.objectives.prefixes import PrefixObjective, replaceable, scored
from arjax.objectives.terms import leave_one_out, with_score_function
from arjax.samplers.prefixes import draw_in_steps

#: Targets that read the true conditionals.
OF_ORACLE = ("oracle", "reverse_kl")


@OBJECTIVES.register("rollout")
@dataclasses.dataclass(frozen=True)
class Rollout(PrefixObjective):
    """A loss on prefixes in which a window of steps is drawn by the model, from the data before it; no gradient flows
    through these draws, which are made inside of the train step. With a `length` of 0 the prefixes are those of the
    data: with the target `data` that is teacher forcing, with `oracle` the targets are the true conditionals there.

    It is made for a second stage, from the parameters of a run with teacher forcing (`train.init_from`). The targets:

    `data`: -sum_i log p(x_i | prefix), of the values of the data.
    `oracle`: -sum_i sum_v q(v | prefix) log p(v | prefix), with the true conditionals q: the demonstrations of an
    expert on the learner's own prefixes (Ross, Gordon & Bagnell, "A Reduction of Imitation Learning and Structured
    Prediction to No-Regret Online Learning", DAgger, 2011, section 3).
    `match`: the negative part of the values of the window that are those of the data, by the score function with the
    mean of the other `samples` as its baseline (Rennie et al., "Self-critical Sequence Training", 2017, equation 5,
    with the baseline of Kool, van Hoof & Welling, 2019).
    `reverse_kl`: log p(window | prefix) - log q(window | prefix), likewise: its mean is KL(p || q).

    The loss is reported as `rollout`, per scored scalar (`match`: per example with a scored site in the window), and
    `nll` is that of teacher forcing. The draws, and the losses of `match` and `reverse_kl`, are those of the network
    without dropout.

    Attributes:
      prefix: steps of the data before the window; -1: a random number of them, for each batch.
      length: steps of the window at its full length.
      grow: the part of the run in which the window grows from one step to `length`; 0: it has it at once.
      oracle: workdir of a run whose model gives the true conditionals; "": the truth of the data set.
      samples: windows of each example, of the targets `match` and `reverse_kl`.
    """

    traits: ClassVar[frozenset[str]] = frozenset({"draws"})

    prefix: int = opt(-1, least=-1)
    length: int = opt(16, least=0)
    grow: float = opt(0.0, least=0, most=1)
    target: str = opt("data", choices=("data", "oracle", "match", "reverse_kl"))
    oracle: str = ""
    samples: int = 2

    def __post_init__(self):
        if self._scores and self.samples < 2:
            raise UserError(f"the target {self.target!r} of rollout compares samples: it needs at least 2 of them")
        if not self._scores and self.samples != type(self).samples:
            say_once(f"samples={self.samples} of rollout has no effect: the target {self.target!r} compares none")
        if self.grow and not self.length:
            say_once(f"grow={self.grow} of rollout has no effect on a window of length=0")
        if self.oracle and self.target not in OF_ORACLE:
            raise UserError(f"the target {self.target!r} of rollout has no oracle: take one of {', '.join(OF_ORACLE)}")

    @property
    def _scores(self) -> bool:
        return self.target in ("match", "reverse_kl")

    def companions(self) -> Mapping[str, str]:
        return {TRUTH: self.oracle} if self.target in OF_ORACLE else {}

    def check(self, model: AutoregressiveModel) -> None:
        super().check(model)
        if self._scores:
            self.check_exact(model)
        if self.target == "match":
            model.event.check_kind(DISCRETE_KINDS, "rollout(target='match') counts equal values of discrete data")
        steps, needed = model.factorization.num_steps, max(self.prefix, 0) + self.length
        too_long = f"a rollout of {needed} steps, prefix and window, does not fit into the {steps} of the model"
        has_no_table = "rollout(target='oracle') compares lists of probabilities, and this conditional has none"
        refuse((needed > steps, too_long), (self.target == "oracle" and not model.conditional.has_table, has_no_table))

    def check_companions(self, model: AutoregressiveModel, companions: Companions) -> None:
        """Refuses an oracle of other values, in another order, or given another context."""
        if self.target not in OF_ORACLE:
            return
        oracle = require(companions[TRUTH].model, "conditionals", "an oracle")
        of_values = f"the oracle is a model of {oracle.event.in_words}, not of {model.event.in_words}"
        same_order = np.array_equal(model.factorization.step, oracle.factorization.step)
        has_no_table = "rollout(target='oracle') compares lists of probabilities, and this oracle has none"
        refuse(
            (oracle.event != model.event, of_values),
            (oracle.context_spec != model.context_spec, "the oracle and the model must have the same context"),
            (not same_order, "the oracle knows the conditionals of its own order alone: the model needs that order"),
            (self.target == "oracle" and not oracle.conditional.has_table, has_no_table),
        )

    def costs(self, model, params, batch, step):
        if self._scores:
            return self._by_score_function(model, params, batch, step)
        _, inputs, key = self._draw(model, params, batch, step)
        if self.target == "oracle":
            return _cross_entropy(model, params, *oracle_of(step), batch, inputs, key), None
        return -scored(model, params, batch, inputs, key).sum(-1), None

    def _draw(self, model, params: Params, batch: Batch, step: Step) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Returns the sites of the window bool[B, D], the examples with these drawn, and a key for the rest."""
        place_key, draw_key, key = jax.random.split(step.key, 3)
        num_steps, length = model.factorization.num_steps, jnp.int32(self.length)
        if self.grow:
            part = jnp.minimum(step.progress / self.grow, 1.0)
            length = jnp.minimum(1 + jnp.int32(part * self.length), self.length)
        first: int | jax.Array = self.prefix
        if self.prefix < 0:
            first = jax.random.randint(place_key, (), 0, num_steps - length + 1)
        step_D = jnp.asarray(model.factorization.step)
        window_BD = ((step_D >= first) & (step_D < first + length)) & replaceable(model, batch)
        keys_B, frozen = jax.random.split(draw_key, len(batch)), jax.lax.stop_gradient(params)
        context = dict(batch.context) or None
        inputs = draw_in_steps(model, frozen, keys_B, batch.x, window_BD, context, jnp.int32(first), first + length)
        return window_BD, inputs, key

    def _by_score_function(self, model, params: Params, batch: Batch, step: Step) -> tuple[jax.Array, Any]:
        """The negative reward of the windows of each example with the gradient of its mean, and their number."""
        self.check_whole_steps(model, batch)
        several = repeated(batch, self.samples)
        window_BD, inputs, _ = self._draw(model, params, several, step)
        drawn = several.replace(x=inputs)
        log_p_B = jnp.where(window_BD, scored(model, params, drawn, inputs, None), 0.0).sum(-1)
        if self.target == "match":
            same_BD = (inputs == several.x).reshape(*window_BD.shape, -1).all(-1)
            reward_B = jnp.where(window_BD, same_BD, 0).sum(-1) / jnp.maximum(window_BD.sum(-1), 1)
        else:
            truth, frozen = oracle_of(step)
            more = {"context": several.context, "mask": several.mask}
            log_q = truth.log_prob_per_site(frozen, inputs, **more).reshape(window_BD.shape)
            reward_B = jnp.where(window_BD, log_q, 0.0).sum(-1) - jax.lax.stop_gradient(log_p_B)
        reward_kB = reward_B.reshape(self.samples, len(batch))
        advantage_kB = reward_kB - leave_one_out(reward_kB)
        value_kB = with_score_function(-reward_kB, -advantage_kB, log_p_B.reshape(reward_kB.shape))
        num = window_BD[: len(batch)].any(-1) if self.target == "match" else None
        return value_kB.mean(0), num


def oracle_of(step: Step) -> tuple[Any, Params]:
    """Returns the oracle among the companions of a step, and its parameters."""
    if TRUTH not in step.companions:
        raise UserError("this loss reads the true conditionals: name a run as its oracle, or train on drawn data")
    return step.companions[TRUTH].model, step.companions[TRUTH].params


def _cross_entropy(model, params, truth, frozen, batch: Batch, inputs: jax.Array, key: jax.Array) -> jax.Array:
    """-sum_i sum_v q(v | inputs before i) log p(v | inputs before i), [B], over the scored sites, in nats."""
    more = {"context": batch.context, "train": True, "key": key}
    log_p = model.head(params, True, key).log_table(model.features(params, inputs, **more))
    frozen = jax.lax.stop_gradient(frozen)
    log_q = truth.head(frozen).log_table(truth.features(frozen, inputs, context=batch.context))
    nats = -(jnp.exp(log_q) * log_p).reshape(len(inputs), model.event.num_sites, -1).sum(-1)
    return jnp.where(replaceable(model, batch), nats, 0.0).sum(-1)
