"""Drafts: proposals of the next steps, which the model then reads in one call."""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from arjax.conditionals.base import Conditional
from arjax.conditionals.blocks import scores_blocks
from arjax.conditionals.restricted import Truncated
from arjax.core.errors import UserError
from arjax.core.programs import CLASS_FIELD, ByClass
from arjax.core.registry import Registry
from arjax.factorization import Factorization
from arjax.samplers.base import Resources, Steps
from arjax.samplers.loops import StepForm

#: The arrays of a draft are no options.
DRAFTS = Registry("draft", hidden=("row_H", "log_p_RV", "model", "params", CLASS_FIELD))


class Target(NamedTuple):
    """The model that is drawn from, inside of a draw."""

    model: Any
    form: StepForm
    steps: Steps
    precomputed: Any = None  # what the draft made of its own parameters before the first step

    @classmethod
    def of(cls, model: Any, params: Any, steps: Steps, draft: Draft) -> Target:
        """Returns the model, with all that its draft can compute before the first step."""
        target = cls(model, StepForm.of(model, params), steps)
        return target._replace(precomputed=draft.precompute(target))


class Place(NamedTuple):
    """Where a draw of one example stands: all steps before t are committed."""

    canvas: jax.Array  # [1, *grid, *value]
    context: Any  # [1, ...] or None
    carry: Any  # of the target's network before step t
    t: jax.Array


class Proposal(NamedTuple):
    """Values of the steps t, ..., t + k - 1 of one example, and the log-probabilities that they were drawn from."""

    values: jax.Array  # [k, M, size of a value]
    log_q: jax.Array | None  # [k, M, *value, V]; None where nothing asks for them


class Draft(ByClass, abc.ABC):
    """A source of proposals: a frozen dataclass and pytree. Methods but `prepare` run in `jit` on one example."""

    #: Calls of the target's network that one proposal takes.
    target_calls = 0

    def check(self, model: Any, with_log_q: bool = False) -> None:
        """Raises `UserError` if it cannot propose for a model, with probabilities for `with_log_q`; see `Sampler`."""

    def opened(self, model: Any, open_run: Callable[[str], Any], with_log_q: bool = False) -> Draft:
        """Returns the draft with the other run that it needs, see `Sampler.opened`."""
        return self

    @property
    def has_arrays(self) -> bool:
        """See `Sampler.has_arrays`."""
        return type(self).prepare is not Draft.prepare

    def prepare(self, model: Any, params: Any, resources: Resources) -> Draft:
        """Returns the draft with its arrays; see `Sampler.prepare`."""
        return self

    def precompute(self, target: Target) -> Any:
        """The part of the work that is the same for all steps and all examples, done once: `target.precomputed`."""
        return None

    def begin(self, target: Target, canvas: jax.Array, context: Any, prompt: int | jax.Array) -> Any:
        """The state of the draft before step `prompt`, all steps before it being observed; () where it has none."""
        return ()

    @abc.abstractmethod
    def propose(
        self, target: Target, state: Any, place: Place, k: int, keys: jax.Array, with_log_q: bool
    ) -> tuple[Any, Proposal]:
        """Values of the steps t, ..., t + k - 1, each drawn with its key in `keys` [S], and what `keep` needs."""

    def keep(self, target: Target, state: Any, after: Any, place: Place, n: jax.Array, most: int) -> Any:
        """Returns the state before step t + n, n at most `most`, from the state before step t and from what `propose`
        returned (`after`); the canvas of `place` holds the committed values of these n steps.
        """
        return after


def log_table(head: Conditional | Truncated, features: jax.Array, temperature: float | jax.Array) -> jax.Array:
    """Returns log p of each value of each scalar at this temperature, [..., *value, V]."""
    return (head.log_table if isinstance(head, Truncated) else head.tempered_table)(features, temperature)


def has_probabilities(head: Any, factorization: Factorization) -> bool:
    """Returns whether the values of a step have a list of probabilities, see `log_table`."""
    return not scores_blocks(head, factorization) and head.has_table


def make_draft(text: str) -> Draft:
    """Returns the draft of a call string such as `counts(order=3)`; anything else is the folder of a run."""
    name, bracket, _ = text.partition("(")
    if name.strip() in DRAFTS or (bracket and text.endswith(")")):
        return DRAFTS.call(text)
    if not text:
        raise UserError(f"a draft is the folder of a run, or one of: {', '.join(DRAFTS)}")
    return DRAFTS.get("run")(workdir=text)
