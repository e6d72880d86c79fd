"""The mode `compare`: paired differences of the nats of runs, and the examples on which these differ most."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from arjax.api.comparing import Comparison, compare
from arjax.api.comparing import row_in_words as in_a_line
from arjax.api.run import Run
from arjax.api.run import open_run as open_other
from arjax.cli.opening import open_run
from arjax.cli.scoring import in_words, write_rows
from arjax.config.files import apply_overrides
from arjax.config.validate import validate
from arjax.core.files import write_json, writing
from arjax.models.pictures import as_images
from arjax.reporting.figures import draw_into, has_matplotlib
from arjax.reporting.plots import tiles_figure
from arjax.reporting.tables import print_table
from arjax.training.reporter import announce

FOLDER = "comparisons"
#: Examples that are listed for each of the other models.
MOST = 10


def compare_runs(flags: SimpleNamespace) -> None:
    """Prints how a run compares with those of --other, and the examples on which they differ most. Writes
    `comparisons/OTHER.json`, the numbers; `.csv`, the nats of each example; and for images `.png`, the examples. The
    names state a split other than test, and the number of examples if it is limited.
    """
    run = open_run(flags)
    others = [_other(flags, name) for name in map(str.strip, flags.other.split(",")) if name]  # a mistake ends here
    split, num = run.config.evaluate.split, run.config.evaluate.examples
    of_examples = f"-{split}" * (split != "test") + f"-{num}-examples" * bool(num)
    announce(f"comparing the nats of the {split} split ...", sys.stderr)
    comparison = compare(run, *others, split=split)
    names = [Path(other.name).resolve().name for other in comparison.others]
    folder = run.workdir / FOLDER
    with writing(folder):
        folder.mkdir(exist_ok=True)
    for i, row in enumerate(comparison.rows()):
        print(in_a_line(row))
        _print_examples(comparison, i)
        name = names[i] + f"-{i + 1}" * (names[i] in names[:i]) + of_examples
        finite = {key: None if isinstance(v, float) and not math.isfinite(v) else v for key, v in row.items()}
        write_json(folder / f"{name}.json", finite | {"dataset": run.dataset.name, "split": split})
        print(folder / f"{name}.json")
        first, other = (model.nats_SN.mean(0) for model in (comparison.first, comparison.others[i]))
        write_rows(str(folder / f"{name}.csv"), {"example": comparison.examples, "first": first, "other": other})
        _draw_examples(comparison, i, folder / f"{name}.png")


def _other(flags: SimpleNamespace, workdir: str) -> Run:
    run = open_other(workdir)
    overrides = [override for override in flags.overrides if override[0].startswith("evaluate.")]
    apply_overrides(run.config, overrides)
    return Run(run.workdir, validate(run.config)) if overrides else run


def _print_examples(comparison: Comparison, other: int) -> None:
    dataset, numbers = comparison.dataset, comparison.most_different(MOST, other)
    columns = ["example", "first", "other", "difference", *["row"] * (dataset.rows is not None)]
    texts = in_words(dataset, np.asarray(comparison.source.__getitems__(numbers).x))
    rows: list[list[Any]] = []
    for i, number in enumerate(numbers):
        nats = comparison.nats(number)
        of_both = nats[0], nats[1 + other], nats[0] - nats[1 + other]
        rows.append([number, *(f"{value:.4f}" for value in of_both), *texts[i : i + 1]][: len(columns)])
    title = f"the examples on which {comparison.first} and {comparison.others[other]} differ most, in nats"
    print_table(columns, rows, title, right=columns[:4])


def _draw_examples(comparison: Comparison, other: int, path: Path) -> None:
    event, numbers = comparison.dataset.event, comparison.most_different(4 * MOST, other)
    x = comparison.dataset.in_data_units(np.asarray(comparison.source.__getitems__(numbers).x))
    images = as_images(x, event.grid_shape) if x.shape[1:] == event.shape else None
    if images is None or len(numbers) < 2 or not has_matplotlib():
        return
    half = -(-len(numbers) // 2)
    panels = [("the first model is better", images[:half]), ("it is worse", images[half:][::-1])]
    draw_into(tiles_figure(panels, -(-half // 4), 3.6, float(images.max()) or 1.0), path)
    print(path)
