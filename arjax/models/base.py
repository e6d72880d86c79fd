"""The contract of a model: all that training, evaluation and objectives ask of one, whatever it is made of."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from arjax.core.batch import Batch, Score
from arjax.core.errors import UserError
from arjax.core.notebooks import InNotebook
from arjax.core.programs import ByClass, within_memory
from arjax.core.registry import Registry
from arjax.core.spec import ContextSpec, EventSpec
from arjax.core.traits import INHERITED
from arjax.factorization import Orders
from arjax.models.checks import checked_batch, public
from arjax.models.draws import checked_draw, draw_part, keys_of
from arjax.networks.readout import is_collecting
from arjax.samplers import Draw, Request, Sampler, make_sampler

Params = Any


class Model(ByClass, InNotebook):
    """A joint distribution over an event given a context, of any kind.

    A model is a pytree: its arrays are leaves, its architecture is static and compared by value, so it is an argument
    of jitted functions. A kind of models is a frozen dataclass that extends this class, is registered as a pytree
    (`jax.tree_util.register_dataclass`) and in `arjax.models.kinds.KINDS`, and defines `make`, `event`, `context_spec`,
    `score_kind`, `init`, `score` and `draw_examples`. `log_prob`, `sample` and `draw` check their arguments; `score`
    and `draw_examples` trust theirs. Abilities that only some kinds have are functions, see `arjax.models.extras`.
    """

    #: The registry of its networks; None: its parts have networks, and it has none of its own.
    NETWORKS: ClassVar[Any] = None
    #: The options that are call strings, by name, with the registries of what they name.
    CALLS: ClassVar[Mapping[str, Registry]] = {}
    #: Small models of the kind for the laws by names of their own, `arjax.models.kinds.Example`.
    EXAMPLES: ClassVar[Mapping[str, Any]] = {}
    #: The options of a `Request` that `draw_examples` takes beside `context`, the names of its further arguments, and
    #: "sampler" if it draws by one. All kinds can be drawn with an `end`: `draw` fills up those that do not name it.
    takes: ClassVar[frozenset[str]] = frozenset()

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
        def score_kind(self) -> str:
            """Kind of the scores: "exact" log-likelihoods, a "bound" on them, an "estimate", or "none": no likelihood,
            but another number, the higher the better.
            """

        @property
        def orders(self) -> Orders | None:
            """The orders that it is scored by, if these are several."""
    else:
        orders = None

    @property
    def traits(self) -> frozenset[str]:
        """What it can do or needs, see `arjax.core.traits`; by default the inherited traits of its parts."""
        return inherited(self)

    @property
    def named_parts(self) -> Mapping[str, Model]:
        """The models that it is made of, by the names of their parameters; none by default."""
        return {}

    @classmethod
    def make(cls, recipe: Any, *args: Any, **options: Any) -> Any:
        """Returns the model of an `arjax.models.kinds.Recipe`; the keyword arguments are the options of the kind."""
        raise NotImplementedError

    def init(self, key: jax.Array) -> Params:
        """Returns fresh parameters, a nested dict of float32 arrays; by default those of the parts by their names."""
        return {name: part.init(jax.random.fold_in(key, i)) for i, (name, part) in enumerate(self.named_parts.items())}

    def score(self, params: Params, batch: Batch, *, key: jax.Array | None = None, train: bool = False) -> Score:
        """Returns log p(x | c) of each example in nats, or as `score_kind` says; `key` is for dropout and drawn terms.
        The terms of a score are costs in nats that add up to -log_prob. In training its negative is minimised: where
        that is not -log p, the kind is "none", and one term has the name of the loss.
        """
        raise NotImplementedError

    def draw_examples(
        self, params: Params, keys: jax.Array, sampler: Sampler, options: Request, *args: Any, **others: Any
    ) -> Draw:
        """Returns the draw, from arguments that `arjax.models.draws.checked_draw` made: `options.context` holds the
        parts of the context of each example, or is None. The statistics have int32[B] `network_calls` and `steps`.
        """
        raise NotImplementedError

    @functools.cached_property
    def param_shapes(self) -> Params:
        """Shapes and types of the parameters, by the names of `init`."""
        return jax.eval_shape(self.init, jax.random.key(0))

    @property
    def num_params(self) -> int:
        """Number of parameters."""
        return sum(leaf.size for leaf in jax.tree.leaves(self.param_shapes))

    @public
    def log_prob(
        self, params: Params, x: jax.Array, *, context: Any = None, mask: Any = None, key: jax.Array | None = None
    ) -> jax.Array:
        """Returns log p(x | c) in nats, or as `score_kind` says, float32[B]; `key` where terms are drawn."""
        return self.score(params, checked_batch(self, params, x, context, mask, key), key=key).log_prob

    @public
    def sample(self, params: Params, key: jax.Array, num: int, **options: Any) -> jax.Array:
        """Draws `num` examples, [num, *grid, *value]; example b has the key fold_in(key, b). Options: see `draw`."""
        with within_memory(lambda: f"{num} examples need more memory than there is: draw fewer at once"):
            return self.draw(params, keys_of(key, num), **options).x

    def draw(self, params: Params, keys: jax.Array, *, sampler: str | Sampler = "cached", **options: Any) -> Draw:
        """Draws one example for each of the keys [B]: `x` [B, *grid, *value], and statistics of the work. Each example
        depends on its own key alone. `sampler` is a sampler or a call string, see `arjax.samplers`; the options are
        those of `arjax.samplers.Request`, and the further options of the kind of model, see `takes`.
        """
        sampler = make_sampler(sampler)
        request, others = checked_draw(self, params, keys, sampler, options)
        return draw_part(self, params, keys, sampler, request, **others)


def inherited(model: Model) -> frozenset[str]:
    """Returns the traits that a model has because a part has them."""
    return INHERITED & frozenset[str]().union(*(part.traits for part in model.named_parts.values()))


def in_types(model: Model, x: Any, context: Any) -> tuple[jax.Array, dict[str, jax.Array] | None]:
    """Returns values and the parts of a context in the types of the model: small integers would overflow."""
    parts = {name: jnp.asarray(context[name], part.dtype) for name, part in model.context_spec.parts}
    return jnp.asarray(x, model.event.dtype), parts or None


def dummy_batch(model: Model, batch_size: int) -> Batch:
    """Returns an all-zero batch of the shapes and types of a model."""

    def zeros(spec: EventSpec) -> jax.Array:
        return jnp.zeros((batch_size, *spec.shape), spec.dtype)

    return Batch(zeros(model.event), {name: zeros(part) for name, part in model.context_spec.parts})


def init_network(network: nn.Module, key: jax.Array, *args: Any) -> Params:
    """Returns fresh parameters of a network, {} if it has nothing to learn, as one compiled program."""
    return (_params if is_collecting() else _compiled_params)(network, key, *args)


def _params(network: nn.Module, key: jax.Array, *args: Any) -> Params:
    return network.init(key, *args).get("params", {})


_compiled_params = jax.jit(_params, static_argnums=0)


def folded(key: jax.Array | None, number: int) -> jax.Array | None:
    """Returns another key for a part of a score, if there is a key."""
    return None if key is None else jax.random.fold_in(key, number)


def repeated(tree: Any, num: int) -> Any:
    """Returns a tree of arrays [B, ...] with all examples `num` times: example b stands at b, B + b, 2 B + b, ..."""
    return jax.tree.map(lambda rows: jnp.concatenate([jnp.asarray(rows)] * num), tree)


def key_needed(key: jax.Array | None, reason: str) -> jax.Array:
    """Returns the key; raises `UserError` if there is none."""
    if key is None:
        raise UserError(f"{reason}: give a random `key`")
    return key
