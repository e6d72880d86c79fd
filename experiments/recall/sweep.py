"""Associative recall: accuracy against the bytes of state that a network carries from step to step.

arjax-sweep --sweep=experiments/recall/sweep.py --workdir=runs/recall
arjax-sweep --sweep=experiments/recall/sweep.py:pairs=8 --workdir=runs/recall
arjax-sweep --sweep=experiments/recall/sweep.py:pairs=4,rate=1e-2 --workdir=runs/recall
"""

from arjax.config import parse_arg
from arjax.sweep import Run

NETWORKS = {
    "transformer": "Transformer",
    "hybrid": "convolution, attention",
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
#: Learning rates: of those that were run, measure.py takes the best on validation.
RATES = (3e-3, 1e-3, 1e-2)


def get_sweep(arg=""):
    """Every network at every width; `pairs`: a number in `TASKS`, 0: all of them; `rate`: a number in `RATES`."""
    arg = parse_arg(arg, pairs=0, rate=RATES[0])
    tasks = TASKS if arg.pairs == 0 else [arg.pairs]
    return [run_of(pairs, name, width, arg.rate) for pairs in tasks for width in WIDTHS for name in NETWORKS]


def run_of(pairs, name, width, rate):
    """A network of some width at some learning rate."""
    config = f"configs/recall.py:pairs={pairs},vocabulary={TASKS[pairs]},network={name},width={width}"
    about = {"dataset": f"{pairs} pairs", "model": f"{NETWORKS[name]}, width {width}", "metric": "accuracy"}
    run = f"{pairs}-{name}-{width}"
    if rate != RATES[0]:
        run, config = f"{run}-{rate:g}", f"{config},rate={rate:g}"
    return Run(run, config, {}, **about)
