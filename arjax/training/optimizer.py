"""Optimizers and learning-rate schedules from typed arguments."""

from __future__ import annotations

import re
from typing import Any

import jax
import jax.numpy as jnp
import optax

from arjax.core.errors import UserError
from arjax.core.registry import did_you_mean
from arjax.parallel.sharding import path_string

OPTIMIZERS = ("adam", "adamw", "lion", "sgd")
SCHEDULES = ("constant", "cosine", "linear", "rsqrt")


def make_schedule(
    learning_rate: float, total_steps: int, schedule: str = "constant", warmup_steps: int = 0, end_factor: float = 0.0
) -> optax.Schedule:
    """The learning rate of step t = 0, 1, ..., total_steps - 1.

    Linear warm-up over `warmup_steps`, then, with r the part of the remaining steps that is done:

        constant: 1                                 cosine: e + (1 - e) (1 + cos(pi r)) / 2
        linear:   1 - (1 - e) r                     rsqrt:  max(e, sqrt(w / (t + 1)))

    times `learning_rate`, where e is `end_factor` and w is `warmup_steps` (Vaswani et al., 2017, section 5.3;
    Loshchilov & Hutter, "SGDR", 2017, equation 5).

    Raises:
      UserError: an unknown schedule or an impossible number.
    """
    if schedule not in SCHEDULES:
        raise UserError(f"unknown optimizer.schedule {schedule!r}{did_you_mean(schedule, SCHEDULES)}")
    if learning_rate <= 0 or not 0 <= end_factor <= 1:
        raise UserError(
            f"optimizer.learning_rate must be above 0 and end_factor within 0..1, not {learning_rate} and {end_factor}"
        )
    if not 0 <= warmup_steps < max(total_steps, 1):
        raise UserError(f"optimizer.warmup_steps={warmup_steps} must be at least 0 and below the {total_steps} steps")

    def rate(t: jax.Array) -> jax.Array:
        t = jnp.asarray(t, jnp.float32)
        done = jnp.clip((t - warmup_steps) / (total_steps - warmup_steps), 0.0, 1.0)
        factor = {
            "constant": jnp.ones_like(t),
            "linear": 1 - (1 - end_factor) * done,
            "cosine": end_factor + (1 - end_factor) * (1 + jnp.cos(jnp.pi * done)) / 2,
            "rsqrt": jnp.maximum(end_factor, jnp.sqrt(max(warmup_steps, 1) / jnp.maximum(t + 1, max(warmup_steps, 1)))),
        }[schedule]
        # t + 1: the first step of a warm-up must not be lost to a rate of 0.
        warmup = jnp.minimum(1.0, (t + 1) / warmup_steps) if warmup_steps else 1.0
        return learning_rate * warmup * factor

    return rate


def make_optimizer(
    name: str,
    learning_rate: float,
    total_steps: int,
    *,
    schedule: str = "constant",
    warmup_steps: int = 0,
    end_factor: float = 0.0,
    weight_decay: float = 0.0,
    decay_pattern: str = r"(kernel|embedding)$",
    clip_norm: float = 0.0,
    b1: float = 0.9,
    b2: float = 0.999,
) -> optax.GradientTransformation:
    """An optax optimizer.

    Args:
      name: "adam" (Kingma & Ba, 2015), "adamw" (Loshchilov & Hutter, 2019), "lion" (Chen et al., 2023) or "sgd" (with
        momentum `b1`).
      learning_rate: peak of the schedule.
      total_steps: length of the run, at which the schedule ends.
      schedule: see `make_schedule`, as for `warmup_steps` and `end_factor`.
      weight_decay: decoupled and times the learning rate for adamw and lion, an L2 penalty for sgd; adam has none.
      decay_pattern: regex of the parameter paths that decay, so that biases and norms do not.
      clip_norm: gradients of a larger global norm are scaled down to it; 0 clips nothing.
      b1: decay of the first moment.
      b2: decay of the second moment.

    Raises:
      UserError: an unknown name or an impossible number.
    """
    if name not in OPTIMIZERS:
        raise UserError(f"unknown optimizer {name!r}{did_you_mean(name, OPTIMIZERS)}")
    if weight_decay < 0 or clip_norm < 0:
        raise UserError(f"optimizer.weight_decay={weight_decay} and clip_norm={clip_norm} must not be negative")
    if not (0 <= b1 < 1 and 0 <= b2 < 1):
        raise UserError(f"optimizer.b1={b1} and b2={b2} must be at least 0 and below 1")
    if name == "adam" and weight_decay:
        raise UserError("optimizer 'adam' has no weight decay: set optimizer.name to 'adamw', or weight_decay to 0")
    rate = make_schedule(learning_rate, total_steps, schedule, warmup_steps, end_factor)
    decay = _decay(weight_decay, decay_pattern)
    rule = {
        "adam": lambda: [optax.scale_by_adam(b1, b2)],
        "adamw": lambda: [optax.scale_by_adam(b1, b2), *decay],
        "lion": lambda: [optax.scale_by_lion(b1, b2), *decay],
        "sgd": lambda: [*decay, optax.trace(b1)],
    }[name]()
    clip = [optax.clip_by_global_norm(clip_norm)] if clip_norm else []
    return optax.chain(*clip, *rule, optax.scale_by_learning_rate(rate))


def _decay(weight_decay: float, pattern: str) -> list[optax.GradientTransformation]:
    """Weight decay of the parameters whose path the pattern is found in; nothing when it is 0."""
    try:
        regex = re.compile(pattern)
    except re.error as error:
        raise UserError(f"optimizer.decay_pattern {pattern!r} is not a regular expression: {error}") from error

    def mask(params: Any) -> Any:
        return jax.tree_util.tree_map_with_path(lambda path, _: regex.search(path_string(path)) is not None, params)

    return [optax.add_decayed_weights(weight_decay, mask)] if weight_decay else []
