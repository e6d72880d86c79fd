"""Tests of state: networks trained on sequences of 3 to 40, with and without negative eigenvalues.

Each row is trained on sequences of at most 8 tokens first, and on longer ones from the parameters of that run.

arjax-sweep --sweep=experiments/state_tracking/sweep.py:task=parity,seeds=1 --workdir=runs/state_tracking
"""

from collections.abc import Iterator, Sequence

from arjax.config import parse_arg, pick
from arjax.sweep import Run

TASKS = {
    "parity": "parity",
    "arithmetic": "modulo 5",
    "brackets": "modulo 5, brackets",
    "s3": "products in S_3",
    "s5_swaps": "swaps in S_5",
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


#: Tasks that two stages teach.
EASY_TASKS = ("parity", "s5_swaps")
#: The stages of these and of other tasks, each from the parameters of the one before.
OF_EASY, OTHERS = ("8", "40"), ("8", "16", "24", "40")
#: Those of linear recurrences in other tasks: their gates open and close fully only where weights do not decay.
OF_LINEAR = (*OTHERS, "settle")
LINEAR = ("mlstm", "min_gru", *SIGNED)


def get_sweep(arg=""):
    """`task`: a name in `TASKS`, or all of them; `seeds`: how many of each."""
    arg = parse_arg(arg, task=pick(("all", *TASKS), "all"), seeds=3)
    rows = []
    for task in TASKS if arg.task == "all" else [arg.task]:
        for name, words in NETWORKS.items():
            for negative in (False, True) if name in SIGNED else (False,):
                where = f", [{'-1' if negative else '0'}, 1]" if name in SIGNED else ""
                for seed in range(arg.seeds):
                    row = f"{task}-{name}{'-signed' * negative}-{seed}"
                    config = f"configs/state_tracking.py:task={task},network={name},negative={negative},seed={seed}"
                    rows += _trainings(row, config, TASKS[task], words + where, _stages(task, name))
    return rows


def _stages(task: str, network: str) -> Sequence[str]:
    if task in EASY_TASKS:
        return OF_EASY
    return OF_LINEAR if network in LINEAR else OTHERS


def _trainings(row: str, config: str, task: str, network: str, stages: Sequence[str]) -> Iterator[Run]:
    """The trainings of a row; the last one has its name, those before it have the stage in theirs, too."""
    start = ""
    for stage in stages:
        name = row if stage == stages[-1] else f"{row}-{stage}"
        data = task if name == row else f"{task}, at most {stage} tokens"
        yield Run(name, f"{config},stage={stage}{start}", {}, dataset=data, model=network, metric="accuracy")
        start = f",start={{workdir}}/{name}"
