"""The cached sampler beside `generate` of transformers' GPT-2 with its cache: `benchmark.py --generate`.

Both draw 784 tokens of 65 levels from networks of one size with random parameters, at temperature 1, in turns.
"""

from __future__ import annotations

import statistics
from typing import Any

import jax
from timing import ratio, time_in_turns

from arjax.core.spec import EventSpec
from arjax.models import make_model
from arjax.reporting.tables import print_table
from arjax.samplers import example_keys

LENGTH, LEVELS, HEAD_SIZE = 784, 65, 32
#: Layers, width and batch.
CASES = ((4, 128, 1), (4, 128, 16), (6, 256, 1), (6, 256, 16))


def measure(num_layers: int, width: int, num: int, rounds: int, peers: Any) -> dict[str, Any]:
    """Seconds of both for a batch, and the median over the rounds of the ratio within a round."""
    event, heads = EventSpec((LENGTH,), (), "tokens", LEVELS), width // HEAD_SIZE
    model = make_model(event, "transformer", width=width, num_layers=num_layers, num_heads=heads)
    params, keys = jax.jit(model.init)(jax.random.key(0)), example_keys(jax.random.key(1), num)
    functions = {"arjax": lambda: model.draw(params, keys).x}
    if peers is not None:
        functions["peer"] = peers.generate(num, LENGTH, LEVELS, width, num_layers, heads)
    seconds = time_in_turns(functions, rounds)
    row = {
        "network": f"transformer, {num_layers} x {width}",
        "batch_size": num,
        "num_sites": LENGTH,
        "cached_seconds": statistics.median(seconds["arjax"]),
    }
    if peers is not None:
        row |= {
            "peer": "transformers GPT-2",
            "peer_seconds": statistics.median(seconds["peer"]),
            "speed_over_peer": ratio(seconds["peer"], seconds["arjax"]),
            "speed_over_peer_best": min(seconds["peer"]) / min(seconds["arjax"]),
        }
    return row


def run(rounds: int, peers: Any) -> list[dict[str, Any]]:
    """Measures and prints."""
    rows = [measure(*case, rounds, peers) for case in CASES]
    table = [
        (
            row["network"],
            f"{row['batch_size']}",
            f"{1e3 * row['cached_seconds'] / LENGTH:.2f}",
            f"{1e3 * row['peer_seconds'] / LENGTH:.2f}" if "peer" in row else "",
            f"{row['speed_over_peer']:.2f} ({row['speed_over_peer_best']:.2f})" if "peer" in row else "",
        )
        for row in rows
    ]
    columns = ("network", "batch", "ms/step", "peer's", "speed over peer (best)")
    print_table(columns, table, title=f"Drawing {LENGTH} tokens", right=columns[1:])
    return rows
