"""Restoring vowels and spaces: LSTMs that read the source backwards or forwards; a Transformer and its second stages.

    arjax-sweep --sweep=experiments/seq2seq/sweep.py --workdir=runs/seq2seq_study
    python experiments/seq2seq/exact_match.py runs/seq2seq_study

The rows of the second stage start from the parameters of the Transformer under teacher forcing.
"""

from collections.abc import Iterator

from arjax.sweep import Run

CONFIG = "configs/seq2seq_characters.py"
HALF = "weighted(of=('teacher_forcing', '{}'), weights=(0.5, 0.5))"
#: name -> words, objective of a second stage; the first is the control, as many steps more
SECOND = {
    "then_teacher_forcing": ("teacher forcing", "teacher_forcing"),
    "then_input_noise": ("input noise", "input_noise(rate=0.05)"),
    "then_scheduled": ("scheduled sampling", "scheduled_sampling(final=0.25)"),
    "then_rollout": ("rollouts", HALF.format("rollout(length=8, grow=0.5)")),
}
#: A quarter of the steps at a quarter of the learning rate.
SHORT = {"train.steps": 1500, "optimizer.learning_rate": 5e-4}
SEEDS = (0, 1, 2)


def get_sweep() -> list[Run]:
    """Section 3.3 of Sutskever, Vinyals & Le (2014): the source reversed, and not; then attention to it."""
    rows = []
    for seed in SEEDS:
        end, about = (f"_seed_{seed}", {"seed": seed}) if seed else ("", {})
        for name, config, fields, words in _models("{workdir}/attention" + end):
            rows.append(Run(name + end, config, about | fields, model=words, metric="nll_nats_per_char"))
    return rows


def _models(first: str) -> Iterator[tuple[str, str, dict, str]]:
    """Name, config, fields and words of each row; second stages start from the run in the folder `first`."""
    for name, reverse in (("reversed", "true"), ("forward", "false")):
        yield name, f"{CONFIG}:reverse={reverse}", {}, f"seq2seq LSTM, {name} source"
    attention = f"{CONFIG}:network=transformer"
    yield "attention", attention, {}, "Transformer"
    for name, (words, objective) in SECOND.items():
        start = {"objective": objective, "train.init_from": first}
        yield f"attention_{name}", attention, SHORT | start, f"Transformer, then {words}"
