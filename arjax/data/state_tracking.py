"""Tests of state: the answer at the end of a sequence is the state of a small automaton that has read it.

Delétang et al., "Neural Networks and the Chomsky Hierarchy" (ICLR 2023), appendix A; Grazzi et al., "Unlocking
State-Tracking in Linear RNNs Through Negative Eigenvalues" (ICLR 2025), section 5: networks are trained on short
sequences and tested on longer ones.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from arjax.core.errors import UserError
from arjax.core.options import opt, seed_option
from arjax.core.spec import EventSpec
from arjax.data.base import DATASETS, Dataset
from arjax.data.memory import answers

#: What stands behind the answer, the sign that asks for it, and the first token of a task.
BLANK, SIGN, FIRST = 0, 1, 2
#: Arithmetic is modulo 5; operations and brackets are the tokens after the numbers.
MODULUS = 5
PLUS, MINUS, TIMES, OPEN, CLOSE = range(MODULUS, MODULUS + 5)

#: (rng, lengths[N], T) -> tokens[N, T] of a task, and the answer[N] after the first `length` of each row
Read = Callable[[np.random.Generator, np.ndarray, int], tuple[np.ndarray, np.ndarray]]


class Task(NamedTuple):
    """A task with the tokens 0, 1, ..., the first of which are its answers, too."""

    num_tokens: int
    num_answers: int
    read: Read
    odd: bool = False  # only odd lengths


def _sums(modulus: int) -> Task:
    """Numbers below the modulus; the answer is their sum."""

    def read(rng: np.random.Generator, lengths_N: np.ndarray, num: int) -> tuple[np.ndarray, np.ndarray]:
        tokens_NT = rng.integers(0, modulus, (len(lengths_N), num))
        is_read_NT = np.arange(num) < lengths_N[:, None]
        return tokens_NT, (tokens_NT * is_read_NT).sum(1) % modulus

    return Task(modulus, modulus, read)


def _products(size: int, most_moved: int) -> Task:
    """Permutations of `size` things that move so many of them at most; the answer is their product, the first one acts
    first. All permutations are numbered in lexicographic order.
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
    """a + b * c - d ..., without brackets: a product comes before sums and differences."""
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
    """Expressions with brackets around each operation, such as ((2 * (-3)) + 4)."""
    tokens_NT = np.zeros((len(lengths_N), num), int)
    answers_N = np.zeros(len(lengths_N), int)
    for n, length in enumerate(lengths_N):
        tokens_NT[n, :length], answers_N[n] = _expression(rng, int(length))
    return tokens_NT, answers_N


def _expression(rng: np.random.Generator, length: int) -> tuple[list[int], int]:
    """The tokens of a random expression of so many, and its value."""
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

    The answer has one of 2 values ("parity"), 5 (modulo 5: "sum" of numbers, "arithmetic" with + - *, and this with
    "brackets"), 6 or 120 (the product of permutations, "s3" or "s5"; in "s5_swaps" each exchanges two of five things or
    none). A model without memory scores the log of that number. Evaluation also reports `accuracy`, the part
    of the answers that are most probable.

    Args:
      task: a name in `TASKS`.
      shortest, longest: the length of a sequence is uniform between them; of "arithmetic" it is odd.
      num_examples: of the train split; the others have a tenth of it.
      seed: of the draws.
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
    return answers("state_tracking", event, draw, "accuracy", num_examples, seed)
