"""Search over orders, and orders that are learned."""

import dataclasses
import itertools
import math
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from loop_helpers import assert_a_stop_changes_no_bit
from population_cases import small_config

from arjax.config.build import build
from arjax.core.errors import UserError
from arjax.objectives.likelihood import draw_order, log_prob_order, policy_loss
from arjax.population import Population, search, train_population
from arjax.population.search import local_search, move, random_search
from arjax.training.setup import latest_store


@dataclasses.dataclass
class FakePopulation:
    """Twelve sites; an order is worth its number of pairs that are out of sequence."""

    num: int = 6

    def __post_init__(self):
        self.setup = SimpleNamespace(model=SimpleNamespace(event=SimpleNamespace(num_sites=12)))
        rng = np.random.default_rng(5)
        self.replace_orders([rng.permutation(12) for _ in range(self.num)])

    def replace_orders(self, orders):
        self.factorizations = [SimpleNamespace(order=order) for order in orders]


@pytest.fixture
def cheap(monkeypatch):
    def train(population):
        nats = [sum(a > b for a, b in itertools.combinations(f.order, 2)) for f in population.factorizations]
        return SimpleNamespace(validation=np.array(nats, float)[:, None])

    monkeypatch.setattr(search, "train_population", train)


def test_local_search_beats_random_search_of_the_same_size(cheap):
    local, rand = local_search(FakePopulation(), 40), random_search(FakePopulation(), 40)
    assert local.trained == rand.trained == 240
    assert local.validation < rand.validation / 2
    assert sorted(local.order) == list(range(12))
    assert list(local.best_by_round) == sorted(local.best_by_round, reverse=True)
    assert local.validation == sum(a > b for a, b in itertools.combinations(local.order, 2)) == local.best_by_round[-1]


@pytest.mark.slow
def test_a_search_compiles_one_program_and_scores_as_a_new_population_would():
    config = small_config(hidden_sizes=(4,), direct=False)
    population = Population(config, ("spiral", "raster"), (3,))
    found = local_search(population, 2)
    assert len(population.programs) == 1
    again = train_population(Population(config, [found.order], (3,)))
    assert found.validation == pytest.approx(again.validation.item(), rel=1e-6)


def test_moves_are_orders_and_all_kinds_occur():
    rng, start = np.random.default_rng(0), np.arange(9)
    changed = [move(start, rng) for _ in range(300)]
    assert all(sorted(order) == list(range(9)) for order in changed)
    assert len({tuple(order) for order in changed}) > 60
    assert list(move(np.arange(1), rng)) == [0]


@pytest.mark.parametrize(("rounds", "parents", "sentence"), [(0, 1, "at least one round"), (3, 7, "must be 1 to 6")])
def test_impossible_searches_are_refused(cheap, rounds, parents, sentence):
    with pytest.raises(UserError, match=sentence):
        local_search(FakePopulation(), rounds, parents)


SCORES = jnp.array([0.5, -1.0, 0.2, 0.9])
ALL = np.array(list(itertools.permutations(range(4))))
log_prob_orders = jax.jit(jax.vmap(log_prob_order, in_axes=(None, 0)))
P_ALL = np.exp(log_prob_orders(SCORES, ALL))


def test_the_probabilities_of_all_orders_add_up_to_one():
    assert P_ALL.sum() == pytest.approx(1, abs=1e-6)
    first = np.array([P_ALL[ALL[:, 0] == site].sum() for site in range(4)])
    np.testing.assert_allclose(first, jax.nn.softmax(SCORES), atol=1e-6)


def test_orders_are_drawn_with_these_probabilities():
    drawn = jax.jit(jax.vmap(draw_order, in_axes=(0, None)))(jax.random.split(jax.random.key(0), 20_000), SCORES)
    counts = {tuple(order): 0 for order in ALL.tolist()}
    for order in np.asarray(drawn).tolist():
        counts[tuple(order)] += 1
    np.testing.assert_allclose(np.array(list(counts.values())) / 20_000, P_ALL, atol=0.012)


def test_the_policy_gradient_is_right_on_average():
    """Over all pairs of orders, weighted by their probability, it is the gradient of the expected nats."""
    nats = np.random.default_rng(0).normal(3, 1, len(ALL))

    def expected(scores):
        return jnp.sum(jnp.exp(log_prob_orders(scores, ALL)) * nats)

    pairs = np.array(list(itertools.product(range(24), repeat=2)))
    gradient = jax.grad(policy_loss)
    estimate = jax.jit(jax.vmap(gradient, in_axes=(None, 0, 0)))(SCORES, ALL[pairs], jnp.asarray(nats)[pairs])
    weights = P_ALL[pairs[:, 0]] * P_ALL[pairs[:, 1]]
    average = (np.asarray(estimate, np.float64) * weights[:, None]).sum(0)
    np.testing.assert_allclose(average, jax.jit(jax.grad(expected))(SCORES), atol=1e-5)


@pytest.mark.slow
def test_a_policy_learns_with_its_model():
    config = small_config()
    config.train.steps = 12
    learned = search.learn_order(config, orders_per_step=2, learning_rate=0.1)
    assert sorted(learned.order) == list(range(64)) and learned.steps == 12
    assert np.std(learned.scores) > 0.01 and learned.nats[-1] < learned.nats[0]
    assert learned.scores[learned.order[0]] == learned.scores.max()
    assert all(math.isfinite(value) for value in learned.nats)


@pytest.mark.slow
def test_a_learned_order_resumes_bit_for_bit_and_is_reported(tmp_path, monkeypatch):
    config = small_config("made", hidden_sizes=(8,), direct=False)
    config.model.orders, config.objective = "uniform", "learned_order(orders_per_step=2, learning_rate=0.1)"
    straight, resumed = assert_a_stop_changes_no_bit(lambda: build(config), tmp_path, monkeypatch, 4)
    state = latest_store(tmp_path / "stopped").restore(build(config).abstract_state)[1]
    scores = np.asarray(state.objective.params["scores"])
    assert resumed.results["learned_order"] == straight.results["learned_order"] == np.argsort(-scores).tolist()
    assert np.abs(scores).min() > 0


def test_a_folder_with_another_policy_is_refused(tmp_path, monkeypatch):
    asked = []

    def run_training(learner, folder):
        asked.append(learner.setup.spec.objective.learning_rate)
        (tmp_path / "checkpoints/latest/1").mkdir(parents=True, exist_ok=True)
        return SimpleNamespace(state=SimpleNamespace(objective=SimpleNamespace(params={"scores": np.zeros(64)})))

    monkeypatch.setattr(search, "run_training", run_training)
    config = small_config("made", hidden_sizes=(8,), direct=False)
    for _ in range(2):
        search.learn_order(config, 2, 0.1, seed=0, workdir=tmp_path)
    with pytest.raises(UserError, match=r"holds another run: objective was .* and is .*0\.9\)' now, seed was 0 there"):
        search.learn_order(config, 3, 0.9, seed=7, workdir=tmp_path)
    assert asked == [0.1, 0.1]
    (tmp_path / "config.json").unlink()  # a folder that is older than this check
    search.learn_order(config, 2, 0.1, seed=0, workdir=tmp_path)
    (tmp_path / "checkpoints/latest/1").rmdir()  # nothing was trained there
    search.learn_order(config, 3, 0.9, seed=7, workdir=tmp_path)


def test_policies_that_cannot_be_are_refused():
    for number in (1, 2.5, "4"):
        with pytest.raises(UserError, match="at least 2 orders"):
            search.learn_order(small_config(), orders_per_step=number)
    config = small_config("pixelcnn", hidden_size=8, num_layers=1)
    with pytest.raises(UserError, match="networks that can"):
        search.learn_order(config)
    config = small_config()
    config.model.orders, config.objective = "pool(num=3)", "learned_order"
    with pytest.raises(UserError, match=r"draws any order: set model\.orders to uniform"):
        build(config)
