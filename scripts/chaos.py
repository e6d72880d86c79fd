"""Kills nodes, workers and drivers of sweeps at random, and compares their runs with undisturbed ones.

    python scripts/chaos.py --executor=ray --workdir=runs/chaos      # makes a Ray cluster of three nodes here
    python scripts/chaos.py --executor=slurm --workdir=runs/chaos    # as root, with slurmds that run on this machine
    python scripts/chaos.py --executor=ray --workdir=runs/chaos --nodes=1 --workers=1 --drivers=1 --seed=7

A sweep of eight small runs is made undisturbed first; others follow until all kills are done. Killed are all
processes of a node, as if its power had failed; the process of a run, or the one that waits for it; and the sweep
itself, which is started again. Parameters and `results.json`, without times, must be equal to the last bit. A second
driver must be refused meanwhile. Exits with 1 if anything differs.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from arjax.cli.command_line import Parser, tell_mistakes
from arjax.core.errors import UserError
from arjax.core.files import writable_folder, write_json

ROOT = Path(__file__).resolve().parents[1]
CONFIG = """
from arjax.config import base_config, dataset_config, network_config

def get_config(arg=""):
    config = base_config()
    config.dataset = dataset_config("digits")
    config.network = network_config("independent")
    config.train.update(steps=STEPS, batch_size=16, log_every=250, eval_every=1000, checkpoint_every=250)
    config.sample.num = 1
    return config
"""
SWEEP = """
from arjax.sweep import Run

def get_sweep():
    return [Run(f"r{seed}", "config.py", {"seed": seed}) for seed in range(8)]
"""
#: Seconds between two kills, and those until a killed node is back.
PAUSE, BACK = (3.0, 12.0), 5.0


def processes() -> dict[int, tuple[int, str]]:
    """The parent and the command line of each process of this machine."""
    found = {}
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            found[int(path.name)] = parent, (path / "cmdline").read_bytes().replace(b"\0", b" ").decode()
    return found


def kill_all(roots: Sequence[int]) -> None:
    """Kills processes with all that they have started, at once."""
    now, doomed = processes(), list(roots)
    for pid in doomed:
        doomed += [child for child, (parent, _) in now.items() if parent == pid]
    for pid in doomed:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


class Ray:
    """A Ray cluster of a head without CPUs and two nodes with one each, which are killed."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        quick = {"health_check_initial_delay_ms": 1000, "health_check_period_ms": 1000}
        head = {
            "num_cpus": 0,
            "include_dashboard": False,
            "_system_config": quick | {"health_check_failure_threshold": 3},
        }
        self._cluster = Cluster(initialize_head=True, head_node_args=head)
        self._gone: list[float] = []
        self._nodes = [self._cluster.add_node(num_cpus=1) for _ in range(2)]
        self.flags, self.environment = ["--executor=ray"], {"RAY_ADDRESS": self._cluster.address}

    def kill_node(self, rng: random.Random) -> str:
        node = self._nodes.pop(rng.randrange(len(self._nodes)))
        (raylet,) = (each.process.pid for each in node.all_processes["raylet"])
        kill_all([raylet])
        self._cluster.remove_node(node, allow_graceful=False)
        self._gone.append(time.monotonic())
        return f"the node of raylet {raylet}"

    def heal(self) -> None:
        if self._gone and time.monotonic() - self._gone[0] > BACK:
            self._gone.pop(0)
            self._nodes.append(self._cluster.add_node(num_cpus=1))

    def close(self) -> None:
        self._cluster.shutdown()


class Slurm:
    """The SLURM cluster of this machine, whose slurmds are killed and started again."""

    def __init__(self) -> None:
        self.flags, self.environment = ["--executor=slurm", "--slurm_options=timeout_min=30,cpus_per_task=2"], {}
        self._gone: list[tuple[float, str]] = []

    def kill_node(self, rng: random.Random) -> str:
        slurmds = {pid: text.split()[-1] for pid, (_, text) in processes().items() if "slurmd -N" in text}
        pid = rng.choice(sorted(slurmds))
        name = slurmds[pid]
        kill_all([pid, *self._steps(name)])
        self._control(f"NodeName={name}", "State=DOWN", "Reason=killed")
        self._gone.append((time.monotonic(), name))
        return f"the node {name}"

    def _steps(self, name: str) -> list[int]:
        """The processes of the jobs on a node: all slurmstepds look alike where the nodes are one machine."""
        asked = ["squeue", "--noheader", "--array", "--states=RUNNING", f"--nodelist={name}", "--format=%A"]
        jobs = set(subprocess.run(asked, capture_output=True, text=True).stdout.split())
        return [
            pid
            for pid, (_, text) in processes().items()
            if "slurmstepd" in text and any(f"[{job}." in text for job in jobs)
        ]

    def heal(self) -> None:
        if self._gone and time.monotonic() - self._gone[0][0] > BACK:
            name = self._gone.pop(0)[1]
            subprocess.run(["slurmd", "-N", name], check=True)
            self._control(f"NodeName={name}", "State=RESUME")
        asked = ["squeue", "--me", "--noheader", "--array", "--states=PENDING", "--format=%i|%r"]
        for line in subprocess.run(asked, capture_output=True, text=True).stdout.splitlines():
            if "BeginTime" in line:  # SLURM would wait two minutes
                self._control(f"JobId={line.partition('|')[0]}", "StartTime=now")

    def _control(self, *what: str) -> None:
        subprocess.run(["scontrol", "update", *what], capture_output=True)

    def close(self) -> None:
        while self._gone:
            time.sleep(BACK)
            self.heal()


class Sweep:
    """A sweep in its folder, and the driver that makes it, in a process of its own."""

    def __init__(self, folder: Path, cluster: Any):
        command = [sys.executable, "-m", "arjax.sweep.main", "--sweep=sweep.py", f"--workdir={folder.name}"]
        self.folder, self._command = folder, [*command, *cluster.flags]
        self._environment = os.environ | {"PYTHONPATH": str(ROOT)} | cluster.environment
        self._process: subprocess.Popen | None = None

    def start(self, log: str = "driver.txt") -> subprocess.Popen:
        with (self.folder.parent / log).open("ab") as output:
            options = {"cwd": self.folder.parent, "env": self._environment, "start_new_session": True}
            self._process = subprocess.Popen(self._command, stdout=output, stderr=subprocess.STDOUT, **options)
        return self._process

    def workers(self) -> list[int]:
        """The processes of its runs."""
        return [
            pid
            for pid, (_, text) in processes().items()
            if " -m arjax --trust" in text and f"={self.folder.name}/" in text
        ]


def kill(what: str, sweep: Sweep, driver: subprocess.Popen, cluster: Any, rng: random.Random) -> str:
    """Kills one of the cluster; returns what was killed, "" where there is none yet."""
    if what == "node":
        return cluster.kill_node(rng)
    if what == "driver":
        driver.kill()
        driver.wait()
        return f"the driver {driver.pid}"
    if not (workers := sweep.workers()):
        return ""
    pid, waits = rng.choice(sorted(workers)), rng.random() < 0.5
    parent = processes().get(pid, (0, ""))[0]
    if waits and parent > 1:
        os.kill(parent, signal.SIGKILL)
        return f"{parent}, which waits for the run {pid}"
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    return f"the run {pid}"


def disturbed(folder: Path, cluster: Any, left: list[str], rng: random.Random) -> tuple[Sweep, list[dict[str, Any]]]:
    """Makes a sweep while those of `left` are killed, until it ends; returns what has happened."""
    sweep, events = Sweep(folder, cluster), []
    driver, begun, due = sweep.start(), time.monotonic(), time.monotonic() + rng.uniform(*PAUSE)

    def note(what: str, **more: Any) -> None:
        events.append({"second": round(time.monotonic() - begun, 1), "what": what} | more)
        print(f"  {events[-1]['second']:6.1f} s  {what}", flush=True)

    while True:
        time.sleep(0.2)
        cluster.heal()
        if (code := driver.poll()) is not None:
            if code == 0:
                return sweep, events
            note(f"the driver ended by itself with code {code}", code=code)
            if sum("code" in event for event in events) > 5:
                raise UserError(f"the sweep fails again and again: {folder.parent / 'driver.txt'}")
            driver = sweep.start()
        if not left or time.monotonic() < due:
            continue
        if what := kill(left[-1], sweep, driver, cluster, rng):
            note(f"killed {what}", kind=left.pop())
            due = time.monotonic() + rng.uniform(*PAUSE)
        if events and events[-1].get("kind") == "driver" and driver.poll() is not None:
            driver = sweep.start()


def fingerprint(folder: Path) -> dict[str, Any]:
    """What must be equal: the parameters of a run, and its results without times."""
    import jax
    import numpy as np

    import arjax

    leaves = jax.tree.leaves_with_path(arjax.open_run(folder).params)
    params = {jax.tree_util.keystr(path): np.asarray(leaf).tobytes().hex() for path, leaf in leaves}
    results = json.loads((folder / "results.json").read_text())
    return {"params": params} | {name: value for name, value in results.items() if "second" not in name}


def second_driver_is_refused(sweep: Sweep) -> bool:
    """Whether a second sweep in the folder ends with one sentence while the first one is there."""
    log = sweep.folder.parent / "second.txt"
    code = sweep.start(log.name).wait()
    return code == 2 and "another process is training in" in log.read_text()


@contextlib.contextmanager
def cluster_of(executor: str) -> Iterator[Any]:
    """The cluster, until the end."""
    cluster = {"ray": Ray, "slurm": Slurm}[executor]()
    try:
        yield cluster
    finally:
        cluster.close()


def main(argv: Sequence[str]) -> int:
    """Makes the sweeps, and compares."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--executor", choices=("ray", "slurm"), required=True)
    parser.add_argument("--workdir", required=True)
    for what, number in (("nodes", 10), ("workers", 5), ("drivers", 5), ("seed", 0), ("steps", 4000)):
        parser.add_argument(f"--{what}", type=int, default=number)
    flags = parser.parse_args(argv)
    workdir, rng = writable_folder(flags.workdir).resolve(), random.Random(flags.seed)
    (workdir / "sweep.py").write_text(SWEEP)
    (workdir / "config.py").write_text(CONFIG.replace("STEPS", str(flags.steps)))
    left = ["node"] * flags.nodes + ["worker"] * flags.workers + ["driver"] * flags.drivers
    rng.shuffle(left)
    events: list[dict[str, Any]] = []
    sweeps: list[Sweep] = []
    with cluster_of(flags.executor) as cluster:
        begun, calm = time.monotonic(), Sweep(workdir / "calm", cluster)
        is_made = (calm.folder / "results.csv").exists()  # by an earlier start of this script
        driver = calm.start()
        time.sleep(0 if is_made else 10)
        refused = is_made or second_driver_is_refused(calm)
        if driver.wait():
            raise UserError(f"the undisturbed sweep has failed: {workdir / 'driver.txt'}")
        print(f"undisturbed: {time.monotonic() - begun:.0f} s; a second driver was refused: {refused}", flush=True)
        while left:
            folder = workdir / f"disturbed-{flags.seed}-{len(sweeps)}"
            sweep, happened = disturbed(folder, cluster, left, rng)
            events, sweeps = events + happened, [*sweeps, sweep]
    runs = [f"r{seed}" for seed in range(8)]
    wanted = {run: fingerprint(calm.folder / run) for run in runs}
    equal = sum(fingerprint(sweep.folder / run) == wanted[run] for sweep in sweeps for run in runs)
    kills = {kind: sum(event.get("kind") == kind for event in events) for kind in ("node", "worker", "driver")}
    record = {"executor": flags.executor, "seed": flags.seed, "kills": kills, "runs": 8 * len(sweeps), "equal": equal}
    write_json(workdir / "chaos.json", record | {"refused": refused, "events": events})
    print(f"kills: {kills}; {equal} of {8 * len(sweeps)} runs equal the undisturbed ones to the last bit")
    return int(equal < 8 * len(sweeps) or not refused)


if __name__ == "__main__":
    sys.exit(tell_mistakes("chaos.py", lambda: main(sys.argv[1:])))
