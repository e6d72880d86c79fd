"""Trains a model of a table within minutes: kinds of columns, sizes and regularisation by themselves."""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

import numpy as np

from arjax.api.fitting import silence
from arjax.core.errors import refuse
from arjax.core.options import checked_arguments
from arjax.core.values import read_typed
from arjax.data.columns import Words
from arjax.data.frames import NO_VALUE, Frame, read_frame
from arjax.evaluation.summaries import stderr_of
from arjax.tables.any_order import codes_of, frequencies_of
from arjax.tables.any_order_fitting import LEAST_STEPS, NetworkSearch, NetworkSize, advice_about, network_sizes
from arjax.tables.boosted import MOST_ORDERS, fit_boosted
from arjax.tables.columns import Numbers, find_columns
from arjax.tables.dependence import Dependence
from arjax.tables.engine import FitSettings, RowEngine, TableEngine, thinned
from arjax.tables.gaussian_fitting import Options, fit_gaussians
from arjax.tables.mixed import choose_rows, mix_engines, unrounded
from arjax.tables.point_masses import SplitColumns
from arjax.tables.products import ProductOptions, ProductsTable, fit_products
from arjax.tables.table import TableModel, gap_patterns

#: Rows of validation whose surprises are kept.
_USUAL_ROWS = 2000
#: About the train rows that a code of a column of numbers has.
_ROWS_PER_CODE = 20
#: The most validation rows that are scored; of more, an even choice.
_MOST_SCORED = 10_000
_QUANTILES = 201
#: The part of the minutes in which mixtures of Gaussians are fitted to a table of numbers.
_GAUSSIAN_PART = 0.35
#: The parts in which mixtures of products and boosted trees are fitted to any table.
_PRODUCTS_PART, _BOOSTED_PART = 0.1, 0.3
#: The part of the minutes that the network has at least.
_NETWORK_PART = 0.25
#: The train rows of a minute of the default length, and its least and most minutes.
_ROWS_PER_MINUTE, _MINUTES = 500, (2.0, 10.0)
#: Boosted trees are not tried in fewer seconds.
_LEAST_SECONDS = 2.0
#: Orders of the columns whose mixture is scored.
_NUM_ORDERS = 4
#: The most validation rows that choose among engines; fewer where cells are missing, as these take longer.
_WEIGHT_ROWS, _HOLED_ROWS = 5000, 1000
#: Words of all columns up to which mixtures of Gaussians are tried.
_MOST_WORDS = 30
#: Train rows by whose dependence draws are judged.
_JUDGED_ROWS = 10_000
#: With `steps`, mixtures of Gaussians have one fit for so many steps.
_STEPS_PER_FIT = 100
#: Train rows from which on mixtures of Gaussians are tried.
_FEWEST_ROWS = 10


class FitRecipe(TypedDict, total=False):
    """The trainings of a table, by engine."""

    any_order: tuple[NetworkSize, ...]
    gaussian: tuple[dict, ...]
    products: tuple[ProductOptions, ...]
    boosted: int


@dataclasses.dataclass(frozen=True)
class Budget:
    """The rows of a table, and the length of the trainings: seconds; or, independently of the clock, steps, or a recipe
    that is followed.
    """

    training: FitSettings
    steps: int
    recipe: FitRecipe

    def of(self, name: str, part: float) -> FitSettings:
        """Returns the training of an engine in a part of the seconds, without a clock where steps or a plan end it."""
        plan: Any = self.recipe.get(name, ())
        most = self.steps / _STEPS_PER_FIT or math.inf
        seconds = math.inf if self.steps or plan else part * self.training.seconds
        return dataclasses.replace(self.training, seconds=seconds, most=most, plan=plan)


@checked_arguments(seed=0, most_codes=2, steps=0)
def fit_table(
    table: Any,
    *,
    minutes: float | None = None,
    steps: int = 0,
    recipe: Mapping[str, Any] | None = None,
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
    random. Mixtures of products are fitted, too, and mixtures of Gaussians to tables of numbers and few words. The
    model is the mixture of these that is best on validation; whole rows may also be drawn by boosted trees.

    Args:
      table: a frame of pandas, polars or pyarrow, the path of a csv file, a dict of columns, or a list of rows.
      minutes: approximate minutes of training, with compilation; None: 10, and 2 to 10 for fewer than 5,000 rows.
      steps: train steps of each network, in place of minutes: on one machine the same seed then gives the same bits. 0:
        as many as the minutes allow, at least 1,000.
      recipe: `results["recipe"]` of a model, whose trainings are then repeated, in place of minutes.
      validation: part of the rows that choose the recipe and the parameters, or a table of such rows; an even choice of
        at most 10,000 of them is scored.
      kinds: "words", "numbers", "date" or "skip" of single columns, where their values are misleading.
      missing, delimiter: the texts of cells without a value, and the separator of cells in a csv file.
      most_codes: of a column of numbers: more are finer, and need more rows.
      seed: of the split, the parameters and the batches.
    """
    no_dict = f"kinds is a dict from the names of columns to their kinds, not {kinds!r}"
    refuse(
        (minutes is not None and minutes <= 0, f"minutes must be a number above 0, not {minutes!r}"),
        (sum(map(bool, (minutes, steps, recipe))) > 1, "give one of minutes, steps and recipe: each is the length"),
        (not isinstance(kinds or {}, Mapping), no_dict),
    )
    kinds = {str(name): kind for name, kind in (kinds or {}).items()}
    followed = read_typed(FitRecipe, recipe or {}, "recipe")
    for options in followed.get("gaussian", ()):
        refuse((set(options) != set(Options._fields), "recipe/gaussian must be that of a model"))
    with silence(quiet):
        words = [name for name, kind in kinds.items() if kind == "words"]
        frame = read_frame(table, missing, delimiter, tell=True, words=words)
        rows, held = _split(frame, validation, seed)
        print(f"{len(rows):,} train rows", flush=True)
        most = max(8, min(most_codes, len(rows) // _ROWS_PER_CODE))
        columns, left_out = find_columns(frame.columns, kinds, most, rows, frame.place)
        for name, reason in left_out.items():
            print(f"  {name}: left out, {reason}")
        held_NC = held.cells(columns, "missing")
        for c, column in enumerate(columns):
            if isinstance(column, Numbers) and column.never(held_NC[:, c]).any():
                columns[c] = dataclasses.replace(column, is_int=False, is_counted=False)
                print(f"  {column.name}: no whole numbers, as validation rows have fractions")
        cells = {"train": frame.cells(columns, "missing", rows=rows), "validation": thinned(held_NC, _MOST_SCORED)}
        frame, held = (dataclasses.replace(each, columns={}) for each in (frame, held))  # cells take their memory
        if minutes is None:
            minutes = float(np.clip(len(rows) / _ROWS_PER_MINUTE, *_MINUTES))
        return _fit(left_out, frame, Budget(FitSettings(columns, cells, seed, 60 * minutes), steps, followed))


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


def _fit(left_out: Mapping[str, str], frame: Frame, budget: Budget) -> TableModel:
    """Returns the best mixture on validation of a network for all orders, a mixture of products and, for few words,
    mixtures of Gaussians, whose whole rows may be drawn by boosted trees, too.
    """
    start, training = time.monotonic(), budget.training
    held_NC = training.cells["validation"]
    if _has_gaussians(training):
        held_NC = thinned(held_NC, _HOLED_ROWS if np.isnan(held_NC).any() else _WEIGHT_ROWS)
    fitted, of_rows = _fit_engines(budget, held_NC)
    print(f"scoring {len(held_NC):,} validation rows", flush=True)
    rows = Dependence(training.columns, thinned(training.cells["train"], _JUDGED_ROWS))
    engine, nats_N, engines = mix_engines(fitted, held_NC, _NUM_ORDERS, rows)
    by_rows, engines_of_rows = choose_rows(engine, of_rows, held_NC, _NUM_ORDERS)
    results = _facts(training, held_NC, engines | engines_of_rows) | {"engine": engine.in_words()}
    for sentence in filter(None, [f"chosen on validation: {engine.in_words()}", results["advice"]]):
        print(sentence, flush=True)
    usual, results["unrounded"] = _usual(engine, training.cells["validation"]), unrounded(engine, held_NC)
    results |= {"validation_nats": float(nats_N.mean()), "validation_stderr": float(stderr_of(nats_N))}
    results["minutes"] = (time.monotonic() - start) / 60
    patterns = gap_patterns(training.cells["train"])
    return TableModel(engine, usual, results, left_out, frame, _NUM_ORDERS, by_rows, patterns)


def _fit_engines(
    budget: Budget, held_NC: np.ndarray
) -> tuple[dict[str, tuple[TableEngine, dict[str, Any]]], dict[str, tuple[RowEngine, dict[str, Any]]]]:
    """Returns the engines of all questions, and those of whole rows, each with facts about it."""
    start, training = time.monotonic(), budget.training
    fitted: dict[str, tuple[TableEngine, dict[str, Any]]] = {}
    if _has_gaussians(training):
        few = {"train": training.cells["train"], "validation": held_NC}
        gaussian = dataclasses.replace(budget.of("gaussian", _GAUSSIAN_PART), cells=few)
        plan = [Options(**options) for options in gaussian.plan]
        fitted |= fit_gaussians(dataclasses.replace(gaussian, plan=plan))
    fitted["products"] = fit_products(budget.of("products", _PRODUCTS_PART))
    of_rows = _fit_rows(budget)
    used = (time.monotonic() - start) / training.seconds
    fitted["any_order"] = _fit_any_order(budget.of("any_order", max(1 - used, _NETWORK_PART)), budget.steps)
    return fitted, of_rows


def _has_gaussians(training: FitSettings) -> bool:
    """Returns whether a table has few words, with point masses, beside its numbers, and enough rows."""
    words = [column.num_codes for column in SplitColumns(training.columns).columns if isinstance(column, Words)]
    num = sum(isinstance(column, Words) for column in training.columns)
    are_few = 2 * num < len(training.columns) and sum(words) <= _MOST_WORDS
    return are_few and len(training.cells["train"]) >= _FEWEST_ROWS


def _facts(training: FitSettings, held_NC: np.ndarray, engines: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Returns facts about the fits: the recipe, sentences about what they lack, the nats of independent columns."""
    columns, cells = training.columns, training.cells
    recipe = {name.removesuffix("_power"): about.pop("recipe") for name, about in engines.items() if "recipe" in about}
    network, best = engines["any_order"], max(engines.values(), key=lambda about: about.get("weight", 0.0))
    advice = [best.get("lacks", ""), advice_about(network) if network["weight"] else ""]
    frequencies = frequencies_of([column.num_codes for column in columns], codes_of(columns, cells["train"]))
    log_p = np.log(np.concatenate(frequencies))
    independent = ProductsTable(columns, {"log_weights": np.zeros(1), "log_p": log_p[None]})
    return {
        "size": network["size"],
        "num_params": network["num_params"],
        "rows": {split: len(rows_NC) for split, rows_NC in cells.items()},
        "engines": engines,
        "independent_nats": float(-independent.log_prob_over_orders(held_NC, 1).mean()),
        "recipe": json.loads(json.dumps(recipe)),
        "advice": "; ".join(filter(None, advice)),
    }


def _fit_rows(budget: Budget) -> dict[str, tuple[RowEngine, dict[str, Any]]]:
    """Returns boosted trees of whole rows, if there is time for them."""
    training = dataclasses.replace(budget.training, seconds=_BOOSTED_PART * budget.training.seconds)
    orders = MOST_ORDERS if training.seconds > _LEAST_SECONDS else 0
    if budget.recipe or budget.steps:
        orders = budget.recipe.get("boosted", int(budget.steps >= LEAST_STEPS))
        training = dataclasses.replace(training, seconds=math.inf)
    fitted = fit_boosted(training, orders) if orders else None
    return {"boosted": fitted} if fitted else {}


def _fit_any_order(training: FitSettings, steps: int) -> tuple[TableEngine, dict[str, Any]]:
    """Returns the network for all orders that is best on validation among some sizes, and facts about it."""
    search, plan = NetworkSearch(training), training.plan
    if steps and not plan:
        some = network_sizes(len(training.cells["train"]))[: None if steps > LEAST_STEPS else 1]
        plan = [dataclasses.replace(size, steps=steps) for size in dict.fromkeys(some)]
    for size in plan:
        search.train(size)
    if not plan:
        search.run(training.seconds)
    return search.best()


def _usual(engine: TableEngine, cells_NC: np.ndarray) -> np.ndarray:
    """Returns quantiles of the surprise of each column in validation rows, [C, Q]; 0 for a column without values."""
    surprise_NC = engine.surprise(thinned(cells_NC, _USUAL_ROWS))
    known_NC = np.where(np.isnan(surprise_NC).all(0), 0.0, surprise_NC)
    return np.nanquantile(known_NC, np.linspace(0, 1, _QUANTILES), axis=0).T
