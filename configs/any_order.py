"""The price of any order: one Transformer in a fixed order against three that support all orders, at equal steps.

two_position: every token knows where it is and which site comes next. two_stream: Yang et al., "XLNet" (2019), section
2.3; half_raster: the same, with raster order for half of the examples. masked: Hoogeboom et al., "Autoregressive
Diffusion Models" (2022), section 3. On the digits, or on windows of 32
characters of tiny Shakespeare. experiments/any_order has the numbers.

    arjax --config=configs/any_order.py:digits,form=two_stream --workdir=runs/any_order
"""

from arjax.config import apply_smoke, base_config, dataset_config, network_config, parse_arg, pick

DATA = {"digits": {}, "tiny_shakespeare": {"length": 32, "eval_stride": 32}}
#: network and distribution over orders of each form
FORMS = {
    "fixed": ("transformer", ""),
    "two_position": ("transformer", "uniform"),
    "two_stream": ("two_stream", "uniform"),
    "half_raster": ("two_stream", "weighted(of=('raster', 'uniform'), weights=(.5, .5))"),
    "masked": ("masked_transformer", "uniform"),
}


def get_config(arg=""):
    """`data`: a name in `DATA`; `form`: a name in `FORMS`; `steps` of training; `smoke`: seconds, not minutes."""
    arg = parse_arg(arg, smoke=False, data=pick(DATA, "digits"), form=pick(FORMS, "two_position"), steps=1000)
    network, orders = FORMS[arg.form]
    config = base_config()
    config.dataset = dataset_config(arg.data, **DATA[arg.data])
    config.model.orders = orders
    config.objective = "order_agnostic(orders_per_batch=0)" if orders else "teacher_forcing"
    size = {"width": 16, "num_layers": 2, "num_heads": 2} if arg.smoke else {"width": 96, "num_layers": 3}
    config.network = network_config(network, **size, dropout=0.1, unroll=size["num_layers"])
    config.optimizer.update(name="adamw", learning_rate=2e-3, schedule="cosine", end_factor=0.01)
    config.optimizer.update(warmup_steps=100, weight_decay=0.05, clip_norm=1.0, b2=0.99)
    config.train.update(steps=arg.steps, batch_size=32, steps_per_dispatch=25, ema_decay=0.99)
    config.train.update(log_every=200, eval_every=500, checkpoint_every=500)
    config.evaluate.update(batch_size=100, num_orders=4 if orders else 1)
    config.sample.num = 16
    return apply_smoke(config) if arg.smoke else config
