"""Compressing and decompressing beside drawing: `benchmark.py --coding`.

The coder makes the steps of the cached sampler in a compiled loop that asks Python for the values of each step. Times
are those of the processor (of all threads of the process), for a step of as many rows side by side, in both directions,
by networks with random parameters; a file of several batches has its share of what is done once.
"""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from timing import ratio

from arjax.coding import CodingOptions, compress, decompress
from arjax.core.spec import EventSpec
from arjax.data.vocabulary import Vocabulary, make_vocabulary
from arjax.models import AutoregressiveModel, make_model
from arjax.models.base import Params
from arjax.models.longer import of_length
from arjax.reporting.tables import print_table
from arjax.samplers import Cached, Request, example_keys
from arjax.samplers.base import run_sampler as draw

LETTERS = make_vocabulary("".join(map(chr, range(32, 97))))
IMAGE = EventSpec((28, 28))
#: Rows side by side, and the steps of a stream of text or the batches of images.
STREAMS, LENGTH, BATCH, BATCHES = 16, 1024, 100, 2
#: Networks of texts and of images, and their options.
NETWORKS: dict[str, dict[str, Any]] = {
    "gru": {"hidden_size": 256},
    "made": {},
    "fvsbn": {},
    "pixelcnn": {},
    "diagonal_bilstm": {"hidden_size": 24, "num_layers": 3, "unroll": 3},
}


@dataclasses.dataclass(frozen=True)
class Case:
    """A model, the model of its draws, and data that it codes."""

    model: AutoregressiveModel
    drawn: AutoregressiveModel
    rows: int
    x: np.ndarray | bytes
    vocabulary: Vocabulary | None

    @property
    def steps(self) -> int:
        """Steps of all rows side by side."""
        return len(self.x) // self.rows * (1 if self.vocabulary else self.model.event.num_sites)


def case_of(name: str) -> Case:
    """A text for `gru`, images for the others."""
    rng = np.random.default_rng(0)
    if name == "gru":
        model = make_model(EventSpec((64,), (), "tokens", len(LETTERS)), name, **NETWORKS[name])
        x = LETTERS.decode(rng.integers(0, len(LETTERS), STREAMS * LENGTH)).encode()
        return Case(model, of_length(model, LENGTH), STREAMS, x, LETTERS)
    model = make_model(IMAGE, name, **NETWORKS[name])
    images = (rng.random((BATCH * BATCHES, *IMAGE.shape)) < 0.2).astype(np.uint8)
    return Case(model, model, BATCH, images, None)


def drawing(case: Case, params: Params) -> Callable[[], Any]:
    """One draw of the cached sampler."""
    canvas = jnp.zeros((case.rows, *case.drawn.event.shape), case.drawn.event.dtype)
    arguments = Cached(), case.drawn, params, example_keys(jax.random.key(0), case.rows), Request(canvas)
    program = draw.lower(*arguments).compile()
    return lambda: program(*arguments).x.block_until_ready()


def cpu_seconds(function: Callable[[], Any]) -> float:
    """Seconds of the processor for a call."""
    started = time.process_time()
    function()
    return time.process_time() - started


def measure(name: str, rounds: int) -> dict[str, Any]:
    """Seconds for a step, and the median of their ratio over the rounds."""
    case = case_of(name)
    params = jax.jit(case.model.init)(jax.random.key(0))
    options: Mapping[str, Any] = {"vocabulary": case.vocabulary, "streams": case.rows}
    data = compress(case.model, params, case.x, CodingOptions(**options, verify=False)).data
    ways = {
        "draw": drawing(case, params),
        "encode": lambda: compress(case.model, params, case.x, CodingOptions(**options, verify=False)),
        "decode": lambda: decompress(case.model, params, data, CodingOptions(**options)),
    }
    steps = {"draw": case.drawn.factorization.num_steps, "encode": case.steps, "decode": case.steps}
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for way in ways.values():  # compiles
        way()
    for _ in range(rounds):
        for name_of_way, way in ways.items():
            seconds[name_of_way].append(cpu_seconds(way) / steps[name_of_way])
    return {
        "network": name,
        "batch_size": case.rows,
        **{f"{way}_step_cpu_seconds": statistics.median(found) for way, found in seconds.items()},
        **{f"{way}_over_draw": ratio(seconds[way], seconds["draw"]) for way in ("encode", "decode")},
    }


def run(names: Sequence[str], rounds: int) -> list[dict[str, Any]]:
    """Measures and prints."""
    rows = [measure(name, rounds) for name in names]
    table = [
        (
            row["network"],
            f"{row['batch_size']}",
            *(f"{1e3 * row[f'{way}_step_cpu_seconds']:.3f}" for way in ("draw", "encode", "decode")),
            *(f"{row[f'{way}_over_draw']:.2f}" for way in ("encode", "decode")),
        )
        for row in rows
    ]
    columns = ("network", "batch", "draw ms", "encode ms", "decode ms", "encode / draw", "decode / draw")
    print_table(columns, table, title="A step of coding", right=columns[1:])
    return rows
