"""Tests of state and associative recall: answers worked out another way, what is scored, and lengths."""

import itertools

import numpy as np
import pytest

from arjax.core.errors import UserError
from arjax.data import make_dataset
from arjax.data.generated import FIRST, SIGN, TASKS, recall

SIGNS = "01234+-*()"


def examples(dataset, split="train"):
    source = dataset.splits[split]
    return source.__getitems__(np.arange(len(source)))


def product(tokens, size):
    """The permutations one after another, applied to each thing."""
    elements = list(itertools.permutations(range(size)))
    images = []
    for thing in range(size):
        for token in tokens:
            thing = elements[token][thing]
        images.append(thing)
    return elements.index(tuple(images))


ANSWERS = {
    "parity": lambda tokens: sum(tokens) % 2,
    "sum": lambda tokens: sum(tokens) % 5,
    "arithmetic": lambda tokens: eval("".join(SIGNS[token] for token in tokens)) % 5,
    "brackets": lambda tokens: eval("".join(SIGNS[token] for token in tokens)) % 5,
    "s3": lambda tokens: product(tokens, 3),
    "s5": lambda tokens: product(tokens, 5),
    "s5_swaps": lambda tokens: product(tokens, 5),
}


@pytest.mark.parametrize("task", TASKS)
def test_the_answer_is_the_state_after_the_sequence(task):
    dataset = make_dataset("state_tracking", task=task, shortest=1, longest=9, num_examples=600)
    batch = examples(dataset)
    assert batch.x.shape == (600, 11) and dataset.answer == "accuracy"
    lengths, found = [], []
    for x, mask in zip(batch.x.tolist(), batch.mask, strict=True):
        length = x.index(SIGN)
        answer = x[length + 1] - FIRST
        assert answer == ANSWERS[task]([token - FIRST for token in x[:length]])
        assert not any(x[length + 2 :]) and np.flatnonzero(mask).tolist() == [length + 1]
        lengths.append(length)
        found.append(answer)
    allowed = [1, 3, 5, 7, 9] if task == "arithmetic" else list(range(1, 10))
    assert sorted(set(lengths)) == allowed
    assert max(found) < TASKS[task].num_answers
    if task in ("parity", "sum"):
        assert len(set(found)) == TASKS[task].num_answers and (np.bincount(found) > 0.7 * 600 / len(set(found))).all()


def test_swaps_are_permutations_that_exchange_two_things_or_none():
    x = examples(make_dataset("state_tracking", task="s5_swaps", shortest=4, longest=4, num_examples=400)).x
    elements = list(itertools.permutations(range(5)))
    moved = [sum(a != b for a, b in enumerate(elements[token - FIRST])) for token in set(x[:, :4].ravel().tolist())]
    assert sorted(moved) == [0] + [2] * 10
    assert len(set(x[:, 5].tolist())) > 11  # the products are others, too


def test_pairs_are_asked_for_once_each_and_soon_rather_than_late():
    dataset = recall(pairs=3, vocabulary=20, length=24, num_examples=400)
    batch = examples(dataset)
    places = []
    for x, mask in zip(batch.x, batch.mask, strict=True):
        values = dict(zip(x[0:6:2].tolist(), x[1:6:2].tolist(), strict=True))
        assert len(values) == 3 and all(0 < key < 10 <= value < 20 for key, value in values.items())
        asked = np.flatnonzero(mask) - 1
        assert (asked % 2 == 0).all() and (asked >= 6).all()
        assert {int(x[place]): int(x[place + 1]) for place in asked} == values
        rest = np.ones(24, bool)
        rest[:6] = rest[asked] = rest[asked + 1] = False
        assert not x[rest].any()
        places += ((asked - 6) // 2).tolist()
    counts = np.bincount(places, minlength=9)
    assert counts[0] > counts[2] > counts[8] > 0


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        ("state_tracking", {"task": "parities"}, "'task' .* not 'parities', did you mean 'parity'"),
        ("state_tracking", {"longest": 2}, "'longest' .* must be at least 3, not 2"),
        (
            "state_tracking",
            {"task": "arithmetic", "shortest": 4, "longest": 4},
            "'longest' .* must be at least 5, not 4",
        ),
        ("recall", {"vocabulary": 17}, "'vocabulary' .* must be at least 18, not 17"),
        ("recall", {"length": 31}, "'length' .* must be at least 32, not 31"),
    ],
)
def test_options_out_of_range(name, options, sentence):
    with pytest.raises(UserError, match=sentence):
        make_dataset(name, **options)
