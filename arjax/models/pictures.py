"""Pictures as plain descriptions, arrays and words: models say what there is to see, and `arjax.reporting` draws it."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from arjax.core.spec import EventSpec


@dataclasses.dataclass(frozen=True)
class Tiles:
    """Examples side by side, where they are images, with a line above them."""

    examples: Any  # [N, *grid, *value], row by row
    columns: int  # examples in a row
    title: str


@dataclasses.dataclass(frozen=True)
class Paths:
    """Examples on their way from noise to data, as images or as texts, with a word for each frame."""

    frames: Any  # [N, F, *grid, *value]; of discrete data V marks a masked site
    labels: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class OrderGraph:
    """The order and the blocks of the sites, and bool[D, D], whether the features of site i read site j."""

    factorization: Any
    dependencies: Any


@dataclasses.dataclass(frozen=True)
class EntropyAlongOrder:
    """The entropies of the conditionals of an autoregressive model in each step, means over examples of a split."""


@dataclasses.dataclass(frozen=True)
class CodesInUse:
    """How often a split uses each code of a model with a codebook, see `code_numbers`."""


Picture = CodesInUse | Tiles | Paths | OrderGraph | EntropyAlongOrder


def as_images(x: np.ndarray, grid_shape: tuple[int, ...]) -> np.ndarray | None:
    """[N, *grid, *value] as images [N, H, W(, 3)], or None for other data. Planes of scalars, one-channel or colour
    values are images; a sequence of vectors is a piano roll, time to the right and the first component at the bottom.
    """
    value_shape = x.shape[1 + len(grid_shape) :]
    if len(grid_shape) == 2 and value_shape in ((), (3,)):
        return x
    if len(grid_shape) == 2 and value_shape == (1,):
        return x[..., 0]
    if len(grid_shape) == 1 and len(value_shape) == 1:
        return np.flip(np.swapaxes(x, 1, 2), axis=1)
    return None


def is_image(event: EventSpec) -> bool:
    """Returns whether examples of an event can be drawn as images."""
    return as_images(np.zeros((1, *event.shape)), event.grid_shape) is not None
