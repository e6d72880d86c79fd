"""Variational autoencoders of statically binarized MNIST: some three hours on two CPU cores.

arjax-sweep --sweep=experiments/latent_variables/sweep.py --workdir=runs/latent_variables
"""

from arjax.sweep import Run

CONFIG = "configs/latent_variables.py"
BURDA = "Burda et al. (2016), appendix D, 3,280 epochs"
#: name -> words, argument, published test nats with 5,000 samples
ROWS = {
    "vae": ("VAE, 50 latents", "latents=50,epochs=1200", 88.71),
    "iwae5": ("IWAE, k = 5, 50 latents", "samples=5,epochs=450", 87.63),
    "vae_two_layers": ("VAE, two stochastic layers", "layers=2,epochs=250", 88.08),
}
LATENTS = (2, 5, 10, 20)


def get_sweep():
    """The autoencoders of Burda et al. by L_5000; those of few latents by the bound and by L_500."""
    rows = [
        Run(
            name,
            f"{CONFIG}:{arg}",
            {},
            "binarized MNIST",
            words,
            metric="importance_bound_nats",
            published=value,
            published_mark=BURDA,
        )
        for name, (words, arg, value) in ROWS.items()
    ]
    for num in LATENTS:
        own = f"{CONFIG}:latents={num},recipe=kingma,epochs=80"
        few = {"evaluate.samples": 500}
        rows.append(Run(f"latents_{num}", own, few, "binarized MNIST", f"VAE, {num} latents, -ELBO"))
    return rows
