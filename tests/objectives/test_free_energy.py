"""The variational free energy: energies, gradients against enumeration, and the scores of draws."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from objective_cases import loss_and_gradient
from refusals import refusal

import arjax
from arjax.config import network_config
from arjax.config.build import build
from arjax.config.files import load_config_file
from arjax.core.batch import Batch
from arjax.core.spec import ContextSpec, EventSpec
from arjax.models import ModelChoice, make_model
from arjax.objectives import ObjectiveState, Step, free_energy, make_objective
from arjax.objectives.energies import ENERGIES, make_energy
from arjax.population import Population, train_population
from arjax.samplers import Draw
from arjax.testing.examples import random_like
from arjax.training.loop import train


def all_values(event):
    """All examples of an event, [V^D, *grid]."""
    values = itertools.product(range(event.num_levels), repeat=event.num_sites)
    return np.array(list(values), np.int32).reshape(-1, *event.grid_shape)


def log_z(call, event, beta=1.0):
    energy = np.asarray(jax.jit(make_energy(call, event))(all_values(event)), np.float64)
    return np.logaddexp.reduce(-beta * energy)


@pytest.mark.parametrize("periodic", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_energies_are_those_of_their_definitions(periodic):
    shape, rng = (3, 4), np.random.default_rng(0)
    sites, size = list(np.ndindex(shape)), np.array(shape)
    ahead = [(site, tuple(np.add(site, step))) for site in sites for step in ((0, 1), (1, 0))]
    bonds = [(i, tuple(j % size)) for i, j in ahead if periodic or (j < size).all()]
    assert len(bonds) == (24 if periodic else 17)
    for name, num_levels in (("ising", 2), ("potts", 3), ("hard_core", 2)):
        x = rng.integers(num_levels, size=(5, *shape))
        first, options = (1.3, 0.4), {"ising": "coupling=1.3, field=0.4", "potts": "coupling=1.3, field=0.4"}
        text = options.get(name, "repulsion=1.3, log_activity=0.4")
        energy = make_energy(f"{name}({text}, {periodic=})", EventSpec(shape, (), "tokens", num_levels))
        for one, value in zip(x, np.asarray(energy(jnp.asarray(x))), strict=True):
            s = 2 * one - 1
            pairs = {
                "ising": -sum(s[i] * s[j] for i, j in bonds),
                "potts": -sum(int(one[i] == one[j]) for i, j in bonds),
                "hard_core": sum(one[i] * one[j] for i, j in bonds),
            }
            alone = {"ising": s.sum(), "potts": (one == 0).sum(), "hard_core": one.sum()}
            np.testing.assert_allclose(value, first[0] * pairs[name] - first[1] * alone[name], rtol=1e-5)


def test_partition_functions_are_those_of_the_literature():
    beta, ring = 0.7, EventSpec((6,), (), "tokens", 3)
    e = math.exp(beta)
    np.testing.assert_allclose(log_z("potts", ring, beta), math.log((e + 2) ** 6 + 2 * (e - 1) ** 6), rtol=1e-6)
    exact = math.log((2 * math.cosh(beta)) ** 6 + (2 * math.sinh(beta)) ** 6)
    np.testing.assert_allclose(log_z("ising", EventSpec((6,)), beta), exact, rtol=1e-6)
    # 63 sets of sites of the 3 x 3 grid have no neighbours
    np.testing.assert_allclose(
        log_z("hard_core(repulsion=30, periodic=False)", EventSpec((3, 3))), math.log(63), rtol=1e-6
    )
    glass, rng = EventSpec((5,)), np.random.default_rng(4)
    coupling, s = rng.normal(size=(5, 5)) / 5**0.5, 2 * all_values(glass) - 1
    energy = -sum(coupling[i, j] * s[:, i] * s[:, j] for i in range(5) for j in range(i + 1, 5))
    found = make_energy("sherrington_kirkpatrick(seed=4)", glass)(all_values(glass))
    np.testing.assert_allclose(found, energy, rtol=1e-4, atol=1e-5)


PLANE = EventSpec((1, 3))
OBJECTIVE = "free_energy(energy='ising(field={field}, periodic=False)', beta=0.8{more})"


def small_model(event=PLANE, **options):
    model = make_model(event, "made", hidden_sizes=(6,), **options)
    return model, random_like(model.param_shapes)


@pytest.mark.parametrize(
    ("field", "more", "images"),
    [pytest.param(0.3, "", 1, marks=pytest.mark.slow), (0.0, ", symmetries=('flip', 'mirror')", 4)],
)
def test_the_mean_gradient_over_all_pairs_of_draws_is_that_of_the_enumerated_free_energy(
    field, more, images, monkeypatch
):
    """sum_{x, y} q(x) q(y) g(x, y): the score function, and its baseline from the other draw, have no bias."""
    (model, params), x = small_model(), all_values(PLANE)
    objective, drawn = make_objective(OBJECTIVE.format(field=field, more=more)), []
    monkeypatch.setattr(free_energy, "draw_part", lambda *args: Draw(drawn[-1], {}))

    def log_q(params):  # of the mixture of the images
        of_images = [x, 1 - x, x[:, :, ::-1], 1 - x[:, :, ::-1]][:images]
        scores = jnp.stack([model.log_prob(params, image) for image in of_images])
        return jax.nn.logsumexp(scores, 0) - math.log(images)

    energy = make_energy(objective.energy, PLANE)(jnp.asarray(x))

    def enumerated(params):
        return (jnp.exp(log_q(params)) * (log_q(params) + 0.8 * energy)).sum() / 3

    def of_pair(params, pair):
        drawn.append(pair)
        return objective.loss(model, params, ObjectiveState(), Batch(pair), Step(jax.random.key(0))).value

    pairs = np.array(list(itertools.product(x, x)))  # [64, 2, 1, 3]
    q = jnp.exp(jax.jit(model.log_prob)(params, x))
    weight = jnp.outer(q, q).ravel()
    gradients = jax.jit(jax.vmap(jax.grad(of_pair), (None, 0)))(params, pairs)
    mean = jax.tree.map(lambda g: jnp.tensordot(weight, g, 1), gradients)
    exact = jax.jit(jax.grad(enumerated))(params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), mean, exact)
    assert max(float(np.abs(leaf).max()) for leaf in jax.tree.leaves(exact)) > 0.05


def test_at_the_target_the_gradient_has_no_noise():
    model = make_model(PLANE, "independent")
    params = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), model.param_shapes)
    batch = Batch(np.zeros((8, 1, 3), np.int32))
    objective = make_objective("free_energy(energy='ising(coupling=0.0)')")
    _, gradient, metrics = loss_and_gradient(objective, model, params, batch, jax.random.key(0))
    assert all(float(np.abs(leaf).max()) < 1e-6 for leaf in jax.tree.leaves(gradient))
    np.testing.assert_allclose(metrics.nll / metrics.examples, -3 * math.log(2), rtol=1e-5)


def test_the_temperature_falls_to_its_value():
    model, params = small_model()
    batch, call = Batch(np.zeros((8, 1, 3), np.int32)), "free_energy(beta=2.0, anneal=0.5, schedule='linear')"
    values = {}
    for progress in (0.0, 0.25, 0.5, 1.0):
        value, _, metrics = loss_and_gradient(make_objective(call), model, params, batch, jax.random.key(0), progress)
        energy = 3 * float(metrics.means["energy_per_site"].value)
        log_q = float(metrics.nll / 8) - 2.0 * energy
        values[progress] = (3 * float(value) - log_q) / energy
    np.testing.assert_allclose(list(values.values()), [0.0, 1.0, 2.0, 2.0], rtol=1e-4, atol=1e-4)


MIXTURE = {name: ModelChoice(network=name) for name in ("made", "independent")}
MODELS = {
    "blocks in another order": lambda: small_model(ordering="reversed", partition="sizes(sizes=(1, 2))"),
    "a joint conditional": lambda: small_model(partition="whole", conditional="mixture_of_products(components=2)"),
    "a mixture of models": lambda: (make_model(PLANE, ModelChoice("mixture", parts=MIXTURE)), None),
}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n != "a mixture of models")) for n in MODELS]
)
def test_rows_are_those_of_draws_of_any_model_with_exact_scores(name):
    model, params = MODELS[name]()
    params = random_like(model.param_shapes) if params is None else params
    objective = make_objective(OBJECTIVE.format(field=0.3, more=""))
    batch = Batch(np.zeros((4000, 1, 3), np.int32))
    rows = jax.jit(lambda params, key: objective.rows(model, params, batch, key))(params, jax.random.key(3))
    x = all_values(PLANE)
    log_q, energy = jax.jit(model.log_prob)(params, x), make_energy(objective.energy, PLANE)(jnp.asarray(x))
    values, q = log_q + 0.8 * energy, np.exp(log_q)
    mean, nll = float((q * values).sum()), np.asarray(rows["nll"], np.float64)
    assert abs(nll.mean() - mean) < 4 * nll.std() / len(nll) ** 0.5
    assert np.isclose(nll[:, None], values, atol=1e-4).any(1).all()
    weights = np.exp(-nll)  # importance weights: their mean is Z
    exact = np.exp(log_z(objective.energy, PLANE, 0.8))
    assert abs(weights.mean() - exact) < 4 * weights.std() / len(nll) ** 0.5


@pytest.fixture(scope="module")
def fitted():
    event = EventSpec((2, 3))
    model = make_model(event, "made", hidden_sizes=(16,))
    data = arjax.make_dataset("noise", grid=(2, 3), kind="binary", num_examples=512)
    options = {"steps": 300, "batch_size": 128, "learning_rate": 0.02, "eval_every": 100, "steps_per_dispatch": 50}
    objective = "free_energy(energy='ising(field=0.2)', beta=0.3, anneal=0.3)"
    return arjax.fit_arrays(model, train=data, objective=objective, quiet=True, **options)


def test_a_run_without_data_reports_a_bound_and_an_estimate(fitted):
    results, exact = fitted.results, log_z("ising(field=0.2)", fitted.model.event, 0.3)
    assert (results["kind"], results["log_z_kind"], results["split"]) == ("bound", "estimate", "test")
    assert -exact < results["nll_nats"] + 4 * results["nll_stderr"] < -exact + 0.05
    assert abs(results["log_z"] - exact) < 4 * results["log_z_stderr"] < 0.05
    assert 400 < results["effective_samples"] <= 512
    np.testing.assert_allclose(results["free_energy_per_site"], results["nll_nats"] / 0.3 / 6, rtol=1e-6)
    x = all_values(fitted.model.event)
    q, energy = np.exp(fitted.log_prob(x)), make_energy("ising(field=0.2)", fitted.model.event)(jnp.asarray(x))
    assert abs(results["energy_per_site"] - (q * np.asarray(energy)).sum() / 6) < 4 * results["energy_per_site_stderr"]


def test_splits_are_scored_by_other_draws_and_examples_of_the_user_by_their_likelihood(fitted):
    again, validation = fitted.evaluate("test"), fitted.evaluate("validation")
    assert again["nll_nats"] == fitted.results["nll_nats"] != validation["nll_nats"]
    total = np.exp(fitted.log_prob(all_values(fitted.model.event))).sum()
    np.testing.assert_allclose(total, 1, rtol=1e-5)


def check(objective, event=PLANE, network="made", **options):
    make_objective(objective).check(make_model(event, network, **options))


def test_wrong_energies_are_refused_in_a_sentence(scope):
    scope(ENERGIES)
    ENERGIES.register("by_site")(lambda event: lambda x: 1.0 * x)
    ENERGIES.register("by_branches")(lambda event: lambda x: jnp.ones(len(x)) if x.sum() > 0 else jnp.zeros(len(x)))
    ENERGIES.register("by_numpy")(lambda event: lambda x: np.asarray(x).sum((1, 2)))
    ENERGIES.register("forbidden")(lambda event: lambda x: jnp.where(x.sum((1, 2)) > 1, jnp.inf, 0.0))
    ENERGIES.register("missing")(lambda event: lambda x: jnp.log(-1.0 - x.sum((1, 2))))
    ENERGIES.register("no_function")(lambda event: 3.0)
    sentences = {
        "isingg": "unknown energy 'isingg', did you mean 'ising'?",
        "ising(coupling='a')": "coupling",
        "by_site": "one number for each of 64 examples, not the shape (64, 1, 3)",
        "by_branches": "fails on examples (64, 1, 3) inside jit (TracerBoolConversionError",
        "by_numpy": "write it with jax.numpy",
        "forbidden": "is not finite on some examples: give what is forbidden a finite penalty",
        "missing": "is not finite on some examples",
        "no_function": "must return a function of examples",
    }
    for energy, sentence in sentences.items():
        assert sentence in refusal(check, f"free_energy(energy={energy!r})"), energy


def test_models_and_data_that_do_not_fit_are_refused_in_a_sentence():
    bits, real = EventSpec((2, 3)), EventSpec((4,), kind="real")
    cases = {
        "for sites of 2 values each, not 2 x 3 sites, 3 tokens": ("free_energy", EventSpec((2, 3), (), "tokens", 3)),
        "for sites of finitely many values each": ("free_energy(energy='potts')", real),
        "a transposition needs a square grid, not (2, 3)": ("free_energy(symmetries=('transpose',))", bits),
        "'flip' is no symmetry": ("free_energy(energy='ising(field=0.1)', symmetries=('flip',))", bits),
        "'shift' is no symmetry": ("free_energy(energy='ising(periodic=False)', symmetries=('shift',))", bits),
    }
    for sentence, (objective, event) in cases.items():
        assert sentence in refusal(check, objective, event), sentence
    assert "trains one order" in refusal(check, "free_energy", bits, orders="pool(num=2)")
    model, params = small_model()
    for batch in (Batch(np.zeros((1, 1, 3))), Batch(np.zeros((2, 1, 3)), mask=np.ones((2, 1, 3)))):
        said = refusal(
            make_objective("free_energy").loss, model, params, ObjectiveState(), batch, Step(jax.random.key(0))
        )
        assert "at least 2 examples" in said or "masks" in said
    data = arjax.make_dataset("noise", grid=(1, 3), kind="binary", num_examples=8)
    options = {"train": data, "objective": "free_energy", "steps": 1, "quiet": True}
    assert "at least 2 examples" in refusal(arjax.fit_arrays, model, batch_size=1, **options)


def test_a_context_reaches_the_draws():
    model = make_model(PLANE, "made", hidden_sizes=(6,), context=ContextSpec("label", 2))
    params = random_like(model.param_shapes)
    batch = Batch(np.zeros((6, 1, 3), np.int32), {"label": np.array([0, 1] * 3)})
    rows = jax.jit(lambda: make_objective("free_energy").rows(model, params, batch, jax.random.key(0)))()
    assert np.isfinite(np.asarray(rows["nll"])).all()


@pytest.mark.slow
def test_members_of_a_population_are_their_runs(tmp_path):
    config = load_config_file("configs/energies.py:smoke,energy=potts")
    config.network = network_config("made", hidden_sizes=(8,))
    scores = train_population(Population(config, ["raster", "hilbert"], [1]))
    config.model.ordering, config.seed = "hilbert", 1
    single, member = train(build(config), tmp_path).results, scores.results[1][0]
    assert (member["kind"], member["num_examples"]) == (single["kind"], single["num_examples"]) == ("bound", 64)
    for name in ("nll_nats", "free_energy_per_site", "energy_per_site", "log_z", "effective_samples"):
        assert member[name] == pytest.approx(single[name], rel=1e-3), name
    assert member["log_z"] != pytest.approx(scores.results[0][0]["log_z"], rel=1e-3)
