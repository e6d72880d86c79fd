"""Nine sets of DEBD, test nats: MADE of 16 orders, Deep NADE of any order, and both mixed.

arjax-sweep --sweep=experiments/debd/sweep.py --workdir=runs/debd

The sets are read from the folder `debd` in $ARJAX_RAW_DATA.
"""

import sys
from pathlib import Path

from arjax.sweep import Mixture, Run

sys.path.append(str(Path(__file__).resolve().parent))
from published import BEST

MODELS = {
    "made": "MADE, 16 orders mixed",
    "deep_nade": "Deep NADE, 16 orders mixed",
    "direct_nade": "direct NADE, one random order",
}


def get_sweep() -> list[Run | Mixture]:
    """For each set the two networks, and their mixture with weights fitted on validation."""
    return [row for name in BEST for row in (*(_run(name, network) for network in MODELS), _both(name))]


def _run(name: str, network: str) -> Run:
    config, (nats, model) = f"experiments/debd/config.py:{name},network={network}", BEST[name]
    return Run(
        f"{name}-{network}", config, model=MODELS[network], ordering="many", published=nats, published_mark=model
    )


def _both(name: str) -> Mixture:
    return Mixture(
        f"{name}-both",
        [f"{name}-{network}" for network in ("made", "deep_nade")],
        model="both, mixed",
        weights="fitted",
    )
