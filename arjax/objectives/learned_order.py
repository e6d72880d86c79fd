"""A learned order: a distribution over orders that is trained together with the model.

Orders are drawn from a Plackett-Luce distribution with one score per site (Plackett, "The Analysis of Permutations",
1975): the next site is each of those left with probability softmax(score). The model is trained by maximum likelihood
under the orders drawn. The scores follow the gradient of the expected nats by REINFORCE (Williams, 1992), each order
against the mean of the others on the same batch (Kool, van Hoof & Welling, "Buy 4 REINFORCE Samples, Get a Baseline for
Free!", 2019). Both use training batches; the validation split is not used.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import optax

from arjax.core.batch import Batch
from arjax.core.errors import UserError
from arjax.core.options import opt
from arjax.core.traits import require
from arjax.factorization import reorder
from arjax.models.autoregressive import AutoregressiveModel, Params
from arjax.objectives.base import OBJECTIVES, Loss, Objective, ObjectiveState, Step, leave_one_out, likelihood_loss
from arjax.objectives.metrics import Mean, Metrics

#: The name of the scores among the parameters of the objective.
SCORES = "scores"


@OBJECTIVES.register("learned_order")
@dataclasses.dataclass(frozen=True)
class LearnedOrder(Objective[AutoregressiveModel]):
    """loss = mean over R drawn orders of -log p(x | o) / D, and REINFORCE for the scores of the sites.

    The metric `order_nats` is the mean of the nats per example under the orders drawn.

    Attributes:
      orders_per_step: R, at least 2. Each batch (or micro-batch) is scored under all of them.
      learning_rate: of the scores (Adam); that of the model is in the section `optimizer`.
    """

    traits: ClassVar[frozenset[str]] = frozenset({"needs_orders", "holes"})

    orders_per_step: int = opt(4, least=2)
    learning_rate: float = opt(0.05, above=0)

    def check(self, model: AutoregressiveModel) -> None:
        model = require(model, "conditionals", "the objective 'learned_order'")
        if model.orders is None or model.orders.pool is not None:
            raise UserError("the objective 'learned_order' draws any order: set model.orders to uniform")
        self.check_own_loss(model)

    def init(self, model: AutoregressiveModel, key: jax.Array) -> ObjectiveState:
        return ObjectiveState({SCORES: jnp.zeros(model.event.num_sites, jnp.float32)})

    def optimizer(self) -> optax.GradientTransformation:
        return optax.adam(self.learning_rate)

    def report(self, aux: ObjectiveState) -> Mapping[str, Any]:
        """The most probable order: the sites by falling score."""
        return {"learned_order": np.argsort(-np.asarray(aux.params[SCORES]), kind="stable").tolist()}

    def loss(self, model: AutoregressiveModel, params: Params, aux: ObjectiveState, batch: Batch, step: Step) -> Loss:
        """Two terms: the likelihood under R orders, for the model; that of the orders, for the policy."""
        scores_D, num = aux.params[SCORES], self.orders_per_step
        keys_R = jax.random.split(step.key, num)
        orders_RD = jax.lax.stop_gradient(jax.vmap(draw_order, in_axes=(0, None))(keys_R, scores_D))
        assert model.orders is not None, "checked above"
        first = model.orders.first

        def under(order_D: jax.Array) -> Metrics:
            score = model.score(params, batch, key=step.key, train=True, factorization=reorder(first, order_D))
            return likelihood_loss(model.event, batch, score.log_prob).metrics

        by_order = jax.lax.map(under, orders_RD)
        metrics = jax.tree.map(lambda leaf_R: leaf_R.mean(0), by_order)
        nats_R = jax.lax.stop_gradient(Mean(by_order.nll, by_order.examples).value)
        of_policy = Mean(policy_loss(scores_D, orders_RD, nats_R), jnp.float32(1))
        means = {"order_nats": Mean(nats_R.sum(), jnp.float32(num))}
        of_model = Mean(metrics.nll, metrics.dims)
        return Loss((of_model, of_policy), dataclasses.replace(metrics, means=means), aux.state)


def draw_order(key: jax.Array, scores_D: jax.Array) -> jax.Array:
    """A random order, int32[D]: sorting the scores with Gumbel noise draws from the Plackett-Luce distribution."""
    return jnp.argsort(-(scores_D + jax.random.gumbel(key, scores_D.shape))).astype(jnp.int32)


def log_prob_order(scores_D: jax.Array, order_D: jax.Array) -> jax.Array:
    """log P(order) = sum_t score[o_t] - log sum_{s >= t} exp score[o_s]."""
    ordered = scores_D[order_D]
    left = jax.lax.cumlogsumexp(ordered, reverse=True)
    return jnp.sum(ordered - left)


def policy_loss(scores_D: jax.Array, orders_RD: jax.Array, nats_R: jax.Array) -> jax.Array:
    """A scalar with the REINFORCE gradient: an unbiased estimate of that of the expected nats, from R orders."""
    log_prob_R = jax.vmap(log_prob_order, in_axes=(None, 0))(scores_D, orders_RD)
    return ((nats_R - leave_one_out(nats_R)) * log_prob_R).mean()
