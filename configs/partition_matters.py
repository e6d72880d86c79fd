"""Cost and gain of larger blocks: binarized MNIST in blocks of 1 to 28 pixels of a row, under a MADE of 500 units.

The sites of a block are drawn in one step: independent given the past, by a mixture of products, or by a MADE of their
own (`nested`). Short runs, all alike; see experiments/partition_matters for the numbers.

    arjax --config=configs/partition_matters.py:block=7,within=nested --workdir=runs/blocks_of_7
"""

from arjax.config import apply_smoke, base_config, dataset_config, network_config, parse_arg, pick

#: dependence between the sites of a block; a block of one site is the same under all
WITHIN = {
    "independent": "bernoulli",
    "mixture": "mixture_of_products(components=4)",
    "nested": "nested(network='made', hidden_sizes=(64,), features=4)",
}


def get_config(arg=""):
    """`block`: pixels per step, a divisor of 784; `within`: a name in `WITHIN`; `smoke`: seconds, not a minute."""
    arg = parse_arg(arg, smoke=False, block=7, within=pick(WITHIN, "mixture"))
    config = base_config()
    config.dataset = dataset_config("binarized_mnist")
    config.model.update(partition=f"blocks(size={arg.block})", conditional=WITHIN[arg.within])
    config.network = network_config("made", hidden_sizes=(16,) if arg.smoke else (500,))
    config.optimizer.update(learning_rate=2e-3, schedule="cosine")
    config.train.update(epochs=2.0, batch_size=100, steps_per_dispatch=50, ema_decay=0.99)
    config.train.update(log_every=250, eval_every=500, checkpoint_every=1000)
    config.evaluate.batch_size = 250
    config.sample.num = 16
    return apply_smoke(config) if arg.smoke else config
