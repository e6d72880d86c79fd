"""Networks on data whose distribution is known: a hidden Markov model, a Markov chain, or another run.

Examples are drawn from the truth, whose exact conditionals are at hand at every prefix (`dataset.truth`). So the excess
of a network over the least possible nats is its divergence from the truth, and its exposure bias can be measured, not
estimated. Networks have about 30,000 parameters. `data=drawn` needs the workdir of a run without a context:

    arjax --config=configs/known_truth.py --workdir=runs/of_hidden_markov
    arjax --config=configs/known_truth.py:data=markov_chain,network=transformer --workdir=runs/of_chain
    arjax --config=configs/known_truth.py:data=drawn,run=runs/of_hidden_markov,network=lstm --workdir=runs/of_run
"""

from arjax.config import apply_smoke, base_config, dataset_config, network_config, parse_arg, pick, small_network_config

#: options of each network and learning rate
RECIPES = {
    "gru": ({"hidden_size": 72, "num_layers": 1}, 4e-3),
    "lstm": ({"hidden_size": 64, "num_layers": 1}, 4e-3),
    "causal_conv": ({"hidden_size": 40, "num_layers": 6, "kernel_size": 2, "dilation_cycle": 6}, 3e-3),
    "transformer": ({"width": 32, "num_layers": 2, "num_heads": 2, "unroll": 2}, 3e-3),
}
#: options of each data set: states and histories that 20,000 sequences of 64 tokens teach in part
DATA = {
    "hidden_markov": {"states": 32, "levels": 16, "concentration": 0.1},
    "markov_chain": {"order": 2, "levels": 16, "concentration": 0.1},
    "drawn": {},
}


def get_config(arg=""):
    """`data`: hidden_markov, markov_chain, or drawn from the run in `run`; `network`: a name in `RECIPES`; `smoke`.

    `length`: tokens of a sequence, of data that are not drawn from a run.
    """
    more = {"run": "", "length": 64, "smoke": False}
    arg = parse_arg(arg, data=pick(DATA, "hidden_markov"), network=pick(RECIPES, "gru"), **more)
    options, learning_rate = RECIPES[arg.network]
    config = base_config()
    more = {"run": arg.run} if arg.data == "drawn" else {"length": 12 if arg.smoke else arg.length}
    config.dataset = dataset_config(arg.data, num_examples=80 if arg.smoke else 20_000, **DATA[arg.data], **more)
    config.network = small_network_config(arg.network) if arg.smoke else network_config(arg.network, **options)
    config.optimizer.update(name="adamw", learning_rate=learning_rate, schedule="cosine", warmup_steps=100)
    config.optimizer.update(end_factor=0.05, weight_decay=0.01, clip_norm=1.0)
    config.train.update(steps=3000, batch_size=64, steps_per_dispatch=50, log_every=250, eval_every=250)
    config.train.update(checkpoint_every=1000, ema_decay=0.99)
    config.evaluate.batch_size = 500
    return apply_smoke(config) if arg.smoke else config
