"""Functions of models that only some kinds have, registered for their classes, as by `@pictures.register(MyKind)`."""

from __future__ import annotations

import dataclasses
import functools
import operator
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax

from arjax.core.batch import Batch
from arjax.core.errors import UserError
from arjax.models.pictures import Picture

Params = Any


@functools.singledispatch
def pictures(model: Any, params: Params, batch: Batch, key: jax.Array) -> Iterator[tuple[str, Picture]]:
    """Yields pictures of a trained model from some examples and draws, each with the name of its file."""
    yield from ()


@functools.singledispatch
def model_in_words(model: Any) -> str:
    """Returns the model in a few words, for the head of a report."""
    return repr(model)


@functools.singledispatch
def in_sequence(model: Any) -> bool:
    """Returns whether no site is visited before one in front of it: else padding tells something about a string."""
    return False


@functools.singledispatch
def sharper(model: Any) -> Any:
    """Returns the model with smaller numerical errors of its scores; by default that of such parts."""
    changed: dict[str, Any] = {}
    for name in model.__dataclass_fields__:
        value = getattr(model, name)
        parts = value if isinstance(value, tuple) else (value,)
        if all(hasattr(part, "named_parts") for part in parts):
            sharp = tuple(map(sharper, parts))
            if any(map(operator.is_not, sharp, parts)):
                changed[name] = sharp if isinstance(value, tuple) else sharp[0]
    return dataclasses.replace(model, **changed) if changed else model


class StepMember(NamedTuple):
    """A model with conditionals in a mixture, its parameters, and log w of it, float32[]."""

    model: Any
    params: Params
    log_weight: Any


@functools.singledispatch
def step_members(model: Any, params: Params) -> tuple[StepMember, ...]:
    """Returns the autoregressive models of which a model is a mixture: p(x) = sum_k w_k p_k(x)."""
    needed = "a lossless coder needs a model of the kind autoregressive, or a mixture of them"
    raise UserError(f"{type(model).__name__} gives no probabilities of the values of its steps: {needed}")


class SampledBound(NamedTuple):
    """A bound that takes more draws than a score: `log_prob(model, params, batch, key, *options)` in nats, float32[B].
    It is a function at the top of a module with hashable options, so that further calls find the compiled program.
    """

    name: str  # the names of its entries in a report begin so, as "importance_bound"
    model: Any  # the model itself, or a copy with other options
    log_prob: Callable[..., jax.Array]
    options: tuple[Any, ...]
    entries: dict[str, int]  # of the report, such as the number of draws


@functools.singledispatch
def sampled_bound(model: Any, samples: int) -> SampledBound:
    """Returns the bound that `evaluate.samples` asks for, from `samples` latents or steps of each example."""
    raise UserError("config.evaluate.samples needs a model of the kind latent or tokens, or a chain")


@functools.singledispatch
def report_of_examples(model: Any, params: Params, batch: Batch, key: jax.Array) -> dict[str, Any]:
    """Returns further entries of a report, in types of JSON, from some examples."""
    return {}


@functools.singledispatch
def code_numbers(model: Any, params: Params, batch: Batch) -> tuple[jax.Array, int] | None:
    """Returns the examples as discrete codes int32[B, T] from 0 to K - 1, and K, if the model has a codebook."""
    return None


@functools.singledispatch
def check_trained(model: Any, params: Params) -> None:
    """Raises `UserError` where trained parameters contradict one another; called when they are read from files."""


@functools.singledispatch
def sampled_part(model: Any) -> str:
    """Returns the name of the part whose steps a sampler goes through, "" for the model itself."""
    return ""


@functools.singledispatch
def examples_of_part(model: Any, params: Params, batch: Batch) -> Batch:
    """Returns examples of a model as those of its `sampled_part`; called outside of `jit`, with all rows of a split."""
    return batch
