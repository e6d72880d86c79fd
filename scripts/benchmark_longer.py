"""The time of a character behind the window of the training over that of the first ones: `benchmark.py --longer`.

Networks of the size of `configs/tiny_shakespeare.py` with random parameters draw an ordinary sample of 64 characters,
and one of 2,000.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

import jax
from timing import ratio, time_in_turns

from arjax.core.spec import EventSpec
from arjax.models import make_model
from arjax.reporting.tables import print_table
from arjax.samplers import example_keys

EVENT, LENGTH = EventSpec((64,), (), "tokens", 65), 2000
SIZE = {"width": 128, "num_layers": 4, "num_heads": 4}
#: Networks whose window slides, and those that go on.
NETWORKS: dict[str, dict[str, Any]] = {
    "transformer": SIZE,
    "linear_attention": SIZE,
    "made": {"hidden_sizes": (500,)},
    "gru": {"hidden_size": 350},
    "rg_lru": {"hidden_size": 120},
    "wavenet": {"hidden_size": 116, "skip_channels": 256, "num_layers": 6, "dilation_cycle": 5},
    "transformer_xl": SIZE | {"segment": 32, "memory": 32},
}
BATCHES = (1, 8)


def measure(network: str, num: int, rounds: int) -> dict[str, Any]:
    """Seconds per character of both draws, and the median of their ratio over the rounds."""
    model = make_model(EVENT, network, **NETWORKS[network])
    params, keys = jax.jit(model.init)(jax.random.key(0)), example_keys(jax.random.key(1), num)
    draws = {
        "window": lambda: model.draw(params, keys).x,
        "longer": lambda: model.draw(params, keys, length=LENGTH).x,
    }
    seconds = time_in_turns(draws, rounds)
    per_character = {name: [s / {"window": 64, "longer": LENGTH}[name] for s in all_] for name, all_ in seconds.items()}
    return {
        "network": network,
        "goes_on": "unbounded" in model.network.traits,
        "batch_size": num,
        "window_seconds": statistics.median(per_character["window"]),
        "longer_seconds": statistics.median(per_character["longer"]),
        "longer_over_window": ratio(per_character["longer"], per_character["window"]),
        "longer_over_window_best": min(per_character["longer"]) / min(per_character["window"]),
    }


def run(names: Sequence[str], rounds: int) -> list[dict[str, Any]]:
    """Measures and prints."""
    rows = [measure(name, num, rounds) for name in names for num in BATCHES]
    columns = ("network", "goes on", "batch", "window us", "longer us", "ratio", "best")
    table = [
        (
            row["network"],
            "yes" if row["goes_on"] else "slides",
            f"{row['batch_size']}",
            f"{1e6 * row['window_seconds']:.0f}",
            f"{1e6 * row['longer_seconds']:.0f}",
            f"{row['longer_over_window']:.2f}",
            f"{row['longer_over_window_best']:.2f}",
        )
        for row in rows
    ]
    print_table(columns, table, title=f"A character of a window, and of {LENGTH:,}", right=columns[2:])
    return rows
