"""Train programs for benchmarks: a network, random data of a kind, and the train step of real runs."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from timing import compile_seconds

from arjax.core.errors import UserError
from arjax.core.spec import EventSpec
from arjax.data import from_arrays
from arjax.evaluation.flops import count_flops
from arjax.models import AutoregressiveModel, make_model
from arjax.objectives import make_objective
from arjax.parallel.sharding import make_mesh
from arjax.training.feed import ResidentFeed, as_traced
from arjax.training.optimizer import make_optimizer, read_rule
from arjax.training.schedules import make_schedule
from arjax.training.state import StepSpec, init_state, placed_state
from arjax.training.step import train_chunk, train_step, zero_sums

IMAGE = EventSpec((28, 28))
TEXT = EventSpec((64,), kind="tokens", num_levels=65)
STEPS_PER_DISPATCH = 16


@dataclasses.dataclass(frozen=True)
class Case:
    """A training program, and the peer that it is compared with.

    Attributes:
      event: of the training data; samples are images of 784 sites.
      batch_size: of a train step.
      options: of the network.
      ordering: of the model.
      optimizer: name.
      objective: name.
      peer: name of a function in benchmark_peers.py and its arguments, or None.
      peer_name: the name of the peer in the table.
    """

    event: EventSpec = TEXT
    batch_size: int = 12
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    ordering: str = "raster"
    optimizer: str = "adam"
    objective: str = "teacher_forcing"
    peer: tuple[str, tuple[int, ...]] | None = None
    peer_name: str = ""


CASES = {
    "made": Case(
        IMAGE, 100, {"hidden_sizes": (500,), "direct": False}, peer=("made", (100, 784, 500)), peer_name="torch.nn"
    ),
    "lstm": Case(
        TEXT, 32, {"hidden_size": 256, "num_layers": 2}, peer=("lstm", (32, 64, 65, 256, 2)), peer_name="torch.nn.LSTM"
    ),
    "transformer": Case(
        TEXT, 12, optimizer="adamw", peer=("transformer", (12, 64, 65, 128, 4, 4)), peer_name="transformers GPT-2"
    ),
    "pixelcnn": Case(
        IMAGE, 32, {"hidden_size": 64, "num_layers": 6}, peer=("pixelcnn", (32, 28, 64, 6, 64)), peer_name="torch.nn"
    ),
    "gated_pixelcnn": Case(IMAGE, 32, peer=("gated_pixelcnn", (32, 28, 32, 6, 64)), peer_name="torch.nn"),
}


def case_of(name: str) -> Case:
    """The training program of a network: that in `CASES`, else text, or images where it supports those alone."""
    if name in CASES:
        return CASES[name]
    for case in (Case(), Case(IMAGE, 16)):
        try:
            make_model(case.event, name, ordering=case.ordering)
        except UserError:
            continue
        return case
    return Case(IMAGE, 16, ordering="multiscale")


class Training:
    """The train program of a real run on random data: `dispatch()` does `steps_per_dispatch` steps."""

    def __init__(self, model: AutoregressiveModel, case: Case, steps_per_dispatch: int = STEPS_PER_DISPATCH):
        """Compiles the program."""
        mesh, key = make_mesh(), jax.random.key(0)
        optimizer = make_optimizer(read_rule(case.optimizer, {}), make_schedule(1e-3, 10**6))
        spec = StepSpec(model, make_objective(case.objective), optimizer, total_steps=10**6)
        self.state = init_state(spec, key, placed_state(spec, mesh))
        rows = np.random.default_rng(0).integers(0, model.event.num_levels, (512, *model.event.shape))
        source = from_arrays(model.event, train=rows).splits["train"]
        feed = ResidentFeed(source, mesh, seed=0, batch_size=case.batch_size, max_steps=steps_per_dispatch)
        chunk = feed.chunk(0, steps_per_dispatch)
        self.sums = zero_sums(spec, self.state, chunk)
        self._recipe, self._batch = spec, chunk.batch(0)
        program = jax.jit(functools.partial(train_chunk, spec), donate_argnums=0)
        arguments = chunk, as_traced(steps_per_dispatch, mesh), key
        compiled, self.compile_seconds = compile_seconds(program, self.state, self.sums, *arguments)
        self._dispatch = lambda: compiled(self.state, self.sums, *arguments)

    def flops_per_step(self) -> float:
        """FLOPs of the products of a train step."""
        return count_flops(functools.partial(train_step, self._recipe), self.state, self._batch, jax.random.key(0))

    def dispatch(self) -> Any:
        """Trains on; returns something to wait for."""
        self.state, self.sums = self._dispatch()
        return self.sums
