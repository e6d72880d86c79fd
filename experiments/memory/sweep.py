"""Tests of memory: nine networks of about 70,000 parameters, and delays of 100 to 1,000.

arjax-sweep --sweep=experiments/memory/sweep.py --workdir=runs/memory --jobs=1
"""

from arjax.sweep import Run

#: name -> words
NETWORKS = {
    "rnn": "RNN",
    "lstm": "LSTM",
    "gru": "GRU",
    "tcn": "TCN",
    "wavenet": "WaveNet",
    "transformer": "Transformer",
    "transformer_xl": "Transformer-XL",
    "linear_attention": "linear attention",
    "rg_lru": "RG-LRU",
}
DELAYS = (100, 200, 500, 1000)
LENGTHS = (200, 400)


def get_sweep():
    """Copy memory at each delay, by the nats of the ten copies (20.79 without memory); adding, by the squared error."""
    rows = []
    for delay in DELAYS:
        for name, words in NETWORKS.items():
            config = f"configs/memory.py:task=copy_memory,delay={delay},network={name}"
            about = {"dataset": f"copy memory, {delay}", "model": words, "metric": "nll_nats"}
            rows.append(Run(f"copy-{delay}-{name}", config, {}, **about))
    for length in LENGTHS:
        for name, words in NETWORKS.items():
            config = f"configs/memory.py:task=adding,length={length},network={name}"
            about = {"dataset": f"adding, {length}", "model": words, "metric": "squared_error"}
            rows.append(Run(f"adding-{length}-{name}", config, {}, **about))
    return rows
