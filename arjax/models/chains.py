"""Chains: a fixed forward process makes an example noisy in T steps, and learned conditionals go back.

    p(x_0) = sum or integral of p(x_T) prod_t p(x_{t-1} | x_t)

    log p(x_0) >= -KL(q(x_T | x_0) || p(x_T))                                        prior
                  - sum_{t=2}^T E_q KL(q(x_{t-1} | x_t, x_0) || p(x_{t-1} | x_t))    diffusion
                  + E_q log p(x_0 | x_1)                                             reconstruction

(Sohl-Dickstein et al., "Deep Unsupervised Learning using Nonequilibrium Thermodynamics", 2015; Ho, Jain & Abbeel, 2020,
equation 5). A chain is an autoregressive model over the noisy versions of an example, the noisiest first.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterator
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from arjax.core.batch import Batch, Score
from arjax.core.errors import UserError, say_once
from arjax.core.options import is_integer
from arjax.core.programs import call_if_it_fits, one_program
from arjax.core.spec import ContextSpec
from arjax.models import extras
from arjax.models.base import Model, Params, dummy_batch, in_types, init_network, key_needed, repeated
from arjax.models.checks import check_init
from arjax.models.draws import step_keys
from arjax.models.extras import SampledBound
from arjax.models.noise_schedules import stratified_steps, visited_steps
from arjax.models.pictures import ChainGraph, Paths, Picture, is_visible
from arjax.networks.base import apply
from arjax.networks.denoisers import TIME, BlockTransformer, Denoiser
from arjax.samplers import Draw, DrawOptions, example_keys


class StepTerms(NamedTuple):
    """The terms of one step per example, float32[B] each.

    Attributes:
      log_prob: its term of the bound: -KL(q(x_{t-1} | x_t, x_0) || p(x_{t-1} | x_t)), or log p(x_0 | x_1) at t = 1; of
        each part of an example that has a time of its own, float32[B, *times_shape].
      error: the squared error of the predicted noise, of Gaussian chains; zeros of others.
    """

    log_prob: jax.Array
    error: jax.Array


#: The reason for which a score needs a key.
_DRAWN = "the bound of a chain is an expectation over noise"
#: Of a field of a model that is no array.
STATIC = {"static": True}
#: Sizes of a network for the laws.
SMALL = {"width": 8, "num_layers": 1, "num_heads": 2}
#: The path of a draw in its statistics, [B, frames, *grid, *value].
PATH = "path"
#: Examples whose paths are drawn as a picture, and frames of each at most.
DRAWN_EXAMPLES, DRAWN_FRAMES = 6, 10


class Chain(Model):
    """The part that all chains share. A kind of chain is a process: `step_terms` are the terms of its bound, and a draw
    goes from its `start` through `reverse` steps.

    Subclasses are frozen dataclasses with `event`, `denoiser`, `num_steps` (T), `train_steps`, `score_steps` (steps
    that are drawn per example for the loss and for a score; `score_steps` of 0: the whole sum) and `sample_steps`
    (steps that a draw visits; 0: all).
    """

    score_kind: ClassVar[str] = "bound"
    #: The mean of its scores is the bound; that of their exponentials may be above p(x).
    traits = frozenset({"noise_levels", "biased"})
    takes: ClassVar[frozenset[str]] = frozenset({"temperature", "steps", "frames"})
    #: Whether a draw may go from any step to the data, or from step 1 alone.
    ENDS_ANYWHERE: ClassVar[bool] = False
    #: Features of noisy examples.
    denoiser: Denoiser | BlockTransformer
    num_steps: int
    train_steps: int
    score_steps: int
    sample_steps: int

    @property
    def times_shape(self) -> tuple[int, ...]:
        """Shape of the parts of an example that have times of their own; () where there is one time."""
        return ()

    @property
    def learned_schedule(self) -> bool:
        """Whether the noise schedule has parameters of its own."""
        return False

    def check_fields(self) -> None:
        """Raises `UserError` for numbers of steps that cannot be."""
        self.visited(self.sample_steps)

    def visited(self, steps: int | tuple[int, ...]) -> tuple[int, ...]:
        """The steps that a draw visits; raises `UserError` where it cannot visit these."""
        return visited_steps(steps, self.num_steps, self.num_steps if self.ENDS_ANYWHERE else 1)

    def __repr__(self) -> str:
        parts = [type(self.denoiser).__name__, f"{self.num_params:,} parameters", f"{self.num_steps} steps"]
        return f"{type(self).__name__}({'; '.join([*parts, self.event.in_words])})"

    @property
    def context_spec(self) -> ContextSpec:
        return self.denoiser.context_spec

    def init(self, key: jax.Array) -> Params:
        """Fresh parameters, {"denoiser": ..., and those of other parts}; `UserError` unless `key` is a random key."""
        check_init(self, key)
        batch = dummy_batch(self, 1)
        return {"denoiser": init_network(self.denoiser, key, *self.arguments(batch))}

    def arguments(self, batch: Batch) -> tuple[Any, ...]:
        """What the denoiser reads of a batch."""
        x_t, time_B = batch.x.astype(self.denoiser.event.dtype), jnp.zeros(len(batch))
        return x_t, None, {**batch.context, TIME: time_B}

    def denoise(self, params: Params, x_t: jax.Array, t_B: jax.Array, context: Any, key: Any = None) -> jax.Array:
        """Features [B, *grid, F] of noisy examples at the steps t int[B]; a `key` switches dropout on."""
        context = {**(context or {}), TIME: t_B.astype(jnp.float32) / self.num_steps}
        return apply(self.denoiser, params["denoiser"], key, x_t, None, context, train=key is not None)

    def prior_log_prob(self, params: Params, x: jax.Array) -> jax.Array:
        """-KL(q(x_T | x_0) || p(x_T)), float32[B]."""
        raise NotImplementedError

    def step_terms(
        self, params: Params, x: jax.Array, t_B: jax.Array, keys_B: jax.Array, context: Any, dropout: Any = None
    ) -> StepTerms:
        """The terms of one step t int[B, *times_shape] of 1, ..., T for each example, with x_t drawn by its key."""
        raise NotImplementedError

    def weights(self, batch: Batch) -> jax.Array | float:
        """Whether the terms of each part count, [B, *times_shape], or 1 for all; `UserError` for a mask that it cannot
        score.
        """
        if batch.mask is not None:
            raise UserError("a chain makes all sites noisy together: it cannot score those of a mask alone")
        return 1.0

    def estimate(self, params: Params, batch: Batch, *, key: Any, num: int, train: bool) -> tuple[Score, jax.Array]:
        """An unbiased estimate of the bound from `num` stratified random steps per example, and the mean over these
        steps of the squared error of the noise, float32[B]; `train` switches dropout on.
        """
        (x, context), weights = in_types(self, batch.x, batch.context), self.weights(batch)
        step_key, noise_key, dropout = jax.random.split(key, 3)
        size = num * len(x)
        t_N = stratified_steps(step_key, len(x) * math.prod(self.times_shape), num, self.num_steps)
        t_N = t_N.reshape(size, *self.times_shape)
        keys_B = example_keys(noise_key, len(x))
        keys_N = jax.vmap(lambda k: step_keys(keys_B, k))(jnp.arange(num)).reshape(size)
        x_N, context_N = repeated((x, context), num)
        terms = self.step_terms(params, x_N, t_N, keys_N, context_N, dropout if train else None)
        log_prob, t = (leaf.reshape(num, len(x), -1) for leaf in (self.num_steps * terms.log_prob, t_N))
        log_prob = weights * log_prob
        later, first = (jnp.where(at, log_prob, 0.0).mean(0).sum(-1) for at in (t > 1, t == 1))
        return self._of_terms(params, x, later, first), terms.error.reshape(num, -1).mean(0)

    def _of_terms(self, params: Params, x: jax.Array, diffusion: jax.Array, reconstruction: jax.Array) -> Score:
        """The score of these log-probabilities, float32[B], and the prior."""
        prior = self.prior_log_prob(params, x)
        terms = {"prior": -prior, "diffusion": -diffusion, "reconstruction": -reconstruction}
        return Score(prior + diffusion + reconstruction, self.score_kind, terms)

    def bound(self, params: Params, batch: Batch, key: jax.Array) -> Score:
        """The bound with the whole sum over t, and one draw of x_t for each: T network calls, in a scan."""
        (x, context), weights = in_types(self, batch.x, batch.context), self.weights(batch)
        later, first = _summed(self, params, x, context, weights, example_keys(key, len(x)))
        return self._of_terms(params, x, later, first)

    def score(self, params: Params, batch: Batch, *, key: jax.Array | None = None, train: bool = False) -> Score:
        """The bound on log p(x | c) in nats, with its terms `prior`, `diffusion` and `reconstruction`.

        `train=True`: an unbiased estimate from `train_steps` random steps per example; else from `score_steps`, or the
        whole sum over t where these are 0 or not fewer than T. Raises `UserError` without a `key`, and for a mask.
        """
        num, key = self.train_steps if train else self.score_steps, key_needed(key, _DRAWN)
        if not num or (not train and num >= self.num_steps):
            return self.bound(params, batch, key)
        return self.estimate(params, batch, key=key, num=num, train=train)[0]

    def how(self, options: DrawOptions) -> Any:
        """Returns the numbers that a draw depends on, such as the temperature, from its options."""
        return options.temperature

    def start(self, keys_B: jax.Array, how: Any) -> jax.Array:
        """Returns x_T, drawn from p(x_T) by the keys of the examples."""
        raise NotImplementedError

    def reverse_steps(self, params: Params, visited: tuple[int, ...], how: Any) -> Any:
        """Returns the visited steps, the noisiest first, as a tree of arrays [R, ...] for `reverse`."""
        raise NotImplementedError

    def reverse(
        self, params: Params, x_t: jax.Array, step: Any, keys_B: jax.Array, context: Any, how: Any
    ) -> jax.Array:
        """Returns x_s, drawn from p(x_s | x_t), where s is the step that is visited after t."""
        raise NotImplementedError

    def as_data(self, x: jax.Array) -> jax.Array:
        """Returns states of the chain in the units and the type of the data."""
        return x.astype(self.event.dtype)

    def draw_rounds(self, *arguments: Any) -> tuple[jax.Array, jax.Array | None]:
        """Returns the draw of the program `draw_rounds`."""
        return call_if_it_fits("the arrays of this draw", draw_rounds, self, *arguments)

    def draw_examples(self, params, keys, sampler, options, *, steps=None, frames: int = 0, **others: Any) -> Draw:
        """From x_T down a subset of the steps: `steps` is their number, or the steps themselves, up to T (in each
        block, where there are blocks), or None for `sample_steps`. The temperature is that of p(x_0 | x_t) in each step
        of a discrete chain, and 1 in Gaussian chains, which have `eta`. `frames` are those of the path in the
        statistics, see `draw_path`; 0 for none.
        """
        how = self.how(options, **others)
        visited = self.visited(self.sample_steps if steps is None else steps)
        num_rounds = len(visited) * math.prod(self.times_shape)
        places = frame_places(frames, num_rounds)
        x, path = self.draw_rounds(params, keys, options.context, visited, places, how)
        calls = {"network_calls": self.network_calls(num_rounds), "steps": num_rounds}
        stats = {name: jnp.full(len(keys), value, jnp.int32) for name, value in calls.items()}
        return Draw(x, stats if path is None else stats | {PATH: path})

    def network_calls(self, num_rounds: int) -> int:
        """Calls of the network in a draw of that many rounds."""
        return num_rounds


@extras.sampled_bound.register(Chain)
def _(model: Chain, samples: int) -> SampledBound:
    """The bound with less noise than a score: from `samples` steps of each example, evenly spread, or from all T where
    these are no more.
    """
    steps = min(samples, model.num_steps)
    if samples > steps:
        say_once(f"config.evaluate.samples={samples} is more than the steps of the chain: all {steps} are taken")
    finer = dataclasses.replace(model, score_steps=0 if steps == model.num_steps else steps)
    return SampledBound("chain_bound", finer, _log_prob, (), {"chain_bound_steps": steps})


def _log_prob(model: Chain, params: Params, batch: Batch, key: jax.Array) -> jax.Array:
    return model.score(params, batch, key=key).log_prob


@extras.pictures.register(Chain)
def _(model: Chain, params: Params, batch: Batch, key: jax.Array) -> Iterator[tuple[str, Picture]]:
    """`chain`, the dependency graph, and `reverse_process`, examples on their way from noise to data, under the
    contexts of the first examples where there are any.
    """
    yield "chain", ChainGraph(model.num_steps, math.prod(model.times_shape))
    if not is_visible(model.event):
        return
    context = {name: part[:DRAWN_EXAMPLES] for name, part in batch.context.items()} if model.context_spec else {}
    num = len(next(iter(context.values()))) if context else DRAWN_EXAMPLES
    frames = draw_path(model, params, example_keys(key, num), DRAWN_FRAMES, context=context or None)
    num_rounds = len(model.visited(model.sample_steps)) * math.prod(model.times_shape)
    labels = tuple(f"{n}/{num_rounds}" for n in frame_places(DRAWN_FRAMES, num_rounds))
    yield "reverse_process", Paths(np.asarray(frames), labels)


@functools.partial(jax.jit, static_argnames=("visited", "places"))
def draw_rounds(
    model: Chain,
    params: Params,
    keys_B: jax.Array,
    context: Any,
    visited: tuple[int, ...],
    places: tuple[int, ...],
    how: Any,
) -> tuple[jax.Array, jax.Array | None]:
    """x_0, [B, *grid, *value], and the frames of its path at these places, from x_T down the visited steps."""

    def back(x_t: jax.Array, step: Any) -> tuple[jax.Array, jax.Array | None]:
        x_s = model.reverse(params, x_t, step, keys_B, context, how)
        return x_s, x_s if places else None

    x_T = model.start(keys_B, how)
    x, later = jax.lax.scan(back, x_T, model.reverse_steps(params, visited, how))
    path = frames_of(x_T, later, places)
    return model.as_data(x), None if path is None else model.as_data(path)


@one_program()
def _summed(
    model: Chain, params: Params, x: jax.Array, context: Any, weights: jax.Array | float, keys_B: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The sums of the terms of t = T, ..., 2 and of t = 1, float32[B]."""

    def add(state: tuple[jax.Array, jax.Array], t: jax.Array) -> tuple[tuple[jax.Array, jax.Array], None]:
        t_B = jnp.full((len(x), *model.times_shape), t)
        log_prob_B = model.step_terms(params, x, t_B, step_keys(keys_B, t), context).log_prob
        log_prob_B = (weights * log_prob_B.reshape(len(x), -1)).sum(-1)
        later, first = state
        return (later + jnp.where(t > 1, log_prob_B, 0.0), first + jnp.where(t == 1, log_prob_B, 0.0)), None

    zeros = jnp.zeros(len(x))
    return jax.lax.scan(add, (zeros, zeros), jnp.arange(model.num_steps, 0, -1))[0]


def draw_path(model: Any, params: Params, keys: jax.Array, num_frames: int, **options: Any) -> jax.Array:
    """Examples on their way from noise to data, [B, frames, *grid, *value]; the last frame is that of `draw`.

    Frames lie at equal distances on the way from x_T, as far as there are so many steps: at least 2. They are in the
    units of the data, and V marks a masked site. All else is as for `draw` of a chain.
    """
    if not is_integer(num_frames) or num_frames < 2:
        raise UserError(f"a path has at least 2 frames, noise and data, not {num_frames!r}")
    return model.draw(params, keys, frames=num_frames, **options).stats[PATH]


def frame_places(num_frames: int, num_rounds: int) -> tuple[int, ...]:
    """The rounds after which a path has a frame, from 0 to the last one; () without frames."""
    if not num_frames:
        return ()
    return tuple(int(n) for n in np.unique(np.linspace(0, num_rounds, num_frames).round()))


def frames_of(first: jax.Array, later: jax.Array | None, places: tuple[int, ...]) -> jax.Array | None:
    """The frames [B, F, ...] at these places of x_T [B, ...] and the states [R, B, ...] after each round."""
    if later is None or not places:
        return None
    return jnp.moveaxis(jnp.concatenate([first[None], later])[np.array(places)], 0, 1)
