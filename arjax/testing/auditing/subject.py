"""The subject of an audit: functions of numpy arrays, called in batches, checked and timed."""

from __future__ import annotations

import dataclasses
import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from arjax.core.arrays import up_to_end
from arjax.core.errors import UserError, describe, did_you_mean, refuse
from arjax.core.options import checked_arguments, flat_integers
from arjax.core.scores import EXACT, SCORE_KINDS
from arjax.core.spec import EventSpec
from arjax.testing.auditing.findings import FAILED, UNDECIDED, Fault, Finding
from arjax.testing.auditing.units import UNITS
from arjax.testing.examples import all_values, random_x

#: False alarms of a random test, at most.
ALPHA = 1e-6
#: Calls of a random score, whose mean is audited, and standard errors that count as no chance.
REPEATS, SIGMAS = 24, 6.0
#: Nats below which a product of float32 may be 0, and the largest error by rounding.
UNDERFLOW, COARSEST = -80.0, 0.1
#: Draws that are kept as examples.
DRAWS = 256
#: Work that takes more seconds is announced.
LONG = 5.0


class Budget:
    """The seconds of an audit."""

    def __init__(self, seconds: float, quiet: bool = False):
        self.end, self.quiet = time.monotonic() + seconds, quiet

    @property
    def left(self) -> float:
        return max(self.end - time.monotonic(), 0.0)

    def rows(self, subject: Subject, name: str, most: int, share: float = 0.25) -> int:
        """Returns how many rows of a function fit into a share of the time that is left, at most `most`."""
        return int(min(most, share * self.left / subject.pace(name)))

    def tell(self, subject: Subject, name: str, rows: int, what: str) -> None:
        """Says how long work takes, if it takes long."""
        if (seconds := rows * subject.pace(name)) > LONG and not self.quiet:
            print(f"arjax: audit: {what}, about {seconds:.0f} s", file=sys.stderr, flush=True)


@checked_arguments(batch_size=1, tolerance=0.0, end=0)
@dataclasses.dataclass(frozen=True, eq=False)
class Subject:
    """A model under audit. Each function is optional, takes arrays of numpy or of any framework, and returns one number
    or row for each example of x [B, *grid, *value].

    Attributes:
      event: of an example.
      log_prob: x -> log p in nats [B], or a bound or an estimate of it, as `claim` says.
      conditionals: (x, t) -> the probabilities [B, V] of the values of scalar `order[t]` given those before it.
      conditional_log_prob: (x, query, given) -> log p(x[query] | x[given]) in nats [B]; the sites are bool[B, D].
      sample: (num, seed) -> x [num, ...].
      elsewhere: x -> the scores of `log_prob`, computed on other devices or in another way.
      fit: training examples x of `truth` -> a function like `log_prob`.
      data: examples [N, *grid, *value] as the model meets them.
      truth: the nats -log p [N] of the rows of `data` under the distribution that they were drawn from, or their mean,
        an entropy; with `fit`, the call string of a data set whose distribution is known, such as "markov_chain".
      claim: "exact", "bound" (from below) or "estimate".
      order: int[D * size of a value], the scalars of an example in the order of the conditionals; None: as they lie.
      end: the token that ends a sequence; what follows it is the same token.
      smaller: events that `log_prob` takes as well, to be enumerated.
      reported, unit: a published number, and its unit, of `UNITS`; it is that of `data`.
      tolerance: relative error of a probability by rounding: 1e-4 of float32, 2e-2 of bfloat16.
      batch_size: examples in one call, at most.
    """

    event: EventSpec
    log_prob: Callable[..., Any] | None = None
    conditionals: Callable[..., Any] | None = None
    conditional_log_prob: Callable[..., Any] | None = None
    sample: Callable[..., Any] | None = None
    elsewhere: Callable[..., Any] | None = None
    fit: Callable[..., Any] | None = None
    data: np.ndarray | None = None
    truth: Any = None
    claim: str = EXACT
    order: np.ndarray | None = None
    end: int | None = None
    smaller: Sequence[EventSpec] = ()
    reported: float | None = None
    unit: str = "nats"
    tolerance: float = 1e-4
    batch_size: int = 256
    name: str = "the model"
    #: Seconds and rows of each function and shape of its results, and draws.
    _pace: dict[tuple[str, tuple[int, ...]], np.ndarray] = dataclasses.field(default_factory=dict, repr=False)
    _drawn: list[np.ndarray] = dataclasses.field(default_factory=list, repr=False)

    # Calls, checked.

    def call(self, name: str, *rows: np.ndarray, more: tuple[Any, ...] = (), shape: tuple[int, ...] = ()) -> np.ndarray:
        """Returns the results of a function of some rows, float64[N, *shape]; batches have few sizes, as compiled
        programs like it. Raises `Fault` where it fails.
        """
        results, num = [], len(rows[0])
        for start in range(0, num, self.batch_size):
            n = min(self.batch_size, num - start)
            size = next(size for size in (1, 4, 16, 64, self.batch_size) if size >= min(n, self.batch_size))
            index = start + np.minimum(np.arange(min(size, self.batch_size)), n - 1)
            result = self.run(name, *(each[index] for each in rows), *more)
            result = result.reshape(1, *shape) if len(index) == 1 and result.size == math.prod(shape) else result
            if result.shape != (len(index), *shape):
                words = f"`{name}` returned the shape {result.shape} for {len(index)} examples"
                raise Fault(Finding(UNDECIDED, f"{words}, not {(len(index), *shape)}"))
            results.append(result[:n])
        return np.concatenate(results) if results else np.zeros((0, *shape))

    def run(self, name: str, *arguments: Any) -> np.ndarray:
        """Returns the result of a function as float64. The first call of a size, which may compile, is not timed."""
        begin = time.perf_counter()
        result = self.given(name, *arguments)
        result = result.detach().cpu().double() if hasattr(result, "detach") else result  # of torch
        try:
            array = np.asarray(result, np.float64)
        except (TypeError, ValueError) as error:
            words = f"`{name}` returned {type(result).__name__}, which is no array of numbers"
            raise Fault(Finding(UNDECIDED, words)) from error
        if (size := (name, array.shape)) in self._pace:
            self._pace[size] += np.array([time.perf_counter() - begin, array.shape[0] if array.ndim else 1])
        else:
            self._pace[size] = np.zeros(2)
        return array

    def given(self, name: str, *arguments: Any) -> Any:
        """Calls a function of the user; any exception of it becomes a `Fault` of one sentence."""
        try:
            return getattr(self, name)(*arguments)
        except Fault:
            raise
        except UserError as refusal:
            raise Fault(Finding(UNDECIDED, f"`{name}` refuses: {refusal}")) from refusal
        except Exception as error:  # code of the user: whatever it raises is told in a sentence
            raise Fault(Finding(UNDECIDED, f"`{name}` raised {describe(error)}")) from error

    def scores(self, x: np.ndarray, name: str = "log_prob") -> np.ndarray:
        """Returns log p of examples in nats, float64[N]; NaN and +inf are faults of the model."""
        log_p = self.call(name, x)
        self._only(~np.isnan(log_p) & (log_p < np.inf), x, log_p, f"`{name}` is {{}}, which is no log-probability")
        return log_p

    def mean_scores(self, x: np.ndarray, repeats: int = REPEATS) -> tuple[np.ndarray, np.ndarray]:
        """Returns the scores, or the means of random ones over calls, and the standard errors of these means."""
        first = self.scores(x)
        if self.claim == EXACT or np.array_equal(first, again := self.scores(x)):
            return first, np.zeros_like(first)
        calls = np.stack([first, again, *(self.scores(x) for _ in range(repeats - 2))])
        return calls.mean(0), calls.std(0, ddof=1) / repeats**0.5

    def tables(self, x: np.ndarray, t: int) -> np.ndarray:
        """Returns the probabilities of the values of scalar `order[t]`, float64[N, V]."""
        p = self.call("conditionals", x, more=(t,), shape=(self.event.num_levels,))
        allowed = (np.isfinite(p) & (p >= 0)).all(1)
        words = f"the probabilities of step {t} are {{}}"
        words += ", which look like logarithms: return exp of them" * bool(not allowed.all() and (p <= 0).all())
        self._only(allowed, x, p.min(1), words, step=t)
        return p

    def queries(self, x: np.ndarray, query: np.ndarray, given: np.ndarray) -> np.ndarray:
        """Returns log p(x[query] | x[given]), float64[N], of masks bool[D] or bool[N, D]."""
        masks = [np.broadcast_to(mask, (len(x), self.event.num_sites)) for mask in (query, given)]
        log_p = self.call("conditional_log_prob", x, *masks)
        words = "`conditional_log_prob` is {}, which is no log-probability"
        self._only(~np.isnan(log_p) & (log_p < np.inf), x, log_p, words, query=query, given=given)
        return log_p

    def draws(self, num: int, seed: int) -> np.ndarray:
        """Returns samples of the model, [num, ...]; a sample that is no example of the event is a fault."""
        x = self.run("sample", num, seed)
        if x.shape != (num, *self.event.shape):
            words = f"`sample` returned the shape {x.shape}, not {(num, *self.event.shape)}"
            raise Fault(Finding(UNDECIDED, words))
        self._only(is_inside(self.event, x), x, np.zeros(num), "a sample is no example of the event")
        return x.astype(self.event.dtype)

    def _only(self, allowed: np.ndarray, x: np.ndarray, value: np.ndarray, words: str, **more: Any) -> None:
        if not allowed.all():
            n = int(np.argmin(allowed))
            raise Fault(Finding(FAILED, words.format(f"{value[n]:.4g}"), witness={"x": x[n], **more}))

    def off(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Returns by how many nats scores differ beyond the rounding of long sums, [N]; two of -inf do not."""
        difference = np.where(a == b, 0.0, np.abs(a - b))
        return np.where(difference > self.tolerance * (10 + np.minimum(np.abs(a), np.abs(b))), difference, 0.0)

    def pace(self, name: str) -> float:
        """Returns the mean seconds of a function for one row so far."""
        seconds, rows = sum((total for (of, _), total in self._pace.items() if of == name), np.zeros(2))
        return max(seconds / rows, 1e-9) if rows else 1e-4

    # Examples.

    @property
    def is_random(self) -> bool:
        """Whether scores may be random, as bounds and estimates are."""
        return self.claim != EXACT

    @property
    def steps(self) -> np.ndarray:
        """The scalars of an example in the order of the conditionals, int[num_dims]."""
        return np.arange(self.event.num_dims) if self.order is None else np.asarray(self.order)

    def ended(self, x: np.ndarray) -> np.ndarray:
        """Returns the examples with `end` behind the first one."""
        return x if self.end is None else np.where(up_to_end(x, self.end), x, self.end).astype(x.dtype)

    def counted(self, x: np.ndarray) -> np.ndarray:
        """Returns which scalars of each example count, in the order of the steps: those up to the end, bool[N, D]."""
        counted = np.ones(x.shape, bool) if self.end is None else np.asarray(up_to_end(x, self.end))
        return counted.reshape(len(x), -1)[:, self.steps]

    def every(self, event: EventSpec) -> np.ndarray:
        """Returns all examples of a discrete event."""
        x = all_values(event)
        return x if self.end is None else x[(x == self.ended(x)).all(1)]

    def examples(self, rng: np.random.Generator, num: int, likely: bool = False) -> np.ndarray:
        """Returns examples in random order: of the data, of the samples, and noise, in equal parts; `likely` ones
        without the noise, unless there is nothing else.
        """
        sources = [] if self.data is None else [self.data[rng.permutation(len(self.data))]]
        if self.sample is not None:
            if not self._drawn:
                self._drawn.append(self.draws(DRAWS, int(rng.integers(2**31))))
            sources.append(rng.permutation(self._drawn[0]))
        if not (sources and likely):
            sources.append(self.ended(random_x(self.event, num, int(rng.integers(2**31)))))
        share = -(-num // len(sources))
        return rng.permutation(np.concatenate([each[:share] for each in sources]))[:num]

    @property
    def levels(self) -> np.ndarray:
        """The number of values of each scalar, int[num_dims]; 0 of real ones."""
        return np.array([site.num_levels for site in self.event.each_site]).repeat(self.event.value_size)

    def one_changed(self, rng: np.random.Generator, x: np.ndarray, size: float = 1.0) -> np.ndarray:
        """Returns copies with one scalar changed, by a symmetric proposal; half of the copies of real values move by
        the difference of two others, which follows their correlations (ter Braak 2006).
        """
        flat, num = x.reshape(len(x), -1).copy(), self.event.num_dims
        rows, place = np.arange(len(x)), rng.integers(num, size=len(x))
        levels = self.levels[place]
        shifted = (flat[rows, place] + 1 + rng.integers(np.maximum(levels - 1, 1))) % np.maximum(levels, 1)
        moved = flat[rows, place] + size * flat.std(0)[place] * rng.normal(size=len(x))
        apart = (flat[np.roll(rows, 1)] - flat[np.roll(rows, 2)]) * (self.levels == 0) * (size / num**0.5)
        together = (levels == 0) & (rng.random(len(x)) < 0.5)
        flat[rows, place] = np.where(together, flat[rows, place], np.where(levels > 0, shifted, moved))
        return (flat + apart * together[:, None]).astype(x.dtype).reshape(x.shape)

    def changed(self, rng: np.random.Generator, x: np.ndarray, scalars: Any) -> np.ndarray:
        """Returns examples in which some scalars are drawn anew, each by itself: a common shift would leave their
        differences alone.
        """
        flat = x.reshape(len(x), -1).copy()
        other = np.where(self.levels > 0, rng.integers(np.maximum(self.levels, 1), size=flat.shape), 0)
        other = np.where(self.levels > 0, other, flat + rng.normal(size=flat.shape))
        flat[:, scalars] = other[:, scalars]
        return flat.reshape(x.shape)


#: The functions of a subject that are called with examples, or draw them.
FUNCTIONS = ("log_prob", "conditionals", "conditional_log_prob", "sample", "elsewhere")


def is_inside(event: EventSpec, x: np.ndarray) -> np.ndarray:
    """Returns which rows are examples of an event, bool[N]."""
    top = np.inf if event.top is None else event.top
    inside = np.isfinite(x) & ((x == np.round(x)) & (x >= 0) & (x <= top) | ~np.isfinite(top))
    return inside.reshape(len(x), -1).all(1)


def as_data(event: EventSpec, data: Any) -> np.ndarray:
    """Returns data as examples of an event; refuses what is none."""
    try:
        x = np.asarray(data, np.float64)
    except (TypeError, ValueError) as error:
        raise UserError(f"data must be an array of numbers [N, {event.shape}]: {describe(error)}") from error
    is_shape = x.shape[1:] == event.shape and x.shape[:1] > (0,)
    refuse((not is_shape, f"data has the shape {x.shape}, not [N, {event.shape}]"))
    outside = np.flatnonzero(~is_inside(event, x)) if event.is_discrete else ()
    refuse((len(outside), f"row {min(outside, default=0)} of data is no example of {event.in_words}"))
    return x.astype(event.dtype)


def _check_claims(subject: Subject) -> None:
    """Refuses wrong values of what is claimed about the functions."""
    order, smaller, data, end, truth = subject.order, subject.smaller, subject.data, subject.end, subject.truth
    num, levels, fit = subject.event.num_dims, subject.event.num_levels, subject.fit
    steps = None if order is None else flat_integers(order)
    is_order = order is None or (steps is not None and sorted(steps) == list(range(num)))
    are_events = isinstance(smaller, list | tuple) and all(isinstance(each, EventSpec) for each in smaller)
    refuse(
        (subject.claim not in SCORE_KINDS[:3], f"claim must be exact, bound or estimate, not {subject.claim!r}"),
        (not is_order, f"order must list 0 to {num - 1} once"),
        (end is not None and not subject.event.is_text, "end is for sequences of tokens"),
        (end is not None and end >= levels, f"end must be a token from 0 to {levels - 1}, not {end}"),
        (subject.tolerance > COARSEST, f"tolerance must be at most {COARSEST}, not {subject.tolerance}"),
        (not are_events, "smaller must be a list of EventSpecs"),
        (are_events and not all(each.is_discrete for each in smaller), "smaller events are discrete: they are summed"),
        (subject.unit not in UNITS, f"unit cannot be {subject.unit!r}{did_you_mean(subject.unit, UNITS)}"),
        (fit is not None and not callable(fit), "fit must be a function"),
        (
            fit is not None and truth is not None and not isinstance(truth, str),
            'with fit, truth is the call string of a data set, such as "markov_chain(levels=4,length=6)"',
        ),
    )
    if fit is None and truth is not None and data is not None:
        try:
            nats = np.asarray(truth, np.float64)
        except (TypeError, ValueError):
            nats = np.array(np.nan)
        of_rows = nats.shape in ((), (len(data),)) and bool(np.isfinite(nats).all())
        refuse((not of_rows, f"truth must be finite nats of the {len(data)} rows of data, or their mean"))


def check_subject(subject: Subject) -> None:
    """Refuses mistakes of the user: of the arguments, and functions that fail on the first two examples."""
    event, data = subject.event, subject.data
    given = [name for name in FUNCTIONS if getattr(subject, name) is not None]
    scores = {"log_prob", "conditionals", "conditional_log_prob"} & set(given)
    refuse(
        (not scores and subject.fit is None, "an audit needs log_prob, conditionals or conditional_log_prob"),
        *((not callable(getattr(subject, name)), f"{name} must be a function") for name in given),
        (subject.conditionals is not None and not event.is_discrete, "conditionals are tables of discrete values"),
    )
    _check_claims(subject)
    x = random_x(event, 2) if data is None else data[np.arange(2) % len(data)]
    x = subject.ended(np.asarray(x, event.dtype))
    sites = np.arange(event.num_sites) == 0
    calls: Mapping[str, Callable[[], Any]] = {
        "log_prob": lambda: subject.call("log_prob", x),
        "elsewhere": lambda: subject.call("elsewhere", x),
        "conditionals": lambda: subject.call("conditionals", x, more=(0,), shape=(event.num_levels,)),
        "conditional_log_prob": lambda: subject.call("conditional_log_prob", x, *np.stack([[sites] * 2, [~sites] * 2])),
        "sample": lambda: subject.draws(2, 0),
    }
    for name in given * 2:  # the first call may compile
        try:
            calls[name]()
        except Fault as fault:
            if fault.finding.status == UNDECIDED:
                raise UserError(str(fault)) from fault
