"""Digits with the kind of model of this package, alone or mixed with another kind."""

from arjax.config import apply_smoke, base_config, dataset_config, model_config, parse_arg, part


def get_config(arg=""):
    """`smoke`: seconds instead of minutes. `mixed`: in a mixture with a network of one order."""
    arg = parse_arg(arg, smoke=False, mixed=False, num_classes=20)
    config = base_config()
    config.dataset = dataset_config("digits")
    config.model = model_config("latent_class", num_classes=arg.num_classes)
    if arg.mixed:
        config.parts = {"classes": part(model=config.model), "network": part("made", hidden_sizes=(50,))}
        config.model = model_config("mixture")
    config.optimizer.learning_rate = 3e-2
    config.train.steps = 1000
    return apply_smoke(config) if arg.smoke else config
