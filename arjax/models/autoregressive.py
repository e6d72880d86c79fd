"""The autoregressive model: network, conditional and factorization, put together; it holds no state."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, ClassVar

import flax.errors
import jax
import jax.numpy as jnp

from arjax.conditionals import CONDITIONALS, Conditional, check_temperature, truncate
from arjax.conditionals.base import CONDITIONAL, bound
from arjax.conditionals.blocks import Query, site_entropy, site_log_prob
from arjax.core.arguments import named_arguments, named_like
from arjax.core.batch import Batch, Score
from arjax.core.errors import UserError
from arjax.core.programs import one_program
from arjax.core.spec import ContextSpec, EventSpec
from arjax.factorization import Factorization, Orders, order_name
from arjax.models.base import BaseModel
from arjax.models.checks import (
    as_context,
    as_mask,
    as_values,
    check_factorization,
    check_key,
    check_params,
    takes_params,
)
from arjax.models.queries import conditional_log_prob
from arjax.models.sampling import draw, keys_of
from arjax.networks.any_order.order_agnostic import OrderAgnosticNetwork
from arjax.networks.base import NETWORKS, Network, apply
from arjax.samplers import Draw, Resources, Sampler

Params = Any


@functools.partial(jax.jit, static_argnums=0)
def _init(network: Network, key: jax.Array, x: jax.Array, factorization: Factorization, context) -> Params:
    """One compiled program: operation by operation, a Transformer would take several times as long."""
    variables = network.init(key, x, factorization, context)
    return variables.get("params", {})  # a network may have nothing to learn


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class AutoregressiveModel(BaseModel):
    """p(x | c) = prod_t p(x_t | x_<t, c), where x_t are the sites of step t.

    Within a step they are independent given x_<t, unless the conditional is joint: then it keeps their dependence.

    All log-probabilities are in nats. Every method is a pure function of its arguments and may be jitted. A model is a
    pytree: its orders are arrays, its network and its conditional are static and compared by value. So it can be an
    argument of a jitted function, and equal models and all orders of one block structure share one compiled program.

    Attributes:
      network: makes the features of the conditionals.
      conditional: their family.
      factorization: the order and the blocks of samples, and of scores where no other is given.
      orders: the orders that it is trained on and scored by, where they are more than one.
    """

    network: Network = dataclasses.field(metadata={"static": True})
    conditional: Conditional = dataclasses.field(metadata={"static": True})
    factorization: Factorization
    orders: Orders | None = None

    #: Kind of its scores: likelihoods.
    kind: ClassVar[str] = "exact"

    def __repr__(self) -> str:
        network, head = NETWORKS.name_of(type(self.network)), CONDITIONALS.name_of(type(self.conditional))
        parts = [
            network or type(self.network).__name__,
            f"{self.num_params:,} parameters",
            self.event.in_words,
            *([f"given {' and '.join(name for name, _ in self.context_spec.parts)}"] if self.context_spec else []),
            order_name(self.factorization) + ("" if self.orders is None else " and others"),
            head or type(self.conditional).__name__,
        ]
        return f"{type(self).__name__}({'; '.join(parts)})"

    @property
    def event(self) -> EventSpec:
        """Shape and kind of one example."""
        return self.network.event

    @property
    def context_spec(self) -> ContextSpec:
        """The context that the joint is conditioned on."""
        return self.network.context_spec

    @named_arguments
    def init(self, key: jax.Array) -> Params:
        """Fresh parameters: a nested dict of float32 arrays; `UserError` unless `key` is a random key."""
        self.check_init(key)
        batch = self.dummy_batch(1)
        params = _init(self.network, key, batch.x, self.factorization, dict(batch.context) or None)
        of_conditional = self.conditional.init(jax.random.fold_in(key, 1))
        return params if of_conditional is None else params | {CONDITIONAL: of_conditional}

    def head(self, params: Params, train: bool = False, key: jax.Array | None = None) -> Conditional:
        """The conditional with its own parameters, where it has any; with `train` its dropout is on."""
        return bound(self.conditional, params, train, key)

    @named_arguments
    @takes_params
    def features(
        self,
        params: Params,
        x: jax.Array,
        *,
        context: Any = None,
        factorization: Factorization | None = None,
        train: bool = False,
        key: jax.Array | None = None,
    ) -> jax.Array:
        """Features of all conditionals in one pass (teacher forcing), [B, *grid, F].

        `train=True` needs a `key` for dropout.

        Raises:
          UserError: `params`, `x` or `context` do not fit the model, the network does not support the factorization,
            or it has dropout and there is no key.
        """
        return self._features(params, as_values(self.event, x), context, factorization, train, key)

    def _features(
        self,
        params: Params,
        x: jax.Array,
        context: Any = None,
        factorization: Factorization | None = None,
        train: bool = False,
        key: jax.Array | None = None,
    ) -> jax.Array:
        """`features` of an `x` that is checked."""
        context = as_context(self.context_spec, context, len(x))
        if factorization is None:
            factorization = self.factorization
        else:
            check_factorization(self.network, factorization)
        return self._apply(params, key, x, factorization, context, train=train)

    @named_arguments
    @takes_params
    def features_given(
        self,
        params: Params,
        x: jax.Array,
        observed: jax.Array,
        *,
        context: Any = None,
        train: bool = False,
        key: jax.Array | None = None,
    ) -> jax.Array:
        """Features of all sites given the values of those in `observed` bool[B, *grid], in one pass, [B, *grid, F].

        For networks that predict from any set of observed sites; see `arjax.networks.any_order.order_agnostic`.

        Raises:
          UserError: as `features`, or the network is none of those.
        """
        if not isinstance(self.network, OrderAgnosticNetwork):
            raise UserError("this network predicts from the sites of earlier steps, not from any set of observed sites")
        x = as_values(self.event, x)
        context, observed = as_context(self.context_spec, context, len(x)), as_mask(self.event, observed, len(x))
        if observed is None:
            raise UserError("`observed` must be the sites that are given, bool[B, *grid], not None")
        return self._apply(params, key, x, observed, context, train=train, method="given")

    def _apply(self, params: Params, key: jax.Array | None, *args: Any, **kwargs: Any) -> jax.Array:
        check_params(self.param_shapes, params)
        if key is not None:
            check_key(key)
        try:
            return apply(self.network, params, key, *args, **kwargs)
        except flax.errors.InvalidRngError as error:
            raise UserError("this network has dropout: train=True needs a random `key`") from error

    @named_like(features)
    @takes_params
    def log_prob_per_site(
        self,
        params: Params,
        x: jax.Array,
        *,
        mask: jax.Array | None = None,
        query: Query | None = None,
        inputs: jax.Array | None = None,
        **kwargs,
    ) -> jax.Array:
        """log p(x_i | sites of earlier steps) of every site, float32[B, *grid]; 0 where `mask` is 0.

        Under a joint conditional the sites visited earlier in the same step are given, too. With a `query`, the sites
        that it asks for are scored given those that it gives, which the factorization visits first; others are 0. With
        `inputs`, of the shape of `x`, the sites of earlier steps have those values: p(x_i | inputs of earlier steps),
        as in a training on prefixes that are not those of the data. Other keyword arguments are those of `features`.
        """
        x = as_values(self.event, x)
        mask = as_mask(self.event, mask, len(x))
        features = self._features(params, x if inputs is None else as_values(self.event, inputs, "inputs"), **kwargs)
        head = self.head(params, kwargs.get("train", False), kwargs.get("key"))
        log_prob = site_log_prob(head, features, x, kwargs.get("factorization") or self.factorization, query)
        return log_prob if mask is None else jnp.where(mask, log_prob, 0.0)

    @takes_params
    def log_prob(self, params: Params, x: jax.Array, *, mask: jax.Array | None = None, **kwargs) -> jax.Array:
        """log p(x), float32[B]: the sum over the sites, or over those that `mask` [B, *grid] marks."""
        per_site = self.log_prob_per_site(params, x, mask=mask, **kwargs)
        return per_site.reshape(per_site.shape[0], -1).sum(-1)

    def score(
        self, params: Params, batch: Batch, *, key: jax.Array | None = None, train: bool = False, **kwargs: Any
    ) -> Score:
        """log p(x | c) of each example of a batch: exact. Other keyword arguments are those of `log_prob`."""
        more = {"context": batch.context, "mask": batch.mask, "train": train, "key": key}
        return Score(self.log_prob(params, batch.x, **more | kwargs), self.kind)

    @named_arguments
    @takes_params
    def conditional_log_prob(
        self,
        params: Params,
        x: jax.Array,
        *,
        query: Any,
        evidence: Any,
        context: Any = None,
        mask: jax.Array | None = None,
    ) -> jax.Array:
        """log p(x[query] | x[evidence]), float32[B]; see `arjax.models.queries`."""
        return conditional_log_prob(self, params, x, query, evidence, context, mask)

    @named_like(features)
    @takes_params
    def conditionals(self, params: Params, x: jax.Array, **kwargs) -> tuple[jax.Array, jax.Array]:
        """Log-probability of each site's value and entropy of each site's conditional, both [B, *grid]."""
        x = as_values(self.event, x)
        features = self._features(params, x, **kwargs)
        return _site_scores(self, params, features, x, kwargs.get("factorization") or self.factorization)

    @takes_params
    def sample(self, params: Params, key: jax.Array, num: int, **options) -> jax.Array:
        """Draws `num` examples, [num, *grid, *value]; the options are those of `draw`.

        Example b has the key fold_in(key, b): fewer examples are the first of more.
        """
        return self.draw(params, keys_of(key, num), **options).x

    def check_draws(
        self, sampler: Sampler, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0, min_p: float = 0.0
    ) -> None:
        """Raises `UserError` for options of draws that the sampler, the network or the conditional cannot take."""
        check_temperature(temperature)
        sampler.check(dataclasses.replace(self, conditional=truncate(self.conditional, top_k, top_p, min_p)))

    def prepare_sampler(self, sampler: Sampler, params: Params, resources: Resources) -> Sampler:
        """The sampler with the arrays that it needs to draw from the model, see `Sampler.prepare`."""
        return sampler.prepare(self, params, resources)

    def draw(self, params: Params, keys: jax.Array, **options) -> Draw:
        """Draws an example for each of the keys, with statistics; `sampler`, `given`, `observed`, `context`,
        `temperature`, `top_k`, `top_p`, `min_p`, `end`: see `arjax.models.sampling.draw`. Draws of another length than
        the examples are `arjax.models.longer.draw_longer`.
        """
        return draw(self, params, keys, **options)


@one_program()
def _site_scores(
    model: AutoregressiveModel, params: Params, features: jax.Array, x: jax.Array, factorization: Factorization
) -> tuple[jax.Array, jax.Array]:
    head = model.head(params)
    return site_log_prob(head, features, x, factorization), site_entropy(head, features, x, factorization)


def need_steps(model: Any, asked: str) -> AutoregressiveModel:
    """The model; raises `UserError` where it is of a kind without conditionals of its own, which `asked` needs."""
    if not isinstance(model, AutoregressiveModel):
        raise UserError(
            f"{asked} needs the conditionals of an autoregressive model, which {type(model).__name__} has not"
        )
    return model
