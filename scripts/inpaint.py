"""Completes half-observed images of a finished run in several ways, with the log-probability of each.

    python scripts/inpaint.py --workdir=runs/any_order --hidden=top

Writes inpainting.png, and inpainting.json with the exact cost of the hidden half given the visible one over a whole
split, into the workdir. With --visible=nothing, the cost of the same half when nothing else is seen (no picture).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from arjax.cli.command_line import Parser, tell_mistakes
from arjax.core.errors import UserError


def main(argv: Sequence[str]) -> int:
    """Reads the flags, completes and scores."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", required=True, help="folder of a run with images")
    parser.add_argument("--hidden", default="top", help="top | bottom | left | right [top]")
    parser.add_argument("--visible", default="rest", choices=("rest", "nothing"), help="what is seen [rest]")
    parser.add_argument("--split", default="test", help="whose images [test]")
    parser.add_argument("--num", default=8, type=int, help="images in the picture, evenly spaced over the split [8]")
    parser.add_argument("--completions", default=6, type=int, help="ways in which each is completed [6]")
    parser.add_argument("--seed", default=0, type=int, help="of the draws [0]")
    flags = parser.parse_args(argv)
    if flags.num < 1 or flags.completions < 1:
        raise UserError("--num and --completions must be at least 1")
    for name, scores in _inpaint(flags).items():
        nats = f"{scores['nll_nats']:.3f} ± {scores['nll_stderr']:.3f} nats"
        print(f"{name}: {nats}, {scores['bits_per_dim']:.4f} bits/dim")
    return 0


def _inpaint(flags: argparse.Namespace) -> dict[str, dict[str, float]]:
    import jax
    import numpy as np

    from arjax.config.build import build
    from arjax.config.files import load_workdir_config
    from arjax.core.files import read_json_object, write_json
    from arjax.core.paths import user_path
    from arjax.evaluation.inpainting import complete, half, score_hidden
    from arjax.reporting.inpainting import draw_completions
    from arjax.reporting.samples import as_images
    from arjax.training.setup import restore_params

    config = load_workdir_config(flags.workdir)
    setup = build(config)
    params, _, _ = restore_params(setup, user_path(flags.workdir))
    model, dataset, folder = setup.model, setup.dataset, user_path(flags.workdir)
    hidden = half(model.event.grid_shape, flags.hidden)
    if flags.visible == "rest":
        if model.context_spec:
            raise UserError("runs with a context are not completed by this script: use model.sample")
        if as_images(np.zeros((1, *model.event.shape)), model.event.grid_shape) is None:
            raise UserError(f"examples of {dataset.name!r} have no picture")
    visible = ~hidden if flags.visible == "rest" else np.zeros_like(hidden)
    scores = score_hidden(model, params, dataset, flags.split, hidden, visible, config.evaluate.batch_size, setup.mesh)
    name = f"{flags.hidden} half given {'the other' if flags.visible == 'rest' else 'nothing'}, {flags.split}"
    known = read_json_object(folder / "inpainting.json") or {}
    write_json(folder / "inpainting.json", known | {name: scores})
    if flags.visible == "rest":
        source = dataset.splits[flags.split]
        x = source.__getitems__(np.linspace(0, len(source) - 1, min(flags.num, len(source))).astype(int)).x
        done = complete(model, params, x, hidden, flags.completions, jax.random.key(flags.seed))
        truth = as_images(done.truth, model.event.grid_shape)
        drawn = np.stack([as_images(ways, model.event.grid_shape) for ways in done.drawn])
        top = model.event.num_levels - 1 if model.event.is_discrete else float(truth.max())
        path = folder / "inpainting.png"
        draw_completions(path, truth, hidden, drawn, done.log_prob, done.log_prob_truth, top)
        print(path)
    return {name: scores}


if __name__ == "__main__":
    sys.exit(tell_mistakes("inpaint", lambda: main(sys.argv[1:])))
