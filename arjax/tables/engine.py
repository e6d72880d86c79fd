"""What a model of a table computes: any columns given any others, in cells."""

from __future__ import annotations

import abc
import dataclasses
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from arjax.core.errors import UserError
from arjax.core.scores import log_mean
from arjax.data.columns import Condition
from arjax.tables.columns import Column, Numbers

#: Conditions on columns, by their numbers, in the order in which they are asked.
Conditions = Sequence[tuple[int, Condition]]
#: Orders of the columns in which the rows of one draw are completed, rows of an order at least, and calls at most.
_ORDERS, _ROWS_EACH, _MOST_DRAWS = 16, 32, 1024


class RowEngine(abc.ABC):
    """The joint distribution of the columns of a table, of whole rows; other questions are refused.

    Rows are cells float64[N, C] as in `arjax.data.columns`, nan without a value; marks of cells are bool[N, C]. The
    `kind` of an engine is its name.
    """

    kind = ""
    columns: tuple[Column, ...]

    @abc.abstractmethod
    def log_prob_over_orders(self, cells_NC: np.ndarray, num_orders: int) -> np.ndarray:
        """Returns the log of the mean probability of cells over `num_orders` orders of the columns, float64[N]."""

    @abc.abstractmethod
    def draw_rows(self, num: int, rng: np.random.Generator) -> np.ndarray:
        """Returns the cells of rows that are drawn, float64[N, C]."""

    @abc.abstractmethod
    def in_words(self) -> str:
        """Returns the engine in a line."""

    def prediction(self, cells_NC: np.ndarray, c: int) -> np.ndarray | None:
        """Returns p(code of a column | all other cells) where an engine of whole rows predicts it, float64[N, V]."""
        return None

    def progressive(
        self, cells_C: np.ndarray, conditions: Conditions, num: int, rng: np.random.Generator
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields, for every k, cells [num, C] that fulfil the first k conditions, and the log of an unbiased estimate
        of p(these conditions | known cells) from each draw, float64[num]. A column is drawn among the values that its
        condition allows; the estimate is the product of their probabilities (Yang et al., "Deep Unsupervised
        Cardinality Estimation", 2019, section 5).
        """
        cells_NC, total_N = np.repeat(cells_C[None], num, 0), np.zeros(num)
        for c, condition in conditions:
            cells_NC[:, c], log_mass_N = self.draw(cells_NC, c, condition, rng)
            total_N = total_N + log_mass_N
            yield cells_NC, total_N

    def _refuse(self, *_: Any) -> Any:
        raise UserError(f"the engine {self.kind!r} draws whole rows and answers no other question")

    _refused: Any = _refuse
    code_table = complete = draw = guess = num_sums = surprise = _refused


class TableEngine(RowEngine):
    """The joint distribution of the columns of a table, any given any others.

    Unless `orders_agree`, a distribution depends on the order in which the columns are read; within one order the chain
    rule holds. Ranges and draws are those of the distribution within the range of the training rows. An engine that
    `reads_codes` reads of a cell its code alone, and all numbers of a code are equally probable.
    """

    orders_agree = False
    reads_codes = False

    @abc.abstractmethod
    def log_prob(self, cells_NC: np.ndarray, given_NC: np.ndarray, order: Sequence[int] | None = None) -> np.ndarray:
        """Returns log p(other known cells | given ones) of rows in nats, float64[N]; `order` None is the table's."""

    @abc.abstractmethod
    def code_table(self, cells_NC: np.ndarray, given_NC: np.ndarray, c: int) -> np.ndarray:
        """Returns p(code of a column | given cells) of each row, float64[N, V]; the column itself is not given."""

    def draw(
        self, cells_NC: np.ndarray, c: int, condition: Condition, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns cells of a column, float64[N], drawn given the known cells of the others among the values that a
        condition allows (None: all), and log p of these values, float64[N].
        """
        column, p_NV = self.columns[c], self.code_table(cells_NC, ~np.isnan(cells_NC), c)
        if condition is not None:
            p_NV = p_NV * column.weights(condition)
        return column.draw(categorical(p_NV, rng), rng, condition), log_sums(p_NV)

    def num_sums(self, conditions: Conditions) -> float:
        """Returns the number of terms that `exact_mass` sums over; infinity where it is not exact."""
        return 1.0 if len(conditions) <= 1 else math.inf

    def exact_mass(self, cells_C: np.ndarray, conditions: Conditions) -> list[float]:
        """Returns p(the first k conditions | known cells) for every k."""
        rng = np.random.default_rng(0)  # of a draw that is not used
        return [float(np.exp(self.draw(cells_C[None], c, condition, rng)[1][0])) for c, condition in conditions]

    def log_prob_over_orders(self, cells_NC: np.ndarray, num_orders: int) -> np.ndarray:
        given_NC, rng, num = np.zeros(cells_NC.shape, bool), np.random.default_rng(0), cells_NC.shape[1]
        others = 0 if self.orders_agree else num_orders - 1
        orders = [range(num), *(rng.permutation(num).tolist() for _ in range(others))]
        return log_mean(np.stack([self.log_prob(cells_NC, given_NC, order) for order in orders]))

    def draw_rows(self, num: int, rng: np.random.Generator) -> np.ndarray:
        cells_NC = np.full((num, len(self.columns)), np.nan)
        return self.complete(cells_NC, np.zeros(cells_NC.shape, bool), rng)

    def surprise(self, cells_NC: np.ndarray) -> np.ndarray:
        """Returns -log p(cell | all other known cells) in nats, float64[N, C], nan for a missing cell."""
        known_NC, nats_NC = ~np.isnan(cells_NC), np.full(cells_NC.shape, np.nan)
        for c in range(cells_NC.shape[1]):
            others_NC = known_NC & (np.arange(cells_NC.shape[1]) != c)
            nats_N = -self.log_prob(cells_NC, others_NC, [c])
            nats_NC[:, c] = np.where(known_NC[:, c], nats_N, np.nan)
        return nats_NC

    def means(self, cells_NC: np.ndarray, given_NC: np.ndarray, c: int) -> np.ndarray:
        """Returns the mean of a column of numbers given cells, float64[N]."""
        column = self.columns[c]
        assert isinstance(column, Numbers), "words have no mean"
        return self.code_table(cells_NC, given_NC, c) @ column.middles

    def guess(self, cells_NC: np.ndarray, given_NC: np.ndarray, c: int) -> np.ndarray:
        """Returns the best guess of a column given cells, float64[N]: the most probable word, or the mean."""
        if isinstance(self.columns[c], Numbers):
            return self.means(cells_NC, given_NC, c)
        return self.code_table(cells_NC, given_NC, c).argmax(1).astype(np.float64)

    def complete(self, cells_NC: np.ndarray, given_NC: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Returns cells [N, C] with all that are not given drawn; the rows share up to 16 random orders of columns,
        fewer in wide tables, where every order takes a call for each column.
        """
        cells_NC = np.where(given_NC, cells_NC, np.nan)
        num = max(1, min(_ORDERS, len(cells_NC) // _ROWS_EACH, _MOST_DRAWS // len(self.columns)))
        for start in range(num):
            for c in rng.permutation(len(self.columns)).tolist():
                rows = start + num * np.flatnonzero(np.isnan(cells_NC[start::num, c]))
                if len(rows):
                    cells_NC[rows, c] = self.draw(cells_NC[rows], c, None, rng)[0]
        return cells_NC


@dataclasses.dataclass(frozen=True)
class FitSettings:
    """The rows to which an engine is fitted, and the length of its fits.

    Attributes:
      cells: of the splits "train" and "validation", float64[N, C].
      seconds: that all fits take, approximately; infinity where `most` or `plan` ends them.
      most: the number of fits at most.
      plan: the options of the fits; (): a search chooses them.
    """

    columns: Sequence[Column]
    cells: Mapping[str, np.ndarray]
    seed: int = 0
    seconds: float = math.inf
    most: float = math.inf
    plan: Sequence[Any] = ()


class FitSearch(abc.ABC):
    """Fits of one kind of mixture until a deadline: `members`, by their options, each with its parameters and -log p of
    the validation rows, float64[N].
    """

    #: The name of the option that counts the components of a mixture.
    SIZE = ""

    def __init__(self, training: FitSettings):
        self.members: dict[Any, tuple[Any, np.ndarray]] = {}
        self.training, self._end = training, time.monotonic() + training.seconds
        self._seconds = 0.0  # of a component

    @abc.abstractmethod
    def run(self) -> None:
        """Chooses the options of the fits."""

    @abc.abstractmethod
    def fitted(self, options: Any, end: float) -> tuple[Any, np.ndarray]:
        """Returns the parameters of a fit that ends at a time, and -log p of the validation rows; nan if it fails."""

    def follow(self) -> None:
        """Makes the fits of the plan or, without one, searches."""
        for options in self.training.plan:
            self.fit(options)
        if not self.training.plan:
            self.run()

    def best(self, **alike: Any) -> list[Any]:
        """Returns the options of the members that have some options in common, the best on validation first."""
        some = [each for each in self.members if all(getattr(each, name) == alike[name] for name in alike)]
        return sorted(some, key=self.fit)

    def fit(self, options: Any, end: float = math.inf, **alike: Any) -> float:
        """Returns the mean nats of validation rows under a member. Infinity if a new one fails, or has no time and is
        not the first of those that are `alike`.
        """
        if options not in self.members:
            start, size, end = time.monotonic(), getattr(options, self.SIZE), min(end, self._end)
            late = start + self._seconds * size > end or len(self.members) >= self.training.most
            if late and self.best(**alike):
                return math.inf
            member = self.fitted(options, end)
            self._seconds = max(0.7 * self._seconds, (time.monotonic() - start) / size)
            if not np.isfinite(member[1]).all():
                return math.inf
            self.members[options] = member
        return float(self.members[options][1].mean())


def thinned(rows_NC: np.ndarray, most: int) -> np.ndarray:
    """Returns at most so many rows at equal distances."""
    return rows_NC[:: -(-len(rows_NC) // most)]


def only_given(cells_NC: np.ndarray, given_NC: np.ndarray, c: int | None = None) -> np.ndarray:
    """Returns the given cells, nan elsewhere and in the column `c`."""
    cells_NC = np.where(given_NC, np.asarray(cells_NC, np.float64), np.nan)
    if c is not None:
        cells_NC[:, c] = np.nan
    return cells_NC


def categorical(p_NV: Any, rng: np.random.Generator) -> np.ndarray:
    """Returns one index for each row, with these probabilities up to a factor; the last one if all are 0."""
    ends = np.cumsum(p_NV, 1)
    index = (ends <= rng.random(len(p_NV))[:, None] * ends[:, -1:]).sum(1)
    return np.minimum(index, p_NV.shape[1] - 1)


def log_sums(p_NV: np.ndarray) -> np.ndarray:
    """Returns the logs of the sums of probabilities of each row, float64[N], at most 0."""
    with np.errstate(divide="ignore"):
        return np.minimum(np.log(p_NV.sum(1)), 0.0)


def normalised_logs(log_p_KN: np.ndarray) -> np.ndarray:
    """Returns log-probabilities normalised over the first axis, also where all of them are very small."""
    log_p_KN = log_p_KN - log_p_KN.max(0)
    return log_p_KN - np.logaddexp.reduce(log_p_KN, 0)
