"""Sets whose members can be counted, against the list of all members where there is one, and against what is known."""

import itertools
import math

import numpy as np
import pytest
from examples_of import x_of
from refusals import refusal

from arjax.data import make_dataset
from arjax.data.counted import AUTOMATA, Automaton, Counted, Sudoku
from arjax.testing.statistics import LEAST_P, chi_square


def is_grid(x: np.ndarray, height: int, width: int) -> bool:
    """Whether rows, columns and boxes of a grid have each digit, by the words of the rule."""
    size = len(x)
    boxes = [x[r : r + height, c : c + width] for r in range(0, size, height) for c in range(0, size, width)]
    return all(set(np.ravel(group)) == set(range(size)) for group in (*x, *x.T, *boxes))


def all_of(truth: Counted) -> np.ndarray:
    """All members: of grids, those of four rows of different digits; of strings, those that the words describe."""
    if isinstance(truth, Automaton):
        every = np.array(list(itertools.product((0, 1), repeat=truth.event.num_sites)))
        return every[[accepts(truth.language, "".join(map(str, x))) for x in every]]
    rows = np.array(list(itertools.permutations(range(4))))
    x = np.stack(np.broadcast_arrays(*np.ix_(*[range(24)] * 4)), -1).reshape(-1, 4)
    x = rows[x]
    x = x[(np.sort(x, 1) == np.arange(4)[:, None]).all((1, 2))]  # of 24^4, the 576 Latin squares
    return np.array([each for each in x if is_grid(each, 2, 2)])


def accepts(language: str, text: str) -> bool:
    """Whether a string belongs to a language, by the words that describe it."""
    if language == "brackets":
        while "01" in text:
            text = text.replace("01", "")
        return not text
    return "11" not in text if language == "apart" else int(text, 2) % 7 == 0


SMALL = [lambda: Sudoku(4), *(lambda name=name: Automaton(name, 10) for name in AUTOMATA)]


@pytest.mark.parametrize("make", SMALL)
def test_counts_are_those_of_the_list_of_all_members(make):
    truth, rng = make(), np.random.default_rng(0)
    members, levels = all_of(truth), truth.event.num_levels
    assert truth.num_members == len(members) and truth.entropy == math.log(len(members))
    for hidden in (1.0, 0.8, 0.5, 0.2):
        given = np.where(rng.random(members.shape[1:]) < hidden, -1, members[rng.integers(len(members))])
        agree = members[((given < 0) | (members == given)).reshape(len(members), -1).all(1)].reshape(-1, given.size)
        np.testing.assert_array_equal(truth.counts(given), (agree[..., None] == np.arange(levels)).sum(0))
    x = rng.integers(0, levels, (500, *members.shape[1:]))
    x[:50] = members[rng.integers(len(members), size=50)]
    known = {tuple(member.ravel()) for member in members}
    expected = np.array([tuple(each.ravel()) in known for each in x])
    np.testing.assert_array_equal(truth.log_prob(x), np.where(expected, -truth.entropy, -np.inf))
    assert truth.num_completions(x[-1]) == expected[-1]


@pytest.mark.parametrize("make", SMALL)
def test_draws_are_uniform(make):
    truth = make()
    members, x = all_of(truth), truth.draw(np.random.default_rng(1), 20_000)
    place = {tuple(member.ravel()): i for i, member in enumerate(members)}
    counts = np.bincount([place[tuple(each.ravel())] for each in x], minlength=len(members))
    assert chi_square(counts, np.full(len(members), 1 / len(members))) > LEAST_P


def test_large_grids_are_all_counted_and_their_conditionals_are_the_parts_of_draws():
    """28,200,960 grids of size 6 (known from the literature); p(cells | other cells) among 300,000 draws."""
    truth = Sudoku(6)
    assert truth.num_members == 28_200_960 and round(truth.entropy, 2) == 17.15
    assert round(Sudoku(4).entropy, 2) == 5.66
    x = truth.draw(np.random.default_rng(0), 300_000)
    assert truth.contains(x).all() and all(is_grid(each, 2, 3) for each in x[:200])
    given = np.full((6, 6), -1)
    given[0, 0], given[2, 4], given[5, 3] = 1, 2, 3
    agree = x[(x[:, 0, 0] == 1) & (x[:, 2, 4] == 2) & (x[:, 5, 3] == 3)]
    counts = truth.counts(given)
    assert (counts.sum(1) == counts[0].sum()).all() and truth.num_completions(given) == counts[0].sum()
    for site in (1, 9, 17, 30):
        seen, p = np.bincount(agree.reshape(-1, 36)[:, site], minlength=6), counts[site] / counts[site].sum()
        assert (seen[p == 0] == 0).all() and chi_square(seen[p > 0], p[p > 0]) > LEAST_P


def test_conditionals_multiply_to_the_joint():
    truth = Sudoku(6)
    x, wrong = truth.draw(np.random.default_rng(3), 1)[0], np.zeros((6, 6), int)
    part, known = np.random.default_rng(4).integers(0, 5, (6, 6)), np.zeros((6, 6), bool)
    total = 0.0
    for n in range(5):
        query = part == n
        total += truth.conditional_log_prob(x, query, known)
        known = known | query
    assert total == pytest.approx(-truth.entropy)
    query = np.eye(6) > 0
    assert (
        truth.conditional_log_prob(wrong, ~query, query)
        == truth.conditional_log_prob(wrong, query, ~query)
        == -math.inf
    )


def test_long_strings_are_counted_without_an_overflow():
    assert Automaton("brackets", 200).num_members == math.comb(200, 100) // 101
    assert Automaton("multiples", 300).num_members == 2**300 // 7 + 1


def test_data_sets_are_drawn_by_split_and_seed():
    for name, options in (("sudoku", {"size": 6}), ("automaton", {"language": "multiples"})):
        truth = Sudoku(6) if name == "sudoku" else Automaton("multiples", 16)
        data, same, other = (make_dataset(name, **options, num_examples=40, seed=seed) for seed in (1, 1, 2))
        assert data.event == truth.event and [len(source) for source in data.splits.values()] == [40, 10, 10]
        for split in data.splits:
            np.testing.assert_array_equal(x_of(data, split), x_of(same, split))
            assert (x_of(data, split) != x_of(other, split)).any() and truth.contains(x_of(data, split)).all()
        assert (x_of(data, "train")[:10] != x_of(data, "test")).any()
    assert "brackets have an even length, not 9" in refusal(make_dataset, "automaton", length=9)
    assert "must be one of 4, 6, not 9" in refusal(make_dataset, "sudoku", size=9)
