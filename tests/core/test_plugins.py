"""Plugins: found again in the form that is recorded; what is imported without a word, what is refused, and trust."""

import contextlib
import importlib.metadata
import os
import pathlib
import sys

import pytest

from arjax.core import plugins
from arjax.core.errors import UserError, say_once
from arjax.core.plugins import (
    GROUP,
    PluginError,
    UntrustedCodeError,
    code_of,
    import_plugins,
    importing_from,
    run_user_file,
    trusting,
)
from arjax.core.registry import Registry, import_installed, origins_outside

TOOLS = Registry("tool")
MINE = """
from {here} import TOOLS

@TOOLS.register({name!r})
def {name}():
    return {value!r}
"""


@pytest.fixture
def tools(monkeypatch) -> Registry:
    monkeypatch.setattr(sys.modules[__name__], "TOOLS", Registry("tool"))
    import_installed.cache_clear()
    say_once.cache_clear()
    yield TOOLS
    import_installed.cache_clear()


def write(folder, name, value=None):
    """A module that registers its own name."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.py").write_text(MINE.format(here=__name__, name=name, value=value))
    return folder


def forget(*names):
    """As in another process."""
    plugins._PROGRAMS.clear()
    for name in names:
        sys.modules.pop(name, None)
        TOOLS._entries.pop(name, None)


def with_places(named, names):
    """The plugins of a config that names components."""
    return plugins.with_places(named, origins_outside(names))


def run(folder, text):
    (folder / "config.py").write_text(text + "\ndef get():\n    return 'done'\n")
    assert run_user_file(str(folder / "config.py"), "get", str) == "done"


def test_a_file_imports_its_neighbours_and_they_are_found_again(tools, tmp_path):
    folder = write(tmp_path / "configs", "mine_a", 1)
    write(folder / "nets" / "deep", "mine_b", 2)  # folders without an __init__.py
    run(folder, "import mine_a\nimport nets.deep.mine_b")
    assert tools.get("mine_a")() == 1 and tools.get("mine_b")() == 2
    places = with_places((), {"mine_a", "mine_b", "other"})
    assert places == (f"mine_a in {folder}", f"nets.deep.mine_b in {folder}")
    assert with_places((), {"mine_b"}) == places[1:]
    assert with_places(("mine_a",), {"mine_b"}) == places  # named by the user, and beside the file
    assert list(code_of(places)) == [str(folder / "mine_a.py"), str(folder / "nets/deep/mine_b.py")]
    forget("mine_a", "mine_b", "nets.deep.mine_b")
    import_plugins(places, named=True)
    assert tools.names() == ["mine_a", "mine_b"]


def test_a_file_that_registers_something_itself_is_found_again(tools, tmp_path):
    write(tmp_path, "helper_of_a_file")
    text = MINE.format(here=__name__, name="own", value=3)
    run(tmp_path, "import helper_of_a_file\n" + text)
    places = with_places((), {"own"})
    assert places == (str(tmp_path / "config.py"),)
    first = tools.get("own")
    import_plugins(places)
    assert tools.get("own") is first  # what is there is not run again
    assert list(code_of(places)) == [str(tmp_path / "config.py"), str(tmp_path / "helper_of_a_file.py")]
    forget("own", "helper_of_a_file")
    import_plugins(places, named=True)
    assert tools.get("own")() == 3
    forget("own")
    (tmp_path / "config.py").unlink()
    assert list(code_of(places)) == [str(tmp_path / "helper_of_a_file.py")]
    with pytest.raises(PluginError, match=r"the plugin '.*config\.py': the file is not there any more"):
        import_plugins(places)


def test_what_was_typed_or_belongs_to_a_program_is_not_named(tools):
    exec("TOOLS.register('typed')(print)", {"__name__": "__main__", "TOOLS": tools})
    exec("TOOLS.register('run')(print)", {"__name__": "example", "TOOLS": tools})
    assert with_places((), {"typed", "run"}) == ()


def test_an_edited_module_runs_in_a_new_process(tools, tmp_path, capsys):
    folder = write(tmp_path, "mine_c", 1)
    run(folder, "import mine_c")
    run(folder, "import mine_c")
    code = code_of(with_places((), {"mine_c"}))
    assert capsys.readouterr().err == ""
    write(folder, "mine_c", "edited")
    run(folder, "import mine_c")
    assert tools.get("mine_c")() == 1 and code_of(with_places((), {"mine_c"})) == code
    remark = f"arjax: {folder / 'mine_c.py'} has changed since it was imported: the new version runs in a new process"
    assert capsys.readouterr().err == remark + "\n"
    forget("mine_c")
    run(folder, "import mine_c")
    assert tools.get("mine_c")() == "edited" and code_of(with_places((), {"mine_c"})) != code


def test_a_second_module_of_the_same_name_is_refused(tools, tmp_path):
    one, two = write(tmp_path / "one", "mine_c", 1), write(tmp_path / "two", "mine_c", 2)
    run(one, "import mine_c")
    sentence = rf"another module 'mine_c' than {two}/mine_c\.py is imported already, {one}/mine_c\.py: rename one"
    with pytest.raises(UserError, match=sentence):
        run(two, "import mine_c")
    with pytest.raises(PluginError, match=r"another module 'mine_c' is imported already: .*one/mine_c"):
        import_plugins([f"mine_c in {two}"], named=True)
    assert tools.get("mine_c")() == 1
    write(tmp_path / "three", "mine_d")
    run(tmp_path / "three", "import mine_d")  # other folders are as before


def test_a_module_of_that_name_from_elsewhere_is_refused(tools, tmp_path, monkeypatch):
    """One that a notebook or a program has imported."""
    write(tmp_path / "elsewhere", "mine_i")
    here = write(tmp_path / "here", "mine_i")
    monkeypatch.syspath_prepend(str(tmp_path / "elsewhere"))
    import_plugins(["mine_i"], named=True)
    with pytest.raises(PluginError, match=r"another module 'mine_i' is imported already: .*elsewhere/mine_i\.py$"):
        import_plugins([f"mine_i in {here}"], named=True)
    with pytest.raises(UserError, match=r"another module 'mine_i' than .*here/mine_i\.py is imported .*elsewhere"):
        run(here, "import mine_i")
    (here / "config.py").unlink()
    run(here, "pass")  # no file imports it
    run(write(tmp_path / "elsewhere", "other_i"), "import mine_i")
    (tmp_path / "names").mkdir()
    for name in ("json", "numpy", "time"):
        (tmp_path / "names" / f"{name}.py").touch()
    run(tmp_path / "names", "import json, numpy, time\nassert json.dumps and numpy.array and time.time")


def test_the_folder_is_searched_first_while_the_file_runs_and_last_afterwards(tools, tmp_path):
    write(tmp_path, "mine_d")
    with importing_from(tmp_path):
        assert sys.path[0] == str(tmp_path)
    assert str(tmp_path) not in sys.path  # nothing was imported
    run(tmp_path, "import mine_d")
    assert sys.path.index(str(tmp_path)) == len(sys.path) - 1


def test_mistakes_name_the_plugin_the_file_and_the_line(tools, tmp_path):
    with pytest.raises(PluginError, match=r"^the plugin 'no_such_thing': there is no module 'no_such_thing'$"):
        import_plugins(["no_such_thing"])
    with pytest.raises(PluginError, match=r"^the plugin 'a b': a plugin is the name of a module, such as 'my_package'"):
        import_plugins(["a b"])
    with pytest.raises(
        PluginError, match=r"^the plugin '3': a plugin is the name of a module, such as 'my_package', not '3'$"
    ):
        import_plugins([3])
    with pytest.raises(PluginError, match=r"^a plugin is the name of a module"):
        import_plugins([f"evil in {tmp_path}/a\0b"])
    gone = f"gone in {tmp_path}"
    with pytest.raises(PluginError, match=rf"^the plugin '{gone}': there is no module 'gone' there any more$"):
        import_plugins([gone])
    (tmp_path / "broken.py").write_text("x = 1\nimport no_such_library\n")
    missing = r"fails with ModuleNotFoundError: No module named 'no_such_library' \(broken\.py, line 2\)$"
    with pytest.raises(PluginError, match=rf"^the plugin 'broken in .*' {missing}"):
        import_plugins([f"broken in {tmp_path}"], named=True)
    with pytest.raises(UserError, match=rf"config\.py, line 1, {missing}"):
        run(tmp_path, "import broken")
    (tmp_path / "broken.py").write_text("x = 1\ny = (\n")
    with pytest.raises(UserError, match=r"config\.py, line 1, fails with SyntaxError: .* \(broken\.py, line 2\)$"):
        run(tmp_path, "import broken")


def test_an_error_of_arjax_itself_names_the_line_of_the_user(tools, tmp_path, monkeypatch):
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "helper_q.py").write_text("def fail():\n    raise KeyError('x')\n")
    text = "from inner.helper_q import fail\nfail()"
    with pytest.raises(
        UserError, match=r"config\.py, line 2, fails with KeyError: 'x' \(inner/helper_q\.py, line 2\)$"
    ):
        run(tmp_path, text)
    monkeypatch.setattr(plugins, "PACKAGE", tmp_path / "inner")
    with pytest.raises(UserError, match=r"line 2, fails with KeyError: 'x'$"):
        run(tmp_path, text)


def test_a_locked_config_names_the_field_and_the_nearest_one(tools, tmp_path):
    """In place of the whole config, which ml_collections prints."""
    text = "from ml_collections import ConfigDict\nconfig = ConfigDict({'steps': 1, 'seed': 2}).lock()\nconfig."
    with pytest.raises(UserError, match=r"line 3, fails with unknown config field 'stes', did you mean 'steps'\?$"):
        run(tmp_path, f"{text}stes = 3")
    with pytest.raises(UserError, match=r"line 3, fails with unknown config field 'zzz'$"):
        run(tmp_path, f"{text}zzz = 3")


@pytest.fixture
def install(tmp_path, monkeypatch):
    """A function that installs packages which register names; each has an entry point, and `broken` fails."""
    folder = tmp_path / "site-packages"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))

    def install(**packages):
        for package, names in packages.items():
            text = "".join(MINE.format(here=__name__, name=name, value=package) for name in names)
            (folder / f"{package}.py").write_text("raise RuntimeError('no luck')" if package == "broken" else text)
            about = folder / f"{package}-1.0.dist-info"
            about.mkdir()
            (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
            (about / "entry_points.txt").write_text(f"[{GROUP}]\nof_{package} = {package}\n")
        importlib.invalidate_caches()

    return install


def test_an_installed_package_is_found_by_its_entry_point_when_a_name_is_missing(tools, install, tmp_path):
    install(package_a=["mine_e"])
    tools.register("here")(print)
    tools.get("here")
    assert "package_a" not in sys.modules  # no run pays for what it does not need
    assert tools.get("mine_e")() == "package_a"
    assert with_places((), {"mine_e"}) == ()
    assert with_places(("package_a",), set()) == (f"package_a in {tmp_path / 'site-packages'}",)


def test_one_that_fails_is_named_and_stops_only_those_who_need_it(tools, install, capsys):
    install(broken=[], package_b=["mine_f"])
    failed = "the plugin 'of_broken' of the package 'broken' cannot be imported: RuntimeError: no luck"
    assert tools.get("mine_f")() == "package_b" and import_installed() == (failed,)
    assert capsys.readouterr().err == f"arjax: {failed}\n"
    with pytest.raises(UserError, match=rf"^unknown tool 'mine_ff', did you mean 'mine_f'\?; {failed}$"):
        tools.get("mine_ff")
    assert capsys.readouterr().err == ""


def test_a_name_of_two_packages_is_refused(tools, install):
    tools.register("here")(print)
    install(package_c=["mine_g", "mine_h"], package_d=["mine_g"])
    both = r"^tool 'mine_g' is registered twice: by 'package_c' in .*, line 4 and by 'package_d' in .*, line 4; choose"
    for _ in range(2):
        with pytest.raises(UserError, match=both):
            tools.get("mine_g")
    assert tools.get("mine_h")() == "package_c"


def test_an_entry_point_may_name_a_function(tools, install, tmp_path):
    install(package_e=[])
    folder = tmp_path / "site-packages"
    (folder / "package_e.py").write_text(f"from {__name__} import TOOLS\ndef add():\n    TOOLS.register('x')(print)")
    about = folder / "package_e-1.0.dist-info" / "entry_points.txt"
    about.write_text(about.read_text().replace("= package_e", "= package_e:add"))
    assert tools.get("x") is print


@pytest.mark.slow
def test_importing_arjax_reads_no_entry_points(repository):
    text = "import importlib.metadata as m; m.entry_points = None\nimport arjax.cli.modes, arjax.config.build"
    assert os.system(f'cd {repository} && {sys.executable} -c "{text}"') == 0


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


def marked(path, text=""):
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
    evil = marked(tmp_path / "evil_a.py")
    marked(tmp_path / "evil_pack" / "__init__.py")
    deep = marked(tmp_path / "evil_pack" / "deep.py")
    check_refused(str(evil), evil)
    check_refused(f"evil_a in {tmp_path}", evil)
    check_refused(f"evil_a in {tmp_path / 'here' / '..'}", evil)
    check_refused(f"evil_pack.deep in {tmp_path}", deep.with_name("__init__.py"))
    assert not ran(deep)
    marked(tmp_path / "space" / "evil_b.py")  # without an __init__.py
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
    with pytest.raises(
        UserError,
        match=r"which you have not trusted|is the name of a module|is a module of Python, which registers nothing",
    ):
        import_plugins([plugin])
    assert capsys.readouterr().out == ""


def test_an_installed_package_is_imported_and_no_other_folder_of_modules(tmp_path, monkeypatch):
    there = tmp_path / "site-packages"
    mine = marked(there / "mine_c.py")
    monkeypatch.syspath_prepend(str(there))
    import_plugins(["mine_c"])
    assert ran(mine)
    marked(there / "pack_d" / "__init__.py")
    shadow = marked(tmp_path / "here" / "pack_d" / "__init__.py")
    monkeypatch.syspath_prepend("")
    check_refused("pack_d", shadow)  # Python would import this one
    monkeypatch.chdir(there)  # a current folder of that name
    forget("mine_c")
    monkeypatch.setattr(sys, "path", [str(there)])
    check_refused("mine_c", mine)


def test_code_beside_arjax_is_not_installed_by_that():
    beside = plugins.PACKAGE.parent
    assert plugins.is_installed("arjax.core.plugins", str(beside / "arjax" / "core" / "plugins.py"))
    assert not plugins.is_installed("my_own", str(beside / "my_own.py"))


def test_a_package_that_pip_has_put_elsewhere_is_installed(tmp_path, monkeypatch):
    """In editable form, by its names alone; or with `--target` into a folder of PYTHONPATH."""
    there, project = tmp_path / "site-packages", tmp_path / "project"
    mine, run = marked(project / "src" / "mine_e.py"), marked(project / "runs" / "evil_f.py")
    url = f'{{"url": "{project.as_uri()}", "dir_info": {{"editable": true}}}}'
    describe(there, "mine-e", **{"direct_url.json": url})
    monkeypatch.setattr(sys, "path", [str(there), str(project / "src"), str(project), *sys.path])
    check_refused("runs.evil_f", run)
    check_refused(f"evil_f in {run.parent}", run)
    theirs = marked(project / "runs" / "theirs" / "mine_e.py")  # of the same name
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
    of_target = marked(target / "mine_g.py")
    describe(target, "mine_g")
    monkeypatch.syspath_prepend(str(target))
    check_refused("mine_g", of_target)
    monkeypatch.setenv("PYTHONPATH", str(target))
    import_plugins(["mine_g"])
    assert ran(of_target)


def test_entry_points_in_the_current_folder_are_those_of_nothing_installed(tmp_path, monkeypatch):
    evil = marked(tmp_path / "here" / "evil_h.py")
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
    evil, other = marked(there / "evil_q.py"), marked(there / "other_q.py")
    check_refused(f"evil_q in {there}", evil)
    with trusting():
        import_plugins([f"evil_q in {there}"])
    assert ran(evil) and str(there) in sys.path
    check_refused("other_q", other)
    check_refused(f"other_q in {there}", other)


def test_what_a_call_names_runs_and_is_trusted_in_this_process_only(tmp_path):
    mine, program = marked(tmp_path / "mine_i.py"), marked(tmp_path / "program_i.py")
    for plugin, file in ((f"mine_i in {tmp_path}", mine), (str(program), program)):
        import_plugins([plugin], named=True)
        assert ran(file)
        import_plugins([plugin])
        assert not ran(file)  # once in a process
        forget("mine_i")
        check_refused(plugin, file)


def test_a_flag_trusts_a_file_and_all_that_it_imports(tmp_path):
    mine = marked(tmp_path / "mine_j.py", "import near_j\ndef late():\n    import far_j\n    return far_j\n")
    near, far = marked(tmp_path / "near_j.py"), marked(tmp_path / "far_j.py")
    with trusting():
        import_plugins([f"mine_j in {tmp_path}"])
    assert ran(mine) and ran(near) and not ran(far)
    assert sys.modules["mine_j"].late().__file__ == str(far) and ran(far)
    with trusting(), trusting(False):  # a run that a trusted one reads
        marked(tmp_path / "other_j.py")
        import_plugins([f"other_j in {tmp_path}"])
    forget("mine_j")
    check_refused(f"mine_j in {tmp_path}", mine)


def test_folders_of_the_variable_are_trusted(tmp_path, monkeypatch):
    mine, other = marked(tmp_path / "mine" / "pack_k" / "deep_k.py"), marked(tmp_path / "mine_too" / "other_k.py")
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
    marked(tmp_path / "mine" / "pack_l" / "__init__.py")
    evil = marked(tmp_path / "theirs" / "pack_l" / "evil_l.py")
    marked(tmp_path / "theirs" / "pack_l" / "__init__.py")
    import_plugins([f"pack_l in {tmp_path / 'mine'}"], named=True)
    with pytest.raises(UserError, match=r"another module 'pack_l' is imported already: .*mine/pack_l/__init__\.py"):
        import_plugins([f"pack_l.evil_l in {tmp_path / 'theirs'}"])
    assert not ran(evil)
