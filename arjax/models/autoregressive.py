"""The autoregressive model: network, conditional and factorization, put together; it holds no state."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, TypeGuard

import jax
import jax.numpy as jnp
import numpy as np

from arjax.conditionals import CONDITIONALS, Conditional, make_conditional, truncate
from arjax.conditionals.base import CONDITIONAL, bound
from arjax.conditionals.blocks import Query, scores_blocks, site_entropy, site_log_prob, site_loss
from arjax.conditionals.temperature import as_temperature
from arjax.core.arguments import named_arguments, named_like
from arjax.core.arrays import as_sites
from arjax.core.batch import Array, Batch, Score
from arjax.core.errors import UserError
from arjax.core.holes import filled
from arjax.core.memory import check_memory
from arjax.core.output import say_once
from arjax.core.pictures import EntropyAlongOrder, OrderGraph, Picture
from arjax.core.programs import one_program
from arjax.core.spec import ContextSpec, EventSpec
from arjax.factorization import (
    GRAPHS,
    ORDER_DISTRIBUTIONS,
    ORDERINGS,
    PARTITIONS,
    Factorization,
    Orders,
    order_name,
)
from arjax.models import checks
from arjax.models.base import Member, Model, Params, apply_network, init_network
from arjax.models.kinds import KINDS, Example, ModelChoice, Recipe
from arjax.models.queries import evidence_first
from arjax.models.sampling import canvas_of, num_keys, tell_temperature
from arjax.networks.any_order.order_agnostic import OrderAgnosticNetwork
from arjax.networks.base import NETWORKS, Network, check_orders
from arjax.networks.layers.local_context import check_local
from arjax.samplers import PLAIN_DRAW, Draw, DrawOptions, Resources, Sampler

#: The dependency matrix is quadratic in the number of sites: of more than these it is not drawn.
MOST_DRAWN_SITES = 1024


def has_conditionals(model: Model) -> TypeGuard[AutoregressiveModel]:
    """Whether a model has the ability "conditionals", see `arjax.core.abilities`."""
    return "conditionals" in model.abilities


@KINDS.register("autoregressive")
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class AutoregressiveModel(Model):
    """One network, scored exactly: p(x | c) = prod_t p(x_t | x_<t, c), where x_t are the sites of step t, in any order.

    Within a step they are independent given x_<t, unless the conditional is joint: then it keeps their dependence.

    Missing values (NaN, see `arjax.core.holes`) are for networks that predict from any set of observed sites. A missing
    site is not shown to the network and adds 0 to every score. So log p is that of the observed values under the order
    restricted to their sites. This is the marginal of p under an order that visits the missing sites last, and under
    others as far as the orders of the model agree with one another.

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
        """The model of call strings: an order, a partition of it into steps, and a family ("": the usual one for the
        data); `orders`, a distribution over orders ("": one order), and `graph`, of dependencies ("": all earlier
        sites). Raises `UserError` for a combination that does not work.
        """
        recipe.only()
        network, options = recipe.network()
        if graph and orders:
            raise UserError("a dependency graph goes with one order: leave model.orders or model.graph empty")
        factorization, several = recipe.factorization(ordering, partition, graph), recipe.orders(orders, partition)
        if several is not None and not several.has(factorization):
            factorization = several.first  # samples and queries need an order that is trained
        _check_choices(recipe, network, factorization, several, options)
        head = make_conditional(conditional, recipe.event, factorization.block_size)
        if factorization.parents is not None and scores_blocks(head, factorization):
            raise UserError(
                "a dependency graph and a joint conditional contradict each other: the sites of a step would depend on "
                "one another without an edge"
            )
        form = {"event": recipe.event, "context_spec": recipe.context, "dtype": recipe.dtype}
        net = NETWORKS.get(network)(num_features=head.num_params, **form, **options)
        if several is not None:
            check_orders(net)
        return cls(net, head, factorization, several)

    @property
    def kind(self) -> str:
        return self.conditional.kind

    @property
    def own_loss(self) -> str:
        return self.conditional.own_loss

    @property
    def unbiased(self) -> bool:
        """Whether log p of the conditional is exact: the exponentials of others may be above p(x) on average."""
        return self.conditional.kind == "exact"

    @property
    def abilities(self) -> frozenset[str]:
        """Conditionals, of sets of sites, too, draws of any length, and guesses where each step has one site."""
        guesses = {"guesses"} if self.factorization.block_size == 1 else set()
        return frozenset({"conditionals", "queries", "length", *guesses})

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
    def in_sequence(self) -> bool:
        """Whether it visits no site before one in front of it."""
        return self.orders is None and not (np.diff(np.asarray(self.factorization.step)) < 0).any()

    @property
    def takes_holes(self) -> bool:
        """Whether the network leaves out missing values, and the sites of a step are scored one by one."""
        if self.event.is_discrete or scores_blocks(self.conditional, self.factorization):
            return False
        return "holes" in self.network.traits

    @property
    def event(self) -> EventSpec:
        return self.network.event

    @property
    def context_spec(self) -> ContextSpec:
        return self.network.context_spec

    @named_arguments
    def init(self, key: jax.Array) -> Params:
        self.check_init(key)
        batch = self.dummy_batch(1)
        params = init_network(self.network, key, batch.x, self.factorization, dict(batch.context) or None)
        of_conditional = self.conditional.init(jax.random.fold_in(key, 1))
        return params if of_conditional is None else params | {CONDITIONAL: of_conditional}

    def head(self, params: Params, train: bool = False, key: jax.Array | None = None) -> Conditional:
        """The conditional with its own parameters, where it has any; with `train` its dropout is on."""
        return bound(self.conditional, params, train, key)

    @named_arguments
    @checks.takes_params
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

        `train=True` needs a `key` for dropout. Raises `UserError` where `params`, `x` or `context` do not fit the
        model, or the network does not support the factorization.
        """
        return self._features(params, self._values(x), context, factorization, train, key)

    def _values(self, x: Any, name: str = "x", counts: np.ndarray | None = None) -> jax.Array:
        return checks.as_values(self.event, x, name, counts, holes=self.takes_holes)

    def _features(self, params, x, context=None, factorization=None, train=False, key=None) -> jax.Array:
        """`features` of an `x` that is checked."""
        context = checks.as_context(self.context_spec, context, len(x))
        if factorization is None:
            factorization = self.factorization
        else:
            checks.check_factorization(self.network, factorization)
        return self._apply(params, key, x, factorization, context, train=train)

    @named_arguments
    @checks.takes_params
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

        For networks that predict from any set of observed sites, see `arjax.networks.any_order.order_agnostic`; raises
        `UserError` for others, and as `features`.
        """
        x, marks, context = self._given(x, observed, context)
        return self._apply(params, key, x, marks, context, train=train, method="given")

    @named_arguments
    @checks.takes_params
    def features_given_at(
        self, params: Params, x: jax.Array, observed: jax.Array, site: int | jax.Array, *, context: Any = None
    ) -> jax.Array:
        """What `features_given` has for one site, numbered in the order of the grid, [B, F]; often in less time.

        The number of the site is an array in a compiled program, which is the same for all sites. Raises `UserError` as
        `features_given`.
        """
        x, marks, context = self._given(x, observed, context)
        return self._apply(params, None, x, marks, jnp.asarray(site), context, method="given_at")

    def _given(self, x: jax.Array, observed: jax.Array, context: Any) -> tuple[jax.Array, jax.Array, Any]:
        """Checked values, marks and context of a network that predicts from any set of observed sites."""
        if not isinstance(self.network, OrderAgnosticNetwork):
            raise UserError("this network predicts from the sites of earlier steps, not from any set of observed sites")
        x, marks = self._values(x), checks.as_mask(self.event, observed, len(x))
        if marks is None:
            raise UserError("`observed` must be the sites that are given, bool[B, *grid], not None")
        return x, marks, checks.as_context(self.context_spec, context, len(x))

    def _apply(self, params: Params, key: jax.Array | None, *args: Any, **kwargs: Any) -> jax.Array:
        checks.check_params(self.param_shapes, params)
        if key is not None:
            checks.check_key(key)
        return apply_network(self.network, params, key, *args, **kwargs)

    @named_like(features)
    @checks.takes_params
    def log_prob_per_site(
        self,
        params: Params,
        x: jax.Array,
        *,
        mask: Any = None,
        query: Query | None = None,
        inputs: Any = None,
        **kwargs,
    ) -> jax.Array:
        """log p(x_i | sites of earlier steps) of every site, float32[B, *grid]; 0 where `mask` is 0 or x_i is missing.

        Under a joint conditional the sites visited earlier in the same step are given, too. With a `query`, the sites
        that it asks for are scored given those that it gives, which the factorization visits first; others are 0. With
        `inputs`, of the shape of `x`, the sites of earlier steps have those values: p(x_i | inputs of earlier steps),
        as in a training on prefixes that are not those of the data. Other keyword arguments are those of `features`.
        """
        return self._per_site(functools.partial(site_log_prob, query=query), params, x, mask, inputs, **kwargs)

    @named_like(features)
    @checks.takes_params
    def loss_per_site(self, params: Params, x: Array, *, mask: Any = None, inputs: Any = None, **kwargs) -> jax.Array:
        """The training loss of every site, float32[B, *grid]; 0 where `mask` is 0 or the value is missing.

        It is -log p, or the loss that a conditional has of its own (`Conditional.own_loss`). The arguments are those of
        `log_prob_per_site`.
        """
        return self._per_site(site_loss, params, x, mask, inputs, **kwargs)

    def _per_site(
        self, number: Callable[..., jax.Array], params: Params, x: Array, mask: Any, inputs: Any, **kwargs
    ) -> jax.Array:
        """`number(head, features, x, factorization)` of every site that the mask marks, else 0."""
        x = self._values(x)
        mask = checks.as_mask(self.event, mask, len(x))
        prefixes = x if inputs is None else self._values(inputs, "inputs")
        features = self._features(params, prefixes, **kwargs)
        head = self.head(params, kwargs.get("train", False), kwargs.get("key"))
        found = self.of_present(number, head, features, x, kwargs.get("factorization") or self.factorization)
        return found if mask is None else jnp.where(mask, found, 0.0)

    def of_present(
        self,
        number: Callable[..., jax.Array],
        head: Conditional,
        features: jax.Array,
        x: jax.Array,
        factorization: Factorization,
    ) -> jax.Array:
        """`number(head, features, x, factorization)` of every site, [B, *grid], and 0 where the value is missing."""
        if not self.takes_holes:
            return number(head, features, x, factorization)
        x, present = filled(x, len(self.event.value_shape))
        return jnp.where(present, number(head, features, x, factorization), 0.0)

    @checks.takes_params
    def log_prob(self, params: Params, x: jax.Array, *, mask: jax.Array | None = None, **kwargs) -> jax.Array:
        """log p(x), float32[B]: the sum over the sites with a value, of those that `mask` [B, *grid] marks."""
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
        if not self.own_loss:
            return self.score(params, batch, key=key, train=True, **kwargs)
        more = {"context": batch.context, "mask": batch.mask, "train": True, "key": key} | kwargs
        return self.as_loss(self.loss_per_site(params, batch.x, **more))

    def step_members(self, params: Params) -> tuple[Member, ...]:
        checks.check_params(self.param_shapes, params)
        return (Member(self, params, jnp.zeros(())),)

    def sharper(self) -> AutoregressiveModel:
        sharper = self.conditional.transformed(lambda family: family.sharper())
        return self if sharper == self.conditional else dataclasses.replace(self, conditional=sharper)

    def as_loss(self, per_site: jax.Array) -> Score:
        """The score of examples whose sites have these training losses, [B, *grid]."""
        loss_B = per_site.reshape(len(per_site), -1).sum(-1)
        own = self.own_loss
        return Score(-loss_B, "none", {own: loss_B}) if own else Score(-loss_B, self.kind)

    @named_arguments
    @checks.takes_params
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
        """log p(x[query] | x[evidence], c) in nats, float32[B]: exact, for any set of sites that an order puts first.

        Raises `UserError` for wrong shapes, sets that overlap, or where no order of the model has the evidence first
        and the query second.

        Args:
          params, x: the parameters, and examples [B, *grid, *value]; values outside of the two sets do not matter. A
            missing value is neither given nor asked for.
          query, evidence: bool[*grid], the sites that are scored, and those that are given.
          context: [B, ...], for a model that has one.
          mask: [B, *grid], the sites of the query that count in each example; None: all. As in `log_prob`, others are
            given to those visited after them.
          key: of a conditional whose log p is drawn; None: always the same.
        """
        asked_for, given = as_sites(self.event, query, "the query"), as_sites(self.event, evidence, "the evidence")
        if (asked_for & given).any():
            raise UserError("the query and the evidence overlap: a site is asked for or given, not both")
        factorization = evidence_first(self, given, asked_for)
        x = self._values(x, counts=asked_for | given)
        more = {"factorization": factorization, "query": Query(asked_for, given)}
        return self.log_prob(params, x, mask=mask, context=context, key=key, **more)

    @named_like(features)
    @checks.takes_params
    def conditionals(self, params: Params, x: jax.Array, **kwargs) -> tuple[jax.Array, jax.Array]:
        """Log-probability of each site's value, 0 where it is missing, and entropy of each site's conditional, both
        [B, *grid].
        """
        x = self._values(x)
        features = self._features(params, x, **kwargs)
        factorization = kwargs.get("factorization") or self.factorization
        return _site_scores(self, params, features, x, factorization, kwargs.get("key"))

    def check_draws(self, sampler: Sampler, options: DrawOptions = PLAIN_DRAW) -> None:
        as_temperature(options.temperature)
        conditional: Any = truncate(self.conditional, options.top_k, options.top_p, options.min_p)
        sampler.check(dataclasses.replace(self, conditional=conditional))

    def prepare_sampler(self, sampler: Sampler, params: Params, resources: Resources) -> Sampler:
        return sampler.prepare(self, params, resources)

    def draw_placed(self, params, keys, sampler: Sampler, options: DrawOptions, place, **own: Any) -> Draw:
        """It takes all options; draws of another length than the examples are `arjax.models.longer.draw_longer`. Raises
        `UserError` for observed sites that the order does not put first, too.
        """
        temperature, event, num = as_temperature(options.temperature), self.event, num_keys(keys)
        check_memory(num * event.num_dims * event.dtype.itemsize, f"{num:,} examples take")
        head: Any = truncate(self.conditional, options.top_k, options.top_p, options.min_p)
        given, observed = options.given, options.observed
        if (given is None) != (observed is None):
            raise UserError("`given` values and the mask of `observed` sites go together: pass both or neither")
        factorization, observed_D, shared = self.factorization, None, False
        if observed is None:
            canvas = jnp.zeros((num, *event.shape), event.dtype)
        else:
            observed = as_sites(event, observed, "`observed`")
            canvas, observed_D = canvas_of(event, num, given, observed), jnp.asarray(observed.ravel())
            factorization = evidence_first(self, observed, ~observed)
            shared = np.shape(given) == event.shape and checks.is_one_context(self.context_spec, options.context)
        of_examples = keys, canvas, checks.as_context(self.context_spec, options.context, num, one_for_all=True)
        keys, canvas, context = place(of_examples) if place else of_examples
        model = dataclasses.replace(self, conditional=head, factorization=factorization)
        tell_temperature(sampler, temperature)
        sampler.check(model)
        model = dataclasses.replace(model, orders=None)
        resolved = options.resolved(observed=observed_D, context=context, end=checks.check_end(event, options.end))
        return sampler(model, params, keys, canvas, resolved, shared)

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
        return f"{NETWORKS.name_of(type(self.network))} in {order_name(self.factorization)}"


@one_program()
def _site_scores(
    model: AutoregressiveModel,
    params: Params,
    features: jax.Array,
    x: jax.Array,
    factorization: Factorization,
    key: jax.Array | None,
) -> tuple[jax.Array, jax.Array]:
    head = model.head(params, key=key)
    log_prob = model.of_present(site_log_prob, head, features, x, factorization)
    return log_prob, site_entropy(head, features, x, factorization)


def _check_choices(
    recipe: Recipe, network: str, factorization: Factorization, orders: Orders | None, options: dict[str, Any]
) -> None:
    """Refuses a network, with all its options, that does not support the event, the context, the order or several."""
    event, family = recipe.event, NETWORKS.get(network)
    family.check_context(recipe.context, options)
    check_local(event, recipe.context)
    check_network(network, event, factorization, options)
    _tell_reaches(network, factorization, options)
    if orders is not None:
        for member in orders.representatives():
            check_network(network, event, member, options)
        if orders.first.blocks.shape != factorization.blocks.shape:
            raise UserError("model.partition cuts model.ordering into other blocks than model.orders")


def _tell_reaches(network: str, factorization: Factorization, options: dict[str, Any]) -> None:
    """Says on stderr that an option, such as a window, is longer than the steps that there are: it is cut to them."""
    defaults = NETWORKS.options(network)
    for name, most in NETWORKS.get(network).reaches(options, factorization.num_steps).items():
        if options[name] > most and options[name] != defaults[name]:
            say_once(
                f"{name}={options[name]} of the network {network!r} reaches beyond the {factorization.num_steps} steps "
                f"of the model: it has the effect of {name}={most}"
            )


def check_network(network: str, event: EventSpec, factorization: Factorization, options: dict[str, Any]) -> None:
    """Raises `UserError` when the network does not support the event, the factorization or the options.

    Where it is not the options, the sentence ends with the networks that can.
    """

    def refusal(name: str, options: dict[str, Any] | None = None) -> UserError | None:
        try:
            family = NETWORKS.get(name)
            if factorization.parents is not None and "graphs" not in family.TRAITS:
                raise UserError(f"the network {name!r} reads all earlier sites, not the parents in model.graph alone")
            family.check(event, factorization, NETWORKS.options(name) if options is None else options)
        except UserError as error:  # also where two packages register the name
            return error
        return None

    found = refusal(network, options)
    if found is None:
        return

    def serves(name: str) -> bool:
        try:
            return refusal(name) is None
        except Exception:  # a network of a user, which fails in its own way on grids that it does not serve
            return False

    able = [name for name in NETWORKS.names() if serves(name)]
    if network in able:  # with other options
        raise found
    raise UserError(f"{found} (networks that can: {', '.join(able)})") from found
