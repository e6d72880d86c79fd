"""Beam search: the most probable sequences of discrete values that a search finds which follows a few beginnings."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from arjax.conditionals.restricted import Truncated
from arjax.core.errors import refuse, say_once
from arjax.core.options import opt
from arjax.samplers.base import SAMPLERS, Draw, Sampler
from arjax.samplers.loops import StepForm, num_calls


class Beams(NamedTuple):
    """Sequences, the best first. All leaves have two further axes in front: B examples and N sequences of each."""

    x: jax.Array  # int[D]
    log_prob: jax.Array  # of the values that were chosen, in nats; -inf where there is no such sequence
    score: jax.Array  # what sequences are compared by

    def take(self, places: jax.Array) -> Beams:
        """Returns the sequences at some places [N] of one example."""
        return jax.tree.map(lambda leaf: leaf[places], self)


class SearchState(NamedTuple):
    """Where a search stands."""

    t: jax.Array  # the next step, int32[]
    carry: Any  # of `BeamSearch.advance`, leaves [B, W, ...]
    going: Beams  # W sequences that go on
    complete: Beams  # N sequences that do not
    calls: jax.Array  # how many steps each example has been searched for, int32[B]


@dataclasses.dataclass(frozen=True)
class BeamSearch:
    """A beam search over the steps start, ..., stop - 1, each of one site; lives inside `jit`.

    In each step every unfinished sequence is continued by every value. The `num` best complete ones are kept, and the W
    most probable of the others. The search of an example stops when none of these can become better than the complete
    ones, or after the last step. Sequences of n chosen values are compared by log p / ((5 + n) / 6)^a, where a is the
    length penalty (Wu et al., "Google's Neural Machine Translation System", 2016, equation 14, without the coverage).
    """

    #: (carry, x [B, W, D], t) -> (carry, log p of the values of step t, [B, W, V] in nats)
    advance: Callable[[Any, jax.Array, jax.Array], tuple[Any, jax.Array]]
    site_S: jax.Array  # of each step
    start: int | jax.Array
    stop: int | jax.Array  # behind the last step
    #: (x [D], t) -> bool[V], the values of step t that complete a sequence; None: none does
    completes: Callable[[jax.Array, jax.Array], jax.Array] | None = None
    num: int = 1  # complete sequences that are kept
    length_penalty: float = 0.0

    def score(self, log_prob: jax.Array, stop: int | jax.Array) -> jax.Array:
        """The number by which sequences are compared, where their last value is that of the step before `stop`."""
        return log_prob / ((5 + stop - self.start) / 6) ** self.length_penalty

    def __call__(self, carry: Any, x_BD: jax.Array, width: int, ended_B: jax.Array | None = None) -> SearchState:
        """Searches from B beginnings, of which `ended_B` are complete, with the carry [B, W, ...] before the first
        step. Returns the last state; `going` holds sequences up to `stop` unless the search of an example stopped
        early.
        """
        ended_B = jnp.zeros(len(x_BD), bool) if ended_B is None else ended_B
        state = SearchState(
            t=jnp.asarray(self.start, jnp.int32),
            carry=carry,
            going=_beginnings(x_BD, width, ~ended_B),
            complete=_beginnings(x_BD, self.num, ended_B),
            calls=jnp.zeros(len(x_BD), jnp.int32),
        )
        return jax.lax.while_loop(lambda state: self.is_open(state).any(), self._step, state)

    def is_open(self, state: SearchState) -> jax.Array:
        """bool[B]: whether a sequence that goes on may become better than the complete ones."""
        # Probabilities can only fall, and the longest sequences are penalised least.
        best = self.score(state.going.log_prob.max(1), self.stop)
        return (state.t < self.stop) & (best > state.complete.score.min(1))

    def _step(self, state: SearchState) -> SearchState:
        calls = state.calls + self.is_open(state)
        carry, table_BWV = self.advance(state.carry, state.going.x, state.t)
        choose = jax.vmap(self._choose, (None, 0, 0, 0))
        parent_BW, going, complete = choose(state.t, state.going, state.complete, table_BWV)
        pick = jax.vmap(lambda leaf, parent_W: leaf[parent_W])
        carry = jax.tree.map(lambda leaf: pick(leaf, parent_BW), carry)
        return SearchState(state.t + 1, carry, going, complete, calls)

    def _choose(
        self, t: jax.Array, going: Beams, complete: Beams, table_WV: jax.Array
    ) -> tuple[jax.Array, Beams, Beams]:
        """The step t of one example: where the sequences that go on come from, [W], these, and the complete ones."""
        log_prob_WV = going.log_prob[:, None] + table_WV
        if self.completes is None:
            rest_WV = log_prob_WV
        else:
            done_WV = jax.vmap(self.completes, (0, None))(going.x, t)
            rest_WV = jnp.where(done_WV, -jnp.inf, log_prob_WV)
            log_prob_done_WV = jnp.where(done_WV, log_prob_WV, -jnp.inf)
            _, candidates = self._best(t, going, log_prob_done_WV, min(self.num, table_WV.size))
            both = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), complete, candidates)
            complete = both.take(jax.lax.top_k(both.score, self.num)[1])
        return *self._best(t, going, rest_WV, len(rest_WV)), complete

    def _best(self, t: jax.Array, going: Beams, log_prob_WV: jax.Array, num: int) -> tuple[jax.Array, Beams]:
        """Returns the most probable continuations, and the sequences that they continue, [num]."""
        log_prob, place = jax.lax.top_k(log_prob_WV.ravel(), num)
        parent, value = jnp.divmod(place, log_prob_WV.shape[1])
        x = going.x[parent].at[:, self.site_S[t]].set(value.astype(going.x.dtype))
        return parent, Beams(x, log_prob, self.score(log_prob, t + 1))


def _beginnings(x_BD: jax.Array, num: int, there_B: jax.Array) -> Beams:
    """Returns places for `num` sequences of each example, of which the first is its beginning where it is there."""
    log_prob_BN = jnp.where((jnp.arange(num) == 0) & there_B[:, None], 0.0, -jnp.inf)
    return Beams(jnp.broadcast_to(x_BD[:, None], (len(x_BD), num, x_BD.shape[1])), log_prob_BN, log_prob_BN)


@SAMPLERS.register("beam")
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Beam(Sampler):
    """The most probable sequence that beam search finds, for each example: no draw from the model.

    In each step it keeps the `width` most probable beginnings, each with a carry of the network: B times `width` rows.
    The result is the most probable sequence of all where there are no more than `width` beginnings. With an end token,
    complete sequences stay in the competition, and the search stops when no other can win. It takes discrete values
    with a list of probabilities, one a step. Keys and temperatures do not matter.

    Statistics: `log_prob` float32[B] in nats, of the sequence up to its end given the observed values.

    Options: `width`; `length_penalty`, the exponent a of `BeamSearch` by which longer sequences are preferred.
    """

    width: int = opt(4)
    length_penalty: float = opt(0.0, least=0)

    exact: ClassVar[bool] = False
    WARMS: ClassVar[bool] = False

    def check(self, model):
        head, block_size = model.conditional, model.factorization.block_size
        steps = f"steps of {block_size} sites" if block_size > 1 else "values that are vectors"
        refuse(
            (isinstance(head, Truncated), "beam search looks among all values: leave top_k, top_p and min_p out"),
            (block_size > 1 or model.event.value_shape, f"beam search needs steps of one scalar value, not {steps}"),
            (not head.has_table, "beam search needs the probabilities of all values, which this conditional lacks"),
        )

    def draw(self, model, params, steps, canvas, context):
        factorization, prompt = model.factorization, steps.prompt()
        if self.length_penalty and not steps.ends:
            say_once(f"the length_penalty={self.length_penalty} of 'beam' has no effect on sequences of one length")
        advance, carry, chunk = _step_form(model, params, steps, canvas, context, self.width)
        search = BeamSearch(
            advance,
            jnp.asarray(factorization.order),
            start=prompt,
            stop=steps.stop,
            length_penalty=self.length_penalty,
            completes=steps.ends.completes(model.event.num_levels) if steps.ends else None,
        )
        x_BD = canvas.reshape(len(canvas), -1)
        result = search(carry, x_BD, self.width, steps.ends.ended(x_BD, prompt) if steps.ends else None)
        going = result.going._replace(score=search.score(result.going.log_prob, search.stop))
        both = jax.tree.map(lambda *leaves: jnp.concatenate(leaves, 1), result.complete, going)
        best = jax.vmap(Beams.take)(both, both.score.argmax(1))
        stats = {"network_calls": num_calls(carry, prompt, chunk) + result.calls, "log_prob": best.log_prob}
        return Draw(best.x.reshape(canvas.shape), stats)


def _step_form(model: Any, params: Any, steps: Any, canvas: jax.Array, context: Any, width: int) -> tuple:
    """Returns `advance` for the beams of B examples, their carries, and the steps read in one call."""
    form, num = StepForm.of(model, params), len(canvas)
    order_S = jnp.asarray(model.factorization.order)

    def alone(tree: Any) -> Any:
        return jax.tree.map(lambda leaf: leaf[None], tree)

    def read(row: jax.Array, context: Any) -> Any:
        return form.read_prompt(row[None], alone(context), steps.prompt(), form.chunk)

    def advance(carry: Any, x_D: jax.Array, context: Any, t: jax.Array) -> tuple[Any, jax.Array]:
        carry, features = form.step(carry, x_D.reshape(1, *canvas.shape[1:]), t, alone(context))
        return carry, steps.head.at(order_S[t][None]).log_table(features[0])[0]

    readers = 1 if steps.shared else num
    carry = jax.vmap(read)(*jax.tree.map(lambda leaf: leaf[:readers], (canvas, context)))
    carry = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf[:, None], (num, width, *leaf.shape[1:])), carry)

    def advance_all(carry: Any, x_BWD: jax.Array, t: jax.Array) -> tuple[Any, jax.Array]:
        of_example = jax.vmap(advance, (0, 0, None, None))
        return jax.vmap(of_example, (0, 0, 0, None))(carry, x_BWD, context, t)

    return advance_all, carry, form.chunk
