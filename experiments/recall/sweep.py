"""Associative recall: accuracy against the bytes of state that a network carries from step to step.

arjax-sweep --sweep=experiments/recall/sweep.py --workdir=runs/recall
arjax-sweep --sweep=experiments/recall/sweep.py:pairs=8 --workdir=runs/recall
"""

from arjax.config import parse_arg
from arjax.sweep import Run

NETWORKS = {
    "transformer": "Transformer",
    "linear_attention": "linear attention",
    "gated_linear_attention": "gated linear attention",
    "mamba2": "Mamba-2",
    "delta_net": "DeltaNet",
    "gated_delta_net": "gated DeltaNet",
    "mlstm": "mLSTM",
    "min_gru": "minGRU",
    "rg_lru": "RG-LRU",
    "gru": "GRU",
}
#: The vocabulary of each number of pairs.
TASKS = {4: 64, 8: 64, 16: 128, 32: 256}
WIDTHS = (16, 32, 64, 128)


def get_sweep(arg=""):
    """Every network at every width; `pairs`: a number in `TASKS`, 0: all of them."""
    arg = parse_arg(arg, pairs=0)
    rows = []
    for pairs in TASKS if arg.pairs == 0 else [arg.pairs]:
        for width in WIDTHS:
            for name, words in NETWORKS.items():
                config = f"configs/recall.py:pairs={pairs},vocabulary={TASKS[pairs]},network={name},width={width}"
                about = {"dataset": f"{pairs} pairs", "model": f"{words}, width {width}", "metric": "accuracy"}
                rows.append(Run(f"{pairs}-{name}-{width}", config, {}, **about))
    return rows
