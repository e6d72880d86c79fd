"""Associative recall: accuracy against the bytes of state that a network carries from step to step.

arjax-sweep --sweep=experiments/recall/sweep.py --workdir=runs/recall
"""

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
#: pairs -> vocabulary
TASKS = {4: 64, 8: 64, 16: 128, 32: 256}
WIDTHS = (32, 64, 128)


def get_sweep():
    """Every network at every width on every task, by the accuracy of the values."""
    rows = []
    for pairs, vocabulary in TASKS.items():
        for name, words in NETWORKS.items():
            for width in WIDTHS:
                config = f"configs/recall.py:pairs={pairs},vocabulary={vocabulary},network={name},width={width}"
                about = {"dataset": f"{pairs} pairs", "model": f"{words}, width {width}", "metric": "accuracy"}
                rows.append(Run(f"{pairs}-{name}-{width}", config, {}, **about))
    return rows
