"""The steps of the sampler `cached` with values from outside: in each step, a compiled loop asks the program around it
for the values, by the tables of their probabilities. The same program at the same batch computes the same bits whatever
the values are for, so a pass over known values and a draw of them see the same tables: a lossless coder needs this.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import signal
import threading
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import io_callback
from jax.experimental.buffer_callback import buffer_callback

from arjax.conditionals import Conditional
from arjax.conditionals.base import bound
from arjax.conditionals.blocks import scores_blocks
from arjax.core.errors import UserError
from arjax.core.programs import program_device
from arjax.core.spec import EventSpec
from arjax.factorization import Factorization
from arjax.networks.base import step_variables
from arjax.samplers.base import placed
from arjax.samplers.loops import StepForm

#: (table float32[B, k, V], t, j) -> values int32[B, k] of the scalars j, ..., j + k - 1 of step t. It is called by the
#: thread of a program that waits for it, so it must not call jax.
Choose = Callable[[np.ndarray, int, int], np.ndarray]


class Asked:
    """The program outside, which the loop of a compiled program asks for values by the number of its call. What
    `choose` or the handler of Ctrl-C raises is kept until the program has ended; a second Ctrl-C acts as usual.
    """

    _waiting: dict[int, Asked] = {}
    _numbers = itertools.count()

    def __init__(self, choose: Choose):
        self.number, self._choose = next(self._numbers) % 2**31, choose
        self._error: BaseException | None = None
        self._handler: Any = None

    def __enter__(self) -> Asked:
        self._waiting[self.number] = self
        handler = signal.getsignal(signal.SIGINT)
        # Python allows handlers in the main thread only, where it calls them.
        if callable(handler) and threading.current_thread() is threading.main_thread():
            self._handler = handler
            signal.signal(signal.SIGINT, self._interrupted)
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        self._restore()
        del self._waiting[self.number]
        if kind is None:
            self.check()

    def _restore(self) -> None:
        if self._handler is not None:
            signal.signal(signal.SIGINT, self._handler)
            self._handler = None

    def _interrupted(self, number: int, frame: FrameType | None) -> None:
        try:
            self._handler(number, frame)
        except BaseException as error:  # of any kind, as it is raised later
            self._error = error
            self._restore()

    def check(self) -> None:
        """Raises what `choose`, or the handler of Ctrl-C, has raised."""
        if self._error is not None:
            raise self._error

    @classmethod
    def values(cls, who: np.ndarray, table_BkV: np.ndarray) -> np.ndarray:
        """Returns the values int32[B, k]; `who` is [number, t, j]."""
        number, t, j = who.tolist()
        call = cls._waiting[number]
        try:
            if call._error is None:
                return _checked(call._choose(table_BkV, t, j), table_BkV.shape[:2])
        except BaseException as error:  # a program cannot be left from inside: the rest of its steps is made with zeros
            call._error = error
        return np.zeros(table_BkV.shape[:2], np.int32)


def _checked(values: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Chosen values, which are whole numbers of this shape; raises `TypeError` for others."""
    chosen = np.asarray(values)
    if chosen.shape != shape or chosen.dtype.kind not in "iu":
        raise TypeError(f"chosen values must be whole numbers {shape}, not {chosen.dtype} {chosen.shape}")
    return chosen.astype(np.int32, copy=False)


def _answer(_: Any, out: Any, who: Any, table_BkV: Any) -> None:
    """`Asked.values` on the memory of the program."""
    np.asarray(out)[...] = Asked.values(np.asarray(who), np.asarray(table_BkV))


def ask_for_values(number: jax.Array, t: jax.Array, j: int | jax.Array, table_BkV: jax.Array) -> jax.Array:
    """Returns the values int32[B, k] of the scalars j, ... of step t, which the program outside chooses."""
    who = jnp.stack([number, t, jnp.asarray(j, jnp.int32)])
    shape = jax.ShapeDtypeStruct(table_BkV.shape[:2], jnp.int32)
    if program_device().platform == "cpu":  # 6 us a call, where `io_callback` takes 150
        return buffer_callback(_answer, shape, has_side_effect=True)(who, table_BkV)
    return io_callback(lambda *given: Asked.values(*map(np.asarray, given)), shape, who, table_BkV, ordered=True)


#: Steps of one call of a program, at most: between two calls Python looks at signals, such as Ctrl-C.
SEGMENT = 256
#: No probability counts as less than this one: a coder has 24 bits for each, and no weight of a mixture becomes 0.
LEAST = 2.0**-24


class OutsideSteps:
    """The steps of B examples of a model, or of a mixture of several models with the same order: `begin`, then `run`.

    A mixture has the conditionals p(x_t | x_<t) = sum_k w_k(x_<t) p_k(x_t | x_<t), where the weights w_k(x_<t) follow
    from the values so far by Bayes' rule. The n = `num_scalars` scalars of a step are those of the M sites of the
    largest step: `exists_Sn` says which exist; the tables of the others have no meaning. `t` is the next step.
    """

    def __init__(self, members: Sequence[Any], num: int):
        """`members`: one model with its parameters and the log weight 0, or several: `models.extras.StepMember`."""
        for member in members:
            check_tables(member.model)
        models = [dataclasses.replace(member.model, orders=None) for member in members]
        self._models: list[Any] = jax.tree.map(jnp.asarray, models)
        self._variables = [_variables(member.model.network, member.params) for member in members]
        self._log_weights = jnp.stack([jnp.asarray(member.log_weight, jnp.float32) for member in members])
        self.num, first = num, models[0]
        self.event: EventSpec = first.event
        self.num_scalars = first.factorization.block_size * self.event.value_size
        self.blocks_SM = np.asarray(first.factorization.blocks)
        self.exists_Sn = np.repeat(self.blocks_SM < self.event.num_sites, self.event.value_size, axis=1)
        self._ends = [StepForm(model.network, None, model.factorization).ends for model in models]
        self._state: Any = None
        self.t = 0

    def begin(self, context: Any = None, prompt: np.ndarray | None = None) -> None:
        """Goes to step 0 of B examples under the parts of a context [B, ...] and with new weights; or reads a prompt
        [B, P, *value], of one site a step and in raster order, and goes to step P.
        """
        self._context = jax.tree.map(jnp.asarray, dict(context)) if context else None
        canvas = np.zeros((self.num, *self.event.shape), self.event.dtype)
        self.t = 0 if prompt is None else prompt.shape[1]
        canvas[:, : self.t] = 0 if prompt is None else prompt
        read = None if prompt is None else np.int32(self.t)
        members = zip(self._models, self._variables, strict=True)
        self._carries = [_read(*member, canvas, self._context, read) for member in members]
        self._pasts: list[Any] = [None] * len(self._models)
        log_weight_KB = jnp.broadcast_to(self._log_weights[:, None], (len(self._models), self.num))
        self._state = jnp.array(canvas), jnp.array(log_weight_KB)
        self._places = [0] * len(self._models)

    def run(self, choose: Choose, stop: int | None = None) -> None:
        """Makes the steps before `stop` (None: all) with the values chosen; what `choose` raises is raised last."""
        stop = len(self.blocks_SM) if stop is None else stop
        with Asked(choose) as call:
            while self.t < stop:
                last = min(self.t + SEGMENT, self._grown(), stop)
                where = self._models, self._variables, self._context, self._pasts, self._state
                try:
                    self._pasts, self._state = _run(*where, np.int32(self.t), np.int32(last), np.int32(call.number))
                    jax.block_until_ready(self._state)
                finally:
                    call.check()
                self.t = last

    def _grown(self) -> int:
        """Returns the step before which the caches have places, of which there are some now."""
        for k, ends in enumerate(self._ends):
            if self.t >= self._places[k]:
                self._places[k] = next(end for end in ends if end > self.t)
                where = self._models[k], self._variables[k], self._carries[k], self._pasts[k]
                self._pasts[k] = _grown(*where, end=self._places[k])
        return min(self._places)


def check_tables(model: Any) -> None:
    """Raises `UserError` unless each step has a table of probabilities: independent discrete scalars."""
    head, factorization = model.conditional, model.factorization
    shape = jax.ShapeDtypeStruct((factorization.block_size, head.num_params), jnp.float32)
    reason = "the values of a step depend on one another"
    if not scores_blocks(head, factorization):
        try:
            jax.eval_shape(lambda features: _log_table(head, factorization, jnp.int32(0), features), shape)
            return
        except UserError:
            reason = "they are real, too many, or depend on one another"
    lacks = f"the conditional {type(head).__name__} has no table of the probabilities of a step: {reason}"
    raise UserError(f"{lacks}; discrete values with the conditional bernoulli, categorical or ordinal have one")


def _log_table(head: Conditional, factorization: Factorization, t: jax.Array, features: jax.Array) -> jax.Array:
    """Returns log p of the values of the scalars of step t, [..., n, V], from its features [..., M, F]."""
    table = head.at(factorization.sites(t)[0]).log_table(features)
    return table.reshape(*features.shape[:-2], -1, table.shape[-1])


_variables = jax.jit(step_variables, static_argnums=0)


@jax.jit
def _read(model: Any, variables: Any, canvas: jax.Array, context: Any, prompt: jax.Array | None) -> Any:
    form = StepForm(model.network, variables, model.factorization)
    return jax.tree.map(jnp.copy, form.read_prompt(canvas, context, 0 if prompt is None else prompt, form.chunk))


@functools.partial(jax.jit, static_argnames="end")
def _grown(model: Any, variables: Any, carry: Any, past: Any, end: int) -> Any:
    pasts = StepForm(model.network, variables, model.factorization).loop_carry(carry, end, past)
    return jax.tree.map(jnp.copy, pasts)  # buffers of its own, which the next steps overwrite


@functools.partial(jax.jit, donate_argnames=("pasts", "state"))
def _run(
    models: list[Any],
    variables: list[Any],
    context: Any,
    pasts: list[Any],
    state: tuple[jax.Array, jax.Array],
    start: jax.Array,
    stop: jax.Array,
    number: jax.Array,
) -> tuple[list[Any], tuple[jax.Array, jax.Array]]:
    """The carries, and the canvas and the log weights [K, B] of a mixture, after the steps from `start` to `stop`."""
    factorization, num_sites = models[0].factorization, models[0].event.num_sites

    def step(t: jax.Array, loop: Any) -> Any:
        pasts, (canvas, log_weight_KB) = loop
        parts = zip(models, variables, pasts, strict=True)
        pasts, tables = zip(*[_table(*part, canvas, t, context) for part in parts], strict=True)
        exists_n = jnp.repeat(factorization.blocks[t] < num_sites, models[0].event.value_size)
        ask = functools.partial(ask_for_values, number, t)
        values_Bn, log_weight_KB = _chosen(ask, tables, log_weight_KB, exists_n)
        values_BMv = values_Bn.reshape(len(canvas), factorization.block_size, -1).astype(canvas.dtype)
        return list(pasts), (placed(factorization, canvas, t, values_BMv), log_weight_KB)

    return jax.lax.fori_loop(start, stop, step, (pasts, state))


def _table(
    model: Any, variables: Any, past: Any, canvas: jax.Array, t: jax.Array, context: Any
) -> tuple[Any, jax.Array]:
    """Returns the carry behind step t, and the probabilities [B, n, V] of the values of its scalars."""
    past, features = StepForm(model.network, variables, model.factorization).step(past, canvas, t, context)
    head = bound(model.conditional, variables["params"])
    return past, jnp.exp(_log_table(head, model.factorization, t, features))


def _chosen(
    ask: Callable[[int | jax.Array, jax.Array], jax.Array],
    tables: Sequence[jax.Array],
    log_weight_KB: jax.Array,
    exists_n: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """Returns the values int32[B, n] by the members' tables [B, n, V], scalar by scalar, and the weights given them."""
    if len(tables) == 1:
        return ask(0, tables[0]), log_weight_KB
    p_KBnV = jnp.stack(tables)

    def scalar(j: jax.Array, values_Bn: jax.Array) -> jax.Array:
        table_B1V = _mixed(_weights(log_weight_KB, p_KBnV, values_Bn, exists_n, j), p_KBnV, j)
        return jax.lax.dynamic_update_slice_in_dim(values_Bn, ask(j, table_B1V), j, axis=1)

    num_scalars = p_KBnV.shape[2]
    values_Bn = jax.lax.fori_loop(0, num_scalars, scalar, jnp.zeros(p_KBnV.shape[1:3], jnp.int32))
    return values_Bn, _weights(log_weight_KB, p_KBnV, values_Bn, exists_n, num_scalars)


def _weights(
    log_weight_KB: jax.Array, p_KBnV: jax.Array, values_Bn: jax.Array, exists_n: jax.Array, j: int | jax.Array
) -> jax.Array:
    """Returns the log weights [K, B] given the first j scalars of a step."""
    p_KBn = jnp.take_along_axis(p_KBnV, values_Bn[None, :, :, None], -1)[..., 0]
    counts_n = exists_n & (jnp.arange(values_Bn.shape[1]) < j)
    given_KB = jnp.where(counts_n, jnp.log(jnp.maximum(p_KBn, LEAST)), 0.0).sum(-1)
    return jax.nn.log_softmax(log_weight_KB + given_KB, axis=0)


def _mixed(log_weight_KB: jax.Array, p_KBnV: jax.Array, j: jax.Array) -> jax.Array:
    """Returns the table of scalar j under the mixture, [B, 1, V]."""
    p_KBV = jax.lax.dynamic_index_in_dim(p_KBnV, j, 2, keepdims=False)
    return (jnp.exp(log_weight_KB)[..., None] * p_KBV).sum(0)[:, None]
