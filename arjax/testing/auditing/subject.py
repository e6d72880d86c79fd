"""The subject of an audit: functions of numpy arrays, called in batches, checked and timed."""

from __future__ import annotations

import dataclasses
import math
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from arjax.core.arrays import as_array, up_to_end
from arjax.core.errors import UserError, describe, refuse
from arjax.core.options import checked_arguments, flat_integers, opt
from arjax.core.scores import EXACT, SCORE_KINDS
from arjax.core.spec import EventSpec
from arjax.testing.auditing.findings import FAILED, Fault
from arjax.testing.examples import all_values, random_x

#: False alarms of a random test, at most.
ALPHA = 1e-6
#: Calls of a random score, whose mean is audited, and standard errors that count as no chance.
REPEATS, SIGMAS = 24, 6.0
#: Nats below which a product of float32 may be 0.
UNDERFLOW = -80.0
#: Draws that are kept as examples.
DRAWS = 256
#: Work that takes more seconds is announced.
LONG = 5.0
#: Units of a score.
BASES = {"nats": 1.0, "bits": math.log(2)}
UNITS = tuple(f"{base}{per}" for per in ("", "_per_dim", "_per_site", "_per_byte") for base in BASES)


@checked_arguments(end=0)
@dataclasses.dataclass(frozen=True, eq=False)
class Subject:
    """A model under audit. Each function is optional, takes arrays of numpy or of any framework, and returns one number
    or row for each example of x [B, *grid, *value].

    Attributes:
      event: of an example.
      log_prob: x -> log p in nats [B], or a bound or an estimate of it, as `claim` says.
      conditionals: (x, t) -> the probabilities [B, V] of the values of scalar `order[t]` given those before it.
      conditional_log_prob: (x, query, given) -> log p(x[query] | x[given]) in nats [B]; the sites are bool[B, D].
      in_order: (x, number) -> the log p [B] that a model of any order gives x in an order of its, that of the number
        int[B], which is the same for all.
      sample: (num, seed) -> x [num, ...].
      elsewhere: x -> the scores of `log_prob`, computed on other devices or in another way.
      fit: training examples x of `truth` -> a function like `log_prob`.
      data: examples [N, *grid, *value] as the model meets them.
      truth: the nats -log p [N] of the rows of `data` under the distribution that they were drawn from, or their mean,
        an entropy; with `fit`, the call string of a data set whose distribution is known, such as "markov_chain".
      claim: "exact", "bound" (from below) or "estimate".
      order: int[D * size of a value], the scalars of an example in the order of the conditionals; None: as they lie.
      end: the token that ends a sequence; what follows it is the same token.
      smaller: events that `log_prob` takes as well, to be enumerated: they refute a model, and prove nothing about
        `event`, as one that is wrong there alone has the mass 1 on all smaller ones.
      reported, unit: a published number, and its unit, of `UNITS`; it is that of `data`.
      num_bytes: of an example of `data`, on average, for a unit per byte.
      tolerance: relative error of a probability by rounding: 1e-4 of float32, 2e-2 of bfloat16.
      batch_size: examples in one call, at most.
    """

    event: EventSpec
    log_prob: Callable[..., Any] | None = None
    conditionals: Callable[..., Any] | None = None
    conditional_log_prob: Callable[..., Any] | None = None
    in_order: Callable[..., Any] | None = None
    sample: Callable[..., Any] | None = None
    elsewhere: Callable[..., Any] | None = None
    fit: Callable[..., Any] | None = None
    data: np.ndarray | None = None
    truth: Any = None
    claim: str = opt(EXACT, choices=SCORE_KINDS[:3])
    order: np.ndarray | None = None
    end: int | None = None
    smaller: Sequence[EventSpec] = ()
    reported: float | None = None
    unit: str = opt("nats", choices=UNITS)
    num_bytes: float | None = None
    tolerance: float = opt(1e-4, least=0, most=0.1)
    batch_size: int = opt(256)
    name: str = "the model"
    #: The time at which the audit ends, and whether nothing is printed.
    _until: Any = math.inf
    _quiet: bool = True
    #: Seconds and rows of each function and number of rows, and draws.
    _pace: dict[tuple[str, int], np.ndarray] = dataclasses.field(default_factory=dict, repr=False)
    _drawn: list[np.ndarray] = dataclasses.field(default_factory=list, repr=False)

    def as_subject(self) -> Subject:
        """Returns itself, as a trained model returns its subject."""
        return self

    # Time.

    @property
    def left(self) -> float:
        """The seconds that are left."""
        return max(self._until - time.monotonic(), 0.0)

    def pace(self, name: str) -> float:
        """Returns the mean seconds of a function for one row so far."""
        seconds, rows = sum((each for (of, _), each in self._pace.items() if of == name), np.zeros(2))
        return max(seconds / rows, 1e-9) if rows else 1e-4

    @property
    def calls(self) -> int:
        """The calls whose mean is a score: several of random ones."""
        return REPEATS if self.is_random else 1

    def rows(self, name: str, most: int, share: float = 0.25, each: int = 1, least: int = 1) -> int:
        """Returns how many examples, of `each` so many rows of a function, fit into a share of the time that is left,
        from `least` to `most` ones; says how long they take, if they take long.
        """
        of_one = each * self.pace(name) * (self.calls if name == "log_prob" else 1)
        num = max(int(min(most, share * self.left / of_one)), least)
        if num * of_one > LONG and not self._quiet:
            words = f"{num:,} examples by `{name}`, about {num * of_one:.0f} s"
            print(f"arjax: audit: {words}", file=sys.stderr, flush=True)
        return num

    # Calls, checked.

    def call(self, name: str, *rows: np.ndarray, more: tuple[Any, ...] = (), shape: tuple[int, ...] = ()) -> np.ndarray:
        """Returns the results of a function of some rows, float64[N, *shape]; batches have few sizes, as compiled
        programs like it, and are small where little time is left. Raises `Fault` where it fails.
        """
        results, num = [np.zeros((0, *shape))], len(rows[0])
        sizes = [size for size in (1, 4, 16, 64, self.batch_size) if size <= self.batch_size]
        while (start := sum(map(len, results))) < num:
            most = self.left / self.pace(name)
            size = next((size for size in sizes if size >= num - start or 4 * size > most), self.batch_size)
            index = np.minimum(start + np.arange(size), num - 1)
            result = self.run(name, (size, *shape), *(each[index] for each in rows), *more)
            results.append(result[: num - start])
        return np.concatenate(results)

    def run(self, name: str, shape: tuple[int, ...], *arguments: Any) -> np.ndarray:
        """Returns the result of a function as float64 of a shape. The first call of a size, which may compile, is not
        timed.
        """
        if not self.left:
            raise Fault("there was no time left: raise budget_s")
        begin = time.monotonic()
        result = self.given(name, *arguments)
        result = result.detach().cpu().double() if hasattr(result, "detach") else result  # of torch
        try:
            array = np.asarray(result, np.float64)
        except (TypeError, ValueError) as error:
            raise Fault(f"`{name}` returned {type(result).__name__}, which is no array of numbers") from error
        array = array.reshape(shape) if shape[0] == 1 and array.size == math.prod(shape) else array
        if array.shape != shape:
            raise Fault(f"`{name}` returned the shape {array.shape} for {shape[0]} examples, not {shape}")
        before = self._pace.get((name, len(array)))
        spent = np.array([time.monotonic() - begin, len(array)])
        self._pace[name, len(array)] = np.zeros(2) if before is None else before + spent
        return array

    def given(self, name: str, *arguments: Any) -> Any:
        """Calls a function of the user; any exception of it becomes a `Fault` of one sentence."""
        try:
            return getattr(self, name)(*arguments)
        except Fault:
            raise
        except Exception as error:  # code of the user: whatever it raises is told in a sentence
            words = f"refuses: {error}" if isinstance(error, UserError) else f"raised {describe(error)}"
            raise Fault(f"`{name}` {words}") from error

    def scores(self, x: np.ndarray, name: str = "log_prob", **masks: np.ndarray) -> np.ndarray:
        """Returns log p of examples in nats, float64[N]; NaN and +inf are faults of the model."""
        log_p = self.call(name, x, *masks.values())
        words = f"`{name}` is {{}}, which is no log-probability"
        self._only(~np.isnan(log_p) & (log_p < np.inf), x, log_p, words, **masks)
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
        p = self.call("conditionals", x, more=(int(t),), shape=(self.event.num_levels,))
        allowed = (np.isfinite(p) & (p >= 0)).all(1)
        words = f"the probabilities of step {t} are {{}}"
        words += ", which look like logarithms: return exp of them" * bool(not allowed.all() and (p <= 0).all())
        self._only(allowed, x, p.min(1), words, step=t)
        return p

    def queries(self, x: np.ndarray, query: np.ndarray, given: np.ndarray) -> np.ndarray:
        """Returns log p(x[query] | x[given]), float64[N], of masks bool[D]."""
        query, given = (np.broadcast_to(mask, (len(x), len(mask))) for mask in (query, given))
        return self.scores(x, "conditional_log_prob", query=query, given=given)

    def draws(self, num: int, seed: int) -> np.ndarray:
        """Returns samples of the model, [num, ...]; a sample that is no example of the event is a fault."""
        x = self.run("sample", (num, *self.event.shape), num, seed)
        flat = x.reshape(num, -1)
        inside = (self.levels == 0) | ((flat == np.round(flat)) & (flat >= 0) & (flat < self.levels))
        self._only((inside & np.isfinite(flat)).all(1), x, flat[:, 0], "a sample is no example of the event")
        return x.astype(self.event.dtype)

    def _only(self, allowed: np.ndarray, x: np.ndarray, value: np.ndarray, words: str, **more: Any) -> None:
        if not allowed.all():
            n = int(np.argmin(allowed))
            raise Fault(words.format(f"{value[n]:.4g}"), FAILED, {"x": x[n], **more})

    def off(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Returns by how many nats scores differ beyond the rounding of long sums, [N]; two of -inf do not."""
        difference = np.where(a == b, 0.0, np.abs(a - b))
        return np.where(difference > self.tolerance * (10 + np.minimum(np.abs(a), np.abs(b))), difference, 0.0)

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

    def are_ended(self, x: np.ndarray) -> np.ndarray:
        """Returns which examples hold nothing but `end` behind the first one, bool[N]."""
        return (x == self.ended(x)).reshape(len(x), -1).all(1)

    def counted(self, x: np.ndarray) -> np.ndarray:
        """Returns which scalars of each example count, in the order of the steps: those up to the end, bool[N, D]."""
        counted = np.ones(x.shape, bool) if self.end is None else np.asarray(up_to_end(x, self.end))
        return counted.reshape(len(x), -1)[:, self.steps]

    def every(self, event: EventSpec) -> np.ndarray:
        """Returns all examples of a discrete event."""
        x = all_values(event)
        return x[self.are_ended(x)]

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
        flat, other = x.reshape(len(x), -1).copy(), random_x(self.event, len(x), int(rng.integers(2**31)))
        flat[:, scalars] = other.reshape(flat.shape)[:, scalars]
        return flat.reshape(x.shape)


def divisors(event: EventSpec, num_bytes: float | None = None) -> dict[str, float]:
    """Returns the divisor of the nats of an example, of so many bytes on average, by the name of a unit."""
    parts = {"": 1, "_per_dim": event.num_dims, "_per_site": event.num_sites, "_per_byte": num_bytes}
    return {f"{base}{per}": size * num for per, num in parts.items() if num for base, size in BASES.items()}


def looks_like(event: EventSpec, is_right: Callable[[float], bool]) -> str:
    """Returns in words the unit of scores that are right once they are multiplied by its divisor; "" for none."""
    for sign, word in ((1, "log p"), (-1, "-log p")):
        for name, divisor in divisors(event).items():
            if (factor := sign * divisor) != 1 and is_right(factor):
                return f"; times {factor:.4g} they would be right: they look like {word} in {name.replace('_', ' ')}"
    return ""


def check_subject(subject: Subject) -> None:
    """Refuses mistakes of the user: of the arguments, and functions that fail on the first two examples."""
    event, data, smaller, end, truth = subject.event, subject.data, subject.smaller, subject.end, subject.truth
    num, levels, fit = event.num_dims, event.num_levels, subject.fit
    none = subject.log_prob is None and subject.conditionals is None and subject.conditional_log_prob is None
    steps = np.arange(num) if subject.order is None else flat_integers(subject.order)
    is_order = steps is not None and sorted(steps) == list(range(num))
    are_events = isinstance(smaller, list | tuple) and all(isinstance(each, EventSpec) for each in smaller)
    known = 'with fit, truth is the call string of a data set, such as "markov_chain(levels=4,length=6)"'
    refuse(
        (none and fit is None, "an audit needs log_prob, conditionals or conditional_log_prob"),
        (subject.conditionals is not None and not event.is_discrete, "conditionals are tables of discrete values"),
        (not is_order, f"order must list 0 to {num - 1} once"),
        (end is not None and not event.is_text, "end is for sequences of tokens"),
        (end is not None and end >= levels, f"end must be a token from 0 to {levels - 1}, not {end}"),
        (not are_events, "smaller must be a list of EventSpecs"),
        (are_events and not all(each.is_discrete for each in smaller), "smaller events are discrete: they are summed"),
        (subject.unit.endswith("_per_byte") and not subject.num_bytes, f"{subject.unit} needs num_bytes of an example"),
        (fit is not None and truth is not None and not isinstance(truth, str), known),
    )
    if fit is None and truth is not None and data is not None:
        nats = np.asarray(as_array(truth, "truth"))
        of_rows = nats.shape in ((), (len(data),)) and bool(np.isfinite(nats).all())
        refuse((not of_rows, f"truth must be finite nats of the {len(data)} rows of data, or their mean"))
    x = random_x(event, 4) if data is None else data[np.arange(4) % len(data)]
    x, sites = subject.ended(np.asarray(x, event.dtype)), np.repeat([np.arange(event.num_sites) == 0], 4, 0)
    calls: dict[str, tuple[tuple[int, ...], tuple[Any, ...]]] = {  # the shapes of results, and arguments
        "log_prob": ((), (x,)),
        "elsewhere": ((), (x,)),
        "conditionals": ((levels,), (x, 0)),
        "conditional_log_prob": ((), (x, sites, ~sites)),
        "in_order": ((), (x, np.zeros(4, int))),
        "sample": (event.shape, (4, 0)),
    }
    for name, (shape, arguments) in [*calls.items()] * 2:  # the first call may compile
        if getattr(subject, name) is not None:
            try:
                subject.run(name, (4, *shape), *arguments)
            except Fault as fault:
                raise UserError(str(fault)) from fault
