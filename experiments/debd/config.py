"""Nine binary sets of the density estimation benchmark DEBD, by networks with one order or with many.

Rooshenas & Lowd, "Learning Sum-Product Networks with Direct and Indirect Variable Interactions" (ICML 2014), tables 1
and 3. The folder of the sets holds either the published files, `nltcs.train.data` and so on, or one `nltcs.npz` for
each set with packed bits.

    arjax --config=experiments/debd/config.py:nltcs,network=made,folder=debd --workdir=runs/debd/nltcs-made
"""

import os
from pathlib import Path

import numpy as np

from arjax.config import apply_smoke, base_config, dataset_config, network_config, parse_arg, pick, small_network_config
from arjax.core.errors import UserError
from arjax.core.spec import EventSpec
from arjax.data import DATASETS, Dataset
from arjax.data.base import from_arrays

SETS = ("nltcs", "plants", "baudio", "jester", "bnetflix", "accidents", "pumsb_star", "dna", "bbc")
FILES = {"train": "train", "validation": "valid", "test": "test"}
#: For each set: units of a layer, dropout of units and of inputs, train steps; the first for MADE, the second for NADE.
RECIPES = {
    "nltcs": ((500, 0.1, 0.0, 4000), (300, 0.0, 4000)),
    "plants": ((1000, 0.2, 0.0, 8000), (500, 0.0, 6000)),
    "baudio": ((1000, 0.5, 0.0, 8000), (500, 0.2, 4000)),
    "jester": ((1000, 0.6, 0.0, 6000), (500, 0.3, 3000)),
    "bnetflix": ((1000, 0.5, 0.0, 8000), (500, 0.2, 4000)),
    "accidents": ((1000, 0.2, 0.0, 8000), (500, 0.0, 6000)),
    "pumsb_star": ((1000, 0.2, 0.0, 8000), (500, 0.0, 6000)),
    "dna": ((1000, 0.6, 0.2, 6000), (500, 0.3, 3000)),
    "bbc": ((500, 0.6, 0.4, 2000), (250, 0.5, 2000)),
}


@DATASETS.register("debd")
def debd(*, set: str = "nltcs", folder: str = "") -> Dataset:
    """A set of DEBD: binary variables, with the published rows of train, validation and test.

    Args:
      set: the name of the set, such as "plants".
      folder: where the files are; "" for `debd` in `$ARJAX_RAW_DATA`.
    """
    at = Path(folder or os.path.join(os.environ.get("ARJAX_RAW_DATA", ""), "debd"))
    if (packed := at / f"{set}.npz").is_file():
        with np.load(packed) as file:
            splits = {split: np.unpackbits(file[name], axis=1)[:, : int(file["dim"])] for split, name in FILES.items()}
    elif (at / f"{set}.train.data").is_file():
        splits = {
            split: np.loadtxt(at / f"{set}.{name}.data", np.uint8, delimiter=",") for split, name in FILES.items()
        }
    else:
        raise UserError(f"{at} holds neither {set}.npz nor {set}.train.data, a set of DEBD")
    return from_arrays(EventSpec(splits["train"].shape[1:]), name=f"debd/{set}", **splits)


def get_config(arg=""):
    """`set`: one of `SETS`; `network`: made (a pool of 16 orders) or deep_nade (any order); `smoke`: seconds.

    `folder`: that of the sets; `dropout`, `units` and `steps` replace those of the recipe.
    """
    arg = parse_arg(
        arg,
        smoke=False,
        set=pick(SETS, "nltcs"),
        network=pick(("made", "deep_nade"), "made"),
        folder="",
        dropout=-1.0,
        units=0,
        steps=0,
    )
    (units, dropout, inputs, steps), (nade_units, nade_dropout, nade_steps) = RECIPES[arg.set]
    if arg.network == "deep_nade":
        units, dropout, steps = nade_units, nade_dropout, nade_steps
    options = {"dropout": dropout if arg.dropout < 0 else arg.dropout}
    units, steps = arg.units or units, arg.steps or steps
    options["hidden_sizes"] = (units, units) if arg.network == "deep_nade" else (units,)
    if arg.network == "made":
        options["input_dropout"] = inputs
    config = base_config()
    config.dataset = dataset_config("debd", set=arg.set, folder=arg.folder)
    config.model.conditional = "bernoulli"
    config.model.orders = "pool(num=16)" if arg.network == "made" else "uniform"
    config.objective = "order_agnostic"
    config.network = small_network_config(arg.network) if arg.smoke else network_config(arg.network, **options)
    config.optimizer.update(name="adamw", learning_rate=2e-3 if arg.network == "deep_nade" else 3e-3, schedule="cosine")
    config.train.update(steps=steps, batch_size=100, steps_per_dispatch=20, ema_decay=0.99)
    config.train.update(log_every=steps // 10, eval_every=steps // 20, checkpoint_every=steps // 4)
    config.evaluate.update(batch_size=500, num_orders=16)
    return apply_smoke(config) if arg.smoke else config
