"""The sizes of rounds: the dynamic programme against all compositions, and what all schedules promise."""

import itertools

import numpy as np
import pytest

from arjax.core.errors import UserError
from arjax.samplers import make_sampler
from arjax.samplers.rounds import make_sizes, non_increasing, optimal_sizes


def compositions(num_steps: int, rounds: int):
    """All sizes of `rounds` rounds over the steps."""
    for cuts in itertools.combinations(range(1, num_steps), rounds - 1):
        yield tuple(np.diff((0, *cuts, num_steps)).tolist())


def nats(sizes: tuple[int, ...], losses: np.ndarray) -> float:
    return sum(size * losses[start] for size, start in zip(sizes, np.cumsum((0, *sizes[:-1])), strict=True))


@pytest.mark.parametrize("rounds", [1, 2, 4, 8, 9])
def test_the_dynamic_programme_finds_the_best_of_all(rounds):
    losses = np.sort(np.random.default_rng(rounds).exponential(size=9))[::-1]
    found = optimal_sizes(losses, rounds)
    assert len(found) == rounds and sum(found) == 9 and min(found) >= 1
    assert nats(found, losses) == pytest.approx(min(nats(sizes, losses) for sizes in compositions(9, rounds)))


@pytest.mark.parametrize(("schedule", "expected"), [("uniform", (2, 3, 2, 3)), ("cosine", (1, 2, 3, 4))])
def test_sizes_of_a_schedule(schedule, expected):
    assert make_sizes(schedule, 10, 4) == expected
    for num_steps, steps in [(1, 1), (7, 7), (5, 5), (64, 8), (64, 63), (784, 50)]:
        sizes = make_sizes(schedule, num_steps, steps)
        assert (len(sizes), sum(sizes)) == (steps, num_steps) and min(sizes) >= 1


def test_losses_are_smoothed_to_what_never_rises():
    """The nearest such sequence in weighted squares: means of runs, as by brute force over all cuts into runs."""
    rng = np.random.default_rng(0)
    values, weights = rng.normal(size=7), rng.uniform(0.5, 2, size=7)
    best = np.inf
    for rounds in range(1, 8):
        for sizes in compositions(7, rounds):
            runs = np.split(np.arange(7), np.cumsum(sizes)[:-1])
            fit = np.concatenate([np.full(len(run), np.average(values[run], weights=weights[run])) for run in runs])
            if (np.diff(fit) <= 0).all():
                best = min(best, (weights * (fit - values) ** 2).sum())
    found = non_increasing(values, weights)
    assert (np.diff(found) <= 0).all() and (weights * (found - values) ** 2).sum() == pytest.approx(best)


MISTAKES = {
    "parallel(steps=3,sizes=(3,3))": r"has 2 rounds of given sizes: leave steps=3 and schedule='uniform' out, or the",
    "parallel(schedule='cosine',sizes=(3,3))": r"has 2 rounds of given sizes: leave steps=0 and schedule='cosine' out",
    "parallel(schedule='cosin')": "must be one of uniform, cosine, optimal, not 'cosin', did you mean 'cosine'",
    "parallel(sizes=(1.5,))": r"must be a tuple such as \(0, 1\), not \(1.5,\)$",
}


@pytest.mark.parametrize("text", MISTAKES)
def test_mistakes_are_one_sentence(text):
    with pytest.raises(UserError, match=MISTAKES[text]):
        make_sampler(text)
