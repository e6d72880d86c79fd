"""The devices of a run, as its report names them: of a CPU the cores that the process may use."""

import pytest

from arjax.training import results


@pytest.mark.parametrize(("cores", "name"), [([1], "CPU, 1 core"), ([0, 2, 3], "CPU, 3 cores")])
def test_cores_are_those_that_the_process_may_use(cores, name, monkeypatch):
    monkeypatch.setattr(results, "usable_cores", lambda: cores)
    assert results.device_name() == name
