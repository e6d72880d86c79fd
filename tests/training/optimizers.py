"""Optimizers by the name of their rule and a peak of the learning rate."""

from __future__ import annotations

from typing import Any

import optax

from arjax.core.registry import Component
from arjax.models import Model
from arjax.training import optimizer
from arjax.training.schedules import make_schedule


def make_optimizer(
    name: str | Component,
    learning_rate: float,
    total_steps: int,
    *,
    schedule: str = "constant",
    warmup_steps: int = 0,
    end_factor: float = 0.0,
    clip_norm: float = 0.0,
    model: Model | None = None,
    **options: Any,
) -> optax.GradientTransformation:
    """Returns the optimizer of a rule, by its name with options or itself, under a schedule."""
    rate = make_schedule(learning_rate, total_steps, schedule, warmup_steps, end_factor)
    rule = optimizer.read_rule(name, options) if isinstance(name, str) else name
    return optimizer.make_optimizer(rule, rate, clip_norm=clip_norm, model=model)
