"""The package as it is installed: in editable form it is found in every folder; a wheel brings its configs along."""

import json
import pathlib
import shutil
import subprocess
import sys
import sysconfig

import pytest

SCRIPT = "import arjax; print(arjax.open_run.__name__, arjax.__file__)"
FIT = """
import arjax, numpy as np
x = np.random.default_rng(0).integers(0, 2, (64, 5))
fitted = arjax.fit_arrays(arjax.make_model(arjax.EventSpec((5,)), "made"), train=x, steps=4, quiet=True)
print(fitted.results["split"], np.isfinite(fitted.log_prob(x)).all())
"""


def run(*command, folder):
    done = subprocess.run(list(map(str, command)), cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def clone(repository, tmp_path):
    pytest.importorskip("setuptools", minversion="77")
    ignored = shutil.ignore_patterns(".*", "runs", "build", "*.egg-info", "__pycache__", "experiments", "tests")
    return shutil.copytree(repository, tmp_path / "arjax", ignore=ignored, symlinks=True)


@pytest.fixture
def venv(tmp_path):
    """A virtual environment with the packages of this one, but for its arjax."""
    folder = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    packages = pathlib.Path(sysconfig.get_path("purelib", vars={"base": str(folder)}))
    (packages / "others.pth").write_text("\n".join(path for path in sys.path if "site-packages" in path))
    return folder


def pip(venv, *arguments):
    command = [sys.executable, "-m", "pip", "--python", str(venv / "bin" / "python")]
    subprocess.run([*command, *map(str, arguments)], check=True)


@pytest.mark.slow
def test_a_script_beside_the_clone_imports_the_package(clone, venv, tmp_path):
    """The folder of a script comes first on the path, and the clone in it is named as the package."""
    pip(venv, "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--editable", clone)
    (tmp_path / "script.py").write_text(SCRIPT)
    commands = {"script.py": tmp_path, "-c": tmp_path, str(tmp_path / "script.py"): clone}
    for command, folder in commands.items():
        arguments = [command, SCRIPT] if command == "-c" else [command]
        found = run(venv / "bin" / "python", *arguments, folder=folder)
        assert found.split() == ["open_run", str(clone / "arjax" / "__init__.py")]
    assert run(venv / "bin" / "arjax", "--version", folder=tmp_path).startswith("arjax ")
    assert '"digits"' in run(venv / "bin" / "arjax", "--mode=list", "--json", folder=tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["wheel", "sdist"])
def test_installed_apart_from_the_clone_it_trains(form, clone, venv, tmp_path):
    """In an empty folder a config and a sweep go by their names, a config is copied, arrays are trained on."""
    package = clone
    if form == "sdist":
        command = "import setuptools.build_meta as b; b.build_sdist('dist')"
        run(sys.executable, "-c", command, folder=clone)
        (package,) = (clone / "dist").glob("*.tar.gz")
    build = ["wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    run(sys.executable, "-m", "pip", *build, "--wheel-dir", tmp_path / "wheels", package, folder=tmp_path)
    (wheel,) = (tmp_path / "wheels").glob("*.whl")
    pip(venv, "install", "--quiet", "--no-deps", "--no-index", wheel)
    shutil.rmtree(clone)
    empty, arjax = tmp_path / "empty", venv / "bin" / "arjax"
    empty.mkdir()
    assert str(venv) in run(venv / "bin" / "python", "-c", SCRIPT, folder=empty)
    plan = run(venv / "bin" / "arjax-sweep", "--sweep=real_table:smoke", "--workdir=x", "--dry_run", folder=empty)
    assert "--config=configs/real_table.py:recipe=mixture,smoke" in plan
    if form == "sdist":
        return
    run(arjax, "--config=digits:smoke", "--workdir=first", folder=empty)
    assert run(arjax, "--mode=new", "--config=digits", folder=empty) == "digits.py\n"
    text = (empty / "digits.py").read_text().replace("config = base_config()", "(config := base_config()).seed = 7")
    (empty / "digits.py").write_text(text)
    run(arjax, "--config=digits:smoke", "--workdir=second", folder=empty)
    seeds = [json.loads((empty / name / "results.json").read_text())["seed"] for name in ("first", "second")]
    assert seeds[0] != 7 and seeds[1] == 7
    assert run(venv / "bin" / "python", "-c", FIT, folder=empty).split() == ["train", "True"]
