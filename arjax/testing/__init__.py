"""The laws that components of other packages must keep, each in one line of a pytest file:

    from arjax.testing import network_laws

    test_my_network = network_laws("my_network")

Needs numpy and jax alone; pytest where the result is to be a test.
"""

from arjax.testing.examples import CONTEXTS, EVENTS
from arjax.testing.laws import LawBroken
from arjax.testing.network import check_network, network_laws

__all__ = ["CONTEXTS", "EVENTS", "LawBroken", "check_network", "network_laws"]
