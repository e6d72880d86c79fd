"""Data sets that are generated: known distributions, points of the plane, tests of memory and of state, and noise."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from arjax.core.batch import Batch
from arjax.core.errors import UserError, refuse
from arjax.core.options import opt, seed_option
from arjax.core.spec import KINDS, ContextSpec, EventSpec
from arjax.data.base import DATASETS, USUAL_LEVELS, Dataset, Truth, draw_splits, from_splits, levels_of
from arjax.data.sources import SPLITS, read_all

LEVELS, CONCENTRATION = opt(8, least=2), opt(0.3, least=0.01, most=1e6)
NUM_DRAWN, NUM_ANSWERS = opt(20_000, least=4), opt(20_000, least=10)

# Sequences whose exact conditionals are known (`Dataset.truth`).

#: The least probability of a value and of a state, before probabilities are normalised: logarithms stay finite.
FLOOR = 1e-4
MOST_HISTORIES = 2**16
#: Rounds of the power iteration, and the change of a probability at which it ends.
ROUNDS, CHANGE = 20_000, 1e-14
#: Histories of the largest chain whose equations are solved where the power iteration has not ended.
MOST_SOLVED = 2048


@DATASETS.register("hidden_markov")
def hidden_markov(
    *,
    states: int = 8,
    levels: int = LEVELS,
    length: int = 64,
    concentration: float = CONCENTRATION,
    num_examples: int = NUM_DRAWN,
    seed: int = seed_option(),
) -> Dataset:
    """Sequences of tokens from a hidden Markov model in its stationary distribution; `truth` is the model.

    Each row of its transitions and emissions is drawn from a symmetric Dirichlet distribution. Its entropy has no
    closed form; the mean of -log p of a split under the truth estimates it, and no model can be expected to score less.

    Args:
      states, levels: of the hidden chain, K, and different tokens, V.
      concentration: of the Dirichlet distributions; rows are sparser the smaller it is, and uniform as it grows.
      num_examples: of the train split; the others have a quarter of it.
    """
    rng = _rng_of_model(seed)
    transitions_KK = dirichlet(rng, concentration, states, states)
    emissions_KV = dirichlet(rng, concentration, states, levels)
    initial_K = stationary(transitions_KK)

    def draw(rng: np.random.Generator, num: int) -> np.ndarray:
        z_N, x_NT = choose(rng, np.broadcast_to(initial_K, (num, states))), np.empty((num, length), np.int32)
        for t in range(length):
            x_NT[:, t] = choose(rng, emissions_KV[z_N])
            z_N = choose(rng, transitions_KK[z_N])
        return x_NT

    probabilities = {"initial": initial_K, "transitions": transitions_KK, "emissions": emissions_KV}
    event, splits = EventSpec((length,), kind="tokens", num_levels=levels), draw_splits(draw, num_examples, seed)
    return from_splits(event, splits, name="hidden_markov", truth=_truth(f"hidden_markov({states=})", probabilities))


@DATASETS.register("markov_chain")
def markov_chain(
    *,
    order: int = 1,
    levels: int = LEVELS,
    length: int = 64,
    concentration: float = CONCENTRATION,
    num_examples: int = NUM_DRAWN,
    seed: int = seed_option(),
) -> Dataset:
    """Sequences of tokens from a Markov chain in its stationary distribution; `truth` is the chain.

    The row of each history of `order` values (at most 65,536 histories) is drawn from a symmetric Dirichlet
    distribution; the first values have the conditionals of the stationary distribution. So every stretch of a sequence
    has one distribution, and the entropy is that of the first `order` values plus (length - order) times the entropy
    rate.
    """
    rng = _rng_of_model(seed)
    if order * np.log(levels) > np.log(MOST_HISTORIES) + 1e-9:
        raise UserError(f"a chain has at most {MOST_HISTORIES:,} histories, and levels^order are {levels}^{order}")
    rows_HV = dirichlet(rng, concentration, levels**order, levels)
    first = stationary(rows_HV).reshape((levels,) * order)
    tables = []  # of the histories of 0, 1, ..., `order` values
    for n in range(order):
        joint = first.sum(tuple(range(n + 1, order))).reshape(-1, levels)
        tables.append(joint / joint.sum(1, keepdims=True))
    tables.append(rows_HV)

    def draw(rng: np.random.Generator, num: int) -> np.ndarray:
        history_N, x_NT = np.zeros(num, np.int64), np.empty((num, length), np.int32)
        for t in range(length):
            x_NT[:, t] = choose(rng, tables[min(t, order)][history_N])
            history_N = (history_N * levels + x_NT[:, t]) % levels**order
        return x_NT

    event, splits = EventSpec((length,), kind="tokens", num_levels=levels), draw_splits(draw, num_examples, seed)
    truth = _truth(f"markov({order=})", {"table": np.concatenate(tables)})
    return from_splits(event, splits, name="markov_chain", truth=truth)


def _truth(network: str, probabilities: dict[str, np.ndarray]) -> Truth:
    """Returns the distribution of the data as a network and its parameters, which are logarithms."""
    return Truth(network, {name: np.log(p).astype(np.float32) for name, p in probabilities.items()})


def dirichlet(rng: np.random.Generator, concentration: float, rows: int, size: int) -> np.ndarray:
    """Returns rows of probabilities, float64[rows, size], none of them 0."""
    p = rng.dirichlet(np.full(size, concentration), rows) + FLOOR
    return p / p.sum(1, keepdims=True)


def stationary(rows_HV: np.ndarray) -> np.ndarray:
    """Returns the stationary distribution over histories of a chain, float64[H], from p(next value | history) [H, V].
    Each round of the power iteration is averaged with the one before, so that chains that are nearly periodic settle.
    Where that needs too many rounds, because a chain hardly ever leaves some histories, p = p P is solved.
    """
    num, levels = rows_HV.shape
    p_H = np.full(num, 1 / num)
    for _ in range(ROUNDS):
        # The oldest value of a history, its most significant digit, is summed over.
        after_H = (p_H[:, None] * rows_HV).reshape(levels, num // levels, levels).sum(0).ravel()
        p_H, last_H = (p_H + after_H) / 2, p_H
        if np.abs(p_H - last_H).max() < CHANGE:
            break
    else:
        p_H = _solved(rows_HV) if num <= MOST_SOLVED else p_H
    return p_H / p_H.sum()


def _solved(rows_HV: np.ndarray) -> np.ndarray:
    """Returns the solution p of p = p P and sum(p) = 1, float64[H], for the transitions P between histories."""
    num, levels = rows_HV.shape
    equations_HH, ones_H = -np.eye(num), np.zeros(num)
    for history, value in np.ndindex(rows_HV.shape):
        equations_HH[(history * levels + value) % num, history] += rows_HV[history, value]
    equations_HH[0], ones_H[0] = 1, 1  # one of the equations follows from the others
    return np.linalg.solve(equations_HH, ones_H)


def choose(rng: np.random.Generator, p_NV: np.ndarray) -> np.ndarray:
    """Returns a value drawn from each row of probabilities, int64[N]."""
    below_N = (rng.random(len(p_NV))[:, None] >= np.cumsum(p_NV, axis=1)).sum(1)
    return np.minimum(below_N, p_NV.shape[1] - 1)  # the last sum may be just below 1


def _rng_of_model(seed: int) -> np.random.Generator:
    """Returns a generator for the parameters of the model, which all splits share."""
    return np.random.default_rng((seed, len(SPLITS)))


# Points of the plane from densities that are known: the least possible score of a model can be computed.


def log_density(name: str, x: np.ndarray, noise: float) -> np.ndarray:
    """Returns log p in nats, float64[N], of points float[N, 2] (or [N, 1, 2]) under the density of a data set here."""
    log_p, _ = DENSITIES[name]
    return log_p(np.asarray(x, np.float64).reshape(-1, 2), noise)


def true_nats(name: str, split: str = "test", **options: Any) -> float:
    """Returns the mean of -log p over a split of a data set of this file, with `options`, under the density that it was
    drawn from. No model can be expected to score fewer nats.
    """
    options = DATASETS.resolve(name, options)
    x = np.asarray(read_all(DATASETS.get(name)(**options).splits[split]).x)
    return float(-log_density(name, x, options["noise"]).mean())


def _moons(angle: np.ndarray) -> np.ndarray:
    """Returns the points of both half circles at angles [N] from 0 to pi, [2, N, 2]."""
    upper = np.stack([np.cos(angle), np.sin(angle)], -1)
    return np.stack([upper, np.array([1.0, 0.5]) - upper])


def _draw_moons(rng: np.random.Generator, num: int) -> np.ndarray:
    moon = rng.integers(2, size=num)
    return _moons(math.pi * rng.uniform(size=num))[moon, np.arange(num)]


_gauss_legendre = functools.cache(np.polynomial.legendre.leggauss)  # of 800 points takes .2 seconds


def _log_moons(x: np.ndarray, noise: float) -> np.ndarray:
    """Integrates the noise around the half circles over the angle, at nodes that are closer than the least noise."""
    nodes, weights = _gauss_legendre(800)
    points = _moons(math.pi * (nodes + 1) / 2).reshape(-1, 2)
    return _log_mixture(x, points, np.concatenate([weights, weights]) / 4, noise)


_ANGLES = 2 * math.pi * np.arange(8) / 8
#: The means of the Gaussians, [8, 2].
_MEANS = 2 * np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], -1)


def _corners() -> np.ndarray:
    """Returns the lower corners of the black squares, [8, 2]."""
    places = np.stack(np.meshgrid(np.arange(4), np.arange(4), indexing="ij"), -1).reshape(-1, 2)
    return places[places.sum(-1) % 2 == 0] - 2.0


def _draw_board(rng: np.random.Generator, num: int) -> np.ndarray:
    return _corners()[rng.integers(8, size=num)] + rng.uniform(size=(num, 2))


def _log_board(x: np.ndarray, noise: float) -> np.ndarray:
    """Returns the log of the mean over the squares of the product of the masses of normal noise between their sides."""
    from_corner = x[:, None] - _corners()  # [N, 8, 2], from 0 to 1 on a square
    if noise:
        from scipy.special import ndtr  # takes long to import

        inside = ndtr(from_corner / noise) - ndtr((from_corner - 1) / noise)
    else:
        inside = ((from_corner >= 0) & (from_corner <= 1)).astype(float)
    with np.errstate(divide="ignore"):
        return np.log(inside.prod(-1).mean(-1))


def _log_mixture(x: np.ndarray, means: np.ndarray, weights: np.ndarray, noise: float) -> np.ndarray:
    """Returns log sum_k w_k N(x; m_k, noise^2) of points [N, 2], [N]."""
    log_p = []
    for part in np.array_split(x, max(1, len(x) // 1000)):
        square = ((part[:, None] - means) ** 2).sum(-1) / noise**2
        log_p.append(np.logaddexp.reduce(np.log(weights) - square / 2, axis=1))
    return np.concatenate(log_p) - math.log(2 * math.pi * noise**2)


#: By the names of the data sets: log p of points [N, 2] that have some noise, and points without it.
DENSITIES: dict[str, tuple[Callable, Callable]] = {
    "two_moons": (_log_moons, _draw_moons),
    "eight_gaussians": (
        lambda x, noise: _log_mixture(x, _MEANS, np.full(8, 1 / 8), noise),
        lambda rng, num: _MEANS[rng.integers(8, size=num)],
    ),
    "checkerboard": (_log_board, _draw_board),
}
_LEAST_NOISE = 0.01


def _register_plane(name: str, usual_noise: float, about: str) -> None:
    """Registers the data set of one of the densities."""

    def points(
        *,
        noise: float = opt(usual_noise, least=min(usual_noise, _LEAST_NOISE), most=10),
        as_one_site: bool = False,
        num_examples: int = opt(100_000, least=4),
        seed: int = seed_option(),
    ) -> Dataset:
        too_little = f"the data set option 'noise' must be 0, or from {_LEAST_NOISE} to 10, not {noise}"
        refuse((0 < noise < _LEAST_NOISE, too_little))
        event = EventSpec((1,), (2,), "real") if as_one_site else EventSpec((2,), kind="real")

        def draw(rng: np.random.Generator, num: int) -> np.ndarray:
            clean = DENSITIES[name][1](rng, num)
            return (clean + noise * rng.normal(size=clean.shape)).astype(np.float32).reshape(num, *event.shape)

        return from_splits(event, draw_splits(draw, num_examples, seed), name=name)

    points.__doc__ = f"{about}\n\n    `as_one_site` makes a point one site, with a vector of two numbers as its value."
    points.__name__ = points.__qualname__ = name
    DATASETS.register(name)(points)


_register_plane("two_moons", 0.1, "Points on two entangled half circles of radius 1, with Gaussian noise.")
_register_plane("eight_gaussians", 0.2, "Eight Gaussians whose means stand evenly on a circle of radius 2.")
_register_plane("checkerboard", 0.0, "Points that are uniform on the black squares of side 1 of a board of 4 x 4.")

# Tests of memory: an answer at the end of a long sequence depends on its beginning (Bai, Kolter & Koltun, 2018).

#: Copy memory: symbols to be kept, and different ones; tokens of a blank and of the sign to begin.
KEPT, SYMBOLS, BLANK, BEGIN = 10, 8, 0, 9
#: Adding: a marked number u in [0, 1] stands as u + MARK.
MARK = 2.0


@DATASETS.register("copy_memory")
def copy_memory(*, delay: int = 100, num_examples: int = NUM_ANSWERS, seed: int = seed_option()) -> Dataset:
    """Copy memory: ten symbols, a pause, a sign, and the ten symbols again, which alone are scored.

    "An Empirical Evaluation of Generic Convolutional and Recurrent Networks for Sequence Modeling" (2018), section 4,
    with `delay` T: T + 20 tokens, namely 10 of 1..8 drawn uniformly, T - 1 blanks (0), the sign (9), and the 10 again.
    The paper shows the sign ten more times in place of the answer; here the model reads the answer so far, which says
    nothing of the symbols to come. A model without memory scores 10 log 8 = 20.79 nats, one that remembers 0.
    Evaluation also reports `accuracy`, the part of the ten symbols that are most probable. Validation and test have a
    tenth of `num_examples`.
    """
    length = delay + 2 * KEPT
    event = EventSpec((length,), kind="tokens", num_levels=SYMBOLS + 2)

    def draw(rng: np.random.Generator, num: int) -> dict[str, np.ndarray]:
        x_NT = np.full((num, length), BLANK, np.int32)
        x_NT[:, :KEPT] = x_NT[:, -KEPT:] = rng.integers(1, SYMBOLS + 1, (num, KEPT))
        x_NT[:, -KEPT - 1] = BEGIN
        return {"x": x_NT, "mask": _last(num, length, KEPT)}

    splits = draw_splits(draw, num_examples, seed, part=10)
    return from_splits(event, splits, name="copy_memory", answer="accuracy")


@DATASETS.register("adding")
def adding(*, length: int = opt(100, least=2), num_examples: int = NUM_ANSWERS, seed: int = seed_option()) -> Dataset:
    """The adding problem: numbers in [0, 1], two of which are marked, then their sum. Only the sum is scored.

    Hochreiter & Schmidhuber (1997); Bai, Kolter & Koltun (2018), section 4, with T = `length` numbers drawn uniformly
    and two places drawn without replacement. The paper gives each number and its marker as two channels; here a site is
    the number u, or u + 2 where it is marked, so that every autoregressive network reads it. The sum has the variance
    1/6: the `squared_error` of a model without memory, which evaluation reports of the most probable value (of a
    Gaussian its mean). Its nats, of the best Gaussian, are log(2 pi e / 6) / 2 = 0.523.
    """

    def draw(rng: np.random.Generator, num: int) -> dict[str, np.ndarray]:
        u_NT = rng.random((num, length))
        marked_N2 = rng.random((num, length)).argsort(1)[:, :2]
        sum_N1 = np.take_along_axis(u_NT, marked_N2, 1).sum(1, keepdims=True)
        np.put_along_axis(u_NT, marked_N2, np.take_along_axis(u_NT, marked_N2, 1) + MARK, 1)
        return {"x": np.concatenate([u_NT, sum_N1], 1).astype(np.float32), "mask": _last(num, length + 1, 1)}

    splits = draw_splits(draw, num_examples, seed, part=10)
    return from_splits(EventSpec((length + 1,), kind="real"), splits, name="adding", answer="squared_error")


def _last(num: int, num_sites: int, answer_size: int) -> np.ndarray:
    """Returns the mask of examples whose last sites are the answer, bool[num, T]."""
    return np.broadcast_to(np.arange(num_sites) >= num_sites - answer_size, (num, num_sites))


# Associative recall of several keys (Arora et al., 2023, "Zoology: Measuring and Improving Recall in Efficient Language
# Models", section 3 and appendix E).

#: The exponent of the gaps between a pair and its question: p(g) is proportional to g^(POWER - 1).
POWER = 0.01


@DATASETS.register("recall")
def recall(
    *,
    pairs: int = 8,
    vocabulary: int = 64,
    length: int = 64,
    num_examples: int = NUM_ANSWERS,
    seed: int = seed_option(),
) -> Dataset:
    """Pairs of a key and a value, and later each key once more, with its value, which alone is scored: tokens [length].

    Keys are different tokens from 1 on; values are tokens from `vocabulary` / 2 on. Questions stand at even places
    after the pairs, soon after them more often than late (a power law), with blanks (0) between. The paper leaves out
    the value after a question; here it stands there, as in any autoregressive sequence, and says nothing of other keys.
    A model without memory scores `pairs` log(vocabulary / 2) nats. Evaluation also reports `accuracy`, the part of the
    values that are most probable.

    Args:
      pairs: D; the paper has 4 to 64.
      vocabulary: tokens, an even number above twice `pairs`.
      length: tokens of a sequence, at least 4 for each pair.
    """
    for option, value, least in (("vocabulary", vocabulary, 2 * pairs + 2), ("length", length, 4 * pairs)):
        refuse((value < least, f"the option {option!r} of the dataset 'recall' must be at least {least}, not {value}"))
    half, places = vocabulary // 2, (length - 2 * pairs) // 2
    weights_P = np.arange(1, places + 1) ** (POWER - 1)

    def draw(rng: np.random.Generator, num: int) -> dict[str, np.ndarray]:
        keys_ND = rng.random((num, half - 1)).argsort(1)[:, :pairs] + 1
        values_ND = rng.integers(half, vocabulary, (num, pairs))
        # the places with the largest log w + Gumbel noise are draws without replacement
        scores_NP = np.log(weights_P) + rng.gumbel(size=(num, places))
        questions_ND = 2 * pairs + 2 * np.argpartition(-scores_NP, pairs - 1, 1)[:, :pairs]
        questions_ND = rng.permuted(questions_ND, axis=1)
        x_NT, mask_NT = np.full((num, length), BLANK, np.int32), np.zeros((num, length), bool)
        x_NT[:, 0 : 2 * pairs : 2], x_NT[:, 1 : 2 * pairs : 2] = keys_ND, values_ND
        np.put_along_axis(x_NT, questions_ND, keys_ND, 1)
        np.put_along_axis(x_NT, questions_ND + 1, values_ND, 1)
        np.put_along_axis(mask_NT, questions_ND + 1, True, 1)
        return {"x": x_NT, "mask": mask_NT}

    event = EventSpec((length,), kind="tokens", num_levels=vocabulary)
    return from_splits(event, draw_splits(draw, num_examples, seed, part=10), name="recall", answer="accuracy")


# Tests of state: the answer at the end of a sequence is the state of a small automaton. Delétang et al., "Neural
# Networks and the Chomsky Hierarchy" (ICLR 2023), appendix A; Grazzi et al., "Unlocking State-Tracking in Linear RNNs
# Through Negative Eigenvalues" (ICLR 2025), section 5: networks are tested on longer sequences than in training.

#: The sign that asks for the answer, and the first token of a task; blanks stand behind the answer.
SIGN, FIRST = 1, 2
#: Arithmetic is modulo 5; operations and brackets are the tokens after the numbers.
MODULUS = 5
PLUS, MINUS, TIMES, OPEN, CLOSE = range(MODULUS, MODULUS + 5)


class Task(NamedTuple):
    """A task with the tokens 0, 1, ..., the first of which are its answers, too."""

    num_tokens: int
    num_answers: int
    #: (rng, lengths[N], T) -> tokens[N, T], and the answer[N] after the first `length` of each row
    read: Callable[[np.random.Generator, np.ndarray, int], tuple[np.ndarray, np.ndarray]]
    odd: bool = False  # only odd lengths


def _sums(modulus: int) -> Task:
    """Makes the task to sum numbers below the modulus."""

    def read(rng: np.random.Generator, lengths_N: np.ndarray, num: int) -> tuple[np.ndarray, np.ndarray]:
        tokens_NT = rng.integers(0, modulus, (len(lengths_N), num))
        is_read_NT = np.arange(num) < lengths_N[:, None]
        return tokens_NT, (tokens_NT * is_read_NT).sum(1) % modulus

    return Task(modulus, modulus, read)


def _products(size: int, most_moved: int) -> Task:
    """Makes the task to multiply permutations of `size` things that move at most `most_moved` of them; the first one
    acts first. All permutations are numbered in lexicographic order.
    """
    elements_GS = np.array(list(itertools.permutations(range(size))))
    drawn_E = np.flatnonzero((elements_GS != np.arange(size)).sum(1) <= most_moved)
    base_S = size ** np.arange(size)
    order_of = {code: g for g, code in enumerate((elements_GS @ base_S).tolist())}

    def read(rng: np.random.Generator, lengths_N: np.ndarray, num: int) -> tuple[np.ndarray, np.ndarray]:
        tokens_NT = drawn_E[rng.integers(0, len(drawn_E), (len(lengths_N), num))]
        product_NS = np.tile(np.arange(size), (len(lengths_N), 1))
        for t in range(num):
            longer_NS = np.take_along_axis(elements_GS[tokens_NT[:, t]], product_NS, 1)
            product_NS = np.where((t < lengths_N)[:, None], longer_NS, product_NS)
        return tokens_NT, np.array([order_of[code] for code in (product_NS @ base_S).tolist()])

    return Task(len(elements_GS), len(elements_GS), read)


def _arithmetic(rng: np.random.Generator, lengths_N: np.ndarray, num: int) -> tuple[np.ndarray, np.ndarray]:
    """Draws expressions a + b * c - d ..., without brackets: a product comes before sums and differences."""
    tokens_NT = rng.integers(0, MODULUS, (len(lengths_N), num))
    tokens_NT[:, 1::2] = rng.integers(PLUS, TIMES + 1, tokens_NT[:, 1::2].shape)
    sum_N, product_N = np.zeros_like(lengths_N), tokens_NT[:, 0]  # the value is their sum
    for t in range(2, num, 2):
        operation_N, number_N = tokens_NT[:, t - 1], tokens_NT[:, t]
        times_N, is_read_N = operation_N == TIMES, t < lengths_N
        sum_N = np.where(is_read_N & ~times_N, sum_N + product_N, sum_N) % MODULUS
        signed_N = np.where(operation_N == MINUS, -number_N, number_N)
        product_N = np.where(is_read_N, np.where(times_N, product_N * number_N, signed_N), product_N) % MODULUS
    return tokens_NT, (sum_N + product_N) % MODULUS


def _brackets(rng: np.random.Generator, lengths_N: np.ndarray, num: int) -> tuple[np.ndarray, np.ndarray]:
    """Draws expressions with brackets around each operation, such as ((2 * (-3)) + 4)."""
    tokens_NT = np.zeros((len(lengths_N), num), int)
    answers_N = np.zeros(len(lengths_N), int)
    for n, length in enumerate(lengths_N):
        tokens_NT[n, :length], answers_N[n] = _expression(rng, int(length))
    return tokens_NT, answers_N


def _expression(rng: np.random.Generator, length: int) -> tuple[list[int], int]:
    """Returns the tokens of a random expression of `length` tokens, and its value."""
    if length < 3:
        number = int(rng.integers(MODULUS))
        return ([number], number) if length == 1 else ([MINUS, number], -number % MODULUS)
    if length < 5:
        tokens, value = _expression(rng, length - 2)
        return [OPEN, *tokens, CLOSE], value
    left, a = _expression(rng, int(rng.integers(1, length - 3)))
    right, b = _expression(rng, length - 3 - len(left))
    operation = int(rng.integers(PLUS, TIMES + 1))
    value = {PLUS: a + b, MINUS: a - b, TIMES: a * b}[operation] % MODULUS
    return [OPEN, *left, operation, *right, CLOSE], value


TASKS = {
    "parity": _sums(2),
    "sum": _sums(MODULUS),
    "arithmetic": Task(TIMES + 1, MODULUS, _arithmetic, odd=True),
    "brackets": Task(CLOSE + 1, MODULUS, _brackets),
    "s3": _products(3, most_moved=3),
    "s5": _products(5, most_moved=5),
    "s5_swaps": _products(5, most_moved=2),
}


@DATASETS.register("state_tracking")
def state_tracking(
    *,
    task: str = opt("parity", choices=TASKS),
    shortest: int = 3,
    longest: int = 40,
    num_examples: int = opt(50_000, least=10),
    seed: int = seed_option(),
) -> Dataset:
    """Sequences of a task, a sign, and the answer, which alone is scored: tokens [longest + 2], blanks at the end.

    The answer has one of 2 values ("parity"), 5 (modulo 5: "sum" of numbers, "arithmetic" with + - *, and the same with
    "brackets"), 6 or 120 (the product of permutations, "s3" or "s5"; in "s5_swaps" each exchanges two of five things or
    none). A model without memory scores the log of that number. Evaluation also reports `accuracy`, the part of the
    answers that are most probable. Lengths are uniform from `shortest` to `longest`, for "arithmetic" odd ones.
    """
    num_tokens, _, read, odd = TASKS[task]
    lengths = np.array([length for length in range(shortest, longest + 1) if length % 2 or not odd])
    if not len(lengths):
        least = shortest + (odd and shortest % 2 == 0)
        raise UserError(f"the option 'longest' of the dataset 'state_tracking' must be at least {least}, not {longest}")

    def draw(rng: np.random.Generator, num: int) -> dict[str, np.ndarray]:
        lengths_N = rng.choice(lengths, num)
        tokens_NT, answers_N = read(rng, lengths_N, longest)
        places, end_N1 = np.arange(longest + 2), lengths_N[:, None]
        x_NT = np.pad(tokens_NT + FIRST, ((0, 0), (0, 2)))
        x_NT = np.where(places < end_N1, x_NT, np.where(places == end_N1, SIGN, BLANK))
        np.put_along_axis(x_NT, end_N1 + 1, answers_N[:, None] + FIRST, 1)
        return {"x": x_NT.astype(np.int32), "mask": places == end_N1 + 1}

    event = EventSpec((longest + 2,), kind="tokens", num_levels=FIRST + num_tokens)
    return from_splits(event, draw_splits(draw, num_examples, seed, part=10), name="state_tracking", answer="accuracy")


@DATASETS.register("noise")
def noise(
    *,
    grid: tuple[int, ...] = (64,),
    value: tuple[int, ...] = (),
    kind: str = opt("tokens", choices=KINDS[:-1]),
    num_levels: int = USUAL_LEVELS,
    num_examples: int = 1024,
    num_classes: int = 0,
    context_length: int = 0,
) -> Dataset:
    """Examples of independent uniform (for real data standard normal) values, for plans and timings, and for objectives
    that read no data but their form. No model can score below `log(num_levels)` nats per scalar, a check as well.

    Args:
      grid, value: shapes of the grid and of the value of a site, `()` for scalars.
      num_examples: per split.
      num_classes: number of labels, or of tokens in a sequence, to condition on; 0 for no context.
      context_length: longest sequence of tokens to condition on (lengths are random too), 0 for one label.
    """
    event = EventSpec(tuple(grid), tuple(value), kind, levels_of(kind, num_levels))
    if context_length and not num_classes:
        raise UserError("the data set option 'context_length' needs 'num_classes', the number of tokens")
    context_kind = "sequence" if context_length else "label" if num_classes else "none"
    context = ContextSpec(context_kind, num_classes, context_length)
    splits = {split: NoiseSource(event, context, num_examples, i) for i, split in enumerate(SPLITS)}
    return Dataset("noise", event, context, splits)


class NoiseSource:
    """Draws an example from its index when it is read: a split of long sequences takes no memory."""

    def __init__(self, event: EventSpec, context: ContextSpec, num_examples: int, seed: int):
        """`seed` differs between splits."""
        self._event, self._context, self._num, self._seed = event, context, num_examples, seed

    def __len__(self) -> int:
        return self._num

    def __getitems__(self, indices: np.ndarray) -> Batch:
        rngs = [np.random.default_rng((self._seed, int(i))) for i in np.asarray(indices).ravel()]
        context = {name: np.array([_tokens(rng, part) for rng in rngs], np.int32) for name, part in self._context.parts}
        return Batch(np.concatenate([self._event.noise(rng, 1) for rng in rngs]), context)


def _tokens(rng: np.random.Generator, part: EventSpec) -> np.ndarray:
    """Returns a label, or a sequence of random length with -1 after its end."""
    tokens, length = rng.integers(part.num_levels, size=part.shape), part.num_sites
    return np.where(np.arange(length) < rng.integers(1, length + 1), tokens, -1) if part.grid_shape else tokens
