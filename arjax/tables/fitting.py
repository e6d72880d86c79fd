"""Trains a model of a table within minutes: kinds of columns, sizes and regularisation by themselves."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from arjax.api.arrays import fit_arrays
from arjax.api.fitting import silence
from arjax.api.trained_model import Fitted
from arjax.core.errors import refuse
from arjax.core.options import checked_arguments
from arjax.core.traits import require
from arjax.data.columns import Words
from arjax.data.frames import NO_VALUE, Frame, read_frame
from arjax.evaluation.summaries import stderr_of
from arjax.models import make_model
from arjax.tables.any_order import AnyOrderTable, Sites, codes_of
from arjax.tables.columns import Column, find_columns
from arjax.tables.engine import TableEngine
from arjax.tables.gaussian_fitting import fit_gaussians, thinned
from arjax.tables.mixed import mix_engines
from arjax.tables.table import TableModel, gap_patterns

#: Train rows from which on larger networks are tried.
_MANY_ROWS = 5000
#: Rows of validation whose surprises are kept.
_USUAL_ROWS = 2000
#: About the train rows that a code of a column of numbers has.
_ROWS_PER_CODE = 20
#: The most validation rows that are scored; of more, an even choice.
_MOST_SCORED = 10_000
_QUANTILES = 201
#: The part of the minutes in which mixtures of Gaussians are fitted to a table of numbers.
_GAUSSIAN_PART = 0.6
#: Orders of the columns whose mixture is scored.
_NUM_ORDERS = 4
#: The most validation rows that choose among engines; fewer where cells are missing, as these take longer.
_WEIGHT_ROWS, _HOLED_ROWS = 5000, 1000
#: Words of all columns up to which mixtures of Gaussians are tried.
_MOST_WORDS = 30
#: Half of the steps that are timed before a training, and about the most epochs of one.
_TRIAL, _MOST_EPOCHS = 32, 150
#: Train rows from which on mixtures of Gaussians are tried.
_FEWEST_ROWS = 10


@dataclasses.dataclass(frozen=True)
class NetworkSize:
    """Sizes and regularisation of a network."""

    hidden_sizes: tuple[int, ...]
    dropout: float
    learning_rate: float = 1e-3
    weight_decay: float = 0.01


def network_sizes(num_rows: int) -> list[NetworkSize]:
    """Returns the sizes that are tried for so many train rows, the first one first."""
    if num_rows >= _MANY_ROWS:
        return [NetworkSize((512, 512), 0.1), NetworkSize((512, 512), 0.25)]
    return [NetworkSize((128, 128), 0.3), NetworkSize((128, 128), 0.5), NetworkSize((256, 256), 0.1)]


@checked_arguments(seed=0, most_codes=2)
def fit_table(
    table: Any,
    *,
    minutes: float = 10.0,
    validation: Any = 0.1,
    kinds: Mapping[str, str] | None = None,
    missing: Sequence[str] = NO_VALUE,
    delimiter: str = ",",
    most_codes: int = 100,
    seed: int = 0,
    quiet: bool = False,
) -> TableModel:
    """Trains a model of a table: any columns given any others.

        table = arjax.fit_table(frame)
        table.sample(1000, given={"sex": "Female"})

    Each cell has a code: a word, a frequent number or an interval of numbers; a network for all orders (DeepNADE, Uria,
    Murray & Larochelle, "A Deep and Tractable Density Estimator", 2014) predicts the codes of any columns from those of
    any others. A missing cell is neither shown to the network nor scored, which is right where values are missing at
    random. A table of numbers, and of few words beside them, is also fitted by mixtures of Gaussians, and the model is
    a mixture of both with the weights that are best on validation.

    Args:
      table: a frame of pandas, polars or pyarrow, the path of a csv file, a dict of columns, or a list of rows.
      minutes: approximate minutes of training.
      validation: part of the rows that choose the recipe and the parameters, or a table of such rows; an even choice of
        at most 10,000 of them is scored.
      kinds: "words", "numbers", "date" or "skip" of single columns, where their values are misleading.
      missing, delimiter: the texts of cells without a value, and the separator of cells in a csv file.
      most_codes: of a column of numbers: more are finer, and need more rows.
      seed: of the split, the parameters and the batches.
    """
    no_dict = f"kinds is a dict from the names of columns to their kinds, not {kinds!r}"
    refuse(
        (minutes <= 0, f"minutes must be a number above 0, not {minutes!r}"),
        (not isinstance(kinds or {}, Mapping), no_dict),
    )
    kinds = dict(kinds or {})
    with silence(quiet):
        words = [name for name, kind in kinds.items() if kind == "words"]
        frame = read_frame(table, missing, delimiter, tell=True, words=words)
        rows, held = _split(frame, validation, seed)
        print(f"{len(rows):,} train rows", flush=True)
        most = max(8, min(most_codes, len(rows) // _ROWS_PER_CODE))
        columns, left_out = find_columns(frame.columns, kinds, most, rows, frame.place)
        for name, reason in left_out.items():
            print(f"  {name}: left out, {reason}")
        cells = {"train": frame.cells(columns, "missing", rows=rows)}
        cells["validation"] = held.cells(columns, "missing")[:: -(-len(held) // _MOST_SCORED)]
        frame, held = (dataclasses.replace(each, columns={}) for each in (frame, held))  # cells take their memory
        return _fit(columns, left_out, frame, cells, minutes, seed)


def _split(frame: Frame, validation: Any, seed: int) -> tuple[np.ndarray, Frame]:
    """Returns the numbers of the train rows, and the table of the validation rows."""
    if not isinstance(validation, float | int):
        words = [name for name, values in frame.columns.items() if values.dtype == object]
        other = read_frame(validation, frame.missing, frame.delimiter, words=words)
        for name in frame.columns:
            refuse((name not in other.columns, f"the table of validation rows lacks the column {name!r}"))
        return np.arange(len(frame)), other
    is_part = 0 < validation < 1
    num = round(validation * len(frame)) if is_part else 0
    few = f"the table has {len(frame)} rows, too few to train on some and validate on {validation:g} of them"
    refuse(
        (not is_part, f"validation must be a part of the rows between 0 and 1, or a table, not {validation!r}"),
        (not 0 < num < len(frame), few),
    )
    rows = np.random.default_rng(seed).permutation(len(frame))
    held = {name: values[rows[:num]] for name, values in frame.columns.items()}
    return np.sort(rows[num:]), dataclasses.replace(frame, columns=held)


def _fit(
    columns: Sequence[Column],
    left_out: Mapping[str, str],
    frame: Frame,
    cells: Mapping[str, np.ndarray],
    minutes: float,
    seed: int,
) -> TableModel:
    """Returns the best engine on validation: a network for all orders and, for few words, mixtures of Gaussians."""
    start, held_NC = time.monotonic(), cells["validation"]
    fitted: dict[str, tuple[TableEngine, dict[str, Any]]] = {}
    words = [column.num_codes for column in columns if isinstance(column, Words)]
    are_few = 2 * len(words) < len(columns) and sum(words) <= _MOST_WORDS
    if are_few and len(cells["train"]) >= _FEWEST_ROWS:
        held_NC = thinned(held_NC, _HOLED_ROWS if np.isnan(held_NC).any() else _WEIGHT_ROWS)
        few = {"train": cells["train"], "validation": held_NC}
        fitted |= fit_gaussians(columns, few, 60 * _GAUSSIAN_PART * minutes, seed)
    left = max(minutes - (time.monotonic() - start) / 60, (1 - _GAUSSIAN_PART) * minutes)
    fitted["any_order"] = _fit_any_order(columns, cells, left, seed)
    print(f"scoring {len(held_NC):,} validation rows", flush=True)
    engine, nats_N, engines = mix_engines(fitted, held_NC, _NUM_ORDERS)
    results = fitted["any_order"][1] | {"rows": {split: len(rows) for split, rows in cells.items()}}
    if len(engines) > 1:
        results |= {"engines": engines, "engine": engine.in_words()}
        print(f"chosen on validation: {engine.in_words()}")
    usual = _usual(engine, cells["validation"])
    results |= {"validation_nats": float(nats_N.mean()), "validation_stderr": float(stderr_of(nats_N))}
    results["minutes"] = (time.monotonic() - start) / 60
    patterns = gap_patterns(cells["train"])
    return TableModel(engine, usual, results, left_out, frame, _NUM_ORDERS, patterns=patterns)


def _fit_any_order(
    columns: Sequence[Column], cells: Mapping[str, np.ndarray], minutes: float, seed: int
) -> tuple[AnyOrderTable, dict[str, Any]]:
    """Returns the network for all orders that is best on validation among some sizes, and facts about it."""
    sites = Sites(tuple(column.num_codes for column in columns))
    x = {split: sites.values(codes_of(columns, cells_NC)) for split, cells_NC in cells.items()}
    tried: list[tuple[float, NetworkSize, Fitted]] = []
    start = time.monotonic()
    speeds: dict[tuple[int, ...], float] = {}
    todo = network_sizes(len(x["train"]))
    for i, size in enumerate(todo):
        left = minutes - (time.monotonic() - start) / 60
        if tried and left < 0.5 * minutes / len(todo):
            break
        fitted: Any = _train(sites, x, size, left / (len(todo) - i), seed, speeds)
        tried.append((fitted.results["nll_nats"], size, fitted))
    _, size, fitted = min(tried, key=lambda each: each[0])
    engine = AnyOrderTable(columns, require(fitted.model, "conditionals", "a table"), fitted.params)
    return engine, {"recipe": dataclasses.asdict(size), "num_params": fitted.model.num_params}


def _train(
    sites: Sites,
    x: Mapping[str, np.ndarray],
    size: NetworkSize,
    minutes: float,
    seed: int,
    speeds: dict[tuple[int, ...], float],
) -> Fitted:
    """Trains for about so many minutes. `speeds` has steps per second by hidden sizes, measured with a few steps."""
    began, num = time.monotonic(), len(x["train"])
    sizes: dict[str, Any] = {"hidden_sizes": size.hidden_sizes, "dropout": size.dropout, "activation": "gelu"}
    model = make_model(sites.event, "deep_nade", orders="uniform", **sizes)
    batch_size = int(np.clip(2 ** round(math.log2(max(num / 100, 1))), 32, 256))
    options: dict[str, Any] = {"batch_size": batch_size, "seed": seed, "optimizer": "adamw", "schedule": "cosine"}
    options |= {"learning_rate": size.learning_rate, "weight_decay": size.weight_decay}
    options |= {"clip_norm": 1.0, "ema_decay": 0.99, "train": x["train"]}
    if size.hidden_sizes not in speeds:
        print(f"timing {2 * _TRIAL} steps", flush=True)
        fullest = np.argsort(np.isnan(x["validation"]).sum(1), kind="stable")[:batch_size]
        few = x["validation"][fullest]
        trial: Any = fit_arrays(model, validation=few, steps=2 * _TRIAL, eval_every=_TRIAL, quiet=True, **options)
        num_sites = batch_size * sites.event.num_sites
        speeds[size.hidden_sizes] = trial.results["train_sites_per_second"] / num_sites
    left = 60 * minutes - (time.monotonic() - began)
    most = _MOST_EPOCHS * num / batch_size + 1000
    steps = int(np.clip(0.9 * left * speeds[size.hidden_sizes], 200, most))
    options |= {
        "validation": x["validation"],
        "eval_every": max(50, steps // 20),
        "warmup_steps": min(200, steps // 10),
    }
    return fit_arrays(model, steps=steps, patience=6, name="table", **options)


def _usual(engine: TableEngine, cells_NC: np.ndarray) -> np.ndarray:
    """Returns quantiles of the surprise of each column in validation rows, [C, Q]; 0 for a column without values."""
    every = -(-len(cells_NC) // _USUAL_ROWS)
    surprise_NC = engine.surprise(cells_NC[::every])
    known_NC = np.where(np.isnan(surprise_NC).all(0), 0.0, surprise_NC)
    return np.nanquantile(known_NC, np.linspace(0, 1, _QUANTILES), axis=0).T
