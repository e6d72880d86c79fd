"""The network and the conditional of this package keep the laws."""

from arjax.testing import conditional_laws, network_laws

test_running_mean = network_laws("running_mean")
test_binomial = conditional_laws("binomial")
