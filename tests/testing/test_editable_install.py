"""An editable install is found in every folder, also in the one that holds the clone."""

from __future__ import annotations

import pathlib
import shutil
import subprocess
import sys
import sysconfig

import pytest

SCRIPT = "import arjax; print(arjax.open_run.__name__, arjax.__file__)"


@pytest.mark.slow
def test_a_script_beside_the_clone_imports_the_package(repository, tmp_path):
    """The folder of a script comes first on the path, and the clone in it is named as the package."""
    pytest.importorskip("setuptools", minversion="77")
    clone = tmp_path / "arjax"
    ignored = shutil.ignore_patterns(".*", "runs", "build", "*.egg-info", "__pycache__", "experiments", "tests")
    shutil.copytree(repository, clone, ignore=ignored)
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    python = venv / "bin" / "python"
    packages = pathlib.Path(sysconfig.get_path("purelib", vars={"base": str(venv)}))
    here = [path for path in sys.path if "site-packages" in path]  # the packages of this environment, but for its arjax
    (packages / "others.pth").write_text("\n".join(here))
    install = ["install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--editable", str(clone)]
    subprocess.run([sys.executable, "-m", "pip", "--python", str(python), *install], check=True)
    (tmp_path / "script.py").write_text(SCRIPT)
    commands = {"script.py": tmp_path, "-c": tmp_path, str(tmp_path / "script.py"): clone}
    for command, folder in commands.items():
        arguments = [command, SCRIPT] if command == "-c" else [command]
        done = subprocess.run([str(python), *arguments], cwd=folder, capture_output=True, text=True)
        assert done.stdout.split() == ["open_run", str(clone / "arjax" / "__init__.py")], done.stderr
    version = subprocess.run([str(venv / "bin" / "arjax"), "--version"], cwd=tmp_path, capture_output=True, text=True)
    assert version.stdout.startswith("arjax "), version.stderr
