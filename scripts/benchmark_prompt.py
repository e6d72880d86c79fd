"""Reading a prompt in chunks against stepping through it: `benchmark.py --prompt`.

Networks of the size of `configs/tiny_shakespeare.py` with random parameters are given all but the last of their
characters. Both samplers draw that one; the comparison is of reading the rest.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from timing import ratio, time_in_turns

from arjax.core.spec import EventSpec
from arjax.models import make_model
from arjax.reporting.tables import print_table
from arjax.samplers import example_keys

CHARACTERS = 65
SIZE = {"width": 128, "num_layers": 4, "num_heads": 4}
#: The networks that read a prompt in one pass, and their options.
NETWORKS: dict[str, dict[str, Any]] = {
    "transformer": SIZE,
    "local_transformer": SIZE,
    "sparse_transformer": SIZE,
    "transformer_xl": SIZE,
    "linear_attention": SIZE,
    "causal_conv": {"hidden_size": 208},
    "wavenet": {"hidden_size": 116, "skip_channels": 256, "num_layers": 7, "dilation_cycle": 7},
    "tcn": {"hidden_size": 180},
}
PROMPTS = (64, 512)
#: How many examples, and whether each has a prompt of its own or all share one, which is then read once.
BATCHES = ((1, False), (16, False), (16, True))


def measure(network: str, prompt: int, num: int, own: bool, rounds: int) -> dict[str, Any]:
    """Seconds for a prompt, read and stepped through, and the median of their ratio over the rounds."""
    event = EventSpec((prompt + 1,), (), "tokens", CHARACTERS)
    model = make_model(event, network, **NETWORKS[network])
    params, keys = jax.jit(model.init)(jax.random.key(0)), example_keys(jax.random.key(1), num)
    given = np.random.default_rng(0).integers(0, CHARACTERS, (num, *event.shape) if own else event.shape)
    observed = np.arange(prompt + 1) < prompt

    def draw(sampler: str) -> Any:
        return lambda: model.draw(params, keys, sampler=sampler, given=given, observed=observed).x

    seconds = time_in_turns({"read": draw("cached"), "step": draw("cached(chunk=1)")}, rounds)
    return {
        "network": network,
        "prompt": prompt,
        "batch_size": num,
        "prompts": num if own else 1,
        "read_seconds": statistics.median(seconds["read"]),
        "step_seconds": statistics.median(seconds["step"]),
        "read_over_step": ratio(seconds["read"], seconds["step"]),
    }


def run(names: Sequence[str], rounds: int) -> list[dict[str, Any]]:
    """Measures and prints."""
    cases = [(name, prompt, *batch) for name in names for prompt in PROMPTS for batch in BATCHES]
    rows = [measure(*case, rounds) for case in cases]
    columns = ("network", "prompt", "batch", "prompts", "read ms", "step ms", "read / step")
    table = [
        (
            row["network"],
            f"{row['prompt']}",
            f"{row['batch_size']}",
            f"{row['prompts']}",
            f"{1e3 * row['read_seconds']:.1f}",
            f"{1e3 * row['step_seconds']:.1f}",
            f"{row['read_over_step']:.3f}",
        )
        for row in rows
    ]
    print_table(columns, table, title="Reading a prompt", right=columns[1:])
    return rows
