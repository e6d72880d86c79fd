"""Runs whose components come from outside: own ones open as before, and no door opens one of others that names code."""

import json
import os
import shutil
import sys

import pytest
from refusals import refusal

import arjax
from arjax.api.comparing import mixture_of_runs, nats_of_run
from arjax.cli.main import main
from arjax.config import base_config
from arjax.config.build import build
from arjax.config.files import load_config_file, load_workdir_config
from arjax.config.validate import validate
from arjax.core import plugins
from arjax.core.errors import UserError, say_once
from arjax.factorization import ORDERINGS
from arjax.samplers import SAMPLERS
from arjax.sweep.main import main as sweep

ORDER = """
import numpy as np
from arjax.factorization import ORDERINGS

@ORDERINGS.register("last_first")
def last_first(grid_shape):
    size = np.prod(grid_shape)
    return np.roll(np.arange(size), 1)
"""
CONFIG = """
import order_of_mine
from arjax.config import apply_smoke, base_config, dataset_config, network_config

def get_config(arg=""):
    config = base_config()
    config.dataset = dataset_config("digits")
    config.model.ordering = "reversed(of='last_first')"
    config.network = network_config("independent")
    return apply_smoke(config)
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run, and the folder of its config and ordering."""
    folder = tmp_path_factory.mktemp("configs")
    (folder / "order_of_mine.py").write_text(ORDER)
    (folder / "config_of_mine.py").write_text(CONFIG)
    assert main([f"--config={folder / 'config_of_mine.py'}", f"--workdir={folder / 'run'}"]) == 0
    forget()
    return folder / "run", folder


def forget():
    """As in another process."""
    plugins._PROGRAMS.clear()
    sys.modules.pop("order_of_mine", None)
    ORDERINGS._entries.pop("last_first", None)


@pytest.fixture(autouse=True)
def another_process(monkeypatch, scope):
    """Every test begins with nothing from outside, and leaves nothing."""
    scope(ORDERINGS)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if "pytest" not in entry])
    forget()
    yield
    forget()


def test_a_run_is_scored_and_sampled_again_without_its_config_file(run, monkeypatch, tmp_path):
    workdir, folder = run
    monkeypatch.chdir(tmp_path)
    assert json.loads((workdir / "config.json").read_text())["plugins"] == [f"order_of_mine in {folder}"]
    assert main(["--mode=sample", f"--workdir={workdir}", "--trust"]) == 0
    assert (workdir / "samples-1" / "samples.npy").exists() and "last_first" in ORDERINGS.names()


def test_own_code_is_named_by_its_config_file_or_a_flag(run, monkeypatch, sentence_of):
    """In another process than the training; or its folder is in the variable."""
    workdir, folder = run
    sample = ["--mode=sample", f"--workdir={workdir}", "--config.sample.num=1"]
    plugin = f"--config.plugins=('order_of_mine in {folder}',)"
    for named in ("--trust", f"--config={folder / 'config_of_mine.py'}", plugin):
        forget()
        assert "order_of_mine.py, which you have not trusted" in sentence_of(sample)
        assert main([*sample, named]) == 0
        assert arjax.open_run(workdir).status == "finished"  # in the same process
    forget()
    monkeypatch.setenv(plugins.VARIABLE, str(folder))
    assert main(sample) == 0


def test_a_plugin_of_the_command_stands_beside_those_of_the_run(run, scope, tmp_path):
    """A sampler of one's own draws from a run with an ordering of one's own."""
    workdir, _ = run
    (tmp_path / "sampler_of_mine.py").write_text(
        "import jax\nfrom arjax.samplers import SAMPLERS, Cached\n\n\n@SAMPLERS.register('mine_too')\n"
        "@jax.tree_util.register_dataclass\nclass Mine(Cached):\n    exact = True\n"
    )
    scope(SAMPLERS)
    plugin, sampler = f"--config.plugins=('sampler_of_mine in {tmp_path}',)", "--config.sample.sampler=mine_too"
    assert main(["--mode=sample", f"--workdir={workdir}", "--trust", plugin, sampler]) == 0
    sys.modules.pop("sampler_of_mine")


def test_it_goes_on_whatever_was_recorded(run, tmp_path):
    workdir, folder = shutil.copytree(run[0], tmp_path / "run"), run[1]
    assert main([f"--config={folder / 'config_of_mine.py'}", f"--workdir={workdir}", "--config.train.steps=7"]) == 0
    assert json.loads((workdir / "config.json").read_text())["plugins"] == [f"order_of_mine in {folder}"]


def test_code_that_has_changed_since_the_training_is_told(run, tmp_path, capsys):
    """The config and the order are in one folder; an edit that changes no order is one all the same."""
    folder = shutil.copytree(run[1], tmp_path / "own", ignore=shutil.ignore_patterns("run"))
    train = [f"--config={folder / 'config_of_mine.py'}", f"--workdir={folder / 'run'}"]
    order = folder / "order_of_mine.py"
    remark = f"arjax: {order} has changed since the training of {folder / 'run'} began\n"
    assert main(train) == 0
    first = json.loads((folder / "run/record.json").read_text())["code"]
    assert list(first) == [str(order)] and len(first[str(order)]) == 1
    assert remark not in capsys.readouterr().err
    order.write_text(ORDER + "# edited\n")
    # A finished run, whose training is over even if it is scored on another split; and one that goes on.
    for more, versions in (("evaluate.split=validation", 1), ("train.steps=7", 2)):
        forget()
        say_once.cache_clear()
        assert main([*train, f"--config.{more}"]) == 0
        noted = json.loads((folder / "run/record.json").read_text())["code"][str(order)]
        assert len(noted) == versions and noted[:1] == first[str(order)]
        assert [line for line in capsys.readouterr().err.splitlines(True) if "has changed" in line] == [remark]
    (folder / "run/record.json").write_text("[")
    forget()
    assert main(["--mode=evaluate", f"--workdir={folder / 'run'}", "--trust"]) == 2
    assert "record.json is damaged: put back a copy of it" in capsys.readouterr().err


def test_files_that_no_import_statement_names_are_noted_too(run, tmp_path):
    folder = shutil.copytree(run[1], tmp_path / "own", ignore=shutil.ignore_patterns("run"))
    (folder / "order_of_mine.py").rename(folder / "inner.py")
    (folder / "order_of_mine.py").write_text("import importlib\nimportlib.import_module('in' + 'ner')\n")
    assert main([f"--config={folder / 'config_of_mine.py'}", f"--workdir={folder / 'run'}"]) == 0
    sys.modules.pop("inner")
    assert str(folder / "inner.py") in json.loads((folder / "run/record.json").read_text())["code"]


def test_one_that_has_gone_is_named_with_the_ways_out(run, sentence_of, tmp_path):
    folder = run[1]
    moved = folder.rename(tmp_path / "moved")
    try:
        evaluate = ["--mode=evaluate", f"--workdir={moved / 'run'}"]
        assert sentence_of(evaluate) == (
            f"arjax: the run in {moved / 'run'} needs the plugin 'order_of_mine in {folder}': there is no module "
            "'order_of_mine' there any more; add --config=FILE.py, or its new place, such as "
            "--config.plugins=\"('my_network in FOLDER',)\"\n"
        )
        assert main([*evaluate, f"--config={moved / 'config_of_mine.py'}"]) == 0
        forget()
        assert main([*evaluate, f"--config.plugins=('order_of_mine in {moved}',)"]) == 0
        assert "config.plugins must be a tuple" in sentence_of([*evaluate, "--config.plugins=order of mine"])
    finally:
        moved.rename(folder)


def test_a_plugin_is_imported_when_it_is_named(tmp_path):
    text = CONFIG.replace("import order_of_mine", "from arjax.factorization import ORDERINGS")
    there = "    config.plugins = ('order_of_mine',)\n    assert 'last_first' in ORDERINGS.names()\n    config.dataset"
    (tmp_path / "named.py").write_text(text.replace("    config.dataset", there))
    (tmp_path / "order_of_mine.py").write_text(ORDER)
    config = load_config_file(str(tmp_path / "named.py"))
    assert config.plugins == ("order_of_mine",) and config.copy_and_resolve_references() == config
    validate(config)


@pytest.mark.parametrize("named", [("no_such_package",), (3,), ["no such package"]])
def test_plugins_that_are_none(named):
    with pytest.raises(UserError, match=r"plugin ('(no_such_package|3)': there is no|.*is the name of a module)"):
        base_config().plugins = named


EVIL = "import pathlib\npathlib.Path(__file__).with_name('evil.ran').touch()\n"


@pytest.fixture(scope="module")
def folder(finished_run, tmp_path_factory):
    """Runs that name code in three forms, beside a run without, as someone may hand them out."""
    folder = tmp_path_factory.mktemp("others")
    (folder / "evil.py").write_text(EVIL)
    config = json.loads((finished_run / "config.json").read_text())
    forms = {"file": str(folder / "evil.py"), "module": f"evil in {folder}", "here": "evil"}
    for name, plugin in forms.items():
        shutil.copytree(finished_run, folder / name)
        (folder / name / "config.json").write_text(json.dumps(config | {"plugins": [plugin]}))
    return folder


@pytest.fixture
def in_it(folder, monkeypatch):
    """The current folder is the one with the runs, and Python searches it."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    yield folder
    assert not (folder / "evil.ran").exists()
    sys.modules.pop("evil", None)


FORMS = ("file", "module", "here")


def test_python(in_it, finished_run):
    own = arjax.open_run(finished_run)
    for name in FORMS:
        config = load_workdir_config(in_it / name)
        doors = (
            lambda name=name: arjax.open_run(name),
            lambda name=name: own.sample(1, sampler=f"speculative(draft={name!r})"),
            lambda name=name: mixture_of_runs([name]),
            lambda name=name: nats_of_run(in_it / name, json.loads((in_it / name / "results.json").read_text())),
            lambda config=config: build(config),
            lambda config=config: arjax.fit(config, in_it / "new", quiet=True),
        )
        for open_it in doors:
            assert "evil.py, which you have not trusted: " in refusal(open_it)
    assert not (in_it / "new").exists()


def test_modes(in_it, finished_run, config_file, sentence_of, capsys):
    """Of the run itself, and of runs that read it: initial parameters, judge, oracle, draft, data."""
    file = f"{in_it / 'evil.py'}, which you have not trusted"
    for name in FORMS:
        sentence = sentence_of(["--mode=sample", f"--workdir={name}"])
        assert sentence == (
            f"arjax: the run in {name} would run {file}: if you know that file, give --trust (arjax.open_run('{name}', "
            "trust=True)) or --config=FILE.py, or add its folder to $ARJAX_TRUST\n"
        )
    for mode in ("evaluate", "suggest", "inpaint"):
        assert file in sentence_of([f"--mode={mode}", "--workdir=file"])
    train = [f"--config={config_file}:smoke,context=label", "--workdir=new"]
    draft = "--config.sample.sampler=speculative(draft='file')"
    oracle = "--config.objective=rollout(target='oracle', oracle='file')"
    for override in ("--config.train.init_from=file", draft, oracle):
        assert file in sentence_of([*train, override])
    assert file in sentence_of(["--mode=plan", *train, oracle])
    judge = ["--config.evaluate.exposure=4", "--config.evaluate.judge=file"]
    assert file in sentence_of(["--mode=evaluate", f"--workdir={finished_run}", *judge])
    assert main(["--mode=sample", f"--workdir={finished_run}", draft]) == 2 and file in capsys.readouterr().err
    config = in_it / "drawn.py"
    config.write_text(config_file.read_text().replace('"digits", context=arg.context', '"drawn", run="file"'))
    for mode in ("plan", "train"):
        assert file in sentence_of([f"--mode={mode}", f"--config={config}:smoke", "--workdir=new"])
    config.unlink()
    shutil.rmtree("new", ignore_errors=True)


@pytest.fixture
def theirs(folder, tmp_path):
    """Runs in two forms whose code leaves a mark, and a function: whether it has run since the last call."""
    for name in FORMS[:2]:
        shutil.copytree(folder / name, tmp_path / name)
        path = tmp_path / name / "config.json"
        path.write_text(path.read_text().replace(str(folder), str(tmp_path)))
    (tmp_path / "evil.py").write_text(EVIL)
    mark = tmp_path / "evil.ran"

    def ran():
        plugins._PROGRAMS.clear()
        sys.modules.pop("evil", None)
        has_run = mark.exists()
        mark.unlink(missing_ok=True)
        return has_run

    return ran


def test_trust_is_given_to_a_run_and_to_all_that_it_reads(theirs, config_file, tmp_path, finished_run, sentence_of):
    """By the flag and by the argument, each time anew."""
    sample = ["--mode=sample", f"--workdir={tmp_path / 'module'}", "--config.sample.num=1"]
    assert main([*sample, "--trust"]) == 0 and theirs()
    assert "which you have not trusted" in sentence_of(sample) and not theirs()
    assert arjax.open_run(tmp_path / "file", trust=True).status == "finished" and theirs()
    draft = f"speculative(draft={str(tmp_path / 'file')!r})"
    arjax.open_run(finished_run, trust=True).sample(1, sampler=draft, context=1)
    assert theirs()
    assert "which you have not trusted" in refusal(arjax.open_run(finished_run).sample, 1, sampler=draft, context=1)
    assert not theirs()
    drawn = config_file.read_text().replace('"digits", context=arg.context', f'"drawn", run="{tmp_path / "file"}"')
    (tmp_path / "drawn.py").write_text(drawn)
    command = [f"--config={tmp_path / 'drawn.py'}:smoke", "--mode=plan"]
    assert "which you have not trusted" in sentence_of(command) and not theirs()
    with pytest.raises(UserError, match=r"drawn from|context"):  # of the model, which has a context: its code has run
        arjax.fit(command[0].removeprefix("--config="), tmp_path / "fitted", quiet=True, trust=True)
    assert theirs()


SWEEP = "from arjax.sweep import Run\ndef get_sweep():\n    return [Run('a', {config!r}, {more})]\n"


@pytest.mark.slow
def test_a_sweep_file_trusts_the_runs_that_it_names(theirs, config_file, tmp_path, capfd):
    """In the process of the sweep, and in those of its runs."""
    more = {"train.init_from": str(tmp_path / "file")}
    (tmp_path / "sweep.py").write_text(SWEEP.format(config=f"{config_file}:smoke,context=label", more=more))
    for executor in ("population", "local"):
        flags = [f"--sweep={tmp_path / 'sweep.py'}", f"--workdir={tmp_path / executor}", f"--executor={executor}"]
        assert sweep(flags) == 0 and theirs(), capfd.readouterr()


def test_a_config_json_is_no_config_file(finished_run, sentence_of):
    sentence = sentence_of([f"--config={finished_run / 'config.json'}", "--workdir=new"])
    assert "is no Python file" in sentence and not os.path.exists("new")
