"""The contract of a model: all that training, evaluation and objectives ask of one, whatever it is made of."""

from __future__ import annotations

import dataclasses
import functools
import operator
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import flax.errors
import flax.linen as nn
import jax
import jax.numpy as jnp

from arjax.conditionals.temperature import as_temperature
from arjax.core.arguments import named_arguments
from arjax.core.arrays import as_sites, is_traced
from arjax.core.batch import Batch, Score
from arjax.core.ends import filled_behind_end
from arjax.core.errors import UserError
from arjax.core.memory import bytes_of, check_memory, within_memory
from arjax.core.pictures import Picture
from arjax.core.registry import Registry
from arjax.core.spec import ContextSpec, EventSpec
from arjax.factorization import Orders
from arjax.models.checks import as_context, as_mask, as_values, check_end, check_key, check_params, takes_params
from arjax.models.sampling import keys_of, num_keys
from arjax.networks.base import apply
from arjax.samplers import PLAIN_DRAW, Cached, Draw, DrawOptions, Resources, Sampler, make_sampler

Params = Any


class SampledBound(NamedTuple):
    """A bound that takes more draws than a score, see `Model.sampled_bound`.

    Attributes:
      name: of the bound, with which the names of its entries in a report begin, such as "importance_bound".
      model: the model that is scored: the model itself, or a copy with other options.
      log_prob: `(model, params, batch, key, *options) -> float32[B]` nats; a function at the top of a module, so that
        further calls find the compiled program.
      options: of `log_prob`, hashable.
      entries: of the report, beside the bound, such as the number of draws.
    """

    name: str
    model: Any
    log_prob: Callable[..., jax.Array]
    options: tuple[Any, ...]
    entries: dict[str, int]


class Member(NamedTuple):
    """A part of a mixture whose steps have tables of probabilities, see `Model.step_members`.

    Attributes:
      model: of the ability "conditionals".
      params: its parameters.
      log_weight: log w of it, float32[].
    """

    model: Any
    params: Params
    log_weight: Any


class Model:
    """A joint distribution over an event given a context, of any kind: all that others ask of one, with the answers of
    most kinds.

    A model is a pytree: its arrays are leaves, its architecture is static and compared by value, so it is an argument
    of jitted functions. A kind of models is a frozen dataclass that extends this class, is registered as a pytree
    (`jax.tree_util.register_dataclass`) and in `arjax.models.kinds.KINDS`, and defines `make`, `event`, `context_spec`,
    `kind`, `init`, `score` and `draw_examples`.
    """

    #: The registry of its networks; None: its parts have networks, and it has none of its own.
    NETWORKS: ClassVar[Any] = None
    #: The options that are call strings, by name, with the registries of what they name.
    CALLS: ClassVar[Mapping[str, Registry]] = {}
    #: Small models of the kind for the laws by names of their own, `arjax.models.kinds.Example`.
    EXAMPLES: ClassVar[Mapping[str, Any]] = {}

    if TYPE_CHECKING:
        # A kind has each of these as a field, a constant of its class or a property: all can be read. At run time they
        # are no properties here, because a dataclass would take them for the defaults of its fields.
        __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]

        @property
        def event(self) -> EventSpec:
            """Shape and kind of one example."""

        @property
        def context_spec(self) -> ContextSpec:
            """The parts of the context."""

        @property
        def kind(self) -> str:
            """Kind of its scores: "exact" log-likelihoods, a "bound" on them, an "estimate", or "none" where there is
            no likelihood and the score is another number, the higher the better.
            """

        @property
        def orders(self) -> Orders | None:
            """The orders that it is scored by, where these are several; else None."""

        @property
        def own_loss(self) -> str:
            """The name of the number that `train_score` has where that is not -log p; else ""."""

        @property
        def abilities(self) -> frozenset[str]:
            """What it can do beside this class, see `arjax.core.abilities`."""

        @property
        def takes_holes(self) -> bool:
            """Whether it scores examples with missing values, as log p of the observed ones: see `arjax.core.holes`."""

        @property
        def in_sequence(self) -> bool:
            """Whether no site is visited before one in front of it. Only then does padding behind the end of a string
            tell nothing about the string.
            """
    else:
        orders = None
        in_sequence = False
        own_loss = ""
        abilities = frozenset()
        takes_holes = False

    #: The fields of `DrawOptions` that `draw_examples` can take, beside `context`; others are refused. Only `end` is
    #: taken by all kinds: those without it here draw the whole sequence, and `draw` fills it behind its first end.
    draw_options: ClassVar[frozenset[str]] = frozenset()
    #: The names of further arguments of `draw_examples`, which only this kind has.
    own_draw_options: ClassVar[frozenset[str]] = frozenset()
    #: The part whose steps a sampler goes through; "": those of the model itself.
    SAMPLED: ClassVar[str] = ""

    @classmethod
    def make(cls, recipe: Any, *args: Any, **options: Any) -> Any:
        """The model of an `arjax.models.kinds.Recipe`.

        The keyword arguments, each with a default, are the options of the kind in configs and in `make_model`. Raises
        `UserError` for a combination that does not work.
        """
        raise NotImplementedError

    @property
    def unbiased(self) -> bool:
        """Whether exp(score) has a mean of at most p(x | c), of which it is then an unbiased estimate, or one of less:
        then the log of its mean over several draws is a bound, too. By default where it is so of all parts.
        """
        return all(part.unbiased for part in self.named_parts.values())

    @property
    def discrete_latents(self) -> bool:
        """Whether a score draws discrete latents, which stop its gradient; by default those of the parts."""
        return any(part.discrete_latents for part in self.named_parts.values())

    def init(self, key: jax.Array) -> Params:
        """Fresh parameters: a nested dict of float32 arrays, by default those of the parts by their names."""
        return {name: part.init(jax.random.fold_in(key, i)) for i, (name, part) in enumerate(self.named_parts.items())}

    def score(self, params: Params, batch: Batch, *, key: jax.Array | None = None, train: bool = False) -> Score:
        """log p(x | c) of each example in nats, or as `kind` says; `key` for dropout and for terms that are drawn.

        The terms of a score, where it has any, are costs in nats that add up to -log_prob.
        """
        raise NotImplementedError

    @property
    def named_parts(self) -> Mapping[str, Model]:
        """The models that it is made of, by the names of their parameters; none by default."""
        return {}

    def train_score(self, params: Params, batch: Batch, *, key: jax.Array | None = None) -> Score:
        """The score whose negative training minimises: that in training, or another number, whose kind is "none"."""
        return self.score(params, batch, key=key, train=True)

    def step_members(self, params: Params) -> tuple[Member, ...]:
        """The autoregressive models of which it is a mixture, one where it is such a model itself: p(x) = sum_k w_k
        p_k(x). Raises `UserError` for a kind of model that is none.
        """
        raise UserError(
            f"{type(self).__name__} gives no probabilities of the values of its steps: a lossless coder needs a model "
            "of the kind autoregressive, or a mixture of them"
        )

    def sharper(self) -> Model:
        """The model with smaller numerical errors of its scores; itself where there are none but rounding."""
        changed: dict[str, Any] = {}
        for name in self.__dataclass_fields__:
            value = getattr(self, name)
            parts = value if isinstance(value, tuple) else (value,)
            if all(isinstance(part, Model) for part in parts):
                found = tuple(part.sharper() for part in parts)
                if any(map(operator.is_not, found, parts)):
                    changed[name] = found if isinstance(value, tuple) else found[0]
        return dataclasses.replace(self, **changed) if changed else self

    def log_prob_error(self, params: Params, batch: Batch) -> jax.Array | None:
        """The measured numerical error of the scores of some examples in nats, float32[B], where they are computed up
        to a tolerance: the difference from the scores of the `sharper` model. Else None.
        """
        sharper = self.sharper()
        if sharper is self:
            return None
        found = (jax.jit(Model.log_prob_of)(model, params, batch, jax.random.key(0)) for model in (self, sharper))
        return jnp.abs(jnp.subtract(*found))

    def log_prob_of(self, params: Params, batch: Batch, key: jax.Array) -> jax.Array:
        """The scores of a batch, float32[B]."""
        return self.score(params, batch, key=key).log_prob

    def pictures(self, params: Params, batch: Batch, key: jax.Array) -> Iterator[tuple[str, Picture]]:
        """Pictures of the trained model, each with the name of its file without an ending, from some examples and draws
        by the key; none by default.
        """
        yield from ()

    def sampled_bound(self, samples: int) -> SampledBound:
        """The bound that `evaluate.samples` asks for, from `samples` latents or steps of each example; raises
        `UserError` for a kind without one.
        """
        raise UserError(
            "config.evaluate.samples counts the latents of an example, or the steps of a chain: it needs a model of "
            "the kind latent or tokens, or a chain"
        )

    def report_of_examples(self, params: Params, batch: Batch, key: jax.Array) -> dict[str, Any]:
        """Further entries of a report, in types of JSON, from some examples; none by default."""
        return {}

    def code_numbers(self, params: Params, batch: Batch) -> tuple[jax.Array, int] | None:
        """The discrete codes that stand for the examples, as numbers int32[B, T] from 0 to K - 1, and K; None for kinds
        without a codebook. A report tells how many codes a split uses.
        """
        return None

    def check_trained(self, params: Params) -> None:
        """Raises `UserError` where trained parameters contradict one another; called when they are read from files."""

    def in_words(self) -> str:
        """The model in a few words, for the head of a report."""
        return repr(self)

    @property
    def num_params(self) -> int:
        """Number of parameters."""
        return sum(leaf.size for leaf in jax.tree.leaves(self.param_shapes))

    @functools.cached_property
    def param_shapes(self) -> Params:
        """Shapes and types of the parameters, by the names of `init`."""
        return jax.eval_shape(self.init, jax.random.key(0))

    def check_init(self, key: jax.Array) -> None:
        """Raises `UserError` unless `key` is a random key, and the parameters fit into the memory of a device where
        they are computed now.
        """
        check_key(key)
        if not is_traced(key):
            check_memory(bytes_of(self.param_shapes), "the parameters of this model take")

    def dummy_batch(self, batch_size: int) -> Batch:
        """An all-zero batch of the right shapes and types."""

        def zeros(spec: EventSpec) -> jax.Array:
            return jnp.zeros((batch_size, *spec.shape), spec.dtype)

        return Batch(zeros(self.event), {name: zeros(part) for name, part in self.context_spec.parts})

    def checked_batch(self, x: Any, context: Any = None, mask: Any = None) -> Batch:
        """Examples of the user with their contexts as a batch; raises `UserError` where they do not fit the model."""
        x = as_values(self.event, x, holes=self.takes_holes)
        return Batch(x, as_context(self.context_spec, context, len(x)) or {}, as_mask(self.event, mask, len(x)))

    @named_arguments
    def log_prob(
        self, params: Params, x: jax.Array, *, context: Any = None, mask: Any = None, key: jax.Array | None = None
    ) -> jax.Array:
        """log p(x | c) in nats, or as `kind` says, float32[B]; `key` where terms are drawn."""
        return self.score(params, self.checked_batch(x, context, mask), key=key).log_prob

    @takes_params
    def sample(self, params: Params, key: jax.Array, num: int, **options: Any) -> jax.Array:
        """Draws `num` examples, [num, *grid, *value]; the options are those of `draw`.

        Example b has the key fold_in(key, b): fewer examples are the first of more.
        """
        with within_memory(lambda: f"{num} examples need more memory than there is: draw fewer at once"):
            return self.draw(params, keys_of(key, num), **options).x

    def open_sampler(self, sampler: Sampler, open_run: Callable[[str], Any]) -> Sampler:
        """The sampler with the other runs that it needs to draw from the model, see `Sampler.opened`."""
        if self.SAMPLED:
            return self.named_parts[self.SAMPLED].open_sampler(sampler, open_run)
        return sampler.opened(self, open_run)

    def prepare_sampler(self, sampler: Sampler, params: Params, resources: Resources) -> Sampler:
        """The sampler with the arrays that it needs to draw from the model, see `Sampler.prepare`."""
        if not self.SAMPLED:
            return sampler

        def examples(split: str, num: int) -> Batch:
            return self.sampled_batch(params, resources.examples(split, num))

        own = dataclasses.replace(resources, examples=examples)
        return self.named_parts[self.SAMPLED].prepare_sampler(sampler, params[self.SAMPLED], own)

    def sampled_batch(self, params: Params, batch: Batch) -> Batch:
        """Examples of the model as those of its part `SAMPLED`; called outside of `jit`, with all that a sampler reads
        of a split at once. By default they are the same.
        """
        return batch

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
        """Draws one example for each of the keys: `x` [B, *grid, *value], and statistics of the work.

        Args:
          params, keys: the parameters, and random keys, [B]. Each example depends on its own key alone.
          options: all options as one value; None where they are given one by one.
          sampler: a call string, see `arjax.samplers`, or a sampler.
          place: puts a tree of arrays, with examples as their first axis, on several devices.
          **short: the fields of `DrawOptions` one by one, and what the kind of the model has beside these; raises
            `UserError` for those that it cannot take, as for unknown samplers and wrong shapes.
        """
        options, own = asked(options, short, self.own_draw_options)
        check_params(self.param_shapes, params)
        return self.draw_placed(params, keys, make_sampler(sampler), options, place, **own)

    def draw_placed(self, params, keys: jax.Array, sampler: Sampler, options: DrawOptions, place, **own: Any) -> Draw:
        """`draw`, with all options read: checks them, puts the arrays of the examples in their places, and draws."""
        self.check_draws(sampler, options)
        end, takes_end = check_end(self.event, options.end), "end" in self.draw_options
        of_examples = keys, as_context(self.context_spec, options.context, num_keys(keys), one_for_all=True)
        keys, context = place(of_examples) if place else of_examples
        own_end, temperature = end if takes_end else None, as_temperature(options.temperature)
        options = dataclasses.replace(options, context=context, temperature=temperature, end=own_end)
        draw = self.draw_examples(params, keys, sampler, options, **own)
        return draw if end is None or takes_end else _up_to_end(self.event, draw, end, options.observed)

    def draw_examples(
        self, params: Params, keys: jax.Array, sampler: Sampler, options: DrawOptions, *args: Any, **own: Any
    ) -> Draw:
        """The draw of a kind, of arguments that are checked: `options.context` holds the parts of the context of each
        example, or is None. The statistics have int32[B] `network_calls` and `steps`. Only `draw` calls this method; a
        kind draws from its parts by their `draw`, too.
        """
        raise NotImplementedError(f"{type(self).__name__} defines `draw`, not `draw_examples`: call its `draw`")

    def check_draws(self, sampler: Sampler, options: DrawOptions = PLAIN_DRAW) -> None:
        """Raises `UserError` for options of draws that this kind of model cannot take: before it is trained, too."""
        if sampler != Cached():
            raise UserError(f"{type(self).__name__} draws in its own way: leave sample.sampler at cached")
        self.refuse(options)

    def refuse(self, options: DrawOptions) -> None:
        """Raises `UserError` for options of a draw that this kind of model cannot take, unless they are off."""
        as_temperature(options.temperature)
        for name in options.used():
            if name not in self.draw_options and name not in ("context", "end"):
                raise UserError(f"{type(self).__name__} cannot draw with {name}: this kind of model has no such option")


def _up_to_end(event: EventSpec, draw: Draw, end: int, observed: Any) -> Draw:
    """A draw of whole sequences of tokens with `end` at the sites behind the first one, but for observed ones: up to
    there it has the distribution of a draw that stops. A statistic `log_prob` would be that of the whole sequence.
    """
    observed_T = None if observed is None else as_sites(event, observed, "`observed`")
    stats = {name: values for name, values in draw.stats.items() if name != "log_prob"}
    return Draw(filled_behind_end(draw.x, end, observed_T), stats)


def asked(
    options: DrawOptions | None, short: Mapping[str, Any], own: frozenset[str] = frozenset()
) -> tuple[DrawOptions, dict[str, Any]]:
    """The options of a draw, given as one value or one by one, and those of a kind's own; `UserError` for both."""
    found, more = DrawOptions.of(short, own)
    if options is not None and len(short) > len(more):
        raise UserError("the options of a draw are one value or keyword arguments, not both")
    return found if options is None else options, more


@functools.partial(jax.jit, static_argnums=0)
def init_network(network: nn.Module, key: jax.Array, *args: Any) -> Params:
    """Fresh parameters of a network, {} where it has nothing to learn; one compiled program: operation by operation, a
    Transformer would take several times as long.
    """
    return network.init(key, *args).get("params", {})


def apply_network(network: nn.Module, params: Params, key: jax.Array | None, *args: Any, **kwargs: Any) -> jax.Array:
    """`arjax.networks.base.apply`; raises `UserError` where a key for dropout is missing."""
    try:
        return apply(network, params, key, *args, **kwargs)
    except flax.errors.InvalidRngError as error:
        raise UserError("this network has dropout: train=True needs a random `key`") from error


def folded(key: jax.Array | None, number: int) -> jax.Array | None:
    """Another key for a part of a score; None where there is none."""
    return None if key is None else jax.random.fold_in(key, number)


def repeated(tree: Any, num: int) -> Any:
    """A tree of arrays [B, ...] with all examples `num` times: example b stands at b, B + b, 2 B + b, ..."""
    return jax.tree.map(lambda rows: jnp.concatenate([jnp.asarray(rows)] * num), tree)


def key_needed(key: jax.Array | None, reason: str) -> jax.Array:
    """The key; raises `UserError` where there is none."""
    if key is None:
        raise UserError(f"{reason}: give a random `key`")
    return key
