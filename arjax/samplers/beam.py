"""Beam search as a sampler: the most probable sequence of each example that a search over the step form finds."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from arjax.conditionals.truncated import Truncated
from arjax.core.errors import UserError
from arjax.core.output import say_once
from arjax.networks.base import step_variables
from arjax.samplers.base import SAMPLERS, Draw, Sampler, option
from arjax.samplers.beams import Beams, Search
from arjax.samplers.loops import num_calls, read_prompt


@SAMPLERS.register("beam")
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Beam(Sampler):
    """The most probable sequence that beam search finds, for each example: no draw from the model.

    In each step it keeps the `width` most probable beginnings, each with a carry of the network; so it computes B times
    `width` rows, and finds the most probable sequence of all where there are no more than `width` beginnings. With an
    end token, sequences that have ended stay in the competition, and the search stops when no other can win. It takes
    discrete values with a list of probabilities, one a step. Keys and temperatures do not matter.

    Statistics: `log_prob` float32[B], that of the sequence given what is observed in nats, up to its end.

    Options: `width`; `length_penalty`, the exponent a of `beams.Search` by which longer sequences are preferred: of use
    where sequences end by themselves.
    """

    width: int = option(4)
    length_penalty: float = option(0.0)

    exact: ClassVar[bool] = False
    WARMS: ClassVar[bool] = False

    def __post_init__(self):
        if self.width < 1:
            raise UserError(f"the width of a beam search must be at least 1, not {self.width}")
        if not self.length_penalty >= 0:
            raise UserError(f"the length penalty of a beam search must be at least 0, not {self.length_penalty}")

    def check(self, model):
        head, block_size = model.conditional, model.factorization.block_size
        if isinstance(head, Truncated):
            raise UserError("beam search looks for the most probable values of all: leave top_k, top_p and min_p out")
        if block_size > 1 or model.event.value_shape:
            found = f"steps of {block_size} sites" if block_size > 1 else "values that are vectors"
            raise UserError(f"beam search needs steps of one scalar value, and this model has {found}")
        if not head.has_table:
            raise UserError("beam search needs a list of the probabilities of values, which this conditional lacks")

    def draw(self, model, params, steps, canvas, context):
        factorization, prompt = model.factorization, steps.prompt()
        if self.length_penalty and not steps.ends:
            say_once(f"the length_penalty={self.length_penalty} of 'beam' has no effect on sequences of one length")
        advance, carry, chunk = _step_form(model, params, steps, canvas, context, self.width)
        search = Search(
            advance,
            jnp.asarray(factorization.order),
            start=prompt,
            stop=factorization.num_steps,
            length_penalty=self.length_penalty,
            completes=steps.ends.completes(model.event.num_levels) if steps.ends else None,
        )
        x_BD = canvas.reshape(len(canvas), -1)
        found = search(carry, x_BD, self.width, steps.ends.ended(x_BD, prompt) if steps.ends else None)
        going = found.going._replace(score=search.score(found.going.log_prob, search.stop))
        both = jax.tree.map(lambda *leaves: jnp.concatenate(leaves, 1), found.complete, going)
        best = jax.vmap(Beams.take)(both, both.score.argmax(1))
        read = num_calls(prompt, chunk) if jax.tree.leaves(carry) else 0  # without a carry nothing is read
        stats = {"network_calls": read + found.calls, "log_prob": best.log_prob}
        return Draw(best.x.reshape(canvas.shape), stats)


def _step_form(model: Any, params: Any, steps: Any, canvas: jax.Array, context: Any, width: int) -> tuple:
    """What advances the beams of B examples, their carries behind the prompt, and the steps of it read in one call.

    Rows are batches of one, mapped: so the examples have one axis in all leaves of a carry.
    """
    network, factorization = model.network, model.factorization
    variables, chunk = step_variables(network, params), min(network.CHUNK, factorization.num_steps)
    order_S, num = jnp.asarray(factorization.order), len(canvas)

    def alone(tree: Any) -> Any:
        return jax.tree.map(lambda leaf: leaf[None], tree)

    def read(row: jax.Array, context: Any) -> Any:
        return read_prompt(network, variables, row[None], factorization, alone(context), steps.prompt(), chunk)

    def advance(carry: Any, x_D: jax.Array, context: Any, t: jax.Array) -> tuple[Any, jax.Array]:
        row = x_D.reshape(1, *canvas.shape[1:])
        carry, features = network.apply(variables, carry, row, t, factorization, alone(context), method="step")
        return carry, steps.head.at(order_S[t][None]).log_table(features[0])[0]

    readers = 1 if steps.shared else num
    carry = jax.vmap(read)(*jax.tree.map(lambda leaf: leaf[:readers], (canvas, context)))
    carry = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf[:, None], (num, width, *leaf.shape[1:])), carry)

    def advance_all(carry: Any, x_BWD: jax.Array, t: jax.Array) -> tuple[Any, jax.Array]:
        of_example = jax.vmap(advance, (0, 0, None, None))
        return jax.vmap(of_example, (0, 0, 0, None))(carry, x_BWD, context, t)

    return advance_all, carry, chunk
