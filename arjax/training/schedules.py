"""Learning-rate schedules: warm-up times the factor of a registered schedule."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from arjax.core.errors import UserError, say_once
from arjax.core.options import opt
from arjax.core.registry import Component, Registry

#: The ways in which `wsd` falls, from 1 to 0 while q goes from 0 to 1.
FALLS: dict[str, Callable[[jax.Array], jax.Array]] = {"linear": lambda q: 1 - q, "1-sqrt": lambda q: 1 - jnp.sqrt(q)}


#: A schedule is a function `(course, options...) -> float32[]`, the part of the peak rate at one step.
SCHEDULES = Registry("schedule", hidden=("course",))


@dataclasses.dataclass(frozen=True)
class Course:
    """The position of a step in a run.

    Attributes:
      t: float32[], the step, 0 for the first.
      done: float32[], the part of the steps after the warm-up that is done, 0 to 1.
      warmup_steps, end_factor: length of the warm-up, and the factor at which falling schedules end.
    """

    t: jax.Array
    done: jax.Array
    warmup_steps: int
    end_factor: float


@SCHEDULES.register("constant")
def constant(course: Course) -> jax.Array:
    """1: the rate stays at its peak."""
    return jnp.ones_like(course.t)


@SCHEDULES.register("linear")
def linear(course: Course) -> jax.Array:
    """1 - (1 - e) r: the rate falls from its peak to the part e of it."""
    return 1 - (1 - course.end_factor) * course.done


@SCHEDULES.register("cosine")
def cosine(course: Course) -> jax.Array:
    """e + (1 - e) (1 + cos(pi r)) / 2 (Loshchilov & Hutter, "SGDR", 2017, equation 5)."""
    return course.end_factor + (1 - course.end_factor) * (1 + jnp.cos(jnp.pi * course.done)) / 2


@SCHEDULES.register("wsd")
def wsd(
    course: Course, decay: float = opt(0.2, above=0, most=1), shape: str = opt("linear", choices=FALLS)
) -> jax.Array:
    """1, then e + (1 - e) f(q) in the last part `decay` of the steps (Hu et al., "MiniCPM", 2024).

    q, from 0 to 1, is the part of the decay that is done, and `decay` a part of the steps after the warm-up. f(q) is
    1 - q or, with `shape="1-sqrt"`, 1 - sqrt(q) (Hägele et al., "Scaling Laws and Compute-Optimal Training Beyond Fixed
    Training Durations", 2024).
    """
    q = jnp.clip((course.done - (1 - decay)) / decay, 0.0, 1.0)
    return course.end_factor + (1 - course.end_factor) * FALLS[shape](q)


def make_schedule(
    learning_rate: float,
    total_steps: int,
    schedule: str | Component = "constant",
    warmup_steps: int = 0,
    end_factor: float = 0.0,
) -> optax.Schedule:
    """Returns the learning rate of step t = 0, 1, ..., total_steps - 1: `learning_rate` times a linear warm-up over w =
    `warmup_steps`, times the factor of the schedule, a call string of `SCHEDULES`, with e = `end_factor` and r the part
    of the steps after the warm-up that is done.
    """
    component = SCHEDULES.read(schedule) if isinstance(schedule, str) else schedule
    if not 0 <= warmup_steps < max(total_steps, 1):
        limits = f"at least 0 and below the {total_steps} steps of the training: lower it, or train longer"
        raise UserError(f"optimizer.warmup_steps={warmup_steps} must be {limits}")
    factor, options = component.function, component.options
    if end_factor and factor is constant:
        say_once(f"optimizer.end_factor={end_factor} has no effect on the schedule 'constant', which does not fall")

    def rate(t: jax.Array) -> jax.Array:
        t = jnp.asarray(t, jnp.float32)
        done = jnp.clip((t - warmup_steps) / (total_steps - warmup_steps), 0.0, 1.0)
        # t + 1: the first step of a warm-up must not have a rate of 0.
        warmup = jnp.minimum(1.0, (t + 1) / warmup_steps) if warmup_steps else 1.0
        return learning_rate * warmup * factor(Course(t, done, warmup_steps, end_factor), **options)

    return rate
