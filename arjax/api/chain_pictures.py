"""Pictures of a chain: examples along its reverse process, as images or as text, and its dependency graph."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from arjax.data import Dataset
from arjax.models.chains import Chain
from arjax.models.paths import draw_path, frame_places
from arjax.reporting.chains import MASK_CHARACTER, chain_figure, path_figure, path_text
from arjax.reporting.samples import as_images
from arjax.samplers import example_keys

#: Examples, and frames of each at most.
EXAMPLES, FRAMES = 6, 10


def chain_pictures(model: Chain, params: Any, dataset: Dataset, key: jax.Array) -> Iterator[tuple[str, Any]]:
    """The pictures of a chain, each with the name of its file.

    `chain.png`: its dependency graph. `reverse_process.png`, of images: examples on their way from noise to data, with
    masked sites in a colour of their own.
    """
    yield "chain.png", chain_figure(model.num_steps, math.prod(model.times_shape))
    event = model.event
    if dataset.vocabulary is not None or as_images(np.zeros((1, *event.shape)), event.grid_shape) is None:
        return
    path = _path(model, params, dataset, key)
    flat, masked = path.reshape(-1, *event.shape), None
    if event.is_discrete:
        is_mask = flat == event.num_levels
        flat = np.where(is_mask, 0, flat)
        masked = _in_frames(as_images(is_mask, event.grid_shape), path) if is_mask.any() else None
        masked = masked.any(-1) if masked is not None and masked.ndim == 5 else masked
    images = _in_frames(as_images(np.asarray(dataset.in_data_units(flat)), event.grid_shape), path)
    top = event.num_levels - 1 if event.is_discrete else None
    yield "reverse_process.png", path_figure(images, _labels(model), masked, top)


def reverse_text(model: Chain, params: Any, dataset: Dataset, key: jax.Array) -> str:
    """Texts on their way from noise to data, with masked characters visible; "" where examples are no texts."""
    if dataset.vocabulary is None:
        return ""
    mask = model.event.num_levels

    def text(tokens: np.ndarray) -> str:
        return "".join(MASK_CHARACTER if token == mask else dataset.decode(token[None]) for token in tokens)

    return path_text([[text(frame) for frame in path] for path in _path(model, params, dataset, key)], _labels(model))


def _path(model: Chain, params: Any, dataset: Dataset, key: jax.Array) -> np.ndarray:
    """[N, F, *grid, *value], under the contexts of the first examples where there are any."""
    context = dataset.first_examples(EXAMPLES).context if model.context_spec else {}
    num = len(next(iter(context.values()))) if context else EXAMPLES
    keys = example_keys(key, num)
    return np.asarray(draw_path(model, params, keys, FRAMES, context=dict(context) or None))


def _in_frames(images: np.ndarray, path: np.ndarray) -> np.ndarray:
    return images.reshape(*path.shape[:2], *images.shape[1:])


def _labels(model: Chain) -> list[str]:
    """The rounds that are done in each frame, and their number."""
    num_rounds = len(model.visited(model.sample_steps)) * math.prod(model.times_shape)
    return [f"{n}/{num_rounds}" for n in frame_places(FRAMES, num_rounds)]
