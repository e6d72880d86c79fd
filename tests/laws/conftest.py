"""With `--dist loadgroup`, one worker takes all tests of a network on an event: they share compiled programs."""

import pytest


def pytest_collection_modifyitems(items):
    for item in items:
        parameters = item.callspec.params if hasattr(item, "callspec") else {}
        if item.path.parent.name == "laws" and "network" in parameters:
            item.add_marker(pytest.mark.xdist_group(f"{parameters['network']}-{parameters.get('event', '')}"))
