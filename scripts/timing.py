"""Speed of computations, measured so that a busy machine cannot mislead.

Functions are called in turn, round by round, and are compared within each round: a slow spell of the machine then
slows all of them. Every number is a median over the rounds.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from arjax.models import AutoregressiveModel
from arjax.samplers import Cached, Request, example_keys
from arjax.samplers.base import Steps, run_sampler
from arjax.samplers.cached import naive_step

Seconds = list[float]


def time_in_turns(
    functions: Mapping[str, Callable[[], Any]], rounds: int, min_seconds: float = 0.2
) -> dict[str, Seconds]:
    """Seconds per call of each function, name -> float[rounds].

    Args:
      functions: by name; their results are waited for, so work that JAX has only dispatched is counted.
      rounds: in each, every function has one turn.
      min_seconds: about the duration of a turn: short calls are repeated, which measures them well.
    """
    calls = {name: _calls_per_turn(function, min_seconds) for name, function in functions.items()}
    seconds: dict[str, Seconds] = {name: [] for name in functions}
    for _ in range(rounds):
        for name, function in functions.items():
            seconds[name].append(_seconds_of(function, calls[name]) / calls[name])
    return seconds


def _calls_per_turn(function: Callable[[], Any], min_seconds: float) -> int:
    _seconds_of(function, 1)  # compiles, fills caches
    return max(1, math.ceil(min_seconds / _seconds_of(function, 1)))


def _seconds_of(function: Callable[[], Any], calls: int) -> float:
    started = time.perf_counter()
    for _ in range(calls):
        result = function()
    jax.block_until_ready(result)
    return time.perf_counter() - started


def ratio(numerator: Sequence[float], denominator: Sequence[float]) -> float:
    """Median over the rounds of numerator / denominator."""
    return statistics.median(a / b for a, b in zip(numerator, denominator, strict=True))


def compile_seconds(program: Any, *args: Any) -> tuple[Any, float]:
    """Traces and compiles a jitted function for `args`; returns the compiled program and the seconds it took.

    Programs in the persistent compilation cache are not compiled: switch it off to measure.
    """
    started = time.perf_counter()
    compiled = program.lower(*args).compile()
    return compiled, time.perf_counter() - started


def matrix_product(size: int = 2048) -> tuple[Callable[[], jax.Array], float]:
    """A float32 product of two square matrices and its FLOPs: as fast as this machine computes."""
    left, right = jax.random.normal(jax.random.key(0), (2, size, size))
    return functools.partial(jax.jit(jnp.matmul), left, right), 2.0 * size**3


@dataclasses.dataclass(frozen=True)
class SamplingSpeed:
    """The time to draw a batch.

    Attributes:
      cached_seconds: the cached sampler, measured whole.
      naive_seconds: the naive sampler, extrapolated from `naive_steps` of its steps, each of which is a full pass.
      naive_form: the faster of "one program for all steps" and "one program per step".
      naive_steps: steps measured.
      speedup: naive over cached.
      compile_seconds: of the cached sampler.
    """

    cached_seconds: float
    naive_seconds: float
    naive_form: str
    naive_steps: int
    speedup: float
    compile_seconds: float


def sampling_speed(model: AutoregressiveModel, params: Any, num: int, rounds: int) -> SamplingSpeed:
    """Times cached against naive sampling of `num` examples without context."""
    canvas = jnp.zeros((num, *model.event.shape), model.event.dtype)
    arguments = Cached(), model, params, example_keys(jax.random.key(0), num), Request(canvas)
    program, seconds_to_compile = compile_seconds(run_sampler, *arguments)
    some_steps, steps = _some_naive_steps(model, params, num)
    seconds = time_in_turns({"cached": lambda: program(*arguments), **some_steps}, rounds)
    form = min(some_steps, key=lambda name: statistics.median(seconds[name]))
    scale = model.factorization.num_steps / steps
    naive = [scale * s for s in seconds[form]]
    return SamplingSpeed(
        cached_seconds=statistics.median(seconds["cached"]),
        naive_seconds=statistics.median(naive),
        naive_form=form,
        naive_steps=steps,
        speedup=ratio(naive, seconds["cached"]),
        compile_seconds=seconds_to_compile,
    )


def _some_naive_steps(
    model: AutoregressiveModel, params: Any, num: int, seconds: float = 0.5
) -> tuple[dict[str, Callable[[], jax.Array]], int]:
    """The first steps of naive sampling in both forms, and their number: about `seconds` of work, at least 2 steps."""
    canvas = jnp.zeros((num, *model.event.shape), model.event.dtype)
    drawn_by = Steps(model, params, example_keys(jax.random.key(0), num), Request())

    def step(params: Any, canvas: jax.Array, t: jax.Array) -> jax.Array:
        return naive_step(model, params, drawn_by, canvas, None, t)

    @jax.jit
    def loop(params: Any, canvas: jax.Array, n: jax.Array) -> jax.Array:
        return jax.lax.fori_loop(0, n, lambda t, canvas: step(params, canvas, t), canvas)

    one = jax.jit(step)

    def one_by_one(n: int) -> jax.Array:
        drawn = canvas
        for t in range(n):
            drawn = one(params, drawn, t)
        return drawn

    one_by_one(1)
    n = math.ceil(seconds / _seconds_of(lambda: one_by_one(1), 1))
    n = min(max(n, 2), model.factorization.num_steps)
    forms = {
        "one program for all steps": lambda: loop(params, canvas, n),
        "one program per step": lambda: one_by_one(n),
    }
    return forms, n
