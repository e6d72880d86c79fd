"""Pods of Kubernetes: how those of a run find each other, and the manifests of `examples/kubernetes`."""

import os
import shlex
import subprocess
import sys

import pytest
import yaml
from loop_helpers import ROOT, run_python
from refusals import refusal
from test_devices import free_port

from arjax.cli.main import main
from arjax.cli.modes import parse_flags
from arjax.parallel import distributed
from arjax.parallel.distributed import launcher, pod_processes
from arjax.training.loop import Outcome

POD = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "JOB_COMPLETION_INDEX": "1"}
NAME = "job-1.pods.default.svc.cluster.local"
MANIFESTS = sorted((ROOT / "examples" / "kubernetes").glob("*.yaml"))


def manifests(path):
    return {each["kind"]: each for each in yaml.safe_load_all(path.read_text())}


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        (POD, "Kubernetes"),
        ({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, ""),  # a pod alone, such as a notebook
        ({"JOB_COMPLETION_INDEX": "1"}, ""),
        (POD | {"TPU_WORKER_HOSTNAMES": "a,b"}, "a TPU pod"),
        (POD | {"OMPI_COMM_WORLD_SIZE": "8"}, "Open MPI"),
    ],
)
def test_pods_are_recognised(environment, expected):
    assert launcher(environment) == expected


def test_pods_find_the_first_one_by_their_names(monkeypatch):
    assert pod_processes(POD, 2, NAME) == ("job-0.pods.default.svc.cluster.local:8476", 2, 1)
    eleventh = POD | {"JOB_COMPLETION_INDEX": "11", "JAX_COORDINATOR_PORT": "1234"}
    assert pod_processes(eleventh, 12, "set-node-0-11.set") == ("set-node-0-0.set:1234", 12, 11)
    for name in ("job-1", "node7.example.com", "job-11.pods"):  # no service; the network of the node; another pod
        assert f"pod 1 of an Indexed Job of Kubernetes, named '{name}': to find" in refusal(pod_processes, POD, 2, name)
    monkeypatch.setattr(distributed.importlib.util, "find_spec", lambda name: None)
    assert "set JAX_NUM_PROCESSES, to 1 if each has a run of its own" in refusal(pod_processes, POD, 0, NAME)
    monkeypatch.setattr(distributed.importlib.util, "find_spec", lambda name: name == "kubernetes")
    assert "a service account that reads pods" in refusal(pod_processes, POD, 0, NAME)
    monkeypatch.setattr(distributed, "SERVICE_ACCOUNT", ROOT)
    assert pod_processes(POD, 0, NAME) == ("", 0, -1)


@pytest.mark.parametrize(
    ("more", "flags", "expected"),
    [
        ({"JAX_NUM_PROCESSES": "1"}, (), None),  # an array of runs
        ({}, ("", 1, -1), None),
        ({"JAX_NUM_PROCESSES": "2"}, (), ("job-0.pods.default.svc.cluster.local:8476", 2, 1)),
        (
            {"JAX_COORDINATOR_ADDRESS": "first:1", "JAX_NUM_PROCESSES": "3", "JAX_PROCESS_ID": "2"},
            (),
            ("first:1", 3, 2),  # as Kubeflow Trainer sets them
        ),
    ],
)
def test_a_pod_never_runs_alone_by_mistake(more, flags, expected, monkeypatch):
    calls = []
    monkeypatch.setattr(distributed.jax.distributed, "initialize", lambda **arguments: calls.append(arguments))
    monkeypatch.setattr(distributed.socket, "getfqdn", lambda: NAME)
    monkeypatch.setattr(distributed.os, "environ", POD)
    assert "nothing says how many pods share a run" in refusal(distributed.initialize)
    monkeypatch.setattr(distributed.os, "environ", POD | more)
    distributed.initialize(*flags)
    names = ("coordinator_address", "num_processes", "process_id")
    assert [tuple(call[name] for name in names) for call in calls] == ([expected] if expected else [])


#: What a cluster has and a test has not: names of pods, and a server that knows the pods and their Job.
CLUSTER = """
import os, socket, sys, types
from importlib.machinery import ModuleSpec
from pathlib import Path

import jax
from jax._src.clusters.k8s_cluster import K8sCluster
from arjax.cli.main import main
from arjax.parallel import distributed

one = types.SimpleNamespace
number = os.environ["JOB_COMPLETION_INDEX"]
port = os.environ["JAX_COORDINATOR_PORT"]
socket.getfqdn = lambda: f"job-{{number}}.pods"
connect, address_of = jax.distributed.initialize, K8sCluster.get_coordinator_address

def initialize(coordinator_address=None, **more):
    assert coordinator_address in (None, f"job-0.pods:{{port}}"), coordinator_address
    connect(coordinator_address=coordinator_address and f"127.0.0.1:{{port}}", **more)

jax.distributed.initialize = initialize
if {server}:
    owner = one(controller=True, kind="Job")
    about = one(name="x", labels={{"job-name": "job"}}, owner_references=[owner])
    pod = one(metadata=about, spec=one(subdomain="pods"))
    job = one(metadata=one(name="job", labels={{}}), spec=one(parallelism=2))
    core = one(list_namespaced_pod=lambda **_: one(items=[pod]))
    kubernetes = sys.modules["kubernetes"] = types.ModuleType("kubernetes")
    kubernetes.__spec__ = ModuleSpec("kubernetes", None)
    kubernetes.config = one(load_incluster_config=lambda: None)
    batch = one(read_namespaced_job=lambda **_: job)
    errors = one(ApiException=OSError)
    kubernetes.client = one(CoreV1Api=lambda: core, BatchV1Api=lambda: batch, exceptions=errors)
    distributed.SERVICE_ACCOUNT = Path("/")
    K8sCluster._namespace = classmethod(lambda cls: "default")
    socket.gethostbyname = lambda name: "127.0.0.1"
    local = lambda cls, **more: address_of(**more).replace("job-0.pods", "127.0.0.1")
    K8sCluster.get_coordinator_address = classmethod(local)
sys.exit(main(["--config={root}/configs/digits.py:smoke", "--workdir={workdir}"]))
"""


def start(number, port, workdir, server=False, **more):
    environment = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "JOB_COMPLETION_INDEX": number, "JAX_COORDINATOR_PORT": port}
    environment |= {"HOSTNAME": f"job-{number}", "ARJAX_PARENT": str(os.getpid())}
    return run_python(CLUSTER.format(server=server, root=ROOT, workdir=workdir), **environment | more)


@pytest.mark.slow
@pytest.mark.parametrize("server", [False, True], ids=["number", "server"])
def test_two_pods_of_a_job_connect(server, tmp_path):
    port, more = str(free_port()), {} if server else {"JAX_NUM_PROCESSES": "2"}
    pods = [start(str(number), port, tmp_path / "run", server, **more) for number in range(2)]
    outputs = [pod.communicate(timeout=240)[0] for pod in pods]
    assert [pod.returncode for pod in pods] == [0, 0], "\n".join(outputs)
    assert "on 2 devices of 2 processes" in outputs[0] and "finished at step" in outputs[0]
    assert "finished at step" not in outputs[1], "only the first process reports"


@pytest.mark.slow
def test_an_array_of_runs_that_is_taken_for_one_run_is_refused(tmp_path):
    port = str(free_port())
    pods = [start(str(number), port, tmp_path / str(number), JAX_NUM_PROCESSES="2") for number in range(2)]
    outputs = [pod.communicate(timeout=240)[0] for pod in pods]
    assert [pod.returncode for pod in pods] == [2, 2], "\n".join(outputs)
    assert all("the processes of a run have one --workdir, not" in output for output in outputs)


def containers(manifest):
    """The containers of all pods of a manifest."""
    if isinstance(manifest, dict):
        yield from manifest.get("containers", [])
        manifest = list(manifest.values())
    for value in manifest if isinstance(manifest, list) else []:
        yield from containers(value)


def test_the_command_of_the_train_job_is_one_of_arjax():
    made = manifests(ROOT / "examples/kubernetes/train.yaml")
    trainer = made["TrainJob"]["spec"]["trainer"]
    flags = parse_flags(trainer["args"])
    assert trainer["command"] == ["arjax"] and flags.mode == "train"
    (container,) = containers(made["TrainingRuntime"])
    assert flags.workdir.startswith(container["volumeMounts"][0]["mountPath"] + "/")
    assert made["TrainJob"]["spec"]["runtimeRef"]["name"] == made["TrainingRuntime"]["metadata"]["name"]


def test_each_pod_of_the_array_trains_a_run_of_the_sweep(tmp_path):
    job = manifests(ROOT / "examples/kubernetes/sweep.yaml")["Job"]
    (container,) = containers(job)
    assert {"name": "JAX_NUM_PROCESSES", "value": "1"} in container["env"]
    config, orders = f"{ROOT}/configs/digits.py:network=made", ["raster", "random(seed=3)"]
    sweep = f"return grid({config!r}, {{'model.ordering': {orders}}})"
    (tmp_path / "my_sweep.py").write_text(f"from arjax.sweep import grid\ndef get_sweep():\n    {sweep}\n")
    for name, code in (
        ("arjax-sweep", f'{shlex.quote(sys.executable)} -m arjax.sweep.main "$@"'),
        ("arjax", 'printf "%s\\n" "$@"'),
    ):
        (tmp_path / name).write_text(f"#!/bin/sh\n{code}\n")
        (tmp_path / name).chmod(0o755)

    def pod(number):
        path = os.pathsep.join([str(tmp_path), os.environ["PATH"]])
        environment = os.environ | {"PATH": path, "PYTHONPATH": str(ROOT), "JOB_COMPLETION_INDEX": str(number)}
        command = [*container["command"], *container["args"]]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)

    done = pod(1)
    assert done.returncode == 0, done.stderr
    assert f"--config.model.ordering={orders[1]}" in done.stdout.splitlines()
    done = pod(2)
    assert done.returncode != 0 and "the sweep has no run of this number" in done.stderr


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.stem)
def test_manifests_are_what_their_servers_take(path):
    """By the schemas in the packages kubernetes-validate and kubeflow-trainer-api."""
    made = manifests(path)
    if "Job" in made:
        validate = pytest.importorskip("kubernetes_validate")
        validate.validate(made["Job"], validate.latest_version(), strict=True)
    else:
        models = pytest.importorskip("kubeflow_trainer_api.models")
        for kind, manifest in made.items():
            model = getattr(models, f"TrainerV1alpha1{kind}").from_dict(manifest)
            assert model.to_dict() == manifest  # nothing was dropped as unknown


def test_a_training_that_is_stopped_is_no_success(monkeypatch, tmp_path):
    """Kubernetes takes the exit code 0 for the end of a Job."""
    monkeypatch.setattr("arjax.api.fitting.train_in", lambda *_: Outcome("interrupted", 3, "stopped at step 3 of 20"))
    assert main([f"--config={ROOT}/configs/digits.py:smoke", f"--workdir={tmp_path}"]) == 143
