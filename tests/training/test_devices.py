"""Law 5, second half: the loss on 8 devices, or in 2 processes, equals that on 1; checkpoints move between them."""

import json
import socket

import numpy as np
import pytest
from loop_helpers import finish, run_python

TRAIN = """
import json
from loop_helpers import tiny_config
from arjax.training import distributed
from arjax.training.loop import train

distributed.initialize()
changes, workdir = json.loads({arguments!r})
outcome = train(tiny_config(**changes), workdir)
assert outcome.status == "finished"
"""

TRANSFORMER = {
    "network": "transformer",
    "train__steps": 4,
    "train__log_every": 1,
    "train__eval_every": 4,
    "train__checkpoint_every": 2,
}


def start(workdir, devices, changes, **environment):
    return run_python(TRAIN.format(arguments=json.dumps([changes, str(workdir)])), devices, **environment)


def losses(workdir):
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [line["train/loss"] for line in lines if "train/loss" in line]


def nll(workdir):
    return json.loads((workdir / "results.json").read_text())["nll_nats"]


def mesh(data, fsdp, tensor):
    return TRANSFORMER | {"mesh__data": data, "mesh__fsdp": fsdp, "mesh__tensor": tensor}


@pytest.fixture(scope="module")
def one_device(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("one")
    finish(start(workdir, 1, TRANSFORMER))
    return workdir


@pytest.mark.parametrize("axes", [(8, 1, 1), (2, 2, 2)], ids=str)
def test_eight_devices_train_like_one(one_device, tmp_path, axes):
    finish(start(tmp_path, 8, mesh(*axes)))
    np.testing.assert_allclose(losses(tmp_path), losses(one_device), rtol=2e-5)
    np.testing.assert_allclose(nll(tmp_path), nll(one_device), rtol=2e-5)


def test_a_run_moves_from_eight_devices_to_one(one_device, tmp_path):
    finish(start(tmp_path, 8, mesh(2, 2, 2) | {"train__steps": 2}))
    finish(start(tmp_path, 1, TRANSFORMER))
    assert len(losses(tmp_path)) == 4
    np.testing.assert_allclose(losses(tmp_path), losses(one_device), rtol=2e-5)


def free_port():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


@pytest.mark.parametrize("on_device", [True, False])
def test_two_processes_train_like_one(one_device, tmp_path, on_device):
    address, changes = f"127.0.0.1:{free_port()}", TRANSFORMER | {"train__data_on_device": on_device, "mesh__fsdp": 2}
    processes = [
        start(
            tmp_path, 2, changes, JAX_COORDINATOR_ADDRESS=address, JAX_NUM_PROCESSES="2", JAX_PROCESS_ID=str(number)
        )
        for number in range(2)
    ]
    outputs = [process.communicate(timeout=240)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], "\n".join(outputs)
    np.testing.assert_allclose(losses(tmp_path), losses(one_device), rtol=2e-5)
    np.testing.assert_allclose(nll(tmp_path), nll(one_device), rtol=2e-5)
    assert "step 4/4" in outputs[0] and "step" not in outputs[1], "only the first process reports"
    if on_device:  # what two processes saved, one goes on with
        finish(start(tmp_path, 1, TRANSFORMER | {"train__steps": 5}))
        assert len(losses(tmp_path)) == 5

