"""A trained model of a table: samples, completions, probabilities and outliers, in the values of the user."""

from __future__ import annotations

import functools
import operator
import os
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import rel_entr

from arjax.core.errors import UserError, describe, did_you_mean, refuse, say_once
from arjax.core.notebooks import InNotebook
from arjax.core.options import Option, checked_arguments
from arjax.data.columns import Condition, Words, holds
from arjax.data.frames import Frame, plain_value, read_frame
from arjax.data.rows import check_unknown
from arjax.tables.answers import Answer, Draws, accepted, estimate_by_draws, exact_answer, mean_of, quantile_of
from arjax.tables.any_order import ROWS
from arjax.tables.columns import Numbers
from arjax.tables.engine import Conditions, RowEngine, TableEngine
from arjax.tables.mixed import kinds_of
from arjax.tables.saving import read_table, save_table

#: Conditions by the names of their columns.
Given = Mapping[str, Condition] | None
#: Most combinations of codes that `probability` sums over; above, it draws.
MOST_COMBINATIONS = 20_000
#: Draws for one that is kept, where several columns are given as ranges.
_CANDIDATES = 8
#: Patterns of missing cells that a model stores.
_MOST_PATTERNS = 1000


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
        patterns: Mapping[str, int] | None = None,
    ):
        """Makes the model; `usual` [C, Q] are rising surprises of validation cells; `frame` is the training table,
        possibly without rows, by whose form tables are read and draws are made; `rows` draws rows without conditions
        (None: the engine does); `patterns` of missing cells are as from `gap_patterns`.
        """
        self.columns, self.results, self.left_out = engine.columns, dict(results), dict(left_out)
        self._engine, self._usual, self._num_orders = engine, usual, num_orders
        self._frame = Frame({}) if frame is None else frame
        self._rows, self._patterns = rows or engine, dict(patterns or {"0" * len(self.columns): 1})

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
        about |= {"patterns": self._patterns, "results": self.results, "left_out": self.left_out}
        return save_table(path, self._engine, self._rows, about)

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
            alone = self.results.get("independent_nats")
            lines += [] if alone is None else [f"{alone:.4f} nats if the columns were independent"]
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
        kinds: Any = kinds_of(self._engine, self._rows)
        has = f"the table has no engine {engine!r}: it has {', '.join(kinds)}"
        refuse((engine not in kinds, has + did_you_mean(engine, kinds, "")))
        about = (self._usual, self.results, self.left_out, self._frame, self._num_orders)
        return TableModel(kinds[engine], *about, patterns=self._patterns)

    @checked_arguments(num=1, seed=0)
    def sample(
        self, num: int = 1, *, given: Given = None, seed: int = 0, gaps: bool = False, constraints: Any = None
    ) -> Any:
        """Draws rows, as a table of the form of the training table.

            table.sample(1000, given={"sex": "Female", "age": (30, 40)})
            table.sample(1000, constraints=lambda rows: rows["start"] <= rows["end"])

        Conditions `given` are a value, a list of values, or a range (low, high) with None for no end. With several
        lists or ranges the rows are resampled out of eight times as many draws, an approximation.

        Args:
          num, given, seed: the number of rows, their conditions, and the seed.
          gaps: whether cells are missing as in training rows: each row has the pattern of missing cells of a training
            row that has values in the columns of `given`. Patterns are drawn apart from values, also where in truth a
            cell is missing because of its value or of others.
          constraints: a function of draws, a table of the same form, that returns True for each row to be kept. Others
            are drawn again; stderr tells the rate of acceptance, and fewer than one in 1,000 is refused.
        """
        rng, given = np.random.default_rng(seed), _plain_conditions(given)
        draw = functools.partial(self._drawn, given=given, rng=rng)
        fits = functools.partial(self._of_rows, constraints, "b")
        cells_NC = draw(num) if constraints is None else accepted(draw, fits, num)
        if gaps:
            cells_NC = np.where(self._gaps(num, given, rng), np.nan, cells_NC)
        return self._frame.back(self._values(cells_NC), typed=True)

    def _drawn(self, num: int, given: Mapping[str, Condition], rng: np.random.Generator) -> np.ndarray:
        """Returns cells of rows that fulfil conditions, float64[num, C]."""
        several = len(self._conditions(given)[1]) > 1
        cells_NC, log_w_N, _ = self._weighted(num * _CANDIDATES if several else num, given, rng)
        if several:
            p = np.exp(log_w_N - log_w_N.max())
            cells_NC = cells_NC[rng.choice(len(p), num, p=p / p.sum())]
        return self._completed(cells_NC, rng)

    def _completed(self, cells_NC: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Returns cells [N, C] with all missing ones drawn, by the engine of rows where none is known."""
        known_NC = ~np.isnan(cells_NC)
        if not known_NC.any():
            return self._rows.draw_rows(len(cells_NC), rng)
        return self._engine.complete(cells_NC, known_NC, rng)

    def _weighted(
        self, num: int, given: Mapping[str, Condition], rng: np.random.Generator, event: Conditions = ()
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Returns draws that fulfil conditions `given` and an event: cells [num, C], nan in all other columns, and the
        logs of unbiased estimates of p(given) and of p(given and event) from each draw, float64[num] each.
        """
        cells_C, conditions = self._conditions(given)
        steps = self._engine.progressive(cells_C, [*conditions, *event], num, rng)
        draws = [(np.repeat(cells_C[None], num, 0), np.zeros(num)), *steps]
        log_w_N = draws[len(conditions)][1]
        refuse((not np.isfinite(log_w_N).any(), f"no row can have {given!r}"))
        return draws[-1][0], log_w_N, draws[-1][1]

    def _gaps(self, num: int, given: Mapping[str, Condition], rng: np.random.Generator) -> np.ndarray:
        """Returns marks of missing cells, bool[num, C], none of them in the columns `given`."""
        marks_PC = np.array([[mark == "1" for mark in pattern] for pattern in self._patterns])
        p_P = ~marks_PC[:, [self._index(name) for name in given]].any(1) * np.array([*self._patterns.values()])
        refuse((not p_P.any(), f"no training row has values in all of the columns {', '.join(given)}"))
        return marks_PC[rng.choice(len(p_P), num, p=p_P / p_P.sum())]

    def _of_rows(self, function: Callable[[Any], Any], kinds: str, cells_NC: np.ndarray) -> np.ndarray:
        """Returns the values of a function of the user for rows, [N], of these kinds of numpy."""
        table, num = self._frame.back(self._values(cells_NC), typed=True), len(cells_NC)
        try:
            values_N = np.array(np.asarray(function(table)).tolist())  # nullable columns of frames are objects in numpy
        except Exception as error:  # code of the user: whatever it raises is told in a sentence
            raise UserError(f"the function cannot read the draws: {describe(error)}") from error
        fine = values_N.shape == (num,) and values_N.dtype.kind in kinds and np.isfinite(values_N).all()
        what, shape = "a truth value" if kinds == "b" else "a finite number", f"{values_N.dtype}{[*values_N.shape]}"
        refuse((not fine, f"the function must return {what} for each of {num:,} rows, not {shape}"))
        return values_N

    @checked_arguments(seed=None, orders=0)
    def log_prob(self, table: Any, *, unknown: str = "refuse", orders: int = 0) -> np.ndarray:
        """Returns log p of the known cells of each row in nats, float64[N]: probabilities of words and whole numbers,
        densities in their units of other numbers; -inf with a fraction in a column of whole numbers.

        Args:
          unknown: "refuse" absent columns and words that training never saw, or take them as "missing".
          orders: of the columns, whose mixture is scored; 0: as many as in the training.
        """
        cells_NC, frame = self._cells(table, unknown)
        for row, c in np.argwhere(self._never(cells_NC))[:1].tolist():
            said = holds(self.names[c], row, float(cells_NC[row, c]), frame.place)
            say_once(f"{said}, which has whole numbers: its probability is 0")
        return self._log_prob(cells_NC, orders or self._num_orders)

    def _never(self, cells_NC: np.ndarray) -> np.ndarray:
        """Returns which cells have the probability 0, bool[N, C]; engines score them as numbers that are new."""
        pairs = zip(self.columns, cells_NC.T, strict=True)
        return np.stack([column.never(cells_N) for column, cells_N in pairs], 1)

    def _log_prob(self, cells_NC: np.ndarray, num_orders: int) -> np.ndarray:
        nats_N = self._engine.log_prob_over_orders(cells_NC, num_orders)
        return np.where(self._never(cells_NC).any(1), -np.inf, nats_N)

    def _surprise(self, cells_NC: np.ndarray) -> np.ndarray:
        return np.where(self._never(cells_NC), np.inf, self._engine.surprise(cells_NC))

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
    def predict_proba(self, table: Any, column: Any, *, unknown: str = "refuse") -> Any:
        """Returns p(column = value | known cells of all other columns) of each row: a table with a column for each word
        or code of a number, such as "30" or "31 to 35". The column itself may be absent. If boosted trees draw the rows
        of the table, they also predict its last column where all other cells are known.
        """
        c = self._index(column)
        cells_NC, frame = self._cells(table, unknown, needed={*self.names} - {self.names[c]})
        known_NC = ~np.isnan(cells_NC)
        table_NV = self._engine.code_table(cells_NC, known_NC, c)
        whole = np.delete(known_NC, c, 1).all(1)
        if (predicted_NV := self._rows.prediction(cells_NC[whole], c)) is not None:
            table_NV[whole] = predicted_NV
        probabilities = {str(label): table_NV[:, v] for v, label in enumerate(self.columns[c].labels)}
        return frame.beside(table, probabilities, with_others=False)

    @checked_arguments()
    def surprise(self, table: Any, *, unknown: str = "refuse") -> Any:
        """Returns -log p(cell | other known cells of its row) in nats, a table of all columns; nan: a missing cell."""
        cells_NC, frame = self._cells(table, unknown)
        surprise_NC = self._surprise(cells_NC)
        return frame.beside(table, {name: surprise_NC[:, c] for c, name in enumerate(self.names)}, with_others=False)

    @checked_arguments(num=0)
    def outliers(self, table: Any, *, num: int = 0, unknown: str = "refuse") -> Any:
        """Returns the rows, strangest first: a table with the number of the `row`, its `nats`, and its most surprising
        cell: the `column`, the `value`, its `surprise` in nats given all other cells, and the part of the cells of this
        column in validation that are less surprising (`quantile`). A row is as strange as its most surprising cell,
        compared within its column. `num` is the number of rows; 0 for all.
        """
        cells_NC, frame = self._cells(table, unknown)
        surprise_NC = self._surprise(cells_NC)
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
            "nats": -self._log_prob(cells_NC, self._num_orders),
            "column": names,
            "value": values,
            "surprise": surprise_N,
            "quantile": (self._usual[worst_N] < surprise_N[:, None]).mean(1),
        }
        return frame.back(strangest)

    @checked_arguments(num=2, stderr=0, seed=0)
    def probability(
        self, event: Given, *, given: Given = None, num: int = 2000, stderr: float = 0.0, seed: int = 0
    ) -> Answer:
        """Returns the probability that a row fulfils the conditions `event`, given others, written as in `sample`.

            table.probability({"age": (30, 40), "hours": (50, None)}, given={"sex": "Female"})

        Columns are read in the order of the table, those of `given` first. Where their codes have at most 20,000
        combinations, all of these are summed over; otherwise `num` draws estimate it by progressive sampling, and more
        until the standard error is at most `stderr`, if it is above 0, at most a million.
        """
        event, given = _plain_conditions(event), _plain_conditions(given)
        for name in sorted(event.keys() & given.keys()):
            raise UserError(f"the column {name!r} is a part of the event and given")
        cells_C, evidence = self._conditions(given)
        queried, rng = self._in_order(event), np.random.default_rng(seed)
        if self._engine.num_sums([*evidence, *queried]) <= MOST_COMBINATIONS:
            masses = [1.0, *self._engine.exact_mass(cells_C, [*evidence, *queried])]
            refuse((not masses[len(evidence)], f"no row can have {given!r}"))
            return exact_answer(masses[-1] / masses[len(evidence)])._replace(engine=self._engine.kind)

        def draw(num: int) -> Draws:
            _, log_w_N, log_both_N = self._weighted(num, given, rng, queried)
            return np.exp(log_both_N - np.maximum(log_w_N, -1e300)), log_w_N  # 0 where both are 0

        answer = estimate_by_draws(draw, functools.partial(mean_of, is_part=True), num, stderr)
        return answer._replace(engine=self._engine.kind)

    @checked_arguments(num=2, stderr=0, seed=0)
    def expectation(
        self, of: Any, *, given: Given = None, num: int = 2000, stderr: float = 0.0, seed: int = 0
    ) -> Answer:
        """Returns the mean of a column of numbers or dates, or of a function of draws, given conditions as in `sample`.

            table.expectation("age", given={"sex": "Female"})
            table.expectation(lambda rows: rows["pay"] / rows["hours"], stderr=0.01)  # of a frame

        The mean of a column given single values is exact where the codes of the column tell it. Otherwise it is a mean
        of draws, of `num` or of as many as `stderr` needs, as in `probability`. A function gets draws as a table of the
        form of the training table, and returns a number for each row.
        """
        return self._ask(of, None, given, num, stderr, seed)

    @checked_arguments(num=2, stderr=0, seed=0)
    def quantile(
        self, column: Any, q: float, *, given: Given = None, num: int = 2000, stderr: float = 0.0, seed: int = 0
    ) -> Answer:
        """Returns the smallest number or date x of a column with P(column <= x) >= q, given conditions as in `sample`.

            table.quantile("pay", 0.5, given={"job": "nurse"})  # the median

        It is exact given single values; given lists and ranges it is that of draws, as in `expectation`.
        """
        Option(above=0, below=1).check(q, "q")
        return self._ask(column, q, given, num, stderr, seed)

    def _ask(self, of: Any, q: float | None, given: Given, num: int, stderr: float, seed: int) -> Answer:
        """Returns the quantile of a column or, without `q`, the mean of a column or of a function of draws."""
        given, rng = _plain_conditions(given), np.random.default_rng(seed)
        cells_C, conditions = self._conditions(given)
        summary = mean_of if q is None else functools.partial(quantile_of, q=q)

        def draw(num: int) -> Draws:
            cells_NC, log_w_N, _ = self._weighted(num, given, rng)
            if callable(of):
                return self._of_rows(of, "biuf", self._completed(cells_NC, rng)), log_w_N
            is_free = np.isnan(cells_NC[:, c]).any()
            return self._engine.draw(cells_NC, c, None, rng)[0] if is_free else cells_NC[:, c], log_w_N

        if callable(of):
            engine = self._engine if given else self._rows
            return estimate_by_draws(draw, summary, num, stderr)._replace(engine=engine.kind)
        c = self._index(of)
        column: Any = self.columns[c]
        words = f"the column {of!r} holds words, which have no means or quantiles: ask for probabilities"
        refuse((isinstance(column, Words), words), (not np.isnan(cells_C[c]), f"the column {of!r} is given"))
        exactly = self._exact_mean if q is None else functools.partial(self._exact_quantile, q=q)
        value = None if conditions else exactly(cells_C, c)
        answer = estimate_by_draws(draw, summary, num, stderr) if value is None else exact_answer(value)
        answer = answer._replace(engine=self._engine.kind)
        if q is None and not column.date:
            return answer
        value, *interval = column.values(np.array([answer.value, *answer.interval])).tolist()
        return answer._replace(value=value, interval=tuple(interval))

    def _codes(self, cells_C: np.ndarray, c: int) -> np.ndarray | None:
        """Returns p(code of a column | known cells), float64[V]; None where codes do not tell its distribution, and
        what it says about other columns.
        """
        column: Any = self.columns[c]
        if not (self._engine.reads_codes or isinstance(column, Words) or column.low == column.high):
            return None
        p_V = self._engine.code_table(cells_C[None], ~np.isnan(cells_C[None]), c)[0]
        return p_V / p_V.sum()

    def _exact_mean(self, cells_C: np.ndarray, c: int) -> float | None:
        p_V, column = self._codes(cells_C, c), self.columns[c]
        return None if p_V is None or isinstance(column, Words) else float(p_V @ column.middles)

    def _exact_quantile(self, cells_C: np.ndarray, c: int, q: float) -> float:
        """Returns the quantile of a column given known cells, by bisection."""
        column: Any = self.columns[c]
        low, high = column.low[0], column.high[-1]
        for _ in range(64):
            middle = (low + high) / 2
            end = column.values(np.floor([middle]))[0] if column.date else middle
            is_reached = self._engine.exact_mass(cells_C, [(c, (None, end))])[0] >= q
            low, high = (low, middle) if is_reached else (middle, high)
        points = column.lows[column.points & (abs(column.lows - high) <= 1e-12 * (column.high[-1] - column.low[0]))]
        return float(points[0] if len(points) else column.rounded(np.array([high]))[0])

    @checked_arguments(num=2, seed=0)
    def next_question(self, row: Given, target: Any, *, num: int = 500, seed: int = 0) -> list[tuple[str, Answer]]:
        """Returns the unknown columns of a row by how much they tell about the target, most first, with their nats.

            table.next_question({"sex": "Female"}, "income")  # [("age", 0.112 ± 0.004), ...]

        The nats are the mutual information of the column and the target given the known cells: the expected reduction
        of the entropy of the target when the cell becomes known. Of a target of numbers, it is that of its codes. It is
        exact for columns whose codes tell their distribution, such as words, and else the mean over `num` draws.
        """
        known = {name: value for name, value in _plain_conditions(row).items() if value is not None}
        cells_C, others = self._conditions({name: value for name, value in known.items() if name not in self.left_out})
        t, rng = self._index(target), np.random.default_rng(seed)
        unknown = [c for c in np.flatnonzero(np.isnan(cells_C)).tolist() if c != t]
        refuse(
            (others, f"a row has one value in a column, not {[condition for _, condition in others]}"),
            (not np.isnan(cells_C[t]), f"the target {target!r} is already known"),
            (not unknown, f"no column but the target {target!r} is unknown"),
        )
        nats = [(self.names[c], self._information(cells_C, c, t, num, rng)) for c in unknown]
        return sorted(nats, key=lambda pair: -pair[1].value)

    def _information(self, cells_C: np.ndarray, c: int, t: int, num: int, rng: np.random.Generator) -> Answer:
        """Returns I(column c; code of column t | known cells) = sum p(c) KL(p(t | c) || sum p(c) p(t | c)) in nats."""
        p_N = self._codes(cells_C, c)
        cells_NC = np.repeat(cells_C[None], num if p_N is None else len(p_N), 0)
        codes, column = np.arange(len(cells_NC)), self.columns[c]
        cells_NC[:, c] = self._engine.draw(cells_NC, c, None, rng)[0] if p_N is None else column.draw(codes, rng)
        table_NV = self._engine.code_table(cells_NC, ~np.isnan(cells_NC), t)
        nats_N = rel_entr(table_NV, np.average(table_NV, 0, p_N)).sum(1)
        return mean_of(nats_N, np.zeros(num)) if p_N is None else exact_answer(float(p_N @ nats_N))

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
                is_never = column.never(cells_C[c])
                refuse((is_never, f"the column {column.name!r} holds whole numbers: no row can have {condition!r}"))
        return cells_C, others

    def _in_order(self, conditions: Mapping[str, Condition]) -> list[tuple[int, Condition]]:
        """Returns conditions by the numbers of their columns, checked."""
        by_column = {self._index(name): condition for name, condition in conditions.items()}
        for c, condition in by_column.items():
            self.columns[c].weights(condition)
        return sorted(by_column.items(), key=operator.itemgetter(0))

    def _index(self, name: Any) -> int:
        name = str(name)  # columns of a frame may be named by whole numbers
        refuse(
            (name in self.left_out, f"the column {name!r} is not modelled: {self.left_out.get(name)}"),
            (name not in self.names, f"the table has no column {name!r}{did_you_mean(name, self.names)}"),
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
    plain = {str(name): _plain_condition(condition) for name, condition in (conditions or {}).items()}
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


def gap_patterns(cells_NC: np.ndarray) -> dict[str, int]:
    """Returns how many rows have each pattern of missing cells, "1" in the place of such a cell: of all rows or, where
    these have more than 1,000 patterns, of an even choice of so many rows.
    """
    marks_PC, counts_P = np.unique(np.isnan(cells_NC), axis=0, return_counts=True)
    if len(marks_PC) > _MOST_PATTERNS:
        return gap_patterns(cells_NC[np.linspace(0, len(cells_NC) - 1, _MOST_PATTERNS).astype(int)])
    patterns = ("".join(map(str, marks_C)) for marks_C in marks_PC.astype(int).tolist())
    return dict(zip(patterns, counts_P.tolist(), strict=True))
