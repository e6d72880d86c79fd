"""Maximum likelihood: under one order (teacher forcing), many orders, or orders that are learned with the model."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import optax

from arjax.conditionals.blocks import scores_blocks, site_loss
from arjax.core.batch import Batch, Score
from arjax.core.errors import UserError
from arjax.core.options import opt
from arjax.core.traits import require
from arjax.factorization import Factorization, reorder
from arjax.models.autoregressive import AutoregressiveModel
from arjax.models.base import Model, Params
from arjax.networks.any_order.order_agnostic import OrderAgnosticNetwork
from arjax.objectives.base import OBJECTIVES, Loss, Mean, Metrics, Objective, ObjectiveState, Step
from arjax.objectives.terms import leave_one_out, likelihood_loss, score_loss


@OBJECTIVES.register("teacher_forcing")
@dataclasses.dataclass(frozen=True)
class TeacherForcing(Objective[Model]):
    """loss = -sum_b w_b log p(x_b) / (number of scored scalars), in nats per dimension: all conditionals are scored in
    one pass on real data (Williams & Zipser, 1989).

    Conditionals with another training loss have that in place of -log p, and its name in reports.
    """

    traits: ClassVar[frozenset[str]] = frozenset({"holes"})

    def check(self, model: Model) -> None:
        if "discrete_latents" in model.traits:
            raise UserError(
                "teacher_forcing has no gradient through draws of discrete latents: a latent model has the objectives "
                "elbo(samples=2) and iwae, inside of another model its latents have to be real; the kind tokens has "
                "tokenizer and token_prior, inside of another model it cannot be trained"
            )
        self.check_parts_loss(model)

    def loss(self, model: Model, params: Params, aux: ObjectiveState, batch: Batch, step: Step) -> Loss:
        return score_loss(model.event, batch, model.score(params, batch, key=step.key, train=True))


#: The smallest hidden part and the standard deviation of "truncated_normal".
LEAST_HIDDEN, HIDDEN_STD = 0.7, 0.25


@OBJECTIVES.register("order_agnostic")
@dataclasses.dataclass(frozen=True)
class OrderAgnostic(Objective[AutoregressiveModel]):
    """loss = E_o [-log p(x | o)] / (number of scored scalars), in nats per dimension, o from `model.orders` (Uria,
    Murray & Larochelle, "A Deep and Tractable Density Estimator", 2014).

    Networks that predict from any set of observed sites are trained on one random step of one order per example. Under
    all orders, the sites of that step and of all later ones are predicted at once, with a weight that makes the
    expectation S times that of the step alone: S / (number of steps left) for equal blocks (equation 11 there; the
    absorbing diffusion of Hoogeboom et al., 2022, section 3). That has less noise than the step alone, which is used
    for orders that a distribution lists, and for blocks of unequal sizes under a joint conditional, where a later block
    is not exchangeable with that of the step. Of `weighted` orders, an example uses the one or the other, by the source
    of its order.

    All other networks predict every site in one pass, under one order for each of `orders_per_batch` equal parts of the
    batch (or micro-batch); 0: one order per example.

    Where values are missing (see `arjax.core.arrays`), the loss is E_o [-log p(x_P | o on P)] / (number of observed
    scalars), P the sites with a value and o on P the order that o has there. For the network sees the sites of P in the
    first t steps and scores those of P that are left. With the weight above the expectation over the sites that are
    left is that of the step t alone, which adds -log p of its site given those of P before it if the site is in P, and
    else 0; the sum over t is -log p(x_P | o on P). Under all orders, the orders on P are all orders of P, too.

    `hidden` chooses how many steps are hidden, for networks that predict from any set of observed sites and all orders.
    "uniform": any number is equally probable. "truncated_normal": the hidden part is drawn from a normal distribution
    of mean 1 and standard deviation .25 between .7 and 1 (Li et al., "Autoregressive Image Generation without Vector
    Quantization", 2024, section 4.2, "masked autoregressive models"). The loss is then no likelihood, as steps with
    more than .3 observed are never trained: it is reported as `masked`.
    """

    traits: ClassVar[frozenset[str]] = frozenset({"needs_orders", "holes"})

    orders_per_batch: int = opt(1, least=0)
    hidden: str = opt("uniform", choices=("uniform", "truncated_normal"))

    def check(self, model: AutoregressiveModel) -> None:
        model = require(model, "conditionals", "the objective 'order_agnostic'")
        if model.orders is None:
            raise UserError("the objective 'order_agnostic' needs model.orders, such as uniform or pool(num=8)")
        any_later = model.orders.pool is None and _alike(model)
        if self.hidden != "uniform" and not (isinstance(model.network, OrderAgnosticNetwork) and any_later):
            raise UserError(
                f"hidden={self.hidden!r} of the objective 'order_agnostic' needs a network that predicts from any set "
                "of observed sites, such as masked_transformer, and model.orders=uniform with blocks of one size"
            )

    def loss(self, model: AutoregressiveModel, params: Params, aux: ObjectiveState, batch: Batch, step: Step) -> Loss:
        order_key, key = jax.random.split(step.key)
        if isinstance(model.network, OrderAgnosticNetwork):
            score = _any_observed(model, params, batch, order_key, key, self.hidden)
        else:
            score = _by_parts(model, params, batch, order_key, key, self.orders_per_batch or len(batch))
        return score_loss(model.event, batch, score)


def _by_parts(model, params, batch: Batch, order_key: jax.Array, key: jax.Array, parts: int) -> Score:
    """Returns log p(x | o) with one order for each of `parts` equal parts of the batch."""
    num = len(batch)
    if num % parts:
        raise UserError(f"a batch of {num} examples cannot be cut into {parts} equal parts with an order each")

    def score(part: Batch, order_key: jax.Array, key: jax.Array) -> Score:
        return model.score(params, part, key=key, train=True, factorization=model.orders.draw(order_key))

    if parts == 1:
        return score(batch, order_key, key)
    cut = jax.tree.map(lambda a: a.reshape(parts, num // parts, *a.shape[1:]), batch)
    scores = jax.vmap(score)(cut, *(jax.random.split(k, parts) for k in (order_key, key)))
    return jax.tree.map(lambda leaf: leaf.reshape(num), scores)


def _alike(model: Any) -> bool:
    """Whether all hidden sites of a step of a random permutation may be scored at once. A remaining site is one of step
    t with the probability size_S[t] / (sites left). Whole blocks of one size are exchangeable, too; under a joint
    conditional, the score of a site depends on its block.
    """
    first = model.orders.first
    one_size = first.num_steps * first.block_size == model.event.num_sites
    return one_size or not scores_blocks(model.conditional, first)


def num_observed(key: jax.Array, num_steps: int, hidden: str) -> jax.Array:
    """A random number of observed steps, int32[] from 0 to S - 1."""
    if hidden == "uniform":
        return jax.random.randint(key, (), 0, num_steps)
    part = 1.0 + HIDDEN_STD * jax.random.truncated_normal(key, (LEAST_HIDDEN - 1.0) / HIDDEN_STD, 0.0)
    return num_steps - jnp.clip(jnp.ceil(part * num_steps), 1, num_steps).astype(jnp.int32)


def _any_observed(model: Any, params: Params, batch: Batch, order_key: jax.Array, key: jax.Array, hidden: str) -> Score:
    """Returns an unbiased estimate of log p(x | o) for an order per example from one pass given some observed sites; if
    `hidden` is not "uniform", the mean over the hidden sites.
    """
    x, orders = batch.x, model.orders
    num, grid, steps = x.shape[0], model.event.grid_shape, orders.first.num_steps
    size_S = (jnp.asarray(orders.first.blocks) < model.event.num_sites).sum(1)
    alike = _alike(model)
    weight_S = steps * size_S / jnp.cumsum(size_S[::-1])[::-1]

    def observed_and_weight(key: jax.Array) -> tuple[jax.Array, jax.Array, Factorization]:
        draw_key, step_key = jax.random.split(key)
        factorization, of_all = orders.draw_with_source(draw_key)
        step_D, t = jnp.asarray(factorization.step), num_observed(step_key, steps, hidden)
        later_D, alone_D = jnp.where(step_D >= t, weight_S[t], 0.0), jnp.where(step_D == t, float(steps), 0.0)
        weight_D = jnp.where(of_all, later_D, alone_D) if alike else alone_D
        return (step_D < t).reshape(grid), weight_D.reshape(grid), factorization

    observed, weight, drawn = jax.vmap(observed_and_weight)(jax.random.split(order_key, num))
    features = model.features_given(params, x, observed, context=batch.context, train=True, key=key)
    head = model.head(params, train=True, key=key)
    loss = model.of_present(site_loss, head, features, jnp.asarray(x), drawn) * weight
    if batch.mask is not None:
        loss = jnp.where(batch.mask > 0, loss, 0.0)
    score = model.as_loss(loss)
    return score if hidden == "uniform" else Score(score.log_prob, "none", {"masked": -score.log_prob})


#: The name of the scores among the parameters of the objective.
SCORES = "scores"


@OBJECTIVES.register("learned_order")
@dataclasses.dataclass(frozen=True)
class LearnedOrder(Objective[AutoregressiveModel]):
    """loss = mean over R drawn orders of -log p(x | o) / D, and REINFORCE for the scores of the sites.

    Orders are drawn from a Plackett-Luce distribution with one score per site (Plackett, "The Analysis of
    Permutations", 1975): the next site is each of those left with probability softmax(score). The scores follow the
    gradient of the expected nats by REINFORCE (Williams, 1992), each of R = `orders_per_step` orders against the mean
    of the others on the same batch or micro-batch (Kool, van Hoof & Welling, "Buy 4 REINFORCE Samples, Get a Baseline
    for Free!", 2019), by Adam with the rate `learning_rate`. The metric `order_nats` is the mean of the nats per
    example under the orders drawn.
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
    return jnp.sum(ordered - jax.lax.cumlogsumexp(ordered, reverse=True))


def policy_loss(scores_D: jax.Array, orders_RD: jax.Array, nats_R: jax.Array) -> jax.Array:
    """Returns a scalar whose gradient is an unbiased REINFORCE estimate of that of the expected nats, from R orders."""
    log_prob_R = jax.vmap(log_prob_order, in_axes=(None, 0))(scores_D, orders_RD)
    return ((nats_R - leave_one_out(nats_R)) * log_prob_R).mean()
