"""A text file of yours, or strings of yours one a line, under the networks of `tiny_shakespeare.py`.

Without a file it learns the soliloquy of Hamlet beside this config (Shakespeare, First Folio of 1623, modern spelling):
enough to see everything work, too little to learn English from. The size is that of nanoGPT's recipe for a CPU
(Karpathy, 2022), with dropout, as a book is smaller than its million characters. Parameters are those that were best on
validation, so a small file may be overfitted without harm.

    arjax --config=configs/text.py:file=book.txt,network=transformer --workdir=runs/book
    arjax --config=configs/text.py:file=names.txt,strings --workdir=runs/names
    arjax --config=configs/text.py:file=names.csv,labels=language --workdir=runs/languages
    arjax --mode=suggest --workdir=runs/book --prompt="to be or n"
"""

from pathlib import Path

from arjax.config import apply_smoke, base_config, dataset_config, network_config, parse_arg, pick, small_network_config

#: options of each network and learning rate
RECIPES = {
    "transformer": ({"width": 128, "num_layers": 4, "num_heads": 4, "unroll": 4}, 2e-3),
    "gru": ({"hidden_size": 350, "num_layers": 1}, 4e-3),
    "lstm": ({"hidden_size": 310, "num_layers": 1}, 4e-3),
    "wavenet": ({"hidden_size": 116, "skip_channels": 256, "num_layers": 7, "dilation_cycle": 7}, 2e-3),
}


def get_config(arg=""):
    """`file`: yours. `strings`: one string a line, instead of one long text. `network`: a name in `RECIPES`.

    `labels`: the column of labels in a csv file, whose column `text` has strings.
    `tokens`: characters or bytes. `min_count`: characters that train has less often share one token. `length`: tokens
    of a window of a long text. `steps`, `dropout`; `smoke`: seconds instead of minutes.
    """
    default = {
        "file": "",
        "labels": "",
        "tokens": "characters",
        "min_count": 2,
        "length": 64,
        "steps": 2000,
        "dropout": 0.1,
    }
    arg = parse_arg(arg, **default, smoke=False, strings=False, network=pick(RECIPES, "transformer"))
    options, learning_rate = RECIPES[arg.network]
    file = arg.file or str(Path(__file__).with_name("hamlet.txt"))
    own = {"file": file, "tokens": arg.tokens, "min_count": 0 if arg.tokens == "bytes" else arg.min_count}
    config = base_config()
    if arg.strings or arg.labels:
        config.dataset = dataset_config("strings", labels=arg.labels, **own)
    else:
        windows = {"length": arg.length, "eval_stride": max(arg.length // 2, 1)}
        config.dataset = dataset_config("text", **own, **windows)
    options = options | {"dropout": arg.dropout}
    config.network = small_network_config(arg.network) if arg.smoke else network_config(arg.network, **options)
    config.optimizer.update(name="adamw", learning_rate=learning_rate, schedule="cosine", warmup_steps=100)
    config.optimizer.update(end_factor=0.1, weight_decay=0.1, clip_norm=1.0, b2=0.99)
    config.train.update(steps=arg.steps, batch_size=32, steps_per_dispatch=25, log_every=100, eval_every=200)
    config.train.update(checkpoint_every=500, ema_decay=0.99)
    config.evaluate.batch_size = 128
    config.sample.update(num=8, temperature=0.8)
    return apply_smoke(config) if arg.smoke else config
