"""The binary UCI sets with one set of weights for many orders, scored by the mixture of 16 of them.

EoNADE: Uria, Murray & Larochelle, "A Deep and Tractable Density Estimator" (2014), table 1, all orders. MADE with
mask sampling: Germain, Gregor, Murray & Larochelle, "MADE" (2015), table 4; here a pool of 16 orders, each with its
masks, as a fresh order in every step underfits these small sets. experiments/uci_density has the numbers.

    arjax --config=configs/uci_orders.py:dna,network=made --workdir=runs/uci_orders_dna
"""

from arjax.config import apply_smoke, base_config, dataset_config, network_config, parse_arg, pick, small_network_config

SETS = ("adult", "connect4", "dna", "mushrooms", "nips", "ocr_letters")
#: orders to train on, then for each set: options of the network, learning rate, steps and batch size
RECIPES = {
    "made": (
        "pool(num=16)",
        {
            "adult": ({"hidden_sizes": (1000,), "dropout": 0.2}, 3e-3, 8000, 100),
            "connect4": ({"hidden_sizes": (4000,)}, 1e-2, 20000, 100),
            "dna": ({"hidden_sizes": (1000,), "dropout": 0.6, "input_dropout": 0.2}, 3e-3, 8400, 100),
            "mushrooms": ({"hidden_sizes": (1000,), "dropout": 0.1}, 6e-3, 14000, 100),
            "nips": ({"hidden_sizes": (1000,), "dropout": 0.5, "input_dropout": 0.4}, 1e-3, 2000, 50),
            "ocr_letters": ({"hidden_sizes": (4000,), "dropout": 0.1}, 1e-2, 15000, 100),
        },
    ),
    "deep_nade": (
        "uniform",
        {
            "adult": ({"hidden_sizes": (500,)}, 2e-3, 20000, 100),
            "connect4": ({"hidden_sizes": (500,)}, 2e-3, 20000, 100),
            "dna": ({"hidden_sizes": (500,), "dropout": 0.1}, 2e-3, 4000, 100),
            "mushrooms": ({"hidden_sizes": (500, 500)}, 2e-3, 20000, 100),
            "nips": ({"hidden_sizes": (500,), "dropout": 0.4}, 1e-3, 3000, 100),
            "ocr_letters": ({"hidden_sizes": (500,)}, 2e-3, 20000, 100),
        },
    ),
}


def get_config(arg=""):
    """`set`: one of `SETS`; `network`: one of `RECIPES`; `orders`: another distribution over orders; `smoke`."""
    arg = parse_arg(arg, smoke=False, set=pick(SETS, "dna"), network=pick(RECIPES, "made"), orders="")
    orders, sets = RECIPES[arg.network]
    options, learning_rate, steps, batch_size = sets[arg.set]
    config = base_config()
    config.dataset = dataset_config("uci_binary", set=arg.set)
    config.model.update(orders=arg.orders or orders, conditional="bernoulli")
    config.objective = "order_agnostic"
    config.network = small_network_config(arg.network) if arg.smoke else network_config(arg.network, **options)
    config.optimizer.update(name="adamw", learning_rate=learning_rate, schedule="cosine")
    config.train.update(steps=steps, batch_size=batch_size, steps_per_dispatch=20, ema_decay=0.99)
    config.train.update(log_every=steps // 10, eval_every=steps // 20, checkpoint_every=steps // 4)
    config.evaluate.update(batch_size=1000, num_orders=16)
    return apply_smoke(config) if arg.smoke else config
