"""Configs: files by their names, arguments, overrides, config.json, and the changes with which a run may go on."""

import json
import os
import re

import numpy as np
import pytest
from refusals import refusal

from arjax.cli.main import main
from arjax.config import apply_smoke, base_config, dataset_config, network_config, optimizer_config, parse_arg
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
from arjax.core.files import PACKAGE, find_file, short_names, split_argument
from arjax.core.values import compile_regex, parse_value
from arjax.sweep.main import main as sweep
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


def parse(arg):
    return parse_arg(arg, smoke=False, set="dna", units=(500,), seed=1, rate=0.5)


@pytest.mark.parametrize(
    ("arg", "changes"),
    [
        ("", {}),
        ("smoke", {"smoke": True}),
        ("adult", {"set": "adult"}),
        ("adult,smoke", {"set": "adult", "smoke": True}),
        ("smoke=false,set=web", {"set": "web"}),
        ("units=(3,4),seed=1e3,rate=1", {"units": (3, 4), "seed": 1000, "rate": 1.0}),
        ("set=list(order=(2, 0, 1)),seed=7", {"set": "list(order=(2, 0, 1))", "seed": 7}),
        ("random(seed=3)", {"set": "random(seed=3)"}),
    ],
)
def test_config_arguments(arg, changes):
    expected = {"smoke": False, "set": "dna", "units": (500,), "seed": 1, "rate": 0.5} | changes
    found = vars(parse(arg))
    assert found == expected
    assert {k: type(v) for k, v in found.items()} == {k: type(v) for k, v in expected.items()}


@pytest.mark.parametrize(
    ("arg", "sentence"),
    [
        ("smok", "no argument 'smok', did you mean 'smoke'"),
        ("sead=3", "no argument 'sead', did you mean 'seed'"),
        ("seed", "'seed' needs a value"),
        ("seed=x", "'seed' must be an integer, not 'x'"),
        ("seed=1.5", "'seed' must be an integer"),
        ("smoke=maybe", "'smoke' must be true or false"),
        ("units=a", "'units' must be a tuple such as \\(500,\\)"),
        ("units=('a',)", "'units' must be a tuple"),
        ("adult,set=web", "'set' is given twice"),
        ("adult,,smoke", "empty item"),
        (",", "empty item"),
    ],
)
def test_wrong_config_arguments(arg, sentence):
    with pytest.raises(UserError, match=sentence):
        parse(arg)


def test_arguments_behind_py_and_regexes_are_read_as_they_stand():
    with pytest.raises(UserError, match="no argument 'fast'"):
        parse_arg("fast", smoke=False)
    assert compile_regex("[[a]", "x").search("[")
    assert split_argument("a:b/c.py:d:e") == ("a:b/c.py", "d:e")
    assert split_argument("c.py") == ("c.py", "")


@pytest.mark.parametrize(
    ("text", "like", "value"),
    [
        ("true", False, True),
        ("0", True, False),
        ("3", 1, 3),
        ("2e6", 1, 2000000),
        ("3", 1.0, 3.0),
        ("a=b", "", "a=b"),
        ("b", np.array(["a"])[0], "b"),  # a text of numpy, as from a list of names
        ("3", np.float64(1.0), 3.0),
        ("64", (1, 2), (64,)),
        ("64,64", (1,), (64, 64)),
        ("[1, 2]", (0.5,), (1.0, 2.0)),
        ("()", (1,), ()),
        ("grade:real,zip:tokens", (), ("grade:real", "zip:tokens")),
        ("my_package,", (), ("my_package",)),
        ("(('kernel$', ('fsdp',)),)", (), (("kernel$", ("fsdp",)),)),
    ],
)
def test_values_take_the_type_of_the_field(text, like, value):
    found = parse_value(text, like, "x")
    assert found == value and type(found) is type(value)


def test_scalars_of_numpy_are_numbers_and_too_large_ones_are_refused():
    config = network_config("deep_nade", hidden_sizes=(np.int64(7), np.int32(8)), steps_per_chunk=np.int64(2))
    sizes = *config.hidden_sizes, config.steps_per_chunk
    assert sizes == (7, 8, 2) and all(type(size) is int for size in sizes)
    rate = optimizer_config("adamw", learning_rate=np.float32(0.5), cautious_decay=np.True_)
    assert rate.learning_rate == 0.5 and rate.cautious_decay is True
    with pytest.raises(UserError, match=r"'steps_per_chunk' of the network 'deep_nade' must be an integer, not 2\.0"):
        network_config("deep_nade", steps_per_chunk=np.float32(2))
    with pytest.raises(UserError, match="'learning_rate' of the optimizer 'adamw' must be a number, not 1000"):
        optimizer_config("adamw", learning_rate=10**400)


def test_component_configs_hold_every_option():
    config = network_config("made", hidden_sizes=[7])
    assert config.name == "made" and config.hidden_sizes == (7,)
    assert not {"event", "context_spec", "num_features", "dtype", "parent"} & set(config)
    from arjax.networks import BUILDER_FIELDS, NETWORKS

    assert set(config) == {"name", *NETWORKS.options("made", BUILDER_FIELDS)}


CONFIG = "from ml_collections import ConfigDict\ndef get_config(arg=''):\n    return ConfigDict({'arg': arg})\n"


@pytest.mark.parametrize("text", ["mine", "mine:a=1", "mine.py:a=1", "configs/mine.py:a=1"])
def test_a_config_may_be_given_by_its_name(text, tmp_path, monkeypatch):
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "mine.py").write_text(CONFIG)
    monkeypatch.chdir(tmp_path)
    assert load_config_file(text).arg == text.partition(":")[2]


def test_the_configs_of_the_package_have_names_everywhere(repository, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert {path.stem for path in (repository / "configs").glob("*.py")} == set(short_names("configs"))
    for name in ("digits", "digits.py", "configs/digits.py"):
        assert load_config_file(f"{name}:smoke,network=made").network.name == "made"
    for wrong in ("digit:smoke", "configs/digit.py"):
        with pytest.raises(UserError, match=f"there is no config file '{wrong[:-6]}.*', did you mean 'digits'"):
            load_config_file(wrong)
    with pytest.raises(UserError, match=r"there is no config file 'elsewhere/digits\.py'"):
        load_config_file("elsewhere/digits.py")
    assert sweep(["--sweep=real_table:smoke", "--workdir=out", "--dry_run=commands"]) == 0
    assert "--config=configs/real_table.py:recipe=flow,smoke" in capsys.readouterr().out
    assert sweep(["--sweep=real_tabel", "--workdir=out", "--dry_run"]) == 2
    assert "there is no sweep file 'real_tabel', did you mean 'real_table'?" in capsys.readouterr().err


def test_a_name_means_the_file_here_before_those_of_the_package(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_file("digits", "configs") == PACKAGE / "configs" / "digits.py"
    (tmp_path / "configs").mkdir()
    for path in ("configs/digits.py", "digits.py"):
        (tmp_path / path).write_text(CONFIG)
        assert str(find_file("digits", "configs")) == path


def test_a_config_is_copied_to_begin_with(tmp_path, monkeypatch, capsys):
    """With a file that it reads or imports; never over a file that is here."""
    monkeypatch.chdir(tmp_path)
    assert main(["--mode=new", "--config=long_text"]) == 0
    assert capsys.readouterr().out.split() == ["long_text.py", "llama.py"]
    for path in tmp_path.iterdir():
        assert path.read_bytes() == (PACKAGE / "configs" / path.name).read_bytes()
    for _ in range(2):  # then hamlet.txt is here as it is there
        (tmp_path / "text.py").unlink(missing_ok=True)
        assert main(["--mode=new", "--config=text"]) == 0
        assert capsys.readouterr().out.split() == ["text.py", "hamlet.txt"]
    (tmp_path / "plants.csv").write_text("mine")
    for name, said in (
        ("text", "text.py is here already and would be overwritten"),
        ("table", "plants.csv is here already and would be overwritten"),
        ("digits:smoke", "leave out 'smoke'"),
        ("digit", "did you mean 'digits'?"),
    ):
        assert main(["--mode=new", f"--config={name}"]) == 2 and said in capsys.readouterr().err
    assert (tmp_path / "plants.csv").read_text() == "mine" and not (tmp_path / "table.py").exists()
