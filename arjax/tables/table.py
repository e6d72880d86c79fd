"""A trained model of a table: samples, completions, probabilities and outliers, in the values of the user."""

from __future__ import annotations

import math
import operator
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from arjax.core.errors import UserError, did_you_mean, refuse
from arjax.core.notebooks import InNotebook
from arjax.core.options import checked_arguments
from arjax.data.columns import Condition, Words
from arjax.data.frames import Frame, plain_value, read_frame
from arjax.data.rows import check_unknown
from arjax.tables.any_order import ROWS
from arjax.tables.columns import Numbers
from arjax.tables.engine import RowEngine, TableEngine
from arjax.tables.mixed import OnlyRows, kinds_of
from arjax.tables.saving import read_table, save_table

#: Most combinations of codes that `probability` sums over; above, it draws.
MOST_COMBINATIONS = 20_000
#: Draws for one that is kept, where several columns are given as ranges.
_CANDIDATES = 8


class Probability(NamedTuple):
    """An estimate of a probability; its standard error is 0 where all values were summed over."""

    value: float
    stderr: float

    def __repr__(self) -> str:
        return f"{self.value:.4g}" + (f" ± {self.stderr:.2g}" if self.stderr else " (exact)")


class TableModel(InNotebook):
    """The joint distribution of the columns of a table, as from `arjax.fit_table`.

    Tables of the user are frames of pandas, polars or pyarrow, paths of csv files, dicts of columns or lists of rows;
    results have the same form, and draws that of the training table. Columns are found by name, in any order.

    Attributes:
      columns: the columns of the model.
      left_out: reasons by the names of the columns that are not modelled.
      results: the nats of held-out rows and facts about the training.
    """

    def __init__(
        self,
        engine: TableEngine,
        usual: np.ndarray,
        results: Mapping[str, Any],
        left_out: Mapping[str, str],
        frame: Frame | None = None,
        num_orders: int = 4,
        rows: RowEngine | None = None,
    ):
        """Makes the model; `usual` [C, Q] are rising surprises of validation cells; `frame` is the training table,
        possibly without rows, by whose form tables are read and draws are made; `rows` draws rows without conditions
        (None: the engine does).
        """
        self.columns, self.results, self.left_out = engine.columns, dict(results), dict(left_out)
        self._engine, self._usual, self._num_orders = engine, usual, num_orders
        self._frame = Frame({}) if frame is None else frame
        self._rows = rows or engine

    def in_notebook(self) -> dict[str, Any]:
        columns = [column.in_words() for column in self.columns]
        return {"columns": columns, "left_out": self.left_out, "results": self.results}

    def __repr__(self) -> str:
        return f"TableModel({len(self.columns)} columns: {', '.join(self.names)})"

    @property
    def names(self) -> list[str]:
        """The names of the columns."""
        return [column.name for column in self.columns]

    @checked_arguments()
    def save(self, path: str | os.PathLike) -> Path:
        """Writes the model with its columns to one safetensors file; `arjax.load_table` opens it without the data."""
        about = {"usual": self._usual.round(6).tolist(), "num_orders": self._num_orders, "form": self._frame.form}
        about |= {"missing": list(self._frame.missing), "delimiter": self._frame.delimiter, "types": self._frame.types}
        return save_table(path, self._engine, self._rows, about | {"results": self.results, "left_out": self.left_out})

    def in_words(self) -> str:
        """Returns the columns, a line each, and the results."""
        held = self.results.get("validation_nats")
        lines = [column.in_words() for column in self.columns]
        lines += [f"{name}: left out, {reason}" for name, reason in self.left_out.items()]
        lines.append(f"model: {self._engine.in_words()}")
        if self._rows is not self._engine:
            lines.append(f"whole rows are drawn from {self._rows.in_words()}")
        if held is not None:
            stderr = self.results["validation_stderr"]
            lines.append(f"{held:.4f} ± {stderr:.4f} nats per row of validation, by which the model was chosen")
        lines += filter(None, [self.results.get("advice")])
        return "\n".join(lines)

    def condition(self, name: str, text: str) -> Condition:
        """Returns the condition that a text of a command line states: `Female`, `30..40`, `30..`, `a|b`."""
        column = self.columns[self._index(name)]
        first, dots, last = text.partition("..")
        if dots and isinstance(column, Numbers):
            return (first or None, last or None)
        is_word = isinstance(column, Words) and text in column.labels
        return text.split("|") if "|" in text and not is_word else text

    @checked_arguments()
    def using(self, engine: str) -> TableModel:
        """Returns the table with the answers of one of its engines: "any_order", "gaussian", "products", or "boosted",
        which draws whole rows and answers no other question.

            table.using("products").probability({"age": (30, 40), "hours": (50, None)})  # exact under this engine
        """
        kinds = kinds_of(self._engine, self._rows)
        has = f"the table has no engine {engine!r}: it has {', '.join(kinds)}"
        refuse((engine not in kinds, has + did_you_mean(engine, list(kinds))))
        chosen = kinds[engine]
        only: Any = chosen if isinstance(chosen, TableEngine) else OnlyRows(chosen)
        return TableModel(only, self._usual, self.results, self.left_out, self._frame, self._num_orders, chosen)

    @checked_arguments(num=1, seed=0)
    def sample(self, num: int = 1, *, given: Mapping[str, Condition] | None = None, seed: int = 0) -> Any:
        """Draws rows, as a table of the form of the training table.

            table.sample(1000, given={"sex": "Female", "age": (30, 40)})

        Conditions `given` are a value, a list of values, or a range (low, high) with None for no end. With several
        lists or ranges the rows are resampled out of eight times as many draws, an approximation.
        """
        rng, given = np.random.default_rng(seed), _plain_conditions(given)
        if not given:
            return self._frame.back(self._values(self._rows.draw_rows(num, rng)), typed=True)
        cells_C, conditions = self._conditions(given)
        several = len(conditions) > 1
        drawn = num * _CANDIDATES if several else num
        steps = self._engine.progressive(cells_C, conditions, drawn, rng)
        *_, (cells_NC, log_w_N) = (np.repeat(cells_C[None], drawn, 0), np.zeros(drawn)), *steps
        refuse((not np.isfinite(log_w_N).any(), f"no row can have {given!r}"))
        if several:
            p = np.exp(log_w_N - log_w_N.max())
            cells_NC = cells_NC[rng.choice(drawn, num, p=p / p.sum())]
        return self._frame.back(self._values(self._engine.complete(cells_NC, ~np.isnan(cells_NC), rng)), typed=True)

    @checked_arguments(seed=None, orders=0)
    def log_prob(self, table: Any, *, unknown: str = "refuse", orders: int = 0) -> np.ndarray:
        """Returns log p of the known cells of each row in nats, float64[N]: probabilities of words and whole numbers,
        densities in their units of other numbers.

        Args:
          unknown: "refuse" absent columns and words that training never saw, or take them as "missing".
          orders: of the columns, whose mixture is scored; 0: as many as in the training.
        """
        return self._engine.log_prob_over_orders(self._cells(table, unknown)[0], orders or self._num_orders)

    @checked_arguments(num=0, seed=0)
    def impute(
        self, table: Any, *, num: int = 0, seed: int = 0, unknown: str = "refuse", rounded: bool | None = None
    ) -> Any:
        """Returns the table with its missing cells filled in; with `num`, a list of so many completions.

        Without `num`, each cell is guessed by itself given the known cells of its row: the most probable word, or the
        mean of a number, which has the smallest mean squared error. A mixture guesses with the weights of the engines
        that are best for hidden cells of validation rows. With `num`, all missing cells of a row are drawn together.

        Args:
          table: rows, in which None, nan or an empty cell has no value.
          num: number of completions, drawn with the `seed`; 0 for the best guess.
          unknown: as in `log_prob`.
          rounded: whether means are rounded to numbers that the column can have, such as whole ones; without, the mean
            of children may be 1.4. None: except in the columns of `results["unrounded"]`, whose squared error on
            validation rounding raises by more than 1 %. Draws and dates are always rounded.
        """
        cells_NC, frame = self._cells(table, unknown)
        known_NC = ~np.isnan(cells_NC)
        if num:
            rng = np.random.default_rng(seed)
            drawn = (self._engine.complete(cells_NC, known_NC, rng) for _ in range(num))
            return [frame.beside(table, self._filled(frame, drawn_NC, known_NC)) for drawn_NC in drawn]
        filled_NC = cells_NC.copy()
        for c, column in enumerate(self.columns):
            holed = np.flatnonzero(~known_NC[:, c])
            for start in range(0, len(holed), ROWS):  # some at once, for their memory
                rows = holed[start : start + ROWS]
                filled_NC[rows, c] = self._engine.guess(cells_NC[rows], known_NC[rows], c)
            is_rounded = column.name not in self.results.get("unrounded", ()) if rounded is None else rounded
            if is_rounded and isinstance(column, Numbers):
                filled_NC[holed, c] = column.rounded(filled_NC[holed, c])
        return frame.beside(table, self._filled(frame, filled_NC, known_NC))

    def _filled(self, frame: Frame, cells_NC: np.ndarray, known_NC: np.ndarray) -> dict[str, np.ndarray]:
        """Returns the columns of a table with missing cells filled in. Known numbers and times keep all their digits;
        columns of a frame without missing ones are left as they are.
        """
        values = self._values(cells_NC)
        for column, known_N in zip(self.columns, known_NC.T, strict=True):
            if not isinstance(column, Numbers) or not known_N.any():
                continue
            if known_N.all() and frame.form not in ("lists", "rows"):
                del values[column.name]
            else:
                exact_N = column.exact(frame.columns[column.name])
                values[column.name] = np.where(known_N, exact_N, values[column.name])
        return values

    @checked_arguments()
    def predict_proba(self, table: Any, column: str, *, unknown: str = "refuse") -> Any:
        """Returns p(column = value | known cells of all other columns) of each row: a table with a column for each word
        or code of a number, such as "30" or "31 to 35". The column itself may be absent.
        """
        c = self._index(column)
        cells_NC, frame = self._cells(table, unknown, needed={*self.names} - {column})
        table_NV = self._engine.code_table(cells_NC, ~np.isnan(cells_NC), c)
        probabilities = {str(label): table_NV[:, v] for v, label in enumerate(self.columns[c].labels)}
        return frame.beside(table, probabilities, with_others=False)

    @checked_arguments()
    def surprise(self, table: Any, *, unknown: str = "refuse") -> Any:
        """Returns -log p(cell | other known cells of its row) in nats, a table of all columns; nan: a missing cell."""
        cells_NC, frame = self._cells(table, unknown)
        surprise_NC = self._engine.surprise(cells_NC)
        return frame.beside(table, {name: surprise_NC[:, c] for c, name in enumerate(self.names)}, with_others=False)

    @checked_arguments(num=0)
    def outliers(self, table: Any, *, num: int = 0, unknown: str = "refuse") -> Any:
        """Returns the rows, strangest first: a table with the number of the `row`, its `nats`, and its most surprising
        cell: the `column`, the `value`, its `surprise` in nats given all other cells, and the part of the cells of this
        column in validation that are less surprising (`quantile`). A row is as strange as its most surprising cell,
        compared within its column. `num` is the number of rows; 0 for all.
        """
        cells_NC, frame = self._cells(table, unknown)
        surprise_NC = self._engine.surprise(cells_NC)
        excess_NC = surprise_NC - np.quantile(self._usual, 0.95, axis=1)  # of cells in validation, 5 % have more
        worst_N = np.nan_to_num(excess_NC, nan=-np.inf).argmax(1)
        order = np.argsort(-excess_NC[np.arange(len(cells_NC)), worst_N], kind="stable")[: num or None]
        worst_N, cells_NC = worst_N[order], cells_NC[order]
        names, values = np.full((2, len(order)), None)
        for n, c in enumerate(worst_N):
            if not np.isnan(cells_NC[n, c]):  # a row without any known cell has no strange one
                names[n], values[n] = self.names[c], str(self.columns[c].values(cells_NC[n : n + 1, c])[0])
        surprise_N = surprise_NC[order, worst_N]
        strangest = {
            "row": order + frame.first_row,
            "nats": -self._engine.log_prob_over_orders(cells_NC, self._num_orders),
            "column": names,
            "value": values,
            "surprise": surprise_N,
            "quantile": (self._usual[worst_N] < surprise_N[:, None]).mean(1),
        }
        return frame.back(strangest)

    @checked_arguments(num=2, seed=0)
    def probability(
        self,
        event: Mapping[str, Condition],
        *,
        given: Mapping[str, Condition] | None = None,
        num: int = 2000,
        seed: int = 0,
    ) -> Probability:
        """Returns the probability that a row fulfils the conditions `event`, given others, written as in `sample`.

            table.probability({"age": (30, 40), "hours": (50, None)}, given={"sex": "Female"})

        Columns are read in the order of the table, those of `given` first. Where their codes have at most 20,000
        combinations, all of these are summed over; otherwise `num` draws estimate it by progressive sampling.
        """
        event, given = _plain_conditions(event), _plain_conditions(given)
        for name in sorted(event.keys() & given.keys()):
            raise UserError(f"the column {name!r} is a part of the event and given")
        cells_C, evidence = self._conditions(given)
        queried = self._in_order(event)
        if self._engine.num_sums([*evidence, *queried]) <= MOST_COMBINATIONS:
            masses = [1.0, *self._engine.exact_mass(cells_C, [*evidence, *queried])]
            refuse((not masses[len(evidence)], f"no row can have {given!r}"))
            return Probability(masses[-1] / masses[len(evidence)], 0.0)
        steps = self._engine.progressive(cells_C, [*evidence, *queried], num, np.random.default_rng(seed))
        draws = [np.zeros(num), *(log_mass_N for _, log_mass_N in steps)]
        return _ratio(draws[-1], draws[len(evidence)], given)

    def _conditions(self, given: Mapping[str, Condition]) -> tuple[np.ndarray, list[tuple[int, Condition]]]:
        """Returns conditions as cells of single values, float64[C], and the columns and conditions of all others."""
        cells_C, others = np.full(len(self.columns), np.nan), []
        for c, condition in self._in_order(given):
            column = self.columns[c]
            if isinstance(condition, tuple | list):
                others.append((c, condition))
            elif isinstance(column, Words):
                cells_C[c] = column.weights(condition).argmax()
            else:
                cells_C[c] = column.ends(condition)[0]
                is_fraction = column.is_int and not cells_C[c].is_integer()
                refuse((is_fraction, f"the column {column.name!r} holds whole numbers: no row can have {condition!r}"))
        return cells_C, others

    def _in_order(self, conditions: Mapping[str, Condition]) -> list[tuple[int, Condition]]:
        """Returns conditions by the numbers of their columns, checked."""
        by_column = {self._index(name): condition for name, condition in conditions.items()}
        for c, condition in by_column.items():
            self.columns[c].weights(condition)
        return sorted(by_column.items(), key=operator.itemgetter(0))

    def _index(self, name: str) -> int:
        refuse(
            (name in self.left_out, f"the column {name!r} is not modelled: {self.left_out.get(name)}"),
            (name not in self.names, f"the table has no column {name!r}{did_you_mean(str(name), self.names)}"),
        )
        return self.names.index(name)

    def _cells(self, table: Any, unknown: str, needed: Collection[str] | None = None) -> tuple[np.ndarray, Frame]:
        """Returns the cells of a table, float64[N, C], and the table."""
        check_unknown(unknown, holes=True)
        words = [column.name for column in self.columns if isinstance(column, Words)]
        frame = read_frame(table, self._frame.missing, self._frame.delimiter, words=words)
        return frame.cells(self.columns, unknown, needed), frame

    def _values(self, cells_NC: np.ndarray) -> dict[str, np.ndarray]:
        """Returns cells as values, by the names of the columns."""
        return {column.name: column.values(cells) for column, cells in zip(self.columns, cells_NC.T, strict=True)}


@checked_arguments()
def load_table(path: str | os.PathLike) -> TableModel:
    """Returns the model in a file that `TableModel.save` has written; the data is not needed."""
    return TableModel(**read_table(path))


def _plain_conditions(conditions: Mapping[str, Condition] | None) -> dict[str, Condition]:
    """Returns conditions with Python's own values: a value, a list of several values or ranges, or a range."""
    no_dict = f"conditions are a dict from the names of columns to what they must be, not {conditions!r}"
    refuse((not isinstance(conditions or {}, Mapping), no_dict))
    plain = {name: _plain_condition(condition) for name, condition in (conditions or {}).items()}
    for name, parts in plain.items():
        if isinstance(parts, list) and len(parts) == 1 and not isinstance(parts[0], list):
            plain[name] = parts[0]
    return plain


def _plain_condition(condition: Condition) -> Condition:
    if isinstance(condition, tuple):
        ends = tuple(map(plain_value, condition))
        for end, value in zip(ends, condition, strict=True):
            no_end = f"an end of a range is a value, or None for no end, not {value!r}"
            refuse((end is None is not value, no_end))
        return ends
    if isinstance(condition, set | frozenset | list | range) or np.ndim(condition) == 1:
        return [_plain_condition(value) for value in condition]
    return plain_value(condition)


def _ratio(log_both_N: np.ndarray, log_given_N: np.ndarray, given: Mapping[str, Condition]) -> Probability:
    """Returns p(both) / p(given) of draws, with the standard error of a ratio."""
    refuse((not np.isfinite(log_given_N).any(), f"no row can have {dict(given)!r}"))
    scale = log_given_N.max()
    both, under = np.exp(log_both_N - scale), np.exp(log_given_N - scale)
    value = both.mean() / under.mean()
    stderr = (both - value * under).std(ddof=1) / under.mean() / math.sqrt(len(both))
    return Probability(float(value), float(stderr))
