"""The contract of a model: all that training, evaluation and objectives ask of one, whatever it is made of."""

from __future__ import annotations

from typing import Any, Protocol

import jax

from arjax.core.batch import Batch, Score
from arjax.core.spec import ContextSpec, EventSpec
from arjax.samplers import Draw

Params = Any


class Model(Protocol):
    """A joint distribution over an event given a context.

    A pytree: its arrays are leaves, its architecture is static and compared by value, so it is an argument of jitted
    functions. `AutoregressiveModel` is one: a single network, scored exactly.
    """

    #: Kind of its scores: "exact" log-likelihoods, a "bound" on them, or an "estimate".
    kind: str

    @property
    def event(self) -> EventSpec:
        """Shape and kind of one example."""

    @property
    def context_spec(self) -> ContextSpec:
        """The parts of the context."""

    @property
    def param_shapes(self) -> Params:
        """Shapes and types of the parameters."""

    def init(self, key: jax.Array) -> Params:
        """Fresh parameters: a nested dict of float32 arrays."""

    def dummy_batch(self, batch_size: int) -> Batch:
        """An all-zero batch of the right shapes and types."""

    def score(self, params: Params, batch: Batch, *, key: jax.Array | None = None, train: bool = False) -> Score:
        """log p(x | c) of each example in nats, or as `kind` says; `key` for dropout and for terms that are drawn."""

    def draw(self, params: Params, keys: jax.Array, *, sampler: str = "cached", context: Any = None, **options) -> Draw:
        """One example for each of the keys, with statistics of the work."""
