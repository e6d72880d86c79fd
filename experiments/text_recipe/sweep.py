"""What each piece of a recipe gives on tiny Shakespeare, one at a time, and the recipes of configs/text.py.

arjax-sweep --sweep=experiments/text_recipe/sweep.py --workdir=runs/text_recipe
arjax-sweep --sweep=experiments/text_recipe/sweep.py:part=recipes --workdir=runs/text_recipe
"""

from arjax.config import parse_arg, pick
from arjax.sweep import Run

BASE = "configs/tiny_shakespeare.py:network=transformer"
HYBRID = "configs/tiny_shakespeare.py:network=hybrid"
GRU = "configs/tiny_shakespeare.py:network=gru"
LLAMA = {"network.norm_kind": "rms", "network.mlp_kind": "gated", "network.mlp_size": 344, "network.activation": "silu"}
MUON = ",optimizer=muon"
#: name -> words, config, what is changed
PIECES = {
    "base": ("Transformer", BASE, {}),
    "dropout": ("dropout .1", BASE, {"network.dropout": 0.1}),
    "no_average": ("no average of the parameters", BASE, {"train.ema_decay": 0.0}),
    "wsd": ("warmup, stable, decay", BASE, {"optimizer.schedule": "wsd"}),
    "cautious": ("cautious weight decay", BASE, {"optimizer.cautious_decay": True}),
    "muon": ("Muon", BASE + MUON, {}),
    "muon_twice": ("Muon, twice the rate", BASE + MUON, {"optimizer.learning_rate": 4e-3}),
    "rotary": ("rotary positions", BASE, {"network.position": "none", "network.rotary": True}),
    "gated": ("gated MLP, root mean squares", BASE, LLAMA),
    "squared_relu": ("squared ReLU", BASE, {"network.activation": "squared_relu"}),
    "qk_norm": ("normalised queries and keys", BASE, {"network.qk_norm": True}),
    "soft_cap": ("soft cap of 15", BASE, {"model.conditional": "categorical(soft_cap=15)"}),
    "zero_init": ("layers that start at 0", BASE, {"network.zero_init": True}),
    "convolutions": ("gated convolutions between attention", HYBRID, {}),
    "delta": ("gated DeltaNet between attention", HYBRID, {"network.layers": "gated_delta_net, attention, " * 2}),
    "gru": ("GRU", GRU, {}),
    "gru_muon": ("GRU, Muon", GRU + MUON, {}),
}
#: minutes of configs/text.py -> seeds
RECIPES = {"1": 1, "3": 1, "10": 3}


def get_sweep(arg=""):
    """`part`: "pieces", "recipes", or all of both."""
    arg = parse_arg(arg, part=pick(("all", "pieces", "recipes"), "all"))
    pieces = [
        Run(name, config, changes, model=words, metric="nll_nats_per_char")
        for name, (words, config, changes) in PIECES.items()
    ]
    recipes = [_recipe(minutes, seed) for minutes, seeds in RECIPES.items() for seed in range(seeds)]
    return {"pieces": pieces, "recipes": recipes, "all": pieces + recipes}[arg.part]


def _recipe(minutes, seed):
    config = f"configs/text.py:file=tiny_shakespeare,minutes={minutes}"
    words = f"GRU, the recipe of {minutes} minute" + "s" * (minutes != "1")
    return Run(f"minutes-{minutes}-{seed}", config, {"seed": seed}, model=words, metric="nll_nats_per_char")
