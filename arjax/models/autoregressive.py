"""The autoregressive model: network, conditional and factorization, put together; it holds no state."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from arjax.conditionals import CONDITIONALS, Conditional, make_conditional
from arjax.conditionals.base import CONDITIONAL, bound
from arjax.conditionals.blocks import Query, scores_blocks, site_entropy, site_log_prob, site_loss, visit_numbers
from arjax.conditionals.numerics import as_temperature
from arjax.core.arrays import filled
from arjax.core.batch import Array, Batch, Score
from arjax.core.errors import UserError, refuse
from arjax.core.programs import one_program
from arjax.core.spec import ContextSpec, EventSpec
from arjax.core.traits import traits
from arjax.factorization import GRAPHS, ORDER_DISTRIBUTIONS, ORDERINGS, PARTITIONS, Factorization, Orders, order_name
from arjax.models import extras
from arjax.models.base import Model, Params, dummy_batch, in_types, init_network
from arjax.models.checks import check_factorization, check_init, check_query, checked_batch, public
from arjax.models.draws import check_draws, tell_temperature
from arjax.models.extras import StepMember
from arjax.models.kinds import KINDS, Example, ModelChoice, Recipe
from arjax.models.longer import checked_length, draw_pieces, join_pieces, to_draw_from
from arjax.models.pictures import EntropyAlongOrder, OrderGraph, Picture
from arjax.models.queries import evidence_first
from arjax.networks.base import BUILDER_FIELDS, NETWORKS, Network, apply, check_takes_orders, name_of
from arjax.networks.denoisers import NoisyNetwork
from arjax.networks.layers.local_context import check_local
from arjax.samplers import PLAIN_DRAW, Draw, Request, Sampler

#: The dependency matrix is quadratic in the number of sites: of more than these it is not drawn.
MOST_DRAWN_SITES = 1024


@KINDS.register("autoregressive")
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class AutoregressiveModel(Model):
    """One network, scored exactly: p(x | c) = prod_t p(x_t | x_<t, c), where x_t are the sites of step t, in any order.

    The sites of a step are independent given x_<t, unless the conditional is joint. A missing value (NaN, see
    `arjax.core.arrays`) needs a network that predicts from any set of observed sites: the network does not see it, and
    it adds 0 to every score. So log p is that of the observed values under the order restricted to their sites: the
    marginal of p under an order that visits the missing sites last, and under others as far as the orders of the model
    agree. Orders are arrays of the pytree, so all orders of one block structure share one compiled program.

    Attributes:
      factorization: the order and the blocks of samples, and of scores where no other is given.
      orders: the orders that the model is trained on and scored by, if there are several.
    """

    network: Network = dataclasses.field(metadata={"static": True})
    conditional: Conditional = dataclasses.field(metadata={"static": True})
    factorization: Factorization
    orders: Orders | None = None

    takes = frozenset({"sampler", "given", "observed", "temperature", "top_k", "top_p", "min_p", "end", "length"})
    NETWORKS: ClassVar[Any] = NETWORKS
    CALLS = {"ordering": ORDERINGS, "partition": PARTITIONS, "conditional": CONDITIONALS} | {
        "orders": ORDER_DISTRIBUTIONS,
        "graph": GRAPHS,
    }
    EXAMPLES = {"binary": Example(ModelChoice(network="made"), EventSpec((2, 2)))}

    @classmethod
    def make(
        cls,
        recipe: Recipe,
        *,
        ordering: str = "raster",
        partition: str = "sites",
        conditional: str = "",
        orders: str = "",
        graph: str = "",
    ) -> AutoregressiveModel:
        """Returns the model of call strings; an empty `conditional` means the usual family for the data, empty `orders`
        mean a single order, and an empty `graph` means that sites depend on all earlier sites.
        """
        recipe.only()
        name, options = recipe.network()
        refuse((graph and orders, "a dependency graph goes with one order: leave model.orders or model.graph empty"))
        event, context = recipe.event, recipe.context
        check_local(event, context)
        factorization, several = recipe.factorization(ordering, partition, graph), recipe.orders(orders, partition)
        if several is not None and not several.has(factorization):
            factorization = several.first  # samples and queries need an order that is trained
        head = make_conditional(conditional, event, factorization.block_size)
        network = NETWORKS.get(name)(event, context, head.num_params, recipe.dtype, **options)
        check_network(network, factorization)
        if several is not None:
            for member in several.representatives():
                check_network(network, member)
            others = several.first.blocks.shape != factorization.blocks.shape
            refuse((others, "model.partition cuts model.ordering into other blocks than model.orders"))
            check_takes_orders(network)
        contradict = factorization.parents is not None and scores_blocks(head, factorization)
        sites = "the sites of a step would depend on one another without an edge"
        refuse((contradict, f"a dependency graph and a joint conditional contradict each other: {sites}"))
        return cls(network, head, factorization, several)

    @property
    def score_kind(self) -> str:
        return self.conditional.score_kind

    @property
    def in_sequence(self) -> bool:
        """Whether the own order visits no site before one in front of it, also inside of a step."""
        return not (np.diff(visit_numbers(self.conditional, self.factorization)) < 0).any()

    @property
    def traits(self) -> frozenset[str]:
        """Missing values are for networks that leave them out and sites that are scored one by one."""
        one_by_one = self.event.may_lack_values and not scores_blocks(self.conditional, self.factorization)
        return traits(
            *("conditionals", "queries", "length"),
            guesses=self.factorization.block_size == 1,
            holes=one_by_one and "holes" in self.network.traits,
            training_loss=bool(self.conditional.training_loss),
            biased=self.conditional.score_kind != "exact",
        )

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
        return self.network.event

    @property
    def context_spec(self) -> ContextSpec:
        return self.network.context_spec

    def init(self, key: jax.Array) -> Params:
        check_init(self, key)
        batch = dummy_batch(self, 1)
        params = init_network(self.network, key, batch.x, self.factorization, dict(batch.context) or None)
        of_conditional = self.conditional.init(jax.random.fold_in(key, 1))
        return params if of_conditional is None else params | {CONDITIONAL: of_conditional}

    def head(self, params: Params, train: bool = False, key: jax.Array | None = None) -> Conditional:
        """Returns the conditional with its own parameters, if it has any; with `train` its dropout is on."""
        return bound(self.conditional, params, train, key)

    def features(
        self,
        params: Params,
        x: Array,
        *,
        context: Any = None,
        factorization: Factorization | None = None,
        train: bool = False,
        key: jax.Array | None = None,
    ) -> jax.Array:
        """Returns all features in one pass (teacher forcing), [B, *grid, F]; `train` needs a `key`, for dropout."""
        x, context = in_types(self, x, context)
        factorization = self.factorization if factorization is None else factorization
        return apply(self.network, params, key, x, factorization, context, train=train)

    def features_given(
        self,
        params: Params,
        x: Array,
        observed: Array,
        *,
        context: Any = None,
        train: bool = False,
        key: jax.Array | None = None,
    ) -> jax.Array:
        """Returns the features given the sites in `observed` bool[B, *grid], of an any-order network, [B, *grid, F]."""
        x, context = in_types(self, x, context)
        return apply(self.network, params, key, x, jnp.asarray(observed) > 0, context, train=train, method="given")

    def features_given_at(
        self, params: Params, x: Array, observed: Array, site: int | jax.Array, *, context: Any = None
    ) -> jax.Array:
        """Returns `features_given` at one site, numbered in raster order, [B, F]; one program serves all sites."""
        x, context = in_types(self, x, context)
        observed = jnp.asarray(observed) > 0
        return apply(self.network, params, None, x, observed, jnp.asarray(site), context, method="given_at")

    def per_site(
        self,
        number: Callable[..., jax.Array],
        params: Params,
        batch: Batch,
        *,
        inputs: Any = None,
        factorization: Factorization | None = None,
        train: bool = False,
        key: jax.Array | None = None,
    ) -> jax.Array:
        """Returns `number(head, features, x, factorization)`, such as `site_log_prob` or `site_loss`, of every site
        that the mask marks and that has a value, else 0, [B, *grid]. The network reads `inputs`, of the shape of x, in
        place of x if given, as in training on prefixes that are not those of the data.
        """
        x = jnp.asarray(batch.x, self.event.dtype)
        factorization = self.factorization if factorization is None else factorization
        how: dict[str, Any] = {"factorization": factorization, "train": train, "key": key}
        features = self.features(params, x if inputs is None else inputs, context=batch.context, **how)
        values = self.of_present(number, self.head(params, train, key), features, x, factorization)
        return values if batch.mask is None else jnp.where(jnp.asarray(batch.mask) > 0, values, 0.0)

    def of_present(
        self,
        number: Callable[..., jax.Array],
        head: Conditional,
        features: jax.Array,
        x: jax.Array,
        factorization: Factorization,
    ) -> jax.Array:
        """Returns `number(head, features, x, factorization)` of every site, [B, *grid]; 0 of a missing value."""
        if "holes" not in self.traits:
            return number(head, features, x, factorization)
        x, present = filled(x, len(self.event.value_shape))
        return jnp.where(present, number(head, features, x, factorization), 0.0)

    def log_prob_per_site(
        self, params: Params, x: Array, *, context: Any = None, mask: Any = None, **others: Any
    ) -> jax.Array:
        """Returns log p(x_i | sites visited earlier), float32[B, *grid]; 0 where `mask` is 0 or x_i is missing."""
        return self.per_site(site_log_prob, params, Batch(x, context or {}, mask), **others)

    def score(
        self,
        params: Params,
        batch: Batch,
        *,
        key: jax.Array | None = None,
        train: bool = False,
        factorization: Factorization | None = None,
    ) -> Score:
        """Returns log p(x | c). For a conditional without a likelihood, and in training for one with a loss of its own,
        it is minus the sum of the losses, of the kind "none".
        """
        is_loss = self.score_kind == "none" or (train and bool(self.conditional.training_loss))
        how: dict[str, Any] = {"factorization": factorization, "train": train, "key": key}
        values = self.per_site(site_loss if is_loss else site_log_prob, params, batch, **how)
        return self.as_loss(values) if is_loss else Score(over_sites(values), self.score_kind)

    def as_loss(self, per_site: jax.Array) -> Score:
        """Returns the score of examples whose sites have these training losses, [B, *grid]."""
        loss_B, name = over_sites(per_site), self.conditional.training_loss
        return Score(-loss_B, "none", {name: loss_B}) if name else Score(-loss_B, self.score_kind)

    @public
    def log_prob(
        self,
        params: Params,
        x: jax.Array,
        *,
        context: Any = None,
        mask: Any = None,
        factorization: Factorization | None = None,
        key: jax.Array | None = None,
    ) -> jax.Array:
        """Returns log p(x | c), float32[B], the sum over the sites with a value that `mask` [B, *grid] marks."""
        batch = checked_batch(self, params, x, context, mask, key)
        if factorization is not None:
            check_factorization(self.network, factorization)
        return over_sites(self.per_site(site_log_prob, params, batch, factorization=factorization, key=key))

    @public
    def conditional_log_prob(
        self,
        params: Params,
        x: jax.Array,
        *,
        query: Any,
        evidence: Any,
        context: Any = None,
        mask: Any = None,
        key: jax.Array | None = None,
    ) -> jax.Array:
        """Returns log p(x[query] | x[evidence], c) in nats, float32[B]: exact. An order of the model must have the
        evidence first and the query second.

        Args:
          params, x: the parameters, and examples [B, *grid, *value]; values outside of the two sets do not matter. A
            missing value is neither given nor scored.
          query, evidence: bool[*grid], the sites that are scored, and those that are given.
          context: [B, ...], for a model that has one.
          mask: [B, *grid], the sites of the query that count in each example; later sites are given the others, too.
          key: of a conditional whose log p is drawn; None: always the same.
        """
        query, evidence = check_query(self.event, query, evidence)
        factorization = evidence_first(self, evidence, query)
        batch = checked_batch(self, params, x, context, mask, key, counts=query | evidence)
        number = functools.partial(site_log_prob, query=Query(query, evidence))
        return over_sites(self.per_site(number, params, batch, factorization=factorization, key=key))

    @public
    def conditionals(
        self, params: Params, x: jax.Array, *, context: Any = None, key: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """Returns log p of each site's value, 0 if missing, and the entropy of its conditional, [B, *grid] each."""
        return self.site_scores(params, checked_batch(self, params, x, context, key=key), key)

    def site_scores(self, params: Params, batch: Batch, key: jax.Array | None) -> tuple[jax.Array, jax.Array]:
        """Returns `conditionals` of checked arguments."""
        features = self.features(params, batch.x, context=batch.context, key=key)
        return _site_scores(self, params, features, jnp.asarray(batch.x, self.event.dtype), key)

    def guess(self, params: Params, x: Array, context: Any = None) -> jax.Array:
        """Returns the most probable value of each site given the true values of earlier ones, [B, *grid, *value]."""
        return self.head(params).mode(self.features(params, x, context=context))

    def draw_examples(self, params: Params, keys: jax.Array, sampler: Sampler, options: Request) -> Draw:
        """Draws by the sampler, in an order of the model that visits the observed sites first."""
        if options.length:
            return join_pieces(draw_pieces(self, params, keys, sampler, options), options)
        model, given = to_draw_from(self, options), options.given
        if options.observed is not None:
            model = dataclasses.replace(model, factorization=evidence_first(self, options.observed, ~options.observed))
        tell_temperature(sampler, options.temperature)
        sampler.check(model)
        if given is None:
            given = jnp.zeros((len(keys), *self.event.shape), self.event.dtype)
        request = dataclasses.replace(options, given=given, temperature=as_temperature(options.temperature))
        return sampler(dataclasses.replace(model, orders=None), params, keys, request)


def over_sites(values: jax.Array) -> jax.Array:
    """Returns the sums over the sites, [B], of values [B, *grid]."""
    return values.reshape(len(values), -1).sum(-1)


@one_program()
def _site_scores(
    model: AutoregressiveModel, params: Params, features: jax.Array, x: jax.Array, key: jax.Array | None
) -> tuple[jax.Array, jax.Array]:
    head, factorization = model.head(params, key=key), model.factorization
    log_prob = model.of_present(site_log_prob, head, features, x, factorization)
    return log_prob, site_entropy(head, features, x, factorization)


@check_draws.register(AutoregressiveModel)
def _(model: AutoregressiveModel, sampler: Sampler, options: Request = PLAIN_DRAW) -> None:
    as_temperature(options.temperature)
    if options.length:
        model = checked_length(model, options)
    sampler.check(to_draw_from(model, options))


@extras.pictures.register(AutoregressiveModel)
def _(model: AutoregressiveModel, params: Params, batch: Batch, key: jax.Array) -> Iterator[tuple[str, Picture]]:
    """`entropy`, along the order, and `factorization`, the order and the dependencies."""
    if model.score_kind != "none":
        yield "entropy", EntropyAlongOrder()
    if model.event.num_sites <= MOST_DRAWN_SITES:
        yield "factorization", OrderGraph(model.factorization, model.network.dependencies(model.factorization))


@extras.model_in_words.register(AutoregressiveModel)
def _(model: AutoregressiveModel) -> str:
    return f"{NETWORKS.name_of(type(model.network))} in {order_name(model.factorization)}"


@extras.in_sequence.register(AutoregressiveModel)
def _(model: AutoregressiveModel) -> bool:
    return model.orders is None and model.in_sequence


@extras.sharper.register(AutoregressiveModel)
def _(model: AutoregressiveModel) -> AutoregressiveModel:
    conditional = model.conditional.transformed(lambda family: family.sharper())
    return model if conditional == model.conditional else dataclasses.replace(model, conditional=conditional)


@extras.step_members.register(AutoregressiveModel)
def _(model: AutoregressiveModel, params: Params) -> tuple[StepMember, ...]:
    return (StepMember(model, params, jnp.zeros(())),)


def check_network(network: Network, factorization: Factorization) -> None:
    """Refuses a network that does not support the factorization or its own options, and names those that can."""

    def refusal(network: Network) -> UserError | None:
        noisy = f"the network {name_of(network)!r} denoises the examples of a chain, and follows no order"
        try:
            refuse((isinstance(network, NoisyNetwork), noisy))
            check_factorization(network, factorization)
        except UserError as error:
            return error
        return None

    reason = refusal(network)
    if reason is None:
        return
    form = {name: getattr(network, name) for name in BUILDER_FIELDS}

    def serves(name: str) -> bool:
        try:
            return refusal(NETWORKS.get(name)(**form, **NETWORKS.options(name))) is None
        except Exception:  # two packages register the name, or a network of a user fails in its own way on such grids
            return False

    able = [name for name in NETWORKS.names() if serves(name)]
    if name_of(network) in able:  # with other options
        raise reason
    raise UserError(f"{reason} (networks that can: {', '.join(able)})") from reason
