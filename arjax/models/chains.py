"""Chains: a fixed forward process makes an example noisy in T steps, and learned conditionals go back.

    p(x_0) = sum or integral of p(x_T) prod_t p(x_{t-1} | x_t)

    log p(x_0) >= -KL(q(x_T | x_0) || p(x_T))                                        prior
                  - sum_{t=2}^T E_q KL(q(x_{t-1} | x_t, x_0) || p(x_{t-1} | x_t))    diffusion
                  + E_q log p(x_0 | x_1)                                             reconstruction

(Sohl-Dickstein et al., "Deep Unsupervised Learning using Nonequilibrium Thermodynamics", 2015; Ho, Jain & Abbeel, 2020,
equation 5). A chain is an autoregressive model over the noisy versions of an example, the noisiest first. All chains
are one model, `Chain`, of a denoiser and a `Process`. With a factorization it is autoregressive over blocks of sites,
and each block is a chain of its own given the clean blocks before it.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np

from arjax.core.batch import Batch, Score
from arjax.core.errors import UserError, refuse, say_once
from arjax.core.options import is_integer
from arjax.core.programs import call_if_it_fits, cast_before, gathered_if_small, one_program
from arjax.core.spec import ContextSpec, EventSpec
from arjax.factorization import Factorization
from arjax.models import extras
from arjax.models.base import Model, Params, dummy_batch, in_types, init_network, key_needed, repeated
from arjax.models.checks import check_init
from arjax.models.draws import step_keys
from arjax.models.extras import SampledBound
from arjax.models.noise_schedules import stratified_steps, visited_steps
from arjax.models.pictures import Paths, Picture, is_image
from arjax.networks.base import apply, step_variables
from arjax.networks.denoisers import NOISY, TIME, BlockTransformer, Denoiser
from arjax.samplers import Draw, Request, example_keys


class StepTerms(NamedTuple):
    """The terms of one step: -KL(q(x_{t-1} | x_t, x_0) || p(x_{t-1} | x_t)), or log p(x_0 | x_1) at t = 1, float32[B]
    or of each block [B, S]; and of Gaussian chains the squared error of the predicted noise, float32[B].
    """

    log_prob: jax.Array
    error: jax.Array


Features = Callable[[jax.Array], jax.Array]
STATIC = {"static": True}
#: Sizes of a network for the laws.
SMALL = {"width": 8, "num_layers": 1, "num_heads": 2}
#: The path of a draw in its statistics, [B, frames, *grid, *value].
PATH = "path"
#: Examples whose paths are drawn as a picture, and frames of each at most.
DRAWN_EXAMPLES, DRAWN_FRAMES = 6, 10


@dataclasses.dataclass(frozen=True)
class Process:
    """The noise of a chain: the forward process, the terms of its bound, and the steps of a draw.

    Call `bind` before any method but `init`. Steps t of 1, ..., T = `num_steps` are int[B], or int[B, S] where each of
    S blocks has a step of its own.
    """

    event: EventSpec
    num_steps: int
    params: Any = dataclasses.field(default=None, kw_only=True)
    blocks: Any = dataclasses.field(default=None, kw_only=True)
    dropout: Any = dataclasses.field(default=None, kw_only=True)

    #: Whether a draw may go from any step to the data, or from step 1 alone.
    ENDS_ANYWHERE: ClassVar[bool] = False

    def init(self, key: jax.Array) -> Params:
        """Returns fresh parameters of the process, by default none."""
        return {}

    def bind(self, params: Params, blocks: Factorization | None = None, dropout: jax.Array | None = None) -> Self:
        """Returns the process with the parameters of the chain; a key `dropout` switches dropout on."""
        return dataclasses.replace(self, params=params, blocks=blocks, dropout=dropout)

    def prior_log_prob(self, x: jax.Array) -> jax.Array:
        """Returns -KL(q(x_T | x_0) || p(x_T)), float32[B]; by default 0."""
        return jnp.zeros(len(x))

    def step_terms(self, x: jax.Array, t: jax.Array, keys_B: jax.Array, features_of: Features) -> StepTerms:
        """Returns the terms of one step of each example, with x_t drawn by its key."""
        raise NotImplementedError

    def how(self, options: Request) -> Any:
        """Returns the numbers that a draw depends on, such as the temperature, from its options."""
        return options.temperature

    def start(self, keys_B: jax.Array, how: Any) -> jax.Array:
        """Returns x_T, drawn from p(x_T) by these keys."""
        raise NotImplementedError

    def reverse_steps(self, visited: tuple[int, ...], how: Any) -> tuple[Any, ...]:
        """Returns the visited steps, the noisiest first, as arrays [R, ...] for `reverse`; the first of them is t."""
        raise NotImplementedError

    def reverse(self, x_t: jax.Array, step: Any, features: jax.Array, keys_B: jax.Array, how: Any) -> jax.Array:
        """Returns x_s, drawn from p(x_s | x_t) by these keys, where s is the step that is visited after t."""
        raise NotImplementedError

    def as_data(self, x: jax.Array) -> jax.Array:
        """Returns states of the chain in the units and the type of the data."""
        return x.astype(self.event.dtype)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Chain(Model):
    """A process and a denoiser that goes back. The kinds of chains are presets: their `make` chooses the process.

    Attributes:
      denoiser: features of a noisy example, or of a noisy block given the clean blocks before it.
      train_steps, score_steps: random steps per example (and block) for the loss and for a score; `score_steps` of 0,
        or of T and more: the whole sum.
      sample_steps: steps that a draw visits (in each block); 0: all.
      factorization: the blocks and their order, or None where all sites have one time.
    """

    denoiser: Denoiser | BlockTransformer = dataclasses.field(metadata=STATIC)
    process: Any = dataclasses.field(metadata=STATIC)
    train_steps: int = dataclasses.field(default=1, metadata=STATIC)
    score_steps: int = dataclasses.field(default=0, metadata=STATIC)
    sample_steps: int = dataclasses.field(default=0, metadata=STATIC)
    factorization: Factorization | None = None

    score_kind: ClassVar[str] = "bound"
    #: The mean of its scores is the bound; that of their exponentials may be above p(x).
    traits = frozenset({"noise_levels", "biased"})
    takes: ClassVar[frozenset[str]] = frozenset({"temperature", "steps", "frames"})

    @property
    def event(self) -> EventSpec:
        return self.process.event

    @property
    def context_spec(self) -> ContextSpec:
        return self.denoiser.context_spec

    @property
    def num_steps(self) -> int:
        """T."""
        return self.process.num_steps

    @property
    def times_shape(self) -> tuple[int, ...]:
        """Shape of the times of an example: () or (S,)."""
        return () if self.factorization is None else (self.factorization.num_steps,)

    def checked(self) -> Self:
        """Returns the chain; raises `UserError` where its draws cannot visit so many steps."""
        self.visited(self.sample_steps)
        return self

    def visited(self, steps: int | tuple[int, ...]) -> tuple[int, ...]:
        """Returns the steps that a draw visits; raises `UserError` where it cannot visit these."""
        return visited_steps(steps, self.num_steps, self.num_steps if self.process.ENDS_ANYWHERE else 1)

    def __repr__(self) -> str:
        parts = [type(self.denoiser).__name__, f"{self.num_params:,} parameters", f"{self.num_steps} steps"]
        return f"{type(self).__name__}({'; '.join([*parts, self.event.in_words])})"

    def init(self, key: jax.Array) -> Params:
        """Returns fresh parameters: "denoiser", and the parameters of the process."""
        check_init(self, key)
        batch = dummy_batch(self, 1)
        arguments = self.inputs(batch.x, batch.x.astype(self.denoiser.event.dtype), jnp.zeros(1), batch.context)
        network = {"denoiser": init_network(self.denoiser, key, *arguments)}
        return network | self.process.init(jax.random.fold_in(key, 1))

    def inputs(self, x: Any, x_t: Any, t: jax.Array, context: Any) -> tuple[Any, ...]:
        """Returns what the denoiser reads: noisy examples and their times, or noisy blocks beside the clean ones."""
        if self.factorization is None:
            return x_t, None, {**(context or {}), TIME: t.astype(jnp.float32) / self.num_steps}
        return x, self.factorization, {**(context or {}), NOISY: x_t}

    def features(
        self, params: Params, x: jax.Array, x_t: jax.Array, t: jax.Array, context: Any = None, dropout: Any = None
    ) -> jax.Array:
        """Returns features [B, *grid, F] of x_t at the steps t; blocks are given x of the blocks before them."""
        arguments = self.inputs(x, x_t, t, context)
        return apply(self.denoiser, params["denoiser"], dropout, *arguments, train=dropout is not None)

    def noise(self, params: Params, dropout: jax.Array | None = None) -> Any:
        """Returns the process with its parameters and blocks."""
        return self.process.bind(params, self.factorization, dropout)

    def step_terms(
        self, params: Params, x: jax.Array, t: jax.Array, keys_B: jax.Array, context: Any, dropout: Any = None
    ) -> StepTerms:
        """Returns the terms of one step t int[B, *times_shape] of each example, with x_t drawn by its key."""
        features_of = lambda x_t: self.features(params, x, x_t, t, context, dropout)  # noqa: E731
        return self.noise(params, dropout).step_terms(x, t, keys_B, features_of)

    def weights(self, batch: Batch) -> jax.Array | float:
        """Returns whether the terms of each block count, [B, S], or 1 for all. Blocks with a site of the mask are
        scored whole, which is at most the log-probability of their sites in the mask, as values are discrete.
        """
        if batch.mask is None:
            return 1.0
        if self.factorization is None:
            raise UserError("a chain makes all sites noisy together: it cannot score those of a mask alone")
        marked_BD = (jnp.asarray(batch.mask) > 0).reshape(len(batch.x), -1)
        blocks_SM = jnp.asarray(self.factorization.blocks)
        return jnp.take(marked_BD, blocks_SM, axis=1, mode="fill", fill_value=False).any(-1).astype(jnp.float32)

    def estimate(self, params: Params, batch: Batch, *, key: Any, num: int, train: bool) -> tuple[Score, jax.Array]:
        """Returns an unbiased estimate of the bound from `num` stratified random steps per example, and the mean over
        these steps of the squared error of the noise, float32[B]; `train` switches dropout on.
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
        """Returns the score of these log-probabilities, float32[B], and the prior."""
        prior = self.noise(params).prior_log_prob(x)
        terms = {"prior": -prior, "diffusion": -diffusion, "reconstruction": -reconstruction}
        return Score(prior + diffusion + reconstruction, self.score_kind, terms)

    def bound(self, params: Params, batch: Batch, key: jax.Array) -> Score:
        """Returns the bound with the whole sum over t, and one draw of x_t for each: T network calls, in a scan."""
        (x, context), weights = in_types(self, batch.x, batch.context), self.weights(batch)
        later, first = _summed(self, params, x, context, weights, example_keys(key, len(x)))
        return self._of_terms(params, x, later, first)

    def score(self, params: Params, batch: Batch, *, key: jax.Array | None = None, train: bool = False) -> Score:
        """Returns the bound on log p(x | c) in nats, with the terms `prior`, `diffusion` and `reconstruction`: an
        unbiased estimate from a few steps, or the whole sum over t, see `score_steps`. It needs a `key`.
        """
        key = key_needed(key, "the bound of a chain is an expectation over noise")
        num = self.train_steps if train else self.score_steps
        if not num or (not train and num >= self.num_steps):
            return self.bound(params, batch, key)
        return self.estimate(params, batch, key=key, num=num, train=train)[0]

    def draw_examples(self, params, keys, sampler, options, *, steps=None, frames: int = 0, **others: Any) -> Draw:
        """Draws from x_T down a subset of the steps (in each block): `steps` is their number, or the steps themselves;
        None: `sample_steps`. The temperature is that of p(x_0 | x_t) in each step of a discrete chain. With `frames` of
        2 or more the statistics have the path, [B, frames, *grid, *value], at equal distances; V marks a masked site.
        """
        too_few = not is_integer(frames) or frames < 0 or frames == 1
        refuse((too_few, f"a path has at least 2 frames, noise and data, not {frames!r}"))
        how = self.process.how(options, **others)
        visited = self.visited(self.sample_steps if steps is None else steps)
        num_blocks = math.prod(self.times_shape)
        num_rounds = len(visited) * num_blocks
        arguments = self, params, keys, options.context, visited, frame_places(frames, num_rounds), how
        x, path = call_if_it_fits("the arrays of this draw", draw_rounds, *arguments)
        # beside each round, a call puts each finished block into the cache
        calls = {"network_calls": num_rounds + (num_blocks if self.times_shape else 0), "steps": num_rounds}
        stats = {name: jnp.full(len(keys), value, jnp.int32) for name, value in calls.items()}
        return Draw(x, stats if path is None else stats | {PATH: path})


@extras.in_sequence.register(Chain)
def _(model: Chain) -> bool:
    return model.factorization is not None and not (np.diff(np.asarray(model.factorization.step)) < 0).any()


@extras.sampled_bound.register(Chain)
def _(model: Chain, samples: int) -> SampledBound:
    """The bound with less noise than a score: from `samples` evenly spread steps of each example, at most T."""
    steps = min(samples, model.num_steps)
    if samples > steps:
        say_once(f"config.evaluate.samples={samples} is more than the steps of the chain: all {steps} are taken")
    finer = dataclasses.replace(model, score_steps=0 if steps == model.num_steps else steps)
    return SampledBound("chain_bound", finer, _log_prob, (), {"chain_bound_steps": steps})


def _log_prob(model: Chain, params: Params, batch: Batch, key: jax.Array) -> jax.Array:
    return model.score(params, batch, key=key).log_prob


@extras.pictures.register(Chain)
def _(model: Chain, params: Params, batch: Batch, key: jax.Array) -> Iterator[tuple[str, Picture]]:
    """`reverse_process`, examples on their way from noise to data, as images or texts."""
    if not (is_image(model.event) or model.event.is_text):
        return
    context = {name: part[:DRAWN_EXAMPLES] for name, part in batch.context.items()} if model.context_spec else {}
    num = len(next(iter(context.values()))) if context else DRAWN_EXAMPLES
    drawn = model.draw(params, example_keys(key, num), frames=DRAWN_FRAMES, context=context or None)
    num_rounds = len(model.visited(model.sample_steps)) * math.prod(model.times_shape)
    labels = tuple(f"{n}/{num_rounds}" for n in frame_places(DRAWN_FRAMES, num_rounds))
    yield "reverse_process", Paths(np.asarray(drawn.stats[PATH]), labels)


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
    """Returns x_0, [B, *grid, *value], and the frames of its path at these places, from x_T down the visited steps."""
    process = model.noise(params)
    x_T = process.start(step_keys(keys_B, jnp.int32(model.num_steps)), how)
    steps = process.reverse_steps(visited, how)
    down = _together if model.factorization is None else _by_blocks
    x, later = down(model, params, x_T, steps, keys_B, context, how, bool(places))
    if later is None:
        return process.as_data(x), None
    path = jnp.concatenate([x_T[None], later])[np.array(places)]
    return process.as_data(x), process.as_data(jnp.moveaxis(path, 0, 1))


def _together(model, params, x_T, steps, keys_B, context, how, keeps_path: bool) -> tuple[jax.Array, Any]:
    """Returns x_0, and x after each round where the path is kept, [R, B, *grid, *value]."""

    def back(params: Params, x_t: jax.Array, step: tuple[Any, ...]) -> tuple[jax.Array, jax.Array | None]:
        t = step[0]
        features = model.features(params, x_t, x_t, jnp.full(len(x_t), t), context)
        x_s = model.noise(params).reverse(x_t, step, features, step_keys(keys_B, t - 1), how)
        return x_s, x_s if keeps_path else None

    first = jax.tree.map(lambda leaf: leaf[0], steps)
    params = cast_before(lambda params: back(params, x_T, first), gathered_if_small(params), model.denoiser.dtype)
    return jax.lax.scan(functools.partial(back, params), x_T, steps)


def _by_blocks(model, params, x_T, steps, keys_B, context, how, keeps_path: bool) -> tuple[jax.Array, Any]:
    """As `_together`, from block to block with a cache of the finished blocks."""
    blocks, process = model.factorization, model.noise(params)
    variables = step_variables(model.denoiser, params["denoiser"])
    call = functools.partial(model.denoiser.apply, variables)

    def one_block(state: tuple[Any, jax.Array], s: jax.Array) -> tuple[tuple[Any, jax.Array], jax.Array | None]:
        cache, x = state
        sites_M, _ = blocks.sites(s)

        def one_round(x: jax.Array, step: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array | None]:
            t, num_S = step
            features_BMF = call(cache, x, s, blocks, context, method="denoise")
            keys = step_keys(keys_B, s * model.num_steps + t - 1)
            # no site, which pads short blocks, has a value that is not masked
            now_BM = jnp.take(x, sites_M, axis=1, mode="fill", fill_value=0)
            now_BM = process.reverse(now_BM, (t, num_S[s]), features_BMF, keys, how)
            x = x.at[:, sites_M].set(now_BM, mode="drop")
            return x, x if keeps_path else None

        x, path = jax.lax.scan(one_round, x, steps)
        return (call(cache, x, s, blocks, context, method="write"), x), path

    num, event = len(x_T), model.event
    first = x_T.reshape(num, event.num_sites, *event.value_shape)
    cache = call(num, blocks, method="start")
    (_, x), path = jax.lax.scan(one_block, (cache, first), jnp.arange(blocks.num_steps))
    return x.reshape(x_T.shape), None if path is None else path.reshape(-1, *x_T.shape)


@one_program()
def _summed(
    model: Chain, params: Params, x: jax.Array, context: Any, weights: jax.Array | float, keys_B: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Returns the sums of the terms of t = T, ..., 2 and of t = 1, float32[B]."""
    params = gathered_if_small(params)

    def add(state: tuple[jax.Array, jax.Array], t: jax.Array) -> tuple[tuple[jax.Array, jax.Array], None]:
        t_B = jnp.full((len(x), *model.times_shape), t)
        log_prob_B = model.step_terms(params, x, t_B, step_keys(keys_B, t), context).log_prob
        log_prob_B = (weights * log_prob_B.reshape(len(x), -1)).sum(-1)
        later, first = state
        return (later + jnp.where(t > 1, log_prob_B, 0.0), first + jnp.where(t == 1, log_prob_B, 0.0)), None

    # The parameters are not cast before the loop: their gradients would be summed over the steps in bfloat16.
    zeros = jnp.zeros(len(x))
    return jax.lax.scan(add, (zeros, zeros), jnp.arange(model.num_steps, 0, -1))[0]


def frame_places(num_frames: int, num_rounds: int) -> tuple[int, ...]:
    """Returns the rounds after which a path has a frame, from 0 to the last one; () without frames."""
    if not num_frames:
        return ()
    return tuple(int(n) for n in np.unique(np.linspace(0, num_rounds, num_frames).round()))
