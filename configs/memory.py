"""Tests of memory: symbols copied after a pause, and the sum of two marked numbers among many.

Bai, Kolter & Koltun, "An Empirical Evaluation of Generic Convolutional and Recurrent Networks for Sequence Modeling"
(2018), section 4. Only the answer is scored: the ten copies, 20.79 nats without memory, or the sum, whose squared error
is 1/6 without memory; `results.json` has the `accuracy` or the `squared_error` beside the nats. All networks have about
70,000 parameters, the size of the paper's networks for adding, and look back over the whole sequence. A Gaussian of
the sum has a scale of at least 0.01 (`min_log_scale`), below which better sums count for little more.

    arjax --config=configs/memory.py:task=copy_memory,delay=100,network=lstm --workdir=runs/copy_lstm
    arjax --config=configs/memory.py:task=adding,length=100,network=tcn --workdir=runs/adding_tcn
"""

import math

from arjax.config import apply_smoke, base_config, dataset_config, network_config, parse_arg, pick, small_network_config

ATTENTION = {"width": 48, "num_layers": 2, "num_heads": 1}  # one offset is all that a copy asks for
#: heads of 14 features: with chunks of 16 steps a gradient takes .7 of the time that it takes with chunks of 64
MIXER = {"num_layers": 2, "num_heads": 4, "mlp_ratio": 2, "chunk_size": 16}
#: options of each network and learning rate; those that depend on the length of a sequence are below
RECIPES = {
    "rnn": ({"hidden_size": 180}, 1e-3),
    "gru": ({"hidden_size": 106}, 2e-3),
    "lstm": ({"hidden_size": 92}, 2e-3),
    "causal_conv": ({"hidden_size": 56}, 2e-3),
    "wavenet": ({"hidden_size": 36, "skip_channels": 72}, 2e-3),
    "tcn": ({"kernel_size": 8}, 2e-3),  # as in the paper for copies
    "transformer": (ATTENTION, 2e-3),
    "transformer_xl": (ATTENTION | {"width": 52, "segment": 32}, 2e-3),
    "linear_attention": (ATTENTION, 2e-3),
    "rg_lru": ({"hidden_size": 48, "num_layers": 2}, 2e-3),
    "mamba2": ({"hidden_size": 68, "num_layers": 2, "num_heads": 4, "state_size": 32}, 2e-3),
    "delta_net": (MIXER | {"hidden_size": 56}, 2e-3),
    "gated_delta_net": (MIXER | {"hidden_size": 56}, 2e-3),
    "mlstm": (MIXER | {"hidden_size": 56}, 2e-3),
    "min_gru": ({"hidden_size": 60, "num_layers": 2, "mlp_ratio": 2}, 2e-3),
}


def reach(network, sites):
    """The options with which a network of about 70,000 parameters looks back over so many sites."""
    doublings = math.ceil(math.log2(sites))
    if network in ("causal_conv", "wavenet"):
        return {"num_layers": doublings, "dilation_cycle": doublings}
    if network == "tcn":  # two convolutions of dilation 2^i in layer i look back 14 (2^L - 1) sites
        layers = math.ceil(math.log2(1 + sites / 14))
        return {"num_layers": layers, "hidden_size": round(math.sqrt(70_000 / (16 * layers)))}
    return {"transformer_xl": {"memory": sites}}.get(network, {})


def get_config(arg=""):
    """`task`: copy_memory (`delay` tokens) or adding (`length` numbers); `network`: a name in `RECIPES`; `smoke`."""
    task = pick(("copy_memory", "adding"), "copy_memory")
    arg = parse_arg(arg, task=task, network=pick(RECIPES, "lstm"), delay=100, length=100, smoke=False)
    options, learning_rate = RECIPES[arg.network]
    config = base_config()
    copies = arg.task == "copy_memory"
    sizes = {"delay": 4 if arg.smoke else arg.delay} if copies else {"length": 8 if arg.smoke else arg.length}
    examples = 80 if arg.smoke else 10_000 if copies else 50_000  # a quarter more for validation
    config.dataset = dataset_config(arg.task, num_examples=examples, **sizes)
    options = options | reach(arg.network, arg.delay + 20 if copies else arg.length + 1)
    config.network = small_network_config(arg.network) if arg.smoke else network_config(arg.network, **options)
    config.model.conditional = "" if copies else "gaussian(min_log_scale=-4.6)"
    config.optimizer.update(name="adam", learning_rate=learning_rate, schedule="cosine", warmup_steps=100)
    config.optimizer.update(end_factor=0.05, clip_norm=1.0)
    steps = 1000 if copies and arg.delay >= 500 else 2000  # long sequences take long
    config.train.update(steps=steps, batch_size=32, steps_per_dispatch=50, log_every=250, eval_every=250)
    config.train.update(checkpoint_every=1000)
    config.evaluate.batch_size = 500
    return apply_smoke(config) if arg.smoke else config
