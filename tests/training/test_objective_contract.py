"""An objective with parameters and state of its own, told its progress, with a companion and a metric of its own."""

import dataclasses
import shutil
import types

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from loop_helpers import assert_a_stop_changes_no_bit, final_state, finish, metrics, run_python, tiny_config

from arjax.config.build import build
from arjax.config.files import save_config
from arjax.core.batch import Batch
from arjax.core.errors import UserError
from arjax.objectives import (
    OBJECTIVES,
    Loss,
    Mean,
    Objective,
    ObjectiveState,
    Step,
    likelihood_loss,
    make_objective,
)
from arjax.training.loop import train
from arjax.training.step import cut_batch, loss_and_gradients

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
    with OBJECTIVES.scope():
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
    own = (
        ObjectiveState({"level": jnp.float32(50.0)}, {"baseline": jnp.zeros(())})
        if objective == "tracked"
        else ObjectiveState()
    )
    results = []
    for num in (1, accumulate):
        own_recipe = dataclasses.replace(spec, objective=make_objective(objective), accumulate=num)
        call = jax.jit(lambda params, own, batch, r=own_recipe: loss_and_gradients(r, params, own, batch, STEP))
        loss, gradients = call(params, own, batch)
        results.append((loss.value, loss.metrics.nll, loss.metrics.dims, gradients))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6), *results)
    assert results[0][2] == (np.asarray(batch.mask).sum((1, 2)) * batch.weight).sum()


def test_every_micro_batch_has_a_key_of_its_own():
    """fold_in(key, k): dropout and noise of two micro-batches are not alike."""

    class Noise:
        def loss(self, model, params, own, batch, step):
            noise = jax.random.normal(step.key, (len(batch),))
            return Loss(
                (Mean((params * noise * batch.x).sum(), jnp.float32(len(batch))),), {"noise": noise.sum()}, own.state
            )

    x, keys = np.arange(6, dtype=np.float32), [jax.random.fold_in(STEP.key, k) for k in range(3)]
    noise = np.concatenate([jax.random.normal(key, (2,)) for key in keys])
    spec = types.SimpleNamespace(objective=Noise(), model=None, accumulate=3)
    loss, gradients = loss_and_gradients(spec, jnp.float32(2.0), ObjectiveState(), Batch(x), STEP)
    rows = cut_batch(Batch(x), 3).x.ravel()  # which rows make a micro-batch is another matter
    np.testing.assert_allclose(
        (loss.value, gradients[0]), ((2 * noise * rows).mean(), (noise * rows).mean()), rtol=1e-5
    )
    np.testing.assert_allclose(loss.metrics["noise"], noise.sum(), rtol=1e-5)


MESH = """
import test_objective_contract as here
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
