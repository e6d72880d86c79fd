"""The laws compile thousands of small programs: quickly, each in one process only, and not all of them every time."""

import law_cases as cases
import pytest

from arjax.networks import NETWORKS

#: Other networks take one combination of so many of each law.
STRIDE = 16


def pytest_collection_modifyitems(items):
    """With `--dist loadgroup`, one worker takes all tests of a network on an event: they share compiled programs.

    Networks that are not thorough take every sixteenth combination of each law, beginning at another one each; the
    others are `slow`. Laws 1 and 3 begin alike, so a network takes the same of both, and they compile to the same
    programs.
    """
    laws = [item for item in items if item.path.parent.name == "laws" and "network" in _parameters(item)]
    combinations = {}
    for item in laws:
        combinations.setdefault(item.path, {}).setdefault(_combination(item))
    for item in laws:
        network, event = _parameters(item)["network"], _parameters(item).get("event", "")
        item.add_marker(pytest.mark.xdist_group(f"{network}-{event}"))
        turn = list(combinations[item.path]).index(_combination(item)) + NETWORKS.names().index(network)
        ordering = _parameters(item).get("ordering")
        left_out = ordering is not None and ordering not in cases.some(cases.ORDERING_CALLS, network)
        if network not in cases.THOROUGH and (turn % STRIDE or left_out):
            item.add_marker(pytest.mark.slow)


def _parameters(item) -> dict:
    return item.callspec.params if hasattr(item, "callspec") else {}


def _combination(item) -> tuple:
    """Orders share a compiled program, and have a stride of their own."""
    chosen = sorted((key, value) for key, value in _parameters(item).items() if key not in ("network", "ordering"))
    return item.originalname, *chosen
