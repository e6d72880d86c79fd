"""Tests of memory: fourteen networks of about 70,000 parameters, delays of 100 to 1,000; text with and without memory.

arjax-sweep --sweep=experiments/memory/sweep.py --workdir=runs/memory --jobs=1
arjax-sweep --sweep=experiments/memory/sweep.py:seeds=1 --workdir=runs/memory --jobs=1
"""

from arjax.config import parse_arg
from arjax.core.errors import UserError
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
#: The delay and the length that `seeds` counts for; the others have one.
SEEDED = 200
#: Characters of memory of a Transformer-XL in training.
TEXT_MEMORIES = (0, 256)
TEXT = "configs/tiny_shakespeare.py:network=transformer_xl,eval_stride=512"
#: Windows of 16 segments; the second half of each is scored, with 512 characters or more before it.
WINDOWS = {"dataset.length": 1024, "network.segment": 64, "train.batch_size": 4, "train.steps": 800}
WINDOWS |= {"evaluate.batch_size": 16, "sample.num": 1}


def name_of_text(memory):
    """The name of a row of text."""
    return f"text-{memory}"


def get_sweep(arg=""):
    """Copy memory at each delay, by the nats of the ten copies (20.79 without memory); adding, by the squared error;
    text by nats per character. `seeds`: how many runs of each network at a delay of 200 and with 200 numbers.
    """
    seeds = parse_arg(arg, seeds=3).seeds
    if seeds < 1:
        raise UserError(f"seeds of the study of memory must be at least 1, not {seeds}")
    rows = [row for delay in DELAYS for row in _rows("copy_memory", "delay", delay, seeds)]
    rows += [row for length in LENGTHS for row in _rows("adding", "length", length, seeds)]
    for memory in TEXT_MEMORIES:
        words = f"Transformer-XL, memory of {memory}" if memory else "Transformer-XL without memory"
        fields = WINDOWS | {"network.memory": memory}
        rows.append(Run(name_of_text(memory), TEXT, fields, model=words, metric="nll_nats_per_char"))
    return rows


def _rows(task, size, value, seeds):
    """Every network on a task of a size, a delay or a length. Of several seeds the first one is named, too: a mean over
    seeds takes no run without.
    """
    short, metric = ("copy", "nll_nats") if task == "copy_memory" else ("adding", "squared_error")
    for name, words in NETWORKS.items():
        config = f"configs/memory.py:task={task},{size}={value},network={name}"
        about = {"dataset": f"{task.replace('_', ' ')}, {value}", "model": words, "metric": metric}
        several = seeds > 1 and value == SEEDED
        for seed in range(seeds if several else 1):
            row = f"{short}-{value}-{name}"
            yield Run(f"{row}-{seed}" if seed else row, config, {"seed": seed} if several else {}, **about)
