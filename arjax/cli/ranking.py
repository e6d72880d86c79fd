"""The examples of a split with the most bits, and with the fewest: a list, and a picture of images."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from arjax.core.files import write_text
from arjax.data import Dataset
from arjax.data.sources import read_in_pieces
from arjax.evaluation.splits import split_of
from arjax.models.pictures import as_images
from arjax.reporting.figures import has_matplotlib, save_figure
from arjax.reporting.plots import tiles_figure
from arjax.training.setup import Setup

#: Characters of a text in a line.
SHOWN = 60


def in_words(dataset: Dataset, x: np.ndarray) -> list[str]:
    """Texts, strings and rows of tables as a line each, cut off; [] for other data."""
    if dataset.rows is None:
        return [] if dataset.decode is None else [_cut(repr(dataset.decode(each))) for each in x]
    rows = dataset.rows.decode(x)
    if isinstance(rows, dict):
        return [_cut(", ".join(f"{name}={values[i]}" for name, values in rows.items())) for i in range(len(x))]
    return [_cut(repr(text)) for text in rows]


def _cut(text: str) -> str:
    return text if len(text) <= SHOWN else text[: SHOWN - 4] + " ..."


def show_ranking(setup: Setup, rows: Mapping[str, np.ndarray], path: Path) -> Iterator[str]:
    """Lines with the number of each example in the split, from 0, and its bits, the most first: `config.evaluate.
    ranking` of the examples with the most bits, and as many with the fewest. Examples without a scored site have none.

    Writes all bits beside `path`, the file of the scores, as a csv file; of images the picture of those shown, too.
    Bits are those of the score, -log2 p, or of its bound. `rows` are those of the report.
    """
    split, scored_N = setup.evaluate.split, rows["sites"] > 0
    source = split_of(setup.dataset, split)
    number_N = setup.dataset.thinned_numbers(split, setup.evaluate.examples)
    weights = [np.ones(len(rows)) if rows.weight is None else rows.weight for rows in read_in_pieces(source, number_N)]
    number_N = number_N[np.concatenate(weights) > 0][scored_N]
    bits_N = rows["nll"][scored_N] / math.log(2)
    order_N = np.argsort(-bits_N, kind="stable")
    target = path.with_name(f"{path.stem}-ranking.csv")
    lines = "".join(f"{number_N[n]},{bits_N[n]:.4f}\n" for n in order_N)
    write_text(target, f"example,bits\n{lines}")
    num = min(setup.evaluate.ranking, len(order_N))
    panels = {"most bits": order_N[:num], "fewest bits": order_N[-num:]}
    x = np.asarray(source.__getitems__(number_N[np.concatenate(list(panels.values()))]).x)
    for i, (title, shown) in enumerate(panels.items()):
        yield f"{title}:"
        for n, value in zip(shown, x[i * num :], strict=False):
            text = "".join(f"  {words}" for words in in_words(setup.dataset, value[None]))
            yield f"  example {number_N[n]}: {bits_N[n]:.2f}{text}"
    yield str(target)
    images = as_images(x, setup.model.event.grid_shape)
    if images is not None and has_matplotlib():
        figure = tiles_figure(
            [(title, images[i * num : (i + 1) * num]) for i, title in enumerate(panels)], min(num, 5), 3.6
        )
        save_figure(figure, target.with_suffix(".png"))
        yield str(target.with_suffix(".png"))
