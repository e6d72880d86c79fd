"""A text file of yours, or strings of yours one a line, under a recurrent network, or one of `tiny_shakespeare.py`.

Without a file it learns the soliloquy of Hamlet beside this config (Shakespeare, First Folio of 1623, modern spelling):
enough to see everything work, too little to learn English from. `minutes` chooses among three recipes, whose minutes
are those of two CPU cores. Expected on tiny Shakespeare (`file=tiny_shakespeare`): see experiments/text_recipe. The
parameters are those that were best on validation, and the training stops when three evaluations were not better: a
small file may be overfitted without harm.

    arjax --config=configs/text.py:file=book.txt --workdir=runs/book
    arjax --config=configs/text.py:minutes=1 --workdir=runs/hamlet
    arjax --config=configs/text.py:file=names.txt,strings --workdir=runs/names
    arjax --config=configs/text.py:file=names.csv,labels=language --workdir=runs/languages
    arjax --mode=suggest --workdir=runs/book --prompt="to be or n"
"""

from pathlib import Path

from arjax.config import apply_smoke, base_config, dataset_config, network_config, parse_arg, pick, small_network_config

#: minutes -> units of the GRU, train steps, dropout
RECIPES = {"1": (256, 700, 0.05), "3": (320, 1700, 0.1), "10": (350, 4900, 0.15)}
#: options of each network of the size of nanoGPT's recipe for a CPU (Karpathy, 2022), and learning rate
NETWORKS = {
    "gru": ({"num_layers": 1}, 4e-3),
    "transformer": ({"width": 128, "num_layers": 4, "num_heads": 4, "unroll": 4}, 2e-3),
    "lstm": ({"hidden_size": 310, "num_layers": 1}, 4e-3),
    "wavenet": ({"hidden_size": 116, "skip_channels": 256, "num_layers": 7, "dilation_cycle": 7}, 2e-3),
}


def get_config(arg=""):
    """`file`: yours, or `tiny_shakespeare`. `minutes`: a name in `RECIPES`. `network`: a name in `NETWORKS`; all but
    the first one have the same size in all recipes.

    `strings`: one string a line, instead of one long text. `labels`: the column of labels in a csv file, whose column
    `text` has strings. `tokens`: characters or bytes. `min_count`: characters that train has less often share one
    token. `length`: tokens of a window of a long text. `smoke`: seconds instead of minutes.
    """
    default = {"file": "", "labels": "", "tokens": "characters", "min_count": 2, "length": 128, "strings": False}
    arg = parse_arg(arg, **default, smoke=False, minutes=pick(RECIPES, "10"), network=pick(NETWORKS, "gru"))
    size, steps, dropout = RECIPES[arg.minutes]
    options, learning_rate = NETWORKS[arg.network]
    options = {"dropout": dropout} | ({"hidden_size": size} if arg.network == "gru" else {}) | options
    config = base_config()
    config.dataset = _dataset(arg)
    config.network = small_network_config(arg.network) if arg.smoke else network_config(arg.network, **options)
    config.optimizer.update(name="adamw", learning_rate=learning_rate, schedule="cosine", warmup_steps=100)
    config.optimizer.update(end_factor=0.02, weight_decay=0.1, clip_norm=1.0, b2=0.99)
    config.train.update(steps=steps, batch_size=16, steps_per_dispatch=10, log_every=100)
    config.train.update(eval_every=steps // 10, checkpoint_every=steps // 10, patience=3, ema_decay=0.99)
    config.evaluate.batch_size = 128
    config.sample.update(num=8, temperature=0.8)
    return apply_smoke(config) if arg.smoke else config


def _dataset(arg):
    windows = {"length": arg.length, "eval_stride": max(arg.length // 2, 1)}
    if arg.file == "tiny_shakespeare":
        return dataset_config("tiny_shakespeare", **windows)
    file = arg.file or str(Path(__file__).with_name("hamlet.txt"))
    fields = {"file": file, "tokens": arg.tokens, "min_count": 0 if arg.tokens == "bytes" else arg.min_count}
    if arg.strings or arg.labels:
        return dataset_config("strings", labels=arg.labels, **fields)
    return dataset_config("text", **fields, **windows)
