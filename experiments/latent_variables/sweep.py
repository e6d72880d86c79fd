"""Variational autoencoders of statically binarized MNIST: some three hours on two CPU cores.

arjax-sweep --sweep=experiments/latent_variables/sweep.py --workdir=runs/latent_variables
"""

from arjax.sweep import Run

CONFIG = "configs/latent_variables.py"
BURDA = "Burda et al. (2016), appendix D, 3,280 epochs"
#: name -> words, argument, published test nats with 5,000 samples
ROWS = {
    "vae": ("VAE, 50 latents", "latents=50", 88.71),
    "iwae5": ("IWAE, k = 5, 50 latents", "samples=5,epochs=450", 87.63),
    "vae_two_layers": ("VAE, two stochastic layers", "layers=2,epochs=250", 88.08),
}
KINGMA = "Kingma & Welling (2014), read off figure 2, some 2,000 epochs"
#: dimensions -> published -ELBO
LATENTS = {2: None, 5: 118.5, 10: 103.0, 20: 99.0}


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
    for num, bound in LATENTS.items():
        own = f"{CONFIG}:latents={num},recipe=kingma,epochs=80"
        few = {"evaluate.samples": 500}
        about = {"published": bound, "published_mark": KINGMA} if bound else {}
        rows.append(Run(f"latents_{num}", own, few, "binarized MNIST", f"VAE, {num} latents, -ELBO", **about))
    return rows
