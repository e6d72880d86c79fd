"""Digits with the network and the conditional of this package."""

from arjax.config import apply_smoke, base_config, dataset_config, network_config, parse_arg


def get_config(arg=""):
    """`smoke`: seconds instead of minutes."""
    arg = parse_arg(arg, smoke=False)
    config = base_config()
    config.dataset = dataset_config("digits")
    config.network = network_config("running_mean", hidden_size=16 if arg.smoke else 128)
    config.model.conditional = "binomial"
    config.train.steps = 1000
    return apply_smoke(config) if arg.smoke else config
