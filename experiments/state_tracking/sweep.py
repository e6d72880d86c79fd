"""Tests of state: networks trained on sequences of 3 to 40, with and without negative eigenvalues.

arjax-sweep --sweep=experiments/state_tracking/sweep.py --workdir=runs/state_tracking
arjax-sweep --sweep=experiments/state_tracking/sweep.py:task=parity,seeds=1 --workdir=runs/state_tracking
"""

from arjax.config import parse_arg, pick
from arjax.sweep import Run

TASKS = {
    "parity": "parity",
    "arithmetic": "modulo 5",
    "brackets": "modulo 5, brackets",
    "s3": "products in S_3",
    "s5": "products in S_5",
}
NETWORKS = {
    "rnn": "RNN",
    "lstm": "LSTM",
    "gru": "GRU",
    "transformer": "Transformer",
    "mlstm": "mLSTM",
    "min_gru": "minGRU",
    "mamba2": "Mamba-2",
    "delta_net": "DeltaNet",
    "gated_delta_net": "gated DeltaNet",
}
#: Those that have negative eigenvalues as an option.
SIGNED = ("mamba2", "delta_net", "gated_delta_net")
GRAZZI = "Grazzi et al. (2025), table 3, scaled accuracy at lengths 40 to 256"


def get_sweep(arg=""):
    """`task`: a name in `TASKS`, or all of them; `seeds`: how many of each."""
    arg = parse_arg(arg, task=pick(("all", *TASKS), "all"), seeds=3)
    rows = []
    for task in TASKS if arg.task == "all" else [arg.task]:
        for name, words in NETWORKS.items():
            for negative in (False, True) if name in SIGNED else (False,):
                where = f", [{'-1' if negative else '0'}, 1]" if name in SIGNED else ""
                for seed in range(arg.seeds):
                    config = f"configs/state_tracking.py:task={task},network={name},negative={negative},seed={seed}"
                    about = {"dataset": TASKS[task], "model": words + where, "metric": "accuracy"}
                    rows.append(Run(f"{task}-{name}{'-signed' * negative}-{seed}", config, {}, **about))
    return rows
