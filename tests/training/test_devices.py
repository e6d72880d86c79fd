"""Law 5, second half: the loss on 8 devices, or in 2 processes, equals that on 1; checkpoints move between them."""

import json
import socket

import numpy as np
import pytest
from loop_helpers import finish, run_python

TRAIN = """
import dataclasses, json
import numpy as np
from loop_helpers import tiny_config
from arjax.parallel import distributed
from arjax.config.build import build
from arjax.training.loop import train

distributed.initialize()
changes, workdir = json.loads({arguments!r})

class Recorded:
    def __init__(self, source):
        self.source, self.rows = source, set()
    def __len__(self):
        return len(self.source)
    def __getitems__(self, indices):
        self.rows |= set(np.asarray(indices).tolist())
        return self.source.__getitems__(indices)

setup = build(tiny_config(**changes))
test = Recorded(setup.dataset.splits["test"])
dataset = dataclasses.replace(setup.dataset, splits=dict(setup.dataset.splits) | {{"test": test}})
outcome = train(dataclasses.replace(setup, dataset=dataset), workdir)
assert outcome.status == "finished"
print("rows read:", sorted(test.rows))
"""

MADE = {"train__steps": 4, "train__log_every": 1, "train__eval_every": 4, "train__checkpoint_every": 2}
TRANSFORMER = MADE | {"network": "transformer"}


def start(workdir, devices, changes, **environment):
    environment["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"  # a few steps each: compilation is all of the time
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


def test_eight_devices_train_like_one(one_device, tmp_path):
    finish(start(tmp_path, 8, mesh(8, 1, 1)))
    np.testing.assert_allclose(losses(tmp_path), losses(one_device), rtol=2e-5)
    np.testing.assert_allclose(nll(tmp_path), nll(one_device), rtol=2e-5)


def test_a_sharded_run_trains_like_one_and_moves_to_one_device(one_device, tmp_path):
    finish(start(tmp_path, 8, mesh(2, 2, 2) | {"train__steps": 3}))
    np.testing.assert_allclose(losses(tmp_path), losses(one_device)[:3], rtol=2e-5)
    finish(start(tmp_path, 1, TRANSFORMER))
    np.testing.assert_allclose(losses(tmp_path), losses(one_device), rtol=2e-5)
    np.testing.assert_allclose(nll(tmp_path), nll(one_device), rtol=2e-5)


def free_port():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


@pytest.mark.parametrize("on_device", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_two_processes_train_like_one(tmp_path, on_device):
    # MADE: programs of several processes are not cached, and this one compiles fast.
    changes = MADE | {"train__data_on_device": on_device}
    together, alone, address = tmp_path / "lr[1e-3]", tmp_path / "alone", f"127.0.0.1:{free_port()}"
    processes = [
        start(
            together,
            2,
            changes | {"mesh__fsdp": 2},
            JAX_COORDINATOR_ADDRESS=address,
            JAX_NUM_PROCESSES="2",
            JAX_PROCESS_ID=str(number),
        )
        for number in range(2)
    ]
    outputs = [process.communicate(timeout=240)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], "\n".join(outputs)
    assert "step 4/4" in outputs[0]
    assert "step 4/4" not in outputs[1], "only the first process reports"
    one, two = (set(json.loads(output.partition("rows read: ")[2].splitlines()[0])) for output in outputs)
    assert one | two == set(range(300)), "all rows are scored"
    assert one & two <= {299}, "each process reads its own; the last one fills up the last batch"
    assert len(one) > 100 and len(two) > 100
    finish(start(alone, 1, changes))
    np.testing.assert_allclose(losses(together), losses(alone), rtol=2e-5)
    np.testing.assert_allclose(nll(together), nll(alone), rtol=2e-5)
    if on_device:  # what two processes saved, one goes on with
        finish(start(together, 1, changes | {"train__steps": 5}))
        assert len(losses(together)) == 5
