"""Draws on several cores of a CPU: parts of the examples at the same time, each in a separate thread.

XLA gives many small operations of a step to a single core, so several programs at once use more of them: on two cores,
two halves of 16 examples were drawn 1.1 to 1.9 times as fast as the whole, by networks of up to 20 MB of parameters.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from arjax.core.arrays import is_traced

#: With more bytes of parameters, examples are drawn as a whole: each part would read all parameters in each step. With
#: 75 MB, two halves of 4 examples took 1.25 times as long as the whole.
MOST_PARAMS = 32 * 2**20


def num_cores() -> int:
    """Returns the cores of this process."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def num_parts(num: int, params: Any, *others: Any) -> int:
    """Returns the parts in which examples are drawn: 1 inside of `jit`, for large parameters, for arrays on several
    devices or none on a CPU, and in a thread with settings of its own.
    """
    arrays = jax.tree.leaves((params, others))
    if is_traced(params, others) or sum(np.size(p) * p.dtype.itemsize for p in jax.tree.leaves(params)) > MOST_PARAMS:
        return 1
    devices = {device for array in arrays if isinstance(array, jax.Array) for device in array.devices()}
    if len(devices) > 1 or any(device.platform != "cpu" for device in devices):
        return 1
    parts = min(num, num_cores())
    return parts if parts > 1 and not has_own_settings() else 1


def has_own_settings() -> bool:
    """Whether this thread has settings of JAX that a new one lacks, as in the context `jax.debug_nans(True)`."""

    def settings() -> list[Any]:
        mesh = jax.sharding.get_abstract_mesh().empty
        return [mesh, *(getattr(jax.config, name, None) for name in jax.config.values)]

    with ThreadPoolExecutor(1) as pool:
        return settings() != pool.submit(settings).result()


def starts_of(num: int, parts: int) -> tuple[int, list[int]]:
    """The size of all parts, so that they share one program, and their first examples; the last part may overlap."""
    size = -(-num // parts)
    return size, [min(start, num - size) for start in range(0, num, size)]


def in_parts(draw: Callable[[Any], Any], of_examples: Any, parts: int) -> Any:
    """Calls `draw` for parts of the examples, the first axis of all arrays, at the same time, and joins the results."""
    num = len(jax.tree.leaves(of_examples)[0])
    size, starts = starts_of(num, parts)
    some = _cut(of_examples, size, tuple(starts))
    with ThreadPoolExecutor(len(starts)) as pool:
        drawn = list(pool.map(draw, some))
    return _joined(drawn, num - size * (len(starts) - 1))  # examples of the last part that are in no part before it


# One program each: slices and joins one by one would be compiled, or read from the cache, one by one.
@functools.partial(jax.jit, static_argnums=(1, 2))
def _cut(of_examples: Any, size: int, starts: tuple[int, ...]) -> list[Any]:
    """Returns the parts of the examples from each of the starts on."""
    return [jax.tree.map(lambda leaf, start=start: leaf[start : start + size], of_examples) for start in starts]


@functools.partial(jax.jit, static_argnums=1)
def _joined(drawn: list[Any], rest: int) -> Any:
    """Returns the parts one after another; of the last one, the last `rest` examples."""
    return jax.tree.map(lambda *leaves: jnp.concatenate([*leaves[:-1], leaves[-1][-rest:]]), *drawn)
