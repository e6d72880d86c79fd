"""Configs: files, arguments, overrides, config.json, with what a run may go on; and every config in `configs/` runs."""

import functools
import itertools
import json
import math
import os
import pathlib
import re
import runpy

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict
from refusals import refusal

from arjax.cli.main import main
from arjax.config import apply_smoke, base_config, dataset_config, network_config, optimizer_config, parse_arg
from arjax.config import build as config_build
from arjax.config.build import build, build_dataset, build_model
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
from arjax.config.validate import validate
from arjax.core.batch import Batch
from arjax.core.errors import UserError, say_once
from arjax.core.files import PACKAGE, find_file, short_names, split_argument
from arjax.core.values import compile_regex, parse_value
from arjax.data import prepared as prepared_files
from arjax.data.prepare import prepare
from arjax.evaluation import splits
from arjax.sweep.main import main as sweep
from arjax.training.plan import abstract_batch
from arjax.training.record import Record
from arjax.training.step import train_step


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
    apply_overrides(config, [("train.epochs", "2"), ("train.data_on_device", "false"), ("model.ordering", "snake")])
    assert config.train.epochs == 2.0 and isinstance(config.train.epochs, float)
    assert config.train.data_on_device is False and config.model.ordering == "snake"


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
        ("xyzzy", "3", "unknown config field 'xyzzy' (config has: dataset, dtype"),
        ("train.xyzzy", "3", "config.train has: accumulate"),
        ("seed.x", "3", "config.seed is a value and has no fields"),
        ("train", "3", "config.train is a section, set one of its fields"),
        ("train.steps", "ten", "config.train.steps must be an integer, not 'ten'"),
        ("network.name", "lstm", "config.network.name cannot be changed on the command line"),
        ("", "3", "unknown config field ''"),
    ],
)
def test_wrong_overrides(name, text, sentence):
    assert sentence in refusal(apply_overrides, example(), [(name, text)])


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
        ([("network.hidden_sizes", "32"), ("seed", "1")], "network.hidden_sizes was (32, 16) there"),
    ],
)
def test_a_run_may_not_go_on_with(tmp_path, overrides, sentence):
    assert sentence in refusal(resumed, tmp_path, lambda config: apply_overrides(config, overrides))


@pytest.mark.parametrize(
    ("section", "field"), [("", "seed"), ("train", "steps"), ("model", "ordering"), ("model", "kind"), ("", "mesh")]
)
def test_a_config_file_has_all_fields(tmp_path, section, field):
    save_config(example(), tmp_path)
    data = json.loads((tmp_path / "config.json").read_text())
    del (data[section] if section else data)[field]
    (tmp_path / "config.json").write_text(json.dumps(data))
    name = f"{section}.{field}" if section else field
    assert refusal(load_workdir_config, tmp_path).endswith(
        f"the config lacks the field {name!r}: start from base_config()"
    )
    unknown = json.dumps(json.loads((tmp_path / "config.json").read_text()) | {"sed": 1})
    (tmp_path / "config.json").write_text(unknown)
    sentence = refusal(load_workdir_config, tmp_path)
    assert sentence.startswith(f"{tmp_path / 'config.json'} is damaged, or of another version of arjax: ")


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
    assert refusal(check_same_run, config, tmp_path, "train").endswith(beginning)
    assert refusal(check_same_run, config, tmp_path).endswith("leave out what differs")
    config.seed = 3
    assert refusal(check_same_run, config, tmp_path, "train").endswith("choose another --workdir, or remove this one")


def test_another_run_is_told_by_what_tells_it_apart_best(tmp_path):
    save_config(load_config_file("digits:smoke"), tmp_path)
    told = refusal(check_same_run, load_config_file("digits"), tmp_path, "train")
    assert told.startswith(f"{tmp_path} holds another run: train.steps was 6 there and is 1500 now, network.")
    assert told.count(" there and is ") == 3 and "more differ; choose another --workdir" in told
    told = refusal(check_same_run, load_config_file("digits:network=made"), tmp_path, "train")
    assert "network.name was 'lstm' there and is 'made' now, " in told and "'made' now, network" not in told


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
    other = table(file="my.csv", test="my_test.csv", validation="my_test.csv")
    assert "validation_path was '' there and is 'my_test.csv' now;" in refusal(check_same_run, other, tmp_path)
    moved.dataset.validation = 0.2
    assert "run: dataset.validation was 0.1 there and is 0.2 now;" in refusal(check_same_run, moved, tmp_path)


def test_mistakes_of_whole_configs_are_one_sentence(tmp_path, capsys):
    (tmp_path / "config.json").write_text("{}")
    assert "is no Python file (*.py): open a run by its folder" in refusal(load_config_file, f"{tmp_path}/config.json")
    (tmp_path / "other.json").write_text("{}")
    assert refusal(load_config_file, f"{tmp_path}/other.json").endswith("other.json' is no Python file (*.py)")
    config = ConfigDict(example().to_dict() | {"plugins": "mine"})
    assert refusal(validate, config) == "config.plugins must be a tuple, not 'mine'"
    config = example()
    config.unlock()
    config.dataset.name = ""
    assert refusal(validate, config) == "the config names no dataset: set config.dataset"
    config.sed = 3
    assert refusal(validate, config) == "unknown config field 'sed', did you mean 'seed'?"
    del config.sed
    config.train[3] = 1
    sentence = "config.train has a field that is named by no text: write config.train.name = value, not [3] = value"
    assert refusal(validate, config) == sentence
    deep = ConfigDict({"steps": 1})
    for _ in range(60):
        deep = ConfigDict({"a": deep})
    assert "the sections of a config hold one another without end: config.a.a." in refusal(list, fields(deep))
    config = example()
    config.evaluate.schedule = "cosine"
    say_once.cache_clear()
    validate(config)
    said = "config.evaluate.schedule has no effect without config.evaluate.steps, the number of rounds"
    assert capsys.readouterr().err == f"arjax: {said}\n"
    config.evaluate.steps = 2
    say_once.cache_clear()
    validate(config)
    assert not capsys.readouterr().err


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
    assert f"evaluate.{name} was {was} there and is 4 now" in refusal(check_same_run, config, tmp_path, "train")


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
        ("units=a", "'units' must be a tuple such as (500,)"),
        ("units=('a',)", "'units' must be a tuple"),
        ("adult,set=web", "'set' is given twice"),
        ("adult,,smoke", "empty item"),
        (",", "empty item"),
    ],
)
def test_wrong_config_arguments(arg, sentence):
    assert sentence in refusal(parse, arg)


def test_arguments_behind_py_and_regexes_are_read_as_they_stand():
    assert "no argument 'fast'" in refusal(parse_arg, "fast", smoke=False)
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
    assert "'steps_per_chunk' of the network" in refusal(network_config, "deep_nade", steps_per_chunk=np.float32(2))
    assert "'learning_rate' of the optimizer 'adamw' must" in refusal(optimizer_config, "adamw", learning_rate=10**400)


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
        assert "', did you mean 'digits'" in refusal(load_config_file, wrong)
    assert "there is no config file 'elsewhere/digits.py'" in refusal(load_config_file, "elsewhere/digits.py")
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


CONFIGS = sorted((pathlib.Path(__file__).parents[2] / "configs").glob("*.py"))
#: Folder of raw files per builder, below `ARJAX_RAW_DATA`.
RAW = {"uci_binary": "uci_binary", "poly_music": "poly_music", "spoken_digits": "free-spoken-digit-dataset-1.0.9"}
RAW["wine_quality"] = "wine_quality"
#: Rows of a split that tests of configs read.
FIRST = 1000


@pytest.fixture(scope="session")
def folder(tmp_path_factory) -> str:
    return str(tmp_path_factory.mktemp("prepared"))


@pytest.fixture(scope="session")
def read_once():
    """`make_dataset` that reads each data set once; what is missing is looked for again."""
    read, loaded = config_build.make_dataset, {}

    def make_dataset(name: str, open_run=None, **options):
        key = repr((name, sorted(options.items())))
        if key not in loaded:
            loaded[key] = read(name, open_run=open_run, **options)
        return loaded[key]

    return make_dataset


@pytest.fixture
def prepared(folder, read_once, monkeypatch) -> str:
    """The same, where data sets are also looked for; of each split the first rows are read, not all 50,000 images."""
    search = [folder, *filter(None, [os.environ.get("TFDS_DATA_DIR")])]
    monkeypatch.setenv("TFDS_DATA_DIR", os.pathsep.join(search))
    monkeypatch.setattr(config_build, "make_dataset", read_once)
    monkeypatch.setattr(prepared_files, "range", lambda num: range(min(num, FIRST)), raising=False)
    return folder


def _need_data(config, folder: str) -> None:
    """Prepares the data set of a config when it is missing and its raw files are at hand, else skips the test."""
    try:
        build_dataset(config)
        return
    except UserError as missing:
        name = re.search(r"prepare_data\.py (\S+)", str(missing))
        assert name, missing
    builder = name[1].partition("/")[0]
    if builder not in RAW or "ARJAX_RAW_DATA" not in os.environ:
        pytest.skip(f"{name[1]} is not prepared")
    prepare(name[1], str(pathlib.Path(os.environ["ARJAX_RAW_DATA"]) / RAW[builder]), folder)
    build_dataset(config)


#: One of each kind of model and of data; all the others are built, and make a step in the slow suite.
STEPS = ("any_order", "block_diffusion", "flows", "latent_variables", "poly_music", "table")
#: Their data sets take seconds to prepare; `uci_binary` and `poly_music` stand for them.
SLOW = ("ocr_letters", "spoken_digits")


def _configs(paths, slow):
    """Configs as parameters of a test, marked slow where `slow` says so of the name."""
    return [pytest.param(p, marks=pytest.mark.slow if slow(p.stem) else (), id=p.stem) for p in paths]


@pytest.mark.parametrize("path", _configs([p for p in CONFIGS if p.stem not in STEPS], SLOW.__contains__))
def test_every_config_is_valid_and_makes_a_model(path, prepared):
    config = load_config_file(f"{path}:smoke")
    _need_data(config, prepared)
    assert build(config, jax.devices()[:1]).model.event.num_sites > 0


@pytest.mark.parametrize("path", _configs(CONFIGS, lambda name: name not in STEPS))
def test_every_config_makes_a_train_step(path, prepared):
    config = load_config_file(f"{path}:smoke")
    _need_data(config, prepared)
    setup = build(config, jax.devices()[:1])
    batch = abstract_batch(setup.model, config.train.batch_size)
    step = functools.partial(train_step, setup.spec)
    state, _ = jax.eval_shape(step, setup.abstract_state, batch, jax.random.key(0))
    assert jax.tree.structure(state) == jax.tree.structure(setup.abstract_state)


def test_the_batch_of_a_plan_has_the_arrays_of_the_data():
    example = Batch(np.zeros((1, 4), np.uint8), mask=np.ones((1, 4), np.float32), extra={"intensity": np.zeros((1, 2))})
    batch = abstract_batch(None, 8, example=example)
    assert batch.x.shape == batch.mask.shape == (8, 4) and batch.x.dtype == np.uint8
    assert batch.extra["intensity"].shape == (8, 2) and batch.weight is None


@pytest.mark.slow
@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_smoke_run(path, prepared, tmp_path, monkeypatch):
    """All of a run but most of its scoring: two batches stand for each split."""
    batches = splits.eval_batches
    monkeypatch.setattr(splits, "eval_batches", lambda *args: itertools.islice(batches(*args), 2))
    _need_data(load_config_file(f"{path}:smoke"), prepared)
    assert main([f"--config={path}:smoke", f"--workdir={tmp_path}"]) == 0
    results = json.loads((tmp_path / "results.json").read_text())
    # Densities of real values and energies have no lower bound; six steps of a flow leave scales that are random.
    least, most = (
        -12 if results["dataset"] in ("wine_quality", "noise") else 0,
        math.inf if path.stem == "flows" else 12,
    )
    assert least < results["bits_per_dim"] < most and results["step"] == 6
    assert (tmp_path / "samples" / "samples.npy").exists() and (tmp_path / "metrics.jsonl").stat().st_size > 0


#: (config, option) for each option that is one of several names.
PICKED = [(path, option) for path in CONFIGS for option in re.findall(r"(\w+)=pick\(", path.read_text())]


@pytest.mark.parametrize(("path", "option"), PICKED, ids=lambda value: getattr(value, "stem", value))
def test_a_name_without_a_recipe_is_answered_with_those_that_have_one(path, option):
    assert f"argument '{option}' must be one of " in refusal(load_config_file, f"{path}:{option}=xyzzy")


def test_two_layers_of_latents_have_a_bounded_scale_between_them():
    model = build(load_config_file("latent_variables:digits,layers=2"), jax.devices()[:1]).model
    between, lower = model.prior.likelihood, model.likelihood
    assert between.conditional.scale_bound == 0.2 and between.network.hidden_sizes == (100, 100)
    assert model.latent_event.num_sites == 100 and lower.network.hidden_sizes == (200, 200)


@pytest.mark.parametrize("arg", ["network=wavnet", "wavnet"])
def test_the_nearest_recipe_is_named(arg):
    assert "'network' cannot be 'wavnet', did you mean 'wavenet'? It must be one of transformer, " in refusal(
        load_config_file, f"digits:{arg}"
    )


def test_the_digits_have_a_recipe_for_every_network_of_their_study():
    path = next(path for path in CONFIGS if path.stem == "digits")
    study = runpy.run_path(str(path.parents[1] / "experiments" / "digits" / "sweep.py"))["get_sweep"]()
    assert {run.config.partition(":")[0] for run in study} == {"configs/digits.py"}
    assert set(runpy.run_path(str(path))["RECIPES"]) == {load_config_file(run.config).network.name for run in study}


#: The configs with a recipe for each of several networks.
STUDIES = [path for path in CONFIGS if "RECIPES[arg.network]" in path.read_text()]


@pytest.mark.slow
@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_every_recipe_makes_a_model(path, prepared):
    config = load_config_file(str(path))
    _need_data(config, prepared)
    dataset, sizes = build_dataset(config), {}
    for name in runpy.run_path(str(path))["RECIPES"]:
        config = load_config_file(f"{path}:network={name}")
        model = build_model(config, dataset)
        shapes = jax.eval_shape(model.init, jax.random.key(0))
        assert config.network.name == name
        sizes[name] = sum(leaf.size for leaf in jax.tree.leaves(shapes))
    assert min(sizes.values()) >= 24, sizes  # a mean and a scale of twelve independent columns


def test_music_has_a_model_for_every_form_of_a_frame(prepared):
    path = next(path for path in CONFIGS if path.stem == "poly_music")
    config = load_config_file(f"{path}:jsb")
    _need_data(config, prepared)
    dataset = build_dataset(config)
    for frame in runpy.run_path(str(path))["FRAMES"]:
        model = build_model(load_config_file(f"{path}:jsb,frame={frame},smoke"), dataset)
        shapes = jax.eval_shape(model.init, jax.random.key(0))
        assert ("conditional" in shapes) == (frame != "independent")


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_config_is_short_and_cites_its_command(path):
    text = path.read_text()
    assert text.count("\n") <= 80
    assert re.search(rf"^    arjax .*--config=configs/{path.name}", text, flags=re.MULTILINE)


def test_recipes_of_binarized_mnist_with_adam():
    """Rows of other studies were trained by them."""
    for network, optimizer in (("gated_pixelcnn", "muon"), ("gated_pixelcnn,adam", "adam"), ("fvsbn,adam", "adamw")):
        assert load_config_file(f"binarized_mnist:network={network}").optimizer.name == optimizer
