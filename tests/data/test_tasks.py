"""Generated data: tests of memory and of state, and noise."""

import dataclasses
import itertools

import jax
import numpy as np
import pytest

from arjax.core.errors import UserError, say_once
from arjax.data import make_dataset
from arjax.data.generated import FIRST, SIGN, TASKS, recall
from arjax.data.sources import read_all
from arjax.evaluation.likelihood import Evaluator
from arjax.evaluation.splits import Scoring
from arjax.models import make_model

SIGNS = "01234+-*()"


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
    batch = read_all(dataset.splits["train"])
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
    x = read_all(
        make_dataset("state_tracking", task="s5_swaps", shortest=4, longest=4, num_examples=400).splits["train"]
    ).x
    elements = list(itertools.permutations(range(5)))
    moved = [sum(a != b for a, b in enumerate(elements[token - FIRST])) for token in set(x[:, :4].ravel().tolist())]
    assert sorted(moved) == [0] + [2] * 10
    assert len(set(x[:, 5].tolist())) > 11  # the products are others, too


def test_pairs_are_asked_for_once_each_and_soon_rather_than_late():
    dataset = recall(pairs=3, vocabulary=20, length=24, num_examples=400)
    batch = read_all(dataset.splits["train"])
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
        ("state_tracking", {"task": "arithmetic", "shortest": 4, "longest": 4}, "'longest' .* must be at least 5, not"),
        ("recall", {"vocabulary": 17}, "'vocabulary' .* must be at least 18, not 17"),
        ("recall", {"length": 31}, "'length' .* must be at least 32, not 31"),
    ],
)
def test_options_out_of_range(name, options, sentence):
    with pytest.raises(UserError, match=sentence):
        make_dataset(name, **options)


def test_copies_come_after_the_pause_and_are_scored_alone():
    """Section 4 of the paper: T + 20 tokens."""
    dataset = make_dataset("copy_memory", delay=7, num_examples=400)
    batch = read_all(dataset.splits["train"])
    assert batch.x.shape == (400, 27) and len(read_all(dataset.splits["test"]).x) == 40
    symbols, pause, copies = np.split(batch.x, [10, 17], axis=1)
    np.testing.assert_array_equal(symbols, copies)
    assert (pause == [0, 0, 0, 0, 0, 0, 9]).all()
    np.testing.assert_array_equal(batch.mask, np.broadcast_to(np.arange(27) >= 17, (400, 27)))
    counts = np.bincount(symbols.ravel(), minlength=10)
    assert counts[0] == counts[9] == 0 and (np.abs(counts[1:9] - 500) < 5 * np.sqrt(500)).all()


def test_the_sum_is_that_of_the_marked_numbers_and_is_scored_alone():
    dataset = make_dataset("adding", length=6, num_examples=20_000)
    batch = read_all(dataset.splits["train"])
    numbers, total = batch.x[:, :-1], batch.x[:, -1]
    marked = numbers >= 2
    assert (marked.sum(1) == 2).all() and (marked.mean(0) > 0.3).all() and dataset.event.shape == (7,)
    np.testing.assert_allclose(np.where(marked, numbers - 2, 0).sum(1), total, atol=1e-5)
    np.testing.assert_array_equal(batch.mask, np.broadcast_to(np.arange(7) == 6, (20_000, 7)))
    u = np.where(marked, numbers - 2, numbers)
    assert u.min() >= 0 and u.max() <= 1
    square = (total - 1.0) ** 2  # of the mean, the error of a model without memory
    assert abs(square.mean() - 1 / 6) < 3 * square.std() / np.sqrt(len(square))


@pytest.mark.parametrize(("name", "options"), [("copy_memory", {"delay": 3}), ("adding", {"length": 5})])
def test_the_error_of_answers_is_that_of_the_modes(name, options):
    dataset = make_dataset(name, num_examples=200, **options)
    model = make_model(dataset.event, "fvsbn")
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), model.param_shapes)
    scores = Evaluator(model, dataset, Scoring(16))(params, "test")
    batch = read_all(dataset.splits["test"])
    guesses = np.asarray(model.conditional.mode(jax.jit(type(model).features)(model, params, batch.x)))
    if name == "copy_memory":
        by_example = (guesses == batch.x)[:, -10:].mean(1)
        assert 0 < by_example.mean() < 1
    else:
        by_example = (guesses - batch.x)[:, -1] ** 2
    np.testing.assert_allclose(scores[dataset.answer], by_example.mean(), rtol=1e-5)
    stderr = by_example.std(ddof=1) / np.sqrt(len(by_example))
    np.testing.assert_allclose(scores[f"{dataset.answer}_stderr"], stderr, rtol=1e-5)
    plain = dataclasses.replace(dataset, answer="")
    assert dataset.answer not in Evaluator(model, plain, Scoring(16))(params, "test")


@pytest.mark.parametrize("kind", ["binary", "levels", "tokens", "real"])
def test_values_and_shapes(kind):
    levels = {"num_levels": 5} if kind in ("levels", "tokens") else {}
    dataset = make_dataset("noise", grid=(3, 2), value=(2,), kind=kind, num_classes=4, **levels)
    batch = dataset.splits["train"].__getitems__(np.arange(200))
    assert batch.x.shape == (200, 3, 2, 2) and batch.x.dtype == dataset.event.dtype
    assert set(np.unique(batch.context["label"])) == set(range(4))
    if dataset.event.is_discrete:
        assert set(np.unique(batch.x)) == set(range(dataset.event.num_levels))
    some, other = (dataset.splits[split].__getitems__(np.array([7, 3])) for split in ("train", "test"))
    np.testing.assert_array_equal(some.x, batch.x[[7, 3]])  # whatever is read with them
    assert (some.x != other.x).any()


def test_sequences_to_condition_on_have_every_length():
    dataset = make_dataset("noise", num_classes=4, context_length=3)
    context = dataset.splits["train"].__getitems__(np.arange(200)).context["sequence"]
    assert context.shape == (200, 3) and context.dtype == np.int32
    assert set(np.unique(context)) == {-1, 0, 1, 2, 3}
    lengths = (context >= 0).sum(1)
    assert set(lengths) == {1, 2, 3}
    np.testing.assert_array_equal(context >= 0, np.arange(3) < lengths[:, None])
    with pytest.raises(UserError, match="'context_length' needs 'num_classes'"):
        make_dataset("noise", context_length=3)


def test_levels_are_of_levels_and_tokens(capsys):
    say_once.cache_clear()
    assert make_dataset("noise", kind="binary", num_levels=2).event.num_levels == 2
    for kind in ("binary", "real"):
        assert make_dataset("noise", kind=kind, num_levels=5).event.num_levels != 5
        assert f"num_levels=5 has no effect on {kind} data" in capsys.readouterr().err
