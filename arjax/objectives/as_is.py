"""The recursion as it is: the model reads its own values alone, and the gradient goes back through all of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from arjax.conditionals.blocks import scores_blocks
from arjax.core.batch import Batch
from arjax.core.errors import UserError, refuse, say_once
from arjax.core.options import opt
from arjax.core.spec import EventSpec
from arjax.models.autoregressive import AutoregressiveModel
from arjax.models.base import Params, dummy_batch, repeated
from arjax.models.checks import check_factorization
from arjax.networks.base import NETWORKS, Network, step_variables
from arjax.objectives.base import OBJECTIVES
from arjax.objectives.prefixes import PrefixObjective, replaceable, scored
from arjax.objectives.terms import leave_one_out, with_score_function
from arjax.samplers.prefixes import draw_in_steps


@OBJECTIVES.register("as_is")
@dataclasses.dataclass(frozen=True)
class AsIs(PrefixObjective):
    """loss = E[-sum_t log p(x_t | z_<t)] / (number of scored scalars), with z_t drawn from p(. | z_<t): the recursion
    without teacher forcing, and its gradient through the draws z.

    `score`: the score function (Williams, "Simple Statistical Gradient-Following Algorithms", 1992): each draw z_t has
    the sum of the losses of the steps after it as its signal, with the mean of the other `samples` as the baseline; it
    has no bias. `straight_through`: the gradient of a discrete draw is that of its probabilities (Bengio, Leonard &
    Courville, "Estimating or Propagating Gradients Through Stochastic Neurons", 2013, section 4). `gumbel_softmax`:
    draws are relaxed, softmax((log p + Gumbel noise) / temperature) (Jang, Gu & Poole, "Categorical Reparameterization
    with Gumbel-Softmax", 2017, equation 2). `pathwise`: real values are functions of features and noise.

    All but `score` go through the steps one after another, forwards and backwards, and keep all carries. There is no
    dropout. The loss is reported as `as_is`, in nats per dimension, and `nll` is that of teacher forcing. `samples` are
    those of each example, at least 2 for `score`.
    """

    traits: ClassVar[frozenset[str]] = frozenset({"draws"})

    estimator: str = opt("score", choices=("score", "straight_through", "gumbel_softmax", "pathwise"))
    temperature: float = opt(1.0, above=0)
    samples: int = 2

    def __post_init__(self):
        if self.temperature != 1 and self.estimator != "gumbel_softmax":
            say_once(f"temperature={self.temperature} of as_is has no effect: {self.estimator!r} relaxes no draws")
        least = 2 if self.estimator == "score" else 1
        refuse((self.samples < least, f"as_is(estimator={self.estimator!r}) needs samples of at least {least}"))

    def check(self, model: AutoregressiveModel) -> None:
        super().check(model)
        if self.estimator == "score":
            self.check_exact(model)
            return
        if scores_blocks(model.conditional, model.factorization):
            raise UserError("as_is has gradients through the draws of single sites, not of joint blocks: take score")
        if self.estimator == "pathwise":
            if not model.conditional.REPARAMETERISED:
                raise UserError("as_is(estimator='pathwise') needs draws that are functions of noise, as of a gaussian")
            return
        relaxed_event(model.event)
        if not model.conditional.has_table:
            raise UserError(f"as_is(estimator={self.estimator!r}) needs a list of probabilities: take score")
        jax.eval_shape(lambda params: relax(model, params)[1], model.param_shapes)

    def costs(self, model, params, batch, step):
        several = repeated(batch, self.samples)
        keys_B = jax.random.split(step.key, len(several))
        of_samples = self._by_score_function if self.estimator == "score" else self._through_draws
        value_B = of_samples(model, params, several, keys_B)
        return value_B.reshape(self.samples, len(batch)).mean(0), None

    def _by_score_function(self, model, params: Params, batch: Batch, keys_B: jax.Array) -> jax.Array:
        """The loss of each sample, [k B], with the gradient of its mean."""
        self.check_whole_steps(model, batch)
        frozen, drawn_BD = jax.lax.stop_gradient(params), replaceable(model, batch)
        drawn = draw_in_steps(model, frozen, keys_B, batch.x, drawn_BD, dict(batch.context) or None)
        nats_BD = -scored(model, params, batch, drawn, None)
        log_prob_BD = scored(model, params, batch.replace(x=drawn), drawn, None)
        step_D, num_steps = jnp.asarray(model.factorization.step), model.factorization.num_steps
        nats_SB = jax.ops.segment_sum(nats_BD.T, step_D, num_steps)
        after_SB = jnp.cumsum(nats_SB[::-1], axis=0)[::-1] - nats_SB  # of the steps after each
        signal_BD = after_SB[step_D].T.reshape(self.samples, -1, len(step_D))
        signal_BD = (signal_BD - leave_one_out(signal_BD)).reshape(nats_BD.shape)
        return with_score_function(nats_BD, signal_BD, log_prob_BD).sum(-1)

    def _through_draws(self, model, params: Params, batch: Batch, keys_B: jax.Array) -> jax.Array:
        """The loss of each sample, [k B], as a function of the parameters with all its draws."""
        event, factorization, context = model.event, model.factorization, dict(batch.context) or None
        relaxes = self.estimator != "pathwise"
        network, relaxed = relax(model, params) if relaxes else (model.network, params)
        data = relaxed_values(event, jnp.asarray(batch.x)) if relaxes else jnp.asarray(batch.x)
        variables, head = step_variables(network, relaxed), model.head(params)
        num, may_BD = len(batch), replaceable(model, batch)
        x_BDv, data_BDv = (a.reshape(num, event.num_sites, -1) for a in (jnp.asarray(batch.x), data))

        def one(state: tuple[Any, jax.Array], t: jax.Array) -> tuple[tuple[Any, jax.Array], jax.Array]:
            carry, canvas_BDv = state
            canvas = canvas_BDv.reshape(data.shape)
            made: Any = network.apply(variables, carry, canvas, t, factorization, context, method="step")
            carry, features = made
            sites_M, valid_M = factorization.sites(t)
            at_M = jnp.minimum(sites_M, event.num_sites - 1)
            counts_BM = valid_M & may_BD[:, at_M]
            value_BM = x_BDv[:, at_M].reshape(num, len(at_M), *event.value_shape)
            nats_BM = -head.at(at_M).log_prob(features, value_BM)
            keys = jax.vmap(jax.random.fold_in, (0, None))(keys_B, t)
            drawn = jax.vmap(self._draw, (None, 0, 0))(head.at(at_M), keys, features).reshape(num, len(at_M), -1)
            kept = data_BDv[:, at_M]
            values = jnp.where(counts_BM[..., None], drawn, kept)
            canvas_BDv = canvas_BDv.at[:, jnp.where(valid_M, sites_M, event.num_sites)].set(values, mode="drop")
            return (carry, canvas_BDv), jnp.where(counts_BM, nats_BM, 0.0).sum(-1)

        carry: Any = network.apply(variables, num, factorization, context, method="start")
        _, nats_SB = jax.lax.scan(one, (carry, data_BDv), jnp.arange(factorization.num_steps))
        return nats_SB.sum(0)

    def _draw(self, head: Any, key: jax.Array, features_MF: jax.Array) -> jax.Array:
        """Values of the sites of a step through which gradients flow: real ones, or relaxed discrete ones."""
        if self.estimator == "pathwise":
            return head.sample(key, features_MF)
        log_prob_MV = head.log_table(features_MF)
        noisy_MV = log_prob_MV + jax.random.gumbel(key, log_prob_MV.shape)
        if self.estimator == "gumbel_softmax":
            weights_MV = jax.nn.softmax(noisy_MV / self.temperature)
        else:
            prob_MV = jnp.exp(log_prob_MV)
            one_hot_MV = jax.nn.one_hot(noisy_MV.argmax(-1), prob_MV.shape[-1])
            weights_MV = one_hot_MV + prob_MV - jax.lax.stop_gradient(prob_MV)
        return weights_MV[..., 1:] if weights_MV.shape[-1] == 2 else weights_MV


def relaxed_event(event: EventSpec) -> EventSpec:
    """Returns the event of relaxed values: weights [V] over the values of a site, or the weight of 1 of two values."""
    refuse((not event.num_values, f"relaxed values are those of discrete scalars, and a site here is {event.in_words}"))
    return EventSpec(event.grid_shape, () if event.num_levels == 2 else (event.num_levels,), kind="real")


def relaxed_values(event: EventSpec, x: jax.Array) -> jax.Array:
    """Values int[...] as relaxed ones, float32[...] of two values and float32[..., V] of more."""
    return x.astype(jnp.float32) if event.num_levels == 2 else jax.nn.one_hot(x, event.num_levels)


def relax(model: AutoregressiveModel, params: Params) -> tuple[Network, Params]:
    """Returns the network of a model of discrete scalars as one that reads relaxed values, and its parameters. At
    values that are not between others it computes the features of the model: a product with a one-hot vector looks up a
    row.
    """
    network = model.network.clone(event=relaxed_event(model.event))
    dummy = jnp.zeros((1, *network.event.shape))
    context = dict(dummy_batch(model, 1).context) or None
    try:
        check_factorization(network, model.factorization)
        expected = jax.eval_shape(network.init, jax.random.key(0), dummy, model.factorization, context)
        expected = expected.get("params", {})
        mapped = _mapped({name: leaf for name, leaf in params.items() if name in expected}, expected)
    except (KeyError, TypeError, UserError) as error:
        raise _unsuited(model.network) from error
    if jax.tree.map(jnp.shape, mapped) != jax.tree.map(jnp.shape, expected):
        raise _unsuited(model.network)
    return network, mapped


def _unsuited(network: Network) -> UserError:
    name = NETWORKS.name_of(type(network)) or type(network).__name__
    return UserError(f"the network {name!r} cannot read relaxed values: take as_is(estimator='score')")


def _mapped(params: Params, expected: Params) -> Params:
    """Names the parameters as in the network of real values, whose linear maps have the rows of the tables."""
    if not isinstance(params, Mapping):
        return params
    if "linear" in expected and "table" in params:
        table_VE = params["table"]["embedding"]
        linear = {"kernel": table_VE, "bias": jnp.zeros(table_VE.shape[-1], table_VE.dtype)}
        params = {name: leaf for name, leaf in params.items() if name != "table"} | {"linear": linear}
    return {name: _mapped(leaf, expected[name]) for name, leaf in params.items()}
