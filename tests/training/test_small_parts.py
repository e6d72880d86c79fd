"""Small parts of training by themselves: files of reports, costs, metrics of steps, signals, units of two data sets."""

import dataclasses
import json
import math
import signal
import types
from unittest.mock import Mock

import numpy as np
import pytest
from loop_helpers import tiny_config
from refusals import refusal

from arjax.config import base_config, dataset_config
from arjax.config.build import build
from arjax.config.validate import check_types
from arjax.core.spec import EventSpec
from arjax.data.base import from_arrays
from arjax.evaluation.summaries import summarize
from arjax.objectives import Mean, Metrics
from arjax.parallel.sharding import different_forms
from arjax.reporting.writers import read_metrics
from arjax.training import results
from arjax.training.history import History
from arjax.training.reporter import Reporter
from arjax.training.results import OF_TRAINING, device_name, training_entries, write_evaluation, write_results
from arjax.training.schedules import make_schedule
from arjax.training.setup import best_store, latest_store
from arjax.training.start import _scaled_alike
from arjax.training.stopping import StopSignal, is_due, next_pause, total_steps

SCORES = {"split": "test", "best_step": 900, "nll_nats": 1.5, "num_orders": 1}


def test_evaluations_are_named_by_split_step_and_orders(tmp_path):
    first = write_evaluation(tmp_path, SCORES)
    assert first == tmp_path / "evaluations" / "test-step-900.json" and json.loads(first.read_text()) == SCORES
    assert write_evaluation(tmp_path, SCORES | {"device": "other"}) == first
    assert json.loads(first.read_text())["device"] == "other"
    for number, name in ((2, "test-step-900-2.json"), (3, "test-step-900-3.json"), (2, "test-step-900-2.json")):
        assert write_evaluation(tmp_path, SCORES | {"nll_nats": 1.5 + number}).name == name
    assert write_evaluation(tmp_path, SCORES | {"num_orders": 2}).name == "test-step-900-2-orders.json"
    assert write_evaluation(tmp_path, {k: v for k, v in SCORES.items() if k != "num_orders"}).name.endswith("-4.json")
    assert write_evaluation(tmp_path, SCORES | {"split": "train", "best_step": 3}).name == "train-step-3.json"


def test_a_report_of_other_scores_keeps_the_earlier_one(tmp_path, monkeypatch):
    """Reports here lack most fields, and would count as incomplete."""
    monkeypatch.setattr(results, "read_report", lambda workdir: results.read_json_object(workdir / "results.json"))

    def files():
        paths = [path.relative_to(tmp_path) for path in tmp_path.rglob("*.json") if path.name != "record.json"]
        return sorted(map(str, paths))

    write_results(tmp_path, SCORES)
    write_results(tmp_path, SCORES | {"device": "other"})
    assert files() == ["results.json"]
    write_results(tmp_path, SCORES | {"best_step": 1000})
    assert files() == ["evaluations/test-step-900.json", "results.json"]
    assert json.loads((tmp_path / "results.json").read_text())["best_step"] == 1000
    assert json.loads((tmp_path / files()[0]).read_text())["device"] == "other"


def entries(note=None, kind="exact", **options):
    """Of a run of 32 examples of two sites in each step, with parameters from its step 900."""
    model = types.SimpleNamespace(event=EventSpec((2,)), score_kind=kind, traits=frozenset())
    spec = types.SimpleNamespace(objective=types.SimpleNamespace(report=lambda state: {"from_objective": state}))
    setup = types.SimpleNamespace(model=model, spec=spec, train=types.SimpleNamespace(batch_size=32), seed=5)
    best = {"w": np.zeros((2, 3)), "b": np.zeros(3)}, 900, note or {}
    return training_entries(setup, best, step=10, objective_state=7, **{"history": {}, "device": "mine"} | options)


def test_entries_of_a_training():
    expected = {"validation_nll_nats": None, "num_params": 9, "step": 10, "best_step": 900, "seed": 5, "device": "mine"}
    assert entries() == expected | {"from_objective": 7}
    assert entries(seed=6)["seed"] == 6 and entries(device="")["device"] == device_name()
    history = {"train_seconds": 3.0, "compile_seconds": 2.0, "step_seconds": 4.0, "interval_seconds": 9.0}
    cost = {"train_seconds": 3.0, "compile_seconds": 2.0, "train_sites_per_second": 160.0}
    assert entries(history=history) == entries() | cost and cost.keys() < set(OF_TRAINING)
    assert "train_sites_per_second" not in entries(history=history | {"step_seconds": 0.0})
    note = {"value": 2.0, "scores": {"bits_per_dim": 0.5, "nll_nats": 2.0}}
    assert entries(note) == entries() | {"validation_bits_per_dim": 0.5, "validation_nll_nats": 2.0}
    assert entries({"value": 2.0}, "none")["validation_sample_score"] == 2.0


def test_devices_are_named(monkeypatch):
    for cores, name in ((1, "CPU, 1 core"), (2, "CPU, 2 cores")):
        monkeypatch.setattr(results, "usable_cores", lambda cores=cores: list(range(cores)))
        assert device_name() == name
    monkeypatch.setattr(results.jax, "devices", lambda: [types.SimpleNamespace(device_kind="NVIDIA H100")] * 8)
    monkeypatch.setattr(results.jax, "device_count", lambda: 8)
    assert device_name() == "8 x NVIDIA H100"


class Lines:
    """Takes what the lines of progress and a file of metrics are given."""

    def __init__(self):
        self.given = []

    def __getattr__(self, name):
        return lambda *arguments: self.given.append((name, *arguments))


def reporter_of(tmp_path, monkeypatch, *lines):
    model = types.SimpleNamespace(event=EventSpec((2,)), score_kind="exact", traits=frozenset())
    dataset, train = (
        types.SimpleNamespace(end=None, score_of_draws=None, text_unit=""),
        types.SimpleNamespace(writers=()),
    )
    setup = types.SimpleNamespace(model=model, dataset=dataset, train=train, total_steps=9)
    reporter = Reporter(tmp_path, setup, 0, Lines(), *lines)
    monkeypatch.setattr(reporter, "_writer", Lines())
    return reporter, reporter._writer.given, reporter.progress.given


def test_metrics_of_train_steps_are_means_of_their_sums(tmp_path, monkeypatch):
    reporter, written, shown = reporter_of(tmp_path, monkeypatch)
    means = {"kl_nats": Mean(np.float32(6), np.float32(4))}
    metrics = Metrics(np.float32(30), np.float32(10), np.float32(20), np.float32(40), means=means)
    sums = types.SimpleNamespace(metrics=metrics, loss=np.float32(9), steps=np.float32(3))
    reporter.train(7, sums, 0.25, 2.0)
    expected = {"train/loss": 3, "train/nll_nats": 3, "train/bits_per_dim": 0.75 / math.log(2)}
    expected |= {"learning_rate": 0.25, "examples_per_second": 5, "train/kl_nats": 1.5}
    ((name, step, values),) = written
    assert (name, step) == ("write", 7) and values == pytest.approx(expected)
    ((name, step, words, speed),) = shown
    assert (name, step, speed) == ("update", 7, 5) and "1.08" in words
    sums.metrics = dataclasses.replace(metrics, nll=None)
    reporter.train(8, sums, 0.25, 2.0)
    assert set(expected) - set(written[-1][2]) == {"train/nll_nats", "train/bits_per_dim"}
    assert "1.5" in shown[-1][2]


def test_what_a_run_shows(tmp_path, monkeypatch):
    reporter, written, shown = reporter_of(tmp_path, monkeypatch, "text")
    monkeypatch.setattr("arjax.training.reporter.headline", lambda setup: [f"{setup.total_steps} steps"])
    with reporter as entered:
        entered.start()
        assert entered is reporter and shown == [("message", "9 steps"), ("message", "text")] and not written
    assert not shown[2:] and written == [("close",)]
    for step, best in ((4, True), (5, False)):
        reporter.validation(step, {"nll_nats": 2.0}, types.SimpleNamespace(best_step=4))
        assert shown[-1][:2] == ("validation", step) and shown[-1][2].endswith("the best so far") == best
        assert "(exact)" in shown[-1][2] and written[-1][:2] == ("write", step)
        assert list(written[-1][2].values()) == [2.0] and all(n.startswith("validation/") for n in written[-1][2])


@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_asks_and_a_second_ctrl_c_acts(first):
    before = [signal.getsignal(signal.SIGTERM), signal.signal(signal.SIGINT, signal.default_int_handler)]
    with StopSignal() as stop:
        assert not stop.requested(False) and signal.getsignal(signal.SIGTERM) != before[0]
        signal.raise_signal(first)
        assert signal.getsignal(signal.SIGTERM) != before[0]
        signal.raise_signal(signal.SIGTERM)  # as of a sweep that was interrupted, too
        assert stop.requested(False) and stop.requested(True)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGTERM) == before[0]
    assert signal.signal(signal.SIGINT, before[1]) is signal.default_int_handler


def test_units_of_two_data_sets_are_alike():
    plain = from_arrays(EventSpec((2,), kind="real"), train=np.zeros((3, 2), np.float32))

    def scaled(scale, shift):
        return dataclasses.replace(plain, scale=scale, shift=shift)

    one, zero = np.ones(2), np.zeros(2)
    assert _scaled_alike(plain, plain) and _scaled_alike(scaled(one, zero), scaled(one * 1.0005, zero))
    for other in (plain, scaled(one * 1.01, zero), scaled(one, zero + 0.1), scaled(np.ones(1), np.zeros(1))):
        assert not _scaled_alike(scaled(one, zero), other) and not _scaled_alike(other, scaled(one, zero))
    assert not _scaled_alike(scaled(one, zero), scaled(one, None))


def test_limits_of_a_warm_up():
    for steps in (0, 9):
        make_schedule(0.1, 10, "cosine", steps)
    for steps in (-1, 10):
        assert "optimizer.warmup_steps" in refusal(make_schedule, 0.1, 10, "cosine", steps)


def test_stores_keep_so_many_checkpoints(tmp_path):
    for store, kept in ((latest_store(tmp_path), [3, 4]), (best_store(tmp_path), [4])):
        for step in range(5):
            store.save(step, {"w": np.zeros(2)}, {})
        assert store.steps() == kept
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["best", "latest"]


def test_a_fresh_history():
    history = History.fresh((2,))
    assert history.best_value.tolist() == [np.inf] * 2 and history.alive.tolist() == [True, True]
    assert history.best_step.tolist() == history.bad_evals.tolist() == [0, 0]
    assert History.from_json(history.to_json()).to_json() == history.to_json()


def test_a_history_selects_the_best():
    history = History.fresh((3,))
    history.alive = np.array([True, True, False])
    assert history.select(np.array([1.0, np.nan, 0.5]), 10, 2).tolist() == [True, False, False]
    assert history.select(np.array([1.0, 2.0, 0.5]), 20, 2).tolist() == [False, True, False]  # equal is not better
    assert history.bad_evals.tolist() == [1, 0, 2] and history.best_step.tolist() == [10, 20, 0]
    assert history.stopped(2).tolist() == [False, False, True] and not history.stopped(0).any()
    assert history.select(np.array([1.5, 2.5, 0.1]), 30, 2).tolist() == [False] * 3
    assert history.stopped(2).tolist() == [True, False, True]
    assert history.select(np.array([0.1, 0.1, 0.1]), 40, 2).tolist() == [False, True, False]  # one has stopped
    history.check_companion("oracle", 3)
    history.check_companion("oracle", 3)
    assert "at step 3 when the run began and has them at step 4 now" in refusal(history.check_companion, "oracle", 4)


@pytest.mark.parametrize("given, steps", [((7, 0, 0.0), 7), ((0, 33, 0.0), 4), ((0, 0, 0.5), 7), ((0, 0, 2), 25)])
def test_total_steps(given, steps):
    assert total_steps(*given, batch_size=10 if given[1] == 33 else 8, num_examples=100) == steps


def test_one_duration_that_can_be_counted():
    for given in ((0, 0, 0.0), (1, 1, 0.0), (1, 0, 0.5), (1, 1, 1.0), (-1, 0, 0.0)):
        assert "exactly one of" in refusal(total_steps, *given, batch_size=8, num_examples=100)
    for given in ((2**31, 0, 0.0), (0, 10**400, 0.0), (0, 0, 1e30), (0, 0, 1e307)):
        assert "a run has at most 2147483647 steps" in refusal(total_steps, *given, batch_size=8, num_examples=100)


@pytest.mark.parametrize(("name", "most"), [("steps", 2**31 - 1), ("examples", 2**53)])
def test_the_longest_run(name, most):
    config = base_config()
    config.train[name] = most
    check_types(config)
    config.train[name] = most + 1
    assert f"config.train.{name} must be" in refusal(check_types, config)


def test_pauses():
    assert [next_pause(step, 20, 3, 8) for step in (0, 3, 7, 8, 18, 19)] == [3, 6, 8, 9, 20, 20]
    assert [step for step in range(1, 11) if is_due(step, 10, 4)] == [4, 8, 10]


def test_arrays_of_other_forms_are_named_up_to_three():
    here = dict.fromkeys("abcd", "float32[2]")
    there = here | {"a": "float32[3]", "b": "int32[2]", "c": "float32[1]"}
    three = "a is float32[3] there and float32[2] here; b is int32[2] there and float32[2] here; c is float32[1] there"
    assert different_forms(there, here) == f"{three} and float32[2] here" and not different_forms(here, here)
    assert different_forms(there | {"e": "int32[]"}, here).endswith("; ...")


def test_losses_and_validations_of_a_text_are_nats_of_a_character(tmp_path):
    """The windows of training score all of their characters, those of validation only the last ones."""
    (tmp_path / "text.txt").write_text("to be or not to be, " * 40)
    config = tiny_config(model__conditional="categorical")
    config.dataset = dataset_config("text", file=str(tmp_path / "text.txt"), length=16, eval_stride=4)
    setup, progress = build(config), Mock()
    with Reporter(tmp_path, setup, 0, progress) as reporter:
        metrics = Metrics(np.float32(64.0), *map(np.float32, (2.0, 32.0, 32.0)), {})
        reporter.train(1, types.SimpleNamespace(metrics=metrics, loss=2.0, steps=1), 0.1, 1.0)
        scores = summarize(np.full(5, 8.0), np.full(5, 4), setup.model.event, "char")
        reporter.validation(1, scores, History.fresh(()))
    told = progress.update.call_args.args[1], progress.validation.call_args.args[1]
    assert [line.partition(",")[0] for line in told] == ["2.0000 nats/char", "2.0000 nats/char"]
    assert all("2.8854 bits/char" in line for line in told)
    loss, validation = read_metrics(tmp_path)
    for name in ("nll_nats_per_char", "bits_per_char"):
        assert loss[f"train/{name}"] == pytest.approx(validation[f"validation/{name}"])
    assert (loss["train/nll_nats"], validation["validation/nll_nats"]) == (32, 8)
