"""What every test shares: one CPU device, float32, and compiled programs, made quickly and kept between runs.

The settings are environment variables, so that the commands which tests start as subprocesses inherit them; those that
simulate several devices set their own.
"""

import collections
import contextlib
import gc
import importlib.metadata
import importlib.util
import itertools
import os
import pathlib
import runpy
import subprocess
import sys
import types
from collections.abc import Callable, Iterator

# Traces leave many small objects: the collector of cycles would walk them again and again.
gc.set_threshold(50_000, 20, 20)

_ROOT = pathlib.Path(__file__).resolve().parent.parent

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["JAX_ENABLE_X64"] = "0"
os.environ["JAX_NUM_CPU_DEVICES"] = "1"
# Workers share the cores: threads of BLAS that wait for one another would take them from those that compute.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(_ROOT / ".cache" / "jax"))
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"
os.environ.pop("ARJAX_TRUST", None)
# Whole runs draw pictures, in which nobody counts pixels.
os.environ.setdefault("MATPLOTLIBRC", str(_ROOT / "tests" / "matplotlibrc"))
# Programs that run a few times had better compile fast than run fast: without most optimisations, with fusions written
# the simpler way where XLA still can, in one piece instead of one for each thread, and without the lines of Python that
# operations come from. With `XLA_FLAGS= JAX_DISABLE_MOST_OPTIMIZATIONS=0` they are compiled as those of users are.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
os.environ.setdefault("JAX_TRACEBACK_IN_LOCATIONS_LIMIT", "0")
if importlib.metadata.version("jaxlib").startswith("0.10."):
    os.environ.setdefault("XLA_FLAGS", "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1")

import flax.core.scope
import jax
import jax.monitoring
import numpy as np
import pytest

# These tests have one device, so there is nothing to partition; Shardy would translate each program to and fro all the
# same. What simulates several devices is a process of its own, with the partitioner of users.
if importlib.metadata.version("jaxlib").startswith("0.10."):
    jax.config.update("jax_use_shardy_partitioner", False)
    # Nor do traces note the lines of Python that operations come from, a twentieth of their time.
    jax._src.lib._jax.set_tracebacks_enabled(False)


def _frozen(value: object) -> object:
    """A value that hashes, and equals another where both mean the same: a function is its code and what that refers to.
    Of arrays, modules and other objects there is none: what comes for them does not hash.
    """
    if isinstance(value, tuple | list):
        return tuple(map(_frozen, value))
    if isinstance(value, dict):
        return tuple((name, _frozen(value[name])) for name in sorted(value))
    if isinstance(value, types.FunctionType):
        cells = [cell.cell_contents for cell in value.__closure__ or ()]
        return value.__code__, id(value.__globals__), *map(_frozen, (cells, value.__defaults__, value.__kwdefaults__))
    return value if value is None or isinstance(value, int | float | str | type | np.dtype) else []


def _shape_once(function: Callable, *args) -> object:
    """`jax.eval_shape` with a memory of functions without arguments: whenever a network is traced, flax traces the
    initialiser of each parameter again, to compare shapes, which is a quarter of the time of tracing.
    """
    what = [] if args else _frozen(function)
    try:
        if what not in _SHAPES:
            _SHAPES[what] = jax.eval_shape(function)
    except TypeError:  # it does not hash
        return jax.eval_shape(function, *args)
    return _SHAPES[what]


_SHAPES: dict[object, object] = {}
flax.core.scope.jax = types.SimpleNamespace(**vars(jax) | {"eval_shape": _shape_once})

_COMPILED = []
_BACKEND = "/jax/core/compile/backend_compile_duration"
jax.monitoring.register_event_duration_secs_listener(
    lambda event, duration, **_: _COMPILED.append(event) if event == _BACKEND else None
)
#: CPU seconds and compiled programs of each file, of this process or, with xdist, of all workers.
_COSTS = collections.defaultdict(lambda: [0.0, 0])

#: On Linux a process may have 65,530 memory maps, and each compiled program takes a few: thousands are too many.
_MOST_MAPS = 20_000
_FINISHED = itertools.count(1)
_MAPS = pathlib.Path("/proc/self/maps")


def pytest_runtest_logfinish():
    """Forgets compiled programs when a worker holds many; those it needs again come from the cache on disk."""
    if next(_FINISHED) % 50 == 0 and _MAPS.exists() and _MAPS.read_bytes().count(b"\n") > _MOST_MAPS:
        jax.clear_caches()


def pytest_addoption(parser: pytest.Parser):
    """`--programs`: how much each test file costs."""
    parser.addoption("--programs", action="store_true", help="CPU seconds and compiled programs of each test file")


def pytest_configure(config: pytest.Config):
    """`tests/laws/choice.py` reads which marks are selected."""
    os.environ["PYTEST_MARKS"] = config.getoption("markexpr")


def _now() -> tuple[float, int]:
    """CPU seconds of this process and its ended children, and the programs that it compiled or read from the cache."""
    return sum(os.times()[:4]), len(_COMPILED)


@pytest.hookimpl(tryfirst=True)  # before the hook of xdist, which reads the marks
def pytest_collection_modifyitems(items: list[pytest.Item]):
    """With `--dist loadgroup`, one worker takes all fast tests of a file, or of a folder with fixtures of its own: they
    share traced and compiled programs and finished runs. Those of the laws share them by network and event. Slow tests
    go to any worker: many of them lie in one file, and each begins processes of its own.
    """
    for item in items:
        parameters, folder = item.callspec.params if hasattr(item, "callspec") else {}, item.path.parent
        if folder.name == "laws" and "network" in parameters:
            group = f"{parameters['network']}-{parameters.get('event', '')}"
        elif item.get_closest_marker("slow"):
            continue
        else:
            group = str((folder if (folder / "conftest.py").exists() else item.path).relative_to(_ROOT))
        item.add_marker(pytest.mark.xdist_group(group))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector):
    """What a module does when it is imported counts for its file."""
    before = _now()
    report = yield
    if isinstance(collector, pytest.Module):
        _add(collector.nodeid, np.subtract(_now(), before))
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item):
    """Costs travel from workers in the properties of the last report of an item."""
    item.stash[_BEFORE] = _now()
    return (yield)


_BEFORE = pytest.StashKey[tuple[float, int]]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo):
    """With the costs since the test began."""
    report = yield
    if call.when == "teardown":
        report.user_properties.append(("cost", tuple(map(float, np.subtract(_now(), item.stash[_BEFORE])))))
    return report


def pytest_runtest_logreport(report: pytest.TestReport):
    """Sums the costs by file."""
    for name, cost in report.user_properties:
        if name == "cost":
            _add(report.nodeid.partition("::")[0], cost)


def _add(file: str, cost) -> None:
    _COSTS[file][0] += float(cost[0])
    _COSTS[file][1] += int(cost[1])


def pytest_terminal_summary(terminalreporter, config: pytest.Config):
    """The table of `--programs`, dearest file first."""
    if config.getoption("--programs"):
        _COSTS["all files"] = np.sum(list(_COSTS.values()), 0)
        terminalreporter.section("CPU seconds, compiled programs")
        for file, (seconds, programs) in sorted(_COSTS.items(), key=lambda entry: -entry[1][0]):
            terminalreporter.write_line(f"{seconds:8.1f} {programs:7.0f}  {file}")


@pytest.fixture(autouse=True)
def own_random_numbers(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch):
    """The generator of a module begins anew in every test, which then sees the same numbers whatever ran before it."""
    for name in ("rng", "RNG"):
        if isinstance(getattr(request.module, name, None), np.random.Generator):
            monkeypatch.setattr(request.module, name, np.random.default_rng(0))


@pytest.fixture(autouse=True)
def pictures_of_runs(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch):
    """Whole runs draw the same pictures again and again, for a third of their time. A worker draws those with the same
    panels and words once, later files are copies of the first. Tests of reporting draw them all.
    """
    if request.path.parent.name == "reporting":
        return
    from arjax.reporting import figures

    draw = figures.draw_into

    def draw_or_copy(figure, path):
        file = pathlib.Path(path)
        words = tuple(text.get_text() for text in figure.texts), *map(_words, figure.axes)
        what = (file.suffix, *figure.get_size_inches(), *words, *map(_texts, figure.legends))
        if what in _PICTURES:
            file.write_bytes(_PICTURES[what])
        else:
            draw(figure, path)
            _PICTURES[what] = file.read_bytes()

    monkeypatch.setattr(figures, "draw_into", draw_or_copy)


_PICTURES: dict[tuple, bytes] = {}


def _words(axes) -> tuple:
    """What is written in and beside a panel, its scales, how many curves and images it has, and whether all of their
    numbers are finite: of others, matplotlib may complain when it draws.
    """
    legend = () if axes.get_legend() is None else _texts(axes.get_legend())
    texts = tuple(text.get_text() for text in axes.texts)
    counts = (len(axes.lines), len(axes.collections), len(axes.images), len(axes.patches))
    numbers = *(line.get_xydata() for line in axes.lines), *(image.get_array() for image in axes.images)
    finite = tuple(bool(np.isfinite(each).all()) for each in numbers)
    about = axes.get_title(), axes.get_xlabel(), axes.get_ylabel(), axes.get_xscale(), axes.get_yscale()
    return *about, texts, legend, counts, finite


def _texts(legend) -> tuple[str, ...]:
    return tuple(text.get_text() for text in legend.get_texts())


@pytest.fixture
def programs() -> Callable[[], int]:
    """A function: the number of programs that this process has compiled, or read from the cache on disk, so far."""
    return lambda: len(_COMPILED)


@pytest.fixture
def key() -> jax.Array:
    """A fixed random key."""
    return jax.random.key(0)


@pytest.fixture
def scope() -> Iterator[Callable[..., None]]:
    """A function: what is registered in these registries from then on is there for one test."""
    from registries import within  # which imports arjax

    with contextlib.ExitStack() as stack:
        yield lambda *registries: [stack.enter_context(within(registry)) for registry in registries]


@pytest.fixture
def small_disk(tmp_path: pathlib.Path) -> Iterator[pathlib.Path]:
    """A folder on a disk of one mebibyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("root only may mount a file system")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture(scope="session")
def repository() -> pathlib.Path:
    """The root of the checkout, where `configs/` and `scripts/` lie."""
    return _ROOT


@pytest.fixture(autouse=True)
def own_modules() -> Iterator[None]:
    """Forgets the files of users that a test has run, as if the next test were another process."""
    yield
    from arjax.core import plugins  # not at the top: scripts/mutants.py starts before the project is imported

    for name in plugins._LOADED:
        sys.modules.pop(name, None)
    sys.path[:] = [folder for folder in sys.path if folder not in plugins._APPENDED]
    for each in (plugins._LOADED, plugins._PROGRAMS, plugins._APPENDED):
        each.clear()


@contextlib.contextmanager
def _beside(path: pathlib.Path) -> Iterator[None]:
    """Within, the files beside a script can be imported, as when it is run; those of the same name elsewhere stay."""
    names, before = {other.stem for other in path.parent.glob("*.py")}, list(sys.path)
    others = {name: sys.modules.pop(name) for name in names & sys.modules.keys()}
    sys.path.insert(0, str(path.parent))
    try:
        yield
    finally:
        sys.path[:] = before
        for name in names:
            sys.modules.pop(name, None)
        sys.modules.update(others)


@pytest.fixture(scope="session")
def load_script(repository: pathlib.Path) -> Callable[[str], types.ModuleType]:
    """A function: a file of the repository, such as `experiments/memory/measure.py`, as a module."""

    def load(file: str) -> types.ModuleType:
        path = repository / file
        spec = importlib.util.spec_from_file_location("_".join(pathlib.Path(file).with_suffix("").parts), path)
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module  # dataclasses look their module up
        with _beside(path):
            spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture
def run_script(
    repository: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> Callable[..., subprocess.CompletedProcess]:
    """A function: runs a file of the repository with arguments, as its command does, and returns the exit code and what
    was printed. It runs in this process: a new one would take seconds to import what is imported here.
    """

    def run(file: str, *arguments: str | pathlib.Path) -> subprocess.CompletedProcess:
        path, code = repository / file, 0
        capsys.readouterr()
        with monkeypatch.context() as patch, _beside(path):
            patch.setattr(sys, "argv", [str(path), *map(str, arguments)])
            try:
                runpy.run_path(str(path), run_name="__main__")
            except SystemExit as end:
                code = end.code or 0
        return subprocess.CompletedProcess([file, *arguments], code, *capsys.readouterr())

    return run
