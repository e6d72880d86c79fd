"""The config that the tests of populations share."""

from arjax.config import base_config, dataset_config, network_config


def small_config(network="made", /, **options):
    config = base_config()
    config.dataset = dataset_config("digits")
    config.network = network_config(network, **(options or {"hidden_sizes": (12,), "dropout": 0.2, "direct": False}))
    config.train.update(steps=5, batch_size=16, steps_per_dispatch=2, log_every=5, eval_every=2, checkpoint_every=5)
    config.train.ema_decay = 0.9
    config.optimizer.update(learning_rate=1e-2)
    config.evaluate.batch_size = 128
    return config
