"""What README.md and docs/ say is true: examples run, commands parse, files exist, lists are complete."""

import dataclasses
import importlib
import itertools
import json
import math
import os
import pathlib
import re
import runpy
import shlex
import subprocess
import sys

import doc_text
import numpy as np
import pytest
from registries import within

import arjax as project
from arjax.cli import listing
from arjax.cli.main import main
from arjax.cli.modes import parse_flags
from arjax.config import base_config
from arjax.config.build import build_dataset, build_model
from arjax.config.files import apply_overrides, load_config_file
from arjax.config.validate import fields, validate
from arjax.core.spec import EventSpec
from arjax.data import DATASETS
from arjax.data.prepare import known_names
from arjax.evaluation import splits
from arjax.models import make_model
from arjax.networks import NETWORKS
from arjax.sweep.main import sweep_flags
from arjax.sweep.rows import load_sweep, runs_of
from arjax.sweep.search import load_search
from arjax.tables.main import main as main_of_tables

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
#: Those in which code of the pages may register components.
REGISTRIES = [registry for kind, registry in listing.REGISTRIES.items() if kind not in ("mixers", "writers")]

pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)


@pytest.fixture
def folder(tmp_path, monkeypatch, scope):
    """The working directory of a reader: the repository's files, and those that the pages show in full."""
    for name in ("configs", "experiments", "scripts"):
        (tmp_path / name).symlink_to(ROOT / name)
    for page in PAGES:
        for name, text in doc_text.titled(page).items():
            if "/" not in name:
                (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    scope(*REGISTRIES)  # what the files register is not there for other tests
    monkeypatch.setattr(sys, "path", list(sys.path))
    modules = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - modules:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.fixture
def arjax():
    """`arjax` in this process, where each command starts with the data sets of the package alone, as in a new one."""

    def call(*arguments):
        with within(DATASETS):
            return main(list(arguments))

    return call


@pages
def test_commands_parse_and_their_configs_are_valid(page, folder):
    for arguments in doc_text.commands(page, "arjax"):
        flags = parse_flags(arguments)
        if flags.config:
            with within(DATASETS):
                config = load_config_file(flags.config)
                apply_overrides(config, flags.overrides)
                validate(config)
        else:
            known = {name for name, _ in fields(base_config())}
            assert {name for name, _ in flags.overrides} <= known


@pages
def test_sweep_commands_name_sweeps(page, folder):
    for arguments in doc_text.commands(page, "arjax-sweep"):
        flags = sweep_flags(arguments)
        if flags.search:
            load_search(flags.sweep)
            continue
        names = [run.name for run in load_sweep(flags.sweep)]
        assert set(filter(None, flags.only.split(","))) <= set(names)


FILES = [*sorted(ROOT.glob("experiments/*/*.py")), *sorted(ROOT.glob("configs/sweeps/*.py"))]
SWEEPS = [path for path in FILES if "def get_sweep" in path.read_text()]


def test_every_script_of_a_study_tells_mistakes_in_a_sentence():
    scripts = [path for path in FILES if "__main__" in path.read_text()]
    assert len(scripts) > 10
    assert not [path for path in scripts if "sys.exit(tell_mistakes(" not in path.read_text()]


def with_something_new(runs):
    """Those runs whose configs and overrides have an option or a value that none before them has; names of other runs
    (start=runs/parity-8) are all alike."""
    known = set()
    for run in runs:
        parts = {*re.split("[:,]", re.sub(r"\bstart=[^,]*", "start", run.config)), *run.override_texts()}
        if not parts <= known:
            yield run
        known |= parts


@pytest.mark.parametrize("every", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["new", "every"])
@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_every_run_of_a_sweep_has_a_valid_config(path, every, folder):
    """Of products of options, the fast suite takes the runs in which one of them is new."""
    runs = runs_of(rows := load_sweep(str(path)), rows)
    assert runs
    for run in runs if every else with_something_new(runs):
        with within(DATASETS):
            config = load_config_file(run.config)
            apply_overrides(config, run.override_texts())
            validate(config)


@pages
def test_files_that_are_named_exist(page):
    for name in doc_text.named_files(page):
        assert list(ROOT.glob(name)) or "results.csv" in name, f"{page.name} names {name}"
    for link in doc_text.links(page):
        assert (page.parent / link).exists(), f"{page.name} links to {link}"


@pages
def test_names_of_arjax_in_a_text_can_be_imported(page):
    for name in set(re.findall(r"`(arjax(?:\.[A-Za-z_]\w*)+)", doc_text.prose(page))):
        module, _, attribute = name.rpartition(".")
        try:
            found = hasattr(importlib.import_module(module), attribute) or importlib.import_module(name)
        except ModuleNotFoundError:  # an attribute of a class
            package, _, owner = module.rpartition(".")
            found = hasattr(getattr(importlib.import_module(package), owner), attribute)
        assert found, f"{page.name} names {name}"


@pages
def test_data_sets_to_prepare_can_be_prepared(page):
    named = re.findall(r"prepare_data\.py ([a-z]\w*(?:/\w+)?)", page.read_text())
    assert set(named) <= set(known_names())


#: Their examples draw with every sampler, and train: what they call is tested elsewhere.
SLOW = (
    "compression",
    "data",
    "data_tables",
    "data_known",
    "exposure",
    "huggingface",
    "lecture",
    "linear_recurrences",
    "models",
    "orders",
    "regimes",
    "sampling",
    "suggestions",
    "fewer_calls",
    "tokens",
)


@pytest.mark.parametrize(
    "page", [pytest.param(p, marks=[pytest.mark.slow] * (p.stem in SLOW), id=p.stem) for p in PAGES[1:]]
)
def test_examples_run(page, folder, monkeypatch):
    monkeypatch.syspath_prepend(str(folder))  # pages import the files that they show
    names = {}
    for block in doc_text.blocks(page):
        if block.language == "python" and not block.title and "run=" not in block.info:
            names = doc_text.run(block, str(page), {"__name__": "example"})
        if 'printed="above"' in block.info:  # what the block of Python above it prints
            for shown, printed in zip(block.text.splitlines(), names["_printed"], strict=True):
                doc_text.check_printed(shown, printed)


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if doc_text.outputs(page)], ids=lambda page: page.stem)
def test_what_a_command_prints_is_what_the_page_shows(page, folder):
    """Up to the last line that is shown: then the command is stopped."""
    for command, shown in doc_text.outputs(page):
        program = [sys.executable, "-u", "-m", *shlex.split(command)]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        with subprocess.Popen(program, cwd=folder, stdout=subprocess.PIPE, text=True, env=environment) as process:
            printed = [line.rstrip("\n") for line in itertools.islice(process.stdout, len(shown))]
            process.terminate()
            process.stdout.read()
        for line, found in zip(shown, printed, strict=True):
            doc_text.check_printed(line, found)


def test_a_number_that_is_printed_otherwise_is_found():
    shown, printed = "made; 734 parameters; ...; 2.79 ± 0.02 nats", "made; 734 parameters; raster; 2.7915 ± 0.0191 nats"
    doc_text.check_printed(shown, printed)
    doc_text.check_printed("7%  910 examples/s  ETA 1m49s, CPU, 2 cores", "7%  8,421 examples/s  ETA 9s, CPU, 16 cores")
    for wrong in ("733 parameters", "734 parameters; ...; 2.94 ±", "734 weights", "730 parameters"):
        with pytest.raises(AssertionError, match="the page shows"):
            doc_text.check_printed(wrong, printed)
    text = "import numpy as np\nx = np.zeros((3, 4))  # float64[3, 4]\nprint(len(x))  # 3\n"
    block = doc_text.Block("python", "", "", text)
    assert doc_text.run(block, "page", {})["x"].shape == (3, 4)
    for right, wrong in (("float64", "float32"), ("[3, 4]", "[3, 5]"), ("# 3", "# 4")):
        with pytest.raises(AssertionError, match="the page s"):
            doc_text.run(dataclasses.replace(block, text=text.replace(right, wrong)), "page", {})


def test_arithmetic_of_the_pages_is_right():
    texts = [path.read_text() for path in (*PAGES, *ROOT.glob("configs/*.py"), *ROOT.glob("experiments/*/README.md"))]
    found = [match for text in texts for match in re.findall(r"(\d+) log (\d+) =\s+(\d+\.(\d+)) nats", text)]
    assert len(found) > 2
    for factor, number, result, digits in found:
        assert round(int(factor) * math.log(int(number)), len(digits)) == float(result), result


#: Numbers of parameters in pages and in the first lines of configs, and where they stand.
PARAMETERS = {
    "configs/gpt2.py": "124,441,344 parameters",
    "configs/gpt_1b.py": "1.42B parameters",
    "configs/llama.py": "8,030,265,344\nparameters",
    "configs/llama.py:shakespeare": "808,448 parameters",
    "configs/llama_7b.py": "6,738,419,712\nparameters",
    "configs/long_text.py:length=256": "4.75 million parameters",
    "configs/seq2seq_wmt14.py": "384,113,000 parameters",
    "docs/training.md": "327,377 parameters",
}


@pytest.mark.slow
def test_numbers_of_parameters_are_those_of_the_models():
    for place, shown in PARAMETERS.items():
        path, _, _ = place.partition(":")
        assert shown in (ROOT / path).read_text(), place
        config = load_config_file(str(ROOT / ("configs/digits.py" if path.startswith("docs") else place)))
        _same_size(shown, build_model(config, build_dataset(config)).num_params)
    rgb = make_model(EventSpec((32, 32), (3,), "levels", 256), "pixelcnn_pp")
    assert "54 million parameters" in (ROOT / "docs" / "python.md").read_text()
    _same_size("54 million", rgb.num_params)


def _same_size(shown: str, actual: int) -> None:
    number, unit = re.match(r"([\d.,]+)(B| million)?", shown).groups()
    size, digits = {"B": 1e9, " million": 1e6, None: 1}[unit], len(number.partition(".")[2])
    assert round(actual / size, digits) == float(number.replace(",", "")), (shown, actual)


@pytest.mark.slow
def test_a_model_that_python_md_saves_is_loaded(folder, monkeypatch):
    own_arrays, saved = (b for b in doc_text.blocks(ROOT / "docs/python.md") if "xor.safetensors" in b.text)
    for block in (own_arrays, saved):
        names = doc_text.run(block, "python.md", {"__name__": "example"})
    assert names["model"].results["nll_nats"] < 3.1
    assert names["model"].log_prob([[0, 1, 1, 0, 1]]) > names["model"].log_prob([[0, 1, 1, 0, 0]]) + 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("page", "name", "config"),
    [
        ("data_tables", "after-plants", "configs/table.py:smoke"),
        ("python", "after-labelled", "configs/digits.py:smoke,context=label"),
    ],
)
def test_rows_and_classes_of_the_pages(page, name, config, folder):
    workdir = f"runs/{name.removeprefix('after-')}"
    project.fit(config, workdir, quiet=True)
    (block,) = (b for b in doc_text.blocks(ROOT / f"docs/{page}.md") if f'run="{name}"' in b.info)
    names = doc_text.run(block, f"{page}.md", {"__name__": "example"})
    if page == "data_tables":
        assert set(names["drawn"]["colour"]) == {"red"} and min(names["drawn"]["height"]) > 0
    else:
        np.testing.assert_allclose(names["p"].sum(1), 1)


@pytest.mark.slow
def test_the_table_of_the_page_answers_as_shown(folder):
    (block,) = (b for b in doc_text.blocks(ROOT / "docs/tables.md") if 'run="people-table"' in b.info)
    names = doc_text.run(block, "tables.md", {"__name__": "example"})
    assert names["table"].log_prob(names["gaps"]).shape == (3,)


@pytest.mark.slow
def test_the_commands_of_tables_run(folder, arjax):
    """The first one copies the csv file of all others, as from an installed package."""
    (copy,) = doc_text.commands(ROOT / "docs/tables.md", "arjax")
    assert arjax(*copy) == 0 and (folder / "plants.csv").read_text().count("\n") == 401
    commands = doc_text.commands(ROOT / "docs/tables.md", "arjax-table")
    assert {words[0] for words in commands} >= {"outliers", "score", "expectation", "next"}
    for words in commands:
        assert main_of_tables([{"--minutes=1": "--steps=50"}.get(word, word) for word in words]) == 0


@pytest.mark.slow
def test_the_training_loop_of_the_page_learns_and_paints_in():
    names = {"__name__": "example"}
    text = doc_text.titled(ROOT / "docs" / "python.md")["loop.py"]
    exec(compile(text, "loop.py", "exec"), names)
    assert 70 < names["nats"] < 105  # independent pixels: 106.5; every value alike: 181
    assert names["samples"].shape == (16, 8, 8) and np.ptp(names["samples"]) > 8
    assert (names["completed"][:, names["top"]] == names["test"][0][names["top"]]).all()
    assert np.ptp(np.asarray(names["completed"])[:, ~names["top"]], axis=0).max() > 8
    assert len([line for line in text.splitlines() if line and "import" not in line]) <= 20


def test_the_readme_is_short():
    assert (ROOT / "README.md").stat().st_size <= 10_000
    (block,) = [b for b in doc_text.blocks(ROOT / "README.md") if b.language == "python"]
    assert len([line for line in block.text.splitlines() if line and "import" not in line]) <= 5


@pytest.mark.parametrize(("page", "most"), [("architecture", 12_000), ("laws", 8_000), ("results", 14_000)])
def test_pages_that_grew_before_are_short(page, most):
    assert (ROOT / "docs" / f"{page}.md").stat().st_size <= most


def test_the_page_of_places_names_files_and_folders_that_exist():
    places = re.findall(r"`((?:arjax|tests)/[\w/.]+)`", (ROOT / "docs" / "where.md").read_text())
    assert len(places) > 20
    assert not [place for place in places if not (ROOT / place).exists()]


def test_the_page_and_the_picture_of_the_architecture_have_all_packages():
    packages = {path.parent.name for path in (ROOT / "arjax").glob("*/__init__.py")}
    table = re.findall(r"^\| `(\w+)` \| [^|`]*", (ROOT / "docs" / "architecture.md").read_text(), flags=re.M)
    picture = re.findall(r">(\w+)</text>", (ROOT / "docs" / "images" / "packages.svg").read_text())
    assert packages <= set(table) and packages <= set(picture)
    layers = runpy.run_path(str(ROOT / "tests" / "core" / "test_layout.py"))["LAYERS"]
    assert [name for name in table if name in packages] == layers  # from the ground up


def test_every_network_stands_on_the_page_of_components():
    """All other names are on docs/options.md alone (test_options.py)."""
    text = (ROOT / "docs" / "components.md").read_text()
    for name in NETWORKS.names():
        assert f"`{name}`" in text, f"docs/components.md does not name the network {name!r}"


def test_every_config_field_is_described():
    text = (ROOT / "docs" / "configs.md").read_text()
    for name, _ in fields(base_config()):
        assert f"`{name.rpartition('.')[2]}`" in text, name


def test_the_config_of_the_page_builds(folder):
    config = load_config_file("my_config.py:size=8")
    dataset = build_dataset(config)
    assert build_model(config, dataset).factorization.num_steps == 64


@pytest.mark.slow
def test_the_data_set_of_the_page_trains_and_is_scored_again(folder, arjax):
    assert arjax("--config=my_data.py:smoke", "--workdir=runs/parity") == 0
    assert arjax("--mode=evaluate", "--config=my_data.py:smoke", "--workdir=runs/parity") == 0
    assert json.loads((folder / "runs/parity/results.json").read_text())["dataset"] == "parity"


@pytest.mark.slow
def test_what_a_run_leaves_is_described_and_can_be_sampled(folder, arjax, monkeypatch):
    batches = splits.eval_batches  # three of them stand for each split, of all of the test
    monkeypatch.setattr(splits, "eval_batches", lambda *args: itertools.islice(batches(*args), 3))
    assert arjax("--config=configs/digits.py:smoke", "--workdir=runs/digits") == 0
    text = (ROOT / "docs" / "training.md").read_text()
    for path in (folder / "runs/digits").iterdir():
        assert path.name in text, f"docs/training.md does not tell of {path.name}"
    for name in json.loads((folder / "runs/digits/results.json").read_text()):
        field = name.removeprefix("validation_")
        named = {f"`{field}`", f"`{field.removesuffix('_stderr')}`"}
        assert any(word in text for word in named), f"docs/training.md does not tell of the field {name}"
    names = {}
    for page in ("README.md", "docs/sampling.md", "docs/python.md"):
        (block,) = [b for b in doc_text.blocks(ROOT / page) if "after-digits" in b.info]
        code = (
            block.text.replace("network=wavenet", "smoke")
            .replace("runs/wavenet", "runs/digits")
            .replace("runs/try", "runs/digits")
        )
        page = pathlib.Path(page).name
        names[page] = doc_text.run(dataclasses.replace(block, text=code), page, {"__name__": "example"})
        if page == "python.md":
            (printed,) = [b for b in doc_text.blocks(ROOT / "docs" / page) if 'printed="smoke"' in b.info]
            doc_text.check_printed(printed.text.strip().replace("runs/try", "runs/digits"), names[page]["_printed"][-1])
        assert names[page]["run"].best_step == 6
    assert 0 < names["README.md"]["nats"].mean() < 64 * np.log(17) * 2
    assert (names["README.md"]["completed"][:, :4] == names["README.md"]["x"][0, :4]).all()
    assert names["sampling.md"]["x"].shape == (16, 8, 8)
    assert names["python.md"]["probabilities"].shape == (5, 8, 8, 17)
    assert (names["python.md"]["completed"][:, :4] == names["python.md"]["x"][0, :4]).all()
    (block,) = [b for b in doc_text.blocks(ROOT / "docs/python.md") if "after-two" in b.info]
    itself = dataclasses.replace(block, text=block.text.replace("runs/wavenet", "runs/digits"))
    names = doc_text.run(itself, "python.md", {"__name__": "example", "arjax": project})
    assert names["found"].verdict() == "tie"
