"""Overrides of a config, the round trip through config.json, and the changes with which a run may go on."""

import json
import os
import re

import pytest
from refusals import refusal

from arjax.config import apply_smoke, base_config, dataset_config, network_config
from arjax.config.files import (
    apply_overrides,
    check_same_run,
    fields,
    from_json,
    load_config_file,
    load_workdir_config,
    save_config,
    to_json,
)
from arjax.core.errors import UserError
from arjax.training.record import Record


def example():
    config = base_config()
    config.dataset = dataset_config("digits")
    config.network = network_config("made", hidden_sizes=(32, 16))
    config.train.steps = 10
    return config


def test_no_field_resists_an_override():
    for name, value in fields(example()):
        assert value is not None and not isinstance(value, list), name


def test_overrides_are_typed():
    config = example()
    apply_overrides(
        config,
        [
            ("train.epochs", "2"),
            ("network.hidden_sizes", "64,64"),
            ("train.data_on_device", "false"),
            ("model.ordering", "random(seed=3)"),
        ],
    )
    assert config.train.epochs == 2.0 and isinstance(config.train.epochs, float)
    assert config.network.hidden_sizes == (64, 64)
    assert config.train.data_on_device is False
    assert config.model.ordering == "random(seed=3)"


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("train.stps", "3", "unknown config field 'train.stps', did you mean 'train.steps'"),
        ("trian.steps", "3", "did you mean 'train.steps'"),
        ("optimizer.lr", "3", "did you mean 'optimizer.learning_rate'"),
        ("lr", "3", "did you mean 'optimizer.learning_rate'"),
        ("train.learning_rate", "3", "did you mean 'optimizer.learning_rate'"),
        ("bs", "3", "did you mean 'evaluate.batch_size' or 'train.batch_size'"),
        ("optimizer.momentum", "3", "config.optimizer has: b1, b2, "),
        ("xyzzy", "3", "unknown config field 'xyzzy' \\(config has: dataset, dtype"),
        ("train.xyzzy", "3", "config.train has: accumulate"),
        ("seed.x", "3", "config.seed is a value and has no fields"),
        ("train", "3", "config.train is a section, set one of its fields"),
        ("train.steps", "ten", "config.train.steps must be an integer, not 'ten'"),
        ("network.name", "lstm", "config.network.name cannot be changed on the command line"),
        ("", "3", "unknown config field ''"),
    ],
)
def test_wrong_overrides(name, text, sentence):
    with pytest.raises(UserError, match=sentence):
        apply_overrides(example(), [(name, text)])


def test_json_round_trip_restores_tuples_and_types():
    config = example()
    config.mesh.rules = (("kernel$", ("fsdp", "")),)
    again = from_json(to_json(config))
    assert dict(fields(again)) == dict(fields(config))
    assert again.mesh.rules == (("kernel$", ("fsdp", "")),)
    with pytest.raises(AttributeError):
        again.train.stps = 1


def resumed(tmp_path, change):
    save_config(example(), tmp_path)
    config = example()
    change(config)
    check_same_run(config, tmp_path)


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        [("train.steps", "20")],
        [("train.log_every", "7"), ("train.steps_per_dispatch", "3"), ("train.data_on_device", "false")],
        [("sample.num", "3"), ("evaluate.batch_size", "5"), ("mesh.data", "2"), ("dataset.data_dir", "elsewhere")],
    ],
)
def test_a_run_may_go_on_with(tmp_path, overrides):
    resumed(tmp_path, lambda config: apply_overrides(config, [o for o in overrides if o[0] in dict(fields(config))]))


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        ([("optimizer.learning_rate", "1")], "optimizer.learning_rate was 0.001 there and is 1.0 now"),
        ([("train.steps", "5")], "train.steps was 10 there and is 5 now; a run can be made longer, not shorter"),
        ([("train.steps", "0"), ("train.epochs", "5")], "train.epochs was 0.0 there"),
        ([("network.hidden_sizes", "32"), ("seed", "1")], "network.hidden_sizes was \\(32, 16\\) there"),
    ],
)
def test_a_run_may_not_go_on_with(tmp_path, overrides, sentence):
    with pytest.raises(UserError, match=sentence):
        resumed(tmp_path, lambda config: apply_overrides(config, overrides))


@pytest.mark.parametrize(("section", "field"), [("", "seed"), ("train", "steps"), ("model", "ordering"), ("", "mesh")])
def test_a_config_file_has_all_fields(tmp_path, section, field):
    save_config(example(), tmp_path)
    data = json.loads((tmp_path / "config.json").read_text())
    del (data[section] if section else data)[field]
    (tmp_path / "config.json").write_text(json.dumps(data))
    name = f"{section}.{field}" if section else field
    with pytest.raises(UserError, match=rf"config\.json is damaged: it has no {name}$"):
        load_workdir_config(tmp_path)


def test_a_field_that_only_one_config_has_is_a_difference(tmp_path):
    save_config(example(), tmp_path)
    data = json.loads((tmp_path / "config.json").read_text())
    data["network"]["depth"] = 3
    (tmp_path / "config.json").write_text(json.dumps(data))
    assert "network.depth was 3 there and is absent now" in refusal(check_same_run, example(), tmp_path)


def test_another_learning_rate_begins_from_a_run_in_another_workdir(tmp_path):
    save_config(example(), tmp_path)
    config = example()
    config.optimizer.learning_rate = 3e-5
    beginning = f"choose another --workdir, with --config.train.init_from={tmp_path} to begin with its parameters"
    with pytest.raises(UserError, match=f"{re.escape(beginning)}$"):
        check_same_run(config, tmp_path, "train")
    with pytest.raises(UserError, match=r"leave out what differs$"):
        check_same_run(config, tmp_path)
    config.seed = 3
    with pytest.raises(UserError, match=r"choose another --workdir, or remove this one$"):
        check_same_run(config, tmp_path, "train")


def test_another_run_is_told_by_what_tells_it_apart_best(tmp_path):
    save_config(load_config_file("digits:smoke"), tmp_path)
    with pytest.raises(UserError) as error:
        check_same_run(load_config_file("digits"), tmp_path, "train")
    assert str(error.value).startswith(
        f"{tmp_path} holds another run: train.steps was 6 there and is 1500 now, network."
    )
    assert str(error.value).count(" there and is ") == 3
    assert str(error.value).endswith("more differ; choose another --workdir, or remove this one")
    with pytest.raises(UserError, match=r"another run: network\.name was 'lstm' there and is 'made' now, (?!network)"):
        check_same_run(load_config_file("digits:network=made"), tmp_path, "train")


def test_the_folder_that_a_run_begins_from_may_be_spelt_in_another_way(tmp_path):
    first = example()
    first.train.init_from = "runs/first"
    save_config(first, tmp_path)
    again = example()
    for again.train.init_from in (os.path.abspath("runs/first"), "./runs/first/"):
        check_same_run(again, tmp_path, "train")
    for again.train.init_from in ("", "runs/second"):
        assert "train.init_from was 'runs/first' there" in refusal(check_same_run, again, tmp_path, "train")


def test_files_of_a_table_may_move_where_the_run_knows_their_contents(tmp_path):
    def table(**options):
        return load_config_file("table:" + ",".join(f"{name}={value}" for name, value in options.items()))

    save_config(table(file="my.csv", test="my_test.csv"), tmp_path)
    moved = table(file="there/my.csv", test="there/my_test.csv")
    assert "dataset.path was 'my.csv' there" in refusal(check_same_run, moved, tmp_path)
    Record(data="1").write(tmp_path)
    check_same_run(moved, tmp_path, "train")
    with pytest.raises(UserError, match=r"run: dataset\.validation_path was '' there and is 'my_test.csv' now;"):
        check_same_run(table(file="my.csv", test="my_test.csv", validation="my_test.csv"), tmp_path)
    moved.dataset.validation = 0.2
    assert "run: dataset.validation was 0.1 there and is 0.2 now;" in refusal(check_same_run, moved, tmp_path)


def test_smoke_runs_are_short_and_touch_everything():
    config = example()
    config.train.update(steps=0, epochs=50.0, eval_every=1000)
    config.optimizer.warmup_steps = 1000
    train = apply_smoke(config).train
    assert 0 < train.steps <= 10 and train.epochs == 0 and train.batch_size <= 8
    assert train.steps // train.eval_every >= 2 and train.steps // train.log_every >= 2
    assert train.steps > train.steps_per_dispatch > 1 and config.optimizer.warmup_steps < train.steps
    for batch_size, accumulate in ((64, 1), (512, 64), (9, 3), (3, 3)):
        config.train.update(batch_size=batch_size, accumulate=accumulate)
        train = apply_smoke(config).train
        assert 0 < train.batch_size <= 8 and train.batch_size % train.accumulate == 0
        assert (train.accumulate > 1) == (accumulate > 1)  # the same code path


@pytest.mark.parametrize(("name", "was"), [("num_orders", 1), ("examples", 0)])
def test_training_goes_on_with_scores_that_compare_with_those_before(name, was, tmp_path):
    """The best parameters are those of the best validation: all validations have as many orders and examples."""
    save_config(example(), tmp_path)
    config = example()
    config.evaluate[name] = 4
    check_same_run(config, tmp_path)
    with pytest.raises(UserError, match=rf"evaluate\.{name} was {was} there and is 4 now"):
        check_same_run(config, tmp_path, "train")
