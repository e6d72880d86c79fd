"""The laws compile some hundred small programs: quickly, and each in one process only."""

import pytest


@pytest.fixture(autouse=True, scope="module")
def quick(quick_compilation):
    """For every law."""


def pytest_collection_modifyitems(items):
    """With `--dist loadgroup`, one worker takes all tests of a network on an event: they share compiled programs."""
    for item in items:
        parameters = item.callspec.params if hasattr(item, "callspec") else {}
        if item.path.parent.name == "laws" and "network" in parameters:
            group = f"{parameters['network']}-{parameters.get('event', '')}"
            item.add_marker(pytest.mark.xdist_group(group))
