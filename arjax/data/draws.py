"""Data sets that are drawn: the checks of their options, and their splits, each from a generator of its own."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from arjax.core.errors import UserError

SPLITS = ("train", "validation", "test")


def check_least(**options: tuple[int, int]) -> None:
    """Raises `UserError` for an option of a data set, a pair of its value and the least one, that is below."""
    for name, (value, least) in options.items():
        if value < least:
            raise UserError(f"the data set option {name!r} must be at least {least}, not {value}")


def split_sizes(num_examples: int, seed: int, part: int = 4) -> dict[str, int]:
    """The sizes of the splits: validation and test have a `part`-th of the train split.

    Raises:
      UserError: fewer examples than make one of each, or a negative seed.
    """
    check_least(num_examples=(num_examples, part), seed=(seed, 0))
    return {split: num_examples // (part if i else 1) for i, split in enumerate(SPLITS)}


def draw_splits(
    draw: Callable[[np.random.Generator, int], np.ndarray], num_examples: int, seed: int, part: int = 4
) -> dict[str, np.ndarray]:
    """The examples of each split, from `draw(rng, number of examples)`; raises as `split_sizes`."""
    sizes = split_sizes(num_examples, seed, part)
    return {split: draw(np.random.default_rng((seed, i)), size) for i, (split, size) in enumerate(sizes.items())}


def generator_apart(seed: int) -> np.random.Generator:
    """A generator for what all splits share, such as the parameters of a model: none of theirs."""
    return np.random.default_rng((seed, len(SPLITS)))
