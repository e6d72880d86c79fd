import pytest

from arjax.errors import UserError
from arjax.training import distributed


@pytest.mark.parametrize("given", [("host:1", 0, -1), ("", 2, 0), ("host:1", 2, 2), ("host:1", 2, -1), ("", 0, 0)])
def test_half_of_the_flags_is_a_mistake(given):
    with pytest.raises(UserError, match="needs all of coordinator_address"):
        distributed.initialize(*given)


def test_without_flags_or_launcher_there_is_one_process(monkeypatch):
    monkeypatch.setattr(distributed.os, "environ", {})
    assert distributed.initialize() == 1


@pytest.mark.parametrize(
    "environment, expected",
    [
        ({"SLURM_STEP_NUM_TASKS": "2"}, True),
        ({"SLURM_STEP_NUM_TASKS": "1"}, False),
        ({"OMPI_COMM_WORLD_SIZE": "8"}, True),
        ({"TPU_WORKER_HOSTNAMES": "a,b"}, True),
        ({"TPU_WORKER_HOSTNAMES": "a"}, False),
        ({}, False),
    ],
)
def test_launchers_are_recognised(monkeypatch, environment, expected):
    connected = []
    monkeypatch.setattr(distributed.os, "environ", environment)
    monkeypatch.setattr(distributed, "_connect", lambda **arguments: connected.append(arguments))
    distributed.initialize()
    assert connected == ([{}] if expected else [])


def test_environment_variables_stand_for_flags(monkeypatch):
    names = {"JAX_COORDINATOR_ADDRESS": "host:1", "JAX_NUM_PROCESSES": "4", "JAX_PROCESS_ID": "3"}
    connected = []
    monkeypatch.setattr(distributed.os, "environ", names)
    monkeypatch.setattr(distributed, "_connect", lambda **arguments: connected.append(arguments))
    distributed.initialize()
    assert connected == [{"coordinator_address": "host:1", "num_processes": 4, "process_id": 3}]
    monkeypatch.setattr(distributed.os, "environ", names | {"JAX_PROCESS_ID": "three"})
    with pytest.raises(UserError, match="must be whole numbers"):
        distributed.initialize()
