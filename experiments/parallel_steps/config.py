"""Models of all orders for the study of parallel sampling: three Transformers and ConvNADE, on digits, on binarized
MNIST of every second pixel, and on windows of 64 characters.

    arjax --config=experiments/parallel_steps/config.py:data=digits,form=masked --workdir=runs/digits-masked
"""

import dataclasses

import numpy as np

from arjax.config import apply_smoke, base_config, dataset_config, network_config, parse_arg, pick
from arjax.core.batch import Batch
from arjax.core.spec import EventSpec
from arjax.data import DATASETS, Dataset, make_dataset
from arjax.data.base import from_arrays
from arjax.data.sources import ArraySource

#: Data set with its options; train steps of the forms that learn from all sites at once, and of those that learn from
#: one random step of each example.
DATA = {
    "digits": ("digits", {}, 800, 2000),
    "text": ("few_windows", {}, 1200, 4000),
    "mnist": ("half_mnist", {}, 200, 600),
}
#: Train steps of all forms where training is to be `short`, and the width of the Transformers then.
SHORT, NARROW = {"digits": 600, "text": 800, "mnist": 300}, {"width": 48}
TRANSFORMER = {"width": 64, "num_layers": 2, "num_heads": 4, "dropout": 0.05, "unroll": 2}
FORMS = {
    "masked": ("masked_transformer", TRANSFORMER),
    "two_position": ("transformer", TRANSFORMER),
    "two_stream": ("two_stream", TRANSFORMER),
    "conv_nade": ("conv_nade", {"channels": 24, "num_layers": 3, "kernel_size": 3, "hidden_sizes": (128,)}),
}
#: Examples that are scored of each split: the masked forms need a pass per site and example for an exact score.
SCORED = 200


@DATASETS.register("half_mnist")
def half_mnist(*, data_dir: str = "") -> Dataset:
    """Every second row and column of binarized MNIST, 14 x 14 pixels, and the first images of each split."""
    whole = make_dataset("binarized_mnist", data_dir=data_dir)
    splits = {}
    for split, num in (("train", 10000), ("validation", SCORED), ("test", SCORED)):
        x = np.asarray(whole.splits[split].__getitems__(np.arange(num)).x)
        splits[split] = {"x": x[:, ::2, ::2].astype(np.uint8)}
    return from_arrays(EventSpec((14, 14)), name="half_mnist", **splits)


@DATASETS.register("few_windows")
def few_windows(*, data_dir: str = "") -> Dataset:
    """Windows of 64 characters of tiny Shakespeare, of which the first few of each split are scored."""
    whole = make_dataset("tiny_shakespeare", length=64, data_dir=data_dir)
    few = {split: whole.splits[split].__getitems__(np.arange(SCORED)) for split in ("validation", "test")}
    few = {split: ArraySource(whole.event, Batch(batch.x, mask=batch.mask)) for split, batch in few.items()}
    return dataclasses.replace(whole, name="few_windows", splits=dict(whole.splits) | few)


def get_config(arg=""):
    """`data`: a name in `DATA`; `form`: a name in `FORMS`; `short`: two minutes of training; `smoke`: seconds."""
    arg = parse_arg(arg, smoke=False, short=False, data=pick(DATA, "digits"), form=pick(FORMS, "masked"))
    (name, options, whole_steps, single_steps), (network, sizes) = DATA[arg.data], FORMS[arg.form]
    steps = single_steps if arg.form in ("masked", "conv_nade") else whole_steps
    if arg.short:
        steps, sizes = SHORT[arg.data], sizes | (NARROW if "width" in sizes else {})
    config = base_config()
    config.dataset = dataset_config(name, **options)
    config.model.orders = "uniform"
    config.objective = "order_agnostic(orders_per_batch=0)"
    small = {"width": 16, "num_layers": 1, "num_heads": 2} if network != "conv_nade" else {"channels": 4}
    config.network = network_config(network, **sizes | (small if arg.smoke else {}))
    config.optimizer.update(name="adamw", learning_rate=3e-3, schedule="cosine", end_factor=0.01)
    config.optimizer.update(warmup_steps=100, weight_decay=0.05, clip_norm=1.0, b2=0.99)
    config.train.update(steps=steps, batch_size=32, steps_per_dispatch=25, ema_decay=0.99)
    config.train.update(log_every=100, eval_every=steps, checkpoint_every=200)
    config.evaluate.update(batch_size=50)
    config.sample.num = 4
    return apply_smoke(config) if arg.smoke else config
