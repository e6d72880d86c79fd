"""Copy memory and adding: their examples, what is scored, and the errors of their answers."""

import dataclasses

import jax
import numpy as np
import pytest

from arjax.data import make_dataset
from arjax.evaluation.likelihood import Evaluator
from arjax.evaluation.splits import Scoring
from arjax.models import make_model


def rows(dataset, split: str = "train"):
    source = dataset.splits[split]
    return source.__getitems__(np.arange(len(source)))


def test_copies_come_after_the_pause_and_are_scored_alone():
    """Section 4 of the paper: T + 20 tokens."""
    dataset = make_dataset("copy_memory", delay=7, num_examples=400)
    batch = rows(dataset)
    assert batch.x.shape == (400, 27) and len(rows(dataset, "test").x) == 40
    symbols, pause, copies = np.split(batch.x, [10, 17], axis=1)
    np.testing.assert_array_equal(symbols, copies)
    assert (pause == [0, 0, 0, 0, 0, 0, 9]).all()
    np.testing.assert_array_equal(batch.mask, np.broadcast_to(np.arange(27) >= 17, (400, 27)))
    counts = np.bincount(symbols.ravel(), minlength=10)
    assert counts[0] == counts[9] == 0 and (np.abs(counts[1:9] - 500) < 5 * np.sqrt(500)).all()


def test_the_sum_is_that_of_the_marked_numbers_and_is_scored_alone():
    dataset = make_dataset("adding", length=6, num_examples=20_000)
    batch = rows(dataset)
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
    batch = rows(dataset, "test")
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
