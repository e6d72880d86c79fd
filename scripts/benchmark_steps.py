"""What a step of drawing reads and copies, and how near it comes to the bandwidth: `benchmark.py --steps`.

A step must read the parameters, a row of those that have one for each site or step, and of caches that grow the half
that is filled on average. These bytes over those that a product of a large matrix and a vector reads in the same time
are the fraction of the bandwidth that is reached. Queues and states are left out: a step reads little of them. What the
compiled loops copy in a step, a kilobyte or more at a time, is read off their program. Where parts of the examples are
drawn at the same time, the copies of all parts count.
"""

from __future__ import annotations

import functools
import math
import re
import statistics
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from benchmark_training import IMAGE, case_of
from timing import ratio, time_in_turns

from arjax.core.spec import EventSpec
from arjax.models import AutoregressiveModel, make_model
from arjax.networks.base import first_loop
from arjax.samplers import Cached, Request, example_keys
from arjax.samplers.base import run_sampler as draw
from arjax.samplers.cores import num_parts, starts_of

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
    if first_loop(model.network):
        init = functools.partial(model.network.apply, method="start")
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
    keys, sampler, parts = example_keys(jax.random.key(0), num), Cached(), num_parts(num, params)
    size, _ = starts_of(num, parts)
    program = draw.lower(sampler, model, params, keys[:size], Request(canvas[:size])).compile()
    matrix, vector = jnp.ones((MATRIX, MATRIX)), jnp.ones(MATRIX)
    product = jax.jit(jnp.matmul)
    both = {
        "draw": lambda: sampler(model, params, keys, Request(canvas)),
        "product": lambda: product(matrix, vector),
    }
    seconds = time_in_turns(both, rounds)
    steps, must_read = model.factorization.num_steps, bytes_read(model, params, num)
    step_seconds = [s / steps for s in seconds["draw"]]
    return {
        "network": name,
        "batch_size": num,
        "step_seconds": statistics.median(step_seconds),
        "bytes_read": must_read,
        "bytes_copied": parts * bytes_copied(program.as_text()),
        "fraction_of_bandwidth": must_read / matrix.nbytes * ratio(seconds["product"], step_seconds),
    }


def measure_network(name: str, rounds: int) -> dict[str, Any]:
    """One row for each size of the batch."""
    return {"network": name, "batches": [measure(name, num, rounds) for num in BATCHES]}


def line(row: Mapping[str, Any]) -> str:
    """What is known of a network once it is measured."""
    found = [
        f"{1e3 * each['step_seconds']:.3g} ms a step at batch {each['batch_size']} "
        f"({each['bytes_read'] / 1e6:.3g} MB to read, {each['bytes_copied'] / 1e6:.3g} MB copied, "
        f"{each['fraction_of_bandwidth']:.2g} of the bandwidth)"
        for each in row["batches"]
    ]
    return f"{row['network']}: {', '.join(found)}"
