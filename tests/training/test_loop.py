"""Law 5, first half: N steps equal k steps, restart, N - k steps, bit for bit, also after signals and kill -9."""

import dataclasses
import json
import logging
import random
import shutil
import signal
import time
from unittest.mock import Mock

import jax
import pytest
from loop_helpers import assert_same_bits, final_state, metrics, run_python, stop_at, tiny_config
from refusals import refusal

from arjax.config.build import build
from arjax.core.errors import UserError
from arjax.reporting.reports import read_report
from arjax.reporting.writers import read_metrics
from arjax.training import results
from arjax.training.checkpoint import CheckpointStore
from arjax.training.loop import Learner, Training, TrainingDiverged, train
from arjax.training.record import Record, fingerprint_of_orders, in_words
from arjax.training.results import write_results
from arjax.training.setup import best_store, latest_store, restore_params


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """A run of 12 steps without a stop."""
    workdir, started = tmp_path_factory.mktemp("straight"), time.monotonic()
    outcome = train(build(tiny_config()), workdir)
    assert outcome.results["train_seconds"] < time.monotonic() - started
    return workdir, outcome


def test_a_run_leaves_all_it_should(straight):
    workdir, outcome = straight
    assert (outcome.status, outcome.step) == ("finished", 12)
    results = json.loads((workdir / "results.json").read_text())
    assert results == outcome.results
    assert results.keys() >= {"nll_nats", "nll_stderr", "validation_nll_nats", "device", "compile_seconds"}
    known = {"dataset": "digits", "split": "test", "kind": "exact", "num_examples": 300}
    known |= {"step": 12, "best_step": 12, "seed": 0}
    assert {name: results[name] for name in known} == known
    assert 2.4 < results["bits_per_dim"] < 4.2 and 0 < results["compile_seconds"] < results["train_seconds"]
    steps_took = 12 * 16 * 64 / results["train_sites_per_second"]
    assert 0 < steps_took < results["train_seconds"] - results["compile_seconds"]
    lines = metrics(workdir)
    assert [line["step"] for line in lines if "train/loss" in line] == [3, 6, 9, 12]
    assert [line["step"] for line in lines if "validation/nll_nats" in line] == [6, 12]
    assert latest_store(workdir).steps() == [6, 12] and best_store(workdir).steps() == [12]


@pytest.mark.slow
def test_results_are_of_the_averaged_parameters_that_validated_best(straight):
    workdir, outcome = straight
    setup = build(tiny_config())
    params, step, about = restore_params(setup, workdir)
    _, state, _ = final_state(workdir)
    assert_same_bits(params, state.ema)
    told = {f"validation_{name}": value for name, value in about["scores"].items()}
    assert step == 12 and about["value"] == outcome.results["validation_nll_nats"]
    assert told == {name: value for name, value in outcome.results.items() if name.startswith("validation_")}


def test_a_finished_run_just_reports(straight):
    workdir, outcome = straight
    before = (workdir / "metrics.jsonl").read_text()
    assert train(build(tiny_config()), workdir) == outcome
    assert (workdir / "metrics.jsonl").read_text() == before
    assert outcome.message.endswith("bits/dim (exact)")


def test_a_finished_run_without_a_train_state_keeps_its_parameters(straight, tmp_path, monkeypatch):
    """As a member of a population, which may have run out of patience; another split is scored alone."""
    shutil.copytree(straight[0], tmp_path, dirs_exist_ok=True)
    shutil.rmtree(tmp_path / "checkpoints" / "latest")
    monkeypatch.setattr(Learner, "begin", lambda *arguments: pytest.fail("it is trained again"))
    assert train(build(tiny_config()), tmp_path) == straight[1]
    outcome, before = train(build(tiny_config(evaluate__split="validation")), tmp_path), straight[1].results
    assert (outcome.step, outcome.results["split"]) == (12, "validation")
    assert outcome.results["nll_nats"] == pytest.approx(before["validation_nll_nats"], rel=1e-6)
    assert outcome.results["train_seconds"] == before["train_seconds"]
    for longer in ({"train__steps": 13}, {"train__steps": 400, "train__patience": 2}):
        with pytest.raises(pytest.fail.Exception, match="trained again"):  # a longer run begins anew
            train(build(tiny_config(**longer)), tmp_path)
    write_results(tmp_path, straight[1].results | {"step": 24})
    assert train(build(tiny_config(train__steps=400, train__patience=2)), tmp_path).step == 24
    assert best_store(tmp_path).steps() == [12] and not (tmp_path / "checkpoints" / "latest").exists()


def test_a_run_opens_in_the_order_of_its_training_alone(straight, tmp_path, capsys):
    """Orders that are read off data are computed anew, and another version may compute others."""
    shutil.copytree(straight[0], tmp_path, dirs_exist_ok=True)
    other = build(tiny_config(model__ordering="reversed"))
    for call in (restore_params, train):
        assert "was trained in another order than this version of arjax" in refusal(call, other, tmp_path)
    (code := tmp_path / "mine.py").write_text("")
    noted = json.loads((tmp_path / "record.json").read_text()) | {"code": {str(code): ["another version"]}}
    (tmp_path / "record.json").write_text(json.dumps(noted))
    for loaded in ({}, {str(code): ["this version"]}):
        reader = dataclasses.replace(other, record=dataclasses.replace(other.record, code=loaded))
        assert "or your code" in refusal(restore_params, reader, tmp_path)
        assert (f"{code} has changed since" in capsys.readouterr().err) == bool(loaded), "no other file is read"
    several = build(tiny_config(model__orders="pool(num=3)", objective="order_agnostic")).model
    assert len({fingerprint_of_orders(model) for model in (other.model, several, build(tiny_config()).model)}) == 3


@pytest.mark.slow
def test_parameters_that_become_the_best_while_others_are_read(straight, tmp_path, monkeypatch):
    shutil.copytree(straight[0] / "checkpoints", tmp_path / "checkpoints")
    best, hidden = tmp_path / "checkpoints" / "best", tmp_path / "not yet"
    best.rename(hidden)
    original = CheckpointStore.restore

    def restore(store, tree):
        found = original(store, tree)
        if store.directory.name == "latest":
            hidden.rename(best)
        return found

    monkeypatch.setattr(CheckpointStore, "restore", restore)
    _, step, about = restore_params(build(tiny_config()), tmp_path)
    assert step == 12 and "value" in about


STOPS = {0: "before the first step", 5: "between pauses", 6: "at a pause"}


@pytest.mark.parametrize("first", [pytest.param(n, marks=[pytest.mark.slow] * (n != 5), id=STOPS[n]) for n in STOPS])
def test_resuming_changes_no_bit(straight, tmp_path, monkeypatch, first):
    stop_at(monkeypatch, first)
    outcome = train(build(tiny_config(train__steps_per_dispatch=1)), tmp_path)
    assert (outcome.status, outcome.step, outcome.results) == ("interrupted", first, None)
    assert "the same command resumes" in outcome.message
    monkeypatch.undo()
    resumed = train(build(tiny_config()), tmp_path)
    assert_same_bits(final_state(tmp_path), final_state(straight[0]))
    assert metrics(tmp_path) == metrics(straight[0])
    same = ("nll_nats", "nll_stderr", "validation_nll_nats", "best_step")
    assert [resumed.results[k] for k in same] == [straight[1].results[k] for k in same]


@pytest.mark.slow
def test_host_feed_trains_the_same(straight, tmp_path):
    outcome = train(build(tiny_config(train__data_on_device=False)), tmp_path)
    assert outcome.results["nll_nats"] == pytest.approx(straight[1].results["nll_nats"], rel=1e-6)


@pytest.mark.slow
def test_falls_back_when_the_newest_checkpoint_is_damaged(straight, tmp_path, caplog):
    shutil.copytree(straight[0], tmp_path, dirs_exist_ok=True)
    path = max(
        (tmp_path / "checkpoints/latest/12/state").rglob("*"), key=lambda p: p.stat().st_size if p.is_file() else 0
    )
    path.write_bytes(path.read_bytes()[:-1])
    with caplog.at_level(logging.WARNING, logger="absl"):
        outcome = train(build(tiny_config()), tmp_path)
    assert "latest/12 is damaged" in caplog.text
    assert outcome.step == 12 and latest_store(tmp_path).steps() == [6, 12]
    assert_same_bits(final_state(tmp_path), final_state(straight[0]))
    assert metrics(tmp_path) == metrics(straight[0])


@pytest.mark.slow
def test_a_longer_duration_goes_on(straight, tmp_path):
    shutil.copytree(straight[0], tmp_path, dirs_exist_ok=True)
    outcome = train(build(tiny_config(train__steps=18)), tmp_path)
    assert outcome.step == read_report(tmp_path)["step"] == 18
    assert outcome.results["train_seconds"] > straight[1].results["train_seconds"]


def test_a_run_that_is_trained_further_or_killed_is_as_it_was_written(straight, tmp_path, monkeypatch, capsys):
    """Its metrics hold more lines than its last checkpoint, and its results are of an earlier end, or not there yet."""
    shutil.copytree(straight[0], tmp_path, dirs_exist_ok=True)
    longer, seen = build(tiny_config(train__steps=17)), []

    def check():
        report = read_report(tmp_path)
        seen.append((report["step"], len(logged_steps(tmp_path))))

    def killed_in(owner, name):
        monkeypatch.setattr(owner, name, Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            train(longer, tmp_path)
        monkeypatch.undo()
        check()

    killed_in(Training, "_save")  # behind the last checkpoint there is a line of step 15 and one of step 17
    killed_in(results, "write_json")  # before the results of step 17
    assert train(longer, tmp_path).step == 17
    check()
    assert seen == [(12, 6), (12, 6), (17, 6)] and "written" not in capsys.readouterr().err
    path = tmp_path / "metrics.jsonl"
    path.write_text(path.read_text().replace("1", "2"))
    assert read_metrics(tmp_path) and f"{path} is not as the run has written it" in capsys.readouterr().err


@pytest.mark.slow
def test_patience_stops_early_and_keeps_the_best(tmp_path):
    config = tiny_config(optimizer__name="sgd", optimizer__learning_rate=2e3, network__dropout=0.0)  # soon gets worse
    config.train.update(steps=400, eval_every=2, checkpoint_every=100, patience=2, ema_decay=0.0)
    outcome = train(build(config), tmp_path)
    assert outcome.status == "finished" and outcome.step < 400
    best_step = outcome.results["best_step"]
    assert best_step == outcome.step - 4
    values = {line["step"]: line["validation/nll_nats"] for line in metrics(tmp_path) if "validation/nll_nats" in line}
    assert values[best_step] == min(values.values())
    assert train(build(config), tmp_path) == outcome


def test_a_loss_that_is_not_finite_ends_the_run_and_names_the_last_good_checkpoint(tmp_path):
    train(build(tiny_config(train__steps=6)), tmp_path)
    config = tiny_config(train__steps=40, optimizer__name="sgd", optimizer__learning_rate=1e30)
    assert "another model or optimizer" in refusal(train, build(config), tmp_path)
    config = tiny_config(train__steps=40, optimizer__learning_rate=1e30)
    with pytest.raises(TrainingDiverged, match=r"not finite at step [78]; the last good checkpoint is step 6 in .*lat"):
        train(build(config), tmp_path)
    assert latest_store(tmp_path).steps() == [6]
    assert TrainingDiverged.exit_code not in (0, 2)


def test_mistakes_end_before_anything_compiles(tmp_path):
    for changes, sentence in (
        ({"mesh__fsdp": 3}, "number of devices"),
        ({"train__accumulate": 3}, "positive multiple"),
        ({"evaluate__split": "dev"}, "must be one of train, validation, test"),
    ):
        with pytest.raises(UserError, match=sentence):
            train(build(tiny_config(**changes)), tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_run_that_is_too_large_for_its_devices_is_told_in_one_sentence(tmp_path, monkeypatch):
    def fail(message):
        monkeypatch.setattr(Learner, "advance", Mock(side_effect=jax.errors.JaxRuntimeError(message)))
        train(build(tiny_config(train__steps=2)), tmp_path)

    for message in ("RESOURCE_EXHAUSTED: no", "INTERNAL: Out of memory allocating 29009905412 bytes."):
        with pytest.raises(UserError, match=r"more memory than its devices have: its parameters take \S+ GB"):
            fail(message)
    with pytest.raises(jax.errors.JaxRuntimeError, match="another"):
        fail("INTERNAL: another")


ENDLESS = """
from loop_helpers import tiny_config
from arjax.config.build import build
from arjax.training.loop import train
config = tiny_config(train__steps=100_000, train__checkpoint_every=2, train__log_every=2, train__eval_every=50)
outcome = train(build(config), {workdir!r})
print(outcome.message, flush=True)
raise SystemExit(0 if outcome.status == "interrupted" else 1)
"""


def start_and_wait(workdir, min_step):
    """An endless run that saves all the time, once it has passed `min_step`."""
    process = run_python(ENDLESS.format(workdir=str(workdir)))
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        steps = latest_store(workdir).steps()
        if steps and steps[-1] >= min_step:
            return process
        time.sleep(0.02)
    process.kill()
    raise AssertionError(process.communicate()[0])


def state_after(workdir, step):
    """Goes on to `step` in this process and returns the state there."""
    config = tiny_config(train__steps=step, train__checkpoint_every=2, train__log_every=2, train__eval_every=50)
    outcome = train(build(config), workdir)
    restored = latest_store(workdir).restore(build(config).abstract_state)
    assert outcome.step == restored[0] == step
    return restored[1]


def logged_steps(workdir):
    return [line["step"] for line in read_metrics(workdir) if "train/loss" in line]


@pytest.mark.slow
@pytest.mark.parametrize("kills", [1, 5])
def test_kill_9_at_any_moment(tmp_path, kills):
    killed, chance = tmp_path / "killed", random.Random(kills)
    for _ in range(kills):
        steps = latest_store(killed).steps()
        process = start_and_wait(killed, (steps[-1] if steps else 0) + 4)
        time.sleep(chance.uniform(0.0, 0.3))  # most of the time it is saving
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL
    last = latest_store(killed).steps()[-1] + 4
    assert_same_bits(state_after(killed, last), state_after(tmp_path / "straight", last))
    assert logged_steps(killed) == list(range(2, last + 1, 2)), "no line is lost or doubled"
    assert all(path.name.isdigit() for path in latest_store(killed).directory.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_signals_save_and_exit_cleanly(tmp_path, number):
    process = start_and_wait(tmp_path, 2)
    process.send_signal(number)
    output = process.communicate(timeout=60)[0]
    assert process.returncode == 0, output
    step = latest_store(tmp_path).steps()[-1]
    assert f"stopped at step {step} of 100000; the same command resumes from there" in output
    assert_same_bits(state_after(tmp_path, step + 1), state_after(tmp_path / "straight", step + 1))


def test_sizes_are_named_before_other_options_that_differ():
    then = Record({"network.activation": "relu", "network.width": 8, "network.sizes": (8, 8), "seed": 0})
    fields = {"network.activation": "tanh", "network.width": 9, "network.sizes": (9,), "seed": 0}
    words = in_words(list(fields)[:3], fields, then)
    assert [word for word in words.split() if "." in word] == ["network.sizes", "network.width", "network.activation"]
