"""Memory and time against the length of the sequence, as a table and a plot: `benchmark.py --length=FOLDER`.

One example, layers of 64 units, for every network: the memory that the gradient of log p(x) needs beside its arguments,
as the compiler plans it; its time; and that of one step of sampling at the end of a sequence of that length. Where the
time limit or the memory limit would be passed, the gradient is compiled, for its memory, and not run.
"""

from __future__ import annotations

import csv
import dataclasses
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from measured import log_curves

from arjax.core.spec import EventSpec
from arjax.models import AutoregressiveModel, make_model
from arjax.reporting.tables import print_table
from arjax.samplers.loops import StepForm

SHORTEST = 1024
LEVELS = 16
MEMORY_LIMIT = 4 * 2**30
#: Steps of sampling in one program, so that its start does not count.
STEPS = 16
ROUNDS = 3


@dataclasses.dataclass(frozen=True)
class Point:
    """One row of the table; None where nothing was measured.

    Attributes:
      length: steps of the sequence.
      gradient_bytes: memory of the gradient beside its arguments and results.
      gradient_seconds: time of the gradient.
      step_seconds: time of the last steps of sampling, each.
    """

    network: str
    length: int
    gradient_bytes: int
    gradient_seconds: float | None
    step_seconds: float | None


def options(network: str, length: int) -> dict[str, Any]:
    """The options with which a network is measured: two layers of 64 units; the stride grows as the paper has it."""
    attention = {"width": 64, "num_layers": 2, "num_heads": 2, "position": "sinusoidal"}
    sequence = {"hidden_size": 64, "num_layers": 2, "position": "sinusoidal"}
    stride = 2 ** math.ceil(math.log2(length) / 2)  # about the root of the length (Child et al., 2019, section 4.3)
    known: Mapping[str, dict[str, Any]] = {
        "transformer": attention,
        "local_transformer": attention | {"window": 64},
        "sparse_transformer": attention | {"stride": stride},
        "linear_attention": attention,
        "rg_lru": sequence,
        "mamba2": sequence | {"num_heads": 2},
        "gated_delta_net": sequence | {"num_heads": 2},
        "lstm": sequence,
        "causal_conv": sequence | {"num_layers": 8, "dilation_cycle": 8},
    }
    return known[network]


#: Networks that are measured by default.
NAMES = (
    *("transformer", "sparse_transformer", "local_transformer", "linear_attention", "rg_lru", "mamba2"),
    *("gated_delta_net", "lstm", "causal_conv"),
)


def seconds(function: Callable[[], Any], limit: float) -> float:
    """Seconds per call, the median of as many rounds as the limit allows."""
    jax.block_until_ready(function())
    taken: list[float] = []
    while len(taken) < ROUNDS and sum(taken) < limit:
        started = time.perf_counter()
        jax.block_until_ready(function())
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


def compile_gradient(model: AutoregressiveModel, params: Any, x: jax.Array) -> tuple[Any, int]:
    """The compiled gradient of -log p(x), and the memory in bytes that it needs for intermediate values."""

    def loss(params: Any, x: jax.Array) -> jax.Array:
        return -model.log_prob(params, x).sum()

    compiled = jax.jit(jax.grad(loss)).lower(params, x).compile()
    return compiled, int(compiled.memory_analysis().temp_size_in_bytes)


def last_steps(model: AutoregressiveModel, params: Any, x: jax.Array) -> Callable[[], Any]:
    """A function that goes through the last `STEPS` steps of sampling; the carry is updated in place."""
    num_steps = model.factorization.num_steps
    first = num_steps - STEPS

    def run(carry: Any, params: Any, x: jax.Array) -> Any:
        form = StepForm.of(model, params)

        def body(carry: Any, t: jax.Array) -> tuple[Any, jax.Array]:
            return form.step(carry, x, t, None)

        return jax.lax.scan(body, carry, first + jnp.arange(STEPS))

    program = jax.jit(run, donate_argnums=0)
    form = StepForm.of(model, params)
    carry = form.loop_carry(form.start(1, None), num_steps)  # as in a draw
    state = {"carry": jax.tree.map(jnp.array, carry)}

    def again() -> jax.Array:
        state["carry"], features = program(state["carry"], params, x)
        return features

    return again


def measure(network: str, length: int, limit: float, run: bool) -> Point:
    """One point; with `run=False` the gradient is compiled only."""
    model = make_model(EventSpec((length,), kind="tokens", num_levels=LEVELS), network, **options(network, length))
    x = jax.random.randint(jax.random.key(0), (1, length), 0, LEVELS)
    params = jax.jit(model.init)(jax.random.key(1))
    gradient, memory = compile_gradient(model, params, x)
    run = run and memory <= MEMORY_LIMIT
    return Point(
        network,
        length,
        memory,
        seconds(lambda: gradient(params, x), limit) if run else None,
        seconds(last_steps(model, params, x), limit) / STEPS,
    )


def measure_all(networks: Sequence[str], longest: int, limit: float) -> list[Point]:
    """All networks at all lengths, each until a gradient would take longer than `limit` seconds."""
    points = []
    for network in networks:
        length, run = SHORTEST, True
        while length <= longest:
            point = measure(network, length, limit, run)
            print(
                f"{network} at {length}: {point.gradient_bytes / 2**20:,.0f} MiB, {point.gradient_seconds} s",
                flush=True,
            )
            points.append(point)
            # Twice the length takes up to four times as long.
            run = run and point.gradient_seconds is not None and 4 * point.gradient_seconds <= limit
            length *= 2
    return points


def write(points: Sequence[Point], folder: Path) -> None:
    """Writes length.csv and length.png."""
    folder.mkdir(parents=True, exist_ok=True)
    columns = [field.name for field in dataclasses.fields(Point)]
    with open(folder / "length.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        for point in points:
            values = dataclasses.astuple(point)
            writer.writerow([f"{v:.4g}" if isinstance(v, float) else "" if v is None else v for v in values])

    def curves(column: str, scale: float) -> dict[str, tuple[list[int], list[float]]]:
        found: dict[str, tuple[list[int], list[float]]] = {}
        for point in points:
            value = getattr(point, column)
            if value is not None:
                lengths, values = found.setdefault(point.network, ([], []))
                lengths.append(point.length)
                values.append(value * scale)
        return found

    panels = [
        ("Memory of a gradient", "MiB", curves("gradient_bytes", 2.0**-20)),
        ("Time of a gradient", "seconds", curves("gradient_seconds", 1.0)),
        ("Time of a step of sampling", "milliseconds", curves("step_seconds", 1e3)),
    ]
    log_curves(folder / "length.png", panels, "length in steps")


def run(networks: Sequence[str], longest: int, limit: float, folder: Path) -> None:
    """Measures, prints and writes."""
    points = measure_all(networks, longest, limit)
    rows = [
        (
            point.network,
            f"{point.length:,}",
            f"{point.gradient_bytes / 2**20:,.1f}",
            "" if point.gradient_seconds is None else f"{point.gradient_seconds:.3f}",
            "" if point.step_seconds is None else f"{1e3 * point.step_seconds:.3f}",
        )
        for point in points
    ]
    columns = ("network", "steps", "gradient MiB", "gradient s", "step ms")
    print_table(columns, rows, title="Length", right=columns[1:])
    write(points, folder)
