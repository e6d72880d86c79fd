"""Every config in `configs/` runs from training to pictures in its `:smoke` form."""

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

from arjax.cli.main import main
from arjax.config import build as config_build
from arjax.config.build import build, build_dataset, build_model
from arjax.config.files import load_config_file
from arjax.core.batch import Batch
from arjax.core.errors import UserError
from arjax.data import prepared as prepared_files
from arjax.data.prepare import prepare
from arjax.evaluation import splits
from arjax.training.plan import abstract_batch
from arjax.training.step import train_step

CONFIGS = sorted((pathlib.Path(__file__).parents[2] / "configs").glob("*.py"))
#: Folder of raw files per builder, below `ARJAX_RAW_DATA`.
RAW = {"uci_binary": "uci_binary", "poly_music": "poly_music", "spoken_digits": "free-spoken-digit-dataset-1.0.9"}
RAW["wine_quality"] = "wine_quality"
#: Rows of a split that tests of configs read.
FIRST = 1000


@pytest.fixture(scope="session")
def folder(tmp_path_factory) -> str:
    """Where the tests prepare data sets themselves."""
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
    """Masks, weights, and what a transform reads."""
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
    # Densities of real values have no lower bound of their bits; six steps of a flow leave scales that are random.
    least, most = -12 if results["dataset"] == "wine_quality" else 0, math.inf if path.stem == "flows" else 12
    assert least < results["bits_per_dim"] < most and results["step"] == 6
    assert (tmp_path / "samples" / "samples.npy").exists() and (tmp_path / "metrics.jsonl").stat().st_size > 0


#: (config, option) for each option that is one of several names.
PICKED = [(path, option) for path in CONFIGS for option in re.findall(r"(\w+)=pick\(", path.read_text())]


@pytest.mark.parametrize(("path", "option"), PICKED, ids=lambda value: getattr(value, "stem", value))
def test_a_name_without_a_recipe_is_answered_with_those_that_have_one(path, option):
    with pytest.raises(UserError, match=rf"argument '{option}' must be one of \w+.*, not 'xyzzy'"):
        load_config_file(f"{path}:{option}=xyzzy")


def test_two_layers_of_latents_have_a_bounded_scale_between_them():
    path = next(path for path in CONFIGS if path.stem == "latent_variables")
    model = build(load_config_file(f"{path}:digits,layers=2"), jax.devices()[:1]).model
    between, lower = model.prior.likelihood, model.likelihood
    assert between.conditional.scale_bound == 0.2 and between.network.hidden_sizes == (100, 100)
    assert model.latent_event.num_sites == 100 and lower.network.hidden_sizes == (200, 200)


@pytest.mark.parametrize("arg", ["network=wavnet", "wavnet"])
def test_the_nearest_recipe_is_named(arg):
    path = next(path for path in CONFIGS if path.stem == "digits")
    with pytest.raises(UserError, match=r"must be one of .*wavenet.*, not 'wavnet', did you mean 'wavenet'\?"):
        load_config_file(f"{path}:{arg}")


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
    path = CONFIGS[0].parent / "binarized_mnist.py"
    for network, optimizer in (("gated_pixelcnn", "muon"), ("gated_pixelcnn,adam", "adam"), ("fvsbn,adam", "adamw")):
        assert load_config_file(f"{path}:network={network}").optimizer.name == optimizer
