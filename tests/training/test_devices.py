"""Law 5, second half: the loss on 8 devices, or in 2 processes, equals that on 1; checkpoints move between them."""

import dataclasses
import json
import socket

import numpy as np
import pytest
from loop_helpers import finish, run_python, tiny_config

from arjax.config.build import build
from arjax.evaluation.report import ERROR_EXAMPLES
from arjax.parallel import distributed
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
    ["scheduled_sampling(final=1)", "scheduled_sampling(passes=0)", "rollout(length=3)", "as_is", "input_noise"],
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
    processes = [
        start(
            2,
            (changes | {"mesh__fsdp": 2}, together),
            JAX_COORDINATOR_ADDRESS=address,
            JAX_NUM_PROCESSES="2",
            JAX_PROCESS_ID=str(number),
        )
        for number in range(2)
    ]
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
