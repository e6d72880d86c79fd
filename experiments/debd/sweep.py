"""Nine sets of DEBD, test nats: MADE of 16 orders, Deep NADE of any order, and both mixed; direct NADE of two seeds.

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
    """For each set three networks, the mixture of the first two with weights fitted on validation, and one for
    `queries.py`.
    """
    return [row for name in BEST for row in (*(_run(name, network) for network in MODELS), _both(name), _second(name))]


def _run(name: str, network: str) -> Run:
    config, (nats, model) = f"experiments/debd/config.py:{name},network={network}", BEST[name]
    return Run(
        f"{name}-{network}", config, model=MODELS[network], ordering="many", published=nats, published_mark=model
    )


def _second(name: str) -> Run:
    config = f"experiments/debd/config.py:{name},network=direct_nade"
    return Run(f"{name}-direct_nade-1", config, {"seed": 1}, model=MODELS["direct_nade"], listed=False)


def _both(name: str) -> Mixture:
    return Mixture(
        f"{name}-both",
        [f"{name}-{network}" for network in ("made", "deep_nade")],
        model="both, mixed",
        weights="fitted",
    )
