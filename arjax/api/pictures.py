"""Plots of a trained model as matplotlib figures: those that a run writes, to be shown."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from arjax.core.errors import UserError, refuse
from arjax.core.traits import require
from arjax.data import Dataset
from arjax.evaluation.entropy import step_entropy
from arjax.evaluation.likelihood import codes_in_use
from arjax.evaluation.splits import Scoring
from arjax.models import AutoregressiveModel, Model
from arjax.models.extras import pictures
from arjax.models.pictures import CodesInUse, EntropyAlongOrder, OrderGraph, Paths, Picture, Tiles, as_images, is_image
from arjax.reporting import plots
from arjax.reporting.diagrams import factorization_figure
from arjax.reporting.figures import check_matplotlib, has_matplotlib

#: Examples that a model may show, and those of its entropy: standard errors are then a few hundredths of a nat.
SHOWN_EXAMPLES, ENTROPY_EXAMPLES = 16, 1000


def model_pictures(
    model: Model, params: Any, dataset: Dataset, key: Any, scoring: Scoring
) -> Iterator[tuple[str, Any]]:
    """Yields the pictures that the kind of a model has, see `pictures`: the name of a file, and a text or a figure."""
    decode, mask = dataset.decode, model.event.num_levels  # the token of a masked site
    if decode is None and not has_matplotlib():
        return

    def text(tokens: np.ndarray) -> str:
        assert decode is not None, "a data set of texts"
        return "".join(plots.MASK_CHARACTER if token == mask else decode(token[None]) for token in tokens)

    for name, picture in pictures(model, params, dataset.first_examples(SHOWN_EXAMPLES), key):
        if isinstance(picture, Paths) and decode is not None:
            frames = [[text(frame) for frame in path] for path in np.asarray(picture.frames)]
            yield f"{name}.txt", plots.text_of_path(frames, picture.labels)
        elif has_matplotlib() and (figure := _figure_of(picture, model, params, dataset, scoring)) is not None:
            yield f"{name}.png", figure


def _figure_of(picture: Picture, model: Model, params: Any, dataset: Dataset, scoring: Scoring) -> Any:
    """Returns the figure of a picture; None of examples that are no images, or where the picture needs missing data."""
    event, top, in_data_units = model.event, model.event.top, dataset.in_data_units
    if isinstance(picture, OrderGraph):
        return factorization_figure(picture.factorization, picture.dependencies)
    if isinstance(picture, CodesInUse):
        counts_K = codes_in_use(model, params, dataset, list(dataset.splits)[-1], scoring) if dataset.splits else None
        return None if counts_K is None else plots.codes_figure(counts_K)
    if isinstance(picture, EntropyAlongOrder):
        with_conditionals = require(model, "conditionals", "a picture of its entropy")
        return entropy_picture(with_conditionals, params, dataset, "", scoring, ENTROPY_EXAMPLES)
    if isinstance(picture, Tiles):
        images = as_images(in_data_units(np.asarray(picture.examples)), event.grid_shape)
        return None if images is None else plots.tiles_figure([(picture.title, images)], picture.columns, 6.4, top)
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
    if top is not None:
        is_mask = flat == event.num_levels
        flat = np.where(is_mask, 0, flat)
        if is_mask.any():
            masked = in_frames(is_mask)
            masked = np.asarray(masked.any(-1)) if masked.ndim == 5 else masked
    images = in_frames(np.asarray(in_data_units(flat)))
    return plots.path_figure(images, picture.labels, masked, top)


def samples_picture(
    dataset: Dataset, model: Model, num: int, sample: Callable[..., np.ndarray], options: Mapping[str, Any]
) -> Any:
    """Returns samples beside as many examples of the last split, under the same contexts if none is given."""
    check_matplotlib()
    event = model.event
    if not is_image(event):
        raise UserError(f"examples of {event.in_words} cannot be drawn as images: look at the arrays of `sample`")
    real = dataset.first_examples(num) if dataset.splits else None
    under = {} if options.get("context") is not None or real is None else {"context": real.context or None}
    drawn = sample(num, **under)
    shown = as_images(dataset.in_data_units(drawn), event.grid_shape)
    assert shown is not None, "examples of one shape are all images"
    beside = None if real is None else as_images(dataset.in_data_units(np.asarray(real.x)), event.grid_shape)
    return plots.sample_figure(shown, beside, max_value=event.top)


def entropy_picture(
    model: AutoregressiveModel, params: Any, dataset: Dataset, split: str, scoring: Scoring, max_examples: int
) -> Any:
    """Returns a figure of the entropy of each step of the order, and of each site of a plane grid."""
    check_matplotlib()
    refuse((not dataset.splits, "the entropy of a step is a mean over examples, of which a saved model has none"))
    split = split or list(dataset.splits)[-1]
    entropies = step_entropy(model, params, dataset, split, scoring, max_examples)
    over_grid = entropies.entropy_over_grid if entropies.entropy_over_grid.ndim == 2 else None
    return plots.entropy_figure(entropies.entropy, entropies.entropy_stderr, entropies.nll, over_grid)
