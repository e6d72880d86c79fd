"""The loss of a batch and its gradient, in one piece or accumulated over micro-batches.

A loss is a sum of means, sum_i T_i / C_i. The totals T_i add up over micro-batches, and so do their gradients and the
counts C_i; the division comes last. So the gradient is that of the whole batch, to rounding, also where masks and
weights leave each micro-batch another number of scored values.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from arjax.core.batch import Batch
from arjax.core.errors import UserError
from arjax.objectives import Loss, Mean, Own, Step
from arjax.training.recipe import Recipe

#: Gradients by (parameters of the model, parameters of the objective).
Gradients = tuple[Any, Any]


def loss_and_gradients(recipe: Recipe, params: Any, own: Own, batch: Batch, step: Step) -> tuple[Loss, Gradients]:
    """The loss of the batch and its gradient by `(params, own.params)`."""
    if recipe.accumulate > 1:
        return _accumulated(recipe, params, own, batch, step)
    loss, pull_back = _totals(recipe, params, own, batch, step)
    return loss, pull_back(tuple(1 / term.divisor for term in loss.terms))


def _totals(
    recipe: Recipe, params: Any, own: Own, batch: Batch, step: Step
) -> tuple[Loss, Callable[[tuple[jax.Array, ...]], Gradients]]:
    """The loss, and the function from cotangents of its totals to gradients."""

    def totals(params: Any, own_params: Any) -> tuple[tuple[jax.Array, ...], Loss]:
        loss = recipe.objective.loss(recipe.model, params, Own(own_params, own.state), batch, step)
        return tuple(term.total for term in loss.terms), jax.lax.stop_gradient(loss)

    _, pull_back, loss = jax.vjp(totals, params, own.params, has_aux=True)
    return loss, pull_back


def _accumulated(recipe: Recipe, params: Any, own: Own, batch: Batch, step: Step) -> tuple[Loss, Gradients]:
    """One micro-batch after the other; each starts from the state of the objective after the one before it."""
    num = recipe.accumulate

    def part(state: Any, batch: Batch, k: jax.Array) -> tuple[Loss, tuple[Gradients, ...]]:
        own_step = Step(jax.random.fold_in(step.key, k), step.progress, step.companions)
        loss, pull_back = _totals(recipe, params, Own(own.params, state), batch, own_step)
        units = jnp.eye(len(loss.terms), dtype=jnp.float32)
        return loss, tuple(pull_back(tuple(unit)) for unit in units)  # one gradient for each term

    def one(carry: Any, xs: tuple[Batch, jax.Array]) -> tuple[Any, None]:
        (terms, metrics, state), gradients = carry
        loss, new = part(state, *xs)
        totals = jax.tree.map(jnp.add, (terms, metrics, gradients), (loss.terms, loss.metrics, new))
        return ((totals[0], totals[1], loss.state), totals[2]), None

    parts, numbers = cut(batch, num), jnp.arange(num)
    first = jax.tree.map(lambda array: array[0], (parts, numbers))
    shapes, gradient_shapes = jax.eval_shape(part, own.state, *first)
    zeros = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), (shapes.terms, shapes.metrics, gradient_shapes))
    carry = ((zeros[0], zeros[1], own.state), zeros[2])
    ((terms, metrics, state), gradients), _ = jax.lax.scan(one, carry, (parts, numbers))
    return Loss(terms, metrics, state), _divided(terms, gradients)


def _divided(terms: tuple[Mean, ...], gradients: tuple[Gradients, ...]) -> Gradients:
    """sum_i G_i / C_i."""
    scaled = [jax.tree.map(lambda g, c=term.divisor: g / c, g) for term, g in zip(terms, gradients, strict=True)]
    return jax.tree.map(lambda *parts: sum(parts), *scaled)


def cut(batch: Batch, num: int) -> Batch:
    """The batch in `num` parts [num, B / num, ...]: part k has the rows k, k + num, ..., which lie on their devices.

    Raises `UserError` when it cannot be cut into so many equal parts.
    """
    if len(batch) % num:
        raise UserError(f"a batch of {len(batch)} examples cannot be cut into {num} equal micro-batches")
    return jax.tree.map(
        lambda rows: jnp.moveaxis(rows.reshape(len(rows) // num, num, *rows.shape[1:]), 1, 0),
        batch,
    )
