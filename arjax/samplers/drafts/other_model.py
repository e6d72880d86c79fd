"""Models as drafts: a smaller one that draws step by step, or the model itself if it predicts several steps at once."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from arjax.conditionals.base import bound
from arjax.conditionals.restricted import Truncated
from arjax.core.arrays import is_traced
from arjax.core.errors import refuse
from arjax.core.options import opt
from arjax.core.traits import require
from arjax.networks.base import chunk_of, require_ahead
from arjax.samplers.base import Resources, Steps
from arjax.samplers.drafts.base import DRAFTS, Draft, Place, Proposal, Target, has_probabilities, log_table
from arjax.samplers.loops import StepForm


@DRAFTS.register("run")
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class OtherModel(Draft):
    """Proposes the values that another model draws, step by step (Leviathan, Kalman & Matias, "Fast Inference from
    Transformers via Speculative Decoding", 2023, section 2; Chen et al., "Accelerating Large Language Model Decoding
    with Speculative Sampling", 2023).

    Options: `workdir`, the folder of its run, with the event, the context and the order of the model that is drawn
    from. From Python, `OtherModel(model=model, params=params)` needs no folder.
    """

    workdir: str = opt("")
    model: Any = None
    params: Any = None

    def check(self, model: Any, with_log_q: bool = False) -> None:
        if self.model is not None:
            check_draft(self.model, model, with_log_q)

    def opened(self, model: Any, open_run: Callable[[str], Any], with_log_q: bool = False) -> OtherModel:
        draft = self
        if self.model is None:
            other = open_run(self.workdir)
            draft = dataclasses.replace(self, model=other.model, params=other.params)
        draft.check(model, with_log_q)
        return draft

    def prepare(self, model: Any, params: Any, resources: Resources) -> OtherModel:
        return self.opened(model, resources.open_run)

    def precompute(self, target: Target) -> tuple[StepForm, Steps]:
        """Returns the step form of the draft, and its steps in the order of the target."""
        remedy = "draw from a run, by run.sample or --mode=sample, or pass OtherModel(model=..., params=...)"
        refuse((self.model is None, f"the draft is not loaded: {remedy}"))
        cut, conditional, factorization = target.model.conditional, self.model.conditional, target.model.factorization
        if isinstance(cut, Truncated):  # the draft proposes probable values only, too
            conditional = dataclasses.replace(cut, family=conditional)
        model = dataclasses.replace(self.model, conditional=conditional, factorization=factorization, orders=None)
        # the same sites and keys under the conditional of the draft
        return StepForm.of(model, self.params), target.steps.replace(head=bound(conditional, self.params))

    def begin(self, target, canvas, context, prompt):
        form, _ = target.precomputed
        chunk = form.chunk if chunk_of(form.network) > 1 else min(8, form.factorization.num_steps)
        return form.read_prompt(canvas, context, prompt, chunk)

    def propose(self, target: Target, state: Any, place: Place, k: int, keys: jax.Array, with_log_q: bool):
        """One step more than requested, since k + 1 steps may be kept."""
        (form, steps), last = target.precomputed, target.model.factorization.num_steps - 1
        stacks = chunk_of(form.network) == 1

        def step(past: tuple[Any, jax.Array], i: jax.Array):
            carry, canvas = past
            t = jnp.minimum(place.t + i, last)
            carry, features = form.step(carry, canvas, t, place.context)
            values = steps.window_values(keys, canvas, t, features)
            log_q = log_table(steps.head, features[0], steps.temperature) if with_log_q else None
            return (carry, steps.place(canvas, t, values)), (carry if stacks else None, values[0], log_q)

        steps_k = jnp.arange(k + 1 if stacks else k)
        _, (carries, values, log_q) = jax.lax.scan(step, (state, place.canvas), steps_k)
        return carries, Proposal(values[:k], None if log_q is None else log_q[:k])

    def keep(self, target: Target, state: Any, after: Any, place: Place, n: jax.Array, most: int) -> Any:
        """Networks that read several steps in one pass read the committed ones again, which saves copies of their
        caches; others have the carry after each step.
        """
        form, _ = target.precomputed
        if chunk_of(form.network) > 1:
            return form.keep(form.extend(state, place.canvas, place.t, most, place.context)[0], n)
        of_step = lambda old, new: jnp.where(n == 0, old, new[jnp.maximum(n - 1, 0)])  # noqa: E731
        return jax.tree.map(of_step, state, after)


def check_draft(draft: Any, model: Any, with_log_q: bool = False) -> None:
    """Raises `UserError` unless a draft has the event, context and order of a model, and probabilities if asked."""
    require(draft, "conditionals", "a draft")
    blocks, other = model.factorization.blocks, draft.factorization.blocks
    listed = with_log_q or isinstance(model.conditional, Truncated)
    unlisted = listed and not has_probabilities(draft.conditional, draft.factorization)
    # inside `jit` an order is not known
    turned = not is_traced(blocks, other) and draft.orders is None and not np.array_equal(blocks, other)
    refuse(
        (draft.event != model.event, "the draft does not fit the model: their events differ"),
        (draft.context_spec != model.context_spec, "the draft does not fit the model: their contexts differ"),
        (blocks.shape != other.shape, "the draft does not fit the model: their steps have other sizes"),
        (unlisted, "the draft lacks the list of probabilities that coupling='rejection', top_k, top_p and min_p need"),
        (turned, "the draft does not fit the model: they visit the sites in other orders"),
    )


@DRAFTS.register("self")
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Ahead(Draft):
    """Proposes each of the next steps given the committed ones alone, in one call of the network (Guo & Ermon,
    "Reviving Any-Subset Autoregressive Models with Principled Parallel Sampling and Speculative Decoding", 2025). The
    first proposal is always right, so that each pair of calls commits at least two steps.
    """

    target_calls = 1

    def check(self, model, with_log_q=False):
        require_ahead(model.network)

    def propose(self, target: Target, state: Any, place: Place, k: int, keys: jax.Array, with_log_q: bool):
        steps = target.steps
        features = target.form.ahead(place.carry, place.canvas, place.t, k, place.context)[0]
        values = steps.window_values(keys, place.canvas, place.t, features)
        return state, Proposal(values, log_table(steps.head, features, steps.temperature) if with_log_q else None)
