"""Fixed-point sampling: all steps at once, again and again, until nothing changes.

Under fixed noise the values of a step are a function of those before it: a triangular system of equations. Jacobi
iteration solves it in at most S passes (Song, Meng, Liao & Ermon, "Accelerating Feedforward Computation via Parallel
Nonlinear Equation Solving", 2021, sections 3.1 and 4.3; for images Wiggers & Hoogeboom, "Predictive Sampling with
Forecasting Autoregressive Models", 2020, section 2.3), and usually in far fewer.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from arjax.core.errors import refuse
from arjax.core.options import opt
from arjax.samplers.base import SAMPLERS, Draw, Sampler, Steps, per_example
from arjax.samplers.drafts.base import Draft, Place, Proposal, Target, make_draft
from arjax.samplers.loops import num_calls
from arjax.samplers.speculative import accept_by_keys, draw_in_windows, leading, tell_window


@SAMPLERS.register("fixed_point")
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class FixedPoint(Sampler):
    """Draws the values of the naive sampler by Jacobi iteration under its keys, and stops by itself.

    Options: `window` W, 0: each iteration is one parallel pass over all steps. Else an iteration reads W steps from the
    carry and commits the longest beginning that is stable. `start`, the values of the first iteration: "zeros", or
    those of a draft, see `speculative`.
    """

    window: int = opt(0)
    start: str = opt("zeros")
    source: Draft | None = dataclasses.field(default=None, repr=False)

    def __post_init__(self):
        if self.source is None and self.start != "zeros":
            object.__setattr__(self, "source", make_draft(self.start))

    def check(self, model):
        too_short = "fixed_point reads windows of at least 2 steps; window=0 reads all in parallel passes"
        refuse((self.window == 1, too_short))
        tell_window("fixed_point", self.window, 0, model.factorization.num_steps)
        if self.source is not None:
            self.source.check(model)

    def draw(self, model, params, steps, canvas, context):
        calls = 0  # of the network, for the values of the first iteration
        if self.source is not None:
            canvas, calls = draft_whole(self.source, model, params, steps, canvas, context)
        if self.window:
            x, stats = draw_in_windows(model, params, steps, canvas, context, self.window, Previous(), accept_by_keys)
        else:
            x, stats = _draw_in_passes(model, params, steps, canvas, context)
        return Draw(x, stats | {"network_calls": stats["network_calls"] + calls})


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Previous(Draft):
    """Proposes the values that are on the canvas: those of the iteration before."""

    def propose(self, target: Target, state: Any, place: Place, k: int, keys: jax.Array, with_log_q: bool):
        return state, Proposal(target.steps.read(place.canvas, place.t, k), None)


def _draw_in_passes(model: Any, params: Any, steps: Steps, canvas: jax.Array, context: Any) -> Draw:
    """Jacobi iteration by parallel passes. Each pass makes one more step right, and as many behind it as did not
    change, so an example is finished when no step but the last has changed, or after S passes.
    """
    num_steps, start = model.factorization.num_steps, jnp.int32(0)
    keys_BS = jnp.swapaxes(steps.keys_SB, 0, 1)

    def redraw(keys_S: jax.Array, canvas_1: jax.Array, features_DF: jax.Array, right: jax.Array):
        values = steps.all_values(keys_S, canvas_1, features_DF)
        stable_S = steps.same(start, values, steps.read(canvas_1, start, num_steps))
        stable_S = stable_S | (jnp.arange(num_steps) < right)
        canvas_1, right = steps.place(canvas_1, start, values), jnp.minimum(leading(stable_S) + 1, num_steps)
        if steps.ends:
            right = jnp.where(steps.ends.ended(canvas_1.reshape(1, -1), right)[0], num_steps, right)
        return canvas_1, right

    def body(state: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array, jax.Array]:
        canvas, right_B, calls_B = state
        features = model.network.apply({"params": params}, canvas, model.factorization, context)
        flat = features.reshape(len(canvas), model.factorization.num_sites, -1)
        canvas, right = jax.vmap(redraw)(keys_BS, canvas, flat, right_B)
        return canvas, right, calls_B + (right_B < num_steps)

    prompt_B = per_example(canvas, steps.prompt())
    going = lambda state: (state[1] < num_steps).any()  # noqa: E731
    x, _, calls_B = jax.lax.while_loop(going, body, (canvas, prompt_B, jnp.zeros_like(prompt_B)))
    return Draw(x, {"network_calls": calls_B})


def draft_whole(
    draft: Draft, model: Any, params: Any, steps: Steps, canvas: jax.Array, context: Any
) -> tuple[jax.Array, int | jax.Array]:
    """The canvas [B, *grid, *value] with proposals for all unobserved steps, and the calls of the model's network."""
    target, prompt = Target.of(model, params, steps, draft), steps.prompt()
    num_steps = model.factorization.num_steps
    chunk = min(max(target.form.chunk, 8), num_steps)
    first = target.form.start(len(canvas), context) if draft.target_calls else ()

    def propose(keys_S: jax.Array, canvas_1: jax.Array, context_1: Any) -> jax.Array:
        carry = target.form.read_prompt(canvas_1, context_1, prompt, chunk) if jax.tree.leaves(first) else ()
        place = Place(canvas_1, context_1, carry, jnp.int32(prompt))
        state = draft.begin(target, canvas_1, context_1, prompt)
        _, proposal = draft.propose(target, state, place, num_steps, keys_S, False)
        return steps.place(canvas_1, place.t, proposal.values)

    of_one = jax.tree.map(lambda leaf: leaf[:, None], (canvas, context))
    drafted = jax.vmap(propose)(jnp.swapaxes(steps.keys_SB, 0, 1), *of_one)[:, 0]
    return drafted, draft.target_calls + num_calls(first, prompt, chunk)
