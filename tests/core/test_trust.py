"""Code that a run names: what is imported without a word, what is refused, and what changes that."""

import contextlib
import os
import pathlib
import sys

import pytest

from arjax.core import plugins
from arjax.core.errors import UserError
from arjax.core.plugins import UntrustedCodeError, import_plugins, trusting
from arjax.core.registry import import_installed

#: A file that leaves a mark beside it when it runs.
MARK = "import pathlib\npathlib.Path(__file__).with_suffix('.ran').touch()\n"


@pytest.fixture(autouse=True)
def another_process(monkeypatch, tmp_path):
    """The current folder is an empty one, and everything that is imported is forgotten afterwards."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    before = set(sys.modules)
    yield
    forget(*(set(sys.modules) - before))


def forget(*names):
    """As in another process."""
    plugins._PROGRAMS.clear()
    for name in names:
        sys.modules.pop(name, None)


def write(path, text=""):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(MARK + text)
    return path


def describe(folder, name, **files):
    """The metadata of an installed package, with these files."""
    about = folder / f"{name}-1.dist-info"
    about.mkdir(parents=True)
    for file, text in {"METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n", **files}.items():
        (about / file).write_text(text)
    return about


def ran(path) -> bool:
    """Whether the file has run since the last call."""
    mark = path.with_suffix(".ran")
    found = mark.exists()
    mark.unlink(missing_ok=True)
    return found


def check_refused(plugin, file):
    """Nothing runs, and the sentence names the file."""
    sentence = ""
    try:
        import_plugins([plugin])
    except UntrustedCodeError as error:
        sentence = str(error)
    assert sentence.startswith(f"{os.path.realpath(file)}, which you have not trusted: read it") and not ran(file)


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
    with pytest.raises(UserError, match=r"which you have not trusted|is the name of a module"):
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
    url = f'{{"url": "{project.as_uri()}", "dir_info": {{"editable": true}}}}'
    describe(there, "mine-e", **{"direct_url.json": url})
    monkeypatch.setattr(sys, "path", [str(there), str(project / "src"), str(project), *sys.path])
    check_refused("runs.evil_f", run)
    check_refused(f"evil_f in {run.parent}", run)
    theirs = write(project / "runs" / "theirs" / "mine_e.py")  # of the same name
    check_refused(f"mine_e in {theirs.parent}", theirs)
    with monkeypatch.context() as patch:
        patch.chdir(theirs.parent)
        patch.setattr(sys, "path", ["", str(theirs.parent), *sys.path])
        check_refused("mine_e", theirs)
    import_plugins([f"mine_e in {project / 'src'}"])
    assert ran(mine)
    forget("mine_e")
    import_plugins(["mine_e"])
    assert ran(mine)
    target = tmp_path / "target"
    of_target = write(target / "mine_g.py")
    describe(target, "mine_g")
    monkeypatch.syspath_prepend(str(target))
    check_refused("mine_g", of_target)
    monkeypatch.setenv("PYTHONPATH", str(target))
    import_plugins(["mine_g"])
    assert ran(of_target)


def test_entry_points_in_the_current_folder_are_those_of_nothing_installed(tmp_path, monkeypatch):
    evil = write(tmp_path / "here" / "evil_h.py")
    about = describe(evil.parent, "evil_h", **{"entry_points.txt": f"[{plugins.GROUP}]\nevil = evil_h\n"})
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


def test_a_folder_of_code_that_a_run_names_is_never_one_of_installed_packages(tmp_path):
    """Whatever its name, and although Python searches it after one run of it was trusted."""
    there = tmp_path / "their_run" / "site-packages"
    evil, other = write(there / "evil_q.py"), write(there / "other_q.py")
    check_refused(f"evil_q in {there}", evil)
    with trusting():
        import_plugins([f"evil_q in {there}"])
    assert ran(evil) and str(there) in sys.path
    check_refused("other_q", other)
    check_refused(f"other_q in {there}", other)


def test_what_a_call_names_runs_and_is_trusted_in_this_process_only(tmp_path):
    mine, program = write(tmp_path / "mine_i.py"), write(tmp_path / "program_i.py")
    for plugin, file in ((f"mine_i in {tmp_path}", mine), (str(program), program)):
        import_plugins([plugin], named=True)
        assert ran(file)
        import_plugins([plugin])
        assert not ran(file)  # once in a process
        forget("mine_i")
        check_refused(plugin, file)


def test_a_flag_trusts_a_file_and_all_that_it_imports(tmp_path):
    mine = write(tmp_path / "mine_j.py", "import near_j\ndef late():\n    import far_j\n    return far_j\n")
    near, far = write(tmp_path / "near_j.py"), write(tmp_path / "far_j.py")
    with trusting():
        import_plugins([f"mine_j in {tmp_path}"])
    assert ran(mine) and ran(near) and not ran(far)
    assert sys.modules["mine_j"].late().__file__ == str(far) and ran(far)
    with trusting(), trusting(False):  # a run that a trusted one reads
        write(tmp_path / "other_j.py")
        import_plugins([f"other_j in {tmp_path}"])
    forget("mine_j")
    check_refused(f"mine_j in {tmp_path}", mine)


def test_folders_of_the_variable_are_trusted(tmp_path, monkeypatch):
    mine, other = write(tmp_path / "mine" / "pack_k" / "deep_k.py"), write(tmp_path / "mine_too" / "other_k.py")
    monkeypatch.setenv(plugins.VARIABLE, f"/no/such/folder:{tmp_path / 'mine'}")
    import_plugins([f"pack_k.deep_k in {tmp_path / 'mine'}", f"deep_k in {mine.parent}", str(mine)])
    assert ran(mine)
    check_refused(f"other_k in {other.parent}", other)
    (tmp_path / "mine" / "link_k.py").symlink_to(other)
    check_refused(f"link_k in {tmp_path / 'mine'}", other)
    monkeypatch.setenv(plugins.VARIABLE, "mine")
    with pytest.raises(UserError, match=r"^the plugin .*ARJAX_TRUST must hold absolute paths of folders, not 'mine'$"):
        import_plugins([str(other)])


def test_a_package_of_another_folder_lends_its_name_to_nothing(tmp_path):
    """A run names a module of a package that is imported already, and means another folder."""
    write(tmp_path / "mine" / "pack_l" / "__init__.py")
    evil = write(tmp_path / "theirs" / "pack_l" / "evil_l.py")
    write(tmp_path / "theirs" / "pack_l" / "__init__.py")
    import_plugins([f"pack_l in {tmp_path / 'mine'}"], named=True)
    with pytest.raises(UserError, match=r"another module 'pack_l' is imported already: .*mine/pack_l/__init__\.py"):
        import_plugins([f"pack_l.evil_l in {tmp_path / 'theirs'}"])
    assert not ran(evil)
