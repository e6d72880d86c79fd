"""Sweeps on Ray, as far as the sweep decides: Ray is a stand-in of its public interface, in this process."""

import importlib
import json
import os
import sys
import threading
import time

import pytest
from fake_ray import Cluster, RayError, RayTaskError
from sweep_cases import sweep, write_sweep

from arjax.sweep import Run, executors, main
from arjax.sweep.queued import JOB_FILE, RETRIES

#: Writes down its environment, is killed as often as `kills` says, and waits for a signal where `long` is.
JOB = """
import json, os, signal, sys, time
flags = dict(argument[2:].split("=", 1) for argument in sys.argv[1:])
folder = flags["workdir"]
number = os.environ.get("JAX_PROCESS_ID", "0")
open(folder + "/begun" + number, "a").write("x")
names = ("JAX_", "SLURM_", "XLA_")
json.dump({k: v for k, v in os.environ.items() if k.startswith(names)}, open(folder + "/environment" + number, "w"))
if len(open(folder + "/begun" + number).read()) <= int(open("kills").read() if os.path.exists("kills") else 0):
    os.kill(os.getpid(), signal.SIGKILL)
if os.path.exists("long"):
    signal.signal(signal.SIGTERM, lambda number, frame: (open(folder + "/saved", "w").write(""), sys.exit(0)))
    open(folder + "/running", "w").write("")
    time.sleep(100)
if number == "0":
    exec(open("stand_in.py").read())
"""


@pytest.fixture
def cluster(folder, monkeypatch):
    """A cluster of two nodes, a sweep of two runs, and the process of each."""
    made = Cluster({"CPU": 2.0, "memory": 1e9}, {"CPU": 1.0, "memory": 1e9, "special": 1.0})
    for name, module in made.module().items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.delitem(sys.modules, "arjax.sweep.on_ray", raising=False)  # it imports Ray
    made.on_ray = on_ray = importlib.import_module("arjax.sweep.on_ray")
    (folder / "job.py").write_text(JOB)
    write_sweep(folder, "Run('a', 'good.py')", "Run('b', 'good.py', {'seed': 1})")
    monkeypatch.setattr(on_ray.RayExecutor.__init__, "__defaults__", ((sys.executable, str(folder / "job.py")),))
    monkeypatch.setattr(on_ray.RayExecutor, "poll_seconds", 0.02)
    monkeypatch.setattr(on_ray.RayExecutor, "looks", 2)
    monkeypatch.setattr(on_ray, "POLL_SECONDS", 0.02)
    monkeypatch.setattr(executors, "RETRY_SECONDS", 0.02)
    for name in [name for name in os.environ if name.startswith(("RAY_", "SLURM_"))]:
        monkeypatch.delenv(name)
    return made


def on(*flags):
    return sweep("--executor=ray", *flags)


def wait_for(path):
    for _ in range(400):
        if path.exists():
            return
        time.sleep(0.02)
    raise AssertionError(f"there is no {path}")


def test_each_run_is_a_process_in_its_folder(cluster, folder, monkeypatch, capsys):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("XLA_SOMETHING", "1")
    write_sweep(folder, "Run('a', 'good.py')", "Run('broken', 'bad.py')")
    assert on("--ray_options=num_cpus=0.5,special=1,memory=1000,max_restarts=3") == 1
    out, err = capsys.readouterr()
    assert "a finished" in out and "1 of 2 rows in out/results.csv" in out
    assert "arjax-sweep: broken FAILED (exit code 1), see out/broken/log.txt: arjax: the loss was not finite\n" in err
    environment = json.loads((folder / "out/a/environment0").read_text())
    assert environment["XLA_SOMETHING"] == "1" and not any("SLURM" in name for name in environment)
    options = cluster.options[-1]
    needs = {"num_cpus": 0.5, "num_gpus": 0, "memory": 1000, "resources": {"special": 1}, "max_restarts": 3}
    assert needs.items() <= options.items() and options["lifetime"] == "detached"
    assert json.loads((folder / "out/a" / JOB_FILE).read_text())["job_id"].startswith(f"{folder}/out/a#")
    assert cluster.addresses == ["auto"] and not cluster.actors and not list((folder / "out").glob(".seen*"))
    assert on() == 1 and (folder / "out/a/begun0").read_text() == "x"


def test_a_sweep_that_leaves_and_collects(cluster, folder, capsys):
    (folder / "long").touch()
    assert on("--detach") == 0
    for name in "ab":
        wait_for(folder / "out" / name / "running")
    assert "the jobs continue" in capsys.readouterr().out and len(cluster.actors) == 2
    assert on("--status") == 0
    out = capsys.readouterr().out
    assert out.count("RUNNING on ") == 2 and "0 of 2 rows" in out
    (folder / "long").unlink()
    executor = cluster.on_ray.RayExecutor({}, leaves=False)
    executor.cancel([name for name in cluster.actors if "/a#" in name])  # as someone else might
    assert (folder / "out/a/saved").exists() and not (folder / "out/b/saved").exists()
    assert on("--status") == 1
    out, err = capsys.readouterr()
    assert ("a ended without results" in err or "a FAILED" in err) and out.count("RUNNING on ") == 1
    (handle,) = cluster.actors.values()
    handle._actor.process.kill()  # it starts again, and ends
    assert on() == 0
    out = capsys.readouterr().out
    assert "b: Ray job" in out and "is in the queue already" in out and "2 of 2 rows" in out


def test_runs_that_read_others_come_later(cluster, folder, capsys):
    write_sweep(folder, "Run('a', 'good.py')", "Run('b', 'good.py', {'train.init_from': '{workdir}/a'})")
    assert on("--detach") == 0
    assert "b reads others" in capsys.readouterr().out
    wait_for(folder / "out/a/results.json")
    assert on("--detach") == 0 and "reads others" not in capsys.readouterr().out
    wait_for(folder / "out/b/results.json")
    assert on() == 0 and (folder / "out/b/begun0").read_text() == "x"


def test_a_process_that_is_killed_goes_on_a_few_times(cluster, folder, capsys):
    (folder / "kills").write_text(str(RETRIES))
    assert on("--only=a") == 0 and (folder / "out/a/begun0").read_text() == "x" * (RETRIES + 1)
    (folder / "kills").write_text("100")
    assert on("--only=b") == 1 and (folder / "out/b/begun0").read_text() == "x" * (RETRIES + 1)
    assert "b FAILED (exit code -9)" in capsys.readouterr().err


def test_a_job_that_is_lost_is_submitted_again(cluster, folder, monkeypatch, capsys):
    create, created = cluster._actor, []

    def lose(cls, options, *arguments):
        created.append(options["name"])
        if len(created) == 2:
            return create(cls, options, *arguments)

    monkeypatch.setattr(cluster, "_actor", lose)
    assert on("--only=a") == 0 and len(set(created)) == 2
    monkeypatch.setattr(cluster, "_actor", lambda cls, options, *arguments: created.append(options["name"]))
    assert on("--only=b") == 1 and len(created) == 2 + 1 + RETRIES
    assert "was ended from outside" in capsys.readouterr().err


def test_an_interrupt_saves_what_runs_and_ends_all(cluster, folder):
    (folder / "long").touch()
    executor = cluster.on_ray.RayExecutor({}, leaves=False)
    ended = executor.execute([Run("a", "good.py")], folder / "out")
    with pytest.raises(KeyboardInterrupt):
        states = executor.states

        def interrupted():
            if (folder / "out/a/running").exists():
                raise KeyboardInterrupt
            return states()

        executor.states = interrupted
        next(ended)
    assert (folder / "out/a/saved").exists() and not cluster.actors


def test_a_run_of_several_processes(cluster, folder):
    """And a process that is lost starts all again."""
    cluster.failures["_run_peer"] = [RayError("its node is gone")]
    assert on("--only=a", "--ray_options=processes=2") == 0
    environments = [json.loads((folder / f"out/a/environment{number}").read_text()) for number in range(2)]
    assert [each["JAX_PROCESS_ID"] for each in environments] == ["0", "1"]
    assert environments[0].keys() == environments[1].keys() and environments[1]["JAX_NUM_PROCESSES"] == "2"
    assert environments[0]["JAX_COORDINATOR_ADDRESS"] == environments[1]["JAX_COORDINATOR_ADDRESS"]
    assert [options["scheduling_strategy"][1] for options in cluster.options[-3:]] == [0, 1, 1]
    assert not cluster.groups and not cluster.actors


def test_a_full_disk_is_named_and_the_others_go_on(cluster, folder, capsys):
    (folder / "out/a").mkdir(parents=True)
    (folder / "out/a/log.txt").symlink_to("/dev/full")
    assert on() == 1
    out, err = capsys.readouterr()
    assert "a: cannot write out/a/log.txt: No space left on device" in out and "b finished" in out
    assert "a FAILED (exit code 2)" in err


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--ray_options=num_cpus=4"], "a run needs 4 CPU on one node, more than this Ray cluster has: 3 CPU in all"),
        (
            ["--ray_options=num_gpu=1"],
            "1 num_gpu on one node, more than this Ray cluster has: 3 CPU, 0 num_gpu in all, ",
        ),
        (["--ray_options=num_gpu=1"], "did you mean 'num_gpus'"),
        (["--ray_options=processes=4"], "each of the 4 processes of a run needs 1 CPU"),
        (["--ray_options=processes=0"], "--ray_options: processes must be a whole number of at least 1"),
        (["--ray_options=num_gpus=a"], "--ray_options: num_gpus must be a number of at least 0"),
        (["--devices_per_job=1"], "on Ray --ray_options=num_gpus=N"),
        (["--detach", "--jobs=2"], "takes no --jobs"),
        (["--detach", "--status"], "--detach and --status are two commands"),
    ],
)
def test_bad_flags(cluster, folder, capsys, flags, sentence):
    assert on(*flags) == 2
    err = capsys.readouterr().err
    assert sentence in err and err.count("\n") == 1


def test_bad_clusters(cluster, folder, monkeypatch, capsys):
    on_ray = cluster.on_ray
    seen = on_ray._seen

    def nodes_see(change):
        is_here = lambda: threading.current_thread() is threading.main_thread()  # noqa: E731
        monkeypatch.setattr(on_ray, "_seen", lambda *where: seen(*where) if is_here() else change(*seen(*where)))

    def says(sentence, *flags):
        assert on(*flags) == 2
        err = capsys.readouterr().err
        assert sentence in err and err.count("\n") == 1, err

    def refuse(error):
        def init(address, **given):
            if address == "auto":
                raise error
            cluster.addresses.append(address)

        cluster.init = init

    nodes_see(lambda text, has_folder, versions: ("", True, versions))
    says("the node n0 of the Ray cluster does not see out: runs on Ray need a --workdir that all nodes share")
    nodes_see(lambda text, has_folder, versions: (text, False, versions))
    says(f"does not see {folder}: start the sweep in a folder that all nodes share")
    nodes_see(lambda text, has_folder, versions: (text, True, "Python 3.9"))
    says("the node n0 of the Ray cluster has Python 3.9, and this machine Python 3")
    cluster.failures["<lambda>"] = [RayTaskError("Traceback\n\nModuleNotFoundError: No module named 'arjax'")]
    says("the node n0 of the Ray cluster cannot run arjax: ModuleNotFoundError: No module named 'arjax'")
    refuse(RuntimeError("Version mismatch: Ray 2.1 and Ray 2.2"))
    says("the Ray cluster refuses this machine: Version mismatch: Ray 2.1 and Ray 2.2")
    refuse(ConnectionError())
    says("there is no Ray cluster that goes on alone: set RAY_ADDRESS=host:port", "--detach")
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    says("there is no Ray cluster at RAY_ADDRESS=127.0.0.1:1: connection refused")
    monkeypatch.setenv("RAY_ADDRESS", "local")
    says("there is no Ray cluster at RAY_ADDRESS=local")
    monkeypatch.setenv("RAY_ADDRESS", "ray://n7:10001")
    says("RAY_ADDRESS=ray://n7:10001 is that of a client")
    monkeypatch.setattr(main.importlib.util, "find_spec", lambda name: None)
    says("--executor=ray needs ray: pip install 'arjax[ray]'")


def test_without_a_cluster_a_local_one_is_started(cluster, folder, monkeypatch):
    def init(address, **given):
        cluster.addresses.append(address)
        if address == "auto":
            raise ConnectionError

    cluster.init = init
    assert on("--only=a") == 0 and cluster.addresses == ["auto", "local"]
