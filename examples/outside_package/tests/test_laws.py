"""The network, the conditional and the kind of model of this package keep the laws."""

from arjax.testing import conditional_laws, model_laws, network_laws

test_running_mean = network_laws("running_mean")
test_binomial = conditional_laws("binomial")
test_latent_class = model_laws("latent_class")
