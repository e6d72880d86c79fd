"""A mixture of models of a table: p(x) = sum_e w_e p_e(x), in conditionals by responsibilities of the evidence.

Best guesses have weights of their own, because the engine with the most probable rows need not have the smallest
errors: a number is guessed by the weighted sum of the means of the engines (stacking, Breiman, "Stacked regressions",
Machine Learning 1996), and a word is the most probable one under the weighted sum of their probabilities.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import nnls

from arjax.core.scores import fit_weights, log_mixture, mixed_nats
from arjax.data.columns import Condition
from arjax.tables.columns import Numbers
from arjax.tables.dependence import Dependence
from arjax.tables.engine import Conditions, RowEngine, TableEngine, categorical, normalised_logs, only_given

#: The kinds of columns whose best guesses have weights of their own.
NUMBERS, WORDS = GUESSED = ("numbers", "words")
#: Rows with hidden cells, and the patterns of these: rows of one pattern share the conditionals of a Gaussian.
_ROWS, _PATTERNS = 1000, 32
#: An engine with less weight than this is left out.
_LEAST_WEIGHT = 0.02
#: Draws of each engine by which its dependence is known; the part of that of another engine that it may lack.
_NUM_DRAWS, _MUCH_LOST = 2000, 0.3
#: The part of the squared error from which on rounding costs too much.
_COSTS = 0.01
#: The weight of the equation that weights add up to 1, beside the equations of the cells.
_STIFF = 1e4


class MixedTable(TableEngine):
    """Engines of the same columns, mixed: p(query | evidence) = sum_e r_e p_e(query | evidence), in which the
    responsibilities r_e are proportional to w_e p_e(evidence).

    Attributes:
      engines: each has all columns.
      weights: w_e, which add up to 1; 0 for an engine that only takes part in best guesses.
      guess_weights: weights of best guesses, which add up to 1, for each of `GUESSED`; for a kind without weights, the
        distribution itself makes the guesses.
    """

    def __init__(
        self,
        engines: Sequence[TableEngine],
        weights: Sequence[float] | np.ndarray,
        guess_weights: Mapping[str, Sequence[float]] | Mapping[str, np.ndarray] | None = None,
    ):
        self.engines: tuple[Any, ...] = tuple(engines)
        self.columns = engines[0].columns
        assert all(engine.columns == self.columns for engine in engines), "engines of the same columns"
        self.weights = np.array(weights, np.float64)
        self._parts: list[Any] = [engine for engine, weight in zip(engines, weights, strict=True) if weight]
        self._log_weights = np.log(self.weights[self.weights > 0])
        self.kind = " + ".join(dict.fromkeys(engine.kind for engine in self._parts))
        self.guess_weights = {kind: np.array(weights, np.float64) for kind, weights in (guess_weights or {}).items()}
        self.orders_agree = all(engine.orders_agree for engine in self._parts)
        self.reads_codes = all(engine.reads_codes for engine in self._parts)

    def in_words(self) -> str:
        whole = "a mixture: " + _sum_in_words(self.weights, self.engines)
        said = whole if len(self._parts) > 1 else self._parts[0].in_words()
        for kind, weights in self.guess_weights.items():
            said += f"; {kind} are guessed by {_sum_in_words(weights, self.engines)}"
        return said

    def log_prob_over_orders(self, cells_NC: np.ndarray, num_orders: int) -> np.ndarray:
        nats_EN = np.stack([-engine.log_prob_over_orders(cells_NC, num_orders) for engine in self._parts])
        return -mixed_nats(nats_EN, np.exp(self._log_weights))

    def _responsibilities(self, cells_NC: np.ndarray) -> np.ndarray:
        """Returns log r_e given the known cells, float64[E, N]."""
        nothing_NC = np.zeros(cells_NC.shape, bool)
        log_EN = np.repeat(self._log_weights[:, None], len(cells_NC), 1)
        if not np.isnan(cells_NC).all():
            log_EN += np.stack([engine.log_prob(cells_NC, nothing_NC) for engine in self._parts])
        return normalised_logs(log_EN)

    def log_prob(self, cells_NC: np.ndarray, given_NC: np.ndarray, order: Sequence[int] | None = None) -> np.ndarray:
        log_r_EN = self._responsibilities(only_given(cells_NC, given_NC))
        return log_mixture(log_r_EN, np.stack([engine.log_prob(cells_NC, given_NC, order) for engine in self._parts]))

    def code_table(self, cells_NC: np.ndarray, given_NC: np.ndarray, c: int) -> np.ndarray:
        r_EN = np.exp(self._responsibilities(only_given(cells_NC, given_NC, c)))
        tables = [engine.code_table(cells_NC, given_NC, c) for engine in self._parts]
        return np.einsum("en,env->nv", r_EN, np.stack(tables))

    def means(self, cells_NC: np.ndarray, given_NC: np.ndarray, c: int) -> np.ndarray:
        r_EN = np.exp(self._responsibilities(only_given(cells_NC, given_NC, c)))
        return (r_EN * np.stack([engine.means(cells_NC, given_NC, c) for engine in self._parts])).sum(0)

    def guess(self, cells_NC: np.ndarray, given_NC: np.ndarray, c: int) -> np.ndarray:
        kind = NUMBERS if isinstance(self.columns[c], Numbers) else WORDS
        if kind not in self.guess_weights:
            return super().guess(cells_NC, given_NC, c)
        pairs = zip(self.guess_weights[kind], self.engines, strict=True)
        used = [(weight, engine) for weight, engine in pairs if weight]
        if kind == NUMBERS:
            return sum(weight * engine.means(cells_NC, given_NC, c) for weight, engine in used)
        table_NV = sum(weight * engine.code_table(cells_NC, given_NC, c) for weight, engine in used)
        return table_NV.argmax(1).astype(np.float64)

    def draw(
        self, cells_NC: np.ndarray, c: int, condition: Condition, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        all_NC = np.ones(cells_NC.shape, bool)
        log_EN = self._responsibilities(only_given(cells_NC, all_NC, c))
        drawn = [engine.draw(cells_NC, c, condition, rng) for engine in self._parts]
        log_EN = log_EN + np.stack([log_mass_N for _, log_mass_N in drawn])
        best_N = log_EN.max(0)
        engine_N = categorical(np.exp(log_EN - np.where(np.isfinite(best_N), best_N, 0)).T, rng)
        cells_EN = np.stack([cells_N for cells_N, _ in drawn])
        return cells_EN[engine_N, np.arange(len(cells_NC))], np.logaddexp.reduce(log_EN, 0)

    def complete(self, cells_NC: np.ndarray, given_NC: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Draws an engine for each row by its responsibility, and all cells that are not given from this engine."""
        cells_NC = only_given(cells_NC, given_NC)
        engine_N = categorical(np.exp(self._responsibilities(cells_NC)).T, rng)
        for e, engine in enumerate(self._parts):
            rows = np.flatnonzero(engine_N == e)
            if len(rows):
                cells_NC[rows] = engine.complete(cells_NC[rows], ~np.isnan(cells_NC[rows]), rng)
        return cells_NC

    def num_sums(self, conditions: Conditions) -> float:
        return math.fsum(engine.num_sums(conditions) for engine in self._parts)

    def exact_mass(self, cells_C: np.ndarray, conditions: Conditions) -> list[float]:
        r_E = np.exp(self._responsibilities(cells_C[None]))[:, 0]
        return (r_E @ np.array([engine.exact_mass(cells_C, conditions) for engine in self._parts])).tolist()


def _sum_in_words(weights: np.ndarray, engines: Sequence[RowEngine]) -> str:
    parts = zip(weights, engines, strict=True)
    return ", ".join(f"{weight:.2f} of {engine.in_words()}" for weight, engine in parts if weight)


def kinds_of(engine: TableEngine, rows: RowEngine) -> dict[str, RowEngine]:
    """Returns the engines that are parts of an engine of all questions, and of one of whole rows, by their kinds: of
    several of one kind, the mixture.
    """
    parts: Any = zip(engine.engines, engine.weights, strict=True) if isinstance(engine, MixedTable) else [(engine, 1.0)]
    of_kinds: dict[str, list[tuple[TableEngine, float]]] = {}
    for each, weight in parts:
        of_kinds.setdefault(each.kind, []).append((each, weight or 1e-9))
    kinds: dict[str, RowEngine] = {}
    for kind, pairs in of_kinds.items():
        some, weights = zip(*pairs, strict=True)
        kinds[kind] = some[0] if len(some) == 1 else MixedTable(some, np.array(weights) / sum(weights))
    return kinds if rows is engine else kinds | {rows.kind: rows}


def mix_engines(
    fitted: Mapping[str, tuple[TableEngine, dict[str, Any]]],
    cells_NC: np.ndarray,
    num_orders: int,
    rows: Dependence | None = None,
) -> tuple[TableEngine, np.ndarray, dict[str, Any]]:
    """Returns the engine or mixture that is best on validation rows, its nats of each row, and facts about engines. One
    whose draws lack much of the dependence of the train `rows`, where the draws of others have it, has no weight, even
    if it has the most probable rows.
    """
    names, engines = list(fitted), [engine for engine, _ in fitted.values()]
    nats_EN = -np.stack([engine.log_prob_over_orders(cells_NC, num_orders) for engine in engines])
    judged = [
        {"dependence": 1.0} if rows is None else rows.judge(engine.draw_rows(_NUM_DRAWS, np.random.default_rng(0)))
        for engine in engines
    ]
    kept_E = np.array([facts["dependence"] for facts in judged])
    enough = np.flatnonzero(kept_E >= kept_E.max() - _MUCH_LOST)
    weights_E = np.zeros(len(names))
    weights_E[enough] = _without_small(fit_weights, nats_EN[enough])
    facts = {
        name: {
            "validation_nats": float(nats_EN[e].mean()),
            "weight": float(weights_E[e]),
            **judged[e],
            **fitted[name][1],
        }
        for e, name in enumerate(names)
    }
    guesses = fit_guesses(engines, cells_NC) if len(names) > 1 else {}
    for kind, guess_E in guesses.items():
        for name, weight in zip(names, guess_E.tolist(), strict=True):
            facts[name][f"weight_in_guesses_of_{kind}"] = weight
    used_E = weights_E + sum(guesses.values())
    kept = [e for e, name in enumerate(names) if used_E[e] or name == "products"]  # for exact ranges, by `using`
    nats_N = mixed_nats(nats_EN[kept], weights_E[kept])
    if len(kept) == 1:
        return engines[kept[0]], nats_N, facts
    guesses = {kind: guess_E[kept] for kind, guess_E in guesses.items()}
    return MixedTable([engines[e] for e in kept], weights_E[kept], guesses), nats_N, facts


def choose_rows(
    engine: TableEngine, fitted: Mapping[str, tuple[RowEngine, dict[str, Any]]], cells_NC: np.ndarray, num_orders: int
) -> tuple[RowEngine, dict[str, Any]]:
    """Returns the engine that draws whole rows, the one under which validation rows are most probable, and facts about
    those that draw nothing else. They are not mixed: rows of a mixture are more probable, but its draws, some of which
    are those of the worse engine, are easier to tell from train rows.
    """
    engines = [engine, *(each for each, _ in fitted.values())]
    nats_E = [-float(each.log_prob_over_orders(cells_NC, num_orders).mean()) for each in engines]
    best, others = int(np.argmin(nats_E)), enumerate(fitted.items(), start=1)
    facts = {name: {"validation_nats": nats_E[e], "draws_rows": e == best, **about} for e, (name, (_, about)) in others}
    return engines[best], facts


class Hidden(NamedTuple):
    """Rows of which some known cells are hidden."""

    cells: np.ndarray  # float64[N, C]
    given: np.ndarray  # the known cells that are not hidden, bool[N, C]
    queried: np.ndarray  # the known cells that are hidden, bool[N, C]


def hide(cells_NC: np.ndarray, seed: int) -> Hidden:
    """Hides up to half of the cells of each row, at least one; few rows are repeated with other patterns."""
    rng, (num, width) = np.random.default_rng(seed), cells_NC.shape
    rows = rng.permutation(np.arange(max(num, _ROWS)) % num)[:_ROWS]
    many_M = rng.integers(1, max(1, width // 2) + 1, _PATTERNS)
    hidden_MC = rng.random((_PATTERNS, width)).argsort(1) < many_M[:, None]
    hidden_NC, known_NC = hidden_MC[rng.integers(_PATTERNS, size=len(rows))], ~np.isnan(cells_NC[rows])
    return Hidden(cells_NC[rows], known_NC & ~hidden_NC, known_NC & hidden_NC)


def fit_guesses(engines: Sequence[TableEngine], cells_NC: np.ndarray) -> dict[str, np.ndarray]:
    """Returns weights of engines for the guesses of each kind of columns that there is: for numbers, those with the
    least squared error in standard deviations of the columns; for words, the most probable ones.
    """
    hidden, weights = hide(cells_NC, seed=0), {}
    for kind, fit in ((NUMBERS, _stacked), (WORDS, fit_weights)):
        of_kind = [c for c, column in enumerate(engines[0].columns) if isinstance(column, Numbers) == (kind == NUMBERS)]
        errors = [_errors(engines, hidden, c) for c in of_kind]
        if errors and (errors_EN := np.concatenate(errors, 1)).size:
            weights[kind] = _without_small(fit, errors_EN)
    return weights


def unrounded(engine: TableEngine, cells_NC: np.ndarray) -> list[str]:
    """Returns the columns whose best guesses of hidden cells have more than 1 % more squared error when rounded."""
    hidden, names = hide(cells_NC, seed=1), []
    for c, column in enumerate(engine.columns):
        rows = np.flatnonzero(hidden.queried[:, c])
        if isinstance(column, Numbers) and column.step and not column.date and len(rows):
            guess_N = engine.guess(hidden.cells[rows], hidden.given[rows], c)
            error, rounded = (((x_N - hidden.cells[rows, c]) ** 2).sum() for x_N in (guess_N, column.rounded(guess_N)))
            names += [column.name] if rounded > (1 + _COSTS) * error else []
    return names


def _errors(engines: Sequence[TableEngine], hidden: Hidden, c: int) -> np.ndarray:
    """Returns the errors of engines at hidden cells of a column, float64[E, N]: in standard deviations, or nats."""
    rows, column = np.flatnonzero(hidden.queried[:, c]), engines[0].columns[c]
    cells_NC, given_NC = hidden.cells[rows], hidden.given[rows]
    if not len(rows):
        return np.zeros((len(engines), 0))
    if isinstance(column, Numbers):
        scale = np.nanstd(hidden.cells[:, c]) or 1.0
        return np.stack([(engine.means(cells_NC, given_NC, c) - cells_NC[:, c]) / scale for engine in engines])
    tables_ENV = np.stack([engine.code_table(cells_NC, given_NC, c) for engine in engines])
    words_N = cells_NC[:, c].astype(np.int64)
    return -np.log(tables_ENV[:, np.arange(len(rows)), words_N] + 1e-300)


def _stacked(errors_EN: np.ndarray) -> np.ndarray:
    """Returns the weights [E] of at least 0 and sum 1 that minimise the square of the weighted sum of errors."""
    stiff = _STIFF * math.sqrt(errors_EN.shape[1] * max(float((errors_EN**2).mean()), 1e-12))
    equations = np.concatenate([errors_EN.T, np.full((1, len(errors_EN)), stiff)])
    weights_E, _ = nnls(equations, np.append(np.zeros(errors_EN.shape[1]), stiff))
    return weights_E / weights_E.sum()


def _without_small(fit: Callable[[np.ndarray], np.ndarray], errors_EN: np.ndarray) -> np.ndarray:
    """Returns the weights of a fit, [E], without the engines of little weight."""
    kept = np.arange(len(errors_EN))
    while True:
        weights = fit(errors_EN[kept])
        if (weights >= _LEAST_WEIGHT).all():
            all_weights = np.zeros(len(errors_EN))
            all_weights[kept] = weights
            return all_weights
        kept = kept[weights >= _LEAST_WEIGHT]
