"""Code that a run names: what is imported without a word, what is refused, and what changes that."""

import concurrent.futures
import contextlib
import importlib
import importlib.util
import os
import pathlib
import py_compile
import subprocess
import sys

import pytest

from arjax.core import trust, user_code
from arjax.core.errors import UserError
from arjax.core.plugins import import_plugins, remember_plugins
from arjax.core.registry import Registry, import_installed
from arjax.core.trust import UntrustedCodeError, trusting

#: A file that leaves a mark beside it when it runs.
MARK = "import pathlib\npathlib.Path(__file__).with_suffix('.ran').touch()\n"


@pytest.fixture(autouse=True)
def another_process(monkeypatch, tmp_path):
    """Nothing is trusted or imported yet, and the current folder is an empty one."""
    monkeypatch.setenv(trust.VARIABLE, str(tmp_path / "trusted"))
    monkeypatch.setattr(trust, "_NAMED", set())
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(user_code, "_NEIGHBOURS", {})
    monkeypatch.setattr(user_code, "_APPENDED", set())
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    before = set(sys.modules)
    yield
    forget(*(set(sys.modules) - before))


def forget(*names):
    """As in another process."""
    trust._NAMED.clear()
    for name in names:
        sys.modules.pop(name, None)
        user_code._NEIGHBOURS.pop(name, None)


def write(path, text=""):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(MARK + text)
    return path


def ran(path) -> bool:
    """Whether the file has run since the last call."""
    mark = path.with_suffix(".ran")
    found = mark.exists()
    mark.unlink(missing_ok=True)
    return found


def check_refused(plugin, file, reason="which you have not trusted"):
    """Nothing runs, and the sentence names the file."""
    sentence = ""
    try:
        import_plugins([plugin])
    except UntrustedCodeError as error:
        sentence = str(error)
    assert sentence.startswith(f"{os.path.realpath(file)}, {reason}: read it") and not ran(file)


def test_code_of_a_run_is_refused_in_every_form(tmp_path, monkeypatch):
    evil = write(tmp_path / "evil_a.py")
    write(tmp_path / "evil_pack" / "__init__.py")
    deep = write(tmp_path / "evil_pack" / "deep.py")
    check_refused(str(evil), evil)
    check_refused(f"evil_a in {tmp_path}", evil)
    check_refused(f"evil_a in {tmp_path / 'here' / '..'}", evil)
    check_refused(f"evil_pack.deep in {tmp_path}", deep.with_name("__init__.py"))
    assert not ran(deep)
    write(tmp_path / "space" / "evil_b.py")  # without an __init__.py
    check_refused(f"space.evil_b in {tmp_path}", tmp_path / "space" / "evil_b.py")
    link = tmp_path / "link.py"
    link.symlink_to(evil)
    check_refused(str(link), evil)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    check_refused("evil_a", evil)  # in the current folder
    check_refused("evil_a in /no/such/folder", evil)
    check_refused("evil_a.py", evil)
    program = pathlib.Path(contextlib.__file__)
    check_refused(str(program), program)  # a file is a program, whatever its folder
    monkeypatch.setenv("PYTHONPATH", f"{os.pathsep}{tmp_path}")  # '' in front, and the current folder in full
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    check_refused("evil_a", evil)


@pytest.mark.parametrize(
    "plugin",
    ["this", f"antigravity in {os.path.dirname(os.__file__)}", "this in /no", "json.__main__", "evil.__main__ in /tmp"],
)
def test_modules_of_python_and_programs_are_no_plugins(plugin, capsys):
    with pytest.raises(UserError, match=r"is a module of Python|is the name of a module"):
        import_plugins([plugin])
    assert capsys.readouterr().out == ""


def test_an_installed_package_is_imported_and_no_other_folder_of_modules(tmp_path, monkeypatch):
    there = tmp_path / "site-packages"
    mine = write(there / "mine_c.py")
    monkeypatch.syspath_prepend(str(there))
    import_plugins(["mine_c"])
    assert ran(mine)
    write(there / "pack_d" / "__init__.py")
    shadow = write(tmp_path / "here" / "pack_d" / "__init__.py")
    monkeypatch.syspath_prepend("")
    check_refused("pack_d", shadow)  # Python would import this one
    monkeypatch.chdir(there)  # a current folder of that name
    forget("mine_c")
    monkeypatch.setattr(sys, "path", [str(there)])
    check_refused("mine_c", mine)


def test_a_package_that_pip_has_put_elsewhere_is_installed(tmp_path, monkeypatch):
    """In editable form, by its names alone; or with `--target` into a folder of PYTHONPATH."""
    there, project = tmp_path / "site-packages", tmp_path / "project"
    mine, run = write(project / "src" / "mine_e.py"), write(project / "runs" / "evil_f.py")
    about = there / "mine_e-1.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: mine-e\nVersion: 1\n")
    (about / "direct_url.json").write_text(f'{{"url": "{project.as_uri()}", "dir_info": {{"editable": true}}}}')
    monkeypatch.setattr(sys, "path", [str(there), str(project / "src"), str(project), *sys.path])
    check_refused("runs.evil_f", run)
    check_refused(f"evil_f in {run.parent}", run)
    import_plugins(["mine_e"])
    assert ran(mine)
    target = tmp_path / "target"
    of_target = write(target / "mine_g.py")
    (target / "mine_g-1.dist-info").mkdir()
    (target / "mine_g-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: mine_g\nVersion: 1\n")
    monkeypatch.syspath_prepend(str(target))
    check_refused("mine_g", of_target)
    monkeypatch.setenv("PYTHONPATH", str(target))
    import_plugins(["mine_g"])
    assert ran(of_target)


def test_entry_points_in_the_current_folder_are_those_of_nothing_installed(tmp_path, monkeypatch):
    evil = write(tmp_path / "here" / "evil_h.py")
    about = tmp_path / "here" / "evil_h-1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: evil_h\nVersion: 1\n")
    (about / "entry_points.txt").write_text(f"[{trust.GROUP}]\nevil = evil_h\n")
    monkeypatch.setattr(sys, "path", ["", str(tmp_path / "here"), *sys.path])
    import_installed.cache_clear()
    assert import_installed() == () and not ran(evil)
    about.rename(tmp_path / "moved")
    there = tmp_path / "site-packages"  # the package is installed, and a file in the current folder hides it
    there.mkdir()
    (tmp_path / "moved").rename(there / about.name)
    monkeypatch.setattr(sys, "path", [*sys.path, str(there)])
    import_installed.cache_clear()
    (sentence,) = import_installed()
    assert str(evil) in sentence and not ran(evil)
    import_installed.cache_clear()


def test_what_a_call_names_runs_and_is_trusted_in_this_process_only(tmp_path):
    mine = write(tmp_path / "mine_i.py")
    import_plugins([f"mine_i in {tmp_path}"], named=True)
    assert ran(mine)
    import_plugins([f"mine_i in {tmp_path}"])
    forget("mine_i")
    check_refused(f"mine_i in {tmp_path}", mine)


def test_trust_is_of_a_file_as_it_is_with_the_files_that_it_imports(tmp_path):
    """Those that its statements name, also inside of functions, and those that these name."""
    plugin = f"pack_j.mine_j in {tmp_path}"
    write(tmp_path / "pack_j" / "__init__.py")
    mine = write(tmp_path / "pack_j" / "mine_j.py", "from . import near\ndef late():\n    import pack_j.far as far\n")
    near, deep = write(tmp_path / "pack_j" / "near.py", "from .deep import *\n"), write(tmp_path / "pack_j" / "deep.py")
    far = write(tmp_path / "pack_j" / "far.py")
    names = ("pack_j", "pack_j.mine_j", "pack_j.near", "pack_j.deep", "pack_j.far")
    with trusting():
        import_plugins([plugin])
    assert ran(mine) and ran(near) and ran(deep) and not ran(far)
    for file in (mine, near, deep, far, mine.with_name("__init__.py")):
        forget(*names)
        import_plugins([plugin])
        assert ran(mine)
        ran(file)
        text = file.read_text()
        file.write_text(text + "\n")
        forget(*names)
        check_refused(plugin, file, "which has changed since you trusted it")
        file.write_text(text)
    forget(*names)
    far.write_text(MARK + "# edited\n")
    with trusting():
        import_plugins([plugin])
    forget(*names)
    import_plugins([plugin])


def test_a_file_that_no_statement_names_is_refused_when_it_is_imported(tmp_path):
    """One that is found by its name alone, and one that hides a module of an installed package."""
    text = "import importlib\nimport {library}\nimportlib.import_module('by_' + 'name_k')\n"
    mine = write(tmp_path / "mine_k.py", text.format(library="wave"))
    by_name = write(tmp_path / "by_name_k.py")
    remember_plugins([f"mine_k in {tmp_path}"])
    check_refused(f"mine_k in {tmp_path}", by_name)
    forget("mine_k")
    with trusting():
        import_plugins([f"mine_k in {tmp_path}"])
    assert ran(by_name) and ran(mine)
    forget("mine_k", "by_name_k", "wave")
    hides = write(tmp_path / "wave.py")
    check_refused(f"mine_k in {tmp_path}", hides)
    assert not ran(mine)


def test_a_compiled_file_beside_a_trusted_one_does_not_run(tmp_path):
    mine, evil = tmp_path / "mine_l.py", write(tmp_path / "evil_l.py")
    mine.write_text("harmless = True\n")
    cached = importlib.util.cache_from_source(str(mine))
    py_compile.compile(str(evil), cached, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
    remember_plugins([f"mine_l in {tmp_path}"])
    import_plugins([f"mine_l in {tmp_path}"])
    assert not ran(mine) and not ran(evil) and vars(sys.modules["mine_l"])["harmless"]


def test_afterwards_only_the_trusted_files_of_the_folder_are_found(tmp_path):
    """By imports inside of functions; and not by those of other packages, which may look for any name."""
    mine = write(tmp_path / "mine_m.py", "def late():\n    import late_m\n    return late_m\n")
    late, optional = write(tmp_path / "late_m.py"), write(tmp_path / "optional_m.py")
    with trusting():
        import_plugins([f"mine_m in {tmp_path}"])
    assert ran(mine) and not ran(late) and str(tmp_path) not in sys.path
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("optional_m")
    assert not ran(optional)
    assert sys.modules["mine_m"].late().__file__ == str(late) and ran(late)


def test_the_store_is_of_the_user_and_safe_under_several_processes(tmp_path, monkeypatch, capsys):
    mine = write(tmp_path / "mine_o.py")
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(remember_plugins, [[str(mine)]] * 16))
    (entry,) = [path for path in trust.store().rglob("*") if path.is_file()]
    assert entry.read_text() == f"{mine}\n" and os.stat(trust.store()).st_mode & 0o777 == 0o700
    forget()
    trust.store().chmod(0o777)
    with pytest.raises(UserError, match=r"everyone can write to .*: chmod o-w"):
        import_plugins([str(mine)])
    monkeypatch.setenv(trust.VARIABLE, "trusted")  # in the current folder
    with pytest.raises(UserError, match="must be the absolute path"):
        import_plugins([str(mine)])
    (tmp_path / "file").touch()
    monkeypatch.setenv(trust.VARIABLE, str(tmp_path / "file" / "trusted"))
    remember_plugins([str(mine)])  # a training goes on
    assert "opening a run with this code will need --trust" in capsys.readouterr().err
    monkeypatch.delenv(trust.VARIABLE)
    monkeypatch.setenv("XDG_STATE_HOME", "state")
    assert trust.store() == pathlib.Path.home() / ".local" / "state" / "arjax" / "trusted"
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert trust.store() == tmp_path / "arjax" / "trusted"


def test_listing_everything_in_a_folder_of_others_runs_none_of_it(tmp_path):
    """The command, in a folder with a package and its entry point."""
    evil = write(tmp_path / "here" / "evil_p.py")
    about = tmp_path / "here" / "evil_p-1.dist-info"
    about.mkdir()
    (about / "entry_points.txt").write_text(f"[{trust.GROUP}]\nevil = evil_p\n")
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: evil_p\nVersion: 1\n")
    text = "from arjax.core.registry import Registry, import_installed\nassert import_installed() == ()\n"
    done = subprocess.run([sys.executable, "-c", text], cwd=tmp_path / "here", capture_output=True, text=True)
    assert done.returncode == 0 and not ran(evil), done.stderr
    assert Registry("thing").names() == []
