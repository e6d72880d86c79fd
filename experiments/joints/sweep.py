"""Digits under every kind of joint: some four hours on one CPU core.

arjax-sweep --sweep=experiments/joints/sweep.py --workdir=runs/joints
python scripts/measure_sweep.py --sweep=experiments/joints/sweep.py --workdir=runs/joints
"""

from arjax.sweep import Run

BITS, BOUND, CHAIN = "bits_per_dim", "importance_bound_bits_per_dim", "chain_bound_bits_per_dim"
LATENT = "configs/latent_variables.py:digits"
CASCADE = "configs/joints.py:cascade"
#: Draws of a bound, where the config has none.
SAMPLES = {"tokens": {"evaluate.samples": 50}}
#: name -> words, config, metric
ROWS = {
    "independent": ("independent pixels", "configs/digits.py:network=independent", BITS),
    "vae": ("VAE, 20 latents, L_1000", f"{LATENT},latents=20", BOUND),
    "iwae": ("IWAE, k = 5, 20 latents, L_1000", f"{LATENT},latents=20,samples=5", BOUND),
    "vae_two_layers": ("VAE, two stochastic layers, L_1000", f"{LATENT},latents=20,layers=2", BOUND),
    "vae_prior": ("VAE, MADE as prior, L_1000", f"{LATENT},latents=20,prior=made", BOUND),
    "vae_likelihood": (
        "VAE, Gated PixelCNN as likelihood, L_1000",
        f"{LATENT},latents=20,likelihood=gated_pixelcnn",
        BOUND,
    ),
    "gaussian_1000": ("Gaussian chain, T = 1000", "configs/joints.py:gaussian,steps=1000", CHAIN),
    "gaussian_100": ("Gaussian chain, T = 100", "configs/joints.py:gaussian,steps=100", CHAIN),
    "gaussian_10": ("Gaussian chain, T = 10", "configs/joints.py:gaussian,steps=10", CHAIN),
    "absorbing": ("absorbing chain, T = 64", "configs/joints.py:absorbing,steps=64", CHAIN),
    "uniform": ("uniform chain, T = 64", "configs/joints.py:uniform,steps=64", CHAIN),
    "flow": ("flow, 4 Transformer blocks", "configs/joints.py:flow", BITS),
    "spline_flow": ("flow, 4 Transformer blocks of splines", "configs/joints.py:spline_flow", BITS),
    "any_order": ("masked Transformer, any order", "configs/any_order.py:digits,form=masked", BITS),
    "cascade_subsampled": ("cascade, sub-sampled", f"{CASCADE},stages=subsampled", BITS),
    "cascade_haar": ("cascade, Haar", f"{CASCADE},stages=haar", BITS),
    "cascade_averaged": ("cascade, averaged", f"{CASCADE},stages=averaged", BITS),
    "tokens": ("4 tokens, Transformer as prior, L_50", "configs/tokens.py:stage=both,data=digits,tokens=4", BOUND),
    "mixture": ("mixture of 4 MADEs", "configs/joints.py:mixture", BITS),
    "lstm": ("LSTM", "configs/digits.py:network=lstm", BITS),
    "diagonal_bilstm": ("Diagonal BiLSTM", "configs/digits.py:network=diagonal_bilstm", BITS),
}


def get_sweep():
    """A row for each kind, the simplest first."""
    return [
        Run(name, config, SAMPLES.get(name, {}), dataset="digits", model=words, metric=metric)
        for name, (words, config, metric) in ROWS.items()
    ]
