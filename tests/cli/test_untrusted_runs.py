"""Runs of others that name code: no door opens one, whatever the form of the name; own runs open as before."""

import json
import os
import shutil
import sys

import pytest

import arjax
from arjax.api.mixtures import mixture_of_runs
from arjax.api.run_nats import nats_of_run
from arjax.cli.main import main
from arjax.config.build import build
from arjax.config.files import load_workdir_config
from arjax.core import trust, user_code
from arjax.core.errors import UserError
from arjax.factorization import ORDERINGS
from arjax.sweep.main import _executor, sweep_flags
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
    monkeypatch.setattr(trust, "_NAMED", set())
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
            with pytest.raises(UserError, match=r"evil\.py, which you have not trusted: read"):
                open_it()
    assert not (in_it / "new").exists()


def test_modes(in_it, finished_run, config_file, sentence_of, capsys):
    """Of the run itself, and of runs that read it: initial parameters, judge, oracle, draft, data."""
    file = f"{in_it / 'evil.py'}, which you have not trusted"
    for name in FORMS:
        sentence = sentence_of(["--mode=sample", f"--workdir={name}"])
        assert sentence == (
            f"arjax: the run in {name} would run {file}: read that file, then open the run with --trust, or "
            f"arjax.open_run('{name}', trust=True)\n"
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


SWEEP = "from arjax.sweep import Run\ndef get_sweep():\n    return [Run('a', {config!r}, {more})]\n"


@pytest.mark.slow
def test_populations_and_sweeps(in_it, config_file, capfd):
    """A population that begins with the parameters of a run; jobs of a sweep are commands, and get the flag."""
    more = {"train.init_from": str(in_it / "file")}
    (in_it / "sweep.py").write_text(SWEEP.format(config=f"{config_file}:smoke,context=label", more=more))
    flags = ["--sweep=sweep.py", "--workdir=out"]
    assert sweep([*flags, "--executor=population"]) == 1
    assert "evil.py, which you have not trusted" in "".join(capfd.readouterr())
    shutil.rmtree("out")
    for more, last in ([], "arjax"), (["--trust"], "--trust"):
        assert _executor(sweep_flags([*flags, *more]), in_it, 1)._program[-1] == last


def test_trust_is_given_to_a_run_and_what_it_reads(folder, monkeypatch, config_file, tmp_path, sentence_of):
    """By the flag, also of the runs of a sweep, and by the argument; from then on without; not once it has changed."""
    monkeypatch.setenv(trust.VARIABLE, str(tmp_path / "trusted"))
    monkeypatch.setattr(trust, "_NAMED", set())
    for name in FORMS[:2]:
        shutil.copytree(folder / name, tmp_path / name)
        path = tmp_path / name / "config.json"
        path.write_text(path.read_text().replace(str(folder), str(tmp_path)))
    evil, mark = tmp_path / "evil.py", tmp_path / "evil.ran"
    evil.write_text(EVIL)

    def ran():
        trust._NAMED.clear()
        sys.modules.pop("evil", None)
        found = mark.exists()
        mark.unlink(missing_ok=True)
        return found

    sample = ["--mode=sample", f"--workdir={tmp_path / 'module'}", "--config.sample.num=1"]
    assert main([*sample, "--trust"]) == 0 and ran()
    assert main(sample) == 0 and ran()
    evil.write_text(EVIL + "# edited\n")
    assert "evil.py, which has changed since you trusted it" in sentence_of(sample) and not ran()
    assert arjax.open_run(tmp_path / "file", trust=True).status == "finished" and ran()
    assert main(sample) == 0 and ran()
    evil.write_text(EVIL + "# edited again\n")
    (tmp_path / "drawn.py").write_text(
        config_file.read_text().replace('"digits", context=arg.context', f'"drawn", run="{tmp_path / "file"}"')
    )
    command = [f"--config={tmp_path / 'drawn.py'}:smoke", "--mode=plan"]
    assert "has changed" in sentence_of(command) and not ran()
    with pytest.raises(UserError, match=r"drawn from|context"):  # of the model, which has a context: its code has run
        arjax.fit(command[0].removeprefix("--config="), tmp_path / "fitted", quiet=True, trust=True)
    assert ran()
    evil.write_text(EVIL + "# and again\n")
    more = {"train.init_from": str(tmp_path / "file")}
    (tmp_path / "sweep.py").write_text(SWEEP.format(config=f"{config_file}:smoke,context=label", more=more))
    flags = [f"--sweep={tmp_path / 'sweep.py'}", f"--workdir={tmp_path / 'out'}", "--executor=population"]
    assert sweep([*flags, "--trust"]) == 0 and ran()
    assert "--trust" not in (tmp_path / "out" / "results.csv").read_text()


@pytest.mark.slow
def test_own_code_is_trusted_by_training_and_by_its_config_file(tmp_path, monkeypatch, sentence_of):
    """An edited file needs a word, and the sentence has it; the config file that imports it is another way."""
    monkeypatch.setenv(trust.VARIABLE, str(tmp_path / "trusted"))
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "helper_q.py").write_text("SIZE = 1\n")
    (tmp_path / "order_q.py").write_text(
        "import helper_q\nimport numpy as np\nfrom arjax.factorization import ORDERINGS\n\n"
        "@ORDERINGS.register('mine_q')\ndef mine_q(grid_shape):\n"
        "    return np.roll(np.arange(np.prod(grid_shape)), helper_q.SIZE)\n"
    )
    (tmp_path / "config_q.py").write_text(
        "import order_q\nfrom arjax.config import apply_smoke, base_config, dataset_config, network_config\n\n"
        "def get_config(arg=''):\n    config = base_config()\n    config.dataset = dataset_config('digits')\n"
        "    config.model.ordering = 'mine_q'\n    config.network = network_config('independent')\n"
        "    return apply_smoke(config)\n"
    )

    def another_process():
        trust._NAMED.clear()
        for name in ("order_q", "helper_q"):
            sys.modules.pop(name, None)
            user_code._NEIGHBOURS.pop(name, None)
        ORDERINGS._entries.pop("mine_q", None)

    config, workdir = f"--config={tmp_path / 'config_q.py'}", f"--workdir={tmp_path / 'run'}"
    sample = ["--mode=sample", workdir, "--config.sample.num=1"]
    place = f"--config.plugins=('order_q in {tmp_path}',)"
    assert main([config, workdir]) == 0
    for version, named in enumerate(([], ["--trust"], [config], [place])):
        (tmp_path / "helper_q.py").write_text(f"SIZE = 1  # version {version}\n" if version else "SIZE = 1\n")
        another_process()
        if version:
            assert "helper_q.py, which has changed since you trusted it" in sentence_of(sample)
        assert main([*sample, *named]) == 0
        another_process()
        assert arjax.open_run(tmp_path / "run").status == "finished"
    another_process()


def test_a_config_json_is_no_config_file(finished_run, sentence_of):
    sentence = sentence_of([f"--config={finished_run / 'config.json'}", "--workdir=new"])
    assert "is no Python file" in sentence and not os.path.exists("new")
