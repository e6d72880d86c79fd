"""Law 5, second half: the loss on 8 devices, or in 2 processes, equals that on 1; and how processes find each other."""

import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from loop_helpers import finish, run_python, tiny_config
from refusals import refusal

from arjax.config.build import build
from arjax.core.errors import UserError
from arjax.evaluation.report import ERROR_EXAMPLES
from arjax.parallel import distributed
from arjax.parallel.distributed import first_host, launcher, local_devices, slurm_processes, tasks_on_node
from arjax.parallel.lost import EXIT_LOST
from arjax.training.loop import train

TRAIN = """
import json
from test_devices import train_all
train_all(*json.loads({arguments!r}))
"""

MADE = {"train__steps": 4, "train__log_every": 1, "train__eval_every": 4, "train__checkpoint_every": 2}
TRANSFORMER = MADE | {"network": "transformer"}


class Recorded:
    """A split that remembers which of its rows were read."""

    def __init__(self, source):
        self.source, self.rows = source, set()

    def __len__(self):
        return len(self.source)

    def __getitems__(self, indices):
        self.rows |= set(np.asarray(indices).tolist())
        return self.source.__getitems__(indices)


def train_all(*runs):
    """Trains each (changes, workdir) to its end, and prints the rows of the test split that this process read."""
    distributed.initialize()
    for changes, workdir in runs:
        setup = build(tiny_config(**changes))
        test = Recorded(setup.dataset.splits["test"])
        dataset = dataclasses.replace(setup.dataset, splits=dict(setup.dataset.splits) | {"test": test})
        assert train(dataclasses.replace(setup, dataset=dataset), workdir).status == "finished"
        print("rows read:", sorted(test.rows))


def start(devices, *runs, **environment):
    """The same in a process of its own, with so many devices."""
    arguments = json.dumps([(changes, str(workdir)) for changes, workdir in runs])
    return run_python(TRAIN.format(arguments=arguments), devices, **environment)


def losses(workdir):
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [line["train/loss"] for line in lines if "train/loss" in line]


def nll(workdir):
    return json.loads((workdir / "results.json").read_text())["nll_nats"]


def mesh(data, fsdp, tensor, network=TRANSFORMER):
    return network | {"mesh__data": data, "mesh__fsdp": fsdp, "mesh__tensor": tensor}


def assert_like(workdir, other, steps=None):
    np.testing.assert_allclose(losses(workdir), losses(other)[:steps], rtol=2e-5)
    if steps is None:
        np.testing.assert_allclose(nll(workdir), nll(other), rtol=2e-5)


@pytest.mark.parametrize(
    "network", [MADE, pytest.param(TRANSFORMER, marks=pytest.mark.slow)], ids=["made", "transformer"]
)
def test_a_run_that_is_sharded_over_eight_devices_moves_to_one(tmp_path, network):
    one, sharded = (tmp_path / name for name in ("one", "sharded"))
    eight = start(8, (mesh(2, 2, 2, network) | {"train__steps": 3}, sharded))
    train_all((network, one))
    finish(eight)
    assert_like(sharded, one, steps=3)
    train_all((network, sharded))
    assert_like(sharded, one)


@pytest.mark.slow
def test_eight_devices_train_like_one(tmp_path):
    one, data = tmp_path / "one", tmp_path / "data"
    eight = start(8, (mesh(8, 1, 1), data))
    train_all((TRANSFORMER, one))
    finish(eight)
    assert_like(data, one)


@pytest.mark.slow
@pytest.mark.parametrize(
    "objective",
    [
        "scheduled_sampling(final=1)",
        "scheduled_sampling(passes=0)",
        "rollout(length=3)",
        "as_is",
        "input_noise",
        "free_energy(energy='potts')",
    ],
)
def test_objectives_on_own_prefixes_train_on_eight_devices_like_on_one(objective, tmp_path):
    one, many = tmp_path / "one", tmp_path / "many"
    eight = start(8, (mesh(2, 2, 2) | {"objective": objective}, many))
    train_all((TRANSFORMER | {"objective": objective}, one))
    finish(eight)
    assert_like(many, one)


def free_port():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


@pytest.mark.slow
@pytest.mark.parametrize("on_device", [True, False])
def test_two_processes_train_like_one(tmp_path, on_device):
    # MADE: programs of several processes are not cached, and this one compiles fast.
    changes = MADE | {"train__data_on_device": on_device}
    together, alone, address = tmp_path / "lr[1e-3]", tmp_path / "alone", f"127.0.0.1:{free_port()}"
    flags = {"JAX_COORDINATOR_ADDRESS": address, "JAX_NUM_PROCESSES": "2"}
    run = changes | {"mesh__fsdp": 2}, together
    processes = [start(2, run, **flags, JAX_PROCESS_ID=str(number)) for number in range(2)]
    train_all((changes, alone))
    outputs = [process.communicate(timeout=240)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], "\n".join(outputs)
    assert "step 4/4" in outputs[0]
    assert "step 4/4" not in outputs[1], "only the first process reports"
    one, two = (set(json.loads(output.partition("rows read: ")[2].splitlines()[0])) for output in outputs)
    assert one | two == set(range(300)), "all rows are scored"
    measured = set((np.arange(ERROR_EXAMPLES) * 300 // ERROR_EXAMPLES).tolist())
    assert one & two <= measured | {299}, "each process reads its own, the last one to fill up a batch, and a few alike"
    assert len(one) > 100 and len(two) > 100
    assert_like(together, alone)
    if on_device:  # what two processes saved, one goes on with
        train_all((changes | {"train__steps": 5}, together))
        assert len(losses(together)) == 5


@pytest.mark.parametrize("given", [("host:1", 0, -1), ("", 2, 0), ("host:1", 2, 2), ("host:1", 2, -1), ("", 0, 0)])
def test_half_of_the_flags_is_a_mistake(given):
    assert "needs all of coordinator_address" in refusal(distributed.initialize, *given)


def test_without_flags_or_launcher_there_is_one_process(monkeypatch):
    monkeypatch.setattr(distributed.os, "environ", {})
    assert distributed.initialize() == 1


@pytest.fixture
def connected(monkeypatch):
    """The arguments with which JAX would have been called, in the place of the call."""
    calls = []
    monkeypatch.setattr(distributed.jax.distributed, "initialize", lambda **arguments: calls.append(arguments))
    return calls


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"SLURM_STEP_NUM_TASKS": "2"}, "SLURM"),
        ({"SLURM_STEP_NUM_TASKS": "1"}, ""),
        ({"OMPI_COMM_WORLD_SIZE": "8"}, "Open MPI"),
        ({"OMPI_COMM_WORLD_SIZE": "8", "SLURM_STEP_NUM_TASKS": "2"}, "Open MPI"),
        ({"TPU_WORKER_HOSTNAMES": "a,b"}, "a TPU pod"),
        ({"TPU_WORKER_HOSTNAMES": "a"}, ""),
        ({}, ""),
    ],
)
def test_launchers_are_recognised(environment, expected):
    assert launcher(environment) == expected


def test_environment_variables_stand_for_flags(monkeypatch, connected, capsys):
    names = {"JAX_COORDINATOR_ADDRESS": "host:1", "JAX_NUM_PROCESSES": "4", "JAX_PROCESS_ID": "3"}
    monkeypatch.setattr(distributed.os, "environ", names)
    distributed.initialize()
    given = {"coordinator_address": "host:1", "num_processes": 4, "process_id": 3, "local_device_ids": []}
    assert connected[0].items() >= given.items()
    assert capsys.readouterr().out == "waiting for 4 processes at host:1\n"
    monkeypatch.setattr(distributed.os, "environ", names | {"JAX_PROCESS_ID": "three"})
    assert "must be whole numbers" in refusal(distributed.initialize)


#: The second task of four, two on each of two nodes of four GPUs.
STEP = {
    **{"SLURM_JOB_ID": "4711", "SLURM_STEP_ID": "0", "SLURM_NTASKS": "4", "SLURM_STEP_NUM_TASKS": "4"},
    **{"SLURM_STEP_NODELIST": "gpu[03-04]", "SLURM_STEP_TASKS_PER_NODE": "2(x2)"},
    **{"SLURM_NODEID": "0", "SLURM_PROCID": "1", "SLURM_LOCALID": "1"},
}


def test_a_slurm_step_connects_with_all_devices(monkeypatch, connected):
    alone = {"SLURM_STEP_TASKS_PER_NODE": "1(x4)", "SLURM_LOCALID": "0", "SLURM_NODEID": "1"}
    monkeypatch.setattr(distributed.os, "environ", STEP | alone | {"CUDA_VISIBLE_DEVICES": "0,1,2,3,4,5,6,7"})
    distributed.initialize()
    # JAX takes one device for each process when it is told of none, and all when it is told of an empty list
    assert (connected[0]["local_device_ids"], connected[0]["num_processes"], connected[0]["process_id"]) == ([], 4, 1)
    assert connected[0]["coordinator_address"] == f"gpu03:{61440 + 4711 % 4096}"


def test_open_mpi_connects_by_jax_itself(monkeypatch, connected, capsys):
    environment = {"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_LOCAL_SIZE": "2", "OMPI_COMM_WORLD_LOCAL_RANK": "1"}
    monkeypatch.setattr(distributed.os, "environ", environment | {"CUDA_VISIBLE_DEVICES": "0,1,2,3"})
    distributed.initialize()
    assert connected[0]["local_device_ids"] == [2, 3] and "coordinator_address" not in connected[0]
    assert "that Open MPI has started" in capsys.readouterr().out


SEES = "CUDA_VISIBLE_DEVICES"


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({SEES: "0,1,2,3", "SLURM_GPUS_ON_NODE": "4"}, [2, 3]),  # all tasks see all: each takes its part
        ({SEES: "0,1", "SLURM_GPUS_ON_NODE": "2"}, [1]),
        ({SEES: "0,1,2", "SLURM_GPUS_ON_NODE": "3"}, None),
        ({SEES: "0", "SLURM_GPUS_ON_NODE": "1"}, None),
        ({SEES: "0,1", "SLURM_GPUS_ON_NODE": "4"}, []),  # each sees its own two, numbered anew
        ({SEES: "2,3", "SLURM_GPUS_ON_NODE": "4"}, []),
        ({SEES: "0", "SLURM_GPUS_ON_NODE": "1", "SLURM_GPUS_PER_TASK": "1"}, []),
        ({SEES: "0", "SLURM_GPUS_ON_NODE": "1", "SLURM_TRES_PER_TASK": "cpu=4,gres/gpu=1"}, []),
        ({SEES: "0", "SLURM_GPUS_ON_NODE": "1", "SLURM_TRES_BIND": "gres/gpu:single:1"}, []),
        ({SEES: "0", "SLURM_GPUS_ON_NODE": "1", "SLURM_GPUS_PER_TASK": "1", "SLURM_GPU_BIND": "none"}, None),
        ({SEES: "0,1"}, []),  # the machine has four, and SLURM does not know of them
        ({}, [2, 3]),
        ({SEES: ""}, []),
        ({"JAX_PLATFORMS": "cpu"}, []),
        ({"JAX_PLATFORMS": "cuda,cpu"}, [2, 3]),
        ({SEES: "0", "SLURM_GPUS_ON_NODE": "1", "JAX_LOCAL_DEVICE_IDS": "0"}, [0]),
        ({"ROCR_VISIBLE_DEVICES": "0,1,2,3", "SLURM_GPUS_ON_NODE": "4"}, [2, 3]),
        ({SEES: "0,1,2", "SLURM_GPUS_ON_NODE": "3", "SLURM_STEP_TASKS_PER_NODE": "1,3", "SLURM_NODEID": "0"}, []),
        ({SEES: "0,1,2", "SLURM_GPUS_ON_NODE": "3", "SLURM_STEP_TASKS_PER_NODE": "1,3", "SLURM_NODEID": "1"}, [1]),
    ],
)
def test_no_device_has_two_processes(more, expected, tmp_path):
    for number in range(4):
        (tmp_path / f"nvidia{number}").write_text("")
    if expected is None:
        with pytest.raises(UserError, match=r"would share \d devices?: give each its own \(srun --gpus-per-task=1\)"):
            local_devices(STEP | more, tmp_path)
    else:
        assert local_devices(STEP | more, tmp_path) == expected


def test_the_first_node():
    for nodes in ("node001", "node001,host2", "node[001-0015],host2", "node[001,007-015],host2"):
        assert first_host(nodes) == "node001"
    assert first_host("rack[2-3]node[5,7]-ib,host2") == "rack2node5-ib"


def test_processes_and_tasks_of_slurm():
    assert tasks_on_node(STEP) == (2, 1)
    assert tasks_on_node({}) == (1, 0)
    assert slurm_processes(STEP | {"JAX_COORDINATOR_PORT": "1234"}) == ("gpu03:1234", 4, 1)
    assert slurm_processes(STEP)[0] != slurm_processes(STEP | {"SLURM_STEP_ID": "1"})[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "reason"),
    [(0, "some of them have not come"), (1, "the first one does not answer")],
)
def test_processes_that_do_not_come_are_named_at_once_and_in_the_end(number, reason, repository):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    flags = [f"--coordinator_address={address}", "--num_processes=2", f"--process_id={number}"]
    flags += ["--config=configs/digits.py:smoke", "--workdir=never"]
    code = "from arjax.cli import main; from arjax.parallel import distributed; distributed.WAIT_SECONDS = 2"
    command = [sys.executable, "-c", f"{code}; exit(main.main({flags}))"]
    options = {"cwd": repository, "env": os.environ | {"PYTHONPATH": "."}, "stdout": -1, "stderr": -1}
    process = subprocess.Popen(command, text=True, **options)
    assert process.stdout.readline() == f"waiting for 2 processes at {address}\n"
    began = time.monotonic()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2 and time.monotonic() - began > 1
    told = f"arjax: waited 2 seconds in vain for 2 processes at {address}: {reason}"
    assert err.startswith(told) and err.count("\n") == 1


#: What JAX 0.10 and 0.12 print when a process is gone, shortened: process 0, and the others.
POLLED = "E1202 05:28:54.8 28942 coordination_service_agent.cc:289] Polled an error from coordination service.\n"
FATAL = "F1202 05:28:54.8 28942 client.h:80] Terminating: the JAX distributed service detected fatal errors."
STOPPED = "UNAVAILABLE: The following tasks are unhealthy (stopped sending heartbeats):\n3\nThe tasks have crashed.\n"
SERVICE = f"E1202 05:28:54.8 29358 coordination_service.cc:1549] [408] Use error polling to propagate: {STOPPED}"
GONE = "UNAVAILABLE: Failed to send RPC to coordination service. Either the leader task was preempted or died.\n"


def with_stderr_of(said: str, ending: str, repository) -> subprocess.CompletedProcess:
    """A process that tells of lost processes, and whose C++ code prints this."""
    code = f"""if 1:
        import ctypes, os, sys, time
        from arjax.parallel.lost import tell_of_lost_processes
        tell_of_lost_processes()
        os.write(2, b"a warning of XLA\\n")
        print("a remark", file=sys.stderr)
        os.write(2, {said.encode()!r})
        {ending}"""
    return subprocess.run([sys.executable, "-c", code], cwd=repository, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(
    ("said", "which"),
    [
        (SERVICE + POLLED + f"{FATAL} {STOPPED}", "process 3"),
        (POLLED + f"{FATAL} {STOPPED}", "process 3"),
        (POLLED + f"{FATAL} {GONE}", "process 0"),
        (f"{FATAL}\n", "another process"),
    ],
    ids=["stopped, in process 0", "stopped, in another one", "gone", "unknown"],
)
def test_the_others_end_with_a_sentence_when_a_process_is_lost(said, which, repository):
    """In place of the stack and the signal with which JAX ends them; other lines of C++ code pass."""
    done = with_stderr_of(said + "    @ 0x7f absl::Log\n", "ctypes.CDLL(None).abort()", repository)
    lost = f"arjax: {which} of this run is lost; the same command, given to all processes, resumes from the last "
    assert done.returncode == EXIT_LOST
    assert sorted(done.stderr.splitlines()) == sorted(["a warning of XLA", "a remark", f"{lost}checkpoint"])


def test_other_faults_of_compiled_code_are_not_taken_for_a_lost_process(repository):
    said = POLLED + "F1202 05:28:54.8 1 literal.cc:80] Check failed: a == b\n    @ 0x7f absl::Log\n"
    done = with_stderr_of(said, "time.sleep(.5); os._exit(7)", repository)
    assert done.returncode == 7 and done.stderr.replace("a remark\n", "") == "a warning of XLA\n" + said


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
@pytest.mark.parametrize("victim", [0, 1])
def test_a_training_that_loses_a_process_ends_soon(victim, number, repository, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    flags = ["--config=configs/digits.py:smoke", f"--workdir={tmp_path / 'run'}", "--config.train.steps=1000000"]
    command = [sys.executable, "-m", "arjax.cli.main", *flags, f"--coordinator_address={address}", "--num_processes=2"]
    options = {"cwd": repository, "env": os.environ | {"PYTHONPATH": "."}, "stdout": -1, "stderr": -1, "text": True}
    both = [subprocess.Popen([*command, f"--process_id={each}"], **options) for each in range(2)]
    try:
        for line in both[0].stdout:
            if "step" in line and "nats" in line:
                break
        both[victim].send_signal(number)
        began = time.monotonic()
        _, err = both[1 - victim].communicate(timeout=60)
        assert both[1 - victim].returncode == EXIT_LOST and time.monotonic() - began < 20
        last = err.splitlines()[-1]
        assert last.startswith(f"arjax: process {victim} of this run is lost; the same command") and "@ " not in err
    finally:
        for each in both:
            each.kill()
            each.communicate()


def test_a_port_that_is_taken_is_one_sentence():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(UserError, match=r"wait for the others at port \d+ of this machine: address already"):
            distributed.initialize(f"127.0.0.1:{taken.getsockname()[1]}", 2, 0)


@pytest.mark.parametrize(
    ("address", "silent", "reason"),
    [
        ("", "", "some of them have not come"),
        ("host:1", "", "some of them have not come"),
        ("host:1", "connection refused", "the first one does not answer there (connection refused)"),
    ],
)
def test_a_process_that_has_waited_in_vain_ends_with_a_sentence(address, silent, reason, monkeypatch, capsys):
    ended, codes = threading.Event(), []
    monkeypatch.setattr(distributed.os, "_exit", lambda code: codes.append(code) or ended.set())
    monkeypatch.setattr(distributed, "WAIT_SECONDS", 0.01)
    monkeypatch.setattr(distributed, "why_silent", lambda address: silent)
    with distributed._time_limit("2 processes", address):
        assert ended.wait(10)
    assert codes == [2]
    assert capsys.readouterr().err == f"arjax: waited 0.01 seconds in vain for 2 processes: {reason}\n"
    with distributed._time_limit("2 processes", address):
        ended.clear()
    assert not ended.wait(0.05), "those that have come are not waited for"


def test_what_answers_and_what_does_not():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{server.getsockname()[1]}"
        assert distributed.why_silent(address) == "connection refused"
        server.listen()
        for found in (address, address.replace("127.0.0.1", "[127.0.0.1]")):
            assert distributed.why_silent(found) == ""


def test_errors_of_the_connection_are_one_sentence(monkeypatch):
    def fail(**arguments):
        raise RuntimeError(" it failed\n  at once\n\n```yaml\nkind: Job")

    monkeypatch.setattr(distributed.jax.distributed, "initialize", fail)
    sentence = "the processes of this run could not be connected: it failed at once"
    assert refusal(distributed.initialize, "127.0.0.1:1", 2, 1) == sentence


def test_values_of_one_process_are_told_to_all(monkeypatch):
    value, sent = {"a": "\u00e9" * 5, "b": [1, None]}, []
    assert distributed.from_process_0(sent) is sent and distributed.on_any_process(True) is True
    monkeypatch.setattr(distributed.jax, "process_count", lambda: 2)
    monkeypatch.setattr(distributed.jax, "device_count", lambda: 16)
    assert distributed.describe_devices() == "16 devices of 2 processes"
    text = json.dumps(value).encode()
    answers = [np.int32(len(text)), np.frombuffer(text, np.uint8)]

    def broadcast(array):
        sent.append(array)
        return answers[len(sent) - 1]

    monkeypatch.setattr(distributed.multihost_utils, "broadcast_one_to_all", broadcast)
    assert distributed.from_process_0("another value, which is longer than that of process 0, and cut to it") == value
    assert sent[1].shape == (len(text),) and sent[1][:2].tobytes() == b'"a'
    sent.clear()
    assert distributed.from_process_0(3) == value and sent[0] == 1 and sent[1].tolist() == [51] + [0] * (len(text) - 1)
    for flags in ([0, 1], [0, 0]):
        monkeypatch.setattr(distributed.multihost_utils, "process_allgather", lambda flag, flags=flags: np.array(flags))
        assert distributed.on_any_process(False) is any(flags)
    monkeypatch.setattr(distributed.jax, "process_count", lambda: 1)
    monkeypatch.setattr(distributed.jax, "device_count", lambda: 1)
    assert distributed.describe_devices() == "1 device of 1 process"


@pytest.mark.parametrize("chosen", ["x", "0,", "0;1", "-1"])
def test_devices_chosen_by_hand_are_numbers(chosen, tmp_path):
    with pytest.raises(UserError, match="JAX_LOCAL_DEVICE_IDS must be numbers of devices, such as 0,1, not"):
        local_devices({"JAX_LOCAL_DEVICE_IDS": chosen}, tmp_path)
