"""The autoregressive model: network, conditional and factorization, put together; it holds no state."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, TypeGuard

import flax.errors
import jax
import jax.numpy as jnp

from arjax.conditionals import CONDITIONALS, Conditional, check_temperature, make_conditional, truncate
from arjax.conditionals.base import CONDITIONAL, bound
from arjax.conditionals.blocks import Query, scores_blocks, site_entropy, site_log_prob, site_loss
from arjax.core.arguments import named_arguments, named_like
from arjax.core.batch import Array, Batch, Score
from arjax.core.errors import UserError
from arjax.core.output import say_once
from arjax.core.pictures import EntropyAlongOrder, OrderGraph, Picture
from arjax.core.programs import one_program
from arjax.core.spec import ContextSpec, EventSpec
from arjax.factorization import (
    ORDER_DISTRIBUTIONS,
    ORDERINGS,
    PARTITIONS,
    Factorization,
    Orders,
    graph_needs_data,
    make_factorization,
    make_orders,
    needs_data,
    order_name,
    orders_need_data,
)
from arjax.models.base import Model, asked
from arjax.models.checks import (
    as_context,
    as_mask,
    as_values,
    check_factorization,
    check_key,
    check_params,
    takes_params,
)
from arjax.models.kinds import KINDS, Blueprint, Example, ModelChoice
from arjax.models.queries import conditional_log_prob
from arjax.models.sampling import draw
from arjax.networks.any_order.order_agnostic import OrderAgnosticNetwork
from arjax.networks.base import NETWORKS, Network, apply
from arjax.networks.layers.local_context import check_local
from arjax.samplers import PLAIN_DRAW, Draw, DrawOptions, Resources, Sampler, make_sampler

Params = Any
#: The dependency matrix is quadratic in the number of sites: of more than these it is not drawn.
MOST_DRAWN_SITES = 1024


@functools.partial(jax.jit, static_argnums=0)
def _init(network: Network, key: jax.Array, x: jax.Array, factorization: Factorization, context) -> Params:
    """One compiled program: operation by operation, a Transformer would take several times as long."""
    variables = network.init(key, x, factorization, context)
    return variables.get("params", {})  # a network may have nothing to learn


def has_conditionals(model: Model) -> TypeGuard[AutoregressiveModel]:
    """Whether a model has the ability "conditionals", see `arjax.core.abilities`."""
    return "conditionals" in model.abilities


@KINDS.register("autoregressive")
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class AutoregressiveModel(Model):
    """One network, scored exactly: p(x | c) = prod_t p(x_t | x_<t, c), where x_t are the sites of step t, in any order.

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

    NETWORKS: ClassVar[Any] = NETWORKS
    CALLS = {
        "ordering": ORDERINGS,
        "partition": PARTITIONS,
        "conditional": CONDITIONALS,
        "orders": ORDER_DISTRIBUTIONS,
    }
    EXAMPLES = {"binary": Example(ModelChoice(network="made"), EventSpec((2, 2)))}

    @classmethod
    def make(
        cls,
        blueprint: Blueprint,
        *,
        ordering: str = "raster",
        partition: str = "sites",
        conditional: str = "",
        orders: str = "",
        graph: str = "",
    ) -> AutoregressiveModel:
        """The model of call strings: an order, a partition of it into steps, and a family ("": the usual one for the
        data); `orders`, a distribution over orders ("": one order), and `graph`, of dependencies ("": all earlier
        sites). Raises `UserError` for a combination that does not work.
        """
        blueprint.only()
        network, options = blueprint.network()
        if graph and orders:
            raise UserError("a dependency graph goes with one order: leave model.orders or model.graph empty")
        event, grid_shape = blueprint.event, blueprint.event.grid_shape
        reads_data = needs_data(ordering) or (bool(orders) and orders_need_data(orders)) or graph_needs_data(graph)
        examples = blueprint.examples_by_site(reads_data)
        factorization = make_factorization(grid_shape, ordering, partition, examples, graph)
        several = make_orders(orders, grid_shape, partition, examples) if orders else None
        if several is not None and not several.has(factorization):
            factorization = several.first  # samples and queries need an order that is trained
        check_choice(network, event, blueprint.context, factorization, several, options)
        head = make_conditional(conditional, event, factorization.block_size)
        return put_together(network, event, blueprint.context, blueprint.dtype, head, factorization, several, options)

    @property
    def kind(self) -> str:
        """Kind of its scores: that of the conditional."""
        return self.conditional.kind

    @property
    def own_loss(self) -> str:
        """That of the conditional."""
        return self.conditional.own_loss

    @property
    def unbiased(self) -> bool:
        """Whether log p of the conditional is exact: the exponentials of others may be above p(x) on average."""
        return self.conditional.kind == "exact"

    @property
    def abilities(self) -> frozenset[str]:
        """Conditionals, draws of any length, and guesses where each step has one site."""
        guesses = {"guesses"} if self.factorization.block_size == 1 else set()
        return frozenset({"conditionals", "length", *guesses})

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
        context, marks = as_context(self.context_spec, context, len(x)), as_mask(self.event, observed, len(x))
        if marks is None:
            raise UserError("`observed` must be the sites that are given, bool[B, *grid], not None")
        return self._apply(params, key, x, marks, context, train=train, method="given")

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
        return self._per_site(functools.partial(site_log_prob, query=query), params, x, mask, inputs, **kwargs)

    @named_like(features)
    @takes_params
    def loss_per_site(
        self,
        params: Params,
        x: jax.Array,
        *,
        mask: jax.Array | None = None,
        inputs: jax.Array | None = None,
        **kwargs,
    ) -> jax.Array:
        """The training loss of every site, float32[B, *grid]; 0 where `mask` is 0.

        It is -log p, or the loss that a conditional has of its own (`Conditional.own_loss`). The arguments are those of
        `log_prob_per_site`.
        """
        return self._per_site(site_loss, params, x, mask, inputs, **kwargs)

    def _per_site(
        self, number: Callable[..., jax.Array], params: Params, x: jax.Array, mask: Any, inputs: Any, **kwargs
    ) -> jax.Array:
        """`number(head, features, x, factorization)` of every site that the mask marks, else 0."""
        x = as_values(self.event, x)
        mask = as_mask(self.event, mask, len(x))
        features = self._features(params, x if inputs is None else as_values(self.event, inputs, "inputs"), **kwargs)
        head = self.head(params, kwargs.get("train", False), kwargs.get("key"))
        found = number(head, features, x, kwargs.get("factorization") or self.factorization)
        return found if mask is None else jnp.where(mask, found, 0.0)

    @takes_params
    def log_prob(self, params: Params, x: jax.Array, *, mask: jax.Array | None = None, **kwargs) -> jax.Array:
        """log p(x), float32[B]: the sum over the sites, or over those that `mask` [B, *grid] marks."""
        per_site = self.log_prob_per_site(params, x, mask=mask, **kwargs)
        return per_site.reshape(per_site.shape[0], -1).sum(-1)

    def score(
        self, params: Params, batch: Batch, *, key: jax.Array | None = None, train: bool = False, **kwargs: Any
    ) -> Score:
        """log p(x | c) of each example of a batch; of a conditional without a likelihood minus its loss, whose kind is
        "none". Other keyword arguments are those of `log_prob`.
        """
        more = {"context": batch.context, "mask": batch.mask, "train": train, "key": key} | kwargs
        if self.kind == "none":
            return self.as_loss(self.loss_per_site(params, batch.x, **more))
        return Score(self.log_prob(params, batch.x, **more), self.kind)

    def train_score(self, params: Params, batch: Batch, *, key: jax.Array | None = None, **kwargs: Any) -> Score:
        """As `Model.train_score`: minus the loss that the conditional has of its own, or the score in training."""
        if not self.own_loss:
            return self.score(params, batch, key=key, train=True, **kwargs)
        more = {"context": batch.context, "mask": batch.mask, "train": True, "key": key} | kwargs
        return self.as_loss(self.loss_per_site(params, batch.x, **more))

    def sharper(self) -> AutoregressiveModel:
        """The model with a conditional of a smaller numerical error, where it has one."""
        sharper = self.conditional.transformed(lambda family: family.sharper())
        return self if sharper == self.conditional else dataclasses.replace(self, conditional=sharper)

    def as_loss(self, per_site: jax.Array) -> Score:
        """The score of examples whose sites have these training losses, [B, *grid]."""
        loss_B = per_site.reshape(len(per_site), -1).sum(-1)
        own = self.own_loss
        return Score(-loss_B, "none", {own: loss_B}) if own else Score(-loss_B, self.kind)

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

    def check_draws(self, sampler: Sampler, options: DrawOptions = PLAIN_DRAW) -> None:
        """Raises `UserError` for options of draws that the sampler, the network or the conditional cannot take."""
        check_temperature(options.temperature)
        conditional: Any = truncate(self.conditional, options.top_k, options.top_p, options.min_p)
        sampler.check(dataclasses.replace(self, conditional=conditional))

    def prepare_sampler(self, sampler: Sampler, params: Params, resources: Resources) -> Sampler:
        """The sampler with the arrays that it needs to draw from the model, see `Sampler.prepare`."""
        return sampler.prepare(self, params, resources)

    def draw(
        self,
        params: Params,
        keys: jax.Array,
        options: DrawOptions | None = None,
        *,
        sampler: str | Sampler = "cached",
        place: Callable[[Any], Any] | None = None,
        **short: Any,
    ) -> Draw:
        """Draws an example for each of the keys, see `Model.draw`; it takes all options. Draws of another length
        than the examples are `arjax.models.longer.draw_longer`.
        """
        return draw(self, params, keys, make_sampler(sampler), asked(options, short)[0], place)

    def guess(self, params: Params, x: Array, context: Any = None) -> jax.Array:
        """The most probable value of each site given the true values of earlier ones, [B, *grid, *value].

        The features are those of the score, which XLA computes once where a program asks for both.
        """
        return self.head(params).mode(self.features(params, x, context=context))

    def pictures(self, params: Params, batch: Batch, key: jax.Array) -> Iterator[tuple[str, Picture]]:
        """`entropy`, along the order, and `factorization`, the order and the dependencies."""
        if self.kind != "none":
            yield "entropy", EntropyAlongOrder()
        if self.event.num_sites <= MOST_DRAWN_SITES:
            yield "factorization", OrderGraph(self.factorization, self.network.dependencies(self.factorization))

    def in_words(self) -> str:
        """The network and its order."""
        return f"{NETWORKS.name_of(type(self.network))} in {order_name(self.factorization)}"

    def described(self, writer: Any, path: str) -> dict[str, Any]:
        """The network with its event and context, the conditional and the orders, without the name of the kind."""
        return writer.network(self.network, NETWORKS) | {
            "conditional": writer.conditional(self.conditional, f"{path}/conditional"),
            "factorization": writer.factorization(self.factorization, f"{path}/factorization"),
            "orders": None if self.orders is None else writer.orders(self.orders, f"{path}/orders"),
        }

    @classmethod
    def restored(cls, reader: Any, found: Any) -> AutoregressiveModel:
        """The inverse of `described`; parts are put together only where the parts of a new model would be."""
        event, context, dtype, name, given = reader.network(found)
        options = NETWORKS.resolve(name, given)
        factorization, several = reader.factorization(found.object("factorization")), reader.orders(found, "orders")
        if factorization.grid_shape != event.grid_shape:
            raise UserError(f"an order of the grid {factorization.grid_shape} is not one of {event.grid_shape}")
        check_choice(name, event, context, factorization, several, options)
        head = reader.conditional(found.object("conditional"))
        head.check_fits(event, factorization.block_size)
        found.end()
        return put_together(name, event, context, dtype, head, factorization, several, options)


@one_program()
def _site_scores(
    model: AutoregressiveModel, params: Params, features: jax.Array, x: jax.Array, factorization: Factorization
) -> tuple[jax.Array, jax.Array]:
    head = model.head(params)
    return site_log_prob(head, features, x, factorization), site_entropy(head, features, x, factorization)


def check_choice(
    network: str,
    event: EventSpec,
    context: ContextSpec,
    factorization: Factorization,
    several: Orders | None,
    options: dict[str, Any],
) -> None:
    """Raises `UserError` when the network, with all its options, does not support the event, the context, the order or
    several of them.
    """
    NETWORKS.get(network).check_context(context, options)
    check_local(event, context)
    check_network(network, event, factorization, options)
    _tell_reaches(network, factorization, options)
    if several is not None:
        _check_orders(network, event, factorization, several, options)


def put_together(
    network: str,
    event: EventSpec,
    context: ContextSpec,
    dtype: str,
    head: Conditional,
    factorization: Factorization,
    several: Orders | None,
    options: dict[str, Any],
) -> AutoregressiveModel:
    """The model of parts that are checked by `check_choice`; raises `UserError` where the conditional does not fit."""
    if factorization.parents is not None and scores_blocks(head, factorization):
        raise UserError(
            "a dependency graph and a joint conditional contradict each other: the sites of a step would depend on one "
            "another without an edge"
        )
    family = NETWORKS.get(network)
    net = family(event=event, context_spec=context, num_features=head.num_params, dtype=dtype, **options)
    return AutoregressiveModel(net, head, factorization, several)


def _tell_reaches(network: str, factorization: Factorization, options: dict[str, Any]) -> None:
    """Says on stderr that an option, such as a window, is longer than the steps that there are: it is cut to them."""
    defaults = NETWORKS.options(network)
    for name, most in NETWORKS.get(network).reaches(options, factorization.num_steps).items():
        if options[name] > most and options[name] != defaults[name]:
            say_once(
                f"{name}={options[name]} of the network {network!r} reaches beyond the {factorization.num_steps} steps "
                f"of the model: it has the effect of {name}={most}"
            )


def _check_orders(network: str, event: EventSpec, factorization: Factorization, orders: Orders, options) -> None:
    """Raises `UserError` when one network does not support all these orders, or cannot tell them apart."""
    for member in orders.members(1 if orders.pool is None else len(orders.pool)):
        check_network(network, event, member, options)
    if orders.first.blocks.shape != factorization.blocks.shape:
        raise UserError("model.partition cuts model.ordering into other blocks than model.orders")
    NETWORKS.get(network).check_several_orders(options)


def check_network(network: str, event: EventSpec, factorization: Factorization, options: dict[str, Any]) -> None:
    """Raises `UserError` when the network does not support the event, the factorization or the options.

    Where it is not the options, the sentence ends with the networks that can.
    """
    try:
        _check_graph(network, factorization)
        NETWORKS.get(network).check(event, factorization, options)
    except UserError as refusal:
        if _supports(network, event, factorization):
            raise
        able = [name for name in NETWORKS.names() if _supports(name, event, factorization)]
        raise UserError(f"{refusal} (networks that can: {', '.join(able)})") from refusal


def _check_graph(network: str, factorization: Factorization) -> None:
    if factorization.parents is not None and not NETWORKS.get(network).SUPPORTS_GRAPHS:
        raise UserError(f"the network {network!r} reads all earlier sites, not the parents in model.graph alone")


def _supports(network: str, event: EventSpec, factorization: Factorization) -> bool:
    """Whether the family, with its default options, supports this kind of data and factorization."""
    try:
        _check_graph(network, factorization)
        NETWORKS.get(network).check(event, factorization, NETWORKS.options(network))
    except UserError:
        return False
    return True
