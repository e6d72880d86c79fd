"""Beam search: the most probable sequences of discrete values that a search finds which follows a few beginnings."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp


class Beams(NamedTuple):
    """Sequences, the best first. All leaves have two further axes in front: B examples and N sequences of each.

    Attributes:
      x: int[D].
      log_prob: of the values that were chosen, in nats; -inf where there is no such sequence.
      score: what sequences are compared by.
    """

    x: jax.Array
    log_prob: jax.Array
    score: jax.Array

    def take(self, places: jax.Array) -> Beams:
        """Those at some places [N] of one example."""
        return jax.tree.map(lambda leaf: leaf[places], self)


class Progress(NamedTuple):
    """Where a search stands.

    Attributes:
      t: the next step, int32[].
      carry: of `Search.advance`, leaves [B, W, ...].
      going: W sequences that go on.
      complete: N sequences that do not.
      calls: how many steps each example has been searched for, int32[B].
    """

    t: jax.Array
    carry: Any
    going: Beams
    complete: Beams
    calls: jax.Array


@dataclasses.dataclass(frozen=True)
class Search:
    """A beam search over the steps start, ..., stop - 1, each of one site; lives inside `jit`.

    In each step every sequence that goes on is continued by every value. The `num` best of those that are complete by
    it are kept, and so are the W most probable of the others. The search of an example stops when none of these can
    become better than the complete ones, or after the last step.

    Sequences of n chosen values are compared by log p / ((5 + n) / 6)^a, where a is the length penalty (Wu et al.,
    "Google's Neural Machine Translation System", 2016, section 7, equation 14, without the coverage).

    Attributes:
      advance: (carry, x [B, W, D], t) -> (carry, log p of the values of step t, [B, W, V] in nats).
      site_S: the site of each step.
      start: the first step; may be traced, as `stop`.
      stop: behind the last step.
      completes: (x [D], t) -> bool[V], the values of step t that complete a sequence; None: none does.
      num: how many complete sequences are kept.
      length_penalty: at least 0.
    """

    advance: Callable[[Any, jax.Array, jax.Array], tuple[Any, jax.Array]]
    site_S: jax.Array
    start: int | jax.Array
    stop: int | jax.Array
    completes: Callable[[jax.Array, jax.Array], jax.Array] | None = None
    num: int = 1
    length_penalty: float = 0.0

    def score(self, log_prob: jax.Array, stop: int | jax.Array) -> jax.Array:
        """What sequences are compared by whose last value is that of the step before `stop`."""
        return log_prob / ((5 + stop - self.start) / 6) ** self.length_penalty

    def __call__(self, carry: Any, x_BD: jax.Array, width: int, ended_B: jax.Array | None = None) -> Progress:
        """Searches from B beginnings.

        Args:
          carry: that before the first step, leaves [B, W, ...].
          x_BD: the beginnings; their other values do not matter.
          width: W.
          ended_B: bool[B], beginnings that are complete already; None: none is.

        Returns:
          The last state: `going` holds sequences up to `stop`, of examples whose search has not stopped before.
        """
        ended_B = jnp.zeros(len(x_BD), bool) if ended_B is None else ended_B
        state = Progress(
            t=jnp.asarray(self.start, jnp.int32),
            carry=carry,
            going=_beginnings(x_BD, width, ~ended_B),
            complete=_beginnings(x_BD, self.num, ended_B),
            calls=jnp.zeros(len(x_BD), jnp.int32),
        )
        return jax.lax.while_loop(lambda state: self.is_open(state).any(), self._step, state)

    def is_open(self, state: Progress) -> jax.Array:
        """bool[B]: whether a sequence that goes on may become better than the complete ones."""
        # Probabilities can only fall, and the longest sequences are penalised least.
        best = self.score(state.going.log_prob.max(1), self.stop)
        return (state.t < self.stop) & (best > state.complete.score.min(1))

    def _step(self, state: Progress) -> Progress:
        calls = state.calls + self.is_open(state)
        carry, table_BWV = self.advance(state.carry, state.going.x, state.t)
        choose = jax.vmap(self._choose, (None, 0, 0, 0))
        parent_BW, going, complete = choose(state.t, state.going, state.complete, table_BWV)
        pick = jax.vmap(lambda leaf, parent_W: leaf[parent_W])
        carry = jax.tree.map(lambda leaf: pick(leaf, parent_BW), carry)
        return Progress(state.t + 1, carry, going, complete, calls)

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
            found = self._best(t, going, jnp.where(done_WV, log_prob_WV, -jnp.inf), min(self.num, table_WV.size))[1]
            both = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), complete, found)
            complete = both.take(jax.lax.top_k(both.score, self.num)[1])
        return *self._best(t, going, rest_WV, len(rest_WV)), complete

    def _best(self, t: jax.Array, going: Beams, log_prob_WV: jax.Array, num: int) -> tuple[jax.Array, Beams]:
        """The most probable continuations, and the sequences that they continue, [num]."""
        log_prob, place = jax.lax.top_k(log_prob_WV.ravel(), num)
        parent, value = jnp.divmod(place, log_prob_WV.shape[1])
        x = going.x[parent].at[:, self.site_S[t]].set(value.astype(going.x.dtype))
        return parent, Beams(x, log_prob, self.score(log_prob, t + 1))


def _beginnings(x_BD: jax.Array, num: int, there_B: jax.Array) -> Beams:
    """Places for `num` sequences of each example, of which the first is its beginning where it is there."""
    log_prob_BN = jnp.where((jnp.arange(num) == 0) & there_B[:, None], 0.0, -jnp.inf)
    return Beams(jnp.broadcast_to(x_BD[:, None], (len(x_BD), num, x_BD.shape[1])), log_prob_BN, log_prob_BN)
