"""The contract of a sampler, and what all samplers share: call strings, keys, statistics, and drawing a step."""

from __future__ import annotations

import abc
import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from arjax.conditionals.base import bound
from arjax.conditionals.blocks import scores_blocks
from arjax.core.batch import Batch
from arjax.core.errors import UserError
from arjax.core.registry import Registry
from arjax.samplers.ends import Ends


def check_ranges(name: str, family: type[Sampler], options: Mapping[str, Any]) -> None:
    """Ranges that hold for every sampler: whole numbers are not negative."""
    for key, value in options.items():
        if type(value) is int and value < 0:
            raise UserError(
                f"the option {key!r} of the sampler {name!r} must be a whole number, at least 0, not {value}"
            )


SAMPLERS = Registry("sampler", check=check_ranges)


class Draw(NamedTuple):
    """Samples and what they cost.

    Attributes:
      x: the samples, [B, *grid, *value].
      stats: arrays per example, int32[B]: `network_calls`, how often the network computed (a full pass, a step or a
        window of steps); `steps`, the steps of the order in which a site of the example was drawn, until the example
        ended. Samplers may add their own.
    """

    x: jax.Array
    stats: dict[str, jax.Array]


@dataclasses.dataclass(frozen=True)
class Resources:
    """Things outside of a model that a sampler may be made from, see `Sampler.prepare`.

    Attributes:
      examples: (split, num) -> the first `num` examples of a split, or all of them, as a batch of arrays.
      open_run: workdir -> another run, with its `model` and its `params`.
    """

    examples: Callable[[str, int], Batch]
    open_run: Callable[[str], Any]


class Sampler(abc.ABC):
    """An algorithm that draws from a model. Subclasses are frozen dataclasses and pytrees.

    Their options are static fields with a default that is a bool, int, float or str, so a call string such as
    `cached(chunk=32)` names one; arrays that a sampler needs beside the model are other fields, which `prepare` fills.
    The noise of
    example b in step t is a function of `keys[b]` and t alone: a draw depends neither on how many are drawn together
    nor on where they are, and samplers that are exact agree value by value.
    """

    def __call__(
        self,
        model: Any,
        params: Any,
        keys: jax.Array,
        canvas: jax.Array,
        observed: jax.Array | None,
        context: jax.Array | None,
        temperature: float | jax.Array = 1.0,
        shared: bool = False,
        first: int | jax.Array = 0,
        end: int | jax.Array | None = None,
    ) -> Draw:
        """Draws B examples in one compiled program, which serves all orders, keys, temperatures and observed sites.

        Args:
          model: a pytree with the fields `network`, `conditional` and `factorization`, as `AutoregressiveModel`.
          params: its parameters.
          keys: B random keys.
          canvas: the values of observed sites, [B, *grid, *value]; what it holds elsewhere does not matter.
          observed: bool[D], the sites that keep their values; None where nothing is observed.
          context: [B, ...] or None.
          temperature: see `Conditional.sample`.
          shared: all examples have the same observed values and the same context.
          first: the number of step 0: the noise of step t is that of the keys and first + t. Above 0 in a window on a
            longer sequence.
          end: the token that ends an example, of sequences of tokens: behind it all is `end` again. None: there is none.
        """
        return run(self, model, params, keys, canvas, observed, context, temperature, shared, first, end)

    def prepare(self, model: Any, params: Any, resources: Resources) -> Sampler:
        """The sampler with all arrays that it needs beside those of the model: a draft and its parameters, counts,
        measured losses. The sampler itself where it needs none; called once, outside `jit`.

        Raises:
          UserError: they cannot be had, or do not fit the model.
        """
        return self

    @abc.abstractmethod
    def draw(self, model: Any, params: Any, steps: Steps, canvas: jax.Array, context: jax.Array | None) -> Draw:
        """What subclasses compute, inside `jit`; `run` adds the statistics that follow from the arguments."""


@functools.partial(jax.jit, static_argnames="shared")
def run(
    sampler, model, params, keys, canvas, observed, context, temperature, shared=False, first=0, end=None
) -> Draw:
    """A draw as one compiled program; see `Sampler.__call__`."""
    steps = Steps(model, params, keys, observed, temperature, shared, first, end)
    x, stats = sampler.draw(model, params, steps, canvas, context)
    return Draw(steps.ends.filled(x, observed), stats | {"steps": steps.ends.steps(x, steps.to_draw())})


def make_sampler(text: str | Sampler) -> Sampler:
    """The sampler of a call string, such as `naive` or `cached(chunk=32)`; one that is built already is returned as is.

    Raises:
      UserError: an unknown name or option, or a value of another type or out of range.
    """
    return text if isinstance(text, Sampler) else SAMPLERS.call(text)


def option(default: Any) -> Any:
    """A field of a sampler that a call string can set."""
    return dataclasses.field(default=default, metadata={"static": True})


def example_keys(key: jax.Array, num: int) -> jax.Array:
    """The keys of examples 0, ..., num - 1, fold_in(key, b): those of fewer examples are the first of those of more."""
    key = key if jnp.issubdtype(key.dtype, jax.dtypes.prng_key) else jax.random.wrap_key_data(key)
    return _fold_in(key, num)


@functools.partial(jax.jit, static_argnums=1)
def _fold_in(key: jax.Array, num: int) -> jax.Array:
    return jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(num))


def step_keys(keys: jax.Array, step_S: jax.Array) -> jax.Array:
    """The keys of some steps of B examples, fold_in(keys[b], t): [S, B]."""
    return jax.vmap(jax.vmap(jax.random.fold_in, (0, None)), (None, 0))(keys, step_S)


def per_example(x: jax.Array, count: int | jax.Array) -> jax.Array:
    """The same count for each of the examples, int32[B]."""
    return jnp.broadcast_to(jnp.asarray(count, jnp.int32), x.shape[:1])


class Steps:
    """What the steps of one draw share, and how each of them is drawn; lives inside `jit`."""

    def __init__(
        self,
        model: Any,
        params: Any,
        keys: jax.Array,
        observed: jax.Array | None,
        temperature: Any,
        shared: bool = False,
        first: int | jax.Array = 0,
        end: int | jax.Array | None = None,
    ):
        self.factorization, self.temperature, self.shared = model.factorization, temperature, shared
        self.head = bound(model.conditional, params)
        self.observed_D = observed
        self.ends = Ends(self.factorization, end)
        self.keys_B, self.first = keys, first
        self.hold_keys(0, self.factorization.num_steps)

    def hold_keys(self, start: int | jax.Array, num: int) -> None:
        """Makes the keys of the steps start, ..., start + num - 1, which are all that are drawn from then on.

        All at once: a hash in every step would take longer than the rest of a small step.
        """
        self._start = start
        self._keys_SB = step_keys(self.keys_B, self.first + start + jnp.arange(num))

    def _observed(self, sites: jax.Array) -> jax.Array:
        """Which of some sites are observed; False for the padding of short blocks."""
        if self.observed_D is None:
            return jnp.zeros(sites.shape, bool)
        within = jnp.minimum(sites, self.factorization.num_sites - 1)
        return (sites < self.factorization.num_sites) & self.observed_D[within]

    def to_draw(self) -> jax.Array:
        """bool[S]: the steps that have a site to draw."""
        blocks_SM = jnp.asarray(self.factorization.blocks)
        return ((blocks_SM < self.factorization.num_sites) & ~self._observed(blocks_SM)).any(1)

    def prompt(self) -> int | jax.Array:
        """How many steps at the start of the order are observed whole."""
        if self.observed_D is None:
            return 0
        to_draw_S = self.to_draw()
        return jnp.where(to_draw_S.any(), jnp.argmax(to_draw_S), len(to_draw_S))

    def values(self, canvas: jax.Array, t: jax.Array, features_BMF: jax.Array) -> jax.Array:
        """Draws the sites of step t from their features, [B, M, size of a value]; `canvas` has the observed ones."""
        sites_M, valid_M = self.factorization.sites(t)
        head, keys_B = self.head, self._keys_SB[t - self._start]
        if scores_blocks(head, self.factorization):
            given_M, num_sites = self._observed(sites_M), self.factorization.num_sites
            value_shape = canvas.shape[1 + len(self.factorization.grid_shape) :]
            flat = canvas.reshape(canvas.shape[0], num_sites, -1)
            held = flat[:, jnp.minimum(sites_M, num_sites - 1)].reshape(*features_BMF.shape[:2], *value_shape)

            def draw(key: jax.Array, features: jax.Array, held: jax.Array) -> jax.Array:
                return head.block_sample(key, features, valid_M, held, given_M, self.temperature)

            values = jax.vmap(draw)(keys_B, features_BMF, held)
        else:
            of_sites = head.at(sites_M)
            draw_one = lambda key, features: of_sites.sample(key, features, self.temperature)  # noqa: E731
            values = jax.vmap(draw_one)(keys_B, features_BMF)
        return values.reshape(*values.shape[:2], -1).astype(canvas.dtype)

    def fill(self, canvas: jax.Array, t: jax.Array, features_BMF: jax.Array) -> jax.Array:
        """The canvas with the sites of step t drawn, where they are not observed."""
        sites_M, valid_M = self.factorization.sites(t)
        num_sites = self.factorization.num_sites
        values = self.values(canvas, t, features_BMF)
        flat = canvas.reshape(canvas.shape[0], num_sites, -1)
        if len(sites_M) == 1:  # a slice is written faster than what may be scattered, and one site always exists
            kept = jax.lax.dynamic_slice_in_dim(flat, sites_M[0], 1, axis=1)
            values = values if self.observed_D is None else jnp.where(self._observed(sites_M), kept, values)
            return jax.lax.dynamic_update_slice_in_dim(flat, values, sites_M[0], axis=1).reshape(canvas.shape)
        place_M = jnp.where(valid_M & ~self._observed(sites_M), sites_M, num_sites)
        return flat.at[:, place_M].set(values, mode="drop").reshape(canvas.shape)
