"""How the processes of a run find each other, and which devices each of them uses.

The environments are those of processes that SLURM and Open MPI start on machines with devices.
"""

import os
import socket
import subprocess
import sys
import time

import pytest

from arjax.core.errors import UserError
from arjax.parallel import distributed
from arjax.parallel.distributed import first_host, launcher, local_devices, slurm_processes, tasks_on_node


@pytest.mark.parametrize("given", [("host:1", 0, -1), ("", 2, 0), ("host:1", 2, 2), ("host:1", 2, -1), ("", 0, 0)])
def test_half_of_the_flags_is_a_mistake(given):
    with pytest.raises(UserError, match="needs all of coordinator_address"):
        distributed.initialize(*given)


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
    with pytest.raises(UserError, match="must be whole numbers"):
        distributed.initialize()


#: The second task of four, two on each of two nodes of four GPUs.
STEP = {
    "SLURM_JOB_ID": "4711",
    "SLURM_STEP_ID": "0",
    "SLURM_NTASKS": "4",
    "SLURM_STEP_NUM_TASKS": "4",
    "SLURM_STEP_NODELIST": "gpu[03-04]",
    "SLURM_STEP_TASKS_PER_NODE": "2(x2)",
    "SLURM_NODEID": "0",
    "SLURM_PROCID": "1",
    "SLURM_LOCALID": "1",
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


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        ("node001", "node001"),
        ("node001,host2", "node001"),
        ("node[001-0015],host2", "node001"),
        ("node[001,007-015],host2", "node001"),
        ("rack[2-3]node[5,7]-ib,host2", "rack2node5-ib"),
    ],
)
def test_the_first_node(nodes, expected):
    assert first_host(nodes) == expected


def test_processes_and_tasks_of_slurm():
    assert tasks_on_node(STEP) == (2, 1)
    assert tasks_on_node({}) == (1, 0)
    assert slurm_processes(STEP | {"JAX_COORDINATOR_PORT": "1234"}) == ("gpu03:1234", 4, 1)
    assert slurm_processes(STEP)[0] != slurm_processes(STEP | {"SLURM_STEP_ID": "1"})[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (0, "some of them have not come"),
        pytest.param(1, "the first one does not answer", marks=pytest.mark.slow),
    ],
)
def test_processes_that_do_not_come_are_named_at_once_and_in_the_end(number, reason, repository):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    flags = [f"--coordinator_address={address}", "--num_processes=2", f"--process_id={number}"]
    flags += ["--config=configs/digits.py:smoke", "--workdir=never"]
    code = "from arjax.cli import main; from arjax.parallel import distributed; distributed.WAIT_SECONDS = 2"
    process = subprocess.Popen(
        [sys.executable, "-c", f"{code}; exit(main.main({flags}))"],
        cwd=repository,
        stdout=-1,
        stderr=-1,
        text=True,
        env=os.environ | {"PYTHONPATH": "."},
    )
    assert process.stdout.readline() == f"waiting for 2 processes at {address}\n"
    told = time.monotonic()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2 and time.monotonic() - told > 1
    assert (
        err.startswith(f"arjax: waited 2 seconds in vain for 2 processes at {address}: {reason}")
        and err.count("\n") == 1
    )


def test_a_port_that_is_taken_is_one_sentence():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(UserError, match=r"wait for the others at port \d+ of this machine: address already"):
            distributed.initialize(f"127.0.0.1:{taken.getsockname()[1]}", 2, 0)


@pytest.mark.parametrize("chosen", ["x", "0,", "0;1", "-1"])
def test_devices_chosen_by_hand_are_numbers(chosen, tmp_path):
    with pytest.raises(UserError, match="JAX_LOCAL_DEVICE_IDS must be numbers of devices, such as 0,1, not"):
        local_devices({"JAX_LOCAL_DEVICE_IDS": chosen}, tmp_path)
