"""Parts of a run with everything around them written down: nothing is trained or compiled here."""

import dataclasses
import types

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from refusals import refusal

from arjax.core.batch import Batch
from arjax.core.spec import EventSpec
from arjax.evaluation.compiled import Estimate
from arjax.objectives import Loss, Mean, Metrics, Objective, Step
from arjax.training import loop, muon, optimizer, plan, record, reporter, setup, start, step, stopping
from arjax.training.optimizer import OPTIMIZERS, make_optimizer, options_of_rule, read_rule
from arjax.training.record import Record, RunFolder
from arjax.training.setup import Setup
from arjax.training.start import Trained
from arjax.training.step import MetricSums

KEY = jax.random.key(4)


def stub(**fields):
    return types.SimpleNamespace(**fields)


def test_a_step_knows_its_key_and_the_part_of_the_run_that_is_done():
    transform_key, objective_key = jax.random.split(jax.random.fold_in(KEY, 2))
    spec = stub(transform=lambda *args: args, total_steps=8)
    state = stub(step=jnp.int32(2))
    batch, of_step = step._inputs(spec, state, "batch", KEY, None)
    assert batch == (transform_key, "batch", True)
    assert (of_step.key, of_step.progress, of_step.companions) == (objective_key, 0.25, {})
    batch, of_step = step._inputs(stub(transform=None, total_steps=8), state, "batch", KEY, {"truth": 1})
    assert batch == "batch" and of_step.companions == {"truth": 1}


@dataclasses.dataclass(frozen=True)
class Product(Objective):
    """w (sum of x) (progress + c) + w noise, with the companion c; its state is the number of micro-batches so far."""

    def loss(self, model, params, aux, batch, of_step):
        factor = of_step.progress + of_step.companions["c"]
        noise = jax.random.uniform(of_step.key)
        terms = (Mean(params * batch.x.sum() * factor, jnp.float32(len(batch))), Mean(params * noise, jnp.float32(1)))
        metrics = Metrics(noise, *map(jnp.float32, (1, 2, 3)))
        return Loss(terms, metrics, {"n": aux.state["n"] + 1})


def test_micro_batches_have_the_circumstances_of_their_step():
    spec = stub(accumulate=2, objective=Product(), model=None)
    aux = stub(params={}, state={"n": jnp.float32(5)})
    of_step = Step(KEY, jnp.float32(0.5), {"c": jnp.float32(2)})
    loss, (gradient, _) = step.loss_and_gradients(spec, jnp.float32(3), aux, Batch(jnp.arange(4.0)), of_step)
    noise = sum(float(jax.random.uniform(jax.random.fold_in(KEY, k))) for k in range(2))
    assert loss.state == {"n": 7} and loss.metrics.sites == 4
    np.testing.assert_allclose(loss.metrics.nll, noise, rtol=1e-6)
    np.testing.assert_allclose(gradient, 6 * 2.5 / 4 + noise / 2, rtol=1e-6)
    np.testing.assert_allclose(loss.value, 3 * (6 * 2.5 / 4 + noise / 2), rtol=1e-6)


@pytest.mark.parametrize(
    ("processes", "at_pause", "here", "anywhere", "stops"),
    [
        *((1, False, True, False, True), (1, True, False, True, False), (2, False, True, True, False)),
        *((2, True, True, True, True), (2, True, False, True, True), (2, True, True, False, False)),
    ],
)
def test_several_processes_stop_at_a_pause_together(processes, at_pause, here, anywhere, stops, monkeypatch):
    monkeypatch.setattr(stopping.jax, "process_count", lambda: processes)
    monkeypatch.setattr(stopping, "on_any_process", lambda received: anywhere)
    signal = stopping.StopSignal()
    signal._received = here
    assert signal.requested(at_pause) is stops


def headline_of(monkeypatch, axes, parts, context=(), steps=1):
    monkeypatch.setattr(reporter, "parts_of_optimizer", lambda state: parts)
    monkeypatch.setattr(reporter, "device_name", lambda: "2 x H100")
    monkeypatch.setattr(reporter, "remarks_about", lambda dataset, conditional: [f"{dataset.name}: {conditional}"])
    splits = {"train": range(1200), "test": range(7)}
    dataset = stub(name="data", splits=splits, event=EventSpec((3,)), context=context and stub(parts=context))
    state = stub(params={"a": np.zeros((30, 50)), "b": np.zeros(7)})
    return reporter.headline(
        stub(
            **{"dataset": dataset, "train": stub(batch_size=2000), "abstract_state": state, "total_steps": steps},
            **{"mesh": stub(shape=axes), "about": "made in raster order", "model": stub()},
        )
    )


def test_the_first_lines_of_a_run(monkeypatch):
    usual, event = {"data": 1, "fsdp": 1, "tensor": 1}, EventSpec((3,)).in_words
    assert headline_of(monkeypatch, usual, {}) == [
        f"data: train 1,200, test 7 examples of {event}",
        "made in raster order, 1,507 parameters; 1 step of 2,000 examples on 2 x H100",
        "data: ",
    ]
    parts = {"a": "muon", "b": "adam"}
    first, second, _ = headline_of(monkeypatch, usual | {"data": 2, "tensor": 4}, parts, (("z", 0), ("c", 0)), 1500)
    assert first.endswith(f"{event}, given z and c")
    moved = ", 1,500 of them by muon, 7 of them by adam; 1,500 steps of 2,000 examples"
    assert second == f"made in raster order, 1,507 parameters{moved} on 2 x H100 (mesh: data 2 x tensor 4)"


def test_results_are_handed_to_writers_by_the_names_of_scores():
    log = []
    self = stub(_writer=stub(result=lambda *args: log.append(args)))
    results = {"split": "test", "nll_nats": 2.0, "seed": 5, "exposure_excess_percent": 3.0, "best_step": 7}
    reporter.Reporter.result(self, 7, results)
    assert log == [(7, {"test/nll_nats": 2.0, "test/exposure_excess_percent": 3.0})]


def test_plots_go_to_writers_that_take_them(tmp_path, monkeypatch):
    log = []

    class Other(reporter.Writer):
        def open(self, *args): ...

        write = close = open

    class Taking(Other):
        def picture(self, *args):
            log.append(args)

    monkeypatch.setattr(reporter, "make_writers", lambda names: [Taking(), Other()] if names == "both" else [])
    reporter.record_picture(stub(train=stub(writers="both")), tmp_path, 5, tmp_path / "curves.png")
    assert log == [(5, "curves", tmp_path / "curves.png")]


def test_a_path_of_a_run_is_its_text(tmp_path):
    with RunFolder(tmp_path / "run") as folder:
        assert f"{folder}" == str(folder) == folder.__fspath__() == str(tmp_path / "run") and folder.is_there()


def test_nothing_is_known_of_a_folder_without_a_record(tmp_path):
    assert record.differences({"seed": 1}, Record(), "train") == []
    assert record.differences({"seed": 1}, Record({"seed": 2}), "train") == ["seed"]
    assert record.fingerprint_of_orders({"a": np.zeros(2)}) == ""


def test_readouts_of_parts_are_named_by_their_parts(monkeypatch):
    monkeypatch.setattr(muon, "readout_paths", lambda init: frozenset({f"{init}/kernel"}))
    inner = {"prior": stub(named_parts={}, init="p"), "decoder": stub(named_parts={}, init="d")}
    model = stub(named_parts={"1": stub(named_parts=inner), "2": stub(named_parts={}, init="q")})
    assert muon.readout_of(model) == {"1/prior/p/kernel", "1/decoder/d/kernel", "2/q/kernel"}


def test_eps_is_added_to_the_root():
    """A gradient of 0.5 moves the parameters by the rate times 0.5 / (0.5 + eps) in the first step."""
    rule = read_rule("schedule_free_adamw", {"eps": 1.0, "b2": 0.5})
    made, params = make_optimizer(rule, lambda t: 0.3), {"kernel": jnp.zeros((1, 2))}
    updates, _ = made.update({"kernel": jnp.full((1, 2), 0.5)}, made.init(params), params)
    np.testing.assert_allclose(updates["kernel"], -0.3 * 0.5 / 1.5, rtol=1e-5)


def test_a_remark_about_cautious_decay_is_one(capsys):
    read_rule("adamw", {"cautious_decay": True})
    assert "optimizer.cautious_decay has no effect without optimizer.weight_decay" in capsys.readouterr().err
    read_rule("sgd", {"cautious_decay": True, "weight_decay": 0.0, "eps": 1e-8})
    said = capsys.readouterr().err
    assert "optimizer.cautious_decay=True has no effect: the optimizer 'sgd' has no cautious_decay" in said
    assert "without optimizer.weight_decay" not in said
    read_rule("adamw", {"cautious_decay": True, "weight_decay": 0.1})
    assert not capsys.readouterr().err


def test_an_option_without_a_default_is_named(monkeypatch):
    import inspect

    empty = inspect.Parameter.empty
    monkeypatch.setattr(type(OPTIMIZERS), "options", lambda self, name: {"b1": empty, "rate": empty})
    assert refusal(options_of_rule, "adam") == "the option 'rate' of the optimizer 'adam' needs a default"


def test_cautious_decay_follows_the_update():
    rule = optax.chain(*optimizer.decay(0.5, "kernel", True))
    params = {"kernel": jnp.array([1.0, -1.0, 2.0, 0.0]), "bias": jnp.ones(1)}
    updates = {"kernel": jnp.array([1.0, 1.0, 0.0, 3.0]), "bias": jnp.ones(1)}
    moved, _ = rule.update(updates, rule.init(params), params)
    assert moved["kernel"].tolist() == [1.5, 1.0, 1.0, 3.0] and moved["bias"].tolist() == [1]


def test_devices_that_have_started_already_may_be_too_few(monkeypatch):
    def update(name, value):
        raise RuntimeError

    monkeypatch.setattr(plan.jax.config, "update", update)
    monkeypatch.setattr(plan.jax, "devices", lambda: ["a", "b", "c"])
    assert plan.simulate_devices(2) == ["a", "b"] and plan.simulate_devices(3) == ["a", "b", "c"]
    sentence = "a plan for 4 devices needs a fresh process: JAX runs with 3 here"
    assert refusal(plan.simulate_devices, 4) == sentence


def test_a_program_that_does_not_fit_is_refused_by_its_compiler(monkeypatch):
    program = plan.Program("draw", plan.Mesh(np.array(jax.devices()[:1]).reshape(1, 1, 1), ("data", "fsdp", "tensor")),
                           abs, ("x",), {"donate_argnums": 0}, (), 8, "sample.num")  # fmt: skip
    raised = []

    def compiles():
        if raised:
            raise jax.errors.JaxRuntimeError(raised[0])
        return "compiled"

    def jit(function, **options):
        assert (function, options) == (abs, {"donate_argnums": 0})
        return stub(lower=lambda *inputs: stub(compile=compiles) if inputs == ("x",) else None)

    monkeypatch.setattr(plan.jax, "jit", jit)
    assert plan.compile_program(program) == plan.compile_program(program, stub(name="v5e")) == "compiled"
    raised.append("RESOURCE_EXHAUSTED: too much")
    said = "the draw needs more memory than there is on each v5e: try config.sample.num=4 or less, or more devices"
    assert refusal(plan.compile_program, program, stub(name="v5e")).startswith(said)
    raised[0] = "INTERNAL"
    with pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL"):
        plan.compile_program(program, stub(name="v5e"))


def test_the_plan_of_a_draw_reads_parameters_in_the_type_of_the_network(monkeypatch):
    mesh = stub(shape={"data": 2, "fsdp": 4, "tensor": 2})
    program = stub(num=6, batch=(), mesh=mesh)
    whole = Estimate(1.0, [], [], [], 0)
    sizes = {"state": 80, "batch": 0, "temporary": 7, "total": 87}
    compiled = stub(as_text=lambda: "text")
    for name, value in (("draw_program", program), ("compile_program", compiled), ("_memory", sizes)):
        monkeypatch.setattr(plan, name, lambda *args, value=value: value)
    monkeypatch.setattr(plan, "estimate", lambda text, accelerator: whole if text == "text" else None)
    monkeypatch.setattr(plan, "recipe_of", lambda model: stub(dtype="bfloat16"))
    monkeypatch.setattr(plan, "_num_parts", lambda leaf: {16: 8, 6: 1}[leaf.size])
    params = {"a": np.zeros(16), "b": np.zeros(6)}
    found = plan.make_draw_plan(stub(model=None, abstract_state=stub(params=params)), "v5e")
    assert (found.num, found.mesh, found.parameters) == (6, mesh.shape, (16 // 2 + 6) * 2)
    assert found.memory_per_device == {"parameters": 80, "temporary": 7, "total": 87} and found.compiled is whole


def test_a_truth_that_is_not_known_needs_a_run(monkeypatch):
    self = stub(dataset=stub(name="digits"), mesh="mesh", open_run=lambda workdir: ("run in", workdir))
    monkeypatch.setattr(setup, "open_truth", lambda dataset: None)
    sentence = "the true conditionals of 'digits' are not known: name a run as the oracle"
    assert refusal(Setup._companion, self, "") == sentence
    assert Setup._companion(self, "runs/a") == ("run in", "runs/a")


def test_entries_that_are_frozen_come_with_a_whole_model(monkeypatch):
    params = {"1": "shapes of 1", "2": "shapes of 2"}
    self = stub(frozen=(), abstract_state=stub(params=params), open_run=lambda workdir: f"run {workdir}")
    monkeypatch.setattr(setup, "part_of_run", lambda name, wanted, other: stub(params=(name, wanted, other)))
    asked = []
    monkeypatch.setattr(setup, "check_start", lambda *args: asked.append(args))
    models = [stub(named_parts={"1": "first", "2": "second"})]
    found = Setup._params_of_parts(self, {"1": "a", "2": "b"}, models)
    assert found == {"1": ("1", "shapes of 1", "run a"), "2": ("2", "shapes of 2", "run b")}
    assert [(model, data, wanted, workdir) for model, data, wanted, _, workdir in asked] == [
        ("first", None, "shapes of 1", "a"),
        ("second", None, "shapes of 2", "b"),
    ]
    self.frozen = ("encoder", "1", "decoder")
    sentence = "the objective leaves decoder, encoder as they are: give train.init_from one run of the whole model"
    assert refusal(Setup._params_of_parts, self, {"1": "a"}, models) == sentence


def test_best_parameters_are_those_of_the_newest_checkpoint(monkeypatch):
    model, asked = "model", []
    self = stub(record=stub(check=asked.append), abstract_state=stub(params="shapes"), model=model)
    found = {"best": [None], "steps": [], "latest": None}
    best = stub(restore=lambda shapes: found["best"].pop(0), steps=lambda: found["steps"], directory="run/best")
    monkeypatch.setattr(setup, "best_store", lambda workdir: best)
    monkeypatch.setattr(setup, "latest_store", lambda workdir: stub(restore=lambda state: found["latest"]))
    monkeypatch.setattr(setup, "eval_params", lambda state: ("average of", state))
    monkeypatch.setattr(setup, "check_trained", lambda *args: asked.append(args))
    assert refusal(setup.restore_params, self, "run") == "run holds no checkpoint yet: train there first"
    found |= {"best": [None], "latest": (3, "state", {"best_value": None})}
    assert setup.restore_params(self, "run") == (("average of", "state"), 3, {})
    found |= {"best": [None], "latest": (3, "state", {"best_value": 1.5})}
    sentence = "run/best is gone: the best parameters of this run cannot be used"
    assert refusal(setup.restore_params, self, "run") == sentence
    found |= {"best": [None, (5, "params", {"value": 1})], "steps": [5]}  # saved meanwhile
    asked.clear()
    assert setup.restore_params(self, "run") == ("params", 5, {"value": 1})
    assert asked == ["run", ("model", "params")]


@pytest.mark.parametrize(
    ("ours", "theirs", "entries", "other"),
    [
        ({"a/order": [0, 1]}, {"a/order": [0, 1]}, (), False),
        ({"a/order": [0, 1]}, {"a/order": [1, 0]}, (), True),
        ({"a/order": [0, 1]}, {"a/order": [0, 1], "a/parents": [1]}, (), True),
        ({"a/order": [0, 1]}, {"a/order": [0, 1, 2]}, (), False),  # of longer sequences
        ({"a/sizes": [2]}, {"a/sizes": [1, 1]}, (), True),
        ({"a/order": [0, 1], "b/order": [0, 1]}, {"a/order": [0, 1], "b/order": [1, 0]}, ("a",), False),
        ({"a/order": [0, 1], "b/order": [0, 1]}, {"a/order": [0, 1], "b/order": [1, 0]}, ("a", "b"), True),
    ],
)
def test_orders_are_those_of_the_entries_that_are_read(ours, theirs, entries, other, monkeypatch):
    arrays = {"here": ours, "there": theirs}
    as_arrays = lambda model: {name: np.array(array) for name, array in arrays[model.name].items()}  # noqa: E731
    monkeypatch.setattr(start, "arrays_of", as_arrays)
    here, there = (stub(name=name, traits=frozenset(), orders=None) for name in arrays)
    assert start._has_other_order(here, there, entries) is other
    here.traits, here.factorization = frozenset({"conditionals"}), "order"
    there.orders = stub(has=lambda order: order == "order")
    assert start._has_other_order(here, there, entries) is False


def test_a_run_as_a_part_of_another():
    trained = Trained(stub(named_parts={"1": "first"}), {"1": {"w": np.zeros(2)}, "2": {}}, 5, None)
    of_part = start.part_of_run("1", {"w": np.zeros(3)}, trained)
    assert of_part.model == "first" and of_part.params is trained.params["1"] and of_part.step == 5
    alone = Trained(stub(named_parts={}), {"w": np.zeros(2)}, 5, None)
    assert start.part_of_run("1", {"w": np.zeros(3)}, alone) is alone
    assert start.part_of_run("3", {"v": np.zeros(3)}, trained) is trained


def test_a_run_without_a_finite_validation_has_nothing_to_test(monkeypatch):
    known = {}
    monkeypatch.setattr(loop, "read_report", lambda workdir: known or None)
    run = stub(workdir="run", state="state", history=stub(best_value=np.inf), step=4)
    data = stub(splits={"validation": 1, "test": 1}, name="data")
    of_run = stub(evaluate=stub(split="test"), dataset=data)
    sentence = "no validation score of this run was finite, so there are no best parameters to test"
    assert refusal(loop._results, run, of_run) == sentence
    known |= {"step": 4, "split": "test"}
    assert loop._results(run, of_run) == known
    of_run.evaluate.split = "train"
    data.splits.pop("test")
    of_run.evaluate.split = "test"
    assert refusal(loop.train, of_run, "run") == "data set 'data' has no test split to evaluate at the end"
    assert MetricSums.__dataclass_fields__.keys() == {"metrics", "loss", "steps", "bad_step"}
