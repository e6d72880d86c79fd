"""The contract of a sampler, and the code shared by all samplers: call strings, keys, statistics, draws of a step."""

from __future__ import annotations

import abc
import copy
import dataclasses
import functools
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from arjax.conditionals.base import bound
from arjax.conditionals.blocks import scores_blocks
from arjax.core.batch import Batch
from arjax.core.programs import CLASS_FIELD, ByClass, call_if_it_fits, checked_pytree
from arjax.core.registry import Registry
from arjax.factorization import Factorization
from arjax.networks.base import Context
from arjax.samplers.cores import in_parts, num_parts
from arjax.samplers.loops import Ends
from arjax.samplers.request import Request

#: The first number that a sampler may fold into a key: conditionals split the keys of steps, and the parts of a split
#: are the key with 0, 1, ... folded in; the keys of examples have the numbers of their steps folded in.
OWN_NUMBERS = np.uint32(2**31)

SAMPLERS = Registry("sampler", hidden=("source", CLASS_FIELD))


class Draw(NamedTuple):
    """Samples [B, *grid, *value], and the cost of drawing them: arrays of each example.

    `network_calls` int32[B] counts full passes, steps and windows of steps; `steps` int32[B] the steps of the order in
    which a site was drawn, until the example ended. Samplers may add others, such as `log_prob` float32[B] in nats of
    the drawn values given the observed ones.
    """

    x: jax.Array
    stats: dict[str, jax.Array]


@dataclasses.dataclass(frozen=True)
class Resources:
    """Things outside of a model that a sampler may be made from, see `Sampler.prepare`."""

    examples: Callable[[str, int], Batch]  # (split, num) -> at most `num` examples of a split, evenly spaced
    open_run: Callable[[str], Any]  # workdir -> another run, with its `model` and its `params`


class Sampler(ByClass, abc.ABC):
    """An algorithm that draws from a model. Subclasses are frozen dataclasses and pytrees.

    Their options are static fields with a default that is a bool, int, float or str, so a call string such as
    `cached(chunk=32)` names one; arrays that a sampler needs beside the model are other fields, which `prepare` fills.
    A draw follows the rule of noise in `arjax.samplers`.
    """

    #: Whether samples follow the distribution of the model; else they are an approximation, or no draw at all.
    exact: ClassVar[bool] = True
    #: Whether parts of the examples are drawn at the same time on the cores of a CPU, see `arjax.samplers.cores`. Such
    #: a sampler makes the same number of network calls for all examples of a draw. Subclasses do not inherit it.
    PARTS: ClassVar[bool] = False
    #: Whether the values depend on the temperature.
    WARMS: ClassVar[bool] = True
    #: The sampler or the draft that it draws with, in samplers that have such a field.
    source: Any = None

    def __call__(self, model: Any, params: Any, keys: jax.Array, request: Request) -> Draw:
        """Draws B examples in one compiled program, shared by all orders, keys, temperatures and observed sites. The
        `request` is checked, and the conditional is truncated already.
        """
        has_parts = vars(type(self)).get("PARTS", False)
        parts = num_parts(len(keys), params, model, keys, request) if has_parts else 1

        def draw(of_examples: tuple[jax.Array, jax.Array, Context | None]) -> Draw:
            keys, given, context = of_examples
            arguments = self, model, params, keys, dataclasses.replace(request, given=given, context=context)
            return call_if_it_fits("the arrays of this draw", run_sampler, *arguments, times=parts)

        of_examples = keys, request.given, request.context
        if parts == 1:
            return draw(of_examples)
        x, stats = in_parts(draw, of_examples, parts)
        calls = stats["network_calls"]
        # The calls of the longest part: the whole goes on until all examples have ended.
        return Draw(x, stats | {"network_calls": jnp.full_like(calls, calls.max())})

    def check(self, model: Any) -> None:
        """Raises `UserError` if it cannot draw from a model, which has the conditional that is drawn from."""

    def opened(self: Any, model: Any, open_run: Callable[[str], Any]) -> Sampler:
        """Returns the sampler with the other runs that it needs: the part of `prepare` before a training."""
        return self if self.source is None else dataclasses.replace(self, source=self.source.opened(model, open_run))

    @property
    def has_arrays(self) -> bool:
        """Whether `prepare` adds arrays that belong to one model."""
        return self.source is not None and self.source.has_arrays

    def prepare(self: Any, model: Any, params: Any, resources: Resources) -> Sampler:
        """Returns the sampler with its arrays, such as a draft and its parameters; called once, outside `jit`."""
        self.check(model)
        opened = self.opened(model, resources.open_run)
        if self.source is None:
            return opened
        return dataclasses.replace(opened, source=opened.source.prepare(model, params, resources))

    @abc.abstractmethod
    def draw(self, model: Any, params: Any, steps: Steps, canvas: jax.Array, context: Context | None) -> Draw:
        """The algorithm of a subclass, inside `jit`; `run_sampler` adds the statistic `steps`."""


@jax.jit
def run_sampler(sampler: Sampler, model: Any, params: Any, keys: jax.Array, request: Request) -> Draw:
    """Returns a draw as one compiled program; see `Sampler.__call__`."""
    steps = Steps(model, params, keys, request)
    x, stats = sampler.draw(model, params, steps, request.given, request.context)
    return Draw(steps.ends.filled(x, steps.observed_D), stats | {"steps": steps.ends.steps(x, steps.requested())})


def make_sampler(text: str | Sampler) -> Sampler:
    """Returns the sampler of a call string, such as `naive` or `cached(chunk=32)`, or one that is built already."""
    if not isinstance(text, Sampler):
        return checked_pytree(SAMPLERS.call(text), f"the sampler {str(text)!r}")
    return checked_pytree(SAMPLERS.checked(text), "the sampler")


@functools.partial(jax.jit, static_argnums=1)
def example_keys(key: jax.Array, num: int) -> jax.Array:
    """Returns the keys of `num` examples, fold_in(key, b); the keys of more examples begin with the same ones."""
    key = key if jnp.issubdtype(key.dtype, jax.dtypes.prng_key) else jax.random.wrap_key_data(key)
    return jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(num))


def keys_of_steps(keys: jax.Array, step_S: jax.Array) -> jax.Array:
    """Returns the keys of some steps of B examples, fold_in(keys[b], t): [S, B]."""
    return jax.vmap(jax.vmap(jax.random.fold_in, (0, None)), (None, 0))(keys, step_S)


def per_example(x: jax.Array, count: int | jax.Array) -> jax.Array:
    """Returns the same count for each of the examples, int32[B]."""
    return jnp.broadcast_to(jnp.asarray(count, jnp.int32), x.shape[:1])


def placed(
    factorization: Factorization,
    canvas: jax.Array,
    t: jax.Array,
    values_BMv: jax.Array,
    observed: Callable[[jax.Array], jax.Array] | None = None,
) -> jax.Array:
    """Returns the canvas with values [B, M, size of a value] of step t, except at sites that are `observed`."""
    sites_M, valid_M = factorization.sites(t)
    num_sites = factorization.num_sites
    flat = canvas.reshape(canvas.shape[0], num_sites, -1)
    if len(sites_M) == 1:  # a slice is written faster than a scatter, and a block of one site has no padding
        kept = jax.lax.dynamic_slice_in_dim(flat, sites_M[0], 1, axis=1)
        values_BMv = values_BMv if observed is None else jnp.where(observed(sites_M), kept, values_BMv)
        return jax.lax.dynamic_update_slice_in_dim(flat, values_BMv, sites_M[0], axis=1).reshape(canvas.shape)
    place_M = jnp.where(valid_M if observed is None else valid_M & ~observed(sites_M), sites_M, num_sites)
    return flat.at[:, place_M].set(values_BMv, mode="drop").reshape(canvas.shape)


class Steps:
    """State shared by the steps of one draw, and the draw of each step; exists inside `jit` only.

    Attributes:
      keys_SB: the random key of each step and example. A sampler that needs further random numbers folds `OWN_NUMBERS`
        or more into these keys: smaller numbers give the noise of some conditionals again.
      temperature: divides the logits, float32[].
      factorization: the order and the blocks of the draw.
      stop: behind the last requested step, int32[] or a whole number.
    """

    def __init__(self, model: Any, params: Any, keys: jax.Array, request: Request):
        self.factorization, self.head = model.factorization, bound(model.conditional, params)
        self.request, self.temperature, self.shared = request, request.temperature, request.shared
        self.observed_D = None if request.observed is None else jnp.asarray(request.observed).reshape(-1)
        self.ends = Ends(self.factorization, request.end)
        self.stop = self.factorization.num_steps if request.stop is None else request.stop
        # All at once: a hash in every step would take longer than the rest of a small step.
        self.keys_B, first = keys, request.first
        self.keys_SB = keys_of_steps(keys, first + jnp.arange(self.factorization.num_steps))

    def at_temperature(self, temperature: float | jax.Array) -> Steps:
        """Returns the same steps, keys and observed sites at another temperature, which may be traced."""
        return self.replace(temperature=temperature)

    def replace(self, **attributes: Any) -> Steps:
        """Returns the same steps with other attributes."""
        other = copy.copy(self)
        vars(other).update(attributes)
        return other

    def observed(self, sites: jax.Array) -> jax.Array:
        """bool, of the shape of `sites`: whether each is observed; False for the padding of short blocks."""
        if self.observed_D is None:
            return jnp.zeros(sites.shape, bool)
        within = jnp.minimum(sites, self.factorization.num_sites - 1)
        return (sites < self.factorization.num_sites) & self.observed_D[within]

    def to_draw(self) -> jax.Array:
        """bool[S]: the steps that have a site to draw."""
        blocks_SM = jnp.asarray(self.factorization.blocks)
        return ((blocks_SM < self.factorization.num_sites) & ~self.observed(blocks_SM)).any(1)

    def requested(self) -> jax.Array:
        """bool[S]: the steps before `stop` that have a site to draw."""
        return self.to_draw() & (jnp.arange(self.factorization.num_steps) < self.stop)

    def prompt(self) -> int | jax.Array:
        """Returns the number of steps at the start of the order with all their sites observed."""
        if self.observed_D is None:
            return 0
        to_draw_S = self.to_draw()
        return jnp.where(to_draw_S.any(), jnp.argmax(to_draw_S), len(to_draw_S))

    def value(self, key: jax.Array, t: jax.Array, flat_Dv: jax.Array, features_MF: jax.Array) -> jax.Array:
        """Draws the sites of step t of one example, [D, v] with its observed ones, from their features: [M, v]."""
        sites_M, valid_M = self.factorization.sites(t)
        if not scores_blocks(self.head, self.factorization):
            values = self.head.at(sites_M).sample(key, features_MF, self.temperature)
        else:
            held = flat_Dv[jnp.minimum(sites_M, self.factorization.num_sites - 1)]
            held = held.reshape(len(sites_M), *self.head.value_shape)
            observed_M = self.observed(sites_M)
            values = self.head.block_sample(key, features_MF, valid_M, held, observed_M, self.temperature)
        return values.reshape(len(sites_M), -1).astype(flat_Dv.dtype)

    def values(self, canvas: jax.Array, t: jax.Array, features_BMF: jax.Array) -> jax.Array:
        """Draws the sites of step t from their features, [B, M, size of a value]; `canvas` has the observed ones."""
        flat = canvas.reshape(canvas.shape[0], self.factorization.num_sites, -1)
        return jax.vmap(self.value, (0, None, 0, 0))(self.keys_SB[t], t, flat, features_BMF)

    def fill(self, canvas: jax.Array, t: jax.Array, features_BMF: jax.Array) -> jax.Array:
        """Returns the canvas with the sites of step t drawn, where they are not observed."""
        observed = None if self.observed_D is None else self.observed
        return placed(self.factorization, canvas, t, self.values(canvas, t, features_BMF), observed)

    def _steps(self, t: jax.Array, k: int) -> tuple[jax.Array, jax.Array, jax.Array]:
        """The steps t, ..., t + k - 1, int[k]; their sites int[k, M]; which of these exist and are not observed."""
        step_k, num_steps = t + jnp.arange(k), self.factorization.num_steps
        sites_kM = jnp.asarray(self.factorization.blocks)[jnp.minimum(step_k, num_steps - 1)]
        drawn_kM = (step_k < num_steps)[:, None] & (sites_kM < self.factorization.num_sites)
        return jnp.minimum(step_k, num_steps - 1), sites_kM, drawn_kM & ~self.observed(sites_kM)

    def window_values(self, keys_S: jax.Array, canvas_1: jax.Array, t: jax.Array, features_kMF: jax.Array) -> jax.Array:
        """Draws the steps t, ..., t + k - 1 of one example, [k, M, size of a value]; any values behind the last."""
        step_k, _, _ = self._steps(t, len(features_kMF))
        flat_Dv = canvas_1.reshape(self.factorization.num_sites, -1)
        return jax.vmap(self.value, (0, 0, None, 0))(keys_S[step_k], step_k, flat_Dv, features_kMF)

    def all_values(self, keys_S: jax.Array, canvas_1: jax.Array, features_DF: jax.Array) -> jax.Array:
        """Draws all sites of one example from the features of a parallel pass, [S, M, size of a value]."""
        index_SM = jnp.minimum(jnp.asarray(self.factorization.blocks), self.factorization.num_sites - 1)
        return self.window_values(keys_S, canvas_1, jnp.int32(0), features_DF[index_SM])

    def place(self, canvas_1: jax.Array, t: jax.Array, values_kMv: jax.Array) -> jax.Array:
        """The canvas of one example with the values of the steps t, ..., t + k - 1, where they are not observed."""
        _, sites_kM, drawn_kM = self._steps(t, len(values_kMv))
        flat_Dv = canvas_1.reshape(self.factorization.num_sites, -1)
        place_kM = jnp.where(drawn_kM, sites_kM, self.factorization.num_sites)
        return flat_Dv.at[place_kM].set(values_kMv, mode="drop").reshape(canvas_1.shape)

    def read(self, canvas_1: jax.Array, t: jax.Array, k: int) -> jax.Array:
        """Returns the values of the steps t, ..., t + k - 1 of one example, [k, M, size of a value]."""
        _, sites_kM, _ = self._steps(t, k)
        flat_Dv = canvas_1.reshape(self.factorization.num_sites, -1)
        return flat_Dv[jnp.minimum(sites_kM, self.factorization.num_sites - 1)]

    def same(self, t: jax.Array, first_kMv: jax.Array, second_kMv: jax.Array) -> jax.Array:
        """Returns whether the drawn sites of each of the steps t, ..., t + k - 1 have the same values, bool[k]."""
        _, _, drawn_kM = self._steps(t, len(first_kMv))
        return ((first_kMv == second_kMv) | ~drawn_kM[..., None]).all((1, 2))
