"""Exposure bias against the truth: students and regimes on sequences of 256 tokens from known models.

arjax-sweep --sweep=experiments/exposure_bias/sweep.py --workdir=runs/exposure_bias

The sequences of `lstm` are drawn from an LSTM that was trained on tiny Shakespeare; its run is the first of the sweep.
The rows of a second stage start from the parameters of teacher forcing.
"""

from typing import NamedTuple

from arjax.sweep import Run


class Regime(NamedTuple):
    """The words of the table, the objective, and whether it is a second stage after teacher forcing."""

    words: str
    objective: str
    second: bool = False


STUDENTS = {"gru": "GRU", "causal_conv": "causal convolution", "transformer": "Transformer"}
#: Half of the loss stays teacher forcing where the prefixes are the model's own: nats given prefixes of the data count.
HALF = "weighted(of=('teacher_forcing', '{}'), weights=(0.5, 0.5))"
FIRST = {
    "teacher_forcing": Regime("teacher forcing", "teacher_forcing"),
    "input_noise": Regime("input noise", "input_noise(rate=0.05)"),
    "scheduled_sampling": Regime("scheduled sampling", "scheduled_sampling(final=0.25)"),
    "rollout": Regime("rollout, data", HALF.format("rollout(length=64, grow=0.5)")),
    "soft": Regime("prefixes of the data, oracle", HALF.format('rollout(length=0, target="oracle")')),
    "oracle": Regime("rollout, oracle", HALF.format('rollout(length=64, grow=0.5, target="oracle")')),
}
#: The control of the second stage is teacher forcing for as many steps more.
REGIMES = FIRST | {f"then_{name}": Regime(f"then {words}", how, True) for name, (words, how, _) in FIRST.items()}
TRUTHS = {
    "hidden_markov": "hidden Markov model",
    "markov_chain": "Markov chain of order 2",
    "lstm": "LSTM of Shakespeare",
}
ROLLOUTS, LENGTH = 2000, 256
#: Of all students, one and a half epochs: their errors are those of models that the data have not fitted to the end.
TRAINING = {"train.steps": 1000, "train.batch_size": 32}
#: Half as many steps more at a third of the learning rate (a quarter of that of the GRU).
SECOND = {"train.steps": 500, "optimizer.learning_rate": 1e-3}
#: The truth on which errors accumulate has a second stage.
STAGED = ("lstm",)
#: The LSTM reads windows of that length, and is larger than its students.
TRUTH = {"dataset.length": LENGTH, "dataset.eval_stride": LENGTH // 2, "network.hidden_size": 128, "train.steps": 1000}


def get_sweep():
    """The truth that is a network first, then a row for each truth, student and regime."""
    rows = [Run("truth", "configs/tiny_shakespeare.py:network=lstm", TRUTH, model="LSTM, the truth", listed=False)]
    for truth, words in TRUTHS.items():
        data = "drawn,run={workdir}/truth" if truth == "lstm" else f"{truth},length={LENGTH}"
        for student, name in STUDENTS.items():
            for key, regime in REGIMES.items():
                if regime.second and truth not in STAGED:
                    continue
                config = f"configs/known_truth.py:data={data},network={student}"
                fields = {"objective": regime.objective, "evaluate.exposure": ROLLOUTS} | TRAINING
                if regime.second:
                    fields |= SECOND | {"train.init_from": f"{{workdir}}/{truth}-{student}-teacher_forcing"}
                about = {"dataset": words, "model": f"{name}, {regime.words}", "metric": "exposure_excess_percent"}
                rows.append(Run(f"{truth}-{student}-{key}", config, fields, **about))
    return rows
