"""Compiled programs are kept between processes in a folder of the user's, unless the user has decided otherwise."""

import os
import platform
import re
import subprocess
import sys
import types

import pytest
from jax.experimental.compilation_cache import compilation_cache

from arjax.core import kept_programs
from arjax.core.kept_programs import FOLDER, SETTINGS, SWITCH, delete_oldest, processor

#: Compiles one program with a public name of arjax used before, and prints how often the compiler was asked.
SCRIPT = """
{first}
import arjax
arjax.UserError
import jax, jax.monitoring
counts = []
jax.monitoring.register_event_listener(lambda event, **_: counts.append(event.rsplit("/", 1)[-1]))
print(jax.jit(lambda x: x * 3 + 1)(2.0), counts.count("cache_hits"))
"""


def output(cache, first="", **more):
    """What the script prints in a process whose user has an empty cache folder."""
    ours = {FOLDER, SWITCH, *(name.upper() for name in SETTINGS)}
    env = {name: value for name, value in os.environ.items() if name not in ours} | {"XDG_CACHE_HOME": str(cache)}
    code = SCRIPT.format(first=first)
    done = subprocess.run([sys.executable, "-c", code], env=env | more, capture_output=True, text=True, check=True)
    return done.stdout.split(), done.stderr


def kept(cache):
    return sorted(cache.glob("arjax/programs/*/*-cache"))


def test_a_second_process_compiles_nothing(tmp_path):
    assert output(tmp_path)[0] == ["7.0", "0"]
    programs = kept(tmp_path)
    assert programs
    assert output(tmp_path)[0] == ["7.0", str(len(programs))]


@pytest.mark.slow
def test_what_was_compiled_before_and_a_damaged_program(tmp_path):
    output(tmp_path)
    programs = kept(tmp_path)
    imported = "import jax; jax.jit(lambda x: x - 5)(1.0)"  # JAX has compiled before it hears of the folder
    assert int(output(tmp_path, imported)[0][1]) > 0
    programs[0].write_bytes(programs[0].read_bytes()[:-100])  # of a process that was killed
    assert output(tmp_path)[0][0] == "7.0"


@pytest.mark.slow
def test_the_user_decides(tmp_path):
    assert output(tmp_path / "home", **{SWITCH: "false"})[0] == ["7.0", "0"]
    assert output(tmp_path / "home", **{FOLDER: str(tmp_path / "own")})[0] == ["7.0", "0"]
    assert kept(tmp_path / "home") == []
    (tmp_path / "file").write_text("")
    assert output(tmp_path / "file")[0] == ["7.0", "0"]  # no folder can be made there


def test_the_programs_that_were_used_longest_ago_go_first(tmp_path):
    for age, name in enumerate(("new-cache", "old-cache", "older-cache")):
        path = tmp_path / "kind" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x" * 10)
        os.utime(path, (1000 - age, 1000 - age))
    delete_oldest(tmp_path, most=20)
    assert {path.name for path in tmp_path.glob("*/*")} == {"new-cache", "old-cache"}


def test_processors_have_names():
    assert all(processor())


@pytest.fixture
def without_settings(monkeypatch, tmp_path):
    """A user whose environment names a cache folder and no settings of JAX; what JAX is told, in a dict."""
    environment, told = {"XDG_CACHE_HOME": str(tmp_path)}, {}
    monkeypatch.setattr(kept_programs, "os", types.SimpleNamespace(environ=environment, access=os.access, W_OK=os.W_OK))
    config = types.SimpleNamespace(jax_compilation_cache_dir=None, update=told.__setitem__)
    monkeypatch.setattr(
        kept_programs, "sys", types.SimpleNamespace(modules={"jax": types.SimpleNamespace(config=config)})
    )
    monkeypatch.setattr(compilation_cache, "reset_cache", lambda: told.update(reset=True))
    return environment, told, config


def test_settings_are_those_of_jax_and_of_child_processes(without_settings, tmp_path, monkeypatch):
    (environment, told, _), seen = without_settings, []
    monkeypatch.setattr(kept_programs, "delete_oldest", seen.append)
    kept_programs.keep_programs()
    (folder,) = (tmp_path / "arjax" / "programs").iterdir()
    assert re.fullmatch("[0-9a-f]{16}", folder.name) and seen == [folder.parent]
    cache = {"jax_compilation_cache_dir": str(folder), "jax_persistent_cache_min_compile_time_secs": 0.0}
    assert told == cache | {"jax_persistent_cache_min_entry_size_bytes": -1, "reset": True}
    assert {name: value for name, value in environment.items() if name.startswith("JAX")} == {
        **{"JAX_COMPILATION_CACHE_DIR": str(folder), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.0"},
        **{"JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1"},
    }


@pytest.mark.parametrize("decided", [FOLDER, SWITCH, "jax", "file"])
def test_what_a_user_has_decided_stays(decided, without_settings, tmp_path):
    environment, told, config = without_settings
    if decided == "jax":
        config.jax_compilation_cache_dir = "mine"
    elif decided == "file":
        (tmp_path / "arjax").write_text("no folder")
    else:
        environment[decided] = "mine"
    before = dict(environment)
    kept_programs.keep_programs()
    assert environment == before and told == {}


def test_processors_are_told_apart_by_their_features(monkeypatch, tmp_path):
    info = tmp_path / "cpuinfo"
    monkeypatch.setattr(kept_programs, "Path", lambda name: info)
    assert all(processor()) and processor()[1] == platform.machine()  # no such file
    info.write_text("model name\t: X 3\nflags\t\t: fpu avx\n\nmodel name\t: other\nflags\t: none\n")
    assert processor() == ("X 3", "avx fpu")
    info.write_text("Features\t: neon\n")
    assert processor() == (platform.machine(), "neon")
