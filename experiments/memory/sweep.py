"""Tests of memory: fourteen networks of about 70,000 parameters, delays of 100 to 1,000; text with and without memory.

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
    "mamba2": "Mamba-2",
    "delta_net": "DeltaNet",
    "gated_delta_net": "gated DeltaNet",
    "mlstm": "mLSTM",
    "min_gru": "minGRU",
}
DELAYS = (100, 200, 500, 1000)
LENGTHS = (200, 400)
#: Characters of memory of a Transformer-XL in training.
TEXT_MEMORIES = (0, 256)
TEXT = "configs/tiny_shakespeare.py:network=transformer_xl,eval_stride=512"
#: Windows of 16 segments; the second half of each is scored, with 512 characters or more before it.
WINDOWS = {"dataset.length": 1024, "network.segment": 64, "train.batch_size": 4, "train.steps": 800}
WINDOWS |= {"evaluate.batch_size": 16, "sample.num": 1}


def name_of_text(memory):
    """The name of a row of text."""
    return f"text-{memory}"


def get_sweep():
    """Copy memory at each delay, by the nats of the ten copies (20.79 without memory); adding, by the squared error;
    text by nats per character.
    """
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
    for memory in TEXT_MEMORIES:
        words = f"Transformer-XL, memory of {memory}" if memory else "Transformer-XL without memory"
        fields = WINDOWS | {"network.memory": memory}
        rows.append(Run(name_of_text(memory), TEXT, fields, model=words, metric="nll_nats_per_char"))
    return rows
