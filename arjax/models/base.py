"""The contract of a model: all that training, evaluation and objectives ask of one, whatever it is made of."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Protocol

import jax
import jax.numpy as jnp

from arjax.conditionals.temperature import as_temperature
from arjax.core.arguments import named_arguments
from arjax.core.arrays import is_traced
from arjax.core.batch import Batch, Score
from arjax.core.errors import UserError
from arjax.core.memory import bytes_of, check_memory, within_memory
from arjax.core.registry import did_you_mean
from arjax.core.spec import ContextSpec, EventSpec
from arjax.factorization import Orders
from arjax.models.checks import as_context, as_mask, as_values, check_key
from arjax.models.sampling import keys_of
from arjax.samplers import Cached, Draw, Resources, Sampler

Params = Any


class Model(Protocol):
    """A joint distribution over an event given a context.

    A pytree: its arrays are leaves, its architecture is static and compared by value, so it is an argument of jitted
    functions. `AutoregressiveModel` is one: a single network, scored exactly.
    """

    @property
    def kind(self) -> str:
        """Kind of its scores: "exact" log-likelihoods, a "bound" on them, or an "estimate"."""

    @property
    def orders(self) -> Orders | None:
        """The orders that it is scored by, where these are several; else None."""

    @property
    def mixes(self) -> bool:
        """Whether the mean of exp(score) is at most p(x | c): then the log of a mean over several draws is a bound."""

    @property
    def discrete_latents(self) -> bool:
        """Whether a score draws discrete latents, through which its gradient does not flow."""

    @property
    def event(self) -> EventSpec:
        """Shape and kind of one example."""

    @property
    def context_spec(self) -> ContextSpec:
        """The parts of the context."""

    @property
    def param_shapes(self) -> Params:
        """Shapes and types of the parameters."""

    def init(self, key: jax.Array) -> Params:
        """Fresh parameters: a nested dict of float32 arrays."""

    def dummy_batch(self, batch_size: int) -> Batch:
        """An all-zero batch of the right shapes and types."""

    def score(self, params: Params, batch: Batch, *, key: jax.Array | None = None, train: bool = False) -> Score:
        """log p(x | c) of each example in nats, or as `kind` says; `key` for dropout and for terms that are drawn."""

    def draw(self, params: Params, keys: jax.Array, *, sampler: str = "cached", context: Any = None, **options) -> Draw:
        """One example for each of the keys, with statistics of the work."""


class BaseModel:
    """The short forms that all models share; a subclass defines `event`, `context_spec`, `init`, `score` and `draw`."""

    kind: ClassVar[str]
    orders: ClassVar[Orders | None] = None
    mixes: ClassVar[bool] = True
    discrete_latents: ClassVar[bool] = False

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

    def check_parts(self) -> None:
        """Raises `UserError` unless the parts, put together by hand or out of a file, are those of such a model.

        Models check at once what costs nothing; this is the rest.
        """

    def checked_batch(self, x: Any, context: Any = None, mask: Any = None) -> Batch:
        """Examples of the user with their contexts as a batch; raises `UserError` where they do not fit the model."""
        x = as_values(self.event, x)
        return Batch(x, as_context(self.context_spec, context, len(x)) or {}, as_mask(self.event, mask, len(x)))

    @named_arguments
    def log_prob(
        self, params: Params, x: jax.Array, *, context: Any = None, mask: Any = None, key: jax.Array | None = None
    ) -> jax.Array:
        """log p(x | c) in nats, or as `kind` says, float32[B]; `key` where terms are drawn."""
        return self.score(params, self.checked_batch(x, context, mask), key=key).log_prob

    def sample(self, params: Params, key: jax.Array, num: int, **options: Any) -> jax.Array:
        """Draws `num` examples, [num, *grid, *value]; the options are those of `draw`.

        Example b has the key fold_in(key, b): fewer examples are the first of more.
        """
        with within_memory(lambda: f"{num} examples need more memory than there is: draw fewer at once"):
            return self.draw(params, keys_of(key, num), **options).x

    def open_sampler(self, sampler: Sampler, open_run: Callable[[str], Any]) -> Sampler:
        """The sampler with the other runs that it needs to draw from the model, see `Sampler.opened`."""
        return sampler.opened(self, open_run)

    def prepare_sampler(self, sampler: Sampler, params: Params, resources: Resources) -> Sampler:
        """The sampler with the arrays that it needs to draw from the model, see `Sampler.prepare`."""
        return sampler

    def check_draws(self, sampler: Sampler, temperature: float = 1.0, **options: Any) -> None:
        """Raises `UserError` for options of draws that this kind of model cannot take: before it is trained, too."""
        if sampler != Cached():
            raise UserError(f"{type(self).__name__} draws in its own way: leave sample.sampler at cached")
        as_temperature(temperature)
        self.refuse(options)

    def refuse(self, options: Mapping[str, Any]) -> None:
        """Raises `UserError` for options of a draw that this kind of model cannot take, unless they are off."""
        for name, value in options.items():
            if name not in DRAW_OPTIONS:
                raise UserError(f"a draw has no option {name!r}{did_you_mean(name, DRAW_OPTIONS)}")
            off = DRAW_OPTIONS[name]
            if value is not off and not (off is not None and value == off):
                raise UserError(f"{type(self).__name__} cannot draw with {name}: it draws whole examples of its own")


#: The options of a draw that not every kind of model can take, and the values that turn them off.
DRAW_OPTIONS = {
    "given": None,
    "observed": None,
    "temperature": 1.0,
    "top_k": 0,
    "top_p": 1.0,
    "min_p": 0.0,
    "end": None,
    "place": None,
}


def key_needed(key: jax.Array | None, reason: str) -> jax.Array:
    """The key; raises `UserError` where there is none."""
    if key is None:
        raise UserError(f"{reason}: give a random `key`")
    return key
