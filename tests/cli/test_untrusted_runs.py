"""Runs of others that name code: no door opens one, whatever the form of the name; own runs open as before."""

import json
import os
import shutil
import sys

import pytest

import arjax
from arjax.api.comparing import mixture_of_runs, nats_of_run
from arjax.cli.main import main
from arjax.config.build import build
from arjax.config.files import load_workdir_config
from arjax.core import plugins
from arjax.core.errors import UserError
from arjax.sweep.main import main as sweep

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
            with pytest.raises(UserError, match=r"evil\.py, which you have not trusted: "):
                open_it()
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
    with pytest.raises(UserError, match="which you have not trusted"):
        arjax.open_run(finished_run).sample(1, sampler=draft, context=1)
    assert not theirs()
    (tmp_path / "drawn.py").write_text(
        config_file.read_text().replace('"digits", context=arg.context', f'"drawn", run="{tmp_path / "file"}"')
    )
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
