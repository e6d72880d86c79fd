"""Targets that are known up to a constant: a model learns exp(-beta E(x)) / Z from the energy alone, without data.

Wu, Wang & Zhang, "Solving Statistical Mechanics Using Variational Autoregressive Networks" (2019). `results.json` has
the variational free energy per site, a bound, and an estimate of log Z; experiments/energies compares both with exact
values. Seen of the Ising model on 4 x 4 sites at beta = .44 after 1,000 steps of 512 draws, half a minute on two CPU
cores: -2.2022 (exact: -2.2024).

    arjax --config=configs/energies.py --workdir=runs/ising
    arjax --config=configs/energies.py:potts,beta=1.0 --workdir=runs/potts
    arjax --config=configs/energies.py:sherrington_kirkpatrick,side=20,beta=1.0 --workdir=runs/glass
    arjax --config=configs/energies.py:ising,side=8,network=lstm,ordering=hilbert --workdir=runs/hilbert
"""

from arjax.config import apply_smoke, base_config, dataset_config, network_config, parse_arg, pick, small_network_config

#: by the name of the energy: the rank of its grid, and the values of a site
ENERGIES = {"ising": (2, 2), "potts": (2, 3), "sherrington_kirkpatrick": (1, 2), "hard_core": (2, 2)}
#: options of each network, and learning rate
RECIPES = {
    "made": ({"hidden_sizes": (128,)}, 5e-3),
    "pixelcnn": ({"hidden_size": 16, "num_layers": 3, "first_kernel": 5}, 3e-3),
    "lstm": ({"hidden_size": 48, "position": "learned"}, 5e-3),
    "transformer": ({"width": 32, "num_layers": 2, "num_heads": 2, "unroll": 2}, 3e-3),
}


def get_config(arg=""):
    """`energy`: a name in `ENERGIES`; `side` of the square, or sites; `beta`; `network`: a name in `RECIPES`; `smoke`.

    `ordering` of the sites; `anneal`: the part of the run in which beta rises to its value; `symmetries` of the energy.
    """
    more = {"side": 4, "beta": 0.44, "ordering": "raster", "anneal": 0.5, "symmetries": (), "smoke": False}
    arg = parse_arg(arg, energy=pick(ENERGIES, "ising"), network=pick(RECIPES, "made"), **more)
    (rank, num_levels), (options, learning_rate) = ENERGIES[arg.energy], RECIPES[arg.network]
    config = base_config()
    kind = {"kind": "binary"} if num_levels == 2 else {"kind": "tokens", "num_levels": num_levels}
    num_examples = 64 if arg.smoke else 20_000  # the draws that a split is scored by
    config.dataset = dataset_config("noise", grid=(arg.side,) * rank, num_examples=num_examples, **kind)
    config.model.ordering = arg.ordering
    config.network = small_network_config(arg.network) if arg.smoke else network_config(arg.network, **options)
    config.objective = (
        f"free_energy(energy={arg.energy!r}, beta={arg.beta}, anneal={arg.anneal}, symmetries={arg.symmetries})"
    )
    config.optimizer.update(name="adam", learning_rate=learning_rate, schedule="cosine", end_factor=0.01)
    config.optimizer.clip_norm = 1.0
    config.train.update(steps=2000, batch_size=256, steps_per_dispatch=50, log_every=200, eval_every=500)
    config.train.update(checkpoint_every=1000, ema_decay=0.99)
    config.evaluate.batch_size = 1000
    return apply_smoke(config) if arg.smoke else config
