"""Tiny Shakespeare at the size of nanoGPT's recipe for a CPU, nats per character over the whole validation split.

arjax-sweep --sweep=experiments/tiny_shakespeare/sweep.py --workdir=runs/tiny_shakespeare
"""

from arjax.sweep import Run

#: name in the config -> name in the table; all at about 0.8 million parameters and 2,000 steps of 12 windows
NETWORKS = {
    "transformer": "Transformer",
    "linear_attention": "linear attention",
    "rg_lru": "gated linear recurrence",
    "lstm": "LSTM",
    "gru": "GRU",
    "rnn": "RNN, 2 layers",
    "causal_conv": "causal convolution",
    "wavenet": "WaveNet",
    "tcn": "TCN",
}


def get_sweep() -> list[Run]:
    """Every network with overlapping windows (32 to 63 characters of context); the Transformer also with 0 to 63."""
    runs = [_run(name, model, 32) for name, model in NETWORKS.items()]
    return [*runs, _run("transformer", "Transformer, 0-63 characters of context", 64)]


def _run(network: str, model: str, stride: int) -> Run:
    return Run(
        f"shakespeare-{network}-stride{stride}",
        f"configs/tiny_shakespeare.py:network={network},eval_stride={stride}",
        {"evaluate.split": "validation"},
        model=model,
        metric="nll_nats_per_char",
        published=1.88 if network == "transformer" else float("nan"),
        published_mark="V" if network == "transformer" else "",
    )
