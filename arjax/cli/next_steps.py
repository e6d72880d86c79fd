"""The last lines of a run: the plots to look at, and further commands."""

from __future__ import annotations

import shlex
from pathlib import Path

from arjax.training.setup import Setup

PICTURES = ("samples/samples.png", "entropy.png")


def next_steps(setup: Setup, workdir: Path) -> list[str]:
    """Lines to read, or to paste into a shell."""
    places = [str(workdir / name) for name in PICTURES if (workdir / name).exists()]
    where = f"--workdir={shlex.quote(str(workdir))}"
    others = [split for split in ("validation", "test", "train") if split in setup.dataset.splits]
    other = next((split for split in others if split != setup.evaluate.split), setup.evaluate.split)
    return [
        *([f"look at: {' and '.join(places)}"] if places else []),
        f"more samples: arjax --mode=sample {where} --config.sample.num=64",
        f"another split: arjax --mode=evaluate {where} --config.evaluate.split={other}",
    ]
