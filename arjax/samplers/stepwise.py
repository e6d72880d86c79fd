"""The steps of the sampler `cached` one at a time: a compiled program returns the table of probabilities of a step, and
the values come from outside: values that are known, or values that a file decides on.

The same program at the same batch computes the same bits whatever the values are for. A pass over known values and a
draw that goes through them therefore see the same tables: this is what a lossless coder needs.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from arjax.conditionals import Conditional
from arjax.conditionals.base import bound
from arjax.conditionals.blocks import scores_blocks
from arjax.core.errors import UserError
from arjax.factorization import Factorization
from arjax.networks.base import Network, step_variables
from arjax.samplers.base import placed
from arjax.samplers.loops import loop_ends, read_prompt


class StepTables:
    """Walks through the steps of B examples of a model: `begin`, then in each step `table` and `put`.

    Attributes:
      num: B.
      num_scalars: n, the scalars of a step: M sites of the largest step times the scalars of a value. Those of sites
        that do not exist, in short steps, have tables of no meaning.
      canvas: [B, *grid, *value], with the values so far.
      t: the next step.
    """

    def __init__(self, model: Any, params: Any, num: int):
        """`model` and `params` as those of `AutoregressiveModel`. Raises `UserError` where the values of a step have no
        table of probabilities.
        """
        check_tables(model)
        model = dataclasses.replace(model, orders=None)
        self.model: Any = jax.tree.map(jnp.asarray, model)
        self._variables = _variables(model.network, params)
        self.num = num
        factorization = model.factorization
        self.num_scalars = factorization.block_size * model.event.value_size
        self._ends = loop_ends(model.network.FIRST_LOOP, factorization.num_steps)
        self.canvas: Any = None
        self.t = 0

    def begin(self, context: Any = None, prompt: np.ndarray | None = None) -> None:
        """Goes to step 0 of B examples.

        Args:
          context: the parts [B, ...] by name; None or {}: there are none.
          prompt: the values [B, P, *value] of the first P steps, of one site each and in raster order, which are read:
            then it goes to step P.
        """
        self._context = jax.tree.map(jnp.asarray, dict(context)) if context else None
        shape, event = self.model.event.shape, self.model.event
        canvas = np.zeros((self.num, *shape), event.dtype)
        self.t = 0 if prompt is None else prompt.shape[1]
        canvas[:, : self.t] = 0 if prompt is None else prompt
        self.canvas = jnp.array(canvas)
        chunk = min(self.model.network.CHUNK, self.model.factorization.num_steps)
        where = self.model, self._variables, self.canvas, self._context
        self._carry = _started(*where) if prompt is None else _read(*where, np.int32(self.t), chunk=chunk)
        self._past = None
        self._end = 0

    def table(self) -> jax.Array:
        """The probabilities of the values of each scalar of the next step, float32[B, n, V]."""
        while self.t >= self._end:  # the cache has places for the steps before
            self._end = next(end for end in self._ends if end > self.t)
            where = self.model, self._variables, self._carry, self._past
            self._past = _grown(*where, end=self._end)
        where = self.model, self._variables, self._past, self.canvas
        self._past, table = _table(*where, np.int32(self.t), self._context)
        return table

    def put(self, values_Bn: np.ndarray) -> None:
        """Puts the values of the scalars of the step on the canvas, and goes on to the next step."""
        self.canvas = _put(self.model.factorization, self.canvas, np.int32(self.t), values_Bn)
        self.t += 1


def check_tables(model: Any) -> None:
    """Raises `UserError` unless the values of each step have a table of probabilities: discrete scalars that are
    independent given the steps before.
    """
    head, factorization = model.conditional, model.factorization
    shape = jax.ShapeDtypeStruct((factorization.block_size, head.num_params), jnp.float32)
    reason = "the values of a step depend on one another"
    if not scores_blocks(head, factorization):
        try:
            jax.eval_shape(lambda features: _log_table(head, factorization, jnp.int32(0), features), shape)
            return
        except UserError:
            reason = "they are real, too many, or depend on one another"
    raise UserError(
        f"the conditional {type(head).__name__} has no table of the probabilities of a step: {reason}; a model of "
        "discrete values with the conditional bernoulli, categorical or ordinal has one"
    )


def _log_table(head: Conditional, factorization: Factorization, t: jax.Array, features: jax.Array) -> jax.Array:
    """log p of the values of the scalars of step t, [..., n, V], from its features [..., M, F]."""
    table = head.at(factorization.sites(t)[0]).log_table(features)
    return table.reshape(*features.shape[:-2], -1, table.shape[-1])


@functools.partial(jax.jit, static_argnums=0)
def _variables(network: Network, params: Any) -> dict[str, Any]:
    return step_variables(network, params)


@jax.jit
def _started(model: Any, variables: Any, canvas: jax.Array, context: Any) -> Any:
    carry = model.network.apply(variables, len(canvas), model.factorization, context, method="init_carry")
    return jax.tree.map(jnp.copy, carry)


@functools.partial(jax.jit, static_argnames="chunk")
def _read(model: Any, variables: Any, canvas: jax.Array, context: Any, prompt: jax.Array, chunk: int) -> Any:
    carry = read_prompt(model.network, variables, canvas, model.factorization, context, prompt, chunk)
    return jax.tree.map(jnp.copy, carry)


@functools.partial(jax.jit, static_argnames="end")
def _grown(model: Any, variables: Any, carry: Any, past: Any, end: int) -> Any:
    found = model.network.apply(variables, carry, end, model.factorization, past, method="loop_carry")
    return jax.tree.map(jnp.copy, found)  # buffers of its own, which the next step overwrites


@functools.partial(jax.jit, donate_argnames="carry")
def _table(
    model: Any, variables: Any, carry: Any, canvas: jax.Array, t: jax.Array, context: Any
) -> tuple[Any, jax.Array]:
    """The carry behind step t, and its table. Only one thing is done with a canvas here, to read it: a program that
    writes on it, too, copies it.
    """
    factorization = model.factorization
    carry, features = model.network.apply(variables, carry, canvas, t, factorization, context, method="step")
    head = bound(model.conditional, variables["params"])
    return carry, jnp.exp(_log_table(head, factorization, t, features))


@functools.partial(jax.jit, donate_argnames="canvas")
def _put(factorization: Factorization, canvas: jax.Array, t: jax.Array, values_Bn: jax.Array) -> jax.Array:
    values_BMv = values_Bn.reshape(len(canvas), factorization.block_size, -1).astype(canvas.dtype)
    return placed(factorization, canvas, t, values_BMv)
