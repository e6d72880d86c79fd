"""Generated data: known probabilities and densities, tests of memory and of state, and noise."""

import dataclasses
import itertools

import jax
import numpy as np
import pytest
from examples_of import x_of
from refusals import refusal
from scipy import special

from arjax.core.errors import UserError, say_once
from arjax.core.spec import EventSpec
from arjax.data import make_dataset
from arjax.data.generated import FIRST, SIGN, TASKS, _tokens, dirichlet, log_density, recall, stationary, true_nats
from arjax.data.sources import SPLITS, read_all
from arjax.evaluation.exposure import open_truth
from arjax.evaluation.likelihood import Evaluator
from arjax.evaluation.splits import Scoring
from arjax.models import make_model
from arjax.testing.statistics import LEAST_P, chi_square


def nats(dataset, x: np.ndarray) -> np.ndarray:
    """-log p of examples under the truth, float64[N]."""
    log_prob = jax.jit(lambda truth, x: truth.model.log_prob(truth.params, x))
    return -np.asarray(log_prob(open_truth(dataset), x), np.float64)


def entropy(p: np.ndarray) -> np.ndarray:
    """Of the last axis, in nats."""
    return special.entr(p).sum(-1)


def check_mean(found: np.ndarray, expected: float) -> None:
    stderr = found.std(ddof=1) / np.sqrt(len(found))
    assert abs(found.mean() - expected) < 3 * stderr and stderr < 0.02 * expected


@pytest.mark.parametrize("order", [1, 2])
def test_the_nats_of_a_chain_are_its_entropy(order):
    """Those of the first values, and the entropy rate of the stationary distribution, by an eigenvector, for each of
    the others: a sequence that began elsewhere would have another entropy."""
    levels, length = 3, 20
    dataset = make_dataset("markov_chain", order=order, levels=levels, length=length, num_examples=16_000, seed=4)
    table = special.softmax(dataset.truth.params["table"].astype(np.float64), -1)
    rows = table[-(levels**order) :]  # p(next value | history)
    chain = np.zeros((levels**order, levels**order))
    for history, value in np.ndindex(rows.shape):
        chain[history, (history * levels + value) % levels**order] += rows[history, value]
    eigenvalues, vectors = np.linalg.eig(chain.T)
    p = np.real(vectors[:, np.argmax(np.real(eigenvalues))])
    p /= p.sum()
    np.testing.assert_allclose(table[0], p.reshape(levels, -1).sum(1), atol=1e-6)
    expected = entropy(p) + (length - order) * (p @ entropy(rows))
    x = x_of(dataset, "test")
    check_mean(nats(dataset, x), expected)
    counts = np.bincount(x[:, -order:] @ levels ** np.arange(order)[::-1], minlength=levels**order)
    assert chi_square(counts, p) > LEAST_P  # the last values are as the first ones


@pytest.mark.parametrize("order", [1, 2])
def test_chains_that_hardly_ever_leave_a_history_begin_in_their_stationary_distribution(order):
    """p(x_2) of the first two values is p(x_1), also where a chain forgets its beginning after ten thousand steps."""
    levels = 4 if order == 2 else 2
    for seed in range(8):
        rows = dirichlet(np.random.default_rng((seed, 3)), 0.01, levels**order, levels)
        p = stationary(rows)
        after = np.zeros(levels**order)
        for history, value in np.ndindex(rows.shape):
            after[(history * levels + value) % levels**order] += p[history] * rows[history, value]
        assert p.min() > 0 and abs(p.sum() - 1) < 1e-12
        np.testing.assert_allclose(after, p, atol=1e-12)


def test_the_nats_of_a_hidden_markov_model_are_its_entropy():
    """Over all sequences of a small event: their probabilities are those of the truth, and those of the draws."""
    dataset = make_dataset("hidden_markov", states=3, levels=3, length=4, num_examples=16_000, seed=1)
    every = np.array(list(itertools.product(range(3), repeat=4)), np.int32)
    p = np.exp(-nats(dataset, every))
    assert abs(p.sum() - 1) < 1e-5
    x = x_of(dataset, "test")
    check_mean(nats(dataset, x), entropy(p))
    counts = np.bincount(x @ 3 ** np.arange(4)[::-1], minlength=81)
    assert chi_square(counts, p / p.sum()) > LEAST_P
    uniform = chi_square(counts, np.full(81, 1 / 81))
    assert uniform < LEAST_P  # the test can fail
    by_site = np.array([[p[every[:, t] == v].sum() for v in range(3)] for t in range(4)])
    np.testing.assert_allclose(by_site, np.broadcast_to(by_site[0], (4, 3)), atol=1e-4)  # stationary


@pytest.mark.parametrize("name", ["hidden_markov", "markov_chain"])
def test_seeds_and_splits_differ_and_the_truth_is_a_pytree(name):
    first, again, other = (make_dataset(name, length=30, num_examples=40, seed=seed) for seed in (0, 0, 1))
    assert [len(first.splits[split]) for split in SPLITS] == [40, 10, 10]
    np.testing.assert_array_equal(x_of(first, "test"), x_of(again, "test"))
    for x in (x_of(other, "test"), x_of(first, "validation")):
        assert (x_of(first, "test") != x).any()
    leaves, others = jax.tree.leaves(first.truth.params), jax.tree.leaves(other.truth.params)
    assert all((a != b).any() for a, b in zip(leaves, others, strict=True))
    assert jax.tree.structure(open_truth(first)) == jax.tree.structure(open_truth(again))
    assert open_truth(first).model.event == first.event and np.isfinite(nats(first, x_of(first, "test"))).all()


def test_histories_and_concentrations_have_limits():
    assert "at most 65,536 histories, and levels^order are 8^9" in refusal(make_dataset, "markov_chain", order=9)
    for concentration in (0.01, 1e6):
        dataset = make_dataset("hidden_markov", concentration=concentration, num_examples=4)
        x = np.asarray(dataset.splits["train"].arrays.x)
        assert len(x) == 4 and x.min() >= 0 and x.max() < dataset.event.num_levels


NAMES = ["two_moons", "eight_gaussians", "checkerboard"]


def points_of(name: str, split: str = "train", **options) -> np.ndarray:
    return x_of(make_dataset(name, **options), split)


@pytest.mark.parametrize(
    ("name", "noise"), [("two_moons", 0.1), ("eight_gaussians", 0.2), ("checkerboard", 0.0), ("checkerboard", 0.1)]
)
def test_draws_follow_the_density(name, noise):
    """Cell by cell of a grid, each integrated on 10 x 10 points; on 5 x 5 of smooth densities."""
    edges, num = np.linspace(-3, 3, 16), 5 if noise else 10
    fine = (edges[:-1, None] + 0.4 * (np.arange(num) + 0.5) / num).ravel()
    points = np.stack(np.meshgrid(fine, fine, indexing="ij"), -1).reshape(-1, 2)
    p = np.exp(log_density(name, points, noise)).reshape(15, num, 15, num).sum((1, 3)) * (0.4 / num) ** 2
    assert abs(p.sum() - 1) < 1e-3
    x = points_of(name, noise=noise, num_examples=20_000)
    counts = np.histogram2d(x[:, 0], x[:, 1], [edges, edges])[0]
    assert (np.abs(counts - 20_000 * p) < 5 * np.sqrt(20_000 * p) + 5).all()
    shifted = np.roll(p, 1, 0)
    assert not (np.abs(counts - 20_000 * shifted) < 5 * np.sqrt(20_000 * shifted) + 5).all()  # it can fail


@pytest.mark.parametrize("name", NAMES)
def test_the_true_nats_are_the_mean_over_the_split(name):
    x = points_of(name, "validation", noise=0.3, num_examples=400, seed=2)
    assert len(x) == 100
    expected = -log_density(name, x, 0.3).mean()
    assert abs(true_nats(name, "validation", noise=0.3, num_examples=400, seed=2) - expected) < 1e-9


@pytest.mark.parametrize("name", NAMES)
def test_a_point_as_one_site_is_the_same_point(name):
    dataset = make_dataset(name, num_examples=40, as_one_site=True)
    assert (dataset.event.grid_shape, dataset.event.value_shape) == ((1,), (2,))
    as_one_site = points_of(name, num_examples=40, as_one_site=True)
    np.testing.assert_array_equal(as_one_site[:, 0], points_of(name, num_examples=40))
    assert true_nats(name, num_examples=40, as_one_site=True) == true_nats(name, num_examples=40)


def test_the_checkerboard_is_uniform_on_eight_squares():
    inside, outside = np.array([[-1.5, -1.5], [1.5, 1.9]]), np.array([[-1.5, -0.5], [2.5, 0.5]])
    np.testing.assert_allclose(log_density("checkerboard", inside, 0.0), -np.log(8))
    assert (log_density("checkerboard", outside, 0.0) == -np.inf).all()
    assert "must be 0, or from" in refusal(make_dataset, "checkerboard", noise=0.001)


def test_densities_by_hand():
    means = [(2 * np.cos(a), 2 * np.sin(a)) for a in np.arange(8) * np.pi / 4]
    x = np.array([0.9, 0.1])
    squares = np.array([((x - m) ** 2).sum() for m in means])
    expected = np.log(np.exp(-squares / 2 / 0.25).mean() / (2 * np.pi * 0.25))
    assert abs(log_density("eight_gaussians", x[None], 0.5)[0] - expected) < 1e-9
    a = (np.arange(20_000) + 0.5) / 20_000 * np.pi
    moons = np.concatenate([np.stack([np.cos(a), np.sin(a)], -1), np.stack([1 - np.cos(a), 0.5 - np.sin(a)], -1)])
    expected = np.log(np.exp(-((x - moons) ** 2).sum(1) / 2 / 0.25).mean() / (2 * np.pi * 0.25))
    assert abs(log_density("two_moons", x[None], 0.5)[0] - expected) < 1e-6


@pytest.mark.parametrize("name", NAMES)
def test_seeds_and_splits_differ(name):
    first, again, other = (points_of(name, num_examples=40, seed=seed)[:10] for seed in (0, 0, 1))
    validation = points_of(name, "validation", num_examples=40)[:10]
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).min() > 0 and np.abs(first - validation).min() > 0


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
    if task in ("arithmetic", "brackets"):
        assert {*"+-*"} <= {SIGNS[token - FIRST] for token in set(batch.x[batch.x >= FIRST].tolist())}
    if task in ("parity", "sum"):
        assert len(set(found)) == TASKS[task].num_answers and (np.bincount(found) > 0.7 * 600 / len(set(found))).all()


def test_swaps_are_permutations_that_exchange_two_things_or_none():
    dataset = make_dataset("state_tracking", task="s5_swaps", shortest=4, longest=4, num_examples=400)
    x = x_of(dataset, "train")
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
        ("state_tracking", {"task": "parities"}, "'task' .* cannot be 'parities', did you mean 'parity'"),
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
    assert "'context_length' needs 'num_classes'" in refusal(make_dataset, "noise", context_length=3)


def test_levels_are_of_levels_and_tokens(capsys):
    say_once.cache_clear()
    assert make_dataset("noise", kind="binary", num_levels=2).event.num_levels == 2
    for kind in ("binary", "real"):
        assert make_dataset("noise", kind=kind, num_levels=5).event.num_levels != 5
        assert f"num_levels=5 has no effect on {kind} data" in capsys.readouterr().err


def test_contexts_of_noise_are_sequences_of_all_lengths_and_values():
    tokens = np.array([_tokens(np.random.default_rng(i), EventSpec((6,), (), "tokens", 4)) for i in range(200)])
    lengths = (tokens >= 0).sum(1)
    assert set(lengths) == set(range(1, 7)) and ((tokens >= 0) == (np.arange(6) < lengths[:, None])).all()
    assert all(set(column[column >= 0]) == set(range(4)) for column in tokens.T)
    assert len({tuple(x) for x in tokens[lengths == 6]}) > (lengths == 6).sum() / 2 > len(set(tokens[:, 0]))
    assert _tokens(np.random.default_rng(0), EventSpec((), (), "tokens", 4)).shape == ()
