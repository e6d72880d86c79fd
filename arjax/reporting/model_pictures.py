"""Draws the pictures that a model describes, see `arjax.core.pictures`: as figures of matplotlib or as text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from arjax.core.pictures import ChainGraph, OrderGraph, Paths, Picture, Tiles, as_images
from arjax.core.spec import EventSpec
from arjax.reporting.chains import MASK_CHARACTER, chain_figure, path_figure, path_text
from arjax.reporting.diagrams import factorization_figure
from arjax.reporting.plots import tiles_figure

ToUnits = Callable[[np.ndarray], np.ndarray]


def figure_of(picture: Picture, event: EventSpec, in_data_units: ToUnits) -> Any:
    """A matplotlib figure; None where examples are no images.

    Args:
      in_data_units: takes values [N, *event.shape] of the model to the units of the data.
    """
    top = event.num_levels - 1 if event.is_discrete else None
    if isinstance(picture, ChainGraph):
        return chain_figure(picture.num_steps, picture.num_blocks)
    if isinstance(picture, OrderGraph):
        return factorization_figure(picture.factorization, picture.dependencies)
    if isinstance(picture, Tiles):
        images = as_images(in_data_units(np.asarray(picture.examples)), event.grid_shape)
        return None if images is None else tiles_figure(images, picture.columns, picture.title, top)
    assert isinstance(picture, Paths), f"no picture of a model: {picture!r}"
    frames = np.asarray(picture.frames)
    flat = frames.reshape(-1, *event.shape)
    masked: np.ndarray | None = None

    def in_frames(values: np.ndarray) -> np.ndarray:
        images = as_images(values, event.grid_shape)
        assert images is not None, "frames of one shape are all images"
        return images.reshape(*frames.shape[:2], *images.shape[1:])

    if as_images(flat, event.grid_shape) is None:
        return None
    if event.is_discrete:
        is_mask = flat == event.num_levels
        flat = np.where(is_mask, 0, flat)
        if is_mask.any():
            masked = in_frames(is_mask)
            masked = np.asarray(masked.any(-1)) if masked.ndim == 5 else masked
    images = in_frames(np.asarray(in_data_units(flat)))
    return path_figure(images, picture.labels, masked, top)


def text_of(paths: Paths, mask: int, decode: Callable[[np.ndarray], str]) -> str:
    """Texts on their way from noise to data, with masked characters visible.

    Args:
      mask: the token of a masked site.
      decode: tokens int[T] to a text.
    """

    def text(tokens: np.ndarray) -> str:
        return "".join(MASK_CHARACTER if token == mask else decode(token[None]) for token in tokens)

    return path_text([[text(frame) for frame in path] for path in np.asarray(paths.frames)], paths.labels)
