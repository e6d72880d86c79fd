"""The mode `inpaint`: completions of half-observed images of a run, and the likelihood of the hidden half."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np

from arjax.cli.opening import open_run
from arjax.cli.scoring import add_scores
from arjax.core.errors import refuse, say_once
from arjax.core.traits import require
from arjax.data import Dataset
from arjax.evaluation.inpainting import Completions, completions_of, half_of_image, score_hidden
from arjax.models.pictures import as_images, is_image
from arjax.reporting.plots import draw_completions
from arjax.reporting.reports import describe_scores

FOLDER = "inpainting"


def inpaint(flags: SimpleNamespace) -> None:
    """Scores the hidden half of every image of the scored split; draws some images, completed. Writes the scores to
    `inpainting/scores.json` by the name of the query, and a plot of that name if the rest of an image is observed.
    """
    run = open_run(flags)
    setup, params, options = run.setup, run.params, run.config.inpaint
    model = require(setup.model, "conditionals", "the mode inpaint")
    dataset, split = setup.dataset, setup.evaluate.split
    hidden = half_of_image(model.event.grid_shape, options.hidden)
    visible = ~hidden if options.visible == "rest" else np.zeros_like(hidden)
    refuse((not is_image(model.event), f"examples of {dataset.name!r} cannot be drawn as images"))
    scores = score_hidden(model, params, setup.scored, split, hidden, visible, setup.scoring)
    done = None
    if options.visible == "rest":
        size = len(dataset.splits[split])
        if options.num > size:
            say_once(f"the {split} split has {size} examples, fewer than config.inpaint.num={options.num}")
        batch = dataset.events(split, np.linspace(0, size - 1, min(options.num, size)).astype(int))
        done = completions_of(model, params, batch, hidden, options.completions, jax.random.key(setup.seed))
    if jax.process_index() != 0:
        return
    query, examples = f"{options.hidden}_given_{options.visible}_{split}", setup.evaluate.examples
    query += f"_{examples}_examples" * bool(examples)
    print(f"{query}: {describe_scores(scores, bits=model.event.has_bits)} ({model.score_kind})")
    folder = run.workdir / FOLDER
    add_scores(folder, query, scores)
    if done is not None:
        _draw(folder / f"{query}.png", done, dataset)


def _draw(path: Path, done: Completions, dataset: Dataset) -> None:
    grid = dataset.event.grid_shape
    columns = [as_images(dataset.in_data_units(x), grid) for x in (done.truth, *done.drawn)]
    truth, *drawn = [images for images in columns if images is not None]  # all of them, as `inpaint` has checked
    top = float(truth.max()) if dataset.event.top is None else dataset.event.top
    draw_completions(path, truth, done.hidden, np.stack(drawn), done.log_prob, done.log_prob_truth, top)
    print(path)
