"""One network of any order on 6 x 6 Sudoku grids, whose entropy is known: log 28,200,960 = 17.15 nats.

arjax --config=experiments/planners/config.py --workdir=runs/planners/0
"""

from arjax.config import apply_smoke, base_config, dataset_config, network_config, parse_arg, pick

TRANSFORMER = {"width": 64, "num_layers": 4, "num_heads": 4, "unroll": 4}
#: network, its options, and its learning rate
FORMS = {
    "deep_nade": ("deep_nade", {"hidden_sizes": (512, 512)}, 2e-3),
    "deeper": ("deep_nade", {"hidden_sizes": (768, 768, 768)}, 1e-3),
    "masked": ("masked_transformer", TRANSFORMER, 2e-3),
}


def get_config(arg=""):
    """`form`: a name in `FORMS`; `steps` of training; `smoke`: seconds, not minutes, on 4 x 4 grids.

    `start`: the workdir of a run of this config, for whose network an order is learned; the network itself keeps its
    parameters but for a ten-thousandth.
    """
    arg = parse_arg(arg, smoke=False, form=pick(FORMS, "deep_nade"), steps=20_000, start="")
    network, options, learning_rate = FORMS[arg.form]
    small = {"hidden_sizes": (16,)} if network == "deep_nade" else {"width": 16, "num_layers": 1, "num_heads": 2}
    config = base_config()
    config.dataset = dataset_config("sudoku", size=4 if arg.smoke else 6, num_examples=400 if arg.smoke else 500_000)
    config.model.orders = "uniform"
    config.objective = "order_agnostic(orders_per_batch=0)"
    config.network = network_config(network, **options | (small if arg.smoke else {}))
    config.optimizer.update(name="adamw", learning_rate=learning_rate, schedule="cosine", end_factor=0.01)
    config.optimizer.update(warmup_steps=200, weight_decay=0.01, clip_norm=1.0, b2=0.99)
    config.train.update(steps=arg.steps, batch_size=128, steps_per_dispatch=25, ema_decay=0.995)
    config.train.update(log_every=500, eval_every=max(1, arg.steps // 6), checkpoint_every=2000)
    config.evaluate.update(batch_size=250, examples=1000)
    config.sample.num = 4
    if arg.start:  # the policy alone learns
        config.objective = "learned_order(orders_per_step=8, learning_rate=.1)"
        config.optimizer.update(learning_rate=1e-7, schedule="constant", warmup_steps=0)
        config.train.update(init_from=arg.start, steps=100, batch_size=16, ema_decay=0.0, log_every=50, eval_every=100)
    return apply_smoke(config) if arg.smoke else config
