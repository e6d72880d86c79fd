"""Exposure bias against the truth: students and regimes on sequences of 256 tokens from known models.

arjax-sweep --sweep=experiments/exposure_bias/sweep.py --workdir=runs/exposure_bias

The rows of `lstm` are drawn from an LSTM that was trained on tiny Shakespeare, whose run the sweep makes first; its
folder is an argument where the workdir is another: --sweep=experiments/exposure_bias/sweep.py:runs/elsewhere.
"""

from arjax.sweep import Run

STUDENTS = {"gru": "GRU", "causal_conv": "causal convolution", "transformer": "Transformer"}
#: Half of the loss stays teacher forcing where the prefixes are the model's own: nats given prefixes of the data count.
HALF = "weighted(of=('teacher_forcing', '{}'), weights=(0.5, 0.5))"
REGIMES = {
    "teacher_forcing": ("teacher forcing", "teacher_forcing"),
    "input_noise": ("input noise", "input_noise(rate=0.05)"),
    "scheduled_sampling": ("scheduled sampling", "scheduled_sampling(final=0.25)"),
    "rollout": ("rollout, data", HALF.format("rollout(length=64, grow=0.5)")),
    "soft": ("prefixes of the data, oracle", HALF.format('rollout(length=0, target="oracle")')),
    "oracle": ("rollout, oracle", HALF.format('rollout(length=64, grow=0.5, target="oracle")')),
}
TRUTHS = {
    "hidden_markov": "hidden Markov model",
    "markov_chain": "Markov chain of order 2",
    "lstm": "LSTM of Shakespeare",
}
ROLLOUTS, LENGTH = 2000, 256
#: Of all students, one and a half epochs: their errors are those of models that the data have not fitted to the end.
TRAINING = {"train.steps": 1000, "train.batch_size": 32}
#: The LSTM reads windows of that length, and is larger than its students.
TRUTH = {"dataset.length": LENGTH, "dataset.eval_stride": LENGTH // 2, "network.hidden_size": 128, "train.steps": 1000}


def get_sweep(arg="runs/exposure_bias"):
    """The truth that is a network first, then a row for each truth, student and regime. `arg`: the workdir."""
    rows = [Run("truth", "configs/tiny_shakespeare.py:network=lstm", TRUTH, model="LSTM, the truth", listed=False)]
    for truth, words in TRUTHS.items():
        data = f"drawn,run={arg}/truth" if truth == "lstm" else f"{truth},length={LENGTH}"
        for student, name in STUDENTS.items():
            for regime, (how, objective) in REGIMES.items():
                config = f"configs/known_truth.py:data={data},network={student}"
                fields = {"objective": objective, "evaluate.exposure": ROLLOUTS} | TRAINING
                about = {"dataset": words, "model": f"{name}, {how}", "metric": "exposure_excess_percent"}
                rows.append(Run(f"{truth}-{student}-{regime}", config, fields, **about))
    return rows
