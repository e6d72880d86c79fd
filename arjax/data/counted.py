"""Data sets that are uniform over a finite set whose members can be counted: Sudoku grids, and strings of an automaton.

Every probability is a ratio of two whole numbers: log p(x) = -log N for each of the N members, and p(value | any other
values) is the number of members that agree with all of them, divided by the number that agree with the others.
"""

from __future__ import annotations

import abc
import functools
import itertools
import math

import numpy as np

from arjax.core.errors import refuse
from arjax.core.options import opt, seed_option
from arjax.core.spec import EventSpec
from arjax.data.base import DATASETS, Dataset, draw_splits, from_splits
from arjax.data.generated import choose


class Counted(abc.ABC):
    """The uniform distribution over a finite set of arrays of D tokens, such as `Sudoku(6)`.

    Attributes:
      event: of one member, D sites of V levels.
    """

    event: EventSpec

    @abc.abstractmethod
    def counts(self, given: np.ndarray) -> np.ndarray:
        """Returns how many members that agree with the values `given` int[*grid] have each value at each site,
        whole numbers [D, V]; -1 marks an open site. The rows of all sites have the same sum.
        """

    @abc.abstractmethod
    def contains(self, x: np.ndarray) -> np.ndarray:
        """Returns which of the arrays int[N, *grid] are members, bool[N]."""

    @abc.abstractmethod
    def draw(self, rng: np.random.Generator, num: int) -> np.ndarray:
        """Returns members, each with the same probability in every row, int32[num, *grid]."""

    @property
    def num_members(self) -> int:
        return self.num_completions(np.full(self.event.grid_shape, -1))

    @property
    def entropy(self) -> float:
        """log N in nats: no model can be expected to score less."""
        return math.log(self.num_members)

    def num_completions(self, given: np.ndarray) -> int:
        """Returns how many members agree with the values int[*grid], of which -1 are open."""
        return int(self.counts(given)[0].sum())

    def log_prob(self, x: np.ndarray) -> np.ndarray:
        """Returns log p in nats, float64[N], of arrays int[N, *grid]; -inf for those that are no members."""
        return np.where(self.contains(x), -self.entropy, -np.inf)

    def conditional_log_prob(self, x: np.ndarray, query: np.ndarray, evidence: np.ndarray) -> float:
        """Returns log p(values at `query` | values at `evidence`) of one array int[*grid] in nats, -inf where the
        evidence alone has probability 0; both are masks, bool[*grid].
        """
        both, given = (self.num_completions(np.where(mask, x, -1)) for mask in (query | evidence, evidence))
        return math.log(both) - math.log(given) if both else -math.inf

    def dataset(self, name: str, num_examples: int, seed: int) -> Dataset:
        return from_splits(self.event, draw_splits(self.draw, num_examples, seed), name=name)


class Sudoku(Counted):
    """All Sudoku grids of `size` 4 (boxes of 2 x 2) or 6 (boxes of 2 rows and 3 columns).

    A band is two rows: its left box has some digits in the upper row and the others in the lower one, its right box the
    reverse. Bands fit together where the pairs of digits that they have in a column differ, and the left and the right
    half of a grid meet this condition by themselves. So all grids are the sum, over the ways to stack the pairs of the
    left half and of the right half, of the product over the bands of how many bands have these pairs.
    """

    def __init__(self, size: int = 6):
        half, digits = size // 2, frozenset(range(size))
        self.event = EventSpec((size, size), kind="tokens", num_levels=size)
        bands: list[tuple[tuple[int, ...], ...]] = []
        for upper in map(frozenset, itertools.combinations(range(size), half)):
            of_boxes = (upper, digits - upper, digits - upper, upper)
            bands += itertools.product(*(itertools.permutations(sorted(part)) for part in of_boxes))
        self.bands_NC = np.array(bands).reshape(-1, 2 * size)
        pairs_NS = (1 << self.bands_NC.reshape(-1, 2, size)).sum(1)  # the digits of a column, as bits
        pairs_PH, half_of_band = np.unique(pairs_NS.reshape(-1, half), axis=0, return_inverse=True)
        self.num_pairs = len(pairs_PH) ** 2  # of a whole band
        self.pairs_N = half_of_band.reshape(-1, 2) @ (len(pairs_PH), 1)
        stacks_BK = np.indices((len(pairs_PH),) * half).reshape(half, -1)
        fit_K = (np.bitwise_or.reduce(pairs_PH[stacks_BK], 0) == 2**size - 1).all(1)
        left_BK = right_BK = stacks_BK[:, fit_K]
        self.pairs_BKK = left_BK[:, :, None] * len(pairs_PH) + right_BK[:, None]

    def counts(self, given):
        size, counts = self.event.num_levels, []
        sums = functools.partial(np.bincount, minlength=self.num_pairs)  # of whole numbers far below 2^53
        given_B1C = np.asarray(given).reshape(len(self.pairs_BKK), 1, -1)
        fits_BN = ((given_B1C < 0) | (given_B1C == self.bands_NC)).all(-1)
        ways_BKK = [sums(self.pairs_N, fits_BN[b])[pairs_KK] for b, pairs_KK in enumerate(self.pairs_BKK)]
        cells_NC = np.arange(2 * size) * size + self.bands_NC
        for b, pairs_KK in enumerate(self.pairs_BKK):
            others_KK = math.prod(ways for other, ways in enumerate(ways_BKK) if other != b)
            weight_N = fits_BN[b] * sums(pairs_KK.ravel(), others_KK.ravel())[self.pairs_N]
            counts.append(np.bincount(cells_NC.ravel(), np.repeat(weight_N, 2 * size), 2 * size * size))
        return np.concatenate(counts).astype(np.int64).reshape(-1, size)

    def contains(self, x):
        size = self.event.num_levels
        boxes = np.reshape(x, (-1, size // 2, 2, 2, size // 2)).swapaxes(2, 3).reshape(-1, size, size)
        groups = np.stack([np.reshape(x, boxes.shape), np.swapaxes(np.reshape(x, boxes.shape), 1, 2), boxes], 1)
        return (np.sort(groups, -1) == np.arange(size)).all((1, 2, 3))

    def draw(self, rng, num):
        """Draws the pairs of all bands together, then each band among those that have its pairs."""
        ways_P = np.bincount(self.pairs_N, minlength=self.num_pairs)
        until_K = np.cumsum(ways_P[self.pairs_BKK].prod(0).ravel())
        stack_N = np.searchsorted(until_K, rng.integers(until_K[-1], size=num), side="right")
        pairs_BN = self.pairs_BKK.reshape(len(self.pairs_BKK), -1)[:, stack_N]
        place_BN = np.cumsum(ways_P)[pairs_BN] - 1 - rng.integers(ways_P[pairs_BN])
        bands_BNC = self.bands_NC[np.argsort(self.pairs_N, kind="stable")[place_BN]]
        return bands_BNC.swapaxes(0, 1).reshape(num, *self.event.grid_shape).astype(np.int32)


@DATASETS.register("sudoku")
def sudoku(
    *, size: int = opt(6, choices=(4, 6)), num_examples: int = opt(100_000, least=4), seed: int = seed_option()
) -> Dataset:
    """Sudoku grids, all equally probable: tokens [size, size], where 0 stands for the digit 1.

    4 x 4 grids have boxes of 2 x 2, and there are 288: an entropy of 5.66 nats. 6 x 6 grids have boxes of 2 rows and 3
    columns, and there are 28,200,960: 17.15 nats. No model can be expected to score less. Each digit of a full grid
    follows from others. `Sudoku(size)` of `arjax.data.counted` has the exact probability of any cells given any others.
    Splits are drawn independently and with replacement, so they share grids: all those of size 4, and of 100,000 of
    size 6 about .4 % of the grids of another split.

    Args:
      size: rows, columns and digits.
      num_examples: of the train split; the others have a quarter of it.
    """
    return Sudoku(size).dataset("sudoku", num_examples, seed)


#: language: length -> the state after each value in each state [S, 2], and the states that end a string; the first
#: state is the start, and a state beyond the last one has no way back.
AUTOMATA = {
    "brackets": lambda length: ([(s + 1, s - 1 if s else -1) for s in range(length // 2 + 1)], (0,)),
    "apart": lambda length: ([(0, 1), (0, -1)], (0, 1)),
    "multiples": lambda length: ([(2 * s % 7, (2 * s + 1) % 7) for s in range(7)], (0,)),
}


class Automaton(Counted):
    """All strings of `length` bits that an automaton accepts."""

    def __init__(self, language: str = "brackets", length: int = 16):
        self.language, self.event = language, EventSpec((length,), kind="tokens", num_levels=2)
        rows, accepted = AUTOMATA[language](length)
        dead = len(rows)
        after = np.array([*rows, (dead, dead)])
        self.after_SV = np.where((after < 0) | (after > dead), dead, after)
        self.accepted_S = np.isin(np.arange(dead + 1), accepted)

    def counts(self, given):
        fits_TV = (np.asarray(given)[:, None] < 0) | (np.asarray(given)[:, None] == np.arange(2))
        ends = self._ends(fits_TV)
        begins_S, counts = np.eye(1, len(self.after_SV), dtype=int).ravel().astype(object), []
        for fits_V, ends_S in zip(fits_TV, ends[1:], strict=True):
            ways_SV = begins_S[:, None] * fits_V
            counts.append((ways_SV * ends_S[self.after_SV]).sum(0))
            begins_S = np.zeros_like(begins_S)
            np.add.at(begins_S, self.after_SV, ways_SV)
        return np.stack(counts)

    def _ends(self, fits_TV: np.ndarray) -> list[np.ndarray]:
        """Returns the ways to end from each state before each value and after all, whole numbers of any size [S]."""
        ends = [self.accepted_S.astype(object)]
        for fits_V in fits_TV[::-1]:
            ends.insert(0, (ends[0][self.after_SV] * fits_V).sum(1))
        return ends

    def contains(self, x):
        state_N = np.zeros(len(x), int)
        for x_N in np.transpose(x):
            state_N = self.after_SV[state_N, x_N]
        return self.accepted_S[state_N]

    def draw(self, rng, num):
        """Draws value after value, each by the ways to end after it."""
        ends = self._ends(np.ones((self.event.num_sites, 2), int))
        state_N, x_NT = np.zeros(num, int), np.empty((num, self.event.num_sites), np.int32)
        for t, ends_S in enumerate(ends[1:]):
            ways_SV = ends_S[self.after_SV]
            p_SV = (ways_SV / np.maximum(ways_SV.sum(1, keepdims=True), 1)).astype(float)
            x_NT[:, t] = choose(rng, p_SV[state_N])
            state_N = self.after_SV[state_N, x_NT[:, t]]
        return x_NT


@DATASETS.register("automaton")
def automaton(
    *,
    language: str = opt("brackets", choices=AUTOMATA),
    length: int = opt(16, most=1000),
    num_examples: int = opt(20_000, least=4),
    seed: int = seed_option(),
) -> Dataset:
    """Strings of bits that a small automaton accepts, all equally probable: tokens [length].

    "brackets": as many 1 as 0, and never more 1 than 0 before (0 opens a bracket and 1 closes one); 1,430 strings of 16
    bits, an entropy of 7.27 nats. "apart": no two 1 side by side; 2,584 and 7.86. "multiples": numbers divisible by 7,
    the highest bit first; 9,363 and 9.14. No model can be expected to score less. `Automaton(language, length)` of
    `arjax.data.counted` has the exact probability of any bits given any others.
    """
    refuse((language == "brackets" and length % 2, f"brackets have an even length, not {length}"))
    return Automaton(language, length).dataset("automaton", num_examples, seed)
