"""A member of a population is the run that `arjax` would make of it alone; search over orders, and learned orders."""

import dataclasses
import functools
import itertools
import os
import signal
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from loop_helpers import assert_a_stop_changes_no_bit, metrics
from refusals import refusal

from arjax.config import base_config, dataset_config, model_config, network_config
from arjax.config.build import build
from arjax.config.files import save_config
from arjax.core.errors import UserError
from arjax.core.scores import fit_weights, greedy
from arjax.objectives.likelihood import draw_order, log_prob_order, policy_loss
from arjax.population import Population, search, train_population
from arjax.population.population import STRATEGIES, on_one_device
from arjax.population.search import local_search, move, random_search
from arjax.population.train import Members, PopulationReporter
from arjax.reporting.writers import read_metrics
from arjax.training.history import History
from arjax.training.loop import Training, train
from arjax.training.setup import latest_store, restore_params


def small_config(network="made", /, **options):
    config = base_config()
    config.dataset = dataset_config("digits")
    config.network = network_config(network, **(options or {"hidden_sizes": (12,), "dropout": 0.2, "direct": False}))
    config.train.update(steps=5, batch_size=16, steps_per_dispatch=2, log_every=5, eval_every=2, checkpoint_every=5)
    config.train.ema_decay = 0.9
    config.optimizer.update(learning_rate=1e-2)
    config.evaluate.batch_size = 128
    return config


ORDERS, SEEDS = ("spiral", "random(seed=1)", "raster"), (3, 0)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """What a run of one order and seed gives, once per choice."""
    known = {}

    def results(order, seed, **changes):
        key = (order, seed, *changes.items())
        if key not in known:
            config = small_config()
            config.model.ordering, config.seed = order, seed
            config.train.update(**changes)
            known[key] = train(build(config), tmp_path_factory.mktemp("run")).results
        return known[key]

    return results


@pytest.fixture(scope="module")
def whole():
    """A population of each strategy with its scores, trained once."""

    @functools.cache
    def trained(strategy):
        population = Population(small_config(), ORDERS, SEEDS, strategy)
        return population, train_population(population)

    return trained


@pytest.mark.parametrize(
    "strategy", [pytest.param(name, marks=[pytest.mark.slow] * (name != "vmap")) for name in STRATEGIES]
)
def test_every_member_is_the_run_of_its_order_and_seed(strategy, alone, whole):
    _, scores = whole(strategy)
    for o, s in ((0, 0), (1, 1)):
        single = alone(ORDERS[o], SEEDS[s])
        assert scores.results[o][s]["nll_nats"] == pytest.approx(single["nll_nats"], rel=2e-5), (o, s)
        assert scores.validation[o, s] == pytest.approx(single["validation_nll_nats"], rel=2e-5)
        assert scores.best_step[o, s] == single["best_step"]
    assert len(np.unique(np.round(scores.validation, 4))) == len(ORDERS) * len(SEEDS)
    assert scores.test_rows.shape == (3, 2, 300) and scores.validation_rows.shape == (3, 2, 200)
    means = scores.test_rows.mean(-1, dtype=np.float64)
    np.testing.assert_allclose(means, [[r["nll_nats"] for r in row] for row in scores.results], rtol=1e-6)


@pytest.mark.slow
def test_a_member_out_of_patience_keeps_what_it_has(tmp_path):
    """Members end at different steps, as their runs do, and would have improved again if they had gone on."""
    config = small_config()
    config.optimizer.learning_rate = 0.5
    config.train.update(steps=16, patience=1, ema_decay=0.0)
    scores = train_population(Population(config, ORDERS, SEEDS))
    rows = scores.validation_rows.mean(-1, dtype=np.float64)
    np.testing.assert_allclose(rows, scores.validation, rtol=1e-6)  # the parameters that are scored are the best ones
    assert len(np.unique(scores.best_step)) > 1
    for o, s in ((0, 0), (2, 1)):
        config.model.ordering, config.seed = ORDERS[o], SEEDS[s]
        single = train(build(config), tmp_path / f"{o}{s}").results
        assert scores.best_step[o, s] == single["best_step"]
        assert scores.results[o][s]["nll_nats"] == pytest.approx(single["nll_nats"], rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("examples", [0, 5])
def test_members_are_scored_as_their_runs_beside_the_known_truth_of_their_data(tmp_path, examples):
    config = small_config()
    config.dataset = dataset_config("markov_chain", order=1, levels=3, length=5, num_examples=64)
    config.evaluate.examples = examples
    scores = train_population(Population(config, ["raster", "reversed"], [4]))
    config.model.ordering, config.seed = "reversed", 4
    single, (other, member) = train(build(config), tmp_path).results, (row[0] for row in scores.results)
    names = ("num_examples", "validation_num_examples", "nll_nats", "nll_stderr")
    for name in (*names, "truth_nll_nats", "truth_nll_stderr", "excess_nats", "excess_stderr"):
        assert member[name] == pytest.approx(single[name], rel=1e-4), name
    assert scores.test_rows.shape[2] == single["num_examples"] and (single["num_examples"] == 5) == (examples == 5)
    assert other["truth_nll_nats"] == member["truth_nll_nats"] and other["excess_nats"] != member["excess_nats"]


@pytest.mark.slow
def test_members_of_any_kind_that_has_an_order(tmp_path):
    """Also of one whose scores are drawn: each member has the noise of its own run."""
    sizes = {"width": 8, "num_layers": 1, "num_heads": 2}
    config = small_config("block_transformer", **sizes)
    config.dataset = dataset_config("markov_chain", order=1, levels=3, length=4, num_examples=64)
    config.model, config.objective = model_config("block_diffusion", partition="blocks(size=2)"), "denoising"
    scores = train_population(Population(config, ["raster", "reversed"], [4]))
    config.model.ordering, config.seed = "reversed", 4
    single = train(build(config), tmp_path).results
    assert scores.results[1][0]["nll_nats"] == pytest.approx(single["nll_nats"], rel=1e-4)
    assert scores.results[0][0]["nll_nats"] != scores.results[1][0]["nll_nats"]
    config.model, config.network = model_config("discrete_chain"), network_config("denoising_transformer")
    assert "the kind 'discrete_chain' has none" in refusal(Population, config, ["raster"], [0])


def test_a_config_for_many_devices_is_one_for_one():
    config = small_config()
    config.mesh.update(data=1, fsdp=2, tensor=2)
    mesh = on_one_device(config).mesh
    assert (mesh.data, mesh.fsdp, mesh.tensor, config.mesh.fsdp) == (-1, 1, 1, 2)


@pytest.mark.parametrize(
    ("orders", "seeds", "change", "sentence"),
    [
        ((), (0,), {}, "at least one order and one seed"),
        (("raster",), (), {}, "at least one order and one seed"),
        (("rastr",), (0,), {}, "did you mean 'raster'"),
        (("raster",), (0,), {"model.orders": "uniform"}, "leave model.orders empty"),
        (("raster",), (2**32,), {}, "from 0 to 2"),
        (("raster",), (0,), {"evaluate.exposure": 10}, r"leave config\.evaluate\.exposure at 0"),
    ],
)
def test_what_is_no_population_is_refused(orders, seeds, change, sentence):
    config = small_config()
    config.update_from_flattened_dict(change)
    with pytest.raises(UserError, match=sentence):
        Population(config, orders, seeds)


@pytest.mark.slow
def test_an_oracle_is_that_of_every_order(tmp_path):
    config = small_config("markov", order=1)
    config.dataset = dataset_config("markov_chain", levels=3, length=6, num_examples=64)
    config.objective = "rollout(length=2, target='reverse_kl')"
    population = Population(config, ("raster", "reversed"), (0,))
    members = Members(population, tmp_path, print)
    companions = {name: found.companion for name, found in population.setup.trained_companions().items()}
    assert "the model needs that order" in refusal(members.begin, companions, None)


def test_orders_that_the_network_does_not_serve_are_refused():
    with pytest.raises(UserError, match="networks that can"):
        Population(small_config("pixelcnn", hidden_size=8, num_layers=1), ["raster", "spiral"], [0])


@pytest.mark.slow
def test_a_population_without_a_finite_loss_ends():
    config = small_config()
    config.optimizer.update(name="sgd", learning_rate=1e30)
    with pytest.raises(UserError, match="the loss was not finite at step 2"):
        train_population(Population(config, ORDERS[:1], SEEDS))


def test_members_whose_conditional_has_a_loss_of_its_own_report_it():
    reporter = object.__new__(PopulationReporter)
    reporter._bits = False
    assert reporter._in_words({"nll_nats": 2.0}) == "2.0000 nats on average"
    assert reporter._in_words({"simple": 0.5}) == "simple 0.5000"


@pytest.mark.slow
def test_members_may_have_a_conditional_with_a_loss_of_its_own():
    config = small_config()
    config.dataset = dataset_config("noise", grid=(3,), value=(2,), kind="real")
    config.model.conditional = "diffusion(weighting='simple',schedule='cosine',features=4,width=8,steps=4)"
    scores = train_population(Population(config, ["raster", "reversed"], (0, 1)))
    assert np.isfinite(scores.test_rows).all()


@pytest.mark.slow
def test_a_member_that_diverges_takes_no_other_with_it(monkeypatch, whole):
    """One member's parameters are no numbers from the start, and the others are as they would be without it."""
    (population, expected), fresh = whole("vmap"), Members._fresh

    def broken(members, params):
        state = fresh(members, params)
        params = jax.tree.map(lambda leaf: leaf.at[1, 0].set(np.nan), state.train.params)
        return state.replace(train=state.train.replace(params=params))

    monkeypatch.setattr(Members, "_fresh", broken)
    lines = []
    scores = train_population(population, lines.append)
    assert "1 members have diverged" in lines[-1]
    assert np.isinf(scores.validation[1, 0]) and np.isinf(scores.test_rows[1, 0]).all()
    others = np.arange(6).reshape(3, 2) != 2
    np.testing.assert_allclose(scores.validation[others], expected.validation[others], rtol=1e-5)
    nats = scores.validation_rows.reshape(6, -1)
    assert fit_weights(nats)[2] == 0 and greedy(nats)[-1] == 2


@pytest.mark.slow
def test_a_member_that_had_ended_before_its_loss_was_no_number_is_not_lost():
    history = dataclasses.replace(History.fresh((1, 3)), bad_evals=np.array([[2, 0, 2]]))
    run = SimpleNamespace(history=history, train=SimpleNamespace(patience=2))
    Training._check_finite(run, np.array([[7, 7, -1]]))
    np.testing.assert_array_equal(history.alive, [[True, False, True]])


TWO = ("spiral", "raster")


def resumable(**changes):
    config = small_config("made", hidden_sizes=(8,), direct=False)
    config.optimizer.learning_rate = 0.5  # some members get worse, and the best parameters are not the last ones
    config.train.update(steps=8, log_every=3, checkpoint_every=3, ema_decay=0.0, **changes)
    return config


def stop_after(monkeypatch, step, number=signal.SIGTERM):
    """Sends SIGTERM when the rows of the step after `step` are asked for, not counting the call that compiles."""
    original, calls = Members._arguments, []

    def arguments(self, start, n):
        calls.append(start)
        if start == step and len(calls) > 1:
            os.kill(os.getpid(), number)
        return original(self, start, n)

    monkeypatch.setattr(Members, "_arguments", arguments)


def untimed(scores):
    return [[{k: v for k, v in own.items() if "second" not in k} for own in row] for row in scores.results]


def assert_same(left, right):
    for name in ("validation", "best_step", "validation_rows", "test_rows"):
        np.testing.assert_array_equal(getattr(left, name), getattr(right, name))
    assert untimed(left) == untimed(right)


@pytest.mark.slow
def test_an_interrupted_population_goes_on_bit_for_bit(tmp_path, monkeypatch):
    population = Population(resumable(), TWO, SEEDS)
    straight = train_population(population, workdir=tmp_path / "a")
    assert (straight.best_step < 8).any()
    stop_after(monkeypatch, 4)
    with pytest.raises(KeyboardInterrupt, match="stopped at step 6 of 8"):
        train_population(population, workdir=tmp_path / "b")
    monkeypatch.undo()
    lines = []
    population = Population(resumable(), TWO, SEEDS)
    assert_same(train_population(population, lines.append, tmp_path / "b"), straight)
    assert lines[2:4] == ["2 orders x 2 seeds, all in one program", "resumes at step 6 of 8"]
    assert metrics(tmp_path / "a") == metrics(tmp_path / "b")
    assert_same(train_population(population, lines.append, tmp_path / "b"), straight)  # finished: it just reports
    population.replace_orders(TWO[::-1])
    assert "holds another run: model.ordering was" in refusal(train_population, population, workdir=tmp_path / "b")


@pytest.mark.slow
def test_a_population_starts_from_a_run(tmp_path):
    save_config(resumable(), tmp_path)
    setup = build(resumable())
    train(setup, tmp_path)
    best, _, _ = restore_params(setup, tmp_path)
    members = Members(Population(resumable(init_from=str(tmp_path)), TWO, SEEDS), tmp_path / "p", print)
    state = members.begin({}, None)
    for leaf, expected in zip(jax.tree.leaves(state.best), jax.tree.leaves(best), strict=True):
        np.testing.assert_array_equal(leaf, np.broadcast_to(expected, leaf.shape))


@dataclasses.dataclass
class FakePopulation:
    """Twelve sites; an order is worth its number of pairs that are out of sequence."""

    num: int = 6

    def __post_init__(self):
        self.setup = SimpleNamespace(model=SimpleNamespace(event=SimpleNamespace(num_sites=12)))
        rng = np.random.default_rng(5)
        self.replace_orders([rng.permutation(12) for _ in range(self.num)])

    def replace_orders(self, orders):
        self.members = [SimpleNamespace(factorization=SimpleNamespace(order=order)) for order in orders]


@pytest.fixture
def cheap(monkeypatch):
    def train(population):
        nats = [sum(a > b for a, b in itertools.combinations(each, 2)) for each in search.orders_of(population)]
        return SimpleNamespace(validation=np.array(nats, float)[:, None])

    monkeypatch.setattr(search, "train_population", train)


def test_local_search_beats_random_search_of_the_same_size(cheap):
    local, rand = local_search(FakePopulation(), 40), random_search(FakePopulation(), 40)
    assert local.trained == rand.trained == 240
    assert local.validation < rand.validation / 2
    assert sorted(local.order) == list(range(12))
    assert list(local.best_by_round) == sorted(local.best_by_round, reverse=True)
    assert local.validation == sum(a > b for a, b in itertools.combinations(local.order, 2)) == local.best_by_round[-1]


def test_a_search_goes_on_from_as_many_orders_as_it_trains(cheap):
    """From the best ones, of any round."""
    given, rounds = [], [[np.roll(np.arange(12), i) for i in some] for some in ((0, 3), (6, 1), (2, 4))]

    def propose(best):
        given.append([nats for nats, _ in best])
        return rounds[len(given) - 1]

    search._search(FakePopulation(2), 3, propose, lambda text: None)
    assert given == [[], [0, 27], [0, 11]]


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
    assert sentence in refusal(local_search, FakePopulation(), rounds, parents)


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
def test_a_learned_order_resumes_bit_for_bit_and_is_reported(tmp_path, monkeypatch):
    config = small_config("made", hidden_sizes=(8,), direct=False)
    config.model.orders, config.objective = "uniform", "learned_order(orders_per_step=2, learning_rate=0.1)"
    config.train.log_every = 1
    straight, resumed = assert_a_stop_changes_no_bit(lambda: build(config), tmp_path, monkeypatch, 4)
    state = latest_store(tmp_path / "stopped").restore(build(config).abstract_state)[1]
    scores = np.asarray(state.objective.params["scores"])
    assert resumed.results["learned_order"] == straight.results["learned_order"] == np.argsort(-scores).tolist()
    assert np.abs(scores).min() > 0
    nats = [line["train/order_nats"] for line in read_metrics(tmp_path / "stopped") if "train/order_nats" in line]
    assert nats[-1] < nats[0]


def test_policies_that_cannot_be_are_refused():
    config = small_config("pixelcnn", hidden_size=8, num_layers=1)
    config.model.orders, config.objective = "uniform", "learned_order"
    assert "networks that can" in refusal(build, config)
    config = small_config()
    config.model.orders, config.objective = "pool(num=3)", "learned_order"
    assert "draws any order: set model.orders to uniform" in refusal(build, config)
