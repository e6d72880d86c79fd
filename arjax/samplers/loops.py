"""The step form of a model in a draw: prompts that are read, loops that are cut where a cache grows, the end token."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from arjax.core.arrays import filled_behind_end, up_to_end
from arjax.core.batch import Array
from arjax.core.programs import cast_before
from arjax.factorization import Factorization, reorder
from arjax.networks.base import Carries, Carry, Network, chunk_of, first_loop, form_of, step_variables


@dataclasses.dataclass(frozen=True)
class StepForm:
    """A network in its step form, with its parameters and an order; lives inside `jit`.

    Contexts are arguments, as draws map over examples; the first axis of their parts is B, that of the canvas.
    """

    network: Network
    variables: Any
    factorization: Factorization

    @classmethod
    def of(cls, model: Any, params: Any) -> StepForm:
        """Returns the step form of a model."""
        return cls(model.network, step_variables(model.network, params), model.factorization).cast()

    def cast(self) -> StepForm:
        """Returns the form with `cast_before` of its variables."""
        event, parts = self.network.event, self.network.context_spec.parts
        canvas = jnp.zeros((1, *event.shape), event.dtype)
        context = {name: jnp.zeros((1, *part.shape), part.dtype) for name, part in parts} or None

        def calls(variables: Any) -> Any:
            form = dataclasses.replace(self, variables=variables)
            carry, t = form.start(1, context), jnp.int32(0)
            ahead = form.ahead(carry, canvas, t, 1, context) if "ahead" in self.network.traits else None
            return form.step(carry, canvas, t, context), form.extend(carry, canvas, t, 1, context), ahead

        return dataclasses.replace(self, variables=cast_before(calls, self.variables, self.network.dtype))

    def reordered(self, step_S: jax.Array) -> StepForm:
        """Returns the form under the order whose n-th step is step `step_S[n]`; all steps have one site."""
        order_S = jnp.asarray(self.factorization.order)[step_S]
        return dataclasses.replace(self, factorization=reorder(self.factorization, order_S))

    @property
    def chunk(self) -> int:
        """The steps of a prompt that are read in one call of the network."""
        return min(chunk_of(self.network), self.factorization.num_steps)

    @property
    def ends(self) -> list[int]:
        """Where the loops over the steps end: after the first loop of the network, then after twice as many."""
        return loop_ends(first_loop(self.network), self.factorization.num_steps)

    def _apply(self, *args: Any, method: str) -> Any:
        return self.network.apply(self.variables, *args, method=form_of(self.network, method))

    def start(self, num: int, context: Any) -> Carry:
        """Returns the carry before step 0 of `num` examples; it has no leaves where a step reads the canvas alone."""
        return self._apply(num, self.factorization, context, method="start")

    def step(self, carry: Carry, canvas: Array, t: jax.Array, context: Any) -> tuple[Carry, jax.Array]:
        """Returns the carry behind step t, and the features of its sites, [B, M, F]."""
        return self._apply(carry, canvas, t, self.factorization, context, method="step")

    def ahead(self, carry: Carry, canvas: Array, t: jax.Array, k: int, context: Any) -> jax.Array:
        """Returns the features of the steps t, ..., t + k - 1 given the steps before t alone, [B, k, M, F]."""
        return self._apply(carry, canvas, t, k, self.factorization, context, method="ahead")

    def extend(self, carry: Carry, canvas: Array, t: jax.Array, k: int, context: Any) -> tuple[Carries, jax.Array]:
        """Returns what `keep` takes, and the features of the steps t, ..., t + k - 1, [B, k, M, F]."""
        return self._apply(carry, canvas, t, k, self.factorization, context, method="extend")

    def keep(self, carries: Carries, n: jax.Array) -> Carry:
        """Returns the carry behind the first n steps of `extend`."""
        return self._apply(carries, n, method="keep")

    def advance(self, carry: Carry, canvas: Array, t: jax.Array, n: jax.Array, most: int, context: Any) -> Carry:
        """Returns the carry before step t + n, from that before step t; n is at most `most`, which is static."""
        if not jax.tree.leaves(carry):
            return carry
        read = lambda carry: self.keep(self.extend(carry, canvas, t, most, context)[0], n)  # noqa: E731
        return jax.lax.cond(n > 0, read, lambda carry: carry, carry)

    def loop_carry(self, carry: Carry, n: int, past: Carry | None = None) -> Carry:
        """Returns a carry with places for n steps, see `ChunkedNetwork.loop_carry`."""
        return self._apply(carry, n, self.factorization, past, method="loop_carry")

    def read_prompt(self, canvas: Array, context: Any, prompt: int | jax.Array, chunk: int) -> Carry:
        """Returns the carry behind the first `prompt` steps, which may be traced, read `chunk` of them in one call."""

        def further(state: tuple[Carry, jax.Array]) -> tuple[Carry, jax.Array]:
            carry, t = state
            n = jnp.minimum(prompt - t, chunk)
            return self.keep(self.extend(carry, canvas, t, chunk, context)[0], n), t + n

        carry = self.start(len(canvas), context)
        if (isinstance(prompt, int) and prompt == 0) or not jax.tree.leaves(carry):
            return carry
        return jax.lax.while_loop(lambda state: state[1] < prompt, further, (carry, jnp.int32(0)))[0]

    def loop(
        self,
        start: int | jax.Array,
        body: Callable[[jax.Array, tuple[Carry, Any]], tuple[Carry, Any]],
        carry: Carry,
        state: Any,
        goes_on: Callable[[jax.Array, Any], jax.Array] | None = None,
    ) -> tuple[int | jax.Array, Any]:
        """Runs `body(t, (carry, state)) -> (carry, state)` for t from `start`, which may be traced, to the last step,
        or until `goes_on(t, state)` is false, with the carry of `loop_carry`. Returns the next step, and the state.
        """
        t, begin, past = start, 0, None
        for end in self.ends:
            past = self.loop_carry(carry, end, past)
            if goes_on is None:
                first = jnp.clip(start, begin, end) if isinstance(start, jax.Array) else max(start, begin)
                past, state = jax.lax.fori_loop(first, end, body, (past, state))
                t, begin = end, end
                continue
            going = lambda loop, end=end: (loop[0] < end) & goes_on(loop[0], loop[1][1])  # noqa: E731
            t, (past, state) = jax.lax.while_loop(
                going, lambda loop: (loop[0] + 1, body(*loop)), (jnp.asarray(t, jnp.int32), (past, state))
            )
        return t, state


def num_calls(carry: Carry, prompt: int | jax.Array, chunk: int) -> int | jax.Array:
    """Returns how many calls of the network read a prompt: none where it leaves no carry."""
    return -(-prompt // chunk) if jax.tree.leaves(carry) else 0


def loop_ends(first: int, num_steps: int) -> list[int]:
    """Where loops over the steps end: after `first` of them (0: all), then each time after twice as many."""
    cuts = []
    while 0 < first < num_steps:
        cuts.append(first)
        first *= 2
    return [*cuts, num_steps]


class Ends:
    """Which examples of a draw have ended: at the first site, along the line of sites, that holds the end token, once
    all sites before it are visited, in whatever order. Lives inside `jit`.
    """

    def __init__(self, factorization: Factorization, end: int | jax.Array | None):
        self.token, self.num_sites, self.order = end, factorization.num_sites, factorization.order
        if end is not None:
            # How many sites at the start of the line are visited before each step, int[S + 1].
            first_missing_S = jax.lax.cummin(jnp.asarray(factorization.blocks).min(1), reverse=True)
            self.visited = jnp.append(first_missing_S, self.num_sites)

    def __bool__(self) -> bool:
        """Returns whether there is an end token."""
        return self.token is not None

    def ended(self, canvas: jax.Array, t: jax.Array) -> jax.Array:
        """bool[B]: the examples that have ended, of a canvas [B, D] that is filled for all steps < t."""
        visited_D = jnp.arange(self.num_sites) < self.visited[t]
        return ((canvas == self.token) & visited_D).any(1)

    def completes(self, num_levels: int) -> Callable[[jax.Array, jax.Array], jax.Array]:
        """(x [D], t) -> bool[V]: the values of step t, of one site, with which an example has ended."""

        def of_step(x_D: jax.Array, t: jax.Array) -> jax.Array:
            site_D, site = jnp.arange(self.num_sites), jnp.asarray(self.order)[t]
            visited_D = site_D < self.visited[t + 1]
            by_itself = visited_D[site] & (jnp.arange(num_levels) == self.token)
            return by_itself | ((x_D == self.token) & visited_D & (site_D != site)).any()

        return of_step

    def counts(self, x: jax.Array) -> jax.Array:
        """bool[B, D]: the sites up to the end of each example, it included; all where there is no end token."""
        return jnp.ones((len(x), self.num_sites), bool) if self.token is None else up_to_end(x, self.token)

    def filled(self, x: jax.Array, observed_D: jax.Array | None) -> jax.Array:
        """Returns the samples with the end token at all sites behind the first one, but for observed ones."""
        return x if self.token is None else filled_behind_end(x, self.token, observed_D)

    def steps(self, x: jax.Array, to_draw_S: jax.Array) -> jax.Array:
        """Returns the steps that draw a site before their example has ended, int32[B]."""
        if not self:
            return jnp.broadcast_to(to_draw_S.sum().astype(jnp.int32), x.shape[:1])
        needed_BS = self.visited[:-1] < self.counts(x).sum(1)[:, None]
        return (needed_BS & to_draw_S).sum(1).astype(jnp.int32)
