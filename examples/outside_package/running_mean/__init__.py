"""A network, a conditional and a kind of model. Importing the package registers them, as its entry point does."""

from running_mean import conditional, latent_class, network  # noqa: F401
