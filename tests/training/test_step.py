"""A train step, and an objective with parameters, state, a companion and a metric of its own in it."""

import dataclasses
import functools
import shutil
import traceback
import types
from pathlib import Path

import flax.linen as nn
import jax
import jax.extend.core
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from loop_helpers import (
    assert_a_stop_changes_no_bit,
    assert_same_bits,
    final_state,
    finish,
    metrics,
    run_python,
    tiny_config,
)
from optimizers import make_optimizer
from registries import within

import arjax
from arjax.config.build import build
from arjax.config.files import save_config
from arjax.core.batch import Batch
from arjax.core.errors import UserError
from arjax.core.spec import EventSpec
from arjax.models import make_model
from arjax.networks.dense.made import MADE
from arjax.objectives import (
    OBJECTIVES,
    Loss,
    Mean,
    Metrics,
    Objective,
    ObjectiveState,
    Step,
    likelihood_loss,
    make_objective,
)
from arjax.parallel.sharding import make_mesh, replicated
from arjax.training.feed import ResidentFeed, as_traced
from arjax.training.loop import train
from arjax.training.state import StepSpec, TrainState, abstract_state, fresh_state, init_state, placed_state
from arjax.training.step import compile_chunk, cut_batch, loss_and_gradients, train_chunk, train_step, zero_sums


@pytest.fixture(scope="module")
def setup():
    return build(tiny_config())


@pytest.fixture(scope="module")
def feed(setup):
    return ResidentFeed(setup.dataset.splits["train"], setup.mesh, seed=0, batch_size=8, max_steps=6)


def run_groups(setup, feed, groups):
    init_key, key = setup.keys()
    state, chunk, step = setup.init_state(init_key), feed.chunk(0, 1), 0
    sums = jax.device_put(zero_sums(setup.spec, state, chunk), replicated(setup.mesh))
    program = compile_chunk(setup.spec, state, sums, chunk, as_traced(1, setup.mesh), key)
    for n in groups:
        state, sums = program(state, sums, feed.chunk(step, n), as_traced(n, setup.mesh), key)
        step += n
    return state, sums


def test_one_program_serves_all_groupings_of_steps_and_gives_the_same_bits(setup, feed):
    state, sums = run_groups(setup, feed, (6, 1))
    assert_same_bits((state, sums), run_groups(setup, feed, (1, 2, 4)))
    assert int(state.step) == 7 and float(sums.steps) == 7 and float(sums.metrics.examples) == 56


@pytest.mark.slow
def test_dropout_differs_between_steps_and_seeds_only(setup, feed):
    _, key = setup.keys()
    state, batch = setup.init_state(key), feed.chunk(0, 1).batch(0)
    step = jax.jit(lambda state, key: train_step(setup.spec, state, batch, key)[1].value)
    later = state.replace(step=state.step + 1)
    assert step(state, key) == step(state, key)
    assert len({float(step(state, key)), float(step(later, key)), float(step(state, jax.random.key(9)))}) == 3


def test_first_step_with_a_loss_that_is_not_finite_is_remembered(setup, feed):
    class Doubling(Objective):
        def loss(self, model, params, own, batch, step):
            value, one = jnp.where(params["w"] < 1e9, params["w"], jnp.nan), jnp.float32(1)
            return Loss((Mean(value, one),), Metrics(value, one, one, one))

    double = optax.GradientTransformation(lambda params: (), lambda g, state, params: (params, state))
    spec = dataclasses.replace(setup.spec, objective=Doubling(), optimizer=double, ema_decay=0.0)
    state = TrainState(step=jnp.int32(0), params={"w": jnp.float32(3e8)}, opt_state=(), ema={})
    sums = zero_sums(spec, state, feed.chunk(0, 1))
    step = jax.jit(functools.partial(train_chunk, spec))
    _, sums = step(state, sums, feed.chunk(0, 6), jnp.int32(6), jax.random.key(0))
    assert int(sums.bad_step) == 3


def test_transform_runs_inside_the_step(setup, feed):
    def blank(key, batch, train):
        assert train
        return batch.replace(x=jnp.zeros_like(batch.x))

    spec = dataclasses.replace(setup.spec, transform=blank)
    init_key, key = setup.keys()
    state, batch = setup.init_state(init_key), feed.chunk(0, 1).batch(0)
    zeros = batch.replace(x=jnp.zeros_like(batch.x))
    _, loss = jax.jit(functools.partial(train_step, spec))(state, batch, key)
    _, expected = jax.jit(functools.partial(train_step, setup.spec))(state, zeros, key)
    np.testing.assert_allclose(loss.value, expected.value, rtol=1e-6)


def test_the_average_is_of_the_parameters_after_the_step(setup, feed):
    """a_1 = p_1 + d (a_0 - p_1) with d = min(decay, 1 / 10)."""
    spec = dataclasses.replace(setup.spec, ema_decay=0.9)
    init_key, key = setup.keys()
    before = setup.init_state(init_key)
    before = before.replace(ema=jax.tree.map(lambda p: p + 1, before.params))
    after, _ = jax.jit(functools.partial(train_step, spec))(before, feed.chunk(0, 1).batch(0), key)
    expected = jax.tree.map(lambda new, old: new + 0.1 * (old - new), after.params, before.ema)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), after.ema, expected)
    moved = jax.tree.map(lambda new, old: float(np.abs(new - old).max()), after.params, before.params)
    assert min(jax.tree.leaves(moved)) > 1e-4


def test_few_frames_lie_between_a_train_step_and_the_network():
    """The score reads like its equation: checks stand at the edge, and nothing is there that only forwards."""
    model = make_model(EventSpec((8, 8), (), "levels", 17), "made", hidden_sizes=(9,))
    spec = StepSpec(model, make_objective("teacher_forcing"), make_optimizer("adam", 1e-3, 1), total_steps=1)
    key, batch, calls = jax.random.key(0), Batch(np.zeros((2, 8, 8), np.uint8)), []
    state, package = jax.eval_shape(lambda: fresh_state(spec, key)), str(Path(arjax.__file__).parent)

    def note(method, args, kwargs, context):
        if isinstance(context.module, MADE) and context.method_name == "__call__":
            calls.append([frame.name for frame in traceback.extract_stack() if frame.filename.startswith(package)])
        return method(*args, **kwargs)

    with nn.intercept_methods(note):
        jax.eval_shape(lambda state: train_step(spec, state, batch, key), state)
    (frames,) = calls
    between = [*frames[frames.index("train_step") :], "__call__"]
    assert len(between) <= 12, between


def test_the_program_of_the_first_state_finds_what_its_shapes_have_traced():
    model = make_model(EventSpec((5,), (), "levels", 3), "made", hidden_sizes=(13,))  # no other test has this one
    spec = StepSpec(model, make_objective("teacher_forcing"), make_optimizer("adam", 1e-3, 1), total_steps=1)
    mesh, traced = make_mesh(1, 1, 1, jax.devices()[:1]), []

    def count(method, args, kwargs, context):
        traced.append(context.method_name)
        return method(*args, **kwargs)

    key = jax.device_put(jax.random.key(0), replicated(mesh))
    with nn.intercept_methods(count):
        shapes = abstract_state(spec, mesh)
        calls = len(traced)
        state = init_state(spec, key, placed_state(spec, mesh))
    assert calls and len(traced) == calls
    assert jax.tree.map(lambda leaf: leaf.shape, state) == jax.tree.map(lambda leaf: leaf.shape, shapes)
    expected = jax.jit(lambda key: fresh_state(spec, key))(jax.random.key(0))
    for ours, theirs in zip(jax.tree.leaves(state), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)


def draws(jaxpr):
    """The number of random draws that a program has, those of a loop counted as often as its body is written out."""
    total = sum(equation.primitive.name == "random_bits" for equation in jaxpr.eqns)
    for equation in jaxpr.eqns:
        scan = equation.params if equation.primitive.name == "scan" else {"unroll": 1, "length": 1}
        inside = map(draws, jax.extend.core.jaxprs_in_params(equation.params))
        total += min(scan["unroll"], scan["length"]) * sum(inside)
    return total


@pytest.mark.parametrize(
    "network", ["transformer", *(pytest.param(n, marks=pytest.mark.slow) for n in ("delta_net", "row_lstm"))]
)
def test_deeper_stacks_have_no_larger_program(network):
    def draws_of(num_layers):
        model = make_model(EventSpec((2, 3), (), "levels", 3), network, num_layers=num_layers)
        return draws(jax.make_jaxpr(model.init)(jax.random.key(0)).jaxpr)

    assert draws_of(4) == draws_of(2) > 0


WARMUP = 0.5
STEP = Step(jax.random.key(0), jnp.float32(0.5))


@dataclasses.dataclass(frozen=True)
class Tracked(Objective):
    """Maximum likelihood, and a number `level` that is trained to be the nats per example, against a running baseline.

    The distance to a frozen teacher comes in by a warm-up. One term counts scalars, the other examples.
    """

    teacher: str = ""
    rate: float = 0.25

    def companions(self):
        return {"teacher": self.teacher} if self.teacher else {}

    def init(self, model, key):
        return ObjectiveState({"level": jax.random.uniform(key)}, {"baseline": jnp.zeros(())})

    def optimizer(self):
        return optax.sgd(self.rate)

    def loss(self, model, params, own, batch, step):
        log_prob_B = model.score(params, batch, key=step.key, train=True).log_prob
        loss = likelihood_loss(model.event, batch, log_prob_B)
        count = loss.metrics.examples
        nats_B = jax.lax.stop_gradient(-log_prob_B)
        error = ((own.params["level"] - nats_B) ** 2).sum() / 2
        if self.teacher:
            teacher = step.companions["teacher"]
            gap_B = (log_prob_B - teacher.model.score(teacher.params, batch).log_prob) ** 2
            error += jnp.minimum(step.progress / WARMUP, 1.0) * gap_B.sum()
        means = {"above": Mean((nats_B - own.state["baseline"]).sum(), count)}
        means["progress"] = Mean(step.progress, jnp.float32(1))
        state = {"baseline": 0.9 * own.state["baseline"] + 0.1 * nats_B.mean()}
        return Loss((*loss.terms, Mean(error, count)), dataclasses.replace(loss.metrics, means=means), state)


@pytest.fixture(scope="module", autouse=True)
def registered():
    """As by another package; other tests see those of arjax alone."""
    with within(OBJECTIVES):
        OBJECTIVES.register("tracked")(Tracked)
        yield


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    workdir, config = tmp_path_factory.mktemp("teacher"), tiny_config(train__steps=6)
    save_config(config, workdir)
    train(build(config), workdir)
    return workdir


@pytest.fixture(scope="module")
def changes(teacher):
    return {"objective": f"tracked(teacher={str(teacher)!r})", "train__accumulate": 2, "network__dropout": 0.2}


@pytest.fixture(scope="module")
def straight(changes, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("straight")
    train(build(tiny_config(**changes)), workdir)
    return workdir


def test_it_is_trained_with_the_model_and_reports(changes, straight):
    _, state, history = final_state(straight, **changes)
    assert history["companion_steps"] == {"teacher": 6}
    nats = [line["train/nll_nats"] for line in metrics(straight) if "train/nll_nats" in line]
    baseline = 0.0
    assert abs(float(state.objective.params["level"]) - nats[-1]) < 0.1 * nats[-1]  # 3/4 of the way twelve times
    for batch in range(24):  # two micro-batches in each of twelve steps
        baseline = 0.9 * baseline + 0.1 * nats[batch // 6]
    np.testing.assert_allclose(state.objective.state["baseline"], baseline, rtol=0.01)
    lines = [line for line in metrics(straight) if "train/progress" in line]
    np.testing.assert_allclose([line["train/progress"] for line in lines], (np.arange(4) * 3 + 1) / 12, rtol=1e-5)
    assert lines[0]["train/above"] > lines[-1]["train/above"] > 0


@pytest.mark.slow
def test_a_run_with_it_resumes_bit_for_bit(changes, tmp_path, monkeypatch):
    config = tiny_config(train__steps_per_dispatch=1, **changes)
    assert_a_stop_changes_no_bit(lambda: build(config), tmp_path, monkeypatch, 5)


@pytest.mark.slow
def test_a_companion_must_stay_what_it_was(changes, straight, teacher, tmp_path):
    shutil.copytree(straight, tmp_path / "run")
    shutil.copytree(teacher, tmp_path / "teacher")
    longer = tiny_config(train__steps=12)
    save_config(longer, tmp_path / "teacher")
    train(build(longer), tmp_path / "teacher")
    changes = changes | {"objective": f"tracked(teacher={str(tmp_path / 'teacher')!r})", "train__steps": 18}
    with pytest.raises(UserError, match=r"teacher of this run had its best parameters at step 6 .* step 12 now"):
        train(build(tiny_config(**changes)), tmp_path / "run")
    changes["objective"] = f"tracked(teacher={str(tmp_path / 'nobody')!r})"
    with pytest.raises(UserError, match="holds no run"):
        train(build(tiny_config(**changes)), tmp_path / "new")


def uneven_case(devices=None):
    """A spec without dropout, its first parameters, and a batch whose parts count different numbers of scalars."""
    setup = build(tiny_config(network__dropout=0.0), devices)
    rng = np.random.default_rng(0)
    x = setup.dataset.splits["train"].__getitems__(np.arange(8)).x
    mask = (rng.random((8, 8, 8)) < rng.random((8, 1, 1))).astype(np.float32)
    params = jax.jit(setup.model.init)(jax.random.key(0))
    return setup.spec, params, Batch(x, mask=mask, weight=np.float32([1, 0, 1, 1, 2, 0, 1, 0]))


@pytest.fixture(scope="module")
def uneven():
    return uneven_case()


@pytest.mark.parametrize("accumulate", [pytest.param(2, marks=pytest.mark.slow), 8])
@pytest.mark.parametrize("objective", [pytest.param("teacher_forcing", marks=pytest.mark.slow), "tracked"])
def test_accumulated_gradients_are_those_of_the_larger_batch(uneven, objective, accumulate):
    spec, params, batch = uneven
    tracked = ObjectiveState({"level": jnp.float32(50.0)}, {"baseline": jnp.zeros(())})
    own = tracked if objective == "tracked" else ObjectiveState()
    results = []
    for num in (1, accumulate):
        own_recipe = dataclasses.replace(spec, objective=make_objective(objective), accumulate=num)
        call = jax.jit(lambda params, own, batch, r=own_recipe: loss_and_gradients(r, params, own, batch, STEP))
        loss, gradients = call(params, own, batch)
        results.append((loss.value, loss.metrics.nll, loss.metrics.dims, gradients))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6), *results)
    assert results[0][2] == (np.asarray(batch.mask).sum((1, 2)) * batch.weight).sum()


def test_every_micro_batch_has_a_key_of_its_own():
    class Noise:
        def loss(self, model, params, own, batch, step):
            noise = jax.random.normal(step.key, (len(batch),))
            mean = Mean((params * noise * batch.x).sum(), jnp.float32(len(batch)))
            return Loss((mean,), {"noise": noise.sum()}, own.state)

    x, keys = np.arange(6, dtype=np.float32), [jax.random.fold_in(STEP.key, k) for k in range(3)]
    noise = np.concatenate([jax.random.normal(key, (2,)) for key in keys])
    spec = types.SimpleNamespace(objective=Noise(), model=None, accumulate=3)
    loss, gradients = loss_and_gradients(spec, jnp.float32(2.0), ObjectiveState(), Batch(x), STEP)
    rows = cut_batch(Batch(x), 3).x.ravel()  # which rows make a micro-batch is another matter
    np.testing.assert_allclose(loss.value, (2 * noise * rows).mean(), rtol=1e-5)
    np.testing.assert_allclose(gradients[0], (noise * rows).mean(), rtol=1e-5)
    np.testing.assert_allclose(loss.metrics["noise"], noise.sum(), rtol=1e-5)


MESH = """
import test_step as here
from arjax.parallel.sharding import batch_sharding, make_mesh, replicated
import dataclasses, jax, numpy as np

spec, params, batch = here.uneven_case(jax.devices()[:1])
own = here.ObjectiveState()
_, expected = jax.jit(lambda p, b: here.loss_and_gradients(spec, p, own, b, here.STEP))(params, batch)
mesh = make_mesh(2, 2, 1)
spec = dataclasses.replace(spec, accumulate=2)
placed = jax.tree.map(lambda a: jax.device_put(a, batch_sharding(mesh)), batch)
step = jax.jit(lambda p, b: here.loss_and_gradients(spec, p, here.ObjectiveState(), b, here.STEP))
compiled = step.lower(jax.device_put(jax.device_get(params), replicated(mesh)), placed).compile()
_, found = compiled(jax.device_put(jax.device_get(params), replicated(mesh)), placed)
jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6), found, expected)
assert "all-gather" not in compiled.as_text() and "all-to-all" not in compiled.as_text(), "rows move between devices"
"""


@pytest.mark.slow
def test_accumulated_gradients_on_a_mesh_move_no_rows():
    finish(run_python(MESH, devices=4))
