"""Tests of state: parity, arithmetic modulo 5 and products of permutations, trained on short sequences.

Grazzi et al., "Unlocking State-Tracking in Linear RNNs Through Negative Eigenvalues" (ICLR 2025), section 5. Only the
answer at the end of a sequence is scored; `results.json` has its `accuracy` beside the nats. Networks have no positions
and work at any length: `experiments/state_tracking/measure.py` scores the trained ones on sequences of 40 to 256.

A curriculum learns faster and with more seeds: each stage begins with the parameters of the one before.

    arjax --config=configs/state_tracking.py:stage=8,network=delta_net,negative=True --workdir=runs/parity_8
    arjax --config=configs/state_tracking.py:network=delta_net,negative=True,start=runs/parity_8 --workdir=runs/parity
"""

from arjax.config import (
    apply_smoke,
    base_config,
    dataset_config,
    network_config,
    optimizer_config,
    parse_arg,
    pick,
    small_network_config,
)
from arjax.data.generated import TASKS

MIXER = {"hidden_size": 64, "num_layers": 2, "num_heads": 4, "mlp_ratio": 2, "chunk_size": 48}
#: options of each network, of 50,000 to 140,000 parameters, and its learning rate
RECIPES = {
    "rnn": ({"hidden_size": 160}, 5e-4),
    "lstm": ({"hidden_size": 96}, 2e-3),
    "gru": ({"hidden_size": 112}, 2e-3),
    "transformer": ({"width": 64, "num_layers": 2, "num_heads": 4, "position": "none"}, 1e-3),
    "mlstm": (MIXER, 2e-3),
    "mamba2": (MIXER, 5e-3),
    "delta_net": (MIXER, 5e-3),
    "gated_delta_net": (MIXER, 5e-3),
    "min_gru": ({"hidden_size": 64, "num_layers": 2, "mlp_ratio": 2}, 2e-3),
}
#: Stage (its longest sequences; "settle" has new ones of 40) -> train steps of 64, sequences of the train split, factor
#: of the learning rate, weight decay: for easy tasks, and for others, which pass through the train split once.
EASY_TASKS = ("parity", "s5_swaps")
EASY = dict.fromkeys(("8", "16", "24"), (3000, 100_000, 1.0, 0.0))
EASY |= dict.fromkeys(("40", "settle"), (2000, 100_000, 1.0, 0.0))
HARDER = {
    "8": (3000, 200_000, 1.0, 0.1),
    "16": (4000, 300_000, 1.0, 0.1),
    "24": (3000, 300_000, 1.0, 0.1),
    "40": (10_000, 700_000, 0.4, 0.1),
    "settle": (15_000, 1_000_000, 0.4, 0.0),
}
#: Layers of a mixer in harder tasks. Muon trains it on arithmetic, AdamW on permutations.
NUM_LAYERS = 3


def get_config(arg=""):
    """`task`: a name in the `TASKS` of the data set; `network`: a name in `RECIPES`; `negative`: negative eigenvalues
    of some networks; `stage`: a name in `EASY`; `start`: a run whose parameters come first; `seed`; `smoke`: seconds.
    """
    more = {"negative": False, "start": "", "seed": 0, "smoke": False}
    arg = parse_arg(arg, task=pick(TASKS, "parity"), network=pick(RECIPES, "delta_net"), stage=pick(EASY, "40"), **more)
    (options, learning_rate), rule = RECIPES[arg.network], "adamw"
    harder, permutations = arg.task not in EASY_TASKS, arg.task in ("s3", "s5", "s5_swaps")
    steps, num_examples, factor, weight_decay = (HARDER if harder else EASY)[arg.stage]
    if harder and options is MIXER:
        options, rule = options | {"num_layers": NUM_LAYERS}, "adamw" if permutations else "muon"
    signs, config = {"negative_eigenvalues": True} if arg.negative else {}, base_config()
    # A product of three permutations says nothing of the single ones: the first training has sequences of one, too.
    shortest = 1 if permutations and arg.stage == "8" else 3
    longest, num_examples = (6, 80) if arg.smoke else (int(arg.stage.replace("settle", "40")), num_examples)
    sizes = {"shortest": shortest, "longest": longest, "num_examples": num_examples, "seed": int(arg.stage == "settle")}
    config.dataset = dataset_config("state_tracking", task=arg.task, **sizes)
    make = small_network_config if arg.smoke else network_config
    config.network = make(arg.network, **({} if arg.smoke else options), **signs)
    config.optimizer = optimizer_config(rule, schedule="cosine", warmup_steps=100, end_factor=0.05, clip_norm=1.0)
    config.optimizer.update(learning_rate=factor * learning_rate, weight_decay=weight_decay)
    config.seed = arg.seed
    config.train.update(steps=steps, batch_size=64, init_from=arg.start, steps_per_dispatch=50)
    config.train.update(log_every=500, eval_every=500, checkpoint_every=2000)
    config.evaluate.update(batch_size=500, examples=10_000)
    config.sample.num = 1
    return apply_smoke(config) if arg.smoke else config
