"""Draws on several cores of a CPU: parts of the examples at the same time, each in a thread of its own.

The operations of a step are small, and XLA gives many of them, such as the products of attention at batch 16, to a
single core. Several programs at once use several cores: on two cores, two halves of 16 examples took between 1/1.9 and
1/1.1 of the time of the whole, for networks of up to 20 MB of parameters. Each example depends on its own key alone, so
the parts draw what the whole would draw.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from arjax.core.arrays import is_traced

#: Bytes of parameters up to which examples are drawn in parts: each part reads all of them in each step. With 75 MB,
#: two halves of 4 examples took 1.25 times as long as the whole.
MOST_PARAMS = 32 * 2**20


def num_cores() -> int:
    """The cores of this process."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def num_parts(num: int, params: Any, *others: Any) -> int:
    """In how many parts `num` examples are drawn: 1 but where all arrays are on one CPU, outside of `jit`."""
    arrays = jax.tree.leaves((params, others))
    if is_traced(params, others) or sum(np.size(p) * p.dtype.itemsize for p in jax.tree.leaves(params)) > MOST_PARAMS:
        return 1
    devices = {device for array in arrays if isinstance(array, jax.Array) for device in array.devices()}
    if len(devices) > 1 or any(device.platform != "cpu" for device in devices):
        return 1
    parts = min(num, num_cores())
    return parts if parts > 1 and not has_own_settings() else 1


def has_own_settings() -> bool:
    """Whether JAX has settings in this thread that others do not have, by a context such as `jax.debug_nans(True)`."""

    def settings() -> list[Any]:
        mesh = jax.sharding.get_abstract_mesh().empty
        return [mesh, *(getattr(jax.config, name, None) for name in jax.config.values)]

    with ThreadPoolExecutor(1) as pool:
        return settings() != pool.submit(settings).result()


def starts_of(num: int, parts: int) -> tuple[int, list[int]]:
    """Examples of a part, the same in all parts, and the first example of each: the last parts may overlap."""
    size = -(-num // parts)
    return size, [min(start, num - size) for start in range(0, num, size)]


def in_parts(draw: Callable[[Any], Any], of_examples: Any, parts: int) -> Any:
    """What `draw` makes of arrays whose first axis are examples, from several parts of them at the same time."""
    num = len(jax.tree.leaves(of_examples)[0])
    size, starts = starts_of(num, parts)
    some = [jax.tree.map(lambda leaf, start=start: leaf[start : start + size], of_examples) for start in starts]
    with ThreadPoolExecutor(len(starts)) as pool:
        drawn = list(pool.map(draw, some))
    rest = num - size * (len(starts) - 1)  # of the last part, what the one before it does not have
    return jax.tree.map(lambda *leaves: jnp.concatenate([*leaves[:-1], leaves[-1][-rest:]]), *drawn)
