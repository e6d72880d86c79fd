"""Optimizers from typed arguments: clipping, a registered rule, and the learning rate of a schedule."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import jax
import optax

from arjax.core.errors import UserError
from arjax.core.output import say_once
from arjax.core.registry import Component, Registry
from arjax.core.values import compile_regex
from arjax.parallel.sharding import path_string
from arjax.training.schedules import make_schedule


def check_ranges(name: str, rule: Callable, options: Mapping[str, Any]) -> None:
    """Ranges that hold for every rule: decays of moments in [0, 1), no negative decay, eps above 0."""
    for key in ("b1", "b2"):
        if key in options and not 0 <= options[key] < 1:
            raise UserError(f"optimizer.{key}={options[key]} must be at least 0 and below 1")
    if options.get("weight_decay", 0.0) < 0:
        raise UserError(f"optimizer.weight_decay={options['weight_decay']} must not be negative")
    if options.get("eps", 1.0) <= 0:  # 0/0 where a weight has no gradient
        raise UserError(f"optimizer.eps={options['eps']} must be above 0")


Transformation: TypeAlias = optax.GradientTransformation
#: A rule is a function `(options...) -> list[Transformation]`: in sequence they turn gradients into updates of rate 1.
OPTIMIZERS = Registry("optimizer", check=check_ranges)

DECAYING = r"(kernel|embedding)$"
#: The options of the rules here, with their values in every config. A rule takes those among its parameters.
SHARED = {"weight_decay": 0.0, "decay_pattern": DECAYING, "b1": 0.9, "b2": 0.999, "eps": 1e-8}


@OPTIMIZERS.register("adam")
def adam(b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8) -> list[Transformation]:
    """Adam (Kingma & Ba, 2015), without weight decay; `eps` is added to the root of the second moment."""
    return [optax.scale_by_adam(b1, b2, eps)]


@OPTIMIZERS.register("adamw")
def adamw(
    b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8, weight_decay: float = 0.0, decay_pattern: str = DECAYING
) -> list[Transformation]:
    """AdamW (Loshchilov & Hutter, 2019): the decay is decoupled, and times the learning rate; `eps` as in Adam."""
    return [optax.scale_by_adam(b1, b2, eps), *decay(weight_decay, decay_pattern)]


@OPTIMIZERS.register("lion")
def lion(
    b1: float = 0.9, b2: float = 0.999, weight_decay: float = 0.0, decay_pattern: str = DECAYING
) -> list[Transformation]:
    """Lion (Chen et al., 2023), with decoupled decay times the learning rate."""
    return [optax.scale_by_lion(b1, b2), *decay(weight_decay, decay_pattern)]


@OPTIMIZERS.register("sgd")
def sgd(b1: float = 0.9, weight_decay: float = 0.0, decay_pattern: str = DECAYING) -> list[Transformation]:
    """Gradient descent with momentum `b1`; the decay is an L2 penalty."""
    return [*decay(weight_decay, decay_pattern), optax.trace(b1)]


@OPTIMIZERS.register("adagrad")
def adagrad(initial_accumulator: float = 0.0) -> list[Transformation]:
    """Adagrad (Duchi, Hazan & Singer, 2011): rates fall with the sum of the squared gradients of each parameter.

    Losses are means over scalars, so gradients may be tiny: the sum begins at 0, and the scale of a loss is no matter.
    """
    return [optax.scale_by_rss(initial_accumulator, eps=1e-14)]


def make_optimizer(
    name: str | Component,
    learning_rate: float | optax.Schedule,
    total_steps: int,
    *,
    schedule: str = "constant",
    warmup_steps: int = 0,
    end_factor: float = 0.0,
    clip_norm: float = 0.0,
    **options: Any,
) -> Transformation:
    """An optax optimizer; raises `UserError` for an unknown name or option, or an impossible number.

    Args:
      name: of a registered rule; or the rule, from `read_rule`, which has its options.
      learning_rate: a schedule, from `make_schedule`; or the peak of one with the next four arguments.
      clip_norm: gradients of a larger global norm are scaled down to it; 0 clips nothing.
      **options: of the rule. Those in `SHARED` that the rule lacks are left out and said, except for a weight decay and
        an eps of one's own: errors.
    """
    rate = learning_rate
    if not callable(rate):
        rate = make_schedule(rate, total_steps, schedule, warmup_steps, end_factor)
    if clip_norm < 0:
        raise UserError(f"optimizer.clip_norm={clip_norm} must not be negative")
    rule = (read_rule(name, options) if isinstance(name, str) else name).build()
    clip = [optax.clip_by_global_norm(clip_norm)] if clip_norm else []
    return optax.chain(*clip, *rule, optax.scale_by_learning_rate(rate))


def read_rule(name: str, options: Mapping[str, Any]) -> Component:
    """The rule with the options that it takes, checked."""
    known = OPTIMIZERS.options(name)
    compile_regex(options.get("decay_pattern", DECAYING), "optimizer.decay_pattern")
    foreign = [key for key in options if key in SHARED and key not in known]
    if "weight_decay" in foreign and options["weight_decay"]:
        raise UserError(f"optimizer {name!r} has no weight decay: set optimizer.name to 'adamw', or weight_decay to 0")
    if "eps" in foreign and options["eps"] != SHARED["eps"]:
        raise UserError(f"optimizer {name!r} has no eps: leave optimizer.eps at {SHARED['eps']}")
    for key in foreign:
        if options[key] != SHARED[key]:
            say_once(f"optimizer.{key}={options[key]!r} has no effect: the optimizer {name!r} has no {key}")
    given = {key: value for key, value in options.items() if key not in foreign}
    return OPTIMIZERS.component(name, given)


def own_options(name: str) -> dict[str, Any]:
    """The options of a rule with their defaults, without those that every config has."""
    options = {key: value for key, value in OPTIMIZERS.options(name).items() if key not in SHARED}
    for key, default in options.items():
        if default is inspect.Parameter.empty:
            raise UserError(f"the option {key!r} of the optimizer {name!r} needs a default")
    return options


def decay(weight_decay: float, pattern: str) -> list[Transformation]:
    """Weight decay of the parameters with the pattern in their path; no transformation when it is 0."""
    regex = compile_regex(pattern, "optimizer.decay_pattern")

    def mask(params: Any) -> Any:
        return jax.tree_util.tree_map_with_path(lambda path, _: regex.search(path_string(path)) is not None, params)

    return [optax.add_decayed_weights(weight_decay, mask)] if weight_decay else []
