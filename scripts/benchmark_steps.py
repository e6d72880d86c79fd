"""What a step of drawing reads and copies, and how near it comes to the bandwidth: `benchmark.py --steps`.

A step must read the parameters, a row of those that have one for each site or step, and of caches that grow the half
that is filled on average. These bytes over those that a product of a large matrix and a vector reads in the same time
are the fraction of the bandwidth that is reached. Queues and states are left out: a step reads little of them. What the
compiled loops copy in a step, a kilobyte or more at a time, is read off their program.
"""

from __future__ import annotations

import functools
import math
import re
import statistics
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from benchmark_training import IMAGE, case_of

from arjax.core.spec import EventSpec
from arjax.evaluation.speed import ratio, time_in_turns
from arjax.models import AutoregressiveModel, make_model
from arjax.reporting.tables import print_table
from arjax.samplers import PLAIN_DRAW, Cached, example_keys
from arjax.samplers.base import run as draw

LINE = EventSpec((784,))
BATCHES = (1, 16)
MATRIX = 4096  # 64 MiB
COPY = re.compile(r"= (\w+)\[([\d,]+)\]\S* copy\(")
ITEM_BYTES = {"f32": 4, "s32": 4, "u32": 4, "bf16": 2, "pred": 1}


def bytes_read(model: AutoregressiveModel, params: Any, num: int) -> float:
    """The bytes that a step cannot do without."""
    sites, total = model.event.num_sites, 0.0
    for leaf in jax.tree.leaves(params):
        total += leaf.nbytes / math.prod(n for n in leaf.shape if n >= sites)
    if model.network.FIRST_LOOP:
        init = functools.partial(model.network.apply, method="init_carry")
        carry = jax.eval_shape(lambda: init({"params": params}, num, model.factorization))
        total += sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(carry)) / 2
    return total


def bytes_copied(program: str) -> int:
    """What the loops of a compiled program copy in one iteration of each, by arrays of a kilobyte or more."""
    total = 0
    for part in program.split("\n\n"):
        if not part.strip().startswith("ENTRY"):
            for kind, shape in COPY.findall(part):
                size = math.prod(map(int, shape.split(","))) * ITEM_BYTES.get(kind, 8)
                total += size if size >= 1024 else 0
    return total


def measure(name: str, num: int, rounds: int) -> dict[str, Any]:
    """A network at its default size, on images of 784 sites or as many in a line."""
    case = case_of(name)
    event = IMAGE if case.event == IMAGE else LINE
    model = make_model(event, name, ordering=case.ordering)
    params = jax.jit(model.init)(jax.random.key(0))
    canvas = jnp.zeros((num, *event.shape), event.dtype)
    arguments = Cached(), model, params, example_keys(jax.random.key(0), num), canvas, PLAIN_DRAW
    program = draw.lower(*arguments).compile()
    matrix, vector = jnp.ones((MATRIX, MATRIX)), jnp.ones(MATRIX)
    product = jax.jit(jnp.matmul)
    seconds = time_in_turns({"draw": lambda: program(*arguments), "product": lambda: product(matrix, vector)}, rounds)
    steps, must_read = model.factorization.num_steps, bytes_read(model, params, num)
    step_seconds = [s / steps for s in seconds["draw"]]
    return {
        "network": name,
        "batch_size": num,
        "step_seconds": statistics.median(step_seconds),
        "bytes_read": must_read,
        "bytes_copied": bytes_copied(program.as_text()),
        "fraction_of_bandwidth": must_read / matrix.nbytes * ratio(seconds["product"], step_seconds),
    }


def run(names: Sequence[str], rounds: int) -> list[dict[str, Any]]:
    """Measures and prints."""
    rows = [measure(name, num, rounds) for name in names for num in BATCHES]
    table = [
        (
            row["network"],
            f"{row['batch_size']}",
            f"{1e3 * row['step_seconds']:.3f}",
            f"{row['bytes_read'] / 2**20:.2f}",
            f"{row['bytes_copied'] / 2**20:.2f}",
            f"{row['fraction_of_bandwidth']:.0%}",
        )
        for row in rows
    ]
    columns = ("network", "batch", "ms/step", "MiB to read", "MiB copied", "of bandwidth")
    print_table(columns, table, title="A step of drawing", right=columns[1:])
    return rows
