"""What a run survives: SIGTERM, SIGINT, kill -9 at any moment."""

import random
import signal
import time

import pytest
from loop_helpers import assert_same_bits, run_python, tiny_config

from arjax.config.build import build
from arjax.reporting.writers import read_metrics
from arjax.training.loop import train
from arjax.training.setup import latest_store

ENDLESS = """
from loop_helpers import tiny_config
from arjax.config.build import build
from arjax.training.loop import train
config = tiny_config(train__steps=100_000, train__checkpoint_every=2, train__log_every=2, train__eval_every=50)
outcome = train(build(config), {workdir!r})
print(outcome.message, flush=True)
raise SystemExit(0 if outcome.status == "interrupted" else 1)
"""


def start_and_wait(workdir, min_step):
    """An endless run that saves all the time, once it has passed `min_step`."""
    process = run_python(ENDLESS.format(workdir=str(workdir)))
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        steps = latest_store(workdir).steps()
        if steps and steps[-1] >= min_step:
            return process
        time.sleep(0.02)
    process.kill()
    raise AssertionError(process.communicate()[0])


def state_after(workdir, step):
    """Goes on to `step` in this process and returns the state there."""
    config = tiny_config(train__steps=step, train__checkpoint_every=2, train__log_every=2, train__eval_every=50)
    outcome = train(build(config), workdir)
    restored = latest_store(workdir).restore(build(config).abstract_state)
    assert outcome.step == restored[0] == step
    return restored[1]


def logged_steps(workdir):
    return [line["step"] for line in read_metrics(workdir) if "train/loss" in line]


@pytest.mark.slow
@pytest.mark.parametrize("kills", [1, 5])
def test_kill_9_at_any_moment(tmp_path, kills):
    killed, chance = tmp_path / "killed", random.Random(kills)
    for _ in range(kills):
        steps = latest_store(killed).steps()
        process = start_and_wait(killed, (steps[-1] if steps else 0) + 4)
        time.sleep(chance.uniform(0.0, 0.3))  # most of the time it is saving
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL
    last = latest_store(killed).steps()[-1] + 4
    assert_same_bits(state_after(killed, last), state_after(tmp_path / "straight", last))
    assert logged_steps(killed) == list(range(2, last + 1, 2)), "no line is lost or doubled"
    assert all(path.name.isdigit() for path in latest_store(killed).directory.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_signals_save_and_exit_cleanly(tmp_path, number):
    process = start_and_wait(tmp_path, 2)
    process.send_signal(number)
    output = process.communicate(timeout=60)[0]
    assert process.returncode == 0, output
    step = latest_store(tmp_path).steps()[-1]
    assert f"stopped at step {step} of 100000; the same command goes on from there" in output
    assert_same_bits(state_after(tmp_path, step + 1), state_after(tmp_path / "straight", step + 1))
